#include "flow/catalog_dump.h"

#include "flow/chunk_reader.h"
#include "flow/snapshot.h"
#include "pxar/catalog.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CATALOG_NAME "catalog.pcat1.didx"

struct catalog_printer {
    struct sink out;
    struct buffer line;
    const char *only; /* archive whose lines are wanted; NULL: all */
    uint64_t printed;
};

static enum status print_line(struct catalog_printer *p, const char *path, size_t path_size,
                              const struct catalog_entry *entry, struct error *err)
{
    buffer_clear(&p->line);
    TRY(catalog_line(path, path_size, entry, &p->line, err));
    TRY(buffer_append_u8(&p->line, '\n', err));
    p->printed++;
    return p->out.write(p->out.context, p->line.data, p->line.size, err);
}

/* ---- from the catalog ---- */

static enum status print_visited(void *context, const char *path, size_t path_size, const struct catalog_entry *entry,
                                 struct error *err)
{
    struct catalog_printer *p = context;
    if (p->only) {
        size_t size = strlen(p->only);
        const char *archive = path + 2; /* behind "./" */
        if (strncmp(archive, p->only, size) != 0 || (archive[size] != '\0' && archive[size] != '/'))
            return OK;
    }
    return print_line(p, path, path_size, entry, err);
}

/* A stored stream, open. */
struct stored_stream {
    struct dynamic_index index;
    struct chunk_reader *reader;
};

static void stored_stream_deinit(struct stored_stream *s)
{
    chunk_reader_free(s->reader);
    dynamic_index_deinit(&s->index);
}

static enum status stored_stream_open(struct stored_stream *s, struct store_reader *reader, const struct manifest *m,
                                      const char *name, struct error *err)
{
    TRY(snapshot_index(reader, m, name, &s->index, err));
    return chunk_reader_new(reader, &s->index, name, CHUNK_READER_CACHE_DEFAULT, &s->reader, err);
}

static enum status dump_catalog(struct store_reader *reader, const struct manifest *m, struct catalog_printer *p,
                                struct error *err)
{
    CLEANUP(stored_stream_deinit) struct stored_stream s = {0};
    TRY(stored_stream_open(&s, reader, m, CATALOG_NAME, err));
    TRY(catalog_walk(chunk_reader_source(s.reader), print_visited, p, err));
    if (p->only && p->printed == 0)
        return fail(err, ERR_NOT_FOUND, "%s is not in " CATALOG_NAME, p->only);
    return OK;
}

/* ---- from an archive ---- */

struct sequential {
    struct source_at stream;
    uint64_t position;
};

static enum status sequential_read(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct sequential *s = context;
    uint64_t left = s->stream.size - s->position;
    size_t part = left < size ? (size_t)left : size;
    *out_size = 0;
    if (part == 0)
        return OK;
    TRY(s->stream.read_at(s->stream.context, s->position, data, part, err));
    s->position += part;
    *out_size = part;
    return OK;
}

/* Contents are passed over: chunks that hold nothing else are never fetched. */
static enum status sequential_skip(void *context, uint64_t size, struct error *err)
{
    struct sequential *s = context;
    if (size > s->stream.size - s->position)
        return fail(err, ERR_FORMAT,
                    "%s: ends early at offset %" PRIu64 ": %" PRIu64 " bytes to skip from offset %" PRIu64,
                    s->stream.name, s->stream.size, size, s->position);
    s->position += size;
    return OK;
}

static void decoder_cleanup(struct decoder **d)
{
    decoder_free(*d);
}

static enum status dump_stream(struct source source, const char *name, struct catalog_printer *p, struct error *err)
{
    CLEANUP(decoder_cleanup) struct decoder *decoder = NULL;
    CLEANUP(buffer_deinit) struct buffer path = BUFFER_INIT(0);
    TRY(decoder_new(source, NULL, &decoder, err));
    TRY(buffer_append(&path, "./", 2, err));
    TRY(buffer_append(&path, name, strlen(name), err));
    size_t prefix_size = path.size;
    for (;;) {
        struct archive_entry entry;
        enum status status = decoder_next(decoder, &entry, err);
        if (status == ERR_CLOSED)
            return OK;
        TRY(status);
        if (entry.kind == ENTRY_DIRECTORY_END)
            continue;
        path.size = prefix_size;
        if (entry.depth > 0)
            TRY(buffer_append(&path, entry.path, strlen(entry.path), err));
        struct catalog_entry line = {.kind = entry.kind,
                                     .name = entry.name,
                                     .name_size = entry.name_size,
                                     .size = entry.size,
                                     .mtime = entry.attributes.stat.mtime_secs};
        TRY(print_line(p, (const char *)path.data, path.size, &line, err));
    }
}

static enum status dump_archive_index(struct store_reader *reader, const struct manifest *m, const char *name,
                                      struct catalog_printer *p, struct error *err)
{
    CLEANUP(stored_stream_deinit) struct stored_stream s = {0};
    TRY(stored_stream_open(&s, reader, m, name, err));
    struct sequential sequential = {.stream = chunk_reader_source(s.reader)};
    struct source source = {.read = sequential_read, .skip = sequential_skip, .context = &sequential, .name = name};
    return dump_stream(source, name, p, err);
}

/* ---- which ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text);
    size_t end_size = strlen(end);
    return size > end_size && strcmp(text + size - end_size, end) == 0;
}

static void free_names(const char ***names)
{
    free(*names);
}

static enum status dump_all(struct store_reader *reader, const struct manifest *m, struct catalog_printer *p,
                            struct error *err)
{
    void *array;
    size_t count = 0;
    TRY(array_new(m->file_count + 1, sizeof(const char *), MANIFEST_FILES_MAX + 1, "archives", &array, err));
    CLEANUP(free_names) const char **names = array;
    for (size_t i = 0; i < m->file_count; i++)
        if (ends_with(m->files[i].filename, ".mpxar.didx") || ends_with(m->files[i].filename, ".pxar.didx"))
            names[count++] = m->files[i].filename;
    if (count == 0)
        return fail(err, ERR_NOT_FOUND, "the snapshot has neither a catalog nor an archive");
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++)
        TRY(dump_archive_index(reader, m, names[i], p, err));
    return OK;
}

static enum status dump_one(struct store_reader *reader, const struct manifest *m, const char *given,
                            struct catalog_printer *p, struct error *err)
{
    struct stored_archive archive;
    TRY(snapshot_resolve(m, given, &archive, err));
    bool has_catalog = manifest_find(m, CATALOG_NAME) != NULL;
    switch (archive.kind) {
    case STORED_CATALOG: return dump_catalog(reader, m, p, err);
    case STORED_SPLIT: return dump_archive_index(reader, m, archive.name, p, err);
    case STORED_UNIFIED:
        if (!has_catalog)
            return dump_archive_index(reader, m, archive.name, p, err);
        p->only = archive.name;
        return dump_catalog(reader, m, p, err);
    case STORED_IMAGE:
    case STORED_BLOB: break;
    }
    return fail(err, ERR_USAGE, "%s is not an archive of files", archive.name);
}

static void reader_cleanup(struct store_reader **r)
{
    store_reader_close(*r);
}

static void printer_deinit(struct catalog_printer *p)
{
    buffer_deinit(&p->line);
}

enum status catalog_dump(struct store *store, const struct snapshot_id *snapshot, const char *archive, struct sink out,
                         struct error *err)
{
    CLEANUP(reader_cleanup) struct store_reader *reader = NULL;
    CLEANUP(manifest_deinit) struct manifest m = {0};
    CLEANUP(printer_deinit) struct catalog_printer p = {.out = out};
    TRY(store_reader_open(store, snapshot, &reader, err));
    TRY(snapshot_manifest(reader, &m, err));
    if (archive)
        return dump_one(reader, &m, archive, &p, err);
    return manifest_find(&m, CATALOG_NAME) ? dump_catalog(reader, &m, &p, err) : dump_all(reader, &m, &p, err);
}
