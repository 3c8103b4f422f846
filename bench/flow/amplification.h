/* What a restore reads: chunks fetched by a reader that keeps the k least recently used ones, and what single files
 * cost. A model, in exact integers:
 *
 *   full restore  every regular file in archive order, empty ones too, from its payload header to its last byte; a
 * chunk that is among the k used last is not fetched again (a chunk is its digest, wherever it is listed) single file
 * every index entry that the file touches, header included, is fetched once
 *
 * Ratios are parts per million, rounded down. Median and 95th percentile are values that occur (nearest rank: the one
 * at place ceil(n * p) of the n sorted ones). Pure; not thread-safe. Time: proportional to the index entries touched,
 * per cache. Memory: 8 bytes per chunk and cache, 12 per file. */
#ifndef PXB_FLOW_AMPLIFICATION_H
#define PXB_FLOW_AMPLIFICATION_H

#include "flow/analyze_chunks.h"

enum { LRU_COUNT_MAX = 8, LRU_CHUNKS_MAX = 1 << 20 };

struct amplification_full {
    uint64_t chunks_kept; /* k */
    uint64_t fetched_chunks, fetched_bytes;
};

struct distribution {
    uint64_t median, p95, max; /* 0 without values */
};

struct amplification_result {
    uint64_t restored_bytes; /* contents of all files */
    struct amplification_full full[LRU_COUNT_MAX];
    size_t full_count;
    uint64_t files;                   /* not empty */
    uint64_t touched_entries;         /* sum over all of them */
    struct distribution fetched_ppm;  /* bytes fetched / bytes restored */
    struct distribution file_entries; /* index entries that a file touches */
};

/* a / b in parts per million, rounded down; 0 for b = 0, UINT64_MAX when it is more than that. */
uint64_t ratio_ppm(uint64_t a, uint64_t b);

struct amplification;
/* `lru`: `count` cache sizes within 1..LRU_CHUNKS_MAX (ERR_USAGE). `index` and `table` are borrowed. */
MUST_CHECK enum status amplification_new(const struct dynamic_index *index, const struct chunk_table *table,
                                         const uint64_t *lru, size_t count, struct amplification **out,
                                         struct error *err);
/* The next file in archive order: header at `offset`, `size` bytes of contents, all within the stream. */
MUST_CHECK enum status amplification_file(struct amplification *a, uint64_t offset, uint64_t size, struct error *err);
void amplification_finish(struct amplification *a, struct amplification_result *out);
void amplification_free(struct amplification *a); /* accepts NULL */

#endif
