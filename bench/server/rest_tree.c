/* What is inside archives: listings of directories, and members handed out. */
#include "server/rest_context.h"

#include "base/log_path.h"
#include "pxar/catalog.h"
#include "pxar/json_text.h"
#include "server/rest_archive.h"
#include "server/rest_bundle.h"
#include "wire/names.h"

#include <stdlib.h>
#include <string.h>

#define CATALOG_NAME "catalog.pcat1.didx"

enum { PATH_SIZE_MAX = 64 << 10, CATALOG_CHUNKS = 4 };

static const struct rest_need need_contents = {PRIVILEGE_READ, PRIVILEGE_BACKUP};

/* ---- paths ---- */

/* The parameter `filepath`, decoded, in the form "/a/b", the root "/"; with its NUL. */
static enum status decode_path(const struct rest_context *c, struct buffer *out, struct error *err)
{
    const struct param_text given = param_get(c->params, "filepath")->text;
    CLEANUP(buffer_deinit) struct buffer raw = BUFFER_INIT(PATH_SIZE_MAX);
    TRY(base64_decode_append(&raw, given.data, given.size, err));
    TRY(buffer_append_u8(&raw, '\0', err));
    const char *path = (const char *)raw.data;
    if (strlen(path) + 1 != raw.size)
        return fail(err, ERR_USAGE, "parameter 'filepath': a path with NUL");
    for (;;) {
        path += strspn(path, "/");
        size_t size = strcspn(path, "/");
        if (size == 0)
            break;
        TRY(buffer_append_u8(out, '/', err));
        TRY(buffer_append(out, path, size, err));
        path += size;
    }
    if (out->size == 0)
        TRY(buffer_append_u8(out, '/', err));
    return buffer_append_u8(out, '\0', err);
}

/* The same, where the root has other names as well. */
static enum status decode_catalog_path(const struct rest_context *c, struct buffer *out, struct error *err)
{
    const char *given = rest_param_text(c, "filepath");
    if (strcmp(given, "root") == 0 || strcmp(given, "/") == 0)
        return buffer_append(out, "/", 2, err);
    return decode_path(c, out, err);
}

/* ---- listing ---- */

static const char *type_letter(enum entry_kind kind)
{
    switch (kind) {
    case ENTRY_DIRECTORY:
    case ENTRY_DIRECTORY_END: return "d";
    case ENTRY_FILE: return "f";
    case ENTRY_SYMLINK: return "l";
    case ENTRY_HARDLINK: return "h";
    case ENTRY_FIFO: return "p";
    case ENTRY_SOCKET: return "s";
    case ENTRY_CHAR_DEVICE: return "c";
    case ENTRY_BLOCK_DEVICE: return "b";
    }
    return "v";
}

static enum status fill_entry(json_t *object, const char *path, const char *name, size_t name_size,
                              enum entry_kind kind, uint64_t size, int64_t mtime, struct error *err)
{
    TRY(rest_json_set(object, "filepath", rest_json_base64(path, strlen(path)), err));
    TRY(rest_json_set(object, "text", rest_json_text(name, name_size), err));
    TRY(rest_json_set(object, "type", json_string(type_letter(kind)), err));
    TRY(rest_json_set(object, "leaf", json_boolean(kind != ENTRY_DIRECTORY), err));
    if (kind != ENTRY_FILE)
        return OK;
    TRY(rest_json_set(object, "size", json_integer((json_int_t)size), err));
    return rest_json_set(object, "mtime", json_integer(mtime), err);
}

static enum status add_entry(struct rest_json_list *list, const char *path, const char *name, size_t name_size,
                             enum entry_kind kind, uint64_t size, int64_t mtime, struct error *err)
{
    json_t *object = json_object();
    enum status status = object ? fill_entry(object, path, name, name_size, kind, size, mtime, err)
                                : fail(err, ERR_MEMORY, "out of memory for an answer");
    if (status == OK)
        return rest_json_list_add(list, object, err);
    json_decref(object);
    return status;
}

static enum status list_member(void *context, const struct accessor_entry *entry, struct error *err)
{
    const struct archive_entry *e = &entry->entry;
    return add_entry(context, e->path, e->name, e->name_size, e->kind, e->size, e->attributes.stat.mtime_secs, err);
}

static enum status list_directory(struct rest_context *c, const struct snapshot_id *id, const char *archive_name,
                                  const char *path, struct rest_json_list *list, struct error *err)
{
    char text[LOG_PATH_MAX];
    CLEANUP(rest_archive_close) struct rest_archive archive = {0};
    CLEANUP(accessor_entry_deinit) struct accessor_entry directory = {0};
    TRY(rest_archive_open(c->store, id, archive_name, &archive, err));
    TRY(accessor_lookup(archive.tree, path, &directory, err));
    if (directory.entry.kind != ENTRY_DIRECTORY)
        return fail(err, ERR_USAGE, "%s is no directory", log_path(path, text));
    return accessor_list(archive.tree, &directory, list_member, list, err);
}

/* ---- listing from the catalog ---- */

struct catalog_search {
    const char *wanted; /* "/root.pxar.didx/a", or "" for the archives */
    size_t wanted_size;
    bool found;
    struct rest_json_list *list;
};

static enum status visit_catalog(void *context, const char *path, size_t path_size, const struct catalog_entry *entry,
                                 struct error *err)
{
    struct catalog_search *s = context;
    const char *absolute = path + 1; /* behind the '.' */
    size_t size = path_size - 1;
    if (size == s->wanted_size && memcmp(absolute, s->wanted, size) == 0 && entry->kind == ENTRY_DIRECTORY)
        s->found = true;
    if (size != s->wanted_size + 1 + entry->name_size || memcmp(absolute, s->wanted, s->wanted_size) != 0 ||
        absolute[s->wanted_size] != '/')
        return OK;
    return add_entry(s->list, absolute, entry->name, entry->name_size, entry->kind, entry->size, entry->mtime, err);
}

struct catalog_stream {
    struct store_reader *snapshot;
    struct manifest manifest;
    struct dynamic_index index;
    struct chunk_reader *reader;
};

static void catalog_stream_close(struct catalog_stream *s)
{
    chunk_reader_free(s->reader);
    dynamic_index_deinit(&s->index);
    manifest_deinit(&s->manifest);
    store_reader_close(s->snapshot);
}

static enum status list_catalog(struct rest_context *c, const struct snapshot_id *id, const char *path,
                                struct rest_json_list *list, struct error *err)
{
    char text[LOG_PATH_MAX];
    CLEANUP(catalog_stream_close) struct catalog_stream s = {0};
    struct catalog_search search = {.wanted = path, .wanted_size = strlen(path), .list = list};
    if (search.wanted_size == 1) { /* "/" */
        search.wanted_size = 0;
        search.found = true;
    }
    TRY(store_reader_open(c->store, id, &s.snapshot, err));
    TRY(snapshot_manifest(s.snapshot, &s.manifest, err));
    TRY(snapshot_index(s.snapshot, &s.manifest, CATALOG_NAME, &s.index, err));
    TRY(chunk_reader_new(s.snapshot, &s.index, CATALOG_NAME, CATALOG_CHUNKS, &s.reader, err));
    TRY(catalog_walk(chunk_reader_source(s.reader), visit_catalog, &search, err));
    return search.found ? OK : fail(err, ERR_NOT_FOUND, "%s is no directory of the catalog", log_path(path, text));
}

enum status rest_get_catalog(struct rest_context *c, struct error *err)
{
    struct snapshot_id id;
    struct rest_json_list list;
    CLEANUP(buffer_deinit) struct buffer path = BUFFER_INIT(PATH_SIZE_MAX);
    TRY(rest_param_snapshot(c, &id, err));
    TRY(rest_may(c, need_contents, &id, err));
    TRY(decode_catalog_path(c, &path, err));
    TRY(rest_json_list_begin(&list, &c->answer->body, err));
    const char *archive_name = rest_param_text(c, "archive-name");
    if (archive_name)
        TRY(list_directory(c, &id, archive_name, (const char *)path.data, &list, err));
    else
        TRY(list_catalog(c, &id, (const char *)path.data, &list, err));
    return rest_json_list_end(&list, err);
}

/* ---- members ---- */

/* One that is being handed out: a file, or a directory in a bundle. */
struct member {
    struct rest_archive archive;
    struct accessor_entry file;
    uint64_t position;
    struct bundle *bundle;
};

static enum status member_read(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct member *m = context;
    if (m->bundle)
        return bundle_read(m->bundle, data, size, out_size, err);
    TRY(accessor_read(m->archive.contents, &m->file, m->position, data, size, out_size, err));
    m->position += *out_size;
    return OK;
}

static void member_close(void *context)
{
    struct member *m = context;
    bundle_free(m->bundle);
    accessor_entry_deinit(&m->file);
    rest_archive_close(&m->archive);
    free(m);
}

static enum status open_member(struct rest_context *c, struct member *m, const char *path, struct error *err)
{
    CLEANUP(accessor_entry_deinit) struct accessor_entry entry = {0};
    const struct param_value *tar = param_get(c->params, "tar");
    TRY(accessor_lookup(m->archive.tree, path, &entry, err));
    if (entry.entry.kind == ENTRY_DIRECTORY)
        return bundle_new(&m->archive, &entry, tar->present && tar->boolean ? PACK_TAR_ZST : PACK_ZIP, &m->bundle, err);
    TRY(rest_archive_file(&m->archive, &entry, &m->file, err));
    rest_answer_size(c, m->file.entry.size);
    return OK;
}

/* Without the parameter `archive-name` the path begins with it; *path moves on behind it. */
static enum status find_archive_name(const struct rest_context *c, const char **path, char out[NAME_FILE_MAX + 1],
                                     struct error *err)
{
    char text[LOG_PATH_MAX];
    const char *name = rest_param_text(c, "archive-name");
    size_t size = name ? strlen(name) : strcspn(*path + 1, "/");
    if (!name) {
        name = *path + 1;
        *path = name + size;
    }
    if (!name_is_archive(name, size))
        return fail(err, ERR_USAGE, "%s does not begin with the name of an archive", log_path(name, text));
    memcpy(out, name, size);
    out[size] = '\0';
    return OK;
}

enum status rest_download_member(struct rest_context *c, struct error *err)
{
    struct snapshot_id id;
    char name[NAME_FILE_MAX + 1];
    CLEANUP(buffer_deinit) struct buffer decoded = BUFFER_INIT(PATH_SIZE_MAX);
    TRY(rest_param_snapshot(c, &id, err));
    TRY(rest_may(c, need_contents, &id, err));
    TRY(decode_path(c, &decoded, err));
    const char *path = (const char *)decoded.data;
    TRY(find_archive_name(c, &path, name, err));
    struct member *m = calloc(1, sizeof *m);
    if (!m)
        return fail(err, ERR_MEMORY, "out of memory for a member");
    rest_answer_source(c, (struct source){.read = member_read, .context = m, .name = "member"}, member_close);
    TRY(rest_archive_open(c->store, &id, name, &m->archive, err));
    return open_member(c, m, path, err);
}
