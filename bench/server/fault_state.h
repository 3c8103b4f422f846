/* The faults of a running server: what is set now, and how often each was met. Thread-safe.
 * A connection copies the faults when it begins; delays and rates of its link follow later changes. */
#ifndef PXB_SERVER_FAULT_STATE_H
#define PXB_SERVER_FAULT_STATE_H

#include "server/faults.h"

#include <pthread.h>
#include <stdatomic.h>

enum fault_kind { FAULT_CUT, FAULT_DELAY, FAULT_ERROR, FAULT_LIE, FAULT_KINDS };

struct fault_state {
    pthread_mutex_t lock;
    struct faults faults;
    atomic_uint generation; /* changes with the faults */
    unsigned calls[FAULT_KINDS];
    unsigned connections;
    unsigned chunks;
};

void fault_state_init(struct fault_state *s, const struct faults *faults);
void fault_state_deinit(struct fault_state *s);
void fault_state_set(struct fault_state *s, const struct faults *faults);
/* Copies; `out_generation` tells later whether something changed. */
void fault_state_get(struct fault_state *s, struct faults *out, unsigned *out_generation);
static inline unsigned fault_state_generation(const struct fault_state *s)
{
    return atomic_load(&s->generation);
}
/* The faults of a new connection. What is for the k-th connection alone is taken out for others. */
void fault_state_connect(struct fault_state *s, struct faults *out, unsigned *out_generation);
/* Whether this call is the one that `fault` means; counts. */
bool fault_state_hits(struct fault_state *s, enum fault_kind kind, const struct fault_call *fault, const char *method,
                      const char *name);
/* Whether the chunk stored now is to be dropped; counts. */
bool fault_state_drops(struct fault_state *s, unsigned k);

#endif
