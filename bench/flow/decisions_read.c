#include "flow/decisions_read.h"

#include "chunk/chunker.h"
#include "flow/backup.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct decisions {
    FILE *file; /* owned, as all below */
    char *path;
    struct buffer text; /* the current line */
    json_t *object;
    uint64_t line;
    struct decisions_run run;
    bool has_run;
    bool ended; /* the last line had `after`: only a run may follow */
};

enum status decisions_open(const char *path, struct decisions **out, struct error *err)
{
    struct decisions *d = calloc(1, sizeof *d);
    if (!d || !(d->path = strdup(path))) {
        decisions_close(d);
        return fail(err, ERR_MEMORY, "out of memory for reading decisions");
    }
    d->text = BUFFER_INIT(DECISIONS_LINE_MAX);
    d->file = fopen(path, "re");
    if (!d->file) {
        enum status status = fail(err, ERR_IO, "open %s", path);
        decisions_close(d);
        return status;
    }
    *out = d;
    return OK;
}

void decisions_close(struct decisions *d)
{
    if (!d)
        return;
    if (d->file)
        (void)fclose(d->file); /* only read */
    json_decref(d->object);
    buffer_deinit(&d->text);
    free(d->path);
    free(d);
}

/* One line without its newline. ERR_CLOSED: none is left. */
static enum status read_line(struct decisions *d, struct error *err)
{
    buffer_clear(&d->text);
    int c;
    while ((c = getc_unlocked(d->file)) != EOF && c != '\n') {
        TRY(buffer_append_u8(&d->text, (uint8_t)c, err));
    }
    if (ferror(d->file))
        return fail(err, ERR_IO, "read");
    return c == EOF && d->text.size == 0 ? ERR_CLOSED : OK;
}

/* ---- members ---- */

static enum status get_text(const json_t *object, const char *key, const char **out, struct error *err)
{
    *out = json_string_value(json_object_get(object, key));
    return *out ? OK : fail(err, ERR_FORMAT, "'%s' is missing or no text", key);
}

static enum status get_count(const json_t *object, const char *key, uint64_t max, uint64_t *out, struct error *err)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) > max)
        return fail(err, ERR_FORMAT, "'%s' is missing or no number from 0 to %" PRIu64, key, max);
    *out = (uint64_t)json_integer_value(value);
    return OK;
}

static enum status copy_text(const json_t *object, const char *key, char *out, size_t out_size, struct error *err)
{
    const char *text;
    TRY(get_text(object, key, &text, err));
    if (strlen(text) >= out_size)
        return fail(err, ERR_FORMAT, "'%s' is longer than %zu bytes", key, out_size - 1);
    memcpy(out, text, strlen(text) + 1);
    return OK;
}

/* A walk between two lines; left out when there was none. */
static enum status get_walk(const json_t *object, const char *key, const char **out, struct error *err)
{
    *out = "";
    if (!json_object_get(object, key))
        return OK;
    TRY(get_text(object, key, out, err));
    if ((*out)[strspn(*out, "()s")] != '\0')
        return fail(err, ERR_FORMAT, "'%s' has other characters than '(', ')' and 's'", key);
    return OK;
}

/* ---- the run ---- */

static enum status parse_reference(const json_t *run, struct decisions_run *out, struct error *err)
{
    const json_t *reference = json_object_get(run, "reference");
    TRY(copy_text(reference, "reason", out->reference_reason, sizeof out->reference_reason, err));
    out->has_reference = strcmp(out->reference_reason, reference_reason_name(REFERENCE_USED)) == 0;
    if (!out->has_reference)
        return OK;
    const char *snapshot, *csum;
    TRY(get_text(reference, "snapshot", &snapshot, err));
    TRY(snapshot_id_parse(snapshot, &out->reference, err));
    TRY(get_text(reference, "payload_csum", &csum, err));
    if (!digest_parse(csum, strlen(csum), &out->payload_csum))
        return fail(err, ERR_FORMAT, "'payload_csum' is no SHA-256 digest");
    return get_count(reference, "payload_size", INT64_MAX, &out->payload_size, err);
}

static enum status parse_settings(const json_t *run, struct decisions_run *out, struct error *err)
{
    const char *profile;
    uint64_t cache_limit, max_instances;
    TRY(get_text(run, "profile", &profile, err));
    size_t p = 0;
    while (reuse_profile_names[p] && strcmp(profile, reuse_profile_names[p]) != 0)
        p++;
    if (!reuse_profile_names[p])
        return fail(err, ERR_FORMAT, "'%s' is no reuse profile", profile);
    out->options.profile = (enum reuse_profile)p;
    const json_t *threshold = json_object_get(run, "padding_threshold");
    double share = json_number_value(threshold);
    if (!json_is_number(threshold) || !(share >= 0 && share <= 1))
        return fail(err, ERR_FORMAT, "'padding_threshold' is missing or no number from 0 to 1");
    out->options.threshold_ppm = (uint32_t)(share * PPM_ONE + 0.5);
    TRY(get_count(run, "cache_limit", SIZE_MAX / 2, &cache_limit, err));
    TRY(get_count(run, "chunk_average", CHUNKER_AVERAGE_MAX, &out->chunk_average, err));
    TRY(get_count(run, "absorb_below", INT64_MAX, &out->options.absorb_below, err));
    TRY(get_count(run, "max_instances", UINT32_MAX, &max_instances, err));
    if (cache_limit == 0 || max_instances == 0)
        return fail(err, ERR_FORMAT, "'cache_limit' and 'max_instances' must be at least 1");
    out->options.cache_limit = (size_t)cache_limit;
    out->options.max_instances = (uint32_t)max_instances;
    out->options.absorb_until = out->chunk_average / 4;
    return OK;
}

static enum status parse_run(const json_t *run, struct decisions_run *out, struct error *err)
{
    const char *schema;
    *out = (struct decisions_run){0};
    TRY(get_text(run, "schema", &schema, err));
    if (strcmp(schema, DECISIONS_SCHEMA) != 0)
        return fail(err, ERR_VERSION, "schema '%s' is not supported, only " DECISIONS_SCHEMA, schema);
    TRY(copy_text(run, "archive", out->archive, sizeof out->archive - sizeof ".mpxar.didx", err));
    TRY(copy_text(run, "snapshot", out->snapshot, sizeof out->snapshot, err));
    TRY(parse_settings(run, out, err));
    return parse_reference(run, out, err);
}

/* ---- a line ---- */

bool decision_is_reusable(const struct decision_line *d)
{
    return d->action == DECISION_REUSED ||
           (d->action == DECISION_REENCODED &&
            (d->reason == FILE_THRESHOLD || d->reason == FILE_INSTANCES || d->reason == FILE_ABSORBED));
}

static enum status parse_reason(const json_t *object, enum file_reason *out, struct error *err)
{
    const char *name;
    TRY(get_text(object, "reason", &name, err));
    if (strcmp(name, "touched-but-identical") == 0)
        TRY(get_text(object, "difference", &name, err));
    for (unsigned r = 0; r < FILE_REASON_COUNT; r++)
        if (strcmp(file_reason_name((enum file_reason)r), name) == 0) {
            *out = (enum file_reason)r;
            return OK;
        }
    return fail(err, ERR_FORMAT, "'%s' is no reason", name);
}

static enum status parse_file(const json_t *object, struct decision_line *out, struct error *err)
{
    TRY(parse_reason(object, &out->reason, err));
    if ((out->action == DECISION_REUSED) != (out->reason == FILE_UNCHANGED))
        return fail(err, ERR_FORMAT, "a file is reused if it is unchanged, and only then");
    TRY(get_count(object, "size", INT64_MAX, &out->size, err));
    TRY(get_count(object, "offset", INT64_MAX, &out->offset, err));
    bool reusable = decision_is_reusable(out);
    if (!reusable && !json_object_get(object, "old_offset"))
        return OK;
    TRY(get_count(object, "old_offset", INT64_MAX, &out->old_offset, err));
    out->old_size = out->size;
    if (json_object_get(object, "old_size"))
        TRY(get_count(object, "old_size", INT64_MAX, &out->old_size, err));
    if (reusable && out->old_size != out->size)
        return fail(err, ERR_FORMAT, "a reusable file whose size was another one");
    return OK;
}

/* Before another archive begins, and at the end of the file. */
static enum status check_complete(const struct decisions *d, struct error *err)
{
    if (!d->has_run || d->ended)
        return OK;
    return fail(err, ERR_FORMAT, "the decisions for '%s' end before its last file: the run failed, or the file was cut",
                d->run.archive);
}

static enum status parse_line(struct decisions *d, struct decision_line *out, struct error *err)
{
    json_error_t where;
    json_decref(d->object);
    d->object = json_loadb((const char *)d->text.data, d->text.size, JSON_REJECT_DUPLICATES, &where);
    if (!d->object)
        return fail(err, ERR_FORMAT, "no JSON: %s", where.text);
    const json_t *run = json_object_get(d->object, "run");
    *out = (struct decision_line){.line = d->line};
    if (run) {
        TRY(check_complete(d, err));
        TRY(parse_run(run, &d->run, err));
        d->has_run = true;
        out->run = &d->run;
    } else if (!d->has_run || d->ended) {
        return fail(err, ERR_FORMAT, "the first line of an archive says nothing about its run");
    }
    d->ended = json_object_get(d->object, "after") != NULL;
    TRY(get_walk(d->object, "before", &out->before, err));
    TRY(get_walk(d->object, "after", &out->after, err));
    if (get_text(d->object, "path", &out->path, err) != OK)
        TRY(get_text(d->object, "path_b64", &out->path, err));
    const char *action;
    TRY(get_text(d->object, "action", &action, err));
    if (strcmp(action, "hardlink") == 0) {
        out->action = DECISION_LINK;
        return OK;
    }
    if (strcmp(action, "reused") != 0 && strcmp(action, "reencoded") != 0)
        return fail(err, ERR_FORMAT, "'%s' is no action", action);
    out->action = strcmp(action, "reused") == 0 ? DECISION_REUSED : DECISION_REENCODED;
    return parse_file(d->object, out, err);
}

enum status decisions_next(struct decisions *d, struct decision_line *out, struct error *err)
{
    d->line++;
    enum status status = read_line(d, err);
    if (status == ERR_CLOSED) {
        status = check_complete(d, err);
        return status == OK ? ERR_CLOSED : fail_within(err, "%s", d->path);
    }
    if (status == OK)
        status = parse_line(d, out, err);
    return status == OK ? OK : fail_within(err, "%s: line %" PRIu64, d->path, d->line);
}
