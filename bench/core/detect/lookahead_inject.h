/* What all profiles share in listing old chunks: batches, the payload position, counters.
 * Entries are told in the order of the old index, the same one possibly several times. */
#ifndef PXB_DETECT_LOOKAHEAD_INJECT_H
#define PXB_DETECT_LOOKAHEAD_INJECT_H

#include "detect/lookahead.h"

/* A chunk that was listed: by its contents, for two entries may be one stored chunk. */
struct injected {
    size_t entry;    /* one that lists it */
    uint64_t unused; /* bytes that no listing serves to a file */
    bool listed, relisted;
};

/* Listings of one chunk stand near each other: so many different ones between them are remembered. */
enum { INJECTED_MAX = 64 };

struct injector {
    const struct lookahead_ops *ops;
    void *context;
    const struct dynamic_index *index;
    struct lookahead_counters counters;
    struct injected last[INJECTED_MAX]; /* latest first */
    size_t last_count;
};

/* In batches of at most INJECTION_BATCH_MAX. */
MUST_CHECK enum status injector_list(struct injector *i, const struct reuse_chunk *chunks, size_t count,
                                     struct error *err);

#endif
