/* Cuts a payload stream: hash cuts, suggested boundaries, forced boundaries with injected chunks.
 *
 * A pull machine without I/O. The owner tells it everything in stream order and keeps the bytes:
 *
 *     suggestion, order  queued before the first byte at or after them
 *     write              one logical write of the archiver, in one or several parts; the cutter groups writes into
 *                        pieces by the reference client's piece rule (chunking.md 5), computed from write sizes alone
 *     next               what to do now: RAW n = the first n bytes not yet taken are a chunk; INJECT = append the
 *                        chunks of the oldest order; MORE = tell me more
 *
 * A piece is scanned only when the first byte behind it, or the end, has come: everything said about offsets up to its
 * end is known by then, so the result depends neither on timing nor on how often `next` is asked.
 * The bytes given to payload_cutter_write are borrowed until a RAW covers them.
 * Not thread-safe. Sizes and offsets in bytes; stream offsets include injected chunks.
 * Source: bench/spec/chunking.md 5 and 6, bench/spec/change-detection.md 10; pinned by chunking.md 10.2 to 10.4. */
#ifndef PXB_CHUNK_PAYLOAD_CUTTER_H
#define PXB_CHUNK_PAYLOAD_CUTTER_H

#include "chunk/chunker.h"

enum { PIECE_BUFFER_SIZE = 262144 };

struct payload_cutter;

enum cut_kind { CUT_MORE, CUT_RAW, CUT_INJECT };
struct cut {
    enum cut_kind kind;
    uint64_t size;   /* RAW: bytes of the chunk; INJECT: the order's total */
    uint64_t offset; /* stream offset where it begins */
};

/* `feed_size` 0: the piece rule. Otherwise pieces are `feed_size` bytes regardless of writes (test vectors);
 * SIZE_MAX: the whole input is one piece. */
MUST_CHECK enum status payload_cutter_new(size_t average, size_t feed_size, struct payload_cutter **out,
                                          struct error *err);
void payload_cutter_free(struct payload_cutter *c); /* accepts NULL */

MUST_CHECK enum status payload_cutter_suggest(struct payload_cutter *c, uint64_t offset, struct error *err);
/* `boundary` is a stream offset; `size` the sum of the injected chunks. */
MUST_CHECK enum status payload_cutter_order(struct payload_cutter *c, uint64_t boundary, uint64_t size,
                                            struct error *err);
/* A part of a logical write; `ends_write`: its last part. An empty logical write is allowed. */
MUST_CHECK enum status payload_cutter_write(struct payload_cutter *c, const uint8_t *data, size_t size, bool ends_write,
                                            struct error *err);
/* No more input. */
MUST_CHECK enum status payload_cutter_end(struct payload_cutter *c, struct error *err);
/* ERR_FORMAT: an order whose boundary was passed, or orders left at the end. After payload_cutter_end, CUT_MORE
 * means that everything was delivered. */
MUST_CHECK enum status payload_cutter_next(struct payload_cutter *c, struct cut *out, struct error *err);

#endif
