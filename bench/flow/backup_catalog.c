/* The catalog of a run: written by the archiver as it goes, uploaded like any other stream. */
#include "flow/backup_run.h"

#include "base/log.h"
#include "flow/packer.h"
#include "flow/summary.h"
#include "pxar/catalog.h"

#include <stdlib.h>
#include <string.h>

enum { CATALOG_CHUNK_AVERAGE = 512 << 10 };
static const char catalog_name[] = BACKUP_CATALOG_NAME;

struct backup_catalog {
    struct dynamic_index known; /* of the previous snapshot's catalog */
    struct upload *upload;      /* owned */
    struct packer packer;
    struct catalog_writer *writer; /* owned */
};

static enum status write_catalog(void *context, const uint8_t *data, size_t size, struct error *err)
{
    struct backup_catalog *c = context;
    struct slice part;
    TRY(packer_pack(&c->packer, data, size, &part, err));
    return archive_elsewhere(upload_write(c->upload, part, true), err);
}

static enum status start(struct backup_run *run, struct backup_catalog *c, struct error *err)
{
    bool has_known = previous_known_chunks(&run->previous, catalog_name, &c->known);
    TRY(upload_new(run->pool, run->writer, catalog_name, CATALOG_CHUNK_AVERAGE, has_known ? &c->known : NULL,
                   &run->failure, &c->upload, err));
    return catalog_writer_new((struct sink){write_catalog, c}, &c->writer, err);
}

enum status backup_catalog_need(struct backup_run *run, struct error *err)
{
    if (run->catalog)
        return OK;
    run->catalog = calloc(1, sizeof *run->catalog);
    if (!run->catalog)
        return fail(err, ERR_MEMORY, "out of memory for the catalog");
    return start(run, run->catalog, err);
}

enum status backup_catalog_archive(struct backup_run *run, const char *name, struct catalog_writer **out,
                                   struct error *err)
{
    *out = run->catalog->writer;
    return catalog_directory_begin(run->catalog->writer, name, strlen(name), err);
}

enum status backup_catalog_archive_end(struct backup_run *run, struct error *err)
{
    return catalog_directory_end(run->catalog->writer, err);
}

enum status backup_catalog_finish(struct backup_run *run, struct stream_stats *out, struct error *err)
{
    struct backup_catalog *c = run->catalog;
    enum status status = catalog_finish(c->writer, err);
    if (status == OK)
        status = upload_finish(c->upload, out, err);
    backup_note_failure(run, status, err);
    TRY(backup_cause(run, status, err));
    struct buffer text = BUFFER_INIT(1 << 20);
    status = summary_catalog(out, &text, err);
    backup_print_lines(&text);
    buffer_deinit(&text);
    TRY(status);
    return backup_add_to_manifest(run, catalog_name, out, err);
}

void backup_catalog_free(struct backup_catalog *c)
{
    if (!c)
        return;
    catalog_writer_free(c->writer);
    upload_free(c->upload);
    packer_deinit(&c->packer);
    dynamic_index_deinit(&c->known);
    free(c);
}
