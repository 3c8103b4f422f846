#include "store/remote_pending.h"

#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>

enum { CAPACITY_FIRST = 256, CAPACITY_MAX = 1 << 28 };

void pending_deinit(struct pending_digests *p)
{
    free(p->slots);
    *p = (struct pending_digests){0};
}

static size_t home_of(const struct pending_digests *p, const struct digest *digest)
{
    uint64_t hash;
    memcpy(&hash, digest->bytes, sizeof hash);
    return (size_t)hash & (p->capacity - 1);
}

/* The digest's slot, or the empty one where it would be. */
static size_t find(const struct pending_digests *p, const struct digest *digest)
{
    size_t at = home_of(p, digest);
    while (p->slots[at].count > 0 && !digest_equal(&p->slots[at].digest, digest))
        at = (at + 1) & (p->capacity - 1);
    return at;
}

static enum status grow(struct pending_digests *p, struct error *err)
{
    struct pending_digests bigger = {.capacity = p->capacity ? p->capacity * 2 : CAPACITY_FIRST, .used = p->used};
    void *slots;
    TRY(array_new(bigger.capacity, sizeof *p->slots, CAPACITY_MAX, "chunks under way", &slots, err));
    bigger.slots = slots;
    for (size_t i = 0; i < p->capacity; i++)
        if (p->slots[i].count > 0)
            bigger.slots[find(&bigger, &p->slots[i].digest)] = p->slots[i];
    free(p->slots);
    *p = bigger;
    return OK;
}

enum status pending_add(struct pending_digests *p, const struct digest *digest, struct error *err)
{
    if (p->used >= p->capacity / 2)
        TRY(grow(p, err));
    struct pending_digest *slot = &p->slots[find(p, digest)];
    if (slot->count == 0) {
        slot->digest = *digest;
        p->used++;
    }
    slot->count++;
    return OK;
}

/* Slots behind the one that became empty move up, unless that would put them before their home. */
static void close_gap(struct pending_digests *p, size_t gap)
{
    size_t mask = p->capacity - 1;
    for (size_t at = (gap + 1) & mask; p->slots[at].count > 0; at = (at + 1) & mask) {
        size_t home = home_of(p, &p->slots[at].digest);
        if (((at - home) & mask) < ((at - gap) & mask))
            continue;
        p->slots[gap] = p->slots[at];
        p->slots[at].count = 0;
        gap = at;
    }
}

void pending_remove(struct pending_digests *p, const struct digest *digest)
{
    if (p->capacity == 0)
        return;
    size_t at = find(p, digest);
    if (p->slots[at].count == 0 || --p->slots[at].count > 0)
        return;
    p->used--;
    close_gap(p, at);
}

bool pending_has(const struct pending_digests *p, const struct digest *digest)
{
    return p->capacity > 0 && p->slots[find(p, digest)].count > 0;
}
