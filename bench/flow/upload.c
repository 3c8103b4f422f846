#include "flow/upload.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/queue.h"
#include "blob/blob.h"
#include "chunk/payload_cutter.h"
#include "detect/lookahead.h"
#include "flow/digest_set.h"
#include "flow/entropy.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { EVENT_BATCH = 128, EVENT_BATCH_BYTES = 1 << 20, EVENT_QUEUE_MAX = 64 };

/* ---- what travels ---- */

struct injection {
    size_t count;
    uint64_t size;
    struct {
        uint64_t size;
        struct digest digest;
    } chunks[];
};

enum event_kind { EVENT_WRITE, EVENT_SUGGEST, EVENT_INJECT, EVENT_DISTRUST };
struct event {
    enum event_kind kind;
    bool ends_write;
    uint64_t offset;             /* suggestion, boundary */
    struct slice part;           /* owned */
    struct injection *injection; /* owned */
};
struct event_batch {
    size_t count;
    size_t bytes;
    struct event events[EVENT_BATCH];
};

/* A chunk or an injection in stream order. */
struct job {
    struct upload *upload;
    struct job *next;      /* in stream order, under the upload's lock */
    struct job *next_task; /* in the pool */
    bool digested;
    bool sealing;  /* second step: compress and store */
    bool distrust; /* what is stored under this digest may be damaged */
    uint64_t size;
    struct digest digest;
    struct injection *injection; /* owned; NULL: a raw chunk */
    size_t slice_count;
    struct slice slices[]; /* owned */
};

static void event_drop(struct event *e)
{
    slab_release(e->part.slab);
    free(e->injection);
}

static void batch_drop(void *item)
{
    struct event_batch *batch = item;
    for (size_t i = 0; i < batch->count; i++)
        event_drop(&batch->events[i]);
    free(batch);
}

static void job_free(struct job *job)
{
    for (size_t i = 0; i < job->slice_count; i++)
        slab_release(job->slices[i].slab);
    free(job->injection);
    free(job);
}

/* ---- the pool ---- */

struct sealer {
    struct sealer_pool *pool;
    pthread_t thread;
    struct digest_state *digest;
    struct blob_context *blob;
    struct buffer sealed;
};

struct sealer_pool {
    const struct crypt_config *key; /* NULL: nothing is encrypted */
    struct store_writer *writer;
    struct failure *failure;
    pthread_mutex_t lock;
    pthread_cond_t task_ready;
    pthread_cond_t bytes_free;
    struct job *digest_head, *digest_tail; /* fifo */
    struct job *seal_head, *seal_tail;     /* fifo, served first: it frees memory */
    uint64_t bytes;                        /* of raw chunks in the pool */
    bool stop;
    unsigned thread_count;
    unsigned started;
    struct sealer *sealers;
};

struct upload {
    struct sealer_pool *pool;
    struct store_writer *writer;
    struct failure *failure;
    const struct dynamic_index *previous;
    struct store_index *index; /* under lock once jobs run; NULL: `fixed` */
    struct store_fixed_index *fixed;
    uint32_t stream;           /* of `index` or `fixed` */
    uint64_t fixed_next;       /* slot of the next chunk */
    struct event_batch *batch; /* the archiver's, being filled */
    struct queue events;
    bool has_queue;
    bool ended; /* upload_end did its part */
    pthread_t cutter_thread;
    bool cutter_started;
    struct payload_cutter *cutter;
    uint64_t started_ns;

    /* The cutter's: slices not yet cut, a ring. */
    struct slice *slices;
    size_t slices_head, slices_count, slices_capacity;
    struct injection **injections; /* told to the cutter, not yet applied: a ring */
    size_t injections_head, injections_count, injections_capacity;
    bool distrust; /* of all jobs from here on */

    pthread_mutex_t lock;
    pthread_cond_t all_done;
    struct job *head, *tail; /* jobs not yet in the index, in stream order */
    size_t jobs;             /* that still exist */
    struct digest_set known;
    bool known_only_own; /* `known` has nothing of the previous snapshot any more */
    uint64_t end;        /* stream offset of the index's end */
    struct stream_stats stats;
};

static void stop_all(struct failure *failure, enum status status, const struct error *err)
{
    failure_set(failure, status, err);
}

static void task_push(struct job **head, struct job **tail, struct job *job)
{
    job->next_task = NULL;
    if (*tail)
        (*tail)->next_task = job;
    else
        *head = job;
    *tail = job;
}

static struct job *task_pop(struct job **head, struct job **tail)
{
    struct job *job = *head;
    *head = job->next_task;
    if (!*head)
        *tail = NULL;
    return job;
}

/* The job has left: its bytes are free again. */
static void job_done(struct job *job)
{
    struct upload *u = job->upload;
    struct sealer_pool *p = u->pool;
    uint64_t bytes = job->injection ? 0 : job->size;
    job_free(job);
    if (bytes > 0) {
        pthread_mutex_lock(&p->lock);
        p->bytes -= bytes;
        pthread_cond_broadcast(&p->bytes_free);
        pthread_mutex_unlock(&p->lock);
    }
    pthread_mutex_lock(&u->lock);
    if (--u->jobs == 0)
        pthread_cond_signal(&u->all_done);
    pthread_mutex_unlock(&u->lock);
}

/* Under the upload's lock. */
static enum status append_to_index(struct upload *u, uint64_t size, const struct digest *digest, bool is_coming,
                                   struct error *err)
{
    u->end += size;
    if (u->fixed)
        return store_fixed_index_put(u->fixed, u->fixed_next++, digest, is_coming, err);
    return store_index_append(u->index, u->end, digest, is_coming, err);
}

/* Under the upload's lock: puts one job, the next in stream order, into the index and decides whether its chunk must be
 * stored. */
static enum status place_in_index(struct upload *u, struct job *job, bool *out_store, struct error *err)
{
    struct stream_stats *s = &u->stats;
    *out_store = false;
    if (job->injection) {
        for (size_t i = 0; i < job->injection->count; i++) {
            const struct digest *digest = &job->injection->chunks[i].digest;
            TRY(append_to_index(u, job->injection->chunks[i].size, digest, false, err));
            TRY(digest_set_add(&u->known, digest, err));
        }
        s->chunks += job->injection->count;
        *(u->fixed ? &s->known_chunks : &s->injected_chunks) += job->injection->count;
        *(u->fixed ? &s->known_bytes : &s->injected_bytes) += job->injection->size;
        return OK;
    }
    if (job->distrust && !u->known_only_own) {
        digest_set_deinit(&u->known);
        u->known_only_own = true;
    }
    bool is_known = digest_set_has(&u->known, &job->digest);
    TRY(append_to_index(u, job->size, &job->digest, !is_known, err));
    s->chunks++;
    if (is_known) {
        s->known_chunks++;
        s->known_bytes += job->size;
        return OK;
    }
    s->new_chunks++;
    s->new_bytes += job->size;
    s->new_chunks_by_size[size_class_of(job->size)]++;
    *out_store = true;
    return digest_set_add(&u->known, &job->digest, err);
}

/* A job got its digest (or is an injection): everything at the head of the stream that is ready goes into the index. */
static void advance(struct upload *u, struct job *ready)
{
    struct job *finished = NULL, *to_store = NULL, *to_store_tail = NULL;
    struct error err = {0};
    enum status status = OK;
    pthread_mutex_lock(&u->lock);
    ready->digested = true;
    while (u->head && u->head->digested) {
        struct job *job = u->head;
        u->head = job->next;
        if (!u->head)
            u->tail = NULL;
        bool store = false;
        if (status == OK)
            status = place_in_index(u, job, &store, &err);
        if (store && status == OK) {
            job->sealing = true;
            task_push(&to_store, &to_store_tail, job);
        } else {
            job->next = finished;
            finished = job;
        }
    }
    pthread_mutex_unlock(&u->lock);
    if (status != OK)
        stop_all(u->failure, status, &err);
    if (to_store) {
        struct sealer_pool *p = u->pool;
        pthread_mutex_lock(&p->lock);
        if (p->seal_tail)
            p->seal_tail->next_task = to_store;
        else
            p->seal_head = to_store;
        p->seal_tail = to_store_tail;
        pthread_cond_broadcast(&p->task_ready);
        pthread_mutex_unlock(&p->lock);
    }
    while (finished) {
        struct job *job = finished;
        finished = job->next;
        job_done(job);
    }
}

static void digest_job(struct sealer *s, struct job *job)
{
    digest_begin(s->digest);
    for (size_t i = 0; i < job->slice_count; i++)
        digest_update(s->digest, job->slices[i].data, job->slices[i].size);
    crypt_digest_finish(s->pool->key, s->digest, &job->digest);
    advance(job->upload, job);
}

static enum status seal_chunk(struct sealer *s, const struct job *job, struct error *err)
{
    const struct crypt_config *key = s->pool->key;
    uint8_t iv[CRYPT_IV_SIZE];
    if (!key)
        return blob_seal(s->blob, job->slices, job->slice_count, &s->sealed, err);
    TRY(entropy_fill(iv, sizeof iv, err));
    return blob_seal_encrypted(s->blob, key, iv, job->slices, job->slice_count, &s->sealed, err);
}

static void seal_job(struct sealer *s, struct job *job)
{
    struct upload *u = job->upload;
    struct error err = {0};
    bool is_new = false;
    size_t sealed_size = 0;
    enum status status = failure_status(u->failure);
    if (status == OK) {
        status = seal_chunk(s, job, &err);
        sealed_size = s->sealed.size; /* the store may take the buffer */
        const struct store_chunk chunk = {&job->digest, job->size, u->stream, &s->sealed};
        if (status == OK && job->distrust) {
            is_new = true;
            status = store_replace_chunk(u->writer, &chunk, &err);
        } else if (status == OK) {
            status = store_put_chunk(u->writer, &chunk, &is_new, &err);
        }
        if (status != OK)
            stop_all(u->failure, status, &err);
    }
    if (status == OK) {
        pthread_mutex_lock(&u->lock);
        u->stats.compressed_bytes += sealed_size;
        if (!is_new)
            u->stats.duplicate_chunks++;
        pthread_mutex_unlock(&u->lock);
    }
    job_done(job);
}

static void *sealer_main(void *argument)
{
    struct sealer *s = argument;
    struct sealer_pool *p = s->pool;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && !p->seal_head && !p->digest_head)
            pthread_cond_wait(&p->task_ready, &p->lock);
        /* Stopping means that no upload is left, so nothing waits either. */
        if (!p->seal_head && !p->digest_head)
            break;
        struct job *job =
            p->seal_head ? task_pop(&p->seal_head, &p->seal_tail) : task_pop(&p->digest_head, &p->digest_tail);
        pthread_mutex_unlock(&p->lock);
        if (job->sealing)
            seal_job(s, job);
        else
            digest_job(s, job);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static enum status start_sealers(struct sealer_pool *p, struct error *err)
{
    for (; p->started < p->thread_count; p->started++) {
        struct sealer *s = &p->sealers[p->started];
        s->pool = p;
        s->sealed = BUFFER_INIT(CHUNK_BLOB_SIZE_MAX * 2);
        TRY(digest_new(&s->digest, err));
        TRY(blob_context_new(&s->blob, err));
        int failed = pthread_create(&s->thread, NULL, sealer_main, s);
        if (failed)
            return fail(err, ERR_LIMIT, "cannot start a sealing thread: %s", strerror(failed));
    }
    return OK;
}

const struct crypt_config *sealer_pool_key(const struct sealer_pool *p)
{
    return p->key;
}

enum status sealer_pool_new(unsigned threads, const struct crypt_config *key, struct store_writer *writer,
                            struct failure *failure, struct sealer_pool **out, struct error *err)
{
    ASSERT(threads >= 1);
    struct sealer_pool *p = calloc(1, sizeof *p);
    if (!p)
        return fail(err, ERR_MEMORY, "out of memory for the sealing threads");
    *p = (struct sealer_pool){.key = key, .writer = writer, .failure = failure, .thread_count = threads};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->task_ready, NULL);
    pthread_cond_init(&p->bytes_free, NULL);
    void *sealers;
    enum status status = array_new(threads, sizeof *p->sealers, 1024, "threads", &sealers, err);
    if (status == OK) {
        p->sealers = sealers;
        status = start_sealers(p, err);
    }
    if (status != OK) {
        sealer_pool_free(p);
        return status;
    }
    *out = p;
    return OK;
}

void sealer_pool_free(struct sealer_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->task_ready);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->started; i++)
        pthread_join(p->sealers[i].thread, NULL);
    /* One behind the started ones may have got its contexts, but no thread. */
    for (unsigned i = 0; p->sealers && i < p->thread_count; i++) {
        digest_free(p->sealers[i].digest);
        blob_context_free(p->sealers[i].blob);
        buffer_deinit(&p->sealers[i].sealed);
    }
    free(p->sealers);
    pthread_cond_destroy(&p->bytes_free);
    pthread_cond_destroy(&p->task_ready);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* ---- the cutter's thread ---- */

/* Takes the job. Blocks while the pool holds too much; one chunk always goes. */
static void submit(struct upload *u, struct job *job)
{
    struct sealer_pool *p = u->pool;
    pthread_mutex_lock(&u->lock);
    if (u->tail)
        u->tail->next = job;
    else
        u->head = job;
    u->tail = job;
    u->jobs++;
    pthread_mutex_unlock(&u->lock);
    if (job->injection) {
        advance(u, job);
        return;
    }
    pthread_mutex_lock(&p->lock);
    while (p->bytes > 0 && p->bytes + job->size > SEAL_BYTES_MAX && failure_status(u->failure) == OK)
        pthread_cond_wait(&p->bytes_free, &p->lock);
    p->bytes += job->size;
    task_push(&p->digest_head, &p->digest_tail, job);
    pthread_cond_signal(&p->task_ready);
    pthread_mutex_unlock(&p->lock);
}

/* Moves the first `size` uncut bytes into a job; a slice that is cut through is shared. */
static enum status job_from_slices(struct upload *u, uint64_t size, struct job **out, struct error *err)
{
    size_t count = 0;
    uint64_t covered = 0;
    while (covered < size) {
        ASSERT(count < u->slices_count);
        covered += u->slices[(u->slices_head + count) % u->slices_capacity].size;
        count++;
    }
    struct job *job = calloc(1, sizeof *job + count * sizeof(struct slice));
    if (!job)
        return fail(err, ERR_MEMORY, "out of memory for a chunk of %" PRIu64 " bytes", size);
    job->upload = u;
    job->size = size;
    uint64_t left = size;
    for (size_t i = 0; i < count; i++) {
        struct slice *s = &u->slices[u->slices_head];
        if (s->size > left) {
            job->slices[job->slice_count++] = (struct slice){s->data, (size_t)left, s->slab};
            slab_retain(s->slab);
            s->data += left;
            s->size -= (size_t)left;
            break;
        }
        left -= s->size;
        job->slices[job->slice_count++] = *s;
        u->slices_head = (u->slices_head + 1) % u->slices_capacity;
        u->slices_count--;
    }
    *out = job;
    return OK;
}

static enum status take_cuts(struct upload *u, struct error *err)
{
    for (;;) {
        struct cut cut;
        TRY(payload_cutter_next(u->cutter, &cut, err));
        if (cut.kind == CUT_MORE)
            return failure_status(u->failure);
        struct job *job;
        if (cut.kind == CUT_RAW) {
            TRY(job_from_slices(u, cut.size, &job, err));
            job->distrust = u->distrust;
        } else {
            job = calloc(1, sizeof *job);
            if (!job)
                return fail(err, ERR_MEMORY, "out of memory for an injection");
            ASSERT(u->injections_count > 0);
            job->upload = u;
            job->injection = u->injections[u->injections_head];
            u->injections_head = (u->injections_head + 1) % u->injections_capacity;
            u->injections_count--;
            ASSERT(job->injection->size == cut.size);
        }
        submit(u, job);
    }
}

/* Grows a ring to twice its size and straightens it. */
static enum status ring_grow(void **ring, size_t *head, size_t count, size_t *capacity, size_t size, const char *what,
                             struct error *err)
{
    size_t bigger = *capacity ? *capacity * 2 : 256;
    void *grown;
    TRY(array_new(bigger, size, 1U << 26, what, &grown, err));
    for (size_t i = 0; i < count; i++)
        memcpy((char *)grown + i * size, (const char *)*ring + (*head + i) % *capacity * size, size);
    free(*ring);
    *ring = grown;
    *head = 0;
    *capacity = bigger;
    return OK;
}

static enum status take_injection(struct upload *u, struct event *e, struct error *err)
{
    if (u->injections_count == u->injections_capacity) {
        void *ring = u->injections;
        TRY(ring_grow(&ring, &u->injections_head, u->injections_count, &u->injections_capacity, sizeof *u->injections,
                      "waiting injections", err));
        u->injections = ring;
    }
    struct injection *injection = e->injection;
    e->injection = NULL;
    u->injections[(u->injections_head + u->injections_count++) % u->injections_capacity] = injection;
    return payload_cutter_order(u->cutter, e->offset, injection->size, err);
}

static enum status take_write(struct upload *u, struct event *e, struct error *err)
{
    struct slice part = e->part;
    if (part.size > 0) {
        if (u->slices_count == u->slices_capacity) {
            void *ring = u->slices;
            TRY(ring_grow(&ring, &u->slices_head, u->slices_count, &u->slices_capacity, sizeof *u->slices,
                          "waiting slices", err));
            u->slices = ring;
        }
        e->part.slab = NULL; /* the ring owns it now */
        u->slices[(u->slices_head + u->slices_count++) % u->slices_capacity] = part;
    }
    return payload_cutter_write(u->cutter, part.data, part.size, e->ends_write, err);
}

static enum status take_event(struct upload *u, struct event *e, struct error *err)
{
    switch (e->kind) {
    case EVENT_SUGGEST: return payload_cutter_suggest(u->cutter, e->offset, err);
    case EVENT_INJECT: return take_injection(u, e, err);
    case EVENT_WRITE: return take_write(u, e, err);
    case EVENT_DISTRUST: u->distrust = true; return OK;
    }
    return OK;
}

static enum status cut(struct upload *u, struct error *err)
{
    for (;;) {
        void *item;
        enum status status = queue_pop(&u->events, &item);
        if (status == ERR_CLOSED)
            break;
        TRY(status);
        struct event_batch *batch = item;
        for (size_t i = 0; i < batch->count && status == OK; i++) {
            status = take_event(u, &batch->events[i], err);
            if (status == OK)
                status = take_cuts(u, err);
        }
        batch_drop(batch); /* what was taken is no longer in it */
        TRY(status);
    }
    TRY(payload_cutter_end(u->cutter, err));
    return take_cuts(u, err);
}

static void *cutter_main(void *argument)
{
    struct upload *u = argument;
    struct error err = {0};
    enum status status = cut(u, &err);
    if (status != OK) {
        stop_all(u->failure, status, &err);
        queue_fail(&u->events, status);
    }
    return NULL;
}

/* ---- the archiver's side ---- */

static enum status send_batch(struct upload *u)
{
    struct event_batch *batch = u->batch;
    if (!batch)
        return OK;
    enum status failed = failure_status(u->failure);
    if (failed != OK)
        return failed;
    enum status status = queue_push(&u->events, batch, batch->bytes + 1);
    if (status != OK) {
        enum status first = failure_status(u->failure);
        return first != OK ? first : status;
    }
    u->batch = NULL;
    return OK;
}

/* Takes the event's contents, also on failure. */
static enum status put_event(struct upload *u, struct event *e)
{
    if (!u->batch) {
        u->batch = malloc(sizeof *u->batch);
        if (!u->batch) {
            struct error err = {0};
            enum status status = fail(&err, ERR_MEMORY, "out of memory for a batch of events");
            stop_all(u->failure, status, &err);
            event_drop(e);
            return status;
        }
        u->batch->count = 0;
        u->batch->bytes = 0;
    }
    if (u->batch->count == EVENT_BATCH) { /* it could not be sent, and not every caller is told */
        event_drop(e);
        enum status failed = failure_status(u->failure);
        ASSERT(failed != OK);
        return failed;
    }
    u->batch->events[u->batch->count++] = *e;
    u->batch->bytes += e->part.size;
    if (u->batch->count == EVENT_BATCH || u->batch->bytes >= EVENT_BATCH_BYTES)
        return send_batch(u);
    return OK;
}

enum status upload_write(struct upload *u, struct slice part, bool ends_write)
{
    struct event e = {.kind = EVENT_WRITE, .part = part, .ends_write = ends_write};
    return put_event(u, &e);
}

enum status upload_suggest(struct upload *u, uint64_t offset)
{
    struct event e = {.kind = EVENT_SUGGEST, .offset = offset};
    return put_event(u, &e);
}

void upload_distrust_previous(struct upload *u)
{
    struct event e = {.kind = EVENT_DISTRUST};
    (void)put_event(u, &e); /* a failure is in u->failure */
}

enum status upload_inject(struct upload *u, uint64_t boundary, const struct reuse_chunk *chunks, size_t count,
                          uint64_t size)
{
    ASSERT(u->previous && count > 0 && count <= INJECTION_BATCH_MAX);
    struct injection *injection = malloc(sizeof *injection + count * sizeof injection->chunks[0]);
    if (!injection) {
        struct error err = {0};
        enum status status = fail(&err, ERR_MEMORY, "out of memory for an injection");
        stop_all(u->failure, status, &err);
        return status;
    }
    injection->count = count;
    injection->size = size;
    for (size_t i = 0; i < count; i++) {
        injection->chunks[i].size = chunks[i].size;
        injection->chunks[i].digest = u->previous->entries[chunks[i].entry].digest;
    }
    struct event e = {.kind = EVENT_INJECT, .offset = boundary, .injection = injection};
    return put_event(u, &e);
}

static enum status start_upload(struct upload *u, const char *name, size_t chunk_average, struct error *err)
{
    TRY(payload_cutter_new(chunk_average, 0, &u->cutter, err));
    if (u->previous)
        for (size_t i = 0; i < u->previous->count; i++)
            TRY(digest_set_add(&u->known, &u->previous->entries[i].digest, err));
    TRY(queue_init(&u->events, EVENT_QUEUE_MAX, UPLOAD_QUEUE_BYTES, batch_drop, err));
    u->has_queue = true;
    TRY(store_index_begin(u->writer, name, &u->index, err));
    u->stream = store_index_stream(u->index);
    int failed = pthread_create(&u->cutter_thread, NULL, cutter_main, u);
    if (failed)
        return fail(err, ERR_LIMIT, "cannot start a cutting thread: %s", strerror(failed));
    u->cutter_started = true;
    return OK;
}

static struct upload *upload_alloc(struct sealer_pool *pool, struct store_writer *writer, struct failure *failure)
{
    struct upload *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->pool = pool;
    u->writer = writer;
    u->failure = failure;
    u->started_ns = clock_monotonic_ns();
    pthread_mutex_init(&u->lock, NULL);
    pthread_cond_init(&u->all_done, NULL);
    return u;
}

enum status upload_new(struct sealer_pool *pool, struct store_writer *writer, const char *name, size_t chunk_average,
                       const struct dynamic_index *previous, struct failure *failure, struct upload **out,
                       struct error *err)
{
    struct upload *u = upload_alloc(pool, writer, failure);
    if (!u)
        return fail(err, ERR_MEMORY, "out of memory for stream %s", name);
    u->previous = previous;
    enum status status = start_upload(u, name, chunk_average, err);
    if (status != OK) {
        upload_free(u);
        return status;
    }
    *out = u;
    return OK;
}

/* ---- chunks of one size: the caller cuts ---- */

static enum status start_fixed(struct upload *u, const char *name, uint64_t size, uint64_t chunk_size,
                               const struct fixed_index *previous, struct error *err)
{
    /* Another chunk size gives other chunks: none of them can be known. */
    if (previous && previous->chunk_size == chunk_size)
        for (size_t i = 0; i < previous->count; i++)
            TRY(digest_set_add(&u->known, &previous->digests[i], err));
    TRY(store_fixed_index_begin(u->writer, name, size, chunk_size, &u->fixed, err));
    u->stream = store_fixed_index_stream(u->fixed);
    return OK;
}

enum status upload_new_fixed(struct sealer_pool *pool, struct store_writer *writer, const char *name, uint64_t size,
                             uint64_t chunk_size, const struct fixed_index *previous, struct failure *failure,
                             struct upload **out, struct error *err)
{
    struct upload *u = upload_alloc(pool, writer, failure);
    if (!u)
        return fail(err, ERR_MEMORY, "out of memory for image %s", name);
    enum status status = start_fixed(u, name, size, chunk_size, previous, err);
    if (status != OK) {
        upload_free(u);
        return status;
    }
    *out = u;
    return OK;
}

static enum status out_of_memory(struct upload *u)
{
    struct error err = {0};
    enum status status = fail(&err, ERR_MEMORY, "out of memory for a chunk");
    stop_all(u->failure, status, &err);
    return status;
}

enum status upload_chunk(struct upload *u, const struct slice *slices, size_t count)
{
    ASSERT(u->fixed && count > 0);
    struct job *job = calloc(1, sizeof *job + count * sizeof(struct slice));
    if (!job) {
        for (size_t i = 0; i < count; i++)
            slab_release(slices[i].slab);
        return out_of_memory(u);
    }
    job->upload = u;
    job->slice_count = count;
    for (size_t i = 0; i < count; i++) {
        job->slices[i] = slices[i];
        job->size += slices[i].size;
    }
    submit(u, job);
    return failure_status(u->failure);
}

enum status upload_repeat(struct upload *u, uint64_t size, const struct digest *digest)
{
    ASSERT(u->fixed && size > 0);
    struct injection *one = malloc(sizeof *one + sizeof one->chunks[0]);
    struct job *job = calloc(1, sizeof *job);
    if (!one || !job) {
        free(one);
        free(job);
        return out_of_memory(u);
    }
    one->count = 1;
    one->size = size;
    one->chunks[0].size = size;
    one->chunks[0].digest = *digest;
    job->upload = u;
    job->injection = one;
    submit(u, job);
    return failure_status(u->failure);
}

static void wait_for_jobs(struct upload *u)
{
    pthread_mutex_lock(&u->lock);
    while (u->jobs > 0)
        pthread_cond_wait(&u->all_done, &u->lock);
    pthread_mutex_unlock(&u->lock);
}

static void join_cutter(struct upload *u)
{
    if (u->cutter_started)
        pthread_join(u->cutter_thread, NULL);
    u->cutter_started = false;
}

void upload_end(struct upload *u)
{
    if (u->ended)
        return;
    u->ended = true;
    if (u->has_queue) {
        /* Without its last events the stream may end within a write: then that is no end to be cut. */
        enum status status = send_batch(u);
        if (status == OK)
            queue_close(&u->events);
        else
            queue_fail(&u->events, status);
        join_cutter(u);
    }
    wait_for_jobs(u);
    if (failure_status(u->failure) != OK)
        return;
    if (u->fixed)
        store_fixed_index_end(u->fixed);
    else
        store_index_end(u->index);
}

enum status upload_finish(struct upload *u, struct stream_stats *out, struct error *err)
{
    upload_end(u);
    TRY(failure_get(u->failure, err));
    uint64_t size = u->end, count = u->stats.chunks;
    enum status status;
    if (u->fixed) {
        struct store_fixed_index *fixed = u->fixed;
        u->fixed = NULL;
        status = store_fixed_index_finish(fixed, &u->stats.csum, err);
    } else {
        struct store_index *index = u->index;
        u->index = NULL;
        status = store_index_finish(index, &u->stats.csum, &size, &count, err);
    }
    if (status != OK) {
        stop_all(u->failure, status, err);
        return status;
    }
    ASSERT(count == u->stats.chunks && size == u->end);
    u->stats.size = size;
    u->stats.duration_ns = clock_monotonic_ns() - u->started_ns;
    *out = u->stats;
    return OK;
}

void upload_free(struct upload *u)
{
    if (!u)
        return;
    if (u->has_queue)
        queue_fail(&u->events, ERR_CANCELLED);
    join_cutter(u);
    wait_for_jobs(u);
    if (u->has_queue)
        queue_deinit(&u->events);
    if (u->batch)
        batch_drop(u->batch);
    for (size_t i = 0; i < u->slices_count; i++)
        slab_release(u->slices[(u->slices_head + i) % u->slices_capacity].slab);
    free(u->slices);
    for (size_t i = 0; i < u->injections_count; i++)
        free(u->injections[(u->injections_head + i) % u->injections_capacity]);
    free(u->injections);
    store_index_abort(u->index);
    store_fixed_index_abort(u->fixed);
    payload_cutter_free(u->cutter);
    digest_set_deinit(&u->known);
    pthread_cond_destroy(&u->all_done);
    pthread_mutex_destroy(&u->lock);
    free(u);
}
