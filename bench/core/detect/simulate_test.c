/* The worked examples of bench/spec/change-detection.md 14 without data, in both profiles, and: what the simulation
 * says about padding is what the new stream alone says (detect/usage.h). */
#include "testing/testing.h"

#include "detect/simulate.h"
#include "detect/usage.h"
#include "pxar/item.h"

#include <stdio.h>
#include <string.h>

enum { FILES_MAX = 256, ENTRIES_MAX = 1024, ORDERS_MAX = 256, LIMIT = 65536 };
#define COUNT(array) (sizeof(array) / sizeof *(array))

struct file {
    uint64_t size;
    uint64_t old_offset; /* 0: changed or new */
};
struct order {
    uint64_t boundary, size;
    size_t count;
};
struct decision {
    uint64_t ordinal, size, offset;
    bool reused;
    enum file_reason reason;
};

/* One run and the stream that it makes: an entry per injected chunk, one per stretch of new bytes. */
struct run {
    struct index_entry entries[ENTRIES_MAX];
    struct dynamic_index index; /* over entries */
    struct order orders[ORDERS_MAX];
    size_t order_count;
    struct decision files[FILES_MAX];
    size_t file_count;
    const struct sim_event *events;
    const struct file *old_files; /* of the old archive, for the profile stored */
    size_t old_count;
    struct {
        uint64_t size, used, listings;
    } old_chunks[ENTRIES_MAX]; /* by entry of the old index; size 0: not listed */
    struct sim_result result;
};

static struct error error;
#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        if ((call) != OK) {                                                                                            \
            print_error("%s\n", error.text);                                                                           \
            assert_true(false);                                                                                        \
        }                                                                                                              \
    } while (0)

static void add_entry(struct run *r, uint64_t end)
{
    if (end == dynamic_index_size(&r->index))
        return;
    assert_true(r->index.count < ENTRIES_MAX && end > dynamic_index_size(&r->index));
    r->entries[r->index.count++].end = end;
}

static enum status on_file(void *context, uint64_t ordinal, bool reused, enum file_reason reason, uint64_t offset,
                           struct error *err)
{
    (void)err;
    struct run *r = context;
    assert_true(r->file_count < FILES_MAX);
    assert_int_equal(r->events[ordinal].kind, SIM_FILE);
    assert_int_equal(reused, reason == FILE_UNCHANGED);
    r->files[r->file_count++] = (struct decision){ordinal, r->events[ordinal].size, offset, reused, reason};
    return OK;
}

static enum status on_inject(void *context, uint64_t boundary, const struct reuse_chunk *chunks, size_t count,
                             uint64_t size, struct error *err)
{
    (void)err;
    struct run *r = context;
    assert_true(r->order_count < ORDERS_MAX);
    r->orders[r->order_count++] = (struct order){boundary, size, count};
    add_entry(r, boundary); /* the new bytes before */
    for (size_t i = 0; i < count; i++) {
        add_entry(r, dynamic_index_size(&r->index) + chunks[i].size);
        r->old_chunks[chunks[i].entry].size = chunks[i].size;
        r->old_chunks[chunks[i].entry].used += chunks[i].size - chunks[i].padding;
        r->old_chunks[chunks[i].entry].listings++;
    }
    assert_int_equal(dynamic_index_size(&r->index), boundary + size);
    return OK;
}

static enum status on_unseen_live(void *context, uint64_t from, uint64_t to, uint64_t *out, struct error *err)
{
    (void)err;
    const struct run *r = context;
    *out = 0;
    for (size_t i = 0; i < r->old_count; i++) {
        uint64_t start = r->old_files[i].old_offset, end = start + 16 + r->old_files[i].size;
        if (start >= from && start < to)
            *out += (end < to ? end : to) - start;
    }
    return OK;
}

static void check_totals(const struct ledger_totals *a, const struct ledger_totals *b)
{
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->referenced, b->referenced);
    assert_int_equal(a->padding, b->padding);
    assert_int_equal(a->start_padding, b->start_padding);
    assert_int_equal(a->end_padding, b->end_padding);
    assert_int_equal(a->hole_padding, b->hole_padding);
    assert_int_equal(a->dead_padding, b->dead_padding);
    assert_int_equal(a->ranges, b->ranges);
    assert_int_equal(a->partial_chunks, b->partial_chunks);
    assert_int_equal(a->unreferenced_chunks, b->unreferenced_chunks);
}

/* The stream alone says the same. */
static void check_ledger(const struct run *r)
{
    struct ledger ledger = {0};
    struct usage usage;
    MUST(usage_begin(&usage, &r->index, &ledger, NULL, &error));
    for (size_t i = 0; i < r->file_count; i++)
        MUST(usage_file(&usage, r->files[i].offset, r->files[i].size, &error));
    MUST(usage_finish(&usage, &error));
    check_totals(&r->result.ledger, &ledger.totals);
    assert_int_equal(r->result.payload_size, ledger.totals.size);
    assert_int_equal(r->result.cache.injected_bytes, r->result.reused_bytes + ledger.totals.padding);
    assert_int_equal(r->result.cache.partial_chunks, ledger.totals.partial_chunks);
    assert_int_equal(r->result.cache.unreferenced_chunks, ledger.totals.unreferenced_chunks);
    assert_int_equal(r->result.payload_size, 32 + r->result.reencoded_bytes + r->result.cache.injected_bytes);
    assert_int_equal(r->result.read_bytes, r->result.reencoded_bytes - 16 * r->result.reencoded_files);
}

/* `old_files`: for the profile stored; NULL: nothing is known of what was not seen yet. */
static struct run *run_events(const struct sim_event *events, size_t count, const struct dynamic_index *reference,
                              const struct lookahead_options *options, const struct file *old_files, size_t old_count)
{
    struct run *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->index.entries = r->entries;
    r->events = events;
    r->old_files = old_files;
    r->old_count = old_count;
    const struct sim_observer observer = {
        .file = on_file, .inject = on_inject, .unseen_live = on_unseen_live, .context = r};
    struct simulation *s;
    MUST(simulation_new(options, reference, &observer, &s, &error));
    for (size_t i = 0; i < count; i++)
        MUST(simulation_event(s, &events[i], &error));
    MUST(simulation_finish(s, &r->result, &error));
    simulation_free(s);
    add_entry(r, r->result.payload_size);
    check_ledger(r);
    return r;
}

static struct run *simulate(const struct file *files, size_t count, const struct dynamic_index *reference,
                            enum reuse_profile profile, size_t cache_limit)
{
    static struct sim_event events[FILES_MAX];
    assert_true(count <= FILES_MAX);
    for (size_t i = 0; i < count; i++)
        events[i] = (struct sim_event){.kind = SIM_FILE,
                                       .size = files[i].size,
                                       .reason = files[i].old_offset ? FILE_UNCHANGED : FILE_MTIME,
                                       .old_offset = files[i].old_offset};
    const struct lookahead_options options = {
        .profile = profile, .threshold_ppm = THRESHOLD_DEFAULT_PPM, .cache_limit = cache_limit};
    struct run *r = run_events(events, count, reference, &options, NULL, 0);
    assert_int_equal(r->file_count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(r->files[i].ordinal, i);
    return r;
}

static struct dynamic_index index_of(struct index_entry *entries, const uint64_t *ends, size_t count)
{
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct index_entry){.end = ends[i]};
    return (struct dynamic_index){.entries = entries, .count = count};
}

static void check_orders(const struct run *r, const struct order *orders, size_t count)
{
    assert_int_equal(r->order_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(r->orders[i].boundary, orders[i].boundary);
        assert_int_equal(r->orders[i].size, orders[i].size);
        assert_int_equal(r->orders[i].count, orders[i].count);
    }
}
#define CHECK_ORDERS(r, ...)                                                                                           \
    do {                                                                                                               \
        static const struct order orders_[] = {__VA_ARGS__};                                                           \
        check_orders(r, orders_, COUNT(orders_));                                                                      \
    } while (0)
#define CHECK_REFS(r, ...)                                                                                             \
    do {                                                                                                               \
        static const uint64_t refs_[] = {__VA_ARGS__};                                                                 \
        assert_int_equal((r)->file_count, COUNT(refs_));                                                               \
        for (size_t i_ = 0; i_ < COUNT(refs_); i_++)                                                                   \
            assert_int_equal((r)->files[i_].offset, refs_[i_]);                                                        \
    } while (0)

static const uint64_t ends_14_1[] = {12000032, 23800080, 24200112};

static void test_14_1(void **state)
{
    (void)state;
    static const struct file changed[] = {
        {12000000, 16}, {310000, 0}, {500000, 12300048}, {11000000, 12800064}, {400500, 0}};
    struct index_entry entries[3];
    const struct dynamic_index index = index_of(entries, ends_14_1, 3);
    struct run *tight = simulate(changed, 5, &index, PROFILE_TIGHT, LIMIT);
    CHECK_REFS(tight, 32, 12000048, 12610080, 13110096, 24110112);
    CHECK_ORDERS(tight, {16, 12000032, 1}, {12310064, 11800048, 1});
    assert_int_equal(tight->result.payload_size, 24510644);
    assert_int_equal(tight->result.reused_files, 3);
    assert_int_equal(tight->result.reencoded_bytes, 310016 + 400516);
    assert_int_equal(tight->result.ledger.padding, 300032);
    assert_int_equal(tight->result.ledger.start_padding, 300032); /* the old marker; b's old bytes */
    struct run *upstream = simulate(changed, 5, &index, PROFILE_UPSTREAM, LIMIT);
    CHECK_REFS(upstream, 16, 12000032, 12610064, 13110080, 24510128);
    CHECK_ORDERS(upstream, {12310048, 12200080, 2});
    assert_int_equal(upstream->result.payload_size, 24910660);
    assert_int_equal(upstream->result.reused_files, 2);
    assert_int_equal(upstream->files[0].reason, FILE_THRESHOLD);
    assert_int_equal(upstream->files[1].reason, FILE_MTIME);
    assert_int_equal(upstream->result.ledger.padding, 700048);
    assert_int_equal(upstream->result.ledger.dead_padding, 400032); /* D1 */
    assert_int_equal(upstream->result.cache.rejected_ranges, 1);
    free(upstream);
    free(tight);
}

static void test_14_2_nothing_changed_three_generations(void **state)
{
    (void)state;
    struct file files[] = {
        {12000000, 16}, {300000, 12000032}, {500000, 12300048}, {11000000, 12800064}, {400000, 23800080}};
    struct index_entry entries[3];
    const struct dynamic_index index = index_of(entries, ends_14_1, 3);
    for (int profile = PROFILE_TIGHT; profile <= PROFILE_UPSTREAM; profile++) {
        struct run *second = simulate(files, 5, &index, (enum reuse_profile)profile, LIMIT);
        CHECK_REFS(second, 32, 12000048, 12300064, 12800080, 23800096);
        CHECK_ORDERS(second, {16, 24200112, 3});
        struct file again[5];
        for (size_t i = 0; i < 5; i++)
            again[i] = (struct file){files[i].size, second->files[i].offset};
        struct run *third = simulate(again, 5, &second->index, (enum reuse_profile)profile, LIMIT);
        assert_int_equal(third->result.ledger.padding, 32);
        assert_int_equal(third->index.count, second->index.count);
        for (size_t i = 0; i < second->index.count; i++)
            assert_int_equal(third->entries[i].end, second->entries[i].end);
        free(third);
        free(second);
    }
}

static const struct file small_tree[] = {
    {250000, 16},      {250000, 250032},  {250000, 500048}, {250000, 750064}, {250000, 1000080}, {250000, 1250096},
    {250000, 1500112}, {250000, 1750128}, {6000, 2000144},  {3000, 2006160},  {4000, 2009176},   {120000, 2013192},
};
static const uint64_t ends_14_3[] = {250032, 500048, 750064, 1000080, 1250096, 1500112, 1750128, 2000144, 2133224};

static void test_14_3_hole_inside_a_held_chunk(void **state)
{
    (void)state;
    struct index_entry entries[9];
    const struct dynamic_index index = index_of(entries, ends_14_3, 9);
    struct file without_c[11];
    memcpy(without_c, small_tree, 9 * sizeof *without_c);
    memcpy(without_c + 9, small_tree + 10, 2 * sizeof *without_c);
    for (int profile = PROFILE_TIGHT; profile <= PROFILE_UPSTREAM; profile++) {
        struct run *r = simulate(without_c, 11, &index, (enum reuse_profile)profile, LIMIT);
        CHECK_REFS(r, 32, 250048, 500064, 750080, 1000096, 1250112, 1500128, 1750144, 2000160, 2009192, 2013208);
        CHECK_ORDERS(r, {16, 2000144, 8}, {2000160, 133080, 1});
        assert_int_equal(r->result.ledger.padding, 3048);
        assert_int_equal(r->result.ledger.start_padding, 16);
        assert_int_equal(r->result.ledger.hole_padding, 3016);
        assert_int_equal(r->result.ledger.end_padding, 16);
        free(r);
    }
}

static void test_14_4_cache_limit_4(void **state)
{
    (void)state;
    struct index_entry entries[9];
    const struct dynamic_index index = index_of(entries, ends_14_3, 9);
    struct run *tight = simulate(small_tree, 12, &index, PROFILE_TIGHT, 4);
    CHECK_ORDERS(tight, {16, 750064, 3}, {750080, 250016, 1}, {1000096, 750048, 3}, {1750144, 250016, 1},
                 {2000160, 133080, 1});
    assert_int_equal(tight->result.reencoded_files, 0);
    struct run *upstream = simulate(small_tree, 12, &index, PROFILE_UPSTREAM, 4);
    for (size_t i = 0; i < 12; i++) /* a0..a7 are collateral; b..e stay */
        assert_int_equal(upstream->files[i].reason, i < 8 ? FILE_THRESHOLD : FILE_UNCHANGED);
    assert_int_equal(upstream->result.cache.rejected_ranges, 2);
    free(upstream);
    free(tight);
}

static void test_14_8_files_ending_at_chunk_ends(void **state)
{
    (void)state;
    struct file files[12];
    uint64_t ends[13];
    for (size_t i = 0; i < 12; i++) {
        files[i] = (struct file){i ? 262128 : 262112, i ? 262144 * i : 16};
        ends[i] = 262144 * (i + 1);
    }
    ends[12] = 3145744;
    struct index_entry entries[13];
    const struct dynamic_index index = index_of(entries, ends, 13);
    struct run *upstream = simulate(files, 12, &index, PROFILE_UPSTREAM, LIMIT);
    assert_int_equal(upstream->index.count, 15);
    assert_int_equal(upstream->entries[12].end, 3145744);
    assert_int_equal(upstream->entries[13].end, 3145760);
    assert_int_equal(upstream->entries[14].end, 3145776);
    assert_int_equal(upstream->result.ledger.padding, 32);
    assert_int_equal(upstream->result.ledger.dead_padding, 16);
    assert_int_equal(upstream->result.cache.partial_chunks, 2);
    struct run *tight = simulate(files, 12, &index, PROFILE_TIGHT, LIMIT);
    assert_int_equal(tight->result.cache.injected_chunks, 12);
    assert_int_equal(tight->index.count, 14);
    assert_int_equal(tight->entries[13].end, 3145760);
    assert_int_equal(tight->result.ledger.padding, 16);
    free(tight);
    free(upstream);
}

static void test_14_9_extra_chunk_in_the_small(void **state)
{
    (void)state;
    struct file files[60];
    uint64_t ends[60];
    for (size_t i = 0; i < 60; i++) {
        files[i] = (struct file){20000, i == 30 ? 0 : 16 + 20016 * i};
        ends[i] = 16 + 20016 * (i + 1) + (i == 59 ? 16 : 0);
    }
    struct index_entry entries[60];
    const struct dynamic_index index = index_of(entries, ends, 60);
    struct run *upstream = simulate(files, 60, &index, PROFILE_UPSTREAM, LIMIT);
    assert_int_equal(upstream->order_count, 2); /* sizes: f30's old chunk goes along with the first */
    assert_int_equal(upstream->orders[0].boundary, 16);
    assert_int_equal(upstream->orders[0].count, 31);
    assert_int_equal(upstream->orders[1].boundary, 640544);
    assert_int_equal(upstream->orders[1].count, 29);
    assert_int_equal(upstream->index.count, 63);
    assert_int_equal(upstream->result.cache.partial_chunks, 3);
    assert_int_equal(upstream->result.cache.unreferenced_chunks, 1);
    assert_int_equal(upstream->result.ledger.padding, 20048);
    assert_int_equal(upstream->result.ledger.dead_padding, 20016);
    assert_int_equal(upstream->result.reused_files, 59);
    struct run *tight = simulate(files, 60, &index, PROFILE_TIGHT, LIMIT);
    assert_int_equal(tight->order_count, 2);
    assert_int_equal(tight->orders[0].count, 30);
    assert_int_equal(tight->orders[1].boundary, 620528);
    assert_int_equal(tight->orders[1].count, 29);
    assert_int_equal(tight->index.count, 62);
    assert_int_equal(tight->result.ledger.unreferenced_chunks, 0);
    free(tight);
    free(upstream);
}

/* ---- random trees ---- */

static uint64_t seed = 7;
static uint64_t next_random(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

enum { EVENTS_MAX = FILES_MAX, OLD_MAX = 2 * FILES_MAX };

/* A previous stream with holes, and a walk over what is left of it with changes in between. */
static size_t random_walk(struct sim_event *events, struct index_entry *entries, struct dynamic_index *out_index,
                          struct file *old_files, size_t *out_old_count)
{
    size_t count = 0, depth = 0, old_count = 0;
    uint64_t change_one_in = 2 + next_random(30), at = 16;
    while (count < EVENTS_MAX - 1 && old_count < OLD_MAX - 1 && next_random(200) > 0) {
        struct sim_event e = {.kind = SIM_FILE};
        switch (next_random(12)) {
        case 0: e.kind = SIM_SPECIAL; break;
        case 1: e.kind = SIM_LINK; break;
        case 2:
            e.kind = SIM_ENTER;
            depth++;
            break;
        case 3:
            if (depth == 0)
                continue;
            depth--;
            e.kind = SIM_LEAVE;
            break;
        case 4: /* deleted */
            old_files[old_count] = (struct file){next_random(400), at};
            at += 16 + old_files[old_count++].size;
            continue;
        default: {
            uint64_t old_size = next_random(4) ? next_random(300) : 0;
            e.size = old_size;
            if (next_random(change_one_in) == 0) {
                e.reason = next_random(2) ? FILE_MTIME : FILE_NEW;
                e.size = e.reason == FILE_NEW ? next_random(500) : old_size;
            }
            if (e.reason != FILE_NEW) {
                e.old_offset = at;
                e.old_size = old_size;
                old_files[old_count++] = (struct file){old_size, at};
                at += 16 + old_size;
            }
        }
        }
        events[count++] = e;
    }
    size_t chunks = 0;
    uint64_t chunk_mean = 20 + next_random(1500), snap = next_random(3);
    for (uint64_t end = 0; end < at + 16;) {
        end += 1 + next_random(2 * chunk_mean);
        for (size_t i = 0; snap && i < count; i++) /* suggested boundaries: most chunks end where a file does */
            if (events[i].old_offset >= end && next_random(5) > 0) {
                end = events[i].old_offset;
                break;
            }
        if (end > at + 16 || chunks == ENTRIES_MAX - 1)
            end = at + 16;
        entries[chunks] = (struct index_entry){.end = end, .digest.bytes = {(uint8_t)chunks, (uint8_t)(chunks >> 8)}};
        chunks++;
    }
    *out_old_count = old_count;
    *out_index = (struct dynamic_index){.entries = entries, .count = chunks};
    return count;
}

/* What the profile promises of every old chunk that it lists (reuse-stored.md 6). */
static void check_stored(const struct run *r, const struct lookahead_options *options)
{
    uint64_t waste = 0, relisted = 0;
    for (size_t k = 0; k < ENTRIES_MAX; k++) {
        if (r->old_chunks[k].size == 0)
            continue;
        assert_true(r->old_chunks[k].used <= r->old_chunks[k].size);
        uint64_t chunk_waste = r->old_chunks[k].size - r->old_chunks[k].used;
        assert_true(r->old_chunks[k].listings <= options->max_instances);
        if (r->result.cache.early_chunks == 0)
            assert_false(padding_exceeds(chunk_waste, r->old_chunks[k].size, options->threshold_ppm));
        waste += chunk_waste;
        relisted += r->old_chunks[k].listings > 1;
    }
    assert_int_equal(r->result.cache.stored_waste_bytes, waste);
    assert_int_equal(r->result.cache.relisted_chunks, relisted);
}

static void test_random_walks_the_ledger_is_what_the_stream_says(void **state)
{
    (void)state;
    static struct sim_event events[EVENTS_MAX];
    static struct index_entry entries[ENTRIES_MAX];
    static const uint32_t thresholds[] = {0, 50000, 100000, 400000, 1000000};
    static struct file old_files[OLD_MAX];
    uint64_t reused = 0, holes = 0, dead = 0, relisted = 0, early = 0;
    for (int i = 0; i < 20000; i++) {
        struct dynamic_index index;
        size_t old_count;
        size_t count = random_walk(events, entries, &index, old_files, &old_count);
        const struct lookahead_options options = {
            .profile = (enum reuse_profile)next_random(3),
            .threshold_ppm = thresholds[next_random(COUNT(thresholds))],
            .cache_limit = 1 + (size_t)next_random(next_random(2) ? 6 : 300),
            .absorb_below = 100,
            .absorb_until = 400,
            .max_instances = 3,
        };
        struct run *r = run_events(events, count, &index, &options, old_files, old_count);
        if (options.profile == PROFILE_STORED)
            check_stored(r, &options);
        uint64_t behind = 0, last_ordinal = 0, files = 0;
        for (size_t k = 0; k < count; k++)
            files += events[k].kind == SIM_FILE;
        assert_int_equal(r->file_count, files);
        for (size_t k = 0; k < r->file_count; k++) {
            const struct decision *d = &r->files[k];
            assert_true(k == 0 || d->ordinal > last_ordinal);
            assert_true(d->offset >= behind);
            behind = d->offset + 16 + d->size;
            last_ordinal = d->ordinal;
            if (events[d->ordinal].reason != FILE_UNCHANGED) /* a file that is not reusable keeps its reason */
                assert_int_equal(d->reason, events[d->ordinal].reason);
        }
        reused += r->result.reused_files;
        holes += r->result.ledger.hole_padding;
        dead += r->result.ledger.dead_padding;
        relisted += r->result.cache.relisted_chunks;
        early += r->result.cache.early_chunks;
        free(r);
    }
    assert_true(reused > 1000 && holes > 1000 && dead > 1000 && relisted > 100 &&
                early > 100); /* the walks were not all alike */
}

/* ---- without a reference, and refused ---- */

static void test_without_a_reference_everything_is_read(void **state)
{
    (void)state;
    static const struct sim_event events[] = {
        {.kind = SIM_ENTER}, {.kind = SIM_FILE, .size = 10, .reason = FILE_NO_REFERENCE},
        {.kind = SIM_LINK},  {.kind = SIM_SPECIAL},
        {.kind = SIM_LEAVE}, {.kind = SIM_FILE, .size = 0, .reason = FILE_NO_REFERENCE},
        {.kind = SIM_ENTER}, /* left at the end */
    };
    const struct lookahead_options options = {.threshold_ppm = THRESHOLD_DEFAULT_PPM, .cache_limit = 10};
    struct run *r = run_events(events, COUNT(events), NULL, &options, NULL, 0);
    CHECK_REFS(r, 16, 42);
    assert_int_equal(r->result.read_bytes, 10);
    assert_int_equal(r->result.payload_size, 16 + 26 + 16 + 16);
    assert_int_equal(r->result.ledger.ranges, 1);
    free(r);
}

static enum status one_event(const struct dynamic_index *index, struct sim_event before, struct sim_event event)
{
    const struct lookahead_options options = {.threshold_ppm = THRESHOLD_DEFAULT_PPM, .cache_limit = 10};
    struct simulation *s;
    MUST(simulation_new(&options, index, NULL, &s, &error));
    MUST(simulation_event(s, &before, &error));
    enum status status = simulation_event(s, &event, &error);
    simulation_free(s);
    return status;
}

static void test_events_that_no_walk_makes_are_refused(void **state)
{
    (void)state;
    static const uint64_t ends[] = {500, 1000};
    struct index_entry entries[2];
    const struct dynamic_index index = index_of(entries, ends, 2);
    static const struct sim_event first = {.kind = SIM_FILE, .size = 84, .old_offset = 200}; /* 200..300 */
    static const struct sim_event refused[] = {
        {.kind = SIM_LEAVE},
        {.kind = SIM_FILE, .size = 84, .old_offset = 200},
        {.kind = SIM_FILE, .size = 84, .old_offset = 299},
        {.kind = SIM_FILE, .size = 0, .old_offset = 0},
        {.kind = SIM_FILE, .size = 685, .old_offset = 300},
        {.kind = SIM_FILE, .size = UINT64_MAX, .old_offset = 300},
        {.kind = SIM_FILE, .size = 0, .old_offset = 1000},
        {.kind = SIM_FILE, .size = 0, .old_offset = UINT64_MAX},
        {.kind = SIM_FILE, .size = UINT64_MAX, .reason = FILE_NEW},
    };
    for (size_t i = 0; i < COUNT(refused); i++)
        assert_int_equal(one_event(&index, first, refused[i]), ERR_FORMAT);
    static const struct sim_event accepted[] = {
        {.kind = SIM_FILE, .size = 684, .old_offset = 300},
        {.kind = SIM_FILE, .size = 3, .reason = FILE_SIZE, .old_offset = UINT64_MAX, .old_size = UINT64_MAX},
        {.kind = SIM_FILE, .size = 3, .reason = FILE_NON_MONOTONE, .old_offset = 200, .old_size = 84},
    };
    for (size_t i = 0; i < COUNT(accepted); i++)
        MUST(one_event(&index, first, accepted[i]));
    assert_int_equal(one_event(NULL, (struct sim_event){.kind = SIM_SPECIAL}, first), ERR_FORMAT);
    const struct lookahead_options none = {.cache_limit = 0};
    struct simulation *s;
    assert_int_equal(simulation_new(&none, NULL, NULL, &s, &error), ERR_USAGE);
    /* New bytes that do not fit behind each other into 64 bits. */
    static const struct sim_event huge = {.kind = SIM_FILE, .size = UINT64_MAX / 2, .reason = FILE_NEW};
    assert_int_equal(one_event(NULL, huge, huge), ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_14_1),
        cmocka_unit_test(test_14_2_nothing_changed_three_generations),
        cmocka_unit_test(test_14_3_hole_inside_a_held_chunk),
        cmocka_unit_test(test_14_4_cache_limit_4),
        cmocka_unit_test(test_14_8_files_ending_at_chunk_ends),
        cmocka_unit_test(test_14_9_extra_chunk_in_the_small),
        cmocka_unit_test(test_random_walks_the_ledger_is_what_the_stream_says),
        cmocka_unit_test(test_without_a_reference_everything_is_read),
        cmocka_unit_test(test_events_that_no_walk_makes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
