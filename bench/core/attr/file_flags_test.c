#include "testing/testing.h"

#include "attr/file_flags.h"

/* bench/spec/pxar.md 6, typed in again: the table must agree with the paper, not with itself. */
static const struct {
    uint64_t flag;
    uint32_t fat;
    uint32_t chattr;
} table[] = {
    {0x00002000, 0x02, 0},       {0x00004000, 0x04, 0},       {0x00008000, 0x20, 0},       {0x00010000, 0, 0x00000020},
    {0x00020000, 0, 0x00000080}, {0x00040000, 0, 0x00000004}, {0x00080000, 0, 0x00800000}, {0x00100000, 0, 0x00000040},
    {0x00200000, 0, 0x00010000}, {0x00400000, 0, 0x00000010}, {0x00800000, 0, 0x00000008}, {0x01000000, 0, 0x00000400},
    {0x02000000, 0, 0x20000000},
};
enum { ROWS = sizeof table / sizeof table[0] };

static void test_table_maps_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(file_flags_from_chattr(table[i].chattr), table[i].chattr ? table[i].flag : 0);
        assert_int_equal(file_flags_to_chattr(table[i].flag), table[i].chattr);
        assert_int_equal(file_flags_from_fat(table[i].fat), table[i].fat ? table[i].flag : 0);
        assert_int_equal(file_flags_to_fat(table[i].flag), table[i].fat);
    }
}

static void test_all_bits_at_once(void **state)
{
    (void)state;
    uint64_t chattr_flags = 0, fat_flags = 0;
    uint32_t chattr = 0, fat = 0;
    for (size_t i = 0; i < ROWS; i++) {
        *(table[i].chattr ? &chattr_flags : &fat_flags) |= table[i].flag;
        chattr |= table[i].chattr;
        fat |= table[i].fat;
    }
    /* Every bit set, the unknown ones too. */
    assert_int_equal(file_flags_from_chattr(UINT32_MAX), chattr_flags);
    assert_int_equal(file_flags_to_chattr(UINT64_MAX), chattr);
    assert_int_equal(file_flags_from_fat(UINT32_MAX), fat_flags);
    assert_int_equal(file_flags_to_fat(UINT64_MAX), fat);
    assert_int_equal(FILE_FLAGS_CHATTR, chattr_flags);
    assert_int_equal(FILE_FLAGS_FAT, fat_flags);
}

static void test_set_used_on_new_files(void **state)
{
    (void)state;
    assert_int_equal(FILE_FLAGS_EARLY, 0x20000 | 0x40000 | 0x80000 | 0x1000000 | 0x2000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_maps_both_ways),
        cmocka_unit_test(test_all_bits_at_once),
        cmocka_unit_test(test_set_used_on_new_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
