#include "store/local_server_changes.h"

#include "base/clock.h"
#include "store/local.h"
#include "store/local_server_lists.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* ---- snapshots ---- */

/* The directory of a group. */
static enum status open_group(struct store *s, const struct snapshot_id *id, int *out_type_fd, int *out,
                              struct error *err)
{
    char path[STORED_PATH_MAX];
    struct snapshot_id group = *id;
    group.time = 0;
    stored_path(s, &group, path);
    CLEANUP(fd_cleanup) int ns_fd = -1;
    TRY(open_namespace(s, id->ns, false, &ns_fd, err));
    TRY(open_dir(ns_fd, id->type, path, out_type_fd, err));
    return open_dir(*out_type_fd, id->id, path, out, err);
}

/* Removes a snapshot that nobody holds. */
static enum status remove_from_group(struct store *s, int group_fd, const struct snapshot_id *id, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE], path[STORED_PATH_MAX];
    const char *name = strrchr(snapshot_id_text(id, text), '/') + 1;
    stored_path(s, id, path);
    CLEANUP(fd_cleanup) int fd = -1;
    TRY(open_dir(group_fd, name, path, &fd, err));
    struct stat st;
    if (fstatat(fd, ".protected", &st, AT_SYMLINK_NOFOLLOW) == 0)
        return fail(err, ERR_REFUSED, "snapshot %s is protected and is not removed", text);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return fail(err, ERR_LOCKED, "snapshot %s is locked: it is being written, read, or the base of a backup",
                        text);
        return fail(err, ERR_IO, "lock %s", path);
    }
    return remove_tree(group_fd, name, path, err);
}

enum status local_remove_snapshot(struct store *s, const struct snapshot_id *id, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE];
    CLEANUP(fd_cleanup) int type_fd = -1;
    CLEANUP(fd_cleanup) int group_fd = -1;
    TRY(snapshot_id_check(id, err));
    enum status status = open_group(s, id, &type_fd, &group_fd, err);
    if (status == OK)
        status = remove_from_group(s, group_fd, id, err);
    if (status == ERR_NOT_FOUND)
        fail_within_text(err, "no such snapshot, %s", snapshot_id_text(id, text));
    return status;
}

/* ---- namespaces ---- */

enum status local_make_namespace(struct store *s, const char *parent, const char *name, char out[NAMESPACE_MAX + 1],
                                 struct error *err)
{
    TRY(snapshot_namespace_check(parent, err));
    if (*name == '\0' || strchr(name, '/'))
        return fail(err, ERR_USAGE, "'%.80s' is not the name of one namespace", name);
    size_t parent_size = strlen(parent);
    size_t size = strlen(name);
    if (size > NAMESPACE_MAX - parent_size - (parent_size > 0))
        return fail(err, ERR_USAGE, "namespace %.80s/%.80s is longer than %d characters", parent, name, NAMESPACE_MAX);
    char whole[2 * NAMESPACE_MAX + 2];
    snprintf(whole, sizeof whole, "%s%s%s", parent, *parent ? "/" : "", name);
    TRY(snapshot_namespace_check(whole, err));
    CLEANUP(fd_cleanup) int parent_fd = -1;
    CLEANUP(fd_cleanup) int fd = -1;
    TRY(open_namespace(s, parent, false, &parent_fd, err));
    TRY(open_namespace(s, whole, true, &fd, err));
    memcpy(out, whole, strlen(whole) + 1);
    return OK;
}

/* Namespaces in the order in which they are listed: parents first. */
struct namespaces {
    char (*items)[NAMESPACE_MAX + 1];
    size_t count, capacity;
};

static void namespaces_deinit(struct namespaces *n)
{
    free(n->items);
}

enum { NAMESPACES_MAX = 1 << 16 };

static enum status collect_namespace(void *context, const char *ns, struct error *err)
{
    struct namespaces *all = context;
    void *items = all->items;
    TRY(array_grow(&items, all->count, &all->capacity, sizeof *all->items, NAMESPACES_MAX, "namespaces", err));
    all->items = items;
    memcpy(all->items[all->count++], ns, strlen(ns) + 1);
    return OK;
}

struct group_removal {
    struct store *store;
    bool allowed;
};

struct snapshot_removal {
    struct store *store;
    const struct snapshot_id *group;
};

static enum status remove_entry(void *context, int group_fd, const char *name, struct error *err)
{
    const struct snapshot_removal *r = context;
    struct snapshot_id id = *r->group;
    if (!time_parse_utc(name, &id.time))
        return OK;
    enum status status = remove_from_group(r->store, group_fd, &id, err);
    return status == ERR_NOT_FOUND ? OK : status; /* it is no directory */
}

/* With the group locked nobody begins a backup, and what the listing could not know yet is finished: snapshots are
 * looked for again. What is left in the directory then is its owner and notes. */
static enum status remove_group(void *context, const struct stored_group *group, struct error *err)
{
    const struct group_removal *removal = context;
    struct store *s = removal->store;
    char path[STORED_PATH_MAX];
    if (!removal->allowed)
        return fail(err, ERR_EXISTS, "namespace '%s' has groups, such as %s/%s: it is not removed", group->id.ns,
                    group->id.type, group->id.id);
    CLEANUP(fd_cleanup) int type_fd = -1;
    CLEANUP(fd_cleanup) int group_fd = -1;
    TRY(open_group(s, &group->id, &type_fd, &group_fd, err));
    if (flock(group_fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? fail(err, ERR_LOCKED, "group %s/%s is locked: a backup of it is running",
                                           group->id.type, group->id.id)
                                    : fail(err, ERR_IO, "lock %s", stored_path(s, &group->id, path));
    struct snapshot_removal all = {s, &group->id};
    TRY(local_each_entry(group_fd, stored_path(s, &group->id, path), remove_entry, &all, err));
    return remove_tree(type_fd, group->id.id, stored_path(s, &group->id, path), err);
}

/* The directory of an empty namespace. What is in it and is none of ours keeps it. */
static enum status remove_directory(struct store *s, const char *ns, struct error *err)
{
    static const char *const parts[] = {"ct", "host", "vm", "ns"};
    char parent[NAMESPACE_MAX + 1];
    memcpy(parent, ns, strlen(ns) + 1);
    char *slash = strrchr(parent, '/');
    const char *name = slash ? slash + 1 : ns;
    if (slash)
        *slash = '\0';
    else
        parent[0] = '\0';
    CLEANUP(fd_cleanup) int fd = -1;
    CLEANUP(fd_cleanup) int parent_fd = -1;
    CLEANUP(fd_cleanup) int below_fd = -1;
    TRY(open_namespace(s, ns, false, &fd, err));
    TRY(open_namespace(s, parent, false, &parent_fd, err));
    TRY(open_dir(parent_fd, "ns", s->path, &below_fd, err));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (unlinkat(fd, parts[i], AT_REMOVEDIR) != 0 && errno != ENOENT)
            return fail(err, ERR_IO, "remove %s of namespace '%s'", parts[i], ns);
    if (unlinkat(below_fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return fail(err, ERR_IO, "remove namespace '%s'", ns);
    return OK;
}

enum status local_remove_namespace(struct store *s, const char *ns, bool with_groups, struct error *err)
{
    if (*ns == '\0')
        return fail(err, ERR_USAGE, "the root namespace cannot be removed");
    CLEANUP(namespaces_deinit) struct namespaces all = {0};
    TRY(local_each_namespace(s, ns, UINT32_MAX, collect_namespace, &all, err));
    struct group_removal removal = {s, with_groups};
    for (size_t i = all.count; i-- > 0;)
        TRY(local_each_group(s, all.items[i], NULL, NULL, remove_group, &removal, err));
    for (size_t i = all.count; i-- > 0;)
        TRY(remove_directory(s, all.items[i], err));
    return OK;
}

/* ---- the client's log ---- */

static enum status publish(int dir_fd, const char *temporary, const char *path, struct error *err)
{
    /* Of two uploads at the same time one comes first. */
    if (renameat2(dir_fd, temporary, dir_fd, CLIENT_LOG_NAME, RENAME_NOREPLACE) == 0)
        return OK;
    if (errno == EINVAL) { /* a filesystem that does not know the flag */
        struct stat st;
        if (fstatat(dir_fd, CLIENT_LOG_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0)
            errno = EEXIST;
        else if (renameat(dir_fd, temporary, dir_fd, CLIENT_LOG_NAME) == 0)
            return OK;
    }
    if (errno == EEXIST)
        return fail(err, ERR_EXISTS, "%s/" CLIENT_LOG_NAME " is there already", path);
    return fail(err, ERR_IO, "rename to %s/" CLIENT_LOG_NAME, path);
}

enum status local_put_log(struct store *s, const struct snapshot_id *id, const uint8_t *blob, size_t size,
                          struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE], path[STORED_PATH_MAX], temporary[TEMPORARY_NAME_MAX], whole[TEMPORARY_NAME_MAX];
    CLEANUP(fd_cleanup) int type_fd = -1;
    CLEANUP(fd_cleanup) int group_fd = -1;
    CLEANUP(fd_cleanup) int fd = -1;
    TRY(snapshot_id_check(id, err));
    snapshot_id_text(id, text);
    stored_path(s, id, path);
    enum status status = open_group(s, id, &type_fd, &group_fd, err);
    if (status == OK)
        status = open_dir(group_fd, strrchr(text, '/') + 1, path, &fd, err);
    if (status == OK && !is_finished(fd))
        status = fail(err, ERR_NOT_FOUND, "%s has no manifest: it is not finished", path);
    if (status == ERR_NOT_FOUND)
        fail_within_text(err, "no such snapshot, %s", text);
    TRY(status);
    struct stat st;
    if (fstatat(fd, CLIENT_LOG_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return fail(err, ERR_EXISTS, "%s/" CLIENT_LOG_NAME " is there already", path);
    TRY(temporary_name(CLIENT_LOG_NAME, ".tmp_", temporary, err));
    TRY(temporary_name(CLIENT_LOG_NAME, ".new_", whole, err));
    TRY(write_renamed(fd, temporary, whole, blob, size, s->sync == SYNC_FILE, path, err));
    status = publish(fd, whole, path, err);
    if (status != OK)
        unlinkat(fd, whole, 0);
    return status;
}
