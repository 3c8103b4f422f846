#include "testing/testing.h"

#include "flow/amplification.h"

#include <string.h>

enum { HEADER = 16 };

static struct error error;

struct stream {
    struct index_entry entries[64];
    struct dynamic_index index;
    struct chunk_table table;
};

/* Chunks of 100 bytes, one per letter. */
static void make(struct stream *s, const char *letters)
{
    *s = (struct stream){.index = {.entries = s->entries, .count = strlen(letters)}};
    for (size_t i = 0; letters[i]; i++) {
        s->entries[i].end = 100 * (i + 1);
        memset(&s->entries[i].digest, letters[i], DIGEST_SIZE);
    }
    assert_int_equal(chunk_table_new(&s->index, "x", &s->table, &error), OK);
}

static struct amplification *begin(const struct stream *s, const uint64_t *lru, size_t count)
{
    struct amplification *a;
    assert_int_equal(amplification_new(&s->index, &s->table, lru, count, &a, &error), OK);
    return a;
}

static void test_a_cache_forgets_what_was_used_longest_ago(void **state)
{
    (void)state;
    static const uint64_t lru[] = {1, 2, 3, 100};
    struct stream s;
    struct amplification_result r;
    make(&s, "ABACBADAB");
    struct amplification *a = begin(&s, lru, 4);
    /* One file per entry: A B A C B A D A B in turn. */
    for (uint64_t i = 0; i < 9; i++)
        assert_int_equal(amplification_file(a, 100 * i, 100 - HEADER, &error), OK);
    amplification_finish(a, &r);
    assert_int_equal(r.full_count, 4);
    assert_int_equal(r.full[0].fetched_chunks, 9);
    assert_int_equal(r.full[1].fetched_chunks, 7); /* the second A and the last but one are still there */
    assert_int_equal(r.full[2].fetched_chunks, 4); /* D drops C: A and B were used since */
    assert_int_equal(r.full[3].fetched_chunks, 4);
    assert_int_equal(r.full[3].fetched_bytes, 400);
    assert_int_equal(r.full[1].chunks_kept, 2);
    assert_int_equal(r.restored_bytes, 9 * (100 - HEADER));
    amplification_free(a);
    chunk_table_deinit(&s.table);
}

/* Every access sequence of a small alphabet against a list that is searched. */
static void test_caches_equal_a_plain_list(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 300; round++) {
        char letters[61] = {0};
        for (int i = 0; i < 60; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            letters[i] = (char)('A' + (seed >> 33) % 7);
        }
        static const uint64_t lru[] = {1, 2, 4, 6};
        struct stream s;
        struct amplification_result r;
        make(&s, letters);
        struct amplification *a = begin(&s, lru, 4);
        for (uint64_t i = 0; i < 60; i++)
            assert_int_equal(amplification_file(a, 100 * i, 100 - HEADER, &error), OK);
        amplification_finish(a, &r);
        for (size_t c = 0; c < 4; c++) {
            char kept[8] = "";
            uint64_t fetched = 0;
            for (int i = 0; i < 60; i++) {
                char *at = strchr(kept, letters[i]);
                size_t size = strlen(kept);
                fetched += !at;
                if (!at)
                    at = kept + (size < lru[c] ? size : lru[c] - 1); /* a free place, or the last one's */
                memmove(kept + 1, kept, (size_t)(at - kept));
                kept[0] = letters[i];
            }
            assert_int_equal(r.full[c].fetched_chunks, fetched);
        }
        amplification_free(a);
        chunk_table_deinit(&s.table);
    }
}

static void test_single_files_are_ranked(void **state)
{
    (void)state;
    struct stream s;
    struct amplification_result r;
    make(&s, "ABCDEFGHIJ");
    struct amplification *a = begin(&s, NULL, 0);
    /* 0: no contents: read in a full restore, but no ratio. 34 + 16 = 50: within one chunk. The last: four entries. */
    assert_int_equal(amplification_file(a, 0, 0, &error), OK);
    assert_int_equal(amplification_file(a, 16, 34, &error), OK);   /* 100 / 34 */
    assert_int_equal(amplification_file(a, 66, 34, &error), OK);   /* ends with its second chunk's 16th byte */
    assert_int_equal(amplification_file(a, 116, 68, &error), OK);  /* ends where the chunk ends */
    assert_int_equal(amplification_file(a, 200, 370, &error), OK); /* 400 / 370 */
    amplification_finish(a, &r);
    assert_int_equal(r.files, 4);
    assert_int_equal(r.restored_bytes, 34 + 34 + 68 + 370);
    assert_int_equal(r.touched_entries, 1 + 2 + 1 + 4);
    /* Sorted: 400/370, 100/68, 100/34, 200/34. */
    assert_int_equal(r.fetched_ppm.median, 1470588);
    assert_int_equal(r.fetched_ppm.p95, 5882352);
    assert_int_equal(r.fetched_ppm.max, 5882352);
    assert_int_equal(r.file_entries.median, 1);
    assert_int_equal(r.file_entries.max, 4);
    amplification_free(a);
    chunk_table_deinit(&s.table);
}

static void test_percentiles_are_the_nearest_rank(void **state)
{
    (void)state;
    struct stream s;
    struct amplification_result r;
    make(&s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst");
    struct amplification *a = begin(&s, NULL, 0);
    for (uint64_t i = 0; i < 20; i++) /* i + 1 entries each */
        assert_int_equal(amplification_file(a, 0, 100 * (i + 1) - HEADER, &error), OK);
    amplification_finish(a, &r);
    assert_int_equal(r.file_entries.median, 10);
    assert_int_equal(r.file_entries.p95, 19);
    assert_int_equal(r.file_entries.max, 20);
    amplification_free(a);
    chunk_table_deinit(&s.table);
}

static void test_ratios_are_exact(void **state)
{
    (void)state;
    assert_int_equal(ratio_ppm(1, 3), 333333);
    assert_int_equal(ratio_ppm(0, 0), 0);
    assert_int_equal(ratio_ppm(5, 0), 0);
    assert_true(ratio_ppm(UINT64_MAX, UINT64_MAX) == 1000000);
    assert_true(ratio_ppm(UINT64_MAX, 1000000) == UINT64_MAX);
    assert_true(ratio_ppm(UINT64_MAX, 999999) == UINT64_MAX);
    assert_true(ratio_ppm(UINT64_MAX, 2000000) == UINT64_MAX / 2);
}

static void test_cache_sizes_are_checked(void **state)
{
    (void)state;
    static const uint64_t bad[] = {1, 0}, large[] = {LRU_CHUNKS_MAX + 1};
    static const uint64_t many[LRU_COUNT_MAX + 1] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    struct stream s;
    struct amplification *a;
    make(&s, "AB");
    assert_int_equal(amplification_new(&s.index, &s.table, bad, 2, &a, &error), ERR_USAGE);
    assert_int_equal(amplification_new(&s.index, &s.table, large, 1, &a, &error), ERR_USAGE);
    assert_int_equal(amplification_new(&s.index, &s.table, many, LRU_COUNT_MAX + 1, &a, &error), ERR_USAGE);
    chunk_table_deinit(&s.table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cache_forgets_what_was_used_longest_ago),
        cmocka_unit_test(test_caches_equal_a_plain_list),
        cmocka_unit_test(test_single_files_are_ranked),
        cmocka_unit_test(test_percentiles_are_the_nearest_rank),
        cmocka_unit_test(test_ratios_are_exact),
        cmocka_unit_test(test_cache_sizes_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
