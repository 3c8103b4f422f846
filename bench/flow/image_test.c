#include "testing/testing.h"

#include "blob/blob.h"
#include "flow/image.h"
#include "flow/snapshot.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHUNK ((uint64_t)FIXED_CHUNK_SIZE_DEFAULT)

/* What reads the image: right behind the read that reaches `at`, the image becomes that long. */
static struct {
    const char *path; /* NULL: nothing happens */
    uint64_t at;
} shrinks;

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    ssize_t got = syscall(SYS_pread64, fd, data, size, offset);
    if (shrinks.path && got > 0 && (uint64_t)(offset + got) == shrinks.at) {
        assert_int_equal(truncate(shrinks.path, (off_t)shrinks.at), 0);
        shrinks.path = NULL;
    }
    return got;
}

/* A datastore with a snapshot begun. */
struct fixture {
    char *dir; /* owned */
    struct store *store;
    struct store_writer *writer;
    struct failure failure;
    struct sealer_pool *pool;
    char path[PATH_MAX]; /* the source */
    char target[PATH_MAX];
};

static void begin_snapshot(struct fixture *f, int64_t time)
{
    struct error err = {0};
    struct snapshot_id id = {.type = "host", .id = "me", .time = time};
    assert_int_equal(store_begin(f->store, &id, &f->writer, &err), OK);
    failure_init(&f->failure);
    assert_int_equal(sealer_pool_new(2, NULL, f->writer, &f->failure, &f->pool, &err), OK);
}

static int setup(void **state)
{
    static struct fixture f;
    char path[PATH_MAX];
    struct error err = {0};
    struct store_options options = {.sync = SYNC_NONE, .create = true};
    f = (struct fixture){.dir = temp_dir_make()};
    snprintf(path, sizeof path, "%s/store", f.dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/store/.chunks", f.dir);
    assert_int_equal(mkdir(path, 0750), 0);
    snprintf(path, sizeof path, "%s/store", f.dir);
    snprintf(f.path, sizeof f.path, "%s/disk", f.dir);
    snprintf(f.target, sizeof f.target, "%s/restored", f.dir);
    assert_int_equal(store_open(path, &options, &f.store, &err), OK);
    begin_snapshot(&f, 1000000000);
    *state = &f;
    return 0;
}

static void end_snapshot(struct fixture *f)
{
    sealer_pool_free(f->pool);
    store_abort(f->writer);
    failure_deinit(&f->failure);
    f->pool = NULL;
    f->writer = NULL;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    end_snapshot(f);
    store_close(f->store);
    temp_dir_remove(f->dir);
    return 0;
}

static void put(const char *path, uint64_t offset, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, text, strlen(text), (off_t)offset), strlen(text));
    close(fd);
}

static void set_size(const char *path, uint64_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

/* Finishes the snapshot with the image (or blob) as its only file and opens it. */
static struct store_reader *finish_with(struct fixture *f, const char *name, uint64_t size, const struct digest *csum,
                                        struct manifest *out)
{
    struct error err = {0};
    struct snapshot_id id = {.type = "host", .id = "me", .time = 1000000000};
    struct manifest m;
    struct buffer text = BUFFER_INIT(1 << 20), sealed = BUFFER_INIT(1 << 20);
    struct blob_context *blob;
    assert_int_equal(manifest_init(&m, id.type, id.id, id.time, &err), OK);
    assert_int_equal(manifest_add(&m, name, "none", size, csum, &err), OK);
    assert_int_equal(manifest_write(&m, &text, &err), OK);
    assert_int_equal(blob_context_new(&blob, &err), OK);
    struct slice whole = {.data = text.data, .size = text.size};
    assert_int_equal(blob_seal(blob, &whole, 1, &sealed, &err), OK);
    sealer_pool_free(f->pool);
    f->pool = NULL;
    struct store_writer *writer = f->writer;
    f->writer = NULL;
    assert_int_equal(store_finish(writer, sealed.data, sealed.size, &err), OK);
    blob_context_free(blob);
    buffer_deinit(&text);
    buffer_deinit(&sealed);
    manifest_deinit(&m);
    struct store_reader *reader;
    assert_int_equal(store_reader_open(f->store, &id, &reader, &err), OK);
    assert_int_equal(snapshot_manifest(reader, out, &err), OK);
    return reader;
}

static bool same_files(const char *a, const char *b)
{
    FILE *fa = fopen(a, "rb"), *fb = fopen(b, "rb");
    assert_non_null(fa);
    assert_non_null(fb);
    int ca, cb;
    do {
        ca = getc(fa);
        cb = getc(fb);
    } while (ca == cb && ca != EOF);
    fclose(fa);
    fclose(fb);
    return ca == cb;
}

static uint64_t allocated(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

/* Data at the start, a hole of several chunks, data in the middle of a chunk, an odd end. */
static void test_a_sparse_image_comes_back(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    put(f->path, 0, "beginning");
    put(f->path, 5 * CHUNK + 1000000, "middle");
    set_size(f->path, 7 * CHUNK + 12345);
    struct stream_stats stats;
    uint64_t bytes_read;
    assert_int_equal(
        image_upload(f->pool, f->writer, "disk.img.fidx", f->path, NULL, &f->failure, &stats, &bytes_read, &err), OK);
    assert_int_equal(stats.size, 7 * CHUNK + 12345);
    assert_int_equal(stats.chunks, 8);
    /* beginning, zeros, middle, the short end; chunks 2, 3, 4 and 6 repeat the zeros */
    assert_int_equal(stats.new_chunks, 4);
    assert_int_equal(stats.known_chunks, 4);
    assert_int_equal(stats.known_bytes, 4 * CHUNK);
    if (allocated(f->path) < CHUNK)
        assert_true(bytes_read < CHUNK);

    struct manifest m;
    struct store_reader *reader = finish_with(f, "disk.img.fidx", stats.size, &stats.csum, &m);
    struct image_restore_stats restored;
    assert_int_equal(image_restore(reader, &m, "disk.img.fidx", f->target, &restored, &err), OK);
    assert_int_equal(restored.size, stats.size);
    assert_int_equal(restored.chunks, 3);
    assert_true(same_files(f->path, f->target));
    assert_true(allocated(f->target) < 4 * CHUNK);
    /* It is there now, and stays as it is. */
    assert_int_equal(image_restore(reader, &m, "disk.img.fidx", f->target, &restored, &err), ERR_IO);
    assert_int_equal(access(f->target, F_OK), 0);
    manifest_deinit(&m);
    store_reader_close(reader);
}

static void test_chunks_of_the_previous_image_are_known(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    put(f->path, 10, "some");
    set_size(f->path, 2 * CHUNK);
    struct fixed_index previous = {.size = 2 * CHUNK, .chunk_size = CHUNK, .count = 2};
    struct digest digests[2] = {0};
    uint8_t *chunk = calloc(1, CHUNK);
    assert_non_null(chunk);
    memcpy(chunk + 10, "some", 4);
    digest_of(chunk, CHUNK, &digests[0]);
    previous.digests = digests;
    struct stream_stats stats;
    uint64_t bytes_read;
    assert_int_equal(
        image_upload(f->pool, f->writer, "disk.img.fidx", f->path, &previous, &f->failure, &stats, &bytes_read, &err),
        OK);
    assert_int_equal(stats.known_chunks, 1);
    assert_int_equal(stats.new_chunks, 1);
    /* In chunks of another size nothing of it can be known. */
    previous.chunk_size = CHUNK / 2;
    assert_int_equal(
        image_upload(f->pool, f->writer, "again.img.fidx", f->path, &previous, &f->failure, &stats, &bytes_read, &err),
        OK);
    assert_int_equal(stats.known_chunks, 0);
    free(chunk);
}

static void test_what_is_no_image(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct stream_stats stats;
    uint64_t bytes_read;
    assert_int_equal(
        image_upload(f->pool, f->writer, "a.img.fidx", f->path, NULL, &f->failure, &stats, &bytes_read, &err), ERR_IO);
    set_size(f->path, 0);
    assert_int_equal(
        image_upload(f->pool, f->writer, "a.img.fidx", f->path, NULL, &f->failure, &stats, &bytes_read, &err),
        ERR_FORMAT);
    assert_int_equal(
        image_upload(f->pool, f->writer, "a.img.fidx", f->dir, NULL, &f->failure, &stats, &bytes_read, &err),
        ERR_USAGE);
    assert_int_equal(
        image_upload(f->pool, f->writer, "a.img.fidx", "/dev/null", NULL, &f->failure, &stats, &bytes_read, &err),
        ERR_USAGE);
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_int_equal(
        image_upload(f->pool, f->writer, "a.img.fidx", f->path, NULL, &f->failure, &stats, &bytes_read, &err),
        ERR_USAGE);
}

/* What is missing must not pass for a hole. */
static void test_an_image_that_shrinks_is_no_backup(void **state)
{
    struct fixture *f = *state;
    static const uint64_t ends[] = {CHUNK, CHUNK + SLAB_POOLED_CAPACITY, 2 * CHUNK};
    uint8_t *data = make_lcg(3 * CHUNK, 1);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        int fd = open(f->path, O_WRONLY | O_CREAT, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, 3 * CHUNK), 3 * CHUNK);
        close(fd);
        shrinks.path = f->path;
        shrinks.at = ends[i];
        struct error err = {0};
        struct stream_stats stats;
        uint64_t bytes_read;
        char said[64];
        assert_int_equal(
            image_upload(f->pool, f->writer, "disk.img.fidx", f->path, NULL, &f->failure, &stats, &bytes_read, &err),
            ERR_MISMATCH);
        snprintf(said, sizeof said, "ends at offset %ju of %ju", (uintmax_t)ends[i], (uintmax_t)(3 * CHUNK));
        assert_non_null(strstr(err.text, said));
        end_snapshot(f);
        begin_snapshot(f, 1000000001 + (int64_t)i);
    }
    free(data);
}

static void test_a_blob_comes_back(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    put(f->path, 0, "a = 1\n");
    struct blob_upload_stats stats;
    assert_int_equal(blob_file_upload(f->writer, NULL, "app.conf.blob", f->path, &stats, &err), OK);
    assert_int_equal(stats.raw_size, 6);
    struct manifest m;
    struct store_reader *reader = finish_with(f, "app.conf.blob", stats.size, &stats.csum, &m);
    uint64_t size;
    assert_int_equal(blob_file_restore(reader, &m, "app.conf.blob", f->target, &size, &err), OK);
    assert_int_equal(size, 6);
    assert_true(same_files(f->path, f->target));
    assert_int_equal(unlink(f->target), 0);
    m.files[0].csum.bytes[0] ^= 1;
    assert_int_equal(blob_file_restore(reader, &m, "app.conf.blob", f->target, &size, &err), ERR_MISMATCH);
    assert_int_equal(access(f->target, F_OK), -1);
    manifest_deinit(&m);
    store_reader_close(reader);
}

static void test_empty_and_huge_blobs(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct blob_upload_stats stats;
    set_size(f->path, 0);
    assert_int_equal(blob_file_upload(f->writer, NULL, "e.conf.blob", f->path, &stats, &err), OK);
    assert_int_equal(stats.size, BLOB_HEADER_SIZE);
    set_size(f->path, BLOB_FILE_SIZE_MAX);
    assert_int_equal(blob_file_upload(f->writer, NULL, "m.conf.blob", f->path, &stats, &err), OK);
    assert_int_equal(stats.raw_size, BLOB_FILE_SIZE_MAX);
    set_size(f->path, BLOB_FILE_SIZE_MAX + 1);
    assert_int_equal(blob_file_upload(f->writer, NULL, "h.conf.blob", f->path, &stats, &err), ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_sparse_image_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chunks_of_the_previous_image_are_known, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_image, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_image_that_shrinks_is_no_backup, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_blob_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_empty_and_huge_blobs, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
