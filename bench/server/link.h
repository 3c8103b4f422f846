/* One TCP connection, seen through a network that is made slow on purpose.
 *
 *   socket --receive--> [ bytes, each piece with the time of its arrival ] --read--> TLS
 *   socket <---flush--- [ bytes, each piece with the time of its departure ] <--write-- TLS
 *
 * A piece that comes at t leaves its rate limit when those before it have, and arrives `delay` later; so pieces that
 * follow each other wait together, as on a long wire, and a request per round trip costs a round trip each. What is on
 * the wire is bounded (LINK_FIFO_MAX), as a TCP window would. Connecting itself costs a round trip on a real network:
 * the first piece arrives that much later. Without delay and rate pieces arrive at once.
 *
 * For one thread. Time is an argument, monotonic nanoseconds. */
#ifndef PXB_SERVER_LINK_H
#define PXB_SERVER_LINK_H

#include "server/faults.h"
#include "wire/token_bucket.h"

enum { LINK_FIFO_NORMAL = 256 << 10, LINK_FIFO_MAX = 16 << 20 };

struct link_segment {
    uint64_t due_ns;
    size_t size;
};

/* Bytes in order, with their times. */
struct link_fifo {
    uint8_t *data; /* a ring of `capacity` bytes, a power of two */
    size_t capacity;
    size_t head;
    size_t size;
    struct link_segment *segments; /* a ring of `segment_capacity`, a power of two */
    size_t segment_capacity;
    size_t segment_head;
    size_t segment_count;
    uint64_t free_ns; /* when the rate limit lets the next piece begin */
    uint64_t last_due_ns;
};

struct link {
    int fd; /* owned, non-blocking */
    struct link_fifo in;
    struct link_fifo out;
    uint64_t delay_in_ns, delay_out_ns;
    uint64_t rate_in, rate_out;
    uint64_t opened_ns;
    struct token_bucket reading;
    bool eof; /* the client's FIN came; read may still have bytes */
    bool failed;
    bool is_full; /* the socket took less than it was offered */
};

/* Takes the descriptor, also on failure. */
MUST_CHECK enum status link_init(struct link *l, int fd, uint64_t now, struct error *err);
/* `with_reset`: RST, what was not sent is lost; else FIN, as soon as the socket's buffer is empty. */
void link_deinit(struct link *l, bool with_reset);
/* Delays and rates for pieces from now on. */
void link_set(struct link *l, const struct faults *faults, uint64_t now);

/* Takes what the socket has. Sets `eof` and `failed`. */
void link_receive(struct link *l, uint64_t now);
/* Bytes that have arrived; 0: none now (or the end: link_ended). */
size_t link_read(struct link *l, uint8_t *out, size_t size, uint64_t now);
bool link_ended(const struct link *l);

/* How much write takes now. */
size_t link_room(const struct link *l);
/* `size` at most link_room. ERR_MEMORY. */
MUST_CHECK enum status link_write(struct link *l, const uint8_t *data, size_t size, uint64_t now, struct error *err);
/* Gives the socket what has departed. */
void link_flush(struct link *l, uint64_t now);
/* Everything written is with the socket. */
bool link_is_flushed(const struct link *l);

/* What to wait for: events of poll, and the next time that something becomes due (UINT64_MAX: none). */
void link_wait(const struct link *l, uint64_t now, short *out_events, uint64_t *out_due_ns);
/* Whether bytes wait to be read right now. */
bool link_has_input(const struct link *l, uint64_t now);

#endif
