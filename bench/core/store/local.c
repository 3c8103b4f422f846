/* The datastore directory itself: made, opened, locked; and where things are in it. */
#include "store/local.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/local_server_changes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Under this name until all of its 65,536 directories are there. */
#define CHUNKS_UNFINISHED ".chunks.tmp"

enum { STORED_NAME_SIZE_MAX = 200, CREATE_ATTEMPTS_MAX = 1000 };

/* ---- making ---- */

static void dir_cleanup(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

enum status local_look_inside(int root_fd, const char *path, enum contents *out, struct error *err)
{
    struct stat st;
    if (fstatat(root_fd, ".chunks", &st, 0) == 0 && S_ISDIR(st.st_mode)) {
        *out = HAS_CHUNKS;
        return OK;
    }
    int fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(dir_cleanup) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        fd_cleanup(&fd);
        return fail(err, ERR_IO, "read directory %s", path);
    }
    *out = HAS_NOTHING;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *name = entry->d_name;
        /* The root of a fresh ext4 is as good as empty. */
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "lost+found") == 0)
            continue;
        if (strcmp(name, ".lock") == 0 || strcmp(name, CHUNKS_UNFINISHED) == 0) {
            *out = HAS_UNFINISHED;
            continue;
        }
        *out = HAS_OTHER;
        return OK;
    }
    return OK;
}

/* Open file description locks: unlike record locks they are not dropped when another descriptor of the file is closed
 * somewhere in the process, and unlike flock they conflict with a server's record locks. */
static int set_lock(int fd, int command, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
    for (;;) {
        int result = fcntl(fd, command, &lock);
        if (result == 0 || errno != EINTR)
            return result;
    }
}

/* Called with .lock exclusively locked. Finishes what a killed process left. The rename at the end makes the datastore
 * appear whole or not at all. */
static enum status make_chunk_dirs(struct store *s, struct error *err)
{
    int root_fd = s->root_fd;
    const char *path = s->path;
    if (mkdirat(root_fd, CHUNKS_UNFINISHED, CHUNK_DIR_MODE) != 0 && errno != EEXIST)
        return fail(err, ERR_IO, "create %s/" CHUNKS_UNFINISHED, path);
    CLEANUP(fd_cleanup) int fd = -1;
    char chunks_path[STORED_PATH_MAX];
    snprintf(chunks_path, sizeof chunks_path, "%.500s/" CHUNKS_UNFINISHED, path);
    TRY(open_dir(root_fd, CHUNKS_UNFINISHED, chunks_path, &fd, err));
    for (unsigned i = 0; i < CHUNK_DIR_COUNT; i++) {
        char name[8];
        snprintf(name, sizeof name, "%04x", i);
        if (mkdirat(fd, name, CHUNK_DIR_MODE) != 0 && errno != EEXIST)
            return fail(err, ERR_IO, "create %s/%s", chunks_path, name);
        if (progress_due())
            progress_update("creating datastore %s: %u of %d chunk directories", path, i, CHUNK_DIR_COUNT);
    }
    progress_end();
    if (s->sync == SYNC_FILE) /* with SYNC_FILESYSTEM the first finished backup syncs this as well */
        TRY(sync_dir(fd, chunks_path, err));
    if (renameat(root_fd, CHUNKS_UNFINISHED, root_fd, ".chunks") != 0)
        return fail(err, ERR_IO, "rename %s to %s/.chunks", chunks_path, path);
    return s->sync == SYNC_FILE ? sync_dir(root_fd, path, err) : OK;
}

/* Two processes may want the same new datastore. One gets the exclusive lock and makes it; whoever comes then waits for
 * a shared lock and finds it made. The exclusive lock is never waited for: a finished creator keeps a shared one for
 * as long as its backup runs. Returns with a shared lock. */
static enum status make_locked(struct store *s, struct error *err)
{
    for (int attempt = 0; attempt < CREATE_ATTEMPTS_MAX; attempt++) {
        if (set_lock(s->lock_fd, F_OFD_SETLK, F_WRLCK) == 0) {
            enum contents contents;
            TRY(local_look_inside(s->root_fd, s->path, &contents, err));
            if (contents != HAS_CHUNKS) {
                TRY(make_chunk_dirs(s, err));
                log_info("created datastore %s", s->path);
            }
        } else if (errno != EAGAIN && errno != EACCES) {
            return fail(err, ERR_IO, "lock %s/.lock", s->path);
        }
        if (set_lock(s->lock_fd, F_OFD_SETLKW, F_RDLCK) != 0)
            return fail(err, ERR_IO, "lock %s/.lock", s->path);
        struct stat st;
        if (fstatat(s->root_fd, ".chunks", &st, 0) == 0)
            return OK;
        /* The creator died, and others want to follow it as we do: let go so that one of us can. */
        if (set_lock(s->lock_fd, F_OFD_SETLK, F_UNLCK) != 0)
            return fail(err, ERR_IO, "unlock %s/.lock", s->path);
        const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
        nanosleep(&pause, NULL);
    }
    return fail(err, ERR_LOCKED, "%s: other processes are creating this datastore and do not get ready", s->path);
}

/* ---- opening ---- */

static enum status open_lock(struct store *s, bool create, struct error *err)
{
    int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    if (create) {
        /* For writing: an exclusive lock needs it. */
        s->lock_fd = openat(s->root_fd, ".lock", (flags & ~O_ACCMODE) | O_RDWR | O_CREAT, STORE_FILE_MODE);
        if (s->lock_fd < 0)
            return fail(err, ERR_IO, "open %s/.lock", s->path);
    } else {
        s->lock_fd = openat(s->root_fd, ".lock", flags);
        /* A copy of a datastore, or a medium that cannot be written: nothing will be collected there either. */
        if (s->lock_fd < 0 && errno == ENOENT)
            return OK;
        if (s->lock_fd < 0)
            return fail(err, ERR_IO, "open %s/.lock", s->path);
    }
    struct stat st;
    if (fstat(s->lock_fd, &st) != 0)
        return fail(err, ERR_IO, "open %s/.lock", s->path);
    if (!S_ISREG(st.st_mode))
        return fail(err, ERR_NOT_ARCHIVE, "%s/.lock is not a regular file: this is no datastore", s->path);
    return OK;
}

static enum status open_root(struct store *s, bool create, struct error *err)
{
    s->root_fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->root_fd < 0 && errno == ENOENT && create) {
        if (mkdir(s->path, STORE_DIR_MODE) != 0 && errno != EEXIST)
            return fail(err, ERR_IO, "create %s", s->path);
        s->root_fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (s->root_fd >= 0)
        return OK;
    if (errno == ENOENT)
        return fail(err, ERR_NOT_FOUND, "%s: no such datastore", s->path);
    if (errno == ENOTDIR)
        return fail(err, ERR_NOT_ARCHIVE, "%s is not a directory: this is no datastore", s->path);
    return fail(err, ERR_IO, "open %s", s->path);
}

static enum status open_store(struct store *s, const struct store_options *options, struct error *err)
{
    TRY(open_root(s, options->create, err));
    enum contents contents;
    TRY(local_look_inside(s->root_fd, s->path, &contents, err));
    if (contents == HAS_OTHER)
        return fail(err, ERR_NOT_ARCHIVE, "%s is neither empty nor a datastore: it has no directory .chunks", s->path);
    if (contents == HAS_NOTHING && !options->create)
        return fail(err, ERR_NOT_FOUND, "%s: no such datastore, the directory is empty", s->path);
    if (contents == HAS_UNFINISHED && !options->create)
        return fail(err, ERR_NOT_FOUND,
                    "%s: this datastore is still being created, or that was interrupted; the next "
                    "backup completes it",
                    s->path);
    TRY(open_lock(s, options->create, err));
    if (contents != HAS_CHUNKS) {
        TRY(make_locked(s, err));
    } else if (s->lock_fd >= 0 && set_lock(s->lock_fd, F_OFD_SETLK, F_RDLCK) != 0) {
        if (errno == EAGAIN || errno == EACCES)
            return fail(err, ERR_LOCKED, "%s: the datastore is locked by another process, such as a garbage collection",
                        s->path);
        return fail(err, ERR_IO, "lock %s/.lock", s->path);
    }
    /* Links are followed: moving the chunks to another disk this way is common. */
    s->chunks_fd = openat(s->root_fd, ".chunks", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->chunks_fd < 0)
        return fail(err, ERR_IO, "open %s/.chunks", s->path);
    return OK;
}

static void close_store(struct store *s)
{
    fd_cleanup(&s->chunks_fd);
    fd_cleanup(&s->lock_fd); /* the last descriptor takes the lock with it */
    fd_cleanup(&s->root_fd);
    pthread_mutex_destroy(&s->insert_lock);
    free(s->path);
    free(s);
}

enum status local_open(const char *repository, const struct store_options *options, struct store **out,
                       struct error *err)
{
    static const struct store_ops ops = {.close = close_store,
                                         .list = local_list,
                                         .forget = local_remove_snapshot,
                                         .begin = local_begin_backup,
                                         .reader_open = local_reader_open};
    *out = NULL;
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "out of memory for a datastore");
    *s = (struct store){.head = {&ops, options->key}, .root_fd = -1, .lock_fd = -1, .chunks_fd = -1};
    s->sync = options->sync;
    int failed = pthread_mutex_init(&s->insert_lock, NULL);
    ASSERT(failed == 0);
    s->path = strdup(repository);
    enum status status = s->path ? open_store(s, options, err) : fail(err, ERR_MEMORY, "out of memory for a path");
    if (status != OK) {
        close_store(s);
        return status;
    }
    *out = s;
    return OK;
}

/* ---- places ---- */

const char *stored_path(const struct store *s, const struct snapshot_id *id, char out[STORED_PATH_MAX])
{
    size_t used = (size_t)snprintf(out, STORED_PATH_MAX, "%.500s", s->path);
    if (used >= STORED_PATH_MAX)
        used = STORED_PATH_MAX - 1;
    for (const char *component = id->ns; *component;) {
        size_t size = strcspn(component, "/");
        used += (size_t)snprintf(out + used, STORED_PATH_MAX - used, "/ns/%.*s", (int)size, component);
        component += component[size] ? size + 1 : size;
    }
    if (id->type[0]) {
        char text[SNAPSHOT_TEXT_SIZE];
        snprintf(out + used, STORED_PATH_MAX - used, "/%s", snapshot_id_text(id, text));
    }
    return out;
}

static enum status enter(int *fd, const char *name, bool create, bool sync, const char *path, struct error *err)
{
    CLEANUP(fd_cleanup) int parent = fd_take(fd);
    if (create) {
        if (mkdirat(parent, name, STORE_DIR_MODE) == 0) {
            if (sync)
                TRY(sync_dir(parent, path, err));
        } else if (errno != EEXIST) {
            return fail(err, ERR_IO, "create %s in %s", name, path);
        }
    }
    return open_dir(parent, name, path, fd, err);
}

enum status open_namespace(struct store *s, const char *ns, bool create, int *out, struct error *err)
{
    TRY(snapshot_namespace_check(ns, err));
    struct snapshot_id place = {0};
    memcpy(place.ns, ns, strlen(ns) + 1); /* checked: it fits */
    char path[STORED_PATH_MAX];
    stored_path(s, &place, path);
    CLEANUP(fd_cleanup) int fd = openat(s->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, ERR_IO, "open %s", s->path);
    for (const char *component = ns; *component;) {
        char name[NAMESPACE_MAX + 1];
        size_t size = strcspn(component, "/");
        memcpy(name, component, size);
        name[size] = '\0';
        bool sync = s->sync == SYNC_FILE;
        TRY(enter(&fd, "ns", create, sync, path, err));
        TRY(enter(&fd, name, create, sync, path, err));
        component += component[size] ? size + 1 : size;
    }
    *out = fd_take(&fd);
    return OK;
}

void chunk_name(const struct digest *digest, char out[CHUNK_NAME_SIZE])
{
    digest_text(digest, out + 5);
    memcpy(out, out + 5, 4);
    out[4] = '/';
}

bool is_finished(int dir_fd)
{
    struct stat st;
    return fstatat(dir_fd, MANIFEST_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

static bool ends_with(const char *name, const char *extension)
{
    size_t size = strlen(name);
    size_t extension_size = strlen(extension);
    return size > extension_size && strcmp(name + size - extension_size, extension) == 0;
}

enum status stored_name_check(const char *name, struct error *err)
{
    bool good = strlen(name) <= STORED_NAME_SIZE_MAX && name[0] != '.' && name[0] != '-' &&
                (ends_with(name, ".didx") || ends_with(name, ".fidx") || ends_with(name, ".blob"));
    for (const char *c = name; *c && good; c++)
        good = (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || strchr("._-", *c);
    if (!good)
        return fail(err, ERR_USAGE,
                    "'%.200s' is not the name of a stored file: letters, digits, '_', '.' and '-', ending in .didx, "
                    ".fidx or .blob, at most %d",
                    name, STORED_NAME_SIZE_MAX);
    return OK;
}

bool owner_is_valid(const char *text, size_t size)
{
    if (size == 0)
        return false;
    if (text[size - 1] == '\n')
        size--;
    /* The realm is behind the last '@': a user name may have one. */
    const char *at = memrchr(text, '@', size);
    if (!at || at == text)
        return false;
    for (const char *c = text; c < at; c++)
        if ((unsigned char)*c <= 0x20 || *c == 0x7f || *c == ':' || *c == '/')
            return false;
    const char *end = text + size;
    const char *token = memchr(at, '!', (size_t)(end - at));
    const char *parts[] = {at + 1, token ? token + 1 : NULL};
    const char *ends[] = {token ? token : end, end};
    for (size_t i = 0; i < 2 && parts[i]; i++) {
        if (parts[i] == ends[i] || *parts[i] == '.' || *parts[i] == '-')
            return false;
        for (const char *c = parts[i]; c < ends[i]; c++)
            if (!((*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_' ||
                  *c == '.' || *c == '-'))
                return false;
    }
    return true;
}

/* ---- snapshots of a group ---- */

void snapshot_times_deinit(struct snapshot_times *times)
{
    free(times->items);
    *times = (struct snapshot_times){0};
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

struct times_wanted {
    const char *path;
    bool finished;
    struct snapshot_times *out;
};

static enum status add_time(void *context, int group_fd, const char *name, struct error *err)
{
    const struct times_wanted *wanted = context;
    struct snapshot_times *out = wanted->out;
    int64_t time;
    struct stat st;
    if (!time_parse_utc(name, &time))
        return OK;
    CLEANUP(fd_cleanup) int fd = openat(group_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) /* a file of that name, or gone meanwhile */
        return errno == ENOTDIR || errno == ELOOP || errno == ENOENT
                   ? OK
                   : fail(err, ERR_IO, "%s: open %s", wanted->path, name);
    if (wanted->finished) {
        if (!is_finished(fd))
            return OK;
    } else if (fstatat(fd, MANIFEST_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT ||
               fstatat(fd, ".protected", &st, AT_SYMLINK_NOFOLLOW) == 0) {
        return OK; /* these get removed: only what is surely unfinished */
    }
    void *items = out->items;
    TRY(array_grow(&items, out->count, &out->capacity, sizeof *out->items, SNAPSHOTS_MAX, "snapshots", err));
    out->items = items;
    out->items[out->count++] = time;
    return OK;
}

enum status group_times(int group_fd, const char *path, bool finished, struct snapshot_times *out, struct error *err)
{
    struct times_wanted wanted = {path, finished, out};
    *out = (struct snapshot_times){0};
    enum status status = local_each_entry(group_fd, path, add_time, &wanted, err);
    if (status != OK) {
        snapshot_times_deinit(out);
        return status;
    }
    if (out->count > 1)
        qsort(out->items, out->count, sizeof *out->items, compare_times);
    return OK;
}
