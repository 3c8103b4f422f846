#include "flow/failure.h"

void failure_init(struct failure *f)
{
    *f = (struct failure){0};
    pthread_mutex_init(&f->lock, NULL);
}

void failure_deinit(struct failure *f)
{
    pthread_mutex_destroy(&f->lock);
}

void failure_on_first(struct failure *f, void (*first)(void *context), void *context)
{
    f->first = first;
    f->context = context;
}

static bool is_consequence(enum status status)
{
    return status == ERR_CANCELLED || status == ERR_CLOSED;
}

void failure_set(struct failure *f, enum status status, const struct error *err)
{
    ASSERT(status != OK);
    pthread_mutex_lock(&f->lock);
    enum status now = (enum status)atomic_load(&f->status);
    if (now == OK || (is_consequence(now) && !is_consequence(status))) {
        f->error = *err;
        f->error.status = status;
        if (is_consequence(status))
            fail(&f->error, status, "stopped");
        atomic_store(&f->status, (int)status);
    }
    pthread_mutex_unlock(&f->lock);
    if (now == OK && f->first)
        f->first(f->context);
}

enum status failure_status(const struct failure *f)
{
    return (enum status)atomic_load(&f->status);
}

enum status failure_get(struct failure *f, struct error *out)
{
    pthread_mutex_lock(&f->lock);
    enum status status = (enum status)atomic_load(&f->status);
    if (status != OK && out)
        *out = f->error;
    pthread_mutex_unlock(&f->lock);
    return status;
}
