/* Indexes of images: any order, whole or not at all. */
#include "testing/testing.h"

#include "store/test_store.h"

static char *dir;
static struct store *store;
static struct store_writer *writer;
static char path[STORED_PATH_MAX];

static int setup(void **state)
{
    (void)state;
    umask(022);
    dir = small_store_dir();
    store = open_store_at(dir);
    struct snapshot_id id = snapshot("x", 60);
    writer = begin(store, &id);
    snprintf(path, sizeof path, "%s", writer->path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    store_abort(writer);
    store_close(store);
    temp_dir_remove(dir);
    return 0;
}

static struct digest digest_number(uint64_t k)
{
    struct digest d;
    digest_of(&k, sizeof k, &d);
    return d;
}

static void whole_index(uint64_t size, uint64_t chunk_size, uint64_t count, uint64_t step)
{
    struct store_fixed_index *index;
    struct digest csum, computed;
    assert_int_equal(store_fixed_index_begin(writer, "disk.img.fidx", size, chunk_size, &index, NULL), OK);
    struct stat st;
    assert_int_equal(stat(at(path, "disk.img.tmp_fidx"), &st), 0);
    assert_int_equal(st.st_size, INDEX_HEADER_SIZE); /* it grows with its entries */
    for (uint64_t i = 0, k = count - 1; i < count; i++, k = (k + step) % count) {
        struct digest d = digest_number(k);
        assert_int_equal(store_fixed_index_put(index, k, &d, false, NULL), OK);
    }
    assert_false(exists(at(path, "disk.img.fidx")));
    assert_int_equal(store_fixed_index_finish(index, &csum, NULL), OK);
    assert_false(exists(at(path, "disk.img.tmp_fidx")));
    assert_int_equal(mode_of(at(path, "disk.img.fidx")), 0644);

    struct buffer out = BUFFER_INIT(1 << 20);
    struct fixed_index read;
    assert_int_equal(read_whole(writer->snapshot_fd, "disk.img.fidx", 0, 1 << 20, path, &out, NULL), OK);
    assert_int_equal(fixed_index_parse(out.data, out.size, "x", &read, NULL), OK);
    assert_int_equal(read.size, size);
    assert_int_equal(read.chunk_size, chunk_size);
    assert_int_equal(read.count, count);
    assert_true(read.header.ctime > 1600000000);
    assert_int_equal(read.header.uuid[6] >> 4, 4);
    fixed_index_csum(&read, &computed);
    assert_true(digest_equal(&computed, &csum));
    assert_true(digest_equal(&read.header.csum, &csum));
    for (uint64_t k = 0; k < count; k++) {
        struct digest d = digest_number(k);
        assert_true(digest_equal(&read.digests[k], &d));
    }
    fixed_index_deinit(&read);
    buffer_deinit(&out);
    assert_int_equal(unlink(at(path, "disk.img.fidx")), 0);
}

static void test_digests_in_any_order_make_one_index(void **state)
{
    (void)state;
    whole_index(1, 4096, 1, 1);
    whole_index(5000 * 4096 - 1, 4096, 5000, 4999); /* backwards; more than one part to read back */
    whole_index(5000 * 4096, 4096, 5000, 1237);
}

static void test_incomplete_index_is_refused_and_leaves_nothing(void **state)
{
    (void)state;
    struct store_fixed_index *index;
    struct digest d = {{1}}, zero = {{0}}, csum;
    struct error err = {0};
    assert_int_equal(store_fixed_index_begin(writer, "disk.img.fidx", 9000, 4096, &index, &err), OK);
    assert_int_equal(store_fixed_index_put(index, 0, &d, false, &err), OK);
    assert_int_equal(store_fixed_index_put(index, 2, &zero, false, &err), OK); /* zeros are a digest like others */
    assert_int_equal(store_fixed_index_finish(index, &csum, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "1 of 3 chunks were never written"));
    assert_false(exists(at(path, "disk.img.tmp_fidx")));
    assert_false(exists(at(path, "disk.img.fidx")));
}

static void test_wrong_slots_spoil_the_index(void **state)
{
    (void)state;
    struct store_fixed_index *index;
    struct digest d = {{1}}, csum;
    static const struct {
        uint64_t k;
        enum status status;
    } wrong[] = {{0, ERR_EXISTS}, {3, ERR_USAGE}, {UINT64_MAX, ERR_USAGE}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(store_fixed_index_begin(writer, "disk.img.fidx", 9000, 4096, &index, NULL), OK);
        assert_int_equal(store_fixed_index_put(index, 0, &d, false, NULL), OK);
        assert_int_equal(store_fixed_index_put(index, wrong[i].k, &d, false, NULL), wrong[i].status);
        assert_int_equal(store_fixed_index_put(index, 1, &d, false, NULL), ERR_FORMAT);
        assert_int_equal(store_fixed_index_put(index, 2, &d, false, NULL), ERR_FORMAT);
        assert_int_equal(store_fixed_index_finish(index, &csum, NULL), ERR_FORMAT);
        assert_false(exists(at(path, "disk.img.tmp_fidx")));
    }
}

static void test_begin_refuses_names_sizes_and_second_ones(void **state)
{
    (void)state;
    struct store_fixed_index *index, *other;
    struct digest d = {{1}}, csum;
    static const struct {
        const char *name;
        uint64_t size, chunk_size;
        enum status status;
    } wrong[] = {
        {"disk.img.didx", 1, 4096, ERR_USAGE},     {"../disk.fidx", 1, 4096, ERR_USAGE},
        {"disk.img.blob", 1, 4096, ERR_USAGE},     {"disk.img.fidx", 0, 4096, ERR_FORMAT},
        {"disk.img.fidx", 1, 0, ERR_FORMAT},       {"disk.img.fidx", 1, 4097, ERR_FORMAT},
        {"disk.img.fidx", 1, 1 << 25, ERR_FORMAT}, {"disk.img.fidx", UINT64_MAX, 4096, ERR_LIMIT},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(
            store_fixed_index_begin(writer, wrong[i].name, wrong[i].size, wrong[i].chunk_size, &index, NULL),
            wrong[i].status);
        assert_null(index);
        assert_false(exists(at(path, "disk.img.tmp_fidx")));
    }
    assert_int_equal(store_fixed_index_begin(writer, "disk.img.fidx", 1, 4096, &index, NULL), OK);
    assert_int_equal(store_fixed_index_begin(writer, "disk.img.fidx", 1, 4096, &other, NULL), ERR_EXISTS);
    assert_true(exists(at(path, "disk.img.tmp_fidx"))); /* the first one's */
    assert_int_equal(store_fixed_index_put(index, 0, &d, false, NULL), OK);
    assert_int_equal(store_fixed_index_finish(index, &csum, NULL), OK);
    assert_int_equal(store_fixed_index_begin(writer, "disk.img.fidx", 1, 4096, &other, NULL), ERR_EXISTS);
}

static void test_abort_removes_the_temporary_file(void **state)
{
    (void)state;
    struct store_fixed_index *index;
    assert_int_equal(store_fixed_index_begin(writer, "disk.img.fidx", 1, 4096, &index, NULL), OK);
    assert_int_equal(atomic_load(&writer->open_indexes), 1);
    store_fixed_index_abort(index);
    store_fixed_index_abort(NULL);
    assert_int_equal(atomic_load(&writer->open_indexes), 0);
    assert_false(exists(at(path, "disk.img.tmp_fidx")));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_digests_in_any_order_make_one_index), TEST(test_incomplete_index_is_refused_and_leaves_nothing),
        TEST(test_wrong_slots_spoil_the_index),         TEST(test_begin_refuses_names_sizes_and_second_ones),
        TEST(test_abort_removes_the_temporary_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
