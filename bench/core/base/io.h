/* Where bytes come from and go to, without saying how: readers and encoders take these as constructor arguments, so a
 * byte array tests them. A function table borrows `context`; whoever made it keeps it alive. */
#ifndef PXB_BASE_IO_H
#define PXB_BASE_IO_H

#include "base/status.h"

/* Sequential input. */
struct source {
    /* Reads at most `size` bytes (> 0). OK with *out_size 0 means end of data. Short reads are allowed. */
    enum status (*read)(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err);
    /* Discards exactly `size` bytes; ERR_FORMAT when the data ends before. NULL: callers read and drop. */
    enum status (*skip)(void *context, uint64_t size, struct error *err);
    /* The next byte read is that at `offset` from the source's beginning, before or behind the last one; ERR_FORMAT
     * when the data ends before. NULL: the source cannot go back. */
    enum status (*seek)(void *context, uint64_t offset, struct error *err);
    void *context;
    const char *name; /* borrowed, for errors */
};

/* Input at any offset. Thread safety is the maker's to state. */
struct source_at {
    /* Reads exactly `size` bytes at `offset`; a range beyond `size` of the source is ERR_FORMAT. */
    enum status (*read_at)(void *context, uint64_t offset, uint8_t *data, size_t size, struct error *err);
    void *context;
    uint64_t size;
    const char *name;
};

/* Sequential output; takes all of `data` or fails. */
struct sink {
    enum status (*write)(void *context, const uint8_t *data, size_t size, struct error *err);
    void *context;
};

/* Exactly `size` bytes, or ERR_FORMAT "ends early at offset N" (`offset`: position in the stream, for the error). */
MUST_CHECK enum status source_read_exact(const struct source *s, uint8_t *data, size_t size, uint64_t offset,
                                         struct error *err);
MUST_CHECK enum status source_skip(const struct source *s, uint64_t size, uint64_t offset, struct error *err);

/* A source over bytes in memory; `m` and the bytes must outlive it. */
struct memory_source {
    const uint8_t *data;
    size_t size;
    size_t position;
};
struct source source_over_memory(struct memory_source *m, const char *name);

#endif
