/* A growing byte buffer that is told its ceiling at birth. The owner deinits; `{0}`-like BUFFER_INIT means empty.
 * Appending past the ceiling is ERR_LIMIT, a failed allocation ERR_MEMORY; the buffer then keeps what it had. */
#ifndef PXB_BASE_BUFFER_H
#define PXB_BASE_BUFFER_H

#include "base/bytes.h"

struct buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t limit; /* bytes; 0 is treated as BUFFER_LIMIT_DEFAULT */
};

enum { BUFFER_LIMIT_DEFAULT = 1 << 30 };
#define BUFFER_INIT(limit_bytes) ((struct buffer){.limit = (limit_bytes)})

void buffer_deinit(struct buffer *b); /* accepts empty; leaves empty with the same limit */
static inline void buffer_clear(struct buffer *b)
{
    b->size = 0;
}
/* Room for `extra` more bytes. */
MUST_CHECK enum status buffer_reserve(struct buffer *b, size_t extra, struct error *err);
MUST_CHECK enum status buffer_append(struct buffer *b, const void *data, size_t size, struct error *err);
MUST_CHECK enum status buffer_append_u8(struct buffer *b, uint8_t value, struct error *err);
MUST_CHECK enum status buffer_append_u32le(struct buffer *b, uint32_t value, struct error *err);
MUST_CHECK enum status buffer_append_u64le(struct buffer *b, uint64_t value, struct error *err);
MUST_CHECK enum status buffer_append_zeros(struct buffer *b, size_t count, struct error *err);
MUST_CHECK enum status buffer_printf(struct buffer *b, struct error *err, const char *format, ...) PRINTF_LIKE(3, 4);

/* Zeroed array of `count` elements of `size` bytes, checked against overflow and `ceiling` (elements). */
MUST_CHECK enum status array_new(size_t count, size_t size, size_t ceiling, const char *what, void **out,
                                 struct error *err);
/* Makes room for one more element: doubles *capacity (starting at 16) up to `ceiling`. */
MUST_CHECK enum status array_grow(void **array, size_t count, size_t *capacity, size_t size, size_t ceiling,
                                  const char *what, struct error *err);

#endif
