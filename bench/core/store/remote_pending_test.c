#include "testing/testing.h"

#include "store/remote_pending.h"

#include <string.h>

static struct digest digest(unsigned home, unsigned number)
{
    struct digest d = {{0}};
    d.bytes[0] = (uint8_t)home;
    d.bytes[1] = (uint8_t)(home >> 8);
    memcpy(d.bytes + 16, &number, sizeof number);
    return d;
}

static void test_counts(void **state)
{
    (void)state;
    struct pending_digests p = {0};
    struct digest a = digest(1, 1), b = digest(1, 2);
    assert_false(pending_has(&p, &a));
    pending_remove(&p, &a); /* unknown */
    assert_int_equal(pending_add(&p, &a, NULL), OK);
    assert_int_equal(pending_add(&p, &a, NULL), OK);
    assert_int_equal(pending_add(&p, &b, NULL), OK);
    pending_remove(&p, &a);
    assert_true(pending_has(&p, &a));
    pending_remove(&p, &a);
    assert_false(pending_has(&p, &a));
    assert_true(pending_has(&p, &b));
    pending_remove(&p, &a);
    assert_true(pending_has(&p, &b));
    pending_deinit(&p);
}

/* Against a plain array: many that want the same slots, also around the end of the table. */
static void test_agrees_with_an_array(void **state)
{
    (void)state;
    enum { KINDS = 600, STEPS = 60000 };
    static unsigned counts[KINDS];
    static const unsigned homes[] = {0, 1, 254, 255, 256, 65535, 65534, 7};
    struct pending_digests p = {0};
    uint64_t random = 42;
    memset(counts, 0, sizeof counts);
    for (unsigned step = 0; step < STEPS; step++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        unsigned kind = (unsigned)(random >> 33) % KINDS;
        struct digest d = digest(homes[kind % 8], kind);
        /* Grows for a while, then empties. */
        if ((random >> 20) % 100 < (step < STEPS / 2 ? 60 : 30)) {
            assert_int_equal(pending_add(&p, &d, NULL), OK);
            counts[kind]++;
        } else {
            pending_remove(&p, &d);
            counts[kind] -= counts[kind] > 0;
        }
        if (step % 500 > 0)
            continue;
        size_t used = 0;
        for (unsigned k = 0; k < KINDS; k++) {
            struct digest one = digest(homes[k % 8], k);
            assert_int_equal(pending_has(&p, &one), counts[k] > 0);
            used += counts[k] > 0;
        }
        assert_int_equal(p.used, used);
    }
    pending_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_agrees_with_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
