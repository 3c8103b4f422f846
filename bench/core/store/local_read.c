/* Finished snapshots: listing and reading. */
#include "store/local.h"

#include "blob/blob.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* ---- listing ---- */

static const char *const types[] = {"ct", "host", "vm"}; /* sorted */

static enum status list_group(struct store *s, int type_fd, const struct snapshot_id *group, size_t *capacity,
                              struct snapshot_list *out, struct error *err)
{
    char path[STORED_PATH_MAX];
    stored_path(s, group, path);
    CLEANUP(fd_cleanup) int fd = -1;
    enum status status = open_dir(type_fd, group->id, path, &fd, err);
    if (status == ERR_NOT_FOUND)
        return OK;
    TRY(status);
    CLEANUP(snapshot_times_deinit) struct snapshot_times times = {0};
    TRY(group_times(fd, path, true, &times, err));
    for (size_t i = 0; i < times.count; i++) {
        void *items = out->items;
        TRY(array_grow(&items, out->count, capacity, sizeof *out->items, SNAPSHOTS_MAX, "snapshots", err));
        out->items = items;
        out->items[out->count] = *group;
        out->items[out->count++].time = times.items[i];
    }
    return OK;
}

static void dir_cleanup(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static enum status list_type(struct store *s, int ns_fd, const struct snapshot_id *place, size_t *capacity,
                             struct snapshot_list *out, struct error *err)
{
    char path[STORED_PATH_MAX];
    CLEANUP(fd_cleanup) int fd = -1;
    enum status status = open_dir(ns_fd, place->type, stored_path(s, place, path), &fd, err);
    if (status == ERR_NOT_FOUND)
        return OK;
    TRY(status);
    if (place->id[0])
        return list_group(s, fd, place, capacity, out, err);

    int entries_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(dir_cleanup) DIR *dir = entries_fd >= 0 ? fdopendir(entries_fd) : NULL;
    if (!dir) {
        fd_cleanup(&entries_fd);
        return fail(err, ERR_IO, "read directory %s", path);
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry)
            return errno ? fail(err, ERR_IO, "read directory %s", path) : OK;
        struct snapshot_id group = *place;
        size_t size = strlen(entry->d_name);
        if (size > BACKUP_ID_MAX)
            continue; /* no name of ours, nor of a server's client */
        memcpy(group.id, entry->d_name, size + 1);
        struct error ignored;
        if (snapshot_group_check(&group, &ignored) == OK)
            TRY(list_group(s, fd, &group, capacity, out, err));
    }
}

enum status local_list(struct store *s, const char *ns, const struct snapshot_id *group, struct snapshot_list *out,
                       struct error *err)
{
    struct snapshot_id place = {0};
    TRY(snapshot_namespace_check(ns, err));
    memcpy(place.ns, ns, strlen(ns) + 1);
    if (group) {
        TRY(snapshot_group_check(group, err));
        memcpy(place.id, group->id, sizeof place.id);
    }
    CLEANUP(fd_cleanup) int ns_fd = -1;
    TRY(open_namespace(s, ns, false, &ns_fd, err));
    size_t capacity = 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (group && strcmp(group->type, types[i]) != 0)
            continue;
        memcpy(place.type, types[i], strlen(types[i]) + 1);
        TRY(list_type(s, ns_fd, &place, &capacity, out, err));
    }
    snapshot_list_sort(out);
    return OK;
}

/* ---- reading ---- */

struct store_reader {
    struct reader_head head;
    struct store *store;
    char path[STORED_PATH_MAX];
    int snapshot_fd; /* share-locked */
};

static enum status open_snapshot(struct store_reader *r, const struct snapshot_id *id, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE];
    snapshot_id_text(id, text);
    CLEANUP(fd_cleanup) int ns_fd = -1;
    CLEANUP(fd_cleanup) int type_fd = -1;
    CLEANUP(fd_cleanup) int group_fd = -1;
    TRY(open_namespace(r->store, id->ns, false, &ns_fd, err));
    TRY(open_dir(ns_fd, id->type, r->path, &type_fd, err));
    TRY(open_dir(type_fd, id->id, r->path, &group_fd, err));
    TRY(open_dir(group_fd, strrchr(text, '/') + 1, r->path, &r->snapshot_fd, err));
    if (!is_finished(r->snapshot_fd))
        return fail(err, ERR_NOT_FOUND, "%s has no manifest: it is not finished", r->path);
    if (flock(r->snapshot_fd, LOCK_SH | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return fail(err, ERR_LOCKED, "snapshot %s is locked: it is being written or removed", text);
        return fail(err, ERR_IO, "lock %s", r->path);
    }
    if (!is_finished(r->snapshot_fd))
        return fail(err, ERR_NOT_FOUND, "%s was removed just now", r->path);
    return OK;
}

static void close_reader(struct store_reader *r)
{
    fd_cleanup(&r->snapshot_fd);
    free(r);
}

static enum status read_file(struct store_reader *r, const char *name, size_t size_max, struct buffer *out,
                             struct error *err)
{
    TRY(stored_name_check(name, err));
    return read_whole(r->snapshot_fd, name, O_NOFOLLOW, size_max, r->path, out, err);
}

static enum status get_chunk(struct store_reader *r, const char *index_name UNUSED, const struct digest *digest,
                             struct buffer *out, struct error *err)
{
    return local_get_chunk(r->store, digest, out, err);
}

static void chunk_path(const struct store_reader *r, const struct digest *digest, char *out, size_t out_size)
{
    char name[CHUNK_NAME_SIZE];
    chunk_name(digest, name);
    snprintf(out, out_size, "%s/.chunks/%s", r->store->path, name);
}

enum status local_reader_open(struct store *s, const struct snapshot_id *id, struct store_reader **out,
                              struct error *err)
{
    static const struct reader_ops ops = {
        .close = close_reader, .read_file = read_file, .get_chunk = get_chunk, .chunk_path = chunk_path};
    struct store_reader *r = calloc(1, sizeof *r);
    if (!r)
        return fail(err, ERR_MEMORY, "out of memory for a reader");
    r->head = (struct reader_head){.ops = &ops, .key = s->head.key};
    r->store = s;
    r->snapshot_fd = -1;
    stored_path(s, id, r->path);
    enum status status = open_snapshot(r, id, err);
    if (status != OK) {
        close_reader(r);
        if (status == ERR_NOT_FOUND) {
            char text[SNAPSHOT_TEXT_SIZE];
            fail_within_text(err, "no such snapshot, %s", snapshot_id_text(id, text));
        }
        return status;
    }
    *out = r;
    return OK;
}
