/* The client's half of an HTTP/2 connection, after the upgrade: requests go in, responses come out, and in between
 * there are bytes for somebody else to carry.
 *
 *   submit --> [ h2_client ] --output/sent--> socket
 *   next  <--- [           ] <-----feed------ socket
 *
 * No sockets, clock, threads or locks; one thread owns it (the one that owns the connection). A backup: sealer threads
 * put chunks into a queue of the owner's, which submits them and hands finished responses back. A reader: the owner
 * submits as many downloads as its bound allows, each with a sink that receives the body while it arrives.
 *
 * Every submitted request is answered exactly once by h2_client_next: with a response (judge by `http_status`), or with
 * a failure. This also holds for connections that end, GOAWAY and cancelled requests.
 *
 * Memory: the outbox, responses up to their ceilings, and request structures. Bodies of requests are borrowed until the
 * answer was taken, and copied once, into the outbox.
 * Source: bench/spec/protocol.md 7.4, 15.3. */
#ifndef PXB_WIRE_H2_CLIENT_H
#define PXB_WIRE_H2_CLIENT_H

#include "base/buffer.h"
#include "base/slab.h"

struct h2_client_options {
    uint32_t stream_window;     /* what a peer may send per stream ahead of us; 0: WIRE_WINDOW_SIZE */
    uint32_t connection_window; /* 0: WIRE_WINDOW_SIZE_MAX */
    uint32_t requests_max;      /* unanswered at a time; more: ERR_LIMIT from submit; 0: 4096 */
};

/* Receives the body of a response with status 200 as it comes, in pieces that are valid during the call. Returns how
 * much of it the peer may send anew: `size` normally, less when the rest is announced later by h2_client_consume. May
 * not call anything of the client. */
typedef size_t h2_sink(void *user, const uint8_t *data, size_t size);

struct h2_request {
    const char *method;       /* "GET", "POST", "PUT" */
    const char *path;         /* begins with '/', encoded, with query */
    const char *content_type; /* NULL: form */
    const struct slice *body; /* the array and its bytes are borrowed until the answer; no reference is taken */
    size_t body_count;
    size_t response_size_max; /* of a body with status 200; longer: failure. 0: WIRE_JSON_REPLY_MAX */
    h2_sink *sink;            /* NULL: the body is collected */
    void *user;               /* for the sink, and in the response */
};

struct h2_response {
    int32_t id;
    void *user;
    enum status status; /* OK: a whole response. ERR_NETWORK: the connection or session is over. ERR_CANCELLED: by us.
                         * ERR_LIMIT: too long. ERR_FORMAT: the peer broke rules, reset the
                         * stream, or said 200 before it had the whole request. */
    int http_status;    /* 0: none came */
    bool json;          /* the content type says so */
    bool body_cut;      /* an error text longer than WIRE_ERROR_TEXT_MAX: this is its beginning */
    struct buffer body; /* collected (all, of another status than 200); owned by the response */
    uint64_t body_size; /* with what went to the sink */
    char text[256];     /* why `status` is not OK */
    struct h2_response *next; /* internal */
};

struct h2_client;
MUST_CHECK enum status h2_client_new(const struct h2_client_options *options, struct h2_client **out,
                                     struct error *err);
/* Accepts NULL. Unanswered requests are forgotten, their bodies no longer used. */
void h2_client_free(struct h2_client *c);

/* Queues a request; it is sent when the peer's limits allow. ERR_NETWORK: no more requests on this connection (GOAWAY,
 * lost). ERR_LIMIT: too many unanswered, or path too long. The first id is 1. */
MUST_CHECK enum status h2_client_submit(struct h2_client *c, const struct h2_request *request, int32_t *out_id,
                                        struct error *err);
/* Gives up on a request; its answer comes (ERR_CANCELLED, or what came before). Unknown and answered ones are ignored.
 */
void h2_client_cancel(struct h2_client *c, int32_t id);
/* `size` more bytes of the sink's were used. Unknown and answered ones are ignored. */
void h2_client_consume(struct h2_client *c, int32_t id, size_t size);

/* Bytes that came from the peer, all of them. Failure: the peer broke the protocol; the connection is lost (as
 * h2_client_lose). */
MUST_CHECK enum status h2_client_feed(struct h2_client *c, const void *data, size_t size, struct error *err);
/* Bytes to send; *out_size 0: nothing now. They stay where they are until h2_client_sent says that they are gone; later
 * calls only add to their end. */
MUST_CHECK enum status h2_client_output(struct h2_client *c, const uint8_t **out, size_t *out_size, struct error *err);
void h2_client_sent(struct h2_client *c, size_t size);
/* The connection ended or is useless, for this reason (NULL: the peer closed it): all unanswered requests fail with
 * ERR_NETWORK. */
void h2_client_lose(struct h2_client *c, const char *reason);

/* The next answer, which the caller owns; NULL: none at the moment. */
struct h2_response *h2_client_next(struct h2_client *c);
void h2_response_free(struct h2_response *response); /* accepts NULL */

/* For whoever decides what to submit and whether to wait. */
struct h2_client_state {
    bool lost;
    bool closing;         /* GOAWAY came: unanswered requests may finish, no new ones */
    uint32_t unanswered;  /* submitted, not yet ready for h2_client_next */
    uint32_t streams_max; /* the peer's limit, UINT32_MAX: none */
    uint64_t body_unsent; /* bytes of request bodies that are not in the outbox yet */
    uint64_t requests;    /* all ever submitted */
    uint64_t body_sent;   /* bytes, in DATA frames */
    uint64_t body_received;
    uint64_t answers_begun; /* whose head came */
    size_t output;          /* bytes in the outbox */
    bool blocked;           /* all output is sent, yet bodies wait: for the peer's windows or its limit of streams */
};
void h2_client_state(const struct h2_client *c, struct h2_client_state *out);

#endif
