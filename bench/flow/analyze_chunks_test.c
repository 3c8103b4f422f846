#include "testing/testing.h"

#include "flow/analyze_chunks.h"

#include <string.h>

enum { ENTRIES_MAX = 64 };

static struct error error;

struct stream {
    struct index_entry entries[ENTRIES_MAX];
    struct dynamic_index index;
};

/* "A10 B5 A10": names and sizes. */
static void make(struct stream *s, const char *text)
{
    *s = (struct stream){.index.entries = s->entries};
    while (*text) {
        char *end;
        char name = *text;
        uint64_t size = strtoull(text + 1, &end, 10);
        s->entries[s->index.count].end = (s->index.count ? s->entries[s->index.count - 1].end : 0) + size;
        memset(&s->entries[s->index.count++].digest, name, DIGEST_SIZE);
        text = *end == ' ' ? end + 1 : end;
    }
}

static void test_chunks_are_numbered_by_digest_and_counted(void **state)
{
    (void)state;
    struct stream s;
    CLEANUP(chunk_table_deinit) struct chunk_table t = {0};
    make(&s, "C30 A10 B20 A10 C30 A10");
    assert_int_equal(chunk_table_new(&s.index, "x", &t, &error), OK);
    assert_int_equal(t.count, 3);
    static const uint32_t numbers[] = {2, 0, 1, 0, 2, 0}, listings[] = {3, 1, 2}, sizes[] = {10, 20, 30};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(t.numbers[i], numbers[i]);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(t.chunks[i].listings, listings[i]);
        assert_int_equal(t.chunks[i].size, sizes[i]);
    }
    assert_int_equal(chunk_table_bytes(&t), 60);
    struct digest d;
    uint32_t number;
    memset(&d, 'B', sizeof d);
    assert_true(chunk_table_find(&t, &d, &number));
    assert_int_equal(number, 1);
    memset(&d, 'D', sizeof d);
    assert_false(chunk_table_find(&t, &d, &number));
}

static void test_hostile_sizes_are_refused(void **state)
{
    (void)state;
    struct stream s;
    struct chunk_table t;
    make(&s, "A10 B5 A11");
    assert_int_equal(chunk_table_new(&s.index, "x", &t, &error), ERR_FORMAT);
    assert_string_equal(error.text, "x: entry 2 at offset 15 lists chunk "
                                    "4141414141414141414141414141414141414141414141414141414141414141 with 11 bytes, "
                                    "an entry before it with 10");
    make(&s, "A10 B16777217");
    assert_int_equal(chunk_table_new(&s.index, "x", &t, &error), ERR_FORMAT);
    assert_string_equal(error.text, "x: entry 1 at offset 10 is of 16777217 bytes: a chunk has at most 16777216");
    make(&s, "A10 B16777216");
    assert_int_equal(chunk_table_new(&s.index, "x", &t, &error), OK);
    chunk_table_deinit(&t);
}

static void assert_missing(const char *a, const char *b, uint64_t chunks, uint64_t bytes)
{
    struct stream x, y;
    CLEANUP(chunk_table_deinit) struct chunk_table s = {0};
    CLEANUP(chunk_table_deinit) struct chunk_table t = {0};
    uint64_t found_chunks, found_bytes;
    make(&x, a);
    make(&y, b);
    assert_int_equal(chunk_table_new(&x.index, "x", &s, &error), OK);
    assert_int_equal(chunk_table_new(&y.index, "y", &t, &error), OK);
    chunk_table_missing(&s, &t, &found_chunks, &found_bytes);
    assert_int_equal(found_chunks, chunks);
    assert_int_equal(found_bytes, bytes);
}

static void test_what_one_table_has_and_the_other_not(void **state)
{
    (void)state;
    assert_missing("A1 B2 C3", "A1 B2 C3", 0, 0);
    assert_missing("A1 B2 A1 C3", "B2", 2, 4);
    assert_missing("B2", "A1 B2 A1 C3", 0, 0);
    assert_missing("A1 D4 D4", "B2 C3", 2, 5);
}

/* `used`: "0-4 7-20". `wanted`: gaps as "A2-5". */
static void assert_gaps(const char *stream, const char *used, const char *wanted)
{
    struct stream s;
    CLEANUP(chunk_table_deinit) struct chunk_table t = {0};
    CLEANUP(chunk_usage_deinit) struct chunk_usage u = {0};
    CLEANUP(chunk_parts_deinit) struct chunk_parts gaps = {0};
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
    make(&s, stream);
    assert_int_equal(chunk_table_new(&s.index, "x", &t, &error), OK);
    assert_int_equal(chunk_usage_begin(&u, &s.index, &t, &error), OK);
    while (*used) {
        char *end;
        uint64_t from = strtoull(used, &end, 10), to = strtoull(end + 1, &end, 10);
        assert_int_equal(chunk_usage_stretch(&u, from, to, &error), OK);
        used = *end == ' ' ? end + 1 : end;
    }
    assert_int_equal(chunk_usage_gaps(&u, &gaps, &error), OK);
    uint64_t bytes = 0;
    for (size_t i = 0; i < gaps.count; i++) {
        const struct chunk_part *g = &gaps.items[i];
        assert_int_equal(buffer_printf(&text, &error, "%s%c%u-%u", i ? " " : "", t.chunks[g->chunk].digest.bytes[0],
                                       g->begin, g->end),
                         OK);
        bytes += g->end - g->begin;
    }
    assert_int_equal(buffer_append_u8(&text, 0, &error), OK);
    assert_string_equal((char *)text.data, wanted);
    assert_int_equal(chunk_parts_bytes(&gaps), bytes);
}

static void test_gaps_are_what_no_listing_uses(void **state)
{
    (void)state;
    assert_gaps("A10 B10", "0-20", "");
    assert_gaps("A10 B10", "", "A0-10 B0-10");
    assert_gaps("A10 B10", "3-5 8-12", "A0-3 A5-8 B2-10");
    /* One listing as a whole is enough, before or after a partial one. */
    assert_gaps("A10 B10 A10", "2-20", "A0-2");
    assert_gaps("A10 B10 A10", "2-30", "");
    assert_gaps("A10 B10 A10", "0-12 25-27", "B2-10");
    /* The union of several: 0-4, 2-6, 8-9. */
    assert_gaps("A10 A10 A10", "0-4 12-16 28-29", "A6-8 A9-10");
    /* One within another: 0-8, 2-4. */
    assert_gaps("A10 A10", "0-8 12-14", "A8-10");
    /* Dead in one listing, used in the other. */
    assert_gaps("A10 B10 A10", "10-20 23-30", "A0-3");
    /* One stretch over many chunks. */
    assert_gaps("A10 B10 C10 D10", "5-35", "A0-5 D5-10");
}

static void test_parts_are_found_by_chunk_and_offset(void **state)
{
    (void)state;
    struct chunk_part items[] = {{1, 0, 4}, {1, 6, 9}, {3, 2, 5}};
    const struct chunk_parts p = {.items = items, .count = 3};
    static const uint32_t cases[][3] = {{0, 0, 0}, {1, 0, 0}, {1, 3, 0}, {1, 4, 1}, {1, 8, 1},
                                        {1, 9, 2}, {2, 0, 2}, {3, 0, 2}, {3, 4, 2}, {3, 5, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(chunk_parts_find(&p, cases[i][0], cases[i][1]), cases[i][2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_are_numbered_by_digest_and_counted),
        cmocka_unit_test(test_hostile_sizes_are_refused),
        cmocka_unit_test(test_what_one_table_has_and_the_other_not),
        cmocka_unit_test(test_gaps_are_what_no_listing_uses),
        cmocka_unit_test(test_parts_are_found_by_chunk_and_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
