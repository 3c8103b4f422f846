#include "detect/usage.h"

#include "pxar/item.h"

#include <inttypes.h>

static void open_chunk(struct usage *u, size_t entry)
{
    u->open_used_end = 0;
    u->open = (struct usage_chunk){.entry = entry};
    if (entry == u->index->count)
        return;
    u->open.start = dynamic_index_start(u->index, entry);
    u->open.size = dynamic_index_chunk_size(u->index, entry);
}

static enum status complete_chunk(struct usage *u, struct error *err)
{
    struct usage_chunk *c = &u->open;
    if (u->open_used_end == 0)
        c->head = c->size;
    else
        c->tail = c->start + c->size - u->open_used_end;
    TRY(ledger_chunk(u->ledger, c->size, c->head, c->holes, c->tail, err));
    if (u->observer.chunk)
        TRY(u->observer.chunk(u->observer.context, c, err));
    open_chunk(u, c->entry + 1);
    return OK;
}

/* start < end, start >= used_end, end within the stream. */
static enum status use(struct usage *u, uint64_t start, uint64_t end, bool is_file, struct error *err)
{
    if (start > u->used_end && u->observer.unused)
        TRY(u->observer.unused(u->observer.context, u->used_end, start, err));
    u->used_end = end;
    for (;;) {
        struct usage_chunk *c = &u->open;
        uint64_t chunk_end = c->start + c->size;
        if (start < chunk_end) {
            uint64_t from = start > c->start ? start : c->start;
            if (u->open_used_end == 0)
                c->head = from - c->start;
            else
                c->holes += from - u->open_used_end;
            u->open_used_end = end < chunk_end ? end : chunk_end;
            c->files += is_file;
            if (end <= chunk_end)
                return OK;
        }
        TRY(complete_chunk(u, err));
    }
}

enum status usage_begin(struct usage *u, const struct dynamic_index *index, struct ledger *ledger,
                        const struct usage_observer *observer, struct error *err)
{
    uint64_t size = dynamic_index_size(index);
    if (size < 2 * ITEM_HEADER_SIZE)
        return fail(err, ERR_FORMAT, "payload stream of %" PRIu64 " bytes has no room for its two markers", size);
    *u = (struct usage){.index = index, .ledger = ledger, .size = size};
    if (observer)
        u->observer = *observer;
    open_chunk(u, 0);
    return use(u, 0, ITEM_HEADER_SIZE, false, err);
}

enum status usage_file(struct usage *u, uint64_t offset, uint64_t size, struct error *err)
{
    uint64_t end_max = u->size - ITEM_HEADER_SIZE; /* the tail marker */
    if (offset < u->used_end)
        return fail(err, ERR_FORMAT,
                    "reference to payload offset %" PRIu64 ", but the stream is used up to %" PRIu64 " already", offset,
                    u->used_end);
    if (offset > end_max || end_max - offset < ITEM_HEADER_SIZE || end_max - offset - ITEM_HEADER_SIZE < size)
        return fail(err, ERR_FORMAT,
                    "reference to payload offset %" PRIu64 " with %" PRIu64
                    " bytes of contents leaves the stream: its contents end at %" PRIu64,
                    offset, size, end_max);
    return use(u, offset, offset + ITEM_HEADER_SIZE + size, true, err);
}

enum status usage_finish(struct usage *u, struct error *err)
{
    TRY(use(u, u->size - ITEM_HEADER_SIZE, u->size, false, err));
    while (u->open.entry < u->index->count)
        TRY(complete_chunk(u, err));
    return ledger_finish(u->ledger, err);
}
