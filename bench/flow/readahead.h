/* The tree as a stream of entries in archive order, read ahead by workers.
 *
 *     scout      lists and sorts directories, puts a node per entry into a window (one thread)
 *     workers    open, stat, read attributes and small files' contents, in any order
 *     archiver   takes nodes in archive order; does the work of the next one itself when nobody has begun it
 *
 * What is walked is decided by the scout alone (flow/walk_filter.h, device sets): an entry that is left out never
 * becomes a node. The window is bounded in entries and in bytes of contents. What a node holds depends on the tree
 * alone, never on who read it or when. readahead_next is for one thread, the archiver. Source:
 * bench/spec/archive-creation.md A2, A3, A7; DESIGN of the threads: bench/README.md. */
#ifndef PXB_FLOW_READAHEAD_H
#define PXB_FLOW_READAHEAD_H

#include "flow/node.h"
#include "flow/walk_options.h"

struct readahead_options {
    unsigned threads; /* workers, >= 1 */
    struct walk_options walk;
    struct node_reader_options reading;
};

struct readahead;
/* Opens `path` and starts the threads. ERR_IO/ERR_USAGE when it is no directory; ERR_UNSUPPORTED for a virtual file
 * system. `not_stored` and what the walk's options point to are borrowed until readahead_free. Errors here and later
 * are whole sentences, with the context of A10. */
MUST_CHECK enum status readahead_new(const char *path, const struct readahead_options *options,
                                     struct attr_not_stored *not_stored, struct readahead **out,
                                     struct attributes *out_root, struct error *err);
/* Stops and joins the threads; accepts NULL. */
void readahead_free(struct readahead *r);

/* The next node, the caller's; directory ends included, the root's not. *out NULL: end of the tree. An error of the
 * scout comes after all nodes before it. */
MUST_CHECK enum status readahead_next(struct readahead *r, struct node **out, struct error *err);
#endif
