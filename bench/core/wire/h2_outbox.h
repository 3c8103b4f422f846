/* What an HTTP/2 session has to send, in one piece of memory. Shared by h2_client.c and h2_server.c.
 *
 *   |  sent  |  unsent: data + head .. data + tail  |   room   |
 *
 * Unsent bytes never move: TLS libraries want a blocked write repeated from the same address
 * (bench/spec/protocol.md 15.2). New bytes go behind them; when all are sent the outbox starts at the front again. */
#ifndef PXB_WIRE_H2_OUTBOX_H
#define PXB_WIRE_H2_OUTBOX_H

#include "base/slab.h"

#include <nghttp2/nghttp2.h>

enum {
    H2_OUTBOX_SIZE = 256 << 10,
    H2_FRAME_HEADER_SIZE = 9,
    H2_DATA_FRAME_MAX = 64 << 10, /* of body in one frame: larger ones save nothing and delay others */
};

struct h2_outbox {
    uint8_t *data;
    size_t head;
    size_t tail;
    const uint8_t *rest; /* of nghttp2's, not copied yet */
    size_t rest_size;
};

MUST_CHECK enum status h2_outbox_init(struct h2_outbox *o, struct error *err);
void h2_outbox_deinit(struct h2_outbox *o);
/* Moves what the session has to send into the outbox, until one is empty or the other full. */
MUST_CHECK enum status h2_outbox_fill(struct h2_outbox *o, nghttp2_session *session, struct error *err);
void h2_outbox_sent(struct h2_outbox *o, size_t size);
static inline size_t h2_outbox_room(const struct h2_outbox *o)
{
    return H2_OUTBOX_SIZE - o->tail;
}
/* A DATA frame's header and `size` bytes taken from `slices` at *slice and *offset, which move on. There must be room.
 */
void h2_outbox_put_frame(struct h2_outbox *o, const uint8_t header[H2_FRAME_HEADER_SIZE], const struct slice *slices,
                         size_t *slice, size_t *offset, size_t size);

/* nghttp2's structures are not const although it only reads. */
nghttp2_nv h2_header(const char *name, const char *value);
/* How much body one DATA frame may carry. */
ssize_t h2_data_frame_size(nghttp2_session *session, uint8_t type, int32_t stream, int32_t session_window,
                           int32_t stream_window, uint32_t frame_size_max, void *user);
/* "PROTOCOL_ERROR", ...: never NULL. */
const char *h2_error_name(uint32_t code);
/* What a code of nghttp2's means; returns the status. */
MUST_CHECK enum status h2_failure(int code, struct error *err);

#endif
