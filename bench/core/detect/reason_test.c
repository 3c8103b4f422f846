#include "testing/testing.h"

#include "detect/reason.h"

#include <string.h>

static void test_every_reason_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < FILE_REASON_COUNT; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(file_reason_name((enum file_reason)i), file_reason_name((enum file_reason)k));
    for (int i = 0; i < REFERENCE_REASON_COUNT; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(reference_reason_name((enum reference_reason)i),
                                    reference_reason_name((enum reference_reason)k));
    assert_string_equal(file_reason_name(FILE_THRESHOLD), "threshold");
    assert_string_equal(file_reason_name(FILE_NON_MONOTONE), "non-monotone");
    assert_string_equal(reference_reason_name(REFERENCE_ROOT_UNREADABLE), "root-unreadable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_reason_has_a_name_of_its_own)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
