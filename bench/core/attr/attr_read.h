/* Reads what is stored about one open file: extended attributes (user.*, trusted.*, security.NTACL) in the kernel's
 * order, file capabilities, ACLs, chattr and FAT flags, project id.
 *
 *   flistxattr           always; values, capabilities and ACLs are asked for only where the list names them
 *   FS_IOC_GETFLAGS      always
 *   FAT_IOCTL_GET_...    only on file systems with FAT flags
 *   FS_IOC_FSGETXATTR    only on file systems with project ids
 *
 * Nothing is remembered from one file to the next: what upstream stops asking for after the first EOPNOTSUPP is asked
 * again here, so that the result does not depend on which thread came first.
 * Thread-safe except for the context, one per thread.
 * Source: bench/spec/archive-creation.md A9, A12; bench/spec/pxar.md 5.5 to 5.8, 6, 7. */
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
    bool fat_flags;
};
struct attr_features attr_features_of(uint64_t fs_magic);
/* Whether extended attributes of this name are stored (and restored) as such: user.*, trusted.*, security.NTACL. */
bool xattr_is_stored(const char *name);
/* ENOTTY, ENOSYS, EBADF, EOPNOTSUPP, EINVAL of an ioctl: the file system knows no such thing. */
bool attr_flags_error_is_tolerated(int errnum);
/* Contents of these are never archived (archive-creation.md A7). */
bool fs_is_virtual(uint64_t fs_magic);

/* What was met but not stored because the features of its file system say so (tmpfs: nothing is stored there). Files,
 * so that a run can say so once; the access and the default ACL of one directory count as one. */
struct attr_not_stored {
    atomic_uint_fast64_t xattrs;
    atomic_uint_fast64_t acls;
    atomic_uint_fast64_t fcaps;
};

struct attr_reader; /* buffers; one per thread */
MUST_CHECK enum status attr_reader_new(struct attr_reader **out, struct error *err);
void attr_reader_free(struct attr_reader *r);

/* Fills the stat part. */
void attributes_from_stat(const struct stat *st, struct attributes *out);
/* What E2BIG of a file's list or of one value means: fatal with a hint (default), or the end of this file's extended
 * attributes, capabilities and ACLs, without a word. */
void attr_reader_skip_e2big(struct attr_reader *r, bool skip);
/* Adds everything else to `out`, whose stat part was filled from `fd`, an open regular file or directory. Tolerated
 * are exactly the errors of A9; others are ERR_IO with errnum kept, ERR_LIMIT for values over 64 KiB, ERR_FORMAT for
 * an ACL that makes no sense. After a failure `out` holds what was read before. `path` for errors. */
MUST_CHECK enum status attr_read(struct attr_reader *r, int fd, const struct attr_features *features, const char *path,
                                 struct attributes *out, struct attr_not_stored *not_stored, struct error *err);

#endif
