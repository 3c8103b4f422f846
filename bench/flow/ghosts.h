/* Ghost bytes: bytes of chunks that the newest snapshot lists, which no file of it uses, but a file of an older
 * snapshot did: whoever reads the chunk can read them. By name, as far as older snapshots are at hand.
 *
 * Two passes over each older metadata stream: one finds which files claim unused bytes (flow/ghosts_claim.h), the
 * other, in step with the newest one, says their names and what became of them. Both must be sorted as encoders sort
 * them: where they are not, files count as deleted. Memory: 32 bytes per file and chunk with gaps, and the names that
 * are kept. Not thread-safe. */
#ifndef PXB_FLOW_GHOSTS_H
#define PXB_FLOW_GHOSTS_H

#include "flow/analyze_chunks.h"
#include "flow/analyze_stream.h"

enum ghost_fate {
    GHOST_DELETED,  /* no file of that path */
    GHOST_REPLACED, /* another size, mtime or kind, a hardlink included */
    GHOST_MOVED,    /* the same path, size and mtime: it was encoded again elsewhere in the stream */
    GHOST_FATE_COUNT
};
const char *ghost_fate_name(enum ghost_fate fate); /* "deleted", ... */

struct ghost {
    char *path; /* owned by the list */
    struct snapshot_id snapshot;
    uint64_t size;  /* of the file */
    uint64_t bytes; /* of its contents still there */
    enum ghost_fate fate;
    uint64_t order; /* in which it was found */
};

struct ghost_totals {
    uint64_t files; /* with bytes of their contents still there */
    uint64_t bytes;
};

struct ghost_report {
    struct ghost_totals totals[GHOST_FATE_COUNT];
    uint64_t header_bytes;       /* payload headers of these and of other files */
    uint64_t unattributed_bytes; /* nobody's: markers of older streams, files of snapshots that were not given */
    const struct ghost *items;   /* most bytes first; then the newer snapshot, then archive order */
    size_t count;
};

struct ghosts;
/* `count_max` names are kept; 0: all. */
MUST_CHECK enum status ghosts_new(size_t count_max, struct ghosts **out, struct error *err);
/* Snapshots are told from newer to older; `gaps`, of chunks of `table`, become what is left of them. `newest` is open
 * and gets a new pass. */
MUST_CHECK enum status ghosts_search(struct ghosts *g, const struct chunk_table *table, struct chunk_parts *gaps,
                                     struct split_stream *newest, struct split_stream *older, struct error *err);
/* `left`: the gaps that nobody claimed. The report borrows from `g`. */
void ghosts_report(struct ghosts *g, const struct chunk_parts *left, struct ghost_report *out);
void ghosts_free(struct ghosts *g); /* accepts NULL */

#endif
