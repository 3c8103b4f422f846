/* The tree as a stream of entries in archive order, read ahead by workers.
 *
 *     scout      lists and sorts directories, puts a node per entry into a window (one thread)
 *     workers    open, stat, read attributes and small files' contents, in any order
 *     archiver   takes nodes in archive order; does the work of the next one itself when nobody has begun it
 *
 * The window is bounded in entries and in bytes of contents. What a node holds depends on the tree alone, never on who
 * read it or when. Descriptors are bounded too: a node owns none (tree/directory.h).
 * readahead_next and node functions are for one thread, the archiver.
 * Source: bench/spec/archive-creation.md A2, A3, A7 to A11; DESIGN of the threads: bench/README.md. */
#ifndef PXB_FLOW_READAHEAD_H
#define PXB_FLOW_READAHEAD_H

#include "attr/attr_read.h"
#include "base/slab.h"
#include "flow/failure.h"
#include "tree/directory.h"

enum node_kind { NODE_MEMBER, NODE_DIRECTORY_BEGIN, NODE_DIRECTORY_END };
enum node_outcome {
    NODE_READY,
    NODE_SKIPPED, /* vanished or not accessible: `notice` says so, the archive goes on without it */
    NODE_FAILED,  /* fatal */
};

struct node {
    enum node_kind kind;
    enum node_outcome outcome;
    atomic_int state; /* of the window */
    uint8_t type;     /* DT_*, as listed */
    struct directory *parent; /* counted; NULL for the root and directory ends */
    struct attr_features features; /* of the file system it is on */
    struct attributes attributes;
    uint64_t device, inode, links, rdev;
    uint64_t size;              /* regular files: bytes */
    char *target;               /* symlinks: owned, NUL-terminated */
    size_t target_size;
    bool has_contents;          /* regular files: `contents` holds all of them */
    struct slice contents;      /* owned; may be shorter than size (file shrank) */
    bool grew;                  /* the file had more than `size` bytes */
    struct error *error;        /* owned; NODE_FAILED */
    const char *notice;         /* static text; NODE_SKIPPED */
    size_t name_size;
    char name[];
};

struct readahead_options {
    unsigned threads;          /* workers, >= 1 */
    size_t entries_max;        /* listing lengths on one path together (A3) */
    size_t read_size_max;      /* bytes per read call; 0: no limit */
    bool want_contents;        /* read small files' contents too */
};

struct readahead;
/* Opens `path` and starts the threads. ERR_IO/ERR_USAGE when it is no directory; ERR_UNSUPPORTED for a virtual file
 * system. `not_stored` is borrowed. */
MUST_CHECK enum status readahead_new(const char *path, const struct readahead_options *options,
                                     struct attr_not_stored *not_stored, struct readahead **out,
                                     struct attributes *out_root, struct error *err);
/* Stops and joins the threads; accepts NULL. */
void readahead_free(struct readahead *r);

/* The next node, the caller's; directory ends included, the root's not. *out NULL: end of the tree. An error of the
 * scout comes after all nodes before it. */
MUST_CHECK enum status readahead_next(struct readahead *r, struct node **out, struct error *err);
void node_free(struct node *n); /* accepts NULL */

/* Opens the contents again: the same device, inode and type as the node, else *out_fd = -1 and *out_notice is the
 * beginning of the warning that says why. */
MUST_CHECK enum status node_open(const struct node *n, int *out_fd, const char **out_notice, struct error *err);
/* Path below the root, cut at out_size; returns `out`. */
const char *node_path(const struct node *n, char *out, size_t out_size);

#endif
