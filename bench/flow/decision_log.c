#include "flow/decision_log.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { DECISION_PATH_MAX = 1 << 16 };

/* `value` under `key` if it is UTF-8, else base64 under `key_b64`. */
static enum status set_bytes(json_t *object, const char *key, const char *key_b64, const char *value, struct error *err)
{
    json_t *text = json_string(value);
    if (text)
        return json_object_set_new(object, key, text) == 0 ? OK : fail(err, ERR_MEMORY, "out of memory for JSON");
    size_t size = strlen(value);
    char *encoded = malloc(4 * (size / 3 + 1) + 1);
    if (!encoded)
        return fail(err, ERR_MEMORY, "out of memory for JSON");
    EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)value, (int)size);
    int failed = json_object_set_new(object, key_b64, json_string(encoded));
    free(encoded);
    return failed ? fail(err, ERR_MEMORY, "out of memory for JSON") : OK;
}

static enum status set(json_t *object, const char *key, json_t *value, struct error *err)
{
    /* Drops `value` also when it fails, and fails on NULL. */
    return json_object_set_new(object, key, value) == 0 ? OK : fail(err, ERR_MEMORY, "out of memory for JSON");
}

static enum status set_count(json_t *object, const char *key, uint64_t value, struct error *err)
{
    /* Only hostile archives have more; jansson's numbers are signed. */
    return set(object, key, json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value), err);
}

void decision_log_init(struct decision_log *log, FILE *out, const struct decision_run *run)
{
    *log = (struct decision_log){.out = out, .run = *run, .events = BUFFER_INIT(BUFFER_LIMIT_DEFAULT)};
}

/* ---- the first line ---- */

static enum status fill_reference(const struct decision_run *run, json_t *object, struct error *err)
{
    char csum[DIGEST_TEXT_SIZE];
    struct digest digest;
    if (run->old_payload)
        dynamic_index_csum(run->old_payload, &digest);
    TRY(set(object, "reason", json_string(reference_reason_name(run->reference)), err));
    TRY(set(object, "snapshot", json_string(run->reference_snapshot), err));
    TRY(set(object, "payload_csum", run->old_payload ? json_string(digest_text(&digest, csum)) : json_null(), err));
    return set_count(object, "payload_size", run->old_payload ? dynamic_index_size(run->old_payload) : 0, err);
}

static enum status fill_run(const struct decision_run *run, json_t *object, struct error *err)
{
    const struct archive_options *o = run->options;
    TRY(set(object, "schema", json_string("pxarbench-decisions/1"), err));
    TRY(set(object, "archive", json_string(run->archive), err));
    TRY(set(object, "snapshot", json_string(run->snapshot), err));
    TRY(set(object, "mode", json_string(detection_mode_names[o->mode]), err));
    TRY(set(object, "profile", json_string(reuse_profile_names[o->profile]), err));
    TRY(set(object, "compare", json_string(compare_rule_names[o->compare]), err));
    TRY(set(object, "padding_threshold", json_real(o->threshold_ppm / 1e6), err));
    TRY(set_count(object, "cache_limit", o->cache_limit, err));
    TRY(set_count(object, "chunk_average", o->chunk_average, err));
    TRY(set_count(object, "absorb_below", o->absorb_below, err));
    TRY(set_count(object, "max_instances", o->max_instances, err));
    json_t *reference = json_object();
    TRY(set(object, "reference", reference, err));
    return fill_reference(run, reference, err);
}

static enum status begin(struct decision_log *log, json_t *line, struct error *err)
{
    if (log->has_begun)
        return OK;
    log->has_begun = true;
    json_t *run = json_object();
    TRY(set(line, "run", run, err));
    return fill_run(&log->run, run, err);
}

/* ---- any line ---- */

static enum status put_events(struct decision_log *log, json_t *line, const char *key, struct error *err)
{
    if (log->events.size == 0)
        return OK;
    enum status status = set(line, key, json_stringn((const char *)log->events.data, log->events.size), err);
    buffer_clear(&log->events);
    return status;
}

static enum status write_held(struct decision_log *log, struct error *err)
{
    json_t *line = log->held;
    log->held = NULL;
    /* 15 digits give 0.1 back as it was typed. */
    size_t flags = JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(15);
    enum status status = OK;
    if (line && (json_dumpf(line, log->out, flags) != 0 || fputc('\n', log->out) == EOF))
        status = fail(err, ERR_IO, "write decisions");
    json_decref(line);
    return status;
}

static enum status fill_line(struct decision_log *log, json_t *line, const struct node *n, struct error *err)
{
    char path[DECISION_PATH_MAX];
    TRY(set_bytes(line, "path", "path_b64", node_path(n, path, sizeof path), err));
    TRY(begin(log, line, err));
    return put_events(log, line, "before", err);
}

/* The line of a name, for the caller to fill; written when the next one comes. */
static enum status new_line(struct decision_log *log, const struct node *n, json_t **out, struct error *err)
{
    TRY(write_held(log, err));
    json_t *line = json_object();
    if (!line)
        return fail(err, ERR_MEMORY, "out of memory for JSON");
    enum status status = fill_line(log, line, n, err);
    if (status != OK) {
        json_decref(line);
        return status;
    }
    *out = log->held = line;
    return OK;
}

enum status decision_log_file(struct decision_log *log, const struct decision *d, struct error *err)
{
    if (!log->out)
        return OK;
    const struct node *n = d->node;
    json_t *line = NULL;
    TRY(new_line(log, n, &line, err));
    TRY(set(line, "action", json_string(d->reason == FILE_UNCHANGED ? "reused" : "reencoded"), err));
    const char *reason = file_reason_name(d->reason);
    TRY(set(line, "reason", json_string(d->is_identical ? "touched-but-identical" : reason), err));
    if (d->is_identical)
        TRY(set(line, "difference", json_string(reason), err));
    TRY(set_count(line, "size", n->size, err));
    TRY(set_count(line, "offset", d->offset, err));
    if (n->old.offset == 0)
        return OK;
    TRY(set_count(line, "old_offset", n->old.offset, err));
    return set_count(line, "old_size", n->old.size, err);
}

enum status decision_log_link(struct decision_log *log, const struct node *n, const char *target, struct error *err)
{
    if (!log->out)
        return OK;
    json_t *line = NULL;
    TRY(new_line(log, n, &line, err));
    TRY(set(line, "action", json_string("hardlink"), err));
    return set_bytes(line, "target", "target_b64", target, err);
}

enum status decision_log_event(struct decision_log *log, char event, struct error *err)
{
    return log->out ? buffer_append(&log->events, &event, 1, err) : OK;
}

enum status decision_log_finish(struct decision_log *log, struct error *err)
{
    /* Also when nothing came behind: without it, nobody could tell a cut file from a whole one. */
    if (log->held && log->events.size == 0)
        TRY(set(log->held, "after", json_string(""), err));
    if (log->held)
        TRY(put_events(log, log->held, "after", err));
    return write_held(log, err);
}

void decision_log_deinit(struct decision_log *log)
{
    struct error ignored = {0};
    (void)!write_held(log, &ignored);
    buffer_deinit(&log->events);
    *log = (struct decision_log){0};
}
