#include "flow/announce.h"

void announce_ahead(struct announcer *a, size_t current, size_t count)
{
    if (!store_reader_is_remote(a->reader))
        return;
    struct store_hint hints[STORE_HINT_CHUNKS];
    size_t hint_count = 0;
    uint64_t bytes = 0;
    if (a->next < current)
        a->next = current;
    for (size_t k = current; k < count && k - current < STORE_HINT_CHUNKS; k++) {
        struct store_hint hint;
        enum announcement what = a->chunk(a->context, k, &hint);
        if (what == ANNOUNCE_STOP)
            break;
        if (what == ANNOUNCE_IT) {
            bytes += hint.raw_size;
            if (bytes > ANNOUNCE_BYTES && k > current)
                break;
        }
        if (k < a->next)
            continue;
        a->next = k + 1;
        if (what == ANNOUNCE_IT)
            hints[hint_count++] = hint;
    }
    store_prefetch(a->reader, a->name, hints, hint_count);
}
