#include "flow/ghosts.h"

#include "base/log.h"
#include "detect/cursor.h"
#include "flow/ghosts_claim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 1 << 26, SORT_AT_LEAST = 1024 };

static const char *const fate_names[GHOST_FATE_COUNT] = {
    [GHOST_DELETED] = "deleted", [GHOST_REPLACED] = "replaced", [GHOST_MOVED] = "moved"};

const char *ghost_fate_name(enum ghost_fate fate)
{
    return fate_names[fate];
}

struct ghosts {
    size_t count_max;
    struct ghost_totals totals[GHOST_FATE_COUNT];
    uint64_t header_bytes;
    uint64_t found;
    struct ghost *items; /* owned */
    size_t count, capacity;
};

enum status ghosts_new(size_t count_max, struct ghosts **out, struct error *err)
{
    struct ghosts *g = calloc(1, sizeof *g);
    if (!g)
        return fail(err, ERR_MEMORY, "out of memory for ghosts");
    g->count_max = count_max > 0 ? count_max : SIZE_MAX;
    *out = g;
    return OK;
}

static void drop_names(struct ghosts *g, size_t from)
{
    for (size_t i = from; i < g->count; i++)
        free(g->items[i].path);
    g->count = g->count < from ? g->count : from;
}

void ghosts_free(struct ghosts *g)
{
    if (!g)
        return;
    drop_names(g, 0);
    free(g->items);
    free(g);
}

static int compare_ghosts(const void *a, const void *b)
{
    const struct ghost *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static void sort_names(struct ghosts *g)
{
    if (g->count > 0)
        qsort(g->items, g->count, sizeof *g->items, compare_ghosts);
    drop_names(g, g->count_max);
}

/* Sorting now and then keeps at most twice as many names as are wanted. */
static enum status add_name(struct ghosts *g, const char *path, const struct ghost *ghost, struct error *err)
{
    void *items = g->items;
    if (g->count >= SORT_AT_LEAST && g->count / 2 >= g->count_max)
        sort_names(g);
    TRY(array_grow(&items, g->count, &g->capacity, sizeof *g->items, NAMES_MAX, "ghosts", err));
    g->items = items;
    struct ghost *added = &g->items[g->count];
    *added = *ghost;
    added->order = g->found++;
    added->path = strdup(path);
    if (!added->path)
        return fail(err, ERR_MEMORY, "out of memory for the names of ghosts");
    g->count++;
    return OK;
}

/* ---- which files ---- */

static void show_progress(const struct split_stream *s, uint64_t files)
{
    char text[SNAPSHOT_TEXT_SIZE];
    if (files % 1024 == 0 && progress_due())
        progress_update("ghosts: %s %s: files %" PRIu64, snapshot_id_text(&s->id, text), s->names.name, files);
}

static enum status claim(struct split_stream *older, struct ghost_claims *claims, struct error *err)
{
    struct archive_entry entry;
    TRY(split_stream_begin(older, err));
    for (uint64_t file = 0;;) {
        enum status status = split_stream_next(older, &entry, err);
        if (status == ERR_CLOSED)
            return OK;
        TRY(status);
        if (entry.kind != ENTRY_FILE)
            continue;
        show_progress(older, file);
        TRY(ghost_claims_file(claims, file++, entry.payload_offset, entry.size, err));
    }
}

/* ---- their names ---- */

static enum ghost_fate fate_of(const struct archive_entry *old, const struct archive_entry *now)
{
    if (!now)
        return GHOST_DELETED;
    bool same = now->kind == ENTRY_FILE && now->size == old->size &&
                now->attributes.stat.mtime_secs == old->attributes.stat.mtime_secs &&
                now->attributes.stat.mtime_nanos == old->attributes.stat.mtime_nanos;
    return same ? GHOST_MOVED : GHOST_REPLACED;
}

/* Older and newest stream in step. */
struct steps {
    struct ghosts *ghosts;
    struct split_stream *older, *newest;
    const struct ghost_claims *claims;
    struct cursor cursor; /* over the newest */
};

static enum status name_file(struct steps *s, const struct archive_entry *file, const struct ghost_share *share,
                             struct error *err)
{
    const struct archive_entry *now;
    struct ghosts *g = s->ghosts;
    if (cursor_find(&s->cursor, file->name, file->name_size, &now, err) != OK)
        return split_stream_failed(s->newest, err);
    g->header_bytes += share->header_bytes;
    if (share->bytes == 0)
        return OK;
    const struct ghost ghost = {
        .snapshot = s->older->id, .size = file->size, .bytes = share->bytes, .fate = fate_of(file, now)};
    g->totals[ghost.fate].files++;
    g->totals[ghost.fate].bytes += ghost.bytes;
    return add_name(g, file->path, &ghost, err);
}

static enum status step(struct steps *s, const struct archive_entry *entry, struct error *err)
{
    enum status status = OK;
    if (entry->depth > 0 && entry->kind == ENTRY_DIRECTORY)
        status = cursor_enter(&s->cursor, entry->name, entry->name_size, err);
    if (entry->depth > 0 && entry->kind == ENTRY_DIRECTORY_END)
        status = cursor_leave(&s->cursor, err);
    return status == OK ? OK : split_stream_failed(s->newest, err);
}

static enum status name_files(struct steps *s, struct error *err)
{
    size_t next = 0;
    TRY(split_stream_begin(s->older, err));
    TRY(split_stream_begin(s->newest, err));
    if (cursor_init(&s->cursor, s->newest->decoder, err) != OK)
        return split_stream_failed(s->newest, err);
    for (uint64_t file = 0; next < s->claims->share_count;) {
        struct archive_entry entry;
        enum status status = split_stream_next(s->older, &entry, err);
        if (status == ERR_CLOSED)
            return OK;
        TRY(status);
        TRY(step(s, &entry, err));
        if (entry.kind != ENTRY_FILE)
            continue;
        show_progress(s->older, file);
        if (s->claims->shares[next].file == file++)
            TRY(name_file(s, &entry, &s->claims->shares[next++], err));
    }
    return OK;
}

enum status ghosts_search(struct ghosts *g, const struct chunk_table *table, struct chunk_parts *gaps,
                          struct split_stream *newest, struct split_stream *older, struct error *err)
{
    CLEANUP(ghost_claims_deinit) struct ghost_claims claims = {0};
    if (gaps->count == 0)
        return OK;
    if (ghost_claims_begin(&claims, &older->payload_index, older->names.payload_name, table, gaps, err) != OK)
        return split_stream_failed(older, err);
    TRY(claim(older, &claims, err));
    TRY(ghost_claims_settle(&claims, gaps, err));
    struct steps s = {.ghosts = g, .older = older, .newest = newest, .claims = &claims};
    return claims.share_count > 0 ? name_files(&s, err) : OK;
}

void ghosts_report(struct ghosts *g, const struct chunk_parts *left, struct ghost_report *out)
{
    sort_names(g);
    *out = (struct ghost_report){.header_bytes = g->header_bytes,
                                 .unattributed_bytes = chunk_parts_bytes(left),
                                 .items = g->items,
                                 .count = g->count};
    memcpy(out->totals, g->totals, sizeof out->totals);
}
