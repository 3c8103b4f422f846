/* What all profiles share in listing old chunks: batches, the payload position, counters.
 * Counters are by contents, for what is stored once counts once: two entries of equal digest are one chunk listed
 * twice. Memory: 20 bytes per entry of the old index. */
#ifndef PXB_DETECT_LOOKAHEAD_INJECT_H
#define PXB_DETECT_LOOKAHEAD_INJECT_H

#include "detect/lookahead.h"

struct injector {
    const struct lookahead_ops *ops;
    void *context;
    struct lookahead_counters counters;
    uint32_t *first_equal;         /* by entry of the old index */
    struct injector_use *by_first; /* by first entry of equal contents */
};

/* Zero-initialise, set ops and context. Needed before listing alone. */
MUST_CHECK enum status injector_init(struct injector *i, const struct dynamic_index *index, struct error *err);
void injector_deinit(struct injector *i);

/* In batches of at most INJECTION_BATCH_MAX. */
MUST_CHECK enum status injector_list(struct injector *i, const struct reuse_chunk *chunks, size_t count,
                                     struct error *err);

#endif
