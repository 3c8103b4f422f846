/* Backups of a server: what the next one finds of those before it, whatever became of them. */
#include "testing/testing.h"

#include "store/local_server.h"
#include "store/local_server_changes.h"
#include "store/test_store.h"

#include <sys/file.h>

#define FIRST "host/x/2023-11-14T22:13:20Z"
#define SECOND "host/x/2023-11-14T22:14:20Z"

enum { T1 = 1700000000, T2 = 1700000060, T3 = 1700000120 };

static char *dir;
static struct store *store;
static struct error err;
static const struct local_begin how = {.auth_id = "bench@pbs"};

static int setup(void **state)
{
    (void)state;
    umask(022);
    dir = small_store_dir();
    store = open_store_at(dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    store_close(store);
    temp_dir_remove(dir);
    return 0;
}

static struct store_writer *begin_at(int64_t time)
{
    struct snapshot_id id = snapshot("x", time);
    struct store_writer *w;
    if (local_begin(store, &id, &how, &w, &err) != OK)
        assert_string_equal(err.text, "");
    return w;
}

static void back_up(int64_t time)
{
    struct snapshot_id id = snapshot("x", time);
    struct buffer blob = BUFFER_INIT(1 << 20);
    struct store_writer *w = begin_at(time);
    manifest_blob(&id, NULL, &blob);
    assert_int_equal(local_finish(w, blob.data, blob.size, false, &err), OK);
    local_end(w, false);
    buffer_deinit(&blob);
}

/* As when it was renamed into place, and the directory could not be synced. */
static void test_a_manifest_alone_does_not_finish_a_snapshot(void **state)
{
    (void)state;
    struct store_writer *w = begin_at(T1);
    put_file(at(dir, FIRST "/index.json.blob"), "x", 1);
    local_end(w, false);
    assert_false(exists(at(dir, FIRST)));
    assert_false(exists(at(dir, "host/x")));
    back_up(T1);
    assert_true(exists(at(dir, FIRST "/index.json.blob")));
}

/* Whoever removes a snapshot holds its lock, and the manifest goes first. */
static void test_a_base_that_is_being_removed_is_locked(void **state)
{
    (void)state;
    back_up(T1);
    int fd = open(at(dir, FIRST), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    put_file(at(dir, FIRST "/index.json.blob"), "", 0);
    struct snapshot_id id = snapshot("x", T2);
    struct store_writer *w;
    assert_int_equal(local_begin(store, &id, &how, &w, &err), ERR_LOCKED);
    assert_non_null(strstr(err.text, "lock"));
    close(fd);
    assert_int_equal(local_begin(store, &id, &how, &w, &err), ERR_FORMAT);
    assert_int_equal(unlink(at(dir, FIRST "/index.json.blob")), 0);
    local_end(begin_at(T2), false);
}

static void test_what_a_killed_server_left_is_removed(void **state)
{
    (void)state;
    back_up(T1);
    assert_int_equal(mkdir(at(dir, SECOND), 0755), 0);
    put_file(at(dir, SECOND "/a.tmp_didx"), "x", 1);
    assert_int_equal(mkdir(at(dir, "host/x/2020-01-01T00:00:00Z"), 0755), 0);
    assert_int_equal(mkdir(at(dir, "host/x/2020-01-02T00:00:00Z"), 0755), 0);
    put_file(at(dir, "host/x/2020-01-02T00:00:00Z/.protected"), "", 0);
    int fd = open(at(dir, "host/x/2020-01-01T00:00:00Z"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) == 0);
    struct snapshot_id same = snapshot("x", T2);
    struct store_writer *w;
    assert_int_equal(local_begin(store, &same, &how, &w, &err), ERR_EXISTS); /* protocol.md 7.2, 14 */
    assert_true(exists(at(dir, SECOND)));
    w = begin_at(T2 + 1);
    assert_false(exists(at(dir, SECOND)));
    assert_true(exists(at(dir, "host/x/2020-01-01T00:00:00Z"))); /* somebody holds it */
    local_end(w, false);
    close(fd);
    local_end(begin_at(T3), false);
    assert_false(exists(at(dir, "host/x/2020-01-01T00:00:00Z")));
    assert_true(exists(at(dir, "host/x/2020-01-02T00:00:00Z")));
    assert_true(exists(at(dir, FIRST "/index.json.blob")));
}

/* What a listing leaves out is looked at under the group's lock all the same. */
static void test_groups_are_removed_by_what_is_in_them_then(void **state)
{
    (void)state;
    char whole[NAMESPACE_MAX + 1];
    assert_int_equal(local_make_namespace(store, "", "a", whole, &err), OK);
    assert_int_equal(mkdir(at(dir, "ns/a/host"), 0755), 0);
    assert_int_equal(mkdir(at(dir, "ns/a/host/x"), 0755), 0);
    assert_int_equal(mkdir(at(dir, "ns/a/" FIRST), 0755), 0);
    put_file(at(dir, "ns/a/" FIRST "/.protected"), "", 0);
    assert_int_equal(local_remove_namespace(store, "a", true, &err), ERR_REFUSED);
    assert_true(exists(at(dir, "ns/a/" FIRST "/.protected")));
    assert_int_equal(unlink(at(dir, "ns/a/" FIRST "/.protected")), 0);
    int fd = open(at(dir, "ns/a/" FIRST), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) == 0);
    assert_int_equal(mkdir(at(dir, "ns/a/" FIRST "/index.json.blob"), 0755), 0); /* neither finished nor unfinished */
    assert_int_equal(local_remove_namespace(store, "a", true, &err), ERR_LOCKED);
    assert_true(exists(at(dir, "ns/a/" FIRST "/index.json.blob")));
    close(fd);
    put_file(at(dir, "ns/a/" SECOND), "x", 1); /* a file of such a name */
    assert_int_equal(local_remove_namespace(store, "a", true, &err), OK);
    assert_false(exists(at(dir, "ns/a")));
}

static void assert_public(const char *before, const char *after, const char *expected)
{
    char text[ERROR_TEXT_MAX], out[ERROR_TEXT_MAX];
    snprintf(text, sizeof text, "%s%s%s", before, dir, after);
    local_public_text(store, text, out);
    assert_string_equal(out, expected);
}

static void test_texts_for_clients_are_without_the_directory(void **state)
{
    (void)state;
    char out[ERROR_TEXT_MAX], text[ERROR_TEXT_MAX];
    assert_public("", "/ns/zz: no such directory", "ns/zz: no such directory");
    assert_public("create ", "/host/x: Permission denied", "create host/x: Permission denied");
    assert_public("statvfs ", ": Input/output error", "statvfs the datastore: Input/output error");
    assert_public("", "", "the datastore");
    assert_public("'", "'", "'the datastore'");
    snprintf(text, sizeof text, "read %ser/x", dir); /* another one */
    local_public_text(store, text, out);
    assert_string_equal(out, text);
    local_public_text(store, "nothing in it", out);
    assert_string_equal(out, "nothing in it");
    memset(text, ' ', sizeof text);
    memcpy(text + sizeof text - 1 - strlen(dir), dir, strlen(dir) + 1);
    local_public_text(store, text, out);
    assert_null(strstr(out, dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_manifest_alone_does_not_finish_a_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_base_that_is_being_removed_is_locked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_a_killed_server_left_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_groups_are_removed_by_what_is_in_them_then, setup, teardown),
        cmocka_unit_test_setup_teardown(test_texts_for_clients_are_without_the_directory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
