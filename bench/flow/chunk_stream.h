/* A sequential stream over an index of a store. Not thread-safe; has a thread of its own that reads ahead. */
#ifndef PXB_FLOW_CHUNK_STREAM_H
#define PXB_FLOW_CHUNK_STREAM_H

#include "base/io.h"
#include "index/dynamic_index.h"
#include "store/store.h"

/* Reads up to `ahead` chunks ahead of the reader; 0: no thread, no chunk is fetched before it is needed. Nothing is
 * fetched before the first read. Skips do not fetch chunks that lie wholly in the skipped range, unless they were read
 * ahead before. The source can seek; going back drops what was read ahead, fetches chunks that are no longer held once
 * more, and reads ahead at first only as far as the reader has come since. Every chunk's digest and length is checked.
 * `reader` and `index` are borrowed, `name` is copied. */
struct chunk_stream;
MUST_CHECK enum status chunk_stream_new(struct store_reader *reader, const struct dynamic_index *index,
                                        const char *name, size_t ahead, struct chunk_stream **out, struct error *err);
struct source chunk_stream_source(struct chunk_stream *s);
/* From now on only chunks with bytes of begin..end are read ahead; others are fetched when they are read. At first
 * everything is. For readers that know what they will skip; to be called before the skip. */
void chunk_stream_want(struct chunk_stream *s, uint64_t begin, uint64_t end);
/* Counts a chunk as often as it was fetched. */
uint64_t chunk_stream_fetched(const struct chunk_stream *s);
void chunk_stream_free(struct chunk_stream *s); /* stops its thread; accepts NULL */

#endif
