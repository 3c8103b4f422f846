#include "flow/restore.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/size_text.h"
#include "pxar/decoder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    COPY_SIZE = 1 << 20,
    METADATA_CHUNKS_AHEAD = 2,
    PAYLOAD_CHUNKS_AHEAD = 4,
};

/* ---- entries to the tree ---- */

struct restore {
    struct decoder *decoder;
    struct extractor *extractor;
    struct attributes root;
    struct buffer path; /* of the current file: the decoder's own goes when its contents are read */
    uint8_t *copy;
    struct restore_stats *stats;
};

static void restore_deinit(struct restore *r)
{
    extractor_free(r->extractor);
    decoder_free(r->decoder);
    attributes_deinit(&r->root);
    buffer_deinit(&r->path);
    free(r->copy);
}

static enum status copy_contents(struct restore *r, struct error *err)
{
    for (;;) {
        size_t size;
        enum status status = decoder_content(r->decoder, r->copy, COPY_SIZE, &size, err);
        if (status != OK) {
            char text[LOG_PATH_MAX];
            return err ? fail_within(err, "%s", log_path((const char *)r->path.data, text)) : status;
        }
        if (size == 0)
            return extract_file_end(r->extractor, err);
        TRY(extract_file_data(r->extractor, r->copy, size, err));
        r->stats->file_bytes += size;
    }
}

static enum status restore_file(struct restore *r, const struct archive_entry *entry, struct error *err)
{
    buffer_clear(&r->path);
    TRY(buffer_append(&r->path, entry->path, strlen(entry->path) + 1, err));
    TRY(extract_file_begin(r->extractor, entry->name, &entry->attributes, entry->size, err));
    r->stats->files++;
    return copy_contents(r, err);
}

static enum status restore_entry(struct restore *r, const struct archive_entry *entry, struct error *err)
{
    struct extractor *x = r->extractor;
    if (entry->kind != ENTRY_DIRECTORY_END)
        r->stats->entries++;
    switch (entry->kind) {
    case ENTRY_DIRECTORY:
        if (entry->depth == 0)
            return attributes_copy(&entry->attributes, &r->root, err);
        return extract_directory_begin(x, entry->name, &entry->attributes, err);
    case ENTRY_DIRECTORY_END:
        if (entry->depth == 0)
            return extract_finish(x, &r->root, err);
        return extract_directory_end(x, err);
    case ENTRY_FILE: return restore_file(r, entry, err);
    case ENTRY_SYMLINK: return extract_symlink(x, entry->name, &entry->attributes, entry->target, err);
    case ENTRY_HARDLINK: return extract_hardlink(x, entry->name, entry->target, err);
    case ENTRY_FIFO:
    case ENTRY_SOCKET:
    case ENTRY_CHAR_DEVICE:
    case ENTRY_BLOCK_DEVICE: return extract_node(x, entry->name, &entry->attributes, entry->major, entry->minor, err);
    }
    return fail(err, ERR_FORMAT, "%s: entry of unknown kind %d", entry->path, (int)entry->kind);
}

static void show_progress(const struct restore_stats *stats)
{
    if (!progress_due())
        return;
    char text[SIZE_TEXT_SIZE];
    progress_update("restored %" PRIu64 " entries, %s", stats->entries, size_text(stats->file_bytes, text));
}

static enum status restore_entries(struct restore *r, struct error *err)
{
    for (;;) {
        struct archive_entry entry;
        enum status status = decoder_next(r->decoder, &entry, err);
        if (status == ERR_CLOSED)
            return OK;
        TRY(status);
        TRY(restore_entry(r, &entry, err));
        show_progress(r->stats);
    }
}

/* The target is not touched before the archive has proved to be one. */
static enum status restore_streams(struct source metadata, struct source payload, const char *target,
                                   const struct extract_options *options, struct restore_stats *stats,
                                   struct error *err)
{
    CLEANUP(restore_deinit) struct restore r = {.stats = stats, .path = BUFFER_INIT(0)};
    r.copy = malloc(COPY_SIZE);
    if (!r.copy)
        return fail(err, ERR_MEMORY, "out of memory for a copy buffer of %d bytes", COPY_SIZE);
    TRY(decoder_new(metadata, &payload, &r.decoder, err));
    TRY(extractor_new(target, options, &r.extractor, err));
    enum status status = restore_entries(&r, err);
    progress_end();
    return status;
}

/* ---- from a snapshot ---- */

struct open_snapshot {
    struct store_reader *reader;
    struct manifest manifest;
    struct dynamic_index metadata_index, payload_index;
    struct chunk_stream *metadata, *payload;
};

static void open_snapshot_deinit(struct open_snapshot *s)
{
    chunk_stream_free(s->metadata);
    chunk_stream_free(s->payload);
    dynamic_index_deinit(&s->metadata_index);
    dynamic_index_deinit(&s->payload_index);
    manifest_deinit(&s->manifest);
    store_reader_close(s->reader);
}

enum status restore_snapshot(struct store *store, const struct snapshot_id *snapshot, const char *archive,
                             const char *target, const struct extract_options *options, struct restore_stats *out,
                             struct error *err)
{
    uint64_t began_ns = clock_monotonic_ns();
    *out = (struct restore_stats){0};
    struct stored_archive found;
    CLEANUP(open_snapshot_deinit) struct open_snapshot s = {0};
    TRY(store_reader_open(store, snapshot, &s.reader, err));
    TRY(snapshot_manifest(s.reader, &s.manifest, err));
    TRY(snapshot_resolve(&s.manifest, archive, &found, err));
    if (found.kind != STORED_SPLIT)
        return fail(err, ERR_UNSUPPORTED, "%s: only split archives can be restored", found.name);
    TRY(snapshot_index(s.reader, &s.manifest, found.name, &s.metadata_index, err));
    TRY(snapshot_index(s.reader, &s.manifest, found.payload_name, &s.payload_index, err));
    TRY(chunk_stream_new(s.reader, &s.metadata_index, found.name, METADATA_CHUNKS_AHEAD, &s.metadata, err));
    TRY(chunk_stream_new(s.reader, &s.payload_index, found.payload_name, PAYLOAD_CHUNKS_AHEAD, &s.payload, err));
    enum status status =
        restore_streams(chunk_stream_source(s.metadata), chunk_stream_source(s.payload), target, options, out, err);
    out->metadata_chunks = chunk_stream_fetched(s.metadata);
    out->payload_chunks = chunk_stream_fetched(s.payload);
    out->duration_ns = clock_monotonic_ns() - began_ns;
    return status;
}

/* ---- from plain files ---- */

/* Not buffered: the decoder reads in large parts. */
struct file_source {
    int fd;
    const char *path; /* borrowed */
    uint64_t position;
    uint64_t size;
    bool seekable;
};

static void file_source_close(const struct file_source *f)
{
    if (f->fd >= 0)
        close(f->fd);
}

static enum status file_read(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct file_source *f = context;
    ssize_t got;
    do
        got = read(f->fd, data, size);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return fail(err, ERR_IO, "%s: cannot read at offset %" PRIu64, f->path, f->position);
    f->position += (uint64_t)got;
    *out_size = (size_t)got;
    return OK;
}

static enum status file_skip(void *context, uint64_t size, struct error *err)
{
    struct file_source *f = context;
    /* Seeking beyond the end succeeds: the size says where it is. */
    if (f->position > f->size || size > f->size - f->position)
        return fail(err, ERR_FORMAT,
                    "%s: ends early at offset %" PRIu64 ": %" PRIu64 " bytes to skip from offset %" PRIu64, f->path,
                    f->size, size, f->position);
    if (lseek(f->fd, (off_t)size, SEEK_CUR) < 0)
        return fail(err, ERR_IO, "%s: cannot seek from offset %" PRIu64, f->path, f->position);
    f->position += size;
    return OK;
}

static enum status file_source_open(struct file_source *f, const char *path, struct error *err)
{
    struct stat st;
    f->path = path;
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (f->fd < 0)
        return fail(err, ERR_IO, "%s: cannot open", path);
    if (fstat(f->fd, &st))
        return fail(err, ERR_IO, "%s: cannot stat", path);
    if (S_ISREG(st.st_mode)) {
        f->seekable = true;
        f->size = (uint64_t)st.st_size;
        (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* advice: failure changes nothing */
    }
    return OK;
}

static struct source source_over_file(struct file_source *f)
{
    return (struct source){.read = file_read, .skip = f->seekable ? file_skip : NULL, .context = f, .name = f->path};
}

enum status extract_files(const char *metadata_path, const char *payload_path, const char *target,
                          const struct extract_options *options, struct restore_stats *out, struct error *err)
{
    uint64_t began_ns = clock_monotonic_ns();
    *out = (struct restore_stats){0};
    CLEANUP(file_source_close) struct file_source metadata = {.fd = -1};
    CLEANUP(file_source_close) struct file_source payload = {.fd = -1};
    TRY(file_source_open(&metadata, metadata_path, err));
    TRY(file_source_open(&payload, payload_path, err));
    enum status status =
        restore_streams(source_over_file(&metadata), source_over_file(&payload), target, options, out, err);
    out->duration_ns = clock_monotonic_ns() - began_ns;
    return status;
}
