/* Walks the previous metadata stream in step with the tree: both are sorted by name, so finding a file's previous entry
 * is a merge join, not a lookup. Not thread-safe, no system calls; the decoder stays the caller's.
 * A previous archive that is not sorted only loses matches; it never yields a wrong one. */
#ifndef PXB_DETECT_CURSOR_H
#define PXB_DETECT_CURSOR_H

#include "pxar/decoder.h"

struct cursor {
    struct decoder *decoder;    /* borrowed */
    struct archive_entry entry; /* the one stood on, borrowed from the decoder */
    bool has_entry;
    bool ended;
    size_t walk_depth;    /* directories entered by the walk, below the root */
    size_t matched_depth; /* how many of them have a counterpart */
};

/* Reads the previous root. */
MUST_CHECK enum status cursor_init(struct cursor *c, struct decoder *decoder, struct error *err);
/* The entry of that name in the parallel directory; NULL: none. Borrowed until the next call. Names of one directory
 * must be asked for in ascending order. */
MUST_CHECK enum status cursor_find(struct cursor *c, const char *name, size_t name_size,
                                   const struct archive_entry **out, struct error *err);
MUST_CHECK enum status cursor_enter(struct cursor *c, const char *name, size_t name_size, struct error *err);
MUST_CHECK enum status cursor_leave(struct cursor *c, struct error *err);

#endif
