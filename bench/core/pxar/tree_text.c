#include "pxar/tree_text.h"

#include "pxar/encoder.h"
#include "pxar/json_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONTENT_BLOCK = 64 * 1024, /* a multiple of 8, for splitmix64 */
    LINK_TARGETS_MAX = 1 << 26,
    MODE_PERMISSIONS = 07777,
    NANOS_PER_SECOND = 1000000000,
};

/* A place in the manifest, for errors: a key of the parent object or an index of the parent array. */
struct place {
    const struct place *parent;
    const char *key; /* NULL: index */
    size_t index;
};

/* A file that was written: what hardlinks refer to. */
struct link_target {
    char *path;
    uint64_t filename_offset;
};

struct builder {
    const char *name;
    bool unified;
    struct sink metadata; /* unified: the archive */
    struct sink payload;  /* where contents go; unified: the archive too */
    struct encoder *encoder;
    struct buffer path; /* of the open directory, "a/b/" */
    /* In archive order, which is the order of compare_paths. */
    struct link_target *targets;
    size_t target_count, target_capacity;
    uint8_t *block;
};

/* ---- errors and values ---- */

static size_t render_place(const struct place *at, char *out, size_t size)
{
    if (!at)
        return 0;
    size_t used = render_place(at->parent, out, size);
    if (used >= size)
        return used;
    int written = at->key ? snprintf(out + used, size - used, "%s%s", at->parent ? "." : "", at->key)
                          : snprintf(out + used, size - used, "[%zu]", at->index);
    return used + (written > 0 ? (size_t)written : 0);
}

static enum status within(const struct builder *b, const struct place *at, struct error *err)
{
    char path[512] = "";
    render_place(at, path, sizeof path);
    return fail_within(err, "%s: %s", b->name, path);
}

/* "NAME: root.entries[3].mtime: sentence". */
static enum status wrong(const struct builder *b, const struct place *at, struct error *err, const char *sentence)
{
    fail_text(err, ERR_FORMAT, "%s", sentence);
    (void)within(b, at, err);
    return fail_known(ERR_FORMAT);
}

static struct place key_of(const struct place *parent, const char *key)
{
    return (struct place){.parent = parent, .key = key};
}

static struct place index_of(const struct place *parent, size_t index)
{
    return (struct place){.parent = parent, .index = index};
}

/* Refuses what is no object, and keys that are not in the NULL-terminated list: a typing error must not get lost. */
static enum status check_object(const struct builder *b, json_t *object, const struct place *at,
                                const char *const *keys, struct error *err)
{
    if (!json_is_object(object))
        return wrong(b, at, err, "must be an object");
    for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
        const char *key = json_object_iter_key(i);
        const char *const *known = keys;
        while (*known && strcmp(*known, key) != 0)
            known++;
        struct place place = key_of(at, key);
        if (!*known)
            return wrong(b, &place, err, "unknown key");
    }
    return OK;
}

static enum status get_u64(const struct builder *b, json_t *object, const char *key, const struct place *at,
                           uint64_t max, uint64_t *out, struct error *err)
{
    struct place place = key_of(at, key);
    json_t *value = json_object_get(object, key);
    if (!value)
        return wrong(b, &place, err, "is missing");
    if (!json_u64(value, out) || *out > max) {
        char sentence[80];
        snprintf(sentence, sizeof sentence, "must be an integer from 0 to %" PRIu64, max);
        return wrong(b, &place, err, sentence);
    }
    return OK;
}

static enum status get_optional_u64(const struct builder *b, json_t *object, const char *key, const struct place *at,
                                    bool *out_found, uint64_t *out, struct error *err)
{
    *out_found = json_object_get(object, key) != NULL;
    return *out_found ? get_u64(b, object, key, at, UINT64_MAX, out, err) : OK;
}

/* Appends what stands under `key` in base64. */
static enum status get_base64(const struct builder *b, json_t *object, const char *key, const struct place *at,
                              struct buffer *out, struct error *err)
{
    struct place place = key_of(at, key);
    json_t *value = json_object_get(object, key);
    if (!json_is_string(value))
        return wrong(b, &place, err, value ? "must be a string" : "is missing");
    if (base64_decode_append(out, json_string_value(value), json_string_length(value), err) != OK)
        return within(b, &place, err);
    return OK;
}

/* Appends the bytes under KEY or KEY_b64, and a NUL that *out_size does not count. */
static enum status get_bytes(const struct builder *b, json_t *object, const char *key, const char *key_b64,
                             const struct place *at, struct buffer *out, size_t *out_size, struct error *err)
{
    struct place place = key_of(at, key);
    json_t *value = json_object_get(object, key);
    if (value && json_object_get(object, key_b64))
        return wrong(b, &place, err, "is there twice, as text and as base64");
    if (!value && !json_object_get(object, key_b64))
        return wrong(b, &place, err, "is missing");
    size_t before = out->size;
    if (!value) {
        TRY(get_base64(b, object, key_b64, at, out, err));
    } else {
        if (!json_is_string(value))
            return wrong(b, &place, err, "must be a string");
        TRY(buffer_append(out, json_string_value(value), json_string_length(value), err));
    }
    *out_size = out->size - before;
    if (*out_size > 0 && memchr(out->data + before, '\0', *out_size))
        return wrong(b, &place, err, "has a zero byte");
    return buffer_append_u8(out, 0, err);
}

static enum status get_array(const struct builder *b, json_t *object, const char *key, const struct place *at,
                             json_t **out, struct error *err)
{
    *out = json_object_get(object, key);
    struct place place = key_of(at, key);
    if (!json_is_array(*out))
        return wrong(b, &place, err, *out ? "must be an array" : "is missing");
    return OK;
}

/* ---- attributes ---- */

static enum status get_mode(const struct builder *b, json_t *object, const struct place *at, uint64_t type,
                            uint64_t *out, struct error *err)
{
    struct place place = key_of(at, "mode");
    const char *text = json_string_value(json_object_get(object, "mode"));
    if (!text || !*text || strlen(text) > 8)
        return wrong(b, &place, err, "must be an octal string like \"0644\"");
    uint64_t mode = 0;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '7')
            return wrong(b, &place, err, "must be an octal string like \"0644\"");
        mode = mode * 8 + (uint64_t)(*p - '0');
    }
    if (mode > MODE_PERMISSIONS)
        return wrong(b, &place, err, "has more than permission bits");
    *out = type | mode;
    return OK;
}

static enum status get_mtime(const struct builder *b, json_t *object, const struct place *at, struct stat_record *out,
                             struct error *err)
{
    struct place place = key_of(at, "mtime");
    json_t *pair;
    uint64_t nanos = 0;
    TRY(get_array(b, object, "mtime", at, &pair, err));
    json_t *secs = json_array_get(pair, 0);
    if (json_array_size(pair) != 2 || !json_is_integer(secs) || !json_u64(json_array_get(pair, 1), &nanos) ||
        nanos >= NANOS_PER_SECOND)
        return wrong(b, &place, err, "must be [seconds, nanoseconds below 10^9]");
    out->mtime_secs = json_integer_value(secs);
    out->mtime_nanos = (uint32_t)nanos;
    return OK;
}

static enum status get_xattrs(const struct builder *b, json_t *object, const struct place *at, struct attributes *out,
                              struct error *err)
{
    static const char *const keys[] = {"name", "name_b64", "value_b64", NULL};
    if (!json_object_get(object, "xattrs"))
        return OK;
    json_t *list;
    struct place place = key_of(at, "xattrs");
    TRY(get_array(b, object, "xattrs", at, &list, err));
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = json_array_get(list, i);
        struct place item_place = index_of(&place, i);
        CLEANUP(buffer_deinit) struct buffer name = BUFFER_INIT(0);
        CLEANUP(buffer_deinit) struct buffer value = BUFFER_INIT(0);
        size_t name_size = 0;
        TRY(check_object(b, item, &item_place, keys, err));
        TRY(get_bytes(b, item, "name", "name_b64", &item_place, &name, &name_size, err));
        TRY(get_base64(b, item, "value_b64", &item_place, &value, err));
        if (attributes_add_xattr(out, (const char *)name.data, name_size, value.data, value.size, err) != OK)
            return within(b, &item_place, err);
    }
    return OK;
}

static int compare_acl_entries(const void *a, const void *b)
{
    const struct acl_entry *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return (x->perm > y->perm) - (x->perm < y->perm);
}

static enum status get_acl_list(const struct builder *b, json_t *acl, const char *key, const struct place *at,
                                struct acl_list *out, struct error *err)
{
    static const char *const keys[] = {"id", "perm", NULL};
    if (!json_object_get(acl, key))
        return OK;
    json_t *list;
    struct place place = key_of(at, key);
    TRY(get_array(b, acl, key, at, &list, err));
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = json_array_get(list, i);
        struct place item_place = index_of(&place, i);
        uint64_t id = 0, perm = 0;
        TRY(check_object(b, item, &item_place, keys, err));
        TRY(get_u64(b, item, "id", &item_place, UINT64_MAX, &id, err));
        TRY(get_u64(b, item, "perm", &item_place, UINT64_MAX, &perm, err));
        if (acl_list_add(out, id, perm, err) != OK)
            return within(b, &item_place, err);
    }
    if (out->count > 0)
        qsort(out->entries, out->count, sizeof *out->entries, compare_acl_entries);
    return OK;
}

static enum status get_default_perm(const struct builder *b, json_t *object, const char *key, const struct place *at,
                                    uint64_t *out, struct error *err)
{
    *out = ACL_PERM_UNSET;
    return json_is_null(json_object_get(object, key)) ? OK : get_u64(b, object, key, at, UINT64_MAX, out, err);
}

static enum status get_acl_default(const struct builder *b, json_t *acl, const struct place *at,
                                   struct attribute_extras *out, struct error *err)
{
    static const char *const keys[] = {"user_obj", "group_obj", "other", "mask", NULL};
    json_t *object = json_object_get(acl, "default");
    if (!object)
        return OK;
    struct place place = key_of(at, "default");
    TRY(check_object(b, object, &place, keys, err));
    TRY(get_default_perm(b, object, "user_obj", &place, &out->acl_default.user_obj, err));
    TRY(get_default_perm(b, object, "group_obj", &place, &out->acl_default.group_obj, err));
    TRY(get_default_perm(b, object, "other", &place, &out->acl_default.other, err));
    TRY(get_default_perm(b, object, "mask", &place, &out->acl_default.mask, err));
    out->has_default = true;
    return OK;
}

static enum status get_acl(const struct builder *b, json_t *object, const struct place *at, struct attributes *out,
                           struct error *err)
{
    static const char *const keys[] = {"users",         "groups",         "group_obj", "default",
                                       "default_users", "default_groups", NULL};
    json_t *acl = json_object_get(object, "acl");
    if (!acl)
        return OK;
    struct place place = key_of(at, "acl");
    struct attribute_extras *x;
    TRY(check_object(b, acl, &place, keys, err));
    TRY(attributes_extras(out, &x, err));
    TRY(get_acl_list(b, acl, "users", &place, &x->users, err));
    TRY(get_acl_list(b, acl, "groups", &place, &x->groups, err));
    TRY(get_optional_u64(b, acl, "group_obj", &place, &x->has_group_obj, &x->group_obj, err));
    TRY(get_acl_default(b, acl, &place, x, err));
    TRY(get_acl_list(b, acl, "default_users", &place, &x->default_users, err));
    return get_acl_list(b, acl, "default_groups", &place, &x->default_groups, err);
}

static enum status get_fcaps(const struct builder *b, json_t *object, const struct place *at, struct attributes *out,
                             struct error *err)
{
    if (!json_object_get(object, "fcaps_b64"))
        return OK;
    CLEANUP(buffer_deinit) struct buffer value = BUFFER_INIT(0);
    TRY(get_base64(b, object, "fcaps_b64", at, &value, err));
    if (attributes_set_fcaps(out, value.data, value.size, err) != OK)
        return within(b, at, err);
    return OK;
}

static enum status get_project_id(const struct builder *b, json_t *object, const struct place *at,
                                  struct attributes *out, struct error *err)
{
    if (!json_object_get(object, "quota_project_id"))
        return OK;
    struct attribute_extras *x;
    TRY(attributes_extras(out, &x, err));
    return get_optional_u64(b, object, "quota_project_id", at, &x->has_project_id, &x->project_id, err);
}

/* `type`: the mode's type bits. The caller deinits *out, also after a failure. */
static enum status get_attributes(const struct builder *b, json_t *object, const struct place *at, uint64_t type,
                                  struct attributes *out, struct error *err)
{
    bool has_flags;
    uint64_t uid = 0, gid = 0;
    TRY(get_mode(b, object, at, type, &out->stat.mode, err));
    TRY(get_u64(b, object, "uid", at, UINT32_MAX, &uid, err));
    TRY(get_u64(b, object, "gid", at, UINT32_MAX, &gid, err));
    out->stat.uid = (uint32_t)uid;
    out->stat.gid = (uint32_t)gid;
    TRY(get_mtime(b, object, at, &out->stat, err));
    TRY(get_optional_u64(b, object, "flags", at, &has_flags, &out->stat.flags, err));
    TRY(get_xattrs(b, object, at, out, err));
    TRY(get_acl(b, object, at, out, err));
    TRY(get_fcaps(b, object, at, out, err));
    return get_project_id(b, object, at, out, err);
}

/* ---- contents ---- */

struct content {
    enum { CONTENT_BYTES, CONTENT_REPEAT, CONTENT_SPLITMIX } kind;
    struct buffer bytes; /* the content, or the pattern */
    uint64_t seed;
    uint64_t size;
};

static void content_deinit(struct content *c)
{
    buffer_deinit(&c->bytes);
}

static enum status get_content(const struct builder *b, json_t *object, const char *key, const struct place *at,
                               struct content *out, struct error *err)
{
    static const char *const empty_keys[] = {"kind", NULL};
    static const char *const b64_keys[] = {"kind", "data", NULL};
    static const char *const repeat_keys[] = {"kind", "pattern_b64", "size", NULL};
    static const char *const splitmix_keys[] = {"kind", "seed", "size", NULL};
    struct place place = key_of(at, key);
    json_t *content = json_object_get(object, key);
    const char *kind = json_string_value(json_object_get(content, "kind"));
    if (!kind)
        return wrong(b, &place, err, "must be an object with a kind");
    if (strcmp(kind, "empty") == 0)
        return check_object(b, content, &place, empty_keys, err);
    if (strcmp(kind, "b64") == 0) {
        TRY(check_object(b, content, &place, b64_keys, err));
        TRY(get_base64(b, content, "data", &place, &out->bytes, err));
        out->size = out->bytes.size;
        return OK;
    }
    if (strcmp(kind, "repeat") == 0) {
        out->kind = CONTENT_REPEAT;
        TRY(check_object(b, content, &place, repeat_keys, err));
        TRY(get_base64(b, content, "pattern_b64", &place, &out->bytes, err));
        TRY(get_u64(b, content, "size", &place, INT64_MAX, &out->size, err));
        if (out->bytes.size == 0 && out->size > 0)
            return wrong(b, &place, err, "an empty pattern makes no bytes");
        return OK;
    }
    if (strcmp(kind, "splitmix64") == 0) {
        out->kind = CONTENT_SPLITMIX;
        TRY(check_object(b, content, &place, splitmix_keys, err));
        TRY(get_u64(b, content, "seed", &place, UINT64_MAX, &out->seed, err));
        return get_u64(b, content, "size", &place, INT64_MAX, &out->size, err);
    }
    return wrong(b, &place, err, "kind must be empty, b64, repeat or splitmix64");
}

/* Bytes of `block` over and over, `size` in all. */
static enum status write_repeated(struct builder *b, const uint8_t *block, size_t block_size, uint64_t size,
                                  struct error *err)
{
    while (size > 0) {
        size_t part = size < block_size ? (size_t)size : block_size;
        TRY(b->payload.write(b->payload.context, block, part, err));
        size -= part;
    }
    return OK;
}

static enum status write_pattern(struct builder *b, const struct content *c, struct error *err)
{
    /* Short patterns are laid out many times, so that one-byte patterns do not make one-byte writes. */
    if (c->bytes.size > CONTENT_BLOCK / 2 || c->size <= c->bytes.size)
        return write_repeated(b, c->bytes.data, c->bytes.size, c->size, err);
    size_t filled = 0;
    for (; filled + c->bytes.size <= CONTENT_BLOCK; filled += c->bytes.size)
        memcpy(b->block + filled, c->bytes.data, c->bytes.size);
    return write_repeated(b, b->block, filled, c->size, err);
}

static enum status write_splitmix(struct builder *b, const struct content *c, struct error *err)
{
    uint64_t x = c->seed, left = c->size;
    while (left > 0) {
        size_t part = left < CONTENT_BLOCK ? (size_t)left : CONTENT_BLOCK;
        for (size_t i = 0; i < part; i += 8) {
            x += UINT64_C(0x9E3779B97F4A7C15);
            uint64_t z = x;
            z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
            z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
            store_u64le(b->block + i, z ^ (z >> 31));
        }
        TRY(b->payload.write(b->payload.context, b->block, part, err));
        left -= part;
    }
    return OK;
}

static enum status write_content(struct builder *b, const struct content *c, struct error *err)
{
    if (c->size == 0)
        return OK;
    switch (c->kind) {
    case CONTENT_REPEAT: return write_pattern(b, c, err);
    case CONTENT_SPLITMIX: return write_splitmix(b, c, err);
    default: return b->payload.write(b->payload.context, c->bytes.data, c->bytes.size, err);
    }
}

/* ---- hardlink targets ---- */

/* Archive order: directory by directory, names by bytes. A path therefore comes before what is below it, and a slash
 * before every byte of a name. */
static int path_rank(char c)
{
    return c == '\0' ? 0 : c == '/' ? 1 : (uint8_t)c + 2;
}

static int compare_paths(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return path_rank(*a) - path_rank(*b);
}

static enum status remember_target(struct builder *b, const char *name, uint64_t filename_offset, struct error *err)
{
    TRY(array_grow((void **)&b->targets, b->target_count, &b->target_capacity, sizeof *b->targets, LINK_TARGETS_MAX,
                   "files", err));
    size_t name_size = strlen(name);
    char *path = malloc(b->path.size + name_size + 1);
    if (!path)
        return fail(err, ERR_MEMORY, "out of memory for a path");
    if (b->path.size > 0)
        memcpy(path, b->path.data, b->path.size);
    memcpy(path + b->path.size, name, name_size + 1);
    b->targets[b->target_count++] = (struct link_target){.path = path, .filename_offset = filename_offset};
    return OK;
}

static const struct link_target *find_target(const struct builder *b, const char *path)
{
    size_t low = 0, high = b->target_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_paths(path, b->targets[middle].path);
        if (order == 0)
            return &b->targets[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* ---- entries ---- */

#define ATTRIBUTE_KEYS                                                                                                 \
    "name", "name_b64", "type", "mode", "uid", "gid", "mtime", "flags", "xattrs", "acl", "fcaps_b64", "quota_project_id"

/* An entry with its name, to be sorted. */
struct child {
    json_t *object;
    size_t index;
    struct buffer name;
    size_t name_size;
};

struct children {
    struct child *items;
    size_t count;
};

static void children_deinit(struct children *c)
{
    for (size_t i = 0; i < c->count; i++)
        buffer_deinit(&c->items[i].name);
    free(c->items);
}

static int compare_children(const void *a, const void *b)
{
    const struct child *x = a, *y = b;
    size_t size = x->name_size < y->name_size ? x->name_size : y->name_size;
    int order = memcmp(x->name.data, y->name.data, size);
    return order ? order : (x->name_size > y->name_size) - (x->name_size < y->name_size);
}

/* Names of all entries, sorted. The caller deinits *out, also after a failure. */
static enum status get_children(const struct builder *b, json_t *list, const struct place *at, struct children *out,
                                struct error *err)
{
    size_t count = json_array_size(list);
    TRY(array_new(count, sizeof *out->items, SIZE_MAX / sizeof *out->items, "entries", (void **)&out->items, err));
    for (; out->count < count; out->count++) {
        struct child *child = &out->items[out->count];
        struct place place = index_of(at, out->count);
        child->object = json_array_get(list, out->count);
        child->index = out->count;
        if (!json_is_object(child->object))
            return wrong(b, &place, err, "must be an object");
        enum status status =
            get_bytes(b, child->object, "name", "name_b64", &place, &child->name, &child->name_size, err);
        if (status == OK && member_name_check((const char *)child->name.data, child->name_size, ERR_FORMAT, err) != OK)
            status = within(b, &place, err);
        if (status != OK) {
            buffer_deinit(&child->name);
            return status;
        }
    }
    qsort(out->items, out->count, sizeof *out->items, compare_children);
    for (size_t i = 1; i < out->count; i++) {
        struct place place = index_of(at, out->items[i].index);
        if (compare_children(&out->items[i - 1], &out->items[i]) == 0)
            return wrong(b, &place, err, "has the name of another entry");
    }
    return OK;
}

static enum status put_entry(struct builder *b, const struct child *child, const struct place *at, struct error *err);

static enum status put_entries(struct builder *b, json_t *object, const struct place *at, struct error *err)
{
    struct place place = key_of(at, "entries");
    json_t *list;
    CLEANUP(children_deinit) struct children children = {0};
    TRY(get_array(b, object, "entries", at, &list, err));
    TRY(get_children(b, list, &place, &children, err));
    for (size_t i = 0; i < children.count; i++) {
        struct place child_place = index_of(&place, children.items[i].index);
        TRY(put_entry(b, &children.items[i], &child_place, err));
    }
    return OK;
}

static enum status put_directory(struct builder *b, const struct child *child, const struct place *at,
                                 struct error *err)
{
    static const char *const keys[] = {ATTRIBUTE_KEYS, "entries", NULL};
    CLEANUP(attributes_deinit) struct attributes a = {0};
    const char *name = (const char *)child->name.data;
    TRY(check_object(b, child->object, at, keys, err));
    TRY(get_attributes(b, child->object, at, 0040000, &a, err));
    if (encoder_directory_begin(b->encoder, name, &a, err) != OK)
        return within(b, at, err);
    size_t path_size = b->path.size;
    TRY(buffer_append(&b->path, name, child->name_size, err));
    TRY(buffer_append_u8(&b->path, '/', err));
    TRY(put_entries(b, child->object, at, err));
    b->path.size = path_size;
    return encoder_directory_end(b->encoder, err);
}

static enum status put_padding(struct builder *b, json_t *object, const struct place *at, struct error *err)
{
    if (!json_object_get(object, "payload_pad_before"))
        return OK;
    CLEANUP(content_deinit) struct content padding = {0};
    TRY(get_content(b, object, "payload_pad_before", at, &padding, err));
    if (b->unified)
        return OK;
    if (encoder_advance(b->encoder, padding.size, err) != OK)
        return within(b, at, err);
    return write_content(b, &padding, err);
}

static enum status put_file(struct builder *b, const struct child *child, const struct place *at, struct error *err)
{
    static const char *const keys[] = {ATTRIBUTE_KEYS, "content", "payload_pad_before", NULL};
    CLEANUP(attributes_deinit) struct attributes a = {0};
    CLEANUP(content_deinit) struct content content = {0};
    const char *name = (const char *)child->name.data;
    uint64_t filename_offset = 0;
    TRY(check_object(b, child->object, at, keys, err));
    TRY(get_attributes(b, child->object, at, 0100000, &a, err));
    TRY(get_content(b, child->object, "content", at, &content, err));
    TRY(put_padding(b, child->object, at, err));
    if (encoder_file(b->encoder, name, &a, content.size, &filename_offset, err) != OK)
        return within(b, at, err);
    TRY(write_content(b, &content, err));
    return remember_target(b, name, filename_offset, err);
}

static enum status put_symlink(struct builder *b, const struct child *child, const struct place *at, struct error *err)
{
    static const char *const keys[] = {ATTRIBUTE_KEYS, "target", "target_b64", NULL};
    CLEANUP(attributes_deinit) struct attributes a = {0};
    CLEANUP(buffer_deinit) struct buffer target = BUFFER_INIT(0);
    size_t target_size = 0;
    TRY(check_object(b, child->object, at, keys, err));
    TRY(get_attributes(b, child->object, at, 0120000, &a, err));
    TRY(get_bytes(b, child->object, "target", "target_b64", at, &target, &target_size, err));
    if (encoder_symlink(b->encoder, (const char *)child->name.data, &a, (const char *)target.data, target_size, err) !=
        OK)
        return within(b, at, err);
    return OK;
}

static enum status put_hardlink(struct builder *b, const struct child *child, const struct place *at, struct error *err)
{
    static const char *const keys[] = {"name", "name_b64", "type", "target", "target_b64", NULL};
    CLEANUP(buffer_deinit) struct buffer path = BUFFER_INIT(0);
    size_t path_size = 0;
    TRY(check_object(b, child->object, at, keys, err));
    TRY(get_bytes(b, child->object, "target", "target_b64", at, &path, &path_size, err));
    const struct link_target *target = find_target(b, (const char *)path.data);
    struct place place = key_of(at, "target");
    if (!target)
        return wrong(b, &place, err, "is not the path of an earlier file");
    if (encoder_hardlink(b->encoder, (const char *)child->name.data, target->path, target->filename_offset, err) != OK)
        return within(b, at, err);
    return OK;
}

static enum status put_device(struct builder *b, const struct child *child, const struct place *at, uint64_t type,
                              struct error *err)
{
    static const char *const keys[] = {ATTRIBUTE_KEYS, "major", "minor", NULL};
    CLEANUP(attributes_deinit) struct attributes a = {0};
    uint64_t major = 0, minor = 0;
    TRY(check_object(b, child->object, at, keys, err));
    TRY(get_attributes(b, child->object, at, type, &a, err));
    TRY(get_u64(b, child->object, "major", at, UINT64_MAX, &major, err));
    TRY(get_u64(b, child->object, "minor", at, UINT64_MAX, &minor, err));
    if (encoder_device(b->encoder, (const char *)child->name.data, &a, major, minor, err) != OK)
        return within(b, at, err);
    return OK;
}

static enum status put_special(struct builder *b, const struct child *child, const struct place *at, uint64_t type,
                               struct error *err)
{
    static const char *const keys[] = {ATTRIBUTE_KEYS, NULL};
    CLEANUP(attributes_deinit) struct attributes a = {0};
    TRY(check_object(b, child->object, at, keys, err));
    TRY(get_attributes(b, child->object, at, type, &a, err));
    if (encoder_special(b->encoder, (const char *)child->name.data, &a, err) != OK)
        return within(b, at, err);
    return OK;
}

/* Recursion goes as deep as the parser lets JSON nest. */
static enum status put_entry(struct builder *b, const struct child *child, const struct place *at, struct error *err)
{
    struct place place = key_of(at, "type");
    const char *type = json_string_value(json_object_get(child->object, "type"));
    if (!type)
        return wrong(b, &place, err, "must be a string");
    if (strcmp(type, "file") == 0)
        return put_file(b, child, at, err);
    if (strcmp(type, "dir") == 0)
        return put_directory(b, child, at, err);
    if (strcmp(type, "symlink") == 0)
        return put_symlink(b, child, at, err);
    if (strcmp(type, "hardlink") == 0)
        return put_hardlink(b, child, at, err);
    if (strcmp(type, "fifo") == 0)
        return put_special(b, child, at, 0010000, err);
    if (strcmp(type, "socket") == 0)
        return put_special(b, child, at, 0140000, err);
    if (strcmp(type, "chardev") == 0)
        return put_device(b, child, at, 0020000, err);
    if (strcmp(type, "blockdev") == 0)
        return put_device(b, child, at, 0060000, err);
    return wrong(b, &place, err, "must be file, dir, symlink, hardlink, fifo, socket, chardev or blockdev");
}

/* ---- the whole ---- */

static void builder_deinit(struct builder *b)
{
    encoder_free(b->encoder);
    buffer_deinit(&b->path);
    for (size_t i = 0; i < b->target_count; i++)
        free(b->targets[i].path);
    free(b->targets);
    free(b->block);
}

static enum status start_encoder(struct builder *b, const struct attributes *root, const struct buffer *prelude,
                                 struct error *err)
{
    if (b->unified)
        return encoder_new_unified(b->metadata, root, &b->encoder, err);
    return encoder_new(b->metadata, b->payload, root, prelude->data, prelude->size, &b->encoder, err);
}

static enum status put_root(struct builder *b, json_t *manifest, struct error *err)
{
    static const char *const root_keys[] = {"type",    "mode",   "uid", "gid",       "mtime",
                                            "flags",   "xattrs", "acl", "fcaps_b64", "quota_project_id",
                                            "entries", NULL};
    CLEANUP(attributes_deinit) struct attributes a = {0};
    CLEANUP(buffer_deinit) struct buffer prelude = BUFFER_INIT(0);
    struct place place = key_of(NULL, "root");
    json_t *root = json_object_get(manifest, "root");
    TRY(check_object(b, root, &place, root_keys, err));
    json_t *type = json_object_get(root, "type");
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "dir") != 0))
        return wrong(b, &place, err, "must be of type dir");
    TRY(get_attributes(b, root, &place, 0040000, &a, err));
    if (json_object_get(manifest, "prelude_b64"))
        TRY(get_base64(b, manifest, "prelude_b64", NULL, &prelude, err));
    if (start_encoder(b, &a, &prelude, err) != OK)
        return within(b, &place, err);
    TRY(put_entries(b, root, &place, err));
    return encoder_finish(b->encoder, err);
}

static enum status put_manifest(struct builder *b, json_t *manifest, struct error *err)
{
    static const char *const keys[] = {"schema", "name", "comment", "from_filesystem", "prelude_b64", "root", NULL};
    struct place top = key_of(NULL, "the manifest"), schema_place = key_of(NULL, "schema");
    if (!json_is_object(manifest))
        return wrong(b, &top, err, "must be an object");
    TRY(check_object(b, manifest, NULL, keys, err));
    const char *schema = json_string_value(json_object_get(manifest, "schema"));
    if (!schema || strcmp(schema, "pxar-vector-tree/1") != 0)
        return wrong(b, &schema_place, err, "must be \"pxar-vector-tree/1\"");
    b->block = malloc(CONTENT_BLOCK);
    if (!b->block)
        return fail(err, ERR_MEMORY, "out of memory for contents");
    return put_root(b, manifest, err);
}

static enum status encode(struct builder b, const char *json, size_t size, struct error *err)
{
    CLEANUP(builder_deinit) struct builder builder = b;
    struct error ignored = {0};
    struct error *filled = err ? err : &ignored; /* places are put before what is there already */
    json_t *manifest = NULL;
    TRY(json_parse_wide(json, size, b.name, &manifest, filled));
    enum status status = put_manifest(&builder, manifest, filled);
    json_decref(manifest);
    return status;
}

enum status tree_text_encode(const char *json, size_t size, const char *name, struct sink metadata, struct sink payload,
                             struct error *err)
{
    return encode((struct builder){.name = name, .metadata = metadata, .payload = payload}, json, size, err);
}

enum status tree_text_encode_unified(const char *json, size_t size, const char *name, struct sink archive,
                                     struct error *err)
{
    return encode((struct builder){.name = name, .unified = true, .metadata = archive, .payload = archive}, json, size,
                  err);
}
