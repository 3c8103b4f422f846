#include "server/known.h"

#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { CAPACITY_MIN = 1024 };

enum status known_init(struct known *k, struct budget *budget, struct error *err)
{
    *k = (struct known){.budget = budget};
    if (getrandom(k->key, sizeof k->key, 0) != (ssize_t)sizeof k->key)
        return fail(err, ERR_IO, "random bytes for a table");
    return OK;
}

static void forget_slots(struct known *k)
{
    if (k->capacity > 0)
        budget_give(k->budget, k->capacity * sizeof *k->slots);
    free(k->slots);
}

void known_deinit(struct known *k)
{
    forget_slots(k);
    *k = (struct known){0};
}

static size_t hash(const struct known *k, const struct digest *digest)
{
    uint64_t h = k->key[0];
    for (size_t i = 0; i < DIGEST_SIZE; i += 8) {
        h ^= load_u64le(digest->bytes + i);
        h *= k->key[1] | 1;
        h ^= h >> 29;
    }
    return (size_t)(h ^ h >> 32);
}

/* Where the digest is, or belongs. */
static struct known_chunk *slot(const struct known *k, const struct digest *digest)
{
    size_t i = hash(k, digest) & (k->capacity - 1);
    while (k->slots[i].size > 0 && !digest_equal(&k->slots[i].digest, digest))
        i = (i + 1) & (k->capacity - 1);
    return &k->slots[i];
}

static enum status grow(struct known *k, struct error *err)
{
    struct known bigger = *k;
    void *slots;
    bigger.capacity = k->capacity ? 2 * k->capacity : CAPACITY_MIN;
    size_t size = bigger.capacity * sizeof *k->slots; /* KNOWN_MAX keeps it small enough */
    if (!budget_take(k->budget, size))
        return fail(err, ERR_LIMIT, "the server's sessions know too many chunks: it has no memory for more");
    enum status status =
        array_new(bigger.capacity, sizeof *k->slots, (size_t)KNOWN_MAX * 2, "known chunks", &slots, err);
    if (status != OK) {
        budget_give(k->budget, size);
        return status;
    }
    bigger.slots = slots;
    for (size_t i = 0; i < k->capacity; i++)
        if (k->slots[i].size > 0)
            *slot(&bigger, &k->slots[i].digest) = k->slots[i];
    forget_slots(k);
    *k = bigger;
    return OK;
}

enum status known_add(struct known *k, const struct digest *digest, uint32_t size, struct error *err)
{
    ASSERT(size > 0);
    if (k->count >= KNOWN_MAX)
        return fail(err, ERR_LIMIT, "more than %d chunks in a session", KNOWN_MAX);
    if (2 * (k->count + 1) > k->capacity)
        TRY(grow(k, err));
    struct known_chunk *found = slot(k, digest);
    k->count += found->size == 0;
    *found = (struct known_chunk){.digest = *digest, .size = size};
    return OK;
}

uint32_t known_find(const struct known *k, const struct digest *digest)
{
    return k->capacity > 0 ? slot(k, digest)->size : 0;
}

bool known_other(const struct known *k, const struct digest *than, struct digest *out)
{
    for (size_t i = 0; i < k->capacity; i++) {
        if (k->slots[i].size == 0 || digest_equal(&k->slots[i].digest, than))
            continue;
        *out = k->slots[i].digest;
        return true;
    }
    return false;
}
