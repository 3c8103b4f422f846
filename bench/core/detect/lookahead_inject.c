#include "detect/lookahead_inject.h"

#include "detect/lookahead_equal.h"

#include <stdlib.h>

struct injector_use {
    uint64_t used; /* bytes, through all listings */
    uint32_t times;
};

enum status injector_init(struct injector *i, const struct dynamic_index *index, struct error *err)
{
    void *by_first;
    TRY(equal_entries(index, &i->first_equal, err));
    TRY(array_new(index->count, sizeof *i->by_first, INDEX_ENTRIES_MAX, "entries of the old index", &by_first, err));
    i->by_first = by_first;
    return OK;
}

void injector_deinit(struct injector *i)
{
    free(i->first_equal);
    free(i->by_first);
}

static uint64_t waste_of(const struct injector_use *use, uint64_t size)
{
    return use->times == 0 || use->used >= size ? 0 : size - use->used;
}

/* What several listings of one chunk serve adds up. It is exact where they serve different parts, as relistings do;
 * copies in the old stream that are used in the same parts make it too low, never lower than nothing. */
static void count_chunk(struct injector *i, const struct reuse_chunk *chunk)
{
    struct lookahead_counters *c = &i->counters;
    ASSERT(chunk->head + chunk->tail <= chunk->padding && chunk->padding <= chunk->size);
    c->injected_chunks++;
    c->injected_bytes += chunk->size;
    if (chunk->padding > 0)
        c->partial_chunks++;
    if (chunk->padding == chunk->size)
        c->unreferenced_chunks++;
    struct injector_use *use = &i->by_first[i->first_equal[chunk->entry]];
    c->stored_waste_bytes -= waste_of(use, chunk->size);
    if (use->times < UINT32_MAX)
        use->times++;
    if (use->times == 2)
        c->relisted_chunks++;
    uint64_t used = chunk->size - chunk->padding;
    use->used += used < chunk->size - use->used ? used : chunk->size - use->used;
    c->stored_waste_bytes += waste_of(use, chunk->size);
}

enum status injector_list(struct injector *i, const struct reuse_chunk *chunks, size_t count, struct error *err)
{
    for (size_t done = 0; done < count;) {
        size_t batch = count - done < INJECTION_BATCH_MAX ? count - done : INJECTION_BATCH_MAX;
        uint64_t size = 0;
        for (size_t k = done; k < done + batch; k++) {
            count_chunk(i, &chunks[k]);
            size += chunks[k].size;
        }
        TRY(i->ops->inject(i->context, i->ops->payload_position(i->context), chunks + done, batch, size, err));
        done += batch;
    }
    return OK;
}
