/* One entry of the tree on its way to the archiver, and how it is read: opened, checked to be what was listed, stat,
 * attributes, contents if small. A node owns no descriptor (tree/directory.h). A node is for one thread at a time; a
 * reader is for one thread.
 * Source: bench/spec/archive-creation.md A8 to A11. */
#ifndef PXB_FLOW_NODE_H
#define PXB_FLOW_NODE_H

#include "attr/attr_read.h"
#include "base/slab.h"
#include "tree/directory.h"

enum node_kind { NODE_MEMBER, NODE_DIRECTORY_BEGIN, NODE_DIRECTORY_END };
enum node_outcome {
    NODE_READY,
    NODE_SKIPPED, /* vanished or not accessible: `notice` says so, the archive goes on without it */
    NODE_FAILED,  /* fatal */
};

/* Why an entry is not in the archive: the cells of A10 that are no errors. */
enum node_notice {
    NOTICE_NONE,
    NOTICE_VANISHED_LISTED, /* between listing and stat */
    NOTICE_VANISHED,        /* later, or replaced by something of another kind */
    NOTICE_DENIED_STAT,
    NOTICE_DENIED_OPEN,
    NOTICE_STALE,
};
/* Of an errno of stat (listing), or of open. NOTICE_NONE: fatal. */
enum node_notice notice_of_stat(int errnum);
enum node_notice notice_of_open(int errnum);
/* Of a failed directory_pin or directory_open_child, and of a failed attr_read. */
enum node_notice notice_of_directory(enum status status, const struct error *err);
enum node_notice notice_of_attributes(enum status status, const struct error *err);
/* The warning about an entry named `name` with the path `path` below the root. */
void notice_warn(enum node_notice notice, const char *name, const char *path);

/* A regular file's contents in the previous payload stream. Hostile: only `end` lies within the stream for sure. */
struct old_contents {
    uint64_t offset; /* of the header; 0: there are none */
    uint64_t size;   /* without the header */
    uint64_t end;
};

struct node {
    enum node_kind kind;
    enum node_outcome outcome;
    atomic_int state;              /* the window's (flow/readahead.c) */
    uint8_t type;                  /* DT_*, as listed */
    struct directory *parent;      /* counted; NULL for the root and directory ends */
    struct attr_features features; /* of the file system it is on */
    struct attributes attributes;
    uint64_t device, inode, links, rdev;
    uint64_t size; /* regular files: bytes */
    char *target;  /* symlinks: owned, NUL-terminated */
    size_t target_size;
    bool has_contents;       /* regular files: `contents` holds all of them */
    struct slice contents;   /* owned; may be shorter than size (file shrank) */
    struct old_contents old; /* the archiver's */
    bool grew;               /* the file had more than `size` bytes */
    struct error *error;     /* owned; NODE_FAILED: a whole sentence, context included */
    enum node_notice notice; /* NODE_SKIPPED */
    size_t name_size;
    char name[];
};

/* `name` is copied. `parent` may be NULL. */
MUST_CHECK enum status node_new(enum node_kind kind, struct directory *parent, const char *name, size_t name_size,
                                struct node **out, struct error *err);
void node_free(struct node *n); /* accepts NULL */
/* Path below the root, cut at out_size; returns `out`. */
const char *node_path(const struct node *n, char *out, size_t out_size);
void node_fill_from_stat(struct node *n, const struct stat *st);
void node_set_skipped(struct node *n, enum node_notice notice);
void node_warn(const struct node *n, enum node_notice notice);
/* Puts the context of A10 before an error: `error at "<path>"`; returns its status. */
MUST_CHECK enum status node_fail_at(const struct node *n, struct error *err);
/* After a failed stat of the entry: a whole sentence with the directory as its context (the root has none). */
MUST_CHECK enum status node_fail_stat(const struct node *n, struct error *err);

struct node_reader_options {
    size_t read_size_max;  /* bytes per read call; 0: no limit */
    bool want_contents;    /* read files of one name up to NODE_CONTENTS_MAX, too */
    bool skip_e2big_xattr; /* A12 */
};
enum { NODE_CONTENTS_MAX = 1 << 20 };

/* What one reading thread needs. */
struct node_reader {
    struct node_reader_options options;
    struct attr_not_stored *not_stored; /* borrowed */
    struct attr_reader *attr_reader;
    struct slab *slab; /* contents are packed into it */
    size_t slab_used;
    struct directory *pinned; /* of the last node read: neighbours share it, and pinning takes a lock */
    int pinned_fd;
};
MUST_CHECK enum status node_reader_init(struct node_reader *r, const struct node_reader_options *options,
                                        struct attr_not_stored *not_stored, struct error *err);
void node_reader_deinit(struct node_reader *r); /* accepts {0} */

/* Fills a node of kind NODE_MEMBER; errors go into the node, so that they are met in archive order. The node's
 * directory stays pinned: node_reader_unpin before the node is handed on, which may end the directory's life. */
void node_read(struct node_reader *r, struct node *n);
void node_reader_unpin(struct node_reader *r);

/* Fills data[0, size) from the node's open file, in calls of at most `read_size_max` bytes (0: no limit); *out_size is
 * less at the end of the file. `announced`: how many of these bytes the file should still have. */
MUST_CHECK enum status node_read_bytes(const struct node *n, int fd, uint8_t *data, size_t size, size_t announced,
                                       size_t read_size_max, size_t *out_size, struct error *err);

/* A descriptor for reading what is listed as a regular file, or -1 with errno. Follows no symlink, waits for nobody at
 * the other end of a fifo (but for the end of a lease, up to a minute); what was opened is the caller's to check. */
int node_open_at(int dir_fd, const char *name);

/* Opens the contents again: the same device, inode and type as the node, else *out_fd = -1 and *out_notice says why. A
 * file system that recycles the inode number at once can make a new file pass
 * for the old one: then it counts as changed while being read, with the size and times that were listed. */
MUST_CHECK enum status node_open(const struct node *n, int *out_fd, enum node_notice *out_notice, struct error *err);

#endif
