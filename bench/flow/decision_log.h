/* --decisions: one JSON line per file, saying what was done with it and why. For one thread.
 *   {"path":"a/b","action":"reused","reason":"unchanged","size":12,"old_offset":16,"offset":32}
 *   {"path":"a/c","action":"reencoded","reason":"mtime","size":3,"offset":60}
 *   {"path":"a/d","action":"hardlink","target":"a/b"}
 * A path that is not UTF-8 is base64 under "path_b64". */
#ifndef PXB_FLOW_DECISION_LOG_H
#define PXB_FLOW_DECISION_LOG_H

#include "detect/reason.h"
#include "flow/node.h"

#include <stdio.h>

/* `out` NULL: nothing to do. ERR_IO when it cannot be written. */
MUST_CHECK enum status decision_log_file(FILE *out, const struct node *n, bool reused, enum file_reason reason,
                                         uint64_t old_offset, uint64_t offset, struct error *err);
MUST_CHECK enum status decision_log_link(FILE *out, const struct node *n, const char *target, struct error *err);

#endif
