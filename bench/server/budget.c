#include "server/budget.h"

void budget_init(struct budget *b, uint64_t limit)
{
    b->limit = limit;
    atomic_init(&b->used, 0);
    atomic_init(&b->peak, 0);
}

bool budget_take(struct budget *b, uint64_t size)
{
    uint_fast64_t used = atomic_load(&b->used);
    do {
        if (size > b->limit || used > b->limit - size)
            return false;
    } while (!atomic_compare_exchange_weak(&b->used, &used, used + size));
    uint_fast64_t now = used + size, peak = atomic_load(&b->peak);
    while (now > peak && !atomic_compare_exchange_weak(&b->peak, &peak, now))
        ;
    return true;
}

void budget_give(struct budget *b, uint64_t size)
{
    uint_fast64_t before = atomic_fetch_sub(&b->used, size);
    ASSERT(before >= size);
}
