/* A datastore on a server, inside the store folder only.
 *
 *   remote.c          the store: its sessions, what they counted; lists over plain calls
 *   remote_write.c    a backup: chunks and blobs under way, the end
 *   remote_index.c    indexes: entries wait for their chunks, appends go one at a time
 *   remote_pending.c  digests whose chunks the server has not acknowledged
 *   remote_read.c     readers of a snapshot, and of the previous one while a backup runs
 *   remote_files.c    whole files, each fetched once
 *   remote_chunks.c   chunks, fetched ahead
 *
 * Requests are answered on their session's thread (net/session.h). So every object has a lock, answers take it, and
 * whoever waits waits for its condition. Locks of objects come before those of sessions; no object's lock is taken with
 * another's held.
 * Source: bench/spec/protocol.md 8 to 11. */
#ifndef PXB_STORE_REMOTE_H
#define PXB_STORE_REMOTE_H

#include "net/rest.h"
#include "net/session.h"
#include "store/remote_pending.h"
#include "store/store_ops.h"
#include "wire/call.h"
#include "wire/protocol.h"

#include <pthread.h>
#include <stdatomic.h>

#define REMOTE_MANIFEST_NAME "index.json.blob"

enum {
    REMOTE_UPLOAD_BYTES = 64 << 20, /* of bodies under way in a backup */
    REMOTE_UPLOAD_REQUESTS = 1024,  /* that are unanswered when the next chunk goes: chunks may be small */
    REMOTE_STREAMS_MAX = 256,       /* indexes of a backup */
    REMOTE_NAMES_MAX = 65536,       /* blobs of a backup, files read of a snapshot */
    REMOTE_KEPT_BYTES = 64 << 20,   /* of files that were read */
    REMOTE_AHEAD_FILES = 4,         /* each of at most STORE_AHEAD_BYTES, before the first is read */
    REMOTE_CACHED_BYTES = 64 << 20, /* of chunks that were asked for */
    REMOTE_CACHED_CHUNKS = 1024,
};

/* ---- the store ---- */

/* A session of the store's, counted also when it is closed. */
struct remote_link {
    struct net_session *session;
    struct remote_link *next;
};

struct remote_store {
    struct store_head head;
    char *text; /* for messages */
    struct account *account;
    const struct threads *threads;
    pthread_mutex_t lock; /* of the next two */
    struct remote_link *links;
    struct net_stats closed;
    atomic_uint_fast64_t waited_ns; /* for answers, beside what sessions count */
    pthread_mutex_t rest_lock;      /* of `rest` */
    struct rest *rest;              /* NULL: not needed yet */
};
static inline struct remote_store *remote_store_of(struct store *s)
{
    return (struct remote_store *)s;
}

/* Begins a session; as net_session_start. */
MUST_CHECK enum status remote_link_open(struct remote_store *s, enum session_kind kind, const struct snapshot_id *id,
                                        struct remote_link **out, struct error *err);
/* Answers whatever is unanswered, on the session's thread. Accepts NULL. */
void remote_link_close(struct remote_store *s, struct remote_link *link);
/* A wait on `changed` whose time counts as spent waiting for the server. */
void remote_wait(struct remote_store *s, pthread_cond_t *changed, pthread_mutex_t *lock);
/* A name of a file of a snapshot, with this extension (NULL: any that is known). ERR_USAGE. */
MUST_CHECK enum status remote_name_check(const char *name, const char *extension, struct error *err);
/* After a failure: servers answer 400 or 404 when they do not have what they were asked for. */
enum status remote_missing(const struct h2_response *response, enum status status, struct error *err);

MUST_CHECK enum status remote_begin(struct store *s, const struct snapshot_id *id, struct store_writer **out,
                                    struct error *err);
MUST_CHECK enum status remote_reader_open(struct store *s, const struct snapshot_id *id, struct store_reader **out,
                                          struct error *err);

/* ---- a backup ---- */

struct remote_entry {
    uint64_t offset;
    struct digest digest;
};

/* An index on its way; the writer's, as answers may come after the index was given up. Under the writer's lock.
 *
 *   append --> entries: [ ready: chunks are acknowledged | the others ] --> at most 512 in one append, then the next */
struct remote_stream {
    struct remote_writer *writer;
    char name[NAME_FILE_MAX + 1];
    enum call_index kind;
    uint32_t wid;                  /* 0: the server has not told yet */
    bool expected;                 /* created, but not begun yet */
    bool ended;                    /* nothing follows; `size` and `csum` are known */
    bool sending;                  /* an append is under way */
    bool closing;                  /* the close is under way, or done */
    bool closed;                   /* acknowledged */
    bool given_up;                 /* aborted: never closed */
    struct pending_digests coming; /* entries whose chunks are to be put for this index, until acknowledged */
    struct remote_entry *entries;  /* owned: a ring */
    size_t head, waiting, capacity;
    size_t ready;
    uint64_t count; /* ever appended */
    uint64_t size;
    struct digest csum;
};

struct remote_writer {
    struct writer_head head;
    struct remote_store *store;
    struct remote_link *link;
    struct snapshot_id id;
    struct snapshot_id previous;           /* time 0: none */
    char (*blob_names)[NAME_FILE_MAX + 1]; /* owned */
    size_t blob_count, blob_capacity;
    unsigned open_indexes;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock: */
    struct error failure; /* the first; status OK: none */
    uint64_t bytes;       /* of bodies under way */
    uint64_t unanswered;
    struct pending_digests sent; /* chunks, until acknowledged: whichever index refers to them waits */
    struct remote_stream *streams[REMOTE_STREAMS_MAX]; /* owned; by number */
    size_t stream_count;
};

/* What a request was about. */
enum remote_call_kind { REMOTE_CREATE, REMOTE_CHUNK, REMOTE_APPEND, REMOTE_CLOSE, REMOTE_BLOB };
struct remote_call {
    struct remote_writer *writer;
    struct remote_stream *stream; /* NULL: a blob */
    enum remote_call_kind kind;
    uint64_t bytes;       /* of the body */
    struct digest digest; /* of a chunk */
    char name[NAME_FILE_MAX + 1];
};

/* All under the writer's lock. Sends a request; a failure becomes the writer's. Takes path and body. */
void remote_send(struct remote_writer *w, const struct remote_call *call, const char *method, const char *content_type,
                 struct buffer *path, struct buffer *body);
/* The first failure stays. */
void remote_note_failure(struct remote_writer *w, const struct error *err);
enum status remote_failure(const struct remote_writer *w, struct error *err);
/* Sends what can be sent of the stream's entries, in appends of at least `least` unless they are the last, and its
 * close when they are through. */
void remote_stream_advance(struct remote_stream *t, size_t least);
/* An answer of 200 to an append. */
void remote_stream_appended(struct remote_stream *t);

void remote_index_expect(struct store_writer *w, const char *name);
MUST_CHECK enum status remote_index_begin(struct store_writer *w, const char *name, struct store_index **out,
                                          struct error *err);
MUST_CHECK enum status remote_fixed_begin(struct store_writer *w, const char *name, uint64_t size, uint64_t chunk_size,
                                          struct store_fixed_index **out, struct error *err);
MUST_CHECK enum status remote_previous_open(struct store_writer *w, bool wants_chunks, struct store_reader **out,
                                            struct error *err);

/* ---- readers ---- */

enum remote_state {
    REMOTE_NEW,    /* not asked for yet */
    REMOTE_ASKED,  /* under way */
    REMOTE_THERE,  /* with its bytes */
    REMOTE_LET_GO, /* was there, at least in part; its bytes are gone. The server knows that we had it */
    REMOTE_FAILED,
};

/* Why something failed, smaller than a struct error. */
struct remote_problem {
    enum status status;
    char *text; /* owned; NULL: out of memory */
};
void remote_problem_set(struct remote_problem *p, const struct error *err);
enum status remote_problem_tell(const struct remote_problem *p, struct error *err);

struct remote_file {
    struct remote_reader *reader;
    struct remote_file *next;
    bool is_authority; /* asked of the reader session beside a backup's */
    bool is_awaited;   /* to be asked for when there is room, at most `size_max` bytes */
    bool is_ahead;     /* asked for, and nobody has read it yet */
    bool is_unread;    /* asked for only so that the server lets its chunks out */
    bool may_be_cut;   /* what is longer than was asked for is let go */
    enum remote_state state;
    unsigned waiters;
    size_t size_max;
    struct buffer data;
    struct remote_problem problem;
    char name[NAME_FILE_MAX + 1];
};

struct remote_chunk {
    struct remote_reader *reader;
    struct remote_file *index; /* that lists it */
    struct digest digest;
    enum remote_state state; /* never REMOTE_LET_GO */
    bool used;               /* it was asked for; else it is a hint */
    unsigned waiters;
    uint64_t order; /* of hints, and of uses */
    size_t size;    /* an estimate until it is there */
    size_t size_max;
    struct buffer data;
    struct remote_problem problem;
};

struct remote_reader {
    struct reader_head head;
    struct remote_store *store;
    struct snapshot_id id;
    struct remote_writer *writer; /* of the backup whose previous snapshot this is: files come through its session */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock: */
    struct remote_link *link;      /* a reader session; NULL: none yet */
    bool cancelled;                /* nobody waits any more */
    bool closed;                   /* goes with the last answer */
    unsigned asked;                /* requests under way */
    struct remote_file *files;     /* owned */
    struct remote_file *authority; /* owned; with a writer: indexes asked of the reader session as well */
    size_t file_count;
    unsigned ahead_count; /* files that are ahead: is_ahead */
    uint64_t kept_bytes;
    struct remote_chunk **chunks; /* owned, as the list */
    size_t chunk_count, chunk_capacity;
    uint64_t orders;
    uint64_t cached_max; /* bytes; 0: chunks go when they were asked for */
};

static inline struct remote_reader *remote_reader_of(struct store_reader *r)
{
    return (struct remote_reader *)r;
}

/* A request of the reader's was answered; unlocks. The reader may be gone then. */
void remote_reader_answered(struct remote_reader *r);
/* All under the reader's lock. */
/* Waits for an answer; false: it was cancelled. */
bool remote_reader_wait(struct remote_reader *r);
MUST_CHECK enum status remote_reader_cancelled(struct error *err);
MUST_CHECK enum status remote_reader_session(struct remote_reader *r, struct error *err); /* makes sure of `link` */
/* The index record that lets chunks out of the reader session, asked for unless it was. What fails later is in the
 * record. */
MUST_CHECK enum status remote_authority_want(struct remote_reader *r, const char *name, struct remote_file **out,
                                             struct error *err);
/* Asks for chunks whose index has arrived. */
void remote_chunks_advance(struct remote_reader *r);
void remote_files_free(struct remote_reader *r);
void remote_chunks_free(struct remote_reader *r);

MUST_CHECK enum status remote_read_file(struct store_reader *reader, const char *name, size_t size_max,
                                        struct buffer *out, struct error *err);
void remote_prefetch_file(struct store_reader *reader, const char *name, size_t size_max);
MUST_CHECK enum status remote_get_chunk(struct store_reader *reader, const char *index_name,
                                        const struct digest *digest, struct buffer *out, struct error *err);
void remote_prefetch(struct store_reader *reader, const char *index_name, const struct store_hint *hints, size_t count);

#endif
