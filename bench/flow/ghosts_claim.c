#include "flow/ghosts_claim.h"

#include "pxar/item.h"

#include <inttypes.h>
#include <stdlib.h>

enum { CLAIMS_MAX = 1 << 30 };

enum status ghost_claims_begin(struct ghost_claims *c, const struct dynamic_index *index, const char *name,
                               const struct chunk_table *newest, const struct chunk_parts *gaps, struct error *err)
{
    void *chunks;
    *c = (struct ghost_claims){.index = index, .gaps = gaps};
    TRY(array_new(index->count, sizeof *c->chunks, INDEX_ENTRIES_MAX, "index entries", &chunks, err));
    c->chunks = chunks;
    for (size_t k = 0; k < index->count; k++) {
        uint32_t chunk;
        if (!chunk_table_find(newest, &index->entries[k].digest, &chunk))
            continue;
        uint64_t size = dynamic_index_chunk_size(index, k);
        if (size != newest->chunks[chunk].size) {
            char text[DIGEST_TEXT_SIZE];
            return fail(err, ERR_FORMAT,
                        "%s: entry %zu at offset %" PRIu64 " lists chunk %s with %" PRIu64
                        " bytes, the newest snapshot with %" PRIu32,
                        name, k, dynamic_index_start(index, k), digest_text(&index->entries[k].digest, text), size,
                        newest->chunks[chunk].size);
        }
        size_t gap = chunk_parts_find(gaps, chunk, 0);
        if (gap < gaps->count && gaps->items[gap].chunk == chunk)
            c->chunks[k] = chunk + 1;
    }
    return OK;
}

void ghost_claims_deinit(struct ghost_claims *c)
{
    free(c->chunks);
    free(c->parts);
    free(c->shares);
    *c = (struct ghost_claims){0};
}

static enum status add_part(struct ghost_claims *c, const struct ghost_part *p, struct error *err)
{
    size_t gap = chunk_parts_find(c->gaps, p->part.chunk, p->part.begin);
    if (gap == c->gaps->count || c->gaps->items[gap].chunk != p->part.chunk || c->gaps->items[gap].begin >= p->part.end)
        return OK;
    void *parts = c->parts;
    TRY(array_grow(&parts, c->part_count, &c->part_capacity, sizeof *p, CLAIMS_MAX, "parts of files", err));
    c->parts = parts;
    c->parts[c->part_count++] = *p;
    return OK;
}

enum status ghost_claims_file(struct ghost_claims *c, uint64_t file, uint64_t offset, uint64_t size, struct error *err)
{
    uint64_t end = offset + ITEM_HEADER_SIZE + size;
    size_t k;
    TRY(dynamic_index_find(c->index, offset, c->hint, &k, err));
    c->hint = k;
    for (; k < c->index->count && dynamic_index_start(c->index, k) < end; k++) {
        if (c->chunks[k] == 0)
            continue;
        uint64_t start = dynamic_index_start(c->index, k);
        uint64_t from = offset > start ? offset : start;
        uint64_t to = end < c->index->entries[k].end ? end : c->index->entries[k].end;
        const struct ghost_part part = {
            .file = file,
            .within = from - offset,
            .part = {.chunk = c->chunks[k] - 1, .begin = (uint32_t)(from - start), .end = (uint32_t)(to - start)}};
        TRY(add_part(c, &part, err));
    }
    return OK;
}

/* ---- settling ---- */

static int compare_parts(const void *a, const void *b)
{
    const struct ghost_part *x = a, *y = b;
    if (x->part.chunk != y->part.chunk)
        return x->part.chunk < y->part.chunk ? -1 : 1;
    if (x->part.begin != y->part.begin)
        return x->part.begin < y->part.begin ? -1 : 1;
    return (x->file > y->file) - (x->file < y->file);
}

static int compare_shares(const void *a, const void *b)
{
    const struct ghost_share *x = a, *y = b;
    return (x->file > y->file) - (x->file < y->file);
}

/* The file gets begin..end of the chunk that `p` is in. */
static enum status give(struct ghost_claims *c, const struct ghost_part *p, uint32_t begin, uint32_t end,
                        struct error *err)
{
    uint64_t within = p->within + (begin - p->part.begin);
    uint64_t count = end - begin;
    uint64_t header = within >= ITEM_HEADER_SIZE ? 0 : ITEM_HEADER_SIZE - within;
    header = header < count ? header : count;
    void *shares = c->shares;
    TRY(array_grow(&shares, c->share_count, &c->share_capacity, sizeof *c->shares, CLAIMS_MAX, "parts of files", err));
    c->shares = shares;
    c->shares[c->share_count++] =
        (struct ghost_share){.file = p->file, .bytes = count - header, .header_bytes = header};
    return OK;
}

static enum status keep(struct chunk_parts *left, uint32_t chunk, uint32_t begin, uint32_t end, struct error *err)
{
    if (begin >= end)
        return OK;
    return chunk_parts_add(left, (struct chunk_part){.chunk = chunk, .begin = begin, .end = end}, err);
}

/* One gap against the parts of its chunk, from *i on. Leaves *i at the first part that may reach behind the gap. */
static enum status settle_gap(struct ghost_claims *c, const struct chunk_part *gap, size_t *i, struct chunk_parts *left,
                              struct error *err)
{
    uint32_t at = gap->begin; /* decided up to here */
    for (; *i < c->part_count && c->parts[*i].part.chunk == gap->chunk; ++*i) {
        const struct ghost_part *p = &c->parts[*i];
        if (p->part.begin >= gap->end)
            break;
        uint32_t begin = p->part.begin > at ? p->part.begin : at;
        uint32_t end = p->part.end < gap->end ? p->part.end : gap->end;
        if (begin < end) {
            TRY(keep(left, gap->chunk, at, begin, err));
            TRY(give(c, p, begin, end, err));
            at = end;
        }
        if (p->part.end > gap->end)
            break; /* what comes behind it has no byte of this gap any more; it may itself have some of the next */
    }
    return keep(left, gap->chunk, at, gap->end, err);
}

static void merge_shares(struct ghost_claims *c)
{
    if (c->share_count == 0)
        return;
    qsort(c->shares, c->share_count, sizeof *c->shares, compare_shares);
    size_t last = 0;
    for (size_t i = 1; i < c->share_count; i++)
        if (c->shares[i].file == c->shares[last].file) {
            c->shares[last].bytes += c->shares[i].bytes;
            c->shares[last].header_bytes += c->shares[i].header_bytes;
        } else {
            c->shares[++last] = c->shares[i];
        }
    c->share_count = last + 1;
}

enum status ghost_claims_settle(struct ghost_claims *c, struct chunk_parts *gaps, struct error *err)
{
    CLEANUP(chunk_parts_deinit) struct chunk_parts left = {0};
    ASSERT(gaps == c->gaps);
    if (c->part_count > 0)
        qsort(c->parts, c->part_count, sizeof *c->parts, compare_parts);
    size_t i = 0;
    for (size_t g = 0; g < gaps->count; g++) {
        const struct chunk_part *gap = &gaps->items[g];
        while (i < c->part_count && c->parts[i].part.chunk < gap->chunk)
            i++;
        TRY(settle_gap(c, gap, &i, &left, err));
    }
    merge_shares(c);
    chunk_parts_deinit(gaps);
    *gaps = left;
    left = (struct chunk_parts){0};
    return OK;
}
