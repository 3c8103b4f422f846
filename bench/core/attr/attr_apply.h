/* Gives a restored file what was stored about it: owner, extended attributes, mode, mtime, in this order (chown clears
 * set-id bits, everything changes ctime, writing attributes may need the mode's write bit). This issue: ACLs, file
 * capabilities, project ids and chattr flags are counted, not applied; the group of a file whose ACL is left out gets
 * the rights it had under that ACL, not the ACL's mask.
 * Thread-safe; counters belong to the caller.
 * Source: bench/spec/archive-creation.md B6. */
#ifndef PXB_ATTR_ATTR_APPLY_H
#define PXB_ATTR_ATTR_APPLY_H

#include "attr/attributes.h"

struct attr_apply_options {
    bool ignore_ownership;
    bool ignore_xattrs;
    bool ignore_permissions;
};

/* Entries whose attributes were met but not applied. */
struct attr_not_applied {
    uint64_t acls;
    uint64_t fcaps;
    uint64_t project_ids;
    uint64_t flags;
    uint64_t xattrs; /* names that are none of ours: one each */
};

enum attr_apply_to {
    APPLY_TO_OPEN_FILE, /* `fd` is open for reading or writing: a regular file or a directory */
    APPLY_TO_PATH_FD,   /* `fd` was opened with O_PATH|O_NOFOLLOW: everything else; needs /proc */
};

/* EOPNOTSUPP of chown, chmod and utimensat is ignored, that of setxattr ends the extended attributes of this file.
 * Anything else is ERR_IO; the sentence is without a path, so that none has to be made for the files that succeed: put
 * it in front with fail_within. Symlinks keep their mode. */
MUST_CHECK enum status attr_apply(int fd, enum attr_apply_to to, const struct attributes *a,
                                  const struct attr_apply_options *options, struct attr_not_applied *not_applied,
                                  struct error *err);

#endif
