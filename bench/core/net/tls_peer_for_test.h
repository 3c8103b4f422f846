/* A very small server for this folder's tests: TLS with a certificate made on the spot, HTTP/1.1, and behind an upgrade
 * the server's half of HTTP/2. A thread listens, and each connection has one. What it does wrong is in its script. */
#ifndef PXB_NET_TLS_PEER_FOR_TEST_H
#define PXB_NET_TLS_PEER_FOR_TEST_H

#include "base/clock.h"
#include "base/threads.h"
#include "net/account.h"
#include "wire/h2_server.h"
#include "wire/protocol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PEER_CONNECTIONS_MAX = 64,
    PEER_LOG_MAX = 256 << 10,
    PEER_SCRIPTED = 8,
    PEER_HANGS_UP = -1,
    PEER_STREAM_MAX = 17 << 20
};

/* Zero: everything as it should be. */
struct peer_script {
    bool plain;        /* no TLS: sends `raw` at once, nothing if that is NULL */
    bool no_handshake; /* accepts, and says nothing ever */
    bool silent;       /* TLS, then never a byte */
    const char *raw;   /* answers every HTTP/1.1 request with these bytes */
    bool endless;      /* ... and with what `raw` ends in, again and again */
    bool close_after_raw;
    bool early;                        /* answers heads, and reads no further */
    bool close_after_answer;           /* although the answer promises otherwise */
    bool say_close;                    /* answers end with "connection: close" */
    size_t piece;                      /* bytes of an HTTP/1.1 answer per write */
    bool coalesce;                     /* 101 and the first frames in one write */
    int upgrade_status[PEER_SCRIPTED]; /* of the n-th upgrade; 0: 101 */
    const char *upgrade_body;
    int login_status[PEER_SCRIPTED]; /* 0: 200 */
    const char *login_body;
    const char *login_cookie;
    unsigned login_pause_ms;
    bool login_waits;               /* for `go` */
    int call_status[PEER_SCRIPTED]; /* of the n-th plain call; 0: 200 */
    uint64_t end_after;             /* so many bytes within TLS received, a connection ends; 0: never */
    unsigned slow_read_ms;          /* before every read */
    const char *noise;              /* frames in hex, sent again and again behind an upgrade */
    unsigned noise_ms;              /* so often; also the bytes of answers to "/trickle" */
    bool prefers_h2;                /* selects h2 if it is offered */
    bool other_address;             /* 127.0.0.2, which the certificate does not name */
    int receive_buffer;
    struct h2_server_options h2;
};

struct peer;
struct peer_connection {
    struct peer *peer;
    int fd;
    SSL *ssl;
    pthread_t thread;
    struct http_head head;
    uint64_t body_left;
    struct buffer body;
    struct buffer out;
    size_t out_sent;
    size_t upgraded_at; /* where the 101 ends in `out` */
    size_t piece;
    bool close_when_sent;
    bool ending;
    bool goaway;
    bool deaf;
    struct h2_server *h2;
    uint64_t noise_ns; /* when it is due */
    int32_t trickle;   /* the stream, 0: none */
    bool drop;         /* a byte of it is due */
    bool lost;         /* there is only noise from now on */
};

struct peer {
    struct peer_script script;
    int listening;
    uint16_t port;
    SSL_CTX *context;
    X509 *certificate;
    char fingerprint[CERTIFICATE_FINGERPRINT_TEXT_SIZE];
    pthread_t thread;
    atomic_bool stop;
    atomic_bool go;
    struct peer_connection connections[PEER_CONNECTIONS_MAX];
    unsigned started;

    pthread_mutex_t lock;
    unsigned accepted, handshakes, logins, upgrades, calls, requests, ended;
    uint64_t received;  /* within TLS */
    uint64_t used;      /* of that, for requests before an upgrade */
    uint64_t h2_before; /* bytes of HTTP/2 that came before the 101 was sent */
    struct buffer log;  /* all heads of HTTP/1.1 requests and their bodies */
};

struct peer_stream {
    char path[300];
    uint64_t received, sum;
    size_t left;
};

static uint8_t *peer_pattern; /* PEER_STREAM_MAX bytes */

static uint64_t peer_sum(uint64_t sum, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + data[i];
    return sum;
}

static size_t peer_size_in(const char *path)
{
    const char *text = strstr(path, "size=");
    return text ? strtoul(text + 5, NULL, 10) : 0;
}

static void peer_reply(struct h2_server *s, int32_t stream, int status, const char *type, const void *body, size_t size)
{
    struct error err;
    const struct h2_reply reply = {.status = status, .content_type = type, .body = body, .body_size = size};
    ASSERT(h2_server_respond(s, stream, &reply, &err) == OK);
}

static void peer_on_request(void *user, struct h2_server *s, int32_t stream, const struct h2_server_request *request)
{
    struct peer_connection *c = user;
    struct peer_stream *call = calloc(1, sizeof *call);
    ASSERT(call);
    snprintf(call->path, sizeof call->path, "%s", request->path);
    h2_server_set_user(s, stream, call);
    pthread_mutex_lock(&c->peer->lock);
    c->peer->requests++;
    pthread_mutex_unlock(&c->peer->lock);
}

static enum h2_source_result peer_drip(void *user, uint8_t *out, size_t room, size_t *out_size)
{
    struct peer_connection *c = user;
    *out_size = room > 0 && c->drop ? 1 : 0;
    if (*out_size == 0)
        return H2_SOURCE_WAIT;
    out[0] = 'x';
    c->drop = false;
    return H2_SOURCE_MORE;
}

static void peer_on_data(void *user, struct h2_server *s, int32_t stream, void *stream_user, const uint8_t *data,
                         size_t size)
{
    struct peer_stream *call = stream_user;
    (void)user;
    call->received += size;
    call->sum = peer_sum(call->sum, data, size);
    if (strncmp(call->path, "/early", 6) == 0)
        peer_reply(s, stream, strncmp(call->path, "/early-good", 11) == 0 ? 200 : 400, WIRE_TYPE_JSON_REPLY,
                   "too early", 9);
}

static void peer_on_end(void *user, struct h2_server *s, int32_t stream, void *stream_user)
{
    struct peer_connection *c = user;
    struct peer_stream *call = stream_user;
    char text[100];
    if (strncmp(call->path, "/download", 9) == 0) {
        peer_reply(s, stream, 200, WIRE_TYPE_BINARY, peer_pattern, peer_size_in(call->path));
    } else if (strncmp(call->path, "/error", 6) == 0) {
        peer_reply(s, stream, 400, WIRE_TYPE_JSON_REPLY, "no such luck", 12);
    } else if (strncmp(call->path, "/never", 6) == 0) {
        return;
    } else if (strncmp(call->path, "/trickle", 8) == 0) {
        const struct h2_reply reply = {.status = 200, .source = peer_drip, .source_user = c};
        struct error err;
        ASSERT(h2_server_respond(s, stream, &reply, &err) == OK);
        c->trickle = stream;
    } else if (strncmp(call->path, "/cut", 4) == 0) {
        c->ending = true;
    } else {
        snprintf(text, sizeof text, "{\"data\":\"%llu %llu\"}", (unsigned long long)call->received,
                 (unsigned long long)call->sum);
        peer_reply(s, stream, 200, WIRE_TYPE_JSON_REPLY, text, strlen(text));
        c->goaway |= strncmp(call->path, "/goaway", 7) == 0;
    }
}

static void peer_on_closed(void *user, struct h2_server *s, int32_t stream, void *stream_user, bool complete)
{
    (void)user;
    (void)s;
    (void)stream;
    (void)complete;
    free(stream_user);
}

static const struct h2_server_handler peer_handler = {peer_on_request, peer_on_data, peer_on_end, peer_on_closed};

static void peer_say(struct peer_connection *c, const void *data, size_t size)
{
    struct error err;
    ASSERT(buffer_append(&c->out, data, size, &err) == OK);
}

static void peer_answer(struct peer_connection *c, int status, const char *cookie, const char *body)
{
    char head[4000];
    const struct peer_script *script = &c->peer->script;
    snprintf(head, sizeof head,
             "HTTP/1.1 %d Something\r\ncontent-type: application/json;charset=UTF-8\r\n%s%s%s%scontent-length: "
             "%zu\r\n\r\n%s",
             status, script->say_close ? "connection: close\r\n" : "", cookie ? "set-cookie: " : "",
             cookie ? cookie : "", cookie ? "\r\n" : "", strlen(body), body);
    peer_say(c, head, strlen(head));
    c->close_when_sent |= script->close_after_answer || script->say_close;
}

static void peer_upgrade(struct peer_connection *c, bool reader, unsigned number)
{
    struct error err;
    const struct peer_script *script = &c->peer->script;
    int status = number < PEER_SCRIPTED ? script->upgrade_status[number] : 0;
    char head[200];
    if (status != 0) {
        peer_answer(c, status, NULL, script->upgrade_body ? script->upgrade_body : "no");
        return;
    }
    snprintf(head, sizeof head, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: %s\r\n\r\n",
             reader ? WIRE_READER_PROTOCOL : WIRE_BACKUP_PROTOCOL);
    peer_say(c, head, strlen(head));
    c->upgraded_at = c->out.size;
    ASSERT(h2_server_new(&script->h2, &peer_handler, c, &c->h2, &err) == OK);
    if (script->coalesce) {
        const uint8_t *data;
        size_t size;
        ASSERT(h2_server_output(c->h2, &data, &size, &err) == OK);
        peer_say(c, data, size);
        h2_server_sent(c->h2, size);
    }
}

static void peer_log(struct peer *p, const struct http_head *head, const struct buffer *body)
{
    struct error err;
    ASSERT(buffer_printf(&p->log, &err, "%s %s\n", head->method, head->target) == OK);
    for (size_t i = 0; i < head->field_count; i++)
        ASSERT(buffer_printf(&p->log, &err, "%s: %s\n", head->fields[i].name, head->fields[i].value) == OK);
    ASSERT(buffer_printf(&p->log, &err, "\n%.*s\n", (int)body->size, body->size ? (const char *)body->data : "") == OK);
}

/* A whole HTTP/1.1 request. */
static void peer_request(struct peer_connection *c)
{
    struct peer *p = c->peer;
    const struct peer_script *script = &p->script;
    const char *target = c->head.target;
    bool login = strstr(target, "/access/ticket") != NULL;
    bool backup = strstr(target, "/api2/json/backup?") != NULL;
    bool reader = strstr(target, "/api2/json/reader?") != NULL;
    pthread_mutex_lock(&p->lock);
    peer_log(p, &c->head, &c->body);
    unsigned number = login ? p->logins++ : backup || reader ? p->upgrades++ : p->calls++;
    pthread_mutex_unlock(&p->lock);
    if (script->raw) {
        peer_say(c, script->raw, strlen(script->raw));
        c->close_when_sent = script->close_after_raw;
    } else if (login) {
        int status = number < PEER_SCRIPTED && script->login_status[number] ? script->login_status[number] : 200;
        char body[200];
        snprintf(body, sizeof body,
                 "{\"data\":{\"username\":\"u@pbs\",\"ticket\":\"PBS:u@pbs:%08u::sig/+\",\"CSRFPreventionToken\":"
                 "\"%08u:csrf\"}}",
                 number + 1, number + 1);
        usleep(script->login_pause_ms * 1000);
        while (script->login_waits && !atomic_load(&p->go) && !atomic_load(&p->stop))
            usleep(1000);
        peer_answer(c, status, script->login_cookie, script->login_body ? script->login_body : body);
    } else if (backup || reader) {
        peer_upgrade(c, reader, number);
    } else {
        int status = number < PEER_SCRIPTED ? script->call_status[number] : 0;
        c->ending |= status == PEER_HANGS_UP;
        peer_answer(c, status ? status : 200, NULL, status ? "not so" : "{\"data\":[1,2,3]}");
    }
}

static void peer_input(struct peer_connection *c, const uint8_t *data, size_t size)
{
    struct peer *p = c->peer;
    struct error err;
    pthread_mutex_lock(&p->lock);
    p->received += size;
    bool over = p->script.end_after > 0 && p->received >= p->script.end_after;
    if (c->h2 && c->out_sent < c->upgraded_at)
        p->h2_before += size;
    pthread_mutex_unlock(&p->lock);
    if (over || p->script.silent) {
        c->ending |= over;
        return;
    }
    while (size > 0 && !c->h2) {
        size_t used = 0;
        if (!c->head.complete) {
            if (http_head_feed(&c->head, data, size, &used, &err) != OK) {
                c->ending = true;
                return;
            }
            c->body_left = c->head.complete && c->head.has_length ? c->head.length : 0;
            if (c->head.complete && p->script.early) {
                c->deaf = true;
                peer_request(c);
                return;
            }
        } else {
            used = size < c->body_left ? size : (size_t)c->body_left;
            ASSERT(buffer_append(&c->body, data, used, &err) == OK);
            c->body_left -= used;
        }
        data += used;
        size -= used;
        pthread_mutex_lock(&p->lock);
        p->used += used;
        pthread_mutex_unlock(&p->lock);
        if (c->head.complete && c->body_left == 0) {
            peer_request(c);
            http_head_deinit(&c->head);
            http_head_init(&c->head, HTTP_REQUEST);
            buffer_clear(&c->body);
        }
    }
    if (size > 0 && c->h2 && !c->lost && h2_server_feed(c->h2, data, size, &err) != OK) {
        /* It got acknowledgements of what it knows nothing about. */
        c->lost = p->script.noise != NULL;
        c->close_when_sent = !c->lost;
    }
    if (c->goaway && c->h2) {
        ASSERT(h2_server_goaway(c->h2, 0, &err) == OK);
        c->goaway = false;
    }
}

/* What is to be sent now. */
static void peer_output(struct peer_connection *c, const uint8_t **out, size_t *out_size)
{
    struct error err;
    *out = c->out.data + c->out_sent;
    *out_size = c->out.size - c->out_sent;
    if (c->piece > 0 && *out_size > c->piece)
        *out_size = c->piece;
    if (*out_size == 0 && c->h2 && !c->lost)
        ASSERT(h2_server_output(c->h2, out, out_size, &err) == OK);
}

static void peer_sent(struct peer_connection *c, size_t size)
{
    if (c->out_sent == c->out.size && c->h2) {
        h2_server_sent(c->h2, size);
        return;
    }
    c->out_sent += size;
    if (c->out_sent == c->out.size && c->peer->script.endless)
        c->out_sent -= 1;
}

static bool peer_write(struct peer_connection *c, bool *blocked)
{
    const uint8_t *data;
    size_t size;
    peer_output(c, &data, &size);
    *blocked = false;
    if (size == 0) {
        c->ending |= c->close_when_sent;
        return false;
    }
    int sent = SSL_write(c->ssl, data, (int)(size < 65536 ? size : 65536));
    if (sent > 0) {
        peer_sent(c, (size_t)sent);
        return true;
    }
    int code = SSL_get_error(c->ssl, sent);
    *blocked = code == SSL_ERROR_WANT_WRITE;
    c->ending |= !*blocked && code != SSL_ERROR_WANT_READ;
    return false;
}

static bool peer_read(struct peer_connection *c, uint8_t *buffer, size_t size)
{
    if (c->peer->script.slow_read_ms > 0)
        usleep(c->peer->script.slow_read_ms * 1000);
    /* Who is about to close takes nothing more, however soon it comes. */
    if (c->deaf || c->close_when_sent)
        return false;
    int got = SSL_read(c->ssl, buffer, (int)size);
    if (got > 0) {
        peer_input(c, buffer, (size_t)got);
        return true;
    }
    int code = SSL_get_error(c->ssl, got);
    c->ending |= code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE;
    return false;
}

/* Between frames only. */
static void peer_make_noise(struct peer_connection *c)
{
    const struct peer_script *script = &c->peer->script;
    const uint8_t *out;
    size_t size;
    if (script->noise_ms == 0 || !c->h2 || clock_monotonic_ns() < c->noise_ns)
        return;
    peer_output(c, &out, &size);
    if (size > 0)
        return;
    c->noise_ns = clock_monotonic_ns() + script->noise_ms * UINT64_C(1000000);
    for (const char *p = script->noise; p && *p; p += 2) {
        unsigned byte;
        ASSERT(sscanf(p, "%2x", &byte) == 1);
        peer_say(c, &(uint8_t){(uint8_t)byte}, 1);
    }
    if (c->trickle > 0) {
        c->drop = true;
        h2_server_resume(c->h2, c->trickle);
    }
}

static void peer_talk(struct peer_connection *c)
{
    enum { READ_SIZE = 16 << 10 };
    uint8_t *buffer = malloc(READ_SIZE);
    ASSERT(buffer);
    while (!c->ending && !atomic_load(&c->peer->stop)) {
        bool blocked;
        peer_make_noise(c);
        bool moved = peer_read(c, buffer, READ_SIZE);
        moved |= !c->ending && peer_write(c, &blocked);
        if (moved || c->ending)
            continue;
        struct pollfd fd = {.fd = c->fd, .events = (short)((c->deaf ? 0 : POLLIN) | (blocked ? POLLOUT : 0))};
        (void)poll(&fd, 1, 20);
    }
    free(buffer);
}

static bool peer_handshake(struct peer_connection *c)
{
    for (int code; (code = SSL_accept(c->ssl)) != 1;) {
        int why = SSL_get_error(c->ssl, code);
        if ((why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) || atomic_load(&c->peer->stop))
            return false;
        struct pollfd fd = {.fd = c->fd, .events = why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT};
        (void)poll(&fd, 1, 20);
    }
    pthread_mutex_lock(&c->peer->lock);
    c->peer->handshakes++;
    pthread_mutex_unlock(&c->peer->lock);
    return true;
}

static void *peer_connection_run(void *argument)
{
    struct peer_connection *c = argument;
    struct peer *p = c->peer;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    http_head_init(&c->head, HTTP_REQUEST);
    c->piece = p->script.piece;
    if (p->script.plain && p->script.raw && send(c->fd, p->script.raw, strlen(p->script.raw), MSG_NOSIGNAL) < 0)
        c->ending = true;
    while ((p->script.plain || p->script.no_handshake) && !atomic_load(&p->stop))
        usleep(5000);
    if (!p->script.plain && !p->script.no_handshake) {
        c->ssl = SSL_new(p->context);
        ASSERT(c->ssl && SSL_set_fd(c->ssl, c->fd) == 1);
        if (peer_handshake(c))
            peer_talk(c);
        (void)SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    h2_server_free(c->h2);
    http_head_deinit(&c->head);
    buffer_deinit(&c->body);
    buffer_deinit(&c->out);
    close(c->fd);
    pthread_mutex_lock(&p->lock);
    p->ended++;
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void *peer_listen_run(void *argument)
{
    struct peer *p = argument;
    while (!atomic_load(&p->stop)) {
        struct pollfd fd = {.fd = p->listening, .events = POLLIN};
        if (poll(&fd, 1, 20) != 1)
            continue;
        int got = accept4(p->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (got < 0)
            continue;
        int one = 1;
        (void)setsockopt(got, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        ASSERT(p->started < PEER_CONNECTIONS_MAX);
        struct peer_connection *c = &p->connections[p->started];
        *c = (struct peer_connection){.peer = p, .fd = got, .body = BUFFER_INIT(1 << 20), .out = BUFFER_INIT(1 << 20)};
        pthread_mutex_lock(&p->lock);
        p->accepted++;
        pthread_mutex_unlock(&p->lock);
        ASSERT(pthread_create(&c->thread, NULL, peer_connection_run, c) == 0);
        p->started++;
    }
    return NULL;
}

static int peer_select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size, const unsigned char *in,
                                unsigned in_size, void *user)
{
    static const unsigned char h2[] = "\x02h2";
    (void)ssl;
    (void)user;
    if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_size, h2, 3, in, in_size) == OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_OK;
    return SSL_TLSEXT_ERR_NOACK;
}

static void peer_make_certificate(struct peer *p)
{
    uint8_t digest[CERTIFICATE_FINGERPRINT_SIZE];
    unsigned digest_size;
    X509V3_CTX names;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    ASSERT(key && x && X509_set_version(x, 2) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    ASSERT(X509_set_pubkey(x, key) == 1);
    X509_NAME *name = X509_get_subject_name(x);
    ASSERT(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0) == 1);
    ASSERT(X509_set_issuer_name(x, name) == 1);
    X509V3_set_ctx(&names, x, x, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &names, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    ASSERT(extension && X509_add_ext(x, extension, -1) == 1);
    X509_EXTENSION_free(extension);
    ASSERT(X509_sign(x, key, EVP_sha256()) > 0);
    ASSERT(X509_digest(x, EVP_sha256(), digest, &digest_size) == 1);
    certificate_fingerprint_text(digest, p->fingerprint);
    ASSERT(SSL_CTX_use_certificate(p->context, x) == 1 && SSL_CTX_use_PrivateKey(p->context, key) == 1);
    EVP_PKEY_free(key);
    p->certificate = x;
}

static void peer_start(struct peer *p, const struct peer_script *script)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    *p = (struct peer){.script = *script, .log = BUFFER_INIT(PEER_LOG_MAX)};
    if (script->other_address)
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    if (!peer_pattern) {
        peer_pattern = make_splitmix64(PEER_STREAM_MAX, 9);
        ASSERT(peer_pattern);
    }
    pthread_mutex_init(&p->lock, NULL);
    p->context = SSL_CTX_new(TLS_server_method());
    ASSERT(p->context);
    SSL_CTX_set_mode(p->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (script->prefers_h2)
        SSL_CTX_set_alpn_select_cb(p->context, peer_select_protocol, NULL);
    peer_make_certificate(p);
    p->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(p->listening >= 0);
    if (script->receive_buffer > 0)
        ASSERT(setsockopt(p->listening, SOL_SOCKET, SO_RCVBUF, &script->receive_buffer, sizeof(int)) == 0);
    ASSERT(bind(p->listening, (const struct sockaddr *)&address, sizeof address) == 0);
    ASSERT(listen(p->listening, 64) == 0);
    ASSERT(getsockname(p->listening, (struct sockaddr *)&address, &size) == 0);
    p->port = ntohs(address.sin_port);
    ASSERT(pthread_create(&p->thread, NULL, peer_listen_run, p) == 0);
}

/* All clients must have gone, or be about to; counts and log stay until the peer is dropped. */
static void peer_stop(struct peer *p)
{
    atomic_store(&p->stop, true);
    pthread_join(p->thread, NULL);
    for (unsigned i = 0; i < p->started; i++)
        pthread_join(p->connections[i].thread, NULL);
    close(p->listening);
    SSL_CTX_free(p->context);
    X509_free(p->certificate);
}

static void peer_drop(struct peer *p)
{
    buffer_deinit(&p->log);
    pthread_mutex_destroy(&p->lock);
}

/* While the peer runs. */
static UNUSED unsigned peer_count(struct peer *p, const unsigned *count)
{
    pthread_mutex_lock(&p->lock);
    unsigned value = *count;
    pthread_mutex_unlock(&p->lock);
    return value;
}

/* What was heard so far, in static memory. */
static UNUSED const char *peer_heard(struct peer *p)
{
    static char text[PEER_LOG_MAX + 1];
    pthread_mutex_lock(&p->lock);
    if (p->log.size > 0)
        memcpy(text, p->log.data, p->log.size);
    text[p->log.size] = '\0';
    pthread_mutex_unlock(&p->lock);
    return text;
}

static UNUSED unsigned peer_times(const char *text, const char *word)
{
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, word)); at += strlen(word))
        count++;
    return count;
}

static UNUSED void check_says(const char *text, const char *words)
{
    if (!strstr(text, words))
        fprintf(stderr, "'%s' lacks '%s'\n", text, words);
    assert_non_null(strstr(text, words));
}

static UNUSED void check_ok(enum status status, const struct error *err)
{
    if (status != OK)
        fprintf(stderr, "%s: %s\n", status_name(status), err->text);
    assert_int_equal(status, OK);
}

/* What flow has, for tests of what may not start threads. */
struct thread {
    pthread_t id;
    void (*body)(void *argument);
    void *argument;
};

static void *peer_thread_run(void *argument)
{
    struct thread *thread = argument;
    thread->body(thread->argument);
    return NULL;
}

static enum status peer_thread_start(const char *name, void (*body)(void *argument), void *argument,
                                     struct thread **out, struct error *err)
{
    (void)name;
    (void)err;
    struct thread *thread = malloc(sizeof *thread);
    ASSERT(thread);
    *thread = (struct thread){.body = body, .argument = argument};
    ASSERT(pthread_create(&thread->id, NULL, peer_thread_run, thread) == 0);
    *out = thread;
    return OK;
}

static void peer_thread_join(struct thread *thread)
{
    if (thread)
        pthread_join(thread->id, NULL);
    free(thread);
}

static UNUSED const struct threads peer_threads = {.start = peer_thread_start, .join = peer_thread_join};

/* An account at this peer, which is known by fingerprint. */
static UNUSED struct account_options peer_account(const struct peer *p, const char *auth_id)
{
    struct account_options options = {.secret = "s3cr3t", .fingerprint = p->fingerprint};
    struct error err;
    const char *host = p->script.other_address ? "127.0.0.2" : "127.0.0.1";
    ASSERT(repository_make(auth_id, host, p->port, "store1", &options.repository, &err) == OK);
    return options;
}

#endif
