#include "testing/testing.h"

#include "server/rest_json.h"

#include <string.h>

static struct error err;

static void assert_text(const struct buffer *b, const char *wanted)
{
    assert_int_equal(b->size, strlen(wanted));
    assert_memory_equal(b->data, wanted, b->size);
}

static void test_an_envelope_around_anything(void **state)
{
    (void)state;
    struct buffer out = BUFFER_INIT(1000);
    assert_int_equal(rest_json_data(&out, json_null(), &err), OK);
    assert_text(&out, "{\"data\":null}");
    buffer_clear(&out);
    assert_int_equal(rest_json_data(&out, json_pack("{s:[i]}", "a", 1), &err), OK);
    assert_text(&out, "{\"data\":{\"a\":[1]}}");
    assert_int_equal(rest_json_data(&out, NULL, &err), ERR_MEMORY);
    buffer_deinit(&out);
}

static void test_a_list_element_by_element(void **state)
{
    (void)state;
    struct buffer out = BUFFER_INIT(1000);
    struct rest_json_list list;
    assert_int_equal(rest_json_list_begin(&list, &out, &err), OK);
    assert_int_equal(rest_json_list_end(&list, &err), OK);
    assert_text(&out, "{\"data\":[]}");
    buffer_clear(&out);
    assert_int_equal(rest_json_list_begin(&list, &out, &err), OK);
    assert_int_equal(rest_json_list_add(&list, json_string("a"), &err), OK);
    assert_int_equal(rest_json_list_add(&list, json_integer(2), &err), OK);
    assert_int_equal(rest_json_list_add(&list, NULL, &err), ERR_MEMORY);
    assert_text(&out, "{\"data\":[\"a\",2,");
    buffer_deinit(&out);
    out = BUFFER_INIT(20);
    assert_int_equal(rest_json_list_begin(&list, &out, &err), OK);
    assert_int_equal(rest_json_list_add(&list, json_string("abcdefghijklmnopqrstuvwxyz"), &err), ERR_LIMIT);
    buffer_deinit(&out);
}

static void test_names_that_are_no_text_become_one(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *text;
    } cases[] = {
        {"", ""},
        {"abc", "abc"},
        {"\xc3\xbc", "\xc3\xbc"},
        {"\xff", "\xef\xbf\xbd"},
        {"a\xffz", "a\xef\xbf\xbdz"},
        {"\xc3", "\xef\xbf\xbd"},
        {"\xc3z", "\xef\xbf\xbdz"},
        {"\xf0\x9f\x98\x80\xff", "\xf0\x9f\x98\x80\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* half of a pair */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *text = rest_json_text(cases[i].bytes, strlen(cases[i].bytes));
        assert_string_equal(json_string_value(text), cases[i].text);
        json_decref(text);
    }
    json_t *base64 = rest_json_base64("\xff\xfe/", 3);
    assert_string_equal(json_string_value(base64), "//4v");
    json_decref(base64);
    base64 = rest_json_base64("", 0);
    assert_string_equal(json_string_value(base64), "");
    json_decref(base64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_envelope_around_anything),
        cmocka_unit_test(test_a_list_element_by_element),
        cmocka_unit_test(test_names_that_are_no_text_become_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
