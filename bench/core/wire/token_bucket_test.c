#include "testing/testing.h"

#include "wire/token_bucket.h"

enum { SECOND = 1000000000 };

static void test_begins_empty_and_pauses_for_what_is_beyond_the_burst(void **state)
{
    (void)state;
    struct token_bucket b;
    token_bucket_init(&b, 1000, 500, 0);
    /* consumed = burst + 100, so (burst + 100 - burst) / rate = 0.1 s */
    assert_int_equal(token_bucket_pass(&b, 100, 0), SECOND / 10);
    assert_int_equal(token_bucket_wait(&b, SECOND / 20), SECOND / 20);
    assert_int_equal(token_bucket_wait(&b, SECOND / 10), 0);
    /* After a long pause a whole burst passes at once, and one byte more does not. */
    assert_int_equal(token_bucket_pass(&b, 500, 10ull * SECOND), 0);
    assert_int_equal(token_bucket_pass(&b, 1, 10ull * SECOND), SECOND / 1000);
}

static void test_follows_the_formula_at_every_step(void **state)
{
    (void)state;
    struct token_bucket b;
    token_bucket_init(&b, 1 << 20, 1 << 18, 12345);
    double consumed = 1 << 18;
    uint64_t last = 12345;
    uint64_t now = last;
    uint64_t seed = 1;
    for (int i = 0; i < 10000; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        uint64_t size = seed >> 50;
        now += seed >> 40 & 0xffffff;
        consumed -= (1 << 20) * ((double)(now - last) / 1e9);
        consumed = (consumed > 0 ? consumed : 0) + (double)size;
        last = now;
        double expected = consumed > (1 << 18) ? (consumed - (1 << 18)) / (1 << 20) * 1e9 : 0;
        double got = (double)token_bucket_pass(&b, size, now);
        assert_true(got - expected < 1000 && expected - got < 1000);
    }
}

static void test_keeps_to_the_rate_over_time_however_small_the_steps(void **state)
{
    (void)state;
    struct token_bucket b;
    uint64_t now = 7;
    uint64_t passed = 0;
    token_bucket_init(&b, 3333, 1, now);
    for (int i = 0; i < 100000; i++) {
        now += token_bucket_pass(&b, 1, now);
        passed++;
    }
    uint64_t ideal = passed * SECOND / 3333;
    assert_true(now - 7 >= ideal && now - 7 <= ideal + 100000); /* each pause is rounded up to a nanosecond */
}

static void test_rate_zero_never_pauses(void **state)
{
    (void)state;
    struct token_bucket b;
    token_bucket_init(&b, 0, 0, 0);
    assert_int_equal(token_bucket_pass(&b, UINT64_MAX, 0), 0);
    assert_int_equal(token_bucket_wait(&b, 0), 0);
}

static void test_burst_defaults_to_one_second(void **state)
{
    (void)state;
    struct token_bucket b;
    token_bucket_init(&b, 1000, 0, 0);
    assert_int_equal(token_bucket_pass(&b, 1000, SECOND), 0);
    assert_int_equal(token_bucket_pass(&b, 1, SECOND), SECOND / 1000);
}

static void test_survives_extremes(void **state)
{
    (void)state;
    struct token_bucket b;
    token_bucket_init(&b, 1, 1, 0);
    assert_int_equal(token_bucket_pass(&b, UINT64_MAX, 0), UINT64_MAX);
    assert_int_equal(token_bucket_pass(&b, UINT64_MAX, 0), UINT64_MAX);
    token_bucket_init(&b, UINT64_MAX, UINT64_MAX, 0);
    assert_int_equal(token_bucket_pass(&b, UINT64_MAX, UINT64_MAX), 0);
    /* A clock that runs backwards gives nothing and takes nothing. */
    token_bucket_init(&b, 1000, 1000, 5ull * SECOND);
    assert_int_equal(token_bucket_pass(&b, 100, SECOND), SECOND / 10);
    assert_int_equal(token_bucket_wait(&b, 5ull * SECOND), SECOND / 10);
    assert_int_equal(token_bucket_wait(&b, 5ull * SECOND + SECOND / 10), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begins_empty_and_pauses_for_what_is_beyond_the_burst),
        cmocka_unit_test(test_follows_the_formula_at_every_step),
        cmocka_unit_test(test_keeps_to_the_rate_over_time_however_small_the_steps),
        cmocka_unit_test(test_rate_zero_never_pauses),
        cmocka_unit_test(test_burst_defaults_to_one_second),
        cmocka_unit_test(test_survives_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
