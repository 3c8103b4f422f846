/* Any bytes as a blob: opening stays within its limit, and what opens can be sealed and opened again. */
#include "blob/blob.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RAW_SIZE_MAX = 1 << 20 };

static void open_and_seal(struct blob_context *c, const uint8_t *data, size_t size)
{
    struct buffer raw = BUFFER_INIT(RAW_SIZE_MAX);
    struct buffer sealed = BUFFER_INIT(RAW_SIZE_MAX + BLOB_HEADER_SIZE);
    struct buffer again = BUFFER_INIT(RAW_SIZE_MAX);
    struct error err;
    struct digest digest;
    digest_of(data, size, &digest);
    if (blob_open_chunk(c, data, size, &digest, size, "input", &raw, &err) == OK)
        ASSERT(raw.size == size);
    if (blob_open(c, data, size, RAW_SIZE_MAX, "input", &raw, &err) == OK) {
        ASSERT(raw.size <= RAW_SIZE_MAX);
        struct slice slices[] = {
            {.data = raw.data, .size = raw.size / 3},
            {.data = raw.size ? raw.data + raw.size / 3 : raw.data, .size = raw.size - raw.size / 3},
        };
        ASSERT(blob_seal(c, slices, 2, &sealed, &err) == OK);
        ASSERT(sealed.size <= BLOB_HEADER_SIZE + raw.size);
        ASSERT(blob_open(c, sealed.data, sealed.size, raw.size, "sealed", &again, &err) == OK);
        ASSERT(again.size == raw.size && (raw.size == 0 || memcmp(again.data, raw.data, raw.size) == 0));
    } else {
        ASSERT(raw.size == 0);
    }
    buffer_deinit(&raw);
    buffer_deinit(&sealed);
    buffer_deinit(&again);
}

/* The crc keeps a fuzzer out: the second run has it repaired, with the magic chosen by the first byte. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct blob_context *c;
    if (!c && blob_context_new(&c, NULL) != OK)
        return 0;
    open_and_seal(c, data, size);

    struct buffer wrapped = BUFFER_INIT((size_t)1 << 24);
    struct slice slice = {.data = data, .size = size};
    if (size > 0 && blob_seal(c, &slice, 1, &wrapped, NULL) == OK) {
        enum blob_kind kind;
        ASSERT(blob_kind_of(wrapped.data, wrapped.size, "wrapped", &kind, NULL) == OK);
        if (kind == BLOB_PLAIN) {
            static const uint8_t zstd_magic[8] = {0x31, 0xb9, 0x58, 0x42, 0x6f, 0xb6, 0xa3, 0x7f};
            memcpy(wrapped.data, zstd_magic, sizeof zstd_magic);
        }
        open_and_seal(c, wrapped.data, wrapped.size);
    }
    buffer_deinit(&wrapped);
    return 0;
}
