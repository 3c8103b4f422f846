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
    if (blob_open_chunk(c, NULL, data, size, &digest, size, "input", &raw, &err) == OK)
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

static const struct crypt_config *any_key(void)
{
    static struct crypt_config config;
    static bool made;
    static const uint8_t key[CRYPT_KEY_SIZE] = {1, 2, 3};
    if (!made)
        ASSERT(crypt_config_init(&config, key, NULL) == OK);
    made = true;
    return &config;
}

/* The input as content of an encrypted blob, and as the frame in one. */
static void encrypt_and_open(struct blob_context *c, const uint8_t *data, size_t size)
{
    static const uint8_t iv[CRYPT_IV_SIZE] = {1};
    struct buffer sealed = BUFFER_INIT((size_t)1 << 24), raw = BUFFER_INIT(RAW_SIZE_MAX);
    struct slice slice = {.data = data, .size = size};
    struct error err;
    if (blob_open_keyed(c, any_key(), data, size, RAW_SIZE_MAX, "input", &raw, &err) != OK)
        ASSERT(raw.size == 0);
    if (size <= RAW_SIZE_MAX && blob_seal_encrypted(c, any_key(), iv, &slice, 1, &sealed, &err) == OK) {
        ASSERT(blob_open_keyed(c, any_key(), sealed.data, sealed.size, size, "sealed", &raw, &err) == OK);
        ASSERT(raw.size == size && (size == 0 || memcmp(raw.data, data, size) == 0));
        static const uint8_t magic[8] = {0xe6, 0x59, 0x1b, 0xbf, 0x0b, 0xbf, 0xd8, 0x0b};
        memcpy(sealed.data, magic, sizeof magic);
        if (blob_open_keyed(c, any_key(), sealed.data, sealed.size, RAW_SIZE_MAX, "frame", &raw, &err) != OK)
            ASSERT(raw.size == 0);
    }
    buffer_deinit(&sealed);
    buffer_deinit(&raw);
}

/* The crc keeps a fuzzer out: the second run has it repaired, with the magic chosen by the first byte. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct blob_context *c;
    if (!c && blob_context_new(&c, NULL) != OK)
        return 0;
    open_and_seal(c, data, size);
    encrypt_and_open(c, data, size);

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
