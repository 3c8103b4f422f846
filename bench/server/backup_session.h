/* Inside of a backup session: what it has been told so far. Shared by backup_session.c, backup_index.c and
 * backup_finish.c.
 * Source: bench/spec/protocol.md 8, 9, 14.2. */
#ifndef PXB_SERVER_BACKUP_SESSION_H
#define PXB_SERVER_BACKUP_SESSION_H

#include "blob/blob.h"
#include "index/fixed_index.h"
#include "server/call.h"

enum {
    BACKUP_FILES_MAX = 1024, /* indexes and blobs of a session */
    INDEXES_OPEN_OWN = 64,   /* at a time: each is an open file; more of them share the server's budget */
};

/* What finish puts into the manifest. */
struct upload_stats {
    uint64_t count, size, compressed_size, duplicates;
};

/* An index that is being written. */
struct index_writer {
    uint32_t wid;
    bool is_fixed;
    /* An append or close failed: neither it nor the backup can be finished any more. */
    bool poisoned;
    char name[NAME_FILE_MAX + 1];
    struct store_index *dynamic; /* one of the two */
    struct store_fixed_index *fixed;
    uint64_t count; /* appended */
    uint64_t end;   /* of a dynamic one */
    uint64_t size;  /* of a fixed one, as declared */
    uint64_t slots;
    uint8_t *written; /* of a fixed one: a bit per slot */
    bool written_twice;
    bool has_short;   /* one chunk below full length was uploaded */
    bool is_copy;     /* a fixed one: slots that nothing was appended for are the base's, written when it closes */
    uint64_t charged; /* of the budget of tables */
    bool is_extra;    /* of the budget of open indexes */
    struct upload_stats stats;
    struct index_writer *next;
};

/* A file that is complete. */
struct stored_name {
    char name[NAME_FILE_MAX + 1];
    uint64_t size; /* as the manifest has it */
    struct digest csum;
};

struct backup_session {
    struct session *session;
    struct shared *shared;
    struct snapshot_id id;
    bool benchmark;
    struct store_writer *writer;
    struct known known;
    struct index_writer *writers; /* open ones */
    size_t writer_count;
    uint64_t slots; /* of open fixed ones */
    uint32_t last_wid;
    struct stored_name *files; /* owned */
    size_t file_count, file_capacity;
    struct buffer manifest;    /* the blob, as it was sent; it becomes a file when the backup is finished */
    uint64_t manifest_charged; /* of the budget of tables */
    struct upload_stats stats; /* of closed writers and blobs */
    bool poisoned;
    bool finished;
};

/* ---- backup_index.c ---- */

void index_create(struct backup_session *b, struct call *c, bool is_fixed);
void index_append(struct backup_session *b, struct call *c, bool is_fixed);
void index_close(struct backup_session *b, struct call *c, bool is_fixed);
void index_writers_free(struct backup_session *b);
/* NULL: no such writer, or of the other kind; the call is answered. */
struct index_writer *index_find(struct backup_session *b, struct call *c, bool is_fixed);
/* Whether something of this name is being written, or is there. */
bool name_is_taken(const struct backup_session *b, const char *name);
MUST_CHECK enum status add_file(struct backup_session *b, const char *name, uint64_t size, const struct digest *csum,
                                struct error *err);

/* ---- backup_finish.c ---- */

void finish(struct backup_session *b, struct call *c);

#endif
