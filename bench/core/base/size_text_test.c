#include "testing/testing.h"

#include "base/size_text.h"

struct expectation {
    uint64_t bytes;
    const char *text;
};

/* bench/spec/change-detection.md 12, function H. */
static const struct expectation known[] = {
    {0, "0 B"},
    {1, "1 B"},
    {1023, "1023 B"},
    {1024, "1 KiB"},
    {1025, "1.001 KiB"},
    {1536, "1.5 KiB"},
    {1034, "1.01 KiB"},
    {1048575, "1023.999 KiB"},
    {1048576, "1 MiB"},
    {11500000, "10.967 MiB"},
    {1073741823, "1024 MiB"},
    {1073741824, "1 GiB"},
    {UINT64_C(1) << 40, "1 TiB"},
    {(UINT64_C(1) << 40) - 1, "1024 GiB"},
    {UINT64_C(3) << 39, "1.5 TiB"},
    {(UINT64_C(1) << 50) - 1, "1024 TiB"},
    {UINT64_C(1) << 50, "1 PiB"},
    {UINT64_C(5) << 49, "2.5 PiB"},
    {UINT64_C(1) << 60, "1024 PiB"},
    /* A wrapped padding figure. */
    {UINT64_MAX, "16384 PiB"},
    {UINT64_MAX - 16 + 1, "16384 PiB"},
};

static void test_known_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char out[SIZE_TEXT_SIZE];
        assert_string_equal(size_text(known[i].bytes, out), known[i].text);
        assert_ptr_equal(size_text(known[i].bytes, out), out);
    }
}

/* Half of a thousandth is rounded up, one byte less is not: 1 MiB is 1048.576 bytes per thousandth, so its half lies
 * between 524 and 525; in PiB the half of a thousandth is 562949953421.312 bytes. */
static void test_halves_round_up(void **state)
{
    (void)state;
    char out[SIZE_TEXT_SIZE];
    assert_string_equal(size_text(1048576 + 524, out), "1 MiB");
    assert_string_equal(size_text(1048576 + 525, out), "1.001 MiB");
    assert_string_equal(size_text((UINT64_C(1) << 50) + 562949953421, out), "1 PiB");
    assert_string_equal(size_text((UINT64_C(1) << 50) + 562949953422, out), "1.001 PiB");
    /* An exact half: 64 bytes are 0.0625 KiB. */
    assert_string_equal(size_text(1024 + 64, out), "1.063 KiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_texts),
        cmocka_unit_test(test_halves_round_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
