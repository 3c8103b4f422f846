/* Order and balance of what the cache emits; the worked examples are in examples_test.c. A tree is a word of letters:
 *   ( ) directory begin and end   s special file   r reusable, in step with the old stream   h the same behind a hole
 *   c changed   l later name of a file with several links */
#include "testing/testing.h"

#include "detect/lookahead.h"

#include <string.h>

enum { FILE_BYTES = 984, RANGE = 1000, CHUNK = 10000, CHUNKS = 40, LOG_MAX = 4096 };

struct recorder {
    char log[LOG_MAX];
    size_t used;
    uint64_t position;
    uint64_t last_reference;
    uint64_t injected_entries[CHUNKS * 4];
    size_t injected_count;
    size_t live; /* entries handed in and not yet back */
    size_t fail_at;
    size_t calls;
    bool link_ready;
};

static enum status note(struct recorder *r, char letter, struct error *err)
{
    r->calls++;
    if (r->fail_at && r->calls == r->fail_at)
        return fail(err, ERR_IO, "planned failure");
    assert_true(r->used + 1 < LOG_MAX);
    r->log[r->used++] = letter;
    return OK;
}

static enum status on_encode(void *context, void *entry, enum file_reason reason, struct error *err)
{
    (void)reason;
    struct recorder *r = context;
    free(entry);
    r->live--;
    TRY(note(r, 'E', err));
    r->last_reference = r->position;
    r->position += RANGE;
    return OK;
}
static enum status on_reference(void *context, void *entry, uint64_t offset, uint64_t old, struct error *err)
{
    (void)old;
    struct recorder *r = context;
    free(entry);
    r->live--;
    assert_true(offset >= r->position && offset > r->last_reference);
    r->last_reference = offset;
    return note(r, 'R', err);
}
static enum status on_link(void *context, void *entry, struct error *err)
{
    struct recorder *r = context;
    free(entry);
    r->live--;
    return note(r, 'L', err);
}
static bool on_link_ready(void *context, const void *entry)
{
    (void)entry;
    return ((struct recorder *)context)->link_ready;
}
static enum status on_special(void *context, void *entry, struct error *err)
{
    struct recorder *r = context;
    free(entry);
    r->live--;
    return note(r, 'S', err);
}
static enum status on_begin(void *context, void *entry, struct error *err)
{
    struct recorder *r = context;
    free(entry);
    r->live--;
    return note(r, '(', err);
}
static enum status on_end(void *context, struct error *err)
{
    return note(context, ')', err);
}
static enum status on_inject(void *context, uint64_t boundary, const struct reuse_chunk *chunks, size_t count,
                             uint64_t size, struct error *err)
{
    struct recorder *r = context;
    assert_int_equal(boundary, r->position);
    assert_in_range(count, 1, INJECTION_BATCH_MAX);
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        r->injected_entries[r->injected_count++] = chunks[i].entry;
        sum += chunks[i].size;
        assert_true(chunks[i].padding <= chunks[i].size);
    }
    assert_int_equal(sum, size);
    r->position += size;
    return note(r, 'i', err);
}
static uint64_t on_position(void *context)
{
    return ((struct recorder *)context)->position;
}
static void on_drop(void *context, void *entry)
{
    free(entry);
    ((struct recorder *)context)->live--;
}

static const struct lookahead_ops ops = {
    .encode = on_encode,
    .reference = on_reference,
    .link = on_link,
    .link_ready = on_link_ready,
    .special = on_special,
    .directory_begin = on_begin,
    .directory_end = on_end,
    .inject = on_inject,
    .payload_position = on_position,
    .drop = on_drop,
};

static struct index_entry entries[CHUNKS];
static struct dynamic_index previous = {.entries = entries, .count = CHUNKS};

static void make_index(void)
{
    for (size_t i = 0; i < CHUNKS; i++)
        entries[i].end = CHUNK * (i + 1);
}

static void *new_entry(struct recorder *r)
{
    r->live++;
    return malloc(1);
}

/* Files begin at old offset `start`. */
static enum status walk(struct recorder *r, const char *tree, uint64_t start, struct lookahead_options options,
                        const struct dynamic_index *index, struct lookahead_counters *out)
{
    struct error err = {0};
    struct lookahead *l;
    r->position = 16;
    r->link_ready = true;
    assert_int_equal(lookahead_new(&options, index, &ops, r, &l, &err), OK);
    uint64_t old = start;
    enum status status = OK;
    for (const char *t = tree; *t && status == OK; t++) {
        switch (*t) {
        case '(': status = lookahead_directory_begin(l, new_entry(r), &err); break;
        case ')': status = lookahead_directory_end(l, &err); break;
        case 's': status = lookahead_special(l, new_entry(r), &err); break;
        case 'l': status = lookahead_link(l, new_entry(r), &err); break;
        case 'c':
            old += RANGE;
            status = lookahead_changed(l, new_entry(r), FILE_BYTES, FILE_MTIME, 0, &err);
            break;
        case 'h': old += RANGE; /* fall through */
        case 'r':
            status = index ? lookahead_reusable(l, new_entry(r), old, old + RANGE, &err)
                           : lookahead_changed(l, new_entry(r), FILE_BYTES, FILE_NO_REFERENCE, 0, &err);
            old += RANGE;
            break;
        default: assert_true(false);
        }
    }
    if (status == OK)
        status = lookahead_finish(l, &err);
    if (out)
        *out = *lookahead_count(l);
    lookahead_free(l);
    r->log[r->used] = '\0';
    assert_int_equal(r->live, 0); /* every entry came back exactly once, also after a failure */
    return status;
}

static const struct lookahead_options roomy = {.profile = PROFILE_TIGHT, .threshold_ppm = PPM_ONE, .cache_limit = 1000};

static void test_without_reference_everything_goes_at_once(void **state)
{
    (void)state;
    struct recorder r = {0};
    assert_int_equal(walk(&r, "r(s(rc))l", 0, roomy, NULL, NULL), OK);
    assert_string_equal(r.log, "E(S(EE))L");
}

static void test_special_and_directories_wait_behind_cached_files(void **state)
{
    (void)state;
    struct recorder r = {0};
    assert_int_equal(walk(&r, "(s)r(sr)c", 0, roomy, &previous, NULL), OK);
    assert_string_equal(r.log, "(S)R(SR)iE");
}

static void test_directory_begun_in_the_archive_may_end_in_the_cache(void **state)
{
    (void)state;
    struct recorder r = {0};
    assert_int_equal(walk(&r, "(r)(rc)r", 0, roomy, &previous, NULL), OK);
    assert_string_equal(r.log, "(R)(RiE)Ri");
}

/* Every entry comes out once, in order, directories balanced, whatever the limit. */
static void test_order_and_balance_at_every_cache_limit(void **state)
{
    (void)state;
    static const char tree[] = "(rrs(rh)(c)r)(l(r)h)((s)(rr)rh)rrsc(rl)r";
    static const char flat[] = "(ffs(ff)(f)f)(f(f)f)((s)(ff)ff)ffsf(ff)f";
    for (int profile = PROFILE_TIGHT; profile <= PROFILE_UPSTREAM; profile++) {
        for (uint32_t ppm = 0; ppm <= PPM_ONE; ppm += PPM_ONE / 4) {
            for (size_t limit = 1; limit <= 40; limit++) {
                struct recorder r = {0};
                struct lookahead_options options = {
                    .profile = (enum reuse_profile)profile, .threshold_ppm = ppm, .cache_limit = limit};
                assert_int_equal(walk(&r, tree, 16, options, &previous, NULL), OK);
                char seen[LOG_MAX];
                size_t used = 0;
                for (size_t i = 0; i < r.used; i++)
                    if (r.log[i] != 'i')
                        seen[used++] = strchr("ERL", r.log[i]) ? 'f' : r.log[i] == 'S' ? 's' : r.log[i];
                seen[used] = '\0';
                assert_string_equal(seen, flat);
            }
        }
    }
}

/* D12: a directory or a special file right after a cache-full flush must not list the shared chunk twice. */
static void test_held_chunk_outlives_directories_and_special_files(void **state)
{
    (void)state;
    struct recorder tight = {0}, upstream = {0};
    struct lookahead_options options = {.profile = PROFILE_TIGHT, .threshold_ppm = PPM_ONE, .cache_limit = 2};
    assert_int_equal(walk(&tight, "rr(sr)r", 0, options, &previous, NULL), OK);
    assert_int_equal(tight.injected_count, 1);
    options.profile = PROFILE_UPSTREAM;
    assert_int_equal(walk(&upstream, "rr(sr)r", 0, options, &previous, NULL), OK);
    assert_true(upstream.injected_count > 1);
}

static void test_hole_within_one_chunk_lists_it_once(void **state)
{
    (void)state;
    struct recorder r = {0};
    struct lookahead_counters counters;
    assert_int_equal(walk(&r, "rhhhr", 0, roomy, &previous, &counters), OK);
    assert_int_equal(r.injected_count, 1);
    assert_int_equal(counters.injected_bytes, CHUNK);
}

static void test_held_chunk_goes_in_front_of_raw_bytes(void **state)
{
    (void)state;
    struct recorder r = {0};
    assert_int_equal(walk(&r, "rhcr", 0, roomy, &previous, NULL), OK);
    assert_string_equal(r.log, "RRiERi"); /* one listing before the changed file, one behind: the same chunk twice */
    assert_int_equal(r.injected_count, 2);
}

static void test_threshold_zero_re_encodes_any_padded_range(void **state)
{
    (void)state;
    struct recorder r = {0};
    struct lookahead_counters counters;
    struct lookahead_options options = {.profile = PROFILE_TIGHT, .threshold_ppm = 0, .cache_limit = 1000};
    assert_int_equal(walk(&r, "rrrrrrrrrr", 0, options, &previous, &counters), OK); /* exactly one chunk */
    assert_string_equal(r.log, "RRRRRRRRRRi");
    r = (struct recorder){0};
    assert_int_equal(walk(&r, "rrrrrrrrr", 0, options, &previous, &counters), OK);
    assert_string_equal(r.log, "EEEEEEEEE");
    assert_int_equal(counters.rejected_ranges, 1);
}

static void test_tight_lists_no_unreferenced_chunk(void **state)
{
    (void)state;
    struct recorder r = {0};
    struct lookahead_counters counters;
    assert_int_equal(walk(&r, "rrrrrrrrrrcrrrrrrrrrhhhhhrrrr", 0, roomy, &previous, &counters), OK);
    assert_int_equal(counters.unreferenced_chunks, 0);
    struct lookahead_options options = {.profile = PROFILE_UPSTREAM, .threshold_ppm = PPM_ONE, .cache_limit = 1000};
    r = (struct recorder){0};
    assert_int_equal(walk(&r, "rrrrrrrrrrcrrrrrrrrrhhhhhrrrr", 0, options, &previous, &counters), OK);
    assert_in_range(counters.unreferenced_chunks, 1, counters.flushes);
}

static void test_lost_first_name_makes_the_next_one_carry_the_contents(void **state)
{
    (void)state;
    struct recorder r = {0};
    struct error err = {0};
    struct lookahead *l;
    r.position = 16;
    assert_int_equal(lookahead_new(&roomy, &previous, &ops, &r, &l, &err), OK);
    assert_int_equal(lookahead_link(l, new_entry(&r), &err), OK); /* link_ready says no */
    assert_int_equal(lookahead_finish(l, &err), OK);
    lookahead_free(l);
    r.log[r.used] = '\0';
    assert_string_equal(r.log, "E");
    assert_int_equal(r.live, 0);
}

/* Fails the n-th call until the walk succeeds: walk() checks that nothing is lost or freed twice. */
static void test_failure_at_every_call_returns_every_entry(void **state)
{
    (void)state;
    for (size_t limit = 1; limit <= 8; limit += 7) {
        struct lookahead_options options = {.profile = PROFILE_TIGHT, .threshold_ppm = PPM_ONE, .cache_limit = limit};
        for (size_t n = 1;; n++) {
            struct recorder r = {.fail_at = n};
            enum status status = walk(&r, "(rrs(rh)(c)r)(l(r)h)c", 16, options, &previous, NULL);
            if (status == OK) {
                assert_true(n > 15);
                break;
            }
            assert_int_equal(status, ERR_IO);
        }
    }
}

static int setup(void **state)
{
    (void)state;
    make_index();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_reference_everything_goes_at_once),
        cmocka_unit_test(test_special_and_directories_wait_behind_cached_files),
        cmocka_unit_test(test_directory_begun_in_the_archive_may_end_in_the_cache),
        cmocka_unit_test(test_order_and_balance_at_every_cache_limit),
        cmocka_unit_test(test_held_chunk_outlives_directories_and_special_files),
        cmocka_unit_test(test_hole_within_one_chunk_lists_it_once),
        cmocka_unit_test(test_held_chunk_goes_in_front_of_raw_bytes),
        cmocka_unit_test(test_threshold_zero_re_encodes_any_padded_range),
        cmocka_unit_test(test_tight_lists_no_unreferenced_chunk),
        cmocka_unit_test(test_lost_first_name_makes_the_next_one_carry_the_contents),
        cmocka_unit_test(test_failure_at_every_call_returns_every_entry),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
