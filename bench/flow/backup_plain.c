/* Images and small files: no tree, no reference. */
#include "flow/backup_run.h"

#include "base/log.h"
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
    TRY(blob_file_upload(run->writer, names[0], source->path, &stored, err));
    stats->blob = (struct blob_stats){stored.raw_size, stored.size, stored.csum};
    stats->file_bytes_read = stored.raw_size;
    return manifest_add(&run->manifest, names[0], "none", stored.size, &stored.csum, err);
}
