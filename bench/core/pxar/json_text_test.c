#include "testing/testing.h"

#include "pxar/json_text.h"

#include <string.h>

static struct error error;

static bool valid(const char *text)
{
    return utf8_valid(text, strlen(text));
}

static void test_utf8_as_rfc_3629_has_it(void **state)
{
    (void)state;
    assert_true(valid("") && valid("abc") && valid("\xc3\xa4") && valid("\xe2\x82\xac") && valid("\xf0\x9f\x98\x80"));
    assert_true(valid("\xf4\x8f\xbf\xbf"));
    assert_false(valid("\xff"));
    assert_false(valid("\x80"));
    assert_false(valid("\xc3"));             /* cut */
    assert_false(valid("\xc0\xaf"));         /* overlong */
    assert_false(valid("\xed\xa0\x80"));     /* surrogate */
    assert_false(valid("\xf4\x90\x80\x80")); /* above U+10FFFF */
}

static void test_strings_are_quoted_so_that_they_read_back(void **state)
{
    (void)state;
    static const char text[] = "a\"b\\c\n\x01/\xc3\xa4";
    struct buffer out = BUFFER_INIT(1 << 16);
    assert_int_equal(json_append_string(&out, text, sizeof text - 1, &error), OK);
    json_t *back = json_loadb((const char *)out.data, out.size, JSON_DECODE_ANY, NULL);
    assert_non_null(back);
    assert_string_equal(json_string_value(back), text);
    json_decref(back);
    buffer_deinit(&out);
}

static void test_base64_both_ways_at_every_length(void **state)
{
    (void)state;
    uint8_t *data = make_splitmix64(64, 1);
    for (size_t size = 0; size <= 64; size++) {
        struct buffer text = BUFFER_INIT(1 << 16), back = BUFFER_INIT(1 << 16);
        assert_int_equal(base64_append(&text, data, size, &error), OK);
        assert_int_equal(text.size, (size + 2) / 3 * 4);
        assert_int_equal(base64_decode_append(&back, (const char *)text.data, text.size, &error), OK);
        assert_int_equal(back.size, size);
        if (size)
            assert_memory_equal(back.data, data, size);
        buffer_deinit(&text);
        buffer_deinit(&back);
    }
    free(data);
}

static void test_bad_base64_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"A", "AA", "AAA", "AA=A", "====", "AAA\n", "A A=", "AA-_", "AAAA=", "AAAAA==="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buffer out = BUFFER_INIT(1 << 16);
        assert_int_equal(base64_decode_append(&out, bad[i], strlen(bad[i]), &error), ERR_FORMAT);
        buffer_deinit(&out);
    }
}

static void test_integers_up_to_64_bits(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": 18446744073709551615, \"b\": 9223372036854775807, \"c\": 0, \"d\": -1,"
                               " \"e\": 1.5, \"f\": \"18446744073709551615\"}";
    json_t *object;
    uint64_t value;
    assert_int_equal(json_parse_wide(text, sizeof text - 1, "test", &object, &error), OK);
    assert_true(json_u64(json_object_get(object, "a"), &value));
    assert_true(value == UINT64_MAX);
    assert_true(json_u64(json_object_get(object, "b"), &value));
    assert_true(value == INT64_MAX);
    assert_true(json_u64(json_object_get(object, "c"), &value));
    assert_true(value == 0);
    assert_false(json_u64(json_object_get(object, "d"), &value));
    assert_false(json_u64(json_object_get(object, "e"), &value));
    assert_false(json_u64(json_object_get(object, "f"), &value)); /* a string is no number */
    json_decref(object);
}

static void test_bad_json_is_an_error_with_its_place(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "{", "{\"a\":1,\"a\":2}", "{\"a\":18446744073709551616}", "{} x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *object = NULL;
        assert_int_equal(json_parse_wide(bad[i], strlen(bad[i]), "tree", &object, &error), ERR_FORMAT);
        assert_non_null(strstr(error.text, "tree"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_as_rfc_3629_has_it),
        cmocka_unit_test(test_strings_are_quoted_so_that_they_read_back),
        cmocka_unit_test(test_base64_both_ways_at_every_length),
        cmocka_unit_test(test_bad_base64_is_refused),
        cmocka_unit_test(test_integers_up_to_64_bits),
        cmocka_unit_test(test_bad_json_is_an_error_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
