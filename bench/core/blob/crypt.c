#include "blob/crypt.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { ID_KEY_ITERATIONS = 10, PAIRS_SHORT = 8 };

const char *const crypt_mode_names[] = {
    [CRYPT_NONE] = "none", [CRYPT_ENCRYPT] = "encrypt", [CRYPT_SIGN_ONLY] = "sign-only", NULL};

/* SHA-256 of "Proxmox Backup Encryption Key Fingerprint". */
static const uint8_t fingerprint_input[FINGERPRINT_SIZE] = {
    0x6e, 0xd0, 0xef, 0x77, 0x47, 0x1f, 0xff, 0x4d, 0x55, 0xc7, 0xa8, 0xfe, 0x4a, 0x9d, 0xb6, 0x21,
    0x61, 0x40, 0x7f, 0x13, 0x4c, 0x72, 0x5d, 0xdf, 0x30, 0x99, 0x2d, 0x25, 0xec, 0x45, 0xed, 0x26,
};

/* ---- keys from passphrases ---- */

static enum status fail_openssl(struct error *err, const char *what)
{
    char text[256] = "no reason given";
    unsigned long code = ERR_peek_last_error();
    if (code != 0)
        ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    return fail(err, ERR_UNSUPPORTED, "%s: OpenSSL: %s", what, text);
}

static enum status derive(const char *algorithm, const OSSL_PARAM *params, uint8_t out[CRYPT_KEY_SIZE],
                          struct error *err)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, algorithm, NULL);
    EVP_KDF_CTX *context = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    bool derived = context && EVP_KDF_derive(context, out, CRYPT_KEY_SIZE, params) == 1;
    EVP_KDF_CTX_free(context); /* zeroes its copies */
    EVP_KDF_free(kdf);
    if (derived)
        return OK;
    OPENSSL_cleanse(out, CRYPT_KEY_SIZE);
    return fail_openssl(err, algorithm);
}

/* OSSL_PARAM has no const; nothing is written through it here. */
static void *unconst(const void *data)
{
    return (void *)(uintptr_t)data;
}

enum status crypt_pbkdf2(const void *secret, size_t secret_size, const uint8_t *salt, size_t salt_size,
                         uint64_t iterations, uint8_t out[CRYPT_KEY_SIZE], struct error *err)
{
    char digest[] = "SHA256";
    int any_cost = 1; /* ten iterations are below what OpenSSL may insist on */
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD, unconst(secret), secret_size),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, unconst(salt), salt_size),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_ITER, &iterations),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_PKCS5, &any_cost),
        OSSL_PARAM_construct_end(),
    };
    return derive("PBKDF2", params, out, err);
}

enum status crypt_scrypt(const void *secret, size_t secret_size, const uint8_t *salt, size_t salt_size, uint64_t n,
                         uint32_t r, uint32_t p, uint64_t memory_max, uint8_t out[CRYPT_KEY_SIZE], struct error *err)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD, unconst(secret), secret_size),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, unconst(salt), salt_size),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
        OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
        OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &memory_max),
        OSSL_PARAM_construct_end(),
    };
    return derive("SCRYPT", params, out, err);
}

/* ---- the config ---- */

enum status crypt_config_init(struct crypt_config *c, const uint8_t key[CRYPT_KEY_SIZE], struct error *err)
{
    static const uint8_t salt[] = {'_', 'i', 'd', '_', 'k', 'e', 'y'};
    enum status status = crypt_pbkdf2(key, CRYPT_KEY_SIZE, salt, sizeof salt, ID_KEY_ITERATIONS, c->id_key, err);
    if (status != OK) {
        crypt_config_deinit(c);
        return status;
    }
    memmove(c->key, key, CRYPT_KEY_SIZE); /* it may be there already */
    struct digest fingerprint;
    crypt_digest_of(c, fingerprint_input, sizeof fingerprint_input, &fingerprint);
    memcpy(c->fingerprint, fingerprint.bytes, sizeof c->fingerprint);
    return OK;
}

void crypt_config_deinit(struct crypt_config *c)
{
    OPENSSL_cleanse(c, sizeof *c);
}

static void pairs_text(const uint8_t *bytes, size_t count, char *out)
{
    for (size_t i = 0; i < count; i++) {
        hex_encode(bytes + i, 1, out + 3 * i);
        out[3 * i + 2] = i + 1 < count ? ':' : '\0';
    }
}

const char *fingerprint_text(const uint8_t fingerprint[FINGERPRINT_SIZE], char out[FINGERPRINT_TEXT_SIZE])
{
    pairs_text(fingerprint, FINGERPRINT_SIZE, out);
    return out;
}

const char *fingerprint_short(const uint8_t fingerprint[FINGERPRINT_SIZE], char out[FINGERPRINT_SHORT_SIZE])
{
    pairs_text(fingerprint, PAIRS_SHORT, out);
    return out;
}

bool fingerprint_parse(const char *text, uint8_t out[FINGERPRINT_SIZE])
{
    if (strlen(text) != FINGERPRINT_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < FINGERPRINT_SIZE; i++)
        if (!hex_decode(text + 3 * i, 2, out + i, 1) || (i + 1 < FINGERPRINT_SIZE && text[3 * i + 2] != ':'))
            return false;
    return true;
}

/* ---- digests and signatures ---- */

void crypt_digest_finish(const struct crypt_config *c, struct digest_state *s, struct digest *out)
{
    if (c)
        digest_update(s, c->id_key, sizeof c->id_key);
    digest_finish(s, out);
}

void crypt_digest_of(const struct crypt_config *c, const void *data, size_t size, struct digest *out)
{
    if (!c) {
        digest_of(data, size, out);
        return;
    }
    /* As digest_of: the signature has no way to say "out of memory" for a few hundred bytes. */
    struct digest_state *state = NULL;
    enum status made = digest_new(&state, NULL);
    ASSERT(made == OK);
    digest_begin(state);
    digest_update(state, data, size);
    crypt_digest_finish(c, state, out);
    digest_free(state);
}

enum status crypt_sign(const struct crypt_config *c, const void *data, size_t size, struct digest *out,
                       struct error *err)
{
    size_t out_size = 0;
    const uint8_t *signed_by = EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, c->id_key, sizeof c->id_key, data, size,
                                         out->bytes, sizeof out->bytes, &out_size);
    if (!signed_by || out_size != sizeof out->bytes)
        return fail_openssl(err, "HMAC");
    return OK;
}

bool crypt_signature_equal(const struct digest *a, const struct digest *b)
{
    return CRYPTO_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* ---- the cipher ---- */

struct crypt_cipher {
    EVP_CIPHER_CTX *context;
};

/* Once per process, as fetching is slow. */
static EVP_CIPHER *aes;
static pthread_once_t aes_fetched = PTHREAD_ONCE_INIT;

static void aes_fetch(void)
{
    aes = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
}

enum status crypt_cipher_new(struct crypt_cipher **out, struct error *err)
{
    pthread_once(&aes_fetched, aes_fetch);
    if (!aes)
        return fail_openssl(err, "AES-256-GCM");
    struct crypt_cipher *c = calloc(1, sizeof *c);
    if (c)
        c->context = EVP_CIPHER_CTX_new();
    if (!c || !c->context) {
        crypt_cipher_free(c);
        return fail(err, ERR_MEMORY, "out of memory for a cipher");
    }
    *out = c;
    return OK;
}

void crypt_cipher_free(struct crypt_cipher *c)
{
    if (!c)
        return;
    EVP_CIPHER_CTX_free(c->context); /* zeroes the key schedule */
    free(c);
}

/* The usual IV of this cipher has 12 bytes: the length must be set before the IV is. */
static bool begin(struct crypt_cipher *c, const uint8_t *key, const uint8_t *iv, int encrypt)
{
    return EVP_CipherInit_ex2(c->context, aes, NULL, NULL, encrypt, NULL) == 1 &&
           EVP_CIPHER_CTX_ctrl(c->context, EVP_CTRL_AEAD_SET_IVLEN, CRYPT_IV_SIZE, NULL) == 1 &&
           EVP_CipherInit_ex2(c->context, NULL, key, iv, encrypt, NULL) == 1;
}

static bool update(struct crypt_cipher *c, const uint8_t *data, size_t size, uint8_t *out)
{
    int written = 0;
    ASSERT(size <= INT_MAX);
    return size == 0 || (EVP_CipherUpdate(c->context, out, &written, data, (int)size) == 1 && (size_t)written == size);
}

enum status crypt_seal(struct crypt_cipher *c, const uint8_t key[CRYPT_KEY_SIZE], const uint8_t iv[CRYPT_IV_SIZE],
                       const struct slice *slices, size_t slice_count, uint8_t *out, uint8_t out_tag[CRYPT_TAG_SIZE],
                       struct error *err)
{
    bool good = begin(c, key, iv, 1);
    size_t done = 0;
    for (size_t i = 0; i < slice_count && good; i++) {
        good = update(c, slices[i].data, slices[i].size, out + done);
        done += slices[i].size;
    }
    int written = 0;
    uint8_t none[CRYPT_TAG_SIZE]; /* GCM holds nothing back */
    good = good && EVP_CipherFinal_ex(c->context, none, &written) == 1 && written == 0 &&
           EVP_CIPHER_CTX_ctrl(c->context, EVP_CTRL_AEAD_GET_TAG, CRYPT_TAG_SIZE, out_tag) == 1;
    return good ? OK : fail_openssl(err, "encrypt");
}

enum status crypt_open(struct crypt_cipher *c, const uint8_t key[CRYPT_KEY_SIZE], const uint8_t iv[CRYPT_IV_SIZE],
                       const uint8_t tag[CRYPT_TAG_SIZE], const uint8_t *data, size_t size, uint8_t *out,
                       struct error *err)
{
    uint8_t wanted[CRYPT_TAG_SIZE], none[CRYPT_TAG_SIZE];
    int written = 0;
    memcpy(wanted, tag, sizeof wanted);
    if (!begin(c, key, iv, 0) || !update(c, data, size, out) ||
        EVP_CIPHER_CTX_ctrl(c->context, EVP_CTRL_AEAD_SET_TAG, CRYPT_TAG_SIZE, wanted) != 1)
        return fail_openssl(err, "decrypt");
    if (EVP_CipherFinal_ex(c->context, none, &written) == 1)
        return OK;
    ERR_clear_error();
    if (size > 0)
        OPENSSL_cleanse(out, size); /* what cannot be trusted is not handed on */
    return fail(err, ERR_MISMATCH, "cannot be decrypted: another key, or damaged");
}
