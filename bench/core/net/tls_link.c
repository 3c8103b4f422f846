#include "net/tls_link.h"

#include "base/clock.h"
#include "net/curl_functions.h"
#include "wire/token_bucket.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

enum {
    KEEPALIVE_IDLE_S = 120,
    CONNECT_SLICE_MS = 1000,
    ROUND_TRIPS_TO_OPEN = 2, /* TCP, TLS 1.3 */
    RECORD_SIZE_MAX = 16 << 10,
    RECORD_OVERHEAD = 22, /* header 5, content type 1, tag 16 */
    NS_PER_MS = 1000000,
};

struct tls_link {
    const struct curl_functions *curl;
    CURLM *multi; /* `easy` stays in it: with perform, connecting could be interrupted once a second only */
    CURL *easy;
    int fd;
    bool limited;
    struct token_bucket sending, receiving;
    const void *blocked; /* what the last send could not pass on */
    size_t blocked_size;
    uint64_t acknowledged; /* bytes, when last looked at */
    uint64_t written;      /* of those up to here acknowledgements count */
    uint64_t taken;        /* that did */
    struct net_stats stats;
    char peer[REPOSITORY_FULL_SIZE];
    char detail[CURL_ERROR_SIZE];
};

/* Older kernels fill in less, and leave zeros. */
static struct tcp_info kernel_counts(int descriptor)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        return (struct tcp_info){0};
    return info;
}

/* What a proxy says to CONNECT has no place on our standard output. */
static size_t discard(char *data, size_t size, size_t count, void *user)
{
    (void)data;
    (void)user;
    return size * count;
}

static bool set_options(struct tls_link *l, const struct tls_link_options *o)
{
    char url[REPOSITORY_FULL_SIZE];
    long verify_peer = o->fingerprint ? 0 : 1;
    long verify_host = o->fingerprint ? 0 : 2;
    bool failed = false;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_URL, repository_url(o->repository, url)) != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_CONNECT_ONLY, 1L) != CURLE_OK;
    /* A server that selects h2 would make libcurl itself speak it. */
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_SSL_ENABLE_ALPN, 0L) != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_ERRORBUFFER, l->detail) != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_NOSIGNAL, 1L) != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_timeout_ms) != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_TCP_NODELAY, 1L) != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_TCP_KEEPALIVE, 1L) != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_IDLE_S) != CURLE_OK;
    /* Empty, not unset: variables of the environment decide nothing here. */
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_PROXY, o->proxy ? o->proxy : "") != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_NOPROXY, "") != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_USERAGENT, "pxarbench") != CURLE_OK; /* for proxies */
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_HEADERFUNCTION, discard) != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_WRITEFUNCTION, discard) != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_SSL_VERIFYPEER, verify_peer) != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_SSL_VERIFYHOST, verify_host) != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_SSL_SESSIONID_CACHE, 0L) != CURLE_OK;
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_CERTINFO, o->fingerprint ? 1L : 0L) != CURLE_OK;
    /* Reading the system's authorities takes 8 ms, also when none is asked. */
    if (o->fingerprint)
        failed |= l->curl->easy_setopt(l->easy, CURLOPT_CAINFO, NULL) != CURLE_OK ||
                  l->curl->easy_setopt(l->easy, CURLOPT_CAPATH, NULL) != CURLE_OK;
    else if (o->ca_file)
        failed |= l->curl->easy_setopt(l->easy, CURLOPT_CAINFO, o->ca_file) != CURLE_OK;
#if LIBCURL_VERSION_NUM >= 0x075700
    /* A name server that does not answer must not hold up a close: the resolver's thread is left to itself. */
    failed |= l->curl->easy_setopt(l->easy, CURLOPT_QUICK_EXIT, 1L) != CURLE_OK;
#endif
    return !failed;
}

/* libcurl's words, or the system's, on one line. */
static const char *detail_of(struct tls_link *l, CURLcode code)
{
    long number = 0;
    if (code == CURLE_COULDNT_CONNECT && l->curl->easy_getinfo(l->easy, CURLINFO_OS_ERRNO, &number) == CURLE_OK &&
        number > 0 && number < 4096) {
        char text[128];
        snprintf(l->detail, sizeof l->detail, "%s", strerror_r((int)number, text, sizeof text));
    }
    if (l->detail[0] == '\0')
        snprintf(l->detail, sizeof l->detail, "%s", l->curl->easy_strerror(code));
    for (char *p = l->detail; *p; p++)
        if (*p < ' ' || *p == 0x7f)
            *p = ' ';
    return l->detail;
}

static enum status judge_connect(struct tls_link *l, const struct tls_link_options *o, CURLcode code, struct error *err)
{
    switch (code) {
    case CURLE_OK: return OK;
    case CURLE_OUT_OF_MEMORY: return fail(err, ERR_MEMORY, "out of memory for a connection to %s", l->peer);
    case CURLE_COULDNT_RESOLVE_HOST:
        return fail(err, ERR_NETWORK, "cannot connect to %s: there is no address for that name: check the repository",
                    l->peer);
    case CURLE_COULDNT_RESOLVE_PROXY:
        return fail(err, ERR_NETWORK, "cannot connect to %s: there is no address for the proxy: check ALL_PROXY",
                    l->peer);
    case CURLE_OPERATION_TIMEDOUT:
        return fail(err, ERR_NETWORK, "cannot connect to %s: no answer within %u ms", l->peer, o->connect_timeout_ms);
    case CURLE_PEER_FAILED_VERIFICATION:
        return fail(err, ERR_REFUSED,
                    "the certificate of %s is not trusted (%s): if the server is the right one, give the fingerprint "
                    "that it shows",
                    l->peer, detail_of(l, code));
    case CURLE_SSL_CACERT_BADFILE:
        return fail(err, ERR_USAGE, "cannot use the certificate authorities for %s: %s", l->peer, detail_of(l, code));
    case CURLE_SSL_CONNECT_ERROR:
        return fail(err, ERR_NETWORK, "cannot speak TLS with %s: %s: is this the port of the backup server?", l->peer,
                    detail_of(l, code));
    default:
        return fail(err, ERR_NETWORK, "cannot connect to %s%s: %s", l->peer,
                    o->proxy && *o->proxy ? " through the proxy" : "", detail_of(l, code));
    }
}

/* Until the handshake is over. */
static enum status connect_link(struct tls_link *l, const struct tls_link_options *o, struct net_wake *wake,
                                struct error *err)
{
    struct curl_waitfd extra = {.fd = wake ? wake->fd : -1, .events = CURL_WAIT_POLLIN};
    /* libcurl has the same limit, but counts some phases anew. */
    uint64_t until_ns = clock_monotonic_ns() + ((uint64_t)o->connect_timeout_ms + CONNECT_SLICE_MS) * NS_PER_MS;
    if (l->curl->multi_add_handle(l->multi, l->easy) != CURLM_OK)
        return fail(err, ERR_MEMORY, "out of memory for a connection to %s", l->peer);
    for (int running = 1;;) {
        CURLMcode code = l->curl->multi_perform(l->multi, &running);
        if (code != CURLM_OK)
            return fail(err, ERR_NETWORK, "cannot connect to %s: %s", l->peer, l->curl->multi_strerror(code));
        if (running == 0)
            break;
        if (clock_monotonic_ns() >= until_ns)
            return judge_connect(l, o, CURLE_OPERATION_TIMEDOUT, err);
        code = l->curl->multi_poll(l->multi, &extra, wake ? 1 : 0, CONNECT_SLICE_MS, NULL);
        if (code != CURLM_OK)
            return fail(err, ERR_NETWORK, "cannot connect to %s: %s", l->peer, l->curl->multi_strerror(code));
        if (net_wake_take(wake))
            return fail(err, ERR_CANCELLED, "stopped while connecting to %s", l->peer);
    }
    int left;
    const CURLMsg *message = l->curl->multi_info_read(l->multi, &left);
    if (!message || message->msg != CURLMSG_DONE)
        return fail(err, ERR_NETWORK, "cannot connect to %s", l->peer);
    TRY(judge_connect(l, o, message->data.result, err));
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (l->curl->easy_getinfo(l->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD)
        return fail(err, ERR_NETWORK, "cannot connect to %s: the connection ended at once", l->peer);
    l->fd = fd;
    return OK;
}

/* SHA-256 of the server's own certificate in DER. */
static enum status leaf_fingerprint(struct tls_link *l, uint8_t out[CERTIFICATE_FINGERPRINT_SIZE], struct error *err)
{
    struct curl_certinfo *info = NULL;
    const char *text = NULL;
    if (l->curl->easy_getinfo(l->easy, CURLINFO_CERTINFO, &info) == CURLE_OK && info && info->num_of_certs > 0)
        for (const struct curl_slist *field = info->certinfo[0]; field; field = field->next)
            if (strncmp(field->data, "Cert:", 5) == 0)
                text = field->data + 5;
    if (!text)
        return fail(err, ERR_UNSUPPORTED, "this libcurl does not hand out the certificate of %s", l->peer);
    BIO *bio = BIO_new_mem_buf(text, -1);
    char *name = NULL;
    char *header = NULL;
    unsigned char *der = NULL;
    long size = 0;
    unsigned digest_size = 0;
    bool good = bio && PEM_read_bio(bio, &name, &header, &der, &size) == 1 && size > 0 &&
                EVP_Digest(der, (size_t)size, out, &digest_size, EVP_sha256(), NULL) == 1 &&
                digest_size == CERTIFICATE_FINGERPRINT_SIZE;
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);
    BIO_free(bio);
    return good ? OK : fail(err, ERR_FORMAT, "the certificate of %s cannot be read", l->peer);
}

static enum status check_fingerprint(struct tls_link *l, const uint8_t *expected, struct error *err)
{
    uint8_t found[CERTIFICATE_FINGERPRINT_SIZE];
    char found_text[CERTIFICATE_FINGERPRINT_TEXT_SIZE];
    char expected_text[CERTIFICATE_FINGERPRINT_TEXT_SIZE];
    TRY(leaf_fingerprint(l, found, err));
    if (memcmp(found, expected, sizeof found) != 0)
        return fail(err, ERR_MISMATCH,
                    "the certificate of %s has the fingerprint %s, expected %s: nothing was sent; if the server's "
                    "certificate was renewed, give the new fingerprint",
                    l->peer, certificate_fingerprint_text(found, found_text),
                    certificate_fingerprint_text(expected, expected_text));
    return OK;
}

static enum status open_with(struct tls_link *l, const struct tls_link_options *o, struct net_wake *wake,
                             struct error *err)
{
    TRY(curl_functions_load(&l->curl, err));
    if (net_wake_stopped(wake))
        return fail(err, ERR_CANCELLED, "stopped before connecting to %s", l->peer);
    l->multi = l->curl->multi_init();
    l->easy = l->curl->easy_init();
    if (!l->multi || !l->easy || !set_options(l, o))
        return fail(err, ERR_MEMORY, "cannot prepare a connection to %s", l->peer);
    TRY(connect_link(l, o, wake, err));
    l->detail[0] = '\0';
    if (o->fingerprint)
        TRY(check_fingerprint(l, o->fingerprint, err));
    uint64_t now_ns = clock_monotonic_ns();
    l->limited = o->rate > 0;
    token_bucket_init(&l->sending, o->rate, o->burst, now_ns);
    token_bucket_init(&l->receiving, o->rate, o->burst, now_ns);
    l->acknowledged = l->written = kernel_counts(l->fd).tcpi_bytes_acked;
    l->stats.connections = 1;
    l->stats.round_trips = ROUND_TRIPS_TO_OPEN + (o->proxy && *o->proxy ? 1U : 0U);
    return OK;
}

enum status tls_link_open(const struct tls_link_options *options, struct net_wake *wake, struct tls_link **out,
                          struct error *err)
{
    struct tls_link *l = calloc(1, sizeof *l);
    if (!l)
        return fail(err, ERR_MEMORY, "out of memory for a connection");
    l->fd = -1;
    repository_authority(options->repository, l->peer);
    enum status status = open_with(l, options, wake, err);
    if (status != OK) {
        tls_link_close(l);
        return status;
    }
    *out = l;
    return OK;
}

void tls_link_close(struct tls_link *l)
{
    if (!l)
        return;
    if (l->multi && l->easy)
        l->curl->multi_remove_handle(l->multi, l->easy);
    if (l->easy)
        l->curl->easy_cleanup(l->easy);
    if (l->multi)
        l->curl->multi_cleanup(l->multi);
    free(l);
}

int tls_link_descriptor(const struct tls_link *l)
{
    return l->fd;
}

/* Bytes of TCP for these of ours. */
static uint64_t on_wire(size_t size)
{
    return size + (size + RECORD_SIZE_MAX - 1) / RECORD_SIZE_MAX * RECORD_OVERHEAD;
}

static bool pauses(const struct tls_link *l, const struct token_bucket *bucket)
{
    return l->limited && token_bucket_wait(bucket, clock_monotonic_ns()) > 0;
}

static void pass(const struct tls_link *l, struct token_bucket *bucket, size_t size)
{
    if (l->limited)
        (void)token_bucket_pass(bucket, on_wire(size), clock_monotonic_ns());
}

enum status tls_link_receive(struct tls_link *l, void *data, size_t size, size_t *out_size, struct error *err)
{
    *out_size = 0;
    if (pauses(l, &l->receiving))
        return OK;
    size_t got = 0;
    CURLcode code = l->curl->easy_recv(l->easy, data, size, &got);
    if (code == CURLE_AGAIN)
        return OK;
    if (code != CURLE_OK)
        return fail(err, ERR_NETWORK, "the connection to %s broke: %s", l->peer, detail_of(l, code));
    if (got == 0)
        return fail(err, ERR_CLOSED, "%s closed the connection", l->peer);
    l->stats.received += got;
    pass(l, &l->receiving, got);
    *out_size = got;
    return OK;
}

enum status tls_link_send(struct tls_link *l, const void *data, size_t size, size_t *out_size, struct error *err)
{
    *out_size = 0;
    /* Part of what was blocked may be on its way already. */
    ASSERT(!l->blocked || (l->blocked == data && size >= l->blocked_size));
    if (size == 0 || pauses(l, &l->sending))
        return OK;
    size_t sent = 0;
    size_t piece = size < TLS_LINK_SEND_MAX ? size : TLS_LINK_SEND_MAX;
    CURLcode code = l->curl->easy_send(l->easy, data, piece, &sent);
    if (code == CURLE_AGAIN) {
        l->blocked = data;
        l->blocked_size = piece;
        return OK;
    }
    l->blocked = NULL;
    if (code != CURLE_OK)
        return fail(err, ERR_NETWORK, "the connection to %s broke: %s", l->peer, detail_of(l, code));
    l->stats.sent += sent;
    pass(l, &l->sending, sent);
    *out_size = sent;
    return OK;
}

/* Sooner of the two. */
static uint64_t sooner(uint64_t until_ns, uint64_t now_ns, uint64_t pause_ns)
{
    return pause_ns < until_ns - now_ns ? now_ns + pause_ns : until_ns;
}

enum status tls_link_wait(struct tls_link *l, bool wants_send, uint64_t until_ns, struct net_wake *wake,
                          struct error *err)
{
    struct pollfd fds[2] = {{.fd = l->fd}, {.fd = wake ? wake->fd : -1, .events = POLLIN}};
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t end_ns = until_ns;
    if (until_ns <= now_ns)
        return net_wake_stopped(wake) ? fail(err, ERR_CANCELLED, "stopped") : OK;
    uint64_t receive_pause_ns = token_bucket_wait(&l->receiving, now_ns);
    uint64_t send_pause_ns = wants_send ? token_bucket_wait(&l->sending, now_ns) : 0;
    if (receive_pause_ns > 0)
        end_ns = sooner(end_ns, now_ns, receive_pause_ns);
    else
        fds[0].events |= POLLIN;
    if (send_pause_ns > 0)
        end_ns = sooner(end_ns, now_ns, send_pause_ns);
    else if (wants_send)
        fds[0].events |= POLLOUT;
    bool throttled = receive_pause_ns > 0 || send_pause_ns > 0;
    /* With nothing asked for, a broken connection would still end the wait again and again. */
    if (fds[0].events == 0)
        fds[0].fd = -1;
    uint64_t left_ns = end_ns - now_ns;
    const struct timespec left = {.tv_sec = (time_t)(left_ns / 1000000000), .tv_nsec = (long)(left_ns % 1000000000)};
    int count = ppoll(fds, 2, end_ns == UINT64_MAX ? NULL : &left, NULL);
    if (count < 0 && errno != EINTR)
        return fail(err, ERR_IO, "wait for the connection to %s", l->peer);
    if (throttled)
        l->stats.throttled_ns += clock_monotonic_ns() - now_ns;
    if (net_wake_take(wake))
        return fail(err, ERR_CANCELLED, "stopped");
    return OK;
}

struct net_stats *tls_link_stats(struct tls_link *l)
{
    return &l->stats;
}

bool tls_link_is_idle(struct tls_link *l)
{
    uint8_t byte;
    size_t size = 0;
    return l->curl->easy_recv(l->easy, &byte, 1, &size) == CURLE_AGAIN;
}

uint64_t tls_link_taken(struct tls_link *l, bool more)
{
    uint64_t acknowledged = kernel_counts(l->fd).tcpi_bytes_acked;
    uint64_t end = acknowledged < l->written ? acknowledged : l->written;
    if (end > l->acknowledged)
        l->taken += end - l->acknowledged;
    l->acknowledged = acknowledged;
    int queued = 0;
    if (more && ioctl(l->fd, SIOCOUTQ, &queued) == 0)
        l->written = acknowledged + (uint64_t)queued;
    return l->taken;
}

void tls_link_add_wire(int descriptor, struct net_stats *stats)
{
    const struct tcp_info info = kernel_counts(descriptor);
    stats->wire_sent += info.tcpi_bytes_sent - info.tcpi_bytes_retrans;
    stats->wire_received += info.tcpi_bytes_received;
}

void sigpipe_block(struct sigpipe_state *state)
{
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    state->was_blocked = sigismember(&before, SIGPIPE) == 1;
}

void sigpipe_restore(const struct sigpipe_state *state)
{
    const struct timespec now = {0};
    sigset_t set;
    if (state->was_blocked)
        return;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    while (sigtimedwait(&set, NULL, &now) == SIGPIPE)
        ;
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
