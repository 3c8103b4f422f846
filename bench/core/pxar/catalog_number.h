/* Numbers of variable length, as the catalog has them.
 *
 *   unsigned  7 bits per byte, least significant group first; the high bit is set on all but the last byte
 *   signed    v >= 0: the same. v < 0: the groups of |v| all with the high bit set, then one byte 0x00
 *
 * Pure. Source: bench/spec/datastore.md 7. */
#ifndef PXB_PXAR_CATALOG_NUMBER_H
#define PXB_PXAR_CATALOG_NUMBER_H

#include "base/buffer.h"

enum { CATALOG_UNSIGNED_SIZE_MAX = 10, CATALOG_SIGNED_SIZE_MAX = 11 };

/* How many bytes of `out` were written. */
size_t catalog_unsigned_bytes(uint64_t value, uint8_t out[CATALOG_UNSIGNED_SIZE_MAX]);
size_t catalog_signed_bytes(int64_t value, uint8_t out[CATALOG_SIGNED_SIZE_MAX]);
/* ERR_FORMAT with the offset: ends early, too long, or out of range. Longer forms than needed are read. After a failure
 * the reader stands somewhere in the number. */
MUST_CHECK enum status catalog_read_unsigned(struct reader *r, uint64_t *out, struct error *err);
MUST_CHECK enum status catalog_read_signed(struct reader *r, int64_t *out, struct error *err);

#endif
