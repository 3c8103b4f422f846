/* The look-ahead cache for programs in other languages: one JSON object per line on stdin is one run, one object per
 * line on stdout is what came of it. For comparing the C code with a model (harness/tests/test_detect_twin.py).
 *
 * in:  {"profile": "tight"|"upstream"|"stored", "threshold_ppm", "cache_limit", "chunk_average", "absorb_below",
 *       "absorb_until", "max_instances": numbers; all but the profile have the program's defaults,
 *       "old_index": [[end, "digest"], ...]   left out or empty: no reference
 *       "old_files": [[offset, size], ...]    regular files of the old archive, in its order: whose bytes are still
 *                                             ahead when a chunk is decided early (profile stored)
 *       "events": [["file", size, "unchanged", old offset], ["file", size, "mtime", old offset or 0, old size],
 *                  ["link"], ["special"], ["enter"], ["leave"]]
 *                  An old size that is left out is that of the old file at that offset, else the new one.
 *       "contents": [byte value of each file event]   only if "index" is wanted}
 * out: {"files": [[ordinal of the event, "reused"|"reencoded", reason, offset], ...],
 *       "inject": [[boundary, [old entry, ...], size], ...], counters, "ledger": {...}, "index": [[end, "digest"],
 * ...]} or {"error": sentence} for a line that is refused; the next line is a new run.
 *
 * "index" is the real one: a file is its byte value repeated, the stream has its markers and headers, and it is cut as
 * a backup cuts it (chunk/payload_cutter.h), with suggestions and orders; injected entries keep their old digests.
 * Exits with 0 at the end of input, with 1 when it cannot read or write. */
#include "chunk/payload_cutter.h"
#include "detect/simulate.h"
#include "pxar/item.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    EVENTS_MAX = 1 << 24,
    OLD_ENTRIES_MAX = 1 << 24,
    RAW_SIZE_MAX = 1 << 30, /* bytes, with "contents" */
    WRITE_SIZE = 4 << 20,   /* a logical write of file contents */
    CACHE_LIMIT = 65536,
    MAX_INSTANCES = 8,
};

struct old_file {
    uint64_t offset, size;
};

/* One line of input. */
struct request {
    struct lookahead_options options;
    uint64_t chunk_average;
    struct dynamic_index index; /* owned */
    struct old_file *old_files; /* owned */
    size_t old_file_count;
    struct sim_event *events; /* owned */
    size_t event_count;
    uint8_t *contents; /* owned: by event; NULL: no index is wanted */
};

static void request_deinit(struct request *r)
{
    dynamic_index_deinit(&r->index);
    free(r->old_files);
    free(r->events);
    free(r->contents);
}

/* ---- reading ---- */

static enum status number(const json_t *value, const char *what, uint64_t max, uint64_t *out, struct error *err)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) > max)
        return fail(err, ERR_FORMAT, "%s is no number from 0 to %" PRIu64, what, max);
    *out = (uint64_t)json_integer_value(value);
    return OK;
}

/* A member that may be left out. */
static enum status option(const json_t *line, const char *key, uint64_t max, uint64_t *out, struct error *err)
{
    const json_t *value = json_object_get(line, key);
    return value ? number(value, key, max, out, err) : OK;
}

/* A member that is an array; *out NULL when it is left out. */
static enum status list(const json_t *line, const char *key, size_t max, const json_t **out, struct error *err)
{
    *out = json_object_get(line, key);
    if (*out && !json_is_array(*out))
        return fail(err, ERR_FORMAT, "%s is no array", key);
    if (json_array_size(*out) > max)
        return fail(err, ERR_LIMIT, "%s has more than %zu elements", key, max);
    return OK;
}

static enum status read_options(const json_t *line, struct request *out, struct error *err)
{
    static const char *const profiles[] = {
        [PROFILE_TIGHT] = "tight", [PROFILE_UPSTREAM] = "upstream", [PROFILE_STORED] = "stored"};
    static const char *const keys[] = {"profile",      "threshold_ppm", "cache_limit",   "chunk_average",
                                       "absorb_below", "absorb_until",  "max_instances", "old_index",
                                       "old_files",    "events",        "contents"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)line, key, value)
    {
        bool known = false;
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            known |= strcmp(key, keys[i]) == 0;
        if (!known)
            return fail(err, ERR_FORMAT, "there is no member '%s'", key);
    }
    const char *profile = json_string_value(json_object_get(line, "profile"));
    size_t p = 0;
    while (p < 3 && (!profile || strcmp(profile, profiles[p]) != 0))
        p++;
    if (p == 3)
        return fail(err, ERR_FORMAT, "profile is not tight, upstream or stored");
    out->options.profile = (enum reuse_profile)p;
    uint64_t threshold = THRESHOLD_DEFAULT_PPM, cache_limit = CACHE_LIMIT, max_instances = MAX_INSTANCES;
    out->chunk_average = CHUNKER_AVERAGE_DEFAULT;
    TRY(option(line, "threshold_ppm", PPM_ONE, &threshold, err));
    TRY(option(line, "cache_limit", EVENTS_MAX, &cache_limit, err));
    TRY(option(line, "chunk_average", CHUNKER_AVERAGE_MAX, &out->chunk_average, err));
    TRY(option(line, "max_instances", UINT32_MAX, &max_instances, err));
    out->options.threshold_ppm = (uint32_t)threshold;
    out->options.cache_limit = (size_t)cache_limit;
    out->options.max_instances = (uint32_t)max_instances;
    out->options.absorb_below = out->chunk_average / 16;
    out->options.absorb_until = out->chunk_average / 4;
    TRY(option(line, "absorb_below", INT64_MAX, &out->options.absorb_below, err));
    TRY(option(line, "absorb_until", INT64_MAX, &out->options.absorb_until, err));
    if (max_instances == 0)
        return fail(err, ERR_FORMAT, "max_instances must be at least 1");
    return OK;
}

static enum status read_index(const json_t *line, struct dynamic_index *out, struct error *err)
{
    const json_t *entries;
    TRY(list(line, "old_index", OLD_ENTRIES_MAX, &entries, err));
    size_t count = json_array_size(entries);
    if (count == 0)
        return OK;
    void *array;
    TRY(array_new(count, sizeof *out->entries, OLD_ENTRIES_MAX, "index entries", &array, err));
    out->entries = array;
    out->count = count;
    for (size_t i = 0; i < count; i++) {
        const json_t *entry = json_array_get(entries, i);
        const char *digest = json_string_value(json_array_get(entry, 1));
        TRY(number(json_array_get(entry, 0), "end of an entry of old_index", INT64_MAX, &out->entries[i].end, err));
        if (json_array_size(entry) != 2 || !digest || !digest_parse(digest, strlen(digest), &out->entries[i].digest))
            return fail(err, ERR_FORMAT, "old_index: entry %zu is not [end, 64 hex digits]", i);
        if (out->entries[i].end <= dynamic_index_start(out, i))
            return fail(err, ERR_FORMAT, "old_index: the end of entry %zu is not behind the one before", i);
    }
    return OK;
}

static enum status read_old_files(const json_t *line, struct request *out, struct error *err)
{
    const json_t *files;
    TRY(list(line, "old_files", EVENTS_MAX, &files, err));
    void *array;
    TRY(array_new(json_array_size(files), sizeof *out->old_files, EVENTS_MAX, "old files", &array, err));
    out->old_files = array;
    out->old_file_count = json_array_size(files);
    for (size_t i = 0; i < out->old_file_count; i++) {
        const json_t *file = json_array_get(files, i);
        if (json_array_size(file) != 2)
            return fail(err, ERR_FORMAT, "old_files: element %zu is not [offset, size]", i);
        TRY(number(json_array_get(file, 0), "offset in old_files", INT64_MAX, &out->old_files[i].offset, err));
        TRY(number(json_array_get(file, 1), "size in old_files", INT64_MAX, &out->old_files[i].size, err));
    }
    return OK;
}

static bool find_reason(const char *name, enum file_reason *out)
{
    for (unsigned r = 0; r < FILE_REASON_COUNT; r++)
        if (strcmp(file_reason_name((enum file_reason)r), name) == 0) {
            *out = (enum file_reason)r;
            return r != FILE_THRESHOLD && r != FILE_INSTANCES && r != FILE_ABSORBED; /* only the cache says these */
        }
    return false;
}

/* Of a changed file whose event does not say it. */
static uint64_t old_size(const struct request *r, const struct sim_event *e)
{
    for (size_t i = 0; i < r->old_file_count; i++)
        if (r->old_files[i].offset == e->old_offset)
            return r->old_files[i].size;
    return e->size;
}

static enum status read_event(const json_t *array, const struct request *r, struct sim_event *out, struct error *err)
{
    static const struct {
        const char *name;
        enum sim_kind kind;
    } kinds[] = {{"link", SIM_LINK}, {"special", SIM_SPECIAL}, {"enter", SIM_ENTER}, {"leave", SIM_LEAVE}};
    const char *name = json_string_value(json_array_get(array, 0));
    size_t size = json_array_size(array);
    for (size_t i = 0; name && size == 1 && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(name, kinds[i].name) == 0) {
            out->kind = kinds[i].kind;
            return OK;
        }
    const char *reason = json_string_value(json_array_get(array, 2));
    if (!name || strcmp(name, "file") != 0 || size < 3 || size > 5 || !reason)
        return fail(err, ERR_FORMAT, "neither [link|special|enter|leave] nor [file, size, reason, old offset]");
    out->kind = SIM_FILE;
    if (!find_reason(reason, &out->reason))
        return fail(err, ERR_FORMAT, "'%s' is no reason", reason);
    TRY(number(json_array_get(array, 1), "size", INT64_MAX, &out->size, err));
    if (size > 3)
        TRY(number(json_array_get(array, 3), "old offset", INT64_MAX, &out->old_offset, err));
    if (size > 4)
        return number(json_array_get(array, 4), "old size", INT64_MAX, &out->old_size, err);
    out->old_size = old_size(r, out);
    return OK;
}

static enum status read_events(const json_t *line, struct request *out, struct error *err)
{
    const json_t *events;
    TRY(list(line, "events", EVENTS_MAX, &events, err));
    if (!events)
        return fail(err, ERR_FORMAT, "events are missing");
    void *array;
    TRY(array_new(json_array_size(events), sizeof *out->events, EVENTS_MAX, "events", &array, err));
    out->events = array;
    out->event_count = json_array_size(events);
    for (size_t i = 0; i < out->event_count; i++)
        if (read_event(json_array_get(events, i), out, &out->events[i], err) != OK)
            return fail_within(err, "event %zu", i);
    return OK;
}

static enum status read_contents(const json_t *line, struct request *out, struct error *err)
{
    const json_t *contents;
    TRY(list(line, "contents", EVENTS_MAX, &contents, err));
    if (!contents)
        return OK;
    void *array;
    TRY(array_new(out->event_count + 1, 1, EVENTS_MAX + 1, "contents", &array, err));
    out->contents = array;
    size_t files = 0;
    uint64_t raw = 0;
    for (size_t i = 0; i < out->event_count; i++) {
        if (out->events[i].kind != SIM_FILE)
            continue;
        uint64_t value;
        TRY(number(json_array_get(contents, files++), "a byte value of contents", UINT8_MAX, &value, err));
        out->contents[i] = (uint8_t)value;
        if (out->events[i].size > RAW_SIZE_MAX || (raw += out->events[i].size + ITEM_HEADER_SIZE) > RAW_SIZE_MAX)
            return fail(err, ERR_LIMIT, "more than %d bytes of files: ask without contents", RAW_SIZE_MAX);
    }
    if (files != json_array_size(contents))
        return fail(err, ERR_FORMAT, "contents has not one byte value per file");
    return OK;
}

/* ---- a run ---- */

struct run {
    const struct request *request;
    json_t *files, *inject; /* owned */
    size_t unseen;          /* the first old file that a question may still be about */
    uint64_t unseen_behind; /* where the one before it ends */

    /* With contents: */
    struct payload_cutter *cutter; /* owned */
    uint8_t *stream;               /* owned: raw bytes, never moved */
    size_t written, cut;
    uint64_t position; /* of the payload stream */
    size_t *waiting;   /* owned: old entries that were injected */
    size_t waiting_count, waiting_capacity, waiting_applied;
    json_t *index; /* owned */
    uint64_t index_end;
};

static void run_deinit(struct run *r)
{
    json_decref(r->files);
    json_decref(r->inject);
    json_decref(r->index);
    payload_cutter_free(r->cutter);
    free(r->stream);
    free(r->waiting);
}

/* Takes `value`. */
static enum status append(json_t *array, json_t *value, struct error *err)
{
    return json_array_append_new(array, value) == 0 ? OK : fail(err, ERR_MEMORY, "out of memory for JSON");
}

static enum status add_entry(struct run *r, uint64_t size, const struct digest *digest, struct error *err)
{
    char text[DIGEST_TEXT_SIZE];
    r->index_end += size;
    return append(r->index, json_pack("[I, s]", (json_int_t)r->index_end, digest_text(digest, text)), err);
}

static enum status take_cuts(struct run *r, struct error *err)
{
    const struct dynamic_index *old = &r->request->index;
    for (;;) {
        struct cut cut;
        TRY(payload_cutter_next(r->cutter, &cut, err));
        if (cut.kind == CUT_MORE)
            return OK;
        if (cut.kind == CUT_RAW) {
            struct digest digest;
            digest_of(r->stream + r->cut, (size_t)cut.size, &digest);
            r->cut += (size_t)cut.size;
            TRY(add_entry(r, cut.size, &digest, err));
            continue;
        }
        for (uint64_t left = cut.size; left > 0;) {
            ASSERT(r->waiting_applied < r->waiting_count);
            size_t entry = r->waiting[r->waiting_applied++];
            uint64_t size = dynamic_index_chunk_size(old, entry);
            ASSERT(size <= left);
            left -= size;
            TRY(add_entry(r, size, &old->entries[entry].digest, err));
        }
    }
}

/* One logical write of bytes that are in the stream already. */
static enum status write_bytes(struct run *r, size_t size, struct error *err)
{
    TRY(payload_cutter_write(r->cutter, r->stream + r->written, size, true, err));
    r->written += size;
    r->position += size;
    return take_cuts(r, err);
}

static enum status write_header(struct run *r, uint64_t type, uint64_t content_size, struct error *err)
{
    store_u64le(r->stream + r->written, type);
    store_u64le(r->stream + r->written + 8, content_size + ITEM_HEADER_SIZE);
    return write_bytes(r, ITEM_HEADER_SIZE, err);
}

static enum status write_file(struct run *r, uint64_t size, uint8_t value, struct error *err)
{
    TRY(write_header(r, PXAR_PAYLOAD, size, err));
    for (uint64_t left = size; left > 0;) {
        size_t step = left < WRITE_SIZE ? (size_t)left : WRITE_SIZE;
        memset(r->stream + r->written, value, step);
        TRY(write_bytes(r, step, err));
        left -= step;
    }
    return OK;
}

static enum status on_file(void *context, uint64_t ordinal, bool reused, enum file_reason reason, uint64_t offset,
                           struct error *err)
{
    struct run *r = context;
    TRY(append(r->files,
               json_pack("[I, s, s, I]", (json_int_t)ordinal, reused ? "reused" : "reencoded", file_reason_name(reason),
                         (json_int_t)offset),
               err));
    if (!r->cutter)
        return OK;
    TRY(payload_cutter_suggest(r->cutter, r->position, err));
    ASSERT(reused || offset == r->position);
    return reused ? OK : write_file(r, r->request->events[ordinal].size, r->request->contents[ordinal], err);
}

static enum status on_inject(void *context, uint64_t boundary, const struct reuse_chunk *chunks, size_t count,
                             uint64_t size, struct error *err)
{
    struct run *r = context;
    json_t *entries = json_array();
    for (size_t i = 0; i < count; i++) {
        enum status status = append(entries, json_integer((json_int_t)chunks[i].entry), err);
        if (status != OK) {
            json_decref(entries);
            return status;
        }
    }
    TRY(append(r->inject, json_pack("[I, o, I]", (json_int_t)boundary, entries, (json_int_t)size), err));
    if (!r->cutter)
        return OK;
    for (size_t i = 0; i < count; i++) {
        void *waiting = r->waiting;
        TRY(array_grow(&waiting, r->waiting_count, &r->waiting_capacity, sizeof *r->waiting, SIZE_MAX / 64,
                       "injected chunks", err));
        r->waiting = waiting;
        r->waiting[r->waiting_count++] = chunks[i].entry;
    }
    ASSERT(boundary == r->position);
    r->position += size;
    TRY(payload_cutter_order(r->cutter, boundary, size, err));
    return take_cuts(r, err);
}

/* As a backup answers it: files that are not in order or not in the stream do not count. */
static enum status on_unseen_live(void *context, uint64_t from, uint64_t to, uint64_t *out, struct error *err)
{
    (void)err;
    struct run *r = context;
    const struct request *q = r->request;
    uint64_t stream = dynamic_index_size(&q->index), behind = r->unseen_behind;
    *out = 0;
    for (size_t i = r->unseen; i < q->old_file_count && behind < to; i++) {
        const struct old_file *f = &q->old_files[i];
        bool good = f->offset >= behind && f->offset >= ITEM_HEADER_SIZE && f->offset < stream &&
                    stream - f->offset >= ITEM_HEADER_SIZE && f->size <= stream - f->offset - ITEM_HEADER_SIZE;
        if (good)
            behind = f->offset + ITEM_HEADER_SIZE + f->size;
        if (good && f->offset >= from && f->offset < to)
            *out += (behind < to ? behind : to) - f->offset;
        if (r->unseen == i && (!good || f->offset < from)) {
            r->unseen = i + 1;
            r->unseen_behind = behind;
        }
    }
    return OK;
}

static enum status begin_stream(struct run *r, struct error *err)
{
    const struct request *q = r->request;
    size_t raw = 2 * ITEM_HEADER_SIZE;
    for (size_t i = 0; i < q->event_count; i++)
        if (q->events[i].kind == SIM_FILE)
            raw += (size_t)q->events[i].size + ITEM_HEADER_SIZE;
    void *stream;
    TRY(array_new(raw, 1, 2 * (size_t)RAW_SIZE_MAX, "bytes", &stream, err));
    r->stream = stream;
    r->index = json_array();
    TRY(payload_cutter_new((size_t)q->chunk_average, 0, &r->cutter, err));
    return write_header(r, PXAR_PAYLOAD_START_MARKER, 0, err);
}

static enum status end_stream(struct run *r, struct error *err)
{
    TRY(write_header(r, PXAR_PAYLOAD_TAIL_MARKER, 0, err));
    TRY(payload_cutter_end(r->cutter, err));
    TRY(take_cuts(r, err));
    ASSERT(r->cut == r->written && r->waiting_applied == r->waiting_count && r->index_end == r->position);
    return OK;
}

static enum status simulate(struct run *r, struct sim_result *out, struct error *err)
{
    const struct request *q = r->request;
    const struct sim_observer observer = {
        .file = on_file, .inject = on_inject, .unseen_live = on_unseen_live, .context = r};
    struct simulation *s;
    TRY(simulation_new(&q->options, q->index.count ? &q->index : NULL, &observer, &s, err));
    enum status status = OK;
    for (size_t i = 0; i < q->event_count && status == OK; i++)
        if ((status = simulation_event(s, &q->events[i], err)) != OK)
            fail_within_text(err, "event %zu", i);
    if (status == OK)
        status = simulation_finish(s, out, err);
    simulation_free(s);
    return status;
}

/* ---- writing ---- */

static json_t *ledger_json(const struct ledger_totals *t)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "size", (json_int_t)t->size, "referenced",
                     (json_int_t)t->referenced, "padding", (json_int_t)t->padding, "start_padding",
                     (json_int_t)t->start_padding, "end_padding", (json_int_t)t->end_padding, "hole_padding",
                     (json_int_t)t->hole_padding, "dead_padding", (json_int_t)t->dead_padding, "ranges",
                     (json_int_t)t->ranges, "partial_chunks", (json_int_t)t->partial_chunks, "unreferenced_chunks",
                     (json_int_t)t->unreferenced_chunks);
}

static json_t *answer_json(const struct run *r, const struct sim_result *result)
{
    const struct lookahead_counters *c = &result->cache;
    json_t *out = json_pack(
        "{s:O, s:O, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:[I, I, I], s:I, s:I, s:I, s:o}",
        "files", r->files, "inject", r->inject, "reused_files", (json_int_t)result->reused_files, "reused_bytes",
        (json_int_t)result->reused_bytes, "reencoded_files", (json_int_t)result->reencoded_files, "reencoded_bytes",
        (json_int_t)result->reencoded_bytes, "injected_chunks", (json_int_t)c->injected_chunks, "injected_bytes",
        (json_int_t)c->injected_bytes, "partial_chunks", (json_int_t)c->partial_chunks, "unreferenced_chunks",
        (json_int_t)c->unreferenced_chunks, "padding", (json_int_t)(c->injected_bytes - result->reused_bytes),
        "payload_size", (json_int_t)result->payload_size, "flushes", (json_int_t)c->flushes, "rejected_ranges",
        (json_int_t)c->rejected_ranges, "given_up", (json_int_t)c->given_up_threshold,
        (json_int_t)c->given_up_instances, (json_int_t)c->given_up_absorbed, "early_chunks",
        (json_int_t)c->early_chunks, "relisted_chunks", (json_int_t)c->relisted_chunks, "stored_waste",
        (json_int_t)c->stored_waste_bytes, "ledger", ledger_json(&result->ledger));
    if (out && r->index && json_object_set(out, "index", r->index) != 0) {
        json_decref(out);
        return NULL;
    }
    return out;
}

static enum status answer(const json_t *line, json_t **out, struct error *err)
{
    CLEANUP(request_deinit) struct request request = {0};
    CLEANUP(run_deinit) struct run run = {.request = &request, .files = json_array(), .inject = json_array()};
    if (!json_is_object(line))
        return fail(err, ERR_FORMAT, "a line is one JSON object");
    TRY(read_options(line, &request, err));
    TRY(read_index(line, &request.index, err));
    TRY(read_old_files(line, &request, err));
    TRY(read_events(line, &request, err));
    TRY(read_contents(line, &request, err));
    struct sim_result result;
    if (request.contents)
        TRY(begin_stream(&run, err));
    TRY(simulate(&run, &result, err));
    if (request.contents)
        TRY(end_stream(&run, err));
    *out = answer_json(&run, &result);
    return *out ? OK : fail(err, ERR_MEMORY, "out of memory for JSON");
}

static json_t *answer_text(const char *text, size_t size)
{
    struct error err = {0};
    json_error_t where;
    json_t *line = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where), *out = NULL;
    if (!line)
        fail_text(&err, ERR_FORMAT, "no JSON: %s at character %d", where.text, where.position);
    else if (answer(line, &out, &err) != OK)
        out = NULL;
    json_decref(line);
    if (out)
        return out;
    /* A sentence quotes what it was given, and may cut a character in half. */
    for (char *c = err.text; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    return json_pack("{s:s}", "error", err.text);
}

int main(void)
{
    char *text = NULL;
    size_t capacity = 0;
    bool written = true;
    for (ssize_t size; written && (size = getline(&text, &capacity, stdin)) >= 0;) {
        json_t *out = answer_text(text, (size_t)size);
        written = out && json_dumpf(out, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF && fflush(stdout) == 0;
        json_decref(out);
    }
    free(text);
    return written && feof(stdin) ? 0 : 1;
}
