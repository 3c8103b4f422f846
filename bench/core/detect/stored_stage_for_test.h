/* For tests of profile stored: scenes put together piece by piece, old archive and walk at once. Files are LENGTH bytes
 * long, header included, unless told otherwise. */
#ifndef PXB_DETECT_STORED_STAGE_FOR_TEST_H
#define PXB_DETECT_STORED_STAGE_FOR_TEST_H

#include "detect/stored_for_test.h"

enum { LENGTH = 1000 };

struct stage {
    struct scene scene;
    struct index_entry *entries;
    size_t entry_capacity;
    struct event *events;
    size_t event_capacity;
    uint64_t at;     /* end of the old file told last */
    size_t contents; /* different chunks so far */
};

static inline struct stage stage_make(size_t chunks_max, size_t events_max)
{
    struct stage s = {.entry_capacity = chunks_max, .event_capacity = events_max, .at = 0};
    s.entries = calloc(chunks_max, sizeof *s.entries);
    s.events = calloc(events_max, sizeof *s.events);
    assert_true(s.entries && s.events);
    s.scene.index.entries = s.entries;
    s.scene.events = s.events;
    s.scene.options = (struct lookahead_options){.profile = PROFILE_STORED,
                                                 .threshold_ppm = THRESHOLD_DEFAULT_PPM,
                                                 .cache_limit = SIZE_MAX,
                                                 .absorb_below = 0,
                                                 .absorb_until = 100 * LENGTH,
                                                 .max_instances = 8};
    return s;
}

static inline void stage_free(struct stage *s)
{
    scene_deinit(&s->scene);
    free(s->entries);
    free(s->events);
}

static inline void chunks(struct stage *s, size_t count, uint64_t size)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t end = dynamic_index_start(&s->scene.index, s->scene.index.count) + size;
        assert_true(s->scene.index.count < s->entry_capacity);
        struct index_entry *e = &s->entries[s->scene.index.count++];
        e->end = end;
        s->contents++;
        memcpy(e->digest.bytes, &s->contents, sizeof s->contents); /* all differ */
    }
}

static inline struct event *event(struct stage *s, struct event e)
{
    assert_true(s->scene.event_count < s->event_capacity);
    s->events[s->scene.event_count] = e;
    return &s->events[s->scene.event_count++];
}

static inline void offered_of(struct stage *s, size_t count, uint64_t length)
{
    for (size_t i = 0; i < count; i++) {
        event(s, (struct event){.kind = EVENT_OFFERED, .start = s->at, .end = s->at + length});
        s->at += length;
    }
}
static inline void offered(struct stage *s, size_t count)
{
    offered_of(s, count, LENGTH);
}
static inline void changed(struct stage *s, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        s->at += LENGTH;
        event(s, (struct event){.kind = EVENT_RAW, .end = LENGTH, .old_end = s->at});
    }
}
static inline void new_file(struct stage *s, uint64_t length)
{
    event(s, (struct event){.kind = EVENT_RAW, .end = length});
}

static inline void run(struct stage *s)
{
    assert_int_equal(scene_run(&s->scene), OK);
}

static inline size_t raw_count(const struct stage *s, enum file_reason reason)
{
    size_t count = 0;
    for (size_t i = 0; i < s->scene.event_count; i++)
        count += s->events[i].kind <= EVENT_RAW && !s->events[i].reused && s->events[i].reason == reason;
    return count;
}

static inline size_t times_listed(const struct stage *s, size_t entry)
{
    size_t count = 0;
    for (size_t i = 0; i < s->scene.listing_count; i++)
        count += s->scene.listings[i].chunk.entry == entry;
    return count;
}

static inline void listed_again(struct stage *s, const struct stage *before, const struct listing *l)
{
    assert_int_equal(l->boundary, dynamic_index_size(&s->scene.index));
    chunks(s, 1, l->chunk.size);
    s->entries[s->scene.index.count - 1].digest = before->entries[l->chunk.entry].digest;
}

/* The next backup of what this one wrote, nothing changed again: index and ranges are the new ones. */
static inline struct stage next_generation(const struct stage *s)
{
    struct stage next = stage_make(s->scene.listing_count + s->scene.event_count + 2, s->event_capacity);
    next.scene.options = s->scene.options;
    next.contents = s->contents;
    chunks(&next, 1, 16);
    size_t listed = 0;
    for (size_t i = 0; i < s->scene.event_count; i++) {
        struct event e = s->events[i];
        if (e.kind <= EVENT_RAW) {
            for (; listed < s->scene.listing_count && s->scene.listings[listed].boundary <= e.offset; listed++)
                listed_again(&next, s, &s->scene.listings[listed]);
            uint64_t length = e.end - e.start;
            if (!e.reused)
                chunks(&next, 1, length);
            e = (struct event){.kind = EVENT_OFFERED, .start = e.offset, .end = e.offset + length};
        }
        event(&next, e);
    }
    for (; listed < s->scene.listing_count; listed++)
        listed_again(&next, s, &s->scene.listings[listed]);
    chunks(&next, 1, 16);
    return next;
}

#endif
