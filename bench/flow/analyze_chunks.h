/* The chunks behind the entries of a payload index: which entries list the same chunk, and what of each chunk no file
 * uses through any of them. A chunk is its digest; its number is its place in the order of digests. Pure.
 *
 *     entries   | A: ====..==== | B: ====== | A: ....=====.. |       = used through this entry
 *     chunk A     gaps: ......      (what is '.' in every listing)
 *
 * Not thread-safe. Memory: 44 bytes per chunk, 4 per entry; 12 per stretch that is used in a chunk not used as a whole,
 * 12 per gap. Source: bench/spec/reuse-stored.md 1. */
#ifndef PXB_FLOW_ANALYZE_CHUNKS_H
#define PXB_FLOW_ANALYZE_CHUNKS_H

#include "index/dynamic_index.h"

struct stored_chunk {
    struct digest digest;
    uint32_t size;     /* bytes; at most CHUNK_RAW_SIZE_MAX */
    uint32_t listings; /* entries that list it, >= 1 */
};

struct chunk_table {
    struct stored_chunk *chunks; /* owned; ascending by digest */
    size_t count;
    uint32_t *numbers; /* owned; by entry of the index */
    size_t entry_count;
};

/* `name`: of the index, for errors. ERR_FORMAT: an entry larger than a chunk may be; a digest with two sizes. */
MUST_CHECK enum status chunk_table_new(const struct dynamic_index *index, const char *name, struct chunk_table *out,
                                       struct error *err);
void chunk_table_deinit(struct chunk_table *t); /* accepts {0} */
/* False: not in the table. */
bool chunk_table_find(const struct chunk_table *t, const struct digest *digest, uint32_t *out_number);
uint64_t chunk_table_bytes(const struct chunk_table *t); /* of all chunks, each once */

/* Chunks (and their bytes) of `a` that are not in `b`. */
void chunk_table_missing(const struct chunk_table *a, const struct chunk_table *b, uint64_t *out_chunks,
                         uint64_t *out_bytes);

/* ---- what no file uses ---- */

/* Bytes begin..end of a chunk, end > begin. */
struct chunk_part {
    uint32_t chunk;
    uint32_t begin, end;
};

struct chunk_parts {
    struct chunk_part *items; /* owned */
    size_t count, capacity;
};
void chunk_parts_deinit(struct chunk_parts *p); /* accepts {0} */
MUST_CHECK enum status chunk_parts_add(struct chunk_parts *p, struct chunk_part part, struct error *err);
uint64_t chunk_parts_bytes(const struct chunk_parts *p);
/* The first of the sorted, disjoint parts with bytes of `chunk` at `offset` or behind; or where it would stand. */
size_t chunk_parts_find(const struct chunk_parts *p, uint32_t chunk, uint32_t offset);

/* Collects, for one stream, what is used. */
struct chunk_usage {
    const struct dynamic_index *index; /* borrowed */
    const struct chunk_table *table;   /* borrowed; of that index */
    uint8_t *whole;                    /* owned; by chunk: one listing is used as a whole */
    struct chunk_parts used;           /* of the others */
    size_t hint;
};
MUST_CHECK enum status chunk_usage_begin(struct chunk_usage *u, const struct dynamic_index *index,
                                         const struct chunk_table *table, struct error *err);
/* The stretch start..end of the stream, within it, is used; stretches come in stream order, with gaps between. */
MUST_CHECK enum status chunk_usage_stretch(struct chunk_usage *u, uint64_t start, uint64_t end, struct error *err);
/* What no listing uses: sorted by chunk and begin, disjoint, not adjacent. */
MUST_CHECK enum status chunk_usage_gaps(struct chunk_usage *u, struct chunk_parts *out, struct error *err);
void chunk_usage_deinit(struct chunk_usage *u); /* accepts {0} */

#endif
