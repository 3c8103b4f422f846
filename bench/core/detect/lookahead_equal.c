#include "detect/lookahead_equal.h"

#include <stdlib.h>
#include <string.h>

struct contents {
    const struct digest *digest;
    uint64_t size;
    uint32_t entry;
};

static int compare_contents(const struct contents *a, const struct contents *b)
{
    int order = memcmp(a->digest->bytes, b->digest->bytes, DIGEST_SIZE);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static int compare(const void *a, const void *b)
{
    const struct contents *x = a, *y = b;
    int order = compare_contents(x, y);
    return order ? order : (x->entry > y->entry) - (x->entry < y->entry);
}

enum status equal_entries(const struct dynamic_index *index, uint32_t **out, struct error *err)
{
    void *sorted_array, *first_array;
    TRY(array_new(index->count, sizeof(struct contents), INDEX_ENTRIES_MAX, "entries of the old index", &sorted_array,
                  err));
    struct contents *sorted = sorted_array;
    enum status status =
        array_new(index->count, sizeof(uint32_t), INDEX_ENTRIES_MAX, "entries of the old index", &first_array, err);
    if (status != OK) {
        free(sorted);
        return status;
    }
    uint32_t *first = first_array;
    for (size_t k = 0; k < index->count; k++)
        sorted[k] = (struct contents){
            .digest = &index->entries[k].digest,
            .size = dynamic_index_chunk_size(index, k),
            .entry = (uint32_t)k,
        };
    qsort(sorted, index->count, sizeof *sorted, compare);
    for (size_t i = 0; i < index->count; i++) {
        bool same = i > 0 && compare_contents(&sorted[i - 1], &sorted[i]) == 0;
        first[sorted[i].entry] = same ? first[sorted[i - 1].entry] : sorted[i].entry;
    }
    free(sorted);
    *out = first;
    return OK;
}
