/* The server's end of TLS over a link, by OpenSSL: 1.2 or later, no ALPN, no renegotiation; and its certificate, given
 * or made and signed by itself. A context may be shared between threads, a connection is for one. Source:
 * bench/spec/protocol.md 4, 14.1. */
#ifndef PXB_SERVER_TLS_H
#define PXB_SERVER_TLS_H

#include "server/link.h"
#include "wire/names.h"

struct tls_context;
/* PEM files. ERR_FORMAT, with OpenSSL's reason: not a certificate with its key. */
MUST_CHECK enum status tls_context_load(const char *certificate_file, const char *key_file, struct tls_context **out,
                                        struct error *err);
/* CERTIFICATE and KEY ("certificate.pem", "key.pem", the latter with mode 0600) in the directory, which is made with
 * mode 0700; both are made if either is missing. */
MUST_CHECK enum status tls_context_own(const char *directory, struct tls_context **out, struct error *err);
void tls_context_free(struct tls_context *c); /* accepts NULL */
const char *tls_context_fingerprint(const struct tls_context *c);

struct tls;
/* `link` is borrowed. */
MUST_CHECK enum status tls_new(struct tls_context *c, struct link *link, struct tls **out, struct error *err);
void tls_free(struct tls *t); /* accepts NULL */

/* The time that link calls are made with, until the next call of this. */
void tls_set_time(struct tls *t, uint64_t now);
/* OK: done. ERR_CLOSED: wait for more from the link. ERR_NETWORK: no TLS, or the client went away. */
MUST_CHECK enum status tls_handshake(struct tls *t, struct error *err);
/* OK with *out_size > 0. ERR_CLOSED: nothing now. ERR_NETWORK: the end, of either kind. */
MUST_CHECK enum status tls_read(struct tls *t, uint8_t *out, size_t size, size_t *out_size, struct error *err);
/* One record of at most TLS_RECORD_MAX bytes; *out_size 0: the link is full. */
enum { TLS_RECORD_MAX = 16 << 10 };
MUST_CHECK enum status tls_write(struct tls *t, const uint8_t *data, size_t size, size_t *out_size, struct error *err);
/* Whether a write would take something. */
bool tls_has_room(const struct tls *t);
/* Says good-bye, without waiting for the answer. */
void tls_shutdown(struct tls *t);

#endif
