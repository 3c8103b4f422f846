/* Bytes read ahead from a source: items are looked at before they are consumed, and contents are borrowed uncopied.
 * Not thread-safe. Errors are the source's; an early end is no error here, callers know what was wanted. */
#ifndef PXB_PXAR_DECODER_WINDOW_H
#define PXB_PXAR_DECODER_WINDOW_H

#include "base/io.h"

/* data[start, end) is what the stream has next. */
struct window {
    struct source source;
    uint8_t *data;
    size_t capacity;
    size_t start;
    size_t end;
    uint64_t position; /* in the stream, of data[start] */
};

MUST_CHECK enum status window_init(struct window *w, struct source source, size_t capacity, struct error *err);
void window_deinit(struct window *w); /* accepts {0} */

static inline size_t window_size(const struct window *w)
{
    return w->end - w->start;
}

/* Reads until `size` (at most the capacity) bytes are there or the stream ends: compare window_size afterwards. What
 * was borrowed before moves. */
MUST_CHECK enum status window_fill(struct window *w, size_t size, struct error *err);
/* Consumes bytes that are there; borrowed until the window is filled again. */
const uint8_t *window_take(struct window *w, size_t size);
/* Consumes bytes wherever they are: those that are not there yet are skipped by the source, whose error says where it
 * ended. */
MUST_CHECK enum status window_skip(struct window *w, uint64_t size, struct error *err);
/* Goes to any offset of the stream; the source has `seek`. What was read ahead is dropped. */
MUST_CHECK enum status window_seek(struct window *w, uint64_t offset, struct error *err);
/* Up to `size` (> 0) of the next bytes, copied; large parts go straight from the source to the caller. *out_size 0:
 * the stream ended. */
MUST_CHECK enum status window_read(struct window *w, uint8_t *data, size_t size, size_t *out_size, struct error *err);

#endif
