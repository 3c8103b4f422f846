#include "pxar/dump.h"

#include "base/hex.h"
#include "base/printable.h"
#include "pxar/json_text.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum {
    FLUSH_SIZE = 64 * 1024, /* lines are collected up to here */
    CONTENT_PART = 256 * 1024,
};

const char *entry_kind_name(enum entry_kind kind)
{
    switch (kind) {
    case ENTRY_DIRECTORY: return "dir";
    case ENTRY_FILE: return "file";
    case ENTRY_SYMLINK: return "symlink";
    case ENTRY_HARDLINK: return "hardlink";
    case ENTRY_FIFO: return "fifo";
    case ENTRY_SOCKET: return "socket";
    case ENTRY_CHAR_DEVICE: return "chardev";
    case ENTRY_BLOCK_DEVICE: return "blockdev";
    case ENTRY_DIRECTORY_END: break;
    }
    return "end";
}

static enum status append_text(struct buffer *out, const char *text, struct error *err)
{
    return buffer_append(out, text, strlen(text), err);
}

/* `,"key":` or, as the object's first member, `{"key":`. */
static enum status append_key(struct buffer *out, const char *key, struct error *err)
{
    TRY(append_text(out, out->size > 0 && out->data[out->size - 1] == '{' ? "\"" : ",\"", err));
    TRY(append_text(out, key, err));
    return append_text(out, "\":", err);
}

static enum status append_u64(struct buffer *out, const char *key, uint64_t value, struct error *err)
{
    TRY(append_key(out, key, err));
    return buffer_printf(out, err, "%" PRIu64, value);
}

static enum status append_base64(struct buffer *out, const char *key, const uint8_t *data, size_t size,
                                 struct error *err)
{
    TRY(append_key(out, key, err));
    TRY(buffer_append_u8(out, '"', err));
    TRY(base64_append(out, data, size, err));
    return buffer_append_u8(out, '"', err);
}

/* KEY or KEY_b64. */
static enum status append_bytes(struct buffer *out, const char *key, const char *key_b64, const char *data, size_t size,
                                struct error *err)
{
    if (!utf8_valid(data, size))
        return append_base64(out, key_b64, (const uint8_t *)data, size, err);
    TRY(append_key(out, key, err));
    return json_append_string(out, data, size, err);
}

static enum status append_acl_list(struct buffer *out, const char *key, const struct acl_list *list, struct error *err)
{
    if (list->count == 0)
        return OK;
    TRY(append_key(out, key, err));
    for (size_t i = 0; i < list->count; i++)
        TRY(buffer_printf(out, err, "%c{\"id\":%" PRIu64 ",\"perm\":%" PRIu64 "}", i ? ',' : '[', list->entries[i].id,
                          list->entries[i].perm));
    return append_text(out, "]", err);
}

static enum status append_default_perm(struct buffer *out, const char *key, uint64_t perm, struct error *err)
{
    if (perm != ACL_PERM_UNSET)
        return append_u64(out, key, perm, err);
    TRY(append_key(out, key, err));
    return append_text(out, "null", err);
}

static enum status append_acl_default(struct buffer *out, const struct acl_default *d, struct error *err)
{
    TRY(append_key(out, "default", err));
    TRY(append_text(out, "{", err));
    TRY(append_default_perm(out, "group_obj", d->group_obj, err));
    TRY(append_default_perm(out, "mask", d->mask, err));
    TRY(append_default_perm(out, "other", d->other, err));
    TRY(append_default_perm(out, "user_obj", d->user_obj, err));
    return append_text(out, "}", err);
}

static enum status append_acl(struct buffer *out, const struct attribute_extras *x, struct error *err)
{
    if (!x || (!x->has_default && !x->has_group_obj && x->users.count == 0 && x->groups.count == 0 &&
               x->default_users.count == 0 && x->default_groups.count == 0))
        return OK;
    TRY(append_key(out, "acl", err));
    TRY(append_text(out, "{", err));
    if (x->has_default)
        TRY(append_acl_default(out, &x->acl_default, err));
    TRY(append_acl_list(out, "default_groups", &x->default_groups, err));
    TRY(append_acl_list(out, "default_users", &x->default_users, err));
    if (x->has_group_obj)
        TRY(append_u64(out, "group_obj", x->group_obj, err));
    TRY(append_acl_list(out, "groups", &x->groups, err));
    TRY(append_acl_list(out, "users", &x->users, err));
    return append_text(out, "}", err);
}

static enum status append_xattrs(struct buffer *out, const struct attribute_extras *x, struct error *err)
{
    if (!x || x->xattr_count == 0)
        return OK;
    TRY(append_key(out, "xattrs", err));
    for (size_t i = 0; i < x->xattr_count; i++) {
        const struct xattr *v = &x->xattrs[i];
        TRY(append_text(out, i ? ",{" : "[{", err));
        TRY(append_bytes(out, "name", "name_b64", v->name, v->name_size, err));
        TRY(append_base64(out, "value_b64", v->value, v->value_size, err));
        TRY(append_text(out, "}", err));
    }
    return append_text(out, "]", err);
}

static bool is_device(enum entry_kind kind)
{
    return kind == ENTRY_CHAR_DEVICE || kind == ENTRY_BLOCK_DEVICE;
}

/* An entry as a dump shows it, as a lookup does (then `lookup`), or the file that a hardlink leads to: its place is the
 * link's business. */
enum shape { SHAPE_DUMP, SHAPE_LOOKUP, SHAPE_FOLLOWED };

static enum status append_range(struct buffer *out, const struct dump_lookup *lookup, struct error *err)
{
    TRY(append_key(out, "entry_range", err));
    return buffer_printf(out, err, "[%" PRIu64 ",%" PRIu64 "]", lookup->range_start, lookup->range_end);
}

static enum status append_entry(struct buffer *out, const struct archive_entry *e, enum shape shape,
                                const struct dump_lookup *lookup, const uint8_t *sha256, struct error *err)
{
    ASSERT(e->kind != ENTRY_DIRECTORY_END);
    const struct attribute_extras *x = e->attributes.extras;
    const struct stat_record *st = &e->attributes.stat;
    bool has_stat = e->kind != ENTRY_HARDLINK;
    TRY(append_text(out, "{", err));
    TRY(append_acl(out, x, err));
    if (shape != SHAPE_DUMP && e->content_offset > 0)
        TRY(append_u64(out, "content_offset", e->content_offset, err));
    if (shape == SHAPE_DUMP && has_stat)
        TRY(append_u64(out, "entry_offset", e->entry_offset, err));
    if (shape == SHAPE_LOOKUP)
        TRY(append_range(out, lookup, err));
    if (x && x->has_fcaps)
        TRY(append_base64(out, "fcaps_b64", x->fcaps, x->fcaps_size, err));
    if (shape != SHAPE_FOLLOWED && e->depth > 0)
        TRY(append_u64(out, "filename_offset", e->filename_offset, err));
    if (has_stat)
        TRY(append_u64(out, "flags", st->flags, err));
    if (shape == SHAPE_LOOKUP && lookup->followed) {
        TRY(append_key(out, "follow", err));
        TRY(append_entry(out, lookup->followed, SHAPE_FOLLOWED, NULL, NULL, err));
    }
    if (has_stat)
        TRY(append_u64(out, "gid", st->gid, err));
    TRY(append_key(out, "kind", err));
    TRY(buffer_printf(out, err, "\"%s\"", entry_kind_name(e->kind)));
    if (e->kind == ENTRY_HARDLINK)
        TRY(append_u64(out, "link_offset", e->link_distance, err));
    if (is_device(e->kind)) {
        TRY(append_u64(out, "major", e->major, err));
        TRY(append_u64(out, "minor", e->minor, err));
    }
    if (has_stat)
        TRY(buffer_printf(out, err, ",\"mode\":\"%07" PRIo64 "\",\"mtime\":[%" PRId64 ",%" PRIu32 "]", st->mode,
                          st->mtime_secs, st->mtime_nanos));
    TRY(append_bytes(out, "path", "path_b64", e->path, strlen(e->path), err));
    if (e->payload_offset > 0)
        TRY(append_u64(out, "payload_offset", e->payload_offset, err));
    if (x && x->has_project_id)
        TRY(append_u64(out, "quota_project_id", x->project_id, err));
    if (shape == SHAPE_LOOKUP && sha256)
        TRY(append_u64(out, "read_size", lookup->read_size, err));
    if (sha256) {
        char text[2 * DUMP_DIGEST_SIZE + 1];
        hex_encode(sha256, DUMP_DIGEST_SIZE, text);
        TRY(buffer_printf(out, err, ",\"sha256\":\"%s\"", text));
    }
    if (e->kind == ENTRY_FILE)
        TRY(append_u64(out, "size", e->size, err));
    if (e->target)
        TRY(append_bytes(out, "target", "target_b64", e->target, e->target_size, err));
    if (has_stat)
        TRY(append_u64(out, "uid", st->uid, err));
    TRY(append_xattrs(out, x, err));
    return append_text(out, "}", err);
}

enum status dump_entry(struct buffer *out, const struct archive_entry *e, const uint8_t *sha256, struct error *err)
{
    return append_entry(out, e, SHAPE_DUMP, NULL, e->kind == ENTRY_FILE ? sha256 : NULL, err);
}

enum status dump_lookup(struct buffer *out, const struct archive_entry *e, const struct dump_lookup *lookup,
                        struct error *err)
{
    return append_entry(out, e, SHAPE_LOOKUP, lookup, lookup->sha256, err);
}

enum status dump_path(struct buffer *out, const char *path, struct error *err)
{
    for (const char *p = path;;) {
        const char *plain = p;
        for (size_t size = 1; size > 0; p += size) {
            while (printable_plain(*p))
                p++;
            size = *p ? printable_size(p, SIZE_MAX) : 0;
        }
        TRY(buffer_append(out, plain, (size_t)(p - plain), err));
        if (*p == '\0')
            return OK;
        TRY(buffer_printf(out, err, "\\x%02x", (unsigned)(uint8_t)*p++));
    }
}

/* A walk over one archive that collects lines. */
struct dump {
    struct decoder *decoder;
    bool has_contents;
    struct sink out;
    struct buffer lines;
    EVP_MD_CTX *digest;
    uint8_t *content;
};

static void dump_deinit(struct dump *d)
{
    decoder_free(d->decoder);
    buffer_deinit(&d->lines);
    EVP_MD_CTX_free(d->digest);
    free(d->content);
}

static enum status flush(struct dump *d, struct error *err)
{
    if (d->lines.size == 0)
        return OK;
    enum status status = d->out.write(d->out.context, d->lines.data, d->lines.size, err);
    buffer_clear(&d->lines);
    return status;
}

static enum status end_line(struct dump *d, struct error *err)
{
    TRY(buffer_append_u8(&d->lines, '\n', err));
    return d->lines.size < FLUSH_SIZE ? OK : flush(d, err);
}

static enum status digest_content(struct dump *d, uint8_t out[DUMP_DIGEST_SIZE], struct error *err)
{
    static_assert(DUMP_DIGEST_SIZE * 8 == 256, "SHA-256");
    if (!EVP_DigestInit_ex(d->digest, EVP_sha256(), NULL))
        return fail(err, ERR_UNSUPPORTED, "OpenSSL offers no SHA-256");
    for (;;) {
        size_t size = 0;
        TRY(decoder_content(d->decoder, d->content, CONTENT_PART, &size, err));
        if (size == 0)
            break;
        if (!EVP_DigestUpdate(d->digest, d->content, size))
            return fail(err, ERR_UNSUPPORTED, "SHA-256 failed");
    }
    if (!EVP_DigestFinal_ex(d->digest, out, NULL))
        return fail(err, ERR_UNSUPPORTED, "SHA-256 failed");
    return OK;
}

static enum status dump_start(struct dump *d, struct error *err)
{
    if (decoder_version(d->decoder) == 1)
        return OK;
    TRY(append_text(&d->lines, "{\"kind\":\"version\",\"version\":2}", err));
    TRY(end_line(d, err));
    size_t size = 0;
    const uint8_t *prelude = decoder_prelude(d->decoder, &size);
    if (!prelude)
        return OK;
    TRY(append_text(&d->lines, "{", err));
    TRY(append_base64(&d->lines, "data_b64", prelude, size, err));
    TRY(append_text(&d->lines, ",\"kind\":\"prelude\"}", err));
    return end_line(d, err);
}

static enum status dump_one(struct dump *d, const struct archive_entry *e, struct error *err)
{
    if (e->kind == ENTRY_DIRECTORY_END)
        return OK;
    uint8_t digest[DUMP_DIGEST_SIZE];
    bool digested = e->kind == ENTRY_FILE && d->has_contents;
    if (digested)
        TRY(digest_content(d, digest, err));
    TRY(dump_entry(&d->lines, e, digested ? digest : NULL, err));
    return end_line(d, err);
}

static enum status list_one(struct dump *d, const struct archive_entry *e, struct error *err)
{
    if (e->kind == ENTRY_DIRECTORY_END)
        return OK;
    TRY(dump_path(&d->lines, e->path, err));
    return end_line(d, err);
}

static enum status walk(struct dump *d, enum status (*one)(struct dump *, const struct archive_entry *, struct error *),
                        struct error *err)
{
    struct archive_entry entry;
    for (;;) {
        enum status status = decoder_next(d->decoder, &entry, err);
        if (status == ERR_CLOSED)
            return OK;
        TRY(status);
        TRY(one(d, &entry, err));
    }
}

/* What was decoded before a failure is shown; the failure itself is what counts. */
static enum status finish(struct dump *d, enum status status, struct error *err)
{
    enum status flushed = flush(d, status == OK ? err : NULL);
    return status != OK ? status : flushed;
}

enum status dump_archive(struct source metadata, const struct source *payload, struct sink out, struct error *err)
{
    CLEANUP(dump_deinit) struct dump d = {.out = out};
    TRY(decoder_new(metadata, payload, &d.decoder, err));
    d.has_contents = payload || decoder_version(d.decoder) == 1;
    d.digest = EVP_MD_CTX_new();
    d.content = malloc(CONTENT_PART);
    if (!d.digest || !d.content)
        return fail(err, ERR_MEMORY, "out of memory for reading contents");
    enum status status = dump_start(&d, err);
    if (status == OK)
        status = walk(&d, dump_one, err);
    return finish(&d, status, err);
}

enum status list_archive(struct source metadata, struct sink out, struct error *err)
{
    CLEANUP(dump_deinit) struct dump d = {.out = out};
    TRY(decoder_new(metadata, NULL, &d.decoder, err));
    return finish(&d, walk(&d, list_one, err), err);
}
