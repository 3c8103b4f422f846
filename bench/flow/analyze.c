#include "flow/analyze.h"

#include "base/log.h"
#include "detect/usage.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 1 << 30, SNAPSHOTS_MAX = 1 << 20 };

/* ---- the files of one snapshot ---- */

struct span {
    uint64_t start, end; /* payload header and contents, in the payload stream */
};

struct spans {
    struct span *items; /* owned */
    size_t count, capacity;
};

static void spans_deinit(struct spans *s)
{
    free(s->items);
    *s = (struct spans){0};
}

static enum status spans_add(struct spans *s, uint64_t start, uint64_t end, struct error *err)
{
    void *items = s->items;
    TRY(array_grow(&items, s->count, &s->capacity, sizeof *s->items, FILES_MAX, "files", err));
    s->items = items;
    s->items[s->count++] = (struct span){start, end};
    return OK;
}

static void count_gap(struct analysis *a, const struct spans *files, uint64_t start)
{
    if (files->count == 0)
        return;
    uint64_t expected = files->items[files->count - 1].end;
    a->discontinuities += start != expected;
    a->backward_files += start < expected;
}

static void show_progress(const struct split_stream *s, uint64_t files)
{
    char text[SNAPSHOT_TEXT_SIZE];
    if (files % 1024 == 0 && progress_due())
        progress_update("analyze: %s %s: files %" PRIu64, snapshot_id_text(&s->id, text), s->names.name, files);
}

static enum status read_files(struct split_stream *s, struct amplification *reads, struct analysis *a,
                              struct spans *files, struct error *err)
{
    TRY(split_stream_begin(s, err));
    for (;;) {
        struct archive_entry entry;
        enum status status = split_stream_next(s, &entry, err);
        if (status == ERR_CLOSED)
            return OK;
        TRY(status);
        if (entry.kind != ENTRY_FILE)
            continue;
        show_progress(s, a->files);
        a->files++;
        a->content_bytes += entry.size;
        count_gap(a, files, entry.payload_offset);
        TRY(amplification_file(reads, entry.payload_offset, entry.size, err));
        TRY(spans_add(files, entry.payload_offset, entry.payload_offset + ITEM_HEADER_SIZE + entry.size, err));
    }
}

static int compare_spans(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Ascending and disjoint, as an encoder writes them. */
static void make_disjoint(struct spans *s)
{
    qsort(s->items, s->count, sizeof *s->items, compare_spans);
    size_t last = 0;
    for (size_t i = 1; i < s->count; i++) {
        if (s->items[i].start >= s->items[last].end)
            s->items[++last] = s->items[i];
        else if (s->items[i].end > s->items[last].end)
            s->items[last].end = s->items[i].end;
    }
    s->count = last + 1;
}

/* ---- what is used ---- */

struct usage_taker {
    struct chunk_usage chunks;
    uint64_t used_from; /* behind the last stretch that nobody uses */
};

static void usage_taker_deinit(struct usage_taker *t)
{
    chunk_usage_deinit(&t->chunks);
}

static enum status take_unused(void *context, uint64_t start, uint64_t end, struct error *err)
{
    struct usage_taker *t = context;
    TRY(chunk_usage_stretch(&t->chunks, t->used_from, start, err));
    t->used_from = end;
    return OK;
}

/* Ledger and gaps. `files` are ascending and disjoint. */
static enum status find_usage(const struct split_stream *s, const struct spans *files, const struct chunk_table *table,
                              struct ledger *ledger, struct chunk_parts *gaps, struct error *err)
{
    CLEANUP(usage_taker_deinit) struct usage_taker taker = {0};
    const struct usage_observer observer = {.unused = take_unused, .context = &taker};
    struct usage usage;
    TRY(chunk_usage_begin(&taker.chunks, &s->payload_index, table, err));
    TRY(usage_begin(&usage, &s->payload_index, ledger, &observer, err));
    for (size_t i = 0; i < files->count; i++)
        TRY(usage_file(&usage, files->items[i].start, files->items[i].end - files->items[i].start - ITEM_HEADER_SIZE,
                       err));
    TRY(usage_finish(&usage, err));
    TRY(chunk_usage_stretch(&taker.chunks, taker.used_from, s->payload_size, err));
    return chunk_usage_gaps(&taker.chunks, gaps, err);
}

/* ---- chunks ---- */

/* `gaps` are sorted by chunk. */
static uint64_t largest_waste_ppm(const struct chunk_table *t, const struct chunk_parts *gaps)
{
    uint64_t largest = 0, bytes = 0;
    for (size_t i = 0; i < gaps->count; i++) {
        const struct chunk_part *gap = &gaps->items[i];
        if (i > 0 && gap[-1].chunk != gap->chunk)
            bytes = 0;
        bytes += gap->end - gap->begin;
        uint64_t ppm = ratio_ppm(bytes, t->chunks[gap->chunk].size);
        largest = ppm > largest ? ppm : largest;
    }
    return largest;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void sizes_free(uint32_t **sizes)
{
    free(*sizes);
}

static enum status describe_sizes(const struct chunk_table *t, struct chunk_sizes *out, struct error *err)
{
    void *array;
    TRY(array_new(t->count, sizeof(uint32_t), INDEX_ENTRIES_MAX, "chunk sizes", &array, err));
    CLEANUP(sizes_free) uint32_t *sizes = array;
    for (size_t i = 0; i < t->count; i++) {
        sizes[i] = t->chunks[i].size;
        out->classes[size_class_of(sizes[i])]++;
    }
    qsort(sizes, t->count, sizeof *sizes, compare_u32);
    out->median = sizes[(t->count + 1) / 2 - 1];
    out->mean = chunk_table_bytes(t) / t->count;
    return OK;
}

static enum status describe_chunks(const struct split_stream *s, const struct chunk_table *t, uint64_t average,
                                   struct analysis *a, struct error *err)
{
    a->index_entries = t->entry_count;
    a->chunks = t->count;
    a->chunk_bytes = chunk_table_bytes(t);
    a->entry_size_mean = s->payload_size / t->entry_count;
    for (size_t i = 0; i < t->count; i++) {
        const struct stored_chunk *c = &t->chunks[i];
        a->relisted_chunks += c->listings > 1;
        a->listings_max = c->listings > a->listings_max ? c->listings : a->listings_max;
        a->undersized_chunks += c->size < average / 4;
    }
    for (size_t k = 0; k < s->payload_index.count; k++)
        a->empty_entries += dynamic_index_chunk_size(&s->payload_index, k) == 0;
    return describe_sizes(t, &a->sizes, err);
}

/* ---- one snapshot ---- */

/* What is kept of a snapshot for those that come after it. */
struct kept {
    struct chunk_table table;
    struct chunk_parts gaps;
};

static void kept_deinit(struct kept *k)
{
    chunk_table_deinit(&k->table);
    chunk_parts_deinit(&k->gaps);
}

static void amplification_freep(struct amplification **a)
{
    amplification_free(*a);
}

struct series {
    struct store *store;
    const struct analyze_options *options;
    const struct analyze_reporter *reporter;
    const struct snapshot_id **ids; /* owned; those that have the archive, in the order given */
    size_t count;
    size_t newest; /* place in `ids` */
    char archive[STORED_NAME_SIZE + sizeof ".mpxar"];
    struct kept kept[2]; /* the newest snapshot's; the one before this one */
};

static enum status analyze_stream(const struct series *r, struct split_stream *s, struct analysis *a, struct kept *out,
                                  struct error *err)
{
    CLEANUP(amplification_freep) struct amplification *reads = NULL;
    CLEANUP(spans_deinit) struct spans files = {0};
    struct ledger ledger = {.on_range = r->reporter->range, .context = r->reporter->context};
    if (chunk_table_new(&s->payload_index, s->names.payload_name, &out->table, err) != OK)
        return split_stream_failed(s, err);
    TRY(amplification_new(&s->payload_index, &out->table, r->options->lru, r->options->lru_count, &reads, err));
    TRY(read_files(s, reads, a, &files, err));
    amplification_finish(reads, &a->reads);
    if (a->backward_files > 0)
        make_disjoint(&files);
    TRY(find_usage(s, &files, &out->table, &ledger, &out->gaps, err));
    a->ledger = ledger.totals;
    a->stored_waste = chunk_parts_bytes(&out->gaps);
    a->waste_max_ppm = largest_waste_ppm(&out->table, &out->gaps);
    a->metadata_size = dynamic_index_size(&s->metadata_index);
    return describe_chunks(s, &out->table, r->options->chunk_average, a, err);
}

static enum status analyze_one(struct series *r, size_t which, const struct chunk_table *before, struct kept *out,
                               struct error *err)
{
    CLEANUP(split_stream_close) struct split_stream s = {0};
    struct analysis a = {0};
    TRY(split_stream_open(&s, r->store, r->ids[which], r->archive, err));
    TRY(analyze_stream(r, &s, &a, out, err));
    a.has_previous = before != NULL;
    if (before) {
        chunk_table_missing(&out->table, before, &a.new_chunks, &a.new_bytes);
        chunk_table_missing(before, &out->table, &a.dropped_chunks, &a.dropped_bytes);
    }
    progress_end(); /* results may go to the same terminal */
    return r->reporter->snapshot(r->reporter->context, r->ids[which], &a, err);
}

static enum status analyze_all(struct series *r, struct error *err)
{
    const struct chunk_table *before = NULL;
    for (size_t i = 0; i < r->count; i++) {
        CLEANUP(kept_deinit) struct kept found = {0};
        TRY(analyze_one(r, i, before, &found, err));
        struct kept *place = &r->kept[i == r->newest ? 0 : 1];
        kept_deinit(place);
        *place = found;
        found = (struct kept){0};
        before = &place->table;
    }
    return OK;
}

/* ---- ghosts ---- */

static void ghosts_freep(struct ghosts **g)
{
    ghosts_free(*g);
}

/* Newer snapshots first; of the same second, the one given later. */
static bool is_newer(const struct series *r, size_t a, size_t b)
{
    return r->ids[a]->time != r->ids[b]->time ? r->ids[a]->time > r->ids[b]->time : a > b;
}

/* The newest one that is older than `than`; false: none is. */
static bool next_older(const struct series *r, size_t than, size_t *out)
{
    bool found = false;
    for (size_t i = 0; i < r->count; i++)
        if (is_newer(r, than, i) && (!found || is_newer(r, i, *out))) {
            *out = i;
            found = true;
        }
    return found;
}

static enum status find_ghosts(struct series *r, struct error *err)
{
    CLEANUP(ghosts_freep) struct ghosts *g = NULL;
    CLEANUP(split_stream_close) struct split_stream newest = {0};
    struct kept *kept = &r->kept[0];
    struct ghost_report report;
    TRY(ghosts_new(r->options->ghosts_max, &g, err));
    TRY(split_stream_open(&newest, r->store, r->ids[r->newest], r->archive, err));
    for (size_t older = r->newest; next_older(r, older, &older) && kept->gaps.count > 0;) {
        CLEANUP(split_stream_close) struct split_stream s = {0};
        TRY(split_stream_open(&s, r->store, r->ids[older], r->archive, err));
        TRY(ghosts_search(g, &kept->table, &kept->gaps, &newest, &s, err));
    }
    progress_end();
    ghosts_report(g, &kept->gaps, &report);
    return r->reporter->ghosts(r->reporter->context, r->ids[r->newest], &report, err);
}

/* ---- all ---- */

static void series_deinit(struct series *r)
{
    free(r->ids);
    kept_deinit(&r->kept[0]);
    kept_deinit(&r->kept[1]);
}

static enum status analyze_archive(struct store *store, const struct snapshot_id *ids, size_t count, const char *name,
                                   const struct analyze_options *options, const struct analyze_reporter *reporter,
                                   struct error *err)
{
    void *array;
    CLEANUP(series_deinit) struct series r = {.store = store, .options = options, .reporter = reporter};
    TRY(array_new(count, sizeof *r.ids, SNAPSHOTS_MAX, "snapshots", &array, err));
    r.ids = array;
    size_t size = strlen(name);
    memcpy(r.archive, name, size);
    memcpy(r.archive + size, ".mpxar", sizeof ".mpxar");
    for (size_t i = 0; i < count; i++) {
        bool has_it = true;
        if (!options->archive)
            TRY(archive_names_has(store, &ids[i], name, &has_it, err));
        if (!has_it)
            continue;
        r.ids[r.count++] = &ids[i];
        if (is_newer(&r, r.count - 1, r.newest))
            r.newest = r.count - 1;
    }
    TRY(reporter->archive(reporter->context, name, err));
    TRY(analyze_all(&r, err));
    return r.count > 1 ? find_ghosts(&r, err) : OK;
}

static bool same_snapshot(const struct snapshot_id *a, const struct snapshot_id *b)
{
    return a->time == b->time && strcmp(a->type, b->type) == 0 && strcmp(a->id, b->id) == 0 &&
           strcmp(a->ns, b->ns) == 0;
}

static enum status check_ids(const struct snapshot_id *ids, size_t count, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE];
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (same_snapshot(&ids[i], &ids[k]))
                return fail(err, ERR_USAGE, "%s is given twice", snapshot_id_text(&ids[i], text));
    return OK;
}

enum status analyze_snapshots(struct store *store, const struct snapshot_id *ids, size_t count,
                              const struct analyze_options *options, const struct analyze_reporter *reporter,
                              struct error *err)
{
    CLEANUP(archive_names_deinit) struct archive_names names = {0};
    ASSERT(count > 0);
    TRY(check_ids(ids, count, err));
    for (size_t i = 0; i < count; i++)
        TRY(archive_names_add(&names, store, &ids[i], options->archive, err));
    enum status status = OK;
    for (size_t i = 0; i < names.count && status == OK; i++)
        status = analyze_archive(store, ids, count, names.items[i], options, reporter, err);
    progress_end();
    return status;
}
