/* A client's encryption key and what is done with it: who it is (id key, fingerprint), keyed digests, signatures, and
 * the cipher of blobs and key files, AES-256-GCM with IVs of 16 bytes. By OpenSSL.
 * Pure: no I/O and no entropy, IVs and salts come from the caller. A config does not change once it is made and may be
 * shared between threads; a cipher is for one thread.
 * Whoever holds a key keeps it out of core dumps and zeroes it (flow/protected.h); deinit and free here zero theirs.
 * Source: bench/spec/datastore.md 4, 5, 6.1. */
#ifndef PXB_BLOB_CRYPT_H
#define PXB_BLOB_CRYPT_H

#include "base/slab.h"
#include "chunk/digest.h"

enum {
    CRYPT_KEY_SIZE = 32,
    CRYPT_IV_SIZE = 16,
    CRYPT_TAG_SIZE = 16,
    FINGERPRINT_SIZE = 32,
    FINGERPRINT_TEXT_SIZE = 96, /* 32 pairs joined by ':', NUL */
    FINGERPRINT_SHORT_SIZE = 24 /* the first 8 of them */
};

/* How a run treats what it stores. */
enum crypt_mode {
    CRYPT_NONE,
    CRYPT_ENCRYPT,   /* chunks and blobs encrypted, manifest signed */
    CRYPT_SIGN_ONLY, /* manifest signed */
};
extern const char *const crypt_mode_names[]; /* as manifests and options have them; NULL-terminated */

struct crypt_config {
    uint8_t key[CRYPT_KEY_SIZE];
    uint8_t id_key[CRYPT_KEY_SIZE]; /* derived: for digests and signatures */
    uint8_t fingerprint[FINGERPRINT_SIZE];
};
/* ERR_UNSUPPORTED: OpenSSL lacks an algorithm. ERR_MEMORY. On failure `c` is zeroed. */
MUST_CHECK enum status crypt_config_init(struct crypt_config *c, const uint8_t key[CRYPT_KEY_SIZE], struct error *err);
void crypt_config_deinit(struct crypt_config *c); /* zeroes; accepts {0} */

/* Lower-case pairs; both return `out`. */
const char *fingerprint_text(const uint8_t fingerprint[FINGERPRINT_SIZE], char out[FINGERPRINT_TEXT_SIZE]);
const char *fingerprint_short(const uint8_t fingerprint[FINGERPRINT_SIZE], char out[FINGERPRINT_SHORT_SIZE]);
/* The whole text form, digits of either case. */
bool fingerprint_parse(const char *text, uint8_t out[FINGERPRINT_SIZE]);

/* SHA-256(data || id key); with `c` NULL the plain digest. So nothing stored with a key is ever taken for something
 * stored without. */
void crypt_digest_of(const struct crypt_config *c, const void *data, size_t size, struct digest *out);
/* Instead of digest_finish(). */
void crypt_digest_finish(const struct crypt_config *c, struct digest_state *s, struct digest *out);

/* HMAC-SHA256 under the id key. */
MUST_CHECK enum status crypt_sign(const struct crypt_config *c, const void *data, size_t size, struct digest *out,
                                  struct error *err);
/* In constant time. */
bool crypt_signature_equal(const struct digest *a, const struct digest *b);

struct crypt_cipher;
MUST_CHECK enum status crypt_cipher_new(struct crypt_cipher **out, struct error *err);
void crypt_cipher_free(struct crypt_cipher *c); /* zeroes; accepts NULL */
/* `out` takes as many bytes as the slices have. One slice may be encrypted in place. */
MUST_CHECK enum status crypt_seal(struct crypt_cipher *c, const uint8_t key[CRYPT_KEY_SIZE],
                                  const uint8_t iv[CRYPT_IV_SIZE], const struct slice *slices, size_t slice_count,
                                  uint8_t *out, uint8_t out_tag[CRYPT_TAG_SIZE], struct error *err);
/* `out` takes `size` bytes; `data` may be `out`. ERR_MISMATCH, without naming anything: the tag is another one, as with
 * another key or after damage; `out` is zeroed then. */
MUST_CHECK enum status crypt_open(struct crypt_cipher *c, const uint8_t key[CRYPT_KEY_SIZE],
                                  const uint8_t iv[CRYPT_IV_SIZE], const uint8_t tag[CRYPT_TAG_SIZE],
                                  const uint8_t *data, size_t size, uint8_t *out, struct error *err);

/* ---- keys from passphrases ---- */

/* PBKDF2-HMAC-SHA256 and scrypt; the key has CRYPT_KEY_SIZE bytes. Bounds are the caller's. ERR_UNSUPPORTED: OpenSSL
 * refuses the parameters. */
MUST_CHECK enum status crypt_pbkdf2(const void *secret, size_t secret_size, const uint8_t *salt, size_t salt_size,
                                    uint64_t iterations, uint8_t out[CRYPT_KEY_SIZE], struct error *err);
MUST_CHECK enum status crypt_scrypt(const void *secret, size_t secret_size, const uint8_t *salt, size_t salt_size,
                                    uint64_t n, uint32_t r, uint32_t p, uint64_t memory_max,
                                    uint8_t out[CRYPT_KEY_SIZE], struct error *err);

#endif
