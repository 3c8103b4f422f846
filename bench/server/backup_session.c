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
    b->raw = BUFFER_INIT(WIRE_CHUNK_RAW_MAX);
    b->rewritten = BUFFER_INIT(WIRE_CHUNK_ENCODED_MAX);
    b->manifest = BUFFER_INIT(WIRE_BLOB_ENCODED_MAX);
    *out = b;
    TRY(known_init(&b->known, err));
    return blob_context_new(&b->blobs, err);
}

void backup_session_free(struct backup_session *b)
{
    if (!b)
        return;
    index_writers_free(b);
    local_end(b->writer, b->benchmark);
    known_deinit(&b->known);
    blob_context_free(b->blobs);
    buffer_deinit(&b->raw);
    buffer_deinit(&b->rewritten);
    buffer_deinit(&b->manifest);
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
static enum status rewrite_crc(struct backup_session *b, enum blob_kind kind, const uint8_t **blob, size_t size,
                               struct error *err)
{
    size_t header = blob_is_encrypted(kind) ? BLOB_ENCRYPTED_HEADER_SIZE : BLOB_HEADER_SIZE;
    if (size < header)
        return fail(err, ERR_FORMAT, "a chunk of %zu bytes is shorter than its header", size);
    uint32_t crc = (uint32_t)crc32_z(0, *blob + header, size - header);
    if (load_u32le(*blob + BLOB_CRC_OFFSET) == crc)
        return OK;
    buffer_clear(&b->rewritten);
    TRY(buffer_append(&b->rewritten, *blob, size, err));
    store_u32le(b->rewritten.data + BLOB_CRC_OFFSET, crc);
    *blob = b->rewritten.data;
    return OK;
}

/* Encrypted ones have to be believed. Others are decoded, into no more bytes than were announced. */
static enum status check_chunk(struct backup_session *b, const uint8_t **blob, size_t blob_size,
                               const struct digest *digest, uint64_t size, struct error *err)
{
    enum blob_kind kind;
    TRY(blob_kind_of(*blob, blob_size, "chunk", &kind, err));
    if (blob_is_encrypted(kind))
        return rewrite_crc(b, kind, blob, blob_size, err);
    /* The checksum is right almost always, and looked at while decoding. */
    b->raw.limit = WIRE_CHUNK_RAW_MAX;
    enum status status = blob_open(b->blobs, *blob, blob_size, (size_t)size, "chunk", &b->raw, err);
    if (status == ERR_MISMATCH) {
        TRY(rewrite_crc(b, kind, blob, blob_size, err));
        status = blob_open(b->blobs, *blob, blob_size, (size_t)size, "chunk", &b->raw, err);
    }
    TRY(status);
    if (b->raw.size != size)
        return fail(err, ERR_MISMATCH, "the chunk has %zu bytes, not %" PRIu64, b->raw.size, size);
    struct digest real;
    digest_of(b->raw.data, b->raw.size, &real);
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

static void chunk(struct backup_session *b, struct call *c, bool is_fixed)
{
    struct error err = {0};
    struct digest digest;
    const struct param_text *text = &param_get(&c->params, "digest")->text;
    struct upload_stats stats = {.size = (uint64_t)param_get(&c->params, "size")->integer};
    bool parsed = digest_parse(text->data, text->size, &digest);
    ASSERT(parsed);
    const uint8_t *blob;
    size_t blob_size;
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
    if (body_take(&c->body, &blob, &blob_size, &err) != OK ||
        check_chunk(b, &blob, blob_size, &digest, stats.size, &err) != OK ||
        store_chunk(b, &digest, blob, blob_size, &stats, &err) != OK ||
        known_add(&b->known, &digest, (uint32_t)stats.size, &err) != OK) {
        call_reply_failure(c, &err);
        return;
    }
    w->has_short |= is_fixed && stats.size < WIRE_FIXED_CHUNK_SIZE;
    add_chunk_stats(&w->stats, &stats);
    call_reply_data(c, "\"%s\"", text->data);
}

/* ---- blobs ---- */

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
        TRY(buffer_append(&b->manifest, blob, size, err));
    else
        TRY(store_put_blob(b->writer, name, blob, size, err));
    TRY(add_file(b, name, size, &csum, err));
    b->stats.size += size;
    return OK;
}

static void blob(struct backup_session *b, struct call *c)
{
    struct error err = {0};
    const uint8_t *bytes;
    size_t size;
    if (b->finished) {
        call_reply_error(c, 400, "the backup is finished already");
        return;
    }
    if (body_take(&c->body, &bytes, &size, &err) != OK ||
        keep_blob(b, param_get(&c->params, "file-name")->text.data, bytes, size, &err) != OK)
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
