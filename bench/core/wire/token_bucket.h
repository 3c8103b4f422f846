/* How long traffic must wait to keep within a rate: bytes per second over time, with bursts.
 * Pure: time is an argument, in nanoseconds of any clock that does not run backwards. One per direction; not
 * thread-safe. Integer arithmetic throughout: nothing is lost however small the steps. Source:
 * bench/spec/protocol.md 16. */
#ifndef PXB_WIRE_TOKEN_BUCKET_H
#define PXB_WIRE_TOKEN_BUCKET_H

#include "base/status.h"

enum { TOKEN_BUCKET_PIECE = 1000000000 };

struct token_bucket {
    uint64_t rate;  /* bytes per second; 0: unlimited */
    uint64_t burst; /* bytes */
    uint64_t last_ns;
    uint64_t consumed_whole; /* bytes */
    uint64_t consumed_rest;  /* billionths of a byte */
};

/* Begins empty: the first byte waits as if a whole burst had just passed. `burst` 0: as much as `rate`. */
void token_bucket_init(struct token_bucket *b, uint64_t rate, uint64_t burst, uint64_t now_ns);
/* `size` bytes passed. Returns how long the direction must pause from now on, 0 for not at all. */
uint64_t token_bucket_pass(struct token_bucket *b, uint64_t size, uint64_t now_ns);
/* The pause that is left now, when nothing more passes. */
uint64_t token_bucket_wait(const struct token_bucket *b, uint64_t now_ns);

#endif
