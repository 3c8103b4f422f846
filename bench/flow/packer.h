/* Small writes become slices: an encoder writes a few bytes at a time, streams travel in slabs.
 * Not thread-safe; the slices may go to other threads. */
#ifndef PXB_FLOW_PACKER_H
#define PXB_FLOW_PACKER_H

#include "base/slab.h"

/* `{0}` is empty. */
struct packer {
    struct slab *slab;
    size_t used;
};
/* Copies `data`; the slice is the caller's. */
MUST_CHECK enum status packer_pack(struct packer *p, const uint8_t *data, size_t size, struct slice *out,
                                   struct error *err);
void packer_deinit(struct packer *p);

#endif
