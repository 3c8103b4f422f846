/* Digests that are to be waited for, each as often as it was added. Not thread-safe.
 * Who wants to slow this down needs chunks whose digests begin alike, which cost as much as they hurt: the hash is the
 * digest's own beginning. */
#ifndef PXB_STORE_REMOTE_PENDING_H
#define PXB_STORE_REMOTE_PENDING_H

#include "chunk/digest.h"

struct pending_digests {
    struct pending_digest {
        struct digest digest;
        uint32_t count; /* 0: an empty slot */
    } * slots;          /* owned; open addressing */
    size_t capacity;    /* a power of two, or 0 */
    size_t used;
};

void pending_deinit(struct pending_digests *p); /* accepts {0} */
MUST_CHECK enum status pending_add(struct pending_digests *p, const struct digest *digest, struct error *err);
void pending_remove(struct pending_digests *p, const struct digest *digest); /* once; unknown ones are ignored */
bool pending_has(const struct pending_digests *p, const struct digest *digest);

#endif
