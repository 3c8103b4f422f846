#include "testing/testing.h"

#include "base/log.h"
#include "blob/blob.h"
#include "flow/old_files.h"
#include "pxar/encoder.h"
#include "store/test_store.h"

#include <string.h>
#include <sys/stat.h>

enum { PAYLOAD_SIZE = 100000 };

/* A metadata stream of files at the offsets told, each in a directory of its own. */
struct stream {
    struct buffer bytes;
    struct memory_source memory;
};

static enum status put_bytes(void *context, const uint8_t *data, size_t size, struct error *err)
{
    return buffer_append(context, data, size, err);
}

static enum status drop_bytes(void *context, const uint8_t *data, size_t size, struct error *err)
{
    (void)context, (void)data, (void)size, (void)err;
    return OK;
}

struct file {
    uint64_t offset, size;
};

/* The encoder refuses what hostile archives hold, so the references are patched behind it: the n-th file is written at
 * its marker offset, and that and the size behind it replaced. */
static void make_stream(struct stream *s, const struct file *files, size_t count)
{
    enum { MARK = 0x5a5a0000 };
    *s = (struct stream){.bytes = BUFFER_INIT(1 << 24)};
    struct attributes directory = {.stat = {.mode = S_IFDIR | 0755}}, file = {.stat = {.mode = S_IFREG | 0644}};
    struct encoder *e;
    assert_int_equal(encoder_new((struct sink){put_bytes, &s->bytes}, (struct sink){drop_bytes, NULL}, &directory, NULL,
                                 0, &e, NULL),
                     OK);
    for (size_t i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%05zu", i);
        assert_int_equal(encoder_directory_begin(e, name, &directory, NULL), OK);
        size_t from = s->bytes.size;
        assert_int_equal(encoder_reference(e, "file", &file, 0, MARK + 16 * i, NULL, NULL), OK);
        assert_int_equal(
            encoder_symlink(e, "link", &(struct attributes){.stat = {.mode = S_IFLNK | 0777}}, "file", 4, NULL), OK);
        assert_int_equal(encoder_directory_end(e, NULL), OK);
        uint8_t mark[8];
        store_u64le(mark, MARK + 16 * i);
        bool found = false;
        for (size_t at = from; at + 8 <= s->bytes.size && !found; at++)
            if (memcmp(s->bytes.data + at, mark, 8) == 0) {
                store_u64le(s->bytes.data + at, files[i].offset);
                store_u64le(s->bytes.data + at + 8, files[i].size);
                found = true;
            }
        assert_true(found);
    }
    assert_int_equal(encoder_advance(e, MARK + 16 * count, NULL), OK);
    assert_int_equal(encoder_finish(e, NULL), OK);
    encoder_free(e);
}

static struct old_files *open_stream(struct stream *s)
{
    struct old_files *f;
    s->memory = (struct memory_source){.data = s->bytes.data, .size = s->bytes.size};
    assert_int_equal(old_files_over(source_over_memory(&s->memory, "old"), PAYLOAD_SIZE, &f, NULL), OK);
    return f;
}

static const struct file plain[] = {{16, 84}, {116, 0}, {132, 1000}, {2000, 500}, {50000, 100}};

static void test_files_from_a_place_on(void **state)
{
    (void)state;
    struct stream s;
    make_stream(&s, plain, 5);
    static const struct {
        uint64_t from, to, live;
    } cases[] = {
        {0, 2000, 100 + 16 + 1016},
        {16, 100, 84},  /* cut at the end */
        {17, 132, 16},  /* the first one's header stands before */
        {116, 133, 17}, /* of the third only a byte */
        {116, 116, 0},
        {133, 2000, 0},
        {133, 2001, 1},
        {2000, 2516, 516},
        {300, 200, 0}, /* nothing, not everything */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct old_files *f = open_stream(&s);
        assert_int_equal(old_files_live(f, cases[i].from, cases[i].to), cases[i].live);
        old_files_free(f);
    }
    buffer_deinit(&s.bytes);
}

static void test_growing_questions_may_overlap(void **state)
{
    (void)state;
    enum { MANY = 3000 };
    static struct file many[MANY];
    for (size_t i = 0; i < MANY; i++)
        many[i] = i < 5 ? plain[i] : (struct file){50116 + 16 * i, 0};
    struct stream s;
    make_stream(&s, many, MANY);
    struct old_files *f = open_stream(&s);
    assert_int_equal(s.memory.position, 0); /* lazy */
    assert_int_equal(old_files_live(f, 0, 2000), 1132);
    assert_true(s.memory.position < s.memory.size / 2); /* and no further than needed */
    assert_int_equal(old_files_live(f, 100, 2000), 1032);
    assert_int_equal(old_files_live(f, 116, 1000), 16 + 868);
    assert_int_equal(old_files_live(f, 132, 2100), 1016 + 100);
    assert_int_equal(old_files_live(f, 2000, 2516), 516);
    old_files_free(f);
    buffer_deinit(&s.bytes);
}

/* A chunk that is listed again and again is asked about ahead of the walk, always. */
static void test_questions_ahead_of_the_walk_hold_what_they_ask_about(void **state)
{
    (void)state;
    enum { MANY = 3000, AHEAD = 10 };
    static struct file many[MANY];
    for (size_t i = 0; i < MANY; i++)
        many[i] = (struct file){16 + 16 * i, 0};
    struct stream s;
    make_stream(&s, many, MANY);
    struct old_files *f = open_stream(&s);
    for (size_t i = 0; i + AHEAD < MANY; i++) {
        assert_int_equal(old_files_live(f, many[i].offset, many[i + AHEAD].offset), 16 * AHEAD);
        assert_in_range(old_files_held(f), AHEAD, 2 * AHEAD + 1);
    }
    old_files_free(f);
    buffer_deinit(&s.bytes);
}

static void test_hostile_references_never_count_twice(void **state)
{
    (void)state;
    static const struct file hostile[] = {
        {16, UINT64_MAX - 40}, /* beyond everything */
        {16, 84},
        {16, 84},
        {50, 1000}, /* overlaps */
        {116, 100},
        {99985, 0}, /* its header is cut by the stream's end */
        {100000, 100},
        {99984, 0},
        {200, 1000},
    };
    struct stream s;
    make_stream(&s, hostile, sizeof hostile / sizeof *hostile);
    struct old_files *f = open_stream(&s);
    assert_int_equal(old_files_live(f, 0, 99999), 100 + 116 + 15);
    old_files_free(f);
    buffer_deinit(&s.bytes);
}

static void test_a_stream_that_breaks_has_no_unseen_files(void **state)
{
    (void)state;
    struct stream s;
    make_stream(&s, plain, 5);
    s.bytes.size -= 10; /* within the root's table */
    uint64_t warnings = log_warning_count();
    struct old_files *f = open_stream(&s);
    assert_int_equal(old_files_live(f, 0, 2000), 1132);
    assert_int_equal(old_files_live(f, 0, PAYLOAD_SIZE), 0);
    assert_int_equal(old_files_live(f, 2000, 2516), 0);
    assert_int_equal(log_warning_count(), warnings + 1);
    old_files_free(f);
    struct memory_source nothing = {.data = (const uint8_t *)"no archive at all", .size = 17};
    assert_int_equal(old_files_over(source_over_memory(&nothing, "old"), PAYLOAD_SIZE, &f, NULL), OK);
    assert_int_equal(old_files_live(f, 0, 10), 0);
    old_files_free(f);
    assert_int_equal(log_warning_count(), warnings + 2);
    buffer_deinit(&s.bytes);
}

/* ---- from a store ---- */

static void store_stream(struct store *store, struct stream *s, struct snapshot_id *id, struct dynamic_index *index)
{
    struct blob_context *context;
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(CHUNK_BLOB_SIZE_MAX), manifest = BUFFER_INIT(1 << 20);
    assert_int_equal(blob_context_new(&context, NULL), OK);
    struct store_writer *w = begin(store, id);
    index->count = 2;
    index->entries = calloc(2, sizeof *index->entries);
    assert_non_null(index->entries);
    size_t half = s->bytes.size / 2;
    for (size_t k = 0; k < 2; k++) {
        struct slice slice = {.data = s->bytes.data + k * half, .size = k ? s->bytes.size - half : half};
        bool is_new;
        index->entries[k].end = k ? s->bytes.size : half;
        digest_of(slice.data, slice.size, &index->entries[k].digest);
        assert_int_equal(blob_seal(context, &slice, 1, &sealed, NULL), OK);
        assert_int_equal(store_put_chunk(w, &(struct store_chunk){.digest = &index->entries[k].digest, .blob = &sealed},
                                         &is_new, NULL),
                         OK);
    }
    blob_context_free(context);
    manifest_blob(id, NULL, &manifest);
    assert_int_equal(store_finish(w, manifest.data, manifest.size, NULL), OK);
}

static void test_a_missing_chunk_of_the_store_is_no_failure(void **state)
{
    (void)state;
    struct stream s;
    make_stream(&s, plain, 5);
    char *dir = small_store_dir();
    struct store *store = open_store_at(dir);
    struct snapshot_id id = snapshot("old", 1700000000);
    struct dynamic_index index = {0};
    store_stream(store, &s, &id, &index);
    struct store_reader *reader;
    assert_int_equal(store_reader_open(store, &id, &reader, NULL), OK);
    for (int damaged = 0; damaged < 2; damaged++) {
        struct old_files *f;
        assert_int_equal(old_files_new(reader, &index, "root.mpxar.didx", PAYLOAD_SIZE, &f, NULL), OK);
        assert_int_equal(old_files_live(f, 0, 100), 84);
        assert_int_equal(old_files_live(f, 2000, 2600), damaged ? 0 : 516);
        old_files_free(f);
        char path[4096];
        store_chunk_path(reader, &index.entries[1].digest, path, sizeof path);
        assert_int_equal(damaged ? 0 : remove(path), 0);
    }
    store_reader_close(reader);
    store_close(store);
    dynamic_index_deinit(&index);
    temp_dir_remove(dir);
    buffer_deinit(&s.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_from_a_place_on),
        cmocka_unit_test(test_growing_questions_may_overlap),
        cmocka_unit_test(test_questions_ahead_of_the_walk_hold_what_they_ask_about),
        cmocka_unit_test(test_hostile_references_never_count_twice),
        cmocka_unit_test(test_a_stream_that_breaks_has_no_unseen_files),
        cmocka_unit_test(test_a_missing_chunk_of_the_store_is_no_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
