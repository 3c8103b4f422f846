#include "testing/testing.h"

#include "base/library.h"

#include <string.h>

struct mathematics {
    int before;
    double (*sqrt)(double value);
    double (*cbrt)(double value);
};

static const struct library_function functions[] = {
    {"sqrt", offsetof(struct mathematics, sqrt)},
    {"cbrt", offsetof(struct mathematics, cbrt)},
};

static void test_functions_are_found_by_name(void **state)
{
    (void)state;
    struct error err = {0};
    struct mathematics m = {.before = 7};
    assert_int_equal(library_load("libm.so.6", functions, 2, &m, &err), OK);
    assert_true(m.sqrt(16) > 3.999 && m.sqrt(16) < 4.001);
    assert_true(m.cbrt(27) > 2.999 && m.cbrt(27) < 3.001);
    assert_int_equal(m.before, 7);
}

static void test_what_is_missing_is_named(void **state)
{
    (void)state;
    struct error err = {0};
    struct mathematics m = {0};
    assert_int_equal(library_load("libnobody-has-this.so.1", functions, 2, &m, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "libnobody-has-this.so.1 cannot be loaded"));
    const struct library_function other[] = {{"no_such_function", offsetof(struct mathematics, sqrt)}};
    assert_int_equal(library_load("libm.so.6", other, 1, &m, &err), ERR_UNSUPPORTED);
    assert_string_equal(err.text, "libm.so.6 has no no_such_function, which this command needs");
    assert_null(m.sqrt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions_are_found_by_name),
        cmocka_unit_test(test_what_is_missing_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
