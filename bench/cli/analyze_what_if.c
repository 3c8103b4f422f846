#include "cli/analyze_what_if.h"

#include "base/log.h"
#include "base/size_text.h"
#include "flow/backup.h"
#include "flow/what_if.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- settings ---- */

struct settings {
    enum reuse_profile profiles[WHAT_IF_ROWS_MAX];
    uint32_t thresholds_ppm[WHAT_IF_ROWS_MAX];
    uint64_t cache_limits[WHAT_IF_ROWS_MAX];
    size_t profile_count, threshold_count, cache_limit_count;
};

static enum status take_slot(size_t *count, size_t *out, struct error *err)
{
    if (*count == WHAT_IF_ROWS_MAX)
        return fail(err, ERR_USAGE, "--what-if: more than %d values", WHAT_IF_ROWS_MAX);
    *out = (*count)++;
    return OK;
}

static enum status add_profile(struct settings *s, const char *text, struct error *err)
{
    size_t slot, profile;
    TRY(cli_parse_enum("--what-if: profile", text, reuse_profile_names, &profile, err));
    TRY(take_slot(&s->profile_count, &slot, err));
    s->profiles[slot] = (enum reuse_profile)profile;
    return OK;
}

static enum status add_threshold(struct settings *s, const char *text, struct error *err)
{
    size_t slot;
    double value;
    TRY(cli_parse_double("--what-if: threshold", text, 0, 1, &value, err));
    uint32_t ppm = (uint32_t)(value * 1e6 + 0.5);
    double lost = value * 1e6 - ppm;
    if (lost > 1e-6 || lost < -1e-6)
        return fail(err, ERR_USAGE, "--what-if: threshold: at most 6 decimals are supported (got %s)", text);
    TRY(take_slot(&s->threshold_count, &slot, err));
    s->thresholds_ppm[slot] = ppm;
    return OK;
}

static enum status add_cache_limit(struct settings *s, const char *text, struct error *err)
{
    size_t slot;
    uint64_t value;
    TRY(cli_parse_u64("--what-if: cache-limit", text, 1, CACHE_LIMIT_MAX, &value, err));
    TRY(take_slot(&s->cache_limit_count, &slot, err));
    s->cache_limits[slot] = value;
    return OK;
}

/* "key=value,value"; cut into pieces in place. */
static enum status parse_word(struct settings *s, char *word, struct error *err)
{
    static const struct {
        const char *key;
        enum status (*add)(struct settings *, const char *, struct error *);
    } keys[] = {{"profile", add_profile}, {"threshold", add_threshold}, {"cache-limit", add_cache_limit}};
    char *values = strchr(word, '=');
    if (!values)
        return fail(err, ERR_USAGE, "--what-if: '%s' is not KEY=VALUE,...", word);
    *values++ = '\0';
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strcmp(word, keys[i].key) != 0)
            continue;
        /* Not strtok: an empty value is an error of its own. */
        for (char *value; (value = strsep(&values, ",")) != NULL;)
            TRY(keys[i].add(s, value, err));
        return OK;
    }
    return fail(err, ERR_USAGE, "--what-if: '%s' is not threshold, profile or cache-limit", word);
}

static enum status parse_settings(const char *const *texts, size_t count, struct settings *out, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        char *copy = strdup(texts[i]), *rest = copy;
        if (!copy)
            return fail(err, ERR_MEMORY, "out of memory for --what-if");
        enum status status = OK;
        for (char *word; status == OK && (word = strsep(&rest, " \t\n")) != NULL;)
            if (*word)
                status = parse_word(out, word, err);
        free(copy);
        TRY(status);
    }
    return OK;
}

/* ---- text ---- */

static const char *fraction_text(uint32_t ppm, char out[16])
{
    (void)snprintf(out, 16, "%" PRIu32 ".%06" PRIu32, ppm / PPM_ONE, ppm % PPM_ONE);
    size_t end = strlen(out);
    while (out[end - 1] == '0')
        end--;
    out[out[end - 1] == '.' ? end - 1 : end] = '\0';
    return out;
}

static enum status print_row(const struct what_if_row *r, struct error *err)
{
    char threshold[16], read_text[SIZE_TEXT_SIZE], new_text[SIZE_TEXT_SIZE], padding[SIZE_TEXT_SIZE],
        waste[SIZE_TEXT_SIZE];
    return cli_print(err, "%c%c %-8s %9s %11" PRIu64 " %13" PRIu64 " %13s %16s %13s %13s %14" PRIu64 "\n",
                     r->recorded ? '*' : ' ', r->pareto ? '+' : ' ', reuse_profile_names[r->profile],
                     fraction_text(r->threshold_ppm, threshold), r->cache_limit, r->read_files,
                     size_text(r->read_bytes, read_text), size_text(r->new_bytes, new_text),
                     size_text(r->padding, padding), size_text(r->stored_waste, waste), r->injected_chunks);
}

static enum status print_table(void *context, const struct what_if_table *t, struct error *err)
{
    bool *any = context;
    char reference[SNAPSHOT_TEXT_SIZE], archive[LOG_PATH_MAX], snapshot[LOG_PATH_MAX], reason[LOG_PATH_MAX];
    log_path(t->run->archive, archive);
    log_path(t->run->snapshot, snapshot);
    if (!t->run->has_reference)
        return cli_print(err, "%s of %s: no reference (%s), so no setting makes a difference\n", archive, snapshot,
                         log_path(t->run->reference_reason, reason));
    *any = true;
    TRY(cli_print(err, "%s of %s, reference %s:\n", archive, snapshot,
                  snapshot_id_text(&t->run->reference, reference)));
    TRY(cli_print(err, "   %-8s %9s %11s %13s %13s %16s %13s %13s %14s\n", "profile", "threshold", "cache limit",
                  "files re-read", "bytes read", "uploaded at most", "padding", "stored waste", "injected"));
    for (size_t i = 0; i < t->row_count; i++)
        TRY(print_row(&t->rows[i], err));
    return OK;
}

/* ---- json ---- */

static json_t *row_json(const struct what_if_row *r)
{
    return json_pack("{s:s, s:f, s:o, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "profile",
                     reuse_profile_names[r->profile], "padding_threshold", (double)r->threshold_ppm / PPM_ONE,
                     "cache_limit", cli_json_count(r->cache_limit), "recorded", r->recorded, "pareto", r->pareto,
                     "reused_files", cli_json_count(r->reused_files), "reencoded_files", cli_json_count(r->read_files),
                     "bytes_read", cli_json_count(r->read_bytes), "uploaded_at_most", cli_json_count(r->new_bytes),
                     "padding", cli_json_count(r->padding), "stored_waste", cli_json_count(r->stored_waste),
                     "injected_chunks", cli_json_count(r->injected_chunks), "payload_size",
                     cli_json_count(r->payload_size));
}

static enum status add_table(void *context, const struct what_if_table *t, struct error *err)
{
    char reference[SNAPSHOT_TEXT_SIZE] = "";
    json_t *rows = json_array();
    int failed = rows == NULL;
    for (size_t i = 0; i < t->row_count && !failed; i++)
        failed = json_array_append_new(rows, row_json(&t->rows[i]));
    if (t->run->has_reference)
        snapshot_id_text(&t->run->reference, reference);
    json_t *table = json_pack("{s:o, s:o, s:{s:o, s:s}, s:o}", "archive", cli_json_text(t->run->archive), "snapshot",
                              cli_json_text(t->run->snapshot), "reference", "reason",
                              cli_json_text(t->run->reference_reason), "snapshot", reference, "settings", rows);
    if (failed || json_array_append_new(context, table) != 0) {
        if (failed)
            json_decref(table);
        return fail(err, ERR_MEMORY, "out of memory for the result");
    }
    return OK;
}

/* ---- both ---- */

enum status analyze_what_if(struct store *store, const char *ns, const char *decisions_path,
                            const char *const *settings, size_t setting_count, enum output_format format,
                            struct error *err)
{
    struct settings parsed = {0};
    TRY(parse_settings(settings, setting_count, &parsed, err));
    const struct what_if_grid grid = {parsed.profiles,        parsed.profile_count, parsed.thresholds_ppm,
                                      parsed.threshold_count, parsed.cache_limits,  parsed.cache_limit_count};
    if (format == OUTPUT_TEXT) {
        bool any = false;
        TRY(what_if(store, ns, decisions_path, &grid, print_table, &any, err));
        return any ? cli_print(err, "* the run's own setting   + no other one reads less without more padding\n") : OK;
    }
    json_t *tables = json_array();
    if (!tables)
        return fail(err, ERR_MEMORY, "out of memory for the result");
    enum status status = what_if(store, ns, decisions_path, &grid, add_table, tables, err);
    if (status != OK) {
        json_decref(tables);
        return status;
    }
    return cli_print_json(tables, format, err);
}
