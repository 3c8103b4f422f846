#include "flow/chunk_reader.h"

#include "flow/announce.h"
#include "flow/chunk_fetch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* An opened chunk. `last_used` 0: empty. */
struct slot {
    struct buffer data;
    size_t chunk;
    uint64_t last_used;
};

struct chunk_reader {
    struct chunk_fetcher fetcher;
    struct slot *slots;
    size_t slot_count;
    uint64_t clock; /* counts accesses: what was used when */
    size_t hint;    /* the chunk that was read last */
    size_t behind;  /* the chunk behind the one that was fetched last */
    struct announcer announcer;
    uint64_t fetched, fetched_bytes;
};

enum { CHUNKS_MAX = 1024 };

static enum announcement announced_chunk(void *context, size_t k, struct store_hint *out)
{
    const struct chunk_reader *r = context;
    const struct dynamic_index *index = r->fetcher.index;
    *out = (struct store_hint){index->entries[k].digest, dynamic_index_chunk_size(index, k)};
    for (size_t i = 0; i < r->slot_count; i++)
        if (r->slots[i].last_used > 0 && r->slots[i].chunk == k)
            return ANNOUNCE_NOT;
    return ANNOUNCE_IT;
}

/* Who goes from one chunk to the next goes on like that. */
static void announce(struct chunk_reader *r, size_t chunk)
{
    if (chunk == r->behind && chunk > 0) {
        r->announcer.next = r->announcer.next > chunk ? r->announcer.next : chunk;
        announce_ahead(&r->announcer, chunk, r->fetcher.index->count);
    } else {
        r->announcer.next = chunk;
    }
    r->behind = chunk + 1;
}

static void chunk_reader_freep(struct chunk_reader **r)
{
    chunk_reader_free(*r);
}

enum status chunk_reader_new(struct store_reader *reader, const struct dynamic_index *index, const char *name,
                             size_t chunks_max, struct chunk_reader **out, struct error *err)
{
    CLEANUP(chunk_reader_freep) struct chunk_reader *r = calloc(1, sizeof *r);
    if (!r)
        return fail(err, ERR_MEMORY, "out of memory for a reader of chunks");
    ASSERT(chunks_max >= 1);
    void *slots = NULL;
    TRY(array_new(chunks_max, sizeof *r->slots, CHUNKS_MAX, "cached chunks", &slots, err));
    r->slots = slots;
    r->slot_count = chunks_max;
    for (size_t i = 0; i < r->slot_count; i++)
        r->slots[i].data = BUFFER_INIT(CHUNK_RAW_SIZE_MAX);
    TRY(chunk_fetcher_init(&r->fetcher, reader, index, name, err));
    r->announcer = (struct announcer){.reader = reader, .name = name, .chunk = announced_chunk, .context = r};
    *out = r;
    r = NULL;
    return OK;
}

void chunk_reader_free(struct chunk_reader *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->slot_count; i++)
        buffer_deinit(&r->slots[i].data);
    free(r->slots);
    chunk_fetcher_deinit(&r->fetcher);
    free(r);
}

/* The slot that holds the chunk, filled if it was in none. */
static enum status open_chunk(struct chunk_reader *r, size_t chunk, const struct slot **out, struct error *err)
{
    struct slot *oldest = &r->slots[0];
    for (size_t i = 0; i < r->slot_count; i++) {
        struct slot *slot = &r->slots[i];
        if (slot->last_used > 0 && slot->chunk == chunk) {
            slot->last_used = ++r->clock;
            *out = slot;
            return OK;
        }
        if (slot->last_used < oldest->last_used)
            oldest = slot;
    }
    oldest->last_used = 0; /* a failure leaves anything in the buffer */
    announce(r, chunk);
    enum status status = chunk_fetch(&r->fetcher, chunk, &oldest->data, err);
    /* Who reads an archive through this takes ERR_NOT_FOUND for a member that does not exist. */
    if (status == ERR_NOT_FOUND) {
        if (err)
            err->status = ERR_IO;
        return ERR_IO;
    }
    TRY(status);
    oldest->chunk = chunk;
    oldest->last_used = ++r->clock;
    r->fetched++;
    r->fetched_bytes += oldest->data.size;
    *out = oldest;
    return OK;
}

static enum status read_chunks(void *context, uint64_t offset, uint8_t *data, size_t size, struct error *err)
{
    struct chunk_reader *r = context;
    const struct dynamic_index *index = r->fetcher.index;
    uint64_t total = dynamic_index_size(index);
    if (offset > total || size > total - offset)
        return fail(err, ERR_FORMAT, "%s: ends at offset %" PRIu64 ": %zu bytes wanted at offset %" PRIu64,
                    r->fetcher.name, total, size, offset);
    while (size > 0) {
        const struct slot *slot = NULL;
        size_t chunk = 0;
        TRY(dynamic_index_find(index, offset, r->hint, &chunk, err));
        r->hint = chunk;
        TRY(open_chunk(r, chunk, &slot, err));
        size_t within = (size_t)(offset - dynamic_index_start(index, chunk));
        size_t part = slot->data.size - within < size ? slot->data.size - within : size;
        memcpy(data, slot->data.data + within, part);
        data += part;
        size -= part;
        offset += part;
    }
    return OK;
}

struct source_at chunk_reader_source(struct chunk_reader *r)
{
    return (struct source_at){
        .read_at = read_chunks, .context = r, .size = dynamic_index_size(r->fetcher.index), .name = r->fetcher.name};
}

uint64_t chunk_reader_fetched(const struct chunk_reader *r)
{
    return r->fetched;
}

uint64_t chunk_reader_fetched_bytes(const struct chunk_reader *r)
{
    return r->fetched_bytes;
}
