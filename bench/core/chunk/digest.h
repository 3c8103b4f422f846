/* SHA-256 of chunks and streams, by OpenSSL. Instances are independent; one is not thread-safe. */
#ifndef PXB_CHUNK_DIGEST_H
#define PXB_CHUNK_DIGEST_H

#include "base/hex.h"
#include "base/status.h"

enum { DIGEST_SIZE = 32, DIGEST_TEXT_SIZE = 65 };

struct digest {
    uint8_t bytes[DIGEST_SIZE];
};

struct digest_state; /* reusable: begin, update..., finish, begin, ... */
MUST_CHECK enum status digest_new(struct digest_state **out, struct error *err);
void digest_free(struct digest_state *s); /* accepts NULL */
void digest_begin(struct digest_state *s);
void digest_update(struct digest_state *s, const void *data, size_t size);
void digest_finish(struct digest_state *s, struct digest *out);

/* One-shot. */
void digest_of(const void *data, size_t size, struct digest *out);
bool digest_equal(const struct digest *a, const struct digest *b);
const char *digest_text(const struct digest *d, char out[DIGEST_TEXT_SIZE]); /* lower-case hex, returns `out` */
bool digest_parse(const char *text, size_t text_size, struct digest *out);   /* exactly 64 hex digits */

#endif
