/* POSIX ACLs between the kernel's form (the value of system.posix_acl_access and system.posix_acl_default) and the
 * archive's: lists of named users and groups, the group object, the four of a default ACL. Pure.
 *
 *   kernel      u32 version = 2, then entries {u16 tag, u16 perm, u32 id}, ordered by tag
 *   archive     access:  named users, named groups; the group's own rights only where there is a mask, because the
 * group bits of the mode then hold the mask. User, other and mask are in the mode default: user, group, other, mask
 * (missing: ACL_PERM_UNSET); named users and groups
 *
 * Source: bench/spec/pxar.md 5.6, bench/spec/archive-creation.md A9, B6; <linux/posix_acl_xattr.h>. */
#ifndef PXB_ATTR_POSIX_ACL_H
#define PXB_ATTR_POSIX_ACL_H

#include "attr/attributes.h"
#include "base/buffer.h"

#define POSIX_ACL_ACCESS_NAME "system.posix_acl_access"
#define POSIX_ACL_DEFAULT_NAME "system.posix_acl_default"

/* Adds what the archive stores of this value to `out`, named entries sorted by (id, perm); nothing for an ACL that says
 * no more than the mode. ERR_FORMAT with the offset in the value: another version, a size that is not whole entries, an
 * unknown tag, rights other than rwx, a second user, group, other or mask. `name` is for the error. */
MUST_CHECK enum status posix_acl_parse_access(const uint8_t *value, size_t size, const char *name,
                                              struct attributes *out, struct error *err);
MUST_CHECK enum status posix_acl_parse_default(const uint8_t *value, size_t size, const char *name,
                                               struct attributes *out, struct error *err);

/* Whether the archive has something that a mode cannot say. `x` may be NULL. */
bool posix_acl_has_access(const struct attribute_extras *x);
bool posix_acl_has_default(const struct attribute_extras *x);

/* Appends the kernel's value. User and other of an access ACL come from the mode, its mask (or, where no group object
 * is stored, its group) from the mode's group bits. *out_mask_made: named entries without a stored group object, so
 * that the mode's group bits became the mask as well. The parts of a default ACL that are not set are left out, whether
 * the kernel takes that or not. ERR_FORMAT: rights other than rwx, an id over 32 bits; ERR_LIMIT: more than fit into an
 * extended attribute. */
MUST_CHECK enum status posix_acl_build_access(const struct attributes *a, struct buffer *out, bool *out_mask_made,
                                              struct error *err);
MUST_CHECK enum status posix_acl_build_default(const struct attribute_extras *x, struct buffer *out, struct error *err);

#endif
