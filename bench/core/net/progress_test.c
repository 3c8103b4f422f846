#include "testing/testing.h"

#include "net/progress.h"

static const uint64_t second = 1000000000;

/* So many bytes each `step` seconds, until the verdict or `end`; says when, in seconds. */
static uint64_t run(struct progress *p, uint64_t bytes, uint64_t step, uint64_t end, enum progress_verdict *out)
{
    uint64_t moved = 5000, now = 100;
    progress_begin(p, moved, now * second);
    for (; now < end; now += step, moved += bytes) {
        *out = progress_look(p, moved, now * second);
        if (*out != PROGRESS_GOOD)
            return now - 100;
    }
    return UINT64_MAX;
}

static void test_nothing_for_the_timeout_is_no_progress(void **state)
{
    (void)state;
    struct progress p;
    enum progress_verdict verdict;
    progress_init(&p, 120 * second, 0);
    assert_int_equal(run(&p, 0, 1, 10000, &verdict), 120);
    assert_int_equal(verdict, PROGRESS_NONE);
}

static void test_a_trickle_is_refused_after_the_window(void **state)
{
    (void)state;
    struct progress p;
    enum progress_verdict verdict;
    progress_init(&p, 120 * second, 0);
    assert_int_equal(run(&p, 1, 1, 10000, &verdict), 1200);
    assert_int_equal(verdict, PROGRESS_TOO_SLOW);
    assert_int_equal(run(&p, 1000, 1, 100000, &verdict), 1200);
    assert_int_equal(verdict, PROGRESS_TOO_SLOW);
    assert_int_equal(run(&p, 1024, 1, 100000, &verdict), UINT64_MAX);
    assert_int_equal(run(&p, 1024 * 119, 119, 1000000, &verdict), UINT64_MAX);
}

static void test_answers_begin_anew(void **state)
{
    (void)state;
    struct progress p;
    progress_init(&p, 120 * second, 0);
    for (uint64_t now = 0; now < 100000; now += 119) {
        progress_begin(&p, 7, now * second);
        assert_int_equal(progress_look(&p, 7, (now + 118) * second), PROGRESS_GOOD);
    }
}

static void test_our_own_rate_is_nobody_elses_fault(void **state)
{
    (void)state;
    static const uint64_t rates[] = {1, 100, 1000, 5000, 1000000};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        struct progress p;
        progress_init(&p, 120 * second, rates[i]);
        progress_begin(&p, 0, 0);
        /* 64 KiB at once, as a record of a link, then as long nothing as they are worth. */
        uint64_t bytes = 0, now = 0;
        for (int k = 0; k < 2000; k++) {
            bytes += 64 << 10;
            now += (64 << 10) * second / rates[i];
            progress_held(&p, now);
            assert_int_equal(progress_look(&p, bytes, now), PROGRESS_GOOD);
        }
        /* Being held up all the time is no excuse for bringing nothing. */
        enum progress_verdict verdict = PROGRESS_GOOD;
        for (uint64_t k = 0; k < 1000 && verdict == PROGRESS_GOOD; k++) {
            now += p.window_ns / 100;
            progress_held(&p, now);
            verdict = progress_look(&p, bytes, now);
        }
        assert_int_equal(verdict, rates[i] < 4 ? PROGRESS_GOOD : PROGRESS_TOO_SLOW);
    }
}

static void test_acknowledgements_matter_until_the_last_body_was_taken(void **state)
{
    (void)state;
    struct progress_mark m = {0};
    assert_false(progress_mark(&m, 0, 0, 0));
    assert_false(progress_mark(&m, 0, 500, 100)); /* requests without a body, pings */
    assert_true(progress_mark(&m, 1000, 1200, 800));
    assert_true(progress_mark(&m, 1000, 1600, 700)); /* the rest of it comes out of the output */
    assert_true(progress_mark(&m, 1000, 2300, 0));
    assert_false(progress_mark(&m, 1000, 2300, 0));
    assert_false(progress_mark(&m, 1000, 5000, 50));
    assert_true(progress_mark(&m, 1001, 5100, 0));
    assert_false(progress_mark(&m, 1001, 5200, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_for_the_timeout_is_no_progress),
        cmocka_unit_test(test_a_trickle_is_refused_after_the_window),
        cmocka_unit_test(test_answers_begin_anew),
        cmocka_unit_test(test_our_own_rate_is_nobody_elses_fault),
        cmocka_unit_test(test_acknowledgements_matter_until_the_last_body_was_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
