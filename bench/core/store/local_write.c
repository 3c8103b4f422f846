/* A backup in progress: locks, previous snapshot, files, the manifest at the end. */
#include "store/local.h"

#include "base/log.h"
#include "blob/blob.h"
#include "index/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define OWNER_TEMPORARY ".owner.tmp"
#define OWNER_TEXT "root@pam\n"

enum { OWNER_SIZE_MAX = 1024, GROUP_LOCK_ATTEMPTS_MAX = 100 };

/* ---- the group ---- */

static bool same_directory(int fd, int parent_fd, const char *name)
{
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && fstatat(parent_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

enum status local_lock_group(struct store_writer *w, bool create_namespace, struct error *err)
{
    struct store *s = w->store;
    struct snapshot_id group = w->id;
    group.time = 0;
    char path[STORED_PATH_MAX];
    stored_path(s, &group, path);

    CLEANUP(fd_cleanup) int ns_fd = -1;
    TRY(open_namespace(s, w->id.ns, create_namespace, &ns_fd, err));
    bool sync = s->sync == SYNC_FILE;
    if (mkdirat(ns_fd, w->id.type, STORE_DIR_MODE) != 0 && errno != EEXIST)
        return fail(err, ERR_IO, "create directory of %s", path);
    TRY(open_dir(ns_fd, w->id.type, path, &w->type_fd, err));
    if (sync)
        TRY(sync_dir(ns_fd, path, err));
    for (int attempt = 0; attempt < GROUP_LOCK_ATTEMPTS_MAX; attempt++) {
        if (mkdirat(w->type_fd, w->id.id, STORE_DIR_MODE) != 0 && errno != EEXIST)
            return fail(err, ERR_IO, "create %s", path);
        CLEANUP(fd_cleanup) int fd = -1;
        enum status status = open_dir(w->type_fd, w->id.id, path, &fd, err);
        struct stat st;
        if (status == ERR_NOT_FOUND && fstatat(w->type_fd, w->id.id, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue; /* an aborted backup took its group away again */
        if (status == ERR_NOT_FOUND)
            return fail(err, ERR_FORMAT, "%s: not a directory", path);
        TRY(status);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK)
                return fail(err, ERR_LOCKED, "another backup of group %s/%s is running: %s is locked", w->id.type,
                            w->id.id, path);
            return fail(err, ERR_IO, "lock %s", path);
        }
        if (!same_directory(fd, w->type_fd, w->id.id))
            continue; /* locked, but it is no longer the one with that name */
        w->group_fd = fd_take(&fd);
        return sync ? sync_dir(w->type_fd, path, err) : OK;
    }
    return fail(err, ERR_LOCKED, "%s: comes and goes, other backups of this group are being started", path);
}

static void dir_cleanup(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static enum status group_is_bare(int group_fd, const char *path, bool *out, struct error *err)
{
    int fd = openat(group_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(dir_cleanup) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        fd_cleanup(&fd);
        return fail(err, ERR_IO, "read directory %s", path);
    }
    *out = true;
    for (const struct dirent *entry; *out && (entry = readdir(dir)) != NULL;)
        *out = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
               strcmp(entry->d_name, OWNER_TEMPORARY) == 0;
    return OK;
}

/* A group has an owner, or it is one that we or a killed process just made. */
static enum status check_owner(struct store_writer *w, struct error *err)
{
    struct snapshot_id group = w->id;
    group.time = 0;
    char path[STORED_PATH_MAX];
    stored_path(w->store, &group, path);
    struct buffer owner = BUFFER_INIT(OWNER_SIZE_MAX);
    enum status status = read_whole(w->group_fd, "owner", O_NOFOLLOW, OWNER_SIZE_MAX, path, &owner, err);
    bool valid = status == OK && owner_is_valid((const char *)owner.data, owner.size);
    buffer_deinit(&owner);
    if (status == ERR_NOT_FOUND) {
        bool bare;
        TRY(group_is_bare(w->group_fd, path, &bare, err));
        if (!bare)
            return fail(err, ERR_FORMAT, "%s/owner is missing: no backup into this group", path);
        if (unlinkat(w->group_fd, OWNER_TEMPORARY, 0) != 0 && errno != ENOENT)
            return fail(err, ERR_IO, "remove %s/" OWNER_TEMPORARY, path);
        w->made_group = true;
        return write_renamed(w->group_fd, OWNER_TEMPORARY, "owner", (const uint8_t *)OWNER_TEXT, strlen(OWNER_TEXT),
                             w->store->sync == SYNC_FILE, path, err);
    }
    TRY(status);
    if (!valid)
        return fail(err, ERR_FORMAT, "%s/owner is empty or no user name like root@pam: no backup into this group",
                    path);
    return OK;
}

/* ---- earlier snapshots ---- */

/* Whether the snapshot's manifest says that its verification failed. Whoever uses the snapshot reads the manifest again
 * and reports what is wrong with it; here an unreadable one is not a failed verification. */
static bool verification_failed(int snapshot_fd, const char *path)
{
    struct buffer blob = BUFFER_INIT(MANIFEST_SIZE_MAX + BLOB_ENCRYPTED_HEADER_SIZE);
    struct buffer text = BUFFER_INIT(MANIFEST_SIZE_MAX);
    struct blob_context *context = NULL;
    struct manifest manifest = {0};
    struct error ignored = {0};
    bool failed = read_whole(snapshot_fd, MANIFEST_NAME, O_NOFOLLOW, blob.limit, path, &blob, &ignored) == OK &&
                  blob_context_new(&context, &ignored) == OK &&
                  blob_open(context, blob.data, blob.size, MANIFEST_SIZE_MAX, path, &text, &ignored) == OK &&
                  manifest_parse(text.data, text.size, path, &manifest, &ignored) == OK &&
                  manifest_verify_failed(&manifest);
    manifest_deinit(&manifest);
    blob_context_free(context);
    buffer_deinit(&text);
    buffer_deinit(&blob);
    return failed;
}

/* Takes the newest finished snapshot as previous one, if it may serve, and holds it. */
static enum status hold_previous(struct store_writer *w, const struct snapshot_times *finished, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE], previous_text[SNAPSHOT_TEXT_SIZE], path[STORED_PATH_MAX];
    if (finished->count == 0)
        return OK;
    struct snapshot_id previous = w->id;
    previous.time = finished->items[finished->count - 1];
    snapshot_id_text(&w->id, text);
    snapshot_id_text(&previous, previous_text);
    stored_path(w->store, &previous, path);
    const char *name = strrchr(previous_text, '/') + 1;
    CLEANUP(fd_cleanup) int fd = -1;
    TRY(open_dir(w->group_fd, name, path, &fd, err));
    if (verification_failed(fd, path)) {
        log_warning("the last verification of snapshot %s failed: it is not used as reference", previous_text);
        return OK; /* nor does it keep an older time from being used */
    }
    if (w->id.time <= previous.time)
        return fail(err, ERR_EXISTS, "snapshot %s cannot be made: it is not newer than the group's last one, %s", text,
                    previous_text);
    if (flock(fd, LOCK_SH | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return fail(err, ERR_LOCKED, "the last snapshot, %s, is locked: it is being removed", previous_text);
        return fail(err, ERR_IO, "lock %s", path);
    }
    if (!is_finished(fd))
        return fail(err, ERR_LOCKED, "the last snapshot, %s, was removed just now", previous_text);
    w->previous = previous;
    w->previous_fd = fd_take(&fd);
    w->has_previous = true;
    return OK;
}

static enum status remove_unheld(struct store_writer *w, const struct snapshot_times *unfinished, struct error *err)
{
    for (size_t i = 0; i < unfinished->count; i++) {
        struct snapshot_id id = w->id;
        id.time = unfinished->items[i];
        char text[SNAPSHOT_TEXT_SIZE], path[STORED_PATH_MAX];
        snapshot_id_text(&id, text);
        const char *name = strrchr(text, '/') + 1;
        CLEANUP(fd_cleanup) int fd = openat(w->group_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 || is_finished(fd))
            continue;
        TRY(remove_tree(w->group_fd, name, stored_path(w->store, &id, path), err));
        log_info("removed snapshot %s, which was abandoned unfinished", text);
    }
    return OK;
}

enum status local_remove_abandoned(struct store_writer *w, struct error *err)
{
    struct snapshot_id group = w->id;
    group.time = 0;
    char path[STORED_PATH_MAX];
    CLEANUP(snapshot_times_deinit) struct snapshot_times unfinished = {0};
    TRY(group_times(w->group_fd, stored_path(w->store, &group, path), false, &unfinished, err));
    size_t kept = 0;
    for (size_t i = 0; i < unfinished.count; i++)
        if (unfinished.items[i] != w->id.time)
            unfinished.items[kept++] = unfinished.items[i];
    unfinished.count = kept;
    return remove_unheld(w, &unfinished, err);
}

static enum status prepare_group(struct store_writer *w, struct error *err)
{
    struct snapshot_id group = w->id;
    group.time = 0;
    char path[STORED_PATH_MAX];
    stored_path(w->store, &group, path);
    TRY(check_owner(w, err));

    CLEANUP(snapshot_times_deinit) struct snapshot_times finished = {0};
    CLEANUP(snapshot_times_deinit) struct snapshot_times unfinished = {0};
    TRY(group_times(w->group_fd, path, true, &finished, err));
    TRY(group_times(w->group_fd, path, false, &unfinished, err));
    TRY(hold_previous(w, &finished, err));
    return remove_unheld(w, &unfinished, err);
}

/* ---- the new snapshot ---- */

enum status local_make_snapshot(struct store_writer *w, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE];
    const char *name = strrchr(snapshot_id_text(&w->id, text), '/') + 1;
    if (mkdirat(w->group_fd, name, STORE_DIR_MODE) != 0) {
        if (errno == EEXIST)
            return fail(err, ERR_EXISTS, "snapshot %s is there already", text);
        return fail(err, ERR_IO, "create %s", w->path);
    }
    w->made_snapshot = true;
    TRY(open_dir(w->group_fd, name, w->path, &w->snapshot_fd, err));
    if (flock(w->snapshot_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return fail(err, ERR_LOCKED, "new snapshot %s is locked by somebody else", text);
        return fail(err, ERR_IO, "lock %s", w->path);
    }
    return OK;
}

/* ---- content ---- */

static enum status put_chunk(struct store_writer *w, const struct store_chunk *chunk, bool *out_new, struct error *err)
{
    return local_put_chunk(w->store, chunk->digest, chunk->blob->data, chunk->blob->size, out_new, err);
}

static enum status replace_chunk(struct store_writer *w, const struct store_chunk *chunk, struct error *err)
{
    return local_replace_chunk(w->store, chunk->digest, chunk->blob->data, chunk->blob->size, err);
}

static enum status put_blob(struct store_writer *w, const char *name, const uint8_t *blob, size_t size,
                            struct error *err)
{
    TRY(stored_name_check(name, err));
    if (strcmp(name, MANIFEST_NAME) == 0 || strcmp(name + strlen(name) - strlen(".blob"), ".blob") != 0)
        return fail(err, ERR_USAGE, "'%s' is not the name of a blob", name);
    struct stat st;
    if (fstatat(w->snapshot_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return fail(err, ERR_EXISTS, "%s/%s is there already", w->path, name);
    char temporary[TEMPORARY_NAME_MAX];
    TRY(temporary_name(name, ".tmp_", temporary, err));
    return write_renamed(w->snapshot_fd, temporary, name, blob, size, w->store->sync == SYNC_FILE, w->path, err);
}

/* ---- end ---- */

static enum status sync_filesystem(int fd, const char *path, struct error *err)
{
    if (syncfs(fd) != 0)
        return fail(err, ERR_IO, "sync the filesystem of %s", path);
    return OK;
}

/* Everything that the manifest will name is on disk before it is written. */
static enum status sync_before(struct store_writer *w, struct error *err)
{
    if (w->store->sync == SYNC_NONE)
        return OK;
    if (w->store->sync == SYNC_FILE) {
        TRY(sync_dir(w->snapshot_fd, w->path, err));
        return sync_dir(w->group_fd, w->path, err);
    }
    TRY(sync_filesystem(w->snapshot_fd, w->path, err));
    struct stat snapshot, chunks;
    if (fstat(w->snapshot_fd, &snapshot) != 0 || fstat(w->store->chunks_fd, &chunks) != 0)
        return fail(err, ERR_IO, "stat %s", w->path);
    if (snapshot.st_dev == chunks.st_dev)
        return OK;
    return sync_filesystem(w->store->chunks_fd, w->store->path, err);
}

enum status local_write_manifest(struct store_writer *w, const uint8_t *manifest_blob, size_t size, struct error *err)
{
    bool sync = w->store->sync != SYNC_NONE;
    char temporary[TEMPORARY_NAME_MAX];
    TRY(sync_before(w, err));
    TRY(temporary_name(MANIFEST_NAME, ".tmp_", temporary, err));
    TRY(write_renamed(w->snapshot_fd, temporary, MANIFEST_NAME, manifest_blob, size, sync, w->path, err));
    return sync ? sync_dir(w->snapshot_fd, w->path, err) : OK;
}

static void writer_free(struct store_writer *w)
{
    ASSERT(atomic_load(&w->open_indexes) == 0);
    /* The group last: whoever gets it finds everything done. */
    fd_cleanup(&w->previous_fd);
    fd_cleanup(&w->snapshot_fd);
    fd_cleanup(&w->group_fd);
    fd_cleanup(&w->type_fd);
    free(w);
}

static void abandon(struct store_writer *w)
{
    struct error err = {0};
    char text[SNAPSHOT_TEXT_SIZE];
    const char *name = strrchr(snapshot_id_text(&w->id, text), '/') + 1;
    if (w->made_snapshot && remove_tree(w->group_fd, name, w->path, &err) != OK)
        log_warning("the unfinished snapshot is not wholly removed: %s", err.text);
    /* Still locked, so nobody else has put anything into it. */
    if (w->made_group)
        unlinkat(w->group_fd, "owner", 0); /* if that fails, the next call says it */
    if (w->made_group && unlinkat(w->type_fd, w->id.id, AT_REMOVEDIR) != 0) {
        struct snapshot_id group = w->id;
        group.time = 0;
        log_warning("group %s could not be removed again: %s", snapshot_id_text(&group, text), strerror(errno));
    }
    writer_free(w);
}

static enum status finish(struct store_writer *w, const uint8_t *manifest_blob, size_t size, struct error *err)
{
    ASSERT(atomic_load(&w->open_indexes) == 0);
    enum status status = local_write_manifest(w, manifest_blob, size, err);
    if (status != OK)
        abandon(w);
    else
        writer_free(w);
    return status;
}

/* ---- begin ---- */

static bool previous(const struct store_writer *w, struct snapshot_id *out)
{
    if (w->has_previous)
        *out = w->previous;
    return w->has_previous;
}

static enum status previous_open(struct store_writer *w, bool wants_chunks UNUSED, struct store_reader **out,
                                 struct error *err)
{
    return local_reader_open(w->store, &w->previous, out, err);
}

enum status local_writer_new(struct store *s, const struct snapshot_id *id, struct store_writer **out,
                             struct error *err)
{
    static const struct writer_ops ops = {.previous = previous,
                                          .previous_open = previous_open,
                                          .put_chunk = put_chunk,
                                          .replace_chunk = replace_chunk,
                                          .index_begin = local_index_begin,
                                          .fixed_index_begin = local_fixed_index_begin,
                                          .put_blob = put_blob,
                                          .finish = finish,
                                          .abort = abandon};
    struct store_writer *w = calloc(1, sizeof *w);
    if (!w)
        return fail(err, ERR_MEMORY, "out of memory for a backup");
    w->head.ops = &ops;
    w->store = s;
    w->id = *id;
    w->type_fd = w->group_fd = w->snapshot_fd = w->previous_fd = -1;
    stored_path(s, id, w->path);
    *out = w;
    return OK;
}

enum status local_begin_backup(struct store *s, const struct snapshot_id *id, struct store_writer **out,
                               struct error *err)
{
    struct store_writer *w;
    TRY(local_writer_new(s, id, &w, err));
    enum status status = local_lock_group(w, true, err);
    if (status == OK)
        status = prepare_group(w, err);
    if (status == OK)
        status = local_make_snapshot(w, err);
    if (status != OK) {
        abandon(w);
        return status;
    }
    *out = w;
    return OK;
}
