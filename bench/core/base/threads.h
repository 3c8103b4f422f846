/* Threads for those who may not start any themselves: only flow does (ci/check_purity), others are given this table.
 * All calls are thread-safe. */
#ifndef PXB_BASE_THREADS_H
#define PXB_BASE_THREADS_H

#include "base/status.h"

struct thread; /* of whoever made the table */

struct threads {
    /* `name` (literal, for errors and debuggers, at most 15 bytes) runs `body(argument)`. ERR_LIMIT. */
    enum status (*start)(const char *name, void (*body)(void *argument), void *argument, struct thread **out,
                         struct error *err);
    /* Waits for its end and frees it; accepts NULL. */
    void (*join)(struct thread *thread);
};

#endif
