/* To whom unused bytes belonged: the files of an older snapshot claim them, each byte goes to one file. Pure.
 *
 *     chunk    |....aaaa....bbbbbb....|     . unused in the newest snapshot: a gap
 *     older    [ f1 ][ f2   ][ f3     ]     f1 and f2 claim the first gap, f2 and f3 the second, f3 the third
 *
 * A byte that several files claim (the older snapshot lists the chunk more than once) goes to the one whose part of the
 * chunk begins first, then to the first in archive order. What is claimed is no gap any more: older snapshots are asked
 * after newer ones, and a byte is attributed once. Not thread-safe. Memory: 32 bytes per file and chunk with gaps in
 * it. */
#ifndef PXB_FLOW_GHOSTS_CLAIM_H
#define PXB_FLOW_GHOSTS_CLAIM_H

#include "flow/analyze_chunks.h"

/* Until settled: what a file has of one chunk. */
struct ghost_part {
    uint64_t file;   /* number, in archive order */
    uint64_t within; /* offset of `part.begin` in the file, its payload header included */
    struct chunk_part part;
};

/* What a file got, all chunks together. */
struct ghost_share {
    uint64_t file;
    uint64_t bytes;        /* of contents */
    uint64_t header_bytes; /* of the payload header */
};

struct ghost_claims {
    const struct dynamic_index *index; /* borrowed; of the older snapshot */
    const struct chunk_parts *gaps;    /* borrowed */
    uint32_t *chunks;                  /* owned; by entry: number of the newest snapshot's chunk + 1; 0: no gap there */
    size_t hint;
    struct ghost_part *parts; /* owned */
    size_t part_count, part_capacity;
    struct ghost_share *shares; /* owned; once settled, ascending by file */
    size_t share_count, share_capacity;
};

/* `newest`: the chunks in which `gaps` lie. `name`: of `index`, for errors. ERR_FORMAT: a chunk that is of another size
 * there. */
MUST_CHECK enum status ghost_claims_begin(struct ghost_claims *c, const struct dynamic_index *index, const char *name,
                                          const struct chunk_table *newest, const struct chunk_parts *gaps,
                                          struct error *err);
/* Files in archive order: header at `offset`, `size` bytes of contents, all within the stream. */
MUST_CHECK enum status ghost_claims_file(struct ghost_claims *c, uint64_t file, uint64_t offset, uint64_t size,
                                         struct error *err);
/* Fills `shares`; `gaps` (those of begin) become what is left of them. */
MUST_CHECK enum status ghost_claims_settle(struct ghost_claims *c, struct chunk_parts *gaps, struct error *err);
void ghost_claims_deinit(struct ghost_claims *c); /* accepts {0} */

#endif
