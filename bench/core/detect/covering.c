#include "detect/covering.h"

#include <inttypes.h>

enum status covering_find(const struct dynamic_index *index, uint64_t start, uint64_t end, enum reuse_profile profile,
                          size_t hint, struct covering *out, struct error *err)
{
    if (start >= end || end > dynamic_index_size(index))
        return fail(err, ERR_FORMAT,
                    "range %" PRIu64 "..%" PRIu64 " does not lie in the previous payload stream of %" PRIu64 " bytes",
                    start, end, dynamic_index_size(index));
    size_t first;
    TRY(dynamic_index_find(index, start, hint, &first, err));
    size_t last = first;
    while (last + 1 < index->count) {
        uint64_t chunk_end = index->entries[last].end;
        if (profile == PROFILE_UPSTREAM ? chunk_end > end : chunk_end >= end)
            break;
        last++;
    }
    uint64_t last_end = index->entries[last].end;
    ASSERT(last_end >= end);
    *out = (struct covering){
        .first = first,
        .count = last - first + 1,
        .start_padding = start - dynamic_index_start(index, first),
        .end_padding = last_end - end,
    };
    return OK;
}

struct reuse_chunk covering_chunk(const struct dynamic_index *index, const struct covering *c, size_t k)
{
    ASSERT(k < c->count);
    struct reuse_chunk chunk = {.entry = c->first + k, .size = dynamic_index_chunk_size(index, c->first + k)};
    if (k == 0)
        chunk.head = c->start_padding;
    if (k == c->count - 1)
        chunk.tail = c->end_padding;
    chunk.padding = chunk.head + chunk.tail;
    if (chunk.padding == chunk.size) { /* upstream's chunk too many */
        chunk.head = chunk.size;
        chunk.tail = 0;
    }
    return chunk;
}

bool padding_exceeds(uint64_t counted, uint64_t total, uint32_t threshold_ppm)
{
    __extension__ typedef unsigned __int128 wide;
    return (wide)counted * PPM_ONE > (wide)total * threshold_ppm;
}
