/* Stored files handed out: as they are, and decoded. */
#include "server/rest_context.h"

#include "blob/blob.h"
#include "flow/chunk_fetch.h"
#include "flow/snapshot.h"
#include "server/body.h"
#include "store/local_server_lists.h"
#include "wire/names.h"
#include "wire/protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct rest_need need_download = {PRIVILEGE_READ, PRIVILEGE_BACKUP};

/* ---- as stored ---- */

struct open_file {
    int fd;
    uint64_t left;
};

static enum status file_read(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct open_file *f = context;
    *out_size = 0;
    if (f->left == 0)
        return OK;
    ssize_t got;
    do
        got = read(f->fd, data, f->left < size ? (size_t)f->left : size);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return fail(err, ERR_IO, "read a file of a snapshot");
    if (got == 0)
        return fail(err, ERR_FORMAT, "a file of a snapshot became shorter while it was read");
    f->left -= (uint64_t)got;
    *out_size = (size_t)got;
    return OK;
}

static void file_close(void *context)
{
    struct open_file *f = context;
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

enum status rest_download(struct rest_context *c, struct error *err)
{
    struct snapshot_id id;
    TRY(rest_param_snapshot(c, &id, err));
    TRY(rest_may(c, need_download, &id, err));
    struct open_file *f = calloc(1, sizeof *f);
    if (!f)
        return fail(err, ERR_MEMORY, "out of memory for a file");
    f->fd = -1;
    const char *name = rest_param_text(c, "file-name");
    rest_answer_source(c, (struct source){.read = file_read, .context = f, .name = "file"}, file_close);
    TRY(local_open_file(c->store, &id, name, &f->fd, &f->left, err));
    rest_answer_size(c, f->left);
    return OK;
}

/* ---- decoded ---- */

/* An index, chunk after chunk. */
struct decoded {
    struct store_reader *snapshot;
    struct manifest manifest;
    struct dynamic_index index;
    struct chunk_fetcher fetcher;
    char name[NAME_FILE_MAX + 1];
    struct buffer chunk;
    size_t position; /* in `chunk` */
    size_t next;     /* chunk */
};

static enum status decoded_read(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct decoded *d = context;
    *out_size = 0;
    while (d->position == d->chunk.size) {
        if (d->next == d->index.count)
            return OK;
        TRY(chunk_fetch(&d->fetcher, d->next, &d->chunk, err));
        d->next++;
        d->position = 0;
    }
    size_t left = d->chunk.size - d->position;
    size_t part = left < size ? left : size;
    memcpy(data, d->chunk.data + d->position, part);
    d->position += part;
    *out_size = part;
    return OK;
}

static void decoded_close(void *context)
{
    struct decoded *d = context;
    chunk_fetcher_deinit(&d->fetcher);
    buffer_deinit(&d->chunk);
    dynamic_index_deinit(&d->index);
    manifest_deinit(&d->manifest);
    store_reader_close(d->snapshot);
    free(d);
}

/* An image's index as one of a stream: chunks of one size, one behind the other. */
static enum status flatten(const struct fixed_index *fixed, struct dynamic_index *out, struct error *err)
{
    void *entries = NULL;
    TRY(array_new(fixed->count, sizeof *out->entries, INDEX_ENTRIES_MAX, "chunks of an image", &entries, err));
    *out = (struct dynamic_index){.entries = entries, .count = fixed->count, .encrypted = fixed->encrypted};
    for (size_t k = 0; k < fixed->count; k++) {
        out->entries[k].digest = fixed->digests[k];
        out->entries[k].end = dynamic_index_start(out, k) + fixed_index_chunk_size(fixed, k);
    }
    return OK;
}

static enum status load_index(struct decoded *d, struct error *err)
{
    if (!name_has_extension(d->name, strlen(d->name), ".fidx"))
        return snapshot_index(d->snapshot, &d->manifest, d->name, &d->index, err);
    CLEANUP(fixed_index_deinit) struct fixed_index fixed = {0};
    TRY(snapshot_fixed_index(d->snapshot, &d->manifest, d->name, &fixed, err));
    return flatten(&fixed, &d->index, err);
}

static void close_reader(struct store_reader **reader)
{
    store_reader_close(*reader);
}

/* What was in a blob, whole: before its last byte nobody knows whether it is right. */
struct decoded_blob {
    struct body_file file;
    struct body body;
    size_t position;
};

static enum status decoded_blob_read(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct decoded_blob *d = context;
    size_t left = d->body.size - d->position;
    *out_size = left < size ? left : size;
    TRY(body_read(&d->body, d->position, data, *out_size, err));
    d->position += *out_size;
    return OK;
}

static void decoded_blob_close(void *context)
{
    struct decoded_blob *d = context;
    body_deinit(&d->body);
    body_file_deinit(&d->file);
    free(d);
}

/* Of a blob the manifest may not know: the manifest itself, the client's log. */
static enum status decode_at(struct workbench *bench, struct rest_context *c, const struct snapshot_id *id,
                             const char *name, struct body *out, struct error *err)
{
    CLEANUP(close_reader) struct store_reader *snapshot = NULL;
    bench->encoded.limit = WIRE_BLOB_ENCODED_MAX;
    bench->raw.limit = BLOB_RAW_SIZE_MAX;
    TRY(store_reader_open(c->store, id, &snapshot, err));
    TRY(store_read_file(snapshot, name, WIRE_BLOB_ENCODED_MAX, &bench->encoded, err));
    TRY(blob_open(bench->blobs, bench->encoded.data, bench->encoded.size, BLOB_RAW_SIZE_MAX, name, &bench->raw, err));
    return body_add(out, bench->raw.data, bench->raw.size, err);
}

static enum status decode_blob(struct rest_context *c, const struct snapshot_id *id, const char *name,
                               struct error *err)
{
    struct workbench *bench;
    struct decoded_blob *d = calloc(1, sizeof *d);
    if (!d)
        return fail(err, ERR_MEMORY, "out of memory for a blob");
    body_file_init(&d->file, c->directory, BLOB_RAW_SIZE_MAX);
    body_init(&d->body, c->bodies, &d->file, BLOB_RAW_SIZE_MAX);
    rest_answer_source(c, (struct source){.read = decoded_blob_read, .context = d, .name = "blob"}, decoded_blob_close);
    TRY(workshop_take(c->workshop, &bench, err));
    enum status status = decode_at(bench, c, id, name, &d->body, err);
    workshop_return(c->workshop, bench);
    TRY(status);
    rest_answer_size(c, d->body.size);
    return OK;
}

enum status rest_download_decoded(struct rest_context *c, struct error *err)
{
    struct snapshot_id id;
    TRY(rest_param_snapshot(c, &id, err));
    TRY(rest_may(c, need_download, &id, err));
    const char *name = rest_param_text(c, "file-name");
    if (name_has_extension(name, strlen(name), ".blob"))
        return decode_blob(c, &id, name, err);
    struct decoded *d = calloc(1, sizeof *d);
    if (!d)
        return fail(err, ERR_MEMORY, "out of memory for a file");
    d->chunk = BUFFER_INIT(CHUNK_RAW_SIZE_MAX);
    memcpy(d->name, name, strlen(name) + 1); /* checked: it fits */
    rest_answer_source(c, (struct source){.read = decoded_read, .context = d, .name = "archive"}, decoded_close);
    TRY(store_reader_open(c->store, &id, &d->snapshot, err));
    TRY(snapshot_manifest(d->snapshot, &d->manifest, err));
    TRY(load_index(d, err));
    TRY(chunk_fetcher_init(&d->fetcher, d->snapshot, &d->index, d->name, err));
    rest_answer_size(c, dynamic_index_size(&d->index));
    return OK;
}
