#include "testing/testing.h"

#include "index/canonical_json.h"

#include <string.h>

static struct error err;

static enum status canonical(const char *text, struct buffer *out)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(value);
    enum status status = canonical_json(value, "x", out, &err);
    json_decref(value);
    return status;
}

static void check(const char *text, const char *wanted)
{
    struct buffer out = BUFFER_INIT(1 << 20);
    assert_int_equal(canonical(text, &out), OK);
    assert_int_equal(buffer_append_u8(&out, 0, &err), OK);
    assert_string_equal((const char *)out.data, wanted);
    buffer_deinit(&out);
}

static void test_members_are_sorted_by_bytes_and_arrays_are_not(void **state)
{
    (void)state;
    check("{ \"b\" : 1, \"a\" : [ 3, 1, 2 ], \"B\": {}, \"aa\": [] }", "{\"B\":{},\"a\":[3,1,2],\"aa\":[],\"b\":1}");
    /* U+FB01 is EF AC 81 and U+10000 is F0 90 80 80: as UTF-16 they would stand the other way round. */
    check("{\"\\ud800\\udc00\":1,\"\\ufb01\":2,\"z\":3}", "{\"z\":3,\"\xef\xac\x81\":2,\"\xf0\x90\x80\x80\":1}");
}

static void test_strings_have_the_shortest_escapes(void **state)
{
    (void)state;
    check("\"\\u0022\\u005c\\u0008\\u000c\\u000a\\u000d\\u0009\"", "\"\\\"\\\\\\b\\f\\n\\r\\t\"");
    check("\"\\u0001\\u001F\\u000b\"", "\"\\u0001\\u001f\\u000b\"");
    check("\"\\/ \\u007f \\u00e9 \\u2028\"", "\"/ \x7f \xc3\xa9 \xe2\x80\xa8\"");
    check("{\"a\\nb\":\"\"}", "{\"a\\nb\":\"\"}");
}

static void test_numbers_and_words(void **state)
{
    (void)state;
    check("[0,-1,9223372036854775807,-9223372036854775808,true,false]",
          "[0,-1,9223372036854775807,-9223372036854775808,true,false]");
}

static void test_null_and_fractions_are_errors(void **state)
{
    (void)state;
    struct buffer out = BUFFER_INIT(1 << 20);
    assert_int_equal(canonical("{\"a\":[{\"b\":null}]}", &out), ERR_FORMAT);
    assert_string_equal(err.text, "x: a null cannot be signed");
    assert_int_equal(canonical("[1.0]", &out), ERR_FORMAT);
    assert_string_equal(err.text, "x: a fraction cannot be signed");
    buffer_deinit(&out);
}

static void test_as_deep_as_the_parser_goes(void **state)
{
    (void)state;
    enum { DEPTH = 2000 };
    char text[2 * DEPTH + 1];
    memset(text, '[', DEPTH);
    memset(text + DEPTH, ']', DEPTH);
    text[2 * DEPTH] = '\0';
    check(text, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_are_sorted_by_bytes_and_arrays_are_not),
        cmocka_unit_test(test_strings_have_the_shortest_escapes),
        cmocka_unit_test(test_numbers_and_words),
        cmocka_unit_test(test_null_and_fractions_are_errors),
        cmocka_unit_test(test_as_deep_as_the_parser_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
