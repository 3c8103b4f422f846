/* Listings: what is there, and whose it is. */
#include "server/rest_context.h"

#include "blob/blob.h"
#include "index/manifest.h"
#include "store/local_server_lists.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANIFEST_NAME "index.json.blob"

/* Of the protocol, not of this program: what clients compare. */
#define PROTOCOL_VERSION "4.2"
#define PROTOCOL_RELEASE "0"
#define PROTOCOL_REPOID "pxarbench"

enum { SHORT_TEXT_MAX = 1024 };

static const struct rest_need need_list = {PRIVILEGE_AUDIT, PRIVILEGE_BACKUP};
static const struct rest_need need_files = {PRIVILEGE_AUDIT | PRIVILEGE_READ, PRIVILEGE_BACKUP};

enum status rest_get_version(struct rest_context *c, struct error *err)
{
    return rest_json_data(
        &c->answer->body,
        json_pack("{s:s,s:s,s:s}", "version", PROTOCOL_VERSION, "release", PROTOCOL_RELEASE, "repoid", PROTOCOL_REPOID),
        err);
}

enum status rest_get_ping(struct rest_context *c, struct error *err)
{
    return rest_json_data(&c->answer->body, json_pack("{s:b}", "pong", 1), err);
}

enum status rest_get_datastores(struct rest_context *c, struct error *err)
{
    struct rest_json_list list;
    TRY(rest_json_list_begin(&list, &c->answer->body, err));
    if (c->caller->privileges)
        TRY(rest_json_list_add(&list, json_pack("{s:s}", "store", c->store_name), err));
    return rest_json_list_end(&list, err);
}

enum status rest_get_status(struct rest_context *c, struct error *err)
{
    bool own_only;
    struct store_usage usage;
    TRY(rest_may_list(c, need_list, &own_only, err));
    TRY(local_usage(c->store, &usage, err));
    return rest_json_data(&c->answer->body,
                          json_pack("{s:I,s:I,s:I}", "total", (json_int_t)usage.total, "used", (json_int_t)usage.used,
                                    "avail", (json_int_t)usage.available),
                          err);
}

enum status rest_get_gc(struct rest_context *c, struct error *err)
{
    static const char *const counters[] = {"index-file-count", "index-data-bytes", "disk-bytes",    "disk-chunks",
                                           "pending-bytes",    "pending-chunks",   "removed-bytes", "removed-chunks",
                                           "removed-bad",      "still-bad"};
    bool own_only;
    TRY(rest_may_list(c, (struct rest_need){PRIVILEGE_AUDIT, 0}, &own_only, err));
    json_t *status = json_pack("{s:s,s:n}", "store", c->store_name, "upid");
    enum status result = status ? OK : fail(err, ERR_MEMORY, "out of memory for an answer");
    for (size_t i = 0; i < sizeof counters / sizeof *counters && result == OK; i++)
        result = rest_json_set(status, counters[i], json_integer(0), err);
    if (result != OK) {
        json_decref(status);
        return result;
    }
    return rest_json_data(&c->answer->body, status, err);
}

enum status rest_start_gc(struct rest_context *c, struct error *err)
{
    TRY(rest_may(c, (struct rest_need){PRIVILEGE_MODIFY, 0}, NULL, err));
    return fail(
        err, ERR_UNSUPPORTED,
        "this server collects no garbage: stop it and let a Proxmox Backup Server do that, or remove the datastore");
}

enum status rest_get_task(struct rest_context *c, struct error *err)
{
    return fail(err, ERR_NOT_FOUND, "no such task, '%.200s': this server runs none", c->question->components[3]);
}

/* ---- groups ---- */

struct lister {
    struct rest_context *context;
    struct rest_json_list list;
    struct blob_context *blobs; /* of snapshots */
    struct buffer encoded, text;
    bool own_only;
};

static bool is_visible(const struct lister *l, const struct stored_group *group)
{
    return !l->own_only || (group->owner && access_owns(l->context->caller->auth_id, group->owner));
}

/* Files and what is known about each; the object is the caller's. */
static enum status add_names(json_t *object, const struct stored_files *files, struct error *err)
{
    json_t *names = json_array();
    bool done = names != NULL;
    for (size_t i = 0; i < files->count && done; i++)
        done = json_array_append_new(names, json_string(files->items[i].name)) == 0;
    if (!done) {
        json_decref(names);
        names = NULL;
    }
    return rest_json_set(object, "files", names, err);
}

static enum status set_owner(json_t *object, const struct stored_group *group, struct error *err)
{
    return group->owner ? rest_json_set(object, "owner", rest_json_text(group->owner, strlen(group->owner)), err) : OK;
}

/* Members of groups and snapshots alike. */
static json_t *identity(const struct snapshot_id *id)
{
    return json_pack("{s:s,s:s}", "backup-type", id->type, "backup-id", id->id);
}

static enum status fill_group(json_t *object, const struct stored_group *group, const struct stored_files *files,
                              struct error *err)
{
    int64_t last = group->times[group->count - 1];
    TRY(rest_json_set(object, "last-backup", json_integer(last), err));
    TRY(rest_json_set(object, "backup-count", json_integer((json_int_t)group->count), err));
    TRY(add_names(object, files, err));
    TRY(set_owner(object, group, err));
    return group->comment
               ? rest_json_set(object, "comment", rest_json_text(group->comment, strlen(group->comment)), err)
               : OK;
}

static enum status list_group(void *context, const struct stored_group *group, struct error *err)
{
    struct lister *l = context;
    if (group->count == 0 || !is_visible(l, group))
        return OK;
    struct snapshot_id last = group->id;
    last.time = group->times[group->count - 1];
    CLEANUP(stored_files_deinit) struct stored_files files = {0};
    enum status status = local_files(l->context->store, &last, &files, err);
    if (status != ERR_NOT_FOUND) /* removed just now: without files */
        TRY(status);
    json_t *object = identity(&group->id);
    status = object ? fill_group(object, group, &files, err) : fail(err, ERR_MEMORY, "out of memory for an answer");
    if (status != OK) {
        json_decref(object);
        return status;
    }
    return rest_json_list_add(&l->list, object, err);
}

enum status rest_get_groups(struct rest_context *c, struct error *err)
{
    struct lister l = {.context = c};
    TRY(rest_may_list(c, need_list, &l.own_only, err));
    TRY(rest_json_list_begin(&l.list, &c->answer->body, err));
    TRY(local_each_group(c->store, rest_param_namespace(c, "ns"), NULL, NULL, list_group, &l, err));
    return rest_json_list_end(&l.list, err);
}

/* ---- snapshots ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static enum status read_file(int fd, uint64_t size, struct buffer *out, struct error *err)
{
    buffer_clear(out);
    if (size > MANIFEST_SIZE_MAX)
        return fail(err, ERR_LIMIT, MANIFEST_NAME ": %llu bytes", (unsigned long long)size);
    TRY(buffer_reserve(out, (size_t)size, err));
    while (out->size < size) {
        ssize_t got = pread(fd, out->data + out->size, (size_t)size - out->size, (off_t)out->size);
        if (got < 0)
            return fail(err, ERR_IO, "read " MANIFEST_NAME);
        if (got == 0)
            return fail(err, ERR_FORMAT, MANIFEST_NAME " ends early");
        out->size += (size_t)got;
    }
    return OK;
}

static enum status read_manifest(struct lister *l, const struct snapshot_id *id, struct manifest *out,
                                 struct error *err)
{
    CLEANUP(close_fd) int fd = -1;
    uint64_t size = 0;
    TRY(local_open_file(l->context->store, id, MANIFEST_NAME, &fd, &size, err));
    TRY(read_file(fd, size, &l->encoded, err));
    TRY(blob_open(l->blobs, l->encoded.data, l->encoded.size, MANIFEST_SIZE_MAX, MANIFEST_NAME, &l->text, err));
    return manifest_parse(l->text.data, l->text.size, MANIFEST_NAME, out, err);
}

static json_t *file_object(const char *name, const char *crypt_mode, const uint64_t *size)
{
    json_t *object = json_pack("{s:s,s:s*}", "filename", name, "crypt-mode", crypt_mode);
    if (object && size && json_object_set_new(object, "size", json_integer((json_int_t)*size)) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

/* What the manifest lists, the manifest itself, and what else lies there (without size). `m` NULL: it cannot be read.
 */
static json_t *file_objects(const struct manifest *m, const struct stored_files *files, uint64_t *out_size)
{
    json_t *array = json_array();
    bool done = array != NULL;
    *out_size = 0;
    for (size_t i = 0; m && i < m->file_count && done; i++) {
        const struct manifest_file *file = &m->files[i];
        *out_size += file->size; /* of 2^64 at most: a lie is only a lie */
        done = json_array_append_new(array, file_object(file->filename, file->crypt_mode, &file->size)) == 0;
    }
    for (size_t i = 0; i < files->count && done; i++) {
        const struct stored_file *file = &files->items[i];
        bool is_manifest = strcmp(file->name, MANIFEST_NAME) == 0;
        if (m && !is_manifest && manifest_find(m, file->name))
            continue;
        if (is_manifest)
            *out_size += file->size;
        const char *crypt_mode = is_manifest ? "none" : NULL;
        done = json_array_append_new(array, file_object(file->name, crypt_mode, is_manifest ? &file->size : NULL)) == 0;
    }
    if (done)
        return array;
    json_decref(array);
    return NULL;
}

/* Of a client's text no more than this: a list is for everybody. */
static json_t *short_text(const char *text, size_t size)
{
    return rest_json_text(text, size < SHORT_TEXT_MAX ? size : SHORT_TEXT_MAX);
}

/* What the manifest says outside of its signature: notes, verification, key. */
static enum status set_unprotected(json_t *object, const struct manifest *m, struct error *err)
{
    json_t *unprotected = json_loads(m->unprotected, 0, NULL);
    const char *notes = json_string_value(json_object_get(unprotected, "notes"));
    const json_t *verify = json_object_get(unprotected, "verify_state");
    const char *state = json_string_value(json_object_get(verify, "state"));
    const char *upid = json_string_value(json_object_get(verify, "upid"));
    enum status status = OK;
    if (notes && *notes)
        status = rest_json_set(object, "comment", short_text(notes, strcspn(notes, "\n")), err);
    if (status == OK && m->key_fingerprint)
        status = rest_json_set(object, "fingerprint", short_text(m->key_fingerprint, strlen(m->key_fingerprint)), err);
    if (status == OK && state && upid && (strcmp(state, "ok") == 0 || strcmp(state, "failed") == 0))
        status = rest_json_set(object, "verification",
                               json_pack("{s:o,s:s}", "upid", short_text(upid, strlen(upid)), "state", state), err);
    json_decref(unprotected);
    return status;
}

static enum status fill_snapshot(struct lister *l, json_t *object, const struct stored_group *group,
                                 const struct snapshot_id *id, const struct stored_files *files, struct error *err)
{
    TRY(rest_json_set(object, "backup-time", json_integer(id->time), err));
    TRY(rest_json_set(object, "protected", json_boolean(files->is_protected), err));
    TRY(set_owner(object, group, err));
    if (!files->is_finished)
        return rest_json_set(object, "files", json_array(), err);
    CLEANUP(manifest_deinit) struct manifest m = {0};
    struct error unreadable = {0};
    bool is_readable = read_manifest(l, id, &m, &unreadable) == OK;
    if (!is_readable && unreadable.status == ERR_MEMORY) {
        if (err)
            *err = unreadable;
        return ERR_MEMORY;
    }
    uint64_t size;
    TRY(rest_json_set(object, "files", file_objects(is_readable ? &m : NULL, files, &size), err));
    if (!is_readable)
        return OK;
    TRY(rest_json_set(object, "size", json_integer((json_int_t)size), err));
    return set_unprotected(object, &m, err);
}

static enum status list_snapshot(struct lister *l, const struct stored_group *group, int64_t time, struct error *err)
{
    struct snapshot_id id = group->id;
    id.time = time;
    CLEANUP(stored_files_deinit) struct stored_files files = {0};
    enum status status = local_files(l->context->store, &id, &files, err);
    if (status == ERR_NOT_FOUND)
        return OK; /* removed just now */
    TRY(status);
    json_t *object = identity(&id);
    status = object ? fill_snapshot(l, object, group, &id, &files, err)
                    : fail(err, ERR_MEMORY, "out of memory for an answer");
    if (status != OK) {
        json_decref(object);
        return status;
    }
    return rest_json_list_add(&l->list, object, err);
}

static enum status list_snapshots(void *context, const struct stored_group *group, struct error *err)
{
    struct lister *l = context;
    if (!is_visible(l, group))
        return OK;
    for (size_t i = 0; i < group->count; i++)
        TRY(list_snapshot(l, group, group->times[i], err));
    return OK;
}

static void lister_deinit(struct lister *l)
{
    blob_context_free(l->blobs);
    buffer_deinit(&l->encoded);
    buffer_deinit(&l->text);
}

enum status rest_get_snapshots(struct rest_context *c, struct error *err)
{
    CLEANUP(lister_deinit)
    struct lister l = {.context = c, .encoded = BUFFER_INIT(MANIFEST_SIZE_MAX), .text = BUFFER_INIT(MANIFEST_SIZE_MAX)};
    TRY(rest_may_list(c, need_list, &l.own_only, err));
    TRY(blob_context_new(&l.blobs, err));
    TRY(rest_json_list_begin(&l.list, &c->answer->body, err));
    TRY(local_each_group(c->store, rest_param_namespace(c, "ns"), rest_param_text(c, "backup-type"),
                         rest_param_text(c, "backup-id"), list_snapshots, &l, err));
    return rest_json_list_end(&l.list, err);
}

enum status rest_get_files(struct rest_context *c, struct error *err)
{
    struct snapshot_id id;
    CLEANUP(lister_deinit)
    struct lister l = {.context = c, .encoded = BUFFER_INIT(MANIFEST_SIZE_MAX), .text = BUFFER_INIT(MANIFEST_SIZE_MAX)};
    CLEANUP(stored_files_deinit) struct stored_files files = {0};
    CLEANUP(manifest_deinit) struct manifest m = {0};
    TRY(rest_param_snapshot(c, &id, err));
    TRY(rest_may(c, need_files, &id, err));
    TRY(blob_context_new(&l.blobs, err));
    TRY(local_files(c->store, &id, &files, err));
    TRY(read_manifest(&l, &id, &m, err));
    uint64_t size;
    json_t *objects = file_objects(&m, &files, &size);
    return rest_json_data(&c->answer->body, objects, err);
}
