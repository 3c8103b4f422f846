/* --decisions: one JSON line per name of a file, saying what was done with it and why. One log per archive; the lines
 * of several archives follow each other. For one thread.
 *   {"path":"a/b","action":"reused","reason":"unchanged","size":12,"old_offset":16,"old_size":12,"offset":32}
 *   {"path":"a/c","action":"reencoded","reason":"size","size":3,"old_offset":44,"old_size":2,"offset":60}
 *   {"path":"a/d","action":"hardlink","target":"a/b"}
 * A path that is not UTF-8 is base64 under "path_b64".
 *
 * old_offset, old_size: where the previous snapshot has the contents of that name; left out where it has no regular
 * file with contents there. "touched-but-identical" is a file whose contents turned out to be the old ones;
 * "difference" then has the reason why it was read.
 *
 * `before` says what was archived since the line before, so that all lines together hold the walk: "(" a directory
 * begins, ")" ends (not the root), "s" a symlink, device, fifo or socket. Left out if empty. The archive's last line
 * has `after` in the same form, "" if nothing was: the sign that the archive is complete. Therefore a line is written
 * when the next one comes, and the last one at the end; when the backup fails, it is written without `after`.
 *
 * The archive's first line has `run`:
 *   {"schema":"pxarbench-decisions/1","archive":"root","snapshot":"host/x/TIME",
 *    "reference":{"reason":..,"snapshot":..,"payload_csum":hex of the old payload index or null,"payload_size":N},
 *    "mode","profile","padding_threshold","cache_limit","chunk_average","absorb_below","max_instances","compare"} */
#ifndef PXB_FLOW_DECISION_LOG_H
#define PXB_FLOW_DECISION_LOG_H

#include "flow/backup.h"
#include "flow/node.h"
#include "index/dynamic_index.h"

#include <jansson.h>

struct decision_run {
    const struct archive_options *options; /* prepared */
    const char *archive;                   /* "root" */
    const char *snapshot;                  /* the new one's text */
    enum reference_reason reference;
    const char *reference_snapshot;
    const struct dynamic_index *old_payload; /* NULL: no reference in use */
};

struct decision_log {
    FILE *out; /* borrowed; NULL: nothing to do, anywhere below */
    struct decision_run run;
    bool has_begun;
    json_t *held;         /* owned: the last line, not written yet */
    struct buffer events; /* since the last line */
};

/* What `run` points to is borrowed until deinit. */
void decision_log_init(struct decision_log *log, FILE *out, const struct decision_run *run);
/* Writes what is held back, without telling of a failure: for backups that failed. Accepts {0}. */
void decision_log_deinit(struct decision_log *log);

struct decision {
    const struct node *node;
    enum file_reason reason; /* FILE_UNCHANGED: reused */
    bool is_identical;       /* reencoded, with the same contents as before */
    uint64_t offset;         /* of the payload header now */
};
/* ERR_IO when a line cannot be written. */
MUST_CHECK enum status decision_log_file(struct decision_log *log, const struct decision *d, struct error *err);
MUST_CHECK enum status decision_log_link(struct decision_log *log, const struct node *n, const char *target,
                                         struct error *err);
/* '(' ')' or 's'. */
MUST_CHECK enum status decision_log_event(struct decision_log *log, char event, struct error *err);
/* The archive is complete. */
MUST_CHECK enum status decision_log_finish(struct decision_log *log, struct error *err);

#endif
