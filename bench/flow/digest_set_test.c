#include "testing/testing.h"

#include "flow/digest_set.h"

#include <string.h>

static struct digest numbered(uint64_t n)
{
    struct digest d;
    digest_of(&n, sizeof n, &d);
    return d;
}

static void test_has_exactly_what_was_added_across_growth(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct error err = {0};
    struct digest_set set = {0};
    struct digest d = numbered(1);
    assert_false(digest_set_has(&set, &d));
    for (uint64_t i = 0; i < COUNT; i++) {
        d = numbered(i);
        assert_int_equal(digest_set_add(&set, &d, &err), OK);
        assert_int_equal(digest_set_add(&set, &d, &err), OK); /* twice is fine */
    }
    assert_int_equal(set.count, COUNT);
    for (uint64_t i = 0; i < 2 * COUNT; i++) {
        d = numbered(i);
        assert_int_equal(digest_set_has(&set, &d), i < COUNT);
    }
    digest_set_deinit(&set);
}

static void test_digests_that_share_a_slot_and_the_zero_digest(void **state)
{
    (void)state;
    struct error err = {0};
    struct digest_set set = {0};
    struct digest zero = {0}, a = {0}, b = {0};
    a.bytes[31] = 1; /* the same leading bytes, hence the same slot */
    b.bytes[31] = 2;
    assert_false(digest_set_has(&set, &zero));
    assert_int_equal(digest_set_add(&set, &a, &err), OK);
    assert_false(digest_set_has(&set, &b));
    assert_false(digest_set_has(&set, &zero));
    assert_int_equal(digest_set_add(&set, &b, &err), OK);
    assert_int_equal(digest_set_add(&set, &zero, &err), OK);
    assert_true(digest_set_has(&set, &a) && digest_set_has(&set, &b) && digest_set_has(&set, &zero));
    digest_set_deinit(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_has_exactly_what_was_added_across_growth),
        cmocka_unit_test(test_digests_that_share_a_slot_and_the_zero_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
