#include "detect/simulate.h"

#include "detect/predicate.h"

#include <inttypes.h>
#include <stdlib.h>

struct simulation {
    const struct dynamic_index *index;
    struct sim_observer observer;
    struct lookahead *lookahead;
    struct offset_guard guard;
    uint64_t ordinal; /* of the next event */
    uint64_t depth;   /* of directories, 0: the root */
    struct sim_result result;
    struct ledger ledger; /* its size is the payload position */
};

/* What the cache holds of a file or a name. */
struct sim_entry {
    uint64_t ordinal, size;
};

static void take(void *entry, struct sim_entry *out)
{
    struct sim_entry *e = entry;
    *out = *e;
    free(e);
}

static enum status tell_file(struct simulation *s, const struct sim_entry *e, bool reused, enum file_reason reason,
                             uint64_t offset, struct error *err)
{
    return s->observer.file ? s->observer.file(s->observer.context, e->ordinal, reused, reason, offset, err) : OK;
}

/* ---- what the cache asks for ---- */

static enum status on_encode(void *context, void *entry, enum file_reason reason, struct error *err)
{
    struct simulation *s = context;
    struct sim_entry e;
    take(entry, &e);
    uint64_t offset = s->ledger.totals.size;
    TRY(ledger_raw(&s->ledger, e.size + ITEM_HEADER_SIZE, err));
    s->result.reencoded_files++;
    s->result.reencoded_bytes += e.size + ITEM_HEADER_SIZE;
    s->result.read_bytes += e.size;
    return tell_file(s, &e, false, reason, offset, err);
}

static enum status on_reference(void *context, void *entry, uint64_t payload_offset, uint64_t old_offset,
                                struct error *err)
{
    (void)old_offset;
    struct simulation *s = context;
    struct sim_entry e;
    take(entry, &e);
    s->result.reused_files++;
    s->result.reused_bytes += e.size + ITEM_HEADER_SIZE;
    return tell_file(s, &e, true, FILE_UNCHANGED, payload_offset, err);
}

static enum status on_nothing(void *context, void *entry, struct error *err)
{
    (void)context;
    (void)err;
    free(entry);
    return OK;
}

static bool on_link_ready(void *context, const void *entry)
{
    (void)context;
    (void)entry;
    return true;
}

static enum status on_directory_end(void *context, struct error *err)
{
    (void)context;
    (void)err;
    return OK;
}

static enum status on_inject(void *context, uint64_t boundary, const struct reuse_chunk *chunks, size_t count,
                             uint64_t size, struct error *err)
{
    struct simulation *s = context;
    for (size_t i = 0; i < count; i++) {
        const struct reuse_chunk *c = &chunks[i];
        ASSERT(c->padding <= c->size && c->head <= c->padding && c->tail <= c->padding - c->head);
        TRY(ledger_chunk(&s->ledger, c->size, c->head, c->padding - c->head - c->tail, c->tail, err));
    }
    return s->observer.inject ? s->observer.inject(s->observer.context, boundary, chunks, count, size, err) : OK;
}

static uint64_t on_payload_position(void *context)
{
    return ((const struct simulation *)context)->ledger.totals.size;
}

static enum status on_unseen_live(void *context, uint64_t from, uint64_t to, uint64_t *out, struct error *err)
{
    struct simulation *s = context;
    *out = 0;
    return s->observer.unseen_live ? s->observer.unseen_live(s->observer.context, from, to, out, err) : OK;
}

static void on_drop(void *context, void *entry)
{
    (void)context;
    free(entry);
}

static const struct lookahead_ops ops = {
    .encode = on_encode,
    .reference = on_reference,
    .link = on_nothing,
    .link_ready = on_link_ready,
    .special = on_nothing,
    .directory_begin = on_nothing,
    .directory_end = on_directory_end,
    .inject = on_inject,
    .payload_position = on_payload_position,
    .unseen_live = on_unseen_live,
    .drop = on_drop,
};

/* ---- the run ---- */

enum status simulation_new(const struct lookahead_options *options, const struct dynamic_index *index,
                           const struct sim_observer *observer, struct simulation **out, struct error *err)
{
    struct simulation *s = calloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "out of memory for a simulation");
    s->index = index;
    if (observer)
        s->observer = *observer;
    enum status status = lookahead_new(options, index, &ops, s, &s->lookahead, err);
    if (status == OK)
        status = ledger_raw(&s->ledger, ITEM_HEADER_SIZE, err); /* the start marker */
    if (status != OK) {
        simulation_free(s);
        return status;
    }
    *out = s;
    return OK;
}

void simulation_free(struct simulation *s)
{
    if (!s)
        return;
    lookahead_free(s->lookahead);
    free(s);
}

static enum status make_entry(uint64_t ordinal, uint64_t size, struct sim_entry **out, struct error *err)
{
    *out = malloc(sizeof **out);
    if (!*out)
        return fail(err, ERR_MEMORY, "out of memory for an entry of a simulation");
    **out = (struct sim_entry){.ordinal = ordinal, .size = size};
    return OK;
}

static enum status reusable(struct simulation *s, const struct sim_event *event, uint64_t ordinal, struct error *err)
{
    uint64_t stream = s->index ? dynamic_index_size(s->index) : 0, behind = s->guard.behind, start, end;
    switch (offset_guard_accept(&s->guard, event->old_offset, event->size, stream, &start, &end)) {
    case FILE_UNCHANGED: break;
    case FILE_NON_MONOTONE:
        return fail(err, ERR_FORMAT,
                    "reusable file at old payload offset %" PRIu64 ", but the one before ends at %" PRIu64,
                    event->old_offset, behind);
    default:
        return fail(err, ERR_FORMAT,
                    "reusable file of %" PRIu64 " bytes at old payload offset %" PRIu64
                    " does not lie in the old payload stream of %" PRIu64 " bytes",
                    event->size, event->old_offset, stream);
    }
    struct sim_entry *entry;
    TRY(make_entry(ordinal, event->size, &entry, err));
    return lookahead_reusable(s->lookahead, entry, start, end, err);
}

/* Where a changed file's old contents end; 0: it has none. */
static uint64_t old_end(const struct simulation *s, const struct sim_event *event)
{
    uint64_t stream = s->index ? dynamic_index_size(s->index) : 0, end;
    if (event->old_offset == 0)
        return 0;
    bool beyond = __builtin_add_overflow(event->old_offset, ITEM_HEADER_SIZE, &end) ||
                  __builtin_add_overflow(end, event->old_size, &end) || end > stream;
    return beyond ? stream : end;
}

static enum status file(struct simulation *s, const struct sim_event *event, uint64_t ordinal, struct error *err)
{
    if (event->size > UINT64_MAX - ITEM_HEADER_SIZE)
        return fail(err, ERR_FORMAT, "file of %" PRIu64 " bytes", event->size);
    if (event->reason == FILE_UNCHANGED)
        return reusable(s, event, ordinal, err);
    struct sim_entry *entry;
    TRY(make_entry(ordinal, event->size, &entry, err));
    return lookahead_changed(s->lookahead, entry, event->size, event->reason, old_end(s, event), err);
}

static enum status other(struct simulation *s, enum status (*put)(struct lookahead *, void *, struct error *),
                         uint64_t ordinal, struct error *err)
{
    struct sim_entry *entry;
    TRY(make_entry(ordinal, 0, &entry, err));
    return put(s->lookahead, entry, err);
}

enum status simulation_event(struct simulation *s, const struct sim_event *event, struct error *err)
{
    uint64_t ordinal = s->ordinal++;
    if (event->kind == SIM_LEAVE) {
        if (s->depth == 0)
            return fail(err, ERR_FORMAT, "the end of a directory that did not begin");
        s->depth--;
        return lookahead_directory_end(s->lookahead, err);
    }
    /* As the archiver does, before anything is decided about the entry. */
    TRY(lookahead_make_room(s->lookahead, err));
    switch (event->kind) {
    case SIM_FILE: return file(s, event, ordinal, err);
    case SIM_LINK: return other(s, lookahead_link, ordinal, err);
    case SIM_SPECIAL: return other(s, lookahead_special, ordinal, err);
    case SIM_ENTER: s->depth++; return other(s, lookahead_directory_begin, ordinal, err);
    case SIM_LEAVE: break;
    }
    return OK;
}

enum status simulation_finish(struct simulation *s, struct sim_result *out, struct error *err)
{
    for (; s->depth > 0; s->depth--)
        TRY(lookahead_directory_end(s->lookahead, err));
    TRY(lookahead_finish(s->lookahead, err));
    TRY(ledger_raw(&s->ledger, ITEM_HEADER_SIZE, err)); /* the tail marker */
    TRY(ledger_finish(&s->ledger, err));
    s->result.payload_size = s->ledger.totals.size;
    s->result.cache = *lookahead_count(s->lookahead);
    s->result.ledger = s->ledger.totals;
    *out = s->result;
    return OK;
}
