/* Chunks of a snapshot on a server: fetched ahead by hints, held until they are asked for, and a while longer where
 * two readers go over the same stream.
 *
 *   hint --> NEW --> ASKED --> THERE ----- asked for -----> used: cached, least recently used goes
 *            |     (index    |
 *            |      there)   '--> newer hints need the room: forgotten
 *   asked for without a hint: the same, without limits but those of who waits */
#include "store/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t no_order = UINT64_MAX;

static void chunk_free(struct remote_chunk *c)
{
    buffer_deinit(&c->data);
    free(c->problem.text);
    free(c);
}

void remote_chunks_free(struct remote_reader *r)
{
    for (size_t i = 0; i < r->chunk_count; i++)
        chunk_free(r->chunks[i]);
    free(r->chunks);
    r->chunks = NULL;
    r->chunk_count = 0;
}

/* By the index that lets it out, too: another one may fail. */
static struct remote_chunk *find(const struct remote_reader *r, const char *index_name, const struct digest *digest)
{
    for (size_t i = 0; i < r->chunk_count; i++) {
        struct remote_chunk *c = r->chunks[i];
        if (digest_equal(&c->digest, digest) && strcmp(c->index->name, index_name) == 0)
            return c;
    }
    return NULL;
}

/* Keeps the order of the others, in which they are asked for. */
static void drop(struct remote_reader *r, struct remote_chunk *c)
{
    size_t i = 0;
    while (r->chunks[i] != c)
        i++;
    r->chunk_count--;
    memmove(&r->chunks[i], &r->chunks[i + 1], (r->chunk_count - i) * sizeof(struct remote_chunk *));
    chunk_free(c);
}

static enum status add(struct remote_reader *r, struct remote_file *index, const struct digest *digest,
                       uint64_t raw_size, struct remote_chunk **out, struct error *err)
{
    enum { CHUNKS_MAX = REMOTE_CACHED_CHUNKS + STORE_HINT_CHUNKS + 1024 }; /* and some for threads that wait */
    void *chunks = r->chunks;
    TRY(array_grow(&chunks, r->chunk_count, &r->chunk_capacity, sizeof(struct remote_chunk *), CHUNKS_MAX, "chunks",
                   err));
    r->chunks = chunks;
    struct remote_chunk *c = calloc(1, sizeof *c);
    if (!c)
        return fail(err, ERR_MEMORY, "out of memory for a chunk");
    /* What encoding may add at most; of longer ones the server is not believed. */
    uint64_t size_max = raw_size + raw_size / 128 + (64 << 10);
    *c = (struct remote_chunk){.reader = r,
                               .index = index,
                               .digest = *digest,
                               .order = ++r->orders,
                               .size = (size_t)raw_size,
                               .size_max =
                                   size_max < WIRE_CHUNK_ENCODED_MAX ? (size_t)size_max : WIRE_CHUNK_ENCODED_MAX};
    r->chunks[r->chunk_count++] = c;
    *out = c;
    return OK;
}

/* ---- asking ---- */

static void set_failed(struct remote_chunk *c, const struct error *err)
{
    remote_problem_set(&c->problem, err);
    c->state = REMOTE_FAILED;
}

static void chunk_answered(void *user, struct h2_response *response, const struct error *opening)
{
    struct remote_chunk *c = user;
    struct remote_reader *r = c->reader;
    char digest[DIGEST_TEXT_SIZE], what[DIGEST_TEXT_SIZE + 32];
    struct error err = {0};
    pthread_mutex_lock(&r->lock);
    snprintf(what, sizeof what, "reading chunk %s", digest_text(&c->digest, digest));
    enum status status = net_session_judge(r->link->session, what, response, opening, &err);
    if (status != OK) {
        (void)remote_missing(response, status, &err);
        set_failed(c, &err);
    } else {
        c->data = response->body;
        response->body = BUFFER_INIT(0);
        c->size = c->data.size;
        c->state = REMOTE_THERE;
    }
    remote_reader_answered(r);
    h2_response_free(response);
}

static enum status submit(struct remote_chunk *c, struct error *err)
{
    struct remote_reader *r = c->reader;
    struct net_request request = {.method = "GET",
                                  .path = BUFFER_INIT(WIRE_PATH_MAX),
                                  .response_size_max = c->size_max,
                                  .done = chunk_answered,
                                  .user = c};
    enum status status = call_read_chunk(&request.path, c->digest.bytes, err);
    if (status != OK) {
        buffer_deinit(&request.path);
        return status;
    }
    char digest[DIGEST_TEXT_SIZE];
    if (net_session_submit(r->link->session, &request, err) != OK)
        return fail_within(err, "reading chunk %s", digest_text(&c->digest, digest));
    c->state = REMOTE_ASKED;
    r->asked++;
    return OK;
}

void remote_chunks_advance(struct remote_reader *r)
{
    for (size_t i = 0; i < r->chunk_count && !r->cancelled; i++) {
        struct remote_chunk *c = r->chunks[i];
        struct error err = {0};
        if (c->state != REMOTE_NEW)
            continue;
        bool is_let_out = c->index->state == REMOTE_THERE || c->index->state == REMOTE_LET_GO;
        if (c->index->state == REMOTE_FAILED && remote_problem_tell(&c->index->problem, &err) != OK)
            set_failed(c, &err);
        else if (is_let_out && submit(c, &err) != OK)
            set_failed(c, &err);
    }
}

/* ---- hints ---- */

/* The oldest hint of before `before` that can be dropped. */
static struct remote_chunk *oldest_hint(const struct remote_reader *r, uint64_t before)
{
    struct remote_chunk *oldest = NULL;
    for (size_t i = 0; i < r->chunk_count; i++) {
        struct remote_chunk *c = r->chunks[i];
        if (!c->used && c->state != REMOTE_ASKED && c->order < before && (!oldest || c->order < oldest->order))
            oldest = c;
    }
    return oldest;
}

static bool has_room(const struct remote_reader *r, uint64_t size)
{
    size_t count = 1;
    uint64_t bytes = size;
    for (size_t i = 0; i < r->chunk_count; i++)
        if (!r->chunks[i]->used) {
            count++;
            bytes += r->chunks[i]->size;
        }
    return count <= STORE_HINT_CHUNKS && bytes <= STORE_HINT_BYTES;
}

static bool make_room(struct remote_reader *r, uint64_t size, uint64_t before)
{
    while (!has_room(r, size)) {
        struct remote_chunk *c = oldest_hint(r, before);
        if (!c)
            return false;
        drop(r, c);
    }
    return true;
}

void remote_prefetch(struct store_reader *reader, const char *index_name, const struct store_hint *hints, size_t count)
{
    struct remote_reader *r = remote_reader_of(reader);
    struct remote_file *index;
    struct remote_chunk *c;
    pthread_mutex_lock(&r->lock);
    uint64_t before = r->orders + 1;
    /* Whoever asks for the chunks is told what is wrong. */
    if (remote_authority_want(r, index_name, &index, NULL) == OK) {
        for (size_t i = 0; i < count; i++) {
            uint64_t size = hints[i].raw_size < WIRE_CHUNK_RAW_MAX ? hints[i].raw_size : WIRE_CHUNK_RAW_MAX;
            if (find(r, index_name, &hints[i].digest))
                continue;
            if (!make_room(r, size, before) || add(r, index, &hints[i].digest, size, &c, NULL) != OK)
                break;
        }
        remote_chunks_advance(r);
    }
    pthread_mutex_unlock(&r->lock);
}

/* ---- asked for ---- */

/* Cached chunks beyond the limits go, those used longest ago first. */
static void trim(struct remote_reader *r)
{
    for (;;) {
        struct remote_chunk *oldest = NULL;
        uint64_t bytes = 0;
        size_t count = 0;
        for (size_t i = 0; i < r->chunk_count; i++) {
            struct remote_chunk *c = r->chunks[i];
            if (!c->used || c->waiters > 0 || c->state != REMOTE_THERE)
                continue;
            bytes += c->size;
            count++;
            if (c->order < (oldest ? oldest->order : no_order))
                oldest = c;
        }
        if (!oldest || (bytes <= r->cached_max && count <= REMOTE_CACHED_CHUNKS))
            return;
        drop(r, oldest);
    }
}

/* Handed over, without a copy, if it is not kept. */
static enum status give(struct remote_chunk *c, struct buffer *out, struct error *err)
{
    if (c->state == REMOTE_FAILED)
        return remote_problem_tell(&c->problem, err);
    if (c->waiters > 0 || c->reader->cached_max > 0 || c->data.size > out->limit) {
        buffer_clear(out);
        return buffer_append(out, c->data.data, c->data.size, err);
    }
    size_t limit = out->limit;
    buffer_deinit(out);
    *out = c->data;
    out->limit = limit;
    c->data = BUFFER_INIT(0);
    return OK;
}

static enum status get(struct remote_reader *r, const char *index_name, const struct digest *digest, struct buffer *out,
                       struct error *err)
{
    struct remote_chunk *c = find(r, index_name, digest);
    if (!c) {
        struct remote_file *index;
        TRY(remote_authority_want(r, index_name, &index, err));
        TRY(add(r, index, digest, WIRE_CHUNK_RAW_MAX, &c, err));
        remote_chunks_advance(r);
    }
    c->used = true;
    c->order = ++r->orders;
    c->waiters++;
    while ((c->state == REMOTE_NEW || c->state == REMOTE_ASKED) && remote_reader_wait(r)) {
    }
    c->waiters--;
    if (c->state == REMOTE_NEW || c->state == REMOTE_ASKED)
        return remote_reader_cancelled(err);
    enum status status = give(c, out, err);
    if (c->waiters == 0 && (c->state == REMOTE_FAILED || c->data.size == 0))
        drop(r, c); /* failed, or handed over */
    trim(r);
    return status;
}

enum status remote_get_chunk(struct store_reader *reader, const char *index_name, const struct digest *digest,
                             struct buffer *out, struct error *err)
{
    struct remote_reader *r = remote_reader_of(reader);
    pthread_mutex_lock(&r->lock);
    enum status status = get(r, index_name, digest, out, err);
    pthread_mutex_unlock(&r->lock);
    return status;
}
