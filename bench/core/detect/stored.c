#include "detect/stored.h"

#include "base/buffer.h"
#include "detect/stored_plan.h"
#include "pxar/item.h"

#include <stdlib.h>
#include <string.h>

enum window_kind {
    WINDOW_OFFERED,
    WINDOW_RAW,
    WINDOW_LINK,
    WINDOW_SPECIAL,
    WINDOW_DIRECTORY_BEGIN,
    WINDOW_DIRECTORY_END,
};

struct window_entry {
    enum window_kind kind;
    enum file_reason reason; /* raw files */
    void *entry;             /* NULL: handed back, or a directory's end */
};

enum { WINDOW_ENTRIES_MAX = 1 << 26, PENDING_MAX = INJECTION_BATCH_MAX + 1 };

struct stored {
    const struct lookahead_options *options;
    const struct dynamic_index *index;
    struct injector *injector;

    struct window_entry *entries;
    size_t count;
    size_t capacity;
    size_t limited_count;    /* entries that the limit counts: all but directory ends */
    struct stored_plan plan; /* of the window's files, in the same order */
    uint64_t range_end;      /* of the old payload stream: end of the last range accepted */
    uint64_t touched_end;    /* of the entry that it ends in */
    uint64_t told_end;       /* the same of ranges that were told but not accepted */
    size_t next_attempt;     /* size of the window at which looking for a cut pays again */

    struct reuse_chunk pending[PENDING_MAX]; /* listed, not injected yet */
    size_t pending_count;
    uint64_t pending_size;
    uint64_t pending_id; /* of the last one's chunk */
};

enum status stored_new(const struct lookahead_options *options, const struct dynamic_index *index,
                       struct injector *injector, struct stored **out, struct error *err)
{
    struct stored *s = calloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "out of memory for the look-ahead cache");
    s->options = options;
    s->index = index;
    s->injector = injector;
    s->plan.threshold_ppm = options->threshold_ppm;
    s->plan.absorb_below = options->absorb_below;
    s->plan.absorb_until = options->absorb_until;
    s->plan.max_instances = options->max_instances;
    enum status status = plan_init(&s->plan, err);
    if (status != OK) {
        stored_free(s);
        return status;
    }
    *out = s;
    return OK;
}

static void drop(struct stored *s, void *entry)
{
    if (entry)
        s->injector->ops->drop(s->injector->context, entry);
}

void stored_free(struct stored *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        drop(s, s->entries[i].entry);
    free(s->entries);
    plan_deinit(&s->plan);
    free(s);
}

/* For steps before the entry is handed on. */
#define TRY_OR_DROP(call)                                                                                              \
    do {                                                                                                               \
        enum status try_status_ = (call);                                                                              \
        if (try_status_ != OK) {                                                                                       \
            drop(s, entry);                                                                                            \
            return try_status_;                                                                                        \
        }                                                                                                              \
    } while (0)

/* ---- listing ---- */

static enum status inject_pending(struct stored *s, size_t count, struct error *err)
{
    for (size_t k = 0; k < count; k++)
        s->pending_size -= s->pending[k].size;
    s->pending_count -= count;
    enum status status = injector_list(s->injector, s->pending, count, err);
    memmove(s->pending, s->pending + count, s->pending_count * sizeof *s->pending);
    return status;
}

static bool is_last_pending(const struct stored *s, const struct plan_chunk *c)
{
    return s->pending_count > 0 && s->pending_id == c->id;
}

static enum status append_pending(struct stored *s, struct plan_chunk *c, size_t entry, struct error *err)
{
    uint64_t size = c->end - c->start;
    s->pending[s->pending_count++] = (struct reuse_chunk){.entry = entry, .size = size, .padding = size, .head = size};
    s->pending_size += size;
    s->pending_id = c->id;
    if (c->listed < UINT32_MAX)
        c->listed++;
    return s->pending_count == PENDING_MAX ? inject_pending(s, PENDING_MAX - 1, err) : OK;
}

/* Bytes [start, end) of the chunk that was listed last, behind all that is used of it yet. */
static void use_pending(struct stored *s, uint64_t start, uint64_t end)
{
    struct reuse_chunk *chunk = &s->pending[s->pending_count - 1];
    if (chunk->padding == chunk->size)
        chunk->head = start;
    chunk->padding -= end - start;
    chunk->tail = chunk->size - end;
}

static enum status reference(struct stored *s, void *entry, const struct plan_file *f, struct error *err)
{
    const struct injector *out = s->injector;
    struct plan_chunk *c = &s->plan.chunks[f->head];
    uint64_t size = c->end - c->start, start = f->start - (f->head_end - size);
    bool continues = is_last_pending(s, c);
    uint64_t base = out->ops->payload_position(out->context) + s->pending_size - (continues ? size : 0);
    /* Before its chunks are injected: a reference never points back behind the payload position. */
    TRY(out->ops->reference(out->context, entry, base + start, f->start, err));
    if (!continues)
        TRY(append_pending(s, c, f->entry, err));
    use_pending(s, start, f->end < f->head_end ? start + (f->end - f->start) : size);
    for (uint32_t k = 0; k < f->rest_count; k++) {
        c = &s->plan.chunks[f->rest_first + k];
        TRY(append_pending(s, c, f->entry + 1 + k, err));
        use_pending(s, 0, (f->end < c->end ? f->end : c->end) - c->start);
    }
    return OK;
}

static enum status encode(struct stored *s, void *entry, enum file_reason reason, struct error *err)
{
    TRY_OR_DROP(inject_pending(s, s->pending_count, err));
    return s->injector->ops->encode(s->injector->context, entry, reason, err);
}

static enum status write_other(struct stored *s, enum window_kind kind, void *entry, struct error *err)
{
    const struct lookahead_ops *ops = s->injector->ops;
    void *context = s->injector->context;
    switch (kind) {
    case WINDOW_LINK:
        if (ops->link_ready(context, entry))
            return ops->link(context, entry, err);
        return encode(s, entry, FILE_HARDLINK, err); /* its first name vanished while being encoded */
    case WINDOW_SPECIAL: return ops->special(context, entry, err);
    case WINDOW_DIRECTORY_BEGIN: return ops->directory_begin(context, entry, err);
    default: return ops->directory_end(context, err);
    }
}

/* ---- the window ---- */

static enum status emit_file(struct stored *s, const struct window_entry *w, void *entry, const struct plan_file *f,
                             struct error *err)
{
    if (w->kind == WINDOW_RAW)
        return encode(s, entry, w->reason, err);
    return f->reused ? reference(s, entry, f, err) : encode(s, entry, f->reason, err);
}

/* Writes the first files of the plan (`files` with [0]) and what stands before the next one. */
static enum status emit(struct stored *s, size_t files, uint64_t passed, struct error *err)
{
    size_t done = 0, file = 1, limited = 0;
    for (; done < s->count; done++) {
        struct window_entry *w = &s->entries[done];
        bool is_file = w->kind <= WINDOW_RAW;
        if (is_file && file == files)
            break;
        void *entry = w->entry;
        w->entry = NULL; /* the call takes it, whatever becomes of it */
        TRY(is_file ? emit_file(s, w, entry, &s->plan.files[file], err) : write_other(s, w->kind, entry, err));
        file += is_file;
        limited += w->kind != WINDOW_DIRECTORY_END;
    }
    /* Only now: a failure half-way leaves the rest to be dropped. */
    s->count -= done;
    s->limited_count -= limited;
    memmove(s->entries, s->entries + done, s->count * sizeof *s->entries);
    struct plan_given_up given_up = plan_drop(&s->plan, files, passed);
    struct lookahead_counters *counters = &s->injector->counters;
    counters->given_up_threshold += given_up.threshold;
    counters->given_up_instances += given_up.instances;
    counters->given_up_absorbed += given_up.absorbed;
    return OK;
}

static enum status resolve(struct stored *s, uint64_t passed, bool boundary, struct error *err)
{
    struct stored_plan *p = &s->plan;
    p->continues = p->file_count > 1 && is_last_pending(s, &p->chunks[p->files[1].head]);
    return plan_resolve(p, passed, boundary, err);
}

/* Writes what is certain. `passed`: no further file begins before that offset of the old payload stream. `boundary`:
 * one is at hand. */
static enum status cut(struct stored *s, uint64_t passed, bool boundary, struct error *err)
{
    const struct stored_plan *p = &s->plan;
    if (s->count == 0)
        return OK;
    TRY(resolve(s, passed, boundary, err));
    size_t files = plan_cut(p, passed);
    if (files > 1)
        TRY(emit(s, files, passed, err));
    size_t size = p->file_count + p->chunk_count;
    s->next_attempt = size + size / 4 + 1;
    return OK;
}

/* Bytes of [start, end) of the old payload stream that belong to files that did not come yet. */
static enum status unseen_between(struct stored *s, uint64_t start, uint64_t end, uint64_t *sum, struct error *err)
{
    uint64_t from = s->range_end > s->told_end ? s->range_end : s->told_end;
    uint64_t before = 0, all = 0;
    start = start > from ? start : from;
    if (start >= end)
        return OK;
    const struct injector *out = s->injector;
    if (start > from)
        TRY(out->ops->unseen_live(out->context, from, start, &before, err));
    TRY(out->ops->unseen_live(out->context, from, end, &all, err));
    uint64_t live = all > before ? all - before : 0;
    *sum += live < end - start ? live : end - start;
    return OK;
}

/* How many bytes of the chunk belong to files that did not come yet, in this entry or in those that list it again. */
static enum status unseen_live(struct stored *s, const struct plan_chunk *c, uint64_t *out, struct error *err)
{
    *out = 0;
    TRY(unseen_between(s, c->entry_end - (c->end - c->start), c->entry_end, out, err));
    if (plan_may_come_again(c, s->range_end))
        for (size_t j = c->entry + 1; j < s->index->count && s->index->entries[j].end <= c->again_end; j++)
            if (plan_same_chunk(s->index, c->entry, j))
                TRY(unseen_between(s, dynamic_index_start(s->index, j), s->index->entries[j].end, out, err));
    uint64_t rest = c->end - c->start - c->used_end;
    *out = *out < rest ? *out : rest;
    return OK;
}

/* Decides and writes all of the window. Chunks that files to come may touch are decided early, unless this is the end.
 */
static enum status flush(struct stored *s, bool at_end, struct error *err)
{
    if (s->count == 0)
        return OK;
    uint64_t passed = at_end ? UINT64_MAX : s->range_end;
    for (size_t k = 0; k < s->plan.chunk_count; k++) {
        struct plan_chunk *c = &s->plan.chunks[k];
        if (c->settled || plan_is_closed(c, passed))
            continue;
        s->injector->counters.early_chunks++;
        TRY(unseen_live(s, c, &c->unseen_live, err));
    }
    TRY(resolve(s, passed, false, err));
    TRY(emit(s, s->plan.file_count, passed, err));
    s->next_attempt = 0;
    return OK;
}

enum status stored_make_room(struct stored *s, struct error *err)
{
    if (s->limited_count >= s->options->cache_limit)
        TRY(cut(s, s->range_end, false, err));
    return s->limited_count >= s->options->cache_limit ? flush(s, false, err) : OK;
}

/* Takes the entry only on success. */
static enum status insert(struct stored *s, enum window_kind kind, void *entry, enum file_reason reason,
                          struct error *err)
{
    void *entries = s->entries;
    TRY(array_grow(&entries, s->count, &s->capacity, sizeof *s->entries, WINDOW_ENTRIES_MAX, "cached entries", err));
    s->entries = entries;
    s->entries[s->count++] = (struct window_entry){.kind = kind, .reason = reason, .entry = entry};
    if (kind != WINDOW_DIRECTORY_END)
        s->limited_count++;
    return OK;
}

/* ---- events ---- */

enum status stored_reusable(struct stored *s, void *entry, uint64_t old_start, uint64_t old_end, struct error *err)
{
    ASSERT(old_start >= s->range_end && old_start < old_end);
    TRY_OR_DROP(stored_make_room(s, err));
    const struct stored_plan *p = &s->plan;
    if (s->count > 0 && old_start >= s->touched_end && p->file_count + p->chunk_count >= s->next_attempt)
        TRY_OR_DROP(cut(s, old_start, true, err));
    TRY_OR_DROP(plan_add_offered(&s->plan, s->index, old_start, old_end, err));
    TRY_OR_DROP(insert(s, WINDOW_OFFERED, entry, FILE_UNCHANGED, err));
    s->range_end = old_end;
    const struct plan_file *file = &p->files[p->file_count - 1];
    s->touched_end = p->chunks[plan_touched(file, file->rest_count)].entry_end;
    return OK;
}

enum status stored_changed(struct stored *s, void *entry, uint64_t size, enum file_reason reason, uint64_t old_end,
                           struct error *err)
{
    TRY_OR_DROP(stored_make_room(s, err));
    if (old_end > s->told_end)
        s->told_end = old_end;
    uint64_t length;
    if (__builtin_add_overflow(size, (uint64_t)ITEM_HEADER_SIZE, &length))
        length = UINT64_MAX;
    TRY_OR_DROP(plan_add_raw(&s->plan, length, err));
    if (s->count > 0) {
        TRY_OR_DROP(insert(s, WINDOW_RAW, entry, reason, err));
        return OK;
    }
    plan_drop(&s->plan, s->plan.file_count, 0);
    return encode(s, entry, reason, err);
}

/* Cached behind cached ones, written at once otherwise. */
static enum status put_other(struct stored *s, enum window_kind kind, void *entry, struct error *err)
{
    if (kind != WINDOW_DIRECTORY_END)
        TRY_OR_DROP(stored_make_room(s, err));
    if (s->count == 0)
        return write_other(s, kind, entry, err);
    TRY_OR_DROP(insert(s, kind, entry, FILE_UNCHANGED, err));
    return OK;
}

enum status stored_link(struct stored *s, void *entry, struct error *err)
{
    return put_other(s, WINDOW_LINK, entry, err);
}

enum status stored_special(struct stored *s, void *entry, struct error *err)
{
    return put_other(s, WINDOW_SPECIAL, entry, err);
}

enum status stored_directory_begin(struct stored *s, void *entry, struct error *err)
{
    return put_other(s, WINDOW_DIRECTORY_BEGIN, entry, err);
}

enum status stored_directory_end(struct stored *s, struct error *err)
{
    return put_other(s, WINDOW_DIRECTORY_END, NULL, err);
}

enum status stored_finish(struct stored *s, struct error *err)
{
    TRY(flush(s, true, err));
    return inject_pending(s, s->pending_count, err);
}
