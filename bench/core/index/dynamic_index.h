/* The dynamic chunk index (.didx): which chunks make up a stream, in order.
 * Pure: bytes in, bytes out. Instances are independent; a finished (read) index may be shared between threads.
 * Source: bench/spec/datastore.md 2. */
#ifndef PXB_INDEX_DYNAMIC_INDEX_H
#define PXB_INDEX_DYNAMIC_INDEX_H

#include "base/buffer.h"
#include "chunk/digest.h"

enum {
    INDEX_HEADER_SIZE = 4096,
    DYNAMIC_ENTRY_SIZE = 40,
    INDEX_ENTRIES_MAX = 1 << 28,
    INDEX_CSUM_OFFSET = 32,
};

struct index_header {
    uint8_t uuid[16];
    int64_t ctime; /* Unix seconds */
    struct digest csum;
};

struct index_entry {
    uint64_t end; /* stream offset behind the chunk */
    struct digest digest;
};

struct dynamic_index {
    struct index_header header;
    struct index_entry *entries; /* owned */
    size_t count;                /* >= 1 once read */
    bool encrypted;              /* its chunks are: the manifest says so, not the file, and parsing leaves it false */
};

/* Writing: bytes of header and entry, and the running checksum over (end, digest). */
void dynamic_index_header_bytes(const struct index_header *h, uint8_t out[INDEX_HEADER_SIZE]);
void dynamic_index_entry_bytes(const struct index_entry *e, uint8_t out[DYNAMIC_ENTRY_SIZE]);

/* Reading a whole file. ERR_NOT_ARCHIVE: other magic; ERR_FORMAT: size, no entries, ends that do not strictly
 * increase (with entry number). The stored csum is not trusted: compare dynamic_index_csum with the manifest. */
MUST_CHECK enum status dynamic_index_parse(const uint8_t *data, size_t size, const char *name,
                                           struct dynamic_index *out, struct error *err);
void dynamic_index_deinit(struct dynamic_index *index); /* accepts {0} */
void dynamic_index_csum(const struct dynamic_index *index, struct digest *out);
uint64_t dynamic_index_size(const struct dynamic_index *index); /* stream length */
static inline uint64_t dynamic_index_start(const struct dynamic_index *index, size_t k)
{
    return k ? index->entries[k - 1].end : 0;
}
static inline uint64_t dynamic_index_chunk_size(const struct dynamic_index *index, size_t k)
{
    return index->entries[k].end - dynamic_index_start(index, k);
}
/* First entry with end > offset. ERR_NOT_FOUND when offset >= stream length. `hint`: entry to start from (a previous
 * answer for a smaller or equal offset makes it O(1)); any value is correct. */
MUST_CHECK enum status dynamic_index_find(const struct dynamic_index *index, uint64_t offset, size_t hint, size_t *out,
                                          struct error *err);

#endif
