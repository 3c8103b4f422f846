/* The server's half of an HTTP/2 connection, after the upgrade: requests come out as calls of a handler, replies go in,
 * and in between there are bytes for somebody else to carry.
 *
 *   handler <-- request, data, end, closed --- [ h2_server ] <-----feed------ socket
 *           --- respond, reset, goaway ------> [           ] --output/sent--> socket
 *
 * No sockets, clock, threads or locks; one thread owns a session (an event loop has many, a thread per connection one).
 * Replies may be given inside the handler's calls or at any later time (a delay, another thread's result brought back
 * by the owner).
 *
 * A handler that copies data away as it comes need not do anything for flow control: windows are given back at once. So
 * what streams may hold together is the handler's to bound (bodies have ceilings, streams are limited). Source:
 * bench/spec/protocol.md 7.4, 14.3, 15.5. */
#ifndef PXB_WIRE_H2_SERVER_H
#define PXB_WIRE_H2_SERVER_H

#include "base/buffer.h"
#include "wire/http_head.h"

struct h2_server;

struct h2_server_request {
    const char *method;
    const char *path;         /* with query; begins with '/' */
    const char *content_type; /* NULL: none */
    bool has_length;
    uint64_t length; /* content-length */
    bool has_body;   /* data may follow */
};

/* Calls of feed, output and free. They may respond, reset and set the stream's user pointer; not feed, output or free.
 */
struct h2_server_handler {
    /* Headers are complete. The request's texts live until `closed`. */
    void (*request)(void *user, struct h2_server *s, int32_t stream, const struct h2_server_request *request);
    /* Body as it comes. Not called any more once a response was given. */
    void (*data)(void *user, struct h2_server *s, int32_t stream, void *stream_user, const uint8_t *data, size_t size);
    /* The request is whole. Not called any more once a response was given. */
    void (*end)(void *user, struct h2_server *s, int32_t stream, void *stream_user);
    /* Once for every `request`: nothing of the reply is used any more. `complete`: the reply went out as a whole. Also
     * from h2_server_free. */
    void (*closed)(void *user, struct h2_server *s, int32_t stream, void *stream_user, bool complete);
};

/* What a session announces and allows. Zero: the value of bench/spec/protocol.md 7.4 for our server. Small values are
 * for tests of clients. */
struct h2_server_options {
    uint32_t streams_max;       /* 200 */
    uint32_t stream_window;     /* 33554432 */
    uint32_t connection_window; /* 33554432; below 65535 means 65535 */
    uint32_t frame_size_max;    /* 4194304; at least 16384 */
    uint32_t header_list_max;   /* 16384 */
    bool late_settings;         /* nothing is sent until h2_server_announce */
    bool lax;                   /* takes requests without :authority, with scheme http, with a path lacking '/' */
    bool reset_with_cancel;     /* after early responses: CANCEL instead of NO_ERROR */
};

/* `handler` and `user` are borrowed. */
MUST_CHECK enum status h2_server_new(const struct h2_server_options *options, const struct h2_server_handler *handler,
                                     void *user, struct h2_server **out, struct error *err);
void h2_server_free(struct h2_server *s); /* accepts NULL */
/* Lets out what `late_settings` held back, the settings first. */
void h2_server_announce(struct h2_server *s);

/* Bytes that came from the peer. Failure: nothing will be carried out any more (ERR_CLOSED: one side has said good-bye,
 * and nothing is under way; ERR_LIMIT: answers pile up that the client does not take; else no HTTP/2); send what
 * h2_server_output has, then close. Streams above streams_max are refused one by
 * one, unless there are thousands of them in one piece. */
MUST_CHECK enum status h2_server_feed(struct h2_server *s, const void *data, size_t size, struct error *err);
/* As h2_client_output and h2_client_sent. */
MUST_CHECK enum status h2_server_output(struct h2_server *s, const uint8_t **out, size_t *out_size, struct error *err);
void h2_server_sent(struct h2_server *s, size_t size);
/* Nothing will happen any more: output is sent and no input is wanted. */
bool h2_server_finished(const struct h2_server *s);
/* Streams between `request` and `closed`. */
size_t h2_server_streams(const struct h2_server *s);

/* Fills `out` with up to `room` bytes of a reply. */
enum h2_source_result {
    H2_SOURCE_MORE,
    H2_SOURCE_END,    /* with the last bytes, or with none */
    H2_SOURCE_WAIT,   /* no bytes now; h2_server_resume later */
    H2_SOURCE_FAILED, /* the stream is reset */
};
typedef enum h2_source_result h2_source(void *user, uint8_t *out, size_t room, size_t *out_size);

struct h2_reply {
    int status;
    const char *content_type;         /* NULL: none */
    const struct http_field *headers; /* further ones, lower-case names; copied */
    size_t header_count;
    const void *body;
    size_t body_size;
    bool body_borrowed; /* else copied; borrowed until `closed` */
    h2_source *source;  /* instead of a body */
    void *source_user;
};
/* The reply of a stream, once (ERR_EXISTS). Before the end of the request: what still comes of it is ignored, and the
 * stream is reset when the reply is out. ERR_CLOSED: the stream is gone, which is nobody's fault. */
MUST_CHECK enum status h2_server_respond(struct h2_server *s, int32_t stream, const struct h2_reply *reply,
                                         struct error *err);
void h2_server_resume(struct h2_server *s, int32_t stream);
/* Ends a stream without, or within, a reply. `code` is one of HTTP/2's error codes. */
void h2_server_reset(struct h2_server *s, int32_t stream, uint32_t code);
/* No requests after the last one seen will be answered; those may finish. `code` 0 normally. */
MUST_CHECK enum status h2_server_goaway(struct h2_server *s, uint32_t code, struct error *err);

void h2_server_set_user(struct h2_server *s, int32_t stream, void *stream_user);
void *h2_server_get_user(const struct h2_server *s, int32_t stream); /* NULL: none, or the stream is gone */

#endif
