/* One chunk of an index out of a store: fetched, opened, its digest and length checked. Chunks of an encrypted index
 * are opened with the store's key, and must be encrypted. Not thread-safe: one fetcher per thread. */
#ifndef PXB_FLOW_CHUNK_FETCH_H
#define PXB_FLOW_CHUNK_FETCH_H

#include "blob/blob.h"
#include "index/dynamic_index.h"
#include "store/store.h"

struct chunk_fetcher {
    struct store_reader *reader;       /* borrowed */
    const struct dynamic_index *index; /* borrowed */
    const char *name;                  /* borrowed; of the index, for errors */
    const struct crypt_config *key;    /* borrowed; NULL: the chunks are not encrypted */
    struct blob_context *context;
    struct buffer encoded;
};

MUST_CHECK enum status chunk_fetcher_init(struct chunk_fetcher *f, struct store_reader *reader,
                                          const struct dynamic_index *index, const char *name, struct error *err);
void chunk_fetcher_deinit(struct chunk_fetcher *f); /* accepts {0} */
/* Replaces `out`, whose limit is at least CHUNK_RAW_SIZE_MAX. Errors name the chunk's file, the index, the chunk's
 * number and its offset. */
MUST_CHECK enum status chunk_fetch(struct chunk_fetcher *f, size_t chunk, struct buffer *out, struct error *err);

#endif
