/* The fixed chunk index (.fidx): an image in chunks of one size. Pure; a parsed index may be shared between threads.
 * Source: bench/spec/datastore.md 3. */
#ifndef PXB_INDEX_FIXED_INDEX_H
#define PXB_INDEX_FIXED_INDEX_H

#include "index/dynamic_index.h"

enum { FIXED_ENTRY_SIZE = 32, FIXED_CHUNK_SIZE_DEFAULT = 4 << 20, FIXED_CHUNK_SIZE_MAX = 16 << 20 };

struct fixed_index {
    struct index_header header; /* csum over the digests */
    uint64_t size;              /* of the image, bytes */
    uint64_t chunk_size;        /* a power of two */
    struct digest *digests;     /* owned */
    size_t count;               /* ceil(size / chunk_size) */
    bool encrypted;             /* as of a dynamic index */
};

void fixed_index_header_bytes(const struct index_header *h, uint64_t size, uint64_t chunk_size,
                              uint8_t out[INDEX_HEADER_SIZE]);
/* ERR_NOT_ARCHIVE: other magic; ERR_FORMAT: file length, and with ERR_LIMIT as fixed_index_count. */
MUST_CHECK enum status fixed_index_parse(const uint8_t *data, size_t size, const char *name, struct fixed_index *out,
                                         struct error *err);
void fixed_index_deinit(struct fixed_index *index); /* accepts {0} */
void fixed_index_csum(const struct fixed_index *index, struct digest *out);
/* Bytes of chunk k; the last one may be shorter. */
uint64_t fixed_index_chunk_size(const struct fixed_index *index, size_t k);
/* For writers: the slot of a chunk of `length` bytes that ends at `end`. ERR_FORMAT unless 0 < length <= chunk_size,
 * end <= size, the chunk begins at a multiple of chunk_size, and only the last one is shorter. */
MUST_CHECK enum status fixed_index_slot(uint64_t size, uint64_t chunk_size, uint64_t end, uint64_t length,
                                        uint64_t *out_k, struct error *err);
/* ERR_FORMAT: size 0, chunk size no power of two or above FIXED_CHUNK_SIZE_MAX. ERR_LIMIT: above INDEX_ENTRIES_MAX
 * chunks. */
MUST_CHECK enum status fixed_index_count(uint64_t size, uint64_t chunk_size, const char *name, uint64_t *out_count,
                                         struct error *err);

#endif
