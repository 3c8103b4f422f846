/* The first error of a run, shared by all its threads: first one wins and stays. Thread-safe. */
#ifndef PXB_FLOW_FAILURE_H
#define PXB_FLOW_FAILURE_H

#include "base/status.h"

#include <pthread.h>
#include <stdatomic.h>

struct failure {
    pthread_mutex_t lock;
    atomic_int status; /* enum status; OK: none yet */
    struct error error;
    void (*first)(void *context); /* NULL: nothing to do */
    void *context;
};

void failure_init(struct failure *f);
void failure_deinit(struct failure *f);
/* `first` is called when the first failure was noted, once, by the thread that noted it, without locks held: for waking
 * those who wait for something that takes long and is of no use any more. To be set before threads share this. */
void failure_on_first(struct failure *f, void (*first)(void *context), void *context);
/* ERR_CANCELLED and ERR_CLOSED are consequences, not causes: they are kept only if nothing else comes. */
void failure_set(struct failure *f, enum status status, const struct error *err);
enum status failure_status(const struct failure *f);
/* OK, or the first error copied to `out`. */
MUST_CHECK enum status failure_get(struct failure *f, struct error *out);

#endif
