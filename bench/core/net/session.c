#include "net/session.h"

#include "base/clock.h"
#include "net/progress.h"
#include "net/session_open.h"
#include "wire/protocol.h"
#include "wire/reply.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUEUE_MAX = 65536,      /* requests that no one took over yet */
    UNANSWERED_MAX = 4096,  /* handed to HTTP/2 */
    RECEIVES_PER_TURN = 16, /* then sending has its turn */
    SENDS_PER_TURN = 16,    /* then receiving; of TLS_LINK_SEND_MAX bytes each */
    STALL_SLICES = 8,       /* looks per stall timeout */
    LAST_TURNS = 64,        /* of receiving, when sending is over */
};

/*   submitted --> queue --> with the h2_client --> answered */
struct pending {
    struct pending *next;
    const char *method;
    const char *content_type;
    struct buffer path;
    struct buffer body;
    struct slice slice; /* the body's */
    size_t response_size_max;
    uint64_t round; /* in which it was sent */
    void (*done)(void *user, struct h2_response *response, const struct error *opening);
    void *user;
    struct h2_response *spare; /* so that failing needs no memory */
};

struct net_session {
    struct account *account;
    const struct threads *threads;
    struct thread *thread;
    struct upgrade_request upgrade;
    char *texts[4]; /* copies of the upgrade's */
    struct net_wake wake;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t opened_changed;
    struct pending *first, *last;
    size_t queued;
    bool opened; /* or failed to: `opening` says */
    bool over;
    int descriptor; /* of the link, -1: none */
    struct error opening;
    char over_text[256];
    struct net_stats published; /* of the thread's counts */
    uint64_t waited_ns;

    /* The thread's own. */
    struct tls_link *link;
    struct h2_client *client;
    struct net_stats closed;    /* of links that ended */
    struct pending *taken_over; /* from the queue, not yet with the client */
    uint8_t *received;
    uint32_t unanswered;
    uint64_t requests;
    uint64_t round; /* answers came to requests of all rounds before */
    uint64_t rounds;
    uint64_t stalls;
    bool stalled;
    struct progress progress; /* while answers are due */
    uint64_t next_look_ns;    /* at what the kernel says */
    struct progress_mark mark;
    uint64_t taken;        /* by the peer's kernel */
    uint64_t throttled_ns; /* at the last look at progress */
};

static _Thread_local const struct net_session *own_session;

/* ---- requests ---- */

static void pending_free(struct pending *p)
{
    buffer_deinit(&p->path);
    buffer_deinit(&p->body);
    h2_response_free(p->spare);
    free(p);
}

static void answer(struct pending *p, struct h2_response *response, const struct error *opening)
{
    void (*done)(void *user, struct h2_response *response, const struct error *opening) = p->done;
    void *user = p->user;
    response->user = user;
    pending_free(p);
    done(user, response, opening);
}

static void answer_failed(struct pending *p, enum status status, const char *text, const struct error *opening)
{
    struct h2_response *response = p->spare;
    p->spare = NULL;
    response->status = status;
    snprintf(response->text, sizeof response->text, "%.*s", (int)sizeof response->text - 1, text);
    answer(p, response, opening);
}

static enum status pending_new(struct net_request *request, struct pending **out, struct error *err)
{
    struct pending *p = calloc(1, sizeof *p);
    struct h2_response *spare = calloc(1, sizeof *spare);
    if (!p || !spare) {
        free(p);
        free(spare);
        return fail(err, ERR_MEMORY, "out of memory for a request");
    }
    ASSERT(request->path.size > 0 && request->path.data[request->path.size - 1] == '\0');
    *p = (struct pending){
        .method = request->method,
        .content_type = request->content_type,
        .path = request->path,
        .body = request->body,
        .slice = {.data = request->body.data, .size = request->body.size},
        .response_size_max = request->response_size_max,
        .done = request->done,
        .user = request->user,
        .spare = spare,
    };
    request->path = BUFFER_INIT(request->path.limit);
    request->body = BUFFER_INIT(request->body.limit);
    *out = p;
    return OK;
}

enum status net_session_submit(struct net_session *s, struct net_request *request, struct error *err)
{
    struct pending *p;
    enum status status = pending_new(request, &p, err);
    if (status != OK) {
        buffer_deinit(&request->path);
        buffer_deinit(&request->body);
        return status;
    }
    pthread_mutex_lock(&s->lock);
    bool was_empty = !s->first;
    if (s->over) {
        status = fail(err, s->opening.status != OK ? s->opening.status : ERR_NETWORK, "%s", s->over_text);
    } else if (s->queued >= QUEUE_MAX) {
        status = fail(err, ERR_LIMIT, "%zu requests wait for the connection already", s->queued);
    } else {
        *(s->last ? &s->last->next : &s->first) = p;
        s->last = p;
        s->queued++;
    }
    pthread_mutex_unlock(&s->lock);
    if (status != OK)
        pending_free(p);
    else if (was_empty && own_session != s)
        net_wake_up(&s->wake);
    return status;
}

struct waiting_call {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct h2_response *response;
    struct error opening;
};

static void call_done(void *user, struct h2_response *response, const struct error *opening)
{
    struct waiting_call *call = user;
    pthread_mutex_lock(&call->lock);
    if (opening)
        call->opening = *opening;
    call->response = response;
    /* Under the lock: afterwards the call may be gone. */
    pthread_cond_signal(&call->changed);
    pthread_mutex_unlock(&call->lock);
}

static void add_waited(struct net_session *s, uint64_t since_ns)
{
    pthread_mutex_lock(&s->lock);
    s->waited_ns += clock_monotonic_ns() - since_ns;
    pthread_mutex_unlock(&s->lock);
}

enum status net_session_call(struct net_session *s, struct net_request *request, const char *what,
                             struct h2_response **out, struct error *err)
{
    ASSERT(own_session != s);
    struct waiting_call call = {.response = NULL};
    uint64_t since_ns = clock_monotonic_ns();
    pthread_mutex_init(&call.lock, NULL);
    pthread_cond_init(&call.changed, NULL);
    request->done = call_done;
    request->user = &call;
    struct error reason = {0};
    enum status status = net_session_submit(s, request, &reason);
    if (status != OK) {
        status = fail(err, status, "%s: %s", what, reason.text);
    } else {
        pthread_mutex_lock(&call.lock);
        while (!call.response)
            pthread_cond_wait(&call.changed, &call.lock);
        pthread_mutex_unlock(&call.lock);
        status = net_session_judge(s, what, call.response, call.opening.status != OK ? &call.opening : NULL, err);
    }
    pthread_mutex_destroy(&call.lock);
    pthread_cond_destroy(&call.changed);
    add_waited(s, since_ns);
    if (status != OK) {
        h2_response_free(call.response);
        return status;
    }
    *out = call.response;
    return OK;
}

enum status net_session_judge(const struct net_session *s, const char *what, const struct h2_response *response,
                              const struct error *opening, struct error *err)
{
    if (opening)
        return fail(err, opening->status, "%s", opening->text);
    if (response->status == ERR_NETWORK)
        return fail(err, ERR_NETWORK, "%s: %s: try again", what, response->text);
    if (response->status != OK)
        return fail(err, response->status, "%s: %s", what, response->text);
    return reply_check(s->upgrade.kind == SESSION_BACKUP ? REPLY_BACKUP_SESSION : REPLY_READER_SESSION, what,
                       response->http_status, response->body.data, response->body.size, err);
}

enum status net_session_wait_open(struct net_session *s, struct error *err)
{
    ASSERT(own_session != s);
    uint64_t since_ns = clock_monotonic_ns();
    pthread_mutex_lock(&s->lock);
    while (!s->opened)
        pthread_cond_wait(&s->opened_changed, &s->lock);
    enum status status = s->opening.status;
    if (status != OK)
        status = fail(err, status, "%s", s->opening.text);
    s->waited_ns += clock_monotonic_ns() - since_ns;
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* ---- counts ---- */

void net_stats_add(struct net_stats *sum, const struct net_stats *one)
{
    sum->connections += one->connections;
    sum->requests += one->requests;
    sum->sent += one->sent;
    sum->received += one->received;
    sum->wire_sent += one->wire_sent;
    sum->wire_received += one->wire_received;
    sum->round_trips += one->round_trips;
    sum->stalls += one->stalls;
    sum->waited_ns += one->waited_ns;
    sum->throttled_ns += one->throttled_ns;
}

/* The thread's counts, for others to see. */
static void publish(struct net_session *s)
{
    struct net_stats stats = s->closed;
    if (s->link)
        net_stats_add(&stats, tls_link_stats(s->link));
    stats.requests += s->requests;
    stats.round_trips += s->rounds;
    stats.stalls += s->stalls;
    pthread_mutex_lock(&s->lock);
    s->published = stats;
    pthread_mutex_unlock(&s->lock);
}

void net_session_stats(struct net_session *s, struct net_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->published;
    out->waited_ns += s->waited_ns;
    if (s->descriptor >= 0)
        tls_link_add_wire(s->descriptor, out);
    pthread_mutex_unlock(&s->lock);
}

/* ---- the thread ---- */

static void take_queue(struct net_session *s)
{
    struct pending **end = &s->taken_over;
    while (*end)
        end = &(*end)->next;
    pthread_mutex_lock(&s->lock);
    *end = s->first;
    s->first = s->last = NULL;
    s->queued = 0;
    pthread_mutex_unlock(&s->lock);
}

/* Of bodies, and of each answer's head one. */
static uint64_t bytes_moved(const struct net_session *s)
{
    struct h2_client_state state;
    h2_client_state(s->client, &state);
    return state.body_sent + state.body_received + state.answers_begun + s->taken;
}

/* An answer is due that was not, or one came. */
static void begin_progress(struct net_session *s)
{
    if (s->unanswered > 0)
        progress_begin(&s->progress, bytes_moved(s), clock_monotonic_ns());
}

/* Hands requests on, as many as may be unanswered. */
static bool submit_taken(struct net_session *s)
{
    bool moved = false;
    bool was_idle = s->unanswered == 0;
    if (!s->taken_over)
        take_queue(s);
    while (s->taken_over && s->unanswered < UNANSWERED_MAX) {
        struct pending *p = s->taken_over;
        const struct h2_request request = {
            .method = p->method,
            .path = (const char *)p->path.data,
            .content_type = p->content_type,
            .body = &p->slice,
            .body_count = p->slice.size > 0 ? 1 : 0,
            .response_size_max = p->response_size_max,
            .user = p,
        };
        int32_t id;
        struct error err;
        s->taken_over = p->next;
        p->next = NULL;
        p->round = s->round;
        enum status status = h2_client_submit(s->client, &request, &id, &err);
        if (status != OK) {
            answer_failed(p, status, err.text, NULL);
        } else {
            s->unanswered++;
            s->requests++;
        }
        moved = true;
    }
    if (was_idle)
        begin_progress(s);
    return moved;
}

static bool deliver_answers(struct net_session *s)
{
    struct h2_response *response = h2_client_next(s->client);
    if (!response)
        return false;
    do {
        struct pending *p = response->user;
        if (response->http_status != 0 && p->round == s->round) {
            s->round++;
            s->rounds++;
        }
        s->unanswered--;
        publish(s);
        answer(p, response, NULL);
    } while ((response = h2_client_next(s->client)));
    begin_progress(s);
    return true;
}

/* ERR_CLOSED, ERR_NETWORK: the link is over; ERR_FORMAT: the server's HTTP/2 is. */
static enum status receive_some(struct net_session *s, bool *moved, struct error *err)
{
    for (unsigned i = 0; i < RECEIVES_PER_TURN; i++) {
        size_t size;
        TRY(tls_link_receive(s->link, s->received, TLS_LINK_RECEIVE_SIZE, &size, err));
        if (size == 0)
            return OK;
        *moved = true;
        TRY(h2_client_feed(s->client, s->received, size, err));
    }
    return OK;
}

static enum status send_some(struct net_session *s, bool *moved, bool *out_left, struct error *err)
{
    for (unsigned i = 0; i < SENDS_PER_TURN; i++) {
        const uint8_t *data;
        size_t size, sent;
        TRY(h2_client_output(s->client, &data, &size, err));
        *out_left = size > 0;
        if (size == 0)
            return OK;
        TRY(tls_link_send(s->link, data, size, &sent, err));
        if (sent == 0)
            return OK;
        h2_client_sent(s->client, sent);
        *moved = true;
    }
    return OK;
}

/* The link takes nothing more: the server may have said something before it closed. */
static void receive_last(struct net_session *s)
{
    bool moved = true;
    for (unsigned i = 0; moved && i < LAST_TURNS; i++) {
        moved = false;
        if (receive_some(s, &moved, NULL) != OK)
            return;
    }
}

/* Counts when output begins to wait. */
static void note_stall(struct net_session *s, bool left)
{
    struct h2_client_state state;
    h2_client_state(s->client, &state);
    bool stalled = left || state.blocked;
    s->stalls += stalled && !s->stalled;
    s->stalled = stalled;
}

static void look_at_kernel(struct net_session *s, uint64_t now_ns)
{
    struct h2_client_state state;
    if (now_ns < s->next_look_ns)
        return;
    s->next_look_ns = now_ns + s->progress.timeout_ns / STALL_SLICES;
    h2_client_state(s->client, &state);
    bool more = progress_mark(&s->mark, state.body_sent, tls_link_stats(s->link)->sent, state.output);
    s->taken = tls_link_taken(s->link, more);
}

/* Also while bytes move: they may be of no use. */
static enum status check_progress(struct net_session *s, struct error *err)
{
    uint64_t throttled_ns = tls_link_stats(s->link)->throttled_ns;
    uint64_t now_ns = clock_monotonic_ns();
    if (s->unanswered == 0)
        return OK;
    if (throttled_ns != s->throttled_ns)
        progress_held(&s->progress, now_ns);
    s->throttled_ns = throttled_ns;
    if (now_ns - s->progress.moved_ns >= s->progress.timeout_ns / STALL_SLICES)
        look_at_kernel(s, now_ns);
    switch (progress_look(&s->progress, bytes_moved(s), now_ns)) {
    case PROGRESS_GOOD: return OK;
    case PROGRESS_NONE:
        return fail(err, ERR_NETWORK, "the server at %s gave no answer and took no data for %llu ms",
                    s->account->authority, (unsigned long long)(s->progress.timeout_ns / 1000000));
    case PROGRESS_TOO_SLOW: break;
    }
    return fail(err, ERR_NETWORK, "the server at %s is too slow: no answer within %llu ms, and less than %llu bytes",
                s->account->authority, (unsigned long long)(s->progress.window_ns / 1000000),
                (unsigned long long)s->progress.bytes_min);
}

static enum status wait_for_more(struct net_session *s, bool left, struct error *err)
{
    uint64_t until_ns = UINT64_MAX;
    if (s->unanswered > 0)
        until_ns = clock_monotonic_ns() + s->progress.timeout_ns / STALL_SLICES;
    publish(s);
    return tls_link_wait(s->link, left, until_ns, &s->wake, err);
}

static bool is_lost(const struct net_session *s)
{
    struct h2_client_state state;
    h2_client_state(s->client, &state);
    return state.lost;
}

/* What was received may have been against the rules: the client knows when it has written its reply. Until then it
 * would take requests that it cannot send. */
static enum status settle(struct net_session *s, struct error *err)
{
    const uint8_t *data;
    size_t size;
    return h2_client_output(s->client, &data, &size, err);
}

/* Until the connection ends; says why. */
static enum status loop(struct net_session *s, struct error *err)
{
    for (;;) {
        bool moved = false;
        bool left = false;
        if (net_wake_stopped(&s->wake))
            return fail(err, ERR_CANCELLED, "the session was closed");
        moved |= submit_taken(s);
        enum status status = send_some(s, &moved, &left, err);
        if (status != OK) {
            receive_last(s);
            return status;
        }
        TRY(receive_some(s, &moved, err));
        TRY(settle(s, err));
        moved |= deliver_answers(s);
        if (is_lost(s))
            return OK; /* the client has told everyone why */
        TRY(check_progress(s, err));
        if (moved)
            continue;
        note_stall(s, left);
        TRY(wait_for_more(s, left, err));
    }
}

static void set_opened(struct net_session *s, enum status status, const struct error *reason)
{
    pthread_mutex_lock(&s->lock);
    s->opened = true;
    if (status != OK)
        s->opening = *reason;
    if (s->link)
        s->descriptor = tls_link_descriptor(s->link);
    pthread_cond_broadcast(&s->opened_changed);
    pthread_mutex_unlock(&s->lock);
}

/* From now on nothing is accepted; what was is answered. */
static void end(struct net_session *s, enum status status, const char *text, const struct error *opening)
{
    pthread_mutex_lock(&s->lock);
    s->over = true;
    snprintf(s->over_text, sizeof s->over_text, "%.*s", (int)sizeof s->over_text - 1, text);
    pthread_mutex_unlock(&s->lock);
    take_queue(s);
    while (s->taken_over) {
        struct pending *p = s->taken_over;
        s->taken_over = p->next;
        answer_failed(p, status, text, opening);
    }
}

static enum status open_session(struct net_session *s, struct error *err)
{
    struct buffer behind = {0};
    const struct h2_client_options options = {.requests_max = UNANSWERED_MAX + 1};
    const struct session_opening opening = {s->account, &s->upgrade, &s->wake, &s->closed};
    s->received = malloc(TLS_LINK_RECEIVE_SIZE);
    if (!s->received)
        return fail(err, ERR_MEMORY, "out of memory for a connection");
    TRY(session_open(&opening, &s->link, &behind, err));
    enum status status = h2_client_new(&options, &s->client, err);
    if (status == OK && behind.size > 0)
        status = h2_client_feed(s->client, behind.data, behind.size, err);
    buffer_deinit(&behind);
    if (status == OK)
        status = settle(s, err);
    if (status == OK && is_lost(s))
        status = fail(err, ERR_FORMAT, "what %s sent behind the upgrade is not HTTP/2", s->account->authority);
    return status;
}

static void close_connection(struct net_session *s)
{
    pthread_mutex_lock(&s->lock);
    s->descriptor = -1;
    pthread_mutex_unlock(&s->lock);
    session_close_link(s->link, &s->closed);
    s->link = NULL;
    publish(s);
}

static void run(void *argument)
{
    struct net_session *s = argument;
    struct sigpipe_state sigpipe;
    struct error err = {0};
    own_session = s;
    sigpipe_block(&sigpipe);
    enum status status = open_session(s, &err);
    publish(s);
    set_opened(s, status, &err);
    if (status != OK) {
        end(s, status, err.text, &err);
    } else {
        status = loop(s, &err);
        const char *reason = status == OK ? "the connection is over" : err.text;
        h2_client_lose(s->client, reason);
        (void)deliver_answers(s);
        end(s, ERR_NETWORK, reason, NULL);
    }
    close_connection(s);
    sigpipe_restore(&sigpipe);
    own_session = NULL;
}

/* ---- from start to close ---- */

static enum status copy_upgrade(struct net_session *s, const struct upgrade_request *upgrade, struct error *err)
{
    const char **fields[] = {&s->upgrade.store, &s->upgrade.ns, &s->upgrade.backup_type, &s->upgrade.backup_id};
    s->upgrade = *upgrade;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (!*fields[i])
            continue;
        s->texts[i] = strdup(*fields[i]);
        if (!s->texts[i])
            return fail(err, ERR_MEMORY, "out of memory for a session");
        *fields[i] = s->texts[i];
    }
    return OK;
}

static void session_free(struct net_session *s)
{
    ASSERT(!s->first && !s->taken_over);
    h2_client_free(s->client);
    free(s->received);
    for (size_t i = 0; i < sizeof s->texts / sizeof *s->texts; i++)
        free(s->texts[i]);
    net_wake_deinit(&s->wake);
    pthread_cond_destroy(&s->opened_changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

enum status net_session_start(struct account *account, const struct upgrade_request *upgrade,
                              const struct threads *threads, struct net_session **out, struct error *err)
{
    struct net_session *s = calloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "out of memory for a session");
    s->account = account;
    s->threads = threads;
    s->descriptor = -1;
    s->wake = NET_WAKE_INIT;
    s->round = 1;
    progress_init(&s->progress, account->stall_timeout_ns, account->rate);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->opened_changed, NULL);
    enum status status = copy_upgrade(s, upgrade, err);
    if (status == OK)
        status = net_wake_init(&s->wake, err);
    if (status == OK)
        status = threads->start("session", run, s, &s->thread, err);
    if (status != OK) {
        session_free(s);
        return status;
    }
    *out = s;
    return OK;
}

void net_session_close(struct net_session *s)
{
    if (!s)
        return;
    ASSERT(own_session != s);
    net_wake_stop(&s->wake);
    s->threads->join(s->thread);
    session_free(s);
}
