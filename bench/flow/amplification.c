#include "flow/amplification.h"

#include "pxar/item.h"

#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 1 << 30 };

/* The chunks kept are a ring: the one used last behind the head, the one used longest ago before it. Chunk numbers are
 * places in `links`, so nothing is searched. */
struct link {
    uint32_t next, previous; /* NOT_KEPT in both: not in the ring */
};
#define NOT_KEPT UINT32_MAX

struct lru {
    struct link *links; /* owned; one per chunk, and the ring's head behind them */
    uint32_t head;
    uint64_t kept;
    struct amplification_full result;
};

struct amplification {
    const struct dynamic_index *index;
    const struct chunk_table *table;
    struct lru caches[LRU_COUNT_MAX];
    size_t cache_count;
    uint64_t restored_bytes;
    uint64_t touched_entries;
    uint64_t *ratios; /* owned; of files that are not empty */
    size_t ratio_capacity;
    uint32_t *entries; /* owned; as many */
    size_t entry_capacity;
    size_t file_count;
    size_t hint;
};

uint64_t ratio_ppm(uint64_t a, uint64_t b)
{
    if (b == 0)
        return 0;
    __extension__ typedef unsigned __int128 wide;
    wide ratio = (wide)a * 1000000 / b;
    return ratio > UINT64_MAX ? UINT64_MAX : (uint64_t)ratio;
}

/* ---- one cache ---- */

static enum status lru_init(struct lru *l, size_t chunk_count, uint64_t chunks_kept, struct error *err)
{
    void *links;
    TRY(array_new(chunk_count + 1, sizeof *l->links, (size_t)INDEX_ENTRIES_MAX + 1, "chunks", &links, err));
    *l = (struct lru){.links = links, .head = (uint32_t)chunk_count, .result.chunks_kept = chunks_kept};
    for (size_t i = 0; i < chunk_count; i++)
        l->links[i] = (struct link){NOT_KEPT, NOT_KEPT};
    l->links[l->head] = (struct link){l->head, l->head};
    return OK;
}

static void take_out(struct lru *l, uint32_t chunk)
{
    struct link *link = &l->links[chunk];
    l->links[link->previous].next = link->next;
    l->links[link->next].previous = link->previous;
    *link = (struct link){NOT_KEPT, NOT_KEPT};
}

static void put_first(struct lru *l, uint32_t chunk)
{
    struct link *head = &l->links[l->head];
    l->links[chunk] = (struct link){.next = head->next, .previous = l->head};
    l->links[head->next].previous = chunk;
    head->next = chunk;
}

static void use_chunk(struct lru *l, uint32_t chunk, uint64_t size)
{
    if (l->links[chunk].next != NOT_KEPT) {
        take_out(l, chunk);
    } else {
        l->result.fetched_chunks++;
        l->result.fetched_bytes += size;
        if (l->kept == l->result.chunks_kept)
            take_out(l, l->links[l->head].previous);
        else
            l->kept++;
    }
    put_first(l, chunk);
}

/* ---- files ---- */

static void amplification_freep(struct amplification **a)
{
    amplification_free(*a);
}

enum status amplification_new(const struct dynamic_index *index, const struct chunk_table *table, const uint64_t *lru,
                              size_t count, struct amplification **out, struct error *err)
{
    if (count > LRU_COUNT_MAX)
        return fail(err, ERR_USAGE, "%zu caches: at most %d at a time", count, LRU_COUNT_MAX);
    CLEANUP(amplification_freep) struct amplification *a = calloc(1, sizeof *a);
    if (!a)
        return fail(err, ERR_MEMORY, "out of memory for the analysis of reads");
    a->index = index;
    a->table = table;
    for (size_t i = 0; i < count; i++) {
        if (lru[i] < 1 || lru[i] > LRU_CHUNKS_MAX)
            return fail(err, ERR_USAGE, "a cache must keep 1 to %d chunks", LRU_CHUNKS_MAX);
        TRY(lru_init(&a->caches[i], table->count, lru[i], err));
        a->cache_count++;
    }
    *out = a;
    a = NULL;
    return OK;
}

void amplification_free(struct amplification *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < LRU_COUNT_MAX; i++)
        free(a->caches[i].links);
    free(a->ratios);
    free(a->entries);
    free(a);
}

static enum status add_single(struct amplification *a, uint64_t size, uint64_t fetched, size_t entries,
                              struct error *err)
{
    void *ratios = a->ratios;
    void *counts = a->entries;
    TRY(array_grow(&ratios, a->file_count, &a->ratio_capacity, sizeof *a->ratios, FILES_MAX, "files", err));
    a->ratios = ratios;
    TRY(array_grow(&counts, a->file_count, &a->entry_capacity, sizeof *a->entries, FILES_MAX, "files", err));
    a->entries = counts;
    a->ratios[a->file_count] = ratio_ppm(fetched, size);
    a->entries[a->file_count++] = (uint32_t)entries;
    a->touched_entries += entries;
    return OK;
}

enum status amplification_file(struct amplification *a, uint64_t offset, uint64_t size, struct error *err)
{
    uint64_t end = offset + ITEM_HEADER_SIZE + size;
    uint64_t fetched = 0;
    size_t first;
    TRY(dynamic_index_find(a->index, offset, a->hint, &first, err));
    a->hint = first;
    size_t k = first;
    for (; k < a->index->count && dynamic_index_start(a->index, k) < end; k++) {
        uint64_t chunk_size = dynamic_index_chunk_size(a->index, k);
        fetched += chunk_size;
        for (size_t i = 0; i < a->cache_count; i++)
            use_chunk(&a->caches[i], a->table->numbers[k], chunk_size);
    }
    a->restored_bytes += size;
    return size > 0 ? add_single(a, size, fetched, k - first, err) : OK;
}

/* ---- results ---- */

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static size_t rank(size_t count, size_t percent)
{
    return (count * percent + 99) / 100 - 1;
}

void amplification_finish(struct amplification *a, struct amplification_result *out)
{
    size_t n = a->file_count;
    *out = (struct amplification_result){.restored_bytes = a->restored_bytes,
                                         .full_count = a->cache_count,
                                         .files = n,
                                         .touched_entries = a->touched_entries};
    for (size_t i = 0; i < a->cache_count; i++)
        out->full[i] = a->caches[i].result;
    if (n == 0)
        return;
    qsort(a->ratios, n, sizeof *a->ratios, compare_u64);
    qsort(a->entries, n, sizeof *a->entries, compare_u32);
    out->fetched_ppm =
        (struct distribution){.median = a->ratios[rank(n, 50)], .p95 = a->ratios[rank(n, 95)], .max = a->ratios[n - 1]};
    out->file_entries = (struct distribution){
        .median = a->entries[rank(n, 50)], .p95 = a->entries[rank(n, 95)], .max = a->entries[n - 1]};
}
