#include "detect/lookahead_inject.h"

/* Files never overlap, so what several listings of one chunk serve adds up. */
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
    if (i->times == 0 || i->entry != chunk->entry) {
        ASSERT(i->times == 0 || i->entry < chunk->entry);
        i->entry = chunk->entry;
        i->times = 0;
        c->stored_waste_bytes += chunk->size;
    }
    if (i->times < UINT32_MAX)
        i->times++;
    if (i->times == 2)
        c->relisted_chunks++;
    uint64_t used = chunk->size - chunk->padding;
    ASSERT(c->stored_waste_bytes >= used);
    c->stored_waste_bytes -= used;
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
