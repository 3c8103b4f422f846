/* Random access to a stored stream: a source_at over an index, with a bounded cache of opened chunks (least recently
 * used goes). Every chunk's digest and length is checked when it is fetched; one that is missing is ERR_IO. Not
 * thread-safe.
 * Memory: `chunks_max` chunks of at most 16 MiB each. */
#ifndef PXB_FLOW_CHUNK_READER_H
#define PXB_FLOW_CHUNK_READER_H

#include "base/io.h"
#include "index/dynamic_index.h"
#include "store/store.h"

enum { CHUNK_READER_CACHE_DEFAULT = 4 };

struct chunk_reader;
/* `reader`, `index` and `name` are borrowed until free. `chunks_max` >= 1. */
MUST_CHECK enum status chunk_reader_new(struct store_reader *reader, const struct dynamic_index *index,
                                        const char *name, size_t chunks_max, struct chunk_reader **out,
                                        struct error *err);
void chunk_reader_free(struct chunk_reader *r); /* accepts NULL */
struct source_at chunk_reader_source(struct chunk_reader *r);
/* Chunks read from the store, and their raw bytes. One that was dropped and is read again counts again. */
uint64_t chunk_reader_fetched(const struct chunk_reader *r);
uint64_t chunk_reader_fetched_bytes(const struct chunk_reader *r);

#endif
