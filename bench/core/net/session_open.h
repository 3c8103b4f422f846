/* From nothing to a session: connected, logged in, upgraded. For session.c.
 * Source: bench/spec/protocol.md 7. */
#ifndef PXB_NET_SESSION_OPEN_H
#define PXB_NET_SESSION_OPEN_H

#include "net/login.h"

struct session_opening {
    struct account *account;
    const struct upgrade_request *upgrade;
    struct net_wake *wake;
    struct net_stats *closed; /* where counts of connections go that end on the way */
};

/* A group that is locked is tried again. OK: `*out` speaks HTTP/2 from here on; `behind` has what the server said
 * already. Failures: those of the link and of wire/reply.h. */
MUST_CHECK enum status session_open(const struct session_opening *o, struct tls_link **out, struct buffer *behind,
                                    struct error *err);
/* Closes a link, adding its counts to `closed`; accepts NULL. */
void session_close_link(struct tls_link *l, struct net_stats *closed);

#endif
