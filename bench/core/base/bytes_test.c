#include "testing/testing.h"

#include "base/bytes.h"

#include <string.h>

static const uint8_t sample[] = {0x01, 0x02, 0x03, 0x84, 0x05, 0x06, 0x07, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd};

static void test_stored_numbers_are_little_endian(void **state)
{
    (void)state;
    assert_true(load_u32le(sample) == 0x84030201U);
    assert_true(load_u64le(sample) == 0x8807060584030201U);
    uint8_t out[12];
    store_u64le(out, 0x8807060584030201U);
    store_u32le(out + 8, 0xccbbaa99U);
    assert_memory_equal(out, sample, sizeof out);
}

static void test_reader_takes_in_order(void **state)
{
    (void)state;
    struct reader r = reader_over(sample, sizeof sample, "sample", 1000);
    struct error err = {0};
    uint8_t a;
    uint32_t b;
    uint64_t c;
    assert_int_equal(reader_u8(&r, &a, &err), OK);
    assert_int_equal(a, 1);
    assert_int_equal(reader_u32le(&r, &b, &err), OK);
    assert_int_equal(b, 0x05840302U);
    assert_int_equal(reader_u64le(&r, &c, &err), OK);
    assert_true(c == 0xddccbbaa99880706U);
    assert_int_equal(reader_remaining(&r), 0);
    assert_int_equal(reader_offset(&r), 1013);
}

/* Every read that does not fit leaves the reader where it was and names the place in the stream. */
static void test_short_data_is_refused_and_reader_stays(void **state)
{
    (void)state;
    for (size_t left = 0; left < 8; left++) {
        struct reader r = reader_over(sample, sizeof sample, "sample", 1000);
        struct error err = {0};
        const uint8_t *skipped;
        assert_int_equal(reader_bytes(&r, sizeof sample - left, &skipped, &err), OK);
        uint64_t c = 77;
        assert_int_equal(reader_u64le(&r, &c, &err), ERR_FORMAT);
        assert_int_equal(c, 77);
        assert_int_equal(reader_remaining(&r), left);
        uint32_t b;
        assert_int_equal(reader_u32le(&r, &b, &err), left < 4 ? ERR_FORMAT : OK);
        uint8_t a;
        assert_int_equal(reader_u8(&r, &a, &err), left == 0 || left == 4 ? ERR_FORMAT : OK);
    }
    struct reader r = reader_over(sample, 3, "sample", 1000);
    struct error err = {0};
    uint64_t c;
    assert_int_equal(reader_u64le(&r, &c, &err), ERR_FORMAT);
    assert_string_equal(err.text, "sample: ends early at offset 1000: 8 bytes wanted, 3 left");
}

static void test_sizes_near_the_top_do_not_wrap(void **state)
{
    (void)state;
    struct reader r = reader_over(sample, sizeof sample, "sample", 0);
    struct error err = {0};
    const uint8_t *p;
    struct reader child;
    assert_int_equal(reader_bytes(&r, 1, &p, &err), OK);
    assert_int_equal(reader_bytes(&r, UINT64_MAX, &p, &err), ERR_FORMAT);
    assert_int_equal(reader_bytes(&r, UINT64_MAX - 1, &p, &err), ERR_FORMAT);
    assert_int_equal(reader_sub(&r, sizeof sample, &child, &err), ERR_FORMAT);
    assert_int_equal(reader_remaining(&r), sizeof sample - 1);
}

static void test_child_cannot_leave_its_parent(void **state)
{
    (void)state;
    struct reader r = reader_over(sample, sizeof sample, "sample", 50);
    struct error err = {0};
    uint32_t value;
    struct reader child;
    assert_int_equal(reader_u32le(&r, &value, &err), OK);
    assert_int_equal(reader_sub(&r, 5, &child, &err), OK);
    assert_int_equal(reader_remaining(&r), sizeof sample - 9);
    assert_int_equal(reader_offset(&child), 54);
    assert_int_equal(reader_u32le(&child, &value, &err), OK);
    assert_int_equal(value, 0x88070605U);
    assert_int_equal(reader_u32le(&child, &value, &err), ERR_FORMAT);
    assert_string_equal(err.text, "sample: ends early at offset 58: 4 bytes wanted, 1 left");
    /* The parent goes on behind the child, however much of it was read. */
    assert_int_equal(reader_u32le(&r, &value, &err), OK);
    assert_int_equal(value, 0xddccbbaaU);
}

static void test_empty_reads_are_fine_at_the_end(void **state)
{
    (void)state;
    struct reader r = reader_over("", 0, "nothing", 9);
    struct error err = {0};
    const uint8_t *p;
    struct reader child;
    assert_int_equal(reader_bytes(&r, 0, &p, &err), OK);
    assert_int_equal(reader_sub(&r, 0, &child, &err), OK);
    assert_int_equal(reader_offset(&child), 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stored_numbers_are_little_endian),
        cmocka_unit_test(test_reader_takes_in_order),
        cmocka_unit_test(test_short_data_is_refused_and_reader_stays),
        cmocka_unit_test(test_sizes_near_the_top_do_not_wrap),
        cmocka_unit_test(test_child_cannot_leave_its_parent),
        cmocka_unit_test(test_empty_reads_are_fine_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
