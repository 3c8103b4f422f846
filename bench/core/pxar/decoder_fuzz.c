/* Input: one byte of options, then the streams. Options: bit 0 no payload, bit 1 list instead of dump, bit 2 short
 * reads, bit 3 a unified archive, bit 4 a source that can skip, bit 5 a payload that
 * can be read from any place.
 * Split: a 16-bit size, then that many bytes of metadata stream and the rest as payload stream. Unified: the rest. */
#include "pxar/dump.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct short_source {
    struct memory_source whole;
    bool short_reads;
};

static enum status read_some(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct short_source *s = context;
    struct source whole = source_over_memory(&s->whole, "fuzz");
    return whole.read(whole.context, data, s->short_reads && size > 13 ? 13 : size, out_size, err);
}

static enum status skip_some(void *context, uint64_t size, struct error *err)
{
    struct memory_source *m = &((struct short_source *)context)->whole;
    if (size > m->size - m->position)
        return fail(err, ERR_FORMAT, "fuzz: skipped behind the end");
    m->position += (size_t)size;
    return OK;
}

static enum status seek_any(void *context, uint64_t offset, struct error *err)
{
    struct memory_source *m = &((struct short_source *)context)->whole;
    (void)err;
    ASSERT(offset < m->position); /* the decoder only goes back */
    m->position = (size_t)offset;
    return OK;
}

static enum status discard(void *context, const uint8_t *data, size_t size, struct error *err)
{
    (void)data;
    (void)err;
    *(size_t *)context += size;
    return OK;
}

enum { NO_PAYLOAD = 1, LIST = 2, SHORT_READS = 4, UNIFIED = 8, CAN_SKIP = 16, CAN_SEEK = 32 };

static enum status show(const uint8_t *data, size_t size, size_t metadata_size, uint8_t options)
{
    bool short_reads = options & SHORT_READS;
    struct short_source m = {.whole = {.data = data, .size = metadata_size}, .short_reads = short_reads};
    struct short_source p = {.whole = {.data = data + metadata_size, .size = size - metadata_size},
                             .short_reads = short_reads};
    struct source metadata = {.read = read_some, .context = &m, .name = "fuzz.mpxar"};
    struct source payload = {.read = read_some, .context = &p, .name = "fuzz.ppxar"};
    if (options & CAN_SKIP)
        metadata.skip = payload.skip = skip_some;
    if (options & CAN_SEEK)
        payload.seek = seek_any;
    size_t written = 0;
    struct sink out = {.write = discard, .context = &written};
    struct error err = {0};
    enum status status = options & LIST ? list_archive(metadata, out, &err)
                                        : dump_archive(metadata, options & NO_PAYLOAD ? NULL : &payload, out, &err);
    /* An error always has a sentence; success read everything. */
    ASSERT((status == OK) == (err.text[0] == '\0'));
    ASSERT(status != OK || m.whole.position == m.whole.size);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    uint8_t options = data[0];
    if (options & UNIFIED) {
        options |= NO_PAYLOAD;
        /* Contents read, skipped, and skipped by the source: the same answer. */
        bool read = show(data + 1, size - 1, size - 1, options & (uint8_t)~LIST) == OK;
        bool skipped = show(data + 1, size - 1, size - 1, options | LIST) == OK;
        ASSERT(read == skipped);
        return 0;
    }
    size_t metadata_size = (size_t)data[1] | (size_t)data[2] << 8;
    if (metadata_size > size - 3)
        metadata_size = size - 3;
    (void)!show(data + 3, size - 3, metadata_size, options);
    return 0;
}
