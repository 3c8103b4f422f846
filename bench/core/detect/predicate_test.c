#include "testing/testing.h"

#include "detect/predicate.h"

static struct attributes base(void)
{
    return (struct attributes){
        .stat = {.mode = 0100644, .uid = 1000, .gid = 1000, .mtime_secs = 1700000001, .mtime_nanos = 5},
    };
}

static struct archive_entry old_file(void)
{
    return (struct archive_entry){.kind = ENTRY_FILE, .attributes = base(), .size = 10, .payload_offset = 16};
}

static void test_equal_is_unchanged(void **state)
{
    (void)state;
    struct attributes now = base();
    struct archive_entry old = old_file();
    for (int rule = COMPARE_STRICT; rule <= COMPARE_CONTENT; rule++)
        assert_int_equal(predicate_compare(&now, 10, &old, (enum compare_rule)rule), FILE_UNCHANGED);
}

static void test_each_changed_field_has_its_reason(void **state)
{
    (void)state;
    struct archive_entry old = old_file();
    struct attributes now = base();
    assert_int_equal(predicate_compare(&now, 10, NULL, COMPARE_STRICT), FILE_NEW);
    assert_int_equal(predicate_compare(&now, 11, &old, COMPARE_STRICT), FILE_SIZE);
    assert_int_equal(predicate_compare(&now, 11, &old, COMPARE_CONTENT), FILE_SIZE);
    now = base(), now.stat.mtime_secs--;
    assert_int_equal(predicate_compare(&now, 10, &old, COMPARE_STRICT), FILE_MTIME);
    now = base(), now.stat.mtime_nanos++;
    assert_int_equal(predicate_compare(&now, 10, &old, COMPARE_STRICT), FILE_MTIME);
    assert_int_equal(predicate_compare(&now, 10, &old, COMPARE_CONTENT), FILE_MTIME);
    now = base(), now.stat.mode = 0100600;
    assert_int_equal(predicate_compare(&now, 10, &old, COMPARE_STRICT), FILE_MODE);
    assert_int_equal(predicate_compare(&now, 10, &old, COMPARE_CONTENT), FILE_UNCHANGED);
    now = base(), now.stat.uid = 0;
    assert_int_equal(predicate_compare(&now, 10, &old, COMPARE_UPSTREAM), FILE_OWNER);
    now = base(), now.stat.gid = 0;
    assert_int_equal(predicate_compare(&now, 10, &old, COMPARE_UPSTREAM), FILE_OWNER);
    now = base(), now.stat.flags = 0x10000;
    assert_int_equal(predicate_compare(&now, 10, &old, COMPARE_UPSTREAM), FILE_FLAGS);
}

static void test_values_of_extended_attributes_count_only_when_strict(void **state)
{
    (void)state;
    struct error err = {0};
    struct attributes now = base();
    struct archive_entry old = old_file();
    assert_int_equal(attributes_add_xattr(&now, "user.a", 6, (const uint8_t *)"1", 1, &err), OK);
    assert_int_equal(predicate_compare(&now, 10, &old, COMPARE_UPSTREAM), FILE_XATTR);
    assert_int_equal(attributes_add_xattr(&old.attributes, "user.a", 6, (const uint8_t *)"2", 1, &err), OK);
    assert_int_equal(predicate_compare(&now, 10, &old, COMPARE_STRICT), FILE_XATTR_VALUE);
    assert_int_equal(predicate_compare(&now, 10, &old, COMPARE_UPSTREAM), FILE_UNCHANGED);
    assert_int_equal(predicate_compare(&now, 10, &old, COMPARE_CONTENT), FILE_UNCHANGED);
    attributes_deinit(&now);
    attributes_deinit(&old.attributes);
}

static void test_other_kinds_are_never_reusable(void **state)
{
    (void)state;
    struct attributes now = base();
    struct archive_entry old = {.kind = ENTRY_HARDLINK};
    assert_int_equal(predicate_compare(&now, 0, &old, COMPARE_STRICT), FILE_HARDLINK);
    old.kind = ENTRY_DIRECTORY;
    assert_int_equal(predicate_compare(&now, 0, &old, COMPARE_CONTENT), FILE_TYPE);
    old.kind = ENTRY_SYMLINK;
    assert_int_equal(predicate_compare(&now, 0, &old, COMPARE_STRICT), FILE_TYPE);
}

static void test_old_offsets_strictly_increase(void **state)
{
    (void)state;
    struct offset_guard guard = {0};
    uint64_t start, end;
    assert_int_equal(offset_guard_accept(&guard, 100, 4, 1000, &start, &end), FILE_UNCHANGED);
    assert_int_equal(start, 100);
    assert_int_equal(end, 120);
    assert_int_equal(offset_guard_accept(&guard, 100, 4, 1000, &start, &end), FILE_NON_MONOTONE);
    assert_int_equal(offset_guard_accept(&guard, 16, 4, 1000, &start, &end), FILE_NON_MONOTONE);
    /* Overlaps the one before: no archive has that. */
    assert_int_equal(offset_guard_accept(&guard, 119, 4, 1000, &start, &end), FILE_NON_MONOTONE);
    assert_int_equal(offset_guard_accept(&guard, 120, 0, 1000, &start, &end), FILE_UNCHANGED);
}

static void test_old_ranges_lie_in_the_old_stream(void **state)
{
    (void)state;
    struct offset_guard guard = {0};
    uint64_t start, end;
    assert_int_equal(offset_guard_accept(&guard, 0, 0, 1000, &start, &end), FILE_OUT_OF_RANGE);
    assert_int_equal(offset_guard_accept(&guard, 990, 0, 1000, &start, &end), FILE_OUT_OF_RANGE);
    assert_int_equal(offset_guard_accept(&guard, 900, 85, 1000, &start, &end), FILE_OUT_OF_RANGE);
    assert_int_equal(offset_guard_accept(&guard, UINT64_MAX, UINT64_MAX, 1000, &start, &end), FILE_OUT_OF_RANGE);
    assert_int_equal(offset_guard_accept(&guard, 16, UINT64_MAX, 1000, &start, &end), FILE_OUT_OF_RANGE);
    assert_int_equal(offset_guard_accept(&guard, 900, 84, 1000, &start, &end), FILE_UNCHANGED);
    assert_int_equal(end, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_is_unchanged),
        cmocka_unit_test(test_each_changed_field_has_its_reason),
        cmocka_unit_test(test_values_of_extended_attributes_count_only_when_strict),
        cmocka_unit_test(test_other_kinds_are_never_reusable),
        cmocka_unit_test(test_old_offsets_strictly_increase),
        cmocka_unit_test(test_old_ranges_lie_in_the_old_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
