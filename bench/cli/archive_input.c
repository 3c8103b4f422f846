#include "cli/archive_input.h"

#include "base/log.h"
#include "flow/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* ---- files ---- */

static enum status file_read_at(void *context, uint64_t offset, uint8_t *data, size_t size, struct error *err)
{
    const struct archive_file *f = context;
    while (size > 0) {
        ssize_t got = pread(f->fd, data, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(err, ERR_IO, "read %s at offset %" PRIu64, f->path, offset);
        if (got == 0)
            return fail(err, ERR_FORMAT, "%s: ends early at offset %" PRIu64 ": %zu more bytes wanted", f->path, offset,
                        size);
        data += got;
        size -= (size_t)got;
        offset += (size_t)got;
    }
    return OK;
}

static enum status file_open(struct archive_file *f, const char *path, struct source_at *out, struct error *err)
{
    f->path = path;
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (f->fd < 0)
        return fail(err, ERR_IO, "open %s", path);
    off_t size = lseek(f->fd, 0, SEEK_END);
    if (size < 0)
        return fail(err, ERR_IO, "%s: cannot be read at any place", path);
    *out = (struct source_at){.read_at = file_read_at, .context = f, .size = (uint64_t)size, .name = path};
    return OK;
}

enum status archive_input_open_files(struct archive_input *a, const char *metadata_path, const char *payload_path,
                                     struct error *err)
{
    struct source_at payload;
    TRY(file_open(&a->metadata_file, metadata_path, &a->metadata, err));
    if (payload_path)
        TRY(file_open(&a->payload_file, payload_path, &payload, err));
    TRY(accessor_new(a->metadata, payload_path ? &payload : NULL, &a->accessor, err));
    a->has_contents = payload_path || accessor_version(a->accessor) == 1;
    return OK;
}

/* ---- snapshots ---- */

static enum status stream_open(struct archive_input *a, const struct manifest *m, const char *name,
                               struct archive_stream *s, struct error *err)
{
    ASSERT(strlen(name) < sizeof s->name);
    memcpy(s->name, name, strlen(name) + 1);
    TRY(snapshot_index(a->store_reader, m, s->name, &s->index, err));
    return chunk_reader_new(a->store_reader, &s->index, s->name, CHUNK_READER_CACHE_DEFAULT, &s->reader, err);
}

static enum status open_archive(struct archive_input *a, const struct manifest *m, const char *archive,
                                bool with_contents, struct error *err)
{
    struct stored_archive stored;
    struct source_at payload;
    TRY(snapshot_resolve(m, archive, &stored, err));
    if (stored.kind != STORED_SPLIT && stored.kind != STORED_UNIFIED)
        return fail(err, ERR_USAGE, "%s: is no archive of files", stored.name);
    TRY(stream_open(a, m, stored.name, &a->metadata_stream, err));
    a->metadata = chunk_reader_source(a->metadata_stream.reader);
    bool has_payload = with_contents && stored.kind == STORED_SPLIT;
    if (has_payload) {
        TRY(stream_open(a, m, stored.payload_name, &a->payload_stream, err));
        payload = chunk_reader_source(a->payload_stream.reader);
    }
    a->has_contents = has_payload || stored.kind == STORED_UNIFIED;
    return accessor_new(a->metadata, has_payload ? &payload : NULL, &a->accessor, err);
}

static enum status namespace_set(const char *ns, struct snapshot_id *id, struct error *err)
{
    if (strlen(ns) >= sizeof id->ns)
        return fail(err, ERR_USAGE, "--ns: longer than %zu bytes", sizeof id->ns - 1);
    memcpy(id->ns, ns, strlen(ns) + 1);
    return snapshot_id_check(id, err);
}

enum status archive_input_open_snapshot(struct archive_input *a, struct repository_args *repository,
                                        const struct crypt_config *key, const char *snapshot, const char *archive,
                                        bool with_contents, struct error *err)
{
    const struct store_options options = {.sync = SYNC_NONE, .key = key};
    struct snapshot_id id;
    CLEANUP(manifest_deinit) struct manifest manifest = {0};
    TRY(snapshot_id_parse(snapshot, &id, err));
    TRY(namespace_set(repository_args_ns(repository), &id, err));
    TRY(repository_args_find(repository, err));
    TRY(namespace_set(repository_args_ns(repository), &id, err));
    TRY(repository_args_open(repository, &options, &a->store, err));
    TRY(store_reader_open(a->store, &id, &a->store_reader, err));
    TRY(snapshot_manifest(a->store_reader, &manifest, err));
    return open_archive(a, &manifest, archive, with_contents, err);
}

static void report(const struct archive_stream *s, const char *what)
{
    if (s->reader)
        log_info("read %" PRIu64 " %s chunks (%" PRIu64 " bytes) of %zu", chunk_reader_fetched(s->reader), what,
                 chunk_reader_fetched_bytes(s->reader), s->index.count);
}

void archive_input_report(const struct archive_input *a)
{
    report(&a->metadata_stream, "metadata");
    report(&a->payload_stream, "payload");
}

/* ---- */

static void stream_close(struct archive_stream *s)
{
    chunk_reader_free(s->reader);
    dynamic_index_deinit(&s->index);
}

void archive_input_close(struct archive_input *a)
{
    accessor_free(a->accessor);
    stream_close(&a->metadata_stream);
    stream_close(&a->payload_stream);
    store_reader_close(a->store_reader);
    store_close(a->store);
    if (a->metadata_file.fd >= 0)
        close(a->metadata_file.fd);
    if (a->payload_file.fd >= 0)
        close(a->payload_file.fd);
    *a = ARCHIVE_INPUT_INIT;
}
