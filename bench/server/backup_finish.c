/* The end of a backup: whether everything is there, and the manifest as the server leaves it. */
#include "server/backup_session.h"

#include "index/manifest.h"
#include "store/local_server.h"

#include <inttypes.h>
#include <string.h>

#define MANIFEST_FILE "index.json.blob"
#define CLIENT_LOG "client.log.blob"

static const struct stored_name *find_file(const struct backup_session *b, const char *name)
{
    for (size_t i = 0; i < b->file_count; i++)
        if (strcmp(b->files[i].name, name) == 0)
            return &b->files[i];
    return NULL;
}

/* V15: the manifest says what was uploaded, and nothing else. */
static enum status check_manifest(const struct backup_session *b, const struct manifest *m, struct error *err)
{
    if (strcmp(m->backup_type, b->id.type) != 0 || strcmp(m->backup_id, b->id.id) != 0 || m->backup_time != b->id.time)
        return fail(err, ERR_MISMATCH, "the manifest is of %s/%s at %" PRId64 ", the session of %s/%s at %" PRId64,
                    m->backup_type, m->backup_id, m->backup_time, b->id.type, b->id.id, b->id.time);
    size_t uploaded = 0;
    for (size_t i = 0; i < b->file_count; i++) {
        const char *name = b->files[i].name;
        if (strcmp(name, MANIFEST_FILE) == 0 || strcmp(name, CLIENT_LOG) == 0)
            continue;
        uploaded++;
        if (!manifest_find(m, name))
            return fail(err, ERR_MISMATCH, "%s was uploaded, but the manifest does not list it", name);
    }
    for (size_t i = 0; i < m->file_count; i++) {
        const struct manifest_file *listed = &m->files[i];
        const struct stored_name *real = find_file(b, listed->filename);
        if (!real)
            return fail(err, ERR_MISMATCH, "the manifest lists %s, which was not uploaded", listed->filename);
        if (listed->size != real->size)
            return fail(err, ERR_MISMATCH, "the manifest gives %s the size %" PRIu64 ", it has %" PRIu64,
                        listed->filename, listed->size, real->size);
        if (!digest_equal(&listed->csum, &real->csum))
            return fail(err, ERR_MISMATCH, "the manifest gives %s another checksum than it has", listed->filename);
    }
    if (m->file_count != uploaded)
        return fail(err, ERR_MISMATCH, "the manifest lists %zu files, %zu were uploaded", m->file_count, uploaded);
    return OK;
}

static enum status read_manifest(const struct backup_session *b, struct workbench *bench, struct manifest *out,
                                 struct error *err)
{
    if (b->manifest.size == 0)
        return fail(err, ERR_NOT_FOUND, "the manifest, " MANIFEST_FILE ", was not uploaded");
    struct buffer *raw = &bench->raw;
    raw->limit = MANIFEST_SIZE_MAX;
    TRY(blob_open(bench->blobs, b->manifest.data, b->manifest.size, MANIFEST_SIZE_MAX, MANIFEST_FILE, raw, err));
    return manifest_parse(raw->data, raw->size, MANIFEST_FILE, out, err);
}

static enum status rewrite_manifest(const struct backup_session *b, struct workbench *bench, struct manifest *m,
                                    struct buffer *out, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(2 * MANIFEST_SIZE_MAX);
    const struct upload_stats *stats = &b->stats;
    TRY(manifest_set_upload_stats(m, stats->count, stats->size, stats->compressed_size, stats->duplicates, err));
    TRY(manifest_write(m, &text, err));
    const struct slice slice = {.data = text.data, .size = text.size};
    return blob_seal(bench->blobs, &slice, 1, out, err);
}

static enum status end(struct backup_session *b, struct workbench *bench, struct error *err)
{
    CLEANUP(manifest_deinit) struct manifest m = {0};
    CLEANUP(buffer_deinit) struct buffer blob = BUFFER_INIT(2 * MANIFEST_SIZE_MAX + BLOB_HEADER_SIZE);
    if (b->poisoned)
        return fail(err, ERR_FORMAT, "an append or close of this backup failed");
    if (b->writers)
        return fail(err, ERR_USAGE, "index %s is still open", b->writers->name);
    if (b->file_count == 0)
        return fail(err, ERR_USAGE, "the backup has no files");
    TRY(read_manifest(b, bench, &m, err));
    if (b->shared->strict)
        TRY(check_manifest(b, &m, err));
    TRY(rewrite_manifest(b, bench, &m, &blob, err));
    bool keep_locks = b->benchmark || b->session->faults->release_lock_at_end;
    return local_finish(b->writer, blob.data, blob.size, keep_locks, err);
}

void finish(struct backup_session *b, struct call *c)
{
    struct error err = {0};
    struct workbench *bench;
    enum status status = workshop_take(&b->shared->workshop, &bench, &err);
    if (status == OK)
        status = end(b, bench, &err);
    workshop_return(&b->shared->workshop, bench);
    if (status != OK) {
        call_reply_failure(c, &err);
        return;
    }
    b->finished = true;
    atomic_fetch_add(&b->shared->counts.sessions_finished, 1);
    call_reply_data(c, "null");
}
