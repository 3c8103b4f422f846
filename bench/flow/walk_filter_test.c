/* What of a real tree is walked: patterns of the command line and of .pxarexclude files, device sets, limits. */
#include "testing/testing.h"

#include "base/log.h"
#include "flow/readahead.h"
#include "flow/walk_filter.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NAMES_SIZE = 1 << 16 };

struct fixture {
    char *root;
    struct pattern_list *patterns;
    struct walk_options walk;
    unsigned threads;
    char names[NAMES_SIZE]; /* of the last walk: a path and a blank per entry, "~" before skipped ones */
    struct error err;
};

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->root = temp_dir_make();
    f->threads = 2;
    assert_int_equal(pattern_list_new(&f->patterns, &f->err), OK);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    slab_pool_drain();
    pattern_list_free(f->patterns);
    temp_dir_remove(f->root);
    free(f);
    return 0;
}

static char *at(struct fixture *f, const char *name, char out[512])
{
    snprintf(out, 512, "%s/%s", f->root, name);
    return out;
}

/* A name with a slash at its end is a directory; parents come first. */
static void make(struct fixture *f, const char *const *names)
{
    char path[512];
    for (; *names; names++) {
        size_t size = strlen(at(f, *names, path));
        if (path[size - 1] == '/') {
            assert_int_equal(mkdir(path, 0755), 0);
        } else {
            int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
            assert_true(fd >= 0);
            close(fd);
        }
    }
}
#define MAKE(f, ...) make(f, (const char *const[]){__VA_ARGS__, NULL})

static void write_bytes(struct fixture *f, const char *name, const void *data, size_t size)
{
    char path[512];
    int fd = open(at(f, name, path), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), (ssize_t)size);
    close(fd);
}

static void write_text(struct fixture *f, const char *name, const char *text)
{
    write_bytes(f, name, text, strlen(text));
}

static void exclude(struct fixture *f, const char *pattern)
{
    assert_int_equal(pattern_list_add_option(f->patterns, pattern, true, &f->err), OK);
    f->walk.patterns = f->patterns;
}

static enum status walk_from(struct fixture *f, const char *path)
{
    struct readahead_options options = {.threads = f->threads, .walk = f->walk};
    struct attr_not_stored not_stored = {0};
    struct readahead *r;
    struct attributes root;
    f->names[0] = '\0';
    TRY(readahead_new(path, &options, &not_stored, &r, &root, &f->err));
    attributes_deinit(&root);
    size_t used = 0;
    struct node *n;
    enum status status;
    while ((status = readahead_next(r, &n, &f->err)) == OK && n) {
        char below[LOG_PATH_MAX];
        assert_true(used < NAMES_SIZE - LOG_PATH_MAX);
        if (n->outcome == NODE_FAILED) {
            status = n->error->status;
            f->err = *n->error;
            node_free(n);
            break;
        }
        if (n->kind != NODE_DIRECTORY_END)
            used += (size_t)snprintf(f->names + used, NAMES_SIZE - used, "%s%s ", n->outcome == NODE_SKIPPED ? "~" : "",
                                     node_path(n, below, sizeof below));
        node_free(n);
    }
    readahead_free(r);
    return status;
}

static enum status walk(struct fixture *f)
{
    return walk_from(f, f->root);
}

#define ASSERT_WALK(f, expected)                                                                                       \
    do {                                                                                                               \
        assert_int_equal(walk(f), OK);                                                                                 \
        assert_string_equal((f)->names, expected);                                                                     \
    } while (0)

/* ---- patterns ---- */

static void test_tree_vector(void **state)
{
    struct fixture *f = *state;
    MAKE(f, "subfolder0/", "subfolder0/file0", "subfolder0/file1", "subfolder0/file2", "subfolder0/file3",
         "subfolder1/", "subfolder1/file0", "subfolder1/file1", "subfolder1/file2", "subfolder1/file3");
    write_text(f, ".pxarexclude", "/subfolder0/file1\n/subfolder1/*\n!/subfolder1/file2\n");
    write_text(f, "subfolder0/.pxarexclude", "file3\n");
    for (f->threads = 1; f->threads <= 8; f->threads *= 2)
        ASSERT_WALK(f, ".pxarexclude subfolder0 subfolder0/.pxarexclude subfolder0/file0 subfolder0/file2 "
                       "subfolder1 subfolder1/file2 ");
}

static void test_patterns_of_the_command_line(void **state)
{
    struct fixture *f = *state;
    MAKE(f, "a.tmp", "b", "d/", "d/a.tmp", "d/b", "only/", "only/x", "t/", "t/only");
    exclude(f, "*.tmp");
    exclude(f, "only/"); /* directories alone */
    exclude(f, "/b");
    ASSERT_WALK(f, "d d/b t t/only ");
}

static void test_deeper_files_and_later_lines_win(void **state)
{
    struct fixture *f = *state;
    MAKE(f, "keep/", "keep/x", "keep/y", "out/", "out/x", "x");
    exclude(f, "x");
    exclude(f, "out");
    write_text(f, "keep/.pxarexclude", "!x\ny\n");
    write_text(f, "out/.pxarexclude", "!x\n"); /* of an excluded directory: never read */
    ASSERT_WALK(f, "keep keep/.pxarexclude keep/x ");
    write_text(f, "keep/.pxarexclude", "!x\nx\n");
    ASSERT_WALK(f, "keep keep/.pxarexclude keep/y ");
    write_text(f, ".pxarexclude", "!out\n");
    ASSERT_WALK(f, ".pxarexclude keep keep/.pxarexclude keep/y out out/.pxarexclude out/x ");
}

static void test_patterns_of_a_directory_end_with_it(void **state)
{
    struct fixture *f = *state;
    MAKE(f, "a/", "a/b/", "a/b/x", "a/c/", "a/c/x", "a/x", "b/", "b/x", "x");
    write_text(f, "a/b/.pxarexclude", "x\n");
    ASSERT_WALK(f, "a a/b a/b/.pxarexclude a/c a/c/x a/x b b/x x ");
    write_text(f, "a/.pxarexclude", "x\n");
    write_text(f, "a/b/.pxarexclude", "");
    ASSERT_WALK(f, "a a/.pxarexclude a/b a/b/.pxarexclude a/c b b/x x ");
}

static void test_anchored_lines_mean_their_directory_whatever_its_name(void **state)
{
    static const char *const names[] = {"plain", "a[b]", "st*r", "b\\s", "q?"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s/", names[i]);
        MAKE(f, name);
        snprintf(name, sizeof name, "%s/sub/", names[i]);
        MAKE(f, name);
        snprintf(name, sizeof name, "%s/sub/x", names[i]);
        MAKE(f, name);
        snprintf(name, sizeof name, "%s/x", names[i]);
        MAKE(f, name);
        snprintf(name, sizeof name, "%s/.pxarexclude", names[i]);
        write_text(f, name, "/x\n");
    }
    MAKE(f, "stxr/", "stxr/x"); /* "st*r" taken as a pattern would meet it */
    ASSERT_WALK(f, "a[b] a[b]/.pxarexclude a[b]/sub a[b]/sub/x "
                   "b\\s b\\s/.pxarexclude b\\s/sub b\\s/sub/x "
                   "plain plain/.pxarexclude plain/sub plain/sub/x "
                   "q? q?/.pxarexclude q?/sub q?/sub/x "
                   "st*r st*r/.pxarexclude st*r/sub st*r/sub/x stxr stxr/x ");
}

static void test_lost_and_found_at_any_depth(void **state)
{
    struct fixture *f = *state;
    MAKE(f, "lost+found/", "lost+found/x", "a/", "a/lost+found", "a/b/", "a/b/lost+found/", "a/b/lost+found/y");
    exclude(f, "lost+found");
    ASSERT_WALK(f, "a a/b ");
}

static void test_the_file_can_exclude_itself(void **state)
{
    struct fixture *f = *state;
    MAKE(f, "a", "b");
    write_text(f, ".pxarexclude", ".pxarexclude\na\n");
    ASSERT_WALK(f, "b ");
    exclude(f, ".pxarexclude"); /* it is read all the same */
    write_text(f, ".pxarexclude", "a\n");
    ASSERT_WALK(f, "b ");
}

static void test_a_real_file_of_patterns_in_the_root_is_left_out(void **state)
{
    struct fixture *f = *state;
    MAKE(f, ".pxarexclude-cli", "a/", "a/.pxarexclude-cli");
    uint64_t warned = log_warning_count();
    ASSERT_WALK(f, "a a/.pxarexclude-cli ");
    assert_int_equal(log_warning_count(), warned);
}

/* ---- what a .pxarexclude can be ---- */

static void test_what_is_no_regular_file_is_ignored_with_a_warning(void **state)
{
    struct fixture *f = *state;
    char path[512], target[512];
    MAKE(f, "d/", "d/x", "d/.pxarexclude/", "d/.pxarexclude/x", "l/", "l/x", "p/", "p/x", "s/", "s/x");
    write_text(f, "patterns", "x\n");
    assert_int_equal(symlink(at(f, "patterns", target), at(f, "l/.pxarexclude", path)), 0);
    assert_int_equal(mkfifo(at(f, "p/.pxarexclude", path), 0644), 0);
    assert_int_equal(mknod(at(f, "s/.pxarexclude", path), S_IFSOCK | 0644, 0), 0);
    uint64_t warned = log_warning_count();
    ASSERT_WALK(f, "d d/.pxarexclude d/.pxarexclude/x d/x l l/.pxarexclude l/x p p/.pxarexclude p/x patterns "
                   "s s/.pxarexclude s/x ");
    assert_int_equal(log_warning_count() - warned, 4);
}

static void test_a_long_line_is_skipped_and_the_others_hold(void **state)
{
    struct fixture *f = *state;
    MAKE(f, "x", "y", "z");
    enum { LONG = 1 << 20 };
    char *text = malloc(LONG + 5);
    assert_non_null(text);
    memset(text, 'a', LONG);
    memcpy(text, "x\n", 2);
    memcpy(text + LONG, "\nz\n", 3);
    write_bytes(f, ".pxarexclude", text, LONG + 3);
    free(text);
    ASSERT_WALK(f, ".pxarexclude y ");
}

static void test_a_bad_line_is_skipped_and_the_others_hold(void **state)
{
    struct fixture *f = *state;
    MAKE(f, "x", "y", "z");
    write_text(f, ".pxarexclude", "# y\n\n  x \r\n[abc\ny\\\n[[:foo:]]\nz");
    ASSERT_WALK(f, ".pxarexclude y ");
}

static void test_a_file_above_the_limit_is_ignored(void **state)
{
    struct fixture *f = *state;
    MAKE(f, "x");
    char path[512];
    write_text(f, ".pxarexclude", "x\n");
    assert_int_equal(truncate(at(f, ".pxarexclude", path), EXCLUDE_FILE_SIZE_MAX), 0);
    uint64_t warned = log_warning_count();
    ASSERT_WALK(f, ".pxarexclude "); /* the second line holds 16 MiB of NULs: a bad one */
    assert_int_equal(log_warning_count(), warned);
    assert_int_equal(truncate(path, EXCLUDE_FILE_SIZE_MAX + 1), 0);
    ASSERT_WALK(f, ".pxarexclude x ");
    assert_int_equal(log_warning_count(), warned + 1);
}

static void test_too_many_patterns_are_ignored(void **state)
{
    struct fixture *f = *state;
    MAKE(f, "a", "b");
    size_t size = ((size_t)PATTERN_LIST_MAX + 1) * 2;
    char *text = malloc(size);
    assert_non_null(text);
    for (size_t i = 0; i < size; i += 2)
        memcpy(text + i, "a\n", 2);
    write_bytes(f, ".pxarexclude", text, size);
    free(text);
    uint64_t warned = log_warning_count();
    ASSERT_WALK(f, ".pxarexclude a b ");
    assert_int_equal(log_warning_count(), warned + 1);
}

/* ---- limits ---- */

static void test_excluded_entries_are_not_counted(void **state)
{
    struct fixture *f = *state;
    char name[32];
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "junk%d", i);
        MAKE(f, name);
    }
    MAKE(f, "a", "b");
    f->walk.entries_max = 3;
    assert_int_equal(walk(f), ERR_LIMIT);
    assert_non_null(strstr(f->err.text, "exceeded allowed number of file entries (> 3)"));
    write_text(f, ".pxarexclude", "junk*\n"); /* wherever in the listing it is met */
    ASSERT_WALK(f, ".pxarexclude a b ");
    f->walk.entries_max = 2;
    assert_int_equal(walk(f), ERR_LIMIT);
    exclude(f, "a");
    ASSERT_WALK(f, ".pxarexclude b ");
}

static void test_the_limit_is_for_one_path(void **state)
{
    struct fixture *f = *state;
    char name[32];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "%02d/", i);
        MAKE(f, name);
        snprintf(name, sizeof name, "%02d/x", i);
        MAKE(f, name);
        snprintf(name, sizeof name, "%02d/y", i);
        MAKE(f, name);
    }
    f->walk.entries_max = 22; /* of 60 */
    assert_int_equal(walk(f), OK);
    f->walk.entries_max = 21;
    assert_int_equal(walk(f), ERR_LIMIT);
    assert_string_equal(f->err.text, "error at \"00\": exceeded allowed number of file entries (> 21)");
    f->walk.entries_max = 0; /* the default */
    assert_int_equal(walk(f), OK);
}

/* ---- the root ---- */

static void test_a_root_that_is_a_symlink(void **state)
{
    struct fixture *f = *state;
    MAKE(f, "d/", "d/x");
    char path[512];
    assert_int_equal(symlink("d", at(f, "link", path)), 0);
    assert_int_equal(walk_from(f, path), OK);
    assert_string_equal(f->names, "x ");
    f->walk.no_follow_root = true;
    assert_int_equal(walk_from(f, path), ERR_IO);
    assert_non_null(strstr(f->err.text, "symbolic links"));
}

static void test_virtual_file_systems_are_refused_as_root(void **state)
{
    struct fixture *f = *state;
    f->walk.all_file_systems = true;
    assert_int_equal(walk_from(f, "/proc"), ERR_UNSUPPORTED);
    assert_string_equal(f->err.text, "/proc: refusing to backup a virtual file system");
}

/* ---- leases ---- */

/* A child that holds a write lease on the file and gives it up a moment after it is asked to. */
static pid_t hold_lease(const char *path)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    sigset_t io;
    sigemptyset(&io);
    sigaddset(&io, SIGIO);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        sigprocmask(SIG_BLOCK, &io, NULL);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        char answer = fd >= 0 && fcntl(fd, F_SETLEASE, F_WRLCK) == 0 ? 'y' : 'n';
        if (write(ready[1], &answer, 1) != 1 || answer == 'n')
            _exit(1);
        int signal;
        sigwait(&io, &signal);
        usleep(50 * 1000);
        _exit(fcntl(fd, F_SETLEASE, F_UNLCK) == 0 ? 0 : 1);
    }
    char answer = 'n';
    assert_int_equal(read(ready[0], &answer, 1), 1);
    close(ready[0]);
    close(ready[1]);
    if (answer == 'y')
        return pid;
    waitpid(pid, NULL, 0);
    return -1;
}

static void test_a_file_under_a_lease_is_waited_for(void **state)
{
    struct fixture *f = *state;
    MAKE(f, "leased");
    char path[512];
    pid_t holder = hold_lease(at(f, "leased", path));
    if (holder < 0) {
        print_message("no leases on this file system\n");
        skip();
    }
    ASSERT_WALK(f, "leased ");
    int code;
    assert_int_equal(waitpid(holder, &code, 0), holder);
    assert_int_equal(code, 0);
}

#define WALK_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WALK_TEST(test_tree_vector),
        WALK_TEST(test_patterns_of_the_command_line),
        WALK_TEST(test_deeper_files_and_later_lines_win),
        WALK_TEST(test_patterns_of_a_directory_end_with_it),
        WALK_TEST(test_anchored_lines_mean_their_directory_whatever_its_name),
        WALK_TEST(test_lost_and_found_at_any_depth),
        WALK_TEST(test_the_file_can_exclude_itself),
        WALK_TEST(test_a_real_file_of_patterns_in_the_root_is_left_out),
        WALK_TEST(test_what_is_no_regular_file_is_ignored_with_a_warning),
        WALK_TEST(test_a_long_line_is_skipped_and_the_others_hold),
        WALK_TEST(test_a_bad_line_is_skipped_and_the_others_hold),
        WALK_TEST(test_a_file_above_the_limit_is_ignored),
        WALK_TEST(test_too_many_patterns_are_ignored),
        WALK_TEST(test_excluded_entries_are_not_counted),
        WALK_TEST(test_the_limit_is_for_one_path),
        WALK_TEST(test_a_root_that_is_a_symlink),
        WALK_TEST(test_virtual_file_systems_are_refused_as_root),
        WALK_TEST(test_a_file_under_a_lease_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
