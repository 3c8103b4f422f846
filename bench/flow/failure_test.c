#include "testing/testing.h"

#include "flow/failure.h"

#include <string.h>

static void test_first_cause_wins_over_later_ones_and_over_consequences(void **state)
{
    (void)state;
    struct failure f;
    struct error err = {0}, out = {0};
    failure_init(&f);
    assert_int_equal(failure_status(&f), OK);
    assert_int_equal(failure_get(&f, &out), OK);
    failure_set(&f, ERR_CANCELLED, &err); /* a thread that stopped because of another one may report first */
    fail(&err, ERR_FORMAT, "the cause");
    failure_set(&f, ERR_FORMAT, &err);
    fail(&err, ERR_LIMIT, "too late");
    failure_set(&f, ERR_LIMIT, &err);
    failure_set(&f, ERR_CLOSED, &err);
    assert_int_equal(failure_status(&f), ERR_FORMAT);
    assert_int_equal(failure_get(&f, &out), ERR_FORMAT);
    assert_string_equal(out.text, "the cause");
    assert_int_equal(out.status, ERR_FORMAT);
    failure_deinit(&f);
}

static void count(void *context)
{
    ++*(unsigned *)context;
}

static void test_the_first_failure_is_told_once(void **state)
{
    (void)state;
    struct failure f;
    struct error err = {0};
    unsigned told = 0;
    failure_init(&f);
    failure_on_first(&f, count, &told);
    failure_set(&f, ERR_CANCELLED, &err);
    assert_int_equal(told, 1);
    failure_set(&f, ERR_FORMAT, &err);
    failure_set(&f, ERR_LIMIT, &err);
    assert_int_equal(told, 1);
    failure_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_cause_wins_over_later_ones_and_over_consequences),
        cmocka_unit_test(test_the_first_failure_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
