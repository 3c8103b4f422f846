#include "testing/testing.h"

#include "base/log.h"
#include "flow/content_compare.h"
#include "pxar/item.h"
#include "store/test_store.h"

#include <string.h>

enum { CHUNK = 100000, CHUNKS = 4, STREAM_SIZE = CHUNK * CHUNKS, OFFSET = 5000, SIZE = 250000, OTHER_ITEM = 300000 };

/* A stored payload stream with one file in it, over three chunks of four. */
struct fixture {
    char *dir;
    struct store *store;
    struct store_reader *reader;
    struct dynamic_index index;
    uint8_t *content;
    struct content_compare *compare;
};

static void put_chunks(struct fixture *f, struct store_writer *w)
{
    struct blob_context *context;
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(CHUNK_BLOB_SIZE_MAX);
    assert_int_equal(blob_context_new(&context, NULL), OK);
    for (size_t k = 0; k < CHUNKS; k++) {
        struct slice slice = {.data = f->content + k * CHUNK, .size = CHUNK};
        bool is_new;
        f->index.entries[k].end = (k + 1) * CHUNK;
        digest_of(slice.data, slice.size, &f->index.entries[k].digest);
        assert_int_equal(blob_seal(context, &slice, 1, &sealed, NULL), OK);
        assert_int_equal(store_put_chunk(w,
                                         &(struct store_chunk){.digest = &f->index.entries[k].digest, .blob = &sealed},
                                         &is_new, NULL),
                         OK);
    }
    blob_context_free(context);
}

static void set_up(struct fixture *f)
{
    struct snapshot_id id = snapshot("compare", 1700000000);
    CLEANUP(buffer_deinit) struct buffer manifest = BUFFER_INIT(1 << 20);
    *f = (struct fixture){.dir = small_store_dir(), .content = make_lcg(STREAM_SIZE, 1)};
    store_u64le(f->content + OTHER_ITEM, PXAR_PAYLOAD_REF);
    store_u64le(f->content + OTHER_ITEM + 8, ITEM_HEADER_SIZE + 100);
    store_u64le(f->content + OFFSET, PXAR_PAYLOAD);
    store_u64le(f->content + OFFSET + 8, ITEM_HEADER_SIZE + SIZE);
    f->store = open_store_at(f->dir);
    f->index.entries = calloc(CHUNKS, sizeof *f->index.entries);
    assert_non_null(f->index.entries);
    f->index.count = CHUNKS;
    struct store_writer *w = begin(f->store, &id);
    put_chunks(f, w);
    manifest_blob(&id, NULL, &manifest);
    assert_int_equal(store_finish(w, manifest.data, manifest.size, NULL), OK);
    assert_int_equal(store_reader_open(f->store, &id, &f->reader, NULL), OK);
    assert_int_equal(content_compare_new(f->reader, &f->index, "x.ppxar.didx", &f->compare, NULL), OK);
}

static void tear_down(struct fixture *f)
{
    content_compare_free(f->compare);
    store_reader_close(f->reader);
    store_close(f->store);
    dynamic_index_deinit(&f->index);
    free(f->content);
    temp_dir_remove(f->dir);
}

/* The `size` bytes of `data`, in parts of `step`. */
static bool compare(struct fixture *f, uint64_t offset, uint64_t announced, const uint8_t *data, size_t size,
                    size_t step)
{
    content_compare_begin(f->compare, offset, announced);
    for (size_t at = 0; at < size; at += step)
        content_compare_part(f->compare, data + at, size - at < step ? size - at : step);
    return content_compare_end(f->compare);
}

static void test_every_byte_counts(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    uint8_t *data = malloc(SIZE + 1);
    memcpy(data, f.content + OFFSET + ITEM_HEADER_SIZE, SIZE + 1);
    static const size_t steps[] = {SIZE, 7777, 65536, 1 << 17};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        assert_true(compare(&f, OFFSET, SIZE, data, SIZE, steps[i]));
    static const size_t places[] = {0, 1, 65535, 65536, CHUNK - OFFSET - ITEM_HEADER_SIZE, SIZE - 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        data[places[i]] ^= 1;
        assert_false(compare(&f, OFFSET, SIZE, data, SIZE, 7777));
        data[places[i]] ^= 1;
    }
    assert_false(compare(&f, OFFSET, SIZE, data, SIZE - 1, 7777)); /* shrank meanwhile */
    assert_false(compare(&f, OFFSET, SIZE, data, SIZE + 1, 7777));
    assert_true(compare(&f, OFFSET, SIZE, data, SIZE, SIZE)); /* nothing of that sticks */
    free(data);
    tear_down(&f);
}

static void test_without_a_begin_nothing_is_equal(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_false(content_compare_end(f.compare));
    content_compare_part(f.compare, f.content, 10);
    assert_false(content_compare_end(f.compare));
    tear_down(&f);
}

static void test_what_is_not_known_is_said_once(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    uint64_t warnings = log_warning_count();
    const uint8_t *data = f.content + OFFSET + ITEM_HEADER_SIZE;
    assert_false(compare(&f, OFFSET + 1, SIZE, data, SIZE, SIZE)); /* no header */
    assert_false(compare(&f, OFFSET, SIZE - 1, data, SIZE - 1, SIZE));
    assert_false(compare(&f, OTHER_ITEM, 100, f.content + OTHER_ITEM + ITEM_HEADER_SIZE, 100, 100));
    assert_false(compare(&f, STREAM_SIZE - 8, 0, data, 0, 1)); /* beyond the stream */
    assert_false(compare(&f, UINT64_MAX - 8, 0, data, 0, 1));
    assert_int_equal(log_warning_count(), warnings + 1);
    tear_down(&f);
}

static void test_a_missing_chunk_is_no_failure(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    char path[4096];
    store_chunk_path(f.reader, &f.index.entries[1].digest, path, sizeof path);
    assert_int_equal(remove(path), 0);
    uint64_t warnings = log_warning_count();
    for (int i = 0; i < 2; i++)
        assert_false(compare(&f, OFFSET, SIZE, f.content + OFFSET + ITEM_HEADER_SIZE, SIZE, 7777));
    assert_int_equal(log_warning_count(), warnings + 1);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_counts),
        cmocka_unit_test(test_without_a_begin_nothing_is_equal),
        cmocka_unit_test(test_what_is_not_known_is_said_once),
        cmocka_unit_test(test_a_missing_chunk_is_no_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
