#include "testing/testing.h"

#include "base/clock.h"

#include <string.h>
#include <time.h>

struct moment {
    int64_t seconds;
    const char *text;
};

static const struct moment moments[] = {
    {0, "1970-01-01T00:00:00Z"},
    {-1, "1969-12-31T23:59:59Z"},
    {951782400, "2000-02-29T00:00:00Z"},
    {1767323045, "2026-01-02T03:04:05Z"},
    {4102444799, "2099-12-31T23:59:59Z"},
    {-62167219200, "0000-01-01T00:00:00Z"},
    {-61125667687, "0033-01-01T23:51:53Z"},
    {253402300799, "9999-12-31T23:59:59Z"},
};

static void test_seconds_and_text_agree_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
        char text[TIME_TEXT_SIZE];
        int64_t seconds = 1;
        assert_true(time_format_utc(moments[i].seconds, text));
        assert_string_equal(text, moments[i].text);
        assert_true(time_parse_utc(moments[i].text, &seconds));
        assert_int_equal(seconds, moments[i].seconds);
    }
}

static void test_zone_of_the_machine_does_not_matter(void **state)
{
    (void)state;
    assert_int_equal(setenv("TZ", "America/St_Johns", 1), 0);
    tzset();
    test_seconds_and_text_agree_both_ways(state);
    assert_int_equal(setenv("TZ", "UTC+11", 1), 0);
    tzset();
    test_seconds_and_text_agree_both_ways(state);
    assert_int_equal(unsetenv("TZ"), 0);
    tzset();
}

static void test_years_outside_four_digits_have_no_text(void **state)
{
    (void)state;
    char text[TIME_TEXT_SIZE];
    assert_false(time_format_utc(-62167219201, text));
    assert_false(time_format_utc(253402300800, text));
    assert_false(time_format_utc(INT64_MAX, text));
    assert_false(time_format_utc(INT64_MIN, text));
}

static void test_wrong_text_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05z",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04:05Z ",
        " 026-01-02T03:04:05Z",
        "2026- 1-02T03:04:05Z",
        "2026-01-02T03:04:+5Z",
        "-026-01-02T03:04:05Z",
        "2026-13-02T03:04:05Z",
        "2026-00-02T03:04:05Z",
        "2026-02-29T03:04:05Z",
        "2026-04-31T03:04:05Z",
        "2026-01-00T03:04:05Z",
        "2026-01-02T24:04:05Z",
        "2026-01-02T03:60:05Z",
        "2026-01-02T03:04:60Z",
        "2026-01-02T03:04:05+00:00",
        "02026-01-02T03:04:05",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int64_t seconds = 42;
        if (time_parse_utc(wrong[i], &seconds))
            print_error("accepted: %s\n", wrong[i]);
        assert_int_equal(seconds, 42);
    }
}

static void test_every_week_is_that_of_the_c_library(void **state)
{
    (void)state;
    const int64_t step = 6 * 86400 + 3607; /* meets every day of the year and every second of the day */
    size_t count = 0;
    for (int64_t seconds = -62167219200; seconds <= 253402300799; seconds += step, count++) {
        char text[TIME_TEXT_SIZE], wanted[TIME_TEXT_SIZE];
        struct tm parts;
        time_t value = (time_t)seconds;
        assert_true(time_format_utc(seconds, text));
        assert_non_null(gmtime_r(&value, &parts));
        /* strftime does not pad years before 1000 */
        assert_true(strftime(wanted, sizeof wanted, "-%m-%dT%H:%M:%SZ", &parts) > 0);
        assert_string_equal(text + 4, wanted);
        assert_int_equal(strtol(text, NULL, 10), parts.tm_year + 1900);
    }
    assert_true(count > 500000);
}

static void test_clocks_go_forward(void **state)
{
    (void)state;
    uint64_t first = clock_monotonic_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t next = clock_monotonic_ns();
        assert_true(next >= first);
        first = next;
    }
    assert_true(clock_wall_seconds() > 1600000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seconds_and_text_agree_both_ways),
        cmocka_unit_test(test_zone_of_the_machine_does_not_matter),
        cmocka_unit_test(test_years_outside_four_digits_have_no_text),
        cmocka_unit_test(test_wrong_text_is_refused),
        cmocka_unit_test(test_every_week_is_that_of_the_c_library),
        cmocka_unit_test(test_clocks_go_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
