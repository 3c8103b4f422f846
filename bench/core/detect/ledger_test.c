#include "testing/testing.h"

#include "detect/ledger.h"

#include <string.h>

enum { RANGES_MAX = 8 };
struct seen {
    struct ledger_range ranges[RANGES_MAX];
    size_t count;
};

static struct error error;
#define MUST(call) assert_int_equal(call, OK)

static enum status collect(void *context, const struct ledger_range *range, struct error *err)
{
    (void)err;
    struct seen *seen = context;
    assert_true(seen->count < RANGES_MAX);
    seen->ranges[seen->count++] = *range;
    return OK;
}

/* What holds whatever was told. */
static void check_sums(const struct ledger *l, const struct seen *seen)
{
    const struct ledger_totals *t = &l->totals;
    assert_int_equal(t->size, t->referenced + t->padding);
    assert_int_equal(t->padding, t->start_padding + t->end_padding + t->hole_padding + t->dead_padding);
    assert_int_equal(t->ranges, seen->count);
    uint64_t covered = 0, referenced = 0, behind = 0;
    for (size_t i = 0; i < seen->count; i++) {
        const struct ledger_range *r = &seen->ranges[i];
        assert_true(r->start >= behind && r->end > r->start);
        assert_int_equal(r->end - r->start, r->referenced + r->start_padding + r->end_padding + r->hole_padding);
        behind = r->end;
        covered += r->end - r->start;
        referenced += r->referenced;
    }
    assert_int_equal(covered + t->dead_padding, t->size);
    assert_int_equal(referenced, t->referenced);
}

static void check_range(const struct seen *seen, size_t i, struct ledger_range expected)
{
    assert_true(i < seen->count);
    assert_memory_equal(&seen->ranges[i], &expected, sizeof expected);
}

static void test_nothing_told_is_nothing(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct ledger l = {.on_range = collect, .context = &seen};
    MUST(ledger_raw(&l, 0, &error));
    MUST(ledger_chunk(&l, 0, 0, 0, 0, &error));
    MUST(ledger_finish(&l, &error));
    const struct ledger_totals none = {0};
    assert_memory_equal(&l.totals, &none, sizeof none);
    assert_int_equal(seen.count, 0);
}

static void test_new_bytes_and_whole_chunks_are_one_range(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct ledger l = {.on_range = collect, .context = &seen};
    MUST(ledger_raw(&l, 16, &error));
    MUST(ledger_chunk(&l, 100, 0, 0, 0, &error));
    MUST(ledger_raw(&l, 20, &error));
    assert_int_equal(seen.count, 0); /* it may go on */
    MUST(ledger_finish(&l, &error));
    check_sums(&l, &seen);
    check_range(&seen, 0, (struct ledger_range){.start = 0, .end = 136, .referenced = 136});
    assert_int_equal(l.totals.partial_chunks, 0);
}

static void test_a_tail_ends_a_range_and_a_head_begins_one(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct ledger l = {.on_range = collect, .context = &seen};
    MUST(ledger_raw(&l, 16, &error));
    MUST(ledger_chunk(&l, 100, 10, 5, 0, &error)); /* a head: a new one */
    MUST(ledger_chunk(&l, 50, 0, 1, 4, &error));   /* joined; a tail: the end */
    assert_int_equal(seen.count, 2);
    MUST(ledger_chunk(&l, 70, 0, 0, 0, &error)); /* no head, but the one before had a tail */
    MUST(ledger_raw(&l, 16, &error));
    MUST(ledger_finish(&l, &error));
    check_sums(&l, &seen);
    assert_int_equal(seen.count, 3);
    check_range(&seen, 0, (struct ledger_range){.start = 0, .end = 16, .referenced = 16});
    check_range(
        &seen, 1,
        (struct ledger_range){
            .start = 16, .end = 166, .referenced = 130, .start_padding = 10, .end_padding = 4, .hole_padding = 6});
    check_range(&seen, 2, (struct ledger_range){.start = 166, .end = 252, .referenced = 86});
    assert_int_equal(l.totals.start_padding, 10);
    assert_int_equal(l.totals.end_padding, 4);
    assert_int_equal(l.totals.hole_padding, 6);
    assert_int_equal(l.totals.partial_chunks, 2);
    assert_int_equal(l.totals.unreferenced_chunks, 0);
}

static void test_what_nobody_uses_is_in_no_range(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct ledger l = {.on_range = collect, .context = &seen};
    MUST(ledger_raw(&l, 16, &error));
    MUST(ledger_chunk(&l, 40, 40, 0, 0, &error));
    MUST(ledger_chunk(&l, 30, 30, 0, 0, &error));
    MUST(ledger_raw(&l, 16, &error));
    MUST(ledger_finish(&l, &error));
    check_sums(&l, &seen);
    assert_int_equal(seen.count, 2);
    check_range(&seen, 1, (struct ledger_range){.start = 86, .end = 102, .referenced = 16});
    assert_int_equal(l.totals.dead_padding, 70);
    assert_int_equal(l.totals.unreferenced_chunks, 2);
    assert_int_equal(l.totals.partial_chunks, 2);
}

static void test_first_and_last_chunk_with_padding_on_both_sides(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct ledger l = {.on_range = collect, .context = &seen};
    MUST(ledger_chunk(&l, 10, 3, 0, 3, &error));
    MUST(ledger_chunk(&l, 10, 1, 1, 7, &error));
    MUST(ledger_finish(&l, &error));
    check_sums(&l, &seen);
    assert_int_equal(seen.count, 2);
    check_range(&seen, 1,
                (struct ledger_range){
                    .start = 10, .end = 20, .referenced = 1, .start_padding = 1, .end_padding = 7, .hole_padding = 1});
}

static void test_a_stream_beyond_64_bits_is_refused(void **state)
{
    (void)state;
    struct ledger l = {0};
    MUST(ledger_raw(&l, UINT64_MAX - 1, &error));
    assert_int_equal(ledger_raw(&l, 2, &error), ERR_LIMIT);
    MUST(ledger_raw(&l, 1, &error));
    MUST(ledger_finish(&l, &error)); /* without on_range */
    assert_int_equal(l.totals.ranges, 1);
}

static enum status refuse(void *context, const struct ledger_range *range, struct error *err)
{
    (void)context;
    (void)range;
    return fail(err, ERR_USAGE, "no");
}

static void test_the_listener_may_fail(void **state)
{
    (void)state;
    struct ledger l = {.on_range = refuse};
    assert_int_equal(ledger_chunk(&l, 10, 0, 0, 1, &error), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_told_is_nothing),
        cmocka_unit_test(test_new_bytes_and_whole_chunks_are_one_range),
        cmocka_unit_test(test_a_tail_ends_a_range_and_a_head_begins_one),
        cmocka_unit_test(test_what_nobody_uses_is_in_no_range),
        cmocka_unit_test(test_first_and_last_chunk_with_padding_on_both_sides),
        cmocka_unit_test(test_a_stream_beyond_64_bits_is_refused),
        cmocka_unit_test(test_the_listener_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
