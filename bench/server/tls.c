#include "server/tls.h"

#include "server/certificate.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

/* A record's header, padding and tag, and as much for what the handshake may add in between. */
enum { TLS_ROOM_MIN = TLS_RECORD_MAX + 4096 };

struct tls_context {
    SSL_CTX *ssl;
    BIO_METHOD *bio;
    char fingerprint[CERTIFICATE_FINGERPRINT_TEXT_SIZE];
};

struct tls {
    SSL *ssl;
    struct link *link;
    uint64_t now;
};

/* ---- OpenSSL's view of a link ---- */

static int bio_read(BIO *bio, char *out, int size)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t got = size > 0 ? link_read(t->link, (uint8_t *)out, (size_t)size, t->now) : 0;
    if (got > 0)
        return (int)got;
    if (link_ended(t->link))
        return 0;
    BIO_set_retry_read(bio);
    return -1;
}

static int bio_write(BIO *bio, const char *data, int size)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t room = link_room(t->link);
    size_t taken = size > 0 && (size_t)size < room ? (size_t)size : room;
    if (size <= 0)
        return 0;
    if (taken == 0) {
        BIO_set_retry_write(bio);
        return -1;
    }
    if (link_write(t->link, (const uint8_t *)data, taken, t->now, NULL) != OK)
        return 0;
    return (int)taken;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

/* ---- context ---- */

static enum status context_new(X509 *certificate, EVP_PKEY *key, struct tls_context **out, struct error *err)
{
    struct tls_context *c = calloc(1, sizeof *c);
    if (!c)
        return fail(err, ERR_MEMORY, "out of memory for TLS");
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    c->ssl = SSL_CTX_new(TLS_server_method());
    c->bio = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "link");
    bool good = c->ssl && c->bio && BIO_meth_set_read(c->bio, bio_read) == 1 &&
                BIO_meth_set_write(c->bio, bio_write) == 1 && BIO_meth_set_ctrl(c->bio, bio_control) == 1 &&
                BIO_meth_set_create(c->bio, bio_create) == 1 &&
                SSL_CTX_set_min_proto_version(c->ssl, TLS1_2_VERSION) == 1 &&
                SSL_CTX_use_certificate(c->ssl, certificate) == 1 && SSL_CTX_use_PrivateKey(c->ssl, key) == 1 &&
                SSL_CTX_check_private_key(c->ssl) == 1 && X509_digest(certificate, EVP_sha256(), digest, &size) == 1 &&
                size == CERTIFICATE_FINGERPRINT_SIZE;
    if (!good) {
        tls_context_free(c);
        return fail(err, ERR_FORMAT, "the server's certificate and key cannot be used: %s", openssl_reason());
    }
    SSL_CTX_set_options(c->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
    certificate_fingerprint_text(digest, c->fingerprint);
    *out = c;
    return OK;
}

enum status tls_context_load(const char *certificate_file, const char *key_file, struct tls_context **out,
                             struct error *err)
{
    *out = NULL;
    X509 *certificate = NULL;
    EVP_PKEY *key = NULL;
    enum status status = certificate_load(certificate_file, key_file, &certificate, &key, err);
    if (status == OK)
        status = context_new(certificate, key, out, err);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return status;
}

enum status tls_context_own(const char *directory, struct tls_context **out, struct error *err)
{
    *out = NULL;
    X509 *certificate = NULL;
    EVP_PKEY *key = NULL;
    enum status status = certificate_own(directory, &certificate, &key, err);
    if (status == OK)
        status = context_new(certificate, key, out, err);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return status;
}

void tls_context_free(struct tls_context *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->ssl);
    BIO_meth_free(c->bio);
    free(c);
}

const char *tls_context_fingerprint(const struct tls_context *c)
{
    return c->fingerprint;
}

/* ---- connection ---- */

enum status tls_new(struct tls_context *c, struct link *link, struct tls **out, struct error *err)
{
    *out = NULL;
    struct tls *t = calloc(1, sizeof *t);
    if (!t)
        return fail(err, ERR_MEMORY, "out of memory for a connection");
    t->link = link;
    t->ssl = SSL_new(c->ssl);
    BIO *bio = BIO_new(c->bio);
    if (!t->ssl || !bio) {
        BIO_free(bio);
        tls_free(t);
        return fail(err, ERR_MEMORY, "out of memory for a connection: %s", openssl_reason());
    }
    BIO_set_data(bio, t);
    SSL_set_bio(t->ssl, bio, bio); /* owns it */
    SSL_set_accept_state(t->ssl);
    *out = t;
    return OK;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    free(t);
}

void tls_set_time(struct tls *t, uint64_t now)
{
    t->now = now;
}

/* `result` is what the last call of OpenSSL returned. */
static enum status judge(struct tls *t, int result, const char *what, struct error *err)
{
    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return fail(err, ERR_CLOSED, "%s: later", what);
    case SSL_ERROR_ZERO_RETURN:
    case SSL_ERROR_SYSCALL: return fail(err, ERR_NETWORK, "%s: the client ended the connection", what);
    default: return fail(err, ERR_NETWORK, "%s: %s", what, openssl_reason());
    }
}

enum status tls_handshake(struct tls *t, struct error *err)
{
    ERR_clear_error();
    int result = SSL_accept(t->ssl);
    return result == 1 ? OK : judge(t, result, "TLS handshake", err);
}

enum status tls_read(struct tls *t, uint8_t *out, size_t size, size_t *out_size, struct error *err)
{
    ERR_clear_error();
    *out_size = 0;
    int result = SSL_read_ex(t->ssl, out, size, out_size);
    return result == 1 ? OK : judge(t, result, "reading", err);
}

bool tls_has_room(const struct tls *t)
{
    return link_room(t->link) >= TLS_ROOM_MIN;
}

enum status tls_write(struct tls *t, const uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    *out_size = 0;
    if (size == 0 || !tls_has_room(t))
        return OK;
    ERR_clear_error();
    if (size > TLS_RECORD_MAX)
        size = TLS_RECORD_MAX;
    int result = SSL_write_ex(t->ssl, data, size, out_size);
    return result == 1 ? OK : judge(t, result, "writing", err);
}

void tls_shutdown(struct tls *t)
{
    ERR_clear_error();
    if (SSL_is_init_finished(t->ssl) && tls_has_room(t))
        (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
}
