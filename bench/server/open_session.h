/* The two upgrades: who may have which session, checked in the order of the specification, with all that a session
 * locks. Source: bench/spec/protocol.md 7. */
#ifndef PXB_SERVER_OPEN_SESSION_H
#define PXB_SERVER_OPEN_SESSION_H

#include "server/session.h"

/* OK: `out` is ready for session_new; its writer or reader is the caller's. Else *out_http_status and the sentence say
 * what the client is told. */
MUST_CHECK enum status open_session(struct shared *shared, const struct faults *faults, enum session_kind kind,
                                    const struct http_head *head, const char *query, const struct caller *caller,
                                    struct session_options *out, int *out_http_status, struct error *err);

#endif
