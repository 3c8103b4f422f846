#include "attr/posix_acl.h"

#include <assert.h>
#include <inttypes.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>

enum {
    HEADER_SIZE = 4,
    ENTRY_SIZE = 8,
    PERM_BITS = 7,
    ENTRIES_MAX = (XATTR_VALUE_SIZE_MAX - HEADER_SIZE) / ENTRY_SIZE,
};
static_assert(sizeof(struct posix_acl_xattr_header) == HEADER_SIZE &&
                  sizeof(struct posix_acl_xattr_entry) == ENTRY_SIZE,
              "sizes of the kernel's records");
static_assert((int)ENTRIES_MAX <= (int)ATTRIBUTES_ACL_MAX, "what the kernel holds fits into a list");

/* The entries that exist at most once. */
struct objects {
    uint64_t user, group, other, mask;
};

static uint64_t *object_of(struct objects *o, uint16_t tag)
{
    switch (tag) {
    case ACL_USER_OBJ: return &o->user;
    case ACL_GROUP_OBJ: return &o->group;
    case ACL_OTHER: return &o->other;
    case ACL_MASK: return &o->mask;
    default: return NULL;
    }
}

static enum status parse_entry(struct reader *r, struct objects *objects, struct acl_list *users,
                               struct acl_list *groups, struct error *err)
{
    uint64_t offset = reader_offset(r);
    uint32_t tag_and_perm, id;
    TRY(reader_u32le(r, &tag_and_perm, err));
    TRY(reader_u32le(r, &id, err));
    uint16_t tag = (uint16_t)(tag_and_perm & 0xffff), perm = (uint16_t)(tag_and_perm >> 16);
    if (perm & ~PERM_BITS)
        return fail(err, ERR_FORMAT, "%s: rights 0x%x at offset %" PRIu64, r->name, perm, offset);
    if (tag == ACL_USER)
        return acl_list_add(users, id, perm, err);
    if (tag == ACL_GROUP)
        return acl_list_add(groups, id, perm, err);
    uint64_t *object = object_of(objects, tag);
    if (!object)
        return fail(err, ERR_FORMAT, "%s: unknown tag 0x%x at offset %" PRIu64, r->name, tag, offset);
    if (*object != ACL_PERM_UNSET)
        return fail(err, ERR_FORMAT, "%s: second entry of tag 0x%x at offset %" PRIu64, r->name, tag, offset);
    *object = perm;
    return OK;
}

static int compare_entries(const void *left, const void *right)
{
    const struct acl_entry *a = left, *b = right;
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return a->perm < b->perm ? -1 : a->perm > b->perm;
}

static void sort(struct acl_list *list)
{
    if (list->count > 1)
        qsort(list->entries, list->count, sizeof list->entries[0], compare_entries);
}

static enum status parse(const uint8_t *value, size_t size, const char *name, struct objects *objects,
                         struct acl_list *users, struct acl_list *groups, struct error *err)
{
    *objects = (struct objects){ACL_PERM_UNSET, ACL_PERM_UNSET, ACL_PERM_UNSET, ACL_PERM_UNSET};
    struct reader r = reader_over(value, size, name, 0);
    uint32_t version;
    TRY(reader_u32le(&r, &version, err));
    if (version != POSIX_ACL_XATTR_VERSION)
        return fail(err, ERR_FORMAT, "%s: version %" PRIu32 " at offset 0", name, version);
    while (reader_remaining(&r) > 0)
        TRY(parse_entry(&r, objects, users, groups, err));
    sort(users);
    sort(groups);
    return OK;
}

enum status posix_acl_parse_access(const uint8_t *value, size_t size, const char *name, struct attributes *out,
                                   struct error *err)
{
    struct attribute_extras *x;
    TRY(attributes_extras(out, &x, err));
    struct objects o;
    TRY(parse(value, size, name, &o, &x->users, &x->groups, err));
    if (o.group != ACL_PERM_UNSET && o.mask != ACL_PERM_UNSET) {
        x->has_group_obj = true;
        x->group_obj = o.group;
    }
    return OK;
}

enum status posix_acl_parse_default(const uint8_t *value, size_t size, const char *name, struct attributes *out,
                                    struct error *err)
{
    struct attribute_extras *x;
    TRY(attributes_extras(out, &x, err));
    struct objects o;
    TRY(parse(value, size, name, &o, &x->default_users, &x->default_groups, err));
    if ((o.user & o.group & o.other & o.mask) != ACL_PERM_UNSET) {
        x->has_default = true;
        x->acl_default =
            (struct acl_default){.user_obj = o.user, .group_obj = o.group, .other = o.other, .mask = o.mask};
    }
    return OK;
}

bool posix_acl_has_access(const struct attribute_extras *x)
{
    return x && (x->users.count > 0 || x->groups.count > 0 || x->has_group_obj);
}

bool posix_acl_has_default(const struct attribute_extras *x)
{
    return x && (x->has_default || x->default_users.count > 0 || x->default_groups.count > 0);
}

static enum status append_entry(struct buffer *out, uint16_t tag, uint64_t perm, uint64_t id, struct error *err)
{
    if (perm > PERM_BITS)
        return fail(err, ERR_FORMAT, "rights 0x%" PRIx64 " in an ACL", perm);
    if (id > UINT32_MAX)
        return fail(err, ERR_FORMAT, "id %" PRIu64 " in an ACL", id);
    TRY(buffer_append_u32le(out, (uint32_t)(tag | perm << 16), err));
    return buffer_append_u32le(out, (uint32_t)id, err);
}

static enum status append_object(struct buffer *out, uint16_t tag, uint64_t perm, struct error *err)
{
    return perm == ACL_PERM_UNSET ? OK : append_entry(out, tag, perm, (uint32_t)ACL_UNDEFINED_ID, err);
}

static enum status append_list(struct buffer *out, uint16_t tag, const struct acl_list *list, struct error *err)
{
    for (size_t i = 0; i < list->count; i++)
        TRY(append_entry(out, tag, list->entries[i].perm, list->entries[i].id, err));
    return OK;
}

/* The kernel demands the order of the tags. */
static enum status build(const struct objects *o, const struct acl_list *users, const struct acl_list *groups,
                         struct buffer *out, struct error *err)
{
    if (users->count > ENTRIES_MAX || groups->count > ENTRIES_MAX || users->count + groups->count > ENTRIES_MAX - 4)
        return fail(err, ERR_LIMIT, "an ACL of %zu users and %zu groups: more than an extended attribute can hold",
                    users->count, groups->count);
    TRY(buffer_append_u32le(out, POSIX_ACL_XATTR_VERSION, err));
    TRY(append_object(out, ACL_USER_OBJ, o->user, err));
    TRY(append_list(out, ACL_USER, users, err));
    TRY(append_object(out, ACL_GROUP_OBJ, o->group, err));
    TRY(append_list(out, ACL_GROUP, groups, err));
    TRY(append_object(out, ACL_MASK, o->mask, err));
    return append_object(out, ACL_OTHER, o->other, err);
}

enum status posix_acl_build_access(const struct attributes *a, struct buffer *out, bool *out_mask_made,
                                   struct error *err)
{
    const struct attribute_extras *x = a->extras;
    uint64_t group_bits = a->stat.mode >> 3 & PERM_BITS;
    struct objects o = {.user = a->stat.mode >> 6 & PERM_BITS,
                        .group = group_bits,
                        .other = a->stat.mode & PERM_BITS,
                        .mask = group_bits};
    if (x->has_group_obj)
        o.group = x->group_obj;
    *out_mask_made = !x->has_group_obj;
    return build(&o, &x->users, &x->groups, out, err);
}

enum status posix_acl_build_default(const struct attribute_extras *x, struct buffer *out, struct error *err)
{
    struct objects o = {ACL_PERM_UNSET, ACL_PERM_UNSET, ACL_PERM_UNSET, ACL_PERM_UNSET};
    if (x->has_default)
        o = (struct objects){.user = x->acl_default.user_obj,
                             .group = x->acl_default.group_obj,
                             .other = x->acl_default.other,
                             .mask = x->acl_default.mask};
    return build(&o, &x->default_users, &x->default_groups, out, err);
}
