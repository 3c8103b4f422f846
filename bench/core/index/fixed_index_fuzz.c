/* A fixed index from hostile bytes: whatever parses can be written back to the same bytes, and its chunks are exactly
 * the image. */
#include "index/fixed_index.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fixed_index index;
    struct error err = {0};
    if (fixed_index_parse(data, size, "fuzz", &index, &err) != OK) {
        ASSERT(err.text[0] && !index.digests);
        return 0;
    }
    ASSERT(index.count >= 1 && size == INDEX_HEADER_SIZE + index.count * FIXED_ENTRY_SIZE);
    struct digest csum, bytes_csum;
    fixed_index_csum(&index, &csum);
    digest_of(data + INDEX_HEADER_SIZE, size - INDEX_HEADER_SIZE, &bytes_csum);
    ASSERT(digest_equal(&csum, &bytes_csum));
    uint8_t header[INDEX_HEADER_SIZE];
    fixed_index_header_bytes(&index.header, index.size, index.chunk_size, header);
    enum { FIELDS_SIZE = 80 }; /* what is behind them is ignored */
    ASSERT(memcmp(header, data, FIELDS_SIZE) == 0);
    uint64_t end = 0;
    for (size_t k = 0; k < index.count; k++) {
        uint64_t slot, length = fixed_index_chunk_size(&index, k);
        end += length;
        ASSERT(fixed_index_slot(index.size, index.chunk_size, end, length, &slot, &err) == OK && slot == k);
    }
    ASSERT(end == index.size);
    fixed_index_deinit(&index);
    return 0;
}
