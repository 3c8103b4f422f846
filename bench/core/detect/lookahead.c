#include "detect/lookahead.h"

#include "detect/stored.h"

#include <inttypes.h>
#include <stdlib.h>

enum cached_kind { CACHED_FILE, CACHED_LINK, CACHED_SPECIAL, CACHED_DIRECTORY_BEGIN, CACHED_DIRECTORY_END };

struct cached {
    enum cached_kind kind;
    void *entry;
    uint64_t old_offset; /* files: in the old payload stream */
};

struct lookahead {
    struct lookahead_options options;
    const struct dynamic_index *index;
    const struct lookahead_ops *ops;
    void *context;
    struct injector injector;
    struct stored *stored; /* profile stored with a reference: everything goes there */

    struct cached *entries;
    size_t count;
    size_t capacity;
    size_t limited_count; /* entries that the limit counts: all but directory ends */
    bool enabled;         /* set by every insert, cleared by every emit */
    uint64_t range_start; /* of the old payload stream, covered by cached reusable files */
    uint64_t range_end;
    bool has_held; /* a chunk kept back from the last flush: the next range may begin in it */
    struct reuse_chunk held;
    size_t search_hint;
};

enum { CACHED_ENTRIES_MAX = 1 << 26 };

enum status lookahead_new(const struct lookahead_options *options, const struct dynamic_index *index,
                          const struct lookahead_ops *ops, void *context, struct lookahead **out, struct error *err)
{
    if (options->cache_limit == 0)
        return fail(err, ERR_USAGE, "the cache limit must be at least 1 entry");
    if (options->threshold_ppm > PPM_ONE)
        return fail(err, ERR_USAGE, "the padding threshold must be at most 1, not %" PRIu32 " millionths",
                    options->threshold_ppm);
    if (options->profile == PROFILE_STORED && options->max_instances == 0)
        return fail(err, ERR_USAGE, "a chunk that is kept is listed at least once: max-instances must be 1 or more");
    struct lookahead *l = calloc(1, sizeof *l);
    if (!l)
        return fail(err, ERR_MEMORY, "out of memory for the look-ahead cache");
    l->options = *options;
    l->index = index;
    l->ops = ops;
    l->context = context;
    l->injector = (struct injector){.ops = ops, .context = context};
    if (index) {
        ASSERT(options->profile != PROFILE_STORED || ops->unseen_live);
        enum status status = injector_init(&l->injector, index, err);
        if (status == OK && options->profile == PROFILE_STORED)
            status = stored_new(&l->options, index, &l->injector, &l->stored, err);
        if (status != OK) {
            lookahead_free(l);
            return status;
        }
    }
    *out = l;
    return OK;
}

void lookahead_free(struct lookahead *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->count; i++)
        if (l->entries[i].entry)
            l->ops->drop(l->context, l->entries[i].entry);
    free(l->entries);
    stored_free(l->stored);
    injector_deinit(&l->injector);
    free(l);
}

const struct lookahead_counters *lookahead_count(const struct lookahead *l)
{
    return &l->injector.counters;
}

/* ---- injection (9) ---- */

static enum status inject_held(struct lookahead *l, struct error *err)
{
    if (!l->has_held)
        return OK;
    l->has_held = false;
    return injector_list(&l->injector, &l->held, 1, err);
}

/* Raw payload is about to be written: the held chunk comes before it (D12: no earlier than that). */
static enum status encode(struct lookahead *l, void *entry, enum file_reason reason, struct error *err)
{
    enum status status = inject_held(l, err);
    if (status != OK) {
        l->ops->drop(l->context, entry);
        return status;
    }
    return l->ops->encode(l->context, entry, reason, err);
}

/* ---- emit (8) ---- */

static enum status emit_one(struct lookahead *l, struct cached *c, bool has_base, uint64_t base, struct error *err)
{
    void *entry = c->entry;
    c->entry = NULL; /* the call takes it, whatever becomes of it */
    switch (c->kind) {
    case CACHED_FILE:
        if (!has_base)
            return encode(l, entry, FILE_THRESHOLD, err);
        return l->ops->reference(l->context, entry, base + (c->old_offset - l->range_start), c->old_offset, err);
    case CACHED_LINK:
        if (l->ops->link_ready(l->context, entry))
            return l->ops->link(l->context, entry, err);
        /* Its first name vanished while being encoded, so this one carries the contents. That can only be when the
         * whole cache is encoded: with a base the first name is in the archive as a reference. */
        ASSERT(!has_base);
        return encode(l, entry, FILE_HARDLINK, err);
    case CACHED_SPECIAL: return l->ops->special(l->context, entry, err);
    case CACHED_DIRECTORY_BEGIN: return l->ops->directory_begin(l->context, entry, err);
    case CACHED_DIRECTORY_END: return l->ops->directory_end(l->context, err);
    }
    return OK;
}

static enum status emit(struct lookahead *l, bool has_base, uint64_t base, struct error *err)
{
    if (l->options.profile == PROFILE_UPSTREAM)
        TRY(inject_held(l, err));
    /* The entries stay listed until all are out, so that a failure half-way can drop the rest. */
    for (size_t i = 0; i < l->count; i++)
        TRY(emit_one(l, &l->entries[i], has_base, base, err));
    l->count = 0;
    l->limited_count = 0;
    l->enabled = false;
    l->range_start = l->range_end;
    return OK;
}

static enum status flush(struct lookahead *l, bool keep, struct error *err)
{
    if (l->range_start == l->range_end)
        return emit(l, false, 0, err);

    bool has_previous = l->has_held;
    struct reuse_chunk previous = l->held;
    l->has_held = false;

    struct covering covering;
    TRY(covering_find(l->index, l->range_start, l->range_end, l->options.profile, l->search_hint, &covering, err));
    l->search_hint = covering.first;
    bool continues = has_previous && previous.entry == covering.first;
    uint64_t counted = covering.start_padding + covering.end_padding;
    uint64_t total = l->range_end - l->range_start + counted;
    uint64_t already_used = continues ? previous.size - previous.padding : 0;
    /* What the range before referenced of this chunk lies in front of this range: it is part of the start padding. */
    ASSERT(already_used <= counted);
    counted -= already_used;
    l->injector.counters.flushes++;
    if (padding_exceeds(counted, total, l->options.threshold_ppm)) {
        l->injector.counters.rejected_ranges++;
        l->has_held = has_previous;
        l->held = previous;
        return emit(l, false, 0, err);
    }

    if (has_previous && !continues)
        TRY(injector_list(&l->injector, &previous, 1, err));
    TRY(emit(l, true, l->ops->payload_position(l->context) + covering.start_padding, err));

    struct reuse_chunk batch[INJECTION_BATCH_MAX];
    size_t batched = 0;
    for (size_t k = 0; k < covering.count; k++) {
        struct reuse_chunk chunk = covering_chunk(l->index, &covering, k);
        if (k == 0 && continues) { /* one listing for both ranges: what lies between them is a hole */
            chunk.padding -= already_used;
            if (already_used > 0)
                chunk.head = previous.head;
        }
        if (keep && k == covering.count - 1) {
            l->has_held = true;
            l->held = chunk;
            break;
        }
        batch[batched++] = chunk;
        if (batched == INJECTION_BATCH_MAX) {
            TRY(injector_list(&l->injector, batch, batched, err));
            batched = 0;
        }
    }
    return injector_list(&l->injector, batch, batched, err);
}

/* ---- events (6.1) ---- */

/* Takes the entry only on success. */
static enum status insert(struct lookahead *l, enum cached_kind kind, void *entry, uint64_t old_offset,
                          struct error *err)
{
    void *entries = l->entries;
    TRY(array_grow(&entries, l->count, &l->capacity, sizeof *l->entries, CACHED_ENTRIES_MAX, "cached entries", err));
    l->entries = entries;
    l->entries[l->count++] = (struct cached){.kind = kind, .entry = entry, .old_offset = old_offset};
    if (kind != CACHED_DIRECTORY_END)
        l->limited_count++;
    l->enabled = true;
    return OK;
}

enum status lookahead_make_room(struct lookahead *l, struct error *err)
{
    if (l->stored)
        return stored_make_room(l->stored, err);
    return l->index && l->limited_count >= l->options.cache_limit ? flush(l, true, err) : OK;
}

/* For steps before the entry is handed on. */
#define TRY_OR_DROP(call)                                                                                              \
    do {                                                                                                               \
        enum status try_status_ = (call);                                                                              \
        if (try_status_ != OK) {                                                                                       \
            l->ops->drop(l->context, entry);                                                                           \
            return try_status_;                                                                                        \
        }                                                                                                              \
    } while (0)

enum status lookahead_reusable(struct lookahead *l, void *entry, uint64_t old_start, uint64_t old_end,
                               struct error *err)
{
    ASSERT(l->index && old_start < old_end);
    if (l->stored)
        return stored_reusable(l->stored, entry, old_start, old_end, err);
    TRY_OR_DROP(lookahead_make_room(l, err));
    if (l->range_end == 0)
        l->range_start = l->range_end = old_start;
    if (l->range_end != old_start) { /* a hole: something between was deleted, moved or changed */
        if (l->options.profile == PROFILE_UPSTREAM || l->count > 0)
            TRY_OR_DROP(flush(l, true, err));
        l->range_start = old_start;
    }
    l->range_end = old_end;
    TRY_OR_DROP(insert(l, CACHED_FILE, entry, old_start, err));
    return OK;
}

enum status lookahead_changed(struct lookahead *l, void *entry, uint64_t size, enum file_reason reason,
                              uint64_t old_end, struct error *err)
{
    if (!l->index)
        return l->ops->encode(l->context, entry, reason, err);
    if (l->stored)
        return stored_changed(l->stored, entry, size, reason, old_end, err);
    TRY_OR_DROP(lookahead_make_room(l, err));
    TRY_OR_DROP(flush(l, false, err));
    return encode(l, entry, reason, err);
}

enum status lookahead_link(struct lookahead *l, void *entry, struct error *err)
{
    if (!l->index) {
        if (l->ops->link_ready(l->context, entry))
            return l->ops->link(l->context, entry, err);
        return l->ops->encode(l->context, entry, FILE_NO_REFERENCE, err);
    }
    if (l->stored)
        return stored_link(l->stored, entry, err);
    TRY_OR_DROP(lookahead_make_room(l, err));
    TRY_OR_DROP(insert(l, CACHED_LINK, entry, 0, err));
    return OK;
}

/* A special file or a directory: cached behind cached ones, written at once otherwise. */
static enum status special_or_directory(struct lookahead *l, enum cached_kind kind, void *entry, struct error *err)
{
    if (l->index) {
        TRY_OR_DROP(lookahead_make_room(l, err));
        if (l->enabled) {
            TRY_OR_DROP(insert(l, kind, entry, 0, err));
            return OK;
        }
        TRY_OR_DROP(emit(l, false, 0, err));
    }
    return kind == CACHED_SPECIAL ? l->ops->special(l->context, entry, err)
                                  : l->ops->directory_begin(l->context, entry, err);
}

enum status lookahead_special(struct lookahead *l, void *entry, struct error *err)
{
    if (l->stored)
        return stored_special(l->stored, entry, err);
    return special_or_directory(l, CACHED_SPECIAL, entry, err);
}

enum status lookahead_directory_begin(struct lookahead *l, void *entry, struct error *err)
{
    if (l->stored)
        return stored_directory_begin(l->stored, entry, err);
    return special_or_directory(l, CACHED_DIRECTORY_BEGIN, entry, err);
}

enum status lookahead_directory_end(struct lookahead *l, struct error *err)
{
    if (l->stored)
        return stored_directory_end(l->stored, err);
    if (l->enabled)
        return insert(l, CACHED_DIRECTORY_END, NULL, 0, err);
    return l->ops->directory_end(l->context, err);
}

enum status lookahead_finish(struct lookahead *l, struct error *err)
{
    if (!l->index)
        return OK;
    if (l->stored)
        return stored_finish(l->stored, err);
    TRY(flush(l, false, err));
    return inject_held(l, err);
}
