/* What is stored about one file: stat fields, extended attributes, ACL, capabilities, project id.
 * A value type without system calls; reading from and applying to a file system are attr/attr_read.h and
 * attr/attr_apply.h. Not thread-safe; instances are independent.
 * Source: bench/spec/pxar.md 5.3 to 5.8, 12.3; bench/spec/change-detection.md 5. */
#ifndef PXB_ATTR_ATTRIBUTES_H
#define PXB_ATTR_ATTRIBUTES_H

#include "base/status.h"

/* The ENTRY record. `mode` has the type bits; nanos count forward from secs, 0..999999999. */
struct stat_record {
    uint64_t mode;
    uint64_t flags;
    uint32_t uid;
    uint32_t gid;
    int64_t mtime_secs;
    uint32_t mtime_nanos;
};

/* `name` ends with NUL (name_size does not count it) and holds none inside. */
struct xattr {
    char *name;
    size_t name_size;
    uint8_t *value;
    size_t value_size;
};

struct acl_entry {
    uint64_t id;
    uint64_t perm; /* 4 read, 2 write, 1 execute */
};
struct acl_list {
    struct acl_entry *entries;
    size_t count;
    size_t capacity; /* acl_list_add's */
};
#define ACL_PERM_UNSET UINT64_MAX
struct acl_default {
    uint64_t user_obj, group_obj, other, mask;
};

/* Everything that most files do not have. Lists are in stored order. */
struct attribute_extras {
    struct xattr *xattrs;
    size_t xattr_count;
    struct acl_list users, groups, default_users, default_groups;
    bool has_group_obj, has_default, has_fcaps, has_project_id;
    uint64_t group_obj;
    struct acl_default acl_default;
    uint8_t *fcaps;
    size_t fcaps_size;
    uint64_t project_id;
};

struct attributes {
    struct stat_record stat;
    struct attribute_extras *extras; /* owned; NULL: none */
};

enum {
    XATTR_NAME_SIZE_MAX = 255,
    XATTR_VALUE_SIZE_MAX = 65536,
    ATTRIBUTES_XATTRS_MAX = 65536, /* per file */
    ATTRIBUTES_ACL_MAX = 65536,    /* entries per list */
};

void attributes_deinit(struct attributes *a); /* frees the extras; accepts empty */
/* The extras, made on first use. */
MUST_CHECK enum status attributes_extras(struct attributes *a, struct attribute_extras **out, struct error *err);
/* Copies name and value. */
MUST_CHECK enum status attributes_add_xattr(struct attributes *a, const char *name, size_t name_size,
                                            const uint8_t *value, size_t value_size, struct error *err);
/* `list` is a member of a->extras. */
MUST_CHECK enum status acl_list_add(struct acl_list *list, uint64_t id, uint64_t perm, struct error *err);
MUST_CHECK enum status attributes_set_fcaps(struct attributes *a, const uint8_t *value, size_t size, struct error *err);
MUST_CHECK enum status attributes_copy(const struct attributes *from, struct attributes *out, struct error *err);

/* Which attribute differs first, in this order; ATTRIBUTE_EQUAL: none. */
enum attribute_difference {
    ATTRIBUTE_EQUAL,
    ATTRIBUTE_TYPE,
    ATTRIBUTE_MTIME,
    ATTRIBUTE_MODE,
    ATTRIBUTE_OWNER,
    ATTRIBUTE_FLAGS,
    ATTRIBUTE_XATTR,       /* names or their order */
    ATTRIBUTE_XATTR_VALUE, /* names equal, a value differs; only with `compare_values` */
    ATTRIBUTE_ACL,
    ATTRIBUTE_FCAPS,
    ATTRIBUTE_PROJECT_ID,
};
enum attribute_difference attributes_compare(const struct attributes *a, const struct attributes *b,
                                             bool compare_values);

#endif
