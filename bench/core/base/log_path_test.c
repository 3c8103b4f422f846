#include "testing/testing.h"

#include "base/log_path.h"

#include <string.h>

struct path_case {
    const char *path;
    const char *shown;
};

static const struct path_case paths[] = {
    {"", ""},
    {"plain/path with blanks", "plain/path with blanks"},
    {"line\nbreak\ttab", "line\\x0abreak\\x09tab"},
    {"\x1b[31mred\x7f", "\\x1b[31mred\\x7f"},
    {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
    {"\xff\xfe", "\\xff\\xfe"},
    {"\xc3", "\\xc3"},
    {"\xc3x", "\\xc3x"},
    {"\xe2\x82", "\\xe2\\x82"},
    {"\xc2\x9b", "\\xc2\\x9b"},
    {"a\xe2\x80\xae", "a\\xe2\\x80\\xae"},
    {"\xc0\xaf", "\\xc0\\xaf"},
    {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},
    {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
    {"\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf"},
    {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
    {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
};

static void test_paths_stay_on_their_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char out[LOG_PATH_MAX];
        assert_string_equal(log_path(paths[i].path, out), paths[i].shown);
    }
}

static void test_long_paths_are_cut_at_a_character(void **state)
{
    (void)state;
    for (size_t lead = 0; lead < 8; lead++) {
        char path[3 * LOG_PATH_MAX + 1], *out = malloc(LOG_PATH_MAX);
        assert_non_null(out);
        memset(path, 'x', lead);
        size_t at = lead;
        for (; at + 3 < sizeof path; at += 3)
            memcpy(path + at, "\xe2\x82\xac", 3);
        path[at] = '\0';
        size_t size = strlen(log_path(path, out));
        assert_true(size < LOG_PATH_MAX && size > LOG_PATH_MAX - 10);
        assert_int_equal((size - lead) % 3, 0);
        memset(path, '\n', sizeof path - 1);
        path[sizeof path - 1] = '\0';
        assert_true(strlen(log_path(path + lead, out)) < LOG_PATH_MAX);
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_stay_on_their_line),
        cmocka_unit_test(test_long_paths_are_cut_at_a_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
