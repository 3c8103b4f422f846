#include "testing/testing.h"

#include "base/hex.h"

#include <string.h>

static void test_all_bytes_there_and_back(void **state)
{
    (void)state;
    uint8_t bytes[256], again[256];
    char text[513];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    hex_encode(bytes, sizeof bytes, text);
    assert_int_equal(strlen(text), 512);
    assert_memory_equal(text, "000102", 6);
    assert_memory_equal(text + 506, "fdfeff", 6);
    assert_true(hex_decode(text, 512, again, sizeof again));
    assert_memory_equal(bytes, again, sizeof bytes);
}

static void test_either_case_is_read(void **state)
{
    (void)state;
    uint8_t out[3];
    assert_true(hex_decode("aBCdeF", 6, out, 3));
    assert_memory_equal(out, "\xab\xcd\xef", 3);
}

static void test_wrong_text_is_refused(void **state)
{
    (void)state;
    uint8_t out[2];
    assert_false(hex_decode("abcd", 3, out, 1));
    assert_false(hex_decode("abcd", 3, out, 2));
    assert_false(hex_decode("abcd", 4, out, 1));
    assert_false(hex_decode("ab", 2, out, 2));
    /* The neighbours of the digits in ASCII, in each place. */
    static const char near[] = "/:@G`g -x";
    for (const char *p = near; *p; p++) {
        char text[5] = "0000";
        for (int at = 0; at < 4; at++) {
            text[at] = *p;
            assert_false(hex_decode(text, 4, out, 2));
            text[at] = '0';
        }
        assert_true(hex_decode(text, 4, out, 2));
    }
}

static void test_nothing_is_nothing(void **state)
{
    (void)state;
    char text[1] = {'x'};
    hex_encode(NULL, 0, text);
    assert_string_equal(text, "");
    assert_true(hex_decode("", 0, NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_bytes_there_and_back),
        cmocka_unit_test(test_either_case_is_read),
        cmocka_unit_test(test_wrong_text_is_refused),
        cmocka_unit_test(test_nothing_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
