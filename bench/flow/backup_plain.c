/* Images and small files: no tree, no reference. */
#include "flow/backup_run.h"

#include "base/log.h"
#include "blob/blob.h"
#include "flow/image.h"

enum status backup_image(struct backup_run *run, const struct backup_source *source, struct archive_stats *stats,
                         struct error *err)
{
    char names[2][BACKUP_STORED_NAME_SIZE];
    (void)backup_stored_names(source, run->archive.mode, names);
    log_info("Upload image '%s' as %s", source->path, names[0]);
    struct fixed_index known;
    bool has_known = previous_known_image(&run->previous, names[0], &known);
    enum status status = image_upload(run->pool, run->writer, names[0], source->path, has_known ? &known : NULL,
                                      &run->failure, &stats->stream, &stats->file_bytes_read, err);
    fixed_index_deinit(&known);
    TRY(status);
    TRY(backup_print_upload(names[0], &stats->stream, err));
    return backup_add_to_manifest(run, names[0], &stats->stream, err);
}

enum status backup_blob(struct backup_run *run, const struct backup_source *source, struct archive_stats *stats,
                        struct error *err)
{
    char names[2][BACKUP_STORED_NAME_SIZE];
    (void)backup_stored_names(source, run->archive.mode, names);
    log_info("Upload file '%s' as %s", source->path, names[0]);
    struct blob_upload_stats stored;
    TRY(blob_file_upload(run->writer, backup_sealing_key(run), names[0], source->path, &stored, err));
    stats->blob = (struct blob_stats){stored.raw_size, stored.size, stored.csum};
    stats->file_bytes_read = stored.raw_size;
    return manifest_add(&run->manifest, names[0], crypt_mode_names[run->options->crypt_mode], stored.size, &stored.csum,
                        err);
}

static enum status put_wrapped(struct backup_run *run, struct blob_context *context, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(BLOB_FILE_SIZE_MAX);
    struct digest csum;
    TRY(blob_seal(context, &run->options->wrapped_key, 1, &sealed, err));
    TRY(store_put_blob(run->writer, WRAPPED_KEY_NAME, sealed.data, sealed.size, err));
    digest_of(sealed.data, sealed.size, &csum);
    return manifest_add(&run->manifest, WRAPPED_KEY_NAME, crypt_mode_names[run->options->crypt_mode], sealed.size,
                        &csum, err);
}

enum status backup_wrapped_key(struct backup_run *run, struct error *err)
{
    struct blob_context *context;
    if (run->options->wrapped_key.size == 0)
        return OK;
    TRY(blob_context_new(&context, err));
    enum status status = put_wrapped(run, context, err);
    blob_context_free(context);
    return status;
}
