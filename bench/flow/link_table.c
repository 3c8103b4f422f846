#include "flow/link_table.h"

#include "base/buffer.h"

#include <stdlib.h>

enum { LINK_TABLE_MAX = 1 << 27 };

void link_table_deinit(struct link_table *t)
{
    for (size_t i = 0; i < t->capacity; i++)
        free(t->slots[i].path);
    free(t->slots);
    *t = (struct link_table){0};
}

static size_t slot_of(const struct link_table *t, uint64_t device, uint64_t inode)
{
    uint64_t hash = (inode ^ device * 0x9E3779B97F4A7C15U) * 0xBF58476D1CE4E5B9U;
    size_t i = (size_t)(hash ^ hash >> 32) & (t->capacity - 1);
    while (t->slots[i].used && (t->slots[i].inode != inode || t->slots[i].device != device))
        i = (i + 1) & (t->capacity - 1);
    return i;
}

struct link_entry *link_table_find(const struct link_table *t, uint64_t device, uint64_t inode)
{
    if (t->capacity == 0)
        return NULL;
    struct link_entry *e = &t->slots[slot_of(t, device, inode)];
    return e->used ? e : NULL;
}

enum status link_table_get(struct link_table *t, uint64_t device, uint64_t inode, struct link_entry **out,
                           struct error *err)
{
    if (t->count >= t->capacity / 2) {
        struct link_table bigger = {.capacity = t->capacity ? t->capacity * 2 : 64, .count = t->count};
        void *slots;
        TRY(array_new(bigger.capacity, sizeof *bigger.slots, LINK_TABLE_MAX, "files with several links", &slots, err));
        bigger.slots = slots;
        for (size_t i = 0; i < t->capacity; i++)
            if (t->slots[i].used)
                bigger.slots[slot_of(&bigger, t->slots[i].device, t->slots[i].inode)] = t->slots[i];
        free(t->slots);
        *t = bigger;
    }
    struct link_entry *e = &t->slots[slot_of(t, device, inode)];
    if (!e->used) {
        *e = (struct link_entry){.device = device, .inode = inode, .used = true};
        t->count++;
    }
    *out = e;
    return OK;
}
