#include "base/slab.h"

#include <pthread.h>
#include <stdlib.h>

/* Released slabs of SLAB_POOLED_CAPACITY. */
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct slab *pool[SLAB_POOL_MAX];
static size_t pool_count;

static struct slab *pool_take(void)
{
    pthread_mutex_lock(&pool_lock);
    struct slab *s = pool_count > 0 ? pool[--pool_count] : NULL;
    pthread_mutex_unlock(&pool_lock);
    return s;
}

static bool pool_give(struct slab *s)
{
    pthread_mutex_lock(&pool_lock);
    bool kept = pool_count < SLAB_POOL_MAX;
    if (kept)
        pool[pool_count++] = s;
    pthread_mutex_unlock(&pool_lock);
    return kept;
}

void slab_pool_drain(void)
{
    for (struct slab *s; (s = pool_take()) != NULL;)
        free(s);
}

enum status slab_new(size_t capacity, struct slab **out, struct error *err)
{
    if (capacity > SIZE_MAX - sizeof(struct slab))
        return fail(err, ERR_LIMIT, "slab of %zu bytes", capacity);
    struct slab *s = capacity == SLAB_POOLED_CAPACITY ? pool_take() : NULL;
    if (!s)
        s = malloc(sizeof *s + capacity);
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
    if (!s || atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) != 1)
        return;
    if (s->capacity != SLAB_POOLED_CAPACITY || !pool_give(s))
        free(s);
}
