#include "testing/testing.h"

#include "detect/usage.h"

#include <string.h>

enum { SIZE_MAX_ = 4096, CHUNKS_MAX = 64, GAPS_MAX = 256, RANGES_MAX = 64 };

struct gap {
    uint64_t start, end;
};
struct seen {
    struct usage_chunk chunks[CHUNKS_MAX];
    size_t chunk_count;
    struct gap gaps[GAPS_MAX];
    size_t gap_count;
    struct ledger_range ranges[RANGES_MAX];
    size_t range_count;
};

static struct error error;
#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        if ((call) != OK) {                                                                                            \
            print_error("%s\n", error.text);                                                                           \
            assert_true(false);                                                                                        \
        }                                                                                                              \
    } while (0)
#define CHECK_FORMAT(call, sentence)                                                                                   \
    do {                                                                                                               \
        assert_int_equal(call, ERR_FORMAT);                                                                            \
        assert_string_equal(error.text, sentence);                                                                     \
    } while (0)

static enum status on_chunk(void *context, const struct usage_chunk *chunk, struct error *err)
{
    (void)err;
    struct seen *seen = context;
    assert_int_equal(chunk->entry, seen->chunk_count);
    seen->chunks[seen->chunk_count++] = *chunk;
    return OK;
}

static enum status on_unused(void *context, uint64_t start, uint64_t end, struct error *err)
{
    (void)err;
    struct seen *seen = context;
    assert_true(start < end && seen->gap_count < GAPS_MAX);
    assert_true(seen->gap_count == 0 || seen->gaps[seen->gap_count - 1].end < start);
    seen->gaps[seen->gap_count++] = (struct gap){start, end};
    return OK;
}

static enum status on_range(void *context, const struct ledger_range *range, struct error *err)
{
    (void)err;
    struct seen *seen = context;
    seen->ranges[seen->range_count++] = *range;
    return OK;
}

static void test_worked_example_14_3(void **state)
{
    (void)state;
    /* The second run's stream: c (3016 bytes at 2006176) is deleted, its bytes stay in the chunk of b, d, e. */
    static const uint64_t ends[] = {16,      250048,  500064,  750080,  1000096, 1250112,
                                    1500128, 1750144, 2000160, 2133240, 2133256};
    struct index_entry entries[11] = {0};
    for (size_t i = 0; i < 11; i++)
        entries[i].end = ends[i];
    const struct dynamic_index index = {.entries = entries, .count = 11};
    struct seen seen = {0};
    struct ledger ledger = {.on_range = on_range, .context = &seen};
    const struct usage_observer observer = {.chunk = on_chunk, .unused = on_unused, .context = &seen};
    struct usage u;
    MUST(usage_begin(&u, &index, &ledger, &observer, &error));
    MUST(usage_file(&u, 32, 250000, &error));
    for (uint64_t i = 1; i < 8; i++)
        MUST(usage_file(&u, 32 + 250016 * i, 250000, &error));
    MUST(usage_file(&u, 2000160, 6000, &error));
    MUST(usage_file(&u, 2009192, 4000, &error));
    MUST(usage_file(&u, 2013208, 120000, &error));
    MUST(usage_finish(&u, &error));
    assert_int_equal(ledger.totals.size, 2133256);
    assert_int_equal(ledger.totals.padding, 3048);
    assert_int_equal(ledger.totals.start_padding, 16);
    assert_int_equal(ledger.totals.hole_padding, 3016);
    assert_int_equal(ledger.totals.end_padding, 16);
    assert_int_equal(ledger.totals.dead_padding, 0);
    assert_int_equal(ledger.totals.partial_chunks, 2);
    assert_int_equal(ledger.totals.ranges, 3); /* own start marker; 16..2133240; own tail marker */
    assert_int_equal(seen.chunk_count, 11);
    assert_int_equal(seen.chunks[9].holes, 3016);
    assert_int_equal(seen.chunks[9].files, 3);
    assert_int_equal(seen.gap_count, 3);
    assert_int_equal(seen.gaps[1].start, 2006176);
    assert_int_equal(seen.gaps[1].end, 2009192);
}

static uint64_t seed = 1;
static uint64_t next_random(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

/* Random streams against a map of single bytes. */
static void check_random_stream(void)
{
    static bool used[SIZE_MAX_];
    memset(used, 0, sizeof used);
    struct index_entry entries[CHUNKS_MAX] = {0};
    size_t count = 0;
    uint64_t size = 0;
    do {
        size += 1 + next_random(next_random(4) ? 200 : 20);
        entries[count++].end = size;
    } while ((count < 40 && next_random(20) > 0 && size < 3500) || size < 32);
    const struct dynamic_index index = {.entries = entries, .count = count};
    struct seen seen = {0};
    struct ledger ledger = {.on_range = on_range, .context = &seen};
    const struct usage_observer observer = {.chunk = on_chunk, .unused = on_unused, .context = &seen};
    struct usage u;
    MUST(usage_begin(&u, &index, &ledger, &observer, &error));
    memset(used, 1, 16);
    memset(used + size - 16, 1, 16);
    uint64_t dense = next_random(2), files = 0, touches = 0;
    for (uint64_t offset = 16;;) {
        if (!dense || next_random(8) == 0)
            offset += next_random(300);
        uint64_t content = next_random(3) ? next_random(200) : 0;
        if (offset + 16 + content > size - 16)
            break;
        MUST(usage_file(&u, offset, content, &error));
        files++;
        for (size_t k = 0; k < count; k++) /* [offset, offset + 16 + content) meets the chunk */
            touches += offset < entries[k].end && offset + 16 + content > dynamic_index_start(&index, k);
        memset(used + offset, 1, 16 + content);
        offset += 16 + content;
    }
    MUST(usage_finish(&u, &error));

    assert_int_equal(seen.chunk_count, count);
    uint64_t dead = 0, partial = 0, unreferenced = 0, ranges = 0;
    bool joined = false; /* the range before goes on */
    for (size_t k = 0; k < count; k++) {
        uint64_t start = dynamic_index_start(&index, k), end = entries[k].end, first = end, last = start, live = 0;
        for (uint64_t i = start; i < end; i++)
            if (used[i]) {
                first = first == end ? i : first;
                last = i + 1;
                live++;
            }
        const struct usage_chunk *c = &seen.chunks[k];
        assert_int_equal(c->start, start);
        assert_int_equal(c->size, end - start);
        assert_int_equal(c->head, live ? first - start : end - start);
        assert_int_equal(c->tail, live ? end - last : 0);
        assert_int_equal(c->holes, live ? last - first - live : 0);
        touches -= c->files;
        partial += live < end - start;
        unreferenced += live == 0;
        dead += live ? 0 : end - start;
        ranges += live && !(joined && first == start);
        joined = live && last == end;
    }
    assert_int_equal(touches, 0);
    assert_int_equal(ledger.totals.ranges, ranges);
    assert_int_equal(seen.range_count, ranges);
    assert_int_equal(ledger.totals.partial_chunks, partial);
    assert_int_equal(ledger.totals.unreferenced_chunks, unreferenced);
    assert_int_equal(ledger.totals.dead_padding, dead);
    assert_int_equal(ledger.totals.size, size);
    for (size_t i = 0; i < seen.gap_count; i++)
        for (uint64_t at = seen.gaps[i].start; at < seen.gaps[i].end; at++) {
            assert_false(used[at]);
            used[at] = true;
        }
    for (uint64_t i = 0; i < size; i++)
        assert_true(used[i]);
}

static void test_random_streams_equal_a_map_of_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < 2000; i++)
        check_random_stream();
}

/* 100 bytes in two chunks: files may lie in 16..84. */
static void begin_hundred(struct usage *u, struct ledger *ledger)
{
    static struct index_entry entries[2] = {{.end = 60}, {.end = 100}};
    static const struct dynamic_index index = {.entries = entries, .count = 2};
    *ledger = (struct ledger){0};
    MUST(usage_begin(u, &index, ledger, NULL, &error));
}

static void test_hostile_references_are_refused_with_their_offsets(void **state)
{
    (void)state;
    struct ledger ledger;
    struct usage u;
    begin_hundred(&u, &ledger);
    CHECK_FORMAT(usage_file(&u, 0, 1, &error),
                 "reference to payload offset 0, but the stream is used up to 16 already");
    CHECK_FORMAT(usage_file(&u, 15, 1, &error),
                 "reference to payload offset 15, but the stream is used up to 16 already");
    MUST(usage_file(&u, 20, 4, &error));
    CHECK_FORMAT(usage_file(&u, 39, 0, &error), /* overlaps */
                 "reference to payload offset 39, but the stream is used up to 40 already");
    CHECK_FORMAT(usage_file(&u, 20, 4, &error), /* the same again */
                 "reference to payload offset 20, but the stream is used up to 40 already");
    CHECK_FORMAT(usage_file(&u, 50, 19, &error),
                 "reference to payload offset 50 with 19 bytes of contents leaves the stream: its contents end at 84");
    static const uint64_t outside[][2] = {
        {69, 0},          {84, 0},          {85, 0},  {100, 0}, {UINT64_MAX, 0},
        {UINT64_MAX, 20}, {50, UINT64_MAX}, {50, 50}, {68, 1},  {50, UINT64_MAX - 50}};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        assert_int_equal(usage_file(&u, outside[i][0], outside[i][1], &error), ERR_FORMAT);
    MUST(usage_file(&u, 50, 18, &error)); /* nothing of the refused ones was counted */
    MUST(usage_finish(&u, &error));
    assert_int_equal(ledger.totals.referenced, 16 + 20 + 34 + 16);
    assert_int_equal(ledger.totals.padding, 4 + 10);
    assert_int_equal(ledger.totals.hole_padding, 14); /* 84 is where the tail marker begins */
}

static void test_an_empty_archive_is_its_two_markers(void **state)
{
    (void)state;
    struct index_entry entries[1] = {{.end = 32}};
    struct dynamic_index index = {.entries = entries, .count = 1};
    struct ledger ledger = {0};
    struct usage u;
    MUST(usage_begin(&u, &index, &ledger, NULL, &error));
    assert_int_equal(usage_file(&u, 16, 0, &error), ERR_FORMAT);
    MUST(usage_finish(&u, &error));
    assert_int_equal(ledger.totals.padding, 0);
    assert_int_equal(ledger.totals.ranges, 1);
    entries[0].end = 31;
    CHECK_FORMAT(usage_begin(&u, &index, &ledger, NULL, &error),
                 "payload stream of 31 bytes has no room for its two markers");
    index.count = 0;
    assert_int_equal(usage_begin(&u, &index, &ledger, NULL, &error), ERR_FORMAT);
}

static enum status refuse_chunk(void *context, const struct usage_chunk *chunk, struct error *err)
{
    (void)context;
    (void)chunk;
    return fail(err, ERR_CANCELLED, "no chunk");
}
static enum status refuse_gap(void *context, uint64_t start, uint64_t end, struct error *err)
{
    (void)context;
    (void)start;
    (void)end;
    return fail(err, ERR_CANCELLED, "no gap");
}

static void test_observers_may_fail(void **state)
{
    (void)state;
    struct index_entry entries[2] = {{.end = 60}, {.end = 100}};
    const struct dynamic_index index = {.entries = entries, .count = 2};
    const struct usage_observer chunks = {.chunk = refuse_chunk}, gaps = {.unused = refuse_gap};
    struct ledger ledger = {0};
    struct usage u;
    MUST(usage_begin(&u, &index, &ledger, &chunks, &error));
    MUST(usage_file(&u, 20, 0, &error));
    assert_int_equal(usage_file(&u, 61, 0, &error), ERR_CANCELLED);
    MUST(usage_begin(&u, &index, &ledger, &gaps, &error));
    MUST(usage_file(&u, 16, 0, &error));
    assert_int_equal(usage_file(&u, 33, 0, &error), ERR_CANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worked_example_14_3),
        cmocka_unit_test(test_random_streams_equal_a_map_of_bytes),
        cmocka_unit_test(test_hostile_references_are_refused_with_their_offsets),
        cmocka_unit_test(test_an_empty_archive_is_its_two_markers),
        cmocka_unit_test(test_observers_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
