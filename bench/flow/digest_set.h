/* A growing set of digests: which chunks a stream may refer to without uploading them again. Not thread-safe.
 * Digests are uniformly distributed, so their first bytes are the hash. */
#ifndef PXB_FLOW_DIGEST_SET_H
#define PXB_FLOW_DIGEST_SET_H

#include "chunk/digest.h"

struct digest_set {
    struct digest *slots; /* owned; all-zero: free */
    size_t capacity;      /* power of two */
    size_t count;
    bool has_zero; /* the all-zero digest itself */
};

void digest_set_deinit(struct digest_set *s); /* accepts {0} */
bool digest_set_has(const struct digest_set *s, const struct digest *d);
/* Adding twice is fine. */
MUST_CHECK enum status digest_set_add(struct digest_set *s, const struct digest *d, struct error *err);

#endif
