#include "net/wake.h"

#include <sys/eventfd.h>
#include <unistd.h>

enum status net_wake_init(struct net_wake *w, struct error *err)
{
    *w = NET_WAKE_INIT;
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return w->fd >= 0 ? OK : fail(err, ERR_IO, "make a descriptor to wake a connection's thread");
}

void net_wake_deinit(struct net_wake *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

void net_wake_up(struct net_wake *w)
{
    const uint64_t one = 1;
    /* Fails only when 2^64 - 2 wake-ups wait already. */
    if (write(w->fd, &one, sizeof one) < 0)
        return;
}

void net_wake_stop(struct net_wake *w)
{
    atomic_store(&w->stopped, true);
    net_wake_up(w);
}

bool net_wake_take(struct net_wake *w)
{
    uint64_t count;
    if (!w)
        return false;
    /* Fails when nothing waits. */
    if (read(w->fd, &count, sizeof count) < 0)
        return atomic_load(&w->stopped);
    return atomic_load(&w->stopped);
}

bool net_wake_stopped(const struct net_wake *w)
{
    return w && atomic_load(&w->stopped);
}
