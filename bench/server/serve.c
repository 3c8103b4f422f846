#include "server/serve.h"

#include "base/log.h"
#include "server/connection.h"
#include "store/local_server.h"
#include "wire/protocol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define OWN_DIRECTORY ".pxarbench"

enum { ADDRESS_TEXT_MAX = 64, BACKLOG = 128, FILES_WANTED = 16384, WORKBENCHES = 8, INDEXES_EXTRA = 768 };

static const struct serve_limits default_limits = {
    .connections = 128,
    .idle_ms = 60000,
    .handshake_ms = 10000,
    .stop_ms = 5000,
    .parameter_body_max = WIRE_PARAMETER_BODY_MAX,
    .body_memory = 256 << 20,
    .table_memory = UINT64_C(2) << 30,
};

/* A connection and its thread. */
struct client {
    struct serve *serve;
    struct connection *connection;
    struct thread *thread;
    bool over; /* the thread has nothing left to do */
    struct client *next;
};

struct serve {
    struct shared shared;
    const struct threads *threads;
    struct thread *acceptor;
    int listen_fd;
    int wake_fd; /* of the acceptor */
    unsigned port;
    char address[ADDRESS_TEXT_MAX];
    pthread_mutex_t lock; /* of the list, and `over` */
    struct client *clients;
};

static void wake(int fd)
{
    const uint64_t one = 1;
    if (write(fd, &one, sizeof one) < 0)
        return; /* full: it wakes anyway */
}

/* ---- connections ---- */

static void client_run(void *argument)
{
    struct client *c = argument;
    struct serve *s = c->serve;
    connection_run(c->connection);
    pthread_mutex_lock(&s->lock);
    struct connection *connection = c->connection;
    c->connection = NULL; /* nobody wakes it any more */
    pthread_mutex_unlock(&s->lock);
    connection_free(connection);
    atomic_fetch_sub(&s->shared.counts.connections_now, 1);
    pthread_mutex_lock(&s->lock);
    c->over = true;
    pthread_mutex_unlock(&s->lock);
    wake(s->wake_fd);
}

/* Joins the threads of connections that are over, or of all. */
static void reap(struct serve *s, bool all)
{
    for (;;) {
        pthread_mutex_lock(&s->lock);
        struct client **at = &s->clients;
        while (*at && !all && !(*at)->over)
            at = &(*at)->next;
        struct client *c = *at;
        if (c)
            *at = c->next;
        pthread_mutex_unlock(&s->lock);
        if (!c)
            return;
        s->threads->join(c->thread);
        free(c);
    }
}

static void begin_client(struct serve *s, int fd)
{
    struct error err = {0};
    if (atomic_load(&s->shared.counts.connections_now) >= s->shared.limits.connections) {
        log_debug("a connection too many is closed");
        close(fd);
        return;
    }
    struct client *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    c->serve = s;
    if (connection_new(&s->shared, fd, &c->connection, &err) != OK) {
        log_warning("a connection is refused: %s", err.text);
        free(c);
        return;
    }
    atomic_fetch_add(&s->shared.counts.connections, 1);
    atomic_fetch_add(&s->shared.counts.connections_now, 1);
    pthread_mutex_lock(&s->lock);
    c->next = s->clients;
    s->clients = c;
    pthread_mutex_unlock(&s->lock);
    /* Only this thread takes clients out of the list, so `thread` is set before anyone joins it. */
    if (s->threads->start("pxb-connection", client_run, c, &c->thread, &err) == OK)
        return;
    log_warning("a connection is refused: %s", err.text);
    atomic_fetch_sub(&s->shared.counts.connections_now, 1);
    pthread_mutex_lock(&s->lock);
    s->clients = c->next;
    pthread_mutex_unlock(&s->lock);
    connection_free(c->connection);
    free(c);
}

static void accept_all(struct serve *s)
{
    while (!atomic_load(&s->shared.stopping)) {
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            begin_client(s, fd);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warning("connections wait: %s", strerror(errno));
            poll(NULL, 0, 100); /* until some are over; no hotter than this */
        }
        return;
    }
}

static void accept_run(void *argument)
{
    struct serve *s = argument;
    struct pollfd fds[2] = {{.fd = s->listen_fd, .events = POLLIN}, {.fd = s->wake_fd, .events = POLLIN}};
    while (!atomic_load(&s->shared.stopping)) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return;
        uint64_t count;
        if (fds[1].revents && read(s->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
            return;
        reap(s, false);
        if (fds[0].revents)
            accept_all(s);
    }
}

static void wake_all(struct serve *s)
{
    pthread_mutex_lock(&s->lock);
    for (struct client *c = s->clients; c; c = c->next)
        if (c->connection)
            connection_wake(c->connection);
    pthread_mutex_unlock(&s->lock);
}

/* ---- start ---- */

static enum status take_name(struct serve *s, const struct serve_options *o, struct error *err)
{
    const char *name = o->name;
    if (!name) {
        char *real = realpath(o->datastore, NULL);
        const char *slash = real ? strrchr(real, '/') : NULL;
        size_t size = slash ? strlen(slash + 1) : 0;
        bool fits = slash && name_is_datastore(slash + 1, size);
        snprintf(s->shared.name, sizeof s->shared.name, "%s", fits ? slash + 1 : "store");
        free(real);
        return OK;
    }
    if (!name_is_datastore(name, strlen(name)))
        return fail(err, ERR_USAGE,
                    "'%.100s' is not the name of a datastore: 3 to 32 letters, digits, '_', '.' and '-', the first "
                    "one no '.' or '-'",
                    name);
    snprintf(s->shared.name, sizeof s->shared.name, "%s", name);
    return OK;
}

union socket_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static enum status parse_address(const char *text, unsigned port, union socket_address *out, socklen_t *out_size,
                                 struct error *err)
{
    char plain[ADDRESS_TEXT_MAX];
    size_t size = strlen(text);
    bool bracketed = size > 2 && text[0] == '[' && text[size - 1] == ']';
    snprintf(plain, sizeof plain, "%.*s", (int)(bracketed ? size - 2 : size), text + bracketed);
    *out = (union socket_address){0};
    if (port > 65535 || size >= sizeof plain)
        return fail(err, ERR_USAGE, "'%.100s', port %u: no address to listen on", text, port);
    if (inet_pton(AF_INET, plain, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons((uint16_t)port);
        *out_size = sizeof out->v4;
        return OK;
    }
    if (inet_pton(AF_INET6, plain, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons((uint16_t)port);
        *out_size = sizeof out->v6;
        return OK;
    }
    return fail(err, ERR_USAGE, "'%.100s' is no IP address to listen on", text);
}

static enum status listen_on(struct serve *s, const struct serve_options *o, struct error *err)
{
    const char *text = o->address ? o->address : "127.0.0.1";
    union socket_address address;
    socklen_t size;
    const int on = 1;
    TRY(parse_address(text, o->port, &address, &size, err));
    s->listen_fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listen_fd < 0)
        return fail(err, ERR_IO, "make a socket");
    setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(s->listen_fd, &address.any, size) != 0 || listen(s->listen_fd, BACKLOG) != 0)
        return fail(err, ERR_IO, "listen on %s, port %u", text, o->port);
    if (getsockname(s->listen_fd, &address.any, &size) != 0)
        return fail(err, ERR_IO, "address of the listening socket");
    bool is_v4 = address.any.sa_family == AF_INET;
    s->port = ntohs(is_v4 ? address.v4.sin_port : address.v6.sin6_port);
    char plain[INET6_ADDRSTRLEN] = "";
    inet_ntop(address.any.sa_family, is_v4 ? (const void *)&address.v4.sin_addr : (const void *)&address.v6.sin6_addr,
              plain, sizeof plain);
    snprintf(s->address, sizeof s->address, is_v4 ? "%s" : "[%s]", plain);
    return OK;
}

static enum status prepare_tls(struct serve *s, const struct serve_options *o, struct error *err)
{
    if (o->certificate_file || o->key_file) {
        if (!o->certificate_file || !o->key_file)
            return fail(err, ERR_USAGE, "a certificate and its key go together: one of the two files is missing");
        return tls_context_load(o->certificate_file, o->key_file, &s->shared.tls, err);
    }
    char directory[PATH_MAX];
    int size = snprintf(directory, sizeof directory, "%s/" OWN_DIRECTORY, o->datastore);
    if (size < 0 || (size_t)size >= sizeof directory)
        return fail(err, ERR_LIMIT, "%.200s...: path is too long", o->datastore);
    return tls_context_own(directory, &s->shared.tls, err);
}

static void take_limits(struct serve *s, const struct serve_limits *wanted)
{
    struct serve_limits *l = &s->shared.limits;
    *l = *wanted;
    l->connections = l->connections ? l->connections : default_limits.connections;
    l->idle_ms = l->idle_ms ? l->idle_ms : default_limits.idle_ms;
    l->handshake_ms = l->handshake_ms ? l->handshake_ms : default_limits.handshake_ms;
    l->stop_ms = l->stop_ms ? l->stop_ms : default_limits.stop_ms;
    l->parameter_body_max = l->parameter_body_max ? l->parameter_body_max : default_limits.parameter_body_max;
    l->body_memory = l->body_memory ? l->body_memory : default_limits.body_memory;
    l->table_memory = l->table_memory ? l->table_memory : default_limits.table_memory;
    budget_init(&s->shared.bodies, l->body_memory);
    budget_init(&s->shared.tables, l->table_memory);
    budget_init(&s->shared.indexes, INDEXES_EXTRA);
}

/* Socket, eventfd, a session's locks and directories, its bodies, the indexes it has open (64), and what its replies
 * are read from (32). */
enum { FILES_OF_CONNECTION = 104 };

/* Sessions hold files open while they send them. */
static void raise_file_limit(unsigned connections)
{
    struct rlimit limit;
    rlim_t needed = (rlim_t)connections * FILES_OF_CONNECTION + INDEXES_EXTRA;
    rlim_t wanted = needed > FILES_WANTED ? needed : FILES_WANTED;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t had = limit.rlim_cur;
    if (had < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            limit.rlim_cur = had;
    }
    if (limit.rlim_cur < needed)
        log_warning("only %llu files may be open at a time, %u connections may need %llu: raise the limit, or allow "
                    "fewer connections",
                    (unsigned long long)limit.rlim_cur, connections, (unsigned long long)needed);
}

static enum status start(struct serve *s, const struct serve_options *o, struct error *err)
{
    struct shared *shared = &s->shared;
    const struct store_options store = {.sync = o->sync, .create = true};
    TRY(take_name(s, o, err));
    TRY(access_new(o->accounts, o->account_count, &shared->access, err));
    TRY(local_prepare(o->datastore, err));
    shared->datastore = strdup(o->datastore);
    if (!shared->datastore)
        return fail(err, ERR_MEMORY, "out of memory for a path");
    TRY(store_open(o->datastore, &store, &shared->store, err));
    TRY(take_name(s, o, err)); /* the directory may be new */
    TRY(prepare_tls(s, o, err));
    const struct rest_api_options api = {
        .store = shared->store,
        .store_name = shared->name,
        .parameter_body_max = shared->limits.parameter_body_max,
        .bodies = &shared->bodies,
        .directory = shared->datastore,
    };
    TRY(rest_api_new(&api, &shared->api, err));
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake_fd < 0)
        return fail(err, ERR_IO, "make an eventfd");
    TRY(listen_on(s, o, err));
    raise_file_limit(shared->limits.connections);
    return s->threads->start("pxb-accept", accept_run, s, &s->acceptor, err);
}

enum status serve_start(const struct serve_options *options, struct serve **out, struct error *err)
{
    *out = NULL;
    if (options->datastore[0] != '/' && options->datastore[0] != '.')
        return fail(err, ERR_USAGE, "'%.200s': a datastore's directory is written as /PATH or ./PATH",
                    options->datastore);
    struct serve *s = calloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "out of memory for a server");
    s->threads = options->threads;
    s->listen_fd = s->wake_fd = -1;
    s->shared.strict = !options->loose;
    take_limits(s, &options->limits);
    fault_state_init(&s->shared.faults, &options->faults);
    workshop_init(&s->shared.workshop, WORKBENCHES, WIRE_CHUNK_ENCODED_MAX);
    int failed = pthread_mutex_init(&s->lock, NULL);
    ASSERT(failed == 0);
    signal(SIGPIPE, SIG_IGN);
    enum status status = start(s, options, err);
    if (status != OK) {
        serve_stop(s);
        return status;
    }
    *out = s;
    return OK;
}

void serve_end(struct serve *s)
{
    atomic_store(&s->shared.stopping, true);
    if (s->wake_fd >= 0)
        wake(s->wake_fd);
    s->threads->join(s->acceptor); /* from here on nobody else changes the list */
    s->acceptor = NULL;
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    s->listen_fd = -1;
    wake_all(s);
    reap(s, true);
}

void serve_stop(struct serve *s)
{
    if (!s)
        return;
    serve_end(s);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    rest_api_free(s->shared.api);
    tls_context_free(s->shared.tls);
    store_close(s->shared.store);
    access_free(s->shared.access);
    fault_state_deinit(&s->shared.faults);
    workshop_deinit(&s->shared.workshop);
    pthread_mutex_destroy(&s->lock);
    free(s->shared.datastore);
    free(s);
}

/* ---- what others ask ---- */

unsigned serve_port(const struct serve *s)
{
    return s->port;
}

const char *serve_name(const struct serve *s)
{
    return s->shared.name;
}

const char *serve_address(const struct serve *s)
{
    return s->address;
}

const char *serve_fingerprint(const struct serve *s)
{
    return tls_context_fingerprint(s->shared.tls);
}

void serve_set_faults(struct serve *s, const struct faults *faults)
{
    fault_state_set(&s->shared.faults, faults);
    wake_all(s);
}

void serve_stats(struct serve *s, struct serve_stats *out)
{
    const struct shared_counts *c = &s->shared.counts;
    *out = (struct serve_stats){
        .connections = atomic_load(&c->connections),
        .connections_now = atomic_load(&c->connections_now),
        .requests_http1 = atomic_load(&c->requests_http1),
        .requests_h2 = atomic_load(&c->requests_h2),
        .sessions_backup = atomic_load(&c->sessions_backup),
        .sessions_reader = atomic_load(&c->sessions_reader),
        .sessions_finished = atomic_load(&c->sessions_finished),
        .chunks = atomic_load(&c->chunks),
        .chunks_known = atomic_load(&c->chunks_known),
        .received = atomic_load(&c->received),
        .sent = atomic_load(&c->sent),
        .memory_peak = atomic_load(&s->shared.bodies.peak),
    };
    for (size_t i = 0; i < 6; i++)
        out->errors[i] = atomic_load(&c->errors[i]);
}
