/* A server without sockets for tests of remote_*.c: takes the place of core/net's sessions and plain calls at link
 * time. Requests are judged when they are submitted, as a strict server would: an append must name only digests whose
 * upload was answered, only one append per writer may be under way, and so on. Answers come from a thread of their own,
 * in the order that the test wants. What is wrong is counted and asserted by fake_stop.
 * Include testing/testing.h first. */
#ifndef PXB_STORE_FAKE_SERVER_FOR_TEST_H
#define PXB_STORE_FAKE_SERVER_FOR_TEST_H

#include "net/rest.h"
#include "store/store_ops.h"

#include "wire/call_rules.h"
#include "wire/protocol.h"
#include "wire/reply.h"
#include "wire/target.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { FAKE_KNOWN_MAX = 8192, FAKE_WRITERS_MAX = 256, FAKE_FILES_MAX = 64, FAKE_LOG_SIZE = 1 << 20 };

struct fake_held {
    struct fake_held *next;
    struct net_session *session;
    void (*done)(void *user, struct h2_response *response, const struct error *opening);
    void *user;
    enum call_id call;
    unsigned wid;
    struct digest digest;
    uint64_t size; /* raw, of a chunk */
    uint64_t body_size;
    char name[256];
    struct h2_response *response;
};

struct fake_writer {
    char name[256];
    bool fixed, open, created, appending;
    uint64_t length, count, declared;
    struct digest_state *csum;
};

struct fake_file {
    char name[256];
    const uint8_t *data;
    size_t size;
};

struct net_session {
    enum session_kind kind;
    struct upgrade_request upgrade;
    bool over;
    bool closing; /* who closes it gives the answers */
};

struct fake {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool stop;
    /* What the test sets. */
    bool hold;             /* no answers */
    bool backwards;        /* the youngest request is answered first */
    int64_t previous_time; /* 0: null */
    struct fake_file files[FAKE_FILES_MAX];
    size_t file_count;
    enum call_id fail_call; /* the `fail_nth` call of this kind gets `fail_status` */
    unsigned fail_nth;
    int fail_status;     /* 0: the connection is lost */
    enum status opening; /* not OK: sessions do not stand */
    const char *rest_body;
    int rest_status;
    /* What it sees. */
    struct fake_held *first;
    const struct net_session *answering;
    unsigned unanswered, sessions, calls[CALL_ID_READ_CHUNK + 1];
    struct digest known[FAKE_KNOWN_MAX]; /* in the backup session, and their sizes */
    uint64_t known_sizes[FAKE_KNOWN_MAX];
    size_t known_count;
    struct digest allowed[FAKE_KNOWN_MAX]; /* in the reader session */
    size_t allowed_count;
    struct fake_writer writers[FAKE_WRITERS_MAX + 1];
    unsigned writer_count;
    bool manifest, finished;
    unsigned largest_append;
    unsigned cut;                /* answers that were longer than the client wanted */
    uint64_t bodies, bodies_max; /* bytes under way */
    char log[FAKE_LOG_SIZE];
    size_t log_size;
    char rest_log[1024];
    unsigned violations;
    char violation[512];
};
static struct fake *fake;

__attribute__((format(printf, 1, 2))) static void fake_violation(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (fake->violations++ == 0)
        vsnprintf(fake->violation, sizeof fake->violation, format, args);
    va_end(args);
}

static bool fake_has(const struct digest *list, size_t count, const struct digest *digest, size_t *out)
{
    for (size_t i = 0; i < count; i++)
        if (digest_equal(&list[i], digest)) {
            *out = i;
            return true;
        }
    return false;
}

static void fake_know(const struct digest *digest, uint64_t size)
{
    size_t at;
    if (fake_has(fake->known, fake->known_count, digest, &at))
        return;
    assert_true(fake->known_count < FAKE_KNOWN_MAX);
    fake->known[fake->known_count] = *digest;
    fake->known_sizes[fake->known_count++] = size;
}

static const struct fake_file *fake_find(const char *name)
{
    for (size_t i = 0; i < fake->file_count; i++)
        if (strcmp(fake->files[i].name, name) == 0)
            return &fake->files[i];
    return NULL;
}

/* ---- requests ---- */

static void fake_reply(struct fake_held *held, int status, const void *body, size_t size)
{
    held->response->http_status = status;
    assert_int_equal(buffer_append(&held->response->body, body, size, NULL), OK);
}

static void fake_refuse(struct fake_held *held, const char *why)
{
    fake_violation("%s", why);
    fake_reply(held, 400, why, strlen(why));
}

static void fake_append(struct fake_held *held, const struct param_set *p)
{
    struct fake_writer *w = &fake->writers[held->wid];
    const struct param_value *digests = param_get(p, "digest-list"), *offsets = param_get(p, "offset-list");
    if (w->appending)
        fake_violation("two appends to %s at a time", w->name);
    w->appending = true;
    if (digests->count != offsets->count || digests->count < 1 || digests->count > WIRE_APPEND_ENTRIES_MAX)
        fake_violation("an append of %zu entries", digests->count);
    if (digests->count > fake->largest_append)
        fake->largest_append = (unsigned)digests->count;
    for (size_t i = 0; i < digests->count; i++) {
        struct digest d;
        size_t at;
        assert_true(digest_parse(digests->texts[i].data, digests->texts[i].size, &d));
        if (!fake_has(fake->known, fake->known_count, &d, &at)) {
            fake_refuse(held, "append of a digest that is not known");
            return;
        }
        uint64_t start = w->fixed ? w->count * WIRE_FIXED_CHUNK_SIZE : w->length;
        if (!w->fixed && (uint64_t)offsets->integers[i] != start) {
            fake_refuse(held, "append at another offset");
            return;
        }
        w->length += fake->known_sizes[at];
        w->count++;
        if (!w->fixed) {
            uint8_t bytes[DYNAMIC_ENTRY_SIZE];
            dynamic_index_entry_bytes(&(struct index_entry){.end = w->length, .digest = d}, bytes);
            digest_update(w->csum, bytes, sizeof bytes);
        } else {
            digest_update(w->csum, d.bytes, sizeof d.bytes); /* tests write them in order */
        }
    }
    fake_reply(held, 200, "{\"data\":null}", 13);
}

static void fake_close(struct fake_held *held, const struct param_set *p)
{
    struct fake_writer *w = &fake->writers[held->wid];
    struct digest csum, given;
    digest_finish(w->csum, &csum);
    assert_true(digest_parse(param_get(p, "csum")->text.data, param_get(p, "csum")->text.size, &given));
    if (w->appending)
        fake_violation("%s is closed with an append under way", w->name);
    if ((uint64_t)param_get(p, "chunk-count")->integer != w->count ||
        (uint64_t)param_get(p, "size")->integer != (w->fixed ? w->declared : w->length) || !digest_equal(&csum, &given))
        fake_refuse(held, "close with wrong numbers");
    else
        fake_reply(held, 200, "{\"data\":null}", 13);
    w->open = false;
}

static void fake_judge_backup(struct fake_held *held, const struct param_set *p, size_t body_size)
{
    char text[64];
    const struct fake_file *file;
    size_t at;
    switch (held->call) {
    case CALL_ID_PREVIOUS_BACKUP_TIME:
        if (fake->previous_time)
            snprintf(text, sizeof text, "{\"data\":%lld}", (long long)fake->previous_time);
        else
            snprintf(text, sizeof text, "{\"data\":null}");
        fake_reply(held, 200, text, strlen(text));
        break;
    case CALL_ID_PREVIOUS:
        snprintf(held->name, sizeof held->name, "%s", param_get(p, "archive-name")->text.data);
        file = fake_find(held->name);
        if (!fake->previous_time)
            fake_refuse(held, "/previous without a previous backup");
        else if (file)
            fake_reply(held, 200, file->data, file->size);
        else
            fake_reply(held, 400, "no such index", 13);
        break;
    case CALL_ID_DYNAMIC_INDEX:
    case CALL_ID_FIXED_INDEX: {
        struct fake_writer *w = &fake->writers[held->wid = ++fake->writer_count];
        snprintf(w->name, sizeof w->name, "%s", param_get(p, "archive-name")->text.data);
        w->fixed = held->call == CALL_ID_FIXED_INDEX;
        w->declared = w->fixed ? (uint64_t)param_get(p, "size")->integer : 0;
        w->open = true;
        assert_int_equal(digest_new(&w->csum, NULL), OK);
        digest_begin(w->csum);
        snprintf(text, sizeof text, "{\"data\":%u}", held->wid);
        fake_reply(held, 200, text, strlen(text));
        break;
    }
    case CALL_ID_DYNAMIC_CHUNK:
    case CALL_ID_FIXED_CHUNK:
        assert_true(digest_parse(param_get(p, "digest")->text.data, 64, &held->digest));
        held->size = (uint64_t)param_get(p, "size")->integer;
        if ((size_t)param_get(p, "encoded-size")->integer != body_size)
            fake_violation("encoded-size is not the body's");
        if (fake_has(fake->known, fake->known_count, &held->digest, &at))
            fake_violation("a chunk that is known is uploaded");
        fake_reply(held, 200, "{\"data\":null}", 13);
        break;
    case CALL_ID_DYNAMIC_APPEND:
    case CALL_ID_FIXED_APPEND: fake_append(held, p); break;
    case CALL_ID_DYNAMIC_CLOSE:
    case CALL_ID_FIXED_CLOSE: fake_close(held, p); break;
    case CALL_ID_BLOB:
        if (strcmp(param_get(p, "file-name")->text.data, "index.json.blob") == 0) {
            for (unsigned i = 1; i <= fake->writer_count; i++)
                if (fake->writers[i].open)
                    fake_violation("the manifest comes while %s is open", fake->writers[i].name);
            fake->manifest = true;
        }
        fake_reply(held, 200, "{\"data\":null}", 13);
        break;
    case CALL_ID_FINISH:
        if (fake->unanswered > 1 || !fake->manifest)
            fake_violation("finish with %u requests under way", fake->unanswered - 1);
        fake->finished = true;
        fake_reply(held, 200, "{\"data\":null}", 13);
        break;
    default: fake_refuse(held, "unexpected call"); break;
    }
}

static void fake_judge_reader(struct fake_held *held, const struct param_set *p)
{
    size_t at;
    if (held->call == CALL_ID_DOWNLOAD) {
        snprintf(held->name, sizeof held->name, "%s", param_get(p, "file-name")->text.data);
        const struct fake_file *file = fake_find(held->name);
        if (file)
            fake_reply(held, 200, file->data, file->size);
        else
            fake_reply(held, 400, "no such file", 12);
        return;
    }
    assert_true(digest_parse(param_get(p, "digest")->text.data, 64, &held->digest));
    if (!fake_has(fake->allowed, fake->allowed_count, &held->digest, &at)) {
        fake_violation("a chunk is asked for before its index");
        fake_reply(held, 401, "not allowed", 11);
        return;
    }
    char text[DIGEST_TEXT_SIZE];
    const struct fake_file *chunk = fake_find(digest_text(&held->digest, text));
    if (chunk)
        fake_reply(held, 200, chunk->data, chunk->size);
    else
        fake_reply(held, 400, "no such chunk", 13);
}

/* Under the lock. */
static void fake_take(struct net_session *s, const struct net_request *request, struct fake_held *held)
{
    struct target target;
    struct param_set params = {0};
    struct error err = {0};
    const char *path = (const char *)request->path.data;
    fake->log_size += (size_t)snprintf(fake->log + fake->log_size, sizeof fake->log - fake->log_size, "%s %s\n",
                                       request->method, path);
    assert_true(fake->log_size < sizeof fake->log);
    held->session = s;
    held->body_size = request->body.size;
    fake->unanswered++;
    fake->bodies += request->body.size;
    fake->bodies_max = fake->bodies > fake->bodies_max ? fake->bodies : fake->bodies_max;
    if (target_parse(path, &target, &err) != OK || target.count != 1)
        abort();
    const struct call_rules *rules = call_rules_find(s->kind, request->method, target.components[0]);
    const struct param_input input = {.source = rules ? rules->source : PARAM_FROM_ANYWHERE,
                                      .query = target.query,
                                      .query_size = strlen(target.query),
                                      .content_type = request->content_type,
                                      .body = request->body.data,
                                      .body_size = request->body.size,
                                      .body_size_max = WIRE_PARAMETER_BODY_MAX_OLD};
    if (!rules) {
        fake_refuse(held, "no such call");
    } else if (param_parse(rules->rules, rules->rule_count, &input, &params, &err) != OK) {
        fake_refuse(held, err.text);
    } else {
        held->call = rules->id;
        bool has_wid = rules->id == CALL_ID_DYNAMIC_APPEND || rules->id == CALL_ID_FIXED_APPEND ||
                       rules->id == CALL_ID_DYNAMIC_CHUNK || rules->id == CALL_ID_FIXED_CHUNK ||
                       rules->id == CALL_ID_DYNAMIC_CLOSE || rules->id == CALL_ID_FIXED_CLOSE;
        held->wid = has_wid ? (unsigned)param_get(&params, "wid")->integer : 0;
        if (++fake->calls[rules->id] == fake->fail_nth && rules->id == fake->fail_call) {
            s->over = fake->fail_status == 0;
            if (!s->over)
                fake_reply(held, fake->fail_status, "as you wish", 11);
        } else if (has_wid && (held->wid < 1 || held->wid > fake->writer_count || !fake->writers[held->wid].created ||
                               !fake->writers[held->wid].open)) {
            fake_refuse(held, "a writer that is not open");
        } else if (s->kind == SESSION_BACKUP) {
            fake_judge_backup(held, &params, request->body.size);
        } else {
            fake_judge_reader(held, &params);
        }
        param_clear(&params);
    }
    if (request->response_size_max && held->response->body.size > request->response_size_max) {
        buffer_deinit(&held->response->body);
        held->response->status = ERR_LIMIT;
        snprintf(held->response->text, sizeof held->response->text, "the answer is too long");
        fake->cut++;
    }
    if (fake->finished && held->call != CALL_ID_FINISH && s->kind == SESSION_BACKUP)
        fake_violation("a call behind finish");
    target_deinit(&target);
}

/* Under the lock: what becomes true with the answer. */
static void fake_give(struct fake_held *held)
{
    const struct fake_file *file;
    struct dynamic_index index = {0};
    fake->unanswered--;
    fake->bodies -= held->body_size;
    if (held->session->over) {
        buffer_deinit(&held->response->body);
        held->response->http_status = 0;
        held->response->status = ERR_NETWORK;
        snprintf(held->response->text, sizeof held->response->text, "the connection is gone");
        return;
    }
    if (held->response->http_status != 200)
        return;
    switch (held->call) {
    case CALL_ID_DYNAMIC_INDEX:
    case CALL_ID_FIXED_INDEX: fake->writers[held->wid].created = true; break;
    case CALL_ID_DYNAMIC_CHUNK:
    case CALL_ID_FIXED_CHUNK: fake_know(&held->digest, held->size); break;
    case CALL_ID_DYNAMIC_APPEND:
    case CALL_ID_FIXED_APPEND: fake->writers[held->wid].appending = false; break;
    case CALL_ID_PREVIOUS:
    case CALL_ID_DOWNLOAD:
        file = fake_find(held->name);
        if (dynamic_index_parse(file->data, file->size, held->name, &index, NULL) != OK)
            break;
        for (size_t i = 0; i < index.count; i++)
            if (held->call == CALL_ID_PREVIOUS)
                fake_know(&index.entries[i].digest, dynamic_index_chunk_size(&index, i));
            else
                fake->allowed[fake->allowed_count++] = index.entries[i].digest;
        dynamic_index_deinit(&index);
        break;
    default: break;
    }
}

static struct fake_held *fake_next(void)
{
    struct fake_held **found = NULL;
    for (struct fake_held **at = &fake->first; *at && (!found || fake->backwards); at = &(*at)->next)
        if (!(*at)->session->closing)
            found = at;
    struct fake_held *held = found ? *found : NULL;
    if (held)
        *found = held->next;
    return held;
}

static void fake_answer(struct fake_held *held)
{
    fake_give(held);
    fake->answering = held->session;
    pthread_mutex_unlock(&fake->lock);
    held->done(held->user, held->response, NULL);
    free(held);
    pthread_mutex_lock(&fake->lock);
    fake->answering = NULL;
    pthread_cond_broadcast(&fake->changed);
}

static void *fake_main(void *argument)
{
    pthread_mutex_lock(&fake->lock);
    while (!fake->stop) {
        struct fake_held *held = fake->hold ? NULL : fake_next();
        if (held)
            fake_answer(held);
        else
            pthread_cond_wait(&fake->changed, &fake->lock);
    }
    pthread_mutex_unlock(&fake->lock);
    return argument;
}

/* ---- in place of core/net ---- */

const struct repository *account_repository(const struct account *a UNUSED)
{
    static const struct repository repository = {.auth_id = "root@pam", .host = "h", .datastore = "store", .port = 1};
    return &repository;
}

enum status net_session_start(struct account *account UNUSED, const struct upgrade_request *upgrade,
                              const struct threads *threads UNUSED, struct net_session **out, struct error *err)
{
    struct net_session *s = calloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "memory");
    s->kind = upgrade->kind;
    s->upgrade = *upgrade;
    pthread_mutex_lock(&fake->lock);
    fake->sessions++;
    s->over = fake->opening != OK;
    pthread_mutex_unlock(&fake->lock);
    *out = s;
    return OK;
}

enum status net_session_wait_open(struct net_session *s UNUSED, struct error *err)
{
    return fake->opening == OK ? OK : fail(err, fake->opening, "the session does not stand");
}

enum status net_session_submit(struct net_session *s, struct net_request *request, struct error *err)
{
    struct fake_held *held = calloc(1, sizeof *held);
    pthread_mutex_lock(&fake->lock);
    enum status status = s->over ? fail(err, ERR_NETWORK, "the connection is gone") : OK;
    if (status == OK) {
        held->done = request->done;
        held->user = request->user;
        held->response = calloc(1, sizeof *held->response);
        fake_take(s, request, held);
        struct fake_held **at = &fake->first;
        while (*at)
            at = &(*at)->next;
        *at = held;
        pthread_cond_broadcast(&fake->changed);
    } else {
        free(held);
    }
    pthread_mutex_unlock(&fake->lock);
    buffer_deinit(&request->path);
    buffer_deinit(&request->body);
    return status;
}

struct fake_call {
    pthread_cond_t changed;
    struct h2_response *response;
};

static void fake_called(void *user, struct h2_response *response, const struct error *opening UNUSED)
{
    struct fake_call *call = user;
    pthread_mutex_lock(&fake->lock);
    call->response = response;
    pthread_cond_signal(&call->changed);
    pthread_mutex_unlock(&fake->lock);
}

enum status net_session_judge(const struct net_session *s, const char *what, const struct h2_response *response,
                              const struct error *opening UNUSED, struct error *err)
{
    if (response->status != OK)
        return fail(err, response->status, "%s: %s", what, response->text);
    return reply_check(s->kind == SESSION_BACKUP ? REPLY_BACKUP_SESSION : REPLY_READER_SESSION, what,
                       response->http_status, response->body.data, response->body.size, err);
}

enum status net_session_call(struct net_session *s, struct net_request *request, const char *what,
                             struct h2_response **out, struct error *err)
{
    struct fake_call call = {0};
    pthread_cond_init(&call.changed, NULL);
    request->done = fake_called;
    request->user = &call;
    TRY(net_session_submit(s, request, err));
    pthread_mutex_lock(&fake->lock);
    while (!call.response)
        pthread_cond_wait(&call.changed, &fake->lock);
    pthread_mutex_unlock(&fake->lock);
    pthread_cond_destroy(&call.changed);
    enum status status = net_session_judge(s, what, call.response, NULL, err);
    if (status == OK)
        *out = call.response;
    else
        h2_response_free(call.response);
    return status;
}

void net_session_stats(struct net_session *s UNUSED, struct net_stats *out)
{
    *out = (struct net_stats){.connections = 1};
}

void net_stats_add(struct net_stats *sum, const struct net_stats *one)
{
    sum->connections += one->connections;
    sum->requests += one->requests;
    sum->waited_ns += one->waited_ns;
}

void net_session_close(struct net_session *s)
{
    pthread_mutex_lock(&fake->lock);
    s->over = true;
    s->closing = true;
    while (fake->answering == s)
        pthread_cond_wait(&fake->changed, &fake->lock);
    for (struct fake_held **at = &fake->first; *at;) {
        struct fake_held *held = *at;
        if (held->session != s) {
            at = &held->next;
            continue;
        }
        *at = held->next;
        fake_answer(held);
        at = &fake->first;
    }
    pthread_mutex_unlock(&fake->lock);
    free(s);
}

struct rest {
    int nothing;
};

enum status rest_new(struct account *account UNUSED, struct rest **out, struct error *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? OK : fail(err, ERR_MEMORY, "memory");
}

void rest_free(struct rest *r)
{
    free(r);
}

enum status rest_call(struct rest *r UNUSED, const char *method, const char *path, const char *query,
                      const char *content_type UNUSED, const struct slice *body UNUSED, size_t size_max,
                      const char *what, struct buffer *out, struct error *err)
{
    snprintf(fake->rest_log, sizeof fake->rest_log, "%s %s?%s", method, path, query ? query : "");
    TRY(reply_check(REPLY_REST, what, fake->rest_status, fake->rest_body, strlen(fake->rest_body), err));
    if (strlen(fake->rest_body) > size_max)
        return fail(err, ERR_LIMIT, "too long");
    buffer_clear(out);
    return buffer_append(out, fake->rest_body, strlen(fake->rest_body), err);
}

void rest_stats(const struct rest *r UNUSED, struct net_stats *out)
{
    *out = (struct net_stats){.connections = 1, .requests = 7};
}

/* ---- for tests ---- */

UNUSED static void fake_start(void)
{
    fake = calloc(1, sizeof *fake);
    assert_non_null(fake);
    pthread_mutex_init(&fake->lock, NULL);
    pthread_cond_init(&fake->changed, NULL);
    fake->rest_status = 200;
    fake->rest_body = "{\"data\":null}";
    assert_int_equal(pthread_create(&fake->thread, NULL, fake_main, NULL), 0);
}

/* `violations`: how many there have to be. */
UNUSED static void fake_stop(bool violations)
{
    pthread_mutex_lock(&fake->lock);
    fake->stop = true;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
    pthread_join(fake->thread, NULL);
    if (!violations)
        assert_string_equal(fake->violation, "");
    assert_int_equal(fake->violations > 0, violations);
    assert_null(fake->first);
    for (unsigned i = 1; i <= fake->writer_count; i++)
        digest_free(fake->writers[i].csum);
    pthread_cond_destroy(&fake->changed);
    pthread_mutex_destroy(&fake->lock);
    free(fake);
    fake = NULL;
}

UNUSED static void fake_let_go(void)
{
    pthread_mutex_lock(&fake->lock);
    fake->hold = false;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
}

UNUSED static void fake_hold(void)
{
    pthread_mutex_lock(&fake->lock);
    fake->hold = true;
    pthread_mutex_unlock(&fake->lock);
}

/* Borrowed. */
UNUSED static void fake_add_file(const char *name, const void *data, size_t size)
{
    struct fake_file *f = &fake->files[fake->file_count++];
    assert_true(fake->file_count <= FAKE_FILES_MAX);
    snprintf(f->name, sizeof f->name, "%s", name);
    f->data = data;
    f->size = size;
}

UNUSED static unsigned fake_calls(enum call_id call)
{
    pthread_mutex_lock(&fake->lock);
    unsigned count = fake->calls[call];
    pthread_mutex_unlock(&fake->lock);
    return count;
}

/* Until all that was asked for is answered. */
UNUSED static void fake_settle(void)
{
    pthread_mutex_lock(&fake->lock);
    while (fake->first || fake->answering)
        pthread_cond_wait(&fake->changed, &fake->lock);
    pthread_mutex_unlock(&fake->lock);
}

UNUSED static struct store *fake_store(void)
{
    static const struct store_remote remote = {NULL, NULL};
    struct store *s;
    assert_int_equal(store_open("h:1:store", &(struct store_options){.remote = &remote}, &s, NULL), OK);
    return s;
}

#endif
