/* The chunks that a session knows: their digests, and how long each is. Grows up to a ceiling. For one thread.
 * Digests are uniformly distributed, but a client chooses which ones it names: slots are found by a keyed mix of all of
 * their bytes, so nobody can make them collide. */
#ifndef PXB_SERVER_KNOWN_H
#define PXB_SERVER_KNOWN_H

#include "chunk/digest.h"
#include "server/budget.h"

enum { KNOWN_MAX = 1 << 26 };

struct known_chunk {
    struct digest digest;
    uint32_t size; /* 0: a free slot */
};

struct known {
    struct budget *budget;     /* of the table's memory; borrowed */
    struct known_chunk *slots; /* owned */
    size_t capacity;           /* a power of two, or 0 */
    size_t count;
    uint64_t key[2];
};

MUST_CHECK enum status known_init(struct known *k, struct budget *budget, struct error *err); /* random bytes: ERR_IO */
void known_deinit(struct known *k);                                                           /* accepts zeroed */
/* `size` > 0; of one that is there already it is replaced. ERR_LIMIT: the budget, or KNOWN_MAX; ERR_MEMORY. */
MUST_CHECK enum status known_add(struct known *k, const struct digest *digest, uint32_t size, struct error *err);
/* 0: unknown. */
uint32_t known_find(const struct known *k, const struct digest *digest);
/* Any other one, for lies; false: there is none. */
bool known_other(const struct known *k, const struct digest *than, struct digest *out);

#endif
