#include "testing/testing.h"

#include "blob/blob.h"
#include "flow/chunk_reader.h"
#include "store/test_store.h"

enum { CHUNKS = 7, STREAM_SIZE = 70000 };

/* A stored stream in chunks of 1000, 4000, 7000, ... bytes. */
struct fixture {
    char *dir;
    struct store *store;
    struct store_reader *reader;
    struct dynamic_index index;
    uint8_t *content;
    struct error err;
};

static void put_chunks(struct fixture *f, struct store_writer *w)
{
    struct blob_context *context;
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(CHUNK_BLOB_SIZE_MAX);
    assert_int_equal(blob_context_new(&context, NULL), OK);
    for (size_t k = 0; k < CHUNKS; k++) {
        uint64_t at_offset = dynamic_index_start(&f->index, k);
        struct slice slice = {.data = f->content + at_offset, .size = (size_t)dynamic_index_chunk_size(&f->index, k)};
        bool is_new;
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
    struct snapshot_id id = snapshot("reader", 1700000000);
    CLEANUP(buffer_deinit) struct buffer manifest = BUFFER_INIT(1 << 20);
    *f = (struct fixture){.dir = small_store_dir(), .content = make_lcg(STREAM_SIZE, 1)};
    f->store = open_store_at(f->dir);
    f->index.entries = calloc(CHUNKS, sizeof *f->index.entries);
    assert_non_null(f->index.entries);
    f->index.count = CHUNKS;
    uint64_t end = 0;
    for (size_t k = 0; k < CHUNKS; k++)
        f->index.entries[k].end = end += 1000 + 3000 * k;
    assert_int_equal(end, STREAM_SIZE);
    struct store_writer *w = begin(f->store, &id);
    put_chunks(f, w);
    manifest_blob(&id, NULL, &manifest);
    assert_int_equal(store_finish(w, manifest.data, manifest.size, NULL), OK);
    assert_int_equal(store_reader_open(f->store, &id, &f->reader, NULL), OK);
}

static void tear_down(struct fixture *f)
{
    store_reader_close(f->reader);
    store_close(f->store);
    dynamic_index_deinit(&f->index);
    free(f->content);
    temp_dir_remove(f->dir);
}

static struct chunk_reader *new_reader(struct fixture *f, size_t chunks_max)
{
    struct chunk_reader *r;
    assert_int_equal(chunk_reader_new(f->reader, &f->index, "x.mpxar.didx", chunks_max, &r, &f->err), OK);
    return r;
}

/* Reads one byte of each of the chunks. */
static void touch(struct fixture *f, struct chunk_reader *r, const char *chunks)
{
    struct source_at s = chunk_reader_source(r);
    for (const char *c = chunks; *c; c++) {
        uint64_t offset = dynamic_index_start(&f->index, (size_t)(*c - '0'));
        uint8_t byte;
        assert_int_equal(s.read_at(s.context, offset, &byte, 1, &f->err), OK);
        assert_int_equal(byte, f->content[offset]);
    }
}

static void test_any_range_is_what_was_stored(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    for (size_t chunks_max = 1; chunks_max <= 8; chunks_max += 7) {
        struct chunk_reader *r = new_reader(&f, chunks_max);
        struct source_at s = chunk_reader_source(r);
        assert_int_equal(s.size, STREAM_SIZE);
        assert_string_equal(s.name, "x.mpxar.didx");
        uint8_t *data = malloc(STREAM_SIZE);
        uint64_t random = 1;
        for (int i = 0; i < 200; i++) {
            random = random * 6364136223846793005U + 1442695040888963407U;
            size_t from = (size_t)(random >> 33) % (STREAM_SIZE + 1);
            size_t size = (size_t)(random >> 17) % (STREAM_SIZE + 1 - from);
            assert_int_equal(s.read_at(s.context, from, data, size, &f.err), OK);
            assert_memory_equal(data, f.content + from, size);
        }
        assert_int_equal(s.read_at(s.context, 0, data, STREAM_SIZE, &f.err), OK);
        assert_memory_equal(data, f.content, STREAM_SIZE);
        free(data);
        chunk_reader_free(r);
    }
    tear_down(&f);
}

static void test_fetches_only_what_is_asked_for_and_once_while_cached(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct chunk_reader *r = new_reader(&f, 2);
    struct source_at s = chunk_reader_source(r);
    uint8_t two[2];
    assert_int_equal(chunk_reader_fetched(r), 0);
    touch(&f, r, "3333");
    assert_int_equal(chunk_reader_fetched(r), 1);
    assert_int_equal(chunk_reader_fetched_bytes(r), 10000);
    /* The last byte of chunk 3 and the first of chunk 4. */
    assert_int_equal(s.read_at(s.context, f.index.entries[3].end - 1, two, 2, &f.err), OK);
    assert_int_equal(chunk_reader_fetched(r), 2);
    assert_int_equal(chunk_reader_fetched_bytes(r), 23000);
    assert_int_equal(s.read_at(s.context, 0, two, 0, &f.err), OK);
    assert_int_equal(chunk_reader_fetched(r), 2);
    chunk_reader_free(r);
    tear_down(&f);
}

static void test_the_least_recently_used_chunk_goes(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct chunk_reader *r = new_reader(&f, 2);
    touch(&f, r, "010");
    assert_int_equal(chunk_reader_fetched(r), 2);
    touch(&f, r, "2"); /* in place of 1 */
    assert_int_equal(chunk_reader_fetched(r), 3);
    touch(&f, r, "02");
    assert_int_equal(chunk_reader_fetched(r), 3);
    touch(&f, r, "1"); /* in place of 0, which is read again */
    assert_int_equal(chunk_reader_fetched(r), 4);
    touch(&f, r, "0");
    assert_int_equal(chunk_reader_fetched(r), 5);
    chunk_reader_free(r);
    tear_down(&f);
}

static void test_a_range_beyond_the_end_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct chunk_reader *r = new_reader(&f, 1);
    struct source_at s = chunk_reader_source(r);
    uint8_t two[2];
    assert_int_equal(s.read_at(s.context, STREAM_SIZE - 1, two, 2, &f.err), ERR_FORMAT);
    assert_string_equal(f.err.text, "x.mpxar.didx: ends at offset 70000: 2 bytes wanted at offset 69999");
    assert_int_equal(s.read_at(s.context, UINT64_MAX, two, 2, &f.err), ERR_FORMAT);
    assert_int_equal(s.read_at(s.context, STREAM_SIZE + 1, two, 0, &f.err), ERR_FORMAT);
    assert_int_equal(s.read_at(s.context, STREAM_SIZE, two, 0, &f.err), OK);
    assert_int_equal(chunk_reader_fetched(r), 0);
    chunk_reader_free(r);
    tear_down(&f);
}

static void test_a_bad_chunk_is_an_error_and_others_are_still_read(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    char path[PATH_MAX];
    uint8_t byte;
    store_chunk_path(f.reader, &f.index.entries[2].digest, path, sizeof path);
    assert_int_equal(unlink(path), 0);
    f.index.entries[4].digest = f.index.entries[3].digest; /* a chunk of another length */
    struct chunk_reader *r = new_reader(&f, 1);
    struct source_at s = chunk_reader_source(r);
    for (int i = 0; i < 2; i++) {
        touch(&f, r, "1");
        f.err = (struct error){0};
        assert_int_equal(s.read_at(s.context, dynamic_index_start(&f.index, 2), &byte, 1, &f.err), ERR_IO);
        assert_non_null(strstr(f.err.text, path));
        assert_non_null(strstr(f.err.text, "x.mpxar.didx: chunk 2 at offset 5000"));
        f.err = (struct error){0};
        assert_int_equal(s.read_at(s.context, dynamic_index_start(&f.index, 4), &byte, 1, &f.err), ERR_MISMATCH);
        assert_non_null(strstr(f.err.text, "x.mpxar.didx: chunk 4 at offset 22000"));
        /* Whatever a failure left behind is not taken for what was there before. */
        touch(&f, r, "13");
    }
    assert_int_equal(chunk_reader_fetched(r), 6);
    chunk_reader_free(r);
    tear_down(&f);
}

static void test_an_index_that_claims_a_huge_chunk_allocates_nothing(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    f.index.entries[CHUNKS - 1].end = UINT64_MAX;
    struct chunk_reader *r = new_reader(&f, 1);
    struct source_at s = chunk_reader_source(r);
    uint8_t byte;
    assert_int_equal(s.read_at(s.context, STREAM_SIZE, &byte, 1, &f.err), ERR_LIMIT);
    assert_non_null(strstr(f.err.text, "a chunk of 18446744073709500615 bytes: at most 16777216 are allowed"));
    assert_int_equal(s.read_at(s.context, STREAM_SIZE, &byte, 1, NULL), ERR_LIMIT);
    chunk_reader_free(r);
    chunk_reader_free(NULL);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_range_is_what_was_stored),
        cmocka_unit_test(test_fetches_only_what_is_asked_for_and_once_while_cached),
        cmocka_unit_test(test_the_least_recently_used_chunk_goes),
        cmocka_unit_test(test_a_range_beyond_the_end_is_refused),
        cmocka_unit_test(test_a_bad_chunk_is_an_error_and_others_are_still_read),
        cmocka_unit_test(test_an_index_that_claims_a_huge_chunk_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
