#include "flow/packer.h"

#include <string.h>

enum { PACK_SLAB_SIZE = 64 << 10 };

static enum status room(struct packer *p, size_t size, struct error *err)
{
    if (p->slab && p->slab->capacity - p->used >= size)
        return OK;
    packer_deinit(p);
    return slab_new(size > PACK_SLAB_SIZE ? size : PACK_SLAB_SIZE, &p->slab, err);
}

enum status packer_pack(struct packer *p, const uint8_t *data, size_t size, struct slice *out, struct error *err)
{
    TRY(room(p, size, err));
    uint8_t *place = p->slab->data + p->used;
    memcpy(place, data, size);
    p->used += size;
    slab_retain(p->slab);
    *out = (struct slice){place, size, p->slab};
    return OK;
}

void packer_deinit(struct packer *p)
{
    slab_release(p->slab);
    *p = (struct packer){0};
}
