/* Input: a text manifest. What it makes must be readable; contents stop at a small size, as a manifest may ask for
 * exabytes. */
#include "pxar/dump.h"
#include "pxar/tree_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STREAM_MAX = 1 << 20 };

static enum status take(void *context, const uint8_t *data, size_t size, struct error *err)
{
    return buffer_append(context, data, size, err);
}

static enum status discard(void *context, const uint8_t *data, size_t size, struct error *err)
{
    (void)context;
    (void)data;
    (void)size;
    (void)err;
    return OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buffer_deinit) struct buffer metadata = BUFFER_INIT(STREAM_MAX);
    CLEANUP(buffer_deinit) struct buffer payload = BUFFER_INIT(STREAM_MAX);
    struct error err = {0};
    enum status status = tree_text_encode((const char *)data, size, "fuzz", (struct sink){take, &metadata},
                                          (struct sink){take, &payload}, &err);
    ASSERT((status == OK) == (err.text[0] == '\0'));
    if (status != OK)
        return 0;
    struct memory_source m = {.data = metadata.data, .size = metadata.size};
    struct memory_source p = {.data = payload.data, .size = payload.size};
    struct source payload_source = source_over_memory(&p, "fuzz.ppxar");
    ASSERT(dump_archive(source_over_memory(&m, "fuzz.mpxar"), &payload_source, (struct sink){discard, NULL}, &err) ==
           OK);
    /* What fits into two streams fits into one. */
    buffer_clear(&metadata);
    status = tree_text_encode_unified((const char *)data, size, "fuzz", (struct sink){take, &metadata}, &err);
    ASSERT(status == OK || status == ERR_LIMIT);
    m = (struct memory_source){.data = metadata.data, .size = metadata.size};
    ASSERT(status != OK ||
           dump_archive(source_over_memory(&m, "fuzz.pxar"), NULL, (struct sink){discard, NULL}, &err) == OK);
    return 0;
}
