#include "flow/chunk_stream.h"

#include "flow/announce.h"
#include "flow/chunk_fetch.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/*            current                        next
 *  ----------+-------+-------+-------+------+------------------
 *  read      | being | ready | ready | being fetched  not asked for
 *            | read  |       |       |
 *            <------------ at most slot_count ------------>
 *
 * Chunk k lives in slot k % slot_count. The fetching thread writes the slots behind the current chunk, the reader reads
 * the current one's: never the same. Going back begins at an earlier chunk; slots that happen to hold what is due are
 * kept. A failure counts only when the reader arrives at its chunk: a damaged chunk that
 * is skipped wholly disturbs nobody, however far ahead was read. */
struct slot {
    struct buffer data;
    size_t chunk;
    bool ready;
};

struct chunk_stream {
    const struct dynamic_index *index; /* borrowed */
    char *name;
    uint64_t position;
    uint64_t size;
    struct slot *slots;
    size_t slot_count;
    bool has_thread; /* wanted */
    bool started;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock: */
    size_t current;
    size_t next;
    bool went_back;
    size_t went_to;    /* the chunk it went back to last */
    uint64_t journeys; /* how often it went back: a fetch knows the one it was begun in */
    bool stop;
    bool failed;
    size_t failed_chunk;
    enum status failed_status;
    struct error failure;
    uint64_t wanted_begin, wanted_end;
    bool waiting; /* the reader, for the current chunk */
    struct announcer announcer;
    /* Of whoever fetches: */
    struct chunk_fetcher fetcher;
    atomic_uint_fast64_t fetched;
};

static enum status fetch(struct chunk_stream *s, size_t chunk, struct buffer *out, struct error *err)
{
    TRY(chunk_fetch(&s->fetcher, chunk, out, err));
    atomic_fetch_add_explicit(&s->fetched, 1, memory_order_relaxed);
    return OK;
}

/* Under the lock. What lies outside of what is wanted may never be read: only the reader itself brings it. */
static bool may_fetch_next(const struct chunk_stream *s)
{
    if (s->failed || s->next >= s->index->count || s->next - s->current >= s->slot_count)
        return false;
    if (s->waiting && s->next == s->current)
        return true;
    /* References that go back all the time must not bring chunks that nobody reads each time. */
    if (s->went_back && s->next - s->current > s->current - s->went_to)
        return false;
    return dynamic_index_start(s->index, s->next) < s->wanted_end && s->index->entries[s->next].end > s->wanted_begin;
}

/* Under the lock. A server is told of more than is fetched ahead, but of nothing that may never be read. */
static enum announcement announced_chunk(void *context, size_t k, struct store_hint *out)
{
    const struct chunk_stream *s = context;
    bool is_far = s->went_back && k > s->current && k - s->current > s->current - s->went_to;
    bool is_wanted = dynamic_index_start(s->index, k) < s->wanted_end && s->index->entries[k].end > s->wanted_begin;
    *out = (struct store_hint){s->index->entries[k].digest, dynamic_index_chunk_size(s->index, k)};
    return is_wanted && !is_far ? ANNOUNCE_IT : ANNOUNCE_STOP;
}

static void *fetch_ahead(void *argument)
{
    struct chunk_stream *s = argument;
    struct error err;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->stop && !may_fetch_next(s))
            pthread_cond_wait(&s->changed, &s->lock);
        if (s->stop)
            break;
        size_t chunk = s->next++;
        struct slot *slot = &s->slots[chunk % s->slot_count];
        if (slot->ready && slot->chunk == chunk)
            continue; /* held since before the reader went back, who may be reading it */
        slot->ready = false;
        uint64_t journey = s->journeys;
        announce_ahead(&s->announcer, chunk, s->index->count);
        pthread_mutex_unlock(&s->lock);
        err = (struct error){0};
        enum status status = fetch(s, chunk, &slot->data, &err);
        pthread_mutex_lock(&s->lock);
        if (status == OK) {
            slot->chunk = chunk;
            slot->ready = true;
        } else if (journey == s->journeys && chunk >= s->current) {
            s->failed = true;
            s->failed_chunk = chunk;
            s->failed_status = status;
            s->failure = err;
        }
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void chunk_stream_freep(struct chunk_stream **s)
{
    chunk_stream_free(*s);
}

enum status chunk_stream_new(struct store_reader *reader, const struct dynamic_index *index, const char *name,
                             size_t ahead, struct chunk_stream **out, struct error *err)
{
    CLEANUP(chunk_stream_freep) struct chunk_stream *s = calloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "out of memory for a stream of chunks");
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->index = index;
    s->size = dynamic_index_size(index);
    s->wanted_end = UINT64_MAX;
    s->has_thread = ahead > 0;
    s->name = strdup(name);
    if (!s->name)
        return fail(err, ERR_MEMORY, "out of memory for a name");
    void *slots = NULL;
    TRY(array_new(ahead + 1, sizeof *s->slots, 1024, "chunks read ahead", &slots, err));
    s->slots = slots;
    s->slot_count = ahead + 1;
    for (size_t i = 0; i < s->slot_count; i++)
        s->slots[i].data = BUFFER_INIT(CHUNK_RAW_SIZE_MAX);
    TRY(chunk_fetcher_init(&s->fetcher, reader, index, s->name, err));
    s->announcer = (struct announcer){.reader = reader, .name = s->name, .chunk = announced_chunk, .context = s};
    *out = s;
    s = NULL;
    return OK;
}

void chunk_stream_free(struct chunk_stream *s)
{
    if (!s)
        return;
    if (s->started) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    for (size_t i = 0; i < s->slot_count; i++)
        buffer_deinit(&s->slots[i].data);
    free(s->slots);
    chunk_fetcher_deinit(&s->fetcher);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s->name);
    free(s);
}

/* Nothing is fetched before the first read: skips at the start cost nothing. */
static enum status start(struct chunk_stream *s, struct error *err)
{
    int reason = pthread_create(&s->thread, NULL, fetch_ahead, s);
    if (reason != 0)
        return fail(err, ERR_LIMIT, "%s: cannot start a thread: %s", s->name, strerrordesc_np(reason));
    s->started = true;
    return OK;
}

static enum status wait_for_current(struct chunk_stream *s, const struct slot *slot, struct error *err)
{
    if (!s->started)
        TRY(start(s, err));
    enum status status = OK;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        if (slot->ready && slot->chunk == s->current)
            break;
        if (s->failed && s->failed_chunk == s->current) {
            status = s->failed_status;
            if (err)
                *err = s->failure;
            break;
        }
        if (!s->waiting)
            pthread_cond_broadcast(&s->changed);
        s->waiting = true;
        pthread_cond_wait(&s->changed, &s->lock);
    }
    s->waiting = false;
    pthread_mutex_unlock(&s->lock);
    return status;
}

static enum status current_slot(struct chunk_stream *s, const struct slot **out, struct error *err)
{
    struct slot *slot = &s->slots[s->current % s->slot_count];
    *out = slot;
    if (s->has_thread)
        return wait_for_current(s, slot, err);
    if (slot->ready && slot->chunk == s->current)
        return OK;
    slot->ready = false;
    struct error own;
    announce_ahead(&s->announcer, s->current, s->index->count);
    TRY(fetch(s, s->current, &slot->data, err ? err : &own));
    slot->chunk = s->current;
    slot->ready = true;
    return OK;
}

/* To the chunk that holds the byte at `position`. */
static enum status move_to(struct chunk_stream *s, uint64_t position, struct error *err)
{
    size_t chunk = s->index->count;
    if (position < s->size)
        TRY(dynamic_index_find(s->index, position, s->current, &chunk, err));
    s->position = position;
    if (chunk == s->current)
        return OK;
    pthread_mutex_lock(&s->lock);
    s->current = chunk;
    if (s->next < chunk)
        s->next = chunk;
    if (s->failed && s->failed_chunk < chunk)
        s->failed = false;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return OK;
}

static enum status stream_read(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct chunk_stream *s = context;
    *out_size = 0;
    if (s->position >= s->size || size == 0)
        return OK;
    const struct slot *slot;
    TRY(current_slot(s, &slot, err));
    size_t begin = (size_t)(s->position - dynamic_index_start(s->index, s->current));
    ASSERT(begin < slot->data.size);
    size_t part = slot->data.size - begin < size ? slot->data.size - begin : size;
    memcpy(data, slot->data.data + begin, part);
    *out_size = part;
    return move_to(s, s->position + part, err);
}

static enum status stream_skip(void *context, uint64_t size, struct error *err)
{
    struct chunk_stream *s = context;
    if (size > s->size - s->position)
        return fail(err, ERR_FORMAT,
                    "%s: ends early at offset %" PRIu64 ": %" PRIu64 " bytes to skip from offset %" PRIu64, s->name,
                    s->size, size, s->position);
    return move_to(s, s->position + size, err);
}

/* To an earlier chunk. A failure of what was read ahead is forgotten: it comes again with its chunk. */
static void go_back(struct chunk_stream *s, size_t chunk)
{
    pthread_mutex_lock(&s->lock);
    s->current = chunk;
    s->next = chunk;
    s->announcer.next = chunk;
    s->went_back = true;
    s->went_to = chunk;
    s->journeys++;
    s->failed = false;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static enum status stream_seek(void *context, uint64_t offset, struct error *err)
{
    struct chunk_stream *s = context;
    if (offset > s->size)
        return fail(err, ERR_FORMAT, "%s: ends early at offset %" PRIu64 ": offset %" PRIu64 " is wanted", s->name,
                    s->size, offset);
    if (offset >= s->position)
        return move_to(s, offset, err);
    size_t chunk;
    TRY(dynamic_index_find(s->index, offset, s->current, &chunk, err));
    s->position = offset;
    if (chunk != s->current)
        go_back(s, chunk);
    return OK;
}

void chunk_stream_want(struct chunk_stream *s, uint64_t begin, uint64_t end)
{
    pthread_mutex_lock(&s->lock);
    s->wanted_begin = begin;
    s->wanted_end = end;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

struct source chunk_stream_source(struct chunk_stream *s)
{
    return (struct source){
        .read = stream_read, .skip = stream_skip, .seek = stream_seek, .context = s, .name = s->name};
}

uint64_t chunk_stream_fetched(const struct chunk_stream *s)
{
    return atomic_load_explicit(&s->fetched, memory_order_relaxed);
}
