#include "detect/lookahead_inject.h"

#include <string.h>

static bool same_contents(const struct dynamic_index *index, size_t a, size_t b)
{
    return a == b || (dynamic_index_chunk_size(index, a) == dynamic_index_chunk_size(index, b) &&
                      digest_equal(&index->entries[a].digest, &index->entries[b].digest));
}

/* Moved to the front. */
static struct injected *remember(struct injector *i, const struct reuse_chunk *chunk)
{
    struct injected found = {.entry = chunk->entry, .unused = chunk->size};
    size_t at = 0;
    while (at < i->last_count && !same_contents(i->index, i->last[at].entry, chunk->entry))
        at++;
    if (at < i->last_count) {
        found = i->last[at];
    } else {
        i->counters.stored_waste_bytes += chunk->size;
        if (i->last_count < INJECTED_MAX)
            i->last_count++;
        else
            at--;
    }
    memmove(i->last + 1, i->last, at * sizeof *i->last);
    i->last[0] = found;
    return i->last;
}

/* Files do not overlap, so what the listings of one chunk serve adds up; of true copies, which serve the same bytes
 * again, no more than all counts. */
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
    struct injected *known = remember(i, chunk);
    if (!known->relisted && known->listed) {
        known->relisted = true;
        c->relisted_chunks++;
    }
    known->listed = true;
    uint64_t used = chunk->size - chunk->padding;
    used = used < known->unused ? used : known->unused;
    known->unused -= used;
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
