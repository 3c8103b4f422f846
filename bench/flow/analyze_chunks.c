#include "flow/analyze_chunks.h"

#include "blob/blob.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static_assert(INDEX_ENTRIES_MAX <= UINT32_MAX, "chunks are numbered with 32 bits");
static_assert(CHUNK_RAW_SIZE_MAX <= UINT32_MAX, "places in a chunk have 32 bits");

enum { PARTS_MAX = 1 << 30 };

/* ---- chunks ---- */

struct listing {
    struct digest digest;
    uint32_t size;
    uint32_t entry;
};

static int compare_listings(const void *a, const void *b)
{
    const struct listing *x = a, *y = b;
    int order = memcmp(&x->digest, &y->digest, sizeof x->digest);
    return order ? order : (x->entry > y->entry) - (x->entry < y->entry);
}

static void listings_free(struct listing **l)
{
    free(*l);
}

static enum status read_listings(const struct dynamic_index *index, const char *name, struct listing *out,
                                 struct error *err)
{
    for (size_t k = 0; k < index->count; k++) {
        uint64_t size = dynamic_index_chunk_size(index, k);
        if (size > CHUNK_RAW_SIZE_MAX)
            return fail(err, ERR_FORMAT,
                        "%s: entry %zu at offset %" PRIu64 " is of %" PRIu64 " bytes: a chunk has at most %d", name, k,
                        dynamic_index_start(index, k), size, CHUNK_RAW_SIZE_MAX);
        out[k] = (struct listing){.digest = index->entries[k].digest, .size = (uint32_t)size, .entry = (uint32_t)k};
    }
    return OK;
}

static enum status number_chunks(const struct dynamic_index *index, const struct listing *sorted, const char *name,
                                 struct chunk_table *t, struct error *err)
{
    for (size_t i = 0; i < index->count; i++) {
        const struct listing *l = &sorted[i];
        struct stored_chunk *last = t->count > 0 ? &t->chunks[t->count - 1] : NULL;
        if (!last || !digest_equal(&last->digest, &l->digest)) {
            t->chunks[t->count++] = (struct stored_chunk){.digest = l->digest, .size = l->size, .listings = 1};
        } else if (last->size != l->size) {
            char text[DIGEST_TEXT_SIZE];
            return fail(err, ERR_FORMAT,
                        "%s: entry %" PRIu32 " at offset %" PRIu64 " lists chunk %s with %" PRIu32
                        " bytes, an entry before it with %" PRIu32,
                        name, l->entry, dynamic_index_start(index, l->entry), digest_text(&l->digest, text), l->size,
                        last->size);
        } else {
            last->listings++;
        }
        t->numbers[l->entry] = (uint32_t)(t->count - 1);
    }
    return OK;
}

enum status chunk_table_new(const struct dynamic_index *index, const char *name, struct chunk_table *out,
                            struct error *err)
{
    void *array;
    TRY(array_new(index->count, sizeof(struct listing), INDEX_ENTRIES_MAX, "index entries", &array, err));
    CLEANUP(listings_free) struct listing *listings = array;
    CLEANUP(chunk_table_deinit) struct chunk_table t = {.entry_count = index->count};
    TRY(read_listings(index, name, listings, err));
    qsort(listings, index->count, sizeof *listings, compare_listings);
    TRY(array_new(index->count, sizeof *t.chunks, INDEX_ENTRIES_MAX, "chunks", &array, err));
    t.chunks = array;
    TRY(array_new(index->count, sizeof *t.numbers, INDEX_ENTRIES_MAX, "chunk numbers", &array, err));
    t.numbers = array;
    TRY(number_chunks(index, listings, name, &t, err));
    *out = t;
    t = (struct chunk_table){0};
    return OK;
}

void chunk_table_deinit(struct chunk_table *t)
{
    free(t->chunks);
    free(t->numbers);
    *t = (struct chunk_table){0};
}

static int compare_digests(const void *key, const void *member)
{
    const struct stored_chunk *c = member;
    return memcmp(key, &c->digest, sizeof c->digest);
}

bool chunk_table_find(const struct chunk_table *t, const struct digest *digest, uint32_t *out_number)
{
    const struct stored_chunk *found =
        t->count > 0 ? bsearch(digest, t->chunks, t->count, sizeof *t->chunks, compare_digests) : NULL;
    if (found)
        *out_number = (uint32_t)(found - t->chunks);
    return found != NULL;
}

uint64_t chunk_table_bytes(const struct chunk_table *t)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < t->count; i++)
        bytes += t->chunks[i].size;
    return bytes;
}

void chunk_table_missing(const struct chunk_table *a, const struct chunk_table *b, uint64_t *out_chunks,
                         uint64_t *out_bytes)
{
    *out_chunks = *out_bytes = 0;
    size_t k = 0;
    for (size_t i = 0; i < a->count; i++) {
        const struct stored_chunk *c = &a->chunks[i];
        while (k < b->count && memcmp(&b->chunks[k].digest, &c->digest, sizeof c->digest) < 0)
            k++;
        if (k < b->count && digest_equal(&b->chunks[k].digest, &c->digest))
            continue;
        *out_chunks += 1;
        *out_bytes += c->size;
    }
}

/* ---- parts ---- */

void chunk_parts_deinit(struct chunk_parts *p)
{
    free(p->items);
    *p = (struct chunk_parts){0};
}

enum status chunk_parts_add(struct chunk_parts *p, struct chunk_part part, struct error *err)
{
    void *items = p->items;
    ASSERT(part.begin < part.end);
    TRY(array_grow(&items, p->count, &p->capacity, sizeof part, PARTS_MAX, "parts of chunks", err));
    p->items = items;
    p->items[p->count++] = part;
    return OK;
}

uint64_t chunk_parts_bytes(const struct chunk_parts *p)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < p->count; i++)
        bytes += p->items[i].end - p->items[i].begin;
    return bytes;
}

size_t chunk_parts_find(const struct chunk_parts *p, uint32_t chunk, uint32_t offset)
{
    size_t low = 0, high = p->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct chunk_part *part = &p->items[middle];
        if (part->chunk < chunk || (part->chunk == chunk && part->end <= offset))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- usage ---- */

enum status chunk_usage_begin(struct chunk_usage *u, const struct dynamic_index *index, const struct chunk_table *table,
                              struct error *err)
{
    void *whole;
    *u = (struct chunk_usage){.index = index, .table = table};
    TRY(array_new(table->count, 1, INDEX_ENTRIES_MAX, "chunks", &whole, err));
    u->whole = whole;
    return OK;
}

void chunk_usage_deinit(struct chunk_usage *u)
{
    free(u->whole);
    chunk_parts_deinit(&u->used);
    *u = (struct chunk_usage){0};
}

enum status chunk_usage_stretch(struct chunk_usage *u, uint64_t start, uint64_t end, struct error *err)
{
    if (start == end)
        return OK;
    size_t k;
    TRY(dynamic_index_find(u->index, start, u->hint, &k, err));
    for (; k < u->index->count && dynamic_index_start(u->index, k) < end; k++) {
        uint64_t chunk_start = dynamic_index_start(u->index, k);
        uint64_t chunk_end = u->index->entries[k].end;
        uint64_t from = start > chunk_start ? start : chunk_start;
        uint64_t to = end < chunk_end ? end : chunk_end;
        uint32_t chunk = u->table->numbers[k];
        u->hint = k;
        if (u->whole[chunk])
            continue;
        if (from == chunk_start && to == chunk_end)
            u->whole[chunk] = 1;
        else
            TRY(chunk_parts_add(&u->used,
                                (struct chunk_part){.chunk = chunk,
                                                    .begin = (uint32_t)(from - chunk_start),
                                                    .end = (uint32_t)(to - chunk_start)},
                                err));
    }
    return OK;
}

static int compare_parts(const void *a, const void *b)
{
    const struct chunk_part *x = a, *y = b;
    if (x->chunk != y->chunk)
        return x->chunk < y->chunk ? -1 : 1;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static enum status add_gap(struct chunk_parts *out, uint32_t chunk, uint32_t begin, uint32_t end, struct error *err)
{
    if (begin >= end)
        return OK;
    return chunk_parts_add(out, (struct chunk_part){.chunk = chunk, .begin = begin, .end = end}, err);
}

enum status chunk_usage_gaps(struct chunk_usage *u, struct chunk_parts *out, struct error *err)
{
    CLEANUP(chunk_parts_deinit) struct chunk_parts gaps = {0};
    if (u->used.count > 0)
        qsort(u->used.items, u->used.count, sizeof *u->used.items, compare_parts);
    size_t i = 0;
    for (uint32_t chunk = 0; chunk < u->table->count; chunk++) {
        uint32_t covered = 0;
        uint32_t size = u->table->chunks[chunk].size;
        for (; i < u->used.count && u->used.items[i].chunk == chunk; i++) {
            const struct chunk_part *used = &u->used.items[i];
            if (u->whole[chunk])
                continue;
            TRY(add_gap(&gaps, chunk, covered, used->begin, err));
            covered = used->end > covered ? used->end : covered;
        }
        if (!u->whole[chunk])
            TRY(add_gap(&gaps, chunk, covered, size, err));
    }
    *out = gaps;
    gaps = (struct chunk_parts){0};
    return OK;
}
