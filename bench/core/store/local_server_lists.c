#include "store/local_server_lists.h"

#include "store/local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { NAMES_MAX = 1 << 20, NAMESPACE_DEPTH_MAX = 7 };

/* ---- names in a directory ---- */

struct name {
    char text[NAMESPACE_MAX + 1];
};

struct names {
    struct name *items;
    size_t count, capacity;
};

static void names_deinit(struct names *n)
{
    free(n->items);
    *n = (struct names){0};
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

struct names_wanted {
    bool (*accept)(const char *name);
    struct names *out;
};

static enum status add_name(void *context, int dir_fd UNUSED, const char *name, struct error *err)
{
    const struct names_wanted *wanted = context;
    struct names *out = wanted->out;
    size_t size = strlen(name);
    if (size > NAMESPACE_MAX || !wanted->accept(name))
        return OK;
    void *items = out->items;
    TRY(array_grow(&items, out->count, &out->capacity, sizeof *out->items, NAMES_MAX, "names in a directory", err));
    out->items = items;
    memcpy(out->items[out->count++].text, name, size + 1);
    return OK;
}

/* The names that `accept` accepts, sorted; hidden ones never. */
static enum status read_names(int dir_fd, const char *path, bool (*accept)(const char *name), struct names *out,
                              struct error *err)
{
    struct names_wanted wanted = {accept, out};
    TRY(local_each_entry(dir_fd, path, add_name, &wanted, err));
    if (out->count > 1)
        qsort(out->items, out->count, sizeof *out->items, compare_names);
    return OK;
}

/* ---- groups ---- */

static bool is_backup_id(const char *name)
{
    struct snapshot_id group = {.type = "host"};
    struct error ignored;
    size_t size = strlen(name);
    if (size > BACKUP_ID_MAX)
        return false;
    memcpy(group.id, name, size + 1);
    return snapshot_group_check(&group, &ignored) == OK;
}

/* A text of one line: without what follows its first newline. NULL when the file is not there, is too long, or no text.
 */
static const char *read_line(int dir_fd, const char *name, const char *path, struct buffer *out)
{
    struct error ignored;
    if (read_whole(dir_fd, name, O_NOFOLLOW, out->limit - 1, path, out, &ignored) != OK ||
        buffer_append_u8(out, '\0', &ignored) != OK)
        return NULL;
    char *text = (char *)out->data;
    if (strlen(text) + 1 != out->size)
        return NULL;
    text[strcspn(text, "\n")] = '\0';
    return text[0] ? text : NULL;
}

static const char *read_owner(int group_fd, const char *path, struct buffer *out)
{
    const char *owner = read_line(group_fd, "owner", path, out);
    return owner && strlen(owner) < STORED_OWNER_SIZE && owner_is_valid(owner, strlen(owner)) ? owner : NULL;
}

/* Unfinished ones first: what gets finished between the two looks is seen by the second and counts once. */
static enum status all_times(int group_fd, const char *path, struct snapshot_times *out, struct error *err)
{
    CLEANUP(snapshot_times_deinit) struct snapshot_times unfinished = {0};
    CLEANUP(snapshot_times_deinit) struct snapshot_times finished = {0};
    TRY(group_times(group_fd, path, false, &unfinished, err));
    TRY(group_times(group_fd, path, true, &finished, err));
    for (size_t i = 0, j = 0; i < unfinished.count || j < finished.count;) {
        bool first = j == finished.count || (i < unfinished.count && unfinished.items[i] < finished.items[j]);
        int64_t time = first ? unfinished.items[i++] : finished.items[j++];
        if (out->count > 0 && out->items[out->count - 1] == time)
            continue;
        void *items = out->items;
        TRY(array_grow(&items, out->count, &out->capacity, sizeof *out->items, SNAPSHOTS_MAX, "snapshots", err));
        out->items = items;
        out->items[out->count++] = time;
    }
    return OK;
}

static enum status visit_group(struct store *s, int type_fd, const struct snapshot_id *id, stored_group_visit *visit,
                               void *context, struct error *err)
{
    char path[STORED_PATH_MAX];
    stored_path(s, id, path);
    CLEANUP(fd_cleanup) int fd = -1;
    enum status status = open_dir(type_fd, id->id, path, &fd, err);
    if (status == ERR_NOT_FOUND)
        return OK; /* a file, or gone meanwhile */
    TRY(status);
    CLEANUP(buffer_deinit) struct buffer owner = BUFFER_INIT(STORED_OWNER_SIZE + 2);
    CLEANUP(buffer_deinit) struct buffer notes = BUFFER_INIT(STORED_NOTES_MAX);
    CLEANUP(snapshot_times_deinit) struct snapshot_times times = {0};
    TRY(all_times(fd, path, &times, err));
    struct stored_group group = {
        .id = *id,
        .owner = read_owner(fd, path, &owner),
        .comment = read_line(fd, "notes", path, &notes),
        .times = times.items,
        .count = times.count,
    };
    return visit(context, &group, err);
}

static enum status visit_type(struct store *s, int ns_fd, const struct snapshot_id *place, stored_group_visit *visit,
                              void *context, struct error *err)
{
    char path[STORED_PATH_MAX];
    CLEANUP(fd_cleanup) int fd = -1;
    enum status status = open_dir(ns_fd, place->type, stored_path(s, place, path), &fd, err);
    if (status == ERR_NOT_FOUND)
        return OK;
    TRY(status);
    if (place->id[0])
        return visit_group(s, fd, place, visit, context, err);
    CLEANUP(names_deinit) struct names names = {0};
    TRY(read_names(fd, path, is_backup_id, &names, err));
    for (size_t i = 0; i < names.count; i++) {
        struct snapshot_id group = *place;
        memcpy(group.id, names.items[i].text, strlen(names.items[i].text) + 1);
        TRY(visit_group(s, fd, &group, visit, context, err));
    }
    return OK;
}

enum status local_each_group(struct store *s, const char *ns, const char *type, const char *id,
                             stored_group_visit *visit, void *context, struct error *err)
{
    static const char *const types[] = {"ct", "host", "vm"}; /* sorted */
    struct snapshot_id place = {0};
    TRY(snapshot_namespace_check(ns, err));
    memcpy(place.ns, ns, strlen(ns) + 1);
    if (id && !is_backup_id(id))
        return fail(err, ERR_USAGE, "'%.80s' is no backup id", id);
    if (id)
        memcpy(place.id, id, strlen(id) + 1);
    CLEANUP(fd_cleanup) int ns_fd = -1;
    TRY(open_namespace(s, ns, false, &ns_fd, err));
    bool any = false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (type && strcmp(type, types[i]) != 0)
            continue;
        any = true;
        memcpy(place.type, types[i], strlen(types[i]) + 1);
        TRY(visit_type(s, ns_fd, &place, visit, context, err));
    }
    return any ? OK : fail(err, ERR_USAGE, "'%.80s' is no backup type", type);
}

static enum status open_group(struct store *s, const struct snapshot_id *id, int *out, struct error *err)
{
    char path[STORED_PATH_MAX];
    struct snapshot_id group = *id;
    group.time = 0;
    TRY(snapshot_group_check(&group, err));
    stored_path(s, &group, path);
    CLEANUP(fd_cleanup) int ns_fd = -1;
    CLEANUP(fd_cleanup) int type_fd = -1;
    TRY(open_namespace(s, id->ns, false, &ns_fd, err));
    TRY(open_dir(ns_fd, id->type, path, &type_fd, err));
    return open_dir(type_fd, id->id, path, out, err);
}

enum status local_owner(struct store *s, const struct snapshot_id *group, char out[STORED_OWNER_SIZE],
                        struct error *err)
{
    CLEANUP(fd_cleanup) int fd = -1;
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(STORED_OWNER_SIZE + 2);
    TRY(open_group(s, group, &fd, err));
    const char *owner = read_owner(fd, s->path, &text);
    if (!owner)
        return fail(err, ERR_FORMAT, "group %s/%s has no owner: its owner file is missing or no user name", group->type,
                    group->id);
    memcpy(out, owner, strlen(owner) + 1);
    return OK;
}

/* ---- one snapshot ---- */

static enum status open_snapshot_dir(struct store *s, const struct snapshot_id *id, char path[STORED_PATH_MAX],
                                     int *out, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE];
    TRY(snapshot_id_check(id, err));
    snapshot_id_text(id, text);
    stored_path(s, id, path);
    CLEANUP(fd_cleanup) int group_fd = -1;
    enum status status = open_group(s, id, &group_fd, err);
    if (status == OK)
        status = open_dir(group_fd, strrchr(text, '/') + 1, path, out, err);
    if (status == ERR_NOT_FOUND)
        fail_within_text(err, "no such snapshot, %s", text);
    return status;
}

void stored_files_deinit(struct stored_files *files)
{
    free(files->items);
    *files = (struct stored_files){0};
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct stored_file *)a)->name, ((const struct stored_file *)b)->name);
}

static enum status add_file(void *context, int dir_fd, const char *name, struct error *err)
{
    struct stored_files *out = context;
    struct stat st;
    struct error ignored;
    size_t size = strlen(name);
    if (size >= STORED_FILE_NAME_SIZE || stored_name_check(name, &ignored) != OK ||
        fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return OK;
    void *items = out->items;
    TRY(array_grow(&items, out->count, &out->capacity, sizeof *out->items, STORED_FILES_MAX, "files of a snapshot",
                   err));
    out->items = items;
    struct stored_file *file = &out->items[out->count++];
    memcpy(file->name, name, size + 1);
    file->size = (uint64_t)st.st_size;
    return OK;
}

static enum status read_files(int dir_fd, const char *path, struct stored_files *out, struct error *err)
{
    struct stat st;
    TRY(local_each_entry(dir_fd, path, add_file, out, err));
    if (out->count > 1)
        qsort(out->items, out->count, sizeof *out->items, compare_files);
    out->is_finished = is_finished(dir_fd);
    out->is_protected = fstatat(dir_fd, ".protected", &st, AT_SYMLINK_NOFOLLOW) == 0;
    return OK;
}

enum status local_files(struct store *s, const struct snapshot_id *id, struct stored_files *out, struct error *err)
{
    char path[STORED_PATH_MAX];
    *out = (struct stored_files){0};
    CLEANUP(fd_cleanup) int fd = -1;
    TRY(open_snapshot_dir(s, id, path, &fd, err));
    enum status status = read_files(fd, path, out, err);
    if (status != OK)
        stored_files_deinit(out);
    return status;
}

enum status local_open_file(struct store *s, const struct snapshot_id *id, const char *name, int *out_fd,
                            uint64_t *out_size, struct error *err)
{
    char path[STORED_PATH_MAX];
    TRY(stored_name_check(name, err));
    CLEANUP(fd_cleanup) int dir_fd = -1;
    TRY(open_snapshot_dir(s, id, path, &dir_fd, err));
    if (!is_finished(dir_fd))
        return fail(err, ERR_NOT_FOUND, "%s has no manifest: it is not finished", path);
    CLEANUP(fd_cleanup)
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return fail(err, ERR_NOT_FOUND, "%s/%s: no such file", path, name);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return errno == ELOOP || errno == ENXIO ? fail(err, ERR_FORMAT, "%s/%s: not a regular file", path, name)
                                                : fail(err, ERR_IO, "open %s/%s", path, name);
    if (!S_ISREG(st.st_mode))
        return fail(err, ERR_FORMAT, "%s/%s: not a regular file", path, name);
    *out_fd = fd_take(&fd);
    *out_size = (uint64_t)st.st_size;
    return OK;
}

enum status local_usage(struct store *s, struct store_usage *out, struct error *err)
{
    struct statvfs st;
    if (fstatvfs(s->root_fd, &st) != 0)
        return fail(err, ERR_IO, "statvfs %s", s->path);
    *out = (struct store_usage){
        .total = (uint64_t)st.f_blocks * st.f_frsize,
        .used = (uint64_t)(st.f_blocks - st.f_bfree) * st.f_frsize,
        .available = (uint64_t)st.f_bavail * st.f_frsize,
    };
    return OK;
}

/* ---- namespaces ---- */

static bool is_namespace_component(const char *name)
{
    struct error ignored;
    return *name != '\0' && !strchr(name, '/') && snapshot_namespace_check(name, &ignored) == OK;
}

static enum status visit_below(struct store *s, const char *ns, unsigned depth_left, stored_namespace_visit *visit,
                               void *context, struct error *err)
{
    TRY(visit(context, ns, err));
    if (depth_left == 0)
        return OK;
    CLEANUP(fd_cleanup) int ns_fd = -1;
    CLEANUP(fd_cleanup) int fd = -1;
    enum status status = open_namespace(s, ns, false, &ns_fd, err);
    if (status == OK)
        status = open_dir(ns_fd, "ns", s->path, &fd, err);
    if (status == ERR_NOT_FOUND)
        return OK; /* nothing below, or gone meanwhile */
    TRY(status);
    CLEANUP(names_deinit) struct names names = {0};
    TRY(read_names(fd, s->path, is_namespace_component, &names, err));
    for (size_t i = 0; i < names.count; i++) {
        char below[2 * NAMESPACE_MAX + 2];
        struct stat st;
        struct error ignored;
        snprintf(below, sizeof below, "%.*s%s%s", NAMESPACE_MAX, ns, *ns ? "/" : "", names.items[i].text);
        if (snapshot_namespace_check(below, &ignored) != OK ||
            fstatat(fd, names.items[i].text, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode))
            continue; /* too long or too deep for anybody to name it */
        TRY(visit_below(s, below, depth_left - 1, visit, context, err));
    }
    return OK;
}

enum status local_each_namespace(struct store *s, const char *parent, unsigned depth_max, stored_namespace_visit *visit,
                                 void *context, struct error *err)
{
    CLEANUP(fd_cleanup) int fd = -1;
    TRY(open_namespace(s, parent, false, &fd, err));
    return visit_below(s, parent, depth_max < NAMESPACE_DEPTH_MAX ? depth_max : NAMESPACE_DEPTH_MAX, visit, context,
                       err);
}
