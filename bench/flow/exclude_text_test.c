#include "testing/testing.h"

#include "flow/exclude_text.h"

#include <string.h>

struct fixture {
    struct pattern_list *patterns;
    struct buffer out;
    struct error err;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.out = BUFFER_INIT(EXCLUDE_TEXT_SIZE_MAX)};
    assert_int_equal(pattern_list_new(&f.patterns, &f.err), OK);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    pattern_list_free(f->patterns);
    buffer_deinit(&f->out);
    return 0;
}

static void add(struct fixture *f, const char *option)
{
    assert_int_equal(pattern_list_add_option(f->patterns, option, false, &f->err), OK);
}

static void expect(const struct fixture *f, const char *text)
{
    assert_int_equal(f->out.size, strlen(text));
    assert_memory_equal(f->out.data, text, f->out.size);
}

static void test_no_patterns_no_text(void **state)
{
    struct fixture *f = *state;
    const struct pattern_list *const lists[] = {NULL, f->patterns};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(buffer_append(&f->out, "old", 3, &f->err), OK);
        assert_int_equal(exclude_text(lists[i], &f->out, &f->err), OK);
        assert_int_equal(f->out.size, 0);
        assert_int_equal(buffer_append(&f->out, "old", 3, &f->err), OK);
        assert_int_equal(exclude_prelude(lists[i], &f->out, &f->err), OK);
        assert_int_equal(f->out.size, 0);
    }
}

/* archive-creation.md A6 and change-detection.md 3. */
static void test_text_and_prelude_of_the_specification(void **state)
{
    struct fixture *f = *state;
    add(f, "foo/");
    add(f, "!bar");
    assert_int_equal(exclude_text(f->patterns, &f->out, &f->err), OK);
    expect(f, "foo/\n!bar\n");
    pattern_list_cut(f->patterns, 0);
    add(f, "zz*");
    add(f, "/foo/");
    assert_int_equal(exclude_prelude(f->patterns, &f->out, &f->err), OK);
    expect(f, "{\"exclude-patterns\":\"zz*\\n/foo/\\n\"}");
}

static void test_prelude_escapes_what_json_must_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    add(f, "\"/\t\xc3\xa4");
    assert_int_equal(exclude_prelude(f->patterns, &f->out, &f->err), OK);
    expect(f, "{\"exclude-patterns\":\"\\\"/\\t\xc3\xa4\\n\"}");
}

/* Bytes of the metadata stream: the case of a digit counts. */
static void test_control_characters_are_escaped_as_by_the_reference(void **state)
{
    struct fixture *f = *state;
    add(f, "\x1b\\\\u00AF\x0f"); /* an escaped backslash of the pattern is no escape of JSON */
    assert_int_equal(exclude_prelude(f->patterns, &f->out, &f->err), OK);
    expect(f, "{\"exclude-patterns\":\"\\u001b\\\\\\\\u00AF\\u000f\\n\"}");
}

static void test_bytes_that_are_not_utf8(void **state)
{
    struct fixture *f = *state;
    add(f, "a\xff");
    assert_int_equal(exclude_prelude(f->patterns, &f->out, &f->err), ERR_USAGE);
    assert_non_null(strstr(f->err.text, "not UTF-8"));
    assert_int_equal(exclude_text(f->patterns, &f->out, &f->err), OK);
    expect(f, "a\xff\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_patterns_no_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_text_and_prelude_of_the_specification, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prelude_escapes_what_json_must_and_nothing_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_control_characters_are_escaped_as_by_the_reference, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bytes_that_are_not_utf8, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
