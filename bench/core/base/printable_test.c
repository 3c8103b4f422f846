#include "testing/testing.h"

#include "base/printable.h"

#include <string.h>

/* UTF-8 as the specification of it says, into `out`. */
static size_t encode(uint32_t c, char out[5])
{
    size_t size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = size; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(first[size] | c);
    out[size] = '\0';
    return size;
}

static void test_every_character_is_shown_but_for_these(void **state)
{
    (void)state;
    static const struct {
        uint32_t first, last;
    } hidden[] = {{0, 0x1f},        {0x7f, 0x9f},     {0x61c, 0x61c},   {0x200e, 0x200f}, {0x2028, 0x2029},
                  {0x202a, 0x202e}, {0x2066, 0x2069}, {0xd800, 0xdfff}, {UINT32_MAX, 0}};
    for (uint32_t c = 0, k = 0; c <= 0x10ffff; c++) {
        char text[5];
        size_t size = encode(c, text);
        if (c > hidden[k].last && hidden[k].first != UINT32_MAX)
            k++;
        bool shown = c < hidden[k].first;
        assert_int_equal(printable_size(text, SIZE_MAX), shown ? size : 0);
        assert_int_equal(printable_size(text, size), shown ? size : 0);
        assert_int_equal(printable_size(text, size - 1), 0);
    }
}

static void test_what_is_no_utf8_is_not_shown(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\xaf",
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xf0\x80\x80\xaf",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xc3",
        "\xc3x",
        "\xe2\x82",
        "\xe2\x82x",
        "\xf0\x9f\x98",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(printable_size(bad[i], SIZE_MAX), 0);
        assert_int_equal(printable_size(bad[i], strlen(bad[i])), 0);
    }
    assert_int_equal(printable_size("", 0), 0);
}

static void test_texts_are_cut_before_what_does_not_fit(void **state)
{
    (void)state;
    char out[16];
    printable_escape("a\xc2\x9b"
                     "31m\xe2\x80\xae",
                     out, sizeof out);
    assert_string_equal(out, "a\\xc2\\x9b31m");
    printable_escape("", out, 1);
    assert_string_equal(out, "");
    for (size_t size = 1; size < sizeof out; size++) {
        printable_escape("\xe2\x82\xac\n\xc3\xa4z", out, size);
        static const size_t sizes[] = {0, 0, 0, 0, 3, 3, 3, 3, 7, 7, 9, 10, 10, 10, 10, 10};
        assert_int_equal(strlen(out), sizes[size]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_character_is_shown_but_for_these),
        cmocka_unit_test(test_what_is_no_utf8_is_not_shown),
        cmocka_unit_test(test_texts_are_cut_before_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
