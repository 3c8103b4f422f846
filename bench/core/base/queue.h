/* A bounded queue of pointers between threads, bounded by the weight (bytes) of what is in it. Thread-safe.
 *
 *   full    push blocks; one item is always accepted into an empty queue, however heavy
 *   empty   pop blocks until something comes, or returns ERR_CLOSED after queue_close and the last item
 *   failure queue_fail wakes both ends; from then on push and pop return that status. Items still inside stay the
 *           queue's and are handed to `drop` by queue_deinit: nothing is lost silently. */
#ifndef PXB_BASE_QUEUE_H
#define PXB_BASE_QUEUE_H

#include "base/status.h"

#include <pthread.h>

struct queue_item {
    void *item;
    size_t weight;
};

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t not_full;
    pthread_cond_t not_empty;
    struct queue_item *ring;
    size_t ring_size;
    size_t head;
    size_t count;
    size_t weight;
    size_t weight_max;
    bool closed;
    enum status failed;
    void (*drop)(void *item);
    uint64_t push_waits; /* how often a side had to wait: where the pipeline is tight */
    uint64_t pop_waits;
};

/* At most `count_max` items of together `weight_max` bytes. */
MUST_CHECK enum status queue_init(struct queue *q, size_t count_max, size_t weight_max, void (*drop)(void *item),
                                  struct error *err);
void queue_deinit(struct queue *q); /* all threads must have left */

/* Blocks while full. OK: the queue owns *item. Otherwise the caller still owns it. */
MUST_CHECK enum status queue_push(struct queue *q, void *item, size_t weight);
/* Blocks while empty. OK: the caller owns *out. ERR_CLOSED: producer finished, queue drained. */
MUST_CHECK enum status queue_pop(struct queue *q, void **out);
/* No more pushes will come. */
void queue_close(struct queue *q);
/* First failure wins, wakes both ends, stays. */
void queue_fail(struct queue *q, enum status why);

#endif
