#include "server/call.h"

#include "store/local_server.h"

#include <stdlib.h>
#include <string.h>

/* ---- calls ---- */

static struct call *call_new(struct session *s, int32_t stream)
{
    struct call *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->session = s;
    c->stream = stream;
    c->fd = -1;
    c->query = "";
    body_init(&c->body, &s->shared->bodies, &s->body_file, 0);
    c->next = s->calls;
    if (s->calls)
        s->calls->previous = c;
    s->calls = c;
    return c;
}

static void call_free(struct call *c)
{
    struct session *s = c->session;
    call_reply_close(c);
    body_deinit(&c->body);
    param_clear(&c->params);
    target_deinit(&c->target);
    if (c->previous)
        c->previous->next = c->next;
    else
        s->calls = c->next;
    if (c->next)
        c->next->previous = c->previous;
    free(c);
}

static void look_for_faults(struct call *c, const char *name)
{
    struct session *s = c->session;
    const struct faults *f = s->faults;
    struct fault_state *state = &s->shared->faults;
    c->fault_cut = fault_state_hits(state, FAULT_CUT, &f->cut_call, c->method, name);
    c->fault_delay = fault_state_hits(state, FAULT_DELAY, &f->delay_call, c->method, name);
    c->fault_error = fault_state_hits(state, FAULT_ERROR, &f->error_call, c->method, name);
    c->fault_lie = fault_state_hits(state, FAULT_LIE, &f->lie_call, c->method, name);
}

static void reply_injected(struct call *c)
{
    int status = c->session->faults->error_status;
    call_reply_error(c, status ? status : 400, "this error was injected");
}

static enum status parse(struct call *c, const uint8_t *body, size_t size, struct error *err)
{
    const struct param_input input = {
        .source = c->rules->source,
        .query = c->query,
        .query_size = strlen(c->query),
        .content_type = c->content_type,
        .body = body,
        .body_size = size,
        .body_size_max = c->session->shared->limits.parameter_body_max,
    };
    return param_parse(c->rules->rules, c->rules->rule_count, &input, &c->params, err);
}

/* What can be said before the body is there. */
static void begin(struct call *c, const struct h2_server_request *request)
{
    struct error err = {0};
    size_t limit = c->session->shared->limits.parameter_body_max;
    if (c->rules->source == PARAM_FROM_QUERY_ONLY) {
        if (parse(c, NULL, 0, &err) != OK) {
            call_reply_failure(c, &err);
            return;
        }
        bool is_upload = c->rules->id == CALL_ID_DYNAMIC_CHUNK || c->rules->id == CALL_ID_FIXED_CHUNK ||
                         c->rules->id == CALL_ID_BLOB;
        c->discards_body = !is_upload;
        limit = is_upload ? (size_t)param_get(&c->params, "encoded-size")->integer : 0;
        if (is_upload && request->has_length && request->length != limit) {
            call_reply_error(c, 400, "the length of the body is not the announced encoded-size");
            return;
        }
    } else if (request->has_length && request->length > limit) {
        call_reply_error(c, 400, "the body with parameters is too long");
        return;
    }
    body_init(&c->body, &c->session->shared->bodies, &c->session->body_file, limit);
}

/* ---- handler ---- */

static void on_request(void *user, struct h2_server *h2, int32_t stream, const struct h2_server_request *request)
{
    struct session *s = user;
    struct error err = {0};
    struct call *c = call_new(s, stream);
    if (!c) {
        h2_server_reset(h2, stream, 2 /* INTERNAL_ERROR */);
        return;
    }
    h2_server_set_user(h2, stream, c);
    c->method = request->method;
    c->content_type = request->content_type;
    atomic_fetch_add(&s->shared->counts.requests_h2, 1);
    s->requests++;
    if (s->requests == s->faults->goaway_after)
        session_goaway(s);
    enum status status = target_parse(request->path, &c->target, &err);
    if (status != OK) {
        call_reply_error(c, status == ERR_NOT_FOUND ? 404 : 400, err.text);
        return;
    }
    c->query = c->target.query;
    const char *name = c->target.count == 0 ? "" : c->target.components[0];
    look_for_faults(c, name);
    if (c->fault_cut && s->faults->cut_when == CUT_AT_HEAD)
        s->cut = SESSION_CUT_NOW;
    c->rules = c->target.count > 1 ? NULL : call_rules_find(s->kind, request->method, name);
    if (!c->rules)
        call_reply_error(c, 404, "path not found: there is no such call in this session");
    else if (c->fault_error && s->faults->error_early)
        reply_injected(c);
    else
        begin(c, request);
}

static void on_data(void *user, struct h2_server *h2, int32_t stream, void *stream_user, const uint8_t *data,
                    size_t size)
{
    (void)h2;
    (void)stream;
    struct session *s = user;
    struct call *c = stream_user;
    struct error err = {0};
    if (!c || c->replied)
        return;
    if (c->fault_cut && s->faults->cut_when == CUT_AT_BODY)
        s->cut = SESSION_CUT_NOW;
    if (c->discards_body)
        return;
    if (body_add(&c->body, data, size, &err) != OK)
        call_reply_failure(c, &err);
}

static void carry_out(struct call *c)
{
    struct session *s = c->session;
    struct error err = {0};
    if (c->rules->source == PARAM_FROM_ANYWHERE) {
        CLEANUP(buffer_deinit) struct buffer from_file = BUFFER_INIT(0);
        const uint8_t *body;
        size_t size;
        if (body_take(&c->body, &from_file, &body, &size, &err) != OK || parse(c, body, size, &err) != OK) {
            call_reply_failure(c, &err);
            return;
        }
    } else if (!c->discards_body && c->body.size != c->body.size_max) {
        call_reply_error(c, 400, "the body is shorter than the announced encoded-size");
        return;
    }
    if (s->backup)
        backup_session_call(s->backup, c);
    else
        reader_session_call(s->reader, c);
    ASSERT(c->replied);
}

static void on_end(void *user, struct h2_server *h2, int32_t stream, void *stream_user)
{
    (void)h2;
    (void)stream;
    struct session *s = user;
    struct call *c = stream_user;
    if (!c || c->replied)
        return;
    if (c->fault_cut && s->faults->cut_when == CUT_AT_BODY)
        s->cut = SESSION_CUT_NOW;
    if (s->cut == SESSION_CUT_NOW)
        return; /* lost before it was carried out */
    if (c->fault_error)
        reply_injected(c);
    else
        carry_out(c);
    body_deinit(&c->body); /* a reply may take its time */
}

static void on_closed(void *user, struct h2_server *h2, int32_t stream, void *stream_user, bool complete)
{
    (void)h2;
    (void)stream;
    struct session *s = user;
    struct call *c = stream_user;
    if (!c)
        return;
    if (c->fault_cut && s->faults->cut_when == CUT_AFTER_REPLY && complete)
        s->cut = SESSION_CUT_FLUSHED;
    call_free(c);
    if (!s->freeing)
        call_reply_due(s);
}

/* ---- session ---- */

enum status session_new(const struct session_options *options, struct session **out, struct error *err)
{
    static const struct h2_server_handler handler = {
        .request = on_request, .data = on_data, .end = on_end, .closed = on_closed};
    *out = NULL;
    struct session *s = calloc(1, sizeof *s);
    if (!s) {
        local_end(options->writer, true);
        store_reader_close(options->reader);
        return fail(err, ERR_MEMORY, "out of memory for a session");
    }
    s->shared = options->shared;
    s->faults = options->faults;
    s->kind = options->kind;
    body_file_init(&s->body_file, s->shared->datastore, WIRE_BLOB_ENCODED_MAX);
    const struct h2_server_options h2 = {
        .streams_max = s->faults->streams_max,
        .stream_window = s->faults->stream_window,
        .connection_window = s->faults->connection_window,
        .frame_size_max = s->faults->frame_size_max,
        .header_list_max = s->faults->header_list_max,
        .late_settings = s->faults->settings_late_ms > 0,
        .lax = s->faults->lax,
        .reset_with_cancel = s->faults->reset_with_cancel,
    };
    enum status status = options->kind == SESSION_BACKUP ? backup_session_new(s, options, &s->backup, err)
                                                         : reader_session_new(s, options, &s->reader, err);
    if (status == OK)
        status = h2_server_new(&h2, &handler, s, &s->h2, err);
    if (status != OK) {
        session_free(s);
        return status;
    }
    *out = s;
    return OK;
}

void session_free(struct session *s)
{
    if (!s)
        return;
    s->freeing = true;
    h2_server_free(s->h2);
    backup_session_free(s->backup);
    reader_session_free(s->reader);
    body_file_deinit(&s->body_file);
    free(s);
}

enum status session_feed(struct session *s, const void *data, size_t size, uint64_t now, struct error *err)
{
    s->now = now;
    return h2_server_feed(s->h2, data, size, err);
}

enum status session_output(struct session *s, const uint8_t **out, size_t *out_size, struct error *err)
{
    return h2_server_output(s->h2, out, out_size, err);
}

void session_sent(struct session *s, size_t size)
{
    h2_server_sent(s->h2, size);
}

bool session_is_over(const struct session *s)
{
    return h2_server_finished(s->h2);
}

bool session_is_idle(const struct session *s)
{
    return s->calls == NULL;
}

void session_announce(struct session *s)
{
    h2_server_announce(s->h2);
}

void session_goaway(struct session *s)
{
    struct error err;
    if (!s->going_away && h2_server_goaway(s->h2, 0, &err) == OK)
        s->going_away = true;
}

uint64_t session_due(struct session *s, uint64_t now)
{
    uint64_t due = UINT64_MAX;
    s->now = now;
    call_reply_due(s);
    for (const struct call *c = s->calls; c; c = c->next)
        if (c->replied && c->due_ns > 0 && c->due_ns < due)
            due = c->due_ns;
    return due;
}

enum session_cut session_cut(const struct session *s)
{
    return s->cut;
}
