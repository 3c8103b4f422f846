#include "wire/h2_server.h"

#include "wire/h2_outbox.h"
#include "wire/protocol.h"

#include <stdlib.h>
#include <string.h>

enum {
    REPLY_HEADERS_MAX = 16,
    WINDOW_DEFAULT_H2 = 65535,
    FRAME_SIZE_MIN = 16384,
    /* Of the outbox, for what is no body. A client that lets this run full does not read, but wants more and more: it
     * is sent away. All the replies' heads of a session that keeps to its streams are a third of it. */
    OUTBOX_RESERVE = 48 << 10,
    QUEUE_MAX = 1024,   /* frames that wait while settings are late */
    REFUSED_MAX = 2048, /* streams at a time: more than a record of TLS can open, the least frame has ten bytes */
};

struct stream {
    struct stream *previous;
    struct stream *next;
    int32_t id;
    void *user;
    /* The request. */
    char *method;
    char *path;
    char *content_type;
    bool has_length;
    bool malformed;
    uint64_t length;
    uint64_t received;
    size_t header_size;
    bool announced; /* to the handler */
    bool end_received;
    /* The reply. */
    bool responded;
    bool complete;
    uint8_t *copy;
    struct slice body;
    size_t slice;
    size_t offset;
    h2_source *source;
    void *source_user;
};

struct h2_server {
    nghttp2_session *session;
    struct h2_outbox outbox;
    const struct h2_server_handler *handler;
    void *user;
    struct h2_server_options options;
    bool silent; /* until h2_server_announce */
    bool told;   /* how many streams there may be */
    bool failed;
    bool dead; /* nothing can be sent either */
    struct stream *first;
    size_t count; /* of streams */
    size_t announced;
};

static struct stream *find(const struct h2_server *s, int32_t id)
{
    return nghttp2_session_get_stream_user_data(s->session, id);
}

static void stream_free(struct h2_server *s, struct stream *t)
{
    if (t->previous)
        t->previous->next = t->next;
    else
        s->first = t->next;
    if (t->next)
        t->next->previous = t->previous;
    s->count--;
    if (t->announced) {
        s->announced--;
        s->handler->closed(s->user, s, t->id, t->user, t->complete);
    }
    free(t->method);
    free(t->path);
    free(t->content_type);
    free(t->copy);
    free(t);
}

/* ---- requests ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_server *s = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    if (s->count >= s->options.streams_max) {
        /* RFC 9113 5.1.2: this stream's error, not the connection's. */
        int code = nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return code == 0 ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    struct stream *t = calloc(1, sizeof *t);
    if (!t)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    s->count++;
    t->id = frame->hd.stream_id;
    t->next = s->first;
    if (s->first)
        s->first->previous = t;
    s->first = t;
    return nghttp2_session_set_stream_user_data(session, t->id, t) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static bool keep(char **out, const uint8_t *value, size_t size)
{
    if (*out || memchr(value, '\0', size))
        return false;
    *out = strndup((const char *)value, size);
    return *out != NULL;
}

/* "/x" as it is, "x" with a slash before it. */
static bool keep_path(const struct h2_server *s, struct stream *t, const uint8_t *value, size_t size)
{
    if (t->path || size == 0)
        return false;
    if (value[0] == '/' || !s->options.lax)
        return keep(&t->path, value, size);
    if (memchr(value, '\0', size) || !(t->path = malloc(size + 2)))
        return false;
    t->path[0] = '/';
    memcpy(t->path + 1, value, size);
    t->path[size + 1] = '\0';
    return true;
}

static bool keep_length(struct stream *t, const uint8_t *value, size_t size)
{
    if (t->has_length || size == 0 || size > 18)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (value[i] < '0' || value[i] > '9')
            return false;
        t->length = 10 * t->length + (uint64_t)(value[i] - '0');
    }
    t->has_length = true;
    return true;
}

static bool name_is(const uint8_t *name, size_t size, const char *wanted)
{
    return size == strlen(wanted) && memcmp(name, wanted, size) == 0;
}

/* false: the request is malformed. nghttp2 has checked most of this already unless we are lax. */
static bool take_header(const struct h2_server *s, struct stream *t, const uint8_t *name, size_t name_size,
                        const uint8_t *value, size_t value_size)
{
    if (name_is(name, name_size, ":method"))
        return keep(&t->method, value, value_size);
    if (name_is(name, name_size, ":path"))
        return keep_path(s, t, value, value_size);
    if (name_is(name, name_size, "content-type"))
        return keep(&t->content_type, value, value_size);
    if (name_is(name, name_size, "content-length"))
        return keep_length(t, value, value_size);
    return true;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *user)
{
    (void)session;
    (void)flags;
    const struct h2_server *s = user;
    struct stream *t = find(s, frame->hd.stream_id);
    if (!t || t->announced) /* trailers */
        return 0;
    t->header_size += name_size + value_size + 32;
    if (t->header_size > s->options.header_list_max)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (!take_header(s, t, name, name_size, value, value_size))
        t->malformed = true;
    return 0;
}

static void reset(struct h2_server *s, int32_t id, uint32_t code)
{
    /* Fails only for want of memory; the stream then stays until the connection ends. */
    (void)nghttp2_submit_rst_stream(s->session, NGHTTP2_FLAG_NONE, id, code);
}

static void announce_request(struct h2_server *s, struct stream *t, bool has_body)
{
    if (t->malformed || !t->method || !t->path) {
        reset(s, t->id, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    const struct h2_server_request request = {
        .method = t->method,
        .path = t->path,
        .content_type = t->content_type,
        .has_length = t->has_length,
        .length = t->length,
        .has_body = has_body,
    };
    t->announced = true;
    s->announced++;
    s->handler->request(s->user, s, t->id, &request);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    struct h2_server *s = user;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct stream *t = find(s, frame->hd.stream_id);
    if (!t)
        return 0;
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        announce_request(s, t, !end);
    if (!end || !t->announced)
        return 0;
    t->end_received = true;
    if (t->has_length && t->received != t->length)
        reset(s, t->id, NGHTTP2_PROTOCOL_ERROR);
    else if (!t->responded)
        s->handler->end(s->user, s, t->id, t->user);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t size, void *user)
{
    (void)session;
    (void)flags;
    struct h2_server *s = user;
    struct stream *t = find(s, id);
    if (!t || !t->announced)
        return 0;
    t->received += size;
    if (!t->responded && size > 0)
        s->handler->data(s->user, s, id, t->user, data, size);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    (void)code;
    struct h2_server *s = user;
    struct stream *t = find(s, id);
    if (t) {
        nghttp2_session_set_stream_user_data(session, id, NULL);
        stream_free(s, t);
    }
    return 0;
}

/* ---- replies ---- */

/* Whether a frame with so much of a body may go into the outbox. One that nghttp2 has begun holds up all others. */
static bool has_room(const struct h2_server *s, size_t size)
{
    return h2_outbox_room(&s->outbox) >= H2_FRAME_HEADER_SIZE + size + OUTBOX_RESERVE;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t room, uint32_t *flags,
                       nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)id;
    const struct h2_server *s = user;
    struct stream *t = source->ptr;
    size_t left = t->source ? room : t->body.size - t->offset;
    if (!has_room(s, left < room ? left : room))
        return NGHTTP2_ERR_PAUSE;
    if (!t->source) {
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
        if (left <= room)
            *flags |= NGHTTP2_DATA_FLAG_EOF;
        return (ssize_t)(left < room ? left : room);
    }
    size_t size = 0;
    enum h2_source_result result = t->source(t->source_user, out, room, &size);
    ASSERT(size <= room);
    if (result == H2_SOURCE_FAILED)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (result == H2_SOURCE_END)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (size == 0)
        return NGHTTP2_ERR_DEFERRED;
    return (ssize_t)size;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *header, size_t size,
                        nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)frame;
    struct h2_server *s = user;
    struct stream *t = source->ptr;
    h2_outbox_put_frame(&s->outbox, header, &t->body, &t->slice, &t->offset, size);
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    struct h2_server *s = user;
    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    struct stream *t = find(s, frame->hd.stream_id);
    if (!t)
        return 0;
    t->complete = true;
    if (!t->end_received)
        reset(s, t->id, s->options.reset_with_cancel ? NGHTTP2_CANCEL : NGHTTP2_NO_ERROR);
    return 0;
}

/* A head that is longer than nghttp2 sends: the client must not wait for it. */
static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user)
{
    (void)session;
    (void)code;
    struct h2_server *s = user;
    if (frame->hd.type == NGHTTP2_HEADERS && find(s, frame->hd.stream_id))
        reset(s, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
    return 0;
}

/* ---- the session ---- */

static int make_session(struct h2_server *s)
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
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_option_set_no_closed_streams(option, 1); /* as many as there may be, for priorities that nobody uses */
    if (s->options.lax)
        nghttp2_option_set_no_http_messaging(option, 1);
    code = nghttp2_session_server_new2(&s->session, callbacks, s, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return code;
}

/* nghttp2 counts with more streams than the client is told (tell_streams): it would end the session over one too many,
 * where on_begin_headers refuses just that one. */
static int announce(struct h2_server *s)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, s->options.streams_max + REFUSED_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, s->options.stream_window},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, s->options.frame_size_max},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, s->options.header_list_max},
    };
    int code = nghttp2_submit_settings(s->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings);
    if (code == 0 && s->options.connection_window > WINDOW_DEFAULT_H2)
        code = nghttp2_session_set_local_window_size(s->session, NGHTTP2_FLAG_NONE, 0,
                                                     (int32_t)s->options.connection_window);
    return code;
}

/* Into the outbox's first frame, which are the settings, before anything of it is sent. */
static void tell_streams(struct h2_server *s)
{
    uint8_t *entry = s->outbox.data + H2_FRAME_HEADER_SIZE;
    if (s->told || s->outbox.tail == 0)
        return;
    ASSERT(s->outbox.head == 0 && s->outbox.tail >= H2_FRAME_HEADER_SIZE + 6 && s->outbox.data[3] == NGHTTP2_SETTINGS &&
           entry[0] == 0 && entry[1] == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    for (int i = 0; i < 4; i++)
        entry[2 + i] = (uint8_t)(s->options.streams_max >> (24 - 8 * i));
    s->told = true;
}

static enum status fill(struct h2_server *s, struct error *err)
{
    if (s->silent || s->dead)
        return OK;
    enum status status = h2_outbox_fill(&s->outbox, s->session, err);
    tell_streams(s);
    if (status != OK)
        s->failed = s->dead = true;
    return status;
}

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

enum status h2_server_new(const struct h2_server_options *options, const struct h2_server_handler *handler, void *user,
                          struct h2_server **out, struct error *err)
{
    struct h2_server *s = calloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "out of memory for a connection");
    s->handler = handler;
    s->user = user;
    s->options = *options;
    s->silent = options->late_settings;
    s->options.streams_max = or_default(options->streams_max, WIRE_STREAMS_MAX);
    s->options.stream_window = or_default(options->stream_window, WIRE_WINDOW_SIZE);
    s->options.connection_window = or_default(options->connection_window, WIRE_WINDOW_SIZE);
    s->options.frame_size_max = or_default(options->frame_size_max, WIRE_FRAME_SIZE_MAX);
    s->options.header_list_max = or_default(options->header_list_max, WIRE_HEADER_LIST_MAX);
    if (s->options.streams_max > INT32_MAX) /* as good as all, and nghttp2 is told of more */
        s->options.streams_max = INT32_MAX;
    if (s->options.frame_size_max < FRAME_SIZE_MIN)
        s->options.frame_size_max = FRAME_SIZE_MIN;
    enum status status = h2_outbox_init(&s->outbox, err);
    if (status == OK) {
        int code = make_session(s);
        if (code == 0)
            code = announce(s);
        status = code == 0 ? OK : h2_failure(code, err);
    }
    if (status != OK) {
        h2_server_free(s);
        return status;
    }
    *out = s;
    return OK;
}

void h2_server_announce(struct h2_server *s)
{
    s->silent = false;
}

void h2_server_free(struct h2_server *s)
{
    if (!s)
        return;
    s->failed = true; /* nothing that `closed` calls reaches the session */
    while (s->first)
        stream_free(s, s->first);
    nghttp2_session_del(s->session);
    h2_outbox_deinit(&s->outbox);
    free(s);
}

/* The client is told why, unless nghttp2 has done so already. */
static void give_up(struct h2_server *s, uint32_t code)
{
    s->failed = true;
    (void)nghttp2_session_terminate_session(s->session, code); /* fails for want of memory: no good-bye */
}

enum status h2_server_feed(struct h2_server *s, const void *data, size_t size, struct error *err)
{
    if (s->failed)
        return fail(err, ERR_CLOSED, "the connection has failed");
    ssize_t used = nghttp2_session_mem_recv(s->session, data, size);
    if (used < 0 || (size_t)used != size) {
        give_up(s, used == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM
                   : used == NGHTTP2_ERR_NOMEM ? NGHTTP2_INTERNAL_ERROR
                                               : NGHTTP2_PROTOCOL_ERROR);
        return fail(err, used == NGHTTP2_ERR_NOMEM ? ERR_MEMORY : ERR_FORMAT,
                    "the client broke the rules of HTTP/2: %s", nghttp2_strerror((int)used));
    }
    /* At once, so that nghttp2 has no answers to keep, and we learn of a good-bye that it has given by itself. */
    TRY(fill(s, err));
    if (s->outbox.rest_size > 0 || nghttp2_session_get_outbound_queue_size(s->session) > QUEUE_MAX) {
        give_up(s, NGHTTP2_ENHANCE_YOUR_CALM);
        return fail(err, ERR_LIMIT, "the client wants more and more answers, and reads none");
    }
    if (!nghttp2_session_want_read(s->session) && !nghttp2_session_want_write(s->session)) {
        s->failed = true;
        return fail(err, ERR_CLOSED, "the session has been ended");
    }
    return OK;
}

enum status h2_server_output(struct h2_server *s, const uint8_t **out, size_t *out_size, struct error *err)
{
    enum status status = fill(s, err); /* also of a session that failed: the settings are part of the good-bye */
    *out = s->outbox.data + s->outbox.head;
    *out_size = s->outbox.tail - s->outbox.head;
    return status;
}

void h2_server_sent(struct h2_server *s, size_t size)
{
    h2_outbox_sent(&s->outbox, size);
}

bool h2_server_finished(const struct h2_server *s)
{
    if (s->outbox.head != s->outbox.tail)
        return false;
    if (s->dead)
        return true;
    return s->outbox.rest_size == 0 && !nghttp2_session_want_write(s->session) &&
           (s->failed || !nghttp2_session_want_read(s->session));
}

size_t h2_server_streams(const struct h2_server *s)
{
    return s->announced;
}

static enum status prepare_body(struct stream *t, const struct h2_reply *reply, struct error *err)
{
    const void *body = reply->body;
    if (!reply->source && !reply->body_borrowed && reply->body_size > 0) {
        t->copy = malloc(reply->body_size);
        if (!t->copy)
            return fail(err, ERR_MEMORY, "out of memory for a reply of %zu bytes", reply->body_size);
        memcpy(t->copy, reply->body, reply->body_size);
        body = t->copy;
    }
    t->body = (struct slice){.data = body, .size = reply->source ? 0 : reply->body_size};
    t->source = reply->source;
    t->source_user = reply->source_user;
    return OK;
}

enum status h2_server_respond(struct h2_server *s, int32_t id, const struct h2_reply *reply, struct error *err)
{
    struct stream *t = s->failed ? NULL : find(s, id);
    if (!t)
        return fail(err, ERR_CLOSED, "stream %d is gone", id);
    if (t->responded)
        return fail(err, ERR_EXISTS, "stream %d has its reply already", id);
    ASSERT(reply->status >= 200 && reply->status <= 999 && reply->header_count <= REPLY_HEADERS_MAX);
    TRY(prepare_body(t, reply, err));
    t->responded = true;
    const char code[4] = {(char)('0' + reply->status / 100), (char)('0' + reply->status / 10 % 10),
                          (char)('0' + reply->status % 10), '\0'};
    nghttp2_nv headers[REPLY_HEADERS_MAX + 2];
    size_t count = 0;
    headers[count++] = h2_header(":status", code);
    if (reply->content_type)
        headers[count++] = h2_header("content-type", reply->content_type);
    for (size_t i = 0; i < reply->header_count; i++)
        headers[count++] = h2_header(reply->headers[i].name, reply->headers[i].value);
    const nghttp2_data_provider body = {.source = {.ptr = t}, .read_callback = on_read};
    int failed = nghttp2_submit_response(s->session, id, headers, count, t->body.size > 0 || t->source ? &body : NULL);
    return failed == 0 ? OK : h2_failure(failed, err);
}

void h2_server_resume(struct h2_server *s, int32_t id)
{
    struct stream *t = s->failed ? NULL : find(s, id);
    if (t && t->source)
        (void)nghttp2_session_resume_data(s->session, id); /* not deferred: nothing to do */
}

void h2_server_reset(struct h2_server *s, int32_t id, uint32_t code)
{
    if (!s->failed && find(s, id))
        reset(s, id, code);
}

enum status h2_server_goaway(struct h2_server *s, uint32_t code, struct error *err)
{
    int failed = nghttp2_submit_goaway(s->session, NGHTTP2_FLAG_NONE,
                                       nghttp2_session_get_last_proc_stream_id(s->session), code, NULL, 0);
    return failed == 0 ? OK : h2_failure(failed, err);
}

void h2_server_set_user(struct h2_server *s, int32_t id, void *stream_user)
{
    struct stream *t = s->failed ? NULL : find(s, id);
    if (t)
        t->user = stream_user;
}

void *h2_server_get_user(const struct h2_server *s, int32_t id)
{
    struct stream *t = s->failed ? NULL : find(s, id);
    return t ? t->user : NULL;
}
