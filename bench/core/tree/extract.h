/* Archive entries to a tree: creates what it is told under one target directory and never leaves it.
 * Every open is relative to a directory descriptor, with O_NOFOLLOW; hardlink targets are resolved beneath the root
 * without symlinks. Files are 0600 and directories 0700 until their attributes are applied (and stay so without
 * permissions); directory attributes on leaving. Nothing is opened through what was there before: what may be
 * overwritten is unlinked and made anew, so that neither a symlink, nor a device, nor another name of the same file is
 * written through. Not thread-safe.
 * Source: bench/spec/archive-creation.md part B, in particular B4 to B6 and B8. */
#ifndef PXB_TREE_EXTRACT_H
#define PXB_TREE_EXTRACT_H

#include "attr/attr_apply.h"
#include "base/status.h"

struct extract_options {
    bool allow_existing_dirs;
    bool overwrite_files;     /* what stands in the way of a file is replaced, unless it is a directory */
    bool overwrite_symlinks;  /* ... of a symlink */
    bool overwrite_hardlinks; /* ... of a hardlink */
    struct attr_apply_options apply;
};

struct extractor;
/* `target` is created (0700) if missing. */
MUST_CHECK enum status extractor_new(const char *target, const struct extract_options *options, struct extractor **out,
                                     struct error *err);
void extractor_free(struct extractor *x); /* accepts NULL */
/* What could not be set so far. Borrowed. */
const struct attr_not_applied *extractor_not_applied(const struct extractor *x);

/* Goes into a directory that is made only if something below it is: by the next extract_pending, or never. */
MUST_CHECK enum status extract_directory_announce(struct extractor *x, const char *name, const struct attributes *a,
                                                  struct error *err);
/* Makes what was announced and not left. On failure the directory that could not be made and all below it count as
 * left: extractor_depth says how many are still open. */
MUST_CHECK enum status extract_pending(struct extractor *x, struct error *err);
/* How many are announced, not left and not made. */
size_t extractor_pending(const struct extractor *x);
/* Directories entered and not left: 0 in the target itself. */
size_t extractor_depth(const struct extractor *x);
/* Both at once; on failure nothing was entered. */
MUST_CHECK enum status extract_directory_begin(struct extractor *x, const char *name, const struct attributes *a,
                                               struct error *err);
/* Leaves; applies the attributes given at begin to a directory that was made. If these fail the directory was left all
 * the same; if extractor_depth did not change, the directory above was moved away and nothing more can be extracted. */
MUST_CHECK enum status extract_directory_end(struct extractor *x, struct error *err);
/* Root attributes are applied here; call once at the end. */
MUST_CHECK enum status extract_finish(struct extractor *x, const struct attributes *root, struct error *err);

/* The entries below go into the innermost directory, which must have been made. */

MUST_CHECK enum status extract_file_begin(struct extractor *x, const char *name, const struct attributes *a,
                                          uint64_t size, struct error *err);
/* All-zero blocks of 4096 become holes. */
MUST_CHECK enum status extract_file_data(struct extractor *x, const uint8_t *data, size_t size, struct error *err);
/* ERR_MISMATCH unless exactly `size` bytes came. The file is closed also on failure. */
MUST_CHECK enum status extract_file_end(struct extractor *x, struct error *err);

/* Closes a file that cannot be completed. What was written stays there, readable for its owner alone. Nothing happens
 * when no file is open. */
void extract_file_abandon(struct extractor *x);

MUST_CHECK enum status extract_symlink(struct extractor *x, const char *name, const struct attributes *a,
                                       const char *target, struct error *err);
/* `target_path` is relative to the target, resolved without symlinks and "..": ERR_FORMAT. The link to a file that is
 * immutable or append-only already takes these flags off for a moment. */
MUST_CHECK enum status extract_hardlink(struct extractor *x, const char *name, const char *target_path,
                                        struct error *err);
/* Fifo, socket, char or block device by mode. */
MUST_CHECK enum status extract_node(struct extractor *x, const char *name, const struct attributes *a, uint64_t major,
                                    uint64_t minor, struct error *err);

#endif
