/* Images (.img) and blobs (.conf, .log) on their way into a snapshot and back. Blocking; starts no threads of its own.
 * Source: bench/spec/datastore.md 3, 4, 8.1. */
#ifndef PXB_FLOW_IMAGE_H
#define PXB_FLOW_IMAGE_H

#include "flow/upload.h"
#include "index/fixed_index.h"
#include "index/manifest.h"

enum { BLOB_FILE_SIZE_MAX = 16 << 20 };           /* raw bytes of a .conf or .log */
#define WRAPPED_KEY_NAME "rsa-encrypted.key.blob" /* the encryption key for the owner of a master key */

/* Reads a regular file or block device in chunks of FIXED_CHUNK_SIZE_DEFAULT and stores it under `name`
 * ("disk.img.fidx"). Holes (SEEK_DATA) are not read: the zero chunk is stored once and counted as known afterwards.
 * Chunks of `previous` (may be NULL) are known. Digesting and storing is the pool's. ERR_USAGE: neither file nor block
 * device; ERR_FORMAT: empty; ERR_MISMATCH: it shrank while being read. `out_bytes_read` counts what read() gave. */
MUST_CHECK enum status image_upload(struct sealer_pool *pool, struct store_writer *writer, const char *name,
                                    const char *path, const struct fixed_index *previous, struct failure *failure,
                                    struct stream_stats *out, uint64_t *out_bytes_read, struct error *err);

/* Stores a whole file as one blob ("app.conf.blob"), encrypted unless `key` is NULL. ERR_LIMIT above
 * BLOB_FILE_SIZE_MAX. `out`: encoded size and its SHA-256, as the manifest wants them. */
struct blob_upload_stats {
    uint64_t raw_size, size;
    struct digest csum;
};
MUST_CHECK enum status blob_file_upload(struct store_writer *writer, const struct crypt_config *key, const char *name,
                                        const char *path, struct blob_upload_stats *out, struct error *err);

/* Back again. `target`: a file, made exclusively (mode 0600) and removed again on failure, or "-" for standard output.
 * Zero chunks become holes in a file. Index, chunks and blob are checked against the manifest first. */
struct image_restore_stats {
    uint64_t size;
    uint64_t chunks; /* fetched: zero chunks are not */
};
MUST_CHECK enum status image_restore(struct store_reader *reader, const struct manifest *m, const char *name,
                                     const char *target, struct image_restore_stats *out, struct error *err);
MUST_CHECK enum status blob_file_restore(struct store_reader *reader, const struct manifest *m, const char *name,
                                         const char *target, uint64_t *out_size, struct error *err);

#endif
