#include "pxar/item.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

enum {
    ENTRY_CONTENT = 40,
    ENTRY_V1_CONTENT = 32,
    ACL_ENTRY_CONTENT = 16,
    ACL_DEFAULT_CONTENT = 32,
    NANOS_PER_SECOND = 1000000000,
    SORTED_BY_INSERTION = 8, /* runs this short are cheaper to insert than to merge */
};

static_assert(PXAR_XATTR_CONTENT_MAX == XATTR_NAME_SIZE_MAX + XATTR_VALUE_SIZE_MAX, "5.5: name and value together");

#define ANY_SIZE (UINT64_MAX - ITEM_HEADER_SIZE)
#define KIND(item_name, minimum, maximum)                                                                              \
    {                                                                                                                  \
        static const struct item_kind kind = {item_name, minimum, maximum};                                            \
        return &kind;                                                                                                  \
    }

const struct item_kind *item_kind_of(uint64_t type)
{
    switch (type) {
    case PXAR_FORMAT_VERSION: KIND("FORMAT_VERSION", 8, 8)
    case PXAR_PRELUDE: KIND("PRELUDE", 0, ANY_SIZE)
    case PXAR_ENTRY: KIND("ENTRY", ENTRY_CONTENT, ENTRY_CONTENT)
    case PXAR_ENTRY_V1: KIND("ENTRY_V1", ENTRY_V1_CONTENT, ENTRY_V1_CONTENT)
    case PXAR_FILENAME: KIND("FILENAME", 2, PXAR_NAME_SIZE_MAX + 1)
    case PXAR_XATTR: KIND("XATTR", 1, PXAR_XATTR_CONTENT_MAX)
    case PXAR_ACL_USER: KIND("ACL_USER", ACL_ENTRY_CONTENT, ACL_ENTRY_CONTENT)
    case PXAR_ACL_GROUP: KIND("ACL_GROUP", ACL_ENTRY_CONTENT, ACL_ENTRY_CONTENT)
    case PXAR_ACL_GROUP_OBJ: KIND("ACL_GROUP_OBJ", 8, 8)
    case PXAR_ACL_DEFAULT: KIND("ACL_DEFAULT", ACL_DEFAULT_CONTENT, ACL_DEFAULT_CONTENT)
    case PXAR_ACL_DEFAULT_USER: KIND("ACL_DEFAULT_USER", ACL_ENTRY_CONTENT, ACL_ENTRY_CONTENT)
    case PXAR_ACL_DEFAULT_GROUP: KIND("ACL_DEFAULT_GROUP", ACL_ENTRY_CONTENT, ACL_ENTRY_CONTENT)
    case PXAR_FCAPS: KIND("FCAPS", 0, PXAR_XATTR_CONTENT_MAX)
    case PXAR_QUOTA_PROJID: KIND("QUOTA_PROJID", 8, 8)
    case PXAR_PAYLOAD: KIND("PAYLOAD", 0, ANY_SIZE)
    case PXAR_PAYLOAD_REF: KIND("PAYLOAD_REF", 16, 16)
    case PXAR_SYMLINK: KIND("SYMLINK", 1, PXAR_TARGET_SIZE_MAX + 1)
    case PXAR_DEVICE: KIND("DEVICE", 16, 16)
    case PXAR_HARDLINK: KIND("HARDLINK", 9, 8 + PXAR_TARGET_SIZE_MAX + 1)
    case PXAR_GOODBYE: KIND("GOODBYE", PXAR_GOODBYE_ROW_SIZE, ANY_SIZE)
    case PXAR_PAYLOAD_START_MARKER: KIND("PAYLOAD_START_MARKER", 0, 0)
    case PXAR_PAYLOAD_TAIL_MARKER: KIND("PAYLOAD_TAIL_MARKER", 0, 0)
    default: return NULL;
    }
}

struct name_hasher {
    EVP_MAC *mac;
    EVP_MAC_CTX *context;
};

/* k0 = 0x83ac3f1cfbb450db and k1 = 0xaa4f1b6879369fbd (9.1), little-endian. */
static const uint8_t name_hash_key[16] = {0xdb, 0x50, 0xb4, 0xfb, 0x1c, 0x3f, 0xac, 0x83,
                                          0xbd, 0x9f, 0x36, 0x79, 0x68, 0x1b, 0x4f, 0xaa};

static void name_hasher_freep(struct name_hasher **h)
{
    name_hasher_free(*h);
}

enum status name_hasher_new(struct name_hasher **out, struct error *err)
{
    CLEANUP(name_hasher_freep) struct name_hasher *h = calloc(1, sizeof *h);
    if (!h)
        return fail(err, ERR_MEMORY, "out of memory for the name hash");
    h->mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    h->context = h->mac ? EVP_MAC_CTX_new(h->mac) : NULL;
    size_t hash_size = sizeof(uint64_t);
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &hash_size),
                                 OSSL_PARAM_construct_end()};
    if (!h->context || !EVP_MAC_init(h->context, name_hash_key, sizeof name_hash_key, params))
        return fail(err, ERR_UNSUPPORTED, "OpenSSL offers no SipHash");
    *out = h;
    h = NULL;
    return OK;
}

void name_hasher_free(struct name_hasher *h)
{
    if (!h)
        return;
    EVP_MAC_CTX_free(h->context);
    EVP_MAC_free(h->mac);
    free(h);
}

uint64_t name_hash(struct name_hasher *h, const char *name, size_t size)
{
    uint8_t digest[sizeof(uint64_t)];
    size_t digest_size = 0;
    /* Only the key is set anew: the 64-bit size stays with the context. Nothing here allocates or can fail. */
    ASSERT(EVP_MAC_init(h->context, name_hash_key, sizeof name_hash_key, NULL));
    ASSERT(EVP_MAC_update(h->context, (const uint8_t *)name, size));
    ASSERT(EVP_MAC_final(h->context, digest, &digest_size, sizeof digest));
    ASSERT(digest_size == sizeof digest);
    return load_u64le(digest);
}

static void insertion_sort(struct goodbye_row *rows, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct goodbye_row row = rows[i];
        size_t k = i;
        for (; k > 0 && rows[k - 1].hash > row.hash; k--)
            rows[k] = rows[k - 1];
        rows[k] = row;
    }
}

static void merge(const struct goodbye_row *from, size_t left_count, size_t count, struct goodbye_row *to)
{
    size_t left = 0, right = left_count;
    for (size_t i = 0; i < count; i++)
        if (right >= count || (left < left_count && from[left].hash <= from[right].hash))
            to[i] = from[left++];
        else
            to[i] = from[right++];
}

/* By hash, stable: equal hashes keep archive order, so that the result is one. Returns whichever array has it; qsort
 * would be neither stable nor free of allocations. */
static struct goodbye_row *sort_by_hash(struct goodbye_row *rows, struct goodbye_row *scratch, size_t count)
{
    for (size_t i = 0; i < count; i += SORTED_BY_INSERTION)
        insertion_sort(rows + i, count - i < SORTED_BY_INSERTION ? count - i : SORTED_BY_INSERTION);
    for (size_t width = SORTED_BY_INSERTION; width < count; width *= 2) {
        for (size_t i = 0; i < count; i += 2 * width) {
            size_t run = count - i < 2 * width ? count - i : 2 * width;
            merge(rows + i, run < width ? run : width, run, scratch + i);
        }
        struct goodbye_row *sorted = scratch;
        scratch = rows;
        rows = sorted;
    }
    return rows;
}

/* 9.4; recursion depth is the logarithm of the count. */
static void place(const struct goodbye_row *sorted, size_t n, size_t power, size_t index, struct goodbye_row *out)
{
    size_t full = power + power / 2 - 1;
    size_t middle = n > full ? power - 1 : power - 1 - (full - n);
    out[index] = sorted[middle];
    if (middle > 0)
        place(sorted, middle, power / 2, 2 * index + 1, out);
    if (middle + 1 < n)
        place(sorted + middle + 1, n - middle - 1, power / 2, 2 * index + 2, out);
}

void goodbye_arrange(struct goodbye_row *rows, struct goodbye_row *scratch, size_t count)
{
    if (count < 2)
        return;
    struct goodbye_row *sorted = sort_by_hash(rows, scratch, count);
    if (sorted == rows) {
        memcpy(scratch, rows, count * sizeof *rows);
        sorted = scratch;
    }
    size_t power = 1;
    while (power <= count / 2)
        power *= 2;
    place(sorted, count, power, 0, rows);
}

enum status member_name_check(const char *name, size_t size, enum status status, struct error *err)
{
    if (size == 0)
        return fail(err, status, "empty name");
    if (size > PXAR_NAME_SIZE_MAX)
        return fail(err, status, "name of %zu bytes: at most %d", size, PXAR_NAME_SIZE_MAX);
    if ((size == 1 && name[0] == '.') || (size == 2 && name[0] == '.' && name[1] == '.'))
        return fail(err, status, "name \"%.*s\"", (int)size, name);
    if (memchr(name, '/', size))
        return fail(err, status, "name with a slash");
    if (memchr(name, '\0', size))
        return fail(err, status, "name with a zero byte");
    return OK;
}

enum status hardlink_path_check(const char *path, size_t size, enum status status, struct error *err)
{
    while (true) {
        const char *slash = size > 0 ? memchr(path, '/', size) : NULL;
        size_t name_size = slash ? (size_t)(slash - path) : size;
        if (member_name_check(path, name_size, status, NULL) != OK)
            return fail(err, status, "HARDLINK path with an %s", name_size ? "impossible name" : "empty name");
        if (!slash)
            return OK;
        path = slash + 1;
        size -= name_size + 1;
    }
}

enum status item_append_header(struct buffer *out, uint64_t type, uint64_t content_size, struct error *err)
{
    ASSERT(content_size <= ANY_SIZE);
    TRY(buffer_reserve(out, ITEM_HEADER_SIZE, err));
    uint8_t *p = out->data + out->size;
    store_u64le(p, type);
    store_u64le(p + 8, ITEM_HEADER_SIZE + content_size);
    out->size += ITEM_HEADER_SIZE;
    return OK;
}

enum status item_append_filename(struct buffer *out, const char *name, size_t size, struct error *err)
{
    TRY(item_append_header(out, PXAR_FILENAME, size + 1, err));
    TRY(buffer_append(out, name, size, err));
    return buffer_append_u8(out, 0, err);
}

static enum status append_entry(struct buffer *out, const struct stat_record *st, struct error *err)
{
    if (st->mtime_nanos >= NANOS_PER_SECOND)
        return fail(err, ERR_USAGE, "time with %" PRIu32 " nanoseconds", st->mtime_nanos);
    TRY(item_append_header(out, PXAR_ENTRY, ENTRY_CONTENT, err));
    TRY(buffer_reserve(out, ENTRY_CONTENT, err));
    uint8_t *p = out->data + out->size;
    store_u64le(p, st->mode);
    store_u64le(p + 8, st->flags);
    store_u32le(p + 16, st->uid);
    store_u32le(p + 20, st->gid);
    store_u64le(p + 24, (uint64_t)st->mtime_secs);
    store_u32le(p + 32, st->mtime_nanos);
    store_u32le(p + 36, 0);
    out->size += ENTRY_CONTENT;
    return OK;
}

static enum status append_u64_item(struct buffer *out, uint64_t type, uint64_t value, struct error *err)
{
    TRY(item_append_header(out, type, 8, err));
    return buffer_append_u64le(out, value, err);
}

static enum status append_xattr(struct buffer *out, const struct xattr *x, struct error *err)
{
    if (x->name_size >= PXAR_XATTR_CONTENT_MAX || x->value_size > PXAR_XATTR_CONTENT_MAX - 1 - x->name_size)
        return fail(err, ERR_LIMIT, "extended attribute of %zu + %zu bytes: together at most %d", x->name_size,
                    x->value_size, PXAR_XATTR_CONTENT_MAX - 1);
    TRY(item_append_header(out, PXAR_XATTR, x->name_size + 1 + x->value_size, err));
    TRY(buffer_append(out, x->name, x->name_size, err));
    TRY(buffer_append_u8(out, 0, err));
    return buffer_append(out, x->value, x->value_size, err);
}

static enum status append_acl_list(struct buffer *out, uint64_t type, const struct acl_list *list, struct error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        TRY(item_append_header(out, type, ACL_ENTRY_CONTENT, err));
        TRY(buffer_append_u64le(out, list->entries[i].id, err));
        TRY(buffer_append_u64le(out, list->entries[i].perm, err));
    }
    return OK;
}

static enum status append_acl_default(struct buffer *out, const struct acl_default *d, struct error *err)
{
    TRY(item_append_header(out, PXAR_ACL_DEFAULT, ACL_DEFAULT_CONTENT, err));
    TRY(buffer_append_u64le(out, d->user_obj, err));
    TRY(buffer_append_u64le(out, d->group_obj, err));
    TRY(buffer_append_u64le(out, d->other, err));
    return buffer_append_u64le(out, d->mask, err);
}

static enum status append_fcaps(struct buffer *out, const uint8_t *value, size_t size, struct error *err)
{
    if (size > PXAR_XATTR_CONTENT_MAX)
        return fail(err, ERR_LIMIT, "file capabilities of %zu bytes: at most %d", size, PXAR_XATTR_CONTENT_MAX);
    TRY(item_append_header(out, PXAR_FCAPS, size, err));
    return buffer_append(out, value, size, err);
}

enum status item_append_attributes(struct buffer *out, const struct attributes *a, struct error *err)
{
    TRY(append_entry(out, &a->stat, err));
    const struct attribute_extras *x = a->extras;
    if (!x)
        return OK;
    for (size_t i = 0; i < x->xattr_count; i++)
        TRY(append_xattr(out, &x->xattrs[i], err));
    TRY(append_acl_list(out, PXAR_ACL_USER, &x->users, err));
    TRY(append_acl_list(out, PXAR_ACL_GROUP, &x->groups, err));
    if (x->has_group_obj)
        TRY(append_u64_item(out, PXAR_ACL_GROUP_OBJ, x->group_obj, err));
    if (x->has_default)
        TRY(append_acl_default(out, &x->acl_default, err));
    TRY(append_acl_list(out, PXAR_ACL_DEFAULT_USER, &x->default_users, err));
    TRY(append_acl_list(out, PXAR_ACL_DEFAULT_GROUP, &x->default_groups, err));
    if (x->has_fcaps)
        TRY(append_fcaps(out, x->fcaps, x->fcaps_size, err));
    if (x->has_project_id)
        TRY(append_u64_item(out, PXAR_QUOTA_PROJID, x->project_id, err));
    return OK;
}

void item_load_entry(const uint8_t *content, struct stat_record *out)
{
    *out = (struct stat_record){
        .mode = load_u64le(content),
        .flags = load_u64le(content + 8),
        .uid = load_u32le(content + 16),
        .gid = load_u32le(content + 20),
        .mtime_secs = (int64_t)load_u64le(content + 24),
        .mtime_nanos = load_u32le(content + 32),
    };
}

void item_load_entry_v1(const uint8_t *content, struct stat_record *out)
{
    uint64_t nanos = load_u64le(content + 24);
    *out = (struct stat_record){
        .mode = load_u64le(content),
        .flags = load_u64le(content + 8),
        .uid = load_u32le(content + 16),
        .gid = load_u32le(content + 20),
        .mtime_secs = (int64_t)(nanos / NANOS_PER_SECOND),
        .mtime_nanos = (uint32_t)(nanos % NANOS_PER_SECOND),
    };
}

struct goodbye_row item_load_goodbye_row(const uint8_t *content)
{
    return (struct goodbye_row){
        .hash = load_u64le(content),
        .offset = load_u64le(content + 8),
        .size = load_u64le(content + 16),
    };
}
