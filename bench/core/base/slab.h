/* Shared memory blocks: file data is read into a slab once and travels by reference from the reader to the digest,
 * the compressor and the store. Counting references is thread-safe; the bytes of a slice are written by its maker
 * alone, before it is handed on. */
#ifndef PXB_BASE_SLAB_H
#define PXB_BASE_SLAB_H

#include "base/status.h"

#include <stdatomic.h>

struct slab {
    atomic_uint references;
    size_t capacity;
    uint8_t data[];
};

/* Bytes inside a slab. Holds one reference unless `slab` is NULL. */
struct slice {
    const uint8_t *data;
    size_t size;
    struct slab *slab;
};

/* Slabs of this capacity are kept for reuse when released, up to SLAB_POOL_MAX of them: the kernel would clear fresh
 * pages for every megabyte that passes through otherwise. */
enum { SLAB_POOLED_CAPACITY = 1 << 20, SLAB_POOL_MAX = 64 };

/* One reference, the caller's. */
MUST_CHECK enum status slab_new(size_t capacity, struct slab **out, struct error *err);
void slab_retain(struct slab *s);
void slab_release(struct slab *s); /* accepts NULL; the last one frees */
/* Frees what is kept for reuse, for leak checks. */
void slab_pool_drain(void);

#endif
