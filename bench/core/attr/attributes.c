#include "attr/attributes.h"

#include <stdlib.h>
#include <string.h>

static const struct attribute_extras no_extras;

static void xattrs_free(struct attribute_extras *x)
{
    for (size_t i = 0; i < x->xattr_count; i++) {
        free(x->xattrs[i].name);
        free(x->xattrs[i].value);
    }
    free(x->xattrs);
}

void attributes_deinit(struct attributes *a)
{
    struct attribute_extras *x = a->extras;
    if (x) {
        xattrs_free(x);
        free(x->users.entries);
        free(x->groups.entries);
        free(x->default_users.entries);
        free(x->default_groups.entries);
        free(x->fcaps);
        free(x);
    }
    *a = (struct attributes){0};
}

enum status attributes_extras(struct attributes *a, struct attribute_extras **out, struct error *err)
{
    if (!a->extras) {
        a->extras = calloc(1, sizeof *a->extras);
        if (!a->extras)
            return fail(err, ERR_MEMORY, "out of memory for attributes");
    }
    *out = a->extras;
    return OK;
}

/* One byte more than asked and a NUL in it: names are strings, and an empty value is still an allocation. */
static void *copy_bytes(const void *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    if (!copy)
        return NULL;
    if (size > 0)
        memcpy(copy, data, size);
    copy[size] = '\0';
    return copy;
}

enum status attributes_add_xattr(struct attributes *a, const char *name, size_t name_size, const uint8_t *value,
                                 size_t value_size, struct error *err)
{
    /* Name and value share one ceiling in the archive; a long name with a short value is legal there. */
    if (name_size > XATTR_NAME_SIZE_MAX + XATTR_VALUE_SIZE_MAX ||
        value_size > XATTR_VALUE_SIZE_MAX + XATTR_NAME_SIZE_MAX)
        return fail(err, ERR_LIMIT, "extended attribute of %zu + %zu bytes", name_size, value_size);
    if (name_size > 0 && memchr(name, '\0', name_size))
        return fail(err, ERR_USAGE, "extended attribute name with a zero byte");
    struct attribute_extras *x;
    TRY(attributes_extras(a, &x, err));
    if (x->xattr_count >= ATTRIBUTES_XATTRS_MAX)
        return fail(err, ERR_LIMIT, "more than %d extended attributes", ATTRIBUTES_XATTRS_MAX);
    struct xattr *grown = reallocarray(x->xattrs, x->xattr_count + 1, sizeof *grown);
    if (!grown)
        return fail(err, ERR_MEMORY, "out of memory for extended attributes");
    x->xattrs = grown;
    struct xattr added = {
        .name = copy_bytes(name, name_size),
        .name_size = name_size,
        .value = copy_bytes(value, value_size),
        .value_size = value_size,
    };
    if (!added.name || !added.value) {
        free(added.name);
        free(added.value);
        return fail(err, ERR_MEMORY, "out of memory for an extended attribute of %zu bytes", value_size);
    }
    x->xattrs[x->xattr_count++] = added;
    return OK;
}

enum status acl_list_add(struct acl_list *list, uint64_t id, uint64_t perm, struct error *err)
{
    if (list->count >= ATTRIBUTES_ACL_MAX)
        return fail(err, ERR_LIMIT, "more than %d access control entries of one kind", ATTRIBUTES_ACL_MAX);
    if (list->count >= list->capacity) {
        size_t capacity = list->count ? 2 * list->count : 1;
        struct acl_entry *grown = reallocarray(list->entries, capacity, sizeof *grown);
        if (!grown)
            return fail(err, ERR_MEMORY, "out of memory for access control entries");
        list->entries = grown;
        list->capacity = capacity;
    }
    list->entries[list->count++] = (struct acl_entry){.id = id, .perm = perm};
    return OK;
}

enum status attributes_set_fcaps(struct attributes *a, const uint8_t *value, size_t size, struct error *err)
{
    if (size > XATTR_VALUE_SIZE_MAX + XATTR_NAME_SIZE_MAX)
        return fail(err, ERR_LIMIT, "file capabilities of %zu bytes", size);
    struct attribute_extras *x;
    TRY(attributes_extras(a, &x, err));
    uint8_t *copy = copy_bytes(value, size);
    if (!copy)
        return fail(err, ERR_MEMORY, "out of memory for file capabilities");
    free(x->fcaps);
    x->fcaps = copy;
    x->fcaps_size = size;
    x->has_fcaps = true;
    return OK;
}

static enum status acl_list_copy(const struct acl_list *from, struct acl_list *out, struct error *err)
{
    if (from->count == 0)
        return OK;
    out->entries = reallocarray(NULL, from->count, sizeof *out->entries);
    if (!out->entries)
        return fail(err, ERR_MEMORY, "out of memory for access control entries");
    memcpy(out->entries, from->entries, from->count * sizeof *out->entries);
    out->count = out->capacity = from->count;
    return OK;
}

static enum status extras_copy(const struct attribute_extras *from, struct attributes *to, struct error *err)
{
    struct attribute_extras *x;
    TRY(attributes_extras(to, &x, err));
    for (size_t i = 0; i < from->xattr_count; i++) {
        const struct xattr *v = &from->xattrs[i];
        TRY(attributes_add_xattr(to, v->name, v->name_size, v->value, v->value_size, err));
    }
    TRY(acl_list_copy(&from->users, &x->users, err));
    TRY(acl_list_copy(&from->groups, &x->groups, err));
    TRY(acl_list_copy(&from->default_users, &x->default_users, err));
    TRY(acl_list_copy(&from->default_groups, &x->default_groups, err));
    if (from->has_fcaps)
        TRY(attributes_set_fcaps(to, from->fcaps, from->fcaps_size, err));
    x->has_group_obj = from->has_group_obj;
    x->group_obj = from->group_obj;
    x->has_default = from->has_default;
    x->acl_default = from->acl_default;
    x->has_project_id = from->has_project_id;
    x->project_id = from->project_id;
    return OK;
}

enum status attributes_copy(const struct attributes *from, struct attributes *out, struct error *err)
{
    CLEANUP(attributes_deinit) struct attributes copy = {.stat = from->stat};
    if (from->extras)
        TRY(extras_copy(from->extras, &copy, err));
    *out = copy;
    copy.extras = NULL;
    return OK;
}

static bool bytes_equal(const void *a, size_t a_size, const void *b, size_t b_size)
{
    return a_size == b_size && (a_size == 0 || memcmp(a, b, a_size) == 0);
}

static bool xattr_names_equal(const struct attribute_extras *a, const struct attribute_extras *b)
{
    if (a->xattr_count != b->xattr_count)
        return false;
    for (size_t i = 0; i < a->xattr_count; i++)
        if (!bytes_equal(a->xattrs[i].name, a->xattrs[i].name_size, b->xattrs[i].name, b->xattrs[i].name_size))
            return false;
    return true;
}

static bool xattr_values_equal(const struct attribute_extras *a, const struct attribute_extras *b)
{
    for (size_t i = 0; i < a->xattr_count; i++)
        if (!bytes_equal(a->xattrs[i].value, a->xattrs[i].value_size, b->xattrs[i].value, b->xattrs[i].value_size))
            return false;
    return true;
}

static bool acl_lists_equal(const struct acl_list *a, const struct acl_list *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (a->entries[i].id != b->entries[i].id || a->entries[i].perm != b->entries[i].perm)
            return false;
    return true;
}

static bool acl_defaults_equal(const struct acl_default *a, const struct acl_default *b)
{
    return a->user_obj == b->user_obj && a->group_obj == b->group_obj && a->other == b->other && a->mask == b->mask;
}

static bool acls_equal(const struct attribute_extras *a, const struct attribute_extras *b)
{
    if (a->has_group_obj != b->has_group_obj || a->has_default != b->has_default)
        return false;
    if (a->has_group_obj && a->group_obj != b->group_obj)
        return false;
    if (a->has_default && !acl_defaults_equal(&a->acl_default, &b->acl_default))
        return false;
    return acl_lists_equal(&a->users, &b->users) && acl_lists_equal(&a->groups, &b->groups) &&
           acl_lists_equal(&a->default_users, &b->default_users) &&
           acl_lists_equal(&a->default_groups, &b->default_groups);
}

static enum attribute_difference extras_compare(const struct attribute_extras *a, const struct attribute_extras *b,
                                                bool compare_values)
{
    if (!xattr_names_equal(a, b))
        return ATTRIBUTE_XATTR;
    if (compare_values && !xattr_values_equal(a, b))
        return ATTRIBUTE_XATTR_VALUE;
    if (!acls_equal(a, b))
        return ATTRIBUTE_ACL;
    if (a->has_fcaps != b->has_fcaps ||
        (a->has_fcaps && !bytes_equal(a->fcaps, a->fcaps_size, b->fcaps, b->fcaps_size)))
        return ATTRIBUTE_FCAPS;
    if (a->has_project_id != b->has_project_id || (a->has_project_id && a->project_id != b->project_id))
        return ATTRIBUTE_PROJECT_ID;
    return ATTRIBUTE_EQUAL;
}

enum attribute_difference attributes_compare(const struct attributes *a, const struct attributes *b,
                                             bool compare_values)
{
    const uint64_t type_bits = 0170000;
    const struct stat_record *x = &a->stat, *y = &b->stat;
    if ((x->mode & type_bits) != (y->mode & type_bits))
        return ATTRIBUTE_TYPE;
    if (x->mtime_secs != y->mtime_secs || x->mtime_nanos != y->mtime_nanos)
        return ATTRIBUTE_MTIME;
    if (x->mode != y->mode)
        return ATTRIBUTE_MODE;
    if (x->uid != y->uid || x->gid != y->gid)
        return ATTRIBUTE_OWNER;
    if (x->flags != y->flags)
        return ATTRIBUTE_FLAGS;
    if (!a->extras && !b->extras)
        return ATTRIBUTE_EQUAL;
    return extras_compare(a->extras ? a->extras : &no_extras, b->extras ? b->extras : &no_extras, compare_values);
}
