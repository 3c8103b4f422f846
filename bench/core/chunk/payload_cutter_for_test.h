/* What the tests of the payload cutter share: lists of chunk ends, the events of an archive and playing them. */
#ifndef PXB_CHUNK_PAYLOAD_CUTTER_FOR_TEST_H
#define PXB_CHUNK_PAYLOAD_CUTTER_FOR_TEST_H

#include "testing/testing.h"

#include "chunk/payload_cutter.h"

#include "base/bytes.h"

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

static inline void add(struct list *l, uint64_t end, bool is_injected)
{
    assert_true(l->count < LIST_MAX);
    l->end[l->count] = end;
    l->is_injected[l->count++] = is_injected;
}

static inline const char *list_digest(const struct list *l)
{
    static char text[1 << 20];
    size_t size = 0;
    for (size_t i = 0; i < l->count; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, i ? ",%" PRIu64 : "%" PRIu64, l->end[i]);
    return sha256_hex(text, size);
}

static inline void assert_lists_equal(const struct list *a, const struct list *b)
{
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        assert_int_equal(a->end[i], b->end[i]);
        assert_int_equal(a->is_injected[i], b->is_injected[i]);
    }
    assert_int_equal(a->count, b->count);
}

/* `expected`: end offsets, injected ones negative, ended by 0. */
static inline void assert_list(const struct list *l, const int64_t *expected)
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

static inline struct payload_cutter *make(size_t average, size_t feed_size)
{
    struct payload_cutter *c = NULL;
    assert_int_equal(payload_cutter_new(average, feed_size, &c, NULL), OK);
    return c;
}

static inline void suggest(struct payload_cutter *c, uint64_t offset)
{
    assert_int_equal(payload_cutter_suggest(c, offset, NULL), OK);
}

static inline void order(struct payload_cutter *c, uint64_t boundary, uint64_t size)
{
    assert_int_equal(payload_cutter_order(c, boundary, size, NULL), OK);
}

static inline void write_bytes(struct payload_cutter *c, const uint8_t *data, size_t size)
{
    assert_int_equal(payload_cutter_write(c, data, size, true, NULL), OK);
}

/* Asks until there is nothing more; offsets and sizes must fit together without a gap. */
static inline enum status drain(struct payload_cutter *c, struct list *l, struct error *err)
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

static inline void finish(struct payload_cutter *c, struct list *l)
{
    assert_int_equal(payload_cutter_end(c, NULL), OK);
    assert_int_equal(drain(c, l, NULL), OK);
    assert_int_equal(drain(c, l, NULL), OK); /* asking again changes nothing */
    payload_cutter_free(c);
}

static inline struct list *list_new(void)
{
    struct list *l = calloc(1, sizeof *l);
    assert_non_null(l);
    return l;
}

/* One write of everything, suggestions and orders before it. */
static inline struct list *cut_whole(size_t average, size_t feed_size, const uint8_t *data, size_t size,
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

static inline void archive_event(struct archive *a, struct event e)
{
    assert_true(a->event_count < EVENTS_MAX);
    a->events[a->event_count++] = e;
}

static inline void archive_write(struct archive *a, const void *data, size_t size)
{
    uint8_t *grown = realloc(a->data, a->data_size + size + 1);
    assert_non_null(grown);
    a->data = grown;
    memcpy(a->data + a->data_size, data, size);
    a->data_size += size;
    a->position += size;
    archive_event(a, (struct event){.kind = EVENT_WRITE, .size = size});
}

static inline void archive_header(struct archive *a, uint64_t type, uint64_t size)
{
    uint8_t bytes[16];
    store_u64le(bytes, type);
    store_u64le(bytes + 8, size);
    archive_write(a, bytes, sizeof bytes);
}

static inline struct archive archive_begin(void)
{
    struct archive a = {.events = calloc(EVENTS_MAX, sizeof(struct event))};
    assert_non_null(a.events);
    archive_header(&a, 0x834c68c2194a4ed2U, 16);
    return a;
}

static inline void archive_file(struct archive *a, size_t size, uint64_t seed)
{
    uint8_t *data = make_lcg(size, seed);
    archive_event(a, (struct event){.kind = EVENT_SUGGEST, .offset = a->position});
    archive_header(a, 0x28147a1b0b7c1a25U, 16 + size);
    for (size_t at = 0; at < size; at += BLOCK_SIZE)
        archive_write(a, data + at, size - at < BLOCK_SIZE ? size - at : BLOCK_SIZE);
    free(data);
}

/* `file_count` files referenced in old chunks, which come as one order. */
static inline void archive_reuse(struct archive *a, unsigned file_count, uint64_t size)
{
    for (unsigned i = 0; i < file_count; i++)
        archive_event(a, (struct event){.kind = EVENT_SUGGEST, .offset = a->position});
    archive_event(a, (struct event){.kind = EVENT_ORDER, .offset = a->position, .size = size});
    a->position += size;
}

static inline void archive_end(struct archive *a)
{
    archive_header(a, 0x6c72b78b984c81b5U, 16);
}

static inline void archive_deinit(struct archive *a)
{
    free(a->events);
    free(a->data);
}

static inline uint32_t next_random(uint64_t *x)
{
    *x = *x * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(*x >> 33);
}

/* Plays an archive to the cutter: `part_size_max` 0 gives every write at once, else in parts of at most that; `ask` is
 * how often the owner asks in between. The answer must not depend on either. */
enum ask { ASK_AT_THE_END, ASK_ALWAYS, ASK_SOMETIMES };

static inline struct list *play(const struct archive *a, size_t average, size_t feed_size, size_t part_size_max,
                                enum ask ask)
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

#endif
