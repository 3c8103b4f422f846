#include "testing/testing.h"

#include "base/json_values.h"

#include <string.h>

static enum status check(const char *text, size_t max)
{
    struct error err = {0};
    enum status status = json_values_check(text, strlen(text), max, "reading", &err);
    assert_int_equal(err.status, status);
    if (status != OK)
        assert_memory_equal(err.text, "reading: JSON of ", 17);
    return status;
}

static void test_values_of_all_kinds_and_depths_count(void **state)
{
    (void)state;
    /* With as many values as this, and not with one less. */
    static const struct {
        const char *text;
        size_t count;
    } cases[] = {
        {"", 1},
        {"1", 1},
        {"\"a,b\"", 1},
        {"[]", 2},
        {"[1,2,3]", 4},
        {"{\"a\":1,\"b\":null}", 3},
        {"[[[[]]]]", 5},
        {"{\"data\":[{},{},{}]}", 8},
        {"[\"{[,\",\"\\\",\\\"\",\"\\\\\",1]", 5},
        {"\"\\", 1},
        {"\"never ends, [[[[", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(check(cases[i].text, cases[i].count), OK);
        assert_int_equal(check(cases[i].text, cases[i].count - 1), ERR_LIMIT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_of_all_kinds_and_depths_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
