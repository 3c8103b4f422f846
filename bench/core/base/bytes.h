/* Stored bytes: one checked reader and one writer, both little-endian.
 * Pure. A reader borrows its bytes; offsets in errors are `origin` + position, so that they name a place in the
 * stream. Comparing is always "remaining against wanted", never "position + length against end". */
#ifndef PXB_BASE_BYTES_H
#define PXB_BASE_BYTES_H

#include "base/status.h"

static inline uint32_t load_u32le(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t load_u64le(const uint8_t *p)
{
    return (uint64_t)load_u32le(p) | (uint64_t)load_u32le(p + 4) << 32;
}
static inline void store_u32le(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}
static inline void store_u64le(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

/* `name` (borrowed; what is being read, for errors) and `origin` (stream offset of data[0]). */
struct reader {
    const uint8_t *data;
    size_t size;
    size_t position;
    const char *name;
    uint64_t origin;
};

static inline struct reader reader_over(const void *data, size_t size, const char *name, uint64_t origin)
{
    return (struct reader){.data = data, .size = size, .name = name, .origin = origin};
}
static inline size_t reader_remaining(const struct reader *r)
{
    return r->size - r->position;
}
static inline uint64_t reader_offset(const struct reader *r)
{
    return r->origin + r->position;
}

/* All fail with ERR_FORMAT "<name>: ends early at offset ..." and then leave the reader where it was. */
MUST_CHECK enum status reader_u8(struct reader *r, uint8_t *out, struct error *err);
MUST_CHECK enum status reader_u32le(struct reader *r, uint32_t *out, struct error *err);
MUST_CHECK enum status reader_u64le(struct reader *r, uint64_t *out, struct error *err);
/* Borrows `size` bytes of the reader's data. */
MUST_CHECK enum status reader_bytes(struct reader *r, uint64_t size, const uint8_t **out, struct error *err);
/* A child over the next `size` bytes; it cannot leave its parent. */
MUST_CHECK enum status reader_sub(struct reader *r, uint64_t size, struct reader *out, struct error *err);

#endif
