/* Reads back what --decisions wrote (flow/decision_log.h): one JSON object per line and file name, in archive order.
 *
 * Nothing in the file is trusted: lines are bounded, members checked for presence, type and range; every error names
 * path and line. Members that are not known are passed over. Memory: one line.
 * Not thread-safe. Format "pxarbench-decisions/1":
 *
 *     {"run":{...},"before":"(s","path":"a/b","action":"reused","reason":"unchanged","size":12,"old_offset":16,
 *      "old_size":12,"offset":32}
 *
 * `run` stands on the first line of an archive; `before` says what was archived since the line before, `after` (on the
 * last line of an archive, "" if nothing was) what came behind: '(' a directory begins, ')' ends, 's' a special file.
 * An archive whose last line lacks it is refused: the run failed, or the file was cut off. */
#ifndef PXB_FLOW_DECISIONS_READ_H
#define PXB_FLOW_DECISIONS_READ_H

#include "detect/lookahead.h"
#include "flow/snapshot.h"

#define DECISIONS_SCHEMA "pxarbench-decisions/1"
enum { DECISIONS_LINE_MAX = 64 << 20, DECISIONS_REASON_SIZE = 64 };

/* The run that an archive's lines are of. */
struct decisions_run {
    char archive[STORED_NAME_SIZE]; /* "root" */
    char snapshot[SNAPSHOT_TEXT_SIZE];
    char reference_reason[DECISIONS_REASON_SIZE]; /* "used": the four below are set */
    bool has_reference;
    struct snapshot_id reference; /* without its namespace, which is not in the file */
    struct digest payload_csum;   /* of the reference's payload index */
    uint64_t payload_size;        /* bytes of its stream */
    struct lookahead_options options;
    uint64_t chunk_average;
};

enum decision_action { DECISION_REUSED, DECISION_REENCODED, DECISION_LINK };

/* Texts are borrowed until the next call. */
struct decision_line {
    uint64_t line;                   /* from 1 */
    const struct decisions_run *run; /* the first line of an archive; else NULL */
    const char *before, *after;      /* never NULL */
    const char *path;                /* as it is, or base64 if it is not UTF-8 */
    enum decision_action action;
    /* Not for links: */
    enum file_reason reason; /* of a touched-but-identical file: the difference */
    uint64_t size, offset;
    uint64_t old_offset, old_size; /* 0: the previous entry had no contents of its own */
};
/* Whether a file passed the predicate: reused, or collateral of a decision about its chunks. */
bool decision_is_reusable(const struct decision_line *d);

struct decisions;
MUST_CHECK enum status decisions_open(const char *path, struct decisions **out, struct error *err);
/* ERR_CLOSED (no error text) behind the last line. ERR_FORMAT, ERR_LIMIT, ERR_VERSION (another schema): then only
 * decisions_close. */
MUST_CHECK enum status decisions_next(struct decisions *d, struct decision_line *out, struct error *err);
void decisions_close(struct decisions *d); /* accepts NULL */

#endif
