#include "testing/testing.h"

#include "pxar/catalog_number.h"

#include <string.h>

/* bench/spec/datastore.md 7. */
static const struct {
    uint64_t value;
    const char *hex;
} unsigned_cases[] = {
    {0, "00"},
    {1, "01"},
    {126, "7e"},
    {127, "7f"},
    {128, "8001"},
    {300, "ac02"},
    {16383, "ff7f"},
    {16384, "808001"},
    {1700000000, "80e2cfaa06"},
    {INT64_MAX, "ffffffffffffffff7f"},
    {UINT64_MAX, "ffffffffffffffffff01"},
};
static const struct {
    int64_t value;
    const char *hex;
} signed_cases[] = {
    {0, "00"},
    {1, "01"},
    {126, "7e"},
    {127, "7f"},
    {128, "8001"},
    {300, "ac02"},
    {16383, "ff7f"},
    {16384, "808001"},
    {1700000000, "80e2cfaa06"},
    {INT64_MAX, "ffffffffffffffff7f"},
    {-1, "8100"},
    {-126, "fe00"},
    {-127, "ff00"},
    {-128, "808100"},
    {-300, "ac8200"},
    {INT64_MIN, "8080808080808080808100"},
};

static void test_unsigned_table_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof unsigned_cases / sizeof *unsigned_cases; i++) {
        uint8_t bytes[CATALOG_UNSIGNED_SIZE_MAX];
        uint64_t value;
        size_t size = catalog_unsigned_bytes(unsigned_cases[i].value, bytes);
        assert_int_equal(2 * size, strlen(unsigned_cases[i].hex));
        assert_true(hex_equals(unsigned_cases[i].hex, bytes, size));
        struct reader r = reader_over(bytes, size, "x", 0);
        assert_int_equal(catalog_read_unsigned(&r, &value, NULL), OK);
        assert_true(value == unsigned_cases[i].value && reader_remaining(&r) == 0);
    }
    uint8_t bytes[CATALOG_UNSIGNED_SIZE_MAX];
    assert_int_equal(catalog_unsigned_bytes(UINT64_MAX, bytes), 10);
}

static void test_signed_table_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof signed_cases / sizeof *signed_cases; i++) {
        uint8_t bytes[CATALOG_SIGNED_SIZE_MAX];
        int64_t value;
        size_t size = catalog_signed_bytes(signed_cases[i].value, bytes);
        assert_int_equal(2 * size, strlen(signed_cases[i].hex));
        assert_true(hex_equals(signed_cases[i].hex, bytes, size));
        struct reader r = reader_over(bytes, size, "x", 0);
        assert_int_equal(catalog_read_signed(&r, &value, NULL), OK);
        assert_true(value == signed_cases[i].value && reader_remaining(&r) == 0);
    }
    uint8_t bytes[CATALOG_SIGNED_SIZE_MAX];
    assert_int_equal(catalog_signed_bytes(INT64_MIN, bytes), 11);
}

static void test_longer_forms_and_negative_zero_are_read(void **state)
{
    (void)state;
    uint64_t value = 1;
    int64_t negative = 1;
    struct reader r = reader_over("\x80\x80\x00", 3, "x", 0);
    assert_int_equal(catalog_read_unsigned(&r, &value, NULL), OK);
    assert_int_equal(value, 0);
    r = reader_over("\x80\x00", 2, "x", 0);
    assert_int_equal(catalog_read_signed(&r, &negative, NULL), OK);
    assert_int_equal(negative, 0);
    r = reader_over("\x81\x80\x00", 3, "x", 0);
    assert_int_equal(catalog_read_signed(&r, &negative, NULL), OK);
    assert_int_equal(negative, -1);
}

static void reject(const char *bytes, size_t size, bool is_signed, const char *part)
{
    struct error err = {0};
    struct reader r = reader_over(bytes, size, "x", 100);
    uint64_t value;
    int64_t negative;
    enum status status = is_signed ? catalog_read_signed(&r, &negative, &err) : catalog_read_unsigned(&r, &value, &err);
    assert_int_equal(status, ERR_FORMAT);
    if (!strstr(err.text, part))
        assert_string_equal(err.text, part);
}

static void test_rejects_numbers_that_end_early_or_are_too_large(void **state)
{
    (void)state;
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        reject("", 0, is_signed, "ends early at offset 100");
        reject("\x80", 1, is_signed, "ends early at offset 101");
        reject("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, is_signed, "number at offset 100 is out of range");
        reject("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12, is_signed, "number at offset 100");
        reject("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11, is_signed, "number at offset 100");
    }
    reject("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, true, "out of range");     /* 2^64 - 1 */
    reject("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 10, true, "out of range");     /* 2^63 */
    reject("\x81\x80\x80\x80\x80\x80\x80\x80\x80\x81\x00", 11, true, "out of range"); /* -2^63 - 1 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unsigned_table_both_ways),
        cmocka_unit_test(test_signed_table_both_ways),
        cmocka_unit_test(test_longer_forms_and_negative_zero_are_read),
        cmocka_unit_test(test_rejects_numbers_that_end_early_or_are_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
