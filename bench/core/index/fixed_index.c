#include "index/fixed_index.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Offsets of the fields in the header: magic 8, uuid 16, ctime 8, csum 32, size 8, chunk size 8, zero up to 4096. */
enum { MAGIC_SIZE = 8, UUID_OFFSET = 8, CTIME_OFFSET = 24, SIZE_OFFSET = 64, CHUNK_SIZE_OFFSET = 72 };

static_assert(SIZE_OFFSET == INDEX_CSUM_OFFSET + DIGEST_SIZE, "the image's size is behind the checksum");
static_assert(sizeof(struct digest) == FIXED_ENTRY_SIZE, "an array of digests is an array of entries");

static const uint8_t magic[MAGIC_SIZE] = {0x2f, 0x7f, 0x41, 0xed, 0x91, 0xfd, 0x0f, 0xcd};

void fixed_index_header_bytes(const struct index_header *h, uint64_t size, uint64_t chunk_size,
                              uint8_t out[INDEX_HEADER_SIZE])
{
    memset(out, 0, INDEX_HEADER_SIZE);
    memcpy(out, magic, sizeof magic);
    memcpy(out + UUID_OFFSET, h->uuid, sizeof h->uuid);
    store_u64le(out + CTIME_OFFSET, (uint64_t)h->ctime);
    memcpy(out + INDEX_CSUM_OFFSET, h->csum.bytes, DIGEST_SIZE);
    store_u64le(out + SIZE_OFFSET, size);
    store_u64le(out + CHUNK_SIZE_OFFSET, chunk_size);
}

enum status fixed_index_count(uint64_t size, uint64_t chunk_size, const char *name, uint64_t *out_count,
                              struct error *err)
{
    if (chunk_size == 0 || (chunk_size & (chunk_size - 1)) != 0)
        return fail(err, ERR_FORMAT, "%s: chunk size %" PRIu64 " at offset %d is not a power of two", name, chunk_size,
                    CHUNK_SIZE_OFFSET);
    if (chunk_size > FIXED_CHUNK_SIZE_MAX)
        return fail(err, ERR_FORMAT, "%s: chunk size %" PRIu64 " at offset %d is above %d", name, chunk_size,
                    CHUNK_SIZE_OFFSET, FIXED_CHUNK_SIZE_MAX);
    if (size == 0)
        return fail(err, ERR_FORMAT, "%s: size of the image at offset %d is 0", name, SIZE_OFFSET);
    uint64_t count = (size - 1) / chunk_size + 1;
    if (count > INDEX_ENTRIES_MAX)
        return fail(err, ERR_LIMIT, "%s: an image of %" PRIu64 " bytes has %" PRIu64 " chunks, at most %d are allowed",
                    name, size, count, INDEX_ENTRIES_MAX);
    *out_count = count;
    return OK;
}

enum status fixed_index_parse(const uint8_t *data, size_t size, const char *name, struct fixed_index *out,
                              struct error *err)
{
    *out = (struct fixed_index){0};
    /* A short file of another kind is better called that than a short index. */
    if (size < MAGIC_SIZE || memcmp(data, magic, sizeof magic) != 0)
        return fail(err, ERR_NOT_ARCHIVE, "%s: not a fixed index: wrong magic number at offset 0", name);
    if (size < INDEX_HEADER_SIZE)
        return fail(err, ERR_FORMAT, "%s: index of %zu bytes ends within its header of %d", name, size,
                    INDEX_HEADER_SIZE);
    struct fixed_index index = {.size = load_u64le(data + SIZE_OFFSET),
                                .chunk_size = load_u64le(data + CHUNK_SIZE_OFFSET)};
    uint64_t count;
    TRY(fixed_index_count(index.size, index.chunk_size, name, &count, err));
    /* The file proves the count before anything of that size is allocated. */
    if (size - INDEX_HEADER_SIZE != count * FIXED_ENTRY_SIZE)
        return fail(err, ERR_FORMAT,
                    "%s: index size is %zu, %" PRIu64 " chunks of an image of %" PRIu64 " bytes make it %" PRIu64, name,
                    size, count, index.size, INDEX_HEADER_SIZE + count * FIXED_ENTRY_SIZE);
    memcpy(index.header.uuid, data + UUID_OFFSET, sizeof index.header.uuid);
    index.header.ctime = (int64_t)load_u64le(data + CTIME_OFFSET);
    memcpy(index.header.csum.bytes, data + INDEX_CSUM_OFFSET, DIGEST_SIZE);

    void *digests;
    TRY(array_new((size_t)count, sizeof *index.digests, INDEX_ENTRIES_MAX, "index entries", &digests, err));
    memcpy(digests, data + INDEX_HEADER_SIZE, (size_t)count * FIXED_ENTRY_SIZE);
    index.digests = digests;
    index.count = (size_t)count;
    *out = index;
    return OK;
}

void fixed_index_deinit(struct fixed_index *index)
{
    free(index->digests);
    *index = (struct fixed_index){0};
}

void fixed_index_csum(const struct fixed_index *index, struct digest *out)
{
    digest_of(index->digests, index->count * sizeof *index->digests, out);
}

uint64_t fixed_index_chunk_size(const struct fixed_index *index, size_t k)
{
    ASSERT(k < index->count);
    uint64_t left = index->size - k * index->chunk_size;
    return left < index->chunk_size ? left : index->chunk_size;
}

enum status fixed_index_slot(uint64_t size, uint64_t chunk_size, uint64_t end, uint64_t length, uint64_t *out_k,
                             struct error *err)
{
    bool good = length > 0 && length <= chunk_size && end <= size && length <= end &&
                (length == chunk_size || end == size) && (end - length) % chunk_size == 0;
    if (!good)
        return fail(err, ERR_FORMAT,
                    "a chunk of %" PRIu64 " bytes that ends at %" PRIu64 " is none of an image of %" PRIu64
                    " bytes in chunks of %" PRIu64,
                    length, end, size, chunk_size);
    *out_k = (end - length) / chunk_size;
    return OK;
}
