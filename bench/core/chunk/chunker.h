/* Content-defined chunk boundaries over a byte stream (64-byte buzhash), with the min-skip of section 4.2.
 * Pure: no I/O, allocation or locks. Instances are independent; one is not thread-safe.
 * Sizes in bytes. Results do not depend on how the stream is split into calls.
 * Source: bench/spec/chunking.md sections 1 to 4; pinned by its section 10.1. */
#ifndef PXB_CHUNK_CHUNKER_H
#define PXB_CHUNK_CHUNKER_H

#include "base/status.h"

enum {
    CHUNKER_WINDOW = 64,
    CHUNKER_AVERAGE_MIN = 256,
    CHUNKER_AVERAGE_DEFAULT = 4 << 20,
    CHUNKER_AVERAGE_MAX = 1 << 28
};

/* What the user may choose: a power of two from 64 to 4096 KiB; ERR_USAGE with the sentence of change-detection.md 1.
 */
MUST_CHECK enum status chunk_size_check_kib(uint64_t kib, struct error *err);

struct chunker {
    uint32_t mask;
    uint32_t threshold;
    size_t chunk_size_min;
    size_t chunk_size_max;
    uint32_t hash;
    size_t size;                    /* bytes of the current chunk scanned so far */
    uint8_t window[CHUNKER_WINDOW]; /* the last bytes, once hashing has begun */
};

/* ERR_USAGE unless `average` is a power of two in CHUNKER_AVERAGE_MIN..MAX. */
MUST_CHECK enum status chunker_init(struct chunker *c, size_t average, struct error *err);
/* Forgets the current chunk: the next byte is the first of a new one. */
void chunker_reset(struct chunker *c);
/* Returns p > 0 if a cut is after p bytes of `data` (the rest is not consumed, state is reset), else 0: all consumed.
 */
size_t chunker_scan(struct chunker *c, const uint8_t *data, size_t size);

#endif
