#include "blob/blob.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

/* unencrypted   0 magic 8 | 8 crc 4 | 12 data
 * encrypted     0 magic 8 | 8 crc 4 | 12 iv 16 | 28 tag 16 | 44 ciphertext
 * The crc covers what follows the header. */
enum {
    MAGIC_SIZE = 8,
    IV_OFFSET = BLOB_HEADER_SIZE,
    TAG_OFFSET = IV_OFFSET + CRYPT_IV_SIZE,
    COMPRESSION_LEVEL = 1,
    GROWTH_FIRST = 64 << 10
};

static_assert(BLOB_HEADER_SIZE == BLOB_CRC_OFFSET + 4, "header");
static_assert(BLOB_ENCRYPTED_HEADER_SIZE == TAG_OFFSET + CRYPT_TAG_SIZE, "encrypted header");

static const uint8_t magics[][MAGIC_SIZE] = {
    [BLOB_PLAIN] = {0x42, 0xab, 0x38, 0x07, 0xbe, 0x83, 0x70, 0xa1},
    [BLOB_ZSTD] = {0x31, 0xb9, 0x58, 0x42, 0x6f, 0xb6, 0xa3, 0x7f},
    [BLOB_ENCRYPTED] = {0x7b, 0x67, 0x85, 0xbe, 0x22, 0x2d, 0x4c, 0xf0},
    [BLOB_ENCRYPTED_ZSTD] = {0xe6, 0x59, 0x1b, 0xbf, 0x0b, 0xbf, 0xd8, 0x0b},
};

struct blob_context {
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
    struct crypt_cipher *cipher; /* NULL until something is encrypted */
    struct buffer decrypted;     /* a frame */
};

enum status blob_context_new(struct blob_context **out, struct error *err)
{
    struct blob_context *c = calloc(1, sizeof *c);
    if (c) {
        c->compressor = ZSTD_createCCtx();
        c->decompressor = ZSTD_createDCtx();
    }
    if (!c || !c->compressor || !c->decompressor) {
        blob_context_free(c);
        return fail(err, ERR_MEMORY, "out of memory for zstd");
    }
    c->decrypted = BUFFER_INIT(BLOB_RAW_SIZE_MAX);
    ASSERT(!ZSTD_isError(ZSTD_CCtx_setParameter(c->compressor, ZSTD_c_compressionLevel, COMPRESSION_LEVEL)));
    *out = c;
    return OK;
}

void blob_context_free(struct blob_context *c)
{
    if (!c)
        return;
    ZSTD_freeCCtx(c->compressor);
    ZSTD_freeDCtx(c->decompressor);
    crypt_cipher_free(c->cipher);
    buffer_deinit(&c->decrypted);
    free(c);
}

static size_t header_size_of(enum blob_kind kind)
{
    return blob_is_encrypted(kind) ? BLOB_ENCRYPTED_HEADER_SIZE : BLOB_HEADER_SIZE;
}

static void write_header(uint8_t *blob, size_t size, enum blob_kind kind)
{
    size_t header_size = header_size_of(kind);
    memcpy(blob, magics[kind], MAGIC_SIZE);
    store_u32le(blob + BLOB_CRC_OFFSET, (uint32_t)crc32_z(0, blob + header_size, size - header_size));
}

static enum status need_cipher(struct blob_context *c, struct error *err)
{
    return c->cipher ? OK : crypt_cipher_new(&c->cipher, err);
}

/* Compresses into `data` of `capacity` bytes. *out_size 0: the frame does not fit. The input always ends with an empty
 * last call, so that the frame does not depend on how the raw data is sliced. */
static enum status encode_frame(struct blob_context *c, const struct slice *slices, size_t slice_count, size_t raw_size,
                                uint8_t *data, size_t capacity, size_t *out_size, struct error *err)
{
    *out_size = 0;
    ZSTD_CCtx_reset(c->compressor, ZSTD_reset_session_only);
    ZSTD_CCtx_setPledgedSrcSize(c->compressor, raw_size);
    ZSTD_outBuffer output = {.dst = data, .size = capacity};
    size_t left = 0;
    for (size_t i = 0; i <= slice_count; i++) {
        bool is_last = i == slice_count;
        ZSTD_inBuffer input = {.src = is_last ? NULL : slices[i].data, .size = is_last ? 0 : slices[i].size};
        do {
            left = ZSTD_compressStream2(c->compressor, &output, &input, is_last ? ZSTD_e_end : ZSTD_e_continue);
            if (ZSTD_isError(left))
                return fail(err, ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? ERR_MEMORY : ERR_FORMAT,
                            "compress %zu bytes: %s", raw_size, ZSTD_getErrorName(left));
            if (output.pos == output.size && (left > 0 || input.pos < input.size || !is_last))
                return OK;
        } while (input.pos < input.size || (is_last && left > 0));
    }
    *out_size = output.pos;
    return OK;
}

static enum status total_size(const struct slice *slices, size_t slice_count, size_t *out, struct error *err)
{
    *out = 0;
    for (size_t i = 0; i < slice_count; i++)
        if (__builtin_add_overflow(*out, slices[i].size, out) || *out > BLOB_RAW_SIZE_MAX)
            return fail(err, ERR_LIMIT, "data of a blob is larger than %d bytes", BLOB_RAW_SIZE_MAX);
    return OK;
}

/* Room for any blob of the data in `out`, and behind its header the frame, if that is worth it: else *out_size is 0. */
static enum status compress_into(struct blob_context *c, size_t header_size, const struct slice *slices,
                                 size_t slice_count, size_t raw_size, struct buffer *out, size_t *out_size,
                                 struct error *err)
{
    buffer_clear(out);
    *out_size = 0;
    TRY(buffer_reserve(out, header_size + raw_size, err));
    /* One byte less than the raw data: what does not fit is not worth it. */
    if (raw_size > 1)
        TRY(encode_frame(c, slices, slice_count, raw_size, out->data + header_size, raw_size - 1, out_size, err));
    return OK;
}

enum status blob_seal(struct blob_context *c, const struct slice *slices, size_t slice_count, struct buffer *out,
                      struct error *err)
{
    size_t raw_size, size;
    TRY(total_size(slices, slice_count, &raw_size, err));
    TRY(compress_into(c, BLOB_HEADER_SIZE, slices, slice_count, raw_size, out, &size, err));
    enum blob_kind kind = BLOB_ZSTD;
    if (size == 0) {
        kind = BLOB_PLAIN;
        for (size_t i = 0; i < slice_count; i++) {
            if (slices[i].size > 0)
                memcpy(out->data + BLOB_HEADER_SIZE + size, slices[i].data, slices[i].size);
            size += slices[i].size;
        }
    }
    out->size = BLOB_HEADER_SIZE + size;
    write_header(out->data, out->size, kind);
    return OK;
}

enum status blob_seal_encrypted(struct blob_context *c, const struct crypt_config *key, const uint8_t iv[CRYPT_IV_SIZE],
                                const struct slice *slices, size_t slice_count, struct buffer *out, struct error *err)
{
    size_t raw_size, size;
    TRY(need_cipher(c, err));
    TRY(total_size(slices, slice_count, &raw_size, err));
    TRY(compress_into(c, BLOB_ENCRYPTED_HEADER_SIZE, slices, slice_count, raw_size, out, &size, err));
    enum blob_kind kind = size > 0 ? BLOB_ENCRYPTED_ZSTD : BLOB_ENCRYPTED;
    uint8_t *content = out->data + BLOB_ENCRYPTED_HEADER_SIZE;
    struct slice frame = {.data = content, .size = size};
    if (size > 0)
        TRY(crypt_seal(c->cipher, key->key, iv, &frame, 1, content, out->data + TAG_OFFSET, err));
    else
        TRY(crypt_seal(c->cipher, key->key, iv, slices, slice_count, content, out->data + TAG_OFFSET, err));
    memcpy(out->data + IV_OFFSET, iv, CRYPT_IV_SIZE);
    out->size = BLOB_ENCRYPTED_HEADER_SIZE + (size > 0 ? size : raw_size);
    write_header(out->data, out->size, kind);
    return OK;
}

enum status blob_kind_of(const uint8_t *data, size_t size, const char *name, enum blob_kind *out, struct error *err)
{
    if (size < BLOB_HEADER_SIZE)
        return fail(err, ERR_FORMAT, "%s: %zu bytes are too few for a blob", name, size);
    for (size_t kind = 0; kind < sizeof magics / sizeof magics[0]; kind++)
        if (memcmp(data, magics[kind], MAGIC_SIZE) == 0) {
            *out = (enum blob_kind)kind;
            return OK;
        }
    char magic[2 * MAGIC_SIZE + 1];
    hex_encode(data, MAGIC_SIZE, magic);
    return fail(err, ERR_NOT_ARCHIVE, "%s: not a blob: unknown magic %s", name, magic);
}

static enum status fail_too_large(const char *name, size_t raw_size_max, struct error *err)
{
    return fail(err, ERR_LIMIT, "%s: holds more than the %zu bytes that are allowed", name, raw_size_max);
}

static enum status fail_frame(size_t zstd_error, const char *name, size_t offset, struct error *err)
{
    enum status status = ZSTD_getErrorCode(zstd_error) == ZSTD_error_memory_allocation ? ERR_MEMORY : ERR_FORMAT;
    return fail(err, status, "%s: zstd frame at or before offset %zu: %s", name, offset, ZSTD_getErrorName(zstd_error));
}

/* Memory follows the bytes that really come out, at most twice as much: the size that a frame claims is not used. With
 * `raw_size_hint` bytes ready from the start zstd decodes without a window of its own. */
static enum status decode_frames(struct blob_context *c, const uint8_t *data, size_t size, size_t raw_size_max,
                                 size_t raw_size_hint, const char *name, struct buffer *out, struct error *err)
{
    ZSTD_DCtx_reset(c->decompressor, ZSTD_reset_session_only);
    ZSTD_inBuffer input = {.src = data, .size = size};
    size_t ready = raw_size_hint < raw_size_max ? raw_size_hint : raw_size_max;
    for (;;) {
        if (out->size == ready && ready < raw_size_max) {
            size_t wanted = ready < GROWTH_FIRST ? GROWTH_FIRST : 2 * ready;
            ready = wanted < raw_size_max ? wanted : raw_size_max;
        }
        TRY(buffer_reserve(out, ready - out->size, err));
        /* When everything that is allowed is there, one byte more decides. */
        uint8_t excess;
        ZSTD_outBuffer output = {.dst = &excess, .size = 1};
        if (ready > out->size)
            output = (ZSTD_outBuffer){.dst = out->data + out->size, .size = ready - out->size};
        size_t left = ZSTD_decompressStream(c->decompressor, &output, &input);
        if (ZSTD_isError(left))
            return fail_frame(left, name, BLOB_HEADER_SIZE + input.pos, err);
        if (output.dst == &excess) {
            if (output.pos > 0)
                return fail_too_large(name, raw_size_max, err);
        } else {
            out->size += output.pos;
        }
        if (input.pos == input.size && left == 0)
            return OK;
        if (input.pos == input.size && output.pos < output.size)
            return fail(err, ERR_FORMAT, "%s: zstd frame ends early at offset %zu", name, BLOB_HEADER_SIZE + size);
    }
}

enum status blob_check(const uint8_t *data, size_t size, const char *name, enum blob_kind *out, struct error *err)
{
    TRY(blob_kind_of(data, size, name, out, err));
    size_t header_size = header_size_of(*out);
    if (size < header_size)
        return fail(err, ERR_FORMAT, "%s: %zu bytes are too few for an encrypted blob", name, size);
    uint32_t stored = load_u32le(data + BLOB_CRC_OFFSET);
    uint32_t computed = (uint32_t)crc32_z(0, data + header_size, size - header_size);
    if (stored != computed)
        return fail(err, ERR_MISMATCH, "%s: crc is %08" PRIx32 ", stored is %08" PRIx32, name, computed, stored);
    return OK;
}

/* Decrypts the content. Uncompressed: into `out`, and nothing is left to do. */
static enum status decrypt(struct blob_context *c, const struct crypt_config *key, const uint8_t *data, size_t size,
                           const char *name, struct buffer *out, struct error *err)
{
    size_t content_size = size - BLOB_ENCRYPTED_HEADER_SIZE;
    TRY(need_cipher(c, err));
    buffer_clear(out);
    TRY(buffer_reserve(out, content_size, err));
    if (crypt_open(c->cipher, key->key, data + IV_OFFSET, data + TAG_OFFSET, data + BLOB_ENCRYPTED_HEADER_SIZE,
                   content_size, out->data, err) != OK)
        return fail_within(err, "%s", name);
    out->size = content_size;
    return OK;
}

static enum status open_blob(struct blob_context *c, const struct crypt_config *key, const uint8_t *data, size_t size,
                             size_t raw_size_max, size_t raw_size_hint, const char *name, struct buffer *out,
                             struct error *err)
{
    enum blob_kind kind;
    buffer_clear(out);
    TRY(blob_check(data, size, name, &kind, err));
    bool encrypted = blob_is_encrypted(kind);
    if (encrypted && !key)
        return fail(err, ERR_UNSUPPORTED, "%s: is encrypted and cannot be read without its key", name);
    if (!encrypted && key)
        return fail(err, ERR_MISMATCH, "%s: is not encrypted, but must be", name);

    const uint8_t *content = data + header_size_of(kind);
    size_t content_size = size - header_size_of(kind);
    if (raw_size_max > BLOB_RAW_SIZE_MAX)
        raw_size_max = BLOB_RAW_SIZE_MAX;
    bool compressed = kind == BLOB_ZSTD || kind == BLOB_ENCRYPTED_ZSTD;
    if (!compressed && content_size > raw_size_max)
        return fail_too_large(name, raw_size_max, err);
    if (kind == BLOB_PLAIN)
        return buffer_append(out, content, content_size, err);
    if (kind == BLOB_ENCRYPTED)
        return decrypt(c, key, data, size, name, out, err);
    if (kind == BLOB_ENCRYPTED_ZSTD) {
        TRY(decrypt(c, key, data, size, name, &c->decrypted, err));
        content = c->decrypted.data;
    }
    enum status status = decode_frames(c, content, content_size, raw_size_max, raw_size_hint, name, out, err);
    if (status != OK)
        buffer_clear(out);
    return status;
}

enum status blob_open_keyed(struct blob_context *c, const struct crypt_config *key, const uint8_t *data, size_t size,
                            size_t raw_size_max, const char *name, struct buffer *out, struct error *err)
{
    return open_blob(c, key, data, size, raw_size_max, size > SIZE_MAX / 4 ? size : 4 * size, name, out, err);
}

enum status blob_open(struct blob_context *c, const uint8_t *data, size_t size, size_t raw_size_max, const char *name,
                      struct buffer *out, struct error *err)
{
    return blob_open_keyed(c, NULL, data, size, raw_size_max, name, out, err);
}

enum status blob_open_chunk(struct blob_context *c, const struct crypt_config *key, const uint8_t *data, size_t size,
                            const struct digest *digest, uint64_t raw_size, const char *name, struct buffer *out,
                            struct error *err)
{
    if (raw_size > CHUNK_RAW_SIZE_MAX)
        return fail(err, ERR_LIMIT, "%s: a chunk of %" PRIu64 " bytes is larger than %d", name, raw_size,
                    CHUNK_RAW_SIZE_MAX);
    TRY(open_blob(c, key, data, size, CHUNK_RAW_SIZE_MAX, (size_t)raw_size, name, out, err));
    enum status status = OK;
    struct digest found;
    crypt_digest_of(key, out->data, out->size, &found);
    if (!digest_equal(&found, digest)) {
        char found_text[DIGEST_TEXT_SIZE];
        char expected_text[DIGEST_TEXT_SIZE];
        status = fail(err, ERR_MISMATCH, "%s: digest of its %zu bytes is %s, expected is %s of %" PRIu64 " bytes", name,
                      out->size, digest_text(&found, found_text), digest_text(digest, expected_text), raw_size);
    } else if (out->size != raw_size) {
        status = fail(err, ERR_MISMATCH, "%s: holds %zu bytes, the index says %" PRIu64, name, out->size, raw_size);
    }
    if (status != OK)
        buffer_clear(out);
    return status;
}
