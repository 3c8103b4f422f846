/* Profile stored where an earlier backup listed a chunk several times: its entries of the old index are one chunk. */
#include "testing/testing.h"

#include "detect/stored_stage_for_test.h"

/* Three chunks of 100 files, in the middle one file 50 changed a backup ago: it is listed before and behind it. */
static struct stage relisted_tree(void)
{
    struct stage first = stage_make(3, 301);
    chunks(&first, 3, 100 * LENGTH);
    offered(&first, 150);
    changed(&first, 1);
    offered(&first, 149);
    run(&first);
    struct stage second = next_generation(&first);
    stage_free(&first);
    return second;
}

static void remove_event(struct stage *s, size_t number)
{
    s->scene.event_count--;
    memmove(s->events + number, s->events + number + 1, (s->scene.event_count - number) * sizeof *s->events);
}

static void make_raw(struct stage *s, size_t number)
{
    struct event *e = &s->events[number];
    *e = (struct event){.kind = EVENT_RAW, .end = e->end - e->start, .old_end = e->end};
}

static void test_relisted_chunk_is_one_chunk_for_the_next_backup(void **state)
{
    (void)state;
    static const size_t limits[] = {SIZE_MAX, 64, 1};
    struct old_file old[300];
    struct stage unchanged = relisted_tree();
    for (size_t i = 0; i < 300; i++)
        old[i] = (struct old_file){unchanged.events[i].start, unchanged.events[i].end};
    unchanged.scene.old_files = old;
    unchanged.scene.old_file_count = 300;
    for (size_t i = 0; i < 3; i++) {
        unchanged.scene.options.cache_limit = limits[i];
        run(&unchanged);
        static const size_t expected[] = {1, 2, 3, 4, 5}; /* all as it was, between the stream's markers */
        assert_int_equal(unchanged.scene.listing_count, 5);
        for (size_t k = 0; k < 5; k++) {
            assert_int_equal(unchanged.scene.listings[k].chunk.entry, expected[k]);
            assert_int_equal(unchanged.scene.listings[k].boundary, unchanged.entries[expected[k] - 1].end);
        }
        assert_int_equal(raw_count(&unchanged, FILE_THRESHOLD), 0);
        for (size_t k = 0; k < 300; k++)
            assert_int_equal(unchanged.events[k].offset, unchanged.events[k].start);
    }
    stage_free(&unchanged);
}

static void test_waste_of_a_relisted_chunk_adds_up_over_its_listings(void **state)
{
    (void)state;
    for (size_t more = 9; more <= 10; more++) { /* with the one of the backup before: 10 or 11 of 100 */
        struct stage s = relisted_tree();
        for (size_t i = 0; i < 4; i++)
            make_raw(&s, 110 + i);
        for (size_t i = 4; i < more; i++)
            make_raw(&s, 180 + i);
        run(&s);
        assert_int_equal(raw_count(&s, FILE_THRESHOLD), more == 9 ? 0 : 89);
        assert_int_equal(s.scene.counters.given_up_threshold, more == 9 ? 0 : 1);
        stage_free(&s);
    }
}

static void test_instances_of_a_relisted_chunk_add_up_over_its_listings(void **state)
{
    (void)state;
    for (uint32_t max = 3; max <= 4; max++) {
        struct stage s = relisted_tree();
        make_raw(&s, 120);
        make_raw(&s, 180);
        s.scene.options.max_instances = max;
        run(&s);
        assert_int_equal(raw_count(&s, FILE_INSTANCES), max == 3 ? 97 : 0);
        assert_int_equal(s.scene.counters.given_up_instances, max == 3);
        stage_free(&s);
    }
}

static void test_chunk_is_whole_again_when_what_parted_it_is_gone(void **state)
{
    (void)state;
    struct stage s = relisted_tree();
    remove_event(&s, 150);
    run(&s);
    assert_int_equal(s.scene.listing_count, 3);
    assert_int_equal(s.scene.listings[1].chunk.head, 0);
    assert_int_equal(s.scene.listings[1].chunk.tail, 0);
    assert_int_equal(s.scene.listings[1].chunk.padding, LENGTH);
    assert_int_equal(raw_count(&s, FILE_THRESHOLD), 0);
    stage_free(&s);
}

/* Used from the front again: a chunk of its own, else its waste would hide behind what its copy is used for. */
static void test_copy_is_a_chunk_of_its_own(void **state)
{
    (void)state;
    struct stage s = stage_make(3, 30);
    chunks(&s, 3, 10 * LENGTH);
    s.entries[2].digest = s.entries[0].digest;
    offered(&s, 9);
    changed(&s, 1);
    offered(&s, 10);
    offered(&s, 2);
    changed(&s, 8);
    run(&s);
    assert_int_equal(times_listed(&s, 0), 1);
    assert_int_equal(times_listed(&s, 2), 0);
    assert_int_equal(raw_count(&s, FILE_THRESHOLD), 2);
    stage_free(&s);
}

static void test_listings_far_apart_are_judged_each(void **state)
{
    (void)state;
    for (size_t between = 31; between <= 32; between++) {
        struct stage s = stage_make(40, 400);
        chunks(&s, between + 2, 10 * LENGTH);
        s.entries[between + 1].digest = s.entries[0].digest;
        offered(&s, 5);
        s.at += 5 * LENGTH;
        offered(&s, 10 * between);
        s.at += 5 * LENGTH;
        offered(&s, 5);
        run(&s);
        assert_int_equal(raw_count(&s, FILE_THRESHOLD), between == 31 ? 0 : 10);
        stage_free(&s);
    }
}

/* Each within reach of the one before, the last one not of the first; small caches let go of nothing that is joined. */
static void test_listings_are_joined_one_to_the_next(void **state)
{
    (void)state;
    struct stage s = stage_make(42, 450);
    chunks(&s, 41, 10 * LENGTH);
    s.entries[20].digest = s.entries[40].digest = s.entries[0].digest;
    offered(&s, 4);
    s.at += 6 * LENGTH;
    offered(&s, 190);
    s.at += 4 * LENGTH;
    offered(&s, 3);
    s.at += 3 * LENGTH;
    offered(&s, 190);
    s.at += 7 * LENGTH;
    offered(&s, 3);
    run(&s);
    assert_int_equal(raw_count(&s, FILE_THRESHOLD), 0);
    assert_int_equal(s.scene.listing_count, 41);
    stage_free(&s);
}

/* No index of ours is so; sums would go astray. */
static void test_equal_digest_of_another_size_is_another_chunk(void **state)
{
    (void)state;
    struct stage s = stage_make(3, 40);
    chunks(&s, 1, 5 * LENGTH);
    chunks(&s, 1, 10 * LENGTH);
    s.entries[1].digest = s.entries[0].digest;
    offered(&s, 4);
    s.at += 5 * LENGTH;
    offered(&s, 6);
    run(&s);
    assert_int_equal(raw_count(&s, FILE_THRESHOLD), 10);
    assert_int_equal(s.scene.counters.given_up_threshold, 2);
    stage_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relisted_chunk_is_one_chunk_for_the_next_backup),
        cmocka_unit_test(test_waste_of_a_relisted_chunk_adds_up_over_its_listings),
        cmocka_unit_test(test_instances_of_a_relisted_chunk_add_up_over_its_listings),
        cmocka_unit_test(test_chunk_is_whole_again_when_what_parted_it_is_gone),
        cmocka_unit_test(test_copy_is_a_chunk_of_its_own),
        cmocka_unit_test(test_listings_far_apart_are_judged_each),
        cmocka_unit_test(test_listings_are_joined_one_to_the_next),
        cmocka_unit_test(test_equal_digest_of_another_size_is_another_chunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
