/* Files with several names, by (device, inode): which were met, and where the first name was written.
 * Not thread-safe. Source: bench/spec/change-detection.md 5.1, bench/spec/archive-creation.md A8. */
#ifndef PXB_FLOW_LINK_TABLE_H
#define PXB_FLOW_LINK_TABLE_H

#include "base/status.h"

struct link_entry {
    uint64_t device, inode;
    bool used;
    bool seen;                /* the first name was met and is not lost */
    char *path;               /* owned; of the first name once written, else NULL */
    uint64_t filename_offset; /* of the first name */
};

struct link_table {
    struct link_entry *slots; /* owned */
    size_t capacity;          /* power of two */
    size_t count;
};

void link_table_deinit(struct link_table *t); /* accepts {0} */
/* NULL when absent. Borrowed until the next link_table_get. */
struct link_entry *link_table_find(const struct link_table *t, uint64_t device, uint64_t inode);
/* Makes it when absent. Borrowed until the next link_table_get. */
MUST_CHECK enum status link_table_get(struct link_table *t, uint64_t device, uint64_t inode, struct link_entry **out,
                                      struct error *err);

#endif
