/* Gives a restored file what was stored about it, in this order: owner, extended attributes, file capabilities, ACLs,
 * project id, mode, mtime, chattr and FAT flags. chown clears set-id bits and capabilities, setting an ACL changes the
 * mode, everything changes times, and nothing can be changed once a file is immutable.
 *
 * A step that fails does not keep the later ones from being tried: the first failure is returned, and a caller that
 * goes on with the next file (pxar extract) leaves this one with all that could be set. Rights never grow by that:
 *
 *   - a file that does not belong to the stored owner or group afterwards, because that was refused or is ignored, is
 *     without the set-id bit of that;
 *   - the stored group bits of a file with an ACL are the ACL's mask. Without the ACL they would be the group's own
 *     rights, so a file whose ACL is ignored or refused gives its group what the ACL gave it, if that is less;
 *   - an ACL that the file has and the archive has not (inherited from its directory's default ACL, or of a directory
 *     that was there before) is removed: the stored group bits would become its mask. It stays if ACLs are ignored.
 *
 * What else a directory hands down stays, as with the reference: chattr flags of a file that is stored without any, the
 * project id of one that is stored without. Extended attributes are added to those that are there.
 *
 * Thread-safe; counters belong to the caller.
 * Source: bench/spec/archive-creation.md B5, B6; bench/spec/pxar.md 5.6, 6. */
#ifndef PXB_ATTR_ATTR_APPLY_H
#define PXB_ATTR_ATTR_APPLY_H

#include "attr/attributes.h"

/* Steps that the user does not want. */
struct attr_apply_options {
    bool ignore_ownership;
    bool ignore_xattrs;
    bool ignore_acls;
    bool ignore_fcaps;
    bool ignore_permissions;
};

/* What was met but not applied, without being an error: the target file system has no such thing, or it needs rights
 * that a user other than root does not have (EPERM; for root it is an error). What the options leave out is not
 * counted. */
struct attr_not_applied {
    uint64_t acls;          /* files whose ACL was refused; an error was returned too */
    uint64_t acl_masks;     /* ACLs stored without a mask: its place was taken by the mode's group bits */
    uint64_t fcaps;         /* files */
    uint64_t project_ids;   /* files */
    uint64_t flags;         /* files some of whose flags were refused */
    uint64_t xattrs;        /* names that are none of ours: one each */
    uint64_t xattrs_denied; /* names that were refused: one each */
    uint64_t set_ids;       /* files without a set-id bit, for they belong to somebody else */
    uint64_t mtimes;        /* times that the file system cannot hold: another one was set */
};

enum attr_apply_to {
    APPLY_TO_OPEN_FILE, /* `fd` is open for reading or writing: a regular file or a directory */
    APPLY_TO_PATH_FD,   /* `fd` was opened with O_PATH|O_NOFOLLOW: everything else; needs /proc */
};

/* EOPNOTSUPP of chown, chmod and utimensat is ignored, that of setxattr ends the extended attributes and capabilities
 * of this file, ENOTTY, ENOSYS, EBADF, EOPNOTSUPP and EINVAL of flags and project ids mean a target without them (of
 * flags: without some; those it has are set).
 * Anything else is ERR_IO, or ERR_FORMAT for a stored ACL that cannot be one. The sentence is without a path, so that
 * none has to be made for the files that succeed: put it in front with fail_within. Symlinks keep their mode. */
MUST_CHECK enum status attr_apply(int fd, enum attr_apply_to to, const struct attributes *a,
                                  const struct attr_apply_options *options, struct attr_not_applied *not_applied,
                                  struct error *err);
/* The flags that only work on a file without contents: for a regular file directly after its creation. Counts nothing:
 * attr_apply tries all flags again and says which ones were refused. */
MUST_CHECK enum status attr_apply_early_flags(int fd, const struct attributes *a, struct attr_not_applied *not_applied,
                                              struct error *err);

#endif
