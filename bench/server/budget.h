/* A ceiling on what all connections of a server have together: bytes of memory. Taking never waits; what cannot be
 * taken has to go another way, or be refused. Thread-safe. */
#ifndef PXB_SERVER_BUDGET_H
#define PXB_SERVER_BUDGET_H

#include "base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct budget {
    uint64_t limit;
    atomic_uint_fast64_t used, peak;
};

void budget_init(struct budget *b, uint64_t limit);
/* false: it would be exceeded, and nothing is taken. */
MUST_CHECK bool budget_take(struct budget *b, uint64_t size);
void budget_give(struct budget *b, uint64_t size);

#endif
