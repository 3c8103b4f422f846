#include "server/backup_session.h"

#include "store/local_server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define MANIFEST_FILE "index.json.blob"

enum status backup_session_new(struct session *s, const struct session_options *options, struct backup_session **out,
                               struct error *err)
{
    *out = NULL;
    struct backup_session *b = calloc(1, sizeof *b);
    if (!b) {
        local_end(options->writer, true);
        return fail(err, ERR_MEMORY, "out of memory for a session");
    }
    b->session = s;
    b->shared = s->shared;
    b->id = options->id;
    b->benchmark = options->benchmark;
    b->writer = options->writer;
    b->manifest = BUFFER_INIT(WIRE_BLOB_ENCODED_MAX);
    *out = b;
    return known_init(&b->known, &s->shared->tables, err);
}

void backup_session_free(struct backup_session *b)
{
    if (!b)
        return;
    index_writers_free(b);
    local_end(b->writer, b->benchmark);
    known_deinit(&b->known);
    buffer_deinit(&b->manifest);
    budget_give(&b->shared->tables, b->manifest_charged);
    free(b->files);
    free(b);
}

/* ---- the base ---- */

static void previous_backup_time(struct backup_session *b, struct call *c)
{
    struct snapshot_id previous;
    if (store_previous(b->writer, &previous))
        call_reply_data(c, "%" PRId64, previous.time);
    else
        call_reply_data(c, "null");
}

static void previous(struct backup_session *b, struct call *c)
{
    struct error err = {0};
    const char *name = param_get(&c->params, "archive-name")->text.data;
    bool is_blob = name_has_extension(name, strlen(name), ".blob");
    if (b->finished && !is_blob) {
        call_reply_error(c, 400, "the backup is finished already");
        return;
    }
    int fd = -1;
    uint64_t size = 0;
    enum status status = local_open_previous(b->writer, name, &fd, &size, &err);
    if (status != OK) {
        if (status == ERR_NOT_FOUND)
            fail_text(&err, status, "file %s does not exist in the previous backup", name);
        call_reply_error(c, status == ERR_NOT_FOUND && is_blob ? 404 : 400, err.text);
        return;
    }
    /* Before the transfer: whether the client reads it or not. */
    if (!is_blob && register_index(&b->known, fd, size, name, &err) != OK) {
        close(fd);
        call_reply_failure(c, &err);
        return;
    }
    call_reply_file(c, fd, size);
}

/* ---- chunks ---- */

/* The same blob with the checksum that its bytes have. */
static enum status rewrite_crc(struct workbench *bench, enum blob_kind kind, const uint8_t **blob, size_t size,
                               struct error *err)
{
    size_t header = blob_is_encrypted(kind) ? BLOB_ENCRYPTED_HEADER_SIZE : BLOB_HEADER_SIZE;
    if (size < header)
        return fail(err, ERR_FORMAT, "a chunk of %zu bytes is shorter than its header", size);
    uint32_t crc = (uint32_t)crc32_z(0, *blob + header, size - header);
    if (load_u32le(*blob + BLOB_CRC_OFFSET) == crc)
        return OK;
    bench->rewritten.limit = WIRE_CHUNK_ENCODED_MAX;
    TRY(buffer_append(&bench->rewritten, *blob, size, err));
    store_u32le(bench->rewritten.data + BLOB_CRC_OFFSET, crc);
    *blob = bench->rewritten.data;
    return OK;
}

/* Encrypted ones have to be believed. Others are decoded, into no more bytes than were announced. */
static enum status check_chunk(struct workbench *bench, const uint8_t **blob, size_t blob_size,
                               const struct digest *digest, uint64_t size, struct error *err)
{
    enum blob_kind kind;
    TRY(blob_kind_of(*blob, blob_size, "chunk", &kind, err));
    if (blob_is_encrypted(kind))
        return rewrite_crc(bench, kind, blob, blob_size, err);
    /* The checksum is right almost always, and looked at while decoding. */
    struct buffer *raw = &bench->raw;
    raw->limit = WIRE_CHUNK_RAW_MAX;
    enum status status = blob_open(bench->blobs, *blob, blob_size, (size_t)size, "chunk", raw, err);
    if (status == ERR_MISMATCH) {
        TRY(rewrite_crc(bench, kind, blob, blob_size, err));
        status = blob_open(bench->blobs, *blob, blob_size, (size_t)size, "chunk", raw, err);
    }
    TRY(status);
    if (raw->size != size)
        return fail(err, ERR_MISMATCH, "the chunk has %zu bytes, not %" PRIu64, raw->size, size);
    struct digest real;
    digest_of(raw->data, raw->size, &real);
    if (!digest_equal(&real, digest))
        return fail(err, ERR_MISMATCH, "the chunk has another digest than announced");
    return OK;
}

static enum status store_chunk(struct backup_session *b, const struct digest *digest, const uint8_t *blob,
                               size_t blob_size, struct upload_stats *stats, struct error *err)
{
    bool is_new;
    uint64_t stored_size;
    TRY(local_keep_chunk(b->shared->store, digest, blob, blob_size, &is_new, &stored_size, err));
    if (fault_state_drops(&b->shared->faults, b->session->faults->drop_chunk))
        local_drop_chunk(b->shared->store, digest);
    stats->compressed_size = stored_size;
    stats->duplicates = !is_new;
    atomic_fetch_add(&b->shared->counts.chunks, 1);
    atomic_fetch_add(&b->shared->counts.chunks_known, !is_new);
    return OK;
}

static void add_chunk_stats(struct upload_stats *sum, const struct upload_stats *one)
{
    sum->count++;
    sum->size += one->size;
    sum->compressed_size += one->compressed_size;
    sum->duplicates += one->duplicates;
}

static enum status take_chunk(struct backup_session *b, struct call *c, const struct digest *digest,
                              struct upload_stats *stats, struct error *err)
{
    const uint8_t *blob;
    size_t size;
    struct workbench *bench;
    TRY(workshop_take(&b->shared->workshop, &bench, err));
    enum status status = body_take(&c->body, &bench->encoded, &blob, &size, err);
    if (status == OK)
        status = check_chunk(bench, &blob, size, digest, stats->size, err);
    if (status == OK)
        status = store_chunk(b, digest, blob, size, stats, err);
    workshop_return(&b->shared->workshop, bench);
    TRY(status);
    return known_add(&b->known, digest, (uint32_t)stats->size, err);
}

static void chunk(struct backup_session *b, struct call *c, bool is_fixed)
{
    struct error err = {0};
    struct digest digest;
    const struct param_text *text = &param_get(&c->params, "digest")->text;
    struct upload_stats stats = {.size = (uint64_t)param_get(&c->params, "size")->integer};
    bool parsed = digest_parse(text->data, text->size, &digest);
    ASSERT(parsed);
    if (b->finished) {
        call_reply_error(c, 400, "the backup is finished already");
        return;
    }
    struct index_writer *w = index_find(b, c, is_fixed);
    if (!w)
        return;
    if (is_fixed && stats.size < WIRE_FIXED_CHUNK_SIZE && w->has_short) {
        call_reply_error(c, 400, "only the last chunk of a fixed index may be short");
        return;
    }
    if (take_chunk(b, c, &digest, &stats, &err) != OK) {
        call_reply_failure(c, &err);
        return;
    }
    w->has_short |= is_fixed && stats.size < WIRE_FIXED_CHUNK_SIZE;
    add_chunk_stats(&w->stats, &stats);
    call_reply_data(c, "\"%s\"", text->data);
}

/* ---- blobs ---- */

static enum status keep_manifest(struct backup_session *b, const uint8_t *blob, size_t size, struct error *err)
{
    if (!budget_take(&b->shared->tables, size))
        return fail(err, ERR_LIMIT, "the server has no memory for a manifest now");
    b->manifest_charged += size;
    buffer_clear(&b->manifest);
    return buffer_append(&b->manifest, blob, size, err);
}

static enum status keep_blob(struct backup_session *b, const char *name, const uint8_t *blob, size_t size,
                             struct error *err)
{
    enum blob_kind kind;
    struct digest csum;
    if (name_is_taken(b, name))
        return fail(err, ERR_EXISTS, "%s was uploaded already in this session", name);
    /* What is refused leaves nothing behind. */
    if (b->file_count >= BACKUP_FILES_MAX)
        return fail(err, ERR_LIMIT, "more than %d files of a backup", BACKUP_FILES_MAX);
    TRY(blob_check(blob, size, name, &kind, err));
    digest_of(blob, size, &csum);
    if (strcmp(name, MANIFEST_FILE) == 0)
        TRY(keep_manifest(b, blob, size, err));
    else
        TRY(store_put_blob(b->writer, name, blob, size, err));
    TRY(add_file(b, name, size, &csum, err));
    b->stats.size += size;
    return OK;
}

static void blob(struct backup_session *b, struct call *c)
{
    struct error err = {0};
    struct workbench *bench;
    const uint8_t *bytes;
    size_t size;
    if (b->finished) {
        call_reply_error(c, 400, "the backup is finished already");
        return;
    }
    enum status status = workshop_take(&b->shared->workshop, &bench, &err);
    if (status == OK)
        status = body_take(&c->body, &bench->encoded, &bytes, &size, &err);
    if (status == OK)
        status = keep_blob(b, param_get(&c->params, "file-name")->text.data, bytes, size, &err);
    workshop_return(&b->shared->workshop, bench);
    if (status != OK)
        call_reply_failure(c, &err);
    else
        call_reply_data(c, "null");
}

/* ---- dispatch ---- */

static void list(struct call *c)
{
    call_reply_data(c, "[{\"subdir\":\"blob\"},{\"subdir\":\"dynamic_chunk\"},{\"subdir\":\"dynamic_close\"},"
                       "{\"subdir\":\"dynamic_index\"},{\"subdir\":\"finish\"},{\"subdir\":\"fixed_chunk\"},"
                       "{\"subdir\":\"fixed_close\"},{\"subdir\":\"fixed_index\"},{\"subdir\":\"previous\"},"
                       "{\"subdir\":\"previous_backup_time\"},{\"subdir\":\"speedtest\"}]");
}

static bool needs_unfinished(enum call_id id)
{
    switch (id) {
    case CALL_ID_DYNAMIC_INDEX:
    case CALL_ID_DYNAMIC_APPEND:
    case CALL_ID_DYNAMIC_CLOSE:
    case CALL_ID_FIXED_INDEX:
    case CALL_ID_FIXED_APPEND:
    case CALL_ID_FIXED_CLOSE:
    case CALL_ID_FINISH: return true;
    default: return false;
    }
}

void backup_session_call(struct backup_session *b, struct call *c)
{
    enum call_id id = c->rules->id;
    bool is_fixed = id == CALL_ID_FIXED_INDEX || id == CALL_ID_FIXED_APPEND || id == CALL_ID_FIXED_CHUNK ||
                    id == CALL_ID_FIXED_CLOSE;
    if (b->finished && needs_unfinished(id)) {
        call_reply_error(c, 400, "the backup is finished already");
        return;
    }
    switch (id) {
    case CALL_ID_LIST: list(c); break;
    case CALL_ID_PREVIOUS_BACKUP_TIME: previous_backup_time(b, c); break;
    case CALL_ID_PREVIOUS: previous(b, c); break;
    case CALL_ID_DYNAMIC_INDEX:
    case CALL_ID_FIXED_INDEX: index_create(b, c, is_fixed); break;
    case CALL_ID_DYNAMIC_APPEND:
    case CALL_ID_FIXED_APPEND: index_append(b, c, is_fixed); break;
    case CALL_ID_DYNAMIC_CHUNK:
    case CALL_ID_FIXED_CHUNK: chunk(b, c, is_fixed); break;
    case CALL_ID_DYNAMIC_CLOSE:
    case CALL_ID_FIXED_CLOSE: index_close(b, c, is_fixed); break;
    case CALL_ID_BLOB: blob(b, c); break;
    case CALL_ID_FINISH: finish(b, c); break;
    case CALL_ID_SPEEDTEST: call_reply_data(c, "null"); break;
    default: call_reply_error(c, 404, "path not found");
    }
}
