/* A backup in progress: what the parts of flow/backup share. Only they include this.
 *
 *     backup.c          checks, order of the sources, manifest
 *     backup_tree.c     a directory, as a split or unified archive
 *     backup_plain.c    images and blobs
 *     backup_catalog.c  the listing of all unified archives
 *
 * For one thread, the archiver. */
#ifndef PXB_FLOW_BACKUP_RUN_H
#define PXB_FLOW_BACKUP_RUN_H

#include "flow/archive.h"
#include "flow/upload.h"

#define BACKUP_CATALOG_NAME "catalog.pcat1.didx"

struct backup_catalog;

struct backup_run {
    struct store *store;
    const struct backup_options *options;
    struct archive_options archive; /* with defaults, in the mode of the source under way */
    struct snapshot_id snapshot;    /* the new one */
    struct store_writer *writer;
    const struct crypt_config *key; /* NULL unless the run encrypts or signs */
    struct sealer_pool *pool;
    struct failure failure;
    struct previous previous;
    struct manifest manifest;
    struct backup_catalog *catalog; /* owned; from the first unified archive on */
};

/* One source each: stored, counted, in the manifest. */
MUST_CHECK enum status backup_tree(struct backup_run *run, const struct backup_source *source,
                                   struct archive_stats *stats, struct error *err);
MUST_CHECK enum status backup_image(struct backup_run *run, const struct backup_source *source,
                                    struct archive_stats *stats, struct error *err);
MUST_CHECK enum status backup_blob(struct backup_run *run, const struct backup_source *source,
                                   struct archive_stats *stats, struct error *err);

/* The encryption key for the owner of the master key, as a blob that is not encrypted. */
MUST_CHECK enum status backup_wrapped_key(struct backup_run *run, struct error *err);

/* Makes run->catalog unless it is there. */
MUST_CHECK enum status backup_catalog_need(struct backup_run *run, struct error *err);
/* What follows until the end is in the archive `name` ("root.pxar.didx"). Borrowed. */
MUST_CHECK enum status backup_catalog_archive(struct backup_run *run, const char *name, struct catalog_writer **out,
                                              struct error *err);
MUST_CHECK enum status backup_catalog_archive_end(struct backup_run *run, struct error *err);
/* Behind the last source: stored, in the manifest. */
MUST_CHECK enum status backup_catalog_finish(struct backup_run *run, struct stream_stats *out, struct error *err);
void backup_catalog_free(struct backup_catalog *c); /* accepts NULL */

/* Call with a failure before the run's threads are stopped, which makes failures of their own... */
void backup_note_failure(struct backup_run *run, enum status status, const struct error *err);
/* ...and afterwards: the cause, which may be another thread's, rather than its consequence. Returns OK for OK. */
MUST_CHECK enum status backup_cause(struct backup_run *run, enum status status, struct error *err);

/* Logs each line of `text` and clears it. */
void backup_print_lines(struct buffer *text);
/* What became of a stream, by its stored name. */
MUST_CHECK enum status backup_print_upload(const char *stored, const struct stream_stats *stream, struct error *err);
/* For what is encrypted: NULL when nothing is. */
const struct crypt_config *backup_sealing_key(const struct backup_run *run);
MUST_CHECK enum status backup_add_to_manifest(struct backup_run *run, const char *name,
                                              const struct stream_stats *stream, struct error *err);

#endif
