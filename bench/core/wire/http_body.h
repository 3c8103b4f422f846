/* The body behind an HTTP/1.1 head, taken out of the bytes of a connection: of known length, chunked, or up to the end.
 * Pure; pieces are handed on as they are found, without a copy. Bounded by the caller's ceiling.
 * Source: bench/spec/protocol.md 5.2; RFC 9112 7.1. */
#ifndef PXB_WIRE_HTTP_BODY_H
#define PXB_WIRE_HTTP_BODY_H

#include "wire/http_head.h"

struct http_body {
    enum http_framing framing;
    bool complete;
    uint64_t size_max;
    uint64_t size; /* bytes of the body so far */
    uint64_t left; /* of a body of known length, or of a chunk */
    unsigned state;
    unsigned line_size; /* of the chunk line or trailer being read */
    unsigned trailer_size;
    unsigned digits;
};

/* `size_max`: a longer body is ERR_LIMIT, at once if the head says so. */
MUST_CHECK enum status http_body_init(struct http_body *b, const struct http_head *head, uint64_t size_max,
                                      struct error *err);
/* Takes some bytes: `*out_used` of them are gone, and `*out_piece` of body (part of `data`, maybe none) was among them.
 * Call again with the rest until everything is used or the body is complete. ERR_FORMAT, ERR_LIMIT. */
MUST_CHECK enum status http_body_feed(struct http_body *b, const void *data, size_t size, size_t *out_used,
                                      const uint8_t **out_piece, size_t *out_piece_size, struct error *err);
/* The connection ended. ERR_NETWORK: too early. */
MUST_CHECK enum status http_body_end(struct http_body *b, struct error *err);

#endif
