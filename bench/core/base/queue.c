#include "base/queue.h"

#include "base/buffer.h"

#include <stdlib.h>

enum status queue_init(struct queue *q, size_t count_max, size_t weight_max, void (*drop)(void *item),
                       struct error *err)
{
    ASSERT(count_max > 0 && weight_max > 0);
    *q = (struct queue){.ring_size = count_max, .weight_max = weight_max, .drop = drop};
    void *ring;
    TRY(array_new(count_max, sizeof *q->ring, 1U << 20, "queue slots", &ring, err));
    q->ring = ring;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->not_full, NULL);
    pthread_cond_init(&q->not_empty, NULL);
    return OK;
}

void queue_deinit(struct queue *q)
{
    if (!q->ring)
        return;
    while (q->count > 0) {
        if (q->drop)
            q->drop(q->ring[q->head].item);
        q->head = (q->head + 1) % q->ring_size;
        q->count--;
    }
    pthread_cond_destroy(&q->not_empty);
    pthread_cond_destroy(&q->not_full);
    pthread_mutex_destroy(&q->lock);
    free(q->ring);
    *q = (struct queue){0};
}

static bool is_full(const struct queue *q, size_t weight)
{
    if (q->count == 0)
        return false;
    return q->count == q->ring_size || q->weight >= q->weight_max || weight > q->weight_max - q->weight;
}

enum status queue_push(struct queue *q, void *item, size_t weight)
{
    pthread_mutex_lock(&q->lock);
    while (q->failed == OK && !q->closed && is_full(q, weight)) {
        q->push_waits++;
        pthread_cond_wait(&q->not_full, &q->lock);
    }
    enum status status = q->failed != OK ? q->failed : q->closed ? ERR_CLOSED : OK;
    if (status == OK) {
        q->ring[(q->head + q->count) % q->ring_size] = (struct queue_item){item, weight};
        q->count++;
        q->weight += weight;
        pthread_cond_signal(&q->not_empty);
    }
    pthread_mutex_unlock(&q->lock);
    return status;
}

enum status queue_pop(struct queue *q, void **out)
{
    pthread_mutex_lock(&q->lock);
    while (q->failed == OK && q->count == 0 && !q->closed) {
        q->pop_waits++;
        pthread_cond_wait(&q->not_empty, &q->lock);
    }
    enum status status = q->failed != OK ? q->failed : q->count == 0 ? ERR_CLOSED : OK;
    if (status == OK) {
        struct queue_item *slot = &q->ring[q->head];
        *out = slot->item;
        q->weight -= slot->weight;
        q->head = (q->head + 1) % q->ring_size;
        q->count--;
        /* Items differ in weight: the one waiter that was signalled might not fit, another might. */
        pthread_cond_broadcast(&q->not_full);
    }
    pthread_mutex_unlock(&q->lock);
    return status;
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->not_empty);
    pthread_cond_broadcast(&q->not_full);
    pthread_mutex_unlock(&q->lock);
}

void queue_fail(struct queue *q, enum status why)
{
    ASSERT(why != OK);
    pthread_mutex_lock(&q->lock);
    if (q->failed == OK)
        q->failed = why;
    pthread_cond_broadcast(&q->not_empty);
    pthread_cond_broadcast(&q->not_full);
    pthread_mutex_unlock(&q->lock);
}
