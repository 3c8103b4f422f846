/* What all profiles share in listing old chunks: batches, the payload position, counters.
 * Chunks are told in the order of the old index, the same one possibly several times. */
#ifndef PXB_DETECT_LOOKAHEAD_INJECT_H
#define PXB_DETECT_LOOKAHEAD_INJECT_H

#include "detect/lookahead.h"

struct injector {
    const struct lookahead_ops *ops;
    void *context;
    struct lookahead_counters counters;
    size_t entry;   /* listed last */
    uint32_t times; /* how often; 0: none was listed yet */
};

/* In batches of at most INJECTION_BATCH_MAX. */
MUST_CHECK enum status injector_list(struct injector *i, const struct reuse_chunk *chunks, size_t count,
                                     struct error *err);

#endif
