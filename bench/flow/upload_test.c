/* What no whole run shows: an upload that is used further after the run has failed elsewhere. */
#include "testing/testing.h"

#include "flow/upload.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MORE_THAN_A_BATCH = 1000 };

/* A datastore with a snapshot begun and one upload of it. */
struct fixture {
    char *dir; /* owned */
    struct store *store;
    struct store_writer *writer;
    struct failure failure;
    struct sealer_pool *pool;
    struct upload *upload;
};

static int setup(void **state)
{
    static struct fixture f;
    char path[PATH_MAX];
    struct error err = {0};
    struct store_options options = {.sync = SYNC_NONE, .create = true};
    struct snapshot_id id = {.type = "host", .id = "me", .time = 1000000000};
    f.dir = temp_dir_make();
    snprintf(path, sizeof path, "%s/.chunks", f.dir);
    assert_int_equal(mkdir(path, 0750), 0);
    assert_int_equal(store_open(f.dir, &options, &f.store, &err), OK);
    assert_int_equal(store_begin(f.store, &id, &f.writer, &err), OK);
    failure_init(&f.failure);
    assert_int_equal(sealer_pool_new(2, NULL, f.writer, &f.failure, &f.pool, &err), OK);
    assert_int_equal(upload_new(f.pool, f.writer, "root.mpxar.didx", 65536, NULL, &f.failure, &f.upload, &err), OK);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    upload_free(f->upload);
    sealer_pool_free(f->pool);
    store_abort(f->writer);
    failure_deinit(&f->failure);
    store_close(f->store);
    temp_dir_remove(f->dir);
    return 0;
}

static void fail_elsewhere(struct fixture *f)
{
    struct error err = {0};
    enum status status = fail(&err, ERR_FORMAT, "something else");
    failure_set(&f->failure, status, &err);
}

/* Distrust has no result to look at, so its caller goes on. */
static void test_events_after_a_failure_are_dropped(void **state)
{
    struct fixture *f = *state;
    fail_elsewhere(f);
    for (int i = 0; i < MORE_THAN_A_BATCH; i++)
        upload_distrust_previous(f->upload);
    struct slab *slab;
    struct error err = {0};
    assert_int_equal(slab_new(100, &slab, &err), OK);
    memset(slab->data, 'x', 100);
    assert_int_equal(upload_write(f->upload, (struct slice){slab->data, 100, slab}, true), ERR_FORMAT);
    assert_int_equal(upload_suggest(f->upload, 100), ERR_FORMAT);
    struct stream_stats stats;
    assert_int_equal(upload_finish(f->upload, &stats, &err), ERR_FORMAT);
    assert_string_equal(err.text, "something else");
}

/* The cutter has taken the beginning of a write, and the rest of it never comes. */
static void test_a_failure_within_a_write_is_no_end(void **state)
{
    struct fixture *f = *state;
    enum { PIECE = 2 << 20 };
    struct slab *slab;
    struct error err = {0};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(slab_new(PIECE, &slab, &err), OK);
        memset(slab->data, 'x', PIECE);
        assert_int_equal(upload_write(f->upload, (struct slice){slab->data, PIECE, slab}, false), OK);
    }
    usleep(100000); /* the cutter waits for more */
    assert_int_equal(slab_new(100, &slab, &err), OK);
    memset(slab->data, 'x', 100);
    assert_int_equal(upload_write(f->upload, (struct slice){slab->data, 100, slab}, true), OK);
    fail_elsewhere(f);
    struct stream_stats stats;
    assert_int_equal(upload_finish(f->upload, &stats, &err), ERR_FORMAT);
    assert_string_equal(err.text, "something else");
}

static void test_one_stream(void **state)
{
    struct fixture *f = *state;
    struct slab *slab;
    struct error err = {0};
    assert_int_equal(slab_new(100, &slab, &err), OK);
    memset(slab->data, 'x', 100);
    assert_int_equal(upload_write(f->upload, (struct slice){slab->data, 100, slab}, true), OK);
    struct stream_stats stats;
    assert_int_equal(upload_finish(f->upload, &stats, &err), OK);
    assert_int_equal(stats.size, 100);
    assert_int_equal(stats.chunks, 1);
    assert_int_equal(stats.new_chunks, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_events_after_a_failure_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_failure_within_a_write_is_no_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_stream, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
