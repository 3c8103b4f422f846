/* One backup or reader session with a server: connected, logged in, upgraded, and carried by a thread of its own.
 *
 *   any thread: submit, call --> queue --> [ session's thread: h2_client <--> TLS ] --> done()
 *
 * Requests may be submitted before the connection stands. Every submitted request is answered exactly once, also when
 * the connection is lost or the session is closed; `done` is called on the session's thread, without locks held, and
 * may submit, but neither wait nor close. Thread-safe but for close. Source: bench/spec/protocol.md 7, 9.4, 15. */
#ifndef PXB_NET_SESSION_H
#define PXB_NET_SESSION_H

#include "base/threads.h"
#include "net/account.h"
#include "wire/h2_client.h"

struct net_session;
/* Starts the thread, which connects, logs in if needed and upgrades; a group lock (ERR_LOCKED) is tried again 5 times
 * 200 ms apart. Returns at once. `account` is borrowed, the texts of `upgrade` are copied. */
MUST_CHECK enum status net_session_start(struct account *account, const struct upgrade_request *upgrade,
                                         const struct threads *threads, struct net_session **out, struct error *err);
/* Waits until the session stands, or says why it does not: ERR_REFUSED, ERR_LOCKED, ERR_EXISTS, ERR_NETWORK, ... with
 * the sentence of wire/reply.h. */
MUST_CHECK enum status net_session_wait_open(struct net_session *s, struct error *err);

struct net_request {
    const char *method;       /* a literal */
    struct buffer path;       /* as core/wire/call.h writes it; taken */
    const char *content_type; /* a literal; NULL: form */
    struct buffer body;       /* taken, freed before `done` */
    size_t response_size_max; /* 0: WIRE_JSON_REPLY_MAX */
    /* Owns `response` (h2_response_free), which is never NULL. `opening`: why the session never stood, else NULL. */
    void (*done)(void *user, struct h2_response *response, const struct error *opening);
    void *user;
};
/* Empties `request`'s buffers. Failure: `done` is not called, the buffers are freed. ERR_NETWORK: the session is over;
 * if it never stood, the reason's status. ERR_LIMIT: 65536 requests wait already. */
MUST_CHECK enum status net_session_submit(struct net_session *s, struct net_request *request, struct error *err);
/* Submits and waits; `request->done` and `user` are not used. What a response other than 200 means is put into words
 * with `what` and wire/reply.h. On OK the caller owns `*out`. Not from `done`. */
MUST_CHECK enum status net_session_call(struct net_session *s, struct net_request *request, const char *what,
                                        struct h2_response **out, struct error *err);
/* The same for an answer that `done` got: OK, or status and sentence. */
MUST_CHECK enum status net_session_judge(const struct net_session *s, const char *what,
                                         const struct h2_response *response, const struct error *opening,
                                         struct error *err);

/* Of all connections of a session. */
struct net_stats {
    uint64_t connections;
    uint64_t requests;                 /* of HTTP/1.1 and HTTP/2 */
    uint64_t sent, received;           /* bytes within TLS */
    uint64_t wire_sent, wire_received; /* bytes of TCP streams as the kernel counts them; 0: it does not say */
    uint64_t round_trips;              /* to set up, and requests each of which was sent after the one before it was
                                        * answered: the longest such chain */
    uint64_t stalls;                   /* times that output waited for the peer's windows, streams or socket */
    uint64_t waited_ns;                /* callers' time in net_session_call and wait_open */
    uint64_t throttled_ns;             /* by our own rate */
};
void net_session_stats(struct net_session *s, struct net_stats *out);
void net_stats_add(struct net_stats *sum, const struct net_stats *one);

/* Ends the connection at once (which aborts an unfinished backup), answers what is unanswered, joins the thread.
 * Accepts NULL. */
void net_session_close(struct net_session *s);

#endif
