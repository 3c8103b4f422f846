#include "testing/testing.h"

#include "flow/ghosts_claim.h"

#include <string.h>

enum { HEADER = 16, CHUNK = 100 };

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
        s->entries[i].end = CHUNK * (i + 1);
        memset(&s->entries[i].digest, letters[i], DIGEST_SIZE);
    }
    assert_int_equal(chunk_table_new(&s->index, "x", &s->table, &error), OK);
}

struct setting {
    struct stream newest, older;
    struct chunk_parts gaps;
    struct ghost_claims claims;
};

static void begin(struct setting *s, const char *newest, const struct chunk_part *gaps, size_t count, const char *older)
{
    s->gaps = (struct chunk_parts){0};
    make(&s->newest, newest);
    make(&s->older, older);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(chunk_parts_add(&s->gaps, gaps[i], &error), OK);
    assert_int_equal(ghost_claims_begin(&s->claims, &s->older.index, "older", &s->newest.table, &s->gaps, &error), OK);
}

static void file(struct setting *s, uint64_t number, uint64_t offset, uint64_t size)
{
    assert_int_equal(ghost_claims_file(&s->claims, number, offset, size, &error), OK);
}

static void settle(struct setting *s)
{
    assert_int_equal(ghost_claims_settle(&s->claims, &s->gaps, &error), OK);
}

static void assert_share(const struct setting *s, size_t i, uint64_t number, uint64_t bytes, uint64_t header_bytes)
{
    assert_true(i < s->claims.share_count);
    assert_int_equal(s->claims.shares[i].file, number);
    assert_int_equal(s->claims.shares[i].bytes, bytes);
    assert_int_equal(s->claims.shares[i].header_bytes, header_bytes);
}

static void assert_left(const struct setting *s, size_t i, uint32_t chunk, uint32_t start, uint32_t end)
{
    assert_true(i < s->gaps.count);
    assert_int_equal(s->gaps.items[i].chunk, chunk);
    assert_int_equal(s->gaps.items[i].begin, start);
    assert_int_equal(s->gaps.items[i].end, end);
}

static void end(struct setting *s)
{
    ghost_claims_deinit(&s->claims);
    chunk_parts_deinit(&s->gaps);
    chunk_table_deinit(&s->newest.table);
    chunk_table_deinit(&s->older.table);
}

static void test_files_get_their_parts_of_the_gaps(void **state)
{
    (void)state;
    /* Chunk B: 20..40 and 50..60 unused; it is the older stream's second chunk. */
    static const struct chunk_part gaps[] = {{1, 20, 40}, {1, 50, 60}};
    struct setting s;
    begin(&s, "AB", gaps, 2, "ZBY");
    file(&s, 0, 0, 84);    /* ends with chunk Z */
    file(&s, 1, 110, 10);  /* 10..36 of B, the header up to 26: 6 bytes of it, 10 of contents */
    file(&s, 2, 136, 1);   /* 36..53: 4 header bytes in the first gap; 2 of them and the content byte in the second */
    file(&s, 3, 153, 100); /* 53.. over the end: 7 header bytes */
    settle(&s);
    assert_int_equal(s.claims.share_count, 3);
    assert_share(&s, 0, 1, 10, 6);
    assert_share(&s, 1, 2, 1, 6);
    assert_share(&s, 2, 3, 0, 7);
    assert_int_equal(s.gaps.count, 0);
    end(&s);
}

static void test_what_nobody_claims_is_left(void **state)
{
    (void)state;
    static const struct chunk_part gaps[] = {{0, 0, 30}, {0, 60, 100}, {1, 0, 100}};
    struct setting s;
    begin(&s, "AB", gaps, 3, "A");
    file(&s, 5, 20, 4);  /* 20..40 */
    file(&s, 8, 70, 10); /* 70..96 */
    settle(&s);
    assert_int_equal(s.claims.share_count, 2);
    assert_share(&s, 0, 5, 0, 10);
    assert_share(&s, 1, 8, 10, 16);
    assert_int_equal(s.gaps.count, 4);
    assert_left(&s, 0, 0, 0, 20);
    assert_left(&s, 1, 0, 60, 70);
    assert_left(&s, 2, 0, 96, 100);
    assert_left(&s, 3, 1, 0, 100);
    end(&s);
}

static void test_a_byte_goes_to_the_part_that_begins_first(void **state)
{
    (void)state;
    /* The older stream lists A three times: three files lay over the same bytes. */
    static const struct chunk_part gaps[] = {{0, 10, 90}};
    struct setting s;
    begin(&s, "A", gaps, 1, "AAA");
    file(&s, 0, 40, 24);  /* 40..80 */
    file(&s, 1, 120, 44); /* 20..80 */
    file(&s, 2, 220, 64); /* 20..100: the same beginning, later in the archive */
    settle(&s);
    assert_int_equal(s.claims.share_count, 2);
    assert_share(&s, 0, 1, 44, 16);
    assert_share(&s, 1, 2, 10, 0); /* 80..90 */
    assert_int_equal(s.gaps.count, 1);
    assert_left(&s, 0, 0, 10, 20);
    end(&s);
}

static void test_a_file_collects_from_all_its_chunks(void **state)
{
    (void)state;
    static const struct chunk_part gaps[] = {{0, 0, 100}, {1, 0, 50}, {2, 99, 100}};
    struct setting s;
    begin(&s, "ABC", gaps, 3, "CAB");
    file(&s, 3, 90, 160 - HEADER); /* 90..250: 10 bytes of C (9 header bytes before the gap), A, half of B */
    settle(&s);
    assert_int_equal(s.claims.share_count, 1);
    assert_share(&s, 0, 3, 94 + 50, 1 + 6);
    assert_int_equal(s.gaps.count, 0);
    end(&s);
}

static void test_a_chunk_of_two_sizes_is_refused(void **state)
{
    (void)state;
    static const struct chunk_part gap = {0, 0, 100};
    struct setting s;
    begin(&s, "A", &gap, 1, "A");
    ghost_claims_deinit(&s.claims);
    s.older.entries[0].end = 99;
    assert_int_equal(ghost_claims_begin(&s.claims, &s.older.index, "older", &s.newest.table, &s.gaps, &error),
                     ERR_FORMAT);
    assert_string_equal(error.text, "older: entry 0 at offset 0 lists chunk "
                                    "4141414141414141414141414141414141414141414141414141414141414141 with 99 bytes, "
                                    "the newest snapshot with 100");
    end(&s);
}

/* Random streams against a map of single bytes. */
static uint64_t seed = 3;
static uint64_t next_random(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

enum { LETTERS = 4, OLDER_CHUNKS = 8, FILES = 40 };

struct model {
    bool gap[LETTERS][CHUNK];
    uint64_t bytes[FILES], header_bytes[FILES];
    uint64_t offset[FILES], size[FILES];
    size_t files;
};

static void model_gaps(struct model *m, struct chunk_part *gaps, size_t *out_count)
{
    *out_count = 0;
    for (uint32_t c = 0; c < LETTERS; c++)
        for (uint32_t at = 0; at < CHUNK;) {
            uint32_t start = at + (uint32_t)next_random(40), stop = start + 1 + (uint32_t)next_random(40);
            if (stop > CHUNK)
                break;
            gaps[(*out_count)++] = (struct chunk_part){c, start, stop};
            memset(&m->gap[c][start], 1, stop - start);
            at = stop + 1;
        }
}

/* Every gap byte: of the files that have it, the one whose part of the chunk begins first, then the first one. */
static void model_attribute(struct model *m, const char *older)
{
    for (uint32_t c = 0; c < LETTERS; c++)
        for (uint32_t at = 0; at < CHUNK; at++) {
            size_t best = FILES;
            uint64_t best_begin = 0, best_within = 0;
            for (size_t f = 0; m->gap[c][at] && f < m->files; f++)
                for (size_t k = 0; k < OLDER_CHUNKS; k++) {
                    uint64_t start = k * CHUNK, byte = start + at;
                    uint64_t stop = m->offset[f] + HEADER + m->size[f];
                    if ((uint32_t)(older[k] - 'A') != c || byte < m->offset[f] || byte >= stop)
                        continue;
                    uint64_t part = m->offset[f] > start ? m->offset[f] - start : 0;
                    if (best == FILES || part < best_begin) {
                        best = f;
                        best_begin = part;
                        best_within = byte - m->offset[f];
                    }
                }
            if (best == FILES)
                continue;
            m->gap[c][at] = false;
            *(best_within < HEADER ? &m->header_bytes[best] : &m->bytes[best]) += 1;
        }
}

static void check_random_streams(void)
{
    struct setting s;
    struct model m = {0};
    struct chunk_part gaps[LETTERS * CHUNK];
    size_t gap_count;
    char older[OLDER_CHUNKS + 1] = {0};
    for (size_t k = 0; k < OLDER_CHUNKS; k++)
        older[k] = (char)('A' + next_random(LETTERS + 1)); /* E: in no newest chunk */
    model_gaps(&m, gaps, &gap_count);
    begin(&s, "ABCD", gaps, gap_count, older);
    for (uint64_t offset = next_random(20); m.files < FILES; m.files++) {
        uint64_t size = next_random(4) ? next_random(60) : 0;
        if (offset + HEADER + size > CHUNK * OLDER_CHUNKS)
            break;
        m.offset[m.files] = offset;
        m.size[m.files] = size;
        file(&s, m.files, offset, size);
        offset += HEADER + size + (next_random(3) ? 0 : next_random(30));
    }
    settle(&s);
    model_attribute(&m, older);
    size_t share = 0;
    for (size_t f = 0; f < m.files; f++)
        if (m.bytes[f] + m.header_bytes[f] > 0)
            assert_share(&s, share++, f, m.bytes[f], m.header_bytes[f]);
    assert_int_equal(s.claims.share_count, share);
    for (size_t i = 0; i < s.gaps.count; i++)
        for (uint32_t at = s.gaps.items[i].begin; at < s.gaps.items[i].end; at++) {
            assert_true(m.gap[s.gaps.items[i].chunk][at]);
            m.gap[s.gaps.items[i].chunk][at] = false;
        }
    for (size_t i = 0; i < LETTERS * CHUNK; i++)
        assert_false(m.gap[i / CHUNK][i % CHUNK]);
    end(&s);
}

static void test_random_streams_equal_a_map_of_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < 3000; i++)
        check_random_streams();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_get_their_parts_of_the_gaps),
        cmocka_unit_test(test_what_nobody_claims_is_left),
        cmocka_unit_test(test_a_byte_goes_to_the_part_that_begins_first),
        cmocka_unit_test(test_a_file_collects_from_all_its_chunks),
        cmocka_unit_test(test_a_chunk_of_two_sizes_is_refused),
        cmocka_unit_test(test_random_streams_equal_a_map_of_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
