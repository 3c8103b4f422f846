/* An index from hostile bytes: whatever parses can be written back to the same bytes and looked up without harm. */
#include "index/dynamic_index.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dynamic_index index;
    struct error err = {0};
    if (dynamic_index_parse(data, size, "fuzz", &index, &err) != OK)
        return 0;
    ASSERT(index.count >= 1 && size == INDEX_HEADER_SIZE + index.count * DYNAMIC_ENTRY_SIZE);
    struct digest csum, bytes_csum;
    dynamic_index_csum(&index, &csum);
    digest_of(data + INDEX_HEADER_SIZE, size - INDEX_HEADER_SIZE, &bytes_csum);
    ASSERT(digest_equal(&csum, &bytes_csum));
    for (size_t k = 0; k < index.count; k++) {
        uint8_t bytes[DYNAMIC_ENTRY_SIZE];
        dynamic_index_entry_bytes(&index.entries[k], bytes);
        ASSERT(memcmp(bytes, data + INDEX_HEADER_SIZE + k * DYNAMIC_ENTRY_SIZE, sizeof bytes) == 0);
        ASSERT(dynamic_index_chunk_size(&index, k) > 0);
        size_t found = SIZE_MAX;
        size_t hint = index.entries[k].digest.bytes[0];
        ASSERT(dynamic_index_find(&index, index.entries[k].end - 1, hint, &found, &err) == OK && found == k);
        ASSERT(dynamic_index_find(&index, dynamic_index_start(&index, k), hint, &found, &err) == OK && found == k);
    }
    dynamic_index_deinit(&index);
    return 0;
}
