#include "testing/testing.h"

#include "wire/query.h"

#include <string.h>

static struct buffer out = {.limit = 4096};
static struct error err;

static int reset(void **state)
{
    (void)state;
    buffer_deinit(&out);
    return 0;
}

static const char *text(void)
{
    assert_int_equal(buffer_append_u8(&out, 0, &err), OK);
    out.size--;
    return (const char *)out.data;
}

static struct query_text over(const char *s)
{
    return (struct query_text){s, strlen(s)};
}

static void test_writes_form_coding(void **state)
{
    (void)state;
    assert_int_equal(query_add(&out, "ns", "a/b", &err), OK);
    assert_int_equal(query_add_integer(&out, "backup-time", 1700000060, &err), OK);
    assert_int_equal(query_add_boolean(&out, "debug", true, &err), OK);
    assert_int_equal(query_add(&out, "x y", "+/=&% ~\xc3\xa4*-._", &err), OK);
    assert_string_equal(text(), "ns=a%2Fb&backup-time=1700000060&debug=true&x+y=%2B%2F%3D%26%25+%7E%C3%A4*-._");
}

static void test_every_byte_survives_a_round_trip(void **state)
{
    (void)state;
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    assert_int_equal(query_add_bytes(&out, "key", all, sizeof all, &err), OK);
    assert_int_equal(query_add(&out, "then", "", &err), OK);
    struct query_text rest = {(const char *)out.data, out.size};
    struct query_text key;
    struct query_text value;
    struct buffer decoded = BUFFER_INIT(1024);
    assert_true(query_next(&rest, &key, &value));
    assert_int_equal(key.size, 3);
    assert_int_equal(query_decode(&decoded, value, &err), OK);
    assert_int_equal(decoded.size, 256);
    assert_memory_equal(decoded.data, all, 256);
    assert_true(query_next(&rest, &key, &value));
    assert_memory_equal(key.data, "then", 4);
    assert_int_equal(value.size, 0);
    assert_false(query_next(&rest, &key, &value));
    buffer_deinit(&decoded);
}

static void test_splits_odd_texts(void **state)
{
    (void)state;
    struct query_text rest = over("&&a&b==c&=d&");
    struct query_text key;
    struct query_text value;
    assert_true(query_next(&rest, &key, &value));
    assert_int_equal(key.size, 1);
    assert_int_equal(value.size, 0);
    assert_true(query_next(&rest, &key, &value));
    assert_int_equal(value.size, 2);
    assert_memory_equal(value.data, "=c", 2);
    assert_true(query_next(&rest, &key, &value));
    assert_int_equal(key.size, 0);
    assert_int_equal(value.size, 1);
    assert_false(query_next(&rest, &key, &value));
}

static void test_a_lonely_percent_stands_for_itself(void **state)
{
    (void)state;
    assert_int_equal(query_decode(&out, over("%zz%4%41%"), &err), OK);
    assert_string_equal(text(), "%zz%4A%");
}

static void test_plus_is_a_space_in_forms_only(void **state)
{
    (void)state;
    assert_int_equal(percent_decode(&out, "a+b%2b%2B", 9, &err), OK);
    assert_int_equal(query_decode(&out, over("a+b%2b"), &err), OK);
    assert_string_equal(text(), "a+b++a b+");
}

static void test_secrets_keep_percent_and_lose_what_headers_cannot_hold(void **state)
{
    (void)state;
    assert_int_equal(percent_encode_secret(&out, "a%b \"#<>`?{}\x01\x7f\r\n\xc3\xa4@:+/=~|\\^", &err), OK);
    assert_string_equal(text(), "a%b%20%22%23%3C%3E%60%3F%7B%7D%01%7F%0D%0A%C3%A4@:+/=~|\\^");
}

static void test_components_keep_only_unreserved_characters(void **state)
{
    (void)state;
    assert_int_equal(percent_encode_component(&out, "UPID:pbs:0A/..~%", &err), OK);
    assert_string_equal(text(), "UPID%3Apbs%3A0A%2F..~%25");
}

static void test_output_stays_below_its_limit(void **state)
{
    (void)state;
    struct buffer small = BUFFER_INIT(10);
    assert_int_equal(query_add(&small, "key", "value and more", &err), ERR_LIMIT);
    assert_true(small.size <= 10);
    buffer_deinit(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_writes_form_coding, reset),
        cmocka_unit_test_teardown(test_every_byte_survives_a_round_trip, reset),
        cmocka_unit_test_teardown(test_splits_odd_texts, reset),
        cmocka_unit_test_teardown(test_a_lonely_percent_stands_for_itself, reset),
        cmocka_unit_test_teardown(test_plus_is_a_space_in_forms_only, reset),
        cmocka_unit_test_teardown(test_secrets_keep_percent_and_lose_what_headers_cannot_hold, reset),
        cmocka_unit_test_teardown(test_components_keep_only_unreserved_characters, reset),
        cmocka_unit_test_teardown(test_output_stays_below_its_limit, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
