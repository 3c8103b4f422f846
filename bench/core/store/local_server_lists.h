/* What a server lists of a datastore directory and store.h does not: groups with their owners, snapshots that are not
 * finished, the files that are really there, namespaces. Inside the store folder and for bench/server.
 * Reads only and takes no locks: what changes meanwhile is listed as it is before or after, what disappears is left
 * out. Thread-safe. Every name is checked before it is given out: whatever lies in the directory, only names of the
 * protocol come out.
 * Source: bench/spec/datastore.md 8; bench/spec/protocol.md 11, 13. */
#ifndef PXB_STORE_LOCAL_SERVER_LISTS_H
#define PXB_STORE_LOCAL_SERVER_LISTS_H

#include "store/store.h"

enum { STORED_OWNER_SIZE = 256, STORED_FILE_NAME_SIZE = 256, STORED_FILES_MAX = 65536, STORED_NOTES_MAX = 4096 };

/* Valid during the visit. */
struct stored_group {
    struct snapshot_id id; /* time 0 */
    const char *owner;     /* without newline; NULL: missing or none that could be one */
    const char *comment;   /* the first line of the notes; NULL: none */
    const int64_t *times;  /* of all snapshots, unfinished ones too, ascending */
    size_t count;
};
typedef enum status stored_group_visit(void *context, const struct stored_group *group, struct error *err);
/* Groups of namespace `ns`, sorted by type and id. `type`, `id`: NULL for any; checked: ERR_USAGE. ERR_NOT_FOUND: no
 * such namespace. The visit's failure ends the listing. */
MUST_CHECK enum status local_each_group(struct store *s, const char *ns, const char *type, const char *id,
                                        stored_group_visit *visit, void *context, struct error *err);
/* ERR_NOT_FOUND: no such group (or namespace). ERR_FORMAT: its owner file is missing or no user name. */
MUST_CHECK enum status local_owner(struct store *s, const struct snapshot_id *group, char out[STORED_OWNER_SIZE],
                                   struct error *err);

struct stored_file {
    char name[STORED_FILE_NAME_SIZE];
    uint64_t size;
};
/* What is in the directory of a snapshot. */
struct stored_files {
    struct stored_file *items; /* owned; sorted by name; regular files with names of the protocol, the manifest too */
    size_t count, capacity;
    bool is_finished;
    bool is_protected;
};
void stored_files_deinit(struct stored_files *files); /* accepts {0} */
/* ERR_NOT_FOUND: no such directory. */
MUST_CHECK enum status local_files(struct store *s, const struct snapshot_id *id, struct stored_files *out,
                                   struct error *err);
/* A file of a finished snapshot, open for reading (the caller closes): it stays readable whatever becomes of the
 * snapshot. ERR_USAGE: no name of the protocol; ERR_NOT_FOUND; ERR_FORMAT: not a regular file. */
MUST_CHECK enum status local_open_file(struct store *s, const struct snapshot_id *id, const char *name, int *out_fd,
                                       uint64_t *out_size, struct error *err);

/* Of the filesystem, in bytes. */
struct store_usage {
    uint64_t total, used, available;
};
MUST_CHECK enum status local_usage(struct store *s, struct store_usage *out, struct error *err);

typedef enum status stored_namespace_visit(void *context, const char *ns, struct error *err);
/* `parent` itself, then what is below it to `depth_max` levels, parents before children, sorted. ERR_NOT_FOUND. */
MUST_CHECK enum status local_each_namespace(struct store *s, const char *parent, unsigned depth_max,
                                            stored_namespace_visit *visit, void *context, struct error *err);

#endif
