#include "server/fault_state.h"

#include <string.h>

void fault_state_init(struct fault_state *s, const struct faults *faults)
{
    *s = (struct fault_state){.faults = *faults};
    int failed = pthread_mutex_init(&s->lock, NULL);
    ASSERT(failed == 0);
    atomic_init(&s->generation, 0);
}

void fault_state_deinit(struct fault_state *s)
{
    pthread_mutex_destroy(&s->lock);
}

void fault_state_set(struct fault_state *s, const struct faults *faults)
{
    pthread_mutex_lock(&s->lock);
    s->faults = *faults;
    memset(s->calls, 0, sizeof s->calls);
    s->connections = s->chunks = 0;
    atomic_fetch_add(&s->generation, 1);
    pthread_mutex_unlock(&s->lock);
}

void fault_state_get(struct fault_state *s, struct faults *out, unsigned *out_generation)
{
    pthread_mutex_lock(&s->lock);
    *out = s->faults;
    *out_generation = atomic_load(&s->generation);
    pthread_mutex_unlock(&s->lock);
}

void fault_state_connect(struct fault_state *s, struct faults *out, unsigned *out_generation)
{
    pthread_mutex_lock(&s->lock);
    s->connections++;
    *out = s->faults;
    *out_generation = atomic_load(&s->generation);
    if (out->cut_connection != 0 && out->cut_connection != s->connections)
        out->cut_in = out->cut_out = 0;
    pthread_mutex_unlock(&s->lock);
}

/* "finish", "POST finish", "*" */
static bool is_meant(const struct fault_call *fault, const char *method, const char *name)
{
    const char *wanted = fault->name;
    if (strcmp(wanted, "*") == 0)
        return true;
    size_t size = strlen(method);
    if (strncmp(wanted, method, size) == 0 && wanted[size] == ' ')
        wanted += size + 1;
    return strcmp(wanted, name) == 0;
}

bool fault_state_hits(struct fault_state *s, enum fault_kind kind, const struct fault_call *fault, const char *method,
                      const char *name)
{
    if (!fault->name[0] || !is_meant(fault, method, name))
        return false;
    pthread_mutex_lock(&s->lock);
    unsigned k = ++s->calls[kind];
    pthread_mutex_unlock(&s->lock);
    return fault->k == 0 || fault->k == k;
}

bool fault_state_drops(struct fault_state *s, unsigned k)
{
    if (k == 0)
        return false;
    pthread_mutex_lock(&s->lock);
    bool drops = ++s->chunks == k;
    pthread_mutex_unlock(&s->lock);
    return drops;
}
