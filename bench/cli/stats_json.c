#include "cli/stats_json.h"

#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const archive_kind_names[] = {
    [ARCHIVE_SPLIT] = "split", [ARCHIVE_UNIFIED] = "unified", [ARCHIVE_IMAGE] = "image", [ARCHIVE_BLOB] = "blob"};
const char *const sync_level_names[] = {
    [SYNC_NONE] = "none", [SYNC_FILE] = "file", [SYNC_FILESYSTEM] = "filesystem", NULL};

/* An object under construction that remembers whether anything failed. */
struct object {
    json_t *json;
    bool failed;
};

static struct object object_begin(void)
{
    json_t *json = json_object();
    return (struct object){.json = json, .failed = !json};
}

static void put(struct object *o, const char *name, json_t *value)
{
    /* json_object_set_new drops `value` also when it fails, and fails on NULL. */
    if (json_object_set_new(o->json, name, value) != 0)
        o->failed = true;
}

static void put_count(struct object *o, const char *name, uint64_t value)
{
    put(o, name, cli_json_count(value));
}

static json_t *object_end(struct object *o)
{
    if (!o->failed)
        return o->json;
    json_decref(o->json);
    return NULL;
}

static json_t *size_classes_json(const uint64_t chunks[SIZE_CLASSES])
{
    struct object o = object_begin();
    for (unsigned i = 0; i < SIZE_CLASSES; i++)
        put_count(&o, size_class_names[i], chunks[i]);
    return object_end(&o);
}

static json_t *stream_json(const struct stream_stats *s)
{
    char csum[DIGEST_TEXT_SIZE];
    struct object o = object_begin();
    put_count(&o, "size", s->size);
    put_count(&o, "chunks", s->chunks);
    put_count(&o, "known_chunks", s->known_chunks);
    put_count(&o, "known_bytes", s->known_bytes);
    put_count(&o, "injected_chunks", s->injected_chunks);
    put_count(&o, "injected_bytes", s->injected_bytes);
    put_count(&o, "new_chunks", s->new_chunks);
    put_count(&o, "new_bytes", s->new_bytes);
    put(&o, "new_chunks_by_size", size_classes_json(s->new_chunks_by_size));
    put_count(&o, "duplicate_chunks", s->duplicate_chunks);
    put_count(&o, "compressed_bytes", s->compressed_bytes);
    put_count(&o, "duration_ns", s->duration_ns);
    put(&o, "csum", json_string(digest_text(&s->csum, csum)));
    return object_end(&o);
}

static json_t *stream_if(bool is_there, const struct stream_stats *s)
{
    return is_there ? stream_json(s) : json_null();
}

static json_t *blob_json(const struct blob_stats *b)
{
    char csum[DIGEST_TEXT_SIZE];
    struct object o = object_begin();
    put_count(&o, "raw_size", b->raw_size);
    put_count(&o, "size", b->size);
    put(&o, "csum", json_string(digest_text(&b->csum, csum)));
    return object_end(&o);
}

static json_t *reference_json(const struct archive_stats *a)
{
    struct object o = object_begin();
    put(&o, "reason", json_string(reference_reason_name(a->reference)));
    put(&o, "detail", cli_json_text(a->reference_detail));
    put(&o, "snapshot", cli_json_text(a->reference_snapshot));
    return object_end(&o);
}

static json_t *entries_json(const struct archive_stats *a)
{
    struct object o = object_begin();
    put_count(&o, "directories", a->directories);
    put_count(&o, "files", a->files);
    put_count(&o, "symlinks", a->symlinks);
    put_count(&o, "fifos", a->fifos);
    put_count(&o, "sockets", a->sockets);
    put_count(&o, "devices", a->devices);
    put_count(&o, "hardlink_inodes", a->hardlink_inodes);
    put_count(&o, "hardlink_names", a->hardlink_names);
    put_count(&o, "skipped", a->skipped_entries);
    return object_end(&o);
}

static json_t *reasons_json(const struct archive_stats *a)
{
    struct object o = object_begin();
    for (int reason = 0; reason < FILE_REASON_COUNT; reason++)
        if (a->reasons[reason])
            put_count(&o, file_reason_name((enum file_reason)reason), a->reasons[reason]);
    return object_end(&o);
}

static json_t *not_stored_json(const struct archive_stats *a)
{
    struct object o = object_begin();
    put_count(&o, "xattrs", a->xattrs_not_stored);
    put_count(&o, "acls", a->acls_not_stored);
    put_count(&o, "fcaps", a->fcaps_not_stored);
    return object_end(&o);
}

static json_t *ledger_json(const struct archive_stats *a)
{
    const struct ledger_totals *l = &a->ledger;
    struct object o = object_begin();
    put_count(&o, "start_padding", l->start_padding);
    put_count(&o, "end_padding", l->end_padding);
    put_count(&o, "hole_padding", l->hole_padding);
    put_count(&o, "dead_padding", l->dead_padding);
    put_count(&o, "padding", l->padding);
    put_count(&o, "ranges", l->ranges);
    put_count(&o, "partial_chunks", l->partial_chunks);
    put_count(&o, "unreferenced_chunks", l->unreferenced_chunks);
    put_count(&o, "stored_waste", a->stored_waste_bytes);
    put_count(&o, "relisted_chunks", a->relisted_chunks);
    return object_end(&o);
}

static json_t *given_up_json(const struct archive_stats *a)
{
    struct object o = object_begin();
    put_count(&o, "threshold", a->given_up_threshold);
    put_count(&o, "instances", a->given_up_instances);
    put_count(&o, "absorbed", a->given_up_absorbed);
    return object_end(&o);
}

static json_t *known_count(bool is_known, uint64_t value)
{
    return is_known ? cli_json_count(value) : json_null();
}

/* Files that had not changed and were written anew all the same. */
static uint64_t collateral(const uint64_t by_reason[FILE_REASON_COUNT])
{
    return by_reason[FILE_THRESHOLD] + by_reason[FILE_INSTANCES] + by_reason[FILE_ABSORBED];
}

static json_t *stored_json(const struct backup_source *source, enum detection_mode mode)
{
    char names[2][BACKUP_STORED_NAME_SIZE];
    size_t count = backup_stored_names(source, mode, names);
    return count == 2 ? json_pack("[ss]", names[0], names[1]) : json_pack("[s]", names[0]);
}

json_t *stats_json_archive(const char *name, const struct archive_stats *a)
{
    struct object o = object_begin();
    put(&o, "name", cli_json_text(name));
    put(&o, "kind", json_string(archive_kind_names[a->kind]));
    put(&o, "reference", reference_json(a));
    put(&o, "entries", entries_json(a));
    put_count(&o, "reused_files", a->reused_files);
    put_count(&o, "reused_bytes", a->reused_bytes);
    put_count(&o, "reencoded_files", a->reencoded_files);
    put_count(&o, "reencoded_bytes", a->reencoded_bytes);
    put_count(&o, "injected_chunks", a->injected_chunks);
    put_count(&o, "injected_bytes", a->injected_bytes);
    put_count(&o, "padding_bytes", a->padding_bytes);
    put_count(&o, "partial_chunks", a->partial_chunks);
    put_count(&o, "unreferenced_chunks", a->unreferenced_chunks);
    put_count(&o, "flushes", a->flushes);
    put_count(&o, "rejected_ranges", a->rejected_ranges);
    put_count(&o, "file_bytes_read", a->file_bytes_read);
    put(&o, "ledger", a->kind == ARCHIVE_SPLIT ? ledger_json(a) : json_null());
    put(&o, "given_up_chunks", given_up_json(a));
    put_count(&o, "early_chunks", a->early_chunks);
    put_count(&o, "collateral_files", collateral(a->reasons));
    put_count(&o, "collateral_bytes", collateral(a->reason_bytes));
    put(&o, "touched_identical_files", known_count(a->compared_touched, a->touched_identical_files));
    put(&o, "touched_identical_bytes", known_count(a->compared_touched, a->touched_identical_bytes));
    put(&o, "reasons", reasons_json(a));
    put(&o, "not_stored", not_stored_json(a));
    put(&o, "metadata", stream_if(a->kind == ARCHIVE_SPLIT, &a->metadata));
    put(&o, "payload", stream_if(a->kind == ARCHIVE_SPLIT, &a->payload));
    put(&o, "stream", stream_if(a->kind == ARCHIVE_UNIFIED || a->kind == ARCHIVE_IMAGE, &a->stream));
    put(&o, "blob", a->kind == ARCHIVE_BLOB ? blob_json(&a->blob) : json_null());
    return object_end(&o);
}

static json_t *source_json(const struct stats_run *run, size_t i)
{
    json_t *archive = stats_json_archive(run->sources[i].name, &run->archives[i]);
    json_t *stored = archive ? stored_json(&run->sources[i], run->options->mode) : NULL;
    if (archive && json_object_set_new(archive, "stored", stored) != 0) {
        json_decref(archive);
        return NULL;
    }
    return archive;
}

static json_t *archives_json(const struct stats_run *run)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < run->archive_count; i++)
        if (json_array_append_new(list, source_json(run, i)) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

json_t *stats_json_network(const struct net_stats *n)
{
    struct object o = object_begin();
    put_count(&o, "connections", n->connections);
    put_count(&o, "requests", n->requests);
    put_count(&o, "sent_bytes", n->sent);
    put_count(&o, "received_bytes", n->received);
    put_count(&o, "wire_sent_bytes", n->wire_sent);
    put_count(&o, "wire_received_bytes", n->wire_received);
    put_count(&o, "round_trips", n->round_trips);
    put_count(&o, "stalls", n->stalls);
    put_count(&o, "waited_ns", n->waited_ns);
    put_count(&o, "throttled_ns", n->throttled_ns);
    return object_end(&o);
}

json_t *stats_json_run(const struct stats_run *run)
{
    char snapshot[SNAPSHOT_TEXT_SIZE] = "";
    if (run->snapshot.id[0])
        snapshot_id_text(&run->snapshot, snapshot);
    struct object o = object_begin();
    put(&o, "schema", json_string("pxarbench-stats/1"));
    put(&o, "version", json_string(PXB_VERSION));
    put(&o, "result", json_string(run->error ? "failed" : "ok"));
    put(&o, "error", run->error ? cli_json_text(run->error) : json_null());
    put(&o, "snapshot", cli_json_text(snapshot));
    put(&o, "mode", json_string(detection_mode_names[run->options->mode]));
    put(&o, "profile", json_string(reuse_profile_names[run->options->profile]));
    put(&o, "compare", json_string(compare_rule_names[run->options->compare]));
    put_count(&o, "threads", run->options->threads);
    put_count(&o, "chunk_average", run->options->chunk_average);
    put_count(&o, "cache_limit", run->options->cache_limit);
    put(&o, "padding_threshold", json_real(run->options->threshold_ppm / 1e6));
    put_count(&o, "absorb_below", run->options->absorb_below);
    put_count(&o, "max_instances", run->options->max_instances);
    put(&o, "sync_level", json_string(sync_level_names[run->sync]));
    put_count(&o, "duration_ns", run->duration_ns);
    put_count(&o, "user_ns", run->user_ns);
    put_count(&o, "system_ns", run->system_ns);
    put_count(&o, "peak_rss_bytes", run->peak_rss_bytes);
    put_count(&o, "warnings", run->warnings);
    put(&o, "catalog", stream_if(run->catalog, run->catalog));
    put(&o, "archives", archives_json(run));
    if (run->crypt_mode != CRYPT_NONE)
        put(&o, "crypt_mode", json_string(crypt_mode_names[run->crypt_mode]));
    if (run->network)
        put(&o, "network", stats_json_network(run->network));
    return object_end(&o);
}

/* ---- the file ---- */

/* The mode is the umask's business, as for every file a user asks for. */
enum { CREATE_MODE = 0666 };

/* Renaming over a device node or pipe would replace it: those are written to. */
static bool is_special(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

static enum status temporary_open(const char *path, char temporary[PATH_MAX], int *out, struct error *err)
{
    int length = snprintf(temporary, PATH_MAX, "%s.%ld.tmp", path, (long)getpid());
    if (length < 0 || length >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return fail(err, ERR_IO, "create %s", path);
    }
    *out = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, CREATE_MODE);
    if (*out < 0)
        return fail(err, ERR_IO, "create %s", temporary);
    return OK;
}

enum status stats_file_check(const char *path, struct error *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        return fail(err, ERR_IO, "create %s", path);
    }
    if (is_special(path))
        return OK;
    char temporary[PATH_MAX];
    int fd;
    TRY(temporary_open(path, temporary, &fd, err));
    close(fd);
    unlink(temporary);
    return OK;
}

/* Closes `fd`. */
static enum status json_to_fd(int fd, const json_t *value, const char *name, struct error *err)
{
    FILE *file = fdopen(fd, "w");
    if (!file) {
        enum status status = fail(err, ERR_IO, "write %s", name);
        close(fd);
        return status;
    }
    /* 15 digits give 0.1 back as it was typed. */
    bool failed = json_dumpf(value, file, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) != 0 || putc('\n', file) == EOF;
    int errno_dump = errno;
    bool close_failed = fclose(file) != 0;
    if (failed)
        errno = errno_dump;
    if (failed || close_failed)
        return fail(err, ERR_IO, "write %s", name);
    return OK;
}

enum status stats_file_write(const char *path, const json_t *value, struct error *err)
{
    if (is_special(path)) {
        int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
            return fail(err, ERR_IO, "open %s", path);
        return json_to_fd(fd, value, path, err);
    }
    char temporary[PATH_MAX];
    int fd;
    TRY(temporary_open(path, temporary, &fd, err));
    enum status status = json_to_fd(fd, value, temporary, err);
    if (status == OK && rename(temporary, path) != 0)
        status = fail(err, ERR_IO, "rename %s to %s", temporary, path);
    if (status != OK)
        unlink(temporary);
    return status;
}
