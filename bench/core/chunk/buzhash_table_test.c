#include "testing/testing.h"

#include "chunk/buzhash_table.h"

#include "base/bytes.h"

#include <stdio.h>

static void test_xor_of_all_entries_is_zero(void **state)
{
    (void)state;
    uint32_t all = 0;
    for (size_t i = 0; i < BUZHASH_TABLE_COUNT; i++)
        all ^= buzhash_table[i];
    assert_int_equal(all, 0);
}

static void test_every_bit_is_set_in_half_of_the_entries(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 32; bit++) {
        unsigned count = 0;
        for (size_t i = 0; i < BUZHASH_TABLE_COUNT; i++)
            count += buzhash_table[i] >> bit & 1;
        assert_int_equal(count, 128);
    }
}

static void test_all_entries_differ(void **state)
{
    (void)state;
    for (size_t i = 0; i < BUZHASH_TABLE_COUNT; i++)
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(buzhash_table[i], buzhash_table[k]);
}

static void test_little_endian_bytes_have_the_digest_of_the_specification(void **state)
{
    (void)state;
    uint8_t bytes[4 * BUZHASH_TABLE_COUNT];
    for (size_t i = 0; i < BUZHASH_TABLE_COUNT; i++)
        store_u32le(bytes + 4 * i, buzhash_table[i]);
    assert_string_equal(sha256_hex(bytes, sizeof bytes),
                        "5b52080d38287da9d2e278466e3e0db7ec98e5e8b226f50612a56fa012b1f660");
}

static void test_equals_the_file_of_the_specification(void **state)
{
    (void)state;
    FILE *f = fopen("bench/spec/buzhash_table.txt", "r"); /* tests run in the source folder */
    assert_non_null(f);
    char line[64];
    size_t count = 0;
    while (fgets(line, sizeof line, f)) {
        assert_true(count < BUZHASH_TABLE_COUNT);
        assert_int_equal(strtoul(line, NULL, 16), buzhash_table[count]);
        count++;
    }
    fclose(f);
    assert_int_equal(count, BUZHASH_TABLE_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_xor_of_all_entries_is_zero),
        cmocka_unit_test(test_every_bit_is_set_in_half_of_the_entries),
        cmocka_unit_test(test_all_entries_differ),
        cmocka_unit_test(test_little_endian_bytes_have_the_digest_of_the_specification),
        cmocka_unit_test(test_equals_the_file_of_the_specification),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
