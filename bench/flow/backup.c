#include "flow/backup.h"

#include "base/clock.h"
#include "base/log.h"
#include "blob/blob.h"
#include "flow/backup_run.h"
#include "flow/image.h"
#include "flow/summary.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>

/* ---- sources ---- */

/* `mode`: of the run. */
static enum detection_mode mode_of(const struct backup_source *source, enum detection_mode mode)
{
    return source->has_mode ? source->mode : mode;
}

static enum archive_kind kind_of(const struct backup_source *source, enum detection_mode mode)
{
    switch (source->kind) {
    case SOURCE_TREE: return mode_of(source, mode) == MODE_LEGACY ? ARCHIVE_UNIFIED : ARCHIVE_SPLIT;
    case SOURCE_IMAGE: return ARCHIVE_IMAGE;
    case SOURCE_BLOB: return ARCHIVE_BLOB;
    }
    return ARCHIVE_SPLIT;
}

size_t backup_stored_names(const struct backup_source *source, enum detection_mode mode,
                           char names[2][BACKUP_STORED_NAME_SIZE])
{
    static const char *const ends[] = {
        [ARCHIVE_SPLIT] = ".ppxar.didx", [ARCHIVE_UNIFIED] = ".pxar.didx", [ARCHIVE_IMAGE] = ".img.fidx"};
    enum archive_kind kind = kind_of(source, mode);
    if (kind == ARCHIVE_BLOB) {
        snprintf(names[0], BACKUP_STORED_NAME_SIZE, "%.200s.%.8s.blob", source->name, source->extension);
        return 1;
    }
    snprintf(names[0], BACKUP_STORED_NAME_SIZE, "%.200s%s", source->name, ends[kind]);
    if (kind != ARCHIVE_SPLIT)
        return 1;
    snprintf(names[1], BACKUP_STORED_NAME_SIZE, "%.200s.mpxar.didx", source->name);
    return 2;
}

/* As far as its stat tells; what is wrong with a special file shows when it is read. */
static enum status check_source(const struct backup_source *source, struct error *err)
{
    struct stat st;
    if (stat(source->path, &st) != 0)
        return fail(err, ERR_IO, "source %s", source->path);
    bool is_file = S_ISREG(st.st_mode);
    switch (source->kind) {
    case SOURCE_TREE:
        if (!S_ISDIR(st.st_mode))
            return fail(err, ERR_NOT_FOUND, "source %s is not a directory", source->path);
        break;
    case SOURCE_IMAGE:
        if (!is_file && !S_ISBLK(st.st_mode))
            return fail(err, ERR_NOT_FOUND, "source %s is neither a file nor a block device", source->path);
        if (is_file && st.st_size == 0)
            return fail(err, ERR_FORMAT, "source %s is empty: an index of nothing cannot be stored", source->path);
        break;
    case SOURCE_BLOB:
        if (!is_file)
            return fail(err, ERR_NOT_FOUND, "source %s is not a file", source->path);
        if (st.st_size > BLOB_FILE_SIZE_MAX)
            return fail(err, ERR_LIMIT, "source %s is larger than %d bytes", source->path, BLOB_FILE_SIZE_MAX);
        break;
    }
    return OK;
}

/* What the archive is called whatever its mode: "root.pxar.didx", as the reference client names it in a dry run. */
static void plain_name(const struct backup_source *source, char out[BACKUP_STORED_NAME_SIZE])
{
    struct backup_source unsplit = *source;
    unsplit.has_mode = false;
    char names[2][BACKUP_STORED_NAME_SIZE];
    (void)backup_stored_names(&unsplit, MODE_LEGACY, names);
    memcpy(out, names[0], BACKUP_STORED_NAME_SIZE);
}

/* Even in different modes: nobody could say which of them to restore. */
static bool is_same(const struct backup_source *a, const struct backup_source *b)
{
    char one[BACKUP_STORED_NAME_SIZE], other[BACKUP_STORED_NAME_SIZE];
    plain_name(a, one);
    plain_name(b, other);
    return strcmp(one, other) == 0;
}

static enum status check_sources(const struct backup_options *options, struct error *err)
{
    if (options->source_count == 0 || options->source_count > BACKUP_SOURCES_MAX)
        return fail(err, ERR_USAGE, "a backup has 1 to %d sources", BACKUP_SOURCES_MAX);
    for (size_t i = 0; i < options->source_count; i++) {
        TRY(check_source(&options->sources[i], err));
        for (size_t k = 0; k < i; k++)
            if (is_same(&options->sources[i], &options->sources[k])) {
                char names[2][BACKUP_STORED_NAME_SIZE];
                (void)backup_stored_names(&options->sources[i], options->archive.mode, names);
                return fail(err, ERR_USAGE, "two sources would be stored as '%s'", names[0]);
            }
    }
    return OK;
}

enum status backup_check(const struct backup_options *options, struct error *err)
{
    struct archive_options prepared;
    TRY(archive_options_prepare(&options->archive, &prepared, err));
    return check_sources(options, err);
}

/* ---- what the parts share (flow/backup_run.h) ---- */

void backup_note_failure(struct backup_run *run, enum status status, const struct error *err)
{
    if (status != OK)
        failure_set(&run->failure, status, err);
}

enum status backup_cause(struct backup_run *run, enum status status, struct error *err)
{
    struct error first;
    if (status == OK || failure_get(&run->failure, &first) == OK)
        return status;
    *err = first;
    return first.status;
}

void backup_print_lines(struct buffer *text)
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

enum status backup_print_upload(const char *stored, const struct stream_stats *stream, struct error *err)
{
    char name[BACKUP_STORED_NAME_SIZE];
    const char *extension = strrchr(stored, '.'); /* log lines go without it */
    snprintf(name, sizeof name, "%.*s", (int)(extension - stored), stored);
    struct buffer text = BUFFER_INIT(1 << 20);
    enum status status = summary_upload(name, stream, &text, err);
    backup_print_lines(&text);
    buffer_deinit(&text);
    return status;
}

enum status backup_add_to_manifest(struct backup_run *run, const char *name, const struct stream_stats *stream,
                                   struct error *err)
{
    return manifest_add(&run->manifest, name, crypt_mode_names[run->options->crypt_mode], stream->size, &stream->csum,
                        err);
}

const struct crypt_config *backup_sealing_key(const struct backup_run *run)
{
    return run->options->crypt_mode == CRYPT_ENCRYPT ? run->key : NULL;
}

/* ---- the run ---- */

static enum status run_source(struct backup_run *run, const struct backup_source *source, struct archive_stats *stats,
                              struct error *err)
{
    run->archive.mode = mode_of(source, run->options->archive.mode);
    if (run->previous.reader)
        snapshot_id_text(&run->previous.snapshot, stats->reference_snapshot);
    switch (source->kind) {
    case SOURCE_TREE: return backup_tree(run, source, stats, err);
    case SOURCE_IMAGE: return backup_image(run, source, stats, err);
    case SOURCE_BLOB: return backup_blob(run, source, stats, err);
    }
    return OK;
}

struct upload_totals {
    uint64_t count, size, compressed, duplicates;
};

/* As a server counts: what was sent to it, not what the indexes list. */
static void add_stream(struct upload_totals *t, const struct stream_stats *s)
{
    t->count += s->new_chunks;
    t->size += s->new_bytes;
    t->compressed += s->compressed_bytes;
    t->duplicates += s->duplicate_chunks;
}

static enum status finish(struct backup_run *run, const struct backup_result *result, struct error *err)
{
    struct upload_totals t = {0};
    for (size_t i = 0; i < result->archive_count; i++) {
        add_stream(&t, &result->archives[i].metadata);
        add_stream(&t, &result->archives[i].payload);
        add_stream(&t, &result->archives[i].stream);
        t.size += result->archives[i].blob.size; /* the reference adds blobs to the raw size, and nowhere else */
    }
    add_stream(&t, &result->catalog);
    TRY(manifest_set_upload_stats(&run->manifest, t.count, t.size, t.compressed, t.duplicates, err));
    if (run->key)
        TRY(manifest_sign(&run->manifest, run->key, err));
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

static void log_key(const struct backup_run *run)
{
    char fingerprint[FINGERPRINT_SHORT_SIZE];
    if (!run->key)
        return;
    if (run->options->key_name)
        log_info("Using encryption key from '%s'..", run->options->key_name);
    log_info("Encryption key fingerprint: %s", fingerprint_short(run->key->fingerprint, fingerprint));
}

/* Whether an archive may refer to chunks of the previous snapshot. */
static bool wants_reference(const struct backup_run *run)
{
    for (size_t i = 0; i < run->options->source_count; i++) {
        const struct backup_source *source = &run->options->sources[i];
        if (source->kind == SOURCE_TREE && mode_of(source, run->options->archive.mode) == MODE_METADATA)
            return true;
    }
    return false;
}

/* What a server may be told and asked of all indexes at once: its answers then come together. */
static void expect_indexes(struct backup_run *run)
{
    for (size_t i = 0; i < run->options->source_count; i++) {
        const struct backup_source *source = &run->options->sources[i];
        char names[2][BACKUP_STORED_NAME_SIZE];
        size_t count = backup_stored_names(source, run->options->archive.mode, names);
        if (kind_of(source, run->options->archive.mode) == ARCHIVE_UNIFIED) {
            previous_expect(&run->previous, BACKUP_CATALOG_NAME);
            store_index_expect(run->writer, BACKUP_CATALOG_NAME);
        }
        for (size_t k = 0; k < count && source->kind != SOURCE_BLOB; k++)
            previous_expect(&run->previous, names[k]);
        for (size_t k = count; k-- > 0 && source->kind == SOURCE_TREE;)
            store_index_expect(run->writer, names[k]); /* as the reference client: metadata first */
    }
}

static enum status run_all(struct backup_run *run, struct backup_result *out, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE];
    struct utsname host;
    log_info("Starting backup: %s", snapshot_id_text(&out->snapshot, text));
    log_info("Client name: %s", uname(&host) == 0 ? host.nodename : "unknown");
    TRY(store_begin(run->store, &out->snapshot, &run->writer, err));
    log_time("Starting backup protocol");
    log_key(run);
    previous_open(run->store, run->writer, run->options->crypt_mode, wants_reference(run), &run->previous);
    if (store_is_remote(run->store))
        expect_indexes(run);
    TRY(manifest_init(&run->manifest, out->snapshot.type, out->snapshot.id, out->snapshot.time, err));
    TRY(sealer_pool_new(run->archive.threads, backup_sealing_key(run), run->writer, &run->failure, &run->pool, err));
    for (size_t i = 0; i < run->options->source_count; i++)
        TRY(run_source(run, &run->options->sources[i], &out->archives[i], err));
    if (run->catalog) {
        TRY(backup_catalog_finish(run, &out->catalog, err));
        out->has_catalog = true;
    }
    TRY(backup_wrapped_key(run, err));
    previous_close(&run->previous); /* before the writer it was opened for */
    return finish(run, out, err);
}

/* A run that has failed ends as soon as its threads have, and not when a server has taken what they have for it. */
static void stop_waiting(void *context)
{
    const struct backup_run *run = context;
    store_cancel(run->writer);
    store_reader_cancel(run->previous.reader);
}

/* As the reference client does: whether the server lets this backup begin is found out by beginning it. */
static enum status try_server(struct store *store, const struct backup_options *options,
                              const struct backup_result *result, struct error *err)
{
    struct store_writer *writer;
    struct previous previous;
    TRY(store_begin(store, &result->snapshot, &writer, err));
    previous_open(store, writer, options->crypt_mode, false, &previous);
    previous_close(&previous);
    store_abort(writer);
    return OK;
}

static enum status dry_run(struct store *store, const struct backup_options *options,
                           const struct backup_result *result, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE];
    if (store && store_is_remote(store))
        TRY(try_server(store, options, result, err));
    for (size_t i = 0; i < options->source_count; i++) {
        static const char *const kinds[] = {"directory", "image", "file"};
        const struct backup_source *source = &options->sources[i];
        char name[BACKUP_STORED_NAME_SIZE];
        plain_name(source, name);
        log_info("Would upload %s '%s' as %s of %s", kinds[source->kind], source->path, name,
                 snapshot_id_text(&result->snapshot, text));
    }
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
        return dry_run(store, options, out, err);
    const struct crypt_config *key = store_key(store);
    if ((key != NULL) != (options->crypt_mode != CRYPT_NONE))
        return fail(err, ERR_USAGE, "crypt mode %s %s", crypt_mode_names[options->crypt_mode],
                    key ? "has no use for a key" : "needs a key");
    out->archives = calloc(options->source_count, sizeof *out->archives);
    if (!out->archives)
        return fail(err, ERR_MEMORY, "out of memory for the counters");
    out->archive_count = options->source_count;
    for (size_t i = 0; i < options->source_count; i++) {
        out->archives[i].kind = kind_of(&options->sources[i], archive.mode);
        out->archives[i].reference = REFERENCE_NOT_ASKED;
    }

    struct backup_run run = {
        .store = store, .options = options, .archive = archive, .snapshot = out->snapshot, .key = key};
    failure_init(&run.failure);
    failure_on_first(&run.failure, stop_waiting, &run);
    enum status status = run_all(&run, out, err);
    backup_note_failure(&run, status, err);
    backup_catalog_free(run.catalog);
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
