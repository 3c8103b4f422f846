#include "flow/digest_set.h"

#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>

enum { DIGEST_SET_MAX = 1 << 28 };

static const struct digest zero;

void digest_set_deinit(struct digest_set *s)
{
    free(s->slots);
    *s = (struct digest_set){0};
}

/* The slot where `d` is or would go. */
static size_t slot_of(const struct digest_set *s, const struct digest *d)
{
    size_t hash;
    memcpy(&hash, d->bytes, sizeof hash);
    size_t i = hash & (s->capacity - 1);
    while (!digest_equal(&s->slots[i], &zero) && !digest_equal(&s->slots[i], d))
        i = (i + 1) & (s->capacity - 1);
    return i;
}

bool digest_set_has(const struct digest_set *s, const struct digest *d)
{
    if (digest_equal(d, &zero))
        return s->has_zero;
    return s->capacity > 0 && digest_equal(&s->slots[slot_of(s, d)], d);
}

static enum status grow(struct digest_set *s, struct error *err)
{
    struct digest_set bigger = {.capacity = s->capacity ? s->capacity * 2 : 1024, .has_zero = s->has_zero};
    void *slots;
    TRY(array_new(bigger.capacity, sizeof *bigger.slots, DIGEST_SET_MAX, "known chunks", &slots, err));
    bigger.slots = slots;
    for (size_t i = 0; i < s->capacity; i++)
        if (!digest_equal(&s->slots[i], &zero))
            bigger.slots[slot_of(&bigger, &s->slots[i])] = s->slots[i];
    bigger.count = s->count;
    free(s->slots);
    *s = bigger;
    return OK;
}

enum status digest_set_add(struct digest_set *s, const struct digest *d, struct error *err)
{
    if (digest_equal(d, &zero)) {
        s->has_zero = true;
        return OK;
    }
    if (s->count >= s->capacity / 2)
        TRY(grow(s, err));
    size_t i = slot_of(s, d);
    if (digest_equal(&s->slots[i], &zero)) {
        s->slots[i] = *d;
        s->count++;
    }
    return OK;
}
