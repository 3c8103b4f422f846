/* One HTTP/1.1 request and its answer over a link: before and beside sessions.
 *
 * Bounded in time, and in size: heads by HTTP_HEAD_SIZE_MAX, bodies of 200 by the caller, texts of errors by
 * WIRE_ERROR_TEXT_MAX (what is beyond is left out). An answer whose status is not 200 counts as whole even if its body
 * ends early: the status says more than the lost text.
 * Source: bench/spec/protocol.md 5, 7.3, 15.2 (8). */
#ifndef PXB_NET_HTTP_EXCHANGE_H
#define PXB_NET_HTTP_EXCHANGE_H

#include "net/tls_link.h"

struct http_request_bytes {
    const struct buffer *head; /* as wire/upgrade.h writes it */
    const void *body;
    size_t body_size;
    bool upgrade;        /* a 101 is wanted, and ends the exchange */
    size_t body_max;     /* of a 200 */
    uint64_t timeout_ns; /* for everything */
};

struct http_answer {
    struct http_head head;
    struct buffer body;
    struct buffer behind; /* what came behind a 101 */
    bool reusable;        /* another request may follow on the link */
    bool begun;           /* something came, even if the exchange failed then */
};
/* Overwrites what it frees; accepts zeroed. */
void http_answer_deinit(struct http_answer *answer);

/* ERR_NETWORK: lost, or no answer in time; ERR_FORMAT, ERR_LIMIT: no usable answer. `answer` is to be deinited in any
 * case. `wake` may be NULL. */
MUST_CHECK enum status http_exchange(struct tls_link *l, const struct http_request_bytes *request,
                                     struct net_wake *wake, struct http_answer *answer, struct error *err);

#endif
