#include "flow/analyze_stream.h"

#include "base/log_path.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { METADATA_CHUNKS_AHEAD = 3, ARCHIVES_MAX = 65536 };

#define METADATA_EXTENSION ".mpxar.didx"

static void reader_cleanup(struct store_reader **r)
{
    store_reader_close(*r);
}

static enum status within_snapshot(const struct snapshot_id *id, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE];
    return fail_within(err, "%s", snapshot_id_text(id, text));
}

static enum status resolve_split(const struct manifest *m, const char *archive, struct stored_archive *out,
                                 struct error *err)
{
    TRY(snapshot_resolve(m, archive, out, err));
    switch (out->kind) {
    case STORED_SPLIT: return OK;
    case STORED_UNIFIED:
        return fail(err, ERR_USAGE,
                    "%s: is one stream with the contents of the files inside: only split archives have a payload "
                    "stream to analyze",
                    out->name);
    case STORED_IMAGE:
    case STORED_BLOB:
    case STORED_CATALOG: break;
    }
    return fail(err, ERR_USAGE, "%s: is no archive of files: only split archives have a payload stream to analyze",
                out->name);
}

/* ---- one archive ---- */

enum status split_stream_failed(const struct split_stream *s, struct error *err)
{
    return within_snapshot(&s->id, err);
}

static enum status open_archive(struct split_stream *s, const char *archive, struct error *err)
{
    CLEANUP(manifest_deinit) struct manifest m = {0};
    TRY(snapshot_manifest(s->reader, &m, err));
    TRY(resolve_split(&m, archive, &s->names, err));
    snapshot_prefetch_index(s->reader, &m, s->names.name);
    snapshot_prefetch_index(s->reader, &m, s->names.payload_name);
    TRY(snapshot_index(s->reader, &m, s->names.name, &s->metadata_index, err));
    TRY(snapshot_index(s->reader, &m, s->names.payload_name, &s->payload_index, err));
    s->payload_size = dynamic_index_size(&s->payload_index);
    if (s->payload_size < 2 * ITEM_HEADER_SIZE)
        return fail(err, ERR_FORMAT, "%s: a stream of %" PRIu64 " bytes has no room for its two markers",
                    s->names.payload_name, s->payload_size);
    return OK;
}

enum status split_stream_open(struct split_stream *s, struct store *store, const struct snapshot_id *id,
                              const char *archive, struct error *err)
{
    *s = (struct split_stream){.id = *id};
    TRY(store_reader_open(store, id, &s->reader, err));
    return open_archive(s, archive, err) == OK ? OK : within_snapshot(id, err);
}

static void end_pass(struct split_stream *s)
{
    decoder_free(s->decoder);
    chunk_stream_free(s->chunks);
    s->decoder = NULL;
    s->chunks = NULL;
}

void split_stream_close(struct split_stream *s)
{
    store_reader_cancel(s->reader); /* what is read ahead is waited for by nobody */
    end_pass(s);
    dynamic_index_deinit(&s->metadata_index);
    dynamic_index_deinit(&s->payload_index);
    store_reader_close(s->reader);
    *s = (struct split_stream){0};
}

static enum status begin_pass(struct split_stream *s, struct error *err)
{
    const char *name = s->names.name;
    TRY(chunk_stream_new(s->reader, &s->metadata_index, name, METADATA_CHUNKS_AHEAD, &s->chunks, err));
    TRY(decoder_new(chunk_stream_source(s->chunks), NULL, &s->decoder, err));
    if (decoder_version(s->decoder) != 2)
        return fail(err, ERR_FORMAT, "%s: is an archive of version %u, a metadata stream has version 2", name,
                    decoder_version(s->decoder));
    return OK;
}

enum status split_stream_begin(struct split_stream *s, struct error *err)
{
    end_pass(s);
    return begin_pass(s, err) == OK ? OK : split_stream_failed(s, err);
}

static enum status check_file(const struct split_stream *s, const struct archive_entry *file, struct error *err)
{
    /* The decoder has seen to it that the offset is not within the start marker. */
    uint64_t end = s->payload_size - ITEM_HEADER_SIZE;
    if (file->payload_offset <= end && end - file->payload_offset >= ITEM_HEADER_SIZE &&
        end - file->payload_offset - ITEM_HEADER_SIZE >= file->size)
        return OK;
    char path[LOG_PATH_MAX];
    return fail(err, ERR_FORMAT,
                "%s: corrupt at offset %" PRIu64 " in %s: %" PRIu64 " bytes at payload offset %" PRIu64
                " are beyond the contents of %s, which end at %" PRIu64,
                s->names.name, file->entry_offset, log_path(file->path, path), file->size, file->payload_offset,
                s->names.payload_name, end);
}

enum status split_stream_next(struct split_stream *s, struct archive_entry *out, struct error *err)
{
    enum status status = decoder_next(s->decoder, out, err);
    if (status == ERR_CLOSED)
        return status;
    if (status == OK && out->kind == ENTRY_FILE)
        status = check_file(s, out, err);
    return status == OK ? OK : split_stream_failed(s, err);
}

/* ---- names ---- */

static enum status read_manifest(struct store *store, const struct snapshot_id *id, struct manifest *out,
                                 struct error *err)
{
    CLEANUP(reader_cleanup) struct store_reader *reader = NULL;
    TRY(store_reader_open(store, id, &reader, err));
    if (snapshot_manifest(reader, out, err) != OK)
        return within_snapshot(id, err);
    return OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static enum status add_name(struct archive_names *names, const char *stored, struct error *err)
{
    char name[STORED_NAME_SIZE] = "";
    size_t stem = strlen(stored) - (sizeof METADATA_EXTENSION - 1);
    memcpy(name, stored, stem);
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i], name) == 0)
            return OK;
    void *items = names->items;
    TRY(array_grow(&items, names->count, &names->capacity, sizeof *names->items, ARCHIVES_MAX, "archives", err));
    names->items = items;
    memcpy(names->items[names->count++], name, sizeof name);
    qsort(names->items, names->count, sizeof *names->items, compare_names);
    return OK;
}

static bool is_metadata_name(const char *filename)
{
    size_t size = strlen(filename), extension = sizeof METADATA_EXTENSION - 1;
    return size > extension && strcmp(filename + size - extension, METADATA_EXTENSION) == 0;
}

static enum status add_all(struct archive_names *names, const struct manifest *m, struct error *err)
{
    bool found = false;
    for (size_t i = 0; i < m->file_count; i++) {
        struct stored_archive archive;
        if (!is_metadata_name(m->files[i].filename))
            continue;
        TRY(resolve_split(m, m->files[i].filename, &archive, err));
        TRY(add_name(names, archive.name, err));
        found = true;
    }
    if (!found)
        return fail(err, ERR_NOT_FOUND,
                    "has no split archive: only those have a payload stream to analyze (modes data and metadata make "
                    "them)");
    return OK;
}

static enum status add_one(struct archive_names *names, const struct manifest *m, const char *only, struct error *err)
{
    struct stored_archive archive;
    TRY(resolve_split(m, only, &archive, err));
    return add_name(names, archive.name, err);
}

enum status archive_names_add(struct archive_names *names, struct store *store, const struct snapshot_id *id,
                              const char *only, struct error *err)
{
    CLEANUP(manifest_deinit) struct manifest m = {0};
    TRY(read_manifest(store, id, &m, err));
    enum status status = only ? add_one(names, &m, only, err) : add_all(names, &m, err);
    return status == OK ? OK : within_snapshot(id, err);
}

enum status archive_names_has(struct store *store, const struct snapshot_id *id, const char *name, bool *out,
                              struct error *err)
{
    CLEANUP(manifest_deinit) struct manifest m = {0};
    char stored[STORED_NAME_SIZE + sizeof METADATA_EXTENSION];
    TRY(read_manifest(store, id, &m, err));
    size_t size = strlen(name);
    memcpy(stored, name, size);
    memcpy(stored + size, METADATA_EXTENSION, sizeof METADATA_EXTENSION);
    *out = manifest_find(&m, stored) != NULL;
    return OK;
}

void archive_names_deinit(struct archive_names *names)
{
    free(names->items);
    *names = (struct archive_names){0};
}
