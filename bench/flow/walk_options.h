/* What of a tree is walked and what of a file is stored. Everything here changes the result of a backup.
 * Source: bench/spec/archive-creation.md A1, A5, A7, A12. */
#ifndef PXB_FLOW_WALK_OPTIONS_H
#define PXB_FLOW_WALK_OPTIONS_H

#include "tree/pattern.h"

struct walk_options {
    const struct pattern_list *patterns; /* of the command line, lost+found included; borrowed, NULL: none */
    bool all_file_systems;               /* mount points are entered, but for virtual file systems */
    const uint64_t *devices;             /* st_dev of --include-dev; the root's own is always one; borrowed */
    size_t device_count;
    size_t entries_max;                /* listed entries on one path together (A3); 0: LISTING_ENTRIES_MAX_DEFAULT */
    bool skip_e2big_xattr;             /* A12 */
    bool skip_kernel_tracing;          /* tracefs and bpf count as virtual file systems, too */
    bool no_follow_root;               /* a symlink as root is refused (ELOOP), as `pxar create` does */
    bool no_xattrs, no_fcaps, no_acls; /* left out even where the file system has them */
};

#endif
