#include "server/workshop.h"

#include <stdlib.h>

void workshop_init(struct workshop *w, unsigned benches, size_t keep_max)
{
    *w = (struct workshop){.made_max = benches, .keep_max = keep_max};
    int failed = pthread_mutex_init(&w->lock, NULL) + pthread_cond_init(&w->returned, NULL);
    ASSERT(failed == 0);
}

static void bench_free(struct workbench *b)
{
    blob_context_free(b->blobs);
    buffer_deinit(&b->encoded);
    buffer_deinit(&b->raw);
    buffer_deinit(&b->rewritten);
    free(b);
}

void workshop_deinit(struct workshop *w)
{
    for (struct workbench *b; (b = w->idle) != NULL; w->made--) {
        w->idle = b->next;
        bench_free(b);
    }
    ASSERT(w->made == 0);
    pthread_cond_destroy(&w->returned);
    pthread_mutex_destroy(&w->lock);
}

static enum status bench_new(struct workbench **out, struct error *err)
{
    struct workbench *b = calloc(1, sizeof *b);
    if (!b)
        return fail(err, ERR_MEMORY, "out of memory for looking at an upload");
    enum status status = blob_context_new(&b->blobs, err);
    if (status != OK) {
        bench_free(b);
        return status;
    }
    *out = b;
    return OK;
}

static void leave_one(struct workshop *w, struct workbench *bench)
{
    pthread_mutex_lock(&w->lock);
    if (bench) {
        bench->next = w->idle;
        w->idle = bench;
    } else {
        w->made--;
    }
    pthread_cond_signal(&w->returned);
    pthread_mutex_unlock(&w->lock);
}

enum status workshop_take(struct workshop *w, struct workbench **out, struct error *err)
{
    *out = NULL;
    pthread_mutex_lock(&w->lock);
    while (!w->idle && w->made == w->made_max)
        pthread_cond_wait(&w->returned, &w->lock);
    if (w->idle) {
        *out = w->idle;
        w->idle = w->idle->next;
    } else {
        w->made++;
    }
    pthread_mutex_unlock(&w->lock);
    if (*out)
        return OK;
    enum status status = bench_new(out, err);
    if (status != OK)
        leave_one(w, NULL); /* whoever waits may try in our place */
    return status;
}

static void clear(struct buffer *b, size_t keep_max)
{
    if (b->capacity > keep_max)
        buffer_deinit(b);
    buffer_clear(b);
}

void workshop_return(struct workshop *w, struct workbench *bench)
{
    if (!bench)
        return;
    clear(&bench->encoded, w->keep_max);
    clear(&bench->raw, w->keep_max);
    clear(&bench->rewritten, w->keep_max);
    leave_one(w, bench);
}
