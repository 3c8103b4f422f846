/* A backup in progress: locks, the previous snapshot, finish and abort, and processes that are killed. */
#include "testing/testing.h"

#include "store/test_store.h"

#include <dirent.h>
#include <signal.h>
#include <sys/file.h>

#define T60 "host/x/1970-01-01T00:01:00Z"
#define T120 "host/x/1970-01-01T00:02:00Z"

static char *dir;
static struct store *store;

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

static void assert_begin_fails(int64_t time, enum status status, const char *part)
{
    struct snapshot_id id = snapshot("x", time);
    struct store_writer *w;
    struct error err = {0};
    assert_int_equal(store_begin(store, &id, &w, &err), status);
    assert_null(w);
    if (!strstr(err.text, part))
        assert_string_equal(err.text, part);
}

static void assert_finished(const char *wanted)
{
    char text[2048] = "";
    struct snapshot_list list;
    assert_int_equal(store_list(store, "", NULL, &list, NULL), OK);
    for (size_t i = 0; i < list.count; i++) {
        char one[SNAPSHOT_TEXT_SIZE];
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "",
                 snapshot_id_text(&list.items[i], one));
    }
    snapshot_list_deinit(&list);
    assert_string_equal(text, wanted);
}

static void read_text(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t got = read(fd, out, size - 1);
    assert_true(got >= 0);
    out[got] = '\0';
    close(fd);
}

/* ---- the way through ---- */

static void whole_backup(enum sync_level sync)
{
    struct store *s;
    assert_int_equal(store_open(dir, &(struct store_options){.sync = sync, .create = true}, &s, NULL), OK);
    struct snapshot_id id = snapshot("x", 60 + (int64_t)sync);
    struct store_writer *w = begin(s, &id);
    struct store_index *index;
    struct digest digests[3] = {{{1}}, {{2}}, {{3}}}, csum;
    uint64_t size = 0, count = 0;
    assert_int_equal(store_index_begin(w, "root.mpxar.didx", &index, NULL), OK);
    char path[PATH_MAX], text[64];
    snprintf(path, sizeof path, "%s", w->path);
    for (size_t k = 0; k < 3; k++) {
        uint8_t *blob = fake_blob(BLOB_PLAIN, 100 + k, 'n');
        bool is_new;
        assert_int_equal(put_chunk(w, &digests[k], blob, 100 + k, &is_new, NULL), OK);
        assert_int_equal(store_index_append(index, 88 * (k + 1), &digests[k], false, NULL), OK);
        free(blob);
    }
    assert_true(exists(at(path, "root.mpxar.tmp_didx")));
    assert_false(exists(at(path, "root.mpxar.didx")));
    assert_int_equal(store_index_finish(index, &csum, &size, &count, NULL), OK);
    assert_false(exists(at(path, "root.mpxar.tmp_didx")));
    assert_int_equal(mode_of(at(path, "root.mpxar.didx")), 0644);
    assert_int_equal(size, 264);
    assert_int_equal(count, 3);
    assert_int_equal(store_put_blob(w, "a.conf.blob", (const uint8_t *)"x", 1, NULL), OK);
    assert_false(exists(at(path, MANIFEST_NAME)));
    struct buffer blob = BUFFER_INIT(1 << 20);
    manifest_blob(&id, NULL, &blob);
    assert_int_equal(store_finish(w, blob.data, blob.size, NULL), OK);
    buffer_deinit(&blob);
    assert_int_equal(mode_of(at(path, MANIFEST_NAME)), 0644);
    assert_int_equal(mode_of(path), 0755);
    assert_int_equal(mode_of(at(dir, "host/x")), 0755);
    read_text(at(dir, "host/x/owner"), text, sizeof text);
    assert_string_equal(text, "root@pam\n");
    assert_int_equal(mode_of(at(dir, "host/x/owner")), 0644);
    unsigned files = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        files += e->d_name[0] != '.';
    closedir(d);
    assert_int_equal(files, 3);

    struct store_reader *r;
    struct buffer out = BUFFER_INIT(1 << 20);
    struct dynamic_index read;
    assert_int_equal(store_reader_open(s, &id, &r, NULL), OK);
    assert_int_equal(store_read_file(r, "root.mpxar.didx", 1 << 20, &out, NULL), OK);
    assert_int_equal(dynamic_index_parse(out.data, out.size, "x", &read, NULL), OK);
    assert_int_equal(read.count, 3);
    assert_int_equal(read.entries[2].end, 264);
    assert_true(digest_equal(&read.entries[2].digest, &digests[2]));
    assert_true(read.header.ctime > 1600000000);
    assert_true(digest_equal(&read.header.csum, &csum));
    struct digest computed;
    dynamic_index_csum(&read, &computed);
    assert_true(digest_equal(&computed, &csum));
    assert_int_equal(store_get_chunk(r, "x.didx", &digests[1], &out, NULL), OK);
    assert_int_equal(out.size, 101);
    dynamic_index_deinit(&read);
    buffer_deinit(&out);
    store_reader_close(r);
    store_close(s);
}

static void test_whole_backup_without_sync(void **state)
{
    (void)state;
    whole_backup(SYNC_NONE);
}

static void test_whole_backup_with_file_sync(void **state)
{
    (void)state;
    whole_backup(SYNC_FILE);
}

static void test_whole_backup_with_filesystem_sync(void **state)
{
    (void)state;
    whole_backup(SYNC_FILESYSTEM);
}

/* ---- indexes ---- */

static void test_index_larger_than_its_buffer(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct snapshot_id id = snapshot("x", 60);
    struct store_writer *w = begin(store, &id);
    struct store_index *index, *other;
    struct digest csum;
    uint64_t size, count;
    assert_int_equal(store_index_begin(w, "a.didx", &index, NULL), OK);
    assert_int_equal(store_index_begin(w, "a.didx", &other, NULL), ERR_EXISTS);
    assert_int_equal(store_index_begin(w, "b.didx", &other, NULL), OK);
    for (uint64_t k = 0; k < COUNT; k++) {
        struct digest d;
        digest_of(&k, sizeof k, &d);
        assert_int_equal(store_index_append(index, k * 3 + 1, &d, false, NULL), OK);
        assert_int_equal(store_index_append(other, k + 1, &d, false, NULL), OK);
    }
    assert_int_equal(store_index_finish(index, &csum, &size, &count, NULL), OK);
    store_index_abort(other);
    assert_false(exists(at(w->path, "b.tmp_didx")));
    assert_int_equal(store_index_begin(w, "a.didx", &other, NULL), ERR_EXISTS);
    struct buffer out = BUFFER_INIT(1 << 20);
    struct dynamic_index read;
    assert_int_equal(read_whole(w->snapshot_fd, "a.didx", 0, 1 << 20, w->path, &out, NULL), OK);
    assert_int_equal(out.size, INDEX_HEADER_SIZE + COUNT * DYNAMIC_ENTRY_SIZE);
    assert_int_equal(dynamic_index_parse(out.data, out.size, "x", &read, NULL), OK);
    struct digest computed;
    dynamic_index_csum(&read, &computed);
    assert_true(digest_equal(&computed, &csum));
    assert_int_equal(dynamic_index_size(&read), size);
    dynamic_index_deinit(&read);
    buffer_deinit(&out);
    store_abort(w);
}

static void test_index_refuses_wrong_ends_and_no_entries(void **state)
{
    (void)state;
    struct snapshot_id id = snapshot("x", 60);
    struct store_writer *w = begin(store, &id);
    struct store_index *index;
    struct digest d = {{1}}, csum;
    uint64_t size, count;
    struct error err = {0};
    assert_int_equal(store_index_begin(w, "a.didx", &index, NULL), OK);
    assert_int_equal(store_index_finish(index, &csum, &size, &count, &err), ERR_FORMAT);
    assert_false(exists(at(w->path, "a.tmp_didx")));
    assert_false(exists(at(w->path, "a.didx")));

    static const uint64_t wrong[] = {0, 9, 10};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(store_index_begin(w, "a.didx", &index, NULL), OK);
        if (i > 0)
            assert_int_equal(store_index_append(index, 10, &d, false, &err), OK);
        assert_int_equal(store_index_append(index, wrong[i], &d, false, &err), ERR_FORMAT);
        assert_int_equal(store_index_append(index, 20, &d, false, &err), ERR_FORMAT);
        assert_int_equal(store_index_finish(index, &csum, &size, &count, &err), ERR_FORMAT);
        assert_false(exists(at(w->path, "a.tmp_didx")));
        assert_false(exists(at(w->path, "a.didx")));
    }
    store_abort(w);
}

/* ---- abort ---- */

static void test_abort_leaves_nothing(void **state)
{
    (void)state;
    struct snapshot_id id = snapshot("x", 60);
    struct store_writer *w = begin(store, &id);
    assert_true(exists(at(dir, T60)));
    assert_true(exists(at(dir, "host/x/owner")));
    assert_int_equal(store_put_blob(w, "a.conf.blob", (const uint8_t *)"x", 1, NULL), OK);
    store_abort(w);
    assert_false(exists(at(dir, "host/x")));
    store_abort(NULL);

    make_snapshot(store, &id, NULL);
    id.time = 120;
    store_abort(begin(store, &id));
    assert_false(exists(at(dir, T120)));
    assert_finished(T60);
    assert_true(exists(at(dir, "host/x/owner")));
    make_snapshot(store, &id, NULL);
    assert_finished(T60 " " T120);
}

static void test_failed_finish_is_an_abort(void **state)
{
    (void)state;
    struct snapshot_id id = snapshot("x", 60);
    struct store_writer *w = begin(store, &id);
    /* A directory that is not empty where the manifest goes: the rename fails. */
    assert_int_equal(mkdir(at(w->path, MANIFEST_NAME), 0755), 0);
    put_file(at(w->path, MANIFEST_NAME "/x"), "x", 1);
    assert_int_equal(store_finish(w, (const uint8_t *)"x", 1, NULL), ERR_IO);
    assert_false(exists(at(dir, "host/x")));
}

/* ---- the previous snapshot ---- */

static void test_times_must_grow(void **state)
{
    (void)state;
    struct snapshot_id id = snapshot("x", 120), previous = {0};
    struct store_writer *w = begin(store, &id);
    assert_false(store_previous(w, &previous));
    store_abort(w);
    make_snapshot(store, &id, NULL);
    assert_begin_fails(120, ERR_EXISTS, T120 " cannot be made");
    assert_begin_fails(60, ERR_EXISTS, T60 " cannot be made: it is not newer than the group's last one, " T120);
    assert_false(exists(at(dir, T60)));
    id.time = 121;
    w = begin(store, &id);
    assert_true(store_previous(w, &previous));
    assert_int_equal(previous.time, 120);
    assert_string_equal(previous.id, "x");
    store_abort(w);
    /* Other groups and namespaces have times of their own. */
    struct snapshot_id other = snapshot("y", 60), deep = snapshot("x", 60);
    snprintf(deep.ns, sizeof deep.ns, "n");
    make_snapshot(store, &other, NULL);
    make_snapshot(store, &deep, NULL);
}

static void test_failed_verification_counts_as_none(void **state)
{
    (void)state;
    struct snapshot_id first = snapshot("x", 60), second = snapshot("x", 120), third = snapshot("x", 90), previous;
    make_snapshot(store, &first, NULL);
    make_snapshot(store, &second,
                  "{\"verify_state\":{\"state\":\"failed\",\"upid\":\"UPID:pbs:00000ABC:00001234:00000001:65536000:"
                  "verify:store:root@pam:\"}}");
    struct store_writer *w = begin(store, &third); /* an older time may be used then */
    assert_false(store_previous(w, &previous));    /* and the search does not go further back */
    store_abort(w);
    assert_begin_fails(120, ERR_EXISTS, "is there already");
}

static void test_unreadable_manifest_is_still_the_previous_one(void **state)
{
    (void)state;
    struct snapshot_id first = snapshot("x", 60), second = snapshot("x", 120), previous;
    make_snapshot(store, &first, NULL);
    put_file(at(dir, T60 "/" MANIFEST_NAME), "garbage", 7);
    struct store_writer *w = begin(store, &second);
    assert_true(store_previous(w, &previous));
    assert_int_equal(previous.time, 60);
    store_abort(w);
}

static void test_previous_is_held_while_the_backup_runs(void **state)
{
    (void)state;
    struct snapshot_id first = snapshot("x", 60), second = snapshot("x", 120);
    make_snapshot(store, &first, NULL);
    struct store_writer *w = begin(store, &second);
    int fd = open(at(dir, T60), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
    assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), 0);
    assert_int_equal(flock(fd, LOCK_UN), 0);
    store_abort(w);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    /* Being removed: neither a reference nor readable. */
    assert_begin_fails(120, ERR_LOCKED, T60);
    struct store_reader *r;
    assert_int_equal(store_reader_open(store, &first, &r, NULL), ERR_LOCKED);
    close(fd);
    assert_int_equal(store_reader_open(store, &first, &r, NULL), OK);
    fd = open(at(dir, T60), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
    close(fd);
    store_reader_close(r);
}

/* ---- locks and killed processes ---- */

static bool hold_backup(const char *path, int ready_fd)
{
    struct store *s;
    struct store_writer *w;
    struct store_index *index;
    struct snapshot_id id = snapshot("x", 120);
    struct digest d = {{7}};
    bool is_new;
    if (store_open(path, &writing, &s, NULL) != OK || store_begin(s, &id, &w, NULL) != OK)
        return false;
    uint8_t *blob = fake_blob(BLOB_PLAIN, 100, 'n');
    if (put_chunk(w, &d, blob, 100, &is_new, NULL) != OK ||
        store_index_begin(w, "root.mpxar.didx", &index, NULL) != OK ||
        store_index_append(index, 88, &d, false, NULL) != OK ||
        store_put_blob(w, "a.conf.blob", blob, 100, NULL) != OK || write(ready_fd, "x", 1) != 1)
        return false;
    free(blob);
    pause();
    return false;
}

static pid_t start_backup(void)
{
    int ready[2];
    char got;
    assert_int_equal(pipe(ready), 0);
    pid_t child = start_child(hold_backup, dir, ready[1]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &got, 1), 1);
    close(ready[0]);
    return child;
}

static void test_one_backup_per_group_and_killed_ones_are_cleaned_up(void **state)
{
    (void)state;
    struct snapshot_id first = snapshot("x", 60), third = snapshot("x", 180), previous;
    struct snapshot_id other = snapshot("y", 60), half = snapshot("x", 120);
    make_snapshot(store, &first, NULL);
    pid_t child = start_backup();
    assert_begin_fails(180, ERR_LOCKED, "another backup of group host/x is running");
    make_snapshot(store, &other, NULL); /* other groups go on */
    assert_finished(T60 " host/y/1970-01-01T00:01:00Z");
    struct store_reader *r;
    assert_int_equal(store_reader_open(store, &half, &r, NULL), ERR_NOT_FOUND);
    assert_int_equal(store_reader_open(store, &first, &r, NULL), OK); /* readers do not care */
    store_reader_close(r);

    kill(child, SIGKILL);
    assert_int_equal(wait_child(child), 128 + SIGKILL);
    assert_true(exists(at(dir, T120 "/root.mpxar.tmp_didx")));
    assert_finished(T60 " host/y/1970-01-01T00:01:00Z");
    assert_int_equal(store_reader_open(store, &half, &r, NULL), ERR_NOT_FOUND);

    /* One that is held by somebody, one with a manifest that is no file: not ours to remove. */
    assert_int_equal(mkdir(at(dir, "host/x/1970-01-01T00:00:10Z"), 0755), 0);
    int held = open(at(dir, "host/x/1970-01-01T00:00:10Z"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(held, LOCK_SH | LOCK_NB), 0);
    assert_int_equal(mkdir(at(dir, "host/x/1970-01-01T00:00:11Z"), 0755), 0);
    assert_int_equal(mkfifo(at(dir, "host/x/1970-01-01T00:00:11Z/" MANIFEST_NAME), 0644), 0);

    struct store_writer *w = begin(store, &third);
    assert_false(exists(at(dir, T120)));
    assert_true(exists(at(dir, "host/x/1970-01-01T00:00:10Z")));
    assert_true(exists(at(dir, "host/x/1970-01-01T00:00:11Z")));
    assert_true(store_previous(w, &previous));
    assert_int_equal(previous.time, 60);
    store_abort(w);
    close(held);
    assert_finished(T60 " host/y/1970-01-01T00:01:00Z");
}

static void test_killed_backup_can_be_repeated_in_the_same_second(void **state)
{
    (void)state;
    pid_t child = start_backup();
    kill(child, SIGKILL);
    wait_child(child);
    struct snapshot_id same = snapshot("x", 120);
    struct store_writer *w = begin(store, &same);
    assert_false(exists(at(dir, T120 "/root.mpxar.tmp_didx")));
    store_abort(w);
    assert_true(exists(at(dir, "host/x/owner"))); /* that group was there before */
}

static void test_locks_hold_within_one_process(void **state)
{
    (void)state;
    struct snapshot_id id = snapshot("x", 60);
    struct store_writer *w = begin(store, &id);
    assert_begin_fails(120, ERR_LOCKED, "another backup");
    store_abort(w);
}

/* ---- owner ---- */

static void test_group_without_usable_owner_is_refused(void **state)
{
    (void)state;
    struct snapshot_id id = snapshot("x", 60);
    make_snapshot(store, &id, NULL);
    static const char *const bad[] = {"", "\n", "root\n", "a b@pam\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_file(at(dir, "host/x/owner"), bad[i], strlen(bad[i]));
        assert_begin_fails(120, ERR_FORMAT, "host/x/owner");
    }
    put_file(at(dir, "host/x/owner"), "someone@pbs!token", 17); /* no newline: tolerated */
    id.time = 120;
    store_abort(begin(store, &id));
    assert_int_equal(unlink(at(dir, "host/x/owner")), 0);
    assert_begin_fails(120, ERR_FORMAT, "owner is missing");
    assert_int_equal(mkfifo(at(dir, "host/x/owner"), 0644), 0);
    assert_begin_fails(120, ERR_FORMAT, "not a regular file");
    assert_finished(T60);
    assert_false(exists(at(dir, T120)));
}

static void test_group_that_was_just_being_made_is_completed(void **state)
{
    (void)state;
    assert_int_equal(mkdir(at(dir, "host"), 0755), 0);
    assert_int_equal(mkdir(at(dir, "host/x"), 0755), 0);
    put_file(at(dir, "host/x/.owner.tmp"), "roo", 3);
    struct snapshot_id id = snapshot("x", 60);
    make_snapshot(store, &id, NULL);
    assert_finished(T60);
    assert_false(exists(at(dir, "host/x/.owner.tmp")));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_whole_backup_without_sync),
        TEST(test_whole_backup_with_file_sync),
        TEST(test_whole_backup_with_filesystem_sync),
        TEST(test_index_larger_than_its_buffer),
        TEST(test_index_refuses_wrong_ends_and_no_entries),
        TEST(test_abort_leaves_nothing),
        TEST(test_failed_finish_is_an_abort),
        TEST(test_times_must_grow),
        TEST(test_failed_verification_counts_as_none),
        TEST(test_unreadable_manifest_is_still_the_previous_one),
        TEST(test_previous_is_held_while_the_backup_runs),
        TEST(test_one_backup_per_group_and_killed_ones_are_cleaned_up),
        TEST(test_killed_backup_can_be_repeated_in_the_same_second),
        TEST(test_locks_hold_within_one_process),
        TEST(test_group_without_usable_owner_is_refused),
        TEST(test_group_that_was_just_being_made_is_completed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
