#include "store/local_server.h"

#include "store/local.h"

#include "base/log.h"
#include "blob/blob.h"
#include "index/manifest.h"
#include "store/local_server_lists.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define OWNER_TEMPORARY ".owner.tmp"

/* ---- the directory ---- */

struct others {
    const char *const *known;
    bool found;
};

static enum status look_for_others(void *context, int dir_fd UNUSED, const char *name, struct error *err UNUSED)
{
    struct others *o = context;
    const char *const *known = o->known;
    while (*known && strcmp(name, *known) != 0)
        known++;
    o->found |= !*known;
    return OK;
}

/* Whether nothing is in a directory but what `known` lists (NULL-terminated). */
static enum status has_only(int dir_fd, const char *const *known, const char *path, bool *out, struct error *err)
{
    struct others others = {.known = known};
    TRY(local_each_entry(dir_fd, path, look_for_others, &others, err));
    *out = !others.found;
    return OK;
}

enum status local_prepare(const char *path, struct error *err)
{
    enum contents contents;
    if (mkdir(path, STORE_DIR_MODE) != 0 && errno != EEXIST)
        return fail(err, ERR_IO, "create %s", path);
    CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, ERR_IO, "open directory %s", path);
    TRY(local_look_inside(fd, path, &contents, err));
    if (contents == HAS_OTHER)
        return fail(err, ERR_NOT_ARCHIVE, "%s is neither empty nor a datastore: it has no directory .chunks", path);
    if (contents != HAS_CHUNKS && mkdirat(fd, ".chunks", CHUNK_DIR_MODE) != 0 && errno != EEXIST)
        return fail(err, ERR_IO, "create %s/.chunks", path);
    return OK;
}

enum status local_check_namespace(struct store *s, const char *ns, struct error *err)
{
    int fd = -1;
    enum status status = open_namespace(s, ns, false, &fd, err);
    fd_cleanup(&fd);
    return status;
}

void local_public_text(const struct store *s, const char *text, char out[ERROR_TEXT_MAX])
{
    size_t size = strlen(s->path);
    size_t used = 0;
    while (size > 1 && s->path[size - 1] == '/')
        size--;
    for (const char *at = text; *at && used < ERROR_TEXT_MAX - 1;) {
        bool begins = at == text || strchr(" '\"(", at[-1]);
        bool is_path = begins && strncmp(at, s->path, size) == 0;
        if (is_path && at[size] == '/') {
            at += size + strspn(at + size, "/");
        } else if (is_path && (at[size] == '\0' || strchr(" :,;'\")", at[size]))) {
            used += (size_t)snprintf(out + used, ERROR_TEXT_MAX - used, "the datastore");
            used = used < ERROR_TEXT_MAX ? used : ERROR_TEXT_MAX - 1;
            at += size;
        } else {
            out[used++] = *at++;
        }
    }
    out[used] = '\0';
}

/* ---- begin ---- */

static const char *group_path(const struct store_writer *w, char out[STORED_PATH_MAX])
{
    struct snapshot_id group = w->id;
    group.time = 0;
    return stored_path(w->store, &group, out);
}

/* A group has an owner, or it is one that we or a killed process just made: then it is the caller's. */
static enum status take_owner(struct store_writer *w, const struct local_begin *how, struct error *err)
{
    static const char *const bare[] = {OWNER_TEMPORARY, NULL};
    char path[STORED_PATH_MAX];
    group_path(w, path);
    struct snapshot_id group = w->id;
    group.time = 0;
    bool is_bare;
    TRY(has_only(w->group_fd, bare, path, &is_bare, err));
    if (is_bare) {
        if (unlinkat(w->group_fd, OWNER_TEMPORARY, 0) != 0 && errno != ENOENT)
            return fail(err, ERR_IO, "remove %s/" OWNER_TEMPORARY, path);
        w->made_group = true;
        char text[STORED_OWNER_SIZE];
        int size = snprintf(text, sizeof text, "%s\n", how->auth_id);
        ASSERT(size > 1 && (size_t)size < sizeof text);
        return write_renamed(w->group_fd, OWNER_TEMPORARY, "owner", (const uint8_t *)text, (size_t)size,
                             w->store->sync == SYNC_FILE, path, err);
    }
    char owner[STORED_OWNER_SIZE];
    TRY(local_owner(w->store, &group, owner, err));
    if (how->may_use && !how->may_use(how->auth_id, owner))
        return fail(err, ERR_REFUSED, "the owner of group %s/%s is %s, not %s", w->id.type, w->id.id, owner,
                    how->auth_id);
    return OK;
}

struct manifest_read {
    struct buffer blob;
    struct buffer text;
    struct blob_context *context;
    struct manifest manifest;
};

static void manifest_read_deinit(struct manifest_read *m)
{
    manifest_deinit(&m->manifest);
    blob_context_free(m->context);
    buffer_deinit(&m->text);
    buffer_deinit(&m->blob);
}

/* Whether the snapshot may serve as base; ERR_FORMAT and its kin: its manifest cannot be read. */
static enum status judge_base(int snapshot_fd, const char *path, bool *out_failed, struct error *err)
{
    CLEANUP(manifest_read_deinit)
    struct manifest_read m = {.blob = BUFFER_INIT(MANIFEST_SIZE_MAX + BLOB_ENCRYPTED_HEADER_SIZE),
                              .text = BUFFER_INIT(MANIFEST_SIZE_MAX)};
    TRY(read_whole(snapshot_fd, MANIFEST_NAME, O_NOFOLLOW, m.blob.limit, path, &m.blob, err));
    TRY(blob_context_new(&m.context, err));
    TRY(blob_open(m.context, m.blob.data, m.blob.size, MANIFEST_SIZE_MAX, path, &m.text, err));
    TRY(manifest_parse(m.text.data, m.text.size, path, &m.manifest, err));
    *out_failed = manifest_verify_failed(&m.manifest);
    return OK;
}

static enum status find_base(struct store_writer *w, const struct local_begin *how, struct error *err)
{
    char path[STORED_PATH_MAX], text[SNAPSHOT_TEXT_SIZE];
    CLEANUP(snapshot_times_deinit) struct snapshot_times times = {0};
    TRY(group_times(w->group_fd, group_path(w, path), true, &times, err));
    if (times.count == 0)
        return OK;
    struct snapshot_id base = w->id;
    base.time = times.items[times.count - 1];
    const char *name = strrchr(snapshot_id_text(&base, text), '/') + 1;
    CLEANUP(fd_cleanup) int fd = -1;
    stored_path(w->store, &base, path);
    TRY(open_dir(w->group_fd, name, path, &fd, err));
    /* Before anything in it is looked at: who removes it begins with the manifest. */
    if (flock(fd, LOCK_SH | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return fail(err, ERR_LOCKED, "the last snapshot, %s, is locked: it is being removed", text);
        return fail(err, ERR_IO, "lock %s", path);
    }
    if (!is_finished(fd))
        return fail(err, ERR_LOCKED, "the last snapshot, %s, is locked: it was removed just now", text);
    bool failed;
    enum status status = judge_base(fd, path, &failed, err);
    if (status != OK)
        return status == ERR_MEMORY ? status : fail_within(err, "the manifest of the last snapshot, %s", text);
    if (failed || how->ignore_base)
        return OK;
    if (w->id.time <= base.time)
        return fail(err, ERR_EXISTS, "bad timestamp: the backup is not newer than the last one of its group, %s", text);
    w->previous = base;
    w->previous_fd = fd_take(&fd);
    w->has_previous = true;
    return OK;
}

enum status local_begin(struct store *s, const struct snapshot_id *id, const struct local_begin *how,
                        struct store_writer **out, struct error *err)
{
    *out = NULL;
    TRY(snapshot_id_check(id, err));
    struct store_writer *w;
    TRY(local_writer_new(s, id, &w, err));
    enum status status = local_lock_group(w, false, err);
    if (status == OK)
        status = take_owner(w, how, err);
    if (status == OK)
        status = find_base(w, how, err);
    if (status == OK)
        status = local_remove_abandoned(w, err);
    if (status == OK)
        status = local_make_snapshot(w, err);
    if (status != OK) {
        store_abort(w);
        return status;
    }
    *out = w;
    return OK;
}

/* ---- files ---- */

enum status local_open_previous(const struct store_writer *w, const char *name, int *out_fd, uint64_t *out_size,
                                struct error *err)
{
    TRY(stored_name_check(name, err));
    if (!w->has_previous)
        return fail(err, ERR_USAGE, "there is no valid previous backup in this group");
    char path[STORED_PATH_MAX];
    return open_regular(w->previous_fd, name, O_NOFOLLOW, stored_path(w->store, &w->previous, path), out_fd, out_size,
                        err);
}

enum status local_open_chunk(struct store *s, const struct digest *digest, int *out_fd, uint64_t *out_size,
                             struct error *err)
{
    char name[CHUNK_NAME_SIZE], path[STORED_PATH_MAX];
    chunk_name(digest, name);
    snprintf(path, sizeof path, "%.500s/.chunks", s->path);
    /* Links are followed as they are when chunks are inserted. */
    return open_regular(s->chunks_fd, name, 0, path, out_fd, out_size, err);
}

enum status local_keep_chunk(struct store *s, const struct digest *digest, const uint8_t *blob, size_t size,
                             bool *out_new, uint64_t *out_stored_size, struct error *err)
{
    *out_stored_size = size;
    TRY(local_put_chunk(s, digest, blob, size, out_new, err));
    char name[CHUNK_NAME_SIZE];
    struct stat st;
    chunk_name(digest, name);
    if (!*out_new && fstatat(s->chunks_fd, name, &st, 0) == 0)
        *out_stored_size = (uint64_t)st.st_size;
    return OK;
}

void local_drop_chunk(struct store *s, const struct digest *digest)
{
    char name[CHUNK_NAME_SIZE];
    chunk_name(digest, name);
    unlinkat(s->chunks_fd, name, 0);
}

/* ---- end ---- */

/* It is where it was, and whole. */
static bool base_is_there(const struct store_writer *w)
{
    char text[SNAPSHOT_TEXT_SIZE];
    struct stat held, named;
    const char *name = strrchr(snapshot_id_text(&w->previous, text), '/') + 1;
    return is_finished(w->previous_fd) && fstat(w->previous_fd, &held) == 0 &&
           fstatat(w->group_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && held.st_dev == named.st_dev &&
           held.st_ino == named.st_ino;
}

enum status local_finish(struct store_writer *w, const uint8_t *manifest_blob, size_t size, bool keep_locks,
                         struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE];
    ASSERT(atomic_load(&w->open_indexes) == 0);
    if (w->has_previous && !base_is_there(w))
        return fail(err, ERR_NOT_FOUND, "the base of this backup, %s, has vanished",
                    snapshot_id_text(&w->previous, text));
    TRY(local_write_manifest(w, manifest_blob, size, err));
    w->finished = true;
    w->made_group = false;
    if (keep_locks)
        return OK;
    fd_cleanup(&w->snapshot_fd);
    fd_cleanup(&w->group_fd);
    w->made_snapshot = false;
    return OK;
}

void local_end(struct store_writer *w, bool discard)
{
    static const char *const bare[] = {"owner", OWNER_TEMPORARY, NULL};
    if (!w)
        return;
    /* A manifest may be there and the snapshot not finished: its writer was told that it could not be synced. */
    if (w->finished && !discard) {
        w->made_snapshot = w->made_group = false;
        store_abort(w);
        return;
    }
    char path[STORED_PATH_MAX], text[SNAPSHOT_TEXT_SIZE];
    struct error err = {0};
    const char *name = strrchr(snapshot_id_text(&w->id, text), '/') + 1;
    if (w->group_fd >= 0 && w->made_snapshot && remove_tree(w->group_fd, name, w->path, &err) != OK)
        log_warning("the unfinished snapshot is not wholly removed: %s", err.text);
    w->made_snapshot = false;
    /* Still locked: nobody else has put anything into it. */
    w->made_group = false;
    if (w->group_fd >= 0 && has_only(w->group_fd, bare, group_path(w, path), &w->made_group, &err) != OK)
        w->made_group = false;
    store_abort(w);
}
