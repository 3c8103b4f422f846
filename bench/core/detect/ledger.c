#include "detect/ledger.h"

static enum status complete(struct ledger *l, struct error *err)
{
    struct ledger_range range = l->range;
    l->range = (struct ledger_range){.start = l->totals.size, .end = l->totals.size};
    if (range.start == range.end)
        return OK;
    l->totals.ranges++;
    l->totals.start_padding += range.start_padding;
    l->totals.end_padding += range.end_padding;
    l->totals.hole_padding += range.hole_padding;
    return l->on_range ? l->on_range(l->context, &range, err) : OK;
}

enum status ledger_chunk(struct ledger *l, uint64_t size, uint64_t head, uint64_t holes, uint64_t tail,
                         struct error *err)
{
    struct ledger_totals *t = &l->totals;
    if (size == 0)
        return OK;
    if (size > UINT64_MAX - t->size)
        return fail(err, ERR_LIMIT, "payload stream longer than 2^64 bytes");
    if (head == size) {
        ASSERT(holes == 0 && tail == 0);
        TRY(complete(l, err));
        t->size += size;
        t->padding += size;
        t->dead_padding += size;
        t->partial_chunks++;
        t->unreferenced_chunks++;
        l->range.start = l->range.end = t->size;
        return OK;
    }
    ASSERT(head < size && holes < size - head && tail < size - head - holes);
    if (head > 0)
        TRY(complete(l, err));
    uint64_t padding = head + holes + tail;
    t->size += size;
    t->referenced += size - padding;
    t->padding += padding;
    t->partial_chunks += padding > 0;
    l->range.end = t->size;
    l->range.referenced += size - padding;
    l->range.start_padding += head;
    l->range.hole_padding += holes;
    l->range.end_padding += tail;
    return tail > 0 ? complete(l, err) : OK;
}

enum status ledger_raw(struct ledger *l, uint64_t size, struct error *err)
{
    return ledger_chunk(l, size, 0, 0, 0, err);
}

enum status ledger_finish(struct ledger *l, struct error *err)
{
    return complete(l, err);
}
