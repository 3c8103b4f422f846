#include "testing/testing.h"

#include "chunk/chunker.h"

#include "chunk/buzhash_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ENDS_MAX = 8192 };

struct ends {
    uint64_t end[ENDS_MAX];
    size_t count;
};

static void add_end(struct ends *e, uint64_t end)
{
    assert_true(e->count < ENDS_MAX);
    e->end[e->count++] = end;
}

/* The chunk stream of chunking.md 3.2 over blocks of `feed` bytes. */
static void cut(size_t average, const uint8_t *data, size_t size, size_t feed, struct ends *out)
{
    struct chunker c;
    assert_int_equal(chunker_init(&c, average, NULL), OK);
    out->count = 0;
    size_t chunk_begin = 0;
    for (size_t at = 0; at < size;) {
        size_t block_end = size - at < feed ? size : at + feed;
        while (at < block_end) {
            size_t p = chunker_scan(&c, data + at, block_end - at);
            at = p ? at + p : block_end;
            if (p) {
                add_end(out, at);
                chunk_begin = at;
            }
        }
    }
    if (chunk_begin < size)
        add_end(out, size);
}

/* The rules of chunking.md 3, byte by byte. */
static void cut_naively(size_t average, const uint8_t *data, size_t size, struct ends *out)
{
    uint32_t mask = (uint32_t)(2 * average - 1);
    uint8_t window[64] = {0};
    uint32_t h = 0;
    size_t n = 0;
    out->count = 0;
    for (size_t i = 0; i < size; i++) {
        h = h << 1 | h >> 31;
        if (n < 64) {
            window[n++] = data[i];
            h ^= buzhash_table[data[i]];
            continue;
        }
        h ^= buzhash_table[window[n % 64]] ^ buzhash_table[data[i]];
        window[n % 64] = data[i];
        n++;
        if (n >= average * 4 || (n >= average / 4 && (h & mask) >= mask - 2)) {
            add_end(out, i + 1);
            h = 0;
            n = 0;
        }
    }
    if (n > 0)
        add_end(out, size);
}

static const char *list_digest(const struct ends *e)
{
    static char text[ENDS_MAX * 12];
    size_t size = 0;
    for (size_t i = 0; i < e->count; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, i ? ",%" PRIu64 : "%" PRIu64, e->end[i]);
    return sha256_hex(text, size);
}

struct vector {
    const char *name;
    size_t average;
    size_t chunk_count;
    uint64_t sum;
    const char *list;
    uint64_t first[8]; /* the beginning of the list, zero after its end */
};

/* Every feed size, small ones too, gives the list. */
static void check_vector(const struct vector *v, uint8_t *data, size_t size)
{
    static const size_t feeds[] = {1, 61, 64, 65, 4096, 262144, SIZE_MAX};
    for (size_t f = 0; f < sizeof feeds / sizeof feeds[0]; f++) {
        static struct ends e;
        cut(v->average, data, size, feeds[f], &e);
        uint64_t sum = 0;
        for (size_t i = 0; i < e.count; i++)
            sum += e.end[i];
        for (size_t i = 0; i < 8 && i < e.count && v->first[i]; i++)
            assert_int_equal(e.end[i], v->first[i]);
        assert_int_equal(e.count, v->chunk_count);
        assert_int_equal(sum, v->sum);
        assert_string_equal(list_digest(&e), v->list);
    }
    free(data);
}

static void test_generators_are_those_of_the_specification(void **state)
{
    (void)state;
    uint8_t *data = make_lcg(1 << 20, 1);
    assert_true(hex_equals("d659cce65af39af629bafbf27c20ba0c", data, 16));
    assert_string_equal(sha256_hex(data, 1 << 20), "283c081934a0688417faef11c50c2c7f6e948df20123407b7faba71cf610f7bf");
    free(data);
}

static void test_vectors_of_random_data(void **state)
{
    (void)state;
    static const struct vector shortest = {
        "lcg:16384:1", 65536, 1, 16384, "ca902d4a8acbdea132ada81a004081f51c5c9279d409cee414de5a39a139fab6", {16384}};
    static const struct vector two = {
        "lcg:70000:7", 65536, 2, 98110, "8467bf810753302f5aa1132cb2a9aeabd422d1d23cfff4464a4e2d2d8325545e",
        {28110, 70000}};
    static const struct vector one_mib = {"lcg:1048576:1",
                                          65536,
                                          18,
                                          10276476,
                                          "56efaf821b9a850c35579c548776a0920dcfa25ddc97b3a3b66ebce09427b5ca",
                                          {23672, 96061, 169268, 245395, 301757, 395236, 428947, 463595}};
    static const struct vector four_mib = {"lcg:4194304:1",
                                           65536,
                                           74,
                                           153602603,
                                           "a33584a8104722820672aad228361c27f9d204094fcda62162bf1a7b214f5e5f",
                                           {23672, 96061, 169268, 245395, 301757, 395236}};
    static const struct vector eight_mib = {"lcg:8388608:42",
                                            524288,
                                            23,
                                            102159333,
                                            "34d8674a22be3ec29e759385287a046799d906609c0f7e84c3312b75585bc149",
                                            {214387, 512035, 678637, 1381427, 1554164, 2073348, 2530723, 3123613}};
    static const struct vector default_average = {
        "lcg:67108864:1",
        4194304,
        20,
        688999281,
        "6f957bc4680be0f7fd98aaa8f8eda23237c67ac61b6e7f58b24966514e393464",
        {2072267, 6724091, 11759661, 13745581, 16154061, 19833531, 21155092, 25506285}};
    check_vector(&shortest, make_lcg(16384, 1), 16384);
    check_vector(&two, make_lcg(70000, 7), 70000);
    check_vector(&one_mib, make_lcg(1048576, 1), 1048576);
    check_vector(&four_mib, make_lcg(4194304, 1), 4194304);
    check_vector(&eight_mib, make_lcg(8388608, 42), 8388608);
    check_vector(&default_average, make_lcg(67108864, 1), 67108864);
}

static void test_vectors_of_regular_data(void **state)
{
    (void)state;
    static const struct vector counter = {"cnt:1048576",
                                          65536,
                                          5,
                                          3194948,
                                          "589e9e76aa254f4f05b884e0e5984fbbd928cdd719b60bb65457b8e72836e6c7",
                                          {143377, 405521, 667665, 929809, 1048576}};
    static const struct vector no_cuts = {"const, mod",
                                          65536,
                                          4,
                                          2621440,
                                          "3a0b520b39dd9e32c297640f5871a43776845d18e8301fd636fb7e739734bd40",
                                          {262144, 524288, 786432, 1048576}};
    check_vector(&counter, make_counter(1048576), 1048576);
    check_vector(&no_cuts, make_constant(1048576, 0), 1048576);
    check_vector(&no_cuts, make_constant(1048576, 255), 1048576);
    check_vector(&no_cuts, make_mod(1048576, 251), 1048576);
}

/* Hash values are seen through the state: 64 bytes fill the window of a chunker whose smallest chunk is the window. */
static uint32_t hash_after(const uint8_t *data, size_t size)
{
    struct chunker c;
    assert_int_equal(chunker_init(&c, 256, NULL), OK);
    assert_int_equal(chunker_scan(&c, data, size), 0);
    return c.hash;
}

static uint32_t hash_by_closed_form(const uint8_t *window)
{
    uint32_t h = 0;
    for (unsigned j = 0; j < 64; j++) {
        uint32_t t = buzhash_table[window[63 - j]];
        h ^= j % 32 ? t << j % 32 | t >> (32 - j % 32) : t;
    }
    return h;
}

static void test_hash_values(void **state)
{
    (void)state;
    uint8_t data[65];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    assert_int_equal(hash_by_closed_form(data), 0xdc8b317b);
    assert_int_equal(hash_after(data, 64), 0xdc8b317b);
    assert_int_equal(hash_by_closed_form(data + 1), 0x4d0ce068);
    assert_int_equal(hash_after(data + 1, 64), 0x4d0ce068);
    assert_int_equal(hash_after(data, 65), 0x4d0ce068);
    uint8_t zeros[64] = {0};
    assert_int_equal(hash_after(zeros, 64), 0);
    assert_int_equal(
        hash_after((const uint8_t *)"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", 64), 0);
}

static uint32_t next_random(uint64_t *x)
{
    *x = *x * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(*x >> 33);
}

static void test_equals_the_byte_loop_on_random_inputs(void **state)
{
    (void)state;
    uint64_t x = 20261122;
    for (unsigned round = 0; round < 2000; round++) {
        static struct ends naive;
        static struct ends fast;
        size_t average = (size_t)256 << next_random(&x) % 6;
        size_t size = next_random(&x) % 40000;
        uint8_t *data = make_lcg(size, round);
        /* Few different bytes and copied parts: cuts at the maximum, repeated cuts, hashes near zero. */
        if (round % 4 == 1)
            for (size_t i = 0; i < size; i++)
                data[i] &= 1;
        if (round % 4 == 2 && size > 2000)
            memset(data + size / 3, (int)round, size / 4);
        cut_naively(average, data, size, &naive);
        cut(average, data, size, round % 2 ? SIZE_MAX : 1 + next_random(&x) % 300, &fast);
        assert_int_equal(fast.count, naive.count);
        assert_memory_equal(fast.end, naive.end, naive.count * sizeof naive.end[0]);
        free(data);
    }
}

static void test_parts_of_random_size_do_not_matter(void **state)
{
    (void)state;
    enum { SIZE = 300000 };
    uint8_t *data = make_lcg(SIZE, 5);
    static struct ends naive;
    for (size_t average = 256; average <= 65536; average *= 2) {
        cut_naively(average, data, SIZE, &naive);
        uint64_t x = average;
        for (unsigned round = 0; round < 10; round++) {
            struct chunker c;
            assert_int_equal(chunker_init(&c, average, NULL), OK);
            size_t cuts = 0;
            for (size_t at = 0; at < SIZE;) {
                size_t part = next_random(&x) % (round % 2 ? 200 : 20000);
                if (part > SIZE - at)
                    part = SIZE - at;
                size_t p = chunker_scan(&c, data + at, part);
                at += p ? p : part;
                if (p) {
                    assert_true(p <= part);
                    assert_int_equal(at, naive.end[cuts]);
                    cuts++;
                }
            }
            assert_true(cuts == naive.count || cuts + 1 == naive.count);
        }
    }
    free(data);
}

static void test_sizes_are_within_minimum_and_maximum(void **state)
{
    (void)state;
    enum { SIZE = 2000000 };
    uint8_t *data = make_lcg(SIZE, 3);
    static struct ends e;
    for (size_t average = 1024; average <= 65536; average *= 2) {
        cut(average, data, SIZE, SIZE_MAX, &e);
        for (size_t i = 0; i < e.count; i++) {
            uint64_t chunk_size = e.end[i] - (i ? e.end[i - 1] : 0);
            assert_true(chunk_size <= average * 4);
            assert_true(i + 1 == e.count || chunk_size >= average / 4);
        }
    }
    free(data);
}

static void test_constant_data_is_cut_at_the_maximum(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 256; value++) {
        static struct ends e;
        uint8_t *data = make_constant(5000, (uint8_t)value);
        cut(256, data, 5000, SIZE_MAX, &e);
        assert_int_equal(e.count, 5);
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(e.end[i], 1024 * (i + 1));
        free(data);
    }
}

static void test_ends_of_input(void **state)
{
    (void)state;
    static struct ends e;
    uint8_t *data = make_lcg(1048576, 1);
    cut(65536, data, 0, SIZE_MAX, &e);
    assert_int_equal(e.count, 0);
    cut(65536, data, 1, SIZE_MAX, &e);
    assert_int_equal(e.count, 1);
    cut(65536, data, 16383, SIZE_MAX, &e);
    assert_int_equal(e.count, 1);
    cut(65536, data, 96061, SIZE_MAX, &e); /* ends at a cut: no empty chunk behind it */
    assert_int_equal(e.count, 2);
    assert_int_equal(e.end[1], 96061);
    free(data);
}

static void test_bytes_in_front_of_the_minimum_do_not_matter(void **state)
{
    (void)state;
    uint8_t *data = make_lcg(96061, 1);
    static struct ends e;
    memset(data, 'x', 23672 - 64); /* the window of the first cut stays */
    cut(65536, data, 96061, SIZE_MAX, &e);
    assert_int_equal(e.end[0], 23672);
    data[23672 - 64] ^= 1;
    cut(65536, data, 96061, SIZE_MAX, &e);
    assert_int_not_equal(e.end[0], 23672);
    free(data);
}

static void test_averages_are_checked(void **state)
{
    (void)state;
    struct chunker c;
    struct error err;
    static const size_t wrong[] = {0, 1, 64, 128, 255, 257, 65535, 65537, 100000, (size_t)1 << 29, SIZE_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(chunker_init(&c, wrong[i], &err), ERR_USAGE);
    for (size_t average = 256; average <= CHUNKER_AVERAGE_MAX; average *= 2)
        assert_int_equal(chunker_init(&c, average, &err), OK);
    assert_int_equal(chunker_init(&c, 4194304, &err), OK);
    assert_int_equal(c.mask, 0x7fffff);
    assert_int_equal(c.threshold, 0x7ffffd);
    assert_int_equal(c.chunk_size_min, 1048576);
    assert_int_equal(c.chunk_size_max, 16777216);
}

static void test_user_sizes_are_checked(void **state)
{
    (void)state;
    struct error err;
    for (uint64_t kib = 64; kib <= 4096; kib *= 2)
        assert_int_equal(chunk_size_check_kib(kib, &err), OK);
    assert_int_equal(chunk_size_check_kib(32, &err), ERR_USAGE);
    assert_string_equal(err.text, "value must have a minimum value of 64 (got 32)");
    assert_int_equal(chunk_size_check_kib(8192, &err), ERR_USAGE);
    assert_string_equal(err.text, "value must have a maximum value of 4096 (got 8192)");
    assert_int_equal(chunk_size_check_kib(100, &err), ERR_USAGE);
    assert_string_equal(err.text, "Got unsupported chunk size '102400'");
    assert_int_equal(chunk_size_check_kib(UINT64_MAX, &err), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generators_are_those_of_the_specification),
        cmocka_unit_test(test_vectors_of_random_data),
        cmocka_unit_test(test_vectors_of_regular_data),
        cmocka_unit_test(test_hash_values),
        cmocka_unit_test(test_equals_the_byte_loop_on_random_inputs),
        cmocka_unit_test(test_parts_of_random_size_do_not_matter),
        cmocka_unit_test(test_sizes_are_within_minimum_and_maximum),
        cmocka_unit_test(test_constant_data_is_cut_at_the_maximum),
        cmocka_unit_test(test_ends_of_input),
        cmocka_unit_test(test_bytes_in_front_of_the_minimum_do_not_matter),
        cmocka_unit_test(test_averages_are_checked),
        cmocka_unit_test(test_user_sizes_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
