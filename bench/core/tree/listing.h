/* The names of one directory, without "." and "..", sorted by their bytes. A failing readdir is an error, never a short
 * listing. Single-threaded object.
 * Source: bench/spec/archive-creation.md A2, A3, A10. */
#ifndef PXB_TREE_LISTING_H
#define PXB_TREE_LISTING_H

#include "base/status.h"

enum { LISTING_ENTRIES_MAX_DEFAULT = 1048576 };

struct listing_entry {
    const char *name; /* NUL-terminated, in the listing's memory */
    uint16_t name_size;
    uint8_t type; /* DT_*; DT_UNKNOWN: ask fstatat */
};

struct listing {
    struct listing_entry *entries;
    size_t count;
    char *names; /* one block */
};

/* Reads `fd` from the start and moves its position: one listing of a descriptor at a time. More than `entries_max`:
 * ERR_LIMIT. `path` for errors. In the root a file ".pxarexclude-cli" is left out (`is_root`). */
MUST_CHECK enum status listing_read(int fd, const char *path, bool is_root, size_t entries_max, struct listing *out,
                                    struct error *err);
void listing_deinit(struct listing *l); /* accepts {0} */

#endif
