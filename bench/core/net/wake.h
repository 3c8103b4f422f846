/* Ends another thread's wait, or ends its work: a descriptor for poll, and a flag.
 * Thread-safe but for init and deinit. */
#ifndef PXB_NET_WAKE_H
#define PXB_NET_WAKE_H

#include "base/status.h"

#include <stdatomic.h>

struct net_wake {
    int fd; /* -1: nobody can wake */
    atomic_bool stopped;
};
#define NET_WAKE_INIT ((struct net_wake){.fd = -1})

MUST_CHECK enum status net_wake_init(struct net_wake *w, struct error *err);
void net_wake_deinit(struct net_wake *w); /* accepts NET_WAKE_INIT */
/* The next or present wait ends. */
void net_wake_up(struct net_wake *w);
/* For good: waits end with ERR_CANCELLED from now on. */
void net_wake_stop(struct net_wake *w);
/* Whoever waited forgets the wake-ups so far; returns whether to stop. Accepts NULL. */
bool net_wake_take(struct net_wake *w);
bool net_wake_stopped(const struct net_wake *w); /* accepts NULL */

#endif
