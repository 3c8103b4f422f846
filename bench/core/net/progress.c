#include "net/progress.h"

static const uint64_t ns_per_s = 1000000000;

void progress_init(struct progress *p, uint64_t timeout_ns, uint64_t rate)
{
    uint64_t speed = rate > 0 && rate / 4 < PROGRESS_SPEED_MIN ? rate / 4 : PROGRESS_SPEED_MIN;
    uint64_t burst_ns = rate > 0 ? PROGRESS_BURST * ns_per_s / rate : 0;
    uint64_t window_ns = PROGRESS_WINDOW_TIMEOUTS * timeout_ns;
    *p = (struct progress){.timeout_ns = timeout_ns, .window_ns = window_ns > burst_ns ? window_ns : burst_ns};
    /* Milliseconds: the product of a long window and nanoseconds would not fit. */
    p->bytes_min = p->window_ns / (ns_per_s / 1000) * speed / 1000;
}

void progress_begin(struct progress *p, uint64_t bytes, uint64_t now_ns)
{
    p->bytes = p->begin_bytes = bytes;
    p->moved_ns = p->begin_ns = now_ns;
}

void progress_held(struct progress *p, uint64_t now_ns)
{
    p->moved_ns = now_ns;
}

enum progress_verdict progress_look(struct progress *p, uint64_t bytes, uint64_t now_ns)
{
    if (bytes != p->bytes) {
        p->bytes = bytes;
        p->moved_ns = now_ns;
    }
    if (now_ns - p->moved_ns >= p->timeout_ns)
        return PROGRESS_NONE;
    if (now_ns - p->begin_ns < p->window_ns)
        return PROGRESS_GOOD;
    if (bytes - p->begin_bytes < p->bytes_min)
        return PROGRESS_TOO_SLOW;
    p->begin_ns = now_ns;
    p->begin_bytes = bytes;
    return PROGRESS_GOOD;
}

bool progress_mark(struct progress_mark *m, uint64_t body_sent, uint64_t sent, uint64_t output)
{
    if (body_sent != m->body_sent) {
        m->body_sent = body_sent;
        m->body_end = sent + output;
    }
    bool wanted = m->marked < m->body_end;
    if (wanted)
        m->marked = sent;
    return wanted;
}
