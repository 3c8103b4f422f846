#include "cli/cmd_analyze.h"

#include "pxar/json_text.h"

#include <string.h>

static enum status no_memory(struct error *err)
{
    return fail(err, ERR_MEMORY, "out of memory for the JSON result");
}

/* Takes `value`; NULL: out of memory. */
static enum status append(json_t *list, json_t *value, struct error *err)
{
    return json_array_append_new(list, value) == 0 ? OK : no_memory(err);
}

/* ---- objects ---- */

struct count {
    const char *name;
    uint64_t value;
};

/* `counts` end with a NULL name. NULL: out of memory. */
static json_t *counts_json(const struct count *counts)
{
    json_t *object = json_object();
    for (; object && counts->name; counts++)
        if (json_object_set_new(object, counts->name, cli_json_count(counts->value)) != 0) {
            json_decref(object);
            return NULL;
        }
    return object;
}

static json_t *ledger_json(const struct analysis *a)
{
    const struct ledger_totals *l = &a->ledger;
    const struct count counts[] = {{"size", l->size},
                                   {"referenced", l->referenced},
                                   {"padding", l->padding},
                                   {"start_padding", l->start_padding},
                                   {"end_padding", l->end_padding},
                                   {"hole_padding", l->hole_padding},
                                   {"dead_padding", l->dead_padding},
                                   {"ranges", l->ranges},
                                   {"partial_chunks", l->partial_chunks},
                                   {"unreferenced_chunks", l->unreferenced_chunks},
                                   {"stored_waste", a->stored_waste},
                                   {"relisted_chunks", a->relisted_chunks},
                                   {0}};
    return counts_json(counts);
}

static json_t *range_json(const struct ledger_range *r)
{
    const struct count counts[] = {{"start", r->start},
                                   {"end", r->end},
                                   {"referenced", r->referenced},
                                   {"start_padding", r->start_padding},
                                   {"end_padding", r->end_padding},
                                   {"hole_padding", r->hole_padding},
                                   {0}};
    return counts_json(counts);
}

static json_t *sizes_json(const struct chunk_sizes *s)
{
    struct count counts[SIZE_CLASSES + 3] = {{"mean", s->mean}, {"median", s->median}};
    for (size_t i = 0; i < SIZE_CLASSES; i++)
        counts[2 + i] = (struct count){size_class_names[i], s->classes[i]};
    return counts_json(counts);
}

static json_t *distribution_json(const struct distribution *d)
{
    const struct count counts[] = {{"median", d->median}, {"p95", d->p95}, {"max", d->max}, {0}};
    return counts_json(counts);
}

static json_t *full_json(const struct amplification_result *r)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < r->full_count; i++) {
        const struct amplification_full *f = &r->full[i];
        const struct count counts[] = {{"lru", f->chunks_kept},
                                       {"chunks", f->fetched_chunks},
                                       {"bytes", f->fetched_bytes},
                                       {"ppm", ratio_ppm(f->fetched_bytes, r->restored_bytes)},
                                       {0}};
        if (json_array_append_new(list, counts_json(counts)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *change_json(const struct analysis *a)
{
    const struct count counts[] = {{"new_chunks", a->new_chunks},
                                   {"new_bytes", a->new_bytes},
                                   {"dropped_chunks", a->dropped_chunks},
                                   {"dropped_bytes", a->dropped_bytes},
                                   {0}};
    return a->has_previous ? counts_json(counts) : json_null();
}

/* Takes `value`, which may be NULL: out of memory. */
static enum status set(json_t *object, const char *name, json_t *value, struct error *err)
{
    return json_object_set_new(object, name, value) == 0 ? OK : no_memory(err);
}

static enum status set_counts(json_t *object, const struct count *counts, struct error *err)
{
    for (; counts->name; counts++)
        TRY(set(object, counts->name, cli_json_count(counts->value), err));
    return OK;
}

static enum status set_reads(json_t *object, const struct amplification_result *r, struct error *err)
{
    json_t *reads = json_object();
    TRY(set(object, "reads", reads, err));
    TRY(set(reads, "restored_bytes", cli_json_count(r->restored_bytes), err));
    TRY(set(reads, "full", full_json(r), err));
    TRY(set(reads, "files", cli_json_count(r->files), err));
    TRY(set(reads, "touched_entries", cli_json_count(r->touched_entries), err));
    TRY(set(reads, "fetched_ppm", distribution_json(&r->fetched_ppm), err));
    return set(reads, "file_entries", distribution_json(&r->file_entries), err);
}

static enum status set_analysis(json_t *object, const struct analysis *a, struct error *err)
{
    const struct count before[] = {
        {"files", a->files}, {"content_bytes", a->content_bytes}, {"metadata_size", a->metadata_size}, {0}};
    const struct count behind[] = {
        {"waste_max_ppm", a->waste_max_ppm},     {"virtual_ppm", ratio_ppm(a->ledger.size, a->ledger.referenced)},
        {"index_entries", a->index_entries},     {"listings_max", a->listings_max},
        {"entry_size_mean", a->entry_size_mean}, {"chunks", a->chunks},
        {"chunk_bytes", a->chunk_bytes},         {"undersized_chunks", a->undersized_chunks},
        {"empty_entries", a->empty_entries},     {"discontinuities", a->discontinuities},
        {"backward_files", a->backward_files},   {0}};
    TRY(set_counts(object, before, err));
    TRY(set(object, "ledger", ledger_json(a), err));
    TRY(set_counts(object, behind, err));
    TRY(set(object, "chunk_sizes", sizes_json(&a->sizes), err));
    TRY(set_reads(object, &a->reads, err));
    return set(object, "change", change_json(a), err);
}

/* ---- the reporter ---- */

static enum status json_on_archive(void *context, const char *name, struct error *err)
{
    struct analyze_json *j = context;
    j->archive = json_pack("{s:o, s:[], s:n}", "name", cli_json_text(name), "snapshots", "ghosts");
    return append(j->archives, j->archive, err);
}

static enum status json_on_range(void *context, const struct ledger_range *range, struct error *err)
{
    struct analyze_json *j = context;
    return append(j->ranges, range_json(range), err);
}

static enum status json_on_snapshot(void *context, const struct snapshot_id *id, const struct analysis *a,
                                    struct error *err)
{
    struct analyze_json *j = context;
    char text[SNAPSHOT_TEXT_SIZE];
    json_t *snapshot = json_object();
    TRY(append(json_object_get(j->archive, "snapshots"), snapshot, err)); /* the list's from here on */
    TRY(set(snapshot, "snapshot", json_string(snapshot_id_text(id, text)), err));
    TRY(set_analysis(snapshot, a, err));
    if (!j->with_ranges)
        return OK;
    json_t *ranges = j->ranges;
    j->ranges = json_array();
    TRY(set(snapshot, "ranges", ranges, err));
    return j->ranges ? OK : no_memory(err);
}

static enum status set_path(json_t *object, const char *path, struct error *err)
{
    size_t size = strlen(path);
    if (utf8_valid(path, size))
        return set(object, "path", json_stringn(path, size), err);
    CLEANUP(buffer_deinit) struct buffer encoded = BUFFER_INIT(0);
    TRY(base64_append(&encoded, (const uint8_t *)path, size, err));
    return set(object, "path_b64", json_stringn((const char *)encoded.data, encoded.size), err);
}

static enum status add_ghost(json_t *list, const struct ghost *g, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE];
    json_t *ghost = json_object();
    TRY(append(list, ghost, err)); /* the list's from here on */
    TRY(set_path(ghost, g->path, err));
    TRY(set(ghost, "snapshot", json_string(snapshot_id_text(&g->snapshot, text)), err));
    TRY(set(ghost, "size", cli_json_count(g->size), err));
    TRY(set(ghost, "bytes", cli_json_count(g->bytes), err));
    return set(ghost, "fate", json_string(ghost_fate_name(g->fate)), err);
}

static enum status json_on_ghosts(void *context, const struct snapshot_id *newest, const struct ghost_report *r,
                                  struct error *err)
{
    const struct analyze_json *j = context;
    char text[SNAPSHOT_TEXT_SIZE];
    json_t *ghosts = json_object();
    TRY(set(j->archive, "ghosts", ghosts, err)); /* the archive's from here on */
    TRY(set(ghosts, "newest", json_string(snapshot_id_text(newest, text)), err));
    for (int fate = 0; fate < GHOST_FATE_COUNT; fate++) {
        const struct count totals[] = {{"files", r->totals[fate].files}, {"bytes", r->totals[fate].bytes}, {0}};
        TRY(set(ghosts, ghost_fate_name((enum ghost_fate)fate), counts_json(totals), err));
    }
    TRY(set(ghosts, "header_bytes", cli_json_count(r->header_bytes), err));
    TRY(set(ghosts, "unattributed_bytes", cli_json_count(r->unattributed_bytes), err));
    json_t *files = json_array();
    TRY(set(ghosts, "files", files, err));
    for (size_t i = 0; i < r->count; i++)
        TRY(add_ghost(files, &r->items[i], err));
    return OK;
}

/* ---- */

enum status analyze_json_begin(struct analyze_json *j, bool with_ranges, struct analyze_reporter *out,
                               struct error *err)
{
    *j = (struct analyze_json){.archives = json_array(), .ranges = json_array(), .with_ranges = with_ranges};
    if (!j->archives || !j->ranges)
        return no_memory(err);
    *out = (struct analyze_reporter){.archive = json_on_archive,
                                     .range = with_ranges ? json_on_range : NULL,
                                     .snapshot = json_on_snapshot,
                                     .ghosts = json_on_ghosts,
                                     .context = j};
    return OK;
}

enum status analyze_json_print(struct analyze_json *j, const struct analyze_options *options, enum output_format format,
                               struct error *err)
{
    json_t *result = json_pack("{s:s, s:o, s:O}", "schema", "pxarbench-analyze/1", "chunk_average",
                               cli_json_count(options->chunk_average), "archives", j->archives);
    return cli_print_json(result, format, err);
}

void analyze_json_deinit(struct analyze_json *j)
{
    json_decref(j->archives);
    json_decref(j->ranges);
}
