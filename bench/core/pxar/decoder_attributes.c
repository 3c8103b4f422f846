#include "pxar/decoder_attributes.h"

#include <stdlib.h>
#include <string.h>

enum { MEMBER_BYTES_MAX = 1 << 30 }; /* extended attributes of one member */

void decoder_attributes_init(struct decoder_attributes *a)
{
    *a = (struct decoder_attributes){0};
    a->xattr_bytes.limit = MEMBER_BYTES_MAX;
}

void decoder_attributes_deinit(struct decoder_attributes *a)
{
    free(a->extras.xattrs);
    free(a->extras.users.entries);
    free(a->extras.groups.entries);
    free(a->extras.default_users.entries);
    free(a->extras.default_groups.entries);
    buffer_deinit(&a->xattr_bytes);
    buffer_deinit(&a->fcaps);
}

void decoder_attributes_reset(struct decoder_attributes *a)
{
    if (!a->any)
        return;
    struct attribute_extras *x = &a->extras;
    *x = (struct attribute_extras){
        .xattrs = x->xattrs,
        .users = {.entries = x->users.entries},
        .groups = {.entries = x->groups.entries},
        .default_users = {.entries = x->default_users.entries},
        .default_groups = {.entries = x->default_groups.entries},
    };
    buffer_clear(&a->xattr_bytes);
    buffer_clear(&a->fcaps);
    a->any = false;
}

bool item_is_attribute(uint64_t type)
{
    switch (type) {
    case PXAR_XATTR:
    case PXAR_ACL_USER:
    case PXAR_ACL_GROUP:
    case PXAR_ACL_GROUP_OBJ:
    case PXAR_ACL_DEFAULT:
    case PXAR_ACL_DEFAULT_USER:
    case PXAR_ACL_DEFAULT_GROUP:
    case PXAR_FCAPS:
    case PXAR_QUOTA_PROJID: return true;
    default: return false;
    }
}

static enum status add_xattr(struct decoder_attributes *a, const uint8_t *content, size_t size, struct error *err)
{
    const uint8_t *end = memchr(content, '\0', size);
    if (!end)
        return fail(err, ERR_FORMAT, "XATTR without a zero byte behind its name");
    struct attribute_extras *x = &a->extras;
    TRY(array_grow((void **)&x->xattrs, x->xattr_count, &a->xattr_capacity, sizeof *x->xattrs, ATTRIBUTES_XATTRS_MAX,
                   "extended attributes of one entry", err));
    TRY(buffer_append(&a->xattr_bytes, content, size, err));
    size_t name_size = (size_t)(end - content);
    x->xattrs[x->xattr_count++] = (struct xattr){.name_size = name_size, .value_size = size - name_size - 1};
    return OK;
}

static enum status add_acl(struct decoder_attributes *a, struct acl_list *list, enum acl_slot slot,
                           const uint8_t *content, struct error *err)
{
    TRY(array_grow((void **)&list->entries, list->count, &a->acl_capacity[slot], sizeof *list->entries,
                   ATTRIBUTES_ACL_MAX, "access control entries of one kind", err));
    list->entries[list->count++] = (struct acl_entry){.id = load_u64le(content), .perm = load_u64le(content + 8)};
    return OK;
}

static enum status mark_once(uint64_t type, bool *seen, struct error *err)
{
    if (*seen)
        return fail(err, ERR_FORMAT, "second %s of one entry", item_kind_of(type)->name);
    *seen = true;
    return OK;
}

enum status decoder_attributes_add(struct decoder_attributes *a, uint64_t type, const uint8_t *content, size_t size,
                                   struct error *err)
{
    struct attribute_extras *x = &a->extras;
    a->any = true;
    switch (type) {
    case PXAR_XATTR: return add_xattr(a, content, size, err);
    case PXAR_ACL_USER: return add_acl(a, &x->users, ACL_USERS, content, err);
    case PXAR_ACL_GROUP: return add_acl(a, &x->groups, ACL_GROUPS, content, err);
    case PXAR_ACL_DEFAULT_USER: return add_acl(a, &x->default_users, ACL_DEFAULT_USERS, content, err);
    case PXAR_ACL_DEFAULT_GROUP: return add_acl(a, &x->default_groups, ACL_DEFAULT_GROUPS, content, err);
    case PXAR_ACL_GROUP_OBJ:
        TRY(mark_once(type, &x->has_group_obj, err));
        x->group_obj = load_u64le(content);
        return OK;
    case PXAR_ACL_DEFAULT:
        TRY(mark_once(type, &x->has_default, err));
        x->acl_default = (struct acl_default){
            .user_obj = load_u64le(content),
            .group_obj = load_u64le(content + 8),
            .other = load_u64le(content + 16),
            .mask = load_u64le(content + 24),
        };
        return OK;
    case PXAR_FCAPS: TRY(mark_once(type, &x->has_fcaps, err)); return buffer_append(&a->fcaps, content, size, err);
    case PXAR_QUOTA_PROJID:
        TRY(mark_once(type, &x->has_project_id, err));
        x->project_id = load_u64le(content);
        return OK;
    default: ASSERT(item_is_attribute(type)); return OK;
    }
}

/* The byte buffers stopped moving: name and value pointers can be set. */
struct attribute_extras *decoder_attributes_finish(struct decoder_attributes *a)
{
    if (!a->any)
        return NULL;
    struct attribute_extras *x = &a->extras;
    size_t offset = 0;
    for (size_t i = 0; i < x->xattr_count; i++) {
        struct xattr *v = &x->xattrs[i];
        v->name = (char *)a->xattr_bytes.data + offset;
        v->value = a->xattr_bytes.data + offset + v->name_size + 1;
        offset += v->name_size + 1 + v->value_size;
    }
    x->fcaps = a->fcaps.data;
    x->fcaps_size = a->fcaps.size;
    return x;
}
