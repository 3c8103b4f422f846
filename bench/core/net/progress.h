/* Whether a server gets on with what it was asked for. What keeps a connection alive and nothing else (pings, settings,
 * windows) is none of that, and a byte now and then is too little.
 *
 *   answer due --begin--> watched --look: nothing for the timeout--> PROGRESS_NONE
 *                            |-----look: a trickle over the window--> PROGRESS_TOO_SLOW
 *
 * Pure: the caller tells the time and how many bytes of bodies have moved. Not thread-safe. */
#ifndef PXB_NET_PROGRESS_H
#define PXB_NET_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PROGRESS_WINDOW_TIMEOUTS = 10, /* without an answer: over which the speed is judged */
    PROGRESS_SPEED_MIN = 1024,     /* bytes per second */
    PROGRESS_BURST = 128 << 10,    /* what may move at once, and then be waited for, when our own rate is limited */
};

struct progress {
    uint64_t timeout_ns;
    uint64_t window_ns;
    uint64_t bytes_min;   /* in a window */
    uint64_t bytes;       /* at the last look */
    uint64_t moved_ns;    /* when that had grown */
    uint64_t begin_ns;    /* of the window */
    uint64_t begin_bytes; /* at that time */
};

/* `rate`: what we allow ourselves, bytes per second; 0: unlimited. Slower than our own rate nobody can be asked to be.
 */
void progress_init(struct progress *p, uint64_t timeout_ns, uint64_t rate);
/* From now on an answer is due, or another one: one came. */
void progress_begin(struct progress *p, uint64_t bytes, uint64_t now_ns);
/* Until now our own rate held things up. */
void progress_held(struct progress *p, uint64_t now_ns);

enum progress_verdict { PROGRESS_GOOD, PROGRESS_NONE, PROGRESS_TOO_SLOW };
/* `bytes`: of bodies, both ways, from the beginning of the connection. */
enum progress_verdict progress_look(struct progress *p, uint64_t bytes, uint64_t now_ns);

/* What left us may be on its way for long: megabytes of it wait in our kernel. Whether bodies are in what was given to
 * the kernel since this was last true, so that it matters when the peer takes that. */
struct progress_mark {
    uint64_t body_sent; /* at the last call */
    uint64_t body_end;  /* how much the link has sent when all of that is */
    uint64_t marked;
};
/* `body_sent`: bytes of bodies that went into the output; `sent`: bytes of output that the kernel took, `output`: that
 * it did not yet. */
bool progress_mark(struct progress_mark *m, uint64_t body_sent, uint64_t sent, uint64_t output);

#endif
