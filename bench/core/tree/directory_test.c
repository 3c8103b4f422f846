#include "testing/testing.h"

#include "tree/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { DEPTH = 200, THREADS = 4, PINS_PER_THREAD = 400 };

/* A chain of `depth` directories named d0, d1, ... below `root`. */
static void make_chain(const char *root, int depth)
{
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (int i = 0; i < depth; i++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", i);
        assert_int_equal(mkdirat(fd, name, 0755), 0);
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(fd);
        fd = next;
    }
    close(fd);
}

struct chain {
    char *path;
    struct directories *pool;
    struct directory *levels[DEPTH + 1];
    ino_t inodes[DEPTH + 1];
    int depth;
    struct error err;
};

static void chain_begin(struct chain *c, size_t limit, int depth)
{
    *c = (struct chain){.path = temp_dir_make(), .depth = depth};
    make_chain(c->path, depth);
    assert_int_equal(directories_new(limit, &c->pool, &c->err), OK);
    struct stat st;
    assert_int_equal(directory_open_root(c->pool, c->path, false, &c->levels[0], &st, &c->err), OK);
    c->inodes[0] = st.st_ino;
    for (int i = 0; i < depth; i++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", i);
        assert_int_equal(directory_open_child(c->levels[i], name, &c->levels[i + 1], &st, &c->err), OK);
        c->inodes[i + 1] = st.st_ino;
        assert_true(directory_open_count(c->pool) <= limit);
    }
}

static void chain_end(struct chain *c)
{
    for (int i = 0; i <= c->depth; i++)
        directory_release(c->levels[i]);
    directories_free(c->pool);
    temp_dir_remove(c->path);
}

static void check_pin(struct chain *c, int level)
{
    int fd;
    struct stat st;
    struct error err;
    assert_int_equal(directory_pin(c->levels[level], &fd, &err), OK);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_ino, c->inodes[level]);
    directory_unpin(c->levels[level]);
}

static void test_limit_holds_on_a_deep_tree(void **state)
{
    (void)state;
    struct chain c;
    chain_begin(&c, 4, DEPTH);
    for (int i = DEPTH; i >= 0; i -= 7) {
        check_pin(&c, i);
        assert_true(directory_open_count(c.pool) <= 4);
    }
    for (int i = 0; i <= DEPTH; i += 13) {
        check_pin(&c, i);
        assert_true(directory_open_count(c.pool) <= 4);
    }
    chain_end(&c);
}

static void test_everything_stays_open_below_the_limit(void **state)
{
    (void)state;
    struct chain c;
    chain_begin(&c, 64, 20);
    assert_int_equal(directory_open_count(c.pool), 21);
    chain_end(&c);
}

static void test_pinned_ones_are_not_closed(void **state)
{
    (void)state;
    struct chain c;
    chain_begin(&c, 4, 40);
    int fds[10];
    for (int i = 0; i < 10; i++)
        assert_int_equal(directory_pin(c.levels[4 * i + 1], &fds[i], &c.err), OK);
    assert_true(directory_open_count(c.pool) >= 10); /* the limit gives way */
    for (int i = 0; i < 10; i++) {
        struct stat st;
        assert_int_equal(fstat(fds[i], &st), 0);
        assert_int_equal(st.st_ino, c.inodes[4 * i + 1]);
        directory_unpin(c.levels[4 * i + 1]);
    }
    assert_true(directory_open_count(c.pool) <= 4);
    chain_end(&c);
}

struct worker {
    struct chain *chain;
    unsigned seed;
    atomic_int *wrong;
};

static void *pin_at_random(void *argument)
{
    struct worker *w = argument;
    uint64_t x = w->seed;
    for (int i = 0; i < PINS_PER_THREAD; i++) {
        x = x * 6364136223846793005U + 1442695040888963407U;
        int level = (int)((x >> 33) % (DEPTH + 1));
        struct directory *d = w->chain->levels[level];
        struct error err;
        struct stat st;
        int fd;
        directory_retain(d);
        if (directory_pin(d, &fd, &err) != OK) {
            atomic_fetch_add(w->wrong, 1);
        } else {
            if (fstat(fd, &st) || st.st_ino != w->chain->inodes[level])
                atomic_fetch_add(w->wrong, 1);
            directory_unpin(d);
        }
        directory_release(d);
    }
    return NULL;
}

static void test_threads_share_four_descriptors(void **state)
{
    (void)state;
    struct chain c;
    chain_begin(&c, 4, DEPTH);
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    atomic_int wrong = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.chain = &c, .seed = i + 1, .wrong = &wrong};
        assert_int_equal(pthread_create(&threads[i], NULL, pin_at_random, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&wrong), 0);
    assert_true(directory_open_count(c.pool) <= 4);
    chain_end(&c);
}

static void test_replaced_directory_is_vanished(void **state)
{
    (void)state;
    struct chain c;
    chain_begin(&c, 2, 6);
    check_pin(&c, 6);
    check_pin(&c, 1); /* 3 is closed now */
    char from[300], to[300];
    snprintf(from, sizeof from, "%s/d0/d1/d2", c.path);
    snprintf(to, sizeof to, "%s/aside", c.path);
    assert_int_equal(rename(from, to), 0);
    int fd;
    assert_int_equal(directory_pin(c.levels[3], &fd, &c.err), ERR_NOT_FOUND);
    assert_int_equal(c.err.errnum, ENOENT);
    assert_non_null(strstr(c.err.text, "d0/d1/d2"));
    assert_int_equal(mkdir(from, 0755), 0);
    assert_int_equal(directory_pin(c.levels[3], &fd, &c.err), ERR_NOT_FOUND);
    assert_int_equal(rmdir(from), 0);
    assert_int_equal(symlink("../../aside", from), 0);
    assert_int_equal(directory_pin(c.levels[5], &fd, &c.err), ERR_NOT_FOUND);
    assert_int_equal(unlink(from), 0);
    assert_int_equal(rename(to, from), 0);
    check_pin(&c, 6); /* a failure leaves everything usable */
    chain_end(&c);
}

static void test_child_failures_keep_errno(void **state)
{
    (void)state;
    struct chain c;
    chain_begin(&c, 8, 2);
    struct directory *child;
    char path[300];
    assert_int_equal(directory_open_child(c.levels[1], "missing", &child, NULL, &c.err), ERR_IO);
    assert_int_equal(c.err.errnum, ENOENT);
    assert_null(strstr(c.err.text, "missing")); /* the caller knows its name, the context has it once */
    snprintf(path, sizeof path, "%s/d0/link", c.path);
    assert_int_equal(symlink("d1", path), 0);
    assert_int_equal(directory_open_child(c.levels[1], "link", &child, NULL, &c.err), ERR_IO);
    assert_true(c.err.errnum == ELOOP || c.err.errnum == ENOTDIR);
    assert_int_equal(directory_open_count(c.pool), 3);
    chain_end(&c);
}

static void test_root_may_be_a_symlink_but_no_file(void **state)
{
    (void)state;
    struct chain c;
    chain_begin(&c, 8, 1);
    char link[300], file[300];
    snprintf(link, sizeof link, "%s/link", c.path);
    snprintf(file, sizeof file, "%s/file", c.path);
    assert_int_equal(symlink("d0", link), 0);
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    close(fd);
    struct directory *d;
    struct stat st;
    assert_int_equal(directory_open_root(c.pool, link, false, &d, &st, &c.err), OK);
    assert_int_equal(st.st_ino, c.inodes[1]);
    directory_release(d);
    assert_int_equal(directory_open_root(c.pool, link, true, &d, &st, &c.err), ERR_IO); /* unless the caller refuses */
    assert_int_equal(c.err.errnum, ELOOP);
    assert_int_equal(directory_open_root(c.pool, c.path, true, &d, &st, &c.err), OK);
    directory_release(d);
    assert_int_equal(directory_open_root(c.pool, file, true, &d, &st, &c.err), ERR_USAGE);
    assert_int_equal(directory_open_root(c.pool, file, false, &d, &st, &c.err), ERR_USAGE);
    char missing[300];
    snprintf(missing, sizeof missing, "%s/nothing", c.path);
    assert_int_equal(directory_open_root(c.pool, missing, false, &d, &st, &c.err), ERR_IO);
    chain_end(&c);
}

static void test_paths(void **state)
{
    (void)state;
    struct chain c;
    chain_begin(&c, 8, 3);
    char out[64];
    assert_int_equal(directory_path(c.levels[0], NULL, out, sizeof out), 0);
    assert_string_equal(out, "");
    assert_int_equal(directory_path(c.levels[0], "f", out, sizeof out), 1);
    assert_string_equal(out, "f");
    assert_int_equal(directory_path(c.levels[3], NULL, out, sizeof out), 8);
    assert_string_equal(out, "d0/d1/d2");
    assert_int_equal(directory_path(c.levels[3], "file", out, sizeof out), 13);
    assert_string_equal(out, "d0/d1/d2/file");
    for (size_t room = 1; room <= 14; room++) {
        memset(out, 'x', sizeof out);
        assert_int_equal(directory_path(c.levels[3], "file", out, room), 13);
        assert_int_equal(strlen(out), room - 1);
        assert_memory_equal(out, "d0/d1/d2/file", room - 1);
        assert_int_equal(out[room], 'x');
    }
    assert_int_equal(directory_path(c.levels[3], "file", NULL, 0), 13);
    chain_end(&c);
}

static void test_children_keep_their_ancestors(void **state)
{
    (void)state;
    struct chain c;
    chain_begin(&c, 4, 50);
    for (int i = 0; i < 50; i++) {
        directory_release(c.levels[i]);
        c.levels[i] = NULL;
    }
    check_pin(&c, 50);
    chain_end(&c); /* the last reference takes all of them: the pool checks that none is left */
}

static void test_kernel_limit_is_met_by_closing(void **state)
{
    (void)state;
    struct chain c;
    chain_begin(&c, 1000, 10);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit tight = {.rlim_cur = 40, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    int spare[64];
    int spare_count = 0;
    while (spare_count < 64 && (spare[spare_count] = dup(0)) >= 0)
        spare_count++;
    struct directory *again[10];
    for (int i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", i);
        assert_int_equal(directory_open_child(c.levels[i], name, &again[i], NULL, &c.err), OK);
    }
    for (int i = 0; i < 10; i++)
        directory_release(again[i]);
    while (spare_count > 0)
        close(spare[--spare_count]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    chain_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit_holds_on_a_deep_tree),
        cmocka_unit_test(test_everything_stays_open_below_the_limit),
        cmocka_unit_test(test_pinned_ones_are_not_closed),
        cmocka_unit_test(test_threads_share_four_descriptors),
        cmocka_unit_test(test_replaced_directory_is_vanished),
        cmocka_unit_test(test_child_failures_keep_errno),
        cmocka_unit_test(test_root_may_be_a_symlink_but_no_file),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_children_keep_their_ancestors),
        cmocka_unit_test(test_kernel_limit_is_met_by_closing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
