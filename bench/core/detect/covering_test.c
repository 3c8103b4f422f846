#include "testing/testing.h"

#include "detect/covering.h"

static struct index_entry entries[4] = {{.end = 100}, {.end = 300}, {.end = 600}, {.end = 1000}};
static const struct dynamic_index chunks = {.entries = entries, .count = 4};

static struct covering find(uint64_t start, uint64_t end, enum reuse_profile profile)
{
    struct covering c = {0};
    struct error err = {0};
    for (size_t hint = 0; hint <= 4; hint++) { /* any hint is correct */
        struct covering again;
        assert_int_equal(covering_find(&chunks, start, end, profile, hint, &again, &err), OK);
        if (hint > 0)
            assert_memory_equal(&c, &again, sizeof c);
        c = again;
    }
    return c;
}

static void test_range_inside_one_chunk_pads_both_sides_of_it(void **state)
{
    (void)state;
    struct covering c = find(110, 290, PROFILE_TIGHT);
    assert_int_equal(c.first, 1);
    assert_int_equal(c.count, 1);
    struct reuse_chunk chunk = covering_chunk(&chunks, &c, 0);
    assert_int_equal(chunk.size, 200);
    assert_int_equal(chunk.padding, 20);
}

static void test_range_ending_on_a_chunk_end_is_where_the_profiles_differ(void **state)
{
    (void)state;
    struct covering tight = find(100, 600, PROFILE_TIGHT);
    assert_int_equal(tight.count, 2);
    assert_int_equal(tight.start_padding + tight.end_padding, 0);
    assert_int_equal(find(100, 600, PROFILE_STORED).count, 2);
    struct covering upstream = find(100, 600, PROFILE_UPSTREAM);
    assert_int_equal(upstream.count, 3);
    assert_int_equal(upstream.end_padding, 400);
    assert_int_equal(covering_chunk(&chunks, &upstream, 2).padding, 400);
    /* Nothing is behind the last chunk. */
    assert_int_equal(find(600, 1000, PROFILE_UPSTREAM).count, 1);
}

static void test_middle_chunks_have_no_padding(void **state)
{
    (void)state;
    struct covering c = find(99, 601, PROFILE_TIGHT);
    assert_int_equal(c.count, 4);
    assert_int_equal(covering_chunk(&chunks, &c, 0).padding, 99);
    assert_int_equal(covering_chunk(&chunks, &c, 1).padding, 0);
    assert_int_equal(covering_chunk(&chunks, &c, 2).padding, 0);
    assert_int_equal(covering_chunk(&chunks, &c, 3).padding, 399);
}

static void test_ranges_outside_the_stream_are_errors(void **state)
{
    (void)state;
    struct covering c;
    struct error err = {0};
    assert_int_equal(covering_find(&chunks, 0, 1001, PROFILE_TIGHT, 0, &c, &err), ERR_FORMAT);
    assert_int_equal(covering_find(&chunks, 1000, 1000, PROFILE_TIGHT, 0, &c, &err), ERR_FORMAT);
    assert_int_equal(covering_find(&chunks, 5, 5, PROFILE_TIGHT, 0, &c, &err), ERR_FORMAT);
    assert_int_equal(covering_find(&chunks, UINT64_MAX, UINT64_MAX, PROFILE_TIGHT, 0, &c, &err), ERR_FORMAT);
}

static void test_threshold_is_strict(void **state)
{
    (void)state;
    assert_false(padding_exceeds(100, 1000, THRESHOLD_DEFAULT_PPM));
    assert_true(padding_exceeds(101, 1001, THRESHOLD_DEFAULT_PPM));
    assert_true(padding_exceeds(1, UINT64_MAX, 0));
    assert_false(padding_exceeds(0, 1, 0));
    assert_false(padding_exceeds(UINT64_MAX, UINT64_MAX, PPM_ONE));
    assert_true(padding_exceeds(UINT64_MAX, UINT64_MAX, PPM_ONE - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range_inside_one_chunk_pads_both_sides_of_it),
        cmocka_unit_test(test_range_ending_on_a_chunk_end_is_where_the_profiles_differ),
        cmocka_unit_test(test_middle_chunks_have_no_padding),
        cmocka_unit_test(test_ranges_outside_the_stream_are_errors),
        cmocka_unit_test(test_threshold_is_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
