#include "base/buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buffer_deinit(struct buffer *b)
{
    free(b->data);
    *b = BUFFER_INIT(b->limit);
}

enum status buffer_reserve(struct buffer *b, size_t extra, struct error *err)
{
    size_t limit = b->limit ? b->limit : BUFFER_LIMIT_DEFAULT;
    if (extra <= b->capacity - b->size)
        return OK;
    if (b->size > limit || extra > limit - b->size)
        return fail(err, ERR_LIMIT, "buffer of %zu bytes cannot take %zu more: the limit is %zu", b->size, extra,
                    limit);
    size_t wanted = b->size + extra;
    size_t capacity = b->capacity ? b->capacity : limit < 64 ? limit : 64;
    while (capacity < wanted)
        capacity = capacity > limit / 2 ? limit : capacity * 2;
    uint8_t *data = realloc(b->data, capacity);
    if (!data)
        return fail(err, ERR_MEMORY, "out of memory for %zu bytes", capacity);
    b->data = data;
    b->capacity = capacity;
    return OK;
}

enum status buffer_append(struct buffer *b, const void *data, size_t size, struct error *err)
{
    if (size == 0)
        return OK;
    TRY(buffer_reserve(b, size, err));
    memcpy(b->data + b->size, data, size);
    b->size += size;
    return OK;
}

enum status buffer_append_u8(struct buffer *b, uint8_t value, struct error *err)
{
    return buffer_append(b, &value, 1, err);
}

enum status buffer_append_u32le(struct buffer *b, uint32_t value, struct error *err)
{
    uint8_t bytes[4];
    store_u32le(bytes, value);
    return buffer_append(b, bytes, sizeof bytes, err);
}

enum status buffer_append_u64le(struct buffer *b, uint64_t value, struct error *err)
{
    uint8_t bytes[8];
    store_u64le(bytes, value);
    return buffer_append(b, bytes, sizeof bytes, err);
}

enum status buffer_append_zeros(struct buffer *b, size_t count, struct error *err)
{
    if (count == 0)
        return OK;
    TRY(buffer_reserve(b, count, err));
    memset(b->data + b->size, 0, count);
    b->size += count;
    return OK;
}

enum status buffer_printf(struct buffer *b, struct error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        return fail(err, ERR_FORMAT, "cannot format text");
    TRY(buffer_reserve(b, (size_t)length + 1, err));
    va_start(args, format);
    vsnprintf((char *)b->data + b->size, (size_t)length + 1, format, args);
    va_end(args);
    b->size += (size_t)length;
    return OK;
}

enum status array_new(size_t count, size_t size, size_t ceiling, const char *what, void **out, struct error *err)
{
    if (count > ceiling)
        return fail(err, ERR_LIMIT, "%zu %s are more than the limit of %zu", count, what, ceiling);
    *out = calloc(count ? count : 1, size); /* calloc checks count x size */
    if (!*out)
        return fail(err, ERR_MEMORY, "out of memory for %zu %s", count, what);
    return OK;
}

enum status array_grow(void **array, size_t count, size_t *capacity, size_t size, size_t ceiling, const char *what,
                       struct error *err)
{
    if (count < *capacity)
        return OK;
    if (count >= ceiling)
        return fail(err, ERR_LIMIT, "more than %zu %s", ceiling, what);
    size_t wanted = *capacity == 0 ? 16 : *capacity > ceiling / 2 ? ceiling : *capacity * 2;
    if (wanted > ceiling)
        wanted = ceiling;
    if (wanted <= count)
        wanted = count + 1;
    void *grown = reallocarray(*array, wanted, size);
    if (!grown)
        return fail(err, ERR_MEMORY, "out of memory for %zu %s", wanted, what);
    *array = grown;
    *capacity = wanted;
    return OK;
}
