#include "base/slab.h"

#include <stdlib.h>

enum status slab_new(size_t capacity, struct slab **out, struct error *err)
{
    if (capacity > SIZE_MAX - sizeof(struct slab))
        return fail(err, ERR_LIMIT, "slab of %zu bytes", capacity);
    struct slab *s = malloc(sizeof *s + capacity);
    if (!s)
        return fail(err, ERR_MEMORY, "out of memory for %zu bytes", capacity);
    atomic_init(&s->references, 1);
    s->capacity = capacity;
    *out = s;
    return OK;
}

void slab_retain(struct slab *s)
{
    atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
}

void slab_release(struct slab *s)
{
    if (s && atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) == 1)
        free(s);
}
