/* A TLS connection to a server, made by libcurl (addresses, proxies, certificates) and then ours byte by byte.
 *
 *   open: resolve, connect, [CONNECT at a proxy], handshake, certificate judged
 *   then: receive and send, which never block, and wait
 *
 * With a fingerprint the certificate is compared before open returns: nothing can be sent earlier. Bytes pass within
 * the account's rate, counted as they are on the wire. For one thread, on which SIGPIPE must be blocked
 * (sigpipe_block). Source: bench/spec/protocol.md 4.2, 15.1, 15.2, 16. */
#ifndef PXB_NET_TLS_LINK_H
#define PXB_NET_TLS_LINK_H

#include "net/session.h"
#include "net/wake.h"

#include <signal.h>

enum { TLS_LINK_SEND_MAX = 16 << 10, TLS_LINK_RECEIVE_SIZE = 64 << 10 };

struct tls_link_options {
    const struct repository *repository; /* host and port */
    const uint8_t *fingerprint;          /* CERTIFICATE_FINGERPRINT_SIZE bytes; NULL: authorities and host name */
    const char *ca_file;                 /* NULL: the system's */
    const char *proxy;                   /* NULL or "": none */
    unsigned connect_timeout_ms;         /* for everything up to the end of the handshake */
    uint64_t rate, burst;                /* 0: unlimited, as rate */
};

struct tls_link;
/* ERR_NETWORK: cannot be reached. ERR_REFUSED: no authority vouches for the certificate. ERR_MISMATCH: another
 * fingerprint. ERR_CANCELLED: `wake` says stop. `wake` may be NULL. */
MUST_CHECK enum status tls_link_open(const struct tls_link_options *options, struct net_wake *wake,
                                     struct tls_link **out, struct error *err);
void tls_link_close(struct tls_link *l); /* at once; accepts NULL */
int tls_link_descriptor(const struct tls_link *l);

/* OK with *out_size 0: nothing now. ERR_CLOSED: the server ended the connection. ERR_NETWORK: it broke. */
MUST_CHECK enum status tls_link_receive(struct tls_link *l, void *data, size_t size, size_t *out_size,
                                        struct error *err);
/* Takes at most TLS_LINK_SEND_MAX bytes. OK with *out_size 0: blocked; the next call must begin with the same bytes at
 * the same address, and may have more behind them. */
MUST_CHECK enum status tls_link_send(struct tls_link *l, const void *data, size_t size, size_t *out_size,
                                     struct error *err);
/* After receive gave nothing (and send was blocked or has nothing: `wants_send`): until something may move, `wake` is
 * woken or the clock says `until_ns` (UINT64_MAX: never). May return early. ERR_CANCELLED: `wake` says stop. */
MUST_CHECK enum status tls_link_wait(struct tls_link *l, bool wants_send, uint64_t until_ns, struct net_wake *wake,
                                     struct error *err);
/* Whether a connection that an answer came over is as it should be before the next request: open, and nothing there to
 * be read. If not it is to be closed: a byte of it may be lost. */
bool tls_link_is_idle(struct tls_link *l);
/* How many bytes of TCP the peer's kernel took, as far as looks (each call is one) found out. Only those count that
 * were written when `more` was last given: whether what is written by now is worth waiting for. 0 where the kernel does
 * not say. */
uint64_t tls_link_taken(struct tls_link *l, bool more);
/* Counted by the link, and by those who use it. Without what the kernel counts. */
struct net_stats *tls_link_stats(struct tls_link *l);
/* Adds what the kernel says of the descriptor's stream. Thread-safe as long as the descriptor is open. */
void tls_link_add_wire(int descriptor, struct net_stats *stats);

/* Writing to a connection that the peer has closed raises SIGPIPE, which ends a process that does not care. Ignoring it
 * for the whole process would change how output into a closed pipe ends. */
struct sigpipe_state {
    bool was_blocked;
};
void sigpipe_block(struct sigpipe_state *state);
void sigpipe_restore(const struct sigpipe_state *state); /* a signal that came meanwhile is dropped */

#endif
