/* Data blobs: the encoding of chunk files, .blob files and uploads: uncompressed or zstd, and either of them encrypted.
 * Pure: bytes in, bytes out. A context holds zstd's and the cipher's state and may be reused; it is not thread-safe,
 * one per thread.
 * Source: bench/spec/datastore.md 4. */
#ifndef PXB_BLOB_BLOB_H
#define PXB_BLOB_BLOB_H

#include "base/buffer.h"
#include "base/slab.h"
#include "blob/crypt.h"
#include "chunk/digest.h"

enum {
    BLOB_CRC_OFFSET = 8,
    BLOB_HEADER_SIZE = 12,
    BLOB_ENCRYPTED_HEADER_SIZE = 44,
    BLOB_RAW_SIZE_MAX = 128 << 20,
    CHUNK_RAW_SIZE_MAX = 16 << 20,
    CHUNK_BLOB_SIZE_MAX = (16 << 20) + 44,
};

enum blob_kind { BLOB_PLAIN, BLOB_ZSTD, BLOB_ENCRYPTED, BLOB_ENCRYPTED_ZSTD };
static inline bool blob_is_encrypted(enum blob_kind kind)
{
    return kind == BLOB_ENCRYPTED || kind == BLOB_ENCRYPTED_ZSTD;
}

struct blob_context;
MUST_CHECK enum status blob_context_new(struct blob_context **out, struct error *err);
void blob_context_free(struct blob_context *c); /* accepts NULL */

/* Encodes the concatenation of `slices`; replaces the content of `out`. zstd level 1, kept only if strictly shorter
 * than the raw data. ERR_LIMIT above BLOB_RAW_SIZE_MAX. */
MUST_CHECK enum status blob_seal(struct blob_context *c, const struct slice *slices, size_t slice_count,
                                 struct buffer *out, struct error *err);
/* The same encrypted with `key`. `iv`: random, never used before with this key. */
MUST_CHECK enum status blob_seal_encrypted(struct blob_context *c, const struct crypt_config *key,
                                           const uint8_t iv[CRYPT_IV_SIZE], const struct slice *slices,
                                           size_t slice_count, struct buffer *out, struct error *err);
/* Checks magic, length and crc, decompresses into `out` (replacing it); never more than `raw_size_max` bytes:
 * ERR_LIMIT. `name` for errors. ERR_NOT_ARCHIVE unknown magic, ERR_MISMATCH crc, ERR_FORMAT frame, ERR_UNSUPPORTED
 * encrypted. */
MUST_CHECK enum status blob_open(struct blob_context *c, const uint8_t *data, size_t size, size_t raw_size_max,
                                 const char *name, struct buffer *out, struct error *err);
/* With `key` NULL it is blob_open. Else the blob must be encrypted, with that key: ERR_MISMATCH if it is not, so that
 * nothing unencrypted is ever taken for what the key's owner wrote. */
MUST_CHECK enum status blob_open_keyed(struct blob_context *c, const struct crypt_config *key, const uint8_t *data,
                                       size_t size, size_t raw_size_max, const char *name, struct buffer *out,
                                       struct error *err);
/* blob_open_keyed, then digest (keyed like it) and exact length: what every chunk read goes through. ERR_MISMATCH names
 * both values. */
MUST_CHECK enum status blob_open_chunk(struct blob_context *c, const struct crypt_config *key, const uint8_t *data,
                                       size_t size, const struct digest *digest, uint64_t raw_size, const char *name,
                                       struct buffer *out, struct error *err);
/* From magic alone. */
MUST_CHECK enum status blob_kind_of(const uint8_t *data, size_t size, const char *name, enum blob_kind *out,
                                    struct error *err);
/* Magic, length and crc: all that can be said about an encrypted one without its key. Errors as blob_open. */
MUST_CHECK enum status blob_check(const uint8_t *data, size_t size, const char *name, enum blob_kind *out,
                                  struct error *err);

#endif
