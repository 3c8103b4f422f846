/* For tests of profile stored: runs a list of events through the look-ahead cache and records what comes out. */
#ifndef PXB_DETECT_STORED_FOR_TEST_H
#define PXB_DETECT_STORED_FOR_TEST_H

#include "detect/lookahead.h"

#include <stdio.h>
#include <string.h>

enum event_kind { EVENT_OFFERED, EVENT_RAW, EVENT_LINK, EVENT_SPECIAL, EVENT_ENTER, EVENT_LEAVE };

struct event {
    enum event_kind kind;
    uint64_t start, end; /* offered: old range. raw: new length is end - start, at least 16 */
    uint64_t old_end;    /* raw */
    bool lost;           /* raw: vanishes while it is encoded. link: its first name did */
    /* What became of it: */
    unsigned out; /* how often it came out */
    bool reused;
    enum file_reason reason;
    uint64_t offset;
};

struct listing {
    uint64_t boundary;
    struct reuse_chunk chunk;
};

struct old_file {
    uint64_t start, end;
};

struct scene {
    struct lookahead_options options;
    struct dynamic_index index;
    struct event *events;
    size_t event_count;
    const struct old_file *old_files; /* for unseen_live */
    size_t old_file_count;
    uint64_t unseen_from; /* what was asked last */

    size_t next_out; /* events come out in order */
    uint64_t position;
    uint64_t last_reference;
    struct listing *listings;
    size_t listing_count, listing_capacity;
    size_t batches;
    struct lookahead_counters counters;
    size_t handed_in, handed_back;
    size_t calls, fail_at;
    struct error error;
};

static enum status scene_call(struct scene *s, struct error *err)
{
    s->calls++;
    return s->fail_at && s->calls == s->fail_at ? fail(err, ERR_IO, "planned failure") : OK;
}

/* Directory ends have no entry, they are found by their place. */
static struct event *scene_out(struct scene *s, void *entry)
{
    assert_true(s->next_out < s->event_count);
    struct event *e = &s->events[s->next_out++];
    assert_ptr_equal(entry, e->kind == EVENT_LEAVE ? NULL : e);
    assert_int_equal(e->out, 0);
    e->out++;
    s->handed_back += entry != NULL;
    return e;
}

static enum status scene_encode(void *context, void *entry, enum file_reason reason, struct error *err)
{
    struct scene *s = context;
    struct event *e = scene_out(s, entry);
    assert_true(e->kind == EVENT_OFFERED || e->kind == EVENT_RAW || (e->kind == EVENT_LINK && e->lost));
    e->reused = false;
    e->reason = reason;
    e->offset = s->position;
    TRY(scene_call(s, err));
    assert_true(s->position > s->last_reference);
    if (e->kind == EVENT_RAW && e->lost)
        return OK;
    s->last_reference = s->position;
    s->position += e->end - e->start;
    return OK;
}

static enum status scene_reference(void *context, void *entry, uint64_t offset, uint64_t old_offset, struct error *err)
{
    struct scene *s = context;
    struct event *e = scene_out(s, entry);
    assert_int_equal(e->kind, EVENT_OFFERED);
    assert_int_equal(old_offset, e->start);
    assert_true(offset >= s->position && offset > s->last_reference);
    s->last_reference = offset;
    e->reused = true;
    e->reason = FILE_UNCHANGED;
    e->offset = offset;
    return scene_call(s, err);
}

static enum status scene_link(void *context, void *entry, struct error *err)
{
    assert_int_equal(scene_out(context, entry)->kind, EVENT_LINK);
    return scene_call(context, err);
}
static bool scene_link_ready(void *context, const void *entry)
{
    (void)context;
    return !((const struct event *)entry)->lost;
}
static enum status scene_special(void *context, void *entry, struct error *err)
{
    assert_int_equal(scene_out(context, entry)->kind, EVENT_SPECIAL);
    return scene_call(context, err);
}
static enum status scene_enter(void *context, void *entry, struct error *err)
{
    assert_int_equal(scene_out(context, entry)->kind, EVENT_ENTER);
    return scene_call(context, err);
}
static enum status scene_leave(void *context, struct error *err)
{
    assert_int_equal(scene_out(context, NULL)->kind, EVENT_LEAVE);
    return scene_call(context, err);
}

static enum status scene_inject(void *context, uint64_t boundary, const struct reuse_chunk *chunks, size_t count,
                                uint64_t size, struct error *err)
{
    struct scene *s = context;
    assert_int_equal(boundary, s->position);
    assert_in_range(count, 1, INJECTION_BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        assert_true(chunks[i].head + chunks[i].tail <= chunks[i].padding && chunks[i].padding <= chunks[i].size);
        assert_true(chunks[i].padding < chunks[i].size || s->options.profile == PROFILE_UPSTREAM);
        assert_int_equal(chunks[i].size, dynamic_index_chunk_size(&s->index, chunks[i].entry));
        if (s->listing_count == s->listing_capacity) {
            s->listing_capacity = s->listing_capacity ? 2 * s->listing_capacity : 64;
            s->listings = realloc(s->listings, s->listing_capacity * sizeof *s->listings);
            assert_non_null(s->listings);
        }
        s->listings[s->listing_count++] = (struct listing){.boundary = s->position, .chunk = chunks[i]};
        s->position += chunks[i].size;
    }
    assert_int_equal(s->position - boundary, size);
    s->batches++;
    return scene_call(s, err);
}

static uint64_t scene_position(void *context)
{
    return ((struct scene *)context)->position;
}

static enum status scene_unseen_live(void *context, uint64_t from, uint64_t to, uint64_t *out, struct error *err)
{
    struct scene *s = context;
    assert_true(from >= s->unseen_from && from < to);
    s->unseen_from = from;
    *out = 0;
    for (size_t i = 0; i < s->old_file_count; i++) {
        const struct old_file *f = &s->old_files[i];
        if (f->start >= from && f->start < to)
            *out += (f->end < to ? f->end : to) - f->start;
    }
    return scene_call(s, err);
}

static void scene_drop(void *context, void *entry)
{
    struct scene *s = context;
    struct event *e = entry;
    assert_int_equal(e->out, 0);
    e->out++;
    s->handed_back++;
}

static const struct lookahead_ops scene_ops = {
    .encode = scene_encode,
    .reference = scene_reference,
    .link = scene_link,
    .link_ready = scene_link_ready,
    .special = scene_special,
    .directory_begin = scene_enter,
    .directory_end = scene_leave,
    .inject = scene_inject,
    .payload_position = scene_position,
    .unseen_live = scene_unseen_live,
    .drop = scene_drop,
};

static enum status scene_event(struct scene *s, struct lookahead *l, struct event *e)
{
    s->handed_in += e->kind != EVENT_LEAVE;
    switch (e->kind) {
    case EVENT_OFFERED: return lookahead_reusable(l, e, e->start, e->end, &s->error);
    case EVENT_RAW: return lookahead_changed(l, e, e->end - e->start - 16, FILE_MTIME, e->old_end, &s->error);
    case EVENT_LINK: return lookahead_link(l, e, &s->error);
    case EVENT_SPECIAL: return lookahead_special(l, e, &s->error);
    case EVENT_ENTER: return lookahead_directory_begin(l, e, &s->error);
    case EVENT_LEAVE: return lookahead_directory_end(l, &s->error);
    }
    return OK;
}

/* May be repeated: forgets what came out before. */
static enum status scene_run(struct scene *s)
{
    s->next_out = s->listing_count = s->batches = s->handed_in = s->handed_back = s->calls = 0;
    s->position = 16;
    s->last_reference = s->unseen_from = 0;
    for (size_t i = 0; i < s->event_count; i++)
        s->events[i].out = 0;
    struct lookahead *l;
    assert_int_equal(lookahead_new(&s->options, &s->index, &scene_ops, s, &l, &s->error), OK);
    enum status status = OK;
    for (size_t i = 0; i < s->event_count && status == OK; i++)
        status = scene_event(s, l, &s->events[i]);
    if (status == OK)
        status = lookahead_finish(l, &s->error);
    s->counters = *lookahead_count(l);
    if (status == OK)
        assert_int_equal(s->next_out, s->event_count);
    lookahead_free(l);
    assert_int_equal(s->handed_in, s->handed_back);
    return status;
}

static void scene_deinit(struct scene *s)
{
    free(s->listings);
}

#endif
