/* A backup on a server: one session, whose answers come back here.
 *
 *   put_chunk, put_blob, indexes --> remote_send --> session --> answered: count, advance the index, wake who waits */
#include "store/remote.h"

#include "wire/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct remote_writer *writer_of(struct store_writer *w)
{
    return (struct remote_writer *)w;
}

void remote_note_failure(struct remote_writer *w, const struct error *err)
{
    if (w->failure.status == OK)
        w->failure = *err;
    pthread_cond_broadcast(&w->changed);
}

enum status remote_failure(const struct remote_writer *w, struct error *err)
{
    if (w->failure.status != OK && err)
        *err = w->failure;
    return w->failure.status;
}

/* ---- requests and answers ---- */

static void describe(const struct remote_call *call, char *out, size_t size)
{
    static const char *const texts[] = {[REMOTE_CREATE] = "creating",
                                        [REMOTE_CHUNK] = "uploading a chunk of",
                                        [REMOTE_APPEND] = "appending to",
                                        [REMOTE_CLOSE] = "closing",
                                        [REMOTE_BLOB] = "uploading"};
    snprintf(out, size, "%s %s", texts[call->kind], call->stream ? call->stream->name : call->name);
}

static enum status take_wid(struct remote_stream *t, const char *what, const struct h2_response *response,
                            struct error *err)
{
    json_t *data;
    TRY(reply_data(what, response->body.data, response->body.size, &data, err));
    json_int_t wid = json_is_integer(data) ? json_integer_value(data) : 0;
    json_decref(data);
    if (wid < 1 || wid > WIRE_WID_MAX)
        return fail(err, ERR_FORMAT, "%s: the server's answer is no number of a writer, 1 to %d", what, WIRE_WID_MAX);
    t->wid = (uint32_t)wid;
    return OK;
}

static enum status take_answer(struct remote_call *call, const struct h2_response *response,
                               const struct error *opening, struct error *err)
{
    char what[NAME_FILE_MAX + 64];
    describe(call, what, sizeof what);
    TRY(net_session_judge(call->writer->link->session, what, response, opening, err));
    switch (call->kind) {
    case REMOTE_CREATE: return take_wid(call->stream, what, response, err);
    case REMOTE_CHUNK:
        pending_remove(&call->writer->sent, &call->digest);
        pending_remove(&call->stream->coming, &call->digest);
        break;
    case REMOTE_APPEND: remote_stream_appended(call->stream); break;
    case REMOTE_CLOSE: call->stream->closed = true; break;
    case REMOTE_BLOB: break;
    }
    return OK;
}

static void answered(void *user, struct h2_response *response, const struct error *opening)
{
    struct remote_call *call = user;
    struct remote_writer *w = call->writer;
    struct error err = {0};
    pthread_mutex_lock(&w->lock);
    w->bytes -= call->bytes;
    w->unanswered--;
    if (take_answer(call, response, opening, &err) != OK)
        remote_note_failure(w, &err);
    /* A chunk may be what several indexes wait for. */
    for (size_t i = 0; i < w->stream_count; i++)
        remote_stream_advance(w->streams[i], WIRE_APPEND_ENTRIES);
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    h2_response_free(response);
    free(call);
}

void remote_send(struct remote_writer *w, const struct remote_call *call, const char *method, const char *content_type,
                 struct buffer *path, struct buffer *body)
{
    struct error err = {0};
    struct net_request request = {
        .method = method, .path = *path, .content_type = content_type, .body = *body, .done = answered};
    *path = BUFFER_INIT(path->limit);
    *body = BUFFER_INIT(body->limit);
    struct remote_call *kept = malloc(sizeof *kept);
    enum status status = kept ? OK : fail(&err, ERR_MEMORY, "out of memory for a request");
    if (status == OK) {
        *kept = *call;
        kept->writer = w;
        kept->bytes = request.body.size;
        request.user = kept;
        w->bytes += kept->bytes;
        w->unanswered++;
        status = net_session_submit(w->link->session, &request, &err);
        if (status != OK) {
            w->bytes -= kept->bytes;
            w->unanswered--;
        }
    }
    if (status == OK)
        return;
    buffer_deinit(&request.path);
    buffer_deinit(&request.body);
    free(kept);
    char what[NAME_FILE_MAX + 64];
    describe(call, what, sizeof what);
    (void)fail_within(&err, "%s", what);
    remote_note_failure(w, &err);
}

/* ---- chunks and blobs ---- */

static enum status check_chunk(const struct store_chunk *chunk, struct error *err)
{
    size_t size = chunk->blob->size;
    if (size < WIRE_CHUNK_ENCODED_MIN || size > WIRE_CHUNK_ENCODED_MAX)
        return fail(err, ERR_LIMIT, "a chunk of %zu bytes: servers take %d to %d", size, WIRE_CHUNK_ENCODED_MIN,
                    WIRE_CHUNK_ENCODED_MAX);
    if (chunk->raw_size < 1 || chunk->raw_size > WIRE_CHUNK_RAW_MAX)
        return fail(err, ERR_LIMIT, "a chunk of %" PRIu64 " bytes before encoding: servers take 1 to %d",
                    chunk->raw_size, WIRE_CHUNK_RAW_MAX);
    return OK;
}

/* Under the lock. Until there is room for the body, and the index (NULL: none) has its number. */
static enum status wait_for_room(struct remote_writer *w, const struct remote_stream *t, size_t size, struct error *err)
{
    while (w->failure.status == OK && ((t && t->wid == 0) || w->unanswered >= REMOTE_UPLOAD_REQUESTS ||
                                       (w->bytes > 0 && w->bytes + size > REMOTE_UPLOAD_BYTES)))
        remote_wait(w->store, &w->changed, &w->lock);
    return remote_failure(w, err);
}

static enum status send_chunk(struct remote_writer *w, const struct store_chunk *chunk, struct error *err)
{
    TRY(check_chunk(chunk, err));
    if (chunk->stream >= w->stream_count)
        return fail(err, ERR_USAGE, "there is no index number %u", (unsigned)chunk->stream);
    struct remote_stream *t = w->streams[chunk->stream];
    TRY(wait_for_room(w, t, chunk->blob->size, err));
    struct buffer path = BUFFER_INIT(WIRE_PATH_MAX);
    enum status status =
        call_chunk(&path, t->kind, t->wid, chunk->digest->bytes, chunk->raw_size, chunk->blob->size, err);
    if (status == OK)
        status = pending_add(&w->sent, chunk->digest, err);
    if (status != OK) {
        buffer_deinit(&path);
        return status;
    }
    const struct remote_call call = {.stream = t, .kind = REMOTE_CHUNK, .digest = *chunk->digest};
    remote_send(w, &call, "POST", WIRE_TYPE_BINARY, &path, chunk->blob);
    return remote_failure(w, err);
}

static enum status replace_chunk(struct store_writer *writer, const struct store_chunk *chunk, struct error *err)
{
    struct remote_writer *w = writer_of(writer);
    pthread_mutex_lock(&w->lock);
    enum status status = send_chunk(w, chunk, err);
    pthread_mutex_unlock(&w->lock);
    return status;
}

static enum status put_chunk(struct store_writer *writer, const struct store_chunk *chunk, bool *out_new,
                             struct error *err)
{
    *out_new = true;
    return replace_chunk(writer, chunk, err);
}

/* Index and blob names together: a server would replace a blob. */
static bool is_taken(const struct remote_writer *w, const char *name)
{
    for (size_t i = 0; i < w->blob_count; i++)
        if (strcmp(w->blob_names[i], name) == 0)
            return true;
    return false;
}

static enum status send_blob(struct remote_writer *w, const char *name, struct buffer *body, struct error *err)
{
    void *names = w->blob_names;
    TRY(array_grow(&names, w->blob_count, &w->blob_capacity, sizeof *w->blob_names, REMOTE_NAMES_MAX, "blobs", err));
    w->blob_names = names;
    snprintf(w->blob_names[w->blob_count++], sizeof *w->blob_names, "%s", name);
    struct buffer path = BUFFER_INIT(WIRE_PATH_MAX);
    enum status status = call_blob(&path, name, body->size, err);
    if (status != OK) {
        buffer_deinit(&path);
        return status;
    }
    struct remote_call call = {.kind = REMOTE_BLOB};
    snprintf(call.name, sizeof call.name, "%s", name);
    pthread_mutex_lock(&w->lock);
    status = wait_for_room(w, NULL, body->size, err);
    if (status == OK) {
        remote_send(w, &call, "POST", WIRE_TYPE_BINARY, &path, body);
        status = remote_failure(w, err);
    }
    pthread_mutex_unlock(&w->lock);
    buffer_deinit(&path);
    return status;
}

static enum status put_blob(struct store_writer *writer, const char *name, const uint8_t *blob, size_t size,
                            struct error *err)
{
    struct remote_writer *w = writer_of(writer);
    TRY(remote_name_check(name, ".blob", err));
    if (strcmp(name, REMOTE_MANIFEST_NAME) == 0)
        return fail(err, ERR_USAGE, "'%s' is not the name of a blob", name);
    if (is_taken(w, name))
        return fail(err, ERR_EXISTS, "%s is there already", name);
    if (size < WIRE_BLOB_ENCODED_MIN || size > WIRE_BLOB_ENCODED_MAX)
        return fail(err, ERR_LIMIT, "%s has %zu bytes: servers take %d to %d", name, size, WIRE_BLOB_ENCODED_MIN,
                    WIRE_BLOB_ENCODED_MAX);
    CLEANUP(buffer_deinit) struct buffer body = BUFFER_INIT(WIRE_BLOB_ENCODED_MAX);
    TRY(buffer_append(&body, blob, size, err));
    return send_blob(w, name, &body, err);
}

/* ---- the end ---- */

static void cancel(struct store_writer *writer)
{
    struct remote_writer *w = writer_of(writer);
    struct error err = {0};
    (void)fail(&err, ERR_CANCELLED, "the backup was given up");
    pthread_mutex_lock(&w->lock);
    remote_note_failure(w, &err);
    pthread_mutex_unlock(&w->lock);
}

static void abandon(struct store_writer *writer)
{
    struct remote_writer *w = writer_of(writer);
    ASSERT(w->open_indexes == 0);
    remote_link_close(w->store, w->link); /* what is unanswered is answered now */
    ASSERT(w->unanswered == 0);
    for (size_t i = 0; i < w->stream_count; i++) {
        pending_deinit(&w->streams[i]->coming);
        free(w->streams[i]->entries);
        free(w->streams[i]);
    }
    pending_deinit(&w->sent);
    free(w->blob_names);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static enum status wait_for_answers(struct remote_writer *w, struct error *err)
{
    pthread_mutex_lock(&w->lock);
    while (w->failure.status == OK && w->unanswered > 0)
        remote_wait(w->store, &w->changed, &w->lock);
    enum status status = remote_failure(w, err);
    for (size_t i = 0; status == OK && i < w->stream_count; i++)
        if (!w->streams[i]->closed)
            status = fail(err, ERR_FORMAT, "%s was not completed, nor is the snapshot", w->streams[i]->name);
    pthread_mutex_unlock(&w->lock);
    return status;
}

static enum status call(struct remote_writer *w, struct net_request *request, const char *what, struct error *err)
{
    struct h2_response *response;
    TRY(net_session_call(w->link->session, request, what, &response, err));
    h2_response_free(response);
    return OK;
}

static enum status send_manifest(struct remote_writer *w, const uint8_t *manifest_blob, size_t size, struct error *err)
{
    struct net_request request = {.method = "POST",
                                  .path = BUFFER_INIT(WIRE_PATH_MAX),
                                  .content_type = WIRE_TYPE_BINARY,
                                  .body = BUFFER_INIT(WIRE_BLOB_ENCODED_MAX)};
    enum status status = call_blob(&request.path, REMOTE_MANIFEST_NAME, size, err);
    if (status == OK)
        status = buffer_append(&request.body, manifest_blob, size, err);
    if (status == OK)
        status = call(w, &request, "uploading the manifest", err);
    buffer_deinit(&request.path);
    buffer_deinit(&request.body);
    return status;
}

static enum status call_finish(struct remote_writer *w, struct net_request *request, struct error *err)
{
    struct error own = {0};
    char text[SNAPSHOT_TEXT_SIZE];
    enum status status = call(w, request, "finishing the backup", &own);
    if (status == ERR_NETWORK) /* the answer may have been lost */
        return fail(err, status, "%s: list the snapshots first, %s may be finished", own.text,
                    snapshot_id_text(&w->id, text));
    if (status != OK && err)
        *err = own;
    return status;
}

static enum status finish(struct store_writer *writer, const uint8_t *manifest_blob, size_t size, struct error *err)
{
    struct remote_writer *w = writer_of(writer);
    struct net_request request = {.method = "POST", .path = BUFFER_INIT(WIRE_PATH_MAX)};
    enum status status = wait_for_answers(w, err);
    if (status == OK)
        status = send_manifest(w, manifest_blob, size, err);
    if (status == OK)
        status = buffer_append(&request.path, CALL_FINISH, sizeof CALL_FINISH, err);
    if (status == OK)
        status = call_finish(w, &request, err);
    buffer_deinit(&request.path);
    abandon(writer); /* a finished snapshot stays */
    return status;
}

/* ---- begin ---- */

static bool previous(const struct store_writer *writer, struct snapshot_id *out)
{
    const struct remote_writer *w = (const struct remote_writer *)writer;
    if (w->previous.time > 0)
        *out = w->previous;
    return w->previous.time > 0;
}

static enum status take_previous(struct remote_writer *w, const char *what, const struct h2_response *response,
                                 struct error *err)
{
    json_t *data;
    TRY(reply_data(what, response->body.data, response->body.size, &data, err));
    bool is_known = json_is_null(data) || json_is_integer(data);
    int64_t time = json_is_integer(data) ? json_integer_value(data) : 0;
    bool is_none = json_is_null(data);
    json_decref(data);
    if (!is_known || (!is_none && (time < 1 || time >= w->id.time)))
        return fail(err, ERR_FORMAT, "%s: the server's answer is no time before this backup's", what);
    w->previous = w->id;
    w->previous.time = time;
    return OK;
}

/* The first request: whether the session stands shows with its answer. */
static enum status ask_previous(struct remote_writer *w, struct error *err)
{
    static const char what[] = "asking for the last backup";
    struct h2_response *response;
    struct net_request request = {.method = "GET", .path = BUFFER_INIT(WIRE_PATH_MAX)};
    TRY(buffer_append(&request.path, CALL_PREVIOUS_BACKUP_TIME, sizeof CALL_PREVIOUS_BACKUP_TIME, err));
    TRY(net_session_call(w->link->session, &request, what, &response, err));
    enum status status = take_previous(w, what, response, err);
    h2_response_free(response);
    return status;
}

enum status remote_begin(struct store *s, const struct snapshot_id *id, struct store_writer **out, struct error *err)
{
    static const struct writer_ops ops = {.previous = previous,
                                          .previous_open = remote_previous_open,
                                          .put_chunk = put_chunk,
                                          .replace_chunk = replace_chunk,
                                          .index_expect = remote_index_expect,
                                          .index_begin = remote_index_begin,
                                          .fixed_index_begin = remote_fixed_begin,
                                          .put_blob = put_blob,
                                          .finish = finish,
                                          .cancel = cancel,
                                          .abort = abandon};
    struct remote_writer *w = calloc(1, sizeof *w);
    if (!w)
        return fail(err, ERR_MEMORY, "out of memory for a backup");
    w->head.ops = &ops;
    w->store = remote_store_of(s);
    w->id = *id;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    enum status status = remote_link_open(w->store, SESSION_BACKUP, id, &w->link, err);
    if (status == OK)
        status = ask_previous(w, err);
    if (status != OK) {
        abandon((struct store_writer *)w);
        return status;
    }
    *out = (struct store_writer *)w;
    return OK;
}
