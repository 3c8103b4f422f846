#include "flow/backup.h"

#include "base/clock.h"
#include "base/log.h"
#include "blob/blob.h"
#include "flow/archive.h"
#include "flow/summary.h"
#include "flow/upload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>

static enum status check_sources(const struct backup_options *options, struct error *err)
{
    if (options->source_count == 0 || options->source_count > BACKUP_SOURCES_MAX)
        return fail(err, ERR_USAGE, "a backup has 1 to %d sources", BACKUP_SOURCES_MAX);
    for (size_t i = 0; i < options->source_count; i++) {
        struct stat st;
        if (stat(options->sources[i].path, &st) != 0)
            return fail(err, ERR_IO, "source \"%s\"", options->sources[i].path);
        if (!S_ISDIR(st.st_mode))
            return fail(err, ERR_USAGE, "source \"%s\": got unexpected file type (expected directory)",
                        options->sources[i].path);
        for (size_t k = 0; k < i; k++)
            if (strcmp(options->sources[i].name, options->sources[k].name) == 0)
                return fail(err, ERR_USAGE, "archive \"%s\" is named twice", options->sources[i].name);
    }
    return OK;
}

/* ---- one archive ---- */

struct archive_uploads {
    struct upload *metadata, *payload;
};

static enum status put_metadata(void *context, struct slice part)
{
    struct archive_uploads *u = context;
    return upload_write(u->metadata, part, true);
}
static enum status put_payload(void *context, struct slice part, bool ends_write)
{
    struct archive_uploads *u = context;
    return upload_write(u->payload, part, ends_write);
}
static enum status put_suggestion(void *context, uint64_t offset)
{
    struct archive_uploads *u = context;
    return upload_suggest(u->payload, offset);
}
static enum status put_injection(void *context, uint64_t boundary, const struct reuse_chunk *chunks, size_t count,
                                 uint64_t size)
{
    struct archive_uploads *u = context;
    return upload_inject(u->payload, boundary, chunks, count, size);
}

static void distrust_metadata(void *context)
{
    struct archive_uploads *u = context;
    upload_distrust_previous(u->metadata);
}

struct run {
    struct store *store;
    const struct backup_options *options;
    struct archive_options archive; /* with defaults */
    struct store_writer *writer;
    struct sealer_pool *pool;
    struct failure failure;
    struct previous previous;
    struct manifest manifest;
};

static void log_reference(const struct reference *r, const char *archive)
{
    switch (r->reason) {
    case REFERENCE_USED: log_info("Using previous index as metadata reference for '%s.mpxar.didx'", archive); break;
    case REFERENCE_NOT_ASKED:
    case REFERENCE_REASON_COUNT: break;
    case REFERENCE_NO_METADATA_INDEX:
    case REFERENCE_METADATA_INDEX_BAD: log_info("No previous metadata index, continue without reference"); break;
    case REFERENCE_NO_PAYLOAD_INDEX:
        log_info("No previous payload index found in manifest, continue without reference");
        break;
    case REFERENCE_CRYPT_MODE: log_info("Crypt mode mismatch, continue without reference"); break;
    case REFERENCE_PAYLOAD_INDEX_BAD: log_info("Previous payload index unusable, continue without reference"); break;
    case REFERENCE_METADATA_UNREADABLE:
    case REFERENCE_METADATA_BROKE:
    case REFERENCE_ROOT_UNREADABLE: log_info("Previous metadata archive unreadable, continue without reference"); break;
    case REFERENCE_NO_PREVIOUS:
    case REFERENCE_MANIFEST_UNREADABLE:
    case REFERENCE_MANIFEST_KEYED:
    case REFERENCE_SNAPSHOT_UNREADABLE: log_info("No previous snapshot to refer to, continue without reference"); break;
    }
    if (r->reason != REFERENCE_USED && r->reason != REFERENCE_NOT_ASKED)
        log_info("reference for '%s': %s%s%s", archive, reference_reason_name(r->reason), r->detail[0] ? ": " : "",
                 r->detail);
}

static enum status require_reference(const struct run *run, const struct reference *r, const char *archive,
                                     struct error *err)
{
    bool is_good = r->reason == REFERENCE_USED || r->reason == REFERENCE_NOT_ASKED;
    if (is_good || !run->archive.require_reference)
        return OK;
    return fail(err, ERR_NOT_FOUND, "archive '%s' has no usable reference (%s)%s%s", archive,
                reference_reason_name(r->reason), r->detail[0] ? ": " : "", r->detail);
}

static void print_lines(struct buffer *text)
{
    char *line = (char *)text->data;
    char *end = line + text->size;
    while (line < end) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t size = newline ? (size_t)(newline - line) : (size_t)(end - line);
        log_info("%.*s", (int)size, line);
        line += size + 1;
    }
    buffer_clear(text);
}

/* Uploads of one source, from running threads to two finished indexes. */
static enum status upload_archive(struct run *run, const struct backup_source *source, struct reference *reference,
                                  struct archive_stats *stats, struct error *err)
{
    char metadata_name[300], payload_name[300];
    snprintf(metadata_name, sizeof metadata_name, "%s.mpxar.didx", source->name);
    snprintf(payload_name, sizeof payload_name, "%s.ppxar.didx", source->name);
    struct archive_uploads uploads = {0};
    struct archive_output output = {put_metadata,  put_payload,       put_suggestion,
                                    put_injection, distrust_metadata, &uploads};
    size_t average = (size_t)run->archive.chunk_average;
    struct reference *usable = reference->reason == REFERENCE_USED ? reference : NULL;

    enum status status = upload_new(run->pool, run->writer, payload_name, average,
                                    reference->has_payload_index ? &reference->payload_index : NULL, &run->failure,
                                    &uploads.payload, err);
    if (status == OK)
        status = upload_new(run->pool, run->writer, metadata_name, average,
                            reference->has_metadata_index ? &reference->metadata_index : NULL, &run->failure,
                            &uploads.metadata, err);
    if (status == OK &&
        (reference->reason == REFERENCE_METADATA_UNREADABLE || reference->reason == REFERENCE_ROOT_UNREADABLE))
        distrust_metadata(&uploads);
    if (status == OK) {
        status = archive_tree(source->path, &run->archive, usable, &output, stats, err);
        stats->reference = reference->reason;
        snprintf(stats->reference_detail, sizeof stats->reference_detail, "%s", reference->detail);
    }
    if (status == OK)
        status = require_reference(run, reference, source->name, err);
    struct buffer text = BUFFER_INIT(1 << 20);
    if (status == OK)
        status = summary_change_detection(stats, &text, err);
    if (status == OK)
        print_lines(&text);
    if (status == OK)
        status = upload_finish(uploads.metadata, &stats->metadata, err);
    if (status == OK)
        status = upload_finish(uploads.payload, &stats->payload, err);
    /* Before the threads are stopped, which makes failures of their own: the cause is the first one. */
    if (status != OK)
        failure_set(&run->failure, status, err);
    upload_free(uploads.payload);
    upload_free(uploads.metadata);
    struct error first;
    if (status != OK && failure_get(&run->failure, &first) != OK) {
        *err = first; /* the cause rather than its consequence */
        status = first.status;
    }
    if (status == OK) {
        metadata_name[strlen(metadata_name) - strlen(".didx")] = '\0';
        payload_name[strlen(payload_name) - strlen(".didx")] = '\0';
        status = summary_upload(metadata_name, &stats->metadata, &text, err);
        print_lines(&text);
    }
    if (status == OK) {
        status = summary_upload(payload_name, &stats->payload, &text, err);
        print_lines(&text);
    }
    buffer_deinit(&text);
    return status;
}

static enum status backup_source(struct run *run, const struct backup_source *source, struct archive_stats *stats,
                                 struct error *err)
{
    log_info("Upload directory '%s' as %s.mpxar.didx", source->path, source->name);
    bool asked = run->archive.mode == MODE_METADATA;
    struct reference reference;
    reference_prepare(&run->previous, source->name, asked, &reference);
    log_reference(&reference, source->name);
    stats->reference = reference.reason;
    snprintf(stats->reference_detail, sizeof stats->reference_detail, "%s", reference.detail);
    if (run->previous.reader)
        snapshot_id_text(&run->previous.snapshot, stats->reference_snapshot);

    enum status status = require_reference(run, &reference, source->name, err);
    if (status == OK)
        status = upload_archive(run, source, &reference, stats, err);
    reference_close(&reference);
    TRY(status);

    char name[300];
    snprintf(name, sizeof name, "%s.ppxar.didx", source->name);
    TRY(manifest_add(&run->manifest, name, "none", stats->payload.size, &stats->payload.csum, err));
    snprintf(name, sizeof name, "%s.mpxar.didx", source->name);
    return manifest_add(&run->manifest, name, "none", stats->metadata.size, &stats->metadata.csum, err);
}

/* ---- the run ---- */

static enum status finish(struct run *run, const struct backup_result *result, struct error *err)
{
    uint64_t count = 0, size = 0, compressed = 0, duplicates = 0;
    for (size_t i = 0; i < result->archive_count; i++) {
        const struct stream_stats *streams[] = {&result->archives[i].metadata, &result->archives[i].payload};
        for (size_t k = 0; k < 2; k++) {
            count += streams[k]->chunks;
            size += streams[k]->size;
            compressed += streams[k]->compressed_bytes;
            duplicates += streams[k]->chunks - streams[k]->new_chunks + streams[k]->duplicate_chunks;
        }
    }
    TRY(manifest_set_upload_stats(&run->manifest, count, size, compressed, duplicates, err));
    struct buffer text = BUFFER_INIT(MANIFEST_SIZE_MAX), sealed = BUFFER_INIT(MANIFEST_SIZE_MAX + 4096);
    struct blob_context *blob = NULL;
    enum status status = manifest_write(&run->manifest, &text, err);
    if (status == OK)
        status = blob_context_new(&blob, err);
    if (status == OK) {
        struct slice whole = {.data = text.data, .size = text.size};
        status = blob_seal(blob, &whole, 1, &sealed, err);
    }
    if (status == OK) {
        struct store_writer *writer = run->writer;
        run->writer = NULL; /* store_finish takes it */
        status = store_finish(writer, sealed.data, sealed.size, err);
    }
    blob_context_free(blob);
    buffer_deinit(&sealed);
    buffer_deinit(&text);
    return status;
}

static void log_time(const char *label)
{
    char text[64];
    struct tm parts;
    time_t now = time(NULL);
    if (localtime_r(&now, &parts) && strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &parts) > 0)
        log_info("%s: %s", label, text);
}

static enum status run_all(struct run *run, struct backup_result *out, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE];
    struct utsname host;
    log_info("Starting backup: %s", snapshot_id_text(&out->snapshot, text));
    log_info("Client name: %s", uname(&host) == 0 ? host.nodename : "unknown");
    TRY(store_begin(run->store, &out->snapshot, &run->writer, err));
    log_time("Starting backup protocol");
    previous_open(run->store, run->writer, &run->previous);
    TRY(manifest_init(&run->manifest, out->snapshot.type, out->snapshot.id, out->snapshot.time, err));
    TRY(sealer_pool_new(run->archive.threads, run->writer, &run->failure, &run->pool, err));
    for (size_t i = 0; i < run->options->source_count; i++)
        TRY(backup_source(run, &run->options->sources[i], &out->archives[i], err));
    return finish(run, out, err);
}

static enum status dry_run(const struct backup_options *options, const struct backup_result *result)
{
    char text[SNAPSHOT_TEXT_SIZE];
    for (size_t i = 0; i < options->source_count; i++)
        log_info("Would upload directory '%s' as %s.pxar.didx of %s", options->sources[i].path,
                 options->sources[i].name, snapshot_id_text(&result->snapshot, text));
    return OK;
}

enum status backup_run(struct store *store, const struct backup_options *options, struct backup_result *out,
                       struct error *err)
{
    uint64_t started_ns = clock_monotonic_ns();
    *out = (struct backup_result){.snapshot = options->snapshot};
    struct archive_options archive;
    TRY(archive_options_prepare(&options->archive, &archive, err));
    TRY(check_sources(options, err));
    if (out->snapshot.time == 0)
        out->snapshot.time = clock_wall_seconds();
    TRY(snapshot_id_check(&out->snapshot, err));
    if (options->dry_run)
        return dry_run(options, out);
    out->archives = calloc(options->source_count, sizeof *out->archives);
    if (!out->archives)
        return fail(err, ERR_MEMORY, "out of memory for the counters");
    out->archive_count = options->source_count;

    struct run run = {.store = store, .options = options, .archive = archive};
    failure_init(&run.failure);
    enum status status = run_all(&run, out, err);
    sealer_pool_free(run.pool);
    previous_close(&run.previous);
    store_abort(run.writer);
    manifest_deinit(&run.manifest);
    failure_deinit(&run.failure);
    out->duration_ns = clock_monotonic_ns() - started_ns;
    if (status == OK) {
        log_info("Duration: %.2fs", (double)out->duration_ns / 1e9);
        log_time("End Time");
    }
    return status;
}

void backup_result_deinit(struct backup_result *r)
{
    free(r->archives);
    r->archives = NULL;
    r->archive_count = 0;
}
