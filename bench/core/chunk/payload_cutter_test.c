#include "testing/testing.h"

#include "chunk/payload_cutter.h"

#include "base/bytes.h"
#include "chunk/buzhash_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LIST_MAX = 65536 };

/* End offsets of chunks; an injected order is one entry. */
struct list {
    uint64_t end[LIST_MAX];
    uint8_t is_injected[LIST_MAX];
    size_t count;
    uint64_t raw_size;
};

static void add(struct list *l, uint64_t end, bool is_injected)
{
    assert_true(l->count < LIST_MAX);
    l->end[l->count] = end;
    l->is_injected[l->count++] = is_injected;
}

static const char *list_digest(const struct list *l)
{
    static char text[1 << 20];
    size_t size = 0;
    for (size_t i = 0; i < l->count; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, i ? ",%" PRIu64 : "%" PRIu64, l->end[i]);
    return sha256_hex(text, size);
}

static void assert_lists_equal(const struct list *a, const struct list *b)
{
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        assert_int_equal(a->end[i], b->end[i]);
        assert_int_equal(a->is_injected[i], b->is_injected[i]);
    }
    assert_int_equal(a->count, b->count);
}

/* `expected`: end offsets, injected ones negative, ended by 0. */
static void assert_list(const struct list *l, const int64_t *expected)
{
    size_t i = 0;
    for (; expected[i]; i++) {
        assert_true(i < l->count);
        assert_int_equal(l->end[i], expected[i] < 0 ? -expected[i] : expected[i]);
        assert_int_equal(l->is_injected[i], expected[i] < 0);
    }
    assert_int_equal(l->count, i);
}
#define ENDS(...) ((const int64_t[]){__VA_ARGS__, 0})

static struct payload_cutter *make(size_t average, size_t feed_size)
{
    struct payload_cutter *c = NULL;
    assert_int_equal(payload_cutter_new(average, feed_size, &c, NULL), OK);
    return c;
}

static void suggest(struct payload_cutter *c, uint64_t offset)
{
    assert_int_equal(payload_cutter_suggest(c, offset, NULL), OK);
}

static void order(struct payload_cutter *c, uint64_t boundary, uint64_t size)
{
    assert_int_equal(payload_cutter_order(c, boundary, size, NULL), OK);
}

static void write_bytes(struct payload_cutter *c, const uint8_t *data, size_t size)
{
    assert_int_equal(payload_cutter_write(c, data, size, true, NULL), OK);
}

/* Asks until there is nothing more; offsets and sizes must fit together without a gap. */
static enum status drain(struct payload_cutter *c, struct list *l, struct error *err)
{
    for (;;) {
        struct cut cut;
        TRY(payload_cutter_next(c, &cut, err));
        uint64_t last = l->count ? l->end[l->count - 1] : 0;
        assert_int_equal(cut.offset, last);
        if (cut.kind == CUT_MORE)
            return OK;
        if (cut.kind == CUT_RAW) {
            assert_int_not_equal(cut.size, 0); /* never an empty chunk */
            l->raw_size += cut.size;
        }
        add(l, last + cut.size, cut.kind == CUT_INJECT);
    }
}

static void finish(struct payload_cutter *c, struct list *l)
{
    assert_int_equal(payload_cutter_end(c, NULL), OK);
    assert_int_equal(drain(c, l, NULL), OK);
    assert_int_equal(drain(c, l, NULL), OK); /* asking again changes nothing */
    payload_cutter_free(c);
}

static struct list *list_new(void)
{
    struct list *l = calloc(1, sizeof *l);
    assert_non_null(l);
    return l;
}

/* One write of everything, suggestions and orders before it. */
static struct list *cut_whole(size_t average, size_t feed_size, const uint8_t *data, size_t size,
                              const uint64_t *suggestions, size_t suggestion_count, const uint64_t (*orders)[2],
                              size_t order_count)
{
    struct payload_cutter *c = make(average, feed_size);
    for (size_t i = 0; i < suggestion_count; i++)
        suggest(c, suggestions[i]);
    for (size_t i = 0; i < order_count; i++)
        order(c, orders[i][0], orders[i][1]);
    write_bytes(c, data, size);
    struct list *l = list_new();
    finish(c, l);
    assert_int_equal(l->raw_size, size);
    return l;
}
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_suggestions_by_feed_size(void **state)
{
    (void)state;
    static const uint64_t suggestions[] = {10000,  16384,  40000,  60000,  100000,
                                           100000, 140000, 400000, 700000, 1048560};
    static const struct {
        size_t feed_size;
        int64_t ends[32];
    } rows[] = {
        {SIZE_MAX,
         {16384, 40000, 60000, 100000, 140000, 400000, 428947, 463595, 700000, 722523, 741953, 802006, 1048560,
          1048576}},
        {262144,
         {16384, 40000, 60000, 100000, 140000, 169268, 245395, 400000, 428947, 463595, 700000, 722523, 741953, 802006,
          1048560, 1048576}},
        {4096, {16384,  40000,  60000,  96061,  140000, 169268, 245395, 301757, 395236, 428947,  463595, 527869,
                625817, 700000, 722523, 741953, 802006, 873041, 900130, 918379, 992251, 1048560, 1048576}},
        {61, {16384,  40000,  60000,  96061,  140000, 169268, 245395, 301757, 395236, 428947,  463595, 527869,
              625817, 700000, 722523, 741953, 802006, 873041, 900130, 918379, 992251, 1048560, 1048576}},
    };
    uint8_t *data = make_lcg(1048576, 1);
    for (size_t r = 0; r < COUNT(rows); r++) {
        struct list *l =
            cut_whole(65536, rows[r].feed_size, data, 1048576, suggestions, COUNT(suggestions), NULL, 0);
        assert_list(l, rows[r].ends);
        free(l);
    }
    free(data);
}

static void test_forced_boundary_in_a_stream(void **state)
{
    (void)state;
    static const size_t feeds[] = {0, 61, 4096, 262144, SIZE_MAX};
    static const uint64_t orders[][2] = {{300000, 123456}};
    uint8_t *data = make_lcg(1048576, 1);
    for (size_t f = 0; f < COUNT(feeds); f++) {
        struct list *l = cut_whole(65536, feeds[f], data, 1048576, NULL, 0, orders, 1);
        assert_list(l, ENDS(23672, 96061, 169268, 245395, 300000, -423456, 518692, 552403, 587051, 651325, 749273,
                            845979, 865409, 925462, 996497, 1023586, 1041835, 1115707, 1172032));
        free(l);
    }
    free(data);
}

static void test_forced_boundary_at_a_hash_cut(void **state)
{
    (void)state;
    static const size_t feeds[] = {0, 61, 4096, 96061, 262144, SIZE_MAX};
    static const uint64_t orders[][2] = {{96061, 5000}};
    uint8_t *data = make_lcg(524288, 1);
    for (size_t f = 0; f < COUNT(feeds); f++) {
        struct list *l = cut_whole(65536, feeds[f], data, 524288, NULL, 0, orders, 1);
        assert_list(l, ENDS(23672, 96061, -101061, 174268, 250395, 306757, 400236, 433947, 468595, 529288));
        free(l);
    }
    free(data);
}

static void test_suggestions_and_forced_boundaries_together(void **state)
{
    (void)state;
    static const uint64_t suggestions[] = {32768, 65536};
    static const uint64_t orders[][2] = {{32768, 1024}, {131072, 2048}, {657408, 512}, {658432, 0}};
    static const uint64_t raw_sizes[] = {32768, 31744, 65536, 262144, 262144, 512, 262144, 131584};
    static const size_t feeds[] = {0, 4096, 262144, SIZE_MAX};
    uint8_t *data = make_counter(1048576);
    for (size_t f = 0; f < COUNT(feeds); f++) {
        struct list *l = cut_whole(65536, feeds[f], data, 1048576, suggestions, 2, orders, 4);
        size_t raw = 0;
        for (size_t i = 0; i < l->count; i++) {
            uint64_t size = l->end[i] - (i ? l->end[i - 1] : 0);
            if (!l->is_injected[i])
                assert_int_equal(size, raw_sizes[raw++]);
        }
        assert_int_equal(raw, COUNT(raw_sizes));
        assert_int_equal(l->end[l->count - 1], 1048576 + 1024 + 2048 + 512);
        free(l);
    }
    free(data);
}

/* change-detection.md 10.2. */
static void test_hash_vectors_of_change_detection(void **state)
{
    (void)state;
    static const uint64_t suggestions[] = {32768, 32768, 0, 405521};
    uint8_t *data = make_counter(1048576);
    struct list *l = cut_whole(65536, SIZE_MAX, data, 1048576, NULL, 0, NULL, 0);
    assert_list(l, ENDS(143377, 405521, 667665, 929809, 1048576));
    free(l);
    l = cut_whole(65536, SIZE_MAX, data, 1048576, suggestions, 4, NULL, 0);
    assert_list(l, ENDS(32768, 143377, 405521, 667665, 929809, 1048576));
    free(l);
    free(data);
}

/* What an archiver does, in order. Sizes of writes; a suggestion or an order in front of the write `at`. */
struct event {
    enum { EVENT_WRITE, EVENT_SUGGEST, EVENT_ORDER } kind;
    uint64_t offset; /* SUGGEST, ORDER */
    uint64_t size;   /* WRITE, ORDER */
};

struct archive {
    struct event *events;
    size_t event_count;
    uint8_t *data;
    size_t data_size;
    uint64_t position; /* stream offset, injected chunks included */
};

enum { EVENTS_MAX = 4096, BLOCK_SIZE = 4 << 20 };

static void archive_event(struct archive *a, struct event e)
{
    assert_true(a->event_count < EVENTS_MAX);
    a->events[a->event_count++] = e;
}

static void archive_write(struct archive *a, const void *data, size_t size)
{
    uint8_t *grown = realloc(a->data, a->data_size + size + 1);
    assert_non_null(grown);
    a->data = grown;
    memcpy(a->data + a->data_size, data, size);
    a->data_size += size;
    a->position += size;
    archive_event(a, (struct event){.kind = EVENT_WRITE, .size = size});
}

static void archive_header(struct archive *a, uint64_t type, uint64_t size)
{
    uint8_t bytes[16];
    store_u64le(bytes, type);
    store_u64le(bytes + 8, size);
    archive_write(a, bytes, sizeof bytes);
}

static struct archive archive_begin(void)
{
    struct archive a = {.events = calloc(EVENTS_MAX, sizeof(struct event))};
    assert_non_null(a.events);
    archive_header(&a, 0x834c68c2194a4ed2U, 16);
    return a;
}

static void archive_file(struct archive *a, size_t size, uint64_t seed)
{
    uint8_t *data = make_lcg(size, seed);
    archive_event(a, (struct event){.kind = EVENT_SUGGEST, .offset = a->position});
    archive_header(a, 0x28147a1b0b7c1a25U, 16 + size);
    for (size_t at = 0; at < size; at += BLOCK_SIZE)
        archive_write(a, data + at, size - at < BLOCK_SIZE ? size - at : BLOCK_SIZE);
    free(data);
}

/* `file_count` files referenced in old chunks, which come as one order. */
static void archive_reuse(struct archive *a, unsigned file_count, uint64_t size)
{
    for (unsigned i = 0; i < file_count; i++)
        archive_event(a, (struct event){.kind = EVENT_SUGGEST, .offset = a->position});
    archive_event(a, (struct event){.kind = EVENT_ORDER, .offset = a->position, .size = size});
    a->position += size;
}

static void archive_end(struct archive *a)
{
    archive_header(a, 0x6c72b78b984c81b5U, 16);
}

static void archive_deinit(struct archive *a)
{
    free(a->events);
    free(a->data);
}

static uint32_t next_random(uint64_t *x)
{
    *x = *x * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(*x >> 33);
}

/* Plays an archive to the cutter: `part_size_max` 0 gives every write at once, else in parts of at most that; `ask` is
 * how often the owner asks in between. The answer must not depend on either. */
enum ask { ASK_AT_THE_END, ASK_ALWAYS, ASK_SOMETIMES };

static struct list *play(const struct archive *a, size_t average, size_t feed_size, size_t part_size_max, enum ask ask)
{
    struct payload_cutter *c = make(average, feed_size);
    struct list *l = list_new();
    uint64_t x = part_size_max + (uint64_t)ask;
    const uint8_t *data = a->data;
    for (size_t i = 0; i < a->event_count; i++) {
        const struct event *e = &a->events[i];
        if (e->kind == EVENT_SUGGEST)
            suggest(c, e->offset);
        else if (e->kind == EVENT_ORDER)
            order(c, e->offset, e->size);
        else {
            uint64_t left = e->size;
            do {
                size_t part = (size_t)left;
                if (part_size_max && part > part_size_max)
                    part = part_size_max > 2 ? 1 + next_random(&x) % part_size_max : part_size_max;
                left -= part;
                assert_int_equal(payload_cutter_write(c, data, part, left == 0, NULL), OK);
                data += part;
                if (ask == ASK_ALWAYS || (ask == ASK_SOMETIMES && next_random(&x) % 3 == 0))
                    assert_int_equal(drain(c, l, NULL), OK);
            } while (left > 0);
        }
        if (ask == ASK_ALWAYS || (ask == ASK_SOMETIMES && next_random(&x) % 3 == 0))
            assert_int_equal(drain(c, l, NULL), OK);
    }
    finish(c, l);
    assert_int_equal(l->raw_size, a->data_size);
    assert_int_equal(l->end[l->count - 1], a->position);
    return l;
}

static struct archive archive_of_the_specification(void)
{
    static const struct {
        size_t size;
        uint64_t seed;
    } files[] = {{100000, 1}, {300000, 2},  {1000000, 3}, {70000, 4},  {0, 0},
                 {262128, 5}, {5000000, 6}, {20000, 7},   {150000, 8}, {130000, 9}};
    struct archive a = archive_begin();
    for (size_t i = 0; i < COUNT(files); i++)
        archive_file(&a, files[i].size, files[i].seed);
    archive_end(&a);
    assert_int_equal(a.data_size, 7032320);
    assert_string_equal(sha256_hex(a.data, a.data_size),
                        "3c9b24ffe1140d5636b08f6e54f2a13154b96b89098e0ba4cf045da7153056fc");
    return a;
}

static void test_whole_payload_stream(void **state)
{
    (void)state;
    static const int64_t first[] = {100032, 206508, 400048, 434780, 484880, 544152, 592999, 661387};
    static const struct {
        size_t feed_size;
        size_t chunk_count;
        uint64_t sum;
        const char *list;
    } rows[] = {
        {0, 112, 412083332, "7528d38a79cd9d4f6065f00056c9a7bf1948f39ddc27c5291e1b57a1781afd7e"},
        {SIZE_MAX, 112, 412083332, "7528d38a79cd9d4f6065f00056c9a7bf1948f39ddc27c5291e1b57a1781afd7e"},
        {262144, 115, 416117963, "c1035803929c2f3b1a8dad2ad3a393358da63f7c2a80f18a1b3d79850190b1ff"},
        {4096, 124, 446779501, "a42f93f2eb028bcd8c91f43bfc6347973b57ec5d2adf105cbb135c5068aacdec"},
    };
    struct archive a = archive_of_the_specification();
    for (size_t r = 0; r < COUNT(rows); r++) {
        struct list *l = play(&a, 65536, rows[r].feed_size, 0, ASK_ALWAYS);
        uint64_t sum = 0;
        for (size_t i = 0; i < l->count; i++)
            sum += l->end[i];
        if (rows[r].feed_size != 4096)
            for (size_t i = 0; i < COUNT(first); i++)
                assert_int_equal(l->end[i], first[i]);
        assert_int_equal(l->count, rows[r].chunk_count);
        assert_int_equal(sum, rows[r].sum);
        assert_string_equal(list_digest(l), rows[r].list);
        free(l);
    }
    struct list *l = play(&a, 4194304, 0, 0, ASK_ALWAYS);
    assert_list(l, ENDS(1400064, 6732256, 7032320));
    free(l);
    archive_deinit(&a);
}

static void test_parts_of_a_write_and_asking_do_not_matter(void **state)
{
    (void)state;
    static const size_t parts[] = {1, 7, 61, 4099, 262143, 262144, 262145, 1000000};
    struct archive a = archive_of_the_specification();
    struct list *whole = play(&a, 65536, 0, 0, ASK_AT_THE_END);
    for (size_t i = 0; i < COUNT(parts); i++)
        for (int ask = ASK_AT_THE_END; ask <= ASK_SOMETIMES; ask++) {
            struct list *l = play(&a, 65536, 0, parts[i], (enum ask)ask);
            assert_lists_equal(l, whole);
            free(l);
        }
    free(whole);
    archive_deinit(&a);
}

/* A file whose last block goes past the writer's buffer ends exactly with a piece: the one place where the reference
 * can lose the next file's suggestion. Ours must never, whether the next file is encoded or reused. */
static void test_suggestion_behind_a_large_block_is_never_lost(void **state)
{
    (void)state;
    static const size_t sizes[] = {262144, 262145, 300000, 1 << 20, 4 << 20, (4 << 20) + 262144};
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (int reuse = 0; reuse < 2; reuse++)
            for (int ask = ASK_AT_THE_END; ask <= ASK_SOMETIMES; ask++) {
                struct archive a = archive_begin();
                archive_file(&a, sizes[s], 77);
                uint64_t end = a.position;
                if (reuse)
                    archive_reuse(&a, 3, 123456);
                archive_file(&a, 50000, 78);
                archive_end(&a);
                struct list *l = play(&a, 4194304, 0, 0, (enum ask)ask);
                bool found = false;
                for (size_t i = 0; i < l->count; i++)
                    found |= l->end[i] == end && !l->is_injected[i];
                /* Below the minimum only a forced boundary cuts. */
                assert_int_equal(found, reuse || end >= 1 << 20);
                free(l);
                archive_deinit(&a);
            }
}

/* Several suggestions and orders behind a held piece; asking after the first of them must not decide anything. */
static void test_held_piece_waits_for_bytes(void **state)
{
    (void)state;
    uint8_t *data = make_lcg(400000, 1); /* hash cuts at 23672, 96061, ... */
    for (int ask = 0; ask < 2; ask++) {
        struct payload_cutter *c = make(65536, 0);
        struct list *l = list_new();
        write_bytes(c, data, 300000);
        if (ask)
            assert_int_equal(drain(c, l, NULL), OK);
        order(c, 300000, 0);
        write_bytes(c, data + 300000, 0); /* an empty write is no event */
        if (ask)
            assert_int_equal(drain(c, l, NULL), OK);
        suggest(c, 250000);
        assert_int_equal(l->count, 0);
        write_bytes(c, data + 300000, 100000);
        finish(c, l);
        assert_int_equal(l->end[0], 250000);
        assert_int_equal(l->end[1], 300000);
        assert_true(l->is_injected[2]);
        free(l);
    }
    free(data);
}

static void test_suggestion_must_fit_minimum_and_maximum(void **state)
{
    (void)state;
    uint8_t *data = make_constant(600000, 0); /* no hash cuts */
    static const struct {
        uint64_t suggestion;
        int64_t ends[8];
    } rows[] = {
        {0, {262144, 524288, 600000}},
        {16383, {262144, 524288, 600000}},
        {16384, {16384, 278528, 540672, 600000}},
        {262143, {262143, 524287, 600000}},
        {262144, {262144, 524288, 600000}},
        {262145, {262144, 524288, 600000}},
        {278527, {262144, 524288, 600000}}, /* min - 1 behind the cut at the maximum */
        {278528, {262144, 278528, 540672, 600000}},
    };
    for (size_t r = 0; r < COUNT(rows); r++) {
        struct list *l = cut_whole(65536, SIZE_MAX, data, 600000, &rows[r].suggestion, 1, NULL, 0);
        assert_list(l, rows[r].ends);
        free(l);
    }
    free(data);
}

static void test_suggestion_at_the_end_and_at_the_start_of_a_piece(void **state)
{
    (void)state;
    uint8_t *data = make_constant(100000, 0);
    static const uint64_t at_end[] = {50000};
    struct list *l = cut_whole(65536, 50000, data, 100000, at_end, 1, NULL, 0);
    assert_list(l, ENDS(50000, 100000));
    free(l);

    struct payload_cutter *c = make(65536, 25000);
    l = list_new();
    write_bytes(c, data, 50001); /* the byte more lets the second piece go */
    assert_int_equal(drain(c, l, NULL), OK);
    suggest(c, 50000); /* too late: everything in front of it is scanned */
    suggest(c, 80000);
    write_bytes(c, data + 50001, 49999);
    finish(c, l);
    assert_list(l, ENDS(80000, 100000));
    free(l);

    /* The scan that drops a passed suggestion looks at no other: the next one in the same piece is passed, too. */
    c = make(65536, 25000);
    l = list_new();
    write_bytes(c, data, 50001);
    assert_int_equal(drain(c, l, NULL), OK);
    suggest(c, 50000);
    suggest(c, 60000);
    write_bytes(c, data + 50001, 49999);
    finish(c, l);
    assert_list(l, ENDS(100000));
    free(l);

    /* Without that byte more the second piece waits, and the suggestion at its end is in time. */
    c = make(65536, 25000);
    l = list_new();
    write_bytes(c, data, 50000);
    assert_int_equal(drain(c, l, NULL), OK);
    suggest(c, 50000);
    write_bytes(c, data + 50000, 50000);
    finish(c, l);
    assert_list(l, ENDS(50000, 100000));
    free(l);
    free(data);
}

/* A suggestion wins over a hash cut of its own piece only: so it shows where pieces end. */
static void test_write_joins_the_piece_only_if_it_fits(void **state)
{
    (void)state;
    uint8_t *data = make_lcg(400000, 1); /* hash cuts at 23672, 96061, ... */
    static const struct {
        size_t writes[2];
        uint64_t first_end;
    } rows[] = {
        {{200000, 62143}, 250000},
        {{200000, 62144}, 250000}, /* fills the buffer to the last byte */
        {{200000, 62145}, 23672},
        {{1, 262143}, 250000},
    };
    for (size_t r = 0; r < COUNT(rows); r++) {
        struct payload_cutter *c = make(65536, 0);
        struct list *l = list_new();
        suggest(c, 250000);
        write_bytes(c, data, rows[r].writes[0]);
        write_bytes(c, data + rows[r].writes[0], rows[r].writes[1]);
        write_bytes(c, data + rows[r].writes[0] + rows[r].writes[1], 100000);
        finish(c, l);
        assert_int_equal(l->end[0], rows[r].first_end);
        free(l);
    }
    free(data);
}

static void test_queues_grow_while_they_are_wrapped(void **state)
{
    (void)state;
    enum { STEP = 100, COUNT_OF_STEPS = 1000 };
    uint8_t *data = make_constant(STEP * COUNT_OF_STEPS, 0); /* no hash cuts */
    struct payload_cutter *c = make(256, 1);
    struct list *l = list_new();
    size_t suggested = 0;
    size_t written = 0;
    while (suggested < COUNT_OF_STEPS) {
        for (size_t i = 0; i < 50 && suggested < COUNT_OF_STEPS; i++)
            suggest(c, STEP * (uint64_t)++suggested);
        size_t size = STEP * 30;
        if (suggested == COUNT_OF_STEPS)
            size = STEP * COUNT_OF_STEPS - written;
        write_bytes(c, data + written, size);
        written += size;
        assert_int_equal(drain(c, l, NULL), OK);
    }
    finish(c, l);
    assert_int_equal(l->count, COUNT_OF_STEPS);
    for (size_t i = 0; i < l->count; i++)
        assert_int_equal(l->end[i], STEP * (i + 1));
    free(l);
    free(data);
}

static void test_far_suggestion_blocks_nearer_ones_until_it_is_passed(void **state)
{
    (void)state;
    static const uint64_t suggestions[] = {300000, 50000, 100000, 400000};
    uint8_t *data = make_constant(500000, 0);
    struct list *l = cut_whole(65536, SIZE_MAX, data, 500000, suggestions, 4, NULL, 0);
    assert_list(l, ENDS(262144, 300000, 400000, 500000));
    free(l);
    /* Pending through many pieces, then used. */
    static const uint64_t far[] = {200000};
    l = cut_whole(65536, 1000, data, 500000, far, 1, NULL, 0);
    assert_list(l, ENDS(200000, 462144, 500000));
    free(l);
    free(data);
}

static void test_suggestion_behind_a_forced_boundary_counts_from_the_new_chunk(void **state)
{
    (void)state;
    uint8_t *data = make_constant(500000, 0);
    static const uint64_t orders[][2] = {{100000, 7000}};
    /* 123383 is min - 1 behind the chunk that begins at 107000. */
    static const struct {
        uint64_t suggestion;
        int64_t ends[8];
    } rows[] = {
        {123383, {100000, -107000, 369144, 507000}},
        {123384, {100000, -107000, 123384, 385528, 507000}},
        {369144, {100000, -107000, 369144, 507000}},
        {200000, {100000, -107000, 200000, 462144, 507000}},
    };
    for (size_t r = 0; r < COUNT(rows); r++) {
        /* In small pieces the suggestion lies behind the piece that holds the boundary. */
        struct list *l = cut_whole(65536, 5000, data, 500000, &rows[r].suggestion, 1, orders, 1);
        assert_list(l, rows[r].ends);
        free(l);
    }
    /* In one piece the scan in front of the boundary already takes the suggestion, and it stays taken. */
    static const uint64_t taken[] = {200000};
    struct list *l = cut_whole(65536, SIZE_MAX, data, 500000, taken, 1, orders, 1);
    assert_list(l, ENDS(100000, -107000, 369144, 507000));
    free(l);
    /* Said twice, the second one is used. */
    static const uint64_t twice[] = {200000, 200000};
    l = cut_whole(65536, SIZE_MAX, data, 500000, twice, 2, orders, 1);
    assert_list(l, ENDS(100000, -107000, 200000, 462144, 507000));
    free(l);
    free(data);
}

static void test_orders_where_nothing_is_buffered(void **state)
{
    (void)state;
    uint8_t *data = make_constant(1000, 0);
    static const uint64_t orders[][2] = {{0, 10}, {10, 20}, {30, 5}, {535, 1}, {536, 2}, {1038, 4}};
    struct list *l = cut_whole(65536, SIZE_MAX, data, 1000, NULL, 0, orders, 6);
    assert_list(l, ENDS(-10, -30, -35, 535, -536, -538, 1038, -1042));
    free(l);

    /* Nothing but orders. */
    struct payload_cutter *c = make(65536, 0);
    l = list_new();
    order(c, 0, 10);
    order(c, 10, 1);
    finish(c, l);
    assert_list(l, ENDS(-10, -11));
    free(l);

    /* Nothing at all: no chunk. */
    c = make(65536, 0);
    l = list_new();
    finish(c, l);
    assert_int_equal(l->count, 0);
    free(l);
    free(data);
}

/* An order applies as soon as the bytes in front of its boundary are cut off, without waiting for the next write. */
static void test_order_is_answered_at_once_when_nothing_is_in_front(void **state)
{
    (void)state;
    uint8_t data[10] = {0};
    struct payload_cutter *c = make(65536, 0);
    struct cut cut;
    order(c, 0, 5);
    assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
    assert_int_equal(cut.kind, CUT_INJECT);
    assert_int_equal(cut.size, 5);
    assert_int_equal(cut.offset, 0);
    write_bytes(c, data, 10);
    order(c, 15, 6);
    assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
    assert_int_equal(cut.kind, CUT_MORE); /* the ten bytes are still in the writer's buffer */
    assert_int_equal(payload_cutter_end(c, NULL), OK);
    assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
    assert_int_equal(cut.kind, CUT_RAW);
    assert_int_equal(cut.size, 10);
    assert_int_equal(cut.offset, 5);
    assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
    assert_int_equal(cut.kind, CUT_INJECT);
    assert_int_equal(cut.offset, 15);
    assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
    assert_int_equal(cut.kind, CUT_MORE);
    assert_int_equal(cut.offset, 21);
    payload_cutter_free(c);
}

static enum status run_orders(const uint64_t (*orders)[2], size_t order_count, struct error *err)
{
    uint8_t data[1000] = {0};
    struct payload_cutter *c = make(65536, 0);
    struct list *l = list_new();
    enum status status = OK;
    for (size_t i = 0; i < order_count; i++)
        order(c, orders[i][0], orders[i][1]);
    write_bytes(c, data, sizeof data);
    assert_int_equal(payload_cutter_end(c, NULL), OK);
    status = drain(c, l, err);
    free(l);
    payload_cutter_free(c);
    return status;
}

static void test_wrong_orders_are_errors(void **state)
{
    (void)state;
    struct error err;
    static const uint64_t late[][2] = {{1001, 5}};
    assert_int_equal(run_orders(late, 1, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "injection queue not fully consumed"));
    assert_non_null(strstr(err.text, "1001"));
    static const uint64_t passed[][2] = {{500, 100}, {599, 1}};
    assert_int_equal(run_orders(passed, 2, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "invalid injection boundary 599"));
    assert_non_null(strstr(err.text, "600"));
    static const uint64_t at_end[][2] = {{1000, 5}};
    assert_int_equal(run_orders(at_end, 1, &err), OK);

    struct payload_cutter *c = make(65536, 0);
    assert_int_equal(payload_cutter_order(c, UINT64_MAX, 1, &err), ERR_LIMIT);
    assert_int_equal(payload_cutter_order(c, 1, INT64_MAX, &err), ERR_LIMIT);
    assert_int_equal(payload_cutter_order(c, 0, INT64_MAX, &err), OK);
    payload_cutter_free(c);
    payload_cutter_free(NULL);
    assert_int_equal(payload_cutter_new(65535, 0, &c, &err), ERR_USAGE);
}

/* A twin that follows chunking.md 3, 5 and 6 to the letter over one flat array and bytewise hashing. */
struct twin {
    size_t average;
    uint32_t hash;
    size_t n;
    uint8_t window[64];
    uint64_t *suggestions;
    size_t suggestion_at;
    size_t suggestion_count;
};

static size_t twin_plain(struct twin *t, const uint8_t *data, size_t size)
{
    uint32_t mask = (uint32_t)(2 * t->average - 1);
    for (size_t i = 0; i < size; i++) {
        uint8_t *slot = &t->window[t->n % 64];
        t->hash = t->hash << 1 | t->hash >> 31;
        t->hash ^= buzhash_table[data[i]] ^ (t->n < 64 ? 0 : buzhash_table[*slot]);
        *slot = data[i];
        if (t->n++ < 64)
            continue;
        if (t->n >= t->average * 4 || (t->n >= t->average / 4 && (t->hash & mask) >= mask - 2)) {
            t->hash = 0;
            t->n = 0;
            return i + 1;
        }
    }
    return 0;
}

static size_t twin_scan(struct twin *t, const uint8_t *data, size_t size, uint64_t base, uint64_t total)
{
    uint64_t start = base + total - size;
    for (;;) {
        if (t->suggestion_at == t->suggestion_count)
            return twin_plain(t, data, size);
        uint64_t b = t->suggestions[t->suggestion_at];
        if (b < start || (b <= base + total && b - base < t->average / 4)) {
            t->suggestion_at++;
            continue;
        }
        if (b > base + total || b - base > t->average * 4)
            return twin_plain(t, data, size);
        t->suggestion_at++;
        if (b == start)
            return twin_plain(t, data, size);
        t->hash = 0;
        t->n = 0;
        return (size_t)(b - start);
    }
}

/* Sizes of pieces from sizes of writes. */
static size_t twin_pieces(const struct archive *a, size_t *pieces)
{
    size_t count = 0;
    size_t used = 0;
    for (size_t i = 0; i < a->event_count; i++) {
        if (a->events[i].kind != EVENT_WRITE)
            continue;
        size_t size = (size_t)a->events[i].size;
        if (size > PIECE_BUFFER_SIZE - used && used > 0) {
            pieces[count++] = used;
            used = 0;
        }
        if (size >= PIECE_BUFFER_SIZE)
            pieces[count++] = size;
        else
            used += size;
    }
    if (used > 0)
        pieces[count++] = used;
    return count;
}

static struct list *twin_run(const struct archive *a, size_t average)
{
    static size_t pieces[EVENTS_MAX];
    static uint64_t suggestions[EVENTS_MAX];
    static struct event orders[EVENTS_MAX];
    struct twin t = {.average = average, .suggestions = suggestions};
    size_t order_at = 0;
    size_t order_count = 0;
    for (size_t i = 0; i < a->event_count; i++) {
        if (a->events[i].kind == EVENT_SUGGEST)
            suggestions[t.suggestion_count++] = a->events[i].offset;
        if (a->events[i].kind == EVENT_ORDER)
            orders[order_count++] = a->events[i];
    }
    size_t piece_count = twin_pieces(a, pieces);
    size_t piece_at = 0;
    struct list *l = list_new();
    const uint8_t *buffer = a->data;
    uint64_t consumed = 0;
    size_t buffered = 0;
    size_t scan_pos = 0;
    for (;;) {
        size_t p = scan_pos < buffered
                       ? twin_scan(&t, buffer + scan_pos, buffered - scan_pos, consumed, buffered)
                       : 0;
        if (order_at < order_count) {
            uint64_t next = p > 0 ? consumed + scan_pos + p : consumed + buffered;
            const struct event *o = &orders[order_at];
            assert_true(o->offset >= consumed);
            if (o->offset <= next) {
                size_t size = (size_t)(o->offset - consumed);
                if (size > 0)
                    add(l, o->offset, false);
                buffer += size;
                buffered -= size;
                t.hash = 0;
                t.n = 0;
                scan_pos = 0;
                consumed = o->offset + o->size;
                add(l, consumed, true);
                order_at++;
                continue;
            }
        }
        if (p > 0) {
            consumed += scan_pos + p;
            buffer += scan_pos + p;
            buffered -= scan_pos + p;
            scan_pos = 0;
            add(l, consumed, false);
            continue;
        }
        scan_pos = buffered;
        if (piece_at < piece_count) {
            buffered += pieces[piece_at++];
            continue;
        }
        if (buffered > 0)
            add(l, consumed + buffered, false);
        return l;
    }
}

static struct archive random_archive(uint64_t seed)
{
    struct archive a = archive_begin();
    uint64_t x = seed;
    unsigned steps = 1 + next_random(&x) % 40;
    for (unsigned i = 0; i < steps; i++) {
        uint32_t r = next_random(&x);
        switch (r % 8) {
        case 0:
        case 1:
            archive_reuse(&a, r / 8 % 5, 1 + next_random(&x) % 200000);
            break;
        case 2:
            archive_file(&a, next_random(&x) % 600000, r);
            break;
        case 3: /* around the size of the writer's buffer */
            archive_file(&a, PIECE_BUFFER_SIZE - 20 + next_random(&x) % 40, r);
            break;
        case 4:
            archive_file(&a, 0, r);
            break;
        default:
            archive_file(&a, next_random(&x) % 30000, r);
        }
    }
    archive_end(&a);
    return a;
}

static void test_equals_the_twin_on_random_archives(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 150; round++) {
        struct archive a = random_archive(round);
        size_t average = (size_t)256 << round % 12;
        struct list *expected = twin_run(&a, average);
        static const size_t parts[] = {0, 100, 70000};
        for (int ask = ASK_AT_THE_END; ask <= ASK_SOMETIMES; ask++) {
            struct list *l = play(&a, average, 0, parts[(round + (uint64_t)ask) % 3], (enum ask)ask);
            assert_lists_equal(l, expected);
            free(l);
        }
        free(expected);
        archive_deinit(&a);
    }
}

/* Orders in the middle of pieces, suggestions in any order: everything queued before the first byte. */
static void test_equals_the_twin_on_random_queues(void **state)
{
    (void)state;
    uint64_t x = 99;
    for (unsigned round = 0; round < 150; round++) {
        struct archive a = {.events = calloc(EVENTS_MAX, sizeof(struct event))};
        assert_non_null(a.events);
        size_t raw_size = 100000 + next_random(&x) % 900000;
        size_t average = (size_t)256 << next_random(&x) % 11;
        unsigned suggestion_count = next_random(&x) % 60;
        for (unsigned i = 0; i < suggestion_count; i++) {
            uint64_t offset = next_random(&x) % (uint32_t)(raw_size + 1000);
            if (round % 3)
                offset = raw_size / (suggestion_count + 1) * i + offset % 5000;
            for (unsigned k = 0; k <= next_random(&x) % 3; k++)
                archive_event(&a, (struct event){.kind = EVENT_SUGGEST, .offset = offset});
        }
        uint64_t raw_at = 0;
        uint64_t injected = 0;
        while (next_random(&x) % 20) {
            raw_at += next_random(&x) % 60000;
            if (raw_at > raw_size)
                break;
            uint64_t size = next_random(&x) % 3 ? next_random(&x) % 50000 : 0;
            archive_event(&a, (struct event){.kind = EVENT_ORDER, .offset = raw_at + injected, .size = size});
            injected += size;
        }
        uint8_t *data = make_lcg(raw_size, round);
        for (size_t at = 0; at < raw_size;) {
            size_t size = next_random(&x) % (round % 2 ? 500000 : 20000);
            if (size > raw_size - at)
                size = raw_size - at;
            archive_write(&a, data + at, size);
            at += size;
        }
        a.position += injected;
        free(data);
        struct list *expected = twin_run(&a, average);
        struct list *l = play(&a, average, 0, round % 2 ? 300 : 0, ASK_SOMETIMES);
        assert_lists_equal(l, expected);
        free(l);
        free(expected);
        archive_deinit(&a);
    }
}

/* Parts that do not lie side by side in memory are separate views. */
static void test_bytes_may_lie_anywhere(void **state)
{
    (void)state;
    enum { SIZE = 1048576, PART = 997 };
    uint8_t *data = make_lcg(SIZE, 1);
    static uint8_t scattered[2 * SIZE + 2 * PART];
    struct payload_cutter *c = make(65536, SIZE_MAX);
    struct list *l = list_new();
    static const uint64_t orders[][2] = {{300000, 123456}};
    order(c, orders[0][0], orders[0][1]);
    for (size_t at = 0; at < SIZE; at += PART) {
        size_t size = SIZE - at < PART ? SIZE - at : PART;
        memcpy(scattered + 2 * at, data + at, size);
        write_bytes(c, scattered + 2 * at, size);
    }
    finish(c, l);
    struct list *whole = cut_whole(65536, SIZE_MAX, data, SIZE, NULL, 0, orders, 1);
    assert_lists_equal(l, whole);
    free(whole);
    free(l);
    free(data);
}

/* A stream whose memory is reused as soon as a chunk is delivered: nothing is read afterwards, nothing piles up. */
static void test_bytes_are_free_once_a_chunk_covers_them(void **state)
{
    (void)state;
    enum { BLOCK = 4096, COUNT_OF_BLOCKS = 4000 };
    struct payload_cutter *c = make(4096, 0);
    static uint8_t *blocks[COUNT_OF_BLOCKS];
    static uint64_t taken;
    size_t released = 0;
    size_t waiting_max = 0;
    struct cut cut;
    taken = 0;
    for (size_t i = 0; i < COUNT_OF_BLOCKS; i++) {
        blocks[i] = make_lcg(BLOCK, i); /* an allocation each: the address sanitizer sees late reads */
        suggest(c, i * BLOCK);
        write_bytes(c, blocks[i], BLOCK);
        for (;;) {
            assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
            if (cut.kind == CUT_MORE)
                break;
            taken += cut.size;
            while ((released + 1) * BLOCK <= taken)
                free(blocks[released++]);
        }
        if (i + 1 - released > waiting_max)
            waiting_max = i + 1 - released;
    }
    assert_true(waiting_max <= (PIECE_BUFFER_SIZE + 4 * 4096) / BLOCK + 1);
    assert_int_equal(payload_cutter_end(c, NULL), OK);
    do
        assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
    while (cut.kind != CUT_MORE);
    payload_cutter_free(c);
    while (released < COUNT_OF_BLOCKS)
        free(blocks[released++]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suggestions_by_feed_size),
        cmocka_unit_test(test_forced_boundary_in_a_stream),
        cmocka_unit_test(test_forced_boundary_at_a_hash_cut),
        cmocka_unit_test(test_suggestions_and_forced_boundaries_together),
        cmocka_unit_test(test_hash_vectors_of_change_detection),
        cmocka_unit_test(test_whole_payload_stream),
        cmocka_unit_test(test_parts_of_a_write_and_asking_do_not_matter),
        cmocka_unit_test(test_suggestion_behind_a_large_block_is_never_lost),
        cmocka_unit_test(test_held_piece_waits_for_bytes),
        cmocka_unit_test(test_suggestion_must_fit_minimum_and_maximum),
        cmocka_unit_test(test_suggestion_at_the_end_and_at_the_start_of_a_piece),
        cmocka_unit_test(test_write_joins_the_piece_only_if_it_fits),
        cmocka_unit_test(test_queues_grow_while_they_are_wrapped),
        cmocka_unit_test(test_far_suggestion_blocks_nearer_ones_until_it_is_passed),
        cmocka_unit_test(test_suggestion_behind_a_forced_boundary_counts_from_the_new_chunk),
        cmocka_unit_test(test_orders_where_nothing_is_buffered),
        cmocka_unit_test(test_order_is_answered_at_once_when_nothing_is_in_front),
        cmocka_unit_test(test_wrong_orders_are_errors),
        cmocka_unit_test(test_equals_the_twin_on_random_archives),
        cmocka_unit_test(test_equals_the_twin_on_random_queues),
        cmocka_unit_test(test_bytes_may_lie_anywhere),
        cmocka_unit_test(test_bytes_are_free_once_a_chunk_covers_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
