#include "testing/testing.h"

#include "flow/selection.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

static struct selection *selection_of(const char *const *patterns, size_t count)
{
    struct selection *s = NULL;
    assert_int_equal(selection_new(&s, NULL), OK);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(selection_add(s, patterns[i], strlen(patterns[i]), NULL), OK);
    return s;
}
#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define SELECTION(...) selection_of((const char *const[]){__VA_ARGS__}, COUNT(((const char *const[]){__VA_ARGS__})))

static bool wants(struct selection *s, const char *path)
{
    return selection_wants_path(s, path, strlen(path), DT_REG);
}

static void test_what_is_below_a_match_is_wanted(void **state)
{
    (void)state;
    struct selection *s = SELECTION("/a/b", "!*.tmp", "/a/b/keep.tmp");
    assert_false(wants(s, "/a"));
    assert_false(wants(s, "/a/c"));
    assert_true(wants(s, "/a/b"));
    assert_true(wants(s, "/a/b/c/d"));
    assert_false(wants(s, "/a/b/c/d.tmp"));
    assert_false(wants(s, "/a/b/d.tmp/below"));
    assert_true(wants(s, "/a/b/keep.tmp"));
    selection_free(s);
}

static void test_nothing_is_wanted_before_something_matches(void **state)
{
    (void)state;
    struct selection *s = SELECTION("!/tmp");
    assert_false(selection_is_empty(s));
    assert_false(wants(s, "/a"));
    assert_false(wants(s, "/tmp"));
    selection_free(s);
    s = SELECTION("dir/");
    assert_false(wants(s, "/dir"));
    assert_true(wants(s, "/dir/file"));
    assert_true(selection_wants(s, "/x/dir", 6, DT_DIR, false));
    assert_true(selection_wants(s, "/other", 6, DT_REG, true));
    selection_free(s);
    assert_true(selection_is_empty(NULL));
}

static void check_paths(struct selection *s, const char *const *wanted, size_t count)
{
    size_t found_count;
    const char *const *found = selection_paths(s, &found_count);
    assert_int_equal(found_count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(found[i], wanted[i]);
    if (count == 0)
        assert_null(found);
    selection_free(s);
}

static void test_paths_are_sorted_by_directory(void **state)
{
    (void)state;
    static const char *const wanted[] = {"/a", "/a/b", "/a/b/c", "/a/x", "/a-b", "/a-b/c", "/b"};
    check_paths(SELECTION("/b", "/a-b/c", "/a-b", "/a/x/", "/a/b/c", "/a", "/a/b", "/a/x", "/b//"), wanted,
                COUNT(wanted));
}

static void test_anything_else_is_no_list_of_paths(void **state)
{
    (void)state;
    static const char *const others[] = {"a",   "/a*",   "!/a",  "/a/[b]", "/a/?",  "/",     "",
                                         "//a", "/a//b", "/a/.", "/../a",  "/a/..", "/a\\b", "/a/./b"};
    for (size_t i = 0; i < COUNT(others); i++) {
        print_message("%s\n", others[i]);
        check_paths(SELECTION("/first", others[i], "/last"), NULL, 0);
    }
    static const char *const dotted[] = {"/...", "/.a", "/a/..b"};
    check_paths(SELECTION("/.a", "/...", "/a/..b"), dotted, COUNT(dotted));
    check_paths(selection_of(NULL, 0), NULL, 0);
    size_t count;
    assert_null(selection_paths(NULL, &count));
}

static void test_patterns_from_a_file(void **state)
{
    (void)state;
    char *base = temp_dir_make();
    char path[300];
    snprintf(path, sizeof path, "%s/list", base);
    FILE *file = fopen(path, "w");
    fputs("/a\n\n#x\n/b/", file); /* no line end at the end */
    fclose(file);
    struct selection *s = selection_of(NULL, 0);
    struct error err = {0};
    assert_int_equal(selection_add_file(s, path, &err), OK);
    assert_true(wants(s, "/a"));
    assert_true(wants(s, "/y/#x"));
    assert_true(wants(s, "/b/c"));
    assert_false(wants(s, "/c"));
    file = fopen(path, "w");
    fputs("/a\n/b[\n", file);
    fclose(file);
    assert_int_equal(selection_add_file(s, path, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "list: line 2: "));
    file = fopen(path, "w");
    fputs("\n\n", file);
    fclose(file);
    assert_int_equal(selection_add_file(s, path, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "list: the list of patterns is empty"));
    snprintf(path, sizeof path, "%s/missing", base);
    assert_int_equal(selection_add_file(s, path, &err), ERR_IO);
    assert_non_null(strstr(err.text, "missing"));
    assert_int_equal(selection_add_file(s, base, &err), ERR_IO); /* a directory */
    selection_free(s);
    temp_dir_remove(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_below_a_match_is_wanted),
        cmocka_unit_test(test_nothing_is_wanted_before_something_matches),
        cmocka_unit_test(test_paths_are_sorted_by_directory),
        cmocka_unit_test(test_anything_else_is_no_list_of_paths),
        cmocka_unit_test(test_patterns_from_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
