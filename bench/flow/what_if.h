/* Counterfactuals: what a recorded run would have read and stored with other settings, without running it again.
 *
 * Replays the walk that --decisions recorded (flow/decisions_read.h) through the look-ahead cache (detect/simulate.h)
 * over the payload index of the run's reference, once per setting, all of them in one pass. Whether a file is reusable
 * is not judged again: it is if the run reused it or gave it up as collateral. First of all the run's own setting is
 * replayed, and every recorded action, reason and offset must come out again; else the file or the store is not that of
 * the run (or the tree changed while it ran: a file vanished after it was listed), and no number would mean anything.
 *
 * Counts are exact but for what is uploaded: of new bytes, chunks that are stored already are not.
 * For one thread. Memory: what the caches hold, at most one cache limit of files per setting, and the payload index. */
#ifndef PXB_FLOW_WHAT_IF_H
#define PXB_FLOW_WHAT_IF_H

#include "flow/decisions_read.h"

enum { WHAT_IF_ROWS_MAX = 256 };

/* All combinations are tried; count 0: the run's own value. */
struct what_if_grid {
    const enum reuse_profile *profiles;
    size_t profile_count;
    const uint32_t *thresholds_ppm;
    size_t threshold_count;
    const uint64_t *cache_limits; /* entries, >= 1 */
    size_t cache_limit_count;
};

struct what_if_row {
    enum reuse_profile profile;
    uint32_t threshold_ppm;
    uint64_t cache_limit;
    bool recorded; /* the run's own setting */
    bool pareto;   /* no other row reads at most as much with at most as much padding, and less of one */
    uint64_t reused_files;
    uint64_t read_files, read_bytes; /* re-encoded: contents */
    uint64_t new_bytes;              /* of the payload stream that no old chunk brings: contents, headers, markers */
    uint64_t padding;                /* of the payload stream, what no file uses */
    uint64_t stored_waste;           /* of listed old chunks, what no file uses through any listing */
    uint64_t injected_chunks;        /* index entries that are old chunks */
    uint64_t payload_size;
};

/* One archive of the run. Without a reference no setting makes a difference: no rows. Borrowed during the call. */
struct what_if_table {
    const struct decisions_run *run;
    const struct what_if_row *rows; /* in the grid's order: profile, threshold, cache limit; the run's own setting first
                                       if the grid does not have it */
    size_t row_count;
};

/* `ns`: the namespace of the run. Calls on_table once per archive in the file. ERR_USAGE: more than WHAT_IF_ROWS_MAX
 * rows. ERR_NOT_FOUND: the reference is gone. ERR_MISMATCH: it is not that of the run, or the replay is not what was
 * recorded (with file, line, path). ERR_FORMAT: the file. */
MUST_CHECK enum status
what_if(struct store *store, const char *ns, const char *decisions_path, const struct what_if_grid *grid,
        enum status (*on_table)(void *context, const struct what_if_table *table, struct error *err), void *context,
        struct error *err);

#endif
