#include "flow/restore.h"

#include "base/clock.h"
#include "base/log.h"
#include "flow/chunk_reader.h"
#include "flow/file_source.h"
#include "flow/image.h"
#include "flow/restore_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    METADATA_CHUNKS_AHEAD = 2,
    PAYLOAD_CHUNKS_AHEAD = 4,
    CHUNKS_CACHED = 16, /* by path: a directory is searched at both ends */
    STREAM_COPY_SIZE = 1 << 20,
};

static enum status write_all(int fd, const uint8_t *data, size_t size, const char *name, struct error *err)
{
    while (size > 0) {
        ssize_t done = write(fd, data, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail(err, ERR_IO, "%s: cannot write", name);
        data += done;
        size -= (size_t)done;
    }
    return OK;
}

static enum status write_prelude(const uint8_t *prelude, size_t size, const struct restore_options *options,
                                 struct error *err)
{
    const char *path = options->prelude_target;
    if (!path)
        return OK;
    if (size == 0) {
        log_info("No prelude entry found, skip prelude restore.");
        return OK;
    }
    int how = options->extract.overwrite_files ? O_TRUNC : O_EXCL;
    int fd = open(path, O_WRONLY | O_CREAT | how | O_CLOEXEC | O_NOCTTY, 0666);
    if (fd < 0)
        return fail(err, ERR_IO, "%s: cannot create file for the prelude", path);
    enum status status = write_all(fd, prelude, size, path, err);
    if (close(fd) && status == OK)
        status = fail(err, ERR_IO, "%s: cannot close", path);
    return status;
}

/* ---- in order ---- */

/* `contents`, which may be NULL, is the stream that has the contents of files: it reads ahead only what is wanted. */
struct sequence {
    struct decoder *decoder;
    struct chunk_stream *contents;
    uint64_t begin, end; /* of the current file's contents in it; 0: told already */
};

static enum status read_contents(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct sequence *s = context;
    if (s->contents && s->end > 0)
        chunk_stream_want(s->contents, s->begin, s->end);
    s->end = 0;
    return decoder_content(s->decoder, data, size, out_size, err);
}

/* Hostile numbers do no harm: these only say what may be read ahead. */
static void find_contents(struct sequence *s, const struct archive_entry *entry)
{
    bool unified = entry->content_offset > 0;
    s->begin = unified ? entry->content_offset : entry->payload_offset;
    uint64_t header = unified ? 0 : ITEM_HEADER_SIZE;
    if (__builtin_add_overflow(s->begin, header, &s->end) || __builtin_add_overflow(s->end, entry->size, &s->end))
        s->end = UINT64_MAX;
}

static enum status extract_in_order(struct sequence *s, struct extraction *x, struct error *err)
{
    const struct content content = {.read = read_contents, .context = s};
    for (;;) {
        struct archive_entry entry;
        enum status status = decoder_next(s->decoder, &entry, err);
        if (status == ERR_CLOSED)
            return extraction_finish(x, err);
        TRY(status);
        if (entry.kind == ENTRY_FILE)
            find_contents(s, &entry);
        TRY(extraction_entry(x, &entry, &content, err));
    }
}

static void decoder_freep(struct decoder **d)
{
    decoder_free(*d);
}

static void extraction_freep(struct extraction **x)
{
    extraction_free(*x);
}

/* The target is not touched before the archive has proved to be one. `contents` is not NULL with a selection only. */
static enum status restore_in_order(struct source metadata, const struct source *payload, struct chunk_stream *contents,
                                    const char *target, const struct restore_options *options,
                                    struct restore_stats *stats, struct error *err)
{
    CLEANUP(decoder_freep) struct decoder *decoder = NULL;
    CLEANUP(extraction_freep) struct extraction *x = NULL;
    TRY(decoder_new(metadata, payload, &decoder, err));
    if (!payload && decoder_version(decoder) != 1)
        return fail(err, ERR_USAGE, "%s: is a split archive: the contents of files are needed, give --payload-input",
                    metadata.name);
    size_t size;
    const uint8_t *prelude = decoder_prelude(decoder, &size);
    TRY(write_prelude(prelude, prelude ? size : 0, options, err));
    TRY(extraction_new(target, options, stats, &x, err));
    struct sequence s = {.decoder = decoder, .contents = contents};
    enum status status = extract_in_order(&s, x, err);
    if (decoder_went_back(decoder) > 0)
        log_warning("warning: %s: %" PRIu64 " files have contents that lie before those of earlier files: "
                    "the archive is of an older client, or damaged",
                    payload->name, decoder_went_back(decoder));
    return status;
}

/* ---- by path ---- */

static void accessor_freep(struct accessor **a)
{
    accessor_free(*a);
}

static enum status restore_by_path(struct source_at metadata, const struct source_at *payload, const char *const *paths,
                                   size_t path_count, const char *target, const struct restore_options *options,
                                   struct restore_stats *stats, struct error *err)
{
    CLEANUP(accessor_freep) struct accessor *archive = NULL;
    CLEANUP(extraction_freep) struct extraction *x = NULL;
    TRY(accessor_new(metadata, payload, &archive, err));
    if (!payload && accessor_version(archive) != 1)
        return fail(err, ERR_USAGE, "%s: is a split archive: the contents of files are needed, give --payload-input",
                    metadata.name);
    size_t size;
    const uint8_t *prelude = accessor_prelude(archive, &size);
    TRY(write_prelude(prelude, prelude ? size : 0, options, err));
    TRY(extraction_new(target, options, stats, &x, err));
    TRY(restore_paths(archive, paths, path_count, x, err));
    return extraction_finish(x, err);
}

/* ---- from a snapshot ---- */

struct open_snapshot {
    struct store_reader *reader;
    struct manifest manifest;
    struct stored_archive archive;
    struct dynamic_index metadata_index, payload_index;
    struct chunk_stream *metadata, *payload;
    struct chunk_reader *metadata_reader, *payload_reader;
};

static void open_snapshot_deinit(struct open_snapshot *s)
{
    store_reader_cancel(s->reader); /* what is read ahead is waited for by nobody */
    chunk_stream_free(s->metadata);
    chunk_stream_free(s->payload);
    chunk_reader_free(s->metadata_reader);
    chunk_reader_free(s->payload_reader);
    dynamic_index_deinit(&s->metadata_index);
    dynamic_index_deinit(&s->payload_index);
    manifest_deinit(&s->manifest);
    store_reader_close(s->reader);
}

static enum status open_stream(struct open_snapshot *s, const char *name, size_t ahead, struct dynamic_index *index,
                               struct chunk_stream **out, struct error *err)
{
    TRY(snapshot_index(s->reader, &s->manifest, name, index, err));
    return chunk_stream_new(s->reader, index, name, ahead, out, err);
}

static enum status tree_in_order(struct open_snapshot *s, const char *target, const struct restore_options *options,
                                 struct restore_stats *out, struct error *err)
{
    const struct stored_archive *a = &s->archive;
    bool split = a->kind == STORED_SPLIT;
    struct source payload = {0};
    TRY(open_stream(s, a->name, METADATA_CHUNKS_AHEAD, &s->metadata_index, &s->metadata, err));
    if (split) {
        TRY(open_stream(s, a->payload_name, PAYLOAD_CHUNKS_AHEAD, &s->payload_index, &s->payload, err));
        payload = chunk_stream_source(s->payload);
    }
    struct chunk_stream *contents = selection_is_empty(options->selection) ? NULL : split ? s->payload : s->metadata;
    if (contents)
        chunk_stream_want(contents, 0, 0);
    enum status status = restore_in_order(chunk_stream_source(s->metadata), split ? &payload : NULL, contents, target,
                                          options, out, err);
    out->metadata_chunks = chunk_stream_fetched(s->metadata);
    out->payload_chunks = split ? chunk_stream_fetched(s->payload) : 0;
    return status;
}

static enum status open_reader(struct open_snapshot *s, const char *name, struct dynamic_index *index,
                               struct chunk_reader **out, struct error *err)
{
    TRY(snapshot_index(s->reader, &s->manifest, name, index, err));
    return chunk_reader_new(s->reader, index, name, CHUNKS_CACHED, out, err);
}

static enum status tree_by_path(struct open_snapshot *s, const char *const *paths, size_t path_count,
                                const char *target, const struct restore_options *options, struct restore_stats *out,
                                struct error *err)
{
    const struct stored_archive *a = &s->archive;
    bool split = a->kind == STORED_SPLIT;
    struct source_at payload = {0};
    TRY(open_reader(s, a->name, &s->metadata_index, &s->metadata_reader, err));
    if (split) {
        TRY(open_reader(s, a->payload_name, &s->payload_index, &s->payload_reader, err));
        payload = chunk_reader_source(s->payload_reader);
    }
    enum status status = restore_by_path(chunk_reader_source(s->metadata_reader), split ? &payload : NULL, paths,
                                         path_count, target, options, out, err);
    out->metadata_chunks = chunk_reader_fetched(s->metadata_reader);
    out->payload_chunks = split ? chunk_reader_fetched(s->payload_reader) : 0;
    return status;
}

static enum status stream_to_stdout(struct open_snapshot *s, struct restore_stats *out, struct error *err)
{
    TRY(open_stream(s, s->archive.name, PAYLOAD_CHUNKS_AHEAD, &s->metadata_index, &s->metadata, err));
    struct source source = chunk_stream_source(s->metadata);
    uint8_t *part = malloc(STREAM_COPY_SIZE);
    if (!part)
        return fail(err, ERR_MEMORY, "out of memory for a copy buffer of %d bytes", STREAM_COPY_SIZE);
    enum status status;
    for (;;) {
        size_t size;
        status = source.read(source.context, part, STREAM_COPY_SIZE, &size, err);
        if (status != OK || size == 0)
            break;
        status = write_all(STDOUT_FILENO, part, size, "standard output", err);
        if (status != OK)
            break;
        out->file_bytes += size;
    }
    free(part);
    out->metadata_chunks = chunk_stream_fetched(s->metadata);
    return status;
}

static enum status restore_tree(struct open_snapshot *s, const char *target, const struct restore_options *options,
                                struct restore_stats *out, struct error *err)
{
    size_t path_count;
    snapshot_prefetch_index(s->reader, &s->manifest, s->archive.name);
    if (s->archive.kind == STORED_SPLIT)
        snapshot_prefetch_index(s->reader, &s->manifest, s->archive.payload_name);
    const char *const *paths = selection_paths(options->selection, &path_count);
    return paths ? tree_by_path(s, paths, path_count, target, options, out, err)
                 : tree_in_order(s, target, options, out, err);
}

static enum status restore_archive(struct open_snapshot *s, const char *target, const struct restore_options *options,
                                   struct restore_stats *out, struct error *err)
{
    const char *name = s->archive.name;
    bool to_stdout = strcmp(target, "-") == 0;
    bool has_selection = !selection_is_empty(options->selection);
    struct image_restore_stats image = {0};
    enum status status;
    if (to_stdout && s->archive.kind == STORED_SPLIT)
        return fail(err, ERR_USAGE, "unable to pipe split archive: give a directory as TARGET");
    if (to_stdout && has_selection)
        return fail(err, ERR_USAGE, "patterns not allowed when restoring to stdout");
    switch (s->archive.kind) {
    case STORED_SPLIT: return restore_tree(s, target, options, out, err);
    case STORED_UNIFIED: return to_stdout ? stream_to_stdout(s, out, err) : restore_tree(s, target, options, out, err);
    case STORED_IMAGE:
    case STORED_BLOB:
        if (has_selection)
            return fail(err, ERR_USAGE, "patterns select entries of a tree: %s is none", name);
        if (s->archive.kind == STORED_BLOB)
            return blob_file_restore(s->reader, &s->manifest, name, target, &out->file_bytes, err);
        status = image_restore(s->reader, &s->manifest, name, target, &image, err);
        out->file_bytes = image.size;
        out->payload_chunks = image.chunks;
        return status;
    case STORED_CATALOG:
        if (to_stdout)
            return stream_to_stdout(s, out, err);
        return fail(err, ERR_USAGE, "%s is no tree: it can be restored to standard output alone, TARGET '-'", name);
    }
    return fail(err, ERR_UNSUPPORTED, "%s: archive of unknown kind %d", name, (int)s->archive.kind);
}

enum status restore_snapshot(struct store *store, const struct snapshot_id *snapshot, const char *archive,
                             const char *target, const struct restore_options *options, struct restore_stats *out,
                             struct error *err)
{
    uint64_t began_ns = clock_monotonic_ns();
    *out = (struct restore_stats){0};
    CLEANUP(open_snapshot_deinit) struct open_snapshot s = {0};
    TRY(store_reader_open(store, snapshot, &s.reader, err));
    TRY(snapshot_manifest(s.reader, &s.manifest, err));
    TRY(snapshot_resolve(&s.manifest, archive, &s.archive, err));
    enum status status = restore_archive(&s, target, options, out, err);
    progress_end();
    out->duration_ns = clock_monotonic_ns() - began_ns;
    return status;
}

/* ---- from plain files ---- */

enum status extract_files(const char *archive_path, const char *payload_path, const char *target,
                          const struct restore_options *options, struct restore_stats *out, struct error *err)
{
    uint64_t began_ns = clock_monotonic_ns();
    *out = (struct restore_stats){0};
    CLEANUP(file_source_close) struct file_source archive = FILE_SOURCE_INIT;
    CLEANUP(file_source_close) struct file_source payload = FILE_SOURCE_INIT;
    TRY(file_source_open(&archive, archive_path, err));
    if (payload_path)
        TRY(file_source_open(&payload, payload_path, err));
    size_t path_count;
    const char *const *paths = selection_paths(options->selection, &path_count);
    enum status status;
    if (paths && archive.regular && (!payload_path || payload.regular)) {
        struct source_at contents = file_source_random(&payload);
        status = restore_by_path(file_source_random(&archive), payload_path ? &contents : NULL, paths, path_count,
                                 target, options, out, err);
    } else {
        struct source contents = {0};
        if (payload_path)
            contents = file_source_sequential(&payload);
        status = restore_in_order(file_source_sequential(&archive), payload_path ? &contents : NULL, NULL, target,
                                  options, out, err);
    }
    progress_end();
    out->duration_ns = clock_monotonic_ns() - began_ns;
    return status;
}
