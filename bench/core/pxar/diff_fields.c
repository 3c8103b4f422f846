#include "pxar/diff_fields.h"

#include "base/hex.h"
#include "pxar/dump.h"
#include "pxar/json_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FLUSH_SIZE = 64 * 1024 };

static const struct attribute_extras no_extras;

void diff_lines_init(struct diff_lines *l, const struct diff_options *options, struct sink out)
{
    *l = (struct diff_lines){.options = *options, .out = out};
}

void diff_lines_deinit(struct diff_lines *l)
{
    buffer_deinit(&l->lines);
    buffer_deinit(&l->values[0]);
    buffer_deinit(&l->values[1]);
}

enum status diff_lines_flush(struct diff_lines *l, struct error *err)
{
    if (l->lines.size == 0)
        return OK;
    enum status status = l->out.write(l->out.context, l->lines.data, l->lines.size, err);
    buffer_clear(&l->lines);
    return status;
}

static enum status end_line(struct diff_lines *l, struct error *err)
{
    TRY(buffer_append_u8(&l->lines, '\n', err));
    return l->lines.size < FLUSH_SIZE ? OK : diff_lines_flush(l, err);
}

/* ---- values, as JSON ---- */

static enum status append_text(struct buffer *out, const char *text, struct error *err)
{
    return buffer_append(out, text, strlen(text), err);
}

static enum status append_base64(struct buffer *out, const uint8_t *data, size_t size, struct error *err)
{
    TRY(append_text(out, "\"", err));
    TRY(base64_append(out, data, size, err));
    return append_text(out, "\"", err);
}

/* A string, or {"b64":"..."} for bytes that are not UTF-8. */
static enum status append_string(struct buffer *out, const char *text, size_t size, struct error *err)
{
    if (utf8_valid(text, size))
        return json_append_string(out, text, size, err);
    TRY(append_text(out, "{\"b64\":", err));
    TRY(append_base64(out, (const uint8_t *)text, size, err));
    return append_text(out, "}", err);
}

static enum status append_acl_list(struct buffer *out, const struct acl_list *list, struct error *err)
{
    if (list->count == 0)
        return append_text(out, "null", err);
    for (size_t i = 0; i < list->count; i++)
        TRY(buffer_printf(out, err, "%c{\"id\":%" PRIu64 ",\"perm\":%" PRIu64 "}", i ? ',' : '[', list->entries[i].id,
                          list->entries[i].perm));
    return append_text(out, "]", err);
}

static enum status append_default_perm(struct buffer *out, const char *key, uint64_t perm, struct error *err)
{
    if (perm == ACL_PERM_UNSET)
        return buffer_printf(out, err, "\"%s\":null", key);
    return buffer_printf(out, err, "\"%s\":%" PRIu64, key, perm);
}

static enum status append_acl_default(struct buffer *out, const struct attribute_extras *x, struct error *err)
{
    if (!x->has_default)
        return append_text(out, "null", err);
    TRY(append_text(out, "{", err));
    TRY(append_default_perm(out, "group_obj", x->acl_default.group_obj, err));
    TRY(append_text(out, ",", err));
    TRY(append_default_perm(out, "mask", x->acl_default.mask, err));
    TRY(append_text(out, ",", err));
    TRY(append_default_perm(out, "other", x->acl_default.other, err));
    TRY(append_text(out, ",", err));
    TRY(append_default_perm(out, "user_obj", x->acl_default.user_obj, err));
    return append_text(out, "}", err);
}

static enum status append_optional_u64(struct buffer *out, bool present, uint64_t value, struct error *err)
{
    return present ? buffer_printf(out, err, "%" PRIu64, value) : append_text(out, "null", err);
}

/* ---- lines ---- */

/* ,"path":"..." or ,"path_b64":"...". */
static enum status append_member(struct buffer *out, const char *key, const char *text, size_t size, struct error *err)
{
    if (utf8_valid(text, size)) {
        TRY(buffer_printf(out, err, ",\"%s\":", key));
        return json_append_string(out, text, size, err);
    }
    TRY(buffer_printf(out, err, ",\"%s_b64\":", key));
    return append_base64(out, (const uint8_t *)text, size, err);
}

enum status diff_only_in(struct diff_lines *l, bool in_b, const struct archive_entry *entry, struct error *err)
{
    struct buffer *out = &l->lines;
    const char *kind = entry_kind_name(entry->kind);
    if (l->options.format == DIFF_JSON) {
        TRY(buffer_printf(out, err, "{\"kind\":\"%s\",\"only\":\"%c\"", kind, in_b ? 'b' : 'a'));
        TRY(append_member(out, "path", entry->path, strlen(entry->path), err));
        TRY(append_text(out, "}", err));
        return end_line(l, err);
    }
    TRY(buffer_printf(out, err, "only in %c: ", in_b ? 'B' : 'A'));
    TRY(dump_path(out, entry->path, err));
    TRY(buffer_printf(out, err, " (%s)", kind));
    return end_line(l, err);
}

/* A field with parts has a `name`: the extended attribute's. */
struct field {
    const char *path;
    const char *key;
    const char *name;
    size_t name_size;
};

static enum status append_field_text(struct diff_lines *l, const struct field *field, struct error *err)
{
    struct buffer *out = &l->lines;
    const struct buffer *a = &l->values[0], *b = &l->values[1];
    TRY(dump_path(out, field->path[0] ? field->path : "the archive", err));
    TRY(buffer_printf(out, err, ": %s ", field->key));
    if (field->name) {
        TRY(append_string(out, field->name, field->name_size, err));
        TRY(append_text(out, " ", err));
    }
    TRY(buffer_append(out, a->data, a->size, err));
    TRY(append_text(out, " -> ", err));
    return buffer_append(out, b->data, b->size, err);
}

static enum status append_field_json(struct diff_lines *l, const struct field *field, struct error *err)
{
    struct buffer *out = &l->lines;
    const struct buffer *a = &l->values[0], *b = &l->values[1];
    TRY(append_text(out, "{\"a\":", err));
    TRY(buffer_append(out, a->data, a->size, err));
    TRY(append_text(out, ",\"b\":", err));
    TRY(buffer_append(out, b->data, b->size, err));
    TRY(buffer_printf(out, err, ",\"field\":\"%s\"", field->key));
    if (field->name)
        TRY(append_member(out, "name", field->name, field->name_size, err));
    TRY(append_member(out, "path", field->path, strlen(field->path), err));
    return append_text(out, "}", err);
}

/* Whatever is shown differently differs: the values are in l->values. */
static enum status settle(struct diff_lines *l, const struct field *field, bool *out_differ, struct error *err)
{
    const struct buffer *a = &l->values[0], *b = &l->values[1];
    if (a->size == b->size && memcmp(a->data, b->data, a->size) == 0)
        return OK;
    *out_differ = true;
    TRY(l->options.format == DIFF_JSON ? append_field_json(l, field, err) : append_field_text(l, field, err));
    return end_line(l, err);
}

static void begin_values(struct diff_lines *l)
{
    buffer_clear(&l->values[0]);
    buffer_clear(&l->values[1]);
}

/* ---- fields ---- */

enum field_id {
    FIELD_KIND,
    FIELD_MODE,
    FIELD_UID,
    FIELD_GID,
    FIELD_MTIME,
    FIELD_FLAGS,
    FIELD_SIZE,
    FIELD_TARGET,
    FIELD_MAJOR,
    FIELD_MINOR,
    FIELD_ACL_USERS,
    FIELD_ACL_GROUPS,
    FIELD_ACL_GROUP_OBJ,
    FIELD_ACL_DEFAULT,
    FIELD_ACL_DEFAULT_USERS,
    FIELD_ACL_DEFAULT_GROUPS,
    FIELD_FCAPS,
    FIELD_QUOTA_PROJECT_ID,
    FIELD_FILENAME_OFFSET,
    FIELD_ENTRY_OFFSET,
    FIELD_PAYLOAD_OFFSET,
    FIELD_CONTENT_OFFSET,
    FIELD_LINK_OFFSET,
    FIELD_COUNT,
};

static const struct {
    const char *key;
    bool is_offset;
    bool of_hardlinks; /* they have no attributes of their own */
} field_kinds[FIELD_COUNT] = {
    [FIELD_KIND] = {"kind", false, true},
    [FIELD_MODE] = {"mode", false, false},
    [FIELD_UID] = {"uid", false, false},
    [FIELD_GID] = {"gid", false, false},
    [FIELD_MTIME] = {"mtime", false, false},
    [FIELD_FLAGS] = {"flags", false, false},
    [FIELD_SIZE] = {"size", false, false},
    [FIELD_TARGET] = {"target", false, true},
    [FIELD_MAJOR] = {"major", false, false},
    [FIELD_MINOR] = {"minor", false, false},
    [FIELD_ACL_USERS] = {"acl.users", false, false},
    [FIELD_ACL_GROUPS] = {"acl.groups", false, false},
    [FIELD_ACL_GROUP_OBJ] = {"acl.group_obj", false, false},
    [FIELD_ACL_DEFAULT] = {"acl.default", false, false},
    [FIELD_ACL_DEFAULT_USERS] = {"acl.default_users", false, false},
    [FIELD_ACL_DEFAULT_GROUPS] = {"acl.default_groups", false, false},
    [FIELD_FCAPS] = {"fcaps", false, false},
    [FIELD_QUOTA_PROJECT_ID] = {"quota_project_id", false, false},
    [FIELD_FILENAME_OFFSET] = {"filename_offset", true, true},
    [FIELD_ENTRY_OFFSET] = {"entry_offset", true, false},
    [FIELD_PAYLOAD_OFFSET] = {"payload_offset", true, false},
    [FIELD_CONTENT_OFFSET] = {"content_offset", true, false},
    [FIELD_LINK_OFFSET] = {"link_offset", true, true},
};

static bool is_device(const struct archive_entry *e)
{
    return e->kind == ENTRY_CHAR_DEVICE || e->kind == ENTRY_BLOCK_DEVICE;
}

/* "null" where the entry has no such field. */
static enum status append_value(struct buffer *out, enum field_id id, const struct archive_entry *e, struct error *err)
{
    const struct attribute_extras *x = e->attributes.extras ? e->attributes.extras : &no_extras;
    const struct stat_record *st = &e->attributes.stat;
    switch (id) {
    case FIELD_KIND: return buffer_printf(out, err, "\"%s\"", entry_kind_name(e->kind));
    case FIELD_MODE: return buffer_printf(out, err, "\"%07" PRIo64 "\"", st->mode);
    case FIELD_UID: return buffer_printf(out, err, "%" PRIu32, st->uid);
    case FIELD_GID: return buffer_printf(out, err, "%" PRIu32, st->gid);
    case FIELD_MTIME: return buffer_printf(out, err, "[%" PRId64 ",%" PRIu32 "]", st->mtime_secs, st->mtime_nanos);
    case FIELD_FLAGS: return buffer_printf(out, err, "%" PRIu64, st->flags);
    case FIELD_SIZE: return append_optional_u64(out, e->kind == ENTRY_FILE, e->size, err);
    case FIELD_TARGET:
        return e->target ? append_string(out, e->target, e->target_size, err) : append_text(out, "null", err);
    case FIELD_MAJOR: return append_optional_u64(out, is_device(e), e->major, err);
    case FIELD_MINOR: return append_optional_u64(out, is_device(e), e->minor, err);
    case FIELD_ACL_USERS: return append_acl_list(out, &x->users, err);
    case FIELD_ACL_GROUPS: return append_acl_list(out, &x->groups, err);
    case FIELD_ACL_GROUP_OBJ: return append_optional_u64(out, x->has_group_obj, x->group_obj, err);
    case FIELD_ACL_DEFAULT: return append_acl_default(out, x, err);
    case FIELD_ACL_DEFAULT_USERS: return append_acl_list(out, &x->default_users, err);
    case FIELD_ACL_DEFAULT_GROUPS: return append_acl_list(out, &x->default_groups, err);
    case FIELD_FCAPS:
        return x->has_fcaps ? append_base64(out, x->fcaps, x->fcaps_size, err) : append_text(out, "null", err);
    case FIELD_QUOTA_PROJECT_ID: return append_optional_u64(out, x->has_project_id, x->project_id, err);
    case FIELD_FILENAME_OFFSET: return append_optional_u64(out, e->filename_offset > 0, e->filename_offset, err);
    case FIELD_ENTRY_OFFSET: return append_optional_u64(out, e->kind != ENTRY_HARDLINK, e->entry_offset, err);
    case FIELD_PAYLOAD_OFFSET: return append_optional_u64(out, e->payload_offset > 0, e->payload_offset, err);
    case FIELD_CONTENT_OFFSET: return append_optional_u64(out, e->content_offset > 0, e->content_offset, err);
    case FIELD_LINK_OFFSET: return append_optional_u64(out, e->kind == ENTRY_HARDLINK, e->link_distance, err);
    case FIELD_COUNT: break;
    }
    return fail(err, ERR_USAGE, "no field %d", (int)id);
}

/* ---- extended attributes ---- */

static int compare_bytes(const void *a, size_t a_size, const void *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

static int compare_xattr_names(const void *a, const void *b)
{
    const struct xattr *const *x = a, *const *y = b;
    int order = compare_bytes((*x)->name, (*x)->name_size, (*y)->name, (*y)->name_size);
    /* Of equal names the one stored first: they stand in one array. */
    return order ? order : (*x > *y) - (*x < *y);
}

static enum status sort_xattrs(const struct attribute_extras *x, const struct xattr ***out, struct error *err)
{
    void *sorted = NULL;
    if (x->xattr_count > 0)
        TRY(array_new(x->xattr_count, sizeof **out, ATTRIBUTES_XATTRS_MAX, "extended attributes", &sorted, err));
    *out = sorted;
    for (size_t i = 0; i < x->xattr_count; i++)
        (*out)[i] = &x->xattrs[i];
    if (x->xattr_count > 0)
        qsort(*out, x->xattr_count, sizeof **out, compare_xattr_names);
    return OK;
}

/* Either may be NULL, but not both. */
static enum status diff_xattr(struct diff_lines *l, const char *path, const struct xattr *a, const struct xattr *b,
                              bool *out_differ, struct error *err)
{
    const struct xattr *known = a ? a : b;
    const struct field field = {.path = path, .key = "xattr", .name = known->name, .name_size = known->name_size};
    begin_values(l);
    TRY(a ? append_base64(&l->values[0], a->value, a->value_size, err) : append_text(&l->values[0], "null", err));
    TRY(b ? append_base64(&l->values[1], b->value, b->value_size, err) : append_text(&l->values[1], "null", err));
    return settle(l, &field, out_differ, err);
}

static enum status merge_xattrs(struct diff_lines *l, const char *path, const struct xattr **a, size_t a_count,
                                const struct xattr **b, size_t b_count, bool *out_differ, struct error *err)
{
    for (size_t i = 0, k = 0; i < a_count || k < b_count;) {
        int order = i == a_count   ? 1
                    : k == b_count ? -1
                                   : compare_bytes(a[i]->name, a[i]->name_size, b[k]->name, b[k]->name_size);
        TRY(diff_xattr(l, path, order <= 0 ? a[i] : NULL, order >= 0 ? b[k] : NULL, out_differ, err));
        i += order <= 0;
        k += order >= 0;
    }
    return OK;
}

static enum status append_xattr_names(struct buffer *out, const struct attribute_extras *x, struct error *err)
{
    TRY(append_text(out, "[", err));
    for (size_t i = 0; i < x->xattr_count; i++) {
        if (i)
            TRY(append_text(out, ",", err));
        TRY(append_string(out, x->xattrs[i].name, x->xattrs[i].name_size, err));
    }
    return append_text(out, "]", err);
}

static void free_pointers(const struct xattr ***pointers)
{
    free(*pointers);
}

static enum status diff_xattrs(struct diff_lines *l, const char *path, const struct attribute_extras *a,
                               const struct attribute_extras *b, bool *out_differ, struct error *err)
{
    CLEANUP(free_pointers) const struct xattr **a_sorted = NULL;
    CLEANUP(free_pointers) const struct xattr **b_sorted = NULL;
    bool differ = false;
    TRY(sort_xattrs(a, &a_sorted, err));
    TRY(sort_xattrs(b, &b_sorted, err));
    TRY(merge_xattrs(l, path, a_sorted, a->xattr_count, b_sorted, b->xattr_count, &differ, err));
    if (!differ) {
        const struct field field = {.path = path, .key = "xattr_order"};
        begin_values(l);
        TRY(append_xattr_names(&l->values[0], a, err));
        TRY(append_xattr_names(&l->values[1], b, err));
        TRY(settle(l, &field, &differ, err));
    }
    *out_differ = *out_differ || differ;
    return OK;
}

/* ---- entries ---- */

/* Nearly all entries are the same: this is cheaper than to write down every field. */
static bool plainly_equal(const struct archive_entry *a, const struct archive_entry *b)
{
    return a->kind == b->kind && a->size == b->size && a->major == b->major && a->minor == b->minor &&
           a->target_size == b->target_size &&
           (a->target_size == 0 || memcmp(a->target, b->target, a->target_size) == 0) &&
           attributes_compare(&a->attributes, &b->attributes, true) == ATTRIBUTE_EQUAL;
}

enum status diff_fields(struct diff_lines *l, const struct archive_entry *a, const struct archive_entry *b,
                        bool *out_differ, struct error *err)
{
    const struct attribute_extras *x = a->attributes.extras ? a->attributes.extras : &no_extras;
    const struct attribute_extras *y = b->attributes.extras ? b->attributes.extras : &no_extras;
    bool has_attributes = a->kind != ENTRY_HARDLINK && b->kind != ENTRY_HARDLINK;
    bool equal = plainly_equal(a, b);
    for (enum field_id id = 0; id < FIELD_COUNT; id++) {
        if (field_kinds[id].is_offset ? !l->options.offsets : equal)
            continue;
        if (!field_kinds[id].of_hardlinks && !has_attributes)
            continue;
        begin_values(l);
        TRY(append_value(&l->values[0], id, a, err));
        TRY(append_value(&l->values[1], id, b, err));
        TRY(settle(l, &(struct field){.path = a->path, .key = field_kinds[id].key}, out_differ, err));
    }
    return has_attributes && !equal ? diff_xattrs(l, a->path, x, y, out_differ, err) : OK;
}

enum status diff_contents(struct diff_lines *l, const char *path, const uint8_t a[DIFF_DIGEST_SIZE],
                          const uint8_t b[DIFF_DIGEST_SIZE], bool *out_differ, struct error *err)
{
    char text[2 * DIFF_DIGEST_SIZE + 1];
    begin_values(l);
    hex_encode(a, DIFF_DIGEST_SIZE, text);
    TRY(buffer_printf(&l->values[0], err, "\"%s\"", text));
    hex_encode(b, DIFF_DIGEST_SIZE, text);
    TRY(buffer_printf(&l->values[1], err, "\"%s\"", text));
    return settle(l, &(struct field){.path = path, .key = "content"}, out_differ, err);
}

enum status diff_preludes(struct diff_lines *l, const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                          bool *out_differ, struct error *err)
{
    begin_values(l);
    TRY(a ? append_string(&l->values[0], (const char *)a, a_size, err) : append_text(&l->values[0], "null", err));
    TRY(b ? append_string(&l->values[1], (const char *)b, b_size, err) : append_text(&l->values[1], "null", err));
    return settle(l, &(struct field){.path = "", .key = "prelude"}, out_differ, err);
}
