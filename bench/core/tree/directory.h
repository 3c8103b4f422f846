/* Open directories of a tree being walked. A handle is counted and remembers its parent and name, so its descriptor
 * can be closed at any time and be opened again: the number of open descriptors is bounded by `descriptor_limit`,
 * whatever the depth of the tree or the number of entries waiting. Pinned ones and the root stay open: when these alone
 * reach the limit, it gives way (waiting could wait for the caller's own pins). Thread-safe.
 * Re-opening goes from the nearest open ancestor down with openat(O_NOFOLLOW) and checks device and inode: a directory
 * that was replaced meanwhile is ERR_NOT_FOUND ("vanished", err->errnum ENOENT). When the kernel has no descriptors
 * left (EMFILE, ENFILE), unpinned ones are closed before an open fails. */
#ifndef PXB_TREE_DIRECTORY_H
#define PXB_TREE_DIRECTORY_H

#include "base/status.h"

#include <sys/stat.h>

struct directories; /* the pool */
struct directory;

MUST_CHECK enum status directories_new(size_t descriptor_limit, struct directories **out, struct error *err);
void directories_free(struct directories *pool); /* all handles must be released; accepts NULL */

/* The root. `path` may end in a symlink unless `no_follow` (then: ERR_IO, ELOOP). ERR_IO; not a directory: ERR_USAGE.
 * One reference. */
MUST_CHECK enum status directory_open_root(struct directories *pool, const char *path, bool no_follow,
                                           struct directory **out, struct stat *out_stat, struct error *err);
/* A child. `name` is copied. One reference; the child holds one on its parent. On failure errno is in err->errnum; the
 * text of the child's own failures does not name it. */
MUST_CHECK enum status directory_open_child(struct directory *parent, const char *name, struct directory **out,
                                            struct stat *out_stat, struct error *err);
void directory_retain(struct directory *d);
void directory_release(struct directory *d); /* accepts NULL */

/* Borrow the descriptor: valid until the matching unpin. The caller keeps its reference meanwhile. */
MUST_CHECK enum status directory_pin(struct directory *d, int *out_fd, struct error *err);
void directory_unpin(struct directory *d);

/* Path from the root without leading slash ("" for the root), plus "/name" if `name` is not NULL. Returns the length
 * the whole path has; cut at out_size. */
size_t directory_path(const struct directory *d, const char *name, char *out, size_t out_size);
size_t directory_open_count(const struct directories *pool); /* descriptors open now, for tests */

#endif
