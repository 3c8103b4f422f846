/* The body of an upload while it arrives. Bodies of all connections share a budget of memory; what goes beyond it is
 * kept in a nameless file of the datastore's filesystem, so that clients with many half-sent uploads cost disk, not
 * memory. For one thread each; the budget is shared. */
#ifndef PXB_SERVER_BODY_H
#define PXB_SERVER_BODY_H

#include "server/shared.h"

struct body {
    struct shared *shared;
    size_t size_max;
    size_t size;
    struct buffer memory;
    size_t charged; /* of the budget */
    int fd;         /* -1: in memory */
};

void body_init(struct body *b, struct shared *shared, size_t size_max);
void body_deinit(struct body *b); /* accepts zeroed with fd -1 */
/* ERR_LIMIT: longer than size_max. */
MUST_CHECK enum status body_add(struct body *b, const uint8_t *data, size_t size, struct error *err);
/* All of it, in memory now; until deinit. One body of a thread at a time, so it does not count. */
MUST_CHECK enum status body_take(struct body *b, const uint8_t **out, size_t *out_size, struct error *err);

#endif
