/* What a verification knows about the chunks it has looked at: each is loaded once, however often it is referred to.
 * Not thread-safe. Digests come from indexes, which anyone may have written: the hash is keyed. */
#ifndef PXB_FLOW_VERIFY_SEEN_H
#define PXB_FLOW_VERIFY_SEEN_H

#include "chunk/digest.h"

struct seen_chunk {
    struct digest digest;
    uint32_t size; /* raw bytes; 0: not known (damaged or encrypted) */
    uint32_t file; /* number of the file that a problem of it was reported for last; 0: none */
    bool used;
    bool bad;       /* missing or damaged */
    uint8_t why;    /* it is bad: a verify_problem_kind */
    bool encrypted; /* its kind */
    bool unchecked; /* of another kind than the file wants: its digest was not compared */
};

struct verify_seen {
    struct seen_chunk *slots; /* owned */
    size_t capacity;          /* power of two */
    size_t count;
    uint64_t key;
};

void verify_seen_deinit(struct verify_seen *s); /* accepts {0} */
/* The chunk's record, valid until the next call; `used` is false in a new one: fill it in and set it. */
MUST_CHECK enum status verify_seen_find(struct verify_seen *s, const struct digest *digest, struct seen_chunk **out,
                                        struct error *err);

#endif
