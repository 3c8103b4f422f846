#include "server/front.h"

#include "base/clock.h"
#include "server/open_session.h"
#include "store/local_server.h"
#include "wire/protocol.h"

#include <inttypes.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
    PIECE_SIZE = 64 << 10,
    OUT_LIMIT = 1 << 30,
    FIELDS_MAX = 8,
    LOGIN_REPLY_MAX = 4096,
    BLANK_MAX = HTTP_HEAD_SIZE_MAX, /* before a request */
    BODY_RATE_MIN = 4096,           /* bytes a second, below which a body takes too long */
};

void front_init(struct front *f, struct shared *shared, const struct faults *faults)
{
    *f = (struct front){.shared = shared, .faults = faults, .between = true, .out = BUFFER_INIT(OUT_LIMIT)};
    http_head_init(&f->head, HTTP_REQUEST);
    body_file_init(&f->file, shared->datastore, WIRE_BLOB_ENCODED_MAX);
    body_init(&f->upload, &shared->bodies, &f->file, 0);
}

static void wipe_content(struct front *f)
{
    if (f->content.data) /* it may have been a password */
        OPENSSL_cleanse(f->content.data, f->content.capacity);
    buffer_deinit(&f->content);
    body_deinit(&f->upload);
}

void front_deinit(struct front *f)
{
    http_head_deinit(&f->head);
    target_deinit(&f->target);
    wipe_content(f);
    body_file_deinit(&f->file);
    buffer_deinit(&f->out);
    rest_answer_deinit(&f->answer);
    local_end(f->upgrade.writer, true);
    store_reader_close(f->upgrade.reader);
    OPENSSL_cleanse(f, sizeof *f);
}

/* ---- replies ---- */

/* "Mon, 23 Nov 2026 06:00:00 GMT", in no locale. */
static const char *date_text(char out[40])
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = (time_t)clock_wall_seconds();
    struct tm tm;
    gmtime_r(&now, &tm);
    snprintf(out, 40, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday % 7], tm.tm_mday % 100,
             months[tm.tm_mon % 12], (tm.tm_year + 1900) % 10000, tm.tm_hour, tm.tm_min, tm.tm_sec);
    return out;
}

/* Head and, unless it streams, body. Without memory the connection is closed. */
static void write_reply(struct front *f, int status, const char *type, const void *body, size_t size)
{
    struct http_field fields[FIELDS_MAX];
    size_t count = 0;
    char date[40], length[32];
    bool is_bare = f->head.method && strcmp(f->head.method, "HEAD") == 0; /* RFC 9110 9.3.2 */
    shared_count_reply(f->shared, status);
    if (type)
        fields[count++] = (struct http_field){"content-type", type};
    if (f->chunked) {
        fields[count++] = (struct http_field){"transfer-encoding", "chunked"};
    } else if (!f->streams || f->answer.has_size) {
        snprintf(length, sizeof length, "%" PRIu64, f->streams ? f->answer.size : (uint64_t)size);
        fields[count++] = (struct http_field){"content-length", length};
    }
    fields[count++] = (struct http_field){"date", date_text(date)};
    if (!f->keeps_alive)
        fields[count++] = (struct http_field){"connection", "close"};
    else if (f->head.minor == 0)
        fields[count++] = (struct http_field){"connection", "keep-alive"};
    f->state = FRONT_REPLY;
    if (http_response_write(&f->out, status, NULL, fields, count, NULL) != OK ||
        buffer_append(&f->out, body, is_bare ? 0 : size, NULL) != OK) {
        f->keeps_alive = false;
        f->cut = SESSION_CUT_NOW;
    }
    f->streams &= !is_bare;
    uint64_t delay_ms = f->fault_delay ? f->faults->delay_call_ms : 0;
    if (status == 401)
        delay_ms += f->faults->delay_401_ms;
    f->due_ns = delay_ms > 0 ? f->now + delay_ms * 1000000 : 0;
    if (f->fault_cut && f->faults->cut_when == CUT_BEFORE_REPLY)
        f->cut = SESSION_CUT_NOW;
    if (f->fault_cut && f->faults->cut_when == CUT_WITHIN_REPLY)
        f->cut = SESSION_CUT_HALF;
}

static void reply_text(struct front *f, int status, const char *text)
{
    write_reply(f, status, WIRE_TYPE_JSON_REPLY, text, strlen(text));
}

/* What we cannot take in full, we cannot keep the connection after. */
static void refuse(struct front *f, int status, const char *text)
{
    f->keeps_alive = false;
    reply_text(f, status, text);
}

static void write_answer(struct front *f)
{
    struct rest_answer *a = &f->answer;
    f->streams = a->source.read != NULL;
    f->chunked = f->streams && !a->has_size && f->head.minor == 1;
    f->left = a->size;
    if (f->streams && !a->has_size && !f->chunked)
        f->keeps_alive = false; /* the end of the connection is the end of the body */
    write_reply(f, a->status, a->content_type, a->body.data, f->streams ? 0 : a->body.size);
    buffer_deinit(&a->body);
}

/* ---- what requests ask ---- */

static bool user_check(const char *text, size_t size)
{
    return name_is_user_id(text, size);
}

static bool not_empty(const char *text, size_t size)
{
    (void)text;
    return size > 0 && size < WIRE_PARAMETER_BODY_MAX_OLD;
}

static void login(struct front *f)
{
    static const struct param_rule rules[] = {
        {.name = "username", .type = PARAM_TEXT, .check = user_check, .what = "a user like root@pam"},
        {.name = "password", .type = PARAM_TEXT, .check = not_empty, .what = "a password", .is_secret = true},
    };
    const struct param_input input = {
        .query = f->target.query,
        .query_size = strlen(f->target.query),
        .content_type = http_head_find(&f->head, "content-type"),
        .body = f->content.data,
        .body_size = f->content.size,
        .body_size_max = f->shared->limits.parameter_body_max,
    };
    struct error err = {0};
    struct param_set params;
    if (param_parse(rules, sizeof rules / sizeof *rules, &input, &params, &err) != OK) {
        reply_text(f, 400, err.text);
        return;
    }
    const char *user = param_get(&params, "username")->text.data;
    const struct param_text *password = &param_get(&params, "password")->text;
    char ticket[TICKET_TEXT_MAX], csrf[CSRF_TEXT_MAX];
    enum status status =
        access_login(f->shared->access, user, password->data, clock_wall_seconds(), ticket, csrf, &err);
    if (status != OK) {
        reply_text(f, status == ERR_REFUSED ? 401 : 400, err.text);
    } else {
        json_t *reply =
            json_pack("{s{ssssss}}", "data", "username", user, "ticket", ticket, "CSRFPreventionToken", csrf);
        char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
        if (text)
            reply_text(f, 200, text);
        else
            reply_text(f, 400, "out of memory");
        free(text);
        json_decref(reply);
    }
    for (size_t i = 0; i < params.owned_count; i++)
        OPENSSL_cleanse(params.owned[i], strlen(params.owned[i]));
    param_clear(&params);
}

static void upgrade(struct front *f, enum session_kind kind)
{
    struct error err = {0};
    int status = 400;
    if (open_session(f->shared, f->faults, kind, &f->head, f->target.query, &f->caller, &f->upgrade, &status, &err) !=
        OK) {
        f->upgrade = (struct session_options){0};
        reply_text(f, status, err.text);
        return;
    }
    char date[40];
    const struct http_field fields[] = {
        {"connection", "upgrade"}, {"upgrade", session_protocol(kind)}, {"date", date_text(date)}};
    if (http_response_write(&f->out, 101, NULL, fields, sizeof fields / sizeof *fields, NULL) != OK)
        f->cut = SESSION_CUT_NOW;
    f->due_ns = f->fault_delay ? f->now + f->faults->delay_call_ms * UINT64_C(1000000) : 0;
    if (f->fault_cut && f->faults->cut_when == CUT_BEFORE_REPLY)
        f->cut = SESSION_CUT_NOW;
    if (f->fault_cut && f->faults->cut_when == CUT_WITHIN_REPLY)
        f->cut = SESSION_CUT_HALF;
    if (f->fault_cut && f->faults->cut_when == CUT_AFTER_REPLY)
        f->cut = SESSION_CUT_FLUSHED;
    atomic_fetch_add(kind == SESSION_BACKUP ? &f->shared->counts.sessions_backup : &f->shared->counts.sessions_reader,
                     1);
    f->state = FRONT_UPGRADED;
}

static const char *const *components(const struct front *f)
{
    return (const char *const *)f->target.components + 2;
}

static void ask(struct front *f, const uint8_t *body, size_t body_size)
{
    const struct rest_question question = {
        .method = f->head.method,
        .components = components(f),
        .component_count = f->target.count - 2,
        .query = f->target.query,
        .content_type = http_head_find(&f->head, "content-type"),
        .body = body,
        .body_size = body_size,
        .caller = f->is_known ? &f->caller : NULL,
    };
    rest_api_answer(f->shared->api, &question, &f->answer);
    write_answer(f);
}

static void ask_api(struct front *f)
{
    struct error err = {0};
    struct workbench *bench;
    const uint8_t *body;
    size_t size;
    if (!f->has_upload) {
        ask(f, f->content.data, f->content.size);
        return;
    }
    enum status status = workshop_take(&f->shared->workshop, &bench, &err);
    if (status == OK)
        status = body_take(&f->upload, &bench->encoded, &body, &size, &err);
    if (status == OK)
        ask(f, body, size);
    else
        reply_text(f, 400, err.text);
    workshop_return(&f->shared->workshop, bench);
}

static bool is_api(const struct front *f)
{
    return f->target.count > 2 && strcmp(f->target.components[0], "api2") == 0 &&
           strcmp(f->target.components[1], "json") == 0;
}

static bool is_call(const struct front *f, const char *method, const char *pattern)
{
    return strcmp(f->head.method, method) == 0 && target_is(&f->target, pattern);
}

static bool is_login(const struct front *f)
{
    return is_call(f, "POST", "api2/json/access/ticket");
}

static bool needs_login(const struct front *f)
{
    return is_api(f) && !is_login(f) && !rest_api_is_public(f->head.method, components(f), f->target.count - 2);
}

/* The request is whole. */
static void carry_out(struct front *f)
{
    f->between = false;
    if (f->fault_cut && f->faults->cut_when == CUT_AT_BODY) {
        f->cut = SESSION_CUT_NOW;
        return;
    }
    if (f->fault_error)
        reply_text(f, f->faults->error_status ? f->faults->error_status : 400, "this error was injected");
    else if (!is_api(f))
        reply_text(f, 404, "path not found: everything is under /api2/json/");
    else if (is_login(f))
        login(f);
    else if (needs_login(f) && !f->is_known)
        reply_text(f, 401, f->refusal);
    else if (is_call(f, "GET", "api2/json/backup"))
        upgrade(f, SESSION_BACKUP);
    else if (is_call(f, "GET", "api2/json/reader"))
        upgrade(f, SESSION_READER);
    else
        ask_api(f);
    wipe_content(f);
}

/* ---- requests ---- */

static void name_call(struct front *f)
{
    size_t used = 0;
    f->name[0] = '\0';
    for (size_t i = is_api(f) ? 2 : 0; i < f->target.count && used < sizeof f->name; i++)
        used +=
            (size_t)snprintf(f->name + used, sizeof f->name - used, "%s%s", used ? "/" : "", f->target.components[i]);
}

static void look_for_faults(struct front *f)
{
    struct fault_state *state = &f->shared->faults;
    name_call(f);
    f->fault_cut = fault_state_hits(state, FAULT_CUT, &f->faults->cut_call, f->head.method, f->name);
    f->fault_delay = fault_state_hits(state, FAULT_DELAY, &f->faults->delay_call, f->head.method, f->name);
    f->fault_error = fault_state_hits(state, FAULT_ERROR, &f->faults->error_call, f->head.method, f->name);
    if (f->fault_cut && f->faults->cut_when == CUT_AT_HEAD)
        f->cut = SESSION_CUT_NOW;
}

static size_t body_max(const struct front *f)
{
    size_t parameters = f->shared->limits.parameter_body_max;
    if (!is_api(f) || is_login(f) || (needs_login(f) && !f->is_known))
        return parameters;
    return rest_api_body_max(f->shared->api, f->head.method, components(f), f->target.count - 2);
}

/* RFC 9112 3.2.2: "https://host/path" means "/path". */
static void strip_authority(struct http_head *h)
{
    static const char *const schemes[] = {"https://", "http://"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t size = strlen(schemes[i]);
        if (strncasecmp(h->target, schemes[i], size) != 0)
            continue;
        h->target += size + strcspn(h->target + size, "/?#");
        if (*h->target != '/')
            h->target = "/"; /* nothing is there, whatever the query */
        return;
    }
}

/* The head is whole: everything that can be said before the body. */
static void begin(struct front *f)
{
    struct error err = {0};
    const char *path, *query;
    size_t path_size;
    atomic_fetch_add(&f->shared->counts.requests_http1, 1);
    f->keeps_alive = http_head_keeps_alive(&f->head) && !atomic_load(&f->shared->stopping);
    f->streams = f->chunked = f->is_known = false;
    f->fault_cut = f->fault_delay = f->fault_error = false;
    strip_authority(&f->head);
    http_head_target(&f->head, &path, &path_size, &query);
    bool has_body = http_head_framing(&f->head) != HTTP_BODY_NONE;
    if (path_size + strlen(query) > WIRE_TARGET_MAX) {
        f->keeps_alive &= !has_body;
        write_reply(f, 414, NULL, NULL, 0);
        return;
    }
    enum status status = target_parse(f->head.target, &f->target, &err);
    if (status != OK) {
        f->target = (struct target){0};
        f->keeps_alive &= !has_body;
        reply_text(f, status == ERR_NOT_FOUND ? 404 : 400, err.text);
        return;
    }
    look_for_faults(f);
    if (needs_login(f)) {
        f->is_known = access_check(f->shared->access, &f->head, clock_wall_seconds(), &f->caller, &err) == OK;
        snprintf(f->refusal, sizeof f->refusal, "%.255s", err.text);
    }
    size_t limit = body_max(f);
    f->has_upload = limit > f->shared->limits.parameter_body_max;
    if (f->has_upload)
        body_init(&f->upload, &f->shared->bodies, &f->file, limit);
    else
        f->content = BUFFER_INIT(limit ? limit : 1);
    if (http_body_init(&f->body, &f->head, limit, &err) != OK) {
        refuse(f, needs_login(f) && !f->is_known ? 401 : 400, "the body is too long");
        return;
    }
    /* So that growing leaves no copies of a password behind. */
    if (f->head.has_length && !f->has_upload && buffer_reserve(&f->content, (size_t)f->head.length, &err) != OK) {
        refuse(f, 400, err.text);
        return;
    }
    f->state = FRONT_BODY;
    if (f->body.complete)
        carry_out(f);
    else if (http_head_lists(&f->head, "expect", "100-continue") &&
             http_response_write(&f->out, 100, "Continue", NULL, 0, NULL) != OK)
        f->cut = SESSION_CUT_NOW;
}

/* What came is no head, and nobody can say where the next one would begin. */
static void refuse_head(struct front *f, const char *text)
{
    http_head_deinit(&f->head);
    http_head_init(&f->head, HTTP_REQUEST);
    f->head.minor = 1;
    f->streams = f->chunked = f->fault_delay = f->fault_cut = false;
    atomic_fetch_add(&f->shared->counts.requests_http1, 1);
    refuse(f, 400, text);
}

/* Blank lines before a request, as RFC 9112 2.2 has it; how many bytes of `data` they are. */
static size_t skip_blank(struct front *f, const uint8_t *data, size_t size)
{
    size_t used = 0;
    while (f->between && used < size && data[used] == (f->half_blank ? '\n' : '\r')) {
        f->half_blank = !f->half_blank;
        used++;
    }
    f->blank_size += used;
    return used;
}

static size_t feed_head(struct front *f, const uint8_t *data, size_t size)
{
    struct error err = {0};
    if (f->begun_ns == 0)
        f->begun_ns = f->now;
    size_t used = skip_blank(f, data, size);
    if (f->blank_size > BLANK_MAX) {
        refuse_head(f, "too many blank lines before a request");
        return size;
    }
    if (used == size)
        return used;
    f->between = false;
    size_t taken = 0;
    enum status status = f->half_blank ? fail(&err, ERR_FORMAT, "a line of a head does not end with CR LF") : OK;
    if (status == OK)
        status = http_head_feed(&f->head, data + used, size - used, &taken, &err);
    if (status != OK) {
        refuse_head(f, err.text);
        return size;
    }
    if (f->head.complete)
        begin(f);
    return used + taken;
}

static size_t feed_body(struct front *f, const uint8_t *data, size_t size)
{
    struct error err = {0};
    size_t used = 0;
    const uint8_t *piece;
    size_t piece_size;
    enum status status = http_body_feed(&f->body, data, size, &used, &piece, &piece_size, &err);
    if (status == OK)
        status = f->has_upload ? body_add(&f->upload, piece, piece_size, &err)
                               : buffer_append(&f->content, piece, piece_size, &err);
    if (status != OK) {
        refuse(f, 400, err.text);
        return size;
    }
    if (f->body.complete)
        carry_out(f);
    return used;
}

void front_feed(struct front *f, const uint8_t *data, size_t size, uint64_t now, size_t *out_used)
{
    f->now = now;
    *out_used = 0;
    while (*out_used < size && (f->state == FRONT_HEAD || f->state == FRONT_BODY)) {
        const uint8_t *at = data + *out_used;
        *out_used += f->state == FRONT_HEAD ? feed_head(f, at, size - *out_used) : feed_body(f, at, size - *out_used);
    }
}

/* ---- output ---- */

/* The reply went out as a whole. */
static void end_reply(struct front *f)
{
    if (f->fault_cut && f->faults->cut_when == CUT_AFTER_REPLY)
        f->cut = SESSION_CUT_FLUSHED;
    rest_answer_deinit(&f->answer);
    f->answer = (struct rest_answer){0};
    f->streams = f->chunked = false;
    target_deinit(&f->target);
    f->target = (struct target){0};
    http_head_deinit(&f->head);
    http_head_init(&f->head, HTTP_REQUEST);
    f->between = true;
    f->half_blank = false;
    f->blank_size = 0;
    f->begun_ns = 0;
    f->state = f->keeps_alive ? FRONT_HEAD : FRONT_CLOSED;
}

/* The next piece of a source, in chunks if the client was told so. */
static enum status read_source(struct front *f, struct error *err)
{
    uint8_t piece[PIECE_SIZE];
    struct rest_answer *a = &f->answer;
    size_t wanted = a->has_size && f->left < sizeof piece ? (size_t)f->left : sizeof piece;
    size_t got = 0;
    if (wanted > 0)
        TRY(a->source.read(a->source.context, piece, wanted, &got, err));
    if (got > wanted || (a->has_size && got == 0 && f->left > 0))
        return fail(err, ERR_NETWORK, "a reply ended early");
    if (f->chunked)
        TRY(buffer_printf(&f->out, err, "%zx\r\n", got));
    TRY(buffer_append(&f->out, piece, got, err));
    if (f->chunked)
        TRY(buffer_append(&f->out, "\r\n", 2, err));
    f->left -= a->has_size ? got : 0;
    if (a->has_size ? f->left == 0 : got == 0)
        f->streams = false;
    return OK;
}

enum status front_output(struct front *f, uint64_t now, const uint8_t **out, size_t *out_size, struct error *err)
{
    *out = NULL;
    *out_size = 0;
    f->now = now;
    if (f->due_ns > now)
        return OK;
    f->due_ns = 0;
    if (f->sent == f->out.size && f->state == FRONT_REPLY) {
        buffer_clear(&f->out);
        f->sent = 0;
        if (f->streams)
            TRY(read_source(f, err));
        if (f->out.size == 0 && !f->streams)
            end_reply(f);
    }
    *out = f->out.data + f->sent;
    *out_size = f->out.size - f->sent;
    return OK;
}

void front_sent(struct front *f, size_t size)
{
    ASSERT(size <= f->out.size - f->sent);
    f->sent += size;
    if (f->sent == f->out.size && f->state != FRONT_REPLY) {
        buffer_clear(&f->out);
        f->sent = 0;
    }
}

uint64_t front_due(const struct front *f)
{
    return f->due_ns > 0 ? f->due_ns : UINT64_MAX;
}

uint64_t front_patience(const struct front *f)
{
    if (f->begun_ns == 0 || (f->state != FRONT_HEAD && f->state != FRONT_BODY))
        return UINT64_MAX;
    uint64_t body = f->state == FRONT_BODY ? f->head.length : 0; /* below its limit */
    return f->begun_ns + f->shared->limits.idle_ms * UINT64_C(1000000) + body * UINT64_C(1000000000) / BODY_RATE_MIN;
}
