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

/* One reference, the caller's. */
MUST_CHECK enum status slab_new(size_t capacity, struct slab **out, struct error *err);
void slab_retain(struct slab *s);
void slab_release(struct slab *s); /* accepts NULL; the last one frees */

#endif
