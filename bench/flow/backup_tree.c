/* A directory as a split archive (two streams, perhaps with a reference) or as a unified one (one stream, listed in the
 * catalog). */
#include "flow/backup_run.h"

#include "base/log.h"
#include "flow/summary.h"

#include <string.h>

/* ---- streams ---- */

struct archive_uploads {
    struct upload *metadata, *payload; /* unified: the archive is `metadata` */
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

/* Stops what is left of the streams. Returns the cause of a failure. */
static enum status uploads_close(struct backup_run *run, struct archive_uploads *u, enum status status,
                                 struct error *err)
{
    backup_note_failure(run, status, err);
    upload_free(u->payload);
    upload_free(u->metadata);
    return backup_cause(run, status, err);
}

/* ---- unified ---- */

static enum status fill_unified(struct backup_run *run, const struct backup_source *source, const char *name,
                                const struct dynamic_index *known, struct archive_uploads *uploads,
                                struct archive_stats *stats, struct error *err)
{
    char snapshot[SNAPSHOT_TEXT_SIZE];
    struct archive_output output = {.metadata = put_metadata,
                                    .archive = source->name,
                                    .snapshot = snapshot_id_text(&run->snapshot, snapshot),
                                    .context = uploads};
    TRY(upload_new(run->pool, run->writer, name, (size_t)run->archive.chunk_average, known, &run->failure,
                   &uploads->metadata, err));
    TRY(backup_catalog_archive(run, name, &output.catalog, err));
    TRY(archive_tree(source->path, &run->archive, NULL, &output, stats, err));
    TRY(backup_catalog_archive_end(run, err));
    return upload_finish(uploads->metadata, &stats->stream, err);
}

static enum status backup_unified(struct backup_run *run, const struct backup_source *source,
                                  struct archive_stats *stats, struct error *err)
{
    char names[2][BACKUP_STORED_NAME_SIZE];
    (void)backup_stored_names(source, run->archive.mode, names);
    log_info("Upload directory '%s' as %s", source->path, names[0]);
    TRY(backup_catalog_need(run, err));
    struct dynamic_index known;
    bool has_known = previous_known_chunks(&run->previous, names[0], &known);
    struct archive_uploads uploads = {0};
    enum status status = fill_unified(run, source, names[0], has_known ? &known : NULL, &uploads, stats, err);
    status = uploads_close(run, &uploads, status, err);
    dynamic_index_deinit(&known);
    TRY(status);
    TRY(backup_print_upload(names[0], &stats->stream, err));
    return backup_add_to_manifest(run, names[0], &stats->stream, err);
}

/* ---- split ---- */

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

static enum status require_reference(const struct backup_run *run, const struct reference *r, const char *archive,
                                     struct error *err)
{
    bool is_good = r->reason == REFERENCE_USED || r->reason == REFERENCE_NOT_ASKED;
    if (is_good || !run->archive.require_reference)
        return OK;
    return fail(err, ERR_NOT_FOUND, "archive '%s' has no usable reference (%s)%s%s", archive,
                reference_reason_name(r->reason), r->detail[0] ? ": " : "", r->detail);
}

static void note_reference(const struct reference *r, struct archive_stats *stats)
{
    stats->reference = r->reason;
    snprintf(stats->reference_detail, sizeof stats->reference_detail, "%s", r->detail);
}

static enum status print_change_detection(const struct archive_stats *stats, struct error *err)
{
    struct buffer text = BUFFER_INIT(1 << 20);
    enum status status = summary_change_detection(stats, &text, err);
    backup_print_lines(&text);
    if (status == OK)
        status = summary_reasons(stats, &text, err);
    backup_print_lines(&text);
    buffer_deinit(&text);
    return status;
}

static enum status start_split(struct backup_run *run, char names[2][BACKUP_STORED_NAME_SIZE],
                               const struct reference *r, struct archive_uploads *uploads, struct error *err)
{
    size_t average = (size_t)run->archive.chunk_average;
    TRY(upload_new(run->pool, run->writer, names[0], average, r->has_payload_index ? &r->payload_index : NULL,
                   &run->failure, &uploads->payload, err));
    TRY(upload_new(run->pool, run->writer, names[1], average, r->has_metadata_index ? &r->metadata_index : NULL,
                   &run->failure, &uploads->metadata, err));
    if (r->reason == REFERENCE_METADATA_UNREADABLE || r->reason == REFERENCE_ROOT_UNREADABLE)
        distrust_metadata(uploads);
    return OK;
}

static enum status fill_split(struct backup_run *run, const struct backup_source *source, struct reference *r,
                              struct archive_uploads *uploads, struct archive_stats *stats, struct error *err)
{
    char snapshot[SNAPSHOT_TEXT_SIZE];
    struct archive_output output = {.metadata = put_metadata,
                                    .archive = source->name,
                                    .snapshot = snapshot_id_text(&run->snapshot, snapshot),
                                    .payload = put_payload,
                                    .suggest = put_suggestion,
                                    .inject = put_injection,
                                    .distrust = distrust_metadata,
                                    .context = uploads};
    struct reference *usable = r->reason == REFERENCE_USED ? r : NULL;
    enum status status = archive_tree(source->path, &run->archive, usable, &output, stats, err);
    note_reference(r, stats); /* it may have broken */
    TRY(status);
    TRY(require_reference(run, r, source->name, err));
    TRY(print_change_detection(stats, err));
    upload_end(uploads->metadata);
    upload_end(uploads->payload);
    TRY(upload_finish(uploads->metadata, &stats->metadata, err));
    return upload_finish(uploads->payload, &stats->payload, err);
}

/* From running threads to two finished indexes. */
static enum status upload_split(struct backup_run *run, const struct backup_source *source,
                                char names[2][BACKUP_STORED_NAME_SIZE], struct reference *r,
                                struct archive_stats *stats, struct error *err)
{
    struct archive_uploads uploads = {0};
    enum status status = require_reference(run, r, source->name, err);
    if (status == OK)
        status = start_split(run, names, r, &uploads, err);
    if (status == OK)
        status = fill_split(run, source, r, &uploads, stats, err);
    return uploads_close(run, &uploads, status, err);
}

static enum status backup_split(struct backup_run *run, const struct backup_source *source, struct archive_stats *stats,
                                struct error *err)
{
    char names[2][BACKUP_STORED_NAME_SIZE]; /* payload, metadata */
    (void)backup_stored_names(source, run->archive.mode, names);
    log_info("Upload directory '%s' as %s", source->path, names[1]);
    struct reference reference;
    reference_prepare(&run->previous, source->name, run->archive.mode == MODE_METADATA, &reference);
    log_reference(&reference, source->name);
    note_reference(&reference, stats);
    enum status status = upload_split(run, source, names, &reference, stats, err);
    reference_close(&reference);
    TRY(status);
    TRY(backup_print_upload(names[1], &stats->metadata, err));
    TRY(backup_print_upload(names[0], &stats->payload, err));
    TRY(backup_add_to_manifest(run, names[0], &stats->payload, err));
    return backup_add_to_manifest(run, names[1], &stats->metadata, err);
}

enum status backup_tree(struct backup_run *run, const struct backup_source *source, struct archive_stats *stats,
                        struct error *err)
{
    return run->archive.mode == MODE_LEGACY ? backup_unified(run, source, stats, err)
                                            : backup_split(run, source, stats, err);
}
