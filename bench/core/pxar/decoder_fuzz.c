/* Input: one byte of options, a 16-bit size, then that many bytes of metadata stream and the rest as payload stream.
 * Options: bit 0 no payload, bit 1 list instead of dump, bit 2 short reads. */
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

static enum status discard(void *context, const uint8_t *data, size_t size, struct error *err)
{
    (void)data;
    (void)err;
    *(size_t *)context += size;
    return OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    uint8_t options = data[0];
    size_t metadata_size = (size_t)data[1] | (size_t)data[2] << 8;
    data += 3;
    size -= 3;
    if (metadata_size > size)
        metadata_size = size;
    bool short_reads = options & 4;
    struct short_source m = {.whole = {.data = data, .size = metadata_size}, .short_reads = short_reads};
    struct short_source p = {.whole = {.data = data + metadata_size, .size = size - metadata_size},
                             .short_reads = short_reads};
    struct source metadata = {.read = read_some, .context = &m, .name = "fuzz.mpxar"};
    struct source payload = {.read = read_some, .context = &p, .name = "fuzz.ppxar"};
    size_t written = 0;
    struct sink out = {.write = discard, .context = &written};
    struct error err = {0};
    enum status status = options & 2 ? list_archive(metadata, out, &err)
                                     : dump_archive(metadata, options & 1 ? NULL : &payload, out, &err);
    /* An error always has a sentence; success read everything. */
    ASSERT((status == OK) == (err.text[0] == '\0'));
    ASSERT(status != OK || m.whole.position == m.whole.size);
    return 0;
}
