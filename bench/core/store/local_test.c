/* The datastore directory: making, opening, listing, reading, and what hostile names and files do to it. */
#include "testing/testing.h"

#include "store/test_store.h"

#include <dirent.h>
#include <signal.h>
#include <time.h>
#include <utime.h>

/* ---- making ---- */

/* 65,536 directories are half a second of work in memory and can be minutes on a busy disk, most of it when they are
 * removed again. */
static char *fast_temp_dir_make(void)
{
    const char *chosen = getenv("TMPDIR");
    if (!chosen && access("/dev/shm", W_OK) == 0)
        assert_int_equal(setenv("TMPDIR", "/dev/shm", 1), 0);
    char *dir = temp_dir_make();
    if (!chosen)
        unsetenv("TMPDIR");
    return dir;
}

static void assert_complete(const char *dir)
{
    unsigned count = 0;
    DIR *chunks = opendir(at(dir, ".chunks"));
    assert_non_null(chunks);
    for (const struct dirent *e; (e = readdir(chunks)) != NULL;)
        count += e->d_name[0] != '.';
    closedir(chunks);
    assert_int_equal(count, CHUNK_DIR_COUNT);
    assert_true(exists(at(dir, ".chunks/0000")));
    assert_true(exists(at(dir, ".chunks/ffff")));
    assert_false(exists(at(dir, ".chunks.tmp")));
}

static bool open_and_close(const char *dir, int ready_fd)
{
    (void)ready_fd;
    struct store *s;
    if (store_open(dir, &writing, &s, NULL) != OK)
        return false;
    store_close(s);
    return true;
}

static void test_creates_the_layout_once_for_two_processes(void **state)
{
    (void)state;
    char *base = fast_temp_dir_make();
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s/new", base);
    mode_t old_umask = umask(022);
    pid_t first = start_child(open_and_close, dir, -1);
    pid_t second = start_child(open_and_close, dir, -1);
    assert_int_equal(wait_child(first), 0);
    assert_int_equal(wait_child(second), 0);
    umask(old_umask);
    assert_complete(dir);
    assert_int_equal(mode_of(dir), 0755);
    assert_int_equal(mode_of(at(dir, ".lock")), 0644);
    assert_int_equal(mode_of(at(dir, ".chunks")), 0750);
    assert_int_equal(mode_of(at(dir, ".chunks/abcd")), 0750);
    store_close(open_store_at(dir));
    temp_dir_remove(base);
}

static void test_completes_what_a_killed_process_began(void **state)
{
    (void)state;
    char *dir = fast_temp_dir_make();
    pid_t child = start_child(open_and_close, dir, -1);
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < 10000 && !exists(at(dir, ".chunks.tmp/0040")) && !exists(at(dir, ".chunks")); i++)
        nanosleep(&pause, NULL);
    kill(child, SIGKILL);
    wait_child(child);
    if (exists(at(dir, ".chunks")))
        print_message("the child was done before it was killed\n");

    struct store *s;
    struct error err = {0};
    if (!exists(at(dir, ".chunks"))) {
        assert_int_equal(store_open(dir, &reading, &s, &err), ERR_NOT_FOUND);
        assert_non_null(strstr(err.text, "interrupted"));
    }
    store_close(open_store_at(dir));
    assert_complete(dir);
    assert_int_equal(store_open(dir, &reading, &s, NULL), OK);
    store_close(s);
    temp_dir_remove(dir);
}

static void test_refuses_what_is_no_datastore(void **state)
{
    (void)state;
    char *dir = temp_dir_make();
    struct store *s;
    struct error err = {0};
    assert_int_equal(store_open("user@pbs@host:store", &writing, &s, &err), ERR_USAGE);
    assert_int_equal(store_open("", &writing, &s, &err), ERR_USAGE);
    assert_int_equal(store_open(dir, &reading, &s, &err), ERR_NOT_FOUND); /* empty */
    assert_int_equal(store_open(at(dir, "missing"), &reading, &s, &err), ERR_NOT_FOUND);
    assert_false(exists(at(dir, "missing")));
    assert_int_equal(store_open(at(dir, "a/b"), &writing, &s, &err), ERR_IO);
    put_file(at(dir, "file"), "x", 1);
    assert_int_equal(store_open(at(dir, "file"), &writing, &s, &err), ERR_NOT_ARCHIVE);
    assert_int_equal(store_open(dir, &writing, &s, &err), ERR_NOT_ARCHIVE);
    assert_non_null(strstr(err.text, "neither empty nor a datastore"));
    assert_false(exists(at(dir, ".lock")));
    assert_null(s);
    temp_dir_remove(dir);
}

static bool lock_exclusively(const char *dir, int ready_fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET}; /* as a server's garbage collection does */
    int fd = open(at(dir, ".lock"), O_RDWR | O_CLOEXEC);
    bool locked = fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0;
    if (write(ready_fd, locked ? "1" : "0", 1) != 1)
        return false;
    pause();
    return false;
}

static void test_process_lock_conflicts_with_a_collection(void **state)
{
    (void)state;
    char *dir = small_store_dir();
    struct store *a = open_store_at(dir);
    struct store *b = open_store_at(dir); /* shared, also within one process */
    store_close(b);

    /* `b` closed a descriptor of .lock: with plain record locks that would have dropped the lock of `a` as well. */
    int ready[2];
    char got;
    assert_int_equal(pipe(ready), 0);
    pid_t child = start_child(lock_exclusively, dir, ready[1]);
    assert_int_equal(read(ready[0], &got, 1), 1);
    assert_int_equal(got, '0');
    kill(child, SIGKILL);
    wait_child(child);
    store_close(a);

    child = start_child(lock_exclusively, dir, ready[1]);
    assert_int_equal(read(ready[0], &got, 1), 1);
    assert_int_equal(got, '1');
    struct error err = {0};
    assert_int_equal(store_open(dir, &writing, &a, &err), ERR_LOCKED);
    assert_non_null(strstr(err.text, "locked"));
    kill(child, SIGKILL);
    wait_child(child);
    store_close(open_store_at(dir));
    close(ready[0]);
    close(ready[1]);
    temp_dir_remove(dir);
}

/* ---- listing ---- */

static void assert_listed(struct store *s, const char *ns, const char *group, const char *wanted)
{
    char text[4096] = "";
    struct snapshot_list list;
    struct snapshot_id parsed;
    struct error err = {0};
    if (group)
        assert_int_equal(snapshot_group_parse(group, &parsed, NULL), OK);
    if (store_list(s, ns, group ? &parsed : NULL, &list, &err) != OK)
        assert_string_equal(err.text, "");
    for (size_t i = 0; i < list.count; i++) {
        char one[SNAPSHOT_TEXT_SIZE];
        assert_string_equal(list.items[i].ns, ns);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "",
                 snapshot_id_text(&list.items[i], one));
    }
    assert_string_equal(text, wanted);
    snapshot_list_deinit(&list);
    snapshot_list_deinit(&list);
}

static void test_lists_finished_snapshots_sorted(void **state)
{
    (void)state;
    char *dir = small_store_dir();
    struct store *s = open_store_at(dir);
    assert_listed(s, "", NULL, "");
    struct snapshot_id ids[] = {snapshot("b", 60), snapshot("b", 3600), snapshot("a", 7200), snapshot("a-1", 60)};
    struct snapshot_id vm = {.type = "vm", .id = "1", .time = 60};
    struct snapshot_id ct = {.type = "ct", .id = "9", .time = 60};
    struct snapshot_id deep = {.type = "host", .id = "b", .ns = "x/y", .time = 120};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        make_snapshot(s, &ids[i], NULL);
    make_snapshot(s, &vm, NULL);
    make_snapshot(s, &ct, NULL);
    make_snapshot(s, &deep, NULL);
    assert_true(exists(at(dir, "ns/x/ns/y/host/b/1970-01-01T00:02:00Z/index.json.blob")));

    /* Foreign names, an unfinished snapshot, a file and a link where a directory should be. */
    assert_int_equal(mkdir(at(dir, "host/.hidden"), 0755), 0);
    assert_int_equal(mkdir(at(dir, "host/a b"), 0755), 0);
    assert_int_equal(mkdir(at(dir, "host/a/1970-01-01"), 0755), 0);
    assert_int_equal(mkdir(at(dir, "host/a/1970-01-01T00:00:09Z"), 0755), 0);
    assert_int_equal(symlink("1970-01-01T02:00:00Z", at(dir, "host/a/1970-01-01T03:00:00Z")), 0);
    assert_int_equal(symlink("a", at(dir, "host/link")), 0);
    put_file(at(dir, "host/a/1970-01-01T00:00:01Z"), "x", 1);
    put_file(at(dir, "host/file"), "x", 1);
    assert_int_equal(mkdir(at(dir, "tape"), 0755), 0);
    assert_int_equal(mkdir(at(dir, "host/a/1970-01-01T04:00:00Z"), 0755), 0);
    assert_int_equal(mkfifo(at(dir, "host/a/1970-01-01T04:00:00Z/index.json.blob"), 0644), 0);

    assert_listed(s, "", NULL,
                  "ct/9/1970-01-01T00:01:00Z host/a/1970-01-01T02:00:00Z host/a-1/1970-01-01T00:01:00Z "
                  "host/b/1970-01-01T00:01:00Z host/b/1970-01-01T01:00:00Z vm/1/1970-01-01T00:01:00Z");
    assert_listed(s, "", "host/b", "host/b/1970-01-01T00:01:00Z host/b/1970-01-01T01:00:00Z");
    assert_listed(s, "", "host/none", "");
    assert_listed(s, "x/y", NULL, "host/b/1970-01-01T00:02:00Z");
    assert_listed(s, "x", NULL, "");
    struct snapshot_list list;
    assert_int_equal(store_list(s, "z", NULL, &list, NULL), ERR_NOT_FOUND);
    assert_int_equal(store_list(s, "../x", NULL, &list, NULL), ERR_USAGE);
    store_close(s);
    temp_dir_remove(dir);
}

/* ---- names that try to escape ---- */

static void test_names_cannot_leave_the_datastore(void **state)
{
    (void)state;
    char *base = temp_dir_make();
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s/store", base);
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_int_equal(mkdir(at(dir, ".chunks"), 0750), 0);
    struct store *s = open_store_at(dir);
    static const char *const bad_ids[] = {"", ".", "..", "a/b", "../x", "a/../..", "-a", ".a", "a\nb"};
    for (size_t i = 0; i < sizeof bad_ids / sizeof *bad_ids; i++) {
        struct store_writer *w;
        struct store_reader *r;
        struct snapshot_id id = snapshot(bad_ids[i], 60);
        assert_int_equal(store_begin(s, &id, &w, NULL), ERR_USAGE);
        assert_null(w);
        assert_int_equal(store_reader_open(s, &id, &r, NULL), ERR_USAGE);
        id = snapshot("x", 60);
        snprintf(id.ns, sizeof id.ns, "%s/.", bad_ids[i]);
        assert_int_equal(store_begin(s, &id, &w, NULL), ERR_USAGE);
    }
    assert_false(exists(at(dir, "host")));
    assert_false(exists(at(dir, "ns")));

    struct snapshot_id id = snapshot("x", 60);
    struct store_writer *w = begin(s, &id);
    char overlong[300];
    memset(overlong, 'x', sizeof overlong);
    memcpy(overlong + sizeof overlong - 6, ".blob", 6);
    const char *const bad_names[] = {
        "",  ".blob",      "../x.blob", "a/b.blob", "/x.blob", "-x.blob",         ".x.blob",
        "x", "x.tmp_didx", "x y.blob",  "x\n.blob", overlong,  "index.json.blob", "x.didx"};
    for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++)
        assert_int_equal(store_put_blob(w, bad_names[i], (const uint8_t *)"x", 1, NULL), ERR_USAGE);
    struct store_index *index;
    const char *const bad_indexes[] = {"", ".didx", "../x.didx", "a/b.didx", "x.fidx", "x.blob", "x"};
    for (size_t i = 0; i < sizeof bad_indexes / sizeof *bad_indexes; i++)
        assert_int_equal(store_index_begin(w, bad_indexes[i], &index, NULL), ERR_USAGE);
    store_abort(w);

    /* Links in the place of directories are not followed, neither for reading nor for writing. */
    assert_int_equal(mkdir(at(base, "outside"), 0755), 0);
    assert_int_equal(symlink("../../outside", at(dir, "host/link")), 0);
    id = snapshot("link", 60);
    assert_int_equal(store_begin(s, &id, &w, NULL), ERR_FORMAT);
    assert_int_equal(symlink("../outside", at(dir, "vm")), 0);
    struct snapshot_id vm = {.type = "vm", .id = "1", .time = 60};
    assert_int_not_equal(store_begin(s, &vm, &w, NULL), OK);
    assert_int_equal(symlink("../outside", at(dir, "ns")), 0);
    struct snapshot_id deep = {.type = "host", .id = "1", .ns = "a", .time = 60};
    assert_int_not_equal(store_begin(s, &deep, &w, NULL), OK);
    assert_int_equal(rmdir(at(base, "outside")), 0); /* still empty */
    store_close(s);
    temp_dir_remove(base);
}

/* ---- reading ---- */

static void test_reads_only_regular_files_of_bounded_size(void **state)
{
    (void)state;
    char *dir = small_store_dir();
    struct store *s = open_store_at(dir);
    struct snapshot_id id = snapshot("x", 60);
    struct store_writer *w = begin(s, &id);
    assert_int_equal(store_put_blob(w, "a.conf.blob", (const uint8_t *)"0123456789", 10, NULL), OK);
    assert_int_equal(store_put_blob(w, "a.conf.blob", (const uint8_t *)"x", 1, NULL), ERR_EXISTS);
    struct buffer blob = BUFFER_INIT(1 << 20);
    manifest_blob(&id, NULL, &blob);
    assert_int_equal(store_finish(w, blob.data, blob.size, NULL), OK);

    const char *snapshot_dir = at(dir, "host/x/1970-01-01T00:01:00Z");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", snapshot_dir);
    assert_int_equal(mode_of(at(path, "a.conf.blob")), 0644);
    assert_int_equal(mkfifo(at(path, "fifo.blob"), 0644), 0);
    assert_int_equal(mkdir(at(path, "dir.blob"), 0755), 0);
    assert_int_equal(symlink("a.conf.blob", at(path, "link.blob")), 0);

    struct store_reader *r;
    struct buffer out = BUFFER_INIT(1 << 20);
    struct error err = {0};
    assert_int_equal(store_reader_open(s, &id, &r, NULL), OK);
    assert_int_equal(store_read_file(r, "a.conf.blob", 10, &out, NULL), OK);
    assert_int_equal(out.size, 10);
    assert_memory_equal(out.data, "0123456789", 10);
    assert_int_equal(store_read_file(r, "index.json.blob", 1 << 20, &out, NULL), OK);
    assert_int_equal(out.size, blob.size); /* replaced */
    assert_int_equal(store_read_file(r, "a.conf.blob", 9, &out, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "a.conf.blob"));
    assert_int_equal(store_read_file(r, "none.blob", 10, &out, &err), ERR_NOT_FOUND);
    assert_int_equal(store_read_file(r, "fifo.blob", 10, &out, &err), ERR_FORMAT);
    assert_int_equal(store_read_file(r, "dir.blob", 10, &out, &err), ERR_FORMAT);
    assert_int_equal(store_read_file(r, "link.blob", 10, &out, &err), ERR_FORMAT);
    assert_int_equal(store_read_file(r, "../owner", 10, &out, &err), ERR_USAGE);
    struct digest digest = {{0xab, 0xcd, 0xef}};
    char text[PATH_MAX];
    store_chunk_path(r, &digest, text, sizeof text);
    assert_non_null(strstr(text, "/.chunks/abcd/abcdef00"));
    assert_int_equal(store_get_chunk(r, "x.didx", &digest, &out, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "abcdef00"));
    assert_int_equal(mkdir(at(dir, ".chunks/abcd"), 0750), 0);
    assert_int_equal(mkfifo(text, 0644), 0);
    assert_int_equal(store_get_chunk(r, "x.didx", &digest, &out, &err), ERR_FORMAT);
    assert_int_equal(unlink(text), 0);
    put_file(text, "", 0);
    assert_int_equal(truncate(text, CHUNK_BLOB_SIZE_MAX + 1), 0);
    assert_int_equal(store_get_chunk(r, "x.didx", &digest, &out, &err), ERR_LIMIT);
    store_reader_close(r);
    store_reader_close(NULL);

    id.time = 61;
    assert_int_equal(store_reader_open(s, &id, &r, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "host/x/1970-01-01T00:01:01Z"));
    buffer_deinit(&out);
    buffer_deinit(&blob);
    store_close(s);
    temp_dir_remove(dir);
}

static void test_owner_names(void **state)
{
    (void)state;
    static const char *const good[] = {"root@pam", "root@pam\n", "u@pbs!tok", "a@b@pbs\n", "x!y@pbs"};
    static const char *const bad[] = {
        "",        "\n",        "root",   "@pam",  "root@",     "ro ot@pam",         "a:b@pam",
        "a/b@pam", "root@pam!", "a@.pam", "a@p m", "a@pam!t!u", "root@pam\nx@pam\n", "root@pam\n\n"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(owner_is_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (owner_is_valid(bad[i], strlen(bad[i])))
            assert_string_equal(bad[i], "accepted");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_creates_the_layout_once_for_two_processes),
        cmocka_unit_test(test_completes_what_a_killed_process_began),
        cmocka_unit_test(test_refuses_what_is_no_datastore),
        cmocka_unit_test(test_process_lock_conflicts_with_a_collection),
        cmocka_unit_test(test_lists_finished_snapshots_sorted),
        cmocka_unit_test(test_names_cannot_leave_the_datastore),
        cmocka_unit_test(test_reads_only_regular_files_of_bounded_size),
        cmocka_unit_test(test_owner_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
