#include "testing/testing.h"

#include "wire/target.h"

#include <string.h>

static struct target target;
static struct error err;

static enum status parse(const char *text)
{
    target_deinit(&target);
    return target_parse(text, &target, &err);
}

static int done(void **state)
{
    (void)state;
    target_deinit(&target);
    return 0;
}

static void test_splits_and_decodes(void **state)
{
    (void)state;
    assert_int_equal(parse("//api2//json/nodes/localhost/tasks/UPID%3Aa+b%20c/status/?x=/y?z"), OK);
    assert_int_equal(target.count, 7);
    assert_string_equal(target.components[0], "api2");
    assert_string_equal(target.components[5], "UPID:a+b c");
    assert_string_equal(target.query, "x=/y?z");
    assert_int_equal(target.query_size, 6);
    assert_int_equal(target.path_size, strlen("//api2//json/nodes/localhost/tasks/UPID%3Aa+b%20c/status/"));
    assert_true(target_is(&target, "api2/json/nodes/localhost/tasks/?/status"));
    assert_int_equal(parse("/"), OK);
    assert_int_equal(target.count, 0);
    assert_true(target_is(&target, ""));
    assert_int_equal(parse("finish"), OK);
    assert_true(target_is(&target, "finish"));
    assert_string_equal(target.query, "");
    assert_int_equal(parse(""), OK);
    assert_int_equal(target.count, 0);
}

static void test_patterns_match_whole_paths(void **state)
{
    (void)state;
    assert_int_equal(parse("/a/bc"), OK);
    assert_true(target_is(&target, "a/bc"));
    assert_true(target_is(&target, "?/?"));
    assert_false(target_is(&target, "a"));
    assert_false(target_is(&target, "a/bc/d"));
    assert_false(target_is(&target, "a/b"));
    assert_false(target_is(&target, "a/bcd"));
    assert_false(target_is(&target, "a/bc/?"));
    assert_false(target_is(&target, ""));
}

static void test_nothing_leads_out_of_a_tree(void **state)
{
    (void)state;
    static const char *const bad[] = {"/..",    "/a/../b", "/.",       "/.a",    "/%2e%2e",    "/a/%2E",
                                      "/a%2Fb", "/%2f",    "/a/b%00c", "/a/%00", "/a%2f..%2fb"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(parse(bad[i]), ERR_USAGE);
        assert_null(target.text.data);
    }
    assert_int_equal(parse("/a/b..c/%252e?/../.."), OK); /* decoded once, and not behind the question mark */
    assert_string_equal(target.components[2], "%2e");
}

static void test_components_are_bounded(void **state)
{
    (void)state;
    char text[2 * (TARGET_COMPONENTS_MAX + 1) + 1] = "";
    for (int i = 0; i < TARGET_COMPONENTS_MAX; i++)
        strcat(text, "/a");
    assert_int_equal(parse(text), OK);
    assert_int_equal(target.count, TARGET_COMPONENTS_MAX);
    assert_int_equal(parse(strcat(text, "/a")), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_splits_and_decodes, done),
        cmocka_unit_test_teardown(test_patterns_match_whole_paths, done),
        cmocka_unit_test_teardown(test_nothing_leads_out_of_a_tree, done),
        cmocka_unit_test_teardown(test_components_are_bounded, done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
