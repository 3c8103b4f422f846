/* Real trees in a temporary directory: order, contents, what is skipped, and that threads and window do not matter. */
#include "testing/testing.h"

#include "flow/readahead.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOG_SIZE = 1 << 20 };

static void write_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < size; i++)
        putc('a' + (int)(i % 26), f);
    assert_int_equal(fclose(f), 0);
}

/* Walks the tree and writes a line per node. */
static void walk(const char *path, unsigned threads, bool contents, size_t read_size_max, char *log)
{
    struct readahead_options options = {.threads = threads,
                                        .walk.entries_max = 100000,
                                        .reading = {.read_size_max = read_size_max, .want_contents = contents}};
    struct attr_not_stored not_stored = {0};
    struct readahead *r;
    struct attributes root;
    struct error err = {0};
    assert_int_equal(readahead_new(path, &options, &not_stored, &r, &root, &err), OK);
    assert_true(S_ISDIR((mode_t)root.stat.mode));
    attributes_deinit(&root);
    size_t used = 0, depth = 0;
    log[0] = '\0';
    for (;;) {
        struct node *n;
        assert_int_equal(readahead_next(r, &n, &err), OK);
        if (!n)
            break;
        assert_int_equal(n->outcome, NODE_READY);
        if (n->kind == NODE_DIRECTORY_END) {
            assert_true(depth-- > 0);
            used += (size_t)snprintf(log + used, LOG_SIZE - used, ")\n");
        } else {
            char where[256];
            used += (size_t)snprintf(log + used, LOG_SIZE - used, "%s %zu", node_path(n, where, sizeof where),
                                     (size_t)n->size);
            if (n->has_contents) {
                assert_int_equal(n->contents.size, n->size);
                for (size_t i = 0; i < n->contents.size; i++)
                    assert_int_equal(n->contents.data[i], 'a' + i % 26);
                used += (size_t)snprintf(log + used, LOG_SIZE - used, " read");
            }
            if (n->target)
                used += (size_t)snprintf(log + used, LOG_SIZE - used, " -> %s", n->target);
            used += (size_t)snprintf(log + used, LOG_SIZE - used, n->kind == NODE_DIRECTORY_BEGIN ? " (\n" : "\n");
            depth += n->kind == NODE_DIRECTORY_BEGIN;
        }
        node_free(n);
        assert_true(used < LOG_SIZE / 2);
    }
    assert_int_equal(depth, 0);
    readahead_free(r);
}

static void test_archive_order_is_depth_first_by_bytes_of_names(void **state)
{
    char path[256];
    const char *root = *state;
    static const char *const directories[] = {"b", "b/z", "a-empty", "b.c"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", root, directories[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    static const char *const files[] = {"a", "b/2", "b/10", "b/z/deep", "c", "B"};
    for (size_t i = 0; i < 6; i++) {
        snprintf(path, sizeof path, "%s/%s", root, files[i]);
        write_file(path, i * 1000);
    }
    snprintf(path, sizeof path, "%s/link", root);
    assert_int_equal(symlink("b/2", path), 0);
    char *log = malloc(LOG_SIZE);
    assert_non_null(log);
    walk(root, 2, false, 0, log);
    char *lines = strstr(log, "a-empty");
    assert_non_null(lines);
    /* Sizes of directories and symlinks are 0; "B" < "a" < "a-empty" < "b" < "b.c" < "c" < "link". */
    assert_string_equal(log, "B 5000\na 0\na-empty 0 (\n)\nb 0 (\nb/10 2000\nb/2 1000\nb/z 0 (\nb/z/deep 3000\n)\n)\n"
                             "b.c 0 (\n)\nc 4000\nlink 0 -> b/2\n");
    free(log);
}

static void test_threads_contents_and_read_sizes_do_not_change_the_walk(void **state)
{
    const char *root = *state;
    char path[256];
    for (int d = 0; d < 30; d++) {
        snprintf(path, sizeof path, "%s/dir%d", root, d);
        assert_int_equal(mkdir(path, 0755), 0);
        for (int f = 0; f < 25; f++) {
            snprintf(path, sizeof path, "%s/dir%d/f%d", root, d, f);
            write_file(path, (size_t)(d * f * 7 % 3000));
        }
    }
    char *first = malloc(LOG_SIZE), *log = malloc(LOG_SIZE);
    assert_true(first && log);
    for (int contents = 0; contents < 2; contents++) {
        walk(root, 1, contents, 0, first);
        for (unsigned threads = 1; threads <= 8; threads *= 2) {
            walk(root, threads, contents, 0, log);
            assert_string_equal(log, first);
            walk(root, threads, contents, 113, log);
            assert_string_equal(log, first);
        }
    }
    free(first);
    free(log);
}

static void test_stopping_half_way_leaves_nothing_behind(void **state)
{
    test_threads_contents_and_read_sizes_do_not_change_the_walk(state);
    struct readahead_options options = {.threads = 3, .walk.entries_max = 100000, .reading = {.want_contents = true}};
    for (int taken = 0; taken < 700; taken += 97) {
        struct attr_not_stored not_stored = {0};
        struct readahead *r;
        struct attributes root;
        struct error err = {0};
        assert_int_equal(readahead_new(*state, &options, &not_stored, &r, &root, &err), OK);
        attributes_deinit(&root);
        for (int i = 0; i < taken; i++) {
            struct node *n;
            assert_int_equal(readahead_next(r, &n, &err), OK);
            node_free(n);
        }
        readahead_free(r);
    }
}

static void test_entries_max_bounds_what_is_held_on_one_path(void **state)
{
    const char *root = *state;
    char path[256];
    /* Listings of 2, 3 and 2 entries on one path: 7 are needed. */
    static const char *const directories[] = {"a", "a/b"};
    static const char *const files[] = {"z", "a/y", "a/z", "a/b/y", "a/b/z"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", root, directories[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    for (size_t i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s/%s", root, files[i]);
        write_file(path, 1);
    }
    for (size_t limit = 6; limit <= 7; limit++) {
        struct readahead_options options = {.threads = 1, .walk.entries_max = limit};
        struct attr_not_stored not_stored = {0};
        struct readahead *r;
        struct attributes attributes;
        struct error err = {0};
        assert_int_equal(readahead_new(root, &options, &not_stored, &r, &attributes, &err), OK);
        attributes_deinit(&attributes);
        enum status status;
        struct node *n;
        while ((status = readahead_next(r, &n, &err)) == OK && n)
            node_free(n);
        assert_int_equal(status, limit == 7 ? OK : ERR_LIMIT);
        readahead_free(r);
    }
}

static void test_reopening_refuses_what_took_the_files_place(void **state)
{
    const char *root = *state;
    char path[256];
    snprintf(path, sizeof path, "%s/f", root);
    write_file(path, 10);
    struct readahead_options options = {.threads = 1, .walk.entries_max = 100};
    struct attr_not_stored not_stored = {0};
    struct readahead *r;
    struct attributes attributes;
    struct error err = {0};
    assert_int_equal(readahead_new(root, &options, &not_stored, &r, &attributes, &err), OK);
    attributes_deinit(&attributes);
    struct node *n;
    assert_int_equal(readahead_next(r, &n, &err), OK);
    int fd;
    enum node_notice notice;
    assert_int_equal(node_open(n, &fd, &notice, &err), OK);
    assert_true(fd >= 0);
    close(fd);
    char other[256];
    snprintf(other, sizeof other, "%s/other", root);
    write_file(other, 10);
    assert_int_equal(rename(other, path), 0); /* another inode under the name */
    assert_int_equal(node_open(n, &fd, &notice, &err), OK);
    assert_int_equal(fd, -1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* must not hang */
    assert_int_equal(node_open(n, &fd, &notice, &err), OK);
    assert_int_equal(fd, -1);
    node_free(n);
    readahead_free(r);
}

static void test_contents_of_files_with_several_names_are_not_read_ahead(void **state)
{
    const char *root = *state;
    char path[256], other[256];
    snprintf(path, sizeof path, "%s/a", root);
    write_file(path, 10);
    snprintf(other, sizeof other, "%s/b", root);
    assert_int_equal(link(path, other), 0);
    snprintf(path, sizeof path, "%s/c", root);
    write_file(path, 20);
    char *log = malloc(LOG_SIZE);
    assert_non_null(log);
    walk(root, 2, true, 0, log);
    assert_string_equal(log, "a 10\nb 10\nc 20 read\n");
    free(log);
}

static void test_what_is_no_directory_is_refused(void **state)
{
    char path[256];
    snprintf(path, sizeof path, "%s/f", (const char *)*state);
    write_file(path, 1);
    struct readahead_options options = {.threads = 1, .walk.entries_max = 100};
    struct attr_not_stored not_stored = {0};
    struct readahead *r;
    struct attributes attributes;
    struct error err = {0};
    assert_int_not_equal(readahead_new(path, &options, &not_stored, &r, &attributes, &err), OK);
    assert_int_not_equal(readahead_new("/proc", &options, &not_stored, &r, &attributes, &err), OK);
    assert_non_null(strstr(err.text, "virtual"));
}

static int make_root(void **state)
{
    *state = temp_dir_make();
    return 0;
}
static int remove_root(void **state)
{
    slab_pool_drain();
    temp_dir_remove(*state);
    return 0;
}

#define TREE_TEST(function) cmocka_unit_test_setup_teardown(function, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TREE_TEST(test_archive_order_is_depth_first_by_bytes_of_names),
        TREE_TEST(test_threads_contents_and_read_sizes_do_not_change_the_walk),
        TREE_TEST(test_stopping_half_way_leaves_nothing_behind),
        TREE_TEST(test_entries_max_bounds_what_is_held_on_one_path),
        TREE_TEST(test_reopening_refuses_what_took_the_files_place),
        TREE_TEST(test_contents_of_files_with_several_names_are_not_read_ahead),
        TREE_TEST(test_what_is_no_directory_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
