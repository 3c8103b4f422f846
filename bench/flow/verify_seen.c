#include "flow/verify_seen.h"

#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { SEEN_MAX = 1 << 28, SEEN_FIRST = 1024 };

void verify_seen_deinit(struct verify_seen *s)
{
    free(s->slots);
    *s = (struct verify_seen){0};
}

/* The slot where `d` is or would go. */
static struct seen_chunk *slot_of(const struct verify_seen *s, const struct digest *d)
{
    uint64_t hash = s->key;
    for (size_t i = 0; i < DIGEST_SIZE; i += 8) {
        hash = (hash ^ load_u64le(d->bytes + i)) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    size_t i = (size_t)hash & (s->capacity - 1);
    while (s->slots[i].used && !digest_equal(&s->slots[i].digest, d))
        i = (i + 1) & (s->capacity - 1);
    return &s->slots[i];
}

static enum status grow(struct verify_seen *s, struct error *err)
{
    struct verify_seen bigger = {.capacity = s->capacity ? s->capacity * 2 : SEEN_FIRST, .key = s->key};
    if (s->capacity == 0 && getrandom(&bigger.key, sizeof bigger.key, 0) != (ssize_t)sizeof bigger.key)
        return fail(err, ERR_IO, "random bytes for a hash key");
    void *slots;
    TRY(array_new(bigger.capacity, sizeof *bigger.slots, SEEN_MAX, "verified chunks", &slots, err));
    bigger.slots = slots;
    for (size_t i = 0; i < s->capacity; i++)
        if (s->slots[i].used) {
            *slot_of(&bigger, &s->slots[i].digest) = s->slots[i];
            bigger.count++;
        }
    free(s->slots);
    *s = bigger;
    return OK;
}

enum status verify_seen_find(struct verify_seen *s, const struct digest *digest, struct seen_chunk **out,
                             struct error *err)
{
    if (s->count >= s->capacity / 2)
        TRY(grow(s, err));
    *out = slot_of(s, digest);
    if (!(*out)->used) {
        (*out)->digest = *digest;
        s->count++; /* the caller may leave it unused: then it is counted once too often, which only grows earlier */
    }
    return OK;
}
