#include "flow/what_if.h"

#include "base/log.h"
#include "detect/simulate.h"
#include "flow/old_files.h"
#include "pxar/item.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One setting's replay. */
struct branch {
    struct archive_replay *archive;
    struct what_if_row row;
    struct simulation *simulation;
    struct old_files *old_files; /* profile stored */
};

/* A recorded file that the replay of the run's own setting has not come to yet. */
struct expected {
    struct expected *next;
    uint64_t ordinal, line, offset;
    enum file_reason reason;
    char path[];
};

struct archive_replay {
    const char *decisions_path;
    struct decisions_run run;
    struct store_reader *reader;
    struct dynamic_index metadata_index, payload_index;
    char metadata_name[STORED_NAME_SIZE + sizeof ".mpxar.didx"];
    struct branch *branches; /* the first one is the run's own setting */
    size_t count, listed;    /* the rows are branches[count - listed..] */
    uint64_t ordinal;        /* of the next event */
    struct expected *first, **last;
};

static void replay_deinit(struct archive_replay *a)
{
    for (size_t i = 0; i < a->count; i++) {
        simulation_free(a->branches[i].simulation);
        old_files_free(a->branches[i].old_files);
    }
    free(a->branches);
    while (a->first) {
        struct expected *e = a->first;
        a->first = e->next;
        free(e);
    }
    dynamic_index_deinit(&a->metadata_index);
    dynamic_index_deinit(&a->payload_index);
    store_reader_close(a->reader);
    *a = (struct archive_replay){0};
}

/* ---- what the simulations tell ---- */

static enum status on_unseen_live(void *context, uint64_t from, uint64_t to, uint64_t *out, struct error *err)
{
    (void)err;
    struct branch *b = context;
    *out = old_files_live(b->old_files, from, to);
    return OK;
}

static enum status on_recorded_file(void *context, uint64_t ordinal, bool reused, enum file_reason reason,
                                    uint64_t offset, struct error *err)
{
    struct branch *b = context;
    struct archive_replay *a = b->archive;
    struct expected *e = a->first;
    ASSERT(e && e->ordinal == ordinal);
    ASSERT(reused == (reason == FILE_UNCHANGED));
    if (reason != e->reason || offset != e->offset) {
        char path[LOG_PATH_MAX];
        return fail(err, ERR_MISMATCH,
                    "%s: line %" PRIu64 ": \"%s\" was recorded as %s at payload offset %" PRIu64
                    ", but the run's own settings make it %s at %" PRIu64
                    ": this file or this store is not that of the run, or the tree changed while it ran",
                    a->decisions_path, e->line, log_path(e->path, path), file_reason_name(e->reason), e->offset,
                    file_reason_name(reason), offset);
    }
    a->first = e->next;
    if (!a->first)
        a->last = &a->first;
    free(e);
    return OK;
}

/* ---- the beginning of an archive ---- */

static bool same_setting(const struct what_if_row *a, const struct what_if_row *b)
{
    return a->profile == b->profile && a->threshold_ppm == b->threshold_ppm && a->cache_limit == b->cache_limit;
}

static size_t at_least_one(size_t count)
{
    return count ? count : 1;
}

/* The run's own setting, then those of the grid that are new. */
static enum status make_branches(struct archive_replay *a, const struct what_if_grid *grid, struct error *err)
{
    const struct lookahead_options *own = &a->run.options;
    size_t profiles = at_least_one(grid->profile_count), thresholds = at_least_one(grid->threshold_count),
           limits = at_least_one(grid->cache_limit_count);
    if (profiles > WHAT_IF_ROWS_MAX || thresholds > WHAT_IF_ROWS_MAX || limits > WHAT_IF_ROWS_MAX ||
        profiles * thresholds * limits > WHAT_IF_ROWS_MAX)
        return fail(err, ERR_USAGE, "more than %d settings to try", WHAT_IF_ROWS_MAX);
    void *branches;
    TRY(array_new(1 + profiles * thresholds * limits, sizeof *a->branches, 1 + WHAT_IF_ROWS_MAX, "settings", &branches,
                  err));
    a->branches = branches;
    a->branches[a->count++].row = (struct what_if_row){.profile = own->profile,
                                                       .threshold_ppm = own->threshold_ppm,
                                                       .cache_limit = own->cache_limit,
                                                       .recorded = true};
    for (size_t i = 0; i < profiles * thresholds * limits; i++) {
        size_t p = i / limits / thresholds, t = i / limits % thresholds, l = i % limits;
        struct what_if_row row = {
            .profile = grid->profile_count ? grid->profiles[p] : own->profile,
            .threshold_ppm = grid->threshold_count ? grid->thresholds_ppm[t] : own->threshold_ppm,
            .cache_limit = grid->cache_limit_count ? grid->cache_limits[l] : own->cache_limit,
        };
        bool again = false;
        for (size_t k = 1; k < a->count; k++)
            again |= same_setting(&row, &a->branches[k].row);
        if (!again) {
            row.recorded = same_setting(&row, &a->branches[0].row);
            a->branches[a->count++].row = row;
            a->listed++;
        }
    }
    bool listed = false;
    for (size_t k = 1; k < a->count; k++)
        listed |= a->branches[k].row.recorded;
    if (!listed)
        a->listed++;
    return OK;
}

static enum status start_branch(struct archive_replay *a, struct branch *b, bool checked, struct error *err)
{
    b->archive = a;
    struct lookahead_options options = a->run.options;
    options.profile = b->row.profile;
    options.threshold_ppm = b->row.threshold_ppm;
    options.cache_limit = (size_t)b->row.cache_limit;
    const struct sim_observer observer = {
        .file = checked ? on_recorded_file : NULL,
        .unseen_live = b->row.profile == PROFILE_STORED ? on_unseen_live : NULL,
        .context = b,
    };
    if (b->row.profile == PROFILE_STORED)
        TRY(old_files_new(a->reader, &a->metadata_index, a->metadata_name, a->run.payload_size, &b->old_files, err));
    return simulation_new(&options, &a->payload_index, &observer, &b->simulation, err);
}

/* The reference's indexes, as they were for the run. */
static enum status open_reference(struct store *store, struct archive_replay *a, struct error *err)
{
    char payload_name[sizeof a->metadata_name], text[SNAPSHOT_TEXT_SIZE];
    snapshot_id_text(&a->run.reference, text);
    (void)snprintf(a->metadata_name, sizeof a->metadata_name, "%s.mpxar.didx", a->run.archive);
    (void)snprintf(payload_name, sizeof payload_name, "%s.ppxar.didx", a->run.archive);
    TRY(store_reader_open(store, &a->run.reference, &a->reader, err));
    struct manifest manifest = {0};
    enum status status = snapshot_manifest(a->reader, &manifest, err);
    if (status == OK)
        status = snapshot_index(a->reader, &manifest, payload_name, &a->payload_index, err);
    if (status == OK)
        status = snapshot_index(a->reader, &manifest, a->metadata_name, &a->metadata_index, err);
    manifest_deinit(&manifest);
    TRY(status);
    struct digest csum;
    dynamic_index_csum(&a->payload_index, &csum);
    if (!digest_equal(&csum, &a->run.payload_csum) || dynamic_index_size(&a->payload_index) != a->run.payload_size)
        return fail(err, ERR_MISMATCH, "%s of snapshot %s is not the one that the run had as its reference",
                    payload_name, text);
    return OK;
}

static enum status begin_archive(struct store *store, const char *ns, const struct decisions_run *run,
                                 const struct what_if_grid *grid, struct archive_replay *a, struct error *err)
{
    a->run = *run;
    a->last = &a->first;
    if (!run->has_reference)
        return OK;
    TRY(snapshot_namespace_check(ns, err));
    memcpy(a->run.reference.ns, ns, strlen(ns) + 1); /* checked: it fits */
    TRY(open_reference(store, a, err));
    TRY(make_branches(a, grid, err));
    for (size_t i = 0; i < a->count; i++)
        TRY(start_branch(a, &a->branches[i], i == 0, err));
    return OK;
}

/* ---- its events ---- */

static enum status tell_all(struct archive_replay *a, const struct sim_event *event, struct error *err)
{
    a->ordinal++;
    for (size_t i = 0; i < a->count; i++)
        TRY(simulation_event(a->branches[i].simulation, event, err));
    return OK;
}

static enum status tell_walk(struct archive_replay *a, const char *walk, struct error *err)
{
    for (; *walk; walk++) {
        struct sim_event event = {.kind = *walk == '(' ? SIM_ENTER : *walk == ')' ? SIM_LEAVE : SIM_SPECIAL};
        TRY(tell_all(a, &event, err));
    }
    return OK;
}

static enum status expect(struct archive_replay *a, const struct decision_line *d, struct error *err)
{
    size_t size = strlen(d->path) + 1;
    struct expected *e = malloc(sizeof *e + size);
    if (!e)
        return fail(err, ERR_MEMORY, "out of memory for a decision");
    *e = (struct expected){.ordinal = a->ordinal, .line = d->line, .offset = d->offset, .reason = d->reason};
    memcpy(e->path, d->path, size);
    *a->last = e;
    a->last = &e->next;
    return OK;
}

static enum status replay_line(struct archive_replay *a, const struct decision_line *d, struct error *err)
{
    TRY(tell_walk(a, d->before, err));
    if (d->action == DECISION_LINK) {
        TRY(tell_all(a, &(struct sim_event){.kind = SIM_LINK}, err));
    } else {
        TRY(expect(a, d, err));
        const struct sim_event event = {
            .kind = SIM_FILE,
            .size = d->size,
            .reason = decision_is_reusable(d) ? FILE_UNCHANGED : d->reason,
            .old_offset = d->old_offset,
            .old_size = d->old_size,
        };
        TRY(tell_all(a, &event, err));
    }
    return tell_walk(a, d->after, err);
}

/* ---- its end ---- */

static enum status finish_branch(struct branch *b, struct error *err)
{
    struct sim_result result;
    TRY(simulation_finish(b->simulation, &result, err));
    b->row.reused_files = result.reused_files;
    b->row.read_files = result.reencoded_files;
    b->row.read_bytes = result.read_bytes;
    b->row.new_bytes = result.reencoded_bytes + 2 * ITEM_HEADER_SIZE;
    b->row.padding = result.ledger.padding;
    b->row.stored_waste = result.cache.stored_waste_bytes;
    b->row.injected_chunks = result.cache.injected_chunks;
    b->row.payload_size = result.payload_size;
    return OK;
}

static bool beats(const struct what_if_row *a, const struct what_if_row *b)
{
    return a->read_bytes <= b->read_bytes && a->padding <= b->padding &&
           (a->read_bytes < b->read_bytes || a->padding < b->padding);
}

static enum status finish_archive(struct archive_replay *a,
                                  enum status (*on_table)(void *, const struct what_if_table *, struct error *),
                                  void *context, struct error *err)
{
    struct what_if_table table = {.run = &a->run};
    progress_end(); /* results may go to the same terminal */
    for (size_t i = 0; i < a->count; i++)
        TRY(finish_branch(&a->branches[i], err));
    ASSERT(!a->first);
    struct what_if_row *rows;
    void *array;
    TRY(array_new(a->listed, sizeof *rows, 1 + WHAT_IF_ROWS_MAX, "settings", &array, err));
    rows = array;
    for (size_t i = 0; i < a->listed; i++)
        rows[i] = a->branches[a->count - a->listed + i].row;
    for (size_t i = 0; i < a->listed; i++) {
        rows[i].pareto = true;
        for (size_t k = 0; k < a->listed; k++)
            rows[i].pareto &= !beats(&rows[k], &rows[i]);
    }
    table.rows = rows;
    table.row_count = a->listed;
    enum status status = on_table(context, &table, err);
    free(rows);
    return status;
}

/* ---- the file ---- */

static void decisions_cleanup(struct decisions **d)
{
    decisions_close(*d);
}

enum status what_if(struct store *store, const char *ns, const char *decisions_path, const struct what_if_grid *grid,
                    enum status (*on_table)(void *context, const struct what_if_table *table, struct error *err),
                    void *context, struct error *err)
{
    CLEANUP(decisions_cleanup) struct decisions *decisions = NULL;
    CLEANUP(replay_deinit) struct archive_replay archive = {0};
    TRY(decisions_open(decisions_path, &decisions, err));
    for (uint64_t lines = 0;; lines++) {
        struct decision_line line;
        enum status status = decisions_next(decisions, &line, err);
        if (status == ERR_CLOSED && lines == 0)
            return fail(err, ERR_FORMAT, "%s: no decisions", decisions_path);
        if (status == ERR_CLOSED)
            return finish_archive(&archive, on_table, context, err);
        TRY(status);
        if (line.run) {
            if (lines > 0)
                TRY(finish_archive(&archive, on_table, context, err));
            replay_deinit(&archive);
            archive.decisions_path = decisions_path;
            if (begin_archive(store, ns, line.run, grid, &archive, err) != OK)
                return fail_within(err, "%s: line %" PRIu64, decisions_path, line.line);
        }
        if (!archive.run.has_reference)
            continue;
        if (lines % 256 == 0 && progress_due())
            progress_update("what-if: %s: files %" PRIu64 ", settings %zu", archive.run.archive, lines, archive.listed);
        status = replay_line(&archive, &line, err);
        if (status == ERR_MISMATCH)
            return status; /* names the line, which was not this one */
        if (status != OK)
            return fail_within(err, "%s: line %" PRIu64, decisions_path, line.line);
    }
}
