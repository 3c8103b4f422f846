#include "testing/testing.h"

#include "flow/link_table.h"

#include <string.h>

static void test_entries_survive_growth_and_devices_are_told_apart(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct error err = {0};
    struct link_table table = {0};
    struct link_entry *e;
    assert_null(link_table_find(&table, 1, 1));
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_int_equal(link_table_get(&table, i % 3, i / 3, &e, &err), OK);
        assert_false(e->seen);
        e->seen = true;
        e->filename_offset = i;
        e->path = strdup("x");
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        e = link_table_find(&table, i % 3, i / 3);
        assert_non_null(e);
        assert_int_equal(e->filename_offset, i);
        assert_int_equal(link_table_get(&table, i % 3, i / 3, &e, &err), OK);
        assert_true(e->seen);
    }
    assert_int_equal(table.count, COUNT);
    assert_null(link_table_find(&table, 3, 0));
    link_table_deinit(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_entries_survive_growth_and_devices_are_told_apart)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
