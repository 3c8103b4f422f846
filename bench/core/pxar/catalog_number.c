#include "pxar/catalog_number.h"

#include <inttypes.h>

enum { GROUP_BITS = 7, GROUP_MASK = 0x7f, MORE = 0x80 };

size_t catalog_unsigned_bytes(uint64_t value, uint8_t out[CATALOG_UNSIGNED_SIZE_MAX])
{
    size_t size = 0;
    for (; value > GROUP_MASK; value >>= GROUP_BITS)
        out[size++] = (uint8_t)(MORE | (value & GROUP_MASK));
    out[size++] = (uint8_t)value;
    return size;
}

size_t catalog_signed_bytes(int64_t value, uint8_t out[CATALOG_SIGNED_SIZE_MAX])
{
    if (value >= 0)
        return catalog_unsigned_bytes((uint64_t)value, out);
    size_t size = 0;
    for (uint64_t magnitude = -(uint64_t)value; magnitude > 0; magnitude >>= GROUP_BITS)
        out[size++] = (uint8_t)(MORE | (magnitude & GROUP_MASK));
    out[size++] = 0;
    return size;
}

static enum status out_of_range(const struct reader *r, uint64_t offset, struct error *err)
{
    return fail(err, ERR_FORMAT, "%s: number at offset %" PRIu64 " is out of range", r->name, offset);
}

static bool add_group(uint64_t *value, unsigned shift, uint8_t byte)
{
    uint64_t group = byte & GROUP_MASK;
    if (shift >= 64 || (group << shift) >> shift != group)
        return false;
    *value |= group << shift;
    return true;
}

enum status catalog_read_unsigned(struct reader *r, uint64_t *out, struct error *err)
{
    uint64_t offset = reader_offset(r);
    uint64_t value = 0;
    for (unsigned shift = 0; shift < CATALOG_UNSIGNED_SIZE_MAX * GROUP_BITS; shift += GROUP_BITS) {
        uint8_t byte;
        TRY(reader_u8(r, &byte, err));
        if (!add_group(&value, shift, byte))
            return out_of_range(r, offset, err);
        if (byte < MORE) {
            *out = value;
            return OK;
        }
    }
    return out_of_range(r, offset, err);
}

enum status catalog_read_signed(struct reader *r, int64_t *out, struct error *err)
{
    const uint64_t magnitude_max = UINT64_C(1) << 63;
    uint64_t offset = reader_offset(r);
    uint64_t value = 0;
    for (unsigned shift = 0; shift < CATALOG_SIGNED_SIZE_MAX * GROUP_BITS; shift += GROUP_BITS) {
        uint8_t byte;
        TRY(reader_u8(r, &byte, err));
        if (byte == 0) {
            if (value > magnitude_max)
                return out_of_range(r, offset, err);
            *out = value == magnitude_max ? INT64_MIN : -(int64_t)value;
            return OK;
        }
        if (!add_group(&value, shift, byte))
            return out_of_range(r, offset, err);
        if (byte < MORE) {
            if (value > INT64_MAX)
                return out_of_range(r, offset, err);
            *out = (int64_t)value;
            return OK;
        }
    }
    return out_of_range(r, offset, err);
}
