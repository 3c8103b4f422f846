/* What a snapshot's payload streams are made of, and how that changes over generations: the padding ledger, recomputed
 * from metadata stream and payload index alone, chunks by size and listing, what a restore reads, and which bytes of
 * vanished files are still there. No payload chunk is read.
 *
 * Archives of older clients may refer to payload offsets that go back or overlap: what is used then is the union.
 * Memory: 16 bytes per file of one snapshot, 100 to 150 per index entry of two, and what flow/amplification.h,
 * flow/ghosts.h and the list of ranges state. Not thread-safe.
 * Source: bench/spec/change-detection.md 7 and 8, bench/spec/reuse-stored.md 1 and 5. */
#ifndef PXB_FLOW_ANALYZE_H
#define PXB_FLOW_ANALYZE_H

#include "detect/ledger.h"
#include "flow/amplification.h"
#include "flow/ghosts.h"
#include "flow/stats.h"
#include "store/store.h"

struct chunk_sizes {
    uint64_t mean; /* rounded down */
    uint64_t median;
    uint64_t classes[SIZE_CLASSES]; /* size_class_names */
};

/* One archive of one snapshot. */
struct analysis {
    uint64_t files;         /* regular, with a reference of their own: later names of a file are not counted */
    uint64_t content_bytes; /* of them */
    uint64_t metadata_size; /* of the metadata stream */
    struct ledger_totals ledger;
    uint64_t stored_waste;    /* bytes of chunks, each counted once, that no file uses through any listing */
    uint64_t waste_max_ppm;   /* of one chunk: bytes that no file uses / its size */
    uint64_t relisted_chunks; /* chunks listed more than once */
    uint64_t listings_max;    /* of one chunk */
    uint64_t index_entries;
    uint64_t chunks, chunk_bytes; /* each counted once */
    uint64_t undersized_chunks;   /* smaller than a quarter of the average; the last one of a stream may be */
    uint64_t empty_entries;       /* of size 0: an index that has one is refused when it is read */
    struct chunk_sizes sizes;     /* of chunks, each counted once */
    uint64_t entry_size_mean;     /* of index entries */
    uint64_t discontinuities;     /* files that do not begin where the one before them in archive order ends */
    uint64_t backward_files;      /* of these: begin before that */
    struct amplification_result reads;
    bool has_previous; /* in the order given */
    uint64_t new_chunks, new_bytes;
    uint64_t dropped_chunks, dropped_bytes;
};

struct analyze_options {
    const char *archive;    /* any name of it; NULL: all split archives */
    uint64_t chunk_average; /* bytes */
    const uint64_t *lru;    /* chunks kept */
    size_t lru_count;
    size_t ghosts_max; /* named; 0: all */
};

/* What is found, in this order: archive, then per snapshot its ranges and its analysis, then the ghosts; next archive.
 * Valid during the call. `range` may be NULL. */
struct analyze_reporter {
    enum status (*archive)(void *context, const char *name, struct error *err);
    enum status (*range)(void *context, const struct ledger_range *range, struct error *err);
    enum status (*snapshot)(void *context, const struct snapshot_id *id, const struct analysis *a, struct error *err);
    /* Only if several snapshots have the archive. */
    enum status (*ghosts)(void *context, const struct snapshot_id *newest, const struct ghost_report *report,
                          struct error *err);
    void *context;
};

/* `ids`: at least one, no snapshot twice (ERR_USAGE). An archive's series has those that have it. */
MUST_CHECK enum status analyze_snapshots(struct store *store, const struct snapshot_id *ids, size_t count,
                                         const struct analyze_options *options, const struct analyze_reporter *reporter,
                                         struct error *err);

#endif
