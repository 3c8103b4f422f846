#include "index/dynamic_index.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Offsets of the fields in the header: magic 8, uuid 16, ctime 8, csum 32, zero up to 4096. */
enum { MAGIC_SIZE = 8, UUID_OFFSET = 8, CTIME_OFFSET = 24, ENTRY_DIGEST_OFFSET = 8 };

static_assert(sizeof((struct index_header *)0)->uuid == CTIME_OFFSET - UUID_OFFSET, "uuid fills its field");
static_assert(ENTRY_DIGEST_OFFSET + DIGEST_SIZE == DYNAMIC_ENTRY_SIZE, "an entry is an end and a digest");

static const uint8_t magic[MAGIC_SIZE] = {0x1c, 0x91, 0x4e, 0xa5, 0x19, 0xba, 0xb3, 0xcd};

void dynamic_index_header_bytes(const struct index_header *h, uint8_t out[INDEX_HEADER_SIZE])
{
    memset(out, 0, INDEX_HEADER_SIZE);
    memcpy(out, magic, sizeof magic);
    memcpy(out + UUID_OFFSET, h->uuid, sizeof h->uuid);
    store_u64le(out + CTIME_OFFSET, (uint64_t)h->ctime);
    memcpy(out + INDEX_CSUM_OFFSET, h->csum.bytes, DIGEST_SIZE);
}

void dynamic_index_entry_bytes(const struct index_entry *e, uint8_t out[DYNAMIC_ENTRY_SIZE])
{
    store_u64le(out, e->end);
    memcpy(out + ENTRY_DIGEST_OFFSET, e->digest.bytes, DIGEST_SIZE);
}

static void entry_parse(const uint8_t in[DYNAMIC_ENTRY_SIZE], struct index_entry *out)
{
    out->end = load_u64le(in);
    memcpy(out->digest.bytes, in + ENTRY_DIGEST_OFFSET, DIGEST_SIZE);
}

enum status dynamic_index_parse(const uint8_t *data, size_t size, const char *name, struct dynamic_index *out,
                                struct error *err)
{
    *out = (struct dynamic_index){0};
    /* A short file of another kind is better called that than a short index. */
    if (size < MAGIC_SIZE || memcmp(data, magic, sizeof magic) != 0)
        return fail(err, ERR_NOT_ARCHIVE, "%s: not a dynamic index: wrong magic number at offset 0", name);
    if (size < INDEX_HEADER_SIZE)
        return fail(err, ERR_FORMAT, "%s: index of %zu bytes ends within its header of %d", name, size,
                    INDEX_HEADER_SIZE);
    size_t body_size = size - INDEX_HEADER_SIZE;
    size_t count = body_size / DYNAMIC_ENTRY_SIZE;
    if (body_size % DYNAMIC_ENTRY_SIZE != 0)
        return fail(err, ERR_FORMAT, "%s: index size %zu is not %d plus a multiple of %d", name, size,
                    INDEX_HEADER_SIZE, DYNAMIC_ENTRY_SIZE);
    if (count == 0)
        return fail(err, ERR_FORMAT, "%s: index has no entries", name);

    struct dynamic_index index = {.count = count};
    memcpy(index.header.uuid, data + UUID_OFFSET, sizeof index.header.uuid);
    index.header.ctime = (int64_t)load_u64le(data + CTIME_OFFSET);
    memcpy(index.header.csum.bytes, data + INDEX_CSUM_OFFSET, DIGEST_SIZE);

    void *entries;
    TRY(array_new(count, sizeof *index.entries, INDEX_ENTRIES_MAX, "index entries", &entries, err));
    index.entries = entries;
    uint64_t previous_end = 0;
    for (size_t k = 0; k < count; k++) {
        size_t offset = INDEX_HEADER_SIZE + k * DYNAMIC_ENTRY_SIZE;
        entry_parse(data + offset, &index.entries[k]);
        uint64_t end = index.entries[k].end;
        if (end <= previous_end) {
            dynamic_index_deinit(&index);
            return fail(err, ERR_FORMAT,
                        "%s: index entry %zu at offset %zu ends at %" PRIu64 ", which is not behind %" PRIu64, name, k,
                        offset, end, previous_end);
        }
        previous_end = end;
    }
    *out = index;
    return OK;
}

void dynamic_index_deinit(struct dynamic_index *index)
{
    free(index->entries);
    *index = (struct dynamic_index){0};
}

void dynamic_index_csum(const struct dynamic_index *index, struct digest *out)
{
    enum { BATCH = 256 }; /* one hash call per 40 bytes costs more than the hashing */
    uint8_t bytes[BATCH * DYNAMIC_ENTRY_SIZE];
    struct digest_state *state = NULL;
    /* The signature has no way to say "out of memory" for a few hundred bytes; nor has digest_of. */
    enum status made = digest_new(&state, NULL);
    ASSERT(made == OK);
    digest_begin(state);
    for (size_t k = 0; k < index->count;) {
        size_t n = 0;
        for (; n < BATCH && k < index->count; n++, k++)
            dynamic_index_entry_bytes(&index->entries[k], bytes + n * DYNAMIC_ENTRY_SIZE);
        digest_update(state, bytes, n * DYNAMIC_ENTRY_SIZE);
    }
    digest_finish(state, out);
    digest_free(state);
}

uint64_t dynamic_index_size(const struct dynamic_index *index)
{
    return index->count ? index->entries[index->count - 1].end : 0;
}

enum status dynamic_index_find(const struct dynamic_index *index, uint64_t offset, size_t hint, size_t *out,
                               struct error *err)
{
    if (offset >= dynamic_index_size(index))
        return fail(err, ERR_NOT_FOUND, "offset %" PRIu64 " is outside of a stream of %" PRIu64 " bytes", offset,
                    dynamic_index_size(index));
    /* The answer is in [low, high]: entry `high` ends behind the offset, all before `low` do not. */
    size_t low = 0;
    size_t high = index->count - 1;
    if (hint < index->count) {
        if (dynamic_index_start(index, hint) > offset) {
            high = hint - 1; /* hint > 0: entry 0 starts at 0, which is not behind any offset */
        } else {
            /* Streams are read forwards: nearly always the same entry again or the next one. */
            for (size_t k = hint; k < index->count && k < hint + 2; k++)
                if (index->entries[k].end > offset) {
                    *out = k;
                    return OK;
                }
            low = hint + 2 < high ? hint + 2 : high;
        }
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (index->entries[middle].end > offset)
            high = middle;
        else
            low = middle + 1;
    }
    *out = low;
    return OK;
}
