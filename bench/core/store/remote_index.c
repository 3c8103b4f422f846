/* Indexes on a server: an entry may be appended once its chunk is acknowledged, in stream order, one append at a time.
 * Checksums are computed here, as the server computes them, and it compares. */
#include "store/remote.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a stream ---- */

static const struct remote_entry *entry_at(const struct remote_stream *t, size_t i)
{
    return &t->entries[(t->head + i) & (t->capacity - 1)];
}

static enum status push_entry(struct remote_stream *t, uint64_t offset, const struct digest *digest, struct error *err)
{
    if (t->waiting == t->capacity) {
        enum { CAPACITY_FIRST = 1024 };
        size_t capacity = t->capacity ? t->capacity * 2 : CAPACITY_FIRST; /* a power of two */
        void *entries;
        TRY(array_new(capacity, sizeof *t->entries, INDEX_ENTRIES_MAX, "index entries", &entries, err));
        for (size_t i = 0; i < t->waiting; i++)
            ((struct remote_entry *)entries)[i] = *entry_at(t, i);
        free(t->entries);
        t->entries = entries;
        t->capacity = capacity;
        t->head = 0;
    }
    t->entries[(t->head + t->waiting++) & (t->capacity - 1)] = (struct remote_entry){offset, *digest};
    return OK;
}

static enum status write_append(struct remote_stream *t, size_t count, struct buffer *path, struct buffer *body,
                                struct error *err)
{
    CLEANUP(call_append_deinit) struct call_append append = CALL_APPEND_INIT;
    const char *text = call_append_path(t->kind);
    TRY(buffer_append(path, text, strlen(text) + 1, err));
    for (size_t i = 0; i < count; i++)
        TRY(call_append_add(&append, entry_at(t, i)->digest.bytes, entry_at(t, i)->offset, err));
    return call_append_finish(&append, t->wid, body, err);
}

/* Path and body were written, or not: then the writer fails. */
static void send_call(struct remote_stream *t, enum remote_call_kind kind, const char *method, const char *content_type,
                      enum status status, struct buffer *path, struct buffer *body, const struct error *err)
{
    const struct remote_call call = {.stream = t, .kind = kind};
    if (status == OK)
        remote_send(t->writer, &call, method, content_type, path, body);
    else
        remote_note_failure(t->writer, err);
    buffer_deinit(path);
    buffer_deinit(body);
}

static void send_append(struct remote_stream *t, size_t count)
{
    struct buffer path = BUFFER_INIT(WIRE_PATH_MAX), body = BUFFER_INIT(CALL_APPEND_BODY_MAX);
    struct error err = {0};
    enum status status = write_append(t, count, &path, &body, &err);
    t->head = (t->head + count) & (t->capacity - 1);
    t->waiting -= count;
    t->ready -= count;
    t->sending = true;
    send_call(t, REMOTE_APPEND, "PUT", WIRE_TYPE_JSON, status, &path, &body, &err);
}

static void send_close(struct remote_stream *t)
{
    struct buffer path = BUFFER_INIT(WIRE_PATH_MAX), body = BUFFER_INIT(0);
    struct error err = {0};
    enum status status = call_close(&path, t->kind, t->wid, t->count, t->size, t->csum.bytes, &err);
    t->closing = true;
    send_call(t, REMOTE_CLOSE, "POST", NULL, status, &path, &body, &err);
}

static bool is_acknowledged(const struct remote_stream *t, const struct digest *digest)
{
    return !pending_has(&t->coming, digest) && !pending_has(&t->writer->sent, digest);
}

void remote_stream_advance(struct remote_stream *t, size_t least)
{
    const struct remote_writer *w = t->writer;
    if (w->failure.status != OK || t->wid == 0 || t->sending || t->closing || t->given_up)
        return;
    while (t->ready < t->waiting && t->ready < WIRE_APPEND_ENTRIES_MAX &&
           is_acknowledged(t, &entry_at(t, t->ready)->digest))
        t->ready++;
    bool is_rest = t->ended && t->ready == t->waiting;
    if (t->ready >= least || (is_rest && t->ready > 0))
        send_append(t, t->ready);
    else if (is_rest)
        send_close(t);
}

void remote_stream_appended(struct remote_stream *t)
{
    t->sending = false;
}

/* ---- what both kinds do ---- */

static enum status stream_new(struct remote_writer *w, const char *name, enum call_index kind,
                              struct remote_stream **out, struct error *err)
{
    struct remote_stream *t = calloc(1, sizeof *t);
    if (!t)
        return fail(err, ERR_MEMORY, "out of memory for index %s", name);
    t->writer = w;
    t->kind = kind;
    t->expected = true;
    snprintf(t->name, sizeof t->name, "%s", name);
    *out = t;
    return OK;
}

/* Under the lock. The index of this name; one that is new is created on the server meanwhile. */
static enum status find_or_create(struct remote_writer *w, const char *name, enum call_index kind, uint64_t size,
                                  uint32_t *out_number, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer path = BUFFER_INIT(WIRE_PATH_MAX);
    struct buffer body = BUFFER_INIT(0);
    TRY(remote_failure(w, err));
    for (*out_number = 0; *out_number < w->stream_count; ++*out_number)
        if (strcmp(w->streams[*out_number]->name, name) == 0)
            return OK;
    if (w->stream_count >= REMOTE_STREAMS_MAX)
        return fail(err, ERR_LIMIT, "%s: a backup has at most %d indexes", name, REMOTE_STREAMS_MAX);
    TRY(call_create(&path, kind, name, size, err));
    TRY(stream_new(w, name, kind, &w->streams[w->stream_count], err));
    const struct remote_call call = {.stream = w->streams[w->stream_count++], .kind = REMOTE_CREATE};
    remote_send(w, &call, "POST", NULL, &path, &body); /* a failure comes out of what follows */
    return OK;
}

static enum status begin_stream(struct remote_writer *w, const char *name, enum call_index kind, uint64_t size,
                                struct remote_stream **out, uint32_t *out_number, struct error *err)
{
    TRY(remote_name_check(name, kind == CALL_DYNAMIC ? ".didx" : ".fidx", err));
    pthread_mutex_lock(&w->lock);
    enum status status = find_or_create(w, name, kind, size, out_number, err);
    if (status == OK && !w->streams[*out_number]->expected)
        status = fail(err, ERR_EXISTS, "%s is there already, or being written", name);
    if (status == OK) {
        *out = w->streams[*out_number];
        (*out)->expected = false;
        w->open_indexes++;
    }
    pthread_mutex_unlock(&w->lock);
    return status;
}

void remote_index_expect(struct store_writer *writer, const char *name)
{
    struct remote_writer *w = (struct remote_writer *)writer;
    uint32_t number;
    if (remote_name_check(name, ".didx", NULL) != OK)
        return; /* whoever begins it is told */
    pthread_mutex_lock(&w->lock);
    if (find_or_create(w, name, CALL_DYNAMIC, 0, &number, NULL) != OK)
        number = 0; /* likewise */
    pthread_mutex_unlock(&w->lock);
}

static enum status append_entry(struct remote_stream *t, uint64_t offset, const struct digest *digest, bool is_coming,
                                struct error *err)
{
    struct remote_writer *w = t->writer;
    pthread_mutex_lock(&w->lock);
    enum status status = remote_failure(w, err);
    if (status == OK && is_coming)
        status = pending_add(&t->coming, digest, err);
    if (status == OK)
        status = push_entry(t, offset, digest, err);
    if (status == OK) {
        t->count++;
        /* Entries come in bursts. Small appends before the end would only be waited for. */
        remote_stream_advance(t, WIRE_APPEND_ENTRIES_MAX);
    }
    pthread_mutex_unlock(&w->lock);
    return status;
}

static void end_stream(struct remote_stream *t, uint64_t size, const struct digest *csum)
{
    struct remote_writer *w = t->writer;
    pthread_mutex_lock(&w->lock);
    if (!t->ended) {
        t->ended = true;
        t->size = size;
        t->csum = *csum;
        remote_stream_advance(t, WIRE_APPEND_ENTRIES);
    }
    pthread_mutex_unlock(&w->lock);
}

static enum status wait_closed(struct remote_stream *t, struct error *err)
{
    struct remote_writer *w = t->writer;
    pthread_mutex_lock(&w->lock);
    while (w->failure.status == OK && !t->closed)
        remote_wait(w->store, &w->changed, &w->lock);
    enum status status = t->closed ? OK : remote_failure(w, err);
    pthread_mutex_unlock(&w->lock);
    return status;
}

/* Why nothing more can be done with an index whose last entry failed. */
static enum status earlier_failure(struct remote_stream *t, struct error *err)
{
    pthread_mutex_lock(&t->writer->lock);
    enum status status = remote_failure(t->writer, err);
    pthread_mutex_unlock(&t->writer->lock);
    if (status != OK)
        return status;
    return fail(err, ERR_FORMAT, "%s: an earlier entry failed, the index is not complete", t->name);
}

/* The index is no longer the caller's. Unless it is closed, or will be, the backup cannot be finished. */
static void leave_stream(struct remote_stream *t)
{
    struct remote_writer *w = t->writer;
    pthread_mutex_lock(&w->lock);
    w->open_indexes--;
    t->given_up = !t->closed;
    pthread_mutex_unlock(&w->lock);
}

/* ---- dynamic ---- */

struct remote_index {
    struct index_head head;
    struct remote_stream *stream;
    struct digest_state *digest; /* owned */
    bool failed, ended;
    uint64_t end, count;
    struct digest csum;
};

static struct remote_index *index_of(struct store_index *index)
{
    return (struct remote_index *)index;
}

static void index_abort(struct store_index *index)
{
    struct remote_index *x = index_of(index);
    if (x->stream)
        leave_stream(x->stream);
    digest_free(x->digest);
    free(x);
}

static enum status index_append(struct store_index *index, uint64_t end, const struct digest *digest, bool is_coming,
                                struct error *err)
{
    struct remote_index *x = index_of(index);
    const char *name = x->stream->name;
    uint64_t start = x->end;
    ASSERT(!x->ended);
    if (x->failed)
        return earlier_failure(x->stream, err);
    x->failed = true; /* unless all goes well */
    if (end <= start)
        return fail(err, ERR_FORMAT, "%s: entry %" PRIu64 " would end at %" PRIu64 ", which is not behind %" PRIu64,
                    name, x->count, end, start);
    if (x->count >= INDEX_ENTRIES_MAX)
        return fail(err, ERR_LIMIT, "%s: more than %d entries", name, INDEX_ENTRIES_MAX);
    uint8_t bytes[DYNAMIC_ENTRY_SIZE];
    dynamic_index_entry_bytes(&(struct index_entry){.end = end, .digest = *digest}, bytes);
    digest_update(x->digest, bytes, sizeof bytes);
    TRY(append_entry(x->stream, start, digest, is_coming, err));
    x->end = end;
    x->count++;
    x->failed = false;
    return OK;
}

static void index_end(struct store_index *index)
{
    struct remote_index *x = index_of(index);
    if (x->failed || x->ended || x->count == 0)
        return;
    x->ended = true;
    digest_finish(x->digest, &x->csum);
    end_stream(x->stream, x->end, &x->csum);
}

static enum status finish_index(struct remote_index *x, struct error *err)
{
    const char *name = x->stream->name;
    if (x->failed)
        return earlier_failure(x->stream, err);
    if (x->count == 0)
        return fail(err, ERR_FORMAT, "%s: the index has no entries, empty streams cannot be stored", name);
    index_end((struct store_index *)x);
    return wait_closed(x->stream, err);
}

static enum status index_finish(struct store_index *index, struct digest *out_csum, uint64_t *out_size,
                                uint64_t *out_count, struct error *err)
{
    struct remote_index *x = index_of(index);
    enum status status = finish_index(x, err);
    if (status == OK) {
        *out_csum = x->csum;
        *out_size = x->end;
        *out_count = x->count;
    }
    index_abort(index); /* closed ones stay */
    return status;
}

enum status remote_index_begin(struct store_writer *w, const char *name, struct store_index **out, struct error *err)
{
    static const struct index_ops ops = {
        .append = index_append, .end = index_end, .finish = index_finish, .abort = index_abort};
    struct remote_index *x = calloc(1, sizeof *x);
    if (!x)
        return fail(err, ERR_MEMORY, "out of memory for index %s", name);
    x->head.ops = &ops;
    enum status status = digest_new(&x->digest, err);
    if (status == OK) {
        digest_begin(x->digest);
        status = begin_stream((struct remote_writer *)w, name, CALL_DYNAMIC, 0, &x->stream, &x->head.stream, err);
    }
    if (status != OK) {
        index_abort((struct store_index *)x);
        return status;
    }
    *out = (struct store_index *)x;
    return OK;
}

/* ---- fixed ---- */

struct remote_fixed {
    struct fixed_index_head head;
    struct remote_stream *stream;
    bool failed, ended;
    uint64_t size, chunk_count, written_count;
    struct digest *digests; /* owned */
    uint8_t *written;       /* owned; one byte per slot: a digest of zeros would not tell */
    struct digest csum;
};

static struct remote_fixed *fixed_of(struct store_fixed_index *index)
{
    return (struct remote_fixed *)index;
}

static void fixed_abort(struct store_fixed_index *index)
{
    struct remote_fixed *x = fixed_of(index);
    if (x->stream)
        leave_stream(x->stream);
    free(x->digests);
    free(x->written);
    free(x);
}

static enum status fixed_put(struct store_fixed_index *index, uint64_t k, const struct digest *digest, bool is_coming,
                             struct error *err)
{
    struct remote_fixed *x = fixed_of(index);
    const char *name = x->stream->name;
    ASSERT(!x->ended);
    if (x->failed)
        return earlier_failure(x->stream, err);
    x->failed = true; /* unless all goes well */
    if (k >= x->chunk_count)
        return fail(err, ERR_USAGE, "%s: there is no chunk %" PRIu64 " in an image of %" PRIu64 " chunks", name, k,
                    x->chunk_count);
    if (x->written[k])
        return fail(err, ERR_EXISTS, "%s: chunk %" PRIu64 " is there already", name, k);
    TRY(append_entry(x->stream, k * FIXED_CHUNK_SIZE_DEFAULT, digest, is_coming, err));
    x->digests[k] = *digest;
    x->written[k] = 1;
    x->written_count++;
    x->failed = false;
    return OK;
}

static void fixed_end(struct store_fixed_index *index)
{
    struct remote_fixed *x = fixed_of(index);
    if (x->failed || x->ended || x->written_count != x->chunk_count)
        return;
    x->ended = true;
    digest_of(x->digests, (size_t)x->chunk_count * sizeof *x->digests, &x->csum);
    end_stream(x->stream, x->size, &x->csum);
}

static enum status finish_fixed(struct remote_fixed *x, struct error *err)
{
    const char *name = x->stream->name;
    if (x->failed)
        return earlier_failure(x->stream, err);
    if (x->written_count != x->chunk_count)
        return fail(err, ERR_FORMAT, "%s: %" PRIu64 " of %" PRIu64 " chunks were never written", name,
                    x->chunk_count - x->written_count, x->chunk_count);
    fixed_end((struct store_fixed_index *)x);
    return wait_closed(x->stream, err);
}

static enum status fixed_finish(struct store_fixed_index *index, struct digest *out_csum, struct error *err)
{
    struct remote_fixed *x = fixed_of(index);
    enum status status = finish_fixed(x, err);
    if (status == OK)
        *out_csum = x->csum;
    fixed_abort(index); /* closed ones stay */
    return status;
}

static enum status start_fixed(struct remote_fixed *x, struct remote_writer *w, const char *name, uint64_t chunk_size,
                               struct error *err)
{
    void *array;
    TRY(fixed_index_count(x->size, chunk_size, name, &x->chunk_count, err));
    if (chunk_size != FIXED_CHUNK_SIZE_DEFAULT)
        return fail(err, ERR_UNSUPPORTED, "%s: chunks of %" PRIu64 " bytes, servers know only images in chunks of %d",
                    name, chunk_size, FIXED_CHUNK_SIZE_DEFAULT);
    TRY(array_new((size_t)x->chunk_count, sizeof *x->digests, INDEX_ENTRIES_MAX, "index entries", &array, err));
    x->digests = array;
    TRY(array_new((size_t)x->chunk_count, 1, INDEX_ENTRIES_MAX, "index entries", &array, err));
    x->written = array;
    return begin_stream(w, name, CALL_FIXED, x->size, &x->stream, &x->head.stream, err);
}

enum status remote_fixed_begin(struct store_writer *w, const char *name, uint64_t size, uint64_t chunk_size,
                               struct store_fixed_index **out, struct error *err)
{
    static const struct fixed_index_ops ops = {
        .put = fixed_put, .end = fixed_end, .finish = fixed_finish, .abort = fixed_abort};
    struct remote_fixed *x = calloc(1, sizeof *x);
    if (!x)
        return fail(err, ERR_MEMORY, "out of memory for index %s", name);
    x->head.ops = &ops;
    x->size = size;
    enum status status = start_fixed(x, (struct remote_writer *)w, name, chunk_size, err);
    if (status != OK) {
        fixed_abort((struct store_fixed_index *)x);
        return status;
    }
    *out = (struct store_fixed_index *)x;
    return OK;
}
