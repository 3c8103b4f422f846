#include "flow/content_compare.h"

#include "base/log.h"
#include "pxar/item.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNKS_HELD = 2, PART_SIZE = 64 << 10 };

struct content_compare {
    struct chunk_reader *reader; /* owned */
    const char *name;
    bool equal; /* as far as compared */
    bool warned;
    uint64_t position; /* of the next byte in the old payload stream */
    uint64_t left;     /* bytes not compared yet */
    uint8_t part[PART_SIZE];
};

enum status content_compare_new(struct store_reader *reader, const struct dynamic_index *index, const char *name,
                                struct content_compare **out, struct error *err)
{
    struct content_compare *c = calloc(1, sizeof *c);
    if (!c)
        return fail(err, ERR_MEMORY, "out of memory for comparing contents");
    c->name = name;
    enum status status = chunk_reader_new(reader, index, name, CHUNKS_HELD, &c->reader, err);
    if (status != OK) {
        free(c);
        return status;
    }
    *out = c;
    return OK;
}

void content_compare_free(struct content_compare *c)
{
    if (!c)
        return;
    chunk_reader_free(c->reader);
    free(c);
}

/* Fills c->part with the next old bytes. */
static bool read_old(struct content_compare *c, size_t size)
{
    struct error err = {0};
    struct source_at old = chunk_reader_source(c->reader);
    if (old.read_at(old.context, c->position, c->part, size, &err) == OK) {
        c->position += size;
        return true;
    }
    if (!c->warned)
        log_warning("warning: whether contents changed is not known, the previous ones cannot be read: %s", err.text);
    c->warned = true;
    return false;
}

void content_compare_begin(struct content_compare *c, uint64_t offset, uint64_t size)
{
    c->position = offset;
    c->left = size;
    c->equal = read_old(c, ITEM_HEADER_SIZE);
    if (!c->equal)
        return;
    c->equal = load_u64le(c->part) == PXAR_PAYLOAD && load_u64le(c->part + 8) - ITEM_HEADER_SIZE == size;
    if (!c->equal && !c->warned) {
        log_warning("warning: whether contents changed is not known: %s has no payload header of %" PRIu64
                    " bytes at offset %" PRIu64,
                    c->name, size, offset);
        c->warned = true;
    }
}

void content_compare_part(struct content_compare *c, const uint8_t *data, size_t size)
{
    while (c->equal && size > 0) {
        size_t step = size < PART_SIZE ? size : PART_SIZE;
        c->equal = step <= c->left && read_old(c, step) && memcmp(c->part, data, step) == 0;
        c->left -= c->equal ? step : 0;
        data += step;
        size -= step;
    }
}

bool content_compare_end(struct content_compare *c)
{
    bool equal = c->equal && c->left == 0;
    c->equal = false;
    return equal;
}
