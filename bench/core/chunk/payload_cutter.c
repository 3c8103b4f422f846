#include "chunk/payload_cutter.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static_assert((PIECE_BUFFER_SIZE & (PIECE_BUFFER_SIZE - 1)) == 0, "the writer's buffer");

/* A queue of equal items in one growing allocation; `capacity` is a power of two or 0. */
struct ring {
    void *items;
    size_t head;
    size_t count;
    size_t capacity;
};

enum { RING_CAPACITY_FIRST = 64, RING_COUNT_MAX = 1 << 24 };

static enum status ring_grow(struct ring *r, size_t item_size, const char *what, struct error *err)
{
    if (r->count < r->capacity)
        return OK;
    if (r->count >= RING_COUNT_MAX)
        return fail(err, ERR_LIMIT, "payload stream: more than %d %s are waiting", RING_COUNT_MAX, what);
    size_t capacity = r->capacity ? 2 * r->capacity : RING_CAPACITY_FIRST;
    /* Cannot overflow: RING_COUNT_MAX small items. */
    uint8_t *items = malloc(capacity * item_size);
    if (!items)
        return fail(err, ERR_MEMORY, "out of memory for %zu %s", capacity, what);
    if (r->count > 0) {
        size_t first = r->capacity - r->head < r->count ? r->capacity - r->head : r->count;
        memcpy(items, (uint8_t *)r->items + r->head * item_size, first * item_size);
        memcpy(items + first * item_size, r->items, (r->count - first) * item_size);
    }
    free(r->items);
    r->items = items;
    r->head = 0;
    r->capacity = capacity;
    return OK;
}

static size_t ring_slot(const struct ring *r, size_t index)
{
    return (r->head + index) & (r->capacity - 1);
}

static void ring_pop(struct ring *r)
{
    ASSERT(r->count > 0);
    r->head = ring_slot(r, 1);
    r->count--;
}

/* Bytes of the owner. */
struct view {
    const uint8_t *data;
    size_t size;
};

/* Files that are reused together all suggest the same offset, by the hundred thousand: equal neighbours are counted. */
struct suggestion {
    uint64_t offset;
    uint64_t count;
};

struct order {
    uint64_t boundary;
    uint64_t size;
};

/* A raw byte's way:
 *
 *      consumed                                                      stream offset of the first byte not taken
 *         |<---------------- buffered ------------------->|          pieces handed to the chunker
 *         |<--- scan_pos --->|                            |<-- pieces, or `unfed` -->|<- buffer_size, write_size ->|
 *     ----+------------------+----------------------------+--------------------------+-----------------------------+
 *      taken     scanned           not yet scanned           complete, waiting          the writer's buffer, a write
 */
struct payload_cutter {
    struct chunker chunker;
    size_t feed_size; /* 0: the piece rule */
    bool ended;

    struct ring views;   /* of all bytes not taken */
    size_t front_offset; /* bytes of the first view that are taken */
    /* Where scan_pos is in the views: the plain scan does not search for it. */
    size_t scan_view;
    size_t scan_offset;

    uint64_t consumed;
    size_t buffered;
    size_t scan_pos;

    struct ring pieces;      /* sizes, by the piece rule */
    bool last_piece_is_held; /* nothing behind the last piece is known yet */
    size_t buffer_size;      /* finished writes in the writer's buffer */
    size_t write_size;       /* of the write that is under way */
    size_t unfed;            /* with a feed size: bytes not yet handed to the chunker */

    struct ring suggestions;
    struct ring orders;
    bool inject_due; /* the raw bytes in front of the first order are delivered, its chunks are not */
};

static struct view *view_at(const struct payload_cutter *c, size_t index)
{
    return (struct view *)c->views.items + ring_slot(&c->views, index);
}

static struct suggestion *suggestion_at(const struct payload_cutter *c, size_t index)
{
    return (struct suggestion *)c->suggestions.items + ring_slot(&c->suggestions, index);
}

enum status payload_cutter_new(size_t average, size_t feed_size, struct payload_cutter **out, struct error *err)
{
    struct chunker chunker;
    TRY(chunker_init(&chunker, average, err));
    struct payload_cutter *c = calloc(1, sizeof *c);
    if (!c)
        return fail(err, ERR_MEMORY, "out of memory for a payload chunker");
    c->chunker = chunker;
    c->feed_size = feed_size;
    *out = c;
    return OK;
}

void payload_cutter_free(struct payload_cutter *c)
{
    if (!c)
        return;
    free(c->views.items);
    free(c->pieces.items);
    free(c->suggestions.items);
    free(c->orders.items);
    free(c);
}

enum status payload_cutter_suggest(struct payload_cutter *c, uint64_t offset, struct error *err)
{
    ASSERT(!c->ended);
    if (c->suggestions.count > 0) {
        struct suggestion *last = suggestion_at(c, c->suggestions.count - 1);
        if (last->offset == offset) {
            last->count++;
            return OK;
        }
    }
    TRY(ring_grow(&c->suggestions, sizeof(struct suggestion), "suggested boundaries", err));
    *suggestion_at(c, c->suggestions.count++) = (struct suggestion){.offset = offset, .count = 1};
    return OK;
}

enum status payload_cutter_order(struct payload_cutter *c, uint64_t boundary, uint64_t size, struct error *err)
{
    ASSERT(!c->ended);
    uint64_t end;
    /* Signed range, so that adding real bytes to a stream offset never overflows. */
    if (__builtin_add_overflow(boundary, size, &end) || end > INT64_MAX)
        return fail(err, ERR_LIMIT, "payload stream: injecting %" PRIu64 " bytes at offset %" PRIu64 " is out of range",
                    size, boundary);
    TRY(ring_grow(&c->orders, sizeof(struct order), "injection orders", err));
    ((struct order *)c->orders.items)[ring_slot(&c->orders, c->orders.count++)] =
        (struct order){.boundary = boundary, .size = size};
    return OK;
}

static enum status push_view(struct payload_cutter *c, const uint8_t *data, size_t size, struct error *err)
{
    if (c->views.count > 0) {
        struct view *last = view_at(c, c->views.count - 1);
        if (last->data + last->size == data) {
            last->size += size;
            return OK;
        }
    }
    TRY(ring_grow(&c->views, sizeof(struct view), "parts of writes", err));
    *view_at(c, c->views.count++) = (struct view){.data = data, .size = size};
    return OK;
}

static enum status push_piece(struct payload_cutter *c, size_t size, struct error *err)
{
    TRY(ring_grow(&c->pieces, sizeof(size_t), "pieces", err));
    ((size_t *)c->pieces.items)[ring_slot(&c->pieces, c->pieces.count++)] = size;
    return OK;
}

/* The writer's buffer without its bytes. A write that does not fit into the free space first sends what is buffered;
 * one that fills the whole buffer alone goes past it. Sizes of writes only grow, so parts can be judged as they come.
 */
static enum status form_pieces(struct payload_cutter *c, size_t size, bool ends_write, struct error *err)
{
    c->write_size += size;
    if (c->buffer_size > 0 && c->write_size > PIECE_BUFFER_SIZE - c->buffer_size) {
        TRY(push_piece(c, c->buffer_size, err));
        c->buffer_size = 0;
    }
    if (!ends_write)
        return OK;
    if (c->write_size >= PIECE_BUFFER_SIZE) {
        TRY(push_piece(c, c->write_size, err));
        /* The next file's suggestion lies exactly at the end of this piece: it must come first, or it would be lost. */
        c->last_piece_is_held = true;
    } else {
        c->buffer_size += c->write_size;
    }
    c->write_size = 0;
    return OK;
}

enum status payload_cutter_write(struct payload_cutter *c, const uint8_t *data, size_t size, bool ends_write,
                                 struct error *err)
{
    ASSERT(!c->ended);
    if (size > 0) {
        TRY(push_view(c, data, size, err));
        /* Only bytes release a held piece, not the first suggestion or order behind it: when the first of several is
         * known and the owner asks in between, the answer must not differ. An empty write is no event at all. */
        c->last_piece_is_held = false;
    }
    if (c->feed_size == 0)
        return form_pieces(c, size, ends_write, err);
    c->unfed += size;
    return OK;
}

enum status payload_cutter_end(struct payload_cutter *c, struct error *err)
{
    ASSERT(!c->ended && c->write_size == 0);
    if (c->buffer_size > 0)
        TRY(push_piece(c, c->buffer_size, err));
    c->buffer_size = 0;
    c->last_piece_is_held = false;
    c->ended = true;
    return OK;
}

/* Hands one more piece to the chunker, if there is one. */
static bool feed_piece(struct payload_cutter *c)
{
    if (c->feed_size > 0) {
        if (c->unfed == 0 || (c->unfed <= c->feed_size && !c->ended))
            return false;
        size_t size = c->unfed < c->feed_size ? c->unfed : c->feed_size;
        c->unfed -= size;
        c->buffered += size;
        return true;
    }
    if (c->pieces.count == (c->last_piece_is_held ? 1U : 0U))
        return false;
    c->buffered += ((const size_t *)c->pieces.items)[c->pieces.head];
    ring_pop(&c->pieces);
    return true;
}

static void pop_suggestions(struct payload_cutter *c, uint64_t count)
{
    struct suggestion *s = suggestion_at(c, 0);
    s->count -= count;
    if (s->count == 0)
        ring_pop(&c->suggestions);
}

/* The size at which a suggestion ends the chunk, or 0: ask the hash. */
static size_t cut_as_suggested(struct payload_cutter *c)
{
    const uint64_t start = c->consumed + c->scan_pos;
    const uint64_t end = c->consumed + c->buffered;
    while (c->suggestions.count > 0) {
        const struct suggestion *s = suggestion_at(c, 0);
        if (s->offset < start) {
            pop_suggestions(c, s->count);
            continue;
        }
        if (s->offset > end)
            return 0; /* not decidable yet */
        uint64_t chunk_size = s->offset - c->consumed;
        if (chunk_size < c->chunker.chunk_size_min) {
            pop_suggestions(c, s->count);
            continue;
        }
        if (chunk_size > c->chunker.chunk_size_max)
            return 0;
        bool is_passed = s->offset == start;
        pop_suggestions(c, 1);
        return is_passed ? 0 : (size_t)chunk_size;
    }
    return 0;
}

/* The size at which the hash ends the chunk, looking at its first `stop` bytes at most, or 0. */
static size_t cut_by_hash(struct payload_cutter *c, size_t stop)
{
    while (c->scan_pos < stop) {
        const struct view *v = view_at(c, c->scan_view);
        size_t size = v->size - c->scan_offset;
        if (size == 0) {
            c->scan_view++;
            c->scan_offset = 0;
            continue;
        }
        if (size > stop - c->scan_pos)
            size = stop - c->scan_pos;
        size_t p = chunker_scan(&c->chunker, v->data + c->scan_offset, size);
        if (p > 0)
            return c->scan_pos + p;
        c->scan_pos += size;
        c->scan_offset += size;
    }
    return 0;
}

/* The first `size` bytes are a chunk: forgets them and begins a new one. */
static void take(struct payload_cutter *c, size_t size)
{
    c->buffered -= size;
    c->consumed += size;
    while (size > 0) {
        size_t left = view_at(c, 0)->size - c->front_offset;
        if (size < left) {
            c->front_offset += size;
            break;
        }
        size -= left;
        c->front_offset = 0;
        ring_pop(&c->views);
    }
    c->scan_pos = 0;
    c->scan_view = 0;
    c->scan_offset = c->front_offset;
    chunker_reset(&c->chunker);
}

static enum status deliver_raw(struct payload_cutter *c, size_t size, struct cut *out)
{
    *out = (struct cut){.kind = CUT_RAW, .size = size, .offset = c->consumed};
    take(c, size);
    return OK;
}

enum status payload_cutter_next(struct payload_cutter *c, struct cut *out, struct error *err)
{
    for (;;) {
        const struct order *order = NULL;
        uint64_t room = UINT64_MAX; /* bytes of this chunk in front of the forced boundary */
        if (c->orders.count > 0) {
            order = (const struct order *)c->orders.items + c->orders.head;
            if (c->inject_due) {
                *out = (struct cut){.kind = CUT_INJECT, .size = order->size, .offset = c->consumed};
                c->consumed += order->size;
                c->inject_due = false;
                ring_pop(&c->orders);
                return OK;
            }
            if (order->boundary < c->consumed)
                return fail(err, ERR_FORMAT,
                            "payload stream: invalid injection boundary %" PRIu64 ", already at offset %" PRIu64,
                            order->boundary, c->consumed);
            room = order->boundary - c->consumed;
        }

        size_t cut = 0;
        if (c->scan_pos < c->buffered) {
            cut = cut_as_suggested(c);
            /* Behind the boundary everything is scanned again anyway: hashing stops there. */
            if (cut == 0)
                cut = cut_by_hash(c, room < c->buffered ? (size_t)room : c->buffered);
        }
        if (order && room <= (cut ? cut : c->buffered)) {
            c->inject_due = true;
            if (room > 0)
                return deliver_raw(c, (size_t)room, out);
            take(c, 0);
            continue;
        }
        if (cut > 0)
            return deliver_raw(c, cut, out);

        if (feed_piece(c))
            continue;
        if (c->ended && order)
            return fail(err, ERR_FORMAT,
                        "payload stream: injection queue not fully consumed: boundary %" PRIu64
                        " lies behind the end at offset %" PRIu64,
                        order->boundary, c->consumed + c->buffered);
        if (c->ended && c->buffered > 0)
            return deliver_raw(c, c->buffered, out);
        *out = (struct cut){.kind = CUT_MORE, .offset = c->consumed};
        return OK;
    }
}
