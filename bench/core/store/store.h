/* Where snapshots live. One interface; store/local.c is a datastore directory, others follow.
 *
 * A writer is one backup in progress: it owns the group until finish or abort. Chunk puts are thread-safe; everything
 * else of a writer is for one thread. A reader is one finished snapshot, locked against removal; its calls are
 * thread-safe. Names are stored file names ("root.mpxar.didx").
 * Source: bench/spec/datastore.md 8. */
#ifndef PXB_STORE_STORE_H
#define PXB_STORE_STORE_H

#include "base/buffer.h"
#include "blob/crypt.h"
#include "index/fixed_index.h"

enum sync_level { SYNC_NONE, SYNC_FILE, SYNC_FILESYSTEM };

enum { BACKUP_ID_MAX = 128, NAMESPACE_MAX = 256, SNAPSHOT_TEXT_SIZE = 512 };

struct snapshot_id {
    char type[8]; /* "host", "vm", "ct" */
    char id[BACKUP_ID_MAX + 1];
    char ns[NAMESPACE_MAX + 1]; /* "a/b", "" for the root namespace */
    int64_t time;               /* Unix seconds; 0 in a group */
};
/* "host/ID/2026-01-02T03:04:05Z" (the namespace is not part of it). ERR_USAGE with the rule that is broken. */
MUST_CHECK enum status snapshot_id_parse(const char *text, struct snapshot_id *out, struct error *err);
/* "host/ID": a group. */
MUST_CHECK enum status snapshot_group_parse(const char *text, struct snapshot_id *out, struct error *err);
/* Filled in piece by piece (--backup-id, --ns, ...): the same rules. The group check ignores the time. */
MUST_CHECK enum status snapshot_id_check(const struct snapshot_id *id, struct error *err);
MUST_CHECK enum status snapshot_group_check(const struct snapshot_id *id, struct error *err);
MUST_CHECK enum status snapshot_namespace_check(const char *ns, struct error *err);
const char *snapshot_id_text(const struct snapshot_id *id, char out[SNAPSHOT_TEXT_SIZE]);

struct store_options {
    enum sync_level sync;
    bool create; /* make the datastore if the directory does not exist or is empty */
    /* Of the client, NULL: none; borrowed until the store is closed. The store hands it to whoever reads or writes
     * through it and has no use for it itself: what goes in and out here is encoded. */
    const struct crypt_config *key;
};

struct store;
/* `repository` starts with '/' or '.': a datastore directory. Anything else: ERR_UNSUPPORTED for now. ERR_NOT_ARCHIVE:
 * a directory that is neither empty nor a datastore. */
MUST_CHECK enum status store_open(const char *repository, const struct store_options *options, struct store **out,
                                  struct error *err);
void store_close(struct store *s); /* accepts NULL; writers and readers must be gone */
const struct crypt_config *store_key(const struct store *s);

/* Finished snapshots (with a manifest), sorted by type, id, time. `group` NULL: all of namespace `ns`. */
struct snapshot_list {
    struct snapshot_id *items; /* owned */
    size_t count;
};
MUST_CHECK enum status store_list(struct store *s, const char *ns, const struct snapshot_id *group,
                                  struct snapshot_list *out, struct error *err);
void snapshot_list_deinit(struct snapshot_list *list);

/* ---- writing ---- */

struct store_writer;
/* Locks the group (ERR_LOCKED: another backup of it runs), share-locks the last snapshot, makes the new snapshot's
 * directory; missing namespaces and groups are made. ERR_EXISTS: a snapshot of that second, or a newer one, is there.
 * Abandoned unfinished snapshots of the group (nobody holds their lock) are removed with a log line.
 * ERR_FORMAT: the group's owner file is missing, empty or no user name. */
MUST_CHECK enum status store_begin(struct store *s, const struct snapshot_id *id, struct store_writer **out,
                                   struct error *err);
/* The last finished snapshot of the group when the writer began; false: none. One whose stored verify state is
 * "failed" counts as none. */
bool store_previous(const struct store_writer *w, struct snapshot_id *out);
/* Inserts by the table of datastore.md 8.2. Thread-safe. `out_new`: written, else a duplicate was there. */
MUST_CHECK enum status store_put_chunk(struct store_writer *w, const struct digest *digest, const uint8_t *blob,
                                       size_t size, bool *out_new, struct error *err);
/* Writes the chunk whatever is there: the file of that name is known to be damaged, or may be. Thread-safe. */
MUST_CHECK enum status store_replace_chunk(struct store_writer *w, const struct digest *digest, const uint8_t *blob,
                                           size_t size, struct error *err);

/* An index being written, under a temporary name. Each is for one thread; several may be written at the same time by
 * different threads. All must be finished or aborted before the writer is. */
struct store_index;
/* `name` ends in ".didx". ERR_EXISTS: written before. */
MUST_CHECK enum status store_index_begin(struct store_writer *w, const char *name, struct store_index **out,
                                         struct error *err);
/* `end` must grow: ERR_FORMAT. After any failure the index can only be aborted (finish then fails, too). */
MUST_CHECK enum status store_index_append(struct store_index *index, uint64_t end, const struct digest *digest,
                                          struct error *err);
/* Writes the checksum and renames to the final name; frees the index also on failure. ERR_FORMAT when empty. */
MUST_CHECK enum status store_index_finish(struct store_index *index, struct digest *out_csum, uint64_t *out_size,
                                          uint64_t *out_count, struct error *err);
void store_index_abort(struct store_index *index); /* removes the temporary file; accepts NULL */

/* An image's index: made at full length under a temporary name, digests in any order. For one thread. */
struct store_fixed_index;
/* `name` ends in ".fidx"; `chunk_size` and `size` as fixed_index_count wants them. ERR_EXISTS: written before. */
MUST_CHECK enum status store_fixed_index_begin(struct store_writer *w, const char *name, uint64_t size,
                                               uint64_t chunk_size, struct store_fixed_index **out, struct error *err);
/* `k` below the number of chunks (ERR_USAGE); a slot may be written once (ERR_EXISTS). After any failure the index can
 * only be aborted (finish then fails, too). */
MUST_CHECK enum status store_fixed_index_put(struct store_fixed_index *index, uint64_t k, const struct digest *digest,
                                             struct error *err);
/* Writes the checksum and renames; frees the index also on failure. ERR_FORMAT: a slot was never written. */
MUST_CHECK enum status store_fixed_index_finish(struct store_fixed_index *index, struct digest *out_csum,
                                                struct error *err);
void store_fixed_index_abort(struct store_fixed_index *index); /* removes the temporary file; accepts NULL */

/* A whole file of the snapshot, e.g. "x.conf.blob"; not the manifest. ERR_EXISTS: written before. */
MUST_CHECK enum status store_put_blob(struct store_writer *w, const char *name, const uint8_t *blob, size_t size,
                                      struct error *err);
/* Writes the manifest blob last and atomically: from then on the snapshot exists. Frees the writer also on failure
 * (then as abort). What a power failure may do is the sync level's:
 *
 *   SYNC_FILESYSTEM  one syncfs puts chunks, indexes and blobs on disk; then the manifest is written, synced,
 *                    renamed, and its directory synced. Never a manifest whose chunks are missing; durable on return.
 *   SYNC_FILE        the same promise, each chunk and file synced when it was written
 *   SYNC_NONE        nothing is synced; for benchmarks and tests */
MUST_CHECK enum status store_finish(struct store_writer *w, const uint8_t *manifest_blob, size_t size,
                                    struct error *err);
/* Removes the unfinished snapshot (and the group's directory if this made it). Accepts NULL. */
void store_abort(struct store_writer *w);

/* ---- reading ---- */

struct store_reader;
/* ERR_NOT_FOUND: no such finished snapshot. ERR_LOCKED: it is being removed. */
MUST_CHECK enum status store_reader_open(struct store *s, const struct snapshot_id *id, struct store_reader **out,
                                         struct error *err);
void store_reader_close(struct store_reader *r); /* accepts NULL */
const struct crypt_config *store_reader_key(const struct store_reader *r);
/* A stored file as it is (index or blob), at most `size_max` bytes: ERR_LIMIT. ERR_NOT_FOUND. Replaces `out`. */
MUST_CHECK enum status store_read_file(struct store_reader *r, const char *name, size_t size_max, struct buffer *out,
                                       struct error *err);
/* The encoded chunk. ERR_NOT_FOUND names the digest. Replaces `out`. Thread-safe. */
MUST_CHECK enum status store_get_chunk(struct store_reader *r, const struct digest *digest, struct buffer *out,
                                       struct error *err);
/* Where a chunk or file is, for error messages. */
void store_chunk_path(const struct store_reader *r, const struct digest *digest, char *out, size_t out_size);

#endif
