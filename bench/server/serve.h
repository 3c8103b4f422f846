/* The loopback server: a datastore directory behind the backup server's protocol, for tests, benchmarks and CI.
 *
 *   accept thread --> connection threads: TLS [ HTTP/1.1 front --> rest | backup session | reader session ] --> store
 *
 * One thread per connection; they share the datastore, the accounts and the faults. Strict: what the specification
 * marks as our own check (bench/spec/protocol.md 14.2) is on.
 * Not for production: one account table, no disk limits, no garbage collection while it runs. */
#ifndef PXB_SERVER_SERVE_H
#define PXB_SERVER_SERVE_H

#include "base/threads.h"
#include "server/access.h"
#include "server/faults.h"
#include "store/store.h"

struct serve_limits {          /* 0: the value behind */
    unsigned connections;      /* 128; more are closed at once */
    unsigned idle_ms;          /* of a connection before its upgrade, and for the whole head of a request: 60000 */
    unsigned session_idle_ms;  /* of a session without a byte: unlimited */
    unsigned handshake_ms;     /* 10000 */
    unsigned stop_ms;          /* what serve_stop waits for requests under way: 5000 */
    size_t parameter_body_max; /* WIRE_PARAMETER_BODY_MAX */
    uint64_t body_memory;      /* of uploads under way in all connections; beyond, they go through files: 256 MiB */
    uint64_t table_memory;     /* of what sessions remember, such as known chunks; beyond, calls are refused: 2 GiB */
};

struct serve_options {
    const char *datastore;        /* directory; made if missing. Borrowed, as all texts here, during serve_start */
    const char *name;             /* of the datastore; NULL: the last component of the path, or "store" */
    const char *address;          /* NULL: "127.0.0.1"; "::1", "0.0.0.0", ... */
    unsigned port;                /* 0: any that is free */
    const char *certificate_file; /* PEM, with key_file; NULL: self-made, kept in DATASTORE/.pxarbench */
    const char *key_file;
    const struct access_account *accounts; /* at least one */
    size_t account_count;
    enum sync_level sync;
    struct serve_limits limits;
    struct faults faults;
    bool loose;                    /* leave out the checks of 14.2 that only we make when a backup finishes (V15) */
    const struct threads *threads; /* borrowed until serve_stop */
};

struct serve;
/* Listens when it returns. Ignores SIGPIPE process-wide. */
MUST_CHECK enum status serve_start(const struct serve_options *options, struct serve **out, struct error *err);
/* No new connections; requests under way are finished (at most limits.stop_ms), unfinished backups removed. What was
 * done can still be asked for (serve_stats). */
void serve_end(struct serve *s);
/* The same, unless that has been done, and frees. Accepts NULL. */
void serve_stop(struct serve *s);

unsigned serve_port(const struct serve *s);
const char *serve_name(const struct serve *s);        /* of the datastore */
const char *serve_address(const struct serve *s);     /* as in a URL: IPv6 in brackets */
const char *serve_fingerprint(const struct serve *s); /* "ab:cd:..." */

/* For connections from now on, and the link's delays and rates for those that stand; counters of calls and connections
 * start again. Thread-safe. */
void serve_set_faults(struct serve *s, const struct faults *faults);

struct serve_stats {
    uint64_t connections; /* accepted */
    uint64_t connections_now;
    uint64_t requests_http1, requests_h2;
    uint64_t sessions_backup, sessions_reader; /* upgraded */
    uint64_t sessions_finished;                /* backups */
    uint64_t chunks, chunks_known;             /* uploaded; of these, there already */
    uint64_t received, sent;                   /* bytes within TLS */
    uint64_t errors[6];                        /* replies by their status: [4] 4xx, [5] 5xx */
    uint64_t memory_peak;                      /* of uploads under way */
};
void serve_stats(struct serve *s, struct serve_stats *out); /* thread-safe */

#endif
