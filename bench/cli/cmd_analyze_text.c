#include "cli/cmd_analyze.h"

#include "base/log_path.h"
#include "base/size_text.h"

#include <inttypes.h>
#include <string.h>

enum { RATIO_TEXT_SIZE = 32, LABEL_WIDTH = 22 };

/* "1.034", cut. */
static const char *ratio_text(uint64_t ppm, char out[RATIO_TEXT_SIZE])
{
    snprintf(out, RATIO_TEXT_SIZE, "%" PRIu64 ".%03" PRIu64, ppm / 1000000, ppm % 1000000 / 1000);
    return out;
}

/* "9.87 %", cut; "0.00 %" of nothing. */
static const char *percent_text(uint64_t part, uint64_t whole, char out[RATIO_TEXT_SIZE])
{
    uint64_t ppm = ratio_ppm(part, whole);
    snprintf(out, RATIO_TEXT_SIZE, "%" PRIu64 ".%02" PRIu64 " %%", ppm / 10000, ppm % 10000 / 100);
    return out;
}

static enum status line(struct error *err, const char *label, const char *format, ...) PRINTF_LIKE(3, 4);
static enum status line(struct error *err, const char *label, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return cli_print(err, "  %-*s %s\n", LABEL_WIDTH, label, text);
}

/* ---- one snapshot ---- */

static enum status print_padding(const struct analysis *a, struct error *err)
{
    const struct ledger_totals *l = &a->ledger;
    char s[4][SIZE_TEXT_SIZE], r[RATIO_TEXT_SIZE], most[RATIO_TEXT_SIZE];
    TRY(line(err, "payload stream", "%s, %s times the %s that files use", size_text(l->size, s[0]),
             ratio_text(ratio_ppm(l->size, l->referenced), r), size_text(l->referenced, s[1])));
    TRY(line(err, "padding", "%s (%s of the stream) in %" PRIu64 " entries, %" PRIu64 " of them used by nobody",
             size_text(l->padding, s[0]), percent_text(l->padding, l->size, r), l->partial_chunks,
             l->unreferenced_chunks));
    TRY(line(err, "", "start %s, end %s, holes %s, unused chunks %s", size_text(l->start_padding, s[0]),
             size_text(l->end_padding, s[1]), size_text(l->hole_padding, s[2]), size_text(l->dead_padding, s[3])));
    return line(err, "stored waste", "%s (%s of the chunks, up to %s of one): used through no listing",
                size_text(a->stored_waste, s[0]), percent_text(a->stored_waste, a->chunk_bytes, r),
                percent_text(a->waste_max_ppm, 1000000, most));
}

static enum status print_chunks(const struct analyze_text *t, const struct analysis *a, struct error *err)
{
    char s[3][SIZE_TEXT_SIZE];
    const uint64_t *n = a->sizes.classes;
    TRY(line(err, "index", "%" PRIu64 " entries, mean %s, %" PRIu64 " ranges", a->index_entries,
             size_text(a->entry_size_mean, s[0]), a->ledger.ranges));
    TRY(line(err, "chunks", "%" PRIu64 " with %s, mean %s, median %s", a->chunks, size_text(a->chunk_bytes, s[0]),
             size_text(a->sizes.mean, s[1]), size_text(a->sizes.median, s[2])));
    TRY(line(err, "", "%" PRIu64 " listed more than once, one up to %" PRIu64 " times", a->relisted_chunks,
             a->listings_max));
    TRY(line(err, "", "%" PRIu64 " below %s, a quarter of the average; empty entries %" PRIu64, a->undersized_chunks,
             size_text(t->options->chunk_average / 4, s[0]), a->empty_entries));
    TRY(line(err, "chunks by size",
             "<16 KiB %" PRIu64 ", <64 KiB %" PRIu64 ", <256 KiB %" PRIu64 ", <1 MiB %" PRIu64 ", <4 MiB %" PRIu64
             ", larger %" PRIu64,
             n[0], n[1], n[2], n[3], n[4], n[5]));
    return line(err, "discontinuities",
                "files that do not begin where the one before ends: %" PRIu64 ", that go back: %" PRIu64,
                a->discontinuities, a->backward_files);
}

static enum status print_reads(const struct amplification_result *reads, struct error *err)
{
    char s[SIZE_TEXT_SIZE], r[3][RATIO_TEXT_SIZE], label[48];
    for (size_t i = 0; i < reads->full_count; i++) {
        const struct amplification_full *f = &reads->full[i];
        snprintf(label, sizeof label, "full restore, LRU %" PRIu64, f->chunks_kept);
        TRY(line(err, label, "%" PRIu64 " chunks with %s fetched, %s times what is restored", f->fetched_chunks,
                 size_text(f->fetched_bytes, s), ratio_text(ratio_ppm(f->fetched_bytes, reads->restored_bytes), r[0])));
    }
    const struct distribution *d = &reads->fetched_ppm, *e = &reads->file_entries;
    TRY(line(err, "single file", "fetched / restored: median %s, 95 %% at most %s, at most %s",
             ratio_text(d->median, r[0]), ratio_text(d->p95, r[1]), ratio_text(d->max, r[2])));
    return line(err, "", "entries touched: median %" PRIu64 ", 95 %% at most %" PRIu64 ", at most %" PRIu64, e->median,
                e->p95, e->max);
}

static enum status print_details(const struct analyze_text *t, const char *id, const struct analysis *a,
                                 struct error *err)
{
    char s[2][SIZE_TEXT_SIZE];
    TRY(cli_print(err, "%s %s\n", id, t->archive));
    TRY(line(err, "files", "%" PRIu64 " with %s, metadata stream %s", a->files, size_text(a->content_bytes, s[0]),
             size_text(a->metadata_size, s[1])));
    TRY(print_padding(a, err));
    TRY(print_chunks(t, a, err));
    return print_reads(&a->reads, err);
}

/* ---- several snapshots ---- */

#define ROW_NUMBERS " %9s %8s %8s %12s %12s %12s %8s %7s"
#define ROW_CHANGE " %8s %12s %8s %12s\n"

static enum status print_head(const struct analyze_text *t, struct error *err)
{
    TRY(cli_print(err, "%s\n%-*s" ROW_NUMBERS, t->archive, t->id_width, "snapshot", "files", "entries", "chunks",
                  "mean chunk", "padding", "waste", "virtual", "breaks"));
    for (size_t i = 0; i < t->options->lru_count; i++) {
        char label[32];
        snprintf(label, sizeof label, "LRU %" PRIu64, t->options->lru[i]);
        TRY(cli_print(err, " %8s", label));
    }
    return cli_print(err, ROW_CHANGE, "new", "bytes", "dropped", "bytes");
}

static const char *count_text(uint64_t count, char out[32])
{
    snprintf(out, 32, "%" PRIu64, count);
    return out;
}

static enum status print_row(const struct analyze_text *t, const char *id, const struct analysis *a, struct error *err)
{
    char n[6][32], s[5][SIZE_TEXT_SIZE], r[RATIO_TEXT_SIZE];
    TRY(cli_print(err, "%-*s" ROW_NUMBERS, t->id_width, id, count_text(a->files, n[0]),
                  count_text(a->index_entries, n[1]), count_text(a->chunks, n[2]), size_text(a->sizes.mean, s[0]),
                  size_text(a->ledger.padding, s[1]), size_text(a->stored_waste, s[2]),
                  ratio_text(ratio_ppm(a->ledger.size, a->ledger.referenced), r),
                  count_text(a->discontinuities, n[3])));
    for (size_t i = 0; i < a->reads.full_count; i++)
        TRY(cli_print(err, " %8s", ratio_text(ratio_ppm(a->reads.full[i].fetched_bytes, a->reads.restored_bytes), r)));
    if (!a->has_previous)
        return cli_print(err, ROW_CHANGE, "-", "-", "-", "-");
    return cli_print(err, ROW_CHANGE, count_text(a->new_chunks, n[4]), size_text(a->new_bytes, s[3]),
                     count_text(a->dropped_chunks, n[5]), size_text(a->dropped_bytes, s[4]));
}

/* ---- ghosts ---- */

static enum status text_on_ghosts(void *context, const struct snapshot_id *newest, const struct ghost_report *r,
                                  struct error *err)
{
    const struct analyze_text *t = context;
    char id[SNAPSHOT_TEXT_SIZE], s[2][SIZE_TEXT_SIZE], path[LOG_PATH_MAX];
    static const char *const meanings[GHOST_FATE_COUNT] = {
        [GHOST_DELETED] = "no longer there",
        [GHOST_REPLACED] = "of another size, mtime or kind now",
        [GHOST_MOVED] = "unchanged, but encoded again elsewhere",
    };
    TRY(cli_print(err, "\nGhosts in the chunks of %s: still readable, but used by none of its files\n",
                  snapshot_id_text(newest, id)));
    for (int fate = 0; fate < GHOST_FATE_COUNT; fate++)
        TRY(line(err, ghost_fate_name((enum ghost_fate)fate), "%12s of %" PRIu64 " files: %s",
                 size_text(r->totals[fate].bytes, s[0]), r->totals[fate].files, meanings[fate]));
    TRY(line(err, "payload headers", "%12s", size_text(r->header_bytes, s[0])));
    TRY(line(err, "unattributed", "%12s: of no file of the snapshots given", size_text(r->unattributed_bytes, s[0])));
    if (r->count > 0)
        TRY(cli_print(err, "%14s %14s %-8s %-*s %s\n", "readable", "of", "", t->id_width, "snapshot", "path"));
    for (size_t i = 0; i < r->count; i++) {
        const struct ghost *g = &r->items[i];
        TRY(cli_print(err, "%14s %14s %-8s %-*s %s\n", size_text(g->bytes, s[0]), size_text(g->size, s[1]),
                      ghost_fate_name(g->fate), t->id_width, snapshot_id_text(&g->snapshot, id),
                      log_path(g->path, path)));
    }
    return OK;
}

/* ---- the reporter ---- */

static enum status text_on_archive(void *context, const char *name, struct error *err)
{
    struct analyze_text *t = context;
    t->archive = name;
    if (t->began)
        TRY(cli_print(err, "\n"));
    t->began = true;
    return t->snapshot_count > 1 ? print_head(t, err) : OK;
}

static enum status text_on_range(void *context, const struct ledger_range *r, struct error *err)
{
    struct analyze_text *t = context;
    char s[4][SIZE_TEXT_SIZE];
    return buffer_printf(&t->ranges, err, "  %16" PRIu64 " %16" PRIu64 " %12s %12s %12s %12s\n", r->start, r->end,
                         size_text(r->referenced, s[0]), size_text(r->start_padding, s[1]),
                         size_text(r->end_padding, s[2]), size_text(r->hole_padding, s[3]));
}

static enum status text_on_snapshot(void *context, const struct snapshot_id *id, const struct analysis *a,
                                    struct error *err)
{
    struct analyze_text *t = context;
    char text[SNAPSHOT_TEXT_SIZE];
    snapshot_id_text(id, text);
    TRY(t->snapshot_count > 1 ? print_row(t, text, a, err) : print_details(t, text, a, err));
    if (t->ranges.size == 0)
        return OK;
    TRY(cli_print(err, "  %16s %16s %12s %12s %12s %12s\n", "range from", "to", "used", "start", "end", "holes"));
    struct sink out = cli_stdout_sink();
    TRY(out.write(out.context, t->ranges.data, t->ranges.size, err));
    buffer_clear(&t->ranges);
    return OK;
}

void analyze_text_begin(struct analyze_text *t, const struct snapshot_id *ids, size_t count,
                        const struct analyze_options *options, bool with_ranges, struct analyze_reporter *out)
{
    *t = (struct analyze_text){.options = options, .snapshot_count = count, .ranges = BUFFER_INIT(0)};
    for (size_t i = 0; i < count; i++) {
        char text[SNAPSHOT_TEXT_SIZE];
        int width = (int)strlen(snapshot_id_text(&ids[i], text));
        t->id_width = width > t->id_width ? width : t->id_width;
    }
    *out = (struct analyze_reporter){.archive = text_on_archive,
                                     .range = with_ranges ? text_on_range : NULL,
                                     .snapshot = text_on_snapshot,
                                     .ghosts = text_on_ghosts,
                                     .context = t};
}

void analyze_text_deinit(struct analyze_text *t)
{
    buffer_deinit(&t->ranges);
}
