#include "server/rest_archive.h"

#include "base/log_path.h"

#include <string.h>

enum { STREAM_CHUNKS = 4 };

static enum status open_stream(struct rest_archive *a, const char *name, struct rest_stream *out, struct error *err)
{
    TRY(snapshot_index(a->snapshot, &a->manifest, name, &out->index, err));
    return chunk_reader_new(a->snapshot, &out->index, name, STREAM_CHUNKS, &out->reader, err);
}

static void close_stream(struct rest_stream *s)
{
    chunk_reader_free(s->reader);
    dynamic_index_deinit(&s->index);
}

enum status rest_archive_open(struct store *s, const struct snapshot_id *id, const char *name, struct rest_archive *out,
                              struct error *err)
{
    struct rest_archive *a = out;
    *a = (struct rest_archive){0};
    TRY(store_reader_open(s, id, &a->snapshot, err));
    TRY(snapshot_manifest(a->snapshot, &a->manifest, err));
    TRY(snapshot_resolve(&a->manifest, name, &a->stored, err));
    bool is_split = a->stored.kind == STORED_SPLIT;
    if (!is_split && a->stored.kind != STORED_UNIFIED)
        return fail(err, ERR_USAGE, "%s is no archive of files", a->stored.name);
    TRY(open_stream(a, a->stored.name, &a->metadata, err));
    struct source_at metadata = chunk_reader_source(a->metadata.reader);
    struct source_at payload = {0};
    if (is_split) {
        TRY(open_stream(a, a->stored.payload_name, &a->payload, err));
        payload = chunk_reader_source(a->payload.reader);
    }
    TRY(accessor_new(metadata, NULL, &a->tree, err));
    return accessor_new(metadata, is_split ? &payload : NULL, &a->contents, err);
}

void rest_archive_close(struct rest_archive *a)
{
    accessor_free(a->contents);
    accessor_free(a->tree);
    close_stream(&a->payload);
    close_stream(&a->metadata);
    manifest_deinit(&a->manifest);
    store_reader_close(a->snapshot);
    *a = (struct rest_archive){0};
}

/* What is read of the entry is its values, and where it is. */
static enum status copy_file(const struct accessor_entry *entry, struct accessor_entry *out, struct error *err)
{
    *out = *entry;
    out->entry.attributes = (struct attributes){.stat = entry->entry.attributes.stat};
    out->entry.target = NULL;
    char *path = strdup(entry->entry.path);
    if (!path)
        return fail(err, ERR_MEMORY, "out of memory for a path");
    out->entry.path = path;
    out->entry.name = path + strlen(path) - entry->entry.name_size;
    return OK;
}

enum status rest_archive_file(struct rest_archive *a, const struct accessor_entry *entry, struct accessor_entry *out,
                              struct error *err)
{
    char text[LOG_PATH_MAX];
    switch (entry->entry.kind) {
    case ENTRY_FILE: return copy_file(entry, out, err);
    case ENTRY_HARDLINK: return accessor_follow(a->contents, entry, out, err);
    default: return fail(err, ERR_USAGE, "%s is no regular file", log_path(entry->entry.path, text));
    }
}
