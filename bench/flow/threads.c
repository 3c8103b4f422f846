#include "flow/threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct thread {
    pthread_t id;
    void (*body)(void *argument);
    void *argument;
};

static void *run(void *argument)
{
    struct thread *thread = argument;
    thread->body(thread->argument);
    return NULL;
}

static enum status start(const char *name, void (*body)(void *argument), void *argument, struct thread **out,
                         struct error *err)
{
    struct thread *thread = malloc(sizeof *thread);
    if (!thread)
        return fail(err, ERR_MEMORY, "out of memory for thread %s", name);
    *thread = (struct thread){.body = body, .argument = argument};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread->id, NULL, run, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        free(thread);
        return fail(err, ERR_LIMIT, "cannot start thread %s: %s", name, strerror(failed));
    }
    (void)pthread_setname_np(thread->id, name); /* for debuggers only */
    *out = thread;
    return OK;
}

static void join(struct thread *thread)
{
    if (!thread)
        return;
    pthread_join(thread->id, NULL);
    free(thread);
}

const struct threads flow_threads = {.start = start, .join = join};
