/* One stream on its way into the store: cut, digest, compress, place.
 *
 *   archiver --events--> cutter --chunks--> sealers (digest | compress and store) --> index, in stream order
 *
 * A sealer pool serves several streams. Which chunk is known and where it stands in the index is decided in stream
 * order, so counters and index do not depend on who finishes first. Memory: bytes between the archiver and the store
 * are bounded by UPLOAD_QUEUE_BYTES per stream and SEAL_BYTES_MAX per pool, plus one chunk each.
 * Calls of one upload are for one thread (the archiver); different uploads are independent.
 * Source: bench/spec/change-detection.md 10, 11; bench/spec/chunking.md 5, 6. */
#ifndef PXB_FLOW_UPLOAD_H
#define PXB_FLOW_UPLOAD_H

#include "base/slab.h"
#include "blob/crypt.h"
#include "detect/covering.h"
#include "flow/failure.h"
#include "flow/stats.h"
#include "index/fixed_index.h"
#include "store/store.h"

enum { UPLOAD_QUEUE_BYTES = 8 << 20, SEAL_BYTES_MAX = 40 << 20 };

struct sealer_pool;
/* `threads` >= 1. `key` (borrowed): everything is digested and encrypted with it; NULL: nothing is. `failure`
 * (borrowed) gets the first error. */
MUST_CHECK enum status sealer_pool_new(unsigned threads, const struct crypt_config *key, struct store_writer *writer,
                                       struct failure *failure, struct sealer_pool **out, struct error *err);
const struct crypt_config *sealer_pool_key(const struct sealer_pool *p);
void sealer_pool_free(struct sealer_pool *p); /* all uploads must be gone; accepts NULL */

struct upload;
/* `name`: stored index name, "root.ppxar.didx". `previous` (may be NULL; borrowed until finish): the index of that name
 * in the previous snapshot, whose chunks are known. */
MUST_CHECK enum status upload_new(struct sealer_pool *pool, struct store_writer *writer, const char *name,
                                  size_t chunk_average, const struct dynamic_index *previous, struct failure *failure,
                                  struct upload **out, struct error *err);
/* An image: no cutting, the caller brings chunks in order. Chunks of `previous` (may be NULL; not kept) are known if
 * its chunk size is the same. */
MUST_CHECK enum status upload_new_fixed(struct sealer_pool *pool, struct store_writer *writer, const char *name,
                                        uint64_t size, uint64_t chunk_size, const struct fixed_index *previous,
                                        struct failure *failure, struct upload **out, struct error *err);
/* Stops the threads and drops what is under way; accepts NULL. */
void upload_free(struct upload *u);

/* A part of a logical write; takes the slice, also on failure. All return the status of the first failure of the run,
 * without text: the text is in `failure`. */
MUST_CHECK enum status upload_write(struct upload *u, struct slice part, bool ends_write);
MUST_CHECK enum status upload_suggest(struct upload *u, uint64_t offset);
/* Chunks of `previous`, copied. */
MUST_CHECK enum status upload_inject(struct upload *u, uint64_t boundary, const struct reuse_chunk *chunks,
                                     size_t count, uint64_t size);
/* The previous stream turned out to be damaged: of what follows nothing counts as known because it was in there, and
 * chunks are stored over what is there. The same contents give the same chunks, so the new index would refer to the
 * damaged ones else. A failure is told by the next call. */
void upload_distrust_previous(struct upload *u);
/* The next chunk of an image; takes the slices, also on failure. */
MUST_CHECK enum status upload_chunk(struct upload *u, const struct slice *slices, size_t count);
/* The next chunk of an image equals one that upload_chunk got before: counted as known. */
MUST_CHECK enum status upload_repeat(struct upload *u, uint64_t size, const struct digest *digest);
/* Nothing follows. Waits until everything was handed to the store, which goes on by itself: who finishes several
 * uploads ends all of them first, so that a server's answers are waited for once. A failure is told by upload_finish.
 */
void upload_end(struct upload *u);
/* upload_end, then waits until everything is stored and the index has its final name. */
MUST_CHECK enum status upload_finish(struct upload *u, struct stream_stats *out, struct error *err);

#endif
