#include "wire/h2_client.h"

#include "wire/h2_outbox.h"
#include "wire/protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { REQUESTS_MAX_DEFAULT = 4096, RESPONSE_HEADERS_MAX = 64 << 10, DETAIL_SIZE = 160 };

/*   queued --HEADERS sent--> open --END_STREAM or reset--> closed, answered
 *      \------GOAWAY, cancelled, connection lost----------/                   */
struct request {
    struct request *previous;
    struct request *next;
    struct h2_response *response; /* made beforehand: answering cannot fail */
    int32_t id;
    const struct slice *body;
    size_t slice;
    size_t offset;
    uint64_t body_left;
    size_t size_max;
    h2_sink *sink;
    size_t header_size;
    bool open;         /* HEADERS went out */
    bool end_received; /* the response is whole */
    bool failed;       /* with status and text of the response, whatever else comes */
};

struct h2_client {
    nghttp2_session *session;
    struct h2_outbox outbox;
    struct request *first;
    struct request *last;
    struct h2_response *done_first;
    struct h2_response *done_last;
    uint32_t requests_max;
    uint32_t unanswered;
    bool lost;
    bool broken; /* a GOAWAY with an error went out */
    bool closing;
    uint32_t broken_code;
    char detail[DETAIL_SIZE]; /* what nghttp2 said last */
    uint64_t requests;
    uint64_t body_unsent;
    uint64_t body_sent;
    uint64_t body_received;
    uint64_t answers_begun;
};

static void set_failure(struct request *r, enum status status, const char *text)
{
    if (r->failed)
        return;
    r->failed = true;
    r->response->status = status;
    snprintf(r->response->text, sizeof r->response->text, "%s", text);
}

/* Takes the request off the list; its response is ready. */
static void answer(struct h2_client *c, struct request *r)
{
    *(r->previous ? &r->previous->next : &c->first) = r->next;
    *(r->next ? &r->next->previous : &c->last) = r->previous;
    *(c->done_last ? &c->done_last->next : &c->done_first) = r->response;
    c->done_last = r->response;
    c->body_unsent -= r->body_left;
    c->unanswered--;
    nghttp2_session_set_stream_user_data(c->session, r->id, NULL);
    free(r);
}

static struct request *find(const struct h2_client *c, int32_t id)
{
    for (struct request *r = c->first; r; r = r->next)
        if (r->id == id)
            return r;
    return NULL;
}

static void reset(struct h2_client *c, const struct request *r)
{
    /* Fails only for want of memory; the stream then stays until the connection ends. */
    (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, r->id, NGHTTP2_CANCEL);
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t room, uint32_t *flags,
                       nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)id;
    (void)out;
    (void)user;
    const struct request *r = source->ptr;
    size_t size = r->body_left < room ? (size_t)r->body_left : room;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (size == r->body_left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)size;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *header, size_t size,
                        nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)frame;
    struct h2_client *c = user;
    struct request *r = source->ptr;
    if (h2_outbox_room(&c->outbox) < H2_FRAME_HEADER_SIZE + size)
        return NGHTTP2_ERR_WOULDBLOCK;
    h2_outbox_put_frame(&c->outbox, header, r->body, &r->slice, &r->offset, size);
    r->body_left -= size;
    c->body_unsent -= size;
    c->body_sent += size;
    return 0;
}

static int on_before_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)user;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        struct request *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (r)
            r->open = true;
    }
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    struct h2_client *c = user;
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
        c->broken = true;
        c->broken_code = frame->goaway.error_code;
    }
    return 0;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user)
{
    (void)session;
    struct h2_client *c = user;
    struct request *r = frame->hd.type == NGHTTP2_HEADERS ? find(c, frame->hd.stream_id) : NULL;
    if (r) {
        char text[DETAIL_SIZE];
        snprintf(text, sizeof text, "the request was not sent: %s", nghttp2_strerror(code));
        set_failure(r, ERR_NETWORK, text);
        answer(c, r);
    }
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *user)
{
    (void)flags;
    struct h2_client *c = user;
    struct request *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!r)
        return 0;
    r->header_size += name_size + value_size + 32;
    if (r->header_size > RESPONSE_HEADERS_MAX) {
        set_failure(r, ERR_LIMIT, "the headers of the answer are too long");
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (name_size == 7 && memcmp(name, ":status", 7) == 0 && value_size == 3) { /* three digits: nghttp2 checked */
        r->response->http_status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
        c->answers_begun += r->response->http_status >= 200; /* others may come in any number */
    }
    if (name_size == 12 && memcmp(name, "content-type", 12) == 0)
        r->response->json = value_size >= 16 && strncasecmp((const char *)value, "application/json", 16) == 0;
    return 0;
}

/* Keeps the beginning of an error's text. */
static void collect_error(struct h2_client *c, struct request *r, const uint8_t *data, size_t size)
{
    struct buffer *body = &r->response->body;
    size_t room = WIRE_ERROR_TEXT_MAX - body->size;
    if (size > room) {
        size = room;
        r->response->body_cut = true;
        r->end_received = true; /* enough of it */
        reset(c, r);
    }
    body->limit = WIRE_ERROR_TEXT_MAX;
    if (buffer_append(body, data, size, NULL) != OK)
        set_failure(r, ERR_MEMORY, "out of memory for an answer");
}

/* How much the peer may send anew. */
static size_t take_data(struct h2_client *c, struct request *r, const uint8_t *data, size_t size)
{
    if (r->failed || r->response->body_cut)
        return size;
    r->response->body_size += size;
    if (r->response->http_status != 200) {
        collect_error(c, r, data, size);
        return size;
    }
    if (r->response->body_size > r->size_max) {
        char text[DETAIL_SIZE];
        snprintf(text, sizeof text, "the answer is longer than the accepted %zu bytes", r->size_max);
        set_failure(r, ERR_LIMIT, text);
        reset(c, r);
        return size;
    }
    if (r->sink)
        return r->sink(r->response->user, data, size);
    r->response->body.limit = r->size_max;
    if (buffer_append(&r->response->body, data, size, NULL) != OK) {
        set_failure(r, ERR_MEMORY, "out of memory for an answer");
        reset(c, r);
    }
    return size;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t size, void *user)
{
    (void)flags;
    struct h2_client *c = user;
    struct request *r = nghttp2_session_get_stream_user_data(session, id);
    c->body_received += size;
    size_t used = r ? take_data(c, r, data, size) : size;
    ASSERT(used <= size);
    /* The connection's window never waits for one stream's consumer. */
    if (nghttp2_session_consume_connection(session, size) != 0 ||
        nghttp2_session_consume_stream(session, id, used) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return 0;
}

static void on_goaway(struct h2_client *c)
{
    c->closing = true;
    for (struct request *next, *r = c->first; r; r = next) {
        next = r->next;
        if (!r->open) {
            set_failure(r, ERR_NETWORK, "the server takes no more requests on this connection");
            answer(c, r);
        }
    }
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_client *c = user;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        on_goaway(c);
        return 0;
    }
    bool carries_end = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (!carries_end || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    struct request *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!r)
        return 0;
    r->end_received = true;
    if (r->body_left > 0) {
        /* An error may come early, and the rest of the body is then of no use to anyone. */
        if (r->response->http_status == 200)
            set_failure(r, ERR_FORMAT, "the server said 200 before it had the whole request");
        reset(c, r);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2_client *c = user;
    struct request *r = nghttp2_session_get_stream_user_data(session, id);
    if (!r)
        return 0;
    if (!r->end_received || r->response->http_status < 200) {
        char text[DETAIL_SIZE];
        if (c->closing && code == NGHTTP2_REFUSED_STREAM)
            snprintf(text, sizeof text, "the server takes no more requests on this connection");
        else
            snprintf(text, sizeof text, "the request was reset before it was answered: %s", h2_error_name(code));
        set_failure(r, c->closing ? ERR_NETWORK : ERR_FORMAT, text);
    }
    answer(c, r);
    return 0;
}

static int on_error(nghttp2_session *session, int code, const char *text, size_t size, void *user)
{
    (void)session;
    (void)code;
    struct h2_client *c = user;
    size = size < sizeof c->detail ? size : sizeof c->detail - 1;
    for (size_t i = 0; i < size; i++)
        c->detail[i] = text[i] >= ' ' && text[i] < 0x7f ? text[i] : '?';
    c->detail[size] = '\0';
    return 0;
}

static int make_session(struct h2_client *c)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    int code = nghttp2_session_callbacks_new(&callbacks);
    if (code != 0)
        return code;
    code = nghttp2_option_new(&option);
    if (code != 0) {
        nghttp2_session_callbacks_del(callbacks);
        return code;
    }
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, h2_data_frame_size);
    nghttp2_session_callbacks_set_before_frame_send_callback(callbacks, on_before_frame_send);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_error_callback2(callbacks, on_error);
    nghttp2_option_set_no_auto_window_update(option, 1);
    /* One request until the server said how many it takes: it may refuse what is too much. */
    nghttp2_option_set_peer_max_concurrent_streams(option, 1);
    code = nghttp2_session_client_new2(&c->session, callbacks, c, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return code;
}

static int announce(struct h2_client *c, const struct h2_client_options *options)
{
    uint32_t stream_window = options->stream_window ? options->stream_window : WIRE_WINDOW_SIZE;
    uint32_t connection_window = options->connection_window ? options->connection_window : WIRE_WINDOW_SIZE_MAX;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, stream_window},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, WIRE_FRAME_SIZE_MAX},
    };
    int code = nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings);
    if (code != 0)
        return code;
    return nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, (int32_t)connection_window);
}

enum status h2_client_new(const struct h2_client_options *options, struct h2_client **out, struct error *err)
{
    struct h2_client *c = calloc(1, sizeof *c);
    if (!c)
        return fail(err, ERR_MEMORY, "out of memory for a connection");
    c->requests_max = options->requests_max ? options->requests_max : REQUESTS_MAX_DEFAULT;
    enum status status = h2_outbox_init(&c->outbox, err);
    if (status == OK) {
        int code = make_session(c);
        if (code == 0)
            code = announce(c, options);
        if (code != 0)
            status = h2_failure(code, err);
    }
    if (status != OK) {
        h2_client_free(c);
        return status;
    }
    *out = c;
    return OK;
}

void h2_client_free(struct h2_client *c)
{
    if (!c)
        return;
    nghttp2_session_del(c->session);
    for (struct request *next, *r = c->first; r; r = next) {
        next = r->next;
        h2_response_free(r->response);
        free(r);
    }
    for (struct h2_response *next, *response = c->done_first; response; response = next) {
        next = response->next;
        h2_response_free(response);
    }
    h2_outbox_deinit(&c->outbox);
    free(c);
}

static enum status check_submit(const struct h2_client *c, const struct h2_request *request, struct error *err)
{
    size_t size = strlen(request->path);
    if (c->lost || c->closing)
        return fail(err, ERR_NETWORK, "the connection takes no more requests");
    if (c->unanswered >= c->requests_max)
        return fail(err, ERR_LIMIT, "%u requests are unanswered already", c->unanswered);
    if (size > WIRE_PATH_MAX)
        return fail(err, ERR_LIMIT, "a request path of %zu bytes, at most %d are sent", size, WIRE_PATH_MAX);
    ASSERT(request->path[0] == '/');
    for (const char *p = request->path; *p; p++)
        ASSERT(*p > ' ' && *p < 0x7f); /* encoded by the caller */
    return OK;
}

static enum status request_new(const struct h2_request *request, struct request **out, struct error *err)
{
    struct request *r = calloc(1, sizeof *r);
    struct h2_response *response = calloc(1, sizeof *response);
    if (!r || !response) {
        free(r);
        free(response);
        return fail(err, ERR_MEMORY, "out of memory for a request");
    }
    response->user = request->user;
    *r = (struct request){
        .response = response,
        .body = request->body,
        .size_max = request->response_size_max ? request->response_size_max : WIRE_JSON_REPLY_MAX,
        .sink = request->sink,
    };
    for (size_t i = 0; i < request->body_count; i++)
        r->body_left += request->body[i].size;
    *out = r;
    return OK;
}

enum status h2_client_submit(struct h2_client *c, const struct h2_request *request, int32_t *out_id, struct error *err)
{
    struct request *r;
    TRY(check_submit(c, request, err));
    TRY(request_new(request, &r, err));
    const nghttp2_nv headers[] = {
        h2_header(":method", request->method),
        h2_header(":scheme", "https"),
        h2_header(":authority", WIRE_AUTHORITY),
        h2_header(":path", request->path),
        h2_header("user-agent", WIRE_USER_AGENT),
        h2_header("content-type", request->content_type ? request->content_type : WIRE_TYPE_FORM),
    };
    const nghttp2_data_provider body = {.source = {.ptr = r}, .read_callback = on_read};
    int32_t id = nghttp2_submit_request(c->session, NULL, headers, sizeof headers / sizeof *headers,
                                        r->body_left > 0 ? &body : NULL, r);
    if (id < 0) {
        h2_response_free(r->response);
        free(r);
        if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE)
            return fail(err, ERR_NETWORK, "the connection has used up its stream numbers");
        return h2_failure(id, err);
    }
    r->id = r->response->id = id;
    r->previous = c->last;
    *(c->last ? &c->last->next : &c->first) = r;
    c->last = r;
    c->unanswered++;
    c->requests++;
    c->body_unsent += r->body_left;
    *out_id = id;
    return OK;
}

void h2_client_cancel(struct h2_client *c, int32_t id)
{
    struct request *r = c->lost ? NULL : find(c, id);
    if (!r)
        return;
    if (!r->end_received)
        set_failure(r, ERR_CANCELLED, "cancelled");
    reset(c, r);
    if (!r->open)
        answer(c, r);
}

void h2_client_consume(struct h2_client *c, int32_t id, size_t size)
{
    /* Fails only for want of memory; the window then stays smaller. */
    if (!c->lost && find(c, id))
        (void)nghttp2_session_consume_stream(c->session, id, size);
}

void h2_client_lose(struct h2_client *c, const char *reason)
{
    c->lost = true;
    while (c->first) {
        set_failure(c->first, ERR_NETWORK, reason ? reason : "the server closed the connection");
        answer(c, c->first);
    }
}

enum status h2_client_feed(struct h2_client *c, const void *data, size_t size, struct error *err)
{
    if (c->lost)
        return fail(err, ERR_NETWORK, "the connection is lost");
    ssize_t used = nghttp2_session_mem_recv(c->session, data, size);
    if (used < 0 || (size_t)used != size) {
        struct error reason;
        enum status status = fail(&reason, used == NGHTTP2_ERR_NOMEM ? ERR_MEMORY : ERR_FORMAT,
                                  "the server broke the rules of HTTP/2: %s%s%s", nghttp2_strerror((int)used),
                                  c->detail[0] ? ": " : "", c->detail);
        h2_client_lose(c, reason.text);
        return fail(err, status, "%s", reason.text);
    }
    return OK;
}

enum status h2_client_output(struct h2_client *c, const uint8_t **out, size_t *out_size, struct error *err)
{
    enum status status = OK;
    if (!c->lost) {
        struct error reason = {0};
        status = h2_outbox_fill(&c->outbox, c->session, &reason);
        if (status == OK && c->broken) {
            snprintf(reason.text, sizeof reason.text, "the server broke the rules of HTTP/2 (%s)%s%s",
                     h2_error_name(c->broken_code), c->detail[0] ? ": " : "", c->detail);
            h2_client_lose(c, reason.text);
        } else if (status != OK) {
            h2_client_lose(c, reason.text);
            status = fail(err, status, "%s", reason.text);
        }
    }
    *out = c->outbox.data + c->outbox.head;
    *out_size = c->outbox.tail - c->outbox.head;
    return status;
}

void h2_client_sent(struct h2_client *c, size_t size)
{
    h2_outbox_sent(&c->outbox, size);
}

struct h2_response *h2_client_next(struct h2_client *c)
{
    struct h2_response *response = c->done_first;
    if (response) {
        c->done_first = response->next;
        if (!c->done_first)
            c->done_last = NULL;
        response->next = NULL;
    }
    return response;
}

void h2_response_free(struct h2_response *response)
{
    if (!response)
        return;
    buffer_deinit(&response->body);
    free(response);
}

void h2_client_state(const struct h2_client *c, struct h2_client_state *out)
{
    *out = (struct h2_client_state){
        .lost = c->lost,
        .closing = c->closing,
        .unanswered = c->unanswered,
        .streams_max = nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS),
        .body_unsent = c->body_unsent,
        .requests = c->requests,
        .body_sent = c->body_sent,
        .body_received = c->body_received,
        .answers_begun = c->answers_begun,
        .output = c->outbox.tail - c->outbox.head,
        .blocked = c->outbox.head == c->outbox.tail && c->body_unsent > 0,
    };
}
