#include "base/bytes.h"

#include <inttypes.h>

static enum status ends_early(const struct reader *r, uint64_t wanted, struct error *err)
{
    return fail(err, ERR_FORMAT, "%s: ends early at offset %" PRIu64 ": %" PRIu64 " bytes wanted, %zu left", r->name,
                reader_offset(r), wanted, reader_remaining(r));
}

enum status reader_bytes(struct reader *r, uint64_t size, const uint8_t **out, struct error *err)
{
    if (size > reader_remaining(r))
        return ends_early(r, size, err);
    *out = r->data + r->position;
    r->position += (size_t)size;
    return OK;
}

enum status reader_u8(struct reader *r, uint8_t *out, struct error *err)
{
    const uint8_t *p;
    TRY(reader_bytes(r, 1, &p, err));
    *out = *p;
    return OK;
}

enum status reader_u32le(struct reader *r, uint32_t *out, struct error *err)
{
    const uint8_t *p;
    TRY(reader_bytes(r, 4, &p, err));
    *out = load_u32le(p);
    return OK;
}

enum status reader_u64le(struct reader *r, uint64_t *out, struct error *err)
{
    const uint8_t *p;
    TRY(reader_bytes(r, 8, &p, err));
    *out = load_u64le(p);
    return OK;
}

enum status reader_sub(struct reader *r, uint64_t size, struct reader *out, struct error *err)
{
    uint64_t origin = reader_offset(r);
    const uint8_t *p;
    TRY(reader_bytes(r, size, &p, err));
    *out = reader_over(p, (size_t)size, r->name, origin);
    return OK;
}
