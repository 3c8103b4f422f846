#include "chunk/digest.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct digest_state {
    EVP_MD_CTX *context;
};

/* Fetching walks OpenSSL's providers under a lock: far too slow for every chunk, so it is done once per process. */
static EVP_MD *sha256;
static pthread_once_t sha256_fetched = PTHREAD_ONCE_INIT;

static void sha256_fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

enum status digest_new(struct digest_state **out, struct error *err)
{
    pthread_once(&sha256_fetched, sha256_fetch);
    if (!sha256)
        return fail(err, ERR_UNSUPPORTED, "this OpenSSL offers no SHA-256");
    struct digest_state *s = calloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "out of memory for a digest");
    s->context = EVP_MD_CTX_new();
    /* Allocates what the algorithm needs: digest_begin then only resets it and cannot fail. */
    if (!s->context || EVP_DigestInit_ex2(s->context, sha256, NULL) != 1) {
        digest_free(s);
        return fail(err, ERR_MEMORY, "out of memory for a digest");
    }
    *out = s;
    return OK;
}

void digest_free(struct digest_state *s)
{
    if (!s)
        return;
    EVP_MD_CTX_free(s->context);
    free(s);
}

void digest_begin(struct digest_state *s)
{
    ASSERT(EVP_DigestInit_ex2(s->context, NULL, NULL) == 1);
}

void digest_update(struct digest_state *s, const void *data, size_t size)
{
    ASSERT(EVP_DigestUpdate(s->context, data, size) == 1);
}

void digest_finish(struct digest_state *s, struct digest *out)
{
    unsigned size = 0;
    ASSERT(EVP_DigestFinal_ex(s->context, out->bytes, &size) == 1 && size == DIGEST_SIZE);
}

void digest_of(const void *data, size_t size, struct digest *out)
{
    pthread_once(&sha256_fetched, sha256_fetch);
    unsigned out_size = 0;
    ASSERT(sha256 && EVP_Digest(data, size, out->bytes, &out_size, sha256, NULL) == 1 && out_size == DIGEST_SIZE);
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return memcmp(a->bytes, b->bytes, DIGEST_SIZE) == 0;
}

const char *digest_text(const struct digest *d, char out[DIGEST_TEXT_SIZE])
{
    hex_encode(d->bytes, DIGEST_SIZE, out);
    return out;
}

bool digest_parse(const char *text, size_t text_size, struct digest *out)
{
    return hex_decode(text, text_size, out->bytes, DIGEST_SIZE);
}
