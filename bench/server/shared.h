/* What all connections of a server have in common. Constant after serve_start, thread-safe, or atomic. */
#ifndef PXB_SERVER_SHARED_H
#define PXB_SERVER_SHARED_H

#include "server/budget.h"
#include "server/fault_state.h"
#include "server/rest.h"
#include "server/serve.h"
#include "server/tls.h"
#include "server/workshop.h"

struct shared_counts {
    atomic_uint_fast64_t connections, connections_now, requests_http1, requests_h2;
    atomic_uint_fast64_t sessions_backup, sessions_reader, sessions_finished;
    atomic_uint_fast64_t chunks, chunks_known, received, sent, errors[6];
};

struct shared {
    char *datastore; /* its directory */
    char name[NAME_DATASTORE_MAX + 1];
    struct store *store;
    struct access *access;
    struct rest_api *api;
    struct tls_context *tls;
    struct serve_limits limits; /* no zeros but for session_idle_ms */
    bool strict;
    struct fault_state faults;
    struct shared_counts counts;
    atomic_bool stopping;
    struct budget bodies;  /* of uploads under way; what is beyond goes through files */
    struct budget tables;  /* of what sessions remember; what is beyond is refused */
    struct budget indexes; /* open ones, beyond what each session may have; what is beyond is refused */
    struct workshop workshop;
};

static inline void shared_count_reply(struct shared *s, int status)
{
    if (status >= 400)
        atomic_fetch_add(&s->counts.errors[status < 600 ? status / 100 : 5], 1);
}

#endif
