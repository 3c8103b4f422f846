/* Archive entries to a tree: creates what it is told under one target directory and never leaves it.
 * Every open is relative to a directory descriptor, with O_NOFOLLOW; hardlink targets are resolved beneath the root
 * without symlinks. Files are 0600 and directories 0700 until their attributes are applied; directory attributes on
 * leaving. Not thread-safe.
 * Source: bench/spec/archive-creation.md part B, in particular B4 to B6 and B8. */
#ifndef PXB_TREE_EXTRACT_H
#define PXB_TREE_EXTRACT_H

#include "attr/attributes.h"
#include "base/status.h"

struct extract_options {
    bool allow_existing_dirs;
    bool overwrite;        /* files, symlinks, hardlinks */
    bool ignore_ownership; /* no chown */
    bool ignore_xattrs;
    bool ignore_permissions;
};

struct extractor;
/* `target` is created (0700) if missing. */
MUST_CHECK enum status extractor_new(const char *target, const struct extract_options *options, struct extractor **out,
                                     struct error *err);
void extractor_free(struct extractor *x); /* accepts NULL */

MUST_CHECK enum status extract_directory_begin(struct extractor *x, const char *name, const struct attributes *a,
                                               struct error *err);
/* Applies the attributes given at begin. */
MUST_CHECK enum status extract_directory_end(struct extractor *x, struct error *err);
/* Root attributes are applied here; call once at the end. */
MUST_CHECK enum status extract_finish(struct extractor *x, const struct attributes *root, struct error *err);

MUST_CHECK enum status extract_file_begin(struct extractor *x, const char *name, const struct attributes *a,
                                          uint64_t size, struct error *err);
/* All-zero blocks of 4096 become holes. */
MUST_CHECK enum status extract_file_data(struct extractor *x, const uint8_t *data, size_t size, struct error *err);
/* ERR_MISMATCH unless exactly `size` bytes came. */
MUST_CHECK enum status extract_file_end(struct extractor *x, struct error *err);

MUST_CHECK enum status extract_symlink(struct extractor *x, const char *name, const struct attributes *a,
                                       const char *target, struct error *err);
MUST_CHECK enum status extract_hardlink(struct extractor *x, const char *name, const char *target_path,
                                        struct error *err);
/* Fifo, socket, char or block device by mode. */
MUST_CHECK enum status extract_node(struct extractor *x, const char *name, const struct attributes *a, uint64_t major,
                                    uint64_t minor, struct error *err);

#endif
