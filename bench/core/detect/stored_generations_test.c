/* Profile stored over many generations, where each run's index is the next one's old index; and with very many chunks
 * of equal contents. What single runs must do is in stored_test.c and stored_twin_test.c. */
#include "testing/testing.h"

#include "detect/stored_for_test.h"

enum { FILES_MAX = 4096, LENGTH = 100, AVERAGE = 100 * LENGTH };

/* A tree of equal files and its newest archive. */
struct world {
    struct scene scene;
    struct event events[FILES_MAX];
    struct old_file old_files[FILES_MAX];
    struct index_entry *entries;
    size_t entry_capacity;
    uint64_t contents; /* different chunks so far */
};

static struct digest digest_number(uint64_t number)
{
    struct digest digest = {0};
    memcpy(digest.bytes, &number, sizeof number);
    return digest;
}

static void add_entry(struct world *w, uint64_t end, struct digest digest)
{
    if (w->scene.index.count == w->entry_capacity) {
        w->entry_capacity = w->entry_capacity ? 2 * w->entry_capacity : 1024;
        w->entries = realloc(w->entries, w->entry_capacity * sizeof *w->entries);
        assert_non_null(w->entries);
        w->scene.index.entries = w->entries;
    }
    w->entries[w->scene.index.count++] = (struct index_entry){.end = end, .digest = digest};
}

static void add_new_entry(struct world *w, uint64_t end)
{
    uint64_t before = w->scene.index.count ? dynamic_index_size(&w->scene.index) : 0;
    if (end > before)
        add_entry(w, end, digest_number(++w->contents));
}

/* The first archive: `files` of them, AVERAGE bytes to a chunk. */
static struct world *world_new(size_t files)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    assert_true(files <= FILES_MAX);
    w->scene.options = (struct lookahead_options){
        .profile = PROFILE_STORED,
        .threshold_ppm = THRESHOLD_DEFAULT_PPM,
        .cache_limit = SIZE_MAX,
        .absorb_below = AVERAGE / 16,
        .absorb_until = AVERAGE / 4,
        .max_instances = 8,
    };
    w->scene.events = w->events;
    w->scene.event_count = files;
    w->scene.old_files = w->old_files;
    w->scene.old_file_count = files;
    add_new_entry(w, 16);
    for (size_t i = 0; i < files; i++) {
        w->old_files[i] = (struct old_file){16 + i * LENGTH, 16 + (i + 1) * LENGTH};
        if ((i + 1) % (AVERAGE / LENGTH) == 0 || i + 1 == files)
            add_new_entry(w, w->old_files[i].end);
    }
    add_new_entry(w, 16 + files * LENGTH + 16);
    return w;
}

static void world_free(struct world *w)
{
    scene_deinit(&w->scene);
    free(w->entries);
    free(w);
}

static void begin_generation(struct world *w)
{
    for (size_t i = 0; i < w->scene.event_count; i++)
        w->events[i] =
            (struct event){.kind = EVENT_OFFERED, .start = w->old_files[i].start, .end = w->old_files[i].end};
}

static void change(struct world *w, size_t file)
{
    struct event *e = &w->events[file];
    if (e->kind == EVENT_OFFERED)
        *e = (struct event){.kind = EVENT_RAW, .end = LENGTH, .old_end = e->end};
}

static size_t count_reason(const struct world *w, enum file_reason reason)
{
    size_t count = 0;
    for (size_t i = 0; i < w->scene.event_count; i++)
        count += w->events[i].reason == reason;
    return count;
}

static size_t raw_count(const struct world *w)
{
    return w->scene.event_count - count_reason(w, FILE_UNCHANGED);
}

/* Backs up; what was written is the old archive then. New bytes are cut where files end, behind AVERAGE / 4. */
static void run(struct world *w)
{
    assert_int_equal(scene_run(&w->scene), OK);
    size_t old_count = w->scene.index.count, listed = 0;
    struct index_entry *old = calloc(old_count, sizeof *old);
    assert_non_null(old);
    memcpy(old, w->entries, old_count * sizeof *old);
    w->scene.index.count = 0;
    add_new_entry(w, 16);
    uint64_t raw_end = 16;
    for (size_t i = 0; i <= w->scene.event_count; i++) {
        const struct event *e = &w->events[i];
        uint64_t offset = i < w->scene.event_count ? e->offset : UINT64_MAX;
        for (; listed < w->scene.listing_count && w->scene.listings[listed].boundary <= offset; listed++) {
            const struct listing *l = &w->scene.listings[listed];
            add_new_entry(w, l->boundary); /* what is raw before it */
            add_entry(w, l->boundary + l->chunk.size, old[l->chunk.entry].digest);
        }
        if (i == w->scene.event_count)
            break;
        w->old_files[i] = (struct old_file){offset, offset + LENGTH};
        if (!e->reused)
            raw_end = offset + LENGTH;
        if (!e->reused && raw_end - dynamic_index_size(&w->scene.index) >= AVERAGE / 4)
            add_new_entry(w, raw_end);
    }
    add_new_entry(w, w->scene.position + 16);
    free(old);
}

static uint64_t random_state = 1;
static size_t below(size_t limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(random_state >> 33) % limit;
}

/* ---- generations ---- */

static void test_after_a_change_nothing_is_read_again_and_nothing_moves(void **state)
{
    (void)state;
    static const size_t limits[] = {SIZE_MAX, 64, 1};
    for (size_t i = 0; i < 3; i++) {
        struct world *w = world_new(300);
        w->scene.options.cache_limit = limits[i];
        begin_generation(w);
        change(w, 150);
        run(w);
        assert_int_equal(raw_count(w), 1);
        for (size_t generation = 2; generation < 6; generation++) {
            struct old_file before[300];
            memcpy(before, w->old_files, sizeof before);
            begin_generation(w);
            run(w);
            assert_int_equal(raw_count(w), 0);
            assert_memory_equal(before, w->old_files, sizeof before);
        }
        world_free(w);
    }
}

/* Each generation parts the middle chunk once more: listings add up over generations, not within one alone. */
static void test_chunk_parted_once_per_generation_is_given_up_with_the_ninth_listing(void **state)
{
    (void)state;
    struct world *w = world_new(300);
    w->scene.options.absorb_below = 0;
    for (size_t generation = 1; generation <= 8; generation++) {
        begin_generation(w);
        change(w, 105 + 10 * generation);
        run(w);
        assert_int_equal(count_reason(w, FILE_THRESHOLD), 0);
        if (generation < 8) {
            assert_int_equal(raw_count(w), 1);
            assert_int_equal(w->scene.counters.relisted_chunks, 1);
            assert_int_equal(w->scene.counters.stored_waste_bytes, generation * LENGTH);
        } else {
            assert_int_equal(count_reason(w, FILE_INSTANCES), 92);
        }
    }
    world_free(w);
}

static void test_waste_adds_up_over_generations(void **state)
{
    (void)state;
    struct world *w = world_new(300);
    w->scene.options.absorb_below = 0;
    w->scene.options.max_instances = 100;
    for (size_t generation = 1; generation <= 11; generation++) {
        begin_generation(w);
        change(w, 105 + 8 * generation);
        run(w);
        assert_int_equal(raw_count(w), generation < 11 ? 1 : 90);
        assert_int_equal(count_reason(w, FILE_THRESHOLD), generation < 11 ? 0 : 89);
    }
    world_free(w);
}

/* The listed chunks' waste by contents, from scratch. */
static uint64_t waste_max_ppm(const struct world *w)
{
    uint64_t most = 0;
    uint64_t *used = calloc(w->contents + 1, sizeof *used);
    assert_non_null(used);
    for (size_t pass = 0; pass < 2; pass++)
        for (size_t k = 0, i = 0; k < w->scene.index.count; k++) {
            uint64_t number, start = dynamic_index_start(&w->scene.index, k), end = w->entries[k].end;
            memcpy(&number, w->entries[k].digest.bytes, sizeof number);
            for (; pass == 0 && i < w->scene.event_count && w->old_files[i].start < end; i++) {
                uint64_t from = w->old_files[i].start > start ? w->old_files[i].start : start;
                uint64_t to = w->old_files[i].end < end ? w->old_files[i].end : end;
                used[number] += to - from;
                if (w->old_files[i].end > end)
                    break;
            }
            uint64_t waste = (end - start - used[number]) * PPM_ONE / (end - start);
            if (pass == 1 && k > 0 && k + 1 < w->scene.index.count && waste > most)
                most = waste;
        }
    free(used);
    return most;
}

/* 1 % of the files change per generation: what is read again must neither jump (nearly half of everything, were each
 * listing judged by itself) nor creep up. */
static void test_fifty_generations_stay_steady(void **state)
{
    (void)state;
    static const size_t limits[] = {SIZE_MAX, 30};
    for (size_t i = 0; i < 2; i++) {
        struct world *w = world_new(4000);
        w->scene.options.cache_limit = limits[i];
        random_state = 7;
        size_t read_files = 0, most = 0, entries_most = 0;
        for (size_t generation = 1; generation <= 50; generation++) {
            begin_generation(w);
            for (size_t k = 0; k < 40; k++)
                change(w, below(4000));
            run(w);
            if (w->scene.counters.early_chunks == 0)
                assert_true(waste_max_ppm(w) <= w->scene.options.threshold_ppm);
            if (generation <= 10)
                continue;
            read_files += raw_count(w);
            most = raw_count(w) > most ? raw_count(w) : most;
            entries_most = w->scene.index.count > entries_most ? w->scene.index.count : entries_most;
        }
        print_message("limit %zu: %.1f %% of the files read per generation, at most %.1f %%, %zu entries\n", limits[i],
                      (double)read_files / 40 / 40, (double)most / 40, entries_most);
        assert_true(read_files / 40 < 4000 / 5);
        assert_true(most < 4000 / 3);
        assert_true(entries_most < 1000);
        world_free(w);
    }
}

/* ---- equal contents ---- */

/* Runs with an old archive of `count` chunks of 1000 bytes that are all equal; file k uses `used` bytes of chunk k
 * from `start(k)` on. Tells how many entries waited at most. */
static size_t run_equal(struct scene *s, size_t count, uint64_t used, uint64_t (*start)(size_t k))
{
    *s = (struct scene){
        .options =
            {
                .profile = PROFILE_STORED,
                .threshold_ppm = PPM_ONE / 2,
                .cache_limit = SIZE_MAX,
                .absorb_below = 16,
                .absorb_until = 250,
                .max_instances = 8,
            },
        .index = {.entries = calloc(count, sizeof(struct index_entry)), .count = count},
        .events = calloc(count, sizeof(struct event)),
        .event_count = count,
        .position = 16,
    };
    assert_non_null(s->index.entries);
    assert_non_null(s->events);
    for (size_t k = 0; k < count; k++) {
        s->index.entries[k].end = (k + 1) * 1000;
        s->events[k] =
            (struct event){.kind = EVENT_OFFERED, .start = k * 1000 + start(k), .end = k * 1000 + start(k) + used};
    }
    struct lookahead *l;
    size_t waiting_most = 0;
    assert_int_equal(lookahead_new(&s->options, &s->index, &scene_ops, s, &l, &s->error), OK);
    for (size_t k = 0; k < count; k++) {
        assert_int_equal(scene_event(s, l, &s->events[k]), OK);
        size_t waiting = s->handed_in - s->handed_back;
        waiting_most = waiting > waiting_most ? waiting : waiting_most;
    }
    assert_int_equal(lookahead_finish(l, &s->error), OK);
    s->counters = *lookahead_count(l);
    lookahead_free(l);
    assert_int_equal(s->next_out, count);
    return waiting_most;
}

static void equal_free(struct scene *s)
{
    free(s->index.entries);
    free(s->events);
    scene_deinit(s);
}

enum { EQUAL_COUNT = 200000 };

static uint64_t at_front(size_t k)
{
    (void)k;
    return 0;
}

static uint64_t one_after_the_other(size_t k)
{
    return k % 10 * 100;
}

/* Any of the next ones could go on with a copy, so its fate waits for them, but no longer than they are in reach. */
static void test_copies_wait_no_longer_than_reach(void **state)
{
    (void)state;
    struct scene s;
    size_t waiting = run_equal(&s, EQUAL_COUNT, 600, at_front);
    assert_in_range(waiting, 32, 100);
    assert_int_equal(s.listing_count, EQUAL_COUNT);
    assert_int_equal(s.counters.relisted_chunks, 1);
    equal_free(&s);

    waiting = run_equal(&s, EQUAL_COUNT, 400, at_front); /* not even as many bytes as must be, each by itself */
    assert_in_range(waiting, 32, 100);
    assert_int_equal(s.listing_count, 0);
    assert_int_equal(s.counters.given_up_threshold, EQUAL_COUNT);
    equal_free(&s);
}

static void test_used_up_copies_wait_for_nothing(void **state)
{
    (void)state;
    struct scene s;
    assert_in_range(run_equal(&s, EQUAL_COUNT, 1000, at_front), 1, 8);
    assert_int_equal(s.listing_count, EQUAL_COUNT);
    assert_int_equal(s.counters.stored_waste_bytes, 0);
    equal_free(&s);
}

static void test_parts_of_equal_chunks_become_one_again(void **state)
{
    (void)state;
    struct scene s;
    assert_in_range(run_equal(&s, EQUAL_COUNT, 100, one_after_the_other), 10, 100);
    assert_int_equal(s.listing_count, EQUAL_COUNT / 10);
    assert_int_equal(s.counters.given_up_threshold, 0);
    for (size_t k = 0; k < s.listing_count; k++)
        assert_int_equal(s.listings[k].chunk.padding, 0);
    equal_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_after_a_change_nothing_is_read_again_and_nothing_moves),
        cmocka_unit_test(test_chunk_parted_once_per_generation_is_given_up_with_the_ninth_listing),
        cmocka_unit_test(test_waste_adds_up_over_generations),
        cmocka_unit_test(test_fifty_generations_stay_steady),
        cmocka_unit_test(test_copies_wait_no_longer_than_reach),
        cmocka_unit_test(test_used_up_copies_wait_for_nothing),
        cmocka_unit_test(test_parts_of_equal_chunks_become_one_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
