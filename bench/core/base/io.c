#include "base/io.h"

#include <inttypes.h>
#include <string.h>

enum status source_read_exact(const struct source *s, uint8_t *data, size_t size, uint64_t offset, struct error *err)
{
    size_t done = 0;
    while (done < size) {
        size_t got = 0;
        TRY(s->read(s->context, data + done, size - done, &got, err));
        if (got == 0)
            return fail(err, ERR_FORMAT, "%s: ends early at offset %" PRIu64 ": %zu more bytes wanted", s->name,
                        offset + done, size - done);
        ASSERT(got <= size - done);
        done += got;
    }
    return OK;
}

enum status source_skip(const struct source *s, uint64_t size, uint64_t offset, struct error *err)
{
    if (s->skip)
        return s->skip(s->context, size, err);
    uint8_t scratch[16384];
    while (size > 0) {
        size_t part = size < sizeof scratch ? (size_t)size : sizeof scratch;
        TRY(source_read_exact(s, scratch, part, offset, err));
        size -= part;
        offset += part;
    }
    return OK;
}

static enum status memory_read(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    (void)err;
    struct memory_source *m = context;
    size_t left = m->size - m->position;
    size_t part = size < left ? size : left;
    if (part > 0)
        memcpy(data, m->data + m->position, part);
    m->position += part;
    *out_size = part;
    return OK;
}

struct source source_over_memory(struct memory_source *m, const char *name)
{
    return (struct source){.read = memory_read, .context = m, .name = name};
}
