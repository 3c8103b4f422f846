#include "server/connection.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/front.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    IN_SIZE = TLS_RECORD_MAX,
    KEEPALIVE_IDLE_S = 120,
    LINGER_NS = 1000000000,
    TURNS_MAX = 64,
    FAREWELL_MS = 5000,
    AHEAD_MAX = 1 << 20,
};

/* FAREWELL: there is no session any more, but what it last had to say. CLOSING: all is said, to TLS. */
enum phase { PHASE_HANDSHAKE, PHASE_FRONT, PHASE_SESSION, PHASE_FAREWELL, PHASE_CLOSING, PHASE_OVER };

struct connection {
    struct shared *shared;
    int wake_fd;
    struct link link;
    bool has_link;
    struct tls *tls;
    struct faults faults;
    unsigned generation;
    enum phase phase;
    struct front front;
    struct session *session;
    /* Input that was not taken yet. */
    uint8_t in[IN_SIZE];
    size_t in_head, in_size;
    /* Goes out before anything the session has: 101 and settings in one piece, or its last words. */
    struct buffer ahead;
    size_t ahead_sent;
    uint64_t received, sent; /* within TLS */
    uint64_t now;
    uint64_t active_ns;   /* the last time that a byte went either way */
    uint64_t announce_ns; /* when settings that are late are sent; 0: they are not */
    uint64_t stop_ns;     /* when a stop was seen; 0: none */
    uint64_t linger_ns;   /* until when a client that was told good-bye may go on talking; 0: not yet told */
    bool with_reset;
    bool was_ended; /* the session, by the client's fault or good-bye */
};

/* ---- life ---- */

enum status connection_new(struct shared *shared, int fd, struct connection **out, struct error *err)
{
    *out = NULL;
    struct connection *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return fail(err, ERR_MEMORY, "out of memory for a connection");
    }
    c->shared = shared;
    c->wake_fd = -1;
    c->ahead = BUFFER_INIT(AHEAD_MAX);
    c->now = c->active_ns = clock_monotonic_ns();
    fault_state_connect(&shared->faults, &c->faults, &c->generation);
    front_init(&c->front, shared, &c->faults);
    const int on = 1, idle = KEEPALIVE_IDLE_S;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    enum status status = link_init(&c->link, fd, c->now, err);
    c->has_link = status == OK;
    if (status == OK) {
        link_set(&c->link, &c->faults, c->now);
        status = tls_new(shared->tls, &c->link, &c->tls, err);
    }
    if (status == OK && (c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        status = fail(err, ERR_IO, "make an eventfd");
    if (status != OK) {
        connection_free(c);
        return status;
    }
    *out = c;
    return OK;
}

void connection_free(struct connection *c)
{
    if (!c)
        return;
    session_free(c->session);
    front_deinit(&c->front);
    tls_free(c->tls);
    if (c->has_link)
        link_deinit(&c->link, c->with_reset);
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    buffer_deinit(&c->ahead);
    free(c);
}

void connection_wake(struct connection *c)
{
    const uint64_t one = 1;
    /* Full: it wakes anyway. */
    if (write(c->wake_fd, &one, sizeof one) < 0)
        return;
}

/* The connection is lost, as far as the client can see. */
static void lose(struct connection *c)
{
    c->phase = PHASE_OVER;
}

/* What was written still goes out. */
static void close_softly(struct connection *c)
{
    if (c->phase == PHASE_CLOSING || c->phase == PHASE_OVER)
        return;
    tls_shutdown(c->tls);
    c->phase = PHASE_CLOSING;
}

static void cut(struct connection *c, bool flush)
{
    c->with_reset = c->faults.cut_with_reset;
    if (flush && !c->with_reset)
        c->phase = PHASE_CLOSING; /* without TLS's good-bye */
    else
        lose(c);
}

/* Nothing of the session can be carried out any more: its locks, and a backup that is not finished, go at once, however
 * long its last words take to get out. */
static void end_session(struct connection *c)
{
    struct error err = {0};
    const uint8_t *data;
    size_t size;
    session_announce(c->session); /* the settings belong to a good-bye, were they ever so late */
    session_goaway(c->session);
    while (session_output(c->session, &data, &size, &err) == OK && size > 0 &&
           buffer_append(&c->ahead, data, size, &err) == OK)
        session_sent(c->session, size);
    session_free(c->session);
    c->session = NULL;
    c->was_ended = true;
    c->phase = PHASE_FAREWELL;
}

/* ---- input ---- */

static void count_in(struct connection *c, size_t size)
{
    c->received += size;
    c->active_ns = c->now;
    atomic_fetch_add(&c->shared->counts.received, size);
}

static enum session_cut wanted_cut(const struct connection *c)
{
    enum session_cut cut = c->session ? session_cut(c->session) : SESSION_CUT_NOT;
    return cut != SESSION_CUT_NOT ? cut : c->front.cut;
}

static void feed(struct connection *c)
{
    struct error err = {0};
    size_t used = c->in_size;
    const uint8_t *data = c->in + c->in_head;
    if (c->phase == PHASE_FRONT) {
        front_feed(&c->front, data, c->in_size, c->now, &used);
    } else if (c->phase == PHASE_SESSION && session_feed(c->session, data, c->in_size, c->now, &err) != OK) {
        log_debug("connection: %s", err.text);
        if (wanted_cut(c) == SESSION_CUT_NOT)
            end_session(c);
    }
    c->in_head += used;
    c->in_size -= used;
    if (wanted_cut(c) == SESSION_CUT_NOW)
        cut(c, false);
}

static bool wants_input(const struct connection *c)
{
    if (c->phase == PHASE_FRONT)
        return c->front.state == FRONT_HEAD || c->front.state == FRONT_BODY;
    return c->phase == PHASE_SESSION;
}

/* Takes what has arrived; whether anything has. */
static bool take_input(struct connection *c)
{
    struct error err = {0};
    if (!wants_input(c) || wanted_cut(c) != SESSION_CUT_NOT) /* about to be lost: nothing more is carried out */
        return false;
    if (c->in_size == 0) {
        c->in_head = 0;
        enum status status = tls_read(c->tls, c->in, sizeof c->in, &c->in_size, &err);
        if (status == ERR_NETWORK) {
            log_debug("connection: %s", err.text);
            lose(c);
        }
        if (status != OK)
            return false;
        bool is_last = c->faults.cut_in > 0 && c->received + c->in_size >= c->faults.cut_in;
        if (is_last)
            c->in_size = (size_t)(c->faults.cut_in - c->received);
        count_in(c, c->in_size);
        if (is_last) {
            feed(c);
            cut(c, false);
            return true;
        }
    }
    feed(c);
    return true;
}

/* ---- output ---- */

static void note_sent(struct connection *c, size_t size)
{
    c->sent += size;
    c->active_ns = c->now;
    atomic_fetch_add(&c->shared->counts.sent, size);
}

/* Offers `size` bytes to TLS, less where faults want it. Whether all went; *out_taken of them did. */
static bool offer(struct connection *c, const uint8_t *data, size_t size, size_t piece_max, size_t *out_taken)
{
    struct error err = {0};
    *out_taken = 0;
    while (*out_taken < size) {
        size_t piece = size - *out_taken < piece_max ? size - *out_taken : piece_max;
        if (c->faults.cut_out > 0 && c->faults.cut_out - c->sent < piece)
            piece = (size_t)(c->faults.cut_out - c->sent);
        size_t taken = 0;
        enum status status = tls_write(c->tls, data + *out_taken, piece, &taken, &err);
        if (status != OK && status != ERR_CLOSED) {
            log_debug("connection: %s", err.text);
            lose(c);
            return false;
        }
        if (taken == 0)
            return false;
        *out_taken += taken;
        note_sent(c, taken);
        if (c->faults.cut_out > 0 && c->sent == c->faults.cut_out) {
            cut(c, true);
            return false;
        }
        if (piece_max == 1)
            link_flush(&c->link, c->now);
    }
    return true;
}

/* The front has said 101: from the next byte on it is HTTP/2. */
static void begin_session(struct connection *c)
{
    struct error err = {0};
    struct session_options options = c->front.upgrade;
    c->front.upgrade = (struct session_options){0};
    if (session_new(&options, &c->session, &err) != OK) {
        log_warning("a session could not be begun: %s", err.text);
        lose(c);
        return;
    }
    c->phase = PHASE_SESSION;
    if (c->faults.settings_late_ms > 0)
        c->announce_ns = c->now + c->faults.settings_late_ms * UINT64_C(1000000);
}

/* 101 and the server's settings, for clients that must look behind the blank line. */
static bool join(struct connection *c, const uint8_t *head, size_t head_size)
{
    struct error err = {0};
    const uint8_t *settings;
    size_t size;
    begin_session(c);
    if (c->phase != PHASE_SESSION || session_output(c->session, &settings, &size, &err) != OK)
        return false;
    if (buffer_append(&c->ahead, head, head_size, &err) != OK || buffer_append(&c->ahead, settings, size, &err) != OK)
        return false;
    session_sent(c->session, size);
    front_sent(&c->front, head_size);
    return true;
}

static bool send_front(struct connection *c)
{
    struct error err = {0};
    const uint8_t *data;
    size_t size, taken;
    enum front_state before = c->front.state;
    enum status status = front_output(&c->front, c->now, &data, &size, &err);
    if (status != OK) {
        log_debug("connection: %s", err.text);
        lose(c);
        return false;
    }
    enum session_cut wanted = c->front.cut;
    if (size == 0) {
        if (wanted == SESSION_CUT_FLUSHED)
            cut(c, true);
        else if (c->front.state == FRONT_CLOSED)
            close_softly(c);
        return c->front.state != before; /* the next request may be here already */
    }
    bool is_upgrade = c->front.state == FRONT_UPGRADED;
    if (is_upgrade && c->faults.join_101 && c->front.sent == 0 && wanted == SESSION_CUT_NOT) {
        if (!join(c, data, size))
            lose(c);
        return true;
    }
    size_t wish = wanted == SESSION_CUT_HALF ? (size + 1) / 2 : size;
    bool all = offer(c, data, wish, is_upgrade && c->faults.split_101 ? 1 : TLS_RECORD_MAX, &taken);
    front_sent(&c->front, taken);
    if (c->phase != PHASE_FRONT)
        return taken > 0;
    if (all && wanted == SESSION_CUT_HALF)
        cut(c, true);
    else if (all && is_upgrade && wanted == SESSION_CUT_FLUSHED)
        cut(c, true);
    else if (all && is_upgrade)
        begin_session(c);
    return taken > 0;
}

/* Whether any of it went; *out_all: nothing is left. */
static bool send_ahead(struct connection *c, bool *out_all)
{
    size_t taken;
    *out_all = offer(c, c->ahead.data + c->ahead_sent, c->ahead.size - c->ahead_sent, TLS_RECORD_MAX, &taken);
    c->ahead_sent += taken;
    if (*out_all) {
        buffer_deinit(&c->ahead);
        c->ahead_sent = 0;
    }
    return taken > 0;
}

static bool send_session(struct connection *c)
{
    struct error err = {0};
    const uint8_t *data;
    size_t size, taken;
    bool all;
    if (c->ahead.size > 0)
        return send_ahead(c, &all);
    if (session_output(c->session, &data, &size, &err) != OK)
        log_debug("connection: %s", err.text);
    enum session_cut wanted = session_cut(c->session);
    if (wanted == SESSION_CUT_NOW) {
        cut(c, false);
        return false;
    }
    if (size == 0) {
        if (wanted == SESSION_CUT_FLUSHED)
            cut(c, true);
        else if (session_is_over(c->session))
            close_softly(c);
        return false;
    }
    size_t wish = wanted == SESSION_CUT_HALF ? (size + 1) / 2 : size;
    all = offer(c, data, wish, TLS_RECORD_MAX, &taken);
    session_sent(c->session, taken);
    if (all && wanted == SESSION_CUT_HALF)
        cut(c, true);
    return taken > 0;
}

static bool send_output(struct connection *c)
{
    if (c->phase == PHASE_FRONT)
        return send_front(c);
    if (c->phase == PHASE_SESSION)
        return send_session(c);
    if (c->phase != PHASE_FAREWELL)
        return false;
    bool all, any = send_ahead(c, &all);
    if (all)
        close_softly(c);
    return any;
}

/* ---- time ---- */

static void follow_faults(struct connection *c)
{
    unsigned generation = fault_state_generation(&c->shared->faults);
    if (generation == c->generation)
        return;
    struct faults faults;
    fault_state_get(&c->shared->faults, &faults, &c->generation);
    c->faults.delay_in_us = faults.delay_in_us;
    c->faults.delay_out_us = faults.delay_out_us;
    c->faults.rate_in = faults.rate_in;
    c->faults.rate_out = faults.rate_out;
    c->faults.read_rate = faults.read_rate;
    link_set(&c->link, &c->faults, c->now);
}

static void check_stop(struct connection *c)
{
    if (!atomic_load(&c->shared->stopping))
        return;
    if (c->stop_ns == 0) {
        c->stop_ns = c->now;
        if (c->phase == PHASE_SESSION)
            session_goaway(c->session);
    }
    if (c->phase == PHASE_HANDSHAKE)
        lose(c);
    else if (c->phase == PHASE_FRONT && c->front.state == FRONT_HEAD)
        close_softly(c);
    else if (c->phase == PHASE_SESSION && session_is_idle(c->session))
        end_session(c);
    if (c->now - c->stop_ns >= c->shared->limits.stop_ms * UINT64_C(1000000))
        lose(c);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The time when somebody was silent, or slow, for too long; UINT64_MAX: he may be. */
static uint64_t patience_ns(const struct connection *c)
{
    const struct serve_limits *l = &c->shared->limits;
    uint64_t ms = 0;
    if (c->phase == PHASE_HANDSHAKE)
        ms = l->handshake_ms;
    else if (c->phase == PHASE_FRONT || c->phase == PHASE_CLOSING || c->phase == PHASE_FAREWELL)
        ms = l->idle_ms;
    else if (c->phase == PHASE_SESSION)
        ms = l->session_idle_ms;
    if (c->was_ended && ms > FAREWELL_MS)
        ms = FAREWELL_MS;
    uint64_t until = ms > 0 ? c->active_ns + ms * 1000000 : UINT64_MAX;
    return c->phase == PHASE_FRONT ? earlier(until, front_patience(&c->front)) : until;
}

static void wait(struct connection *c)
{
    struct pollfd fds[2] = {{.fd = c->link.fd}, {.fd = c->wake_fd, .events = POLLIN}};
    uint64_t due;
    link_wait(&c->link, c->now, &fds[0].events, &due);
    if (c->linger_ns > 0)
        fds[0].events = POLLIN;
    else if (c->phase != PHASE_HANDSHAKE && !wants_input(c))
        fds[0].events &= (short)~POLLIN;
    due = earlier(due, patience_ns(c));
    if (c->phase == PHASE_FRONT)
        due = earlier(due, front_due(&c->front));
    if (c->phase == PHASE_SESSION)
        due = earlier(due, session_due(c->session, c->now));
    if (c->announce_ns > 0)
        due = earlier(due, c->announce_ns);
    if (c->linger_ns > 0)
        due = earlier(due, c->linger_ns);
    if (c->stop_ns > 0)
        due = earlier(due, c->stop_ns + c->shared->limits.stop_ms * UINT64_C(1000000));
    struct timespec timeout = {0};
    if (due != UINT64_MAX && due > c->now) {
        timeout.tv_sec = (time_t)((due - c->now) / 1000000000);
        timeout.tv_nsec = (long)((due - c->now) % 1000000000);
    }
    if (ppoll(fds, 2, due == UINT64_MAX ? NULL : &timeout, NULL) < 0 && errno != EINTR)
        lose(c);
    uint64_t count;
    if (fds[1].revents && read(c->wake_fd, &count, sizeof count) < 0)
        return;
}

/* ---- the loop ---- */

static void shake_hands(struct connection *c)
{
    struct error err = {0};
    enum status status = tls_handshake(c->tls, &err);
    if (status == OK) {
        c->phase = PHASE_FRONT;
        c->active_ns = c->now;
    } else if (status != ERR_CLOSED) {
        log_debug("connection: %s", err.text);
        close_softly(c); /* an alert may have to go out */
    }
}

/* Everything is sent. What the client still sends is dropped for a while: closing at once would reset the connection,
 * and take what he has not read yet from him. */
static void linger(struct connection *c)
{
    if (c->linger_ns == 0) {
        c->linger_ns = c->now + LINGER_NS;
        shutdown(c->link.fd, SHUT_WR);
    }
    for (int turns = 0; turns < TURNS_MAX; turns++) {
        ssize_t got = recv(c->link.fd, c->in, sizeof c->in, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            lose(c);
        if (got <= 0)
            break;
    }
    if (c->now >= c->linger_ns)
        lose(c);
}

/* What leaves for the client counts as a byte: after the last one is written it may take a slow network a while. */
static void flush(struct connection *c)
{
    size_t before = c->link.out.size;
    link_flush(&c->link, c->now);
    if (c->link.out.size != before)
        c->active_ns = c->now;
}

/* What can be done now. True: there is more; a client that never pauses must not keep us from the clock and from being
 * stopped. */
static bool work(struct connection *c)
{
    bool again = true;
    for (int turns = 0; again && turns < TURNS_MAX && c->phase != PHASE_OVER && c->phase != PHASE_CLOSING; turns++) {
        c->now = clock_monotonic_ns();
        tls_set_time(c->tls, c->now);
        link_receive(&c->link, c->now);
        again = false;
        if (c->phase == PHASE_HANDSHAKE)
            shake_hands(c);
        if (c->announce_ns > 0 && c->announce_ns <= c->now && c->session) {
            session_announce(c->session);
            c->announce_ns = 0;
        }
        if (c->phase == PHASE_SESSION)
            session_due(c->session, c->now);
        again |= take_input(c);
        again |= send_output(c);
        bool was_full = !tls_has_room(c->tls);
        flush(c);
        again |= was_full && tls_has_room(c->tls);
        if (c->link.failed)
            lose(c);
    }
    if (c->phase == PHASE_CLOSING) {
        session_free(c->session); /* nobody is to wait for its locks */
        c->session = NULL;
        flush(c);
        if (c->link.failed)
            lose(c);
        else if (link_is_flushed(&c->link))
            linger(c);
        return false;
    }
    return again;
}

void connection_run(struct connection *c)
{
    while (c->phase != PHASE_OVER) {
        follow_faults(c);
        bool again = work(c);
        check_stop(c);
        if (c->phase == PHASE_OVER)
            break;
        if (patience_ns(c) <= c->now) {
            log_debug("connection: silent for too long");
            break;
        }
        /* The check may have left last words. */
        if (!again && !(c->phase == PHASE_FAREWELL && tls_has_room(c->tls)))
            wait(c);
        c->now = clock_monotonic_ns();
    }
}
