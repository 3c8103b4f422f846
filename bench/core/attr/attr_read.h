/* Reads what is stored about one open file. This issue: stat and extended attributes (names user.*, trusted.*,
 * security.NTACL). Thread-safe except for the context, one per thread.
 * Source: bench/spec/archive-creation.md A9, bench/spec/pxar.md 5.5, 7. */
#ifndef PXB_ATTR_ATTR_READ_H
#define PXB_ATTR_ATTR_READ_H

#include "attr/attributes.h"

#include <stdatomic.h>
#include <sys/stat.h>

/* Which attributes a file system can have (pxar.md 7), by statfs magic. */
struct attr_features {
    bool xattrs;
    bool acl;
    bool fcaps;
    bool project_id;
};
struct attr_features attr_features_of(uint64_t fs_magic);
/* Whether extended attributes of this name are stored (and restored) as such: user.*, trusted.*, security.NTACL. */
bool xattr_is_stored(const char *name);
/* Contents of these are never archived (archive-creation.md A7). */
bool fs_is_virtual(uint64_t fs_magic);

/* What was met but not stored, so that a run can say so once. */
struct attr_not_stored {
    atomic_uint_fast64_t xattrs; /* files on file systems whose extended attributes are not stored (tmpfs) */
    atomic_uint_fast64_t acls;
    atomic_uint_fast64_t fcaps;
    atomic_uint_fast64_t flags; /* counted only where reading them costs nothing extra */
    atomic_uint_fast64_t project_ids;
};

struct attr_reader; /* buffers; one per thread */
MUST_CHECK enum status attr_reader_new(struct attr_reader **out, struct error *err);
void attr_reader_free(struct attr_reader *r);

/* Fills the stat part. */
void attributes_from_stat(const struct stat *st, struct attributes *out);
/* Adds the extended attributes of `fd` in the kernel's order. EOPNOTSUPP and EBADF (O_PATH) mean none; one that is gone
 * when its value is asked for is left out. Everything else is fatal: ERR_IO, E2BIG included, or ERR_LIMIT for values
 * over 64 KiB. `path` for errors. */
MUST_CHECK enum status attr_read_xattrs(struct attr_reader *r, int fd, const struct attr_features *features,
                                        const char *path, struct attributes *out, struct attr_not_stored *not_stored,
                                        struct error *err);

#endif
