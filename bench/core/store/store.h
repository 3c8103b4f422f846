/* Where snapshots live. One interface, two kinds: local.c is a datastore directory, remote.c a datastore on a server.
 *
 * A writer is one backup in progress: it owns the group until finish or abort. Chunk puts are thread-safe; everything
 * else of a writer is for one thread. A reader is one finished snapshot, locked against removal; its calls are
 * thread-safe. Names are stored file names ("root.mpxar.didx").
 *
 * A server answers a round trip later. So what a caller knows early is said early: entries of indexes before their
 * chunks, chunks and files before they are needed (store_prefetch, store_prefetch_file), the end of an index before
 * anyone waits for it (store_index_end). For a directory these are no-ops. What was put, appended or ended may then
 * fail later: the first failure of a writer comes out of every call that follows.
 * Source: bench/spec/datastore.md 8; bench/spec/protocol.md 8 to 11. */
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

struct account;
struct threads;
struct net_stats;

/* Of a datastore on a server; borrowed until the store is closed. */
struct store_remote {
    struct account *account;
    const struct threads *threads;
};

struct store_options {
    enum sync_level sync;
    bool create; /* make the datastore if the directory does not exist or is empty */
    /* Of the client, NULL: none; borrowed until the store is closed. The store hands it to whoever reads or writes
     * through it and has no use for it itself: what goes in and out here is encoded. */
    const struct crypt_config *key;
    /* Who we are there; NULL with a directory. `sync` and `create` have no meaning for servers. */
    const struct store_remote *remote;
};

struct store;
/* `repository` starts with '/' or '.': a datastore directory. ERR_NOT_ARCHIVE: it is neither empty nor a datastore.
 * Anything else: a datastore on a server, for messages; `options->remote` says which (ERR_USAGE without). Nothing is
 * connected here. */
MUST_CHECK enum status store_open(const char *repository, const struct store_options *options, struct store **out,
                                  struct error *err);
void store_close(struct store *s); /* accepts NULL; writers and readers must be gone */
const struct crypt_config *store_key(const struct store *s);
bool store_is_remote(const struct store *s);
/* What all connections of the store did, those that are closed included; zeros for a directory. Thread-safe. */
void store_net_stats(struct store *s, struct net_stats *out);

/* Finished snapshots (with a manifest), sorted by type, id, time. `group` NULL: all of namespace `ns`. */
struct snapshot_list {
    struct snapshot_id *items; /* owned */
    size_t count;
};
MUST_CHECK enum status store_list(struct store *s, const char *ns, const struct snapshot_id *group,
                                  struct snapshot_list *out, struct error *err);
void snapshot_list_deinit(struct snapshot_list *list);
/* Removes a finished snapshot; its group stays. ERR_NOT_FOUND; ERR_REFUSED: it is protected, or not ours to remove;
 * ERR_LOCKED: it is being read, or serves a running backup. */
MUST_CHECK enum status store_forget(struct store *s, const struct snapshot_id *id, struct error *err);

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
struct store_chunk {
    const struct digest *digest;
    uint64_t raw_size;
    uint32_t stream;     /* of an index that is not finished: store_index_stream */
    struct buffer *blob; /* encoded; may be taken: then an empty buffer with the same limit is left, also on failure */
};
/* Inserts by the table of datastore.md 8.2. Thread-safe. `out_new`: written, else a duplicate was there. A server does
 * not tell: true. May wait until earlier chunks are out of the way. */
MUST_CHECK enum status store_put_chunk(struct store_writer *w, const struct store_chunk *chunk, bool *out_new,
                                       struct error *err);
/* Writes the chunk whatever is there: the file of that name is known to be damaged, or may be. Thread-safe. A server
 * decides for itself what it keeps. */
MUST_CHECK enum status store_replace_chunk(struct store_writer *w, const struct store_chunk *chunk, struct error *err);

/* An index being written, under a temporary name. Each is for one thread; several may be written at the same time by
 * different threads. All must be finished or aborted before the writer is. */
struct store_index;
/* An index of this name will be begun, and must be: a server is told already. */
void store_index_expect(struct store_writer *w, const char *name);
/* `name` ends in ".didx". ERR_EXISTS: written before. */
MUST_CHECK enum status store_index_begin(struct store_writer *w, const char *name, struct store_index **out,
                                         struct error *err);
/* Names the index in store_chunk. */
uint32_t store_index_stream(const struct store_index *index);
/* `end` must grow: ERR_FORMAT. After any failure the index can only be aborted (finish then fails, too). `is_coming`:
 * the chunk will be put after this call; else it was put, or is of an index of the previous snapshot that was read
 * through store_previous_open. */
MUST_CHECK enum status store_index_append(struct store_index *index, uint64_t end, const struct digest *digest,
                                          bool is_coming, struct error *err);
/* Nothing will be appended any more: what can be done towards the finish without waiting is begun. Optional. */
void store_index_end(struct store_index *index);
/* Writes the checksum and renames to the final name; frees the index also on failure. ERR_FORMAT when empty. */
MUST_CHECK enum status store_index_finish(struct store_index *index, struct digest *out_csum, uint64_t *out_size,
                                          uint64_t *out_count, struct error *err);
void store_index_abort(struct store_index *index); /* removes the temporary file; accepts NULL */

/* An image's index: made under a temporary name, digests in any order. For one thread. */
struct store_fixed_index;
/* `name` ends in ".fidx"; `chunk_size` and `size` as fixed_index_count wants them. ERR_EXISTS: written before.
 * ERR_UNSUPPORTED: servers know only FIXED_CHUNK_SIZE_DEFAULT. */
MUST_CHECK enum status store_fixed_index_begin(struct store_writer *w, const char *name, uint64_t size,
                                               uint64_t chunk_size, struct store_fixed_index **out, struct error *err);
uint32_t store_fixed_index_stream(const struct store_fixed_index *index);
/* `k` below the number of chunks (ERR_USAGE); a slot may be written once (ERR_EXISTS). After any failure the index can
 * only be aborted (finish then fails, too). `is_coming` as above. */
MUST_CHECK enum status store_fixed_index_put(struct store_fixed_index *index, uint64_t k, const struct digest *digest,
                                             bool is_coming, struct error *err);
void store_fixed_index_end(struct store_fixed_index *index);
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
/* The backup has failed: who waits in a call of this writer, in whatever thread, comes out of it with ERR_CANCELLED, as
 * do later calls, however slow the server is. What is left to do is store_abort. Thread-safe, accepts NULL. */
void store_cancel(struct store_writer *w);
/* Removes the unfinished snapshot (and the group's directory if this made it). Accepts NULL. */
void store_abort(struct store_writer *w);

/* ---- reading ---- */

struct store_reader;
/* ERR_NOT_FOUND: no such finished snapshot. ERR_LOCKED: it is being removed. */
MUST_CHECK enum status store_reader_open(struct store *s, const struct snapshot_id *id, struct store_reader **out,
                                         struct error *err);
/* The previous snapshot (store_previous) for the backup in progress: the chunks of indexes that are read through this
 * count as known. `wants_chunks`: chunks will be read as well, which with a server takes a connection of its own; else
 * it is made when the first one is asked for. To be closed before the writer ends. ERR_NOT_FOUND: there is none. */
MUST_CHECK enum status store_previous_open(struct store_writer *w, bool wants_chunks, struct store_reader **out,
                                           struct error *err);
/* Nothing more will be read: who waits in a call of this reader comes out of it with ERR_CANCELLED, as do later calls
 * that would have to wait. Thread-safe, accepts NULL. */
void store_reader_cancel(struct store_reader *r);
/* May wait for what is under way, unless it was cancelled. Accepts NULL. */
void store_reader_close(struct store_reader *r);
const struct crypt_config *store_reader_key(const struct store_reader *r);
/* Which one was asked for: what is read may be another's, or an older one's. Borrowed. */
const struct snapshot_id *store_reader_snapshot(const struct store_reader *r);
/* Whether hints are of use. */
bool store_reader_is_remote(const struct store_reader *r);
/* A stored file as it is (index or blob), at most `size_max` bytes: ERR_LIMIT. ERR_NOT_FOUND. Replaces `out`. */
MUST_CHECK enum status store_read_file(struct store_reader *r, const char *name, size_t size_max, struct buffer *out,
                                       struct error *err);
/* The file will be read, with this `size_max`. A few at a time are fetched ahead, in the order in which this was said;
 * of a longer one STORE_AHEAD_BYTES are, for nothing. */
enum { STORE_AHEAD_BYTES = 16 << 20 };
void store_prefetch_file(struct store_reader *r, const char *name, size_t size_max);
/* The encoded chunk. ERR_NOT_FOUND names the digest. Replaces `out`. Thread-safe. `index_name`: the index of the
 * snapshot that lists it, which servers want to know of. */
MUST_CHECK enum status store_get_chunk(struct store_reader *r, const char *index_name, const struct digest *digest,
                                       struct buffer *out, struct error *err);
struct store_hint {
    struct digest digest;
    uint64_t raw_size; /* as the index has it */
};
/* These chunks will be asked for, in this order; those that are known of already are left where they are. At most
 * STORE_HINT_CHUNKS and STORE_HINT_BYTES are under way or waiting to be asked for: the oldest hints make room for newer
 * ones, and what finds none is forgotten. Thread-safe. */
void store_prefetch(struct store_reader *r, const char *index_name, const struct store_hint *hints, size_t count);
enum { STORE_HINT_CHUNKS = 64, STORE_HINT_BYTES = 64 << 20 };
/* Where a chunk or file is, for error messages. */
void store_chunk_path(const struct store_reader *r, const struct digest *digest, char *out, size_t out_size);

#endif
