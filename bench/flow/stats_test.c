#include "testing/testing.h"

#include "flow/stats.h"

static void test_size_classes(void **state)
{
    (void)state;
    static const struct {
        uint64_t size;
        const char *name;
    } cases[] = {
        {0, "lt_16k"},      {16383, "lt_16k"},   {16384, "lt_64k"},  {65535, "lt_64k"},
        {65536, "lt_256k"}, {262143, "lt_256k"}, {262144, "lt_1m"},  {1048575, "lt_1m"},
        {1048576, "lt_4m"}, {4194303, "lt_4m"},  {4194304, "ge_4m"}, {UINT64_MAX, "ge_4m"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(size_class_names[size_class_of(cases[i].size)], cases[i].name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_size_classes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
