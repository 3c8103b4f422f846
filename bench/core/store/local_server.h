/* What a server's sessions do to a datastore directory beyond store.h: backups that belong to somebody, whose locks end
 * before they do, and files served while they are read. Inside the store folder and for bench/server.
 * A writer is for one thread. Locks are those of store/local.h, never waited for.
 * Source: bench/spec/protocol.md 7.2, 8, 9.4, 9.5, 14.3. */
#ifndef PXB_STORE_LOCAL_SERVER_H
#define PXB_STORE_LOCAL_SERVER_H

#include "store/store.h"

struct local_begin {
    const char *auth_id; /* owner of a group that is made */
    /* Whether `auth_id` may use a group of `owner`'s; NULL: anybody may (benchmarks). */
    bool (*may_use)(const char *auth_id, const char *owner);
    bool ignore_base; /* as if the newest snapshot had failed its verification */
};

/* The directory of a datastore, made without its 65,536 chunk directories if it is missing or empty: they come as they
 * are needed. */
MUST_CHECK enum status local_prepare(const char *path, struct error *err);

/* An error's text for clients: the datastore's directory is cut out of it, and with it where the server has it. */
void local_public_text(const struct store *s, const char *text, char out[ERROR_TEXT_MAX]);

/* ERR_NOT_FOUND: there is none. */
MUST_CHECK enum status local_check_namespace(struct store *s, const char *ns, struct error *err);

/* Group and its lock, owner, base, snapshot directory, in this order (protocol.md 7.2, 9 to 14). The namespace must be
 * there. Other unfinished snapshots that nobody holds are removed: a server that was killed left them. ERR_LOCKED:
 * group or base; ERR_REFUSED: owner; ERR_EXISTS: not newer than the base, or there; ERR_FORMAT: owner file, or the
 * base's manifest. A group that this made is removed again on failure. The writer's indexes and blobs are written
 * through store.h. */
MUST_CHECK enum status local_begin(struct store *s, const struct snapshot_id *id, const struct local_begin *how,
                                   struct store_writer **out, struct error *err);
/* A file of the base; the caller closes. ERR_NOT_FOUND: no such file; ERR_USAGE: no base, or no name of ours. */
MUST_CHECK enum status local_open_previous(const struct store_writer *w, const char *name, int *out_fd,
                                           uint64_t *out_size, struct error *err);
/* The manifest makes the snapshot a finished one. ERR_NOT_FOUND: the base has vanished. `keep_locks`: group and
 * snapshot stay locked until local_end, else they are free on return. The writer stays, for local_open_previous. */
MUST_CHECK enum status local_finish(struct store_writer *w, const uint8_t *manifest_blob, size_t size, bool keep_locks,
                                    struct error *err);
/* Frees. Without local_finish, or with `discard`, the snapshot is removed, and the group if nothing else is in it.
 * Accepts NULL. */
void local_end(struct store_writer *w, bool discard);

/* store_put_chunk without a snapshot, and what its file has now: another size if it was there already. Thread-safe. */
MUST_CHECK enum status local_keep_chunk(struct store *s, const struct digest *digest, const uint8_t *blob, size_t size,
                                        bool *out_new, uint64_t *out_stored_size, struct error *err);
/* A chunk's file; the caller closes. ERR_NOT_FOUND. */
MUST_CHECK enum status local_open_chunk(struct store *s, const struct digest *digest, int *out_fd, uint64_t *out_size,
                                        struct error *err);
/* For fault injection: as if a disk had lost it. */
void local_drop_chunk(struct store *s, const struct digest *digest);

#endif
