#include "testing/testing.h"

#include "blob/blob.h"
#include "flow/restore.h"
#include "pxar/encoder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BIG_SIZE = 300 * 1000, FOREIGN_SIZE = 500 * 1000, STORED_CHUNK_SIZE = 64 * 1024 };

/* ---- an archive in memory ---- */

static enum status append_to_buffer(void *context, const uint8_t *data, size_t size, struct error *err)
{
    return buffer_append(context, data, size, err);
}

struct archive {
    struct buffer metadata, payload;
};

static struct attributes attributes_of(uint64_t mode)
{
    return (struct attributes){
        .stat = {.mode = mode, .uid = geteuid(), .gid = getegid(), .mtime_secs = 1700000000, .mtime_nanos = 42}};
}

static uint64_t add_file(struct encoder *e, struct archive *a, const char *name, const uint8_t *data, size_t size)
{
    struct attributes attributes = attributes_of(S_IFREG | 0640);
    uint64_t offset;
    assert_int_equal(encoder_file(e, name, &attributes, size, &offset, NULL), OK);
    assert_int_equal(buffer_append(&a->payload, data, size, NULL), OK);
    return offset;
}

/*  a "hello"   big   d/{deep/{x "x"}, z ""}   h -> a   l -> nowhere   p fifo   tail "end"
 *  with FOREIGN_SIZE bytes of nobody between big and d */
static void archive_make(struct archive *a, uint64_t salt)
{
    *a = (struct archive){.metadata = BUFFER_INIT(1 << 24), .payload = BUFFER_INIT(1 << 24)};
    struct sink metadata = {.write = append_to_buffer, .context = &a->metadata};
    struct sink payload = {.write = append_to_buffer, .context = &a->payload};
    struct attributes root = attributes_of(S_IFDIR | 0755);
    struct attributes directory = attributes_of(S_IFDIR | 0711);
    struct attributes link = attributes_of(S_IFLNK | 0777);
    struct attributes fifo = attributes_of(S_IFIFO | 0600);
    struct encoder *e;
    assert_int_equal(encoder_new(metadata, payload, &root, NULL, 0, &e, NULL), OK);
    uint64_t first = add_file(e, a, "a", (const uint8_t *)"hello", 5);
    uint8_t *big = make_lcg(BIG_SIZE, salt);
    add_file(e, a, "big", big, BIG_SIZE);
    free(big);
    uint8_t *foreign = make_lcg(FOREIGN_SIZE, salt + 1000000);
    assert_int_equal(buffer_append(&a->payload, foreign, FOREIGN_SIZE, NULL), OK);
    assert_int_equal(encoder_advance(e, FOREIGN_SIZE, NULL), OK);
    free(foreign);
    assert_int_equal(encoder_directory_begin(e, "d", &directory, NULL), OK);
    assert_int_equal(encoder_directory_begin(e, "deep", &directory, NULL), OK);
    add_file(e, a, "x", (const uint8_t *)"x", 1);
    assert_int_equal(encoder_directory_end(e, NULL), OK);
    add_file(e, a, "z", NULL, 0);
    assert_int_equal(encoder_directory_end(e, NULL), OK);
    assert_int_equal(encoder_hardlink(e, "h", "a", first, NULL), OK);
    assert_int_equal(encoder_symlink(e, "l", &link, "nowhere", 7, NULL), OK);
    assert_int_equal(encoder_special(e, "p", &fifo, NULL), OK);
    add_file(e, a, "tail", (const uint8_t *)"end", 3);
    assert_int_equal(encoder_finish(e, NULL), OK);
    encoder_free(e);
}

static void archive_deinit(struct archive *a)
{
    buffer_deinit(&a->metadata);
    buffer_deinit(&a->payload);
}

/* ---- the snapshot it is stored in ---- */

/* One datastore for all tests: making one takes seconds. Each test has a snapshot and, by its salt, chunks of its own.
 */
static char *datastore;
static struct store *store;

struct fixture {
    char *base;
    char target[300], metadata_path[300], payload_path[300];
    uint64_t salt;
    struct archive archive;
    struct snapshot_id id;
    struct error err;
};

/* How the stored snapshot lies. */
struct lies {
    bool wrong_csum;
    bool wrong_size;
    bool wrong_end;     /* the index claims another length of the first payload chunk */
    bool missing_chunk; /* the first payload chunk is never put */
    const char *crypt_mode;
};

static void begin(struct fixture *f)
{
    static uint64_t salt;
    *f = (struct fixture){.base = temp_dir_make(), .salt = ++salt};
    snprintf(f->target, sizeof f->target, "%s/target", f->base);
    snprintf(f->metadata_path, sizeof f->metadata_path, "%s/x.mpxar", f->base);
    snprintf(f->payload_path, sizeof f->payload_path, "%s/x.ppxar", f->base);
    archive_make(&f->archive, f->salt);
}

static void end(struct fixture *f)
{
    archive_deinit(&f->archive);
    temp_dir_remove(f->base);
}

static void put_stream(struct fixture *f, struct store_writer *w, struct manifest *m, const char *name,
                       const struct buffer *data, const struct lies *lies)
{
    bool is_payload = data == &f->archive.payload;
    struct blob_context *context;
    struct store_index *index;
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(CHUNK_BLOB_SIZE_MAX);
    assert_int_equal(blob_context_new(&context, &f->err), OK);
    assert_int_equal(store_index_begin(w, name, &index, &f->err), OK);
    for (size_t at = 0; at < data->size; at += STORED_CHUNK_SIZE) {
        size_t size = data->size - at < STORED_CHUNK_SIZE ? data->size - at : STORED_CHUNK_SIZE;
        struct slice slice = {.data = data->data + at, .size = size};
        struct digest digest;
        bool is_new;
        digest_of(slice.data, size, &digest);
        assert_int_equal(blob_seal(context, &slice, 1, &sealed, &f->err), OK);
        if (!(is_payload && at == 0 && lies->missing_chunk))
            assert_int_equal(
                store_put_chunk(w, &(struct store_chunk){.digest = &digest, .blob = &sealed}, &is_new, &f->err), OK);
        uint64_t chunk_end = at + size - (is_payload && at == 0 && lies->wrong_end ? 1 : 0);
        assert_int_equal(store_index_append(index, chunk_end, &digest, false, &f->err), OK);
    }
    struct digest csum;
    uint64_t size, count;
    assert_int_equal(store_index_finish(index, &csum, &size, &count, &f->err), OK);
    if (is_payload && lies->wrong_csum)
        csum.bytes[0] ^= 1;
    if (is_payload && lies->wrong_size)
        size++;
    const char *crypt_mode = is_payload && lies->crypt_mode ? lies->crypt_mode : "none";
    assert_int_equal(manifest_add(m, name, crypt_mode, size, &csum, &f->err), OK);
    blob_context_free(context);
}

static void store_archive(struct fixture *f, const struct lies *lies)
{
    assert_int_equal(snapshot_id_parse("host/test/2026-01-02T03:04:05Z", &f->id, &f->err), OK);
    f->id.time += (int64_t)f->salt;
    struct store_writer *w;
    assert_int_equal(store_begin(store, &f->id, &w, &f->err), OK);
    struct manifest m = {0};
    assert_int_equal(manifest_init(&m, f->id.type, f->id.id, f->id.time, &f->err), OK);
    put_stream(f, w, &m, "root.ppxar.didx", &f->archive.payload, lies);
    put_stream(f, w, &m, "root.mpxar.didx", &f->archive.metadata, lies);
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(1 << 20);
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(1 << 20);
    assert_int_equal(manifest_write(&m, &text, &f->err), OK);
    manifest_deinit(&m);
    struct blob_context *context;
    struct slice slice = {.data = text.data, .size = text.size};
    assert_int_equal(blob_context_new(&context, &f->err), OK);
    assert_int_equal(blob_seal(context, &slice, 1, &sealed, &f->err), OK);
    blob_context_free(context);
    assert_int_equal(store_finish(w, sealed.data, sealed.size, &f->err), OK);
}

static enum status restore(struct fixture *f, const char *name, struct restore_stats *stats)
{
    struct restore_options options = {0};
    return restore_snapshot(store, &f->id, name, f->target, &options, stats, &f->err);
}

/* ---- what came back ---- */

static char *in_target(const struct fixture *f, const char *path)
{
    static char text[4][600];
    static unsigned turn;
    char *out = text[turn++ % 4];
    snprintf(out, sizeof text[0], "%s/%s", f->target, path);
    return out;
}

static void assert_file(const struct fixture *f, const char *path, const void *data, size_t size)
{
    int fd = open(in_target(f, path), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    assert_true(fd >= 0);
    uint8_t *found = malloc(size + 1);
    assert_non_null(found);
    assert_int_equal(read(fd, found, size + 1), size);
    close(fd);
    if (size > 0)
        assert_memory_equal(found, data, size);
    free(found);
}

static void assert_restored(const struct fixture *f, const struct restore_stats *stats)
{
    uint8_t *big = make_lcg(BIG_SIZE, f->salt);
    assert_file(f, "a", "hello", 5);
    assert_file(f, "big", big, BIG_SIZE);
    assert_file(f, "d/deep/x", "x", 1);
    assert_file(f, "d/z", NULL, 0);
    assert_file(f, "tail", "end", 3);
    free(big);
    struct stat st, other;
    assert_int_equal(lstat(in_target(f, "h"), &st), 0);
    assert_int_equal(lstat(in_target(f, "a"), &other), 0);
    assert_int_equal(st.st_ino, other.st_ino);
    assert_int_equal(st.st_mode, S_IFREG | 0640);
    assert_int_equal(lstat(in_target(f, "l"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(lstat(in_target(f, "p"), &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    assert_int_equal(lstat(in_target(f, "d"), &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0711);
    assert_int_equal(st.st_mtim.tv_sec, 1700000000);
    assert_int_equal(lstat(f->target, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0755);
    assert_int_equal(st.st_mtim.tv_nsec, 42);
    assert_int_equal(stats->entries, 11);
    assert_int_equal(stats->files, 5);
    assert_int_equal(stats->file_bytes, BIG_SIZE + 9);
}

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* ---- plain files ---- */

static void write_files(struct fixture *f, size_t metadata_size, size_t payload_size)
{
    int fd = open(f->metadata_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, f->archive.metadata.data, metadata_size), metadata_size);
    close(fd);
    fd = open(f->payload_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, f->archive.payload.data, payload_size), payload_size);
    close(fd);
}

static enum status extract(struct fixture *f, struct restore_stats *stats)
{
    struct restore_options options = {0};
    return extract_files(f->metadata_path, f->payload_path, f->target, &options, stats, &f->err);
}

static void test_plain_files(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    write_files(&f, f.archive.metadata.size, f.archive.payload.size);
    struct restore_stats stats;
    assert_int_equal(extract(&f, &stats), OK);
    assert_restored(&f, &stats);
    end(&f);
}

/* The references in the metadata, in archive order: of a, big, d/deep/x, d/z, tail. */
enum { A, BIG, X, Z, TAIL, FILES };

static void find_references(struct fixture *f, uint8_t *out[FILES])
{
    uint8_t header[ITEM_HEADER_SIZE];
    store_u64le(header, PXAR_PAYLOAD_REF);
    store_u64le(header + 8, ITEM_HEADER_SIZE + 16);
    uint8_t *at = f->archive.metadata.data, *end_of_data = at + f->archive.metadata.size;
    for (size_t i = 0; i < FILES; i++) {
        at = memmem(at, (size_t)(end_of_data - at), header, sizeof header);
        assert_non_null(at);
        at += sizeof header;
        out[i] = at;
    }
}

/* a and big are exchanged; x is what tail was, tail what big was: as archives of older clients may have it. */
static void put_out_of_order(struct fixture *f)
{
    uint8_t *at[FILES], was[FILES][16];
    static const size_t becomes[FILES] = {BIG, A, TAIL, Z, BIG};
    find_references(f, at);
    for (size_t i = 0; i < FILES; i++)
        memcpy(was[i], at[i], 16);
    for (size_t i = 0; i < FILES; i++)
        memcpy(at[i], was[becomes[i]], 16);
}

static void assert_restored_out_of_order(const struct fixture *f, const struct restore_stats *stats)
{
    uint8_t *big = make_lcg(BIG_SIZE, f->salt);
    assert_file(f, "a", big, BIG_SIZE);
    assert_file(f, "big", "hello", 5);
    assert_file(f, "d/deep/x", "end", 3);
    assert_file(f, "d/z", NULL, 0);
    assert_file(f, "tail", big, BIG_SIZE);
    free(big);
    assert_int_equal(stats->entries, 11);
    assert_int_equal(stats->file_bytes, 2 * BIG_SIZE + 8);
}

static void test_references_out_of_order(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    put_out_of_order(&f);
    write_files(&f, f.archive.metadata.size, f.archive.payload.size);
    struct restore_stats stats;
    assert_int_equal(extract(&f, &stats), ERR_FORMAT); /* files are read in order, as the reference does */
    assert_non_null(strstr(f.err.text, "but the payload was read up to"));
    struct lies honest = {0};
    store_archive(&f, &honest);
    snprintf(f.target, sizeof f.target, "%s/stored", f.base);
    assert_int_equal(restore(&f, "root.pxar", &stats), OK);
    assert_restored_out_of_order(&f, &stats);
    end(&f);
}

static void test_going_back_ends_at_a_place_that_must_be_right(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    put_out_of_order(&f);
    uint8_t *at[FILES];
    find_references(&f, at);
    store_u64le(at[TAIL], load_u64le(at[TAIL]) + 1);
    struct lies honest = {0};
    store_archive(&f, &honest);
    struct restore_stats stats;
    assert_int_equal(restore(&f, "root.pxar", &stats), ERR_FORMAT);
    assert_non_null(strstr(f.err.text, "/tail: "));
    assert_non_null(strstr(f.err.text, "is not that of a file of 300000 bytes"));
    end(&f);
}

static void test_cut_files_are_errors(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct restore_stats stats;
    static const size_t cuts[] = {1, 20, 40, 200};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        write_files(&f, f.archive.metadata.size - cuts[i], f.archive.payload.size);
        snprintf(f.target, sizeof f.target, "%s/m%zu", f.base, i);
        assert_int_equal(extract(&f, &stats), ERR_FORMAT);
        assert_non_null(strstr(f.err.text, "x.mpxar"));
    }
    write_files(&f, f.archive.metadata.size, f.archive.payload.size - 18); /* within "tail" */
    snprintf(f.target, sizeof f.target, "%s/p", f.base);
    assert_int_equal(extract(&f, &stats), ERR_FORMAT);
    assert_non_null(strstr(f.err.text, "x.ppxar"));
    assert_non_null(strstr(f.err.text, "/tail"));
    write_files(&f, f.archive.metadata.size, BIG_SIZE / 2);
    snprintf(f.target, sizeof f.target, "%s/q", f.base);
    assert_int_equal(extract(&f, &stats), ERR_FORMAT);
    assert_non_null(strstr(f.err.text, "/big"));
    end(&f);
}

static void test_target_is_not_made_for_what_is_no_archive(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    memset(f.archive.metadata.data, 'x', 64);
    write_files(&f, f.archive.metadata.size, f.archive.payload.size);
    struct restore_stats stats;
    assert_int_equal(extract(&f, &stats), ERR_NOT_ARCHIVE);
    assert_false(is_there(f.target));
    end(&f);
}

/* ---- snapshots ---- */

static void test_snapshot_by_any_of_its_names(void **state)
{
    (void)state;
    static const char *const names[] = {"root.pxar",      "root.mpxar",      "root.ppxar",
                                        "root.pxar.didx", "root.mpxar.didx", "root.ppxar.didx"};
    struct fixture f;
    begin(&f);
    struct lies honest = {0};
    store_archive(&f, &honest);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct restore_stats stats;
        snprintf(f.target, sizeof f.target, "%s/target%zu", f.base, i);
        assert_int_equal(restore(&f, names[i], &stats), OK);
        assert_restored(&f, &stats);
        assert_int_equal(stats.metadata_chunks, 1);
    }
    end(&f);
}

static void check_lie(const struct lies *lies, enum status expected, const char *sentence)
{
    struct fixture f;
    begin(&f);
    store_archive(&f, lies);
    struct restore_stats stats;
    assert_int_equal(restore(&f, "root.pxar", &stats), expected);
    assert_non_null(strstr(f.err.text, "root.ppxar.didx"));
    assert_non_null(strstr(f.err.text, sentence));
    end(&f);
}

static void test_index_that_differs_from_the_manifest(void **state)
{
    (void)state;
    check_lie(&(struct lies){.wrong_csum = true}, ERR_MISMATCH, "checksum of the index");
    check_lie(&(struct lies){.wrong_size = true}, ERR_MISMATCH, "the manifest has");
    check_lie(&(struct lies){.crypt_mode = "encrypt"}, ERR_UNSUPPORTED, "encrypted");
}

static void test_chunk_that_is_missing_or_of_another_length(void **state)
{
    (void)state;
    check_lie(&(struct lies){.missing_chunk = true}, ERR_NOT_FOUND, "root.ppxar.didx: chunk 0 at offset 0: ");
    check_lie(&(struct lies){.wrong_end = true}, ERR_MISMATCH, "root.ppxar.didx: chunk 0 at offset 0: ");
}

/* ---- streams ---- */

struct stream_fixture {
    struct fixture f;
    struct store_reader *reader;
    struct manifest manifest;
    struct dynamic_index index;
    struct chunk_stream *stream;
};

static void stream_begin(struct stream_fixture *s)
{
    *s = (struct stream_fixture){0};
    begin(&s->f);
    struct lies honest = {0};
    store_archive(&s->f, &honest);
    assert_int_equal(store_reader_open(store, &s->f.id, &s->reader, &s->f.err), OK);
    assert_int_equal(snapshot_manifest(s->reader, &s->manifest, &s->f.err), OK);
    assert_int_equal(snapshot_index(s->reader, &s->manifest, "root.ppxar.didx", &s->index, &s->f.err), OK);
    assert_true(s->index.count >= 8);
}

static struct source stream_open(struct stream_fixture *s, size_t ahead)
{
    chunk_stream_free(s->stream);
    s->stream = NULL;
    assert_int_equal(chunk_stream_new(s->reader, &s->index, "root.ppxar.didx", ahead, &s->stream, &s->f.err), OK);
    return chunk_stream_source(s->stream);
}

static void stream_end(struct stream_fixture *s)
{
    chunk_stream_free(s->stream);
    dynamic_index_deinit(&s->index);
    manifest_deinit(&s->manifest);
    store_reader_close(s->reader);
    end(&s->f);
}

static void test_stream_is_the_data_whatever_the_parts(void **state)
{
    (void)state;
    static const size_t aheads[] = {0, 1, 2, 5, 100};
    struct stream_fixture s;
    stream_begin(&s);
    const struct buffer *data = &s.f.archive.payload;
    uint8_t *part = malloc(data->size);
    assert_non_null(part);
    for (size_t i = 0; i < sizeof aheads / sizeof aheads[0]; i++) {
        for (uint64_t seed = 1; seed <= 4; seed++) {
            struct source source = stream_open(&s, aheads[i]);
            uint64_t at = 0;
            uint64_t x = seed;
            while (at < data->size) {
                x = x * 6364136223846793005U + 1442695040888963407U;
                size_t size = 1 + (size_t)(x >> 33) % (STORED_CHUNK_SIZE * 2);
                if (size > data->size - at)
                    size = (size_t)(data->size - at);
                if (seed > 1 && (x >> 60) % 2 == 0) {
                    assert_int_equal(source_skip(&source, size, at, &s.f.err), OK);
                } else {
                    assert_int_equal(source_read_exact(&source, part, size, at, &s.f.err), OK);
                    assert_memory_equal(part, data->data + at, size);
                }
                at += size;
            }
            size_t got = 1;
            assert_int_equal(source.read(source.context, part, 10, &got, &s.f.err), OK);
            assert_int_equal(got, 0);
            assert_int_equal(source_skip(&source, 1, at, &s.f.err), ERR_FORMAT);
            if (seed == 1)
                assert_int_equal(chunk_stream_fetched(s.stream), s.index.count);
        }
    }
    free(part);
    stream_end(&s);
}

static void test_skipped_chunks_are_not_fetched(void **state)
{
    (void)state;
    struct stream_fixture s;
    stream_begin(&s);
    uint8_t byte;
    for (size_t ahead = 0; ahead <= 1; ahead++) {
        /* Before the first read nothing is fetched, so the rest of the answer is exact with a thread as well. */
        struct source source = stream_open(&s, ahead);
        assert_int_equal(source_skip(&source, s.f.archive.payload.size - 1, 0, &s.f.err), OK);
        assert_int_equal(chunk_stream_fetched(s.stream), 0);
        assert_int_equal(source_read_exact(&source, &byte, 1, 0, &s.f.err), OK);
        assert_int_equal(chunk_stream_fetched(s.stream), 1);
    }
    struct source source = stream_open(&s, 0);
    assert_int_equal(source_read_exact(&source, &byte, 1, 0, &s.f.err), OK);
    assert_int_equal(source_skip(&source, 5 * STORED_CHUNK_SIZE, 1, &s.f.err), OK);
    assert_int_equal(source_read_exact(&source, &byte, 1, 0, &s.f.err), OK);
    assert_int_equal(byte, s.f.archive.payload.data[5 * STORED_CHUNK_SIZE + 1]);
    assert_int_equal(chunk_stream_fetched(s.stream), 2);
    stream_end(&s);
}

/* However fast the thread is: outside of what is wanted it fetches nothing that was not read. */
static void test_only_what_is_wanted_is_read_ahead(void **state)
{
    (void)state;
    struct stream_fixture s;
    stream_begin(&s);
    uint8_t byte;
    for (int i = 0; i < 20; i++) {
        struct source source = stream_open(&s, 5);
        chunk_stream_want(s.stream, 0, 0);
        assert_int_equal(source_read_exact(&source, &byte, 1, 0, &s.f.err), OK);
        usleep(1000);
        assert_int_equal(chunk_stream_fetched(s.stream), 1);
        /* A byte of chunk 4, all of 5, a byte of 6. */
        chunk_stream_want(s.stream, 5 * STORED_CHUNK_SIZE - 1, 6 * STORED_CHUNK_SIZE + 1);
        usleep(1000);
        assert_int_equal(chunk_stream_fetched(s.stream), 1);
        assert_int_equal(source_skip(&source, 5 * STORED_CHUNK_SIZE - 2, 0, &s.f.err), OK);
        for (int k = 0; k < STORED_CHUNK_SIZE + 2; k += STORED_CHUNK_SIZE / 2)
            assert_int_equal(source_read_exact(&source, &byte, 1, 0, &s.f.err), OK);
        for (int wait = 0; wait < 5000 && chunk_stream_fetched(s.stream) < 4; wait++)
            usleep(1000);
        usleep(1000);
        assert_int_equal(chunk_stream_fetched(s.stream), 4);
        /* Read all the same. */
        assert_int_equal(source_skip(&source, 3 * STORED_CHUNK_SIZE, 0, &s.f.err), OK);
        assert_int_equal(source_read_exact(&source, &byte, 1, 0, &s.f.err), OK);
        assert_int_equal(chunk_stream_fetched(s.stream), 5);
    }
    stream_end(&s);
}

static void damage(struct stream_fixture *s, size_t chunk, char *path, size_t path_size)
{
    store_chunk_path(s->reader, &s->index.entries[chunk].digest, path, path_size);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, 1000), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 1000), 1);
    close(fd);
}

static void test_damaged_chunk_names_everything(void **state)
{
    (void)state;
    struct stream_fixture s;
    stream_begin(&s);
    char path[600], place[600];
    damage(&s, 3, path, sizeof path);
    snprintf(place, sizeof place, "root.ppxar.didx: chunk 3 at offset %d: ", 3 * STORED_CHUNK_SIZE);
    uint8_t *part = malloc(STORED_CHUNK_SIZE);
    for (size_t ahead = 0; ahead <= 5; ahead++) {
        struct source source = stream_open(&s, ahead);
        for (int k = 0; k < 3; k++)
            assert_int_equal(source_read_exact(&source, part, STORED_CHUNK_SIZE, 0, &s.f.err), OK);
        assert_int_equal(source_read_exact(&source, part, 1, 0, &s.f.err), ERR_MISMATCH);
        assert_non_null(strstr(s.f.err.text, place));
        const char *named = strstr(s.f.err.text, path);
        assert_non_null(named);
        assert_null(strstr(named + 1, path)); /* once is enough */
        /* Skipped, it disturbs nobody. */
        assert_int_equal(source_skip(&source, STORED_CHUNK_SIZE, 0, &s.f.err), OK);
        assert_int_equal(source_read_exact(&source, part, STORED_CHUNK_SIZE, 0, &s.f.err), OK);
        assert_memory_equal(part, s.f.archive.payload.data + 4 * STORED_CHUNK_SIZE, STORED_CHUNK_SIZE);
    }
    free(part);
    struct restore_stats stats;
    assert_int_equal(restore(&s.f, "root.pxar", &stats), ERR_MISMATCH);
    assert_non_null(strstr(s.f.err.text, "/big: "));
    assert_non_null(strstr(s.f.err.text, place));
    stream_end(&s);
}

/* Chunk 8 holds foreign bytes alone: no file needs it. */
static void test_damage_that_no_file_needs_is_no_error(void **state)
{
    (void)state;
    struct stream_fixture s;
    stream_begin(&s);
    assert_true(8 * STORED_CHUNK_SIZE > BIG_SIZE + 100 && 9 * STORED_CHUNK_SIZE < BIG_SIZE + FOREIGN_SIZE);
    char path[600];
    damage(&s, 8, path, sizeof path);
    struct restore_stats stats;
    assert_int_equal(restore(&s.f, "root.pxar", &stats), OK);
    assert_restored(&s.f, &stats);
    stream_end(&s);
}

static void test_streams_may_be_left_at_any_time(void **state)
{
    (void)state;
    struct stream_fixture s;
    stream_begin(&s);
    uint8_t byte;
    for (int i = 0; i < 50; i++) {
        struct source source = stream_open(&s, 4);
        if (i % 3 > 0)
            assert_int_equal(source_read_exact(&source, &byte, 1, 0, &s.f.err), OK);
        if (i % 3 > 1)
            assert_int_equal(source_skip(&source, 6 * STORED_CHUNK_SIZE, 1, &s.f.err), OK);
    }
    stream_end(&s);
}

/* ---- streams that go back ---- */

static void test_stream_goes_to_any_place(void **state)
{
    (void)state;
    static const size_t aheads[] = {0, 1, 2, 5, 100};
    struct stream_fixture s;
    stream_begin(&s);
    const struct buffer *data = &s.f.archive.payload;
    uint8_t *part = malloc(data->size);
    assert_non_null(part);
    for (size_t i = 0; i < sizeof aheads / sizeof aheads[0]; i++) {
        struct source source = stream_open(&s, aheads[i]);
        uint64_t x = i + 1, at = 0;
        for (int step = 0; step < 300; step++) {
            x = x * 6364136223846793005U + 1442695040888963407U;
            unsigned what = (x >> 60) % 4;
            size_t size = (size_t)(x >> 33) % (STORED_CHUNK_SIZE * 3);
            if (what == 0) {
                at = (x >> 20) % (data->size + 1);
                assert_int_equal(source.seek(source.context, at, &s.f.err), OK);
            } else if (what == 1) { /* a little, as files that were exchanged with their neighbours */
                at = at > size ? at - size : 0;
                assert_int_equal(source.seek(source.context, at, &s.f.err), OK);
            }
            if (size > data->size - at)
                size = (size_t)(data->size - at);
            if (what == 3) {
                assert_int_equal(source_skip(&source, size, at, &s.f.err), OK);
            } else if (size > 0) {
                assert_int_equal(source_read_exact(&source, part, size, at, &s.f.err), OK);
                assert_memory_equal(part, data->data + at, size);
            }
            at += size;
        }
        assert_int_equal(source.seek(source.context, data->size + 1, &s.f.err), ERR_FORMAT);
        assert_int_equal(source.seek(source.context, UINT64_MAX, &s.f.err), ERR_FORMAT);
        assert_int_equal(source.seek(source.context, data->size, &s.f.err), OK);
        size_t got = 1;
        assert_int_equal(source.read(source.context, part, 10, &got, &s.f.err), OK);
        assert_int_equal(got, 0);
    }
    free(part);
    stream_end(&s);
}

static void assert_byte_at(struct stream_fixture *s, const struct source *source, uint64_t at)
{
    uint8_t byte;
    assert_int_equal(source->seek(source->context, at, &s->f.err), OK);
    assert_int_equal(source_read_exact(source, &byte, 1, at, &s->f.err), OK);
    assert_int_equal(byte, s->f.archive.payload.data[at]);
}

static void test_going_back_fetches_what_is_no_longer_held(void **state)
{
    (void)state;
    struct stream_fixture s;
    stream_begin(&s);
    struct source source = stream_open(&s, 0);
    assert_byte_at(&s, &source, 6 * STORED_CHUNK_SIZE + 9);
    assert_byte_at(&s, &source, 6 * STORED_CHUNK_SIZE); /* the same chunk: it is here */
    assert_int_equal(chunk_stream_fetched(s.stream), 1);
    assert_byte_at(&s, &source, 2 * STORED_CHUNK_SIZE);
    assert_int_equal(chunk_stream_fetched(s.stream), 2);
    assert_byte_at(&s, &source, 6 * STORED_CHUNK_SIZE); /* once more */
    assert_int_equal(chunk_stream_fetched(s.stream), 3);
    stream_end(&s);
}

/* However fast the thread is: whoever goes back all the time pays for the chunks he reads, and no others. */
static void test_going_back_reads_ahead_no_farther_than_was_read(void **state)
{
    (void)state;
    struct stream_fixture s;
    stream_begin(&s);
    uint8_t *part = malloc(4 * STORED_CHUNK_SIZE);
    assert_non_null(part);
    struct source source = stream_open(&s, 3);
    assert_byte_at(&s, &source, 12 * STORED_CHUNK_SIZE);
    assert_int_equal(chunk_stream_fetched(s.stream), 1); /* the last one */
    for (uint64_t back = 1; back <= 3; back++) {
        assert_byte_at(&s, &source, (12 - 4 * back) * STORED_CHUNK_SIZE);
        usleep(5000);
        assert_int_equal(chunk_stream_fetched(s.stream), 1 + back);
    }
    /* Read on from there to chunk 4, the thread is three ahead again. */
    assert_int_equal(source_read_exact(&source, part, 4 * STORED_CHUNK_SIZE, 0, &s.f.err), OK);
    for (int wait = 0; wait < 5000 && chunk_stream_fetched(s.stream) < 4 + 7; wait++)
        usleep(1000);
    assert_int_equal(chunk_stream_fetched(s.stream), 4 + 7);
    free(part);
    stream_end(&s);
}

static void test_what_is_still_held_is_not_fetched_again(void **state)
{
    (void)state;
    struct stream_fixture s;
    stream_begin(&s);
    struct source source = stream_open(&s, 3);
    chunk_stream_want(s.stream, 0, 4 * STORED_CHUNK_SIZE);
    for (int round = 0; round < 50; round++)
        for (uint64_t k = 0; k < 4; k++)
            assert_byte_at(&s, &source, k * STORED_CHUNK_SIZE + (uint64_t)round);
    usleep(2000);
    assert_int_equal(chunk_stream_fetched(s.stream), 4);
    stream_end(&s);
}

/* A failure of what was read ahead is no failure of what lies before it, and comes again when its chunk is read. */
static void test_going_back_from_a_damaged_chunk(void **state)
{
    (void)state;
    struct stream_fixture s;
    stream_begin(&s);
    char path[600];
    damage(&s, 3, path, sizeof path);
    uint8_t byte;
    for (useconds_t round = 0; round < 120; round++) {
        struct source source = stream_open(&s, round % 6);
        assert_byte_at(&s, &source, 2 * STORED_CHUNK_SIZE);
        if (round / 6 % 2 == 1)
            usleep(10 * round); /* the thread fails before, while, or after the reader goes back */
        assert_byte_at(&s, &source, 0);
        assert_byte_at(&s, &source, 4 * STORED_CHUNK_SIZE);
        for (int again = 0; again < 2; again++) {
            assert_int_equal(source.seek(source.context, 3 * STORED_CHUNK_SIZE, &s.f.err), OK);
            assert_int_equal(source_read_exact(&source, &byte, 1, 0, &s.f.err), ERR_MISMATCH);
            assert_non_null(strstr(s.f.err.text, "root.ppxar.didx: chunk 3 at offset "));
            assert_byte_at(&s, &source, STORED_CHUNK_SIZE + 7);
        }
    }
    stream_end(&s);
}

static int open_datastore(void **state)
{
    (void)state;
    struct store_options options = {.create = true};
    struct error err;
    /* A datastore begins with 65536 directories: in memory they cost nothing. */
    const char *chosen = getenv("TMPDIR");
    if (!chosen && access("/dev/shm", W_OK | X_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    datastore = temp_dir_make();
    if (!chosen)
        unsetenv("TMPDIR");
    return store_open(datastore, &options, &store, &err) == OK ? 0 : -1;
}

static int remove_datastore(void **state)
{
    (void)state;
    store_close(store);
    temp_dir_remove(datastore);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_files),
        cmocka_unit_test(test_references_out_of_order),
        cmocka_unit_test(test_going_back_ends_at_a_place_that_must_be_right),
        cmocka_unit_test(test_cut_files_are_errors),
        cmocka_unit_test(test_target_is_not_made_for_what_is_no_archive),
        cmocka_unit_test(test_snapshot_by_any_of_its_names),
        cmocka_unit_test(test_index_that_differs_from_the_manifest),
        cmocka_unit_test(test_chunk_that_is_missing_or_of_another_length),
        cmocka_unit_test(test_stream_is_the_data_whatever_the_parts),
        cmocka_unit_test(test_skipped_chunks_are_not_fetched),
        cmocka_unit_test(test_only_what_is_wanted_is_read_ahead),
        cmocka_unit_test(test_damaged_chunk_names_everything),
        cmocka_unit_test(test_damage_that_no_file_needs_is_no_error),
        cmocka_unit_test(test_streams_may_be_left_at_any_time),
        cmocka_unit_test(test_stream_goes_to_any_place),
        cmocka_unit_test(test_going_back_fetches_what_is_no_longer_held),
        cmocka_unit_test(test_going_back_reads_ahead_no_farther_than_was_read),
        cmocka_unit_test(test_what_is_still_held_is_not_fetched_again),
        cmocka_unit_test(test_going_back_from_a_damaged_chunk),
    };
    return cmocka_run_group_tests(tests, open_datastore, remove_datastore);
}
