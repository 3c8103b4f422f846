/* Profile stored, rule by rule; numbers in names are those of the checklist of bench/spec/reuse-stored.md. Comparison
 * with the definition on random cases: stored_twin_test.c. */
#include "testing/testing.h"

#include "detect/stored_stage_for_test.h"

/* ---- 3: nothing changed ---- */

/* 40 chunks of odd sizes, 200 files across them; the old stream begins with its marker. */
static struct stage unchanged_tree(void)
{
    struct stage s = stage_make(64, 600);
    for (uint64_t k = 0; k < 40; k++)
        chunks(&s, 1, 3000 + 517 * (k % 7));
    s.at = 16;
    while (s.at + 2500 <= dynamic_index_size(&s.scene.index) - 16) {
        if (s.scene.event_count % 5 == 0)
            event(&s, (struct event){.kind = EVENT_SPECIAL});
        offered_of(&s, 1, 16 + s.at % 2400);
    }
    offered_of(&s, 1, dynamic_index_size(&s.scene.index) - 16 - s.at);
    return s;
}

static void check_same_output(const struct stage *a, const struct stage *b)
{
    assert_int_equal(a->scene.listing_count, b->scene.listing_count);
    for (size_t i = 0; i < a->scene.listing_count; i++) {
        const struct listing *x = &a->scene.listings[i], *y = &b->scene.listings[i];
        assert_int_equal(x->boundary, y->boundary);
        assert_int_equal(x->chunk.size, y->chunk.size);
        assert_int_equal(x->chunk.head, y->chunk.head);
        assert_int_equal(x->chunk.tail, y->chunk.tail);
        assert_int_equal(x->chunk.padding, y->chunk.padding);
    }
    for (size_t i = 0; i < a->scene.event_count; i++) {
        assert_true(a->events[i].reused == b->events[i].reused);
        assert_int_equal(a->events[i].offset, b->events[i].offset);
    }
}

static void test_3_nothing_changed_equals_tight(void **state)
{
    (void)state;
    static const size_t limits[] = {SIZE_MAX, 64, 5, 1};
    struct stage tight = unchanged_tree();
    tight.scene.options.profile = PROFILE_TIGHT;
    run(&tight);
    assert_int_equal(tight.scene.listing_count, 40);
    for (size_t i = 0; i < 4; i++) {
        struct stage s = unchanged_tree();
        struct old_file old[600];
        for (size_t k = 0; k < s.scene.event_count; k++)
            old[k] = (struct old_file){s.events[k].start, s.events[k].end};
        s.scene.old_files = old;
        s.scene.old_file_count = s.scene.event_count;
        s.scene.options.cache_limit = limits[i];
        run(&s);
        check_same_output(&s, &tight);
        assert_int_equal(s.scene.counters.relisted_chunks, 0);
        assert_int_equal(s.scene.counters.stored_waste_bytes, tight.scene.counters.stored_waste_bytes);
        stage_free(&s);
    }
    stage_free(&tight);
}

static void test_3_third_generation_equals_the_second(void **state)
{
    (void)state;
    struct stage first = unchanged_tree();
    run(&first);
    struct stage second = next_generation(&first);
    run(&second);
    struct stage third = next_generation(&second);
    run(&third);
    check_same_output(&second, &third);
    assert_int_equal(raw_count(&third, FILE_THRESHOLD), 0);
    stage_free(&first);
    stage_free(&second);
    stage_free(&third);
}

/* ---- 4, 5: how many of 100 ---- */

static void test_4_one_of_100_files_changed_costs_that_file(void **state)
{
    (void)state;
    struct stage s = stage_make(3, 300);
    chunks(&s, 3, 100 * LENGTH);
    offered(&s, 150);
    changed(&s, 1);
    offered(&s, 149);
    run(&s);
    assert_int_equal(raw_count(&s, FILE_MTIME), 1);
    assert_int_equal(raw_count(&s, FILE_THRESHOLD), 0); /* 1 % of what the chunk holds is read again */
    static const size_t expected[] = {0, 1, 1, 2};
    assert_int_equal(s.scene.listing_count, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(s.scene.listings[i].chunk.entry, expected[i]);
    /* The raw bytes lie between the two listings: one new small chunk. */
    assert_int_equal(s.scene.listings[2].boundary, s.scene.listings[1].boundary + 101 * LENGTH);
    assert_int_equal(s.scene.counters.relisted_chunks, 1);
    assert_int_equal(s.scene.counters.stored_waste_bytes, LENGTH);
    assert_int_equal(s.scene.counters.partial_chunks, 2);
    assert_int_equal(s.scene.listings[1].chunk.tail, 50 * LENGTH);
    assert_int_equal(s.scene.listings[2].chunk.head, 51 * LENGTH);
    stage_free(&s);
}

/* `count` of the middle chunk's 100 files changed, in at most 8 places so that instances stay few. */
static struct stage changed_of_100(size_t count)
{
    struct stage s = stage_make(3, 300);
    chunks(&s, 3, 100 * LENGTH);
    offered(&s, 120);
    changed(&s, count - 2);
    offered(&s, 20);
    changed(&s, 2);
    offered(&s, 300 - 120 - 20 - count);
    run(&s);
    return s;
}

static void test_5_ten_of_100_files_are_kept_and_eleven_give_the_chunk_up(void **state)
{
    (void)state;
    struct stage kept = changed_of_100(10);
    assert_int_equal(raw_count(&kept, FILE_THRESHOLD), 0);
    assert_int_equal(times_listed(&kept, 1), 3);
    assert_int_equal(kept.scene.counters.given_up_threshold, 0);
    assert_int_equal(kept.scene.counters.stored_waste_bytes, 10 * LENGTH);
    struct stage given_up = changed_of_100(11);
    assert_int_equal(raw_count(&given_up, FILE_THRESHOLD), 89);
    assert_int_equal(times_listed(&given_up, 0), 1);
    assert_int_equal(times_listed(&given_up, 1), 0);
    assert_int_equal(times_listed(&given_up, 2), 1);
    assert_int_equal(given_up.scene.counters.given_up_threshold, 1);
    assert_int_equal(given_up.scene.counters.stored_waste_bytes, 0);
    stage_free(&kept);
    stage_free(&given_up);
}

static void test_threshold_zero_and_one(void **state)
{
    (void)state;
    for (uint32_t ppm = 0; ppm <= PPM_ONE; ppm += PPM_ONE) {
        struct stage s = stage_make(2, 100);
        s.scene.options.threshold_ppm = ppm;
        chunks(&s, 2, 10 * LENGTH);
        offered(&s, 10);
        changed(&s, 9);
        offered(&s, 1);
        run(&s);
        assert_int_equal(times_listed(&s, 0), 1);
        assert_int_equal(times_listed(&s, 1), ppm > 0);
        stage_free(&s);
    }
}

/* ---- 6: spanning files ---- */

/* A file over chunks 1 to 3; `changed_last` of chunk 3's other files changed. */
static struct stage spanning(size_t changed_last)
{
    struct stage s = stage_make(5, 300);
    s.scene.options.threshold_ppm = 300000;
    chunks(&s, 5, 10 * LENGTH);
    offered(&s, 10);
    offered(&s, 6);                 /* chunk 1 */
    offered_of(&s, 1, 18 * LENGTH); /* chunks 1 to 3 */
    changed(&s, changed_last);      /* chunk 3 */
    offered(&s, 6 - changed_last);
    offered(&s, 10);
    run(&s);
    return s;
}

static void test_6_spanning_file_needs_all_its_chunks_and_lowers_the_later_ones(void **state)
{
    (void)state;
    struct stage kept = spanning(3);
    assert_int_equal(raw_count(&kept, FILE_THRESHOLD), 0);
    for (size_t k = 0; k < 5; k++)
        assert_int_equal(times_listed(&kept, k), k == 3 ? 2 : 1);
    struct stage given_up = spanning(4);
    /* Chunk 3 goes; with the file so do chunk 2, which it fills, and chunk 1, which it shares. */
    assert_int_equal(raw_count(&given_up, FILE_THRESHOLD), 6 + 1 + 2);
    for (size_t k = 0; k < 5; k++)
        assert_int_equal(times_listed(&given_up, k), k == 0 || k == 4);
    assert_int_equal(given_up.scene.counters.given_up_threshold, 3);
    stage_free(&kept);
    stage_free(&given_up);
}

/* A file given up with the chunk before is missing when the next chunk is decided. */
static void test_6_giving_up_lowers_the_next_chunk_before_it_is_decided(void **state)
{
    (void)state;
    struct stage s = stage_make(4, 300);
    chunks(&s, 4, 10 * LENGTH);
    changed(&s, 2); /* chunk 0: too poor */
    offered(&s, 7);
    offered_of(&s, 1, 3 * LENGTH); /* 1 in chunk 0, 2 in chunk 1: that one then is too poor, too */
    offered(&s, 28);
    run(&s);
    assert_int_equal(raw_count(&s, FILE_THRESHOLD), 8 + 8);
    assert_int_equal(s.scene.counters.given_up_threshold, 2);
    assert_int_equal(times_listed(&s, 2) + times_listed(&s, 3), 2);
    stage_free(&s);
}

/* ---- 7: small caches ---- */

static void test_7_any_cache_limit(void **state)
{
    (void)state;
    static const size_t limits[] = {1, 2, 64, 100000};
    static struct old_file old[2000];
    for (size_t i = 0; i < 2000; i++)
        old[i] = (struct old_file){i * LENGTH, (i + 1) * LENGTH};
    for (size_t i = 0; i < 4; i++) {
        struct stage s = stage_make(20, 2000);
        chunks(&s, 20, 100 * LENGTH);
        s.scene.options.cache_limit = limits[i];
        s.scene.old_files = old;
        s.scene.old_file_count = 2000;
        for (size_t k = 0; k < 20; k++) { /* three changed in each, or twelve: those are given up if that is seen */
            offered(&s, 20);
            changed(&s, k % 4 ? 3 : 12);
            offered(&s, k % 4 ? 77 : 68);
        }
        run(&s);
        size_t listed = 0;
        for (size_t k = 0; k < 20; k++) {
            listed += times_listed(&s, k) > 0;
            assert_true(times_listed(&s, k) <= 2);
        }
        assert_true(listed >= 15);
        if (limits[i] == 100000) {
            assert_int_equal(listed, 15);
            assert_int_equal(s.scene.counters.early_chunks, 0);
            assert_int_equal(s.scene.counters.given_up_threshold, 5);
            assert_int_equal(raw_count(&s, FILE_THRESHOLD), 5 * 88);
            assert_int_equal(s.scene.counters.stored_waste_bytes, 15 * 3 * LENGTH);
        } else {
            assert_true(s.scene.counters.early_chunks >= 15);
        }
        stage_free(&s);
    }
}

/* The end of the changed file is known by then: not even counted as to come. */
static void test_early_decision_counts_what_is_still_to_come(void **state)
{
    (void)state;
    static const struct old_file old[] = {{0, 1000}, {1000, 2000}, {2000, 3000}, {3000, 9000}, {9000, 10000}};
    for (int all_there = 0; all_there <= 1; all_there++) {
        struct stage s = stage_make(1, 10);
        chunks(&s, 1, 10 * LENGTH);
        s.scene.options.cache_limit = 2;
        s.scene.old_files = old;
        s.scene.old_file_count = all_there ? 5 : 4; /* the last file is not in the old archive: 20 % waste */
        offered(&s, 1);
        changed(&s, 1);
        offered(&s, 1);
        offered_of(&s, 1, 6000);
        run(&s);
        assert_int_equal(s.scene.counters.early_chunks, 1);
        assert_int_equal(s.scene.counters.given_up_threshold, !all_there);
        assert_int_equal(raw_count(&s, FILE_THRESHOLD), all_there ? 0 : 3);
        assert_int_equal(times_listed(&s, 0), all_there ? 2 : 0);
        stage_free(&s);
    }
}

static void test_instances_go_on_counting_after_an_early_decision(void **state)
{
    (void)state;
    static const struct old_file old[] = {{0, 100 * LENGTH}};
    for (uint32_t max = 1; max <= 4; max++) {
        struct stage s = stage_make(1, 20);
        chunks(&s, 1, 10 * LENGTH);
        s.scene.options.cache_limit = 1;
        s.scene.options.threshold_ppm = PPM_ONE;
        s.scene.options.max_instances = max;
        s.scene.old_files = old;
        s.scene.old_file_count = 1;
        for (size_t i = 0; i < 3; i++) {
            offered(&s, 2);
            new_file(&s, 50);
        }
        offered(&s, 4);
        run(&s);
        assert_int_equal(times_listed(&s, 0), max);
        assert_int_equal(s.scene.counters.given_up_instances, max < 4);
        assert_int_equal(raw_count(&s, FILE_INSTANCES), max == 4 ? 0 : 10 - 2 * max);
        assert_int_equal(s.scene.counters.early_chunks, 1);
        stage_free(&s);
    }
}

/* ---- instances ---- */

static void test_chunk_listed_too_often_is_given_up(void **state)
{
    (void)state;
    for (uint32_t max = 3; max <= 4; max++) {
        struct stage s = stage_make(2, 300);
        chunks(&s, 2, 100 * LENGTH);
        s.scene.options.max_instances = max;
        for (size_t i = 0; i < 3; i++) {
            offered(&s, 25);
            new_file(&s, 50);
        }
        offered(&s, 125);
        run(&s);
        assert_int_equal(s.scene.counters.given_up_instances, max == 3);
        assert_int_equal(raw_count(&s, FILE_INSTANCES), max == 3 ? 100 : 0);
        assert_int_equal(times_listed(&s, 0), max == 3 ? 0 : 4);
        assert_int_equal(times_listed(&s, 1), 1);
        stage_free(&s);
    }
}

/* ---- 9: absorb ---- */

/* A changed file of a small chunk, among small chunks of 10 files each, or large ones. */
static struct stage absorbing(uint64_t absorb_below, bool change)
{
    struct stage s = stage_make(10, 101);
    chunks(&s, 10, 10 * LENGTH);
    s.scene.options.absorb_below = absorb_below;
    s.scene.options.absorb_until = 25 * LENGTH;
    offered(&s, 50);
    if (change)
        new_file(&s, LENGTH);
    offered(&s, 50);
    run(&s);
    return s;
}

static void test_9_short_run_absorbs_small_chunks_behind_it_first(void **state)
{
    (void)state;
    struct stage s = absorbing(10 * LENGTH + 1, true);
    assert_int_equal(raw_count(&s, FILE_ABSORBED), 30); /* chunks 5, 6, 7: 1 + 30 files are long enough */
    for (size_t k = 0; k < 10; k++)
        assert_int_equal(times_listed(&s, k), k < 5 || k > 7);
    assert_int_equal(s.scene.counters.given_up_absorbed, 3);
    stage_free(&s);
}

static void test_9_short_run_between_large_chunks_stays_alone(void **state)
{
    (void)state;
    struct stage s = absorbing(10 * LENGTH, true);
    assert_int_equal(raw_count(&s, FILE_ABSORBED), 0);
    assert_int_equal(s.scene.listing_count, 10);
    stage_free(&s);
}

static void test_9_nothing_changed_absorbs_nothing(void **state)
{
    (void)state;
    struct stage s = absorbing(1000 * LENGTH, false);
    assert_int_equal(raw_count(&s, FILE_ABSORBED), 0);
    assert_int_equal(s.scene.listing_count, 10);
    assert_int_equal(s.scene.counters.relisted_chunks, 0);
    stage_free(&s);
}

/* Behind the run stands a large chunk: it takes what is before it, as far as that is small. */
static void test_9_absorbs_before_the_run_what_it_lacks_behind(void **state)
{
    (void)state;
    struct stage s = stage_make(5, 100);
    chunks(&s, 1, 30 * LENGTH);
    chunks(&s, 2, 5 * LENGTH);
    chunks(&s, 1, 30 * LENGTH);
    s.scene.options.absorb_below = 10 * LENGTH;
    s.scene.options.absorb_until = 50 * LENGTH;
    offered(&s, 40);
    new_file(&s, LENGTH);
    offered(&s, 30);
    run(&s);
    assert_int_equal(raw_count(&s, FILE_ABSORBED), 10);
    assert_int_equal(times_listed(&s, 0), 1);
    assert_int_equal(times_listed(&s, 1) + times_listed(&s, 2), 0);
    assert_int_equal(times_listed(&s, 3), 1);
    stage_free(&s);
}

/* The raw file is out long before what it absorbs comes. */
static void test_9_a_run_already_written_absorbs_what_follows(void **state)
{
    (void)state;
    struct stage s = stage_make(3, 100);
    chunks(&s, 3, 10 * LENGTH);
    s.scene.options.absorb_below = 100 * LENGTH;
    s.scene.options.absorb_until = 15 * LENGTH;
    new_file(&s, 500);
    offered(&s, 30);
    run(&s);
    assert_int_equal(raw_count(&s, FILE_ABSORBED), 20);
    assert_int_equal(times_listed(&s, 2), 1);
    stage_free(&s);
}

/* ---- windows ---- */

/* What is certain goes at once: the walk needs no more memory than the chunks under way. */
static void test_unchanged_chunks_leave_the_cache_when_they_are_passed(void **state)
{
    (void)state;
    struct stage s = stage_make(100, 1000);
    chunks(&s, 100, 10 * LENGTH);
    s.scene.options.cache_limit = 11; /* never full: 10 files and the next one */
    offered(&s, 1000);
    run(&s);
    assert_int_equal(s.scene.counters.early_chunks, 0);
    assert_int_equal(s.scene.listing_count, 100);
    stage_free(&s);
}

static void test_a_long_raw_run_parts_windows_of_small_chunks(void **state)
{
    (void)state;
    for (uint64_t until = 20; until <= 25; until++) {
        struct stage s = stage_make(20, 400);
        chunks(&s, 20, 10 * LENGTH);
        s.scene.options.absorb_below = 100 * LENGTH; /* all are small */
        s.scene.options.absorb_until = until * LENGTH;
        s.scene.options.cache_limit = 130;
        offered(&s, 105);
        changed(&s, 20);
        offered(&s, 75);
        run(&s);
        /* Chunk 10 lost half and is given up: when a file of chunk 12 comes, the run is 25 files long. Without a cut
         * there the cache would be full in the middle of a chunk. */
        assert_int_equal(s.scene.counters.early_chunks, 0);
        assert_int_equal(raw_count(&s, FILE_THRESHOLD), 10);
        assert_int_equal(raw_count(&s, FILE_ABSORBED), 0);
        stage_free(&s);
    }
}

static void test_directories_and_special_files_keep_their_place(void **state)
{
    (void)state;
    static const enum event_kind others[] = {EVENT_ENTER, EVENT_SPECIAL, EVENT_LINK, EVENT_LEAVE};
    static const size_t limits[] = {1, 2, 3, 7, SIZE_MAX};
    for (size_t i = 0; i < 5; i++) {
        struct stage s = stage_make(10, 400);
        chunks(&s, 10, 10 * LENGTH);
        s.scene.options.cache_limit = limits[i];
        for (size_t k = 0; k < 50; k++) {
            event(&s, (struct event){.kind = others[k % 4]});
            offered(&s, 1);
            event(&s, (struct event){.kind = others[k % 4]});
            if (k % 7 == 3)
                changed(&s, 1);
            else
                offered(&s, 1);
        }
        run(&s); /* scene_out checks the order */
        stage_free(&s);
    }
}

/* What vanishes while it is encoded leaves nothing but the chunks that had to go before it. */
static void test_vanished_file_lists_the_chunk_again(void **state)
{
    (void)state;
    struct stage s = stage_make(2, 100);
    chunks(&s, 2, 10 * LENGTH);
    offered(&s, 5);
    event(&s, (struct event){.kind = EVENT_RAW, .end = 100, .lost = true});
    offered(&s, 5);
    event(&s, (struct event){.kind = EVENT_LINK, .lost = true});
    s.events[s.scene.event_count - 1].end = 100;
    offered(&s, 10);
    run(&s);
    assert_int_equal(times_listed(&s, 0), 2);
    assert_int_equal(times_listed(&s, 1), 1);
    assert_int_equal(raw_count(&s, FILE_THRESHOLD), 0);
    assert_int_equal(s.events[11].reason, FILE_HARDLINK);
    stage_free(&s);
}

static void test_injections_come_in_batches(void **state)
{
    (void)state;
    struct stage s = stage_make(300, 10);
    chunks(&s, 300, 100);
    offered_of(&s, 1, 300 * 100);
    run(&s);
    assert_int_equal(s.scene.listing_count, 300);
    assert_int_equal(s.scene.batches, 3);
    assert_int_equal(s.events[0].offset, 16);
    stage_free(&s);
}

/* ---- many ---- */

static void test_D15_empty_files_of_one_chunk_are_reused_through_any_cache(void **state)
{
    (void)state;
    enum { COUNT = 200000 };
    struct stage s = stage_make(1, COUNT);
    chunks(&s, 1, 16 * (COUNT + 2));
    s.at = 16;
    offered_of(&s, COUNT, 16);
    const struct old_file everything = {16, 16 * (COUNT + 1)}; /* headers alone: every 16 bytes belong to one */
    struct old_file *old = calloc(COUNT, sizeof *old);
    assert_non_null(old);
    for (size_t i = 0; i < COUNT; i++)
        old[i] = (struct old_file){everything.start + 16 * i, everything.start + 16 * (i + 1)};
    s.scene.old_files = old;
    s.scene.old_file_count = COUNT;
    s.scene.options.cache_limit = 10000;
    run(&s);
    assert_int_equal(raw_count(&s, FILE_THRESHOLD), 0);
    assert_int_equal(s.scene.listing_count, 1);
    assert_int_equal(s.scene.counters.early_chunks, 1);
    assert_int_equal(s.scene.counters.stored_waste_bytes, 32);
    free(old);
    stage_free(&s);
}

static void test_one_file_over_very_many_chunks(void **state)
{
    (void)state;
    enum { COUNT = 250000 };
    struct stage s = stage_make(COUNT + 1, 11);
    chunks(&s, COUNT, 1000);
    chunks(&s, 1, 10 * LENGTH);
    offered_of(&s, 1, (uint64_t)COUNT * 1000);
    offered(&s, 10);
    run(&s);
    assert_int_equal(s.scene.listing_count, COUNT + 1);
    assert_int_equal(s.scene.counters.stored_waste_bytes, 0);
    stage_free(&s);
}

/* Every file lies across a chunk end; the last chunk is given up, which gives up the one before, and so on: one chunk
 * in every pass. */
static void test_cascade_backwards_over_very_many_chunks(void **state)
{
    (void)state;
    enum { COUNT = 200000 };
    struct stage s = stage_make(COUNT, COUNT + 2);
    chunks(&s, COUNT, 2 * LENGTH);
    s.scene.options.absorb_below = 1; /* no cut: each chunk is open at its end */
    offered_of(&s, 1, 1 * LENGTH);
    offered_of(&s, COUNT - 1, 2 * LENGTH);
    run(&s);
    assert_int_equal(raw_count(&s, FILE_THRESHOLD), COUNT);
    assert_int_equal(s.scene.counters.given_up_threshold, COUNT);
    stage_free(&s);
}

/* All in one window, for all chunks are small: runs absorb for a long way, and looking for a cut fails often. */
static void test_very_many_small_chunks_in_one_window(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    struct stage s = stage_make(COUNT, 2 * COUNT);
    chunks(&s, COUNT, 100);
    s.scene.options.absorb_below = 101;
    s.scene.options.absorb_until = UINT64_MAX;
    offered_of(&s, COUNT - 1000, 100);
    new_file(&s, 100);
    offered_of(&s, 1000, 100);
    run(&s);
    assert_int_equal(raw_count(&s, FILE_ABSORBED), COUNT);
    assert_int_equal(s.scene.counters.given_up_absorbed, COUNT);
    stage_free(&s);
}

static void test_very_many_runs_that_join(void **state)
{
    (void)state;
    enum { COUNT = 50000 };
    struct stage s = stage_make(COUNT, 2 * COUNT);
    chunks(&s, COUNT, 100);
    s.scene.options.absorb_below = 101;
    s.scene.options.absorb_until = UINT64_MAX;
    for (size_t i = 0; i < COUNT; i++) {
        offered_of(&s, 1, 100);
        new_file(&s, 100);
    }
    run(&s);
    assert_int_equal(s.scene.counters.given_up_absorbed, COUNT);
    stage_free(&s);
}

/* ---- errors ---- */

static void test_failure_at_every_call_returns_every_entry(void **state)
{
    (void)state;
    static const enum event_kind others[] = {EVENT_ENTER, EVENT_SPECIAL, EVENT_LINK, EVENT_LEAVE};
    static const struct old_file old[] = {{0, 100 * LENGTH}};
    for (size_t limit = 1; limit <= 50; limit += 7) {
        for (size_t n = 1;; n++) {
            struct stage s = stage_make(5, 200);
            chunks(&s, 5, 10 * LENGTH);
            s.scene.options.cache_limit = limit;
            s.scene.old_files = old;
            s.scene.old_file_count = 1;
            for (size_t k = 0; k < 24; k++) {
                event(&s, (struct event){.kind = others[k % 4]});
                offered(&s, 1);
                if (k % 7 == 3)
                    changed(&s, 1);
                else
                    offered(&s, 1);
            }
            s.scene.fail_at = n;
            enum status status = scene_run(&s.scene); /* checks that each comes back exactly once */
            stage_free(&s);
            if (status == OK) {
                assert_true(n > 72);
                break;
            }
            assert_int_equal(status, ERR_IO);
        }
    }
}

static void test_range_outside_of_the_old_stream_is_an_error(void **state)
{
    (void)state;
    struct stage s = stage_make(2, 10);
    chunks(&s, 2, LENGTH);
    offered(&s, 3);
    assert_int_equal(scene_run(&s.scene), ERR_FORMAT);
    stage_free(&s);
}

static void test_options_out_of_range_are_refused(void **state)
{
    (void)state;
    struct stage s = stage_make(1, 1);
    chunks(&s, 1, LENGTH);
    struct error err = {0};
    struct lookahead *l;
    struct lookahead_options options = s.scene.options;
    options.max_instances = 0;
    assert_int_equal(lookahead_new(&options, &s.scene.index, &scene_ops, &s.scene, &l, &err), ERR_USAGE);
    options.profile = PROFILE_TIGHT;
    assert_int_equal(lookahead_new(&options, &s.scene.index, &scene_ops, &s.scene, &l, &err), OK);
    lookahead_free(l);
    options = s.scene.options;
    options.threshold_ppm = PPM_ONE + 1;
    assert_int_equal(lookahead_new(&options, &s.scene.index, &scene_ops, &s.scene, &l, &err), ERR_USAGE);
    options = s.scene.options;
    options.cache_limit = 0;
    assert_int_equal(lookahead_new(&options, &s.scene.index, &scene_ops, &s.scene, &l, &err), ERR_USAGE);
    stage_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_3_nothing_changed_equals_tight),
        cmocka_unit_test(test_3_third_generation_equals_the_second),
        cmocka_unit_test(test_4_one_of_100_files_changed_costs_that_file),
        cmocka_unit_test(test_5_ten_of_100_files_are_kept_and_eleven_give_the_chunk_up),
        cmocka_unit_test(test_threshold_zero_and_one),
        cmocka_unit_test(test_6_spanning_file_needs_all_its_chunks_and_lowers_the_later_ones),
        cmocka_unit_test(test_6_giving_up_lowers_the_next_chunk_before_it_is_decided),
        cmocka_unit_test(test_7_any_cache_limit),
        cmocka_unit_test(test_early_decision_counts_what_is_still_to_come),
        cmocka_unit_test(test_instances_go_on_counting_after_an_early_decision),
        cmocka_unit_test(test_chunk_listed_too_often_is_given_up),
        cmocka_unit_test(test_9_short_run_absorbs_small_chunks_behind_it_first),
        cmocka_unit_test(test_9_short_run_between_large_chunks_stays_alone),
        cmocka_unit_test(test_9_nothing_changed_absorbs_nothing),
        cmocka_unit_test(test_9_absorbs_before_the_run_what_it_lacks_behind),
        cmocka_unit_test(test_9_a_run_already_written_absorbs_what_follows),
        cmocka_unit_test(test_unchanged_chunks_leave_the_cache_when_they_are_passed),
        cmocka_unit_test(test_a_long_raw_run_parts_windows_of_small_chunks),
        cmocka_unit_test(test_directories_and_special_files_keep_their_place),
        cmocka_unit_test(test_vanished_file_lists_the_chunk_again),
        cmocka_unit_test(test_injections_come_in_batches),
        cmocka_unit_test(test_D15_empty_files_of_one_chunk_are_reused_through_any_cache),
        cmocka_unit_test(test_one_file_over_very_many_chunks),
        cmocka_unit_test(test_cascade_backwards_over_very_many_chunks),
        cmocka_unit_test(test_very_many_small_chunks_in_one_window),
        cmocka_unit_test(test_very_many_runs_that_join),
        cmocka_unit_test(test_failure_at_every_call_returns_every_entry),
        cmocka_unit_test(test_range_outside_of_the_old_stream_is_an_error),
        cmocka_unit_test(test_options_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
