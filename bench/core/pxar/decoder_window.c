#include "pxar/decoder_window.h"

#include <stdlib.h>
#include <string.h>

enum status window_init(struct window *w, struct source source, size_t capacity, struct error *err)
{
    w->source = source;
    w->data = malloc(capacity);
    if (!w->data)
        return fail(err, ERR_MEMORY, "out of memory for a read buffer of %zu bytes", capacity);
    w->capacity = capacity;
    return OK;
}

void window_deinit(struct window *w)
{
    free(w->data);
}

enum status window_fill(struct window *w, size_t size, struct error *err)
{
    if (window_size(w) >= size)
        return OK;
    ASSERT(size <= w->capacity);
    memmove(w->data, w->data + w->start, window_size(w));
    w->end -= w->start;
    w->start = 0;
    while (w->end < size) {
        size_t got = 0;
        TRY(w->source.read(w->source.context, w->data + w->end, w->capacity - w->end, &got, err));
        ASSERT(got <= w->capacity - w->end);
        if (got == 0)
            return OK;
        w->end += got;
    }
    return OK;
}

const uint8_t *window_take(struct window *w, size_t size)
{
    ASSERT(size <= window_size(w));
    const uint8_t *p = w->data + w->start;
    w->start += size;
    w->position += size;
    return p;
}

enum status window_skip(struct window *w, uint64_t size, struct error *err)
{
    size_t here = size < window_size(w) ? (size_t)size : window_size(w);
    window_take(w, here);
    size -= here;
    if (size == 0)
        return OK;
    TRY(source_skip(&w->source, size, w->position, err));
    w->position += size;
    return OK;
}

enum status window_seek(struct window *w, uint64_t offset, struct error *err)
{
    TRY(w->source.seek(w->source.context, offset, err));
    w->start = w->end = 0;
    w->position = offset;
    return OK;
}

enum status window_read(struct window *w, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    if (window_size(w) == 0 && size >= w->capacity) {
        TRY(w->source.read(w->source.context, data, size, out_size, err));
        ASSERT(*out_size <= size);
        w->position += *out_size;
        return OK;
    }
    TRY(window_fill(w, 1, err));
    size_t part = size < window_size(w) ? size : window_size(w);
    memcpy(data, window_take(w, part), part);
    *out_size = part;
    return OK;
}
