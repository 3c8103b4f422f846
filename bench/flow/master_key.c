#include "flow/master_key.h"

#include "flow/file_source.h"
#include "flow/protected.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

enum { PEM_SIZE_MAX = 64 << 10, TEXT_SIZE_MAX = 2 * KEY_FILE_SIZE_MAX, PKCS1_OVERHEAD = 11 };

static void pkey_free(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static void context_free(EVP_PKEY_CTX **context)
{
    EVP_PKEY_CTX_free(*context);
}

static enum status fail_openssl(struct error *err, enum status status, const char *path, const char *what)
{
    ERR_clear_error();
    return fail(err, status, "%s: %s", path, what);
}

static enum status read_pem(const char *path, struct buffer *out, struct error *err)
{
    CLEANUP(file_source_close) struct file_source file = FILE_SOURCE_INIT;
    TRY(file_source_open(&file, path, err));
    struct source source = file_source_sequential(&file);
    for (;;) {
        enum { STEP = 4096 };
        size_t got;
        TRY(buffer_reserve(out, STEP, err));
        TRY(source.read(source.context, out->data + out->size, STEP, &got, err));
        out->size += got;
        if (got == 0)
            return OK;
        if (out->size > PEM_SIZE_MAX)
            return fail(err, ERR_LIMIT, "%s: is no public key: longer than %d bytes", path, PEM_SIZE_MAX);
    }
}

static enum status load_public(const char *path, EVP_PKEY **out, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer pem = BUFFER_INIT(2 * PEM_SIZE_MAX);
    TRY(read_pem(path, &pem, err));
    BIO *memory = BIO_new_mem_buf(pem.data, (int)pem.size);
    if (!memory)
        return fail(err, ERR_MEMORY, "out of memory for a public key");
    *out = PEM_read_bio_PUBKEY(memory, NULL, NULL, NULL);
    BIO_free(memory);
    if (!*out || !EVP_PKEY_is_a(*out, "RSA"))
        return fail_openssl(err, ERR_FORMAT, path, "is no RSA public key in PEM form");
    return OK;
}

static enum status encrypt(EVP_PKEY *key, const char *path, const uint8_t *text, size_t size, struct buffer *out,
                           struct error *err)
{
    size_t modulus_size = (size_t)EVP_PKEY_get_size(key);
    if (modulus_size < size + PKCS1_OVERHEAD)
        return fail(err, ERR_LIMIT,
                    "%s: a master key of %d bits is too small for the %zu bytes of the encryption key's text: %zu bits "
                    "are needed, 3072 or 4096 are usual",
                    path, EVP_PKEY_get_bits(key), size, 8 * (size + PKCS1_OVERHEAD));
    CLEANUP(context_free) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    buffer_clear(out);
    TRY(buffer_reserve(out, modulus_size, err));
    size_t out_size = modulus_size;
    if (!context || EVP_PKEY_encrypt_init(context) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) != 1 ||
        EVP_PKEY_encrypt(context, out->data, &out_size, text, size) != 1)
        return fail_openssl(err, ERR_UNSUPPORTED, path, "OpenSSL cannot encrypt with this key");
    out->size = out_size;
    return OK;
}

static enum status wrap(const struct loaded_key *key, EVP_PKEY *public_key, const char *path, struct buffer *text,
                        struct buffer *out, struct error *err)
{
    CLEANUP(key_file_deinit) struct key_file f = {0};
    TRY(loaded_key_export(key, &f, err));
    json_cleansing_begin();
    enum status status = key_file_write(&f, KEY_FILE_COMPACT, text, err);
    json_cleansing_end();
    TRY(status);
    return encrypt(public_key, path, text->data, text->size, out, err);
}

enum status master_key_wrap(const struct loaded_key *key, const char *public_key_path, struct buffer *out,
                            struct error *err)
{
    CLEANUP(pkey_free) EVP_PKEY *public_key = NULL;
    void *memory;
    TRY(load_public(public_key_path, &public_key, err));
    TRY(protected_new(TEXT_SIZE_MAX, &memory, err));
    struct buffer text = {.data = memory, .capacity = TEXT_SIZE_MAX, .limit = TEXT_SIZE_MAX};
    enum status status = wrap(key, public_key, public_key_path, &text, out, err);
    protected_free(memory, TEXT_SIZE_MAX);
    return status;
}
