/* A datastore directory, inside the store folder only.
 *
 *   <path>/.lock               root_fd, lock_fd: shared while open, so that no garbage collection runs meanwhile
 *   <path>/.chunks/            chunks_fd
 *   <path>/[ns/..]TYPE/ID/     a group: exclusively locked by its one writer
 *   <path>/.../TIME/           a snapshot: exclusively locked while it is written, shared while it is read or serves
 *                              as reference
 *
 * Locks are those of servers up to 3.3.4: flock on the directories, open file description locks on .lock (they conflict
 * with a server's record locks, and do what one expects in a process with several stores and threads). A newer server
 * keeps its group locks elsewhere: do not run one on the same directory at the same time.
 *
 * Every name below the datastore's own directory is opened relative to a descriptor and without following links.
 * Permissions are those of the specification, less the caller's umask.
 * Source: bench/spec/datastore.md 8. */
#ifndef PXB_STORE_LOCAL_H
#define PXB_STORE_LOCAL_H

#include "store/store_ops.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>

enum {
    STORE_DIR_MODE = 0755,
    CHUNK_DIR_MODE = 0750,
    STORE_FILE_MODE = 0644,
    CHUNK_DIR_COUNT = 65536,
    SNAPSHOTS_MAX = 1 << 20, /* listed at once */
    STORED_PATH_MAX = 2 * NAMESPACE_MAX + SNAPSHOT_TEXT_SIZE,
    TEMPORARY_NAME_MAX = 256,
};
#define MANIFEST_NAME "index.json.blob"

struct store {
    struct store_head head;
    char *path; /* as given, for messages */
    int root_fd;
    int lock_fd; /* -1: read-only medium without .lock */
    int chunks_fd;
    enum sync_level sync;
    pthread_mutex_t insert_lock; /* between looking at a chunk's target and renaming over it */
};

/* ---- small system calls, used by all of local_*.c ---- */

void fd_cleanup(int *fd); /* closes unless -1; keeps errno */
static inline int fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
/* All of `data`; errno is set on failure. */
MUST_CHECK bool write_all(int fd, const uint8_t *data, size_t size);
/* A regular file; the caller owns the descriptor. Otherwise as read_whole. */
MUST_CHECK enum status open_regular(int dir_fd, const char *name, int flags, const char *path, int *out_fd,
                                    uint64_t *out_size, struct error *err);
/* A regular file of at most `size_max` bytes, whole; replaces `out`. Never blocks on a FIFO. `path` for messages.
 * ERR_NOT_FOUND, ERR_LIMIT, ERR_FORMAT (not a regular file). `flags`: O_NOFOLLOW or 0. */
MUST_CHECK enum status read_whole(int dir_fd, const char *name, int flags, size_t size_max, const char *path,
                                  struct buffer *out, struct error *err);
/* Writes `data` to the new file `temporary`, syncs it if asked to, renames it to `name`. On failure neither of the two
 * names is there (as far as this made them). */
MUST_CHECK enum status write_renamed(int dir_fd, const char *temporary, const char *name, const uint8_t *data,
                                     size_t size, bool sync, const char *path, struct error *err);
/* fsync of a directory; filesystems that cannot do that are fine. */
MUST_CHECK enum status sync_dir(int fd, const char *path, struct error *err);
/* A directory below `dir_fd`; its O_RDONLY descriptor. ERR_NOT_FOUND: missing, or something else than a directory. */
MUST_CHECK enum status open_dir(int dir_fd, const char *name, const char *path, int *out, struct error *err);
/* Everything below the directory `name` of `dir_fd`, the manifest first, and it. Missing is OK. */
MUST_CHECK enum status remove_tree(int dir_fd, const char *name, const char *path, struct error *err);
/* Calls `visit` for what is in the directory, in no order; its failure ends it. Reads a descriptor of its own. */
typedef enum status local_entry_visit(void *context, int dir_fd, const char *name, struct error *err);
MUST_CHECK enum status local_each_entry(int dir_fd, const char *path, local_entry_visit *visit, void *context,
                                        struct error *err);
/* `suffix` and 6 random characters behind `name`. */
MUST_CHECK enum status temporary_name(const char *name, const char *suffix, char out[TEMPORARY_NAME_MAX],
                                      struct error *err);

/* ---- a writer: local_write.c makes it, local_index.c and local_fixed.c use it ---- */

struct store_writer {
    struct writer_head head;
    struct store *store;
    struct snapshot_id id;
    char path[STORED_PATH_MAX]; /* of the snapshot, for messages */
    int type_fd;                /* the directory of the group */
    int group_fd;               /* exclusively locked */
    int snapshot_fd;            /* exclusively locked */
    int previous_fd;            /* share-locked */
    bool made_group;
    bool made_snapshot;
    bool has_previous;
    bool finished; /* local_finish said so: whatever is in the directory, before that it is no snapshot */
    struct snapshot_id previous;
    atomic_uint open_indexes;
};

/* One that has locked and made nothing yet. */
MUST_CHECK enum status local_writer_new(struct store *s, const struct snapshot_id *id, struct store_writer **out,
                                        struct error *err);
/* The steps of store_begin and store_finish that a server takes as well, with others between them (local_server.c).
 * Opens and locks the group's directory, making it if it is missing: type_fd, group_fd. ERR_LOCKED; ERR_NOT_FOUND: no
 * such namespace, and it is not to be created. */
MUST_CHECK enum status local_lock_group(struct store_writer *w, bool create_namespace, struct error *err);
/* With the group locked: what nobody holds of its other unfinished snapshots was left by a process that is gone. */
MUST_CHECK enum status local_remove_abandoned(struct store_writer *w, struct error *err);
/* The snapshot's directory, exclusively locked: snapshot_fd, made_snapshot. ERR_EXISTS. */
MUST_CHECK enum status local_make_snapshot(struct store_writer *w, struct error *err);
/* As the sync level wants it; replaces a manifest that is there. */
MUST_CHECK enum status local_write_manifest(struct store_writer *w, const uint8_t *manifest_blob, size_t size,
                                            struct error *err);

/* ---- an index under its temporary name, of either kind ---- */

struct index_file {
    struct store_writer *writer; /* NULL: nothing begun */
    char name[TEMPORARY_NAME_MAX];
    char temporary[TEMPORARY_NAME_MAX]; /* "root.mpxar.tmp_didx" */
    int fd;                             /* for reading and writing */
    bool created;                       /* the temporary file is there */
};
/* An empty file for an index called NAME`extension` (".didx"), and its header with the csum still zero. ERR_USAGE:
 * other name; ERR_EXISTS: written before or being written. From here on, also after a failure, index_file_discard is
 * due. */
MUST_CHECK enum status index_file_create(struct index_file *f, struct store_writer *w, const char *name,
                                         const char *extension, struct index_header *out_header, struct error *err);
/* Stores the csum in the header and renames to the final name. */
MUST_CHECK enum status index_file_publish(struct index_file *f, const struct digest *csum, struct error *err);
/* Closes; removes the temporary file unless it was published. The writer may finish then. */
void index_file_discard(struct index_file *f);

/* ---- what the tables of store/store_ops.h have, and their kin ---- */

MUST_CHECK enum status local_begin_backup(struct store *s, const struct snapshot_id *id, struct store_writer **out,
                                          struct error *err);
MUST_CHECK enum status local_index_begin(struct store_writer *w, const char *name, struct store_index **out,
                                         struct error *err);
MUST_CHECK enum status local_fixed_index_begin(struct store_writer *w, const char *name, uint64_t size,
                                               uint64_t chunk_size, struct store_fixed_index **out, struct error *err);
MUST_CHECK enum status local_list(struct store *s, const char *ns, const struct snapshot_id *group,
                                  struct snapshot_list *out, struct error *err);
MUST_CHECK enum status local_reader_open(struct store *s, const struct snapshot_id *id, struct store_reader **out,
                                         struct error *err);

/* ---- chunks: store_put_chunk, store_replace_chunk and store_get_chunk without a snapshot ---- */

/* What is there already mostly stays, by its size and kind alone: among others an encrypted chunk stays where an
 * unencrypted one of the same or a larger size comes, although a client may have put anything there under that digest,
 * since nobody without its key can tell. This is what the original does (bench/spec/datastore.md 8.2, every row
 * observed on a 3.2.7), and what two programs do on one datastore should be the same; who shares a datastore shares its
 * chunks, and a verification finds them. */

MUST_CHECK enum status local_put_chunk(struct store *s, const struct digest *digest, const uint8_t *blob, size_t size,
                                       bool *out_new, struct error *err);
MUST_CHECK enum status local_replace_chunk(struct store *s, const struct digest *digest, const uint8_t *blob,
                                           size_t size, struct error *err);
MUST_CHECK enum status local_get_chunk(struct store *s, const struct digest *digest, struct buffer *out,
                                       struct error *err);

/* ---- places ---- */

/* "PATH/ns/a/host/ID/TIME", for messages; parts that are empty in `id` are left out. */
const char *stored_path(const struct store *s, const struct snapshot_id *id, char out[STORED_PATH_MAX]);
/* The directory of a namespace; `create` makes it. */
MUST_CHECK enum status open_namespace(struct store *s, const char *ns, bool create, int *out, struct error *err);
/* "abcd/abcd...": below .chunks. */
enum { CHUNK_NAME_SIZE = 5 + DIGEST_TEXT_SIZE };
void chunk_name(const struct digest *digest, char out[CHUNK_NAME_SIZE]);
/* Whether the snapshot in `dir_fd` has a manifest that is a regular file. */
bool is_finished(int dir_fd);
/* A name that may be opened in a snapshot's directory: no path, an extension of the three. */
MUST_CHECK enum status stored_name_check(const char *name, struct error *err);
/* Times of the snapshot directories of a group, ascending; finished ones, or the others. */
struct snapshot_times {
    int64_t *items;
    size_t count;
    size_t capacity;
};
void snapshot_times_deinit(struct snapshot_times *times);
MUST_CHECK enum status group_times(int group_fd, const char *path, bool finished, struct snapshot_times *out,
                                   struct error *err);
/* "root@pam", "root@pam!token", with or without newline behind. */
bool owner_is_valid(const char *text, size_t size);

/* What a datastore's root looks like. HAS_UNFINISHED: somebody began to make a datastore there. */
enum contents { HAS_CHUNKS, HAS_NOTHING, HAS_UNFINISHED, HAS_OTHER };
MUST_CHECK enum status local_look_inside(int root_fd, const char *path, enum contents *out, struct error *err);

#endif
