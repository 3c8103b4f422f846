/* Which old chunks cover a range of the old payload stream, and what of them is padding.
 * Pure functions over an index; thread-safe as long as the index is not changed.
 * Source: bench/spec/change-detection.md 7 and 8 step 5. */
#ifndef PXB_DETECT_COVERING_H
#define PXB_DETECT_COVERING_H

#include "index/dynamic_index.h"

enum reuse_profile {
    PROFILE_TIGHT,    /* a range that ends on a chunk end needs no further chunk */
    PROFILE_UPSTREAM, /* takes the next whole chunk along then (defect D1), for comparison */
    PROFILE_STORED,   /* covers as tight; judges each old chunk by what would be stored in vain (reuse-stored.md) */
};

/* One old chunk about to be listed again. Its identity is `entry`: two entries of equal digest are two chunks. */
struct reuse_chunk {
    size_t entry;     /* position in the old index */
    uint64_t size;    /* bytes */
    uint64_t padding; /* bytes of it that no file uses through this listing: head, tail and holes between */
    uint64_t head;    /* of these: before the first byte used; unused as a whole: all */
    uint64_t tail;    /* of these: behind the last byte used */
};

struct covering {
    size_t first;           /* entry */
    size_t count;           /* >= 1 */
    uint64_t start_padding; /* bytes before the range in the first chunk */
    uint64_t end_padding;   /* bytes behind the range in the last chunk */
};

/* Covers [start, end), start < end, both within the stream: ERR_FORMAT otherwise. `hint`: an entry at or before the
 * first one wanted makes the search O(1); any value is correct. */
MUST_CHECK enum status covering_find(const struct dynamic_index *index, uint64_t start, uint64_t end,
                                     enum reuse_profile profile, size_t hint, struct covering *out, struct error *err);
/* The k-th chunk of a covering with its padding (a lone chunk has both kinds). */
struct reuse_chunk covering_chunk(const struct dynamic_index *index, const struct covering *c, size_t k);

enum { THRESHOLD_DEFAULT_PPM = 100000, PPM_ONE = 1000000 };
/* Whether counted/total is strictly greater than the threshold in parts per million: then the range is re-encoded. */
bool padding_exceeds(uint64_t counted, uint64_t total, uint32_t threshold_ppm);

#endif
