#include "tree/extract.h"

#include "base/buffer.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum {
    LEVELS_OPEN_MAX = 16, /* descriptors of directories above the current one, besides the root */
    LEVELS_MAX = 1 << 16, /* the archive's own limit on depth is lower */
    HOLE_SIZE = 4096,
};

/* One directory that was entered and not left. */
struct level {
    char *name;
    int fd; /* -1: closed to save descriptors, reached again through ".." of the next level; or not made yet */
    dev_t device;
    ino_t inode;
    struct attributes attributes;
};

/*  levels[0]      [1] [2] ... [oldest_open] ... [made-1]      [made] ... [count-1]
 *  root, open     closed      open, at most LEVELS_OPEN_MAX   announced only         */
struct extractor {
    struct extract_options options;
    struct attr_not_applied not_applied;
    struct level *levels;
    size_t count, capacity;
    size_t made;        /* >= 1 */
    size_t oldest_open; /* >= 1 */
    bool finished;
    struct {
        int fd; /* -1: no file is open */
        char *name;
        struct attributes attributes;
        uint64_t size;    /* announced */
        uint64_t done;    /* received */
        uint64_t written; /* end of the last part that was really written */
    } file;
};

static void fd_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* Where entries go. */
static struct level *top(struct extractor *x)
{
    ASSERT(x->made == x->count);
    return &x->levels[x->count - 1];
}

enum { PATH_TEXT_SIZE = 8192 };

/* "/a/b/name" for the human, below the first `count` levels; names from an archive may hold control characters. Keeps
 * errno. */
static const char *shown_below(const struct extractor *x, size_t count, const char *name, char out[LOG_PATH_MAX])
{
    int reason = errno;
    char path[PATH_TEXT_SIZE];
    size_t size = 0;
    for (size_t i = 1; i <= count; i++) {
        const char *part = i < count ? x->levels[i].name : name;
        if (!part)
            continue;
        size_t part_size = strlen(part);
        if (part_size + 2 > sizeof path - size)
            break;
        path[size++] = '/';
        memcpy(path + size, part, part_size);
        size += part_size;
    }
    if (size == 0)
        path[size++] = '/';
    path[size] = '\0';
    log_path(path, out);
    errno = reason;
    return out;
}

static const char *shown(const struct extractor *x, const char *name, char out[LOG_PATH_MAX])
{
    return shown_below(x, x->count, name, out);
}

/* The decoder has checked names as well; a path that leaves the target must pass two gates. */
static enum status check_name(const struct extractor *x, const char *name, struct error *err)
{
    if (name[0] != '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !strchr(name, '/'))
        return OK;
    char place[LOG_PATH_MAX], text[LOG_PATH_MAX];
    return fail(err, ERR_FORMAT, "%s: \"%.300s\" cannot be the name of an entry", shown(x, NULL, place),
                log_path(name, text));
}

static enum status exists(const char *place, const char *why, struct error *err)
{
    enum status status = fail(err, ERR_EXISTS, "%s: %s", place, why);
    if (err)
        err->errnum = EEXIST;
    return status;
}

static enum status cannot(const struct extractor *x, const char *name, const char *what, struct error *err)
{
    char place[LOG_PATH_MAX];
    shown(x, name, place);
    return fail(err, ERR_IO, "%s: cannot %s", place, what);
}

static enum status apply(struct extractor *x, int fd, enum attr_apply_to to, const struct attributes *a,
                         const char *name, struct error *err)
{
    char place[LOG_PATH_MAX];
    enum status status = attr_apply(fd, to, a, &x->options.apply, &x->not_applied, err);
    if (status != OK && err)
        return fail_within(err, "%s", shown(x, name, place));
    return status;
}

/* They are the target's affair (a quota, compression), as with the reference, but the tree will not be the stored one.
 */
static void say_inherited_flags(int fd, const char *target)
{
    const int inherited = FS_SYNC_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_COMPR_FL | FS_NOCOMP_FL | FS_DIRSYNC_FL |
                          FS_NOCOW_FL | FS_PROJINHERIT_FL;
    int flags = 0;
    char text[LOG_PATH_MAX];
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & inherited))
        log_warning("warning: %s has chattr flags that new files inherit: those stored without any will have them",
                    log_path(target, text));
}

enum status extractor_new(const char *target, const struct extract_options *options, struct extractor **out,
                          struct error *err)
{
    if (mkdir(target, 0700) && errno != EEXIST)
        return fail(err, ERR_IO, "%s: cannot create target directory", target);
    CLEANUP(fd_close) int fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return fail(err, ERR_IO, "%s: cannot open target directory", target);
    struct stat st;
    if (fstat(fd, &st))
        return fail(err, ERR_IO, "%s: cannot stat target directory", target);
    say_inherited_flags(fd, target);
    struct extractor *x = calloc(1, sizeof *x);
    if (!x)
        return fail(err, ERR_MEMORY, "out of memory for an extractor");
    void *levels = NULL;
    if (array_grow(&levels, 0, &x->capacity, sizeof *x->levels, LEVELS_MAX, "nested directories", err) != OK) {
        free(x);
        return ERR_MEMORY;
    }
    x->levels = levels;
    x->levels[0] = (struct level){.fd = take_fd(&fd), .device = st.st_dev, .inode = st.st_ino};
    x->count = 1;
    x->made = 1;
    x->oldest_open = 1;
    x->options = *options;
    x->file.fd = -1;
    *out = x;
    return OK;
}

static void level_deinit(struct level *l)
{
    if (l->fd >= 0)
        close(l->fd);
    free(l->name);
    attributes_deinit(&l->attributes);
}

static void file_reset(struct extractor *x)
{
    if (x->file.fd >= 0)
        close(x->file.fd);
    free(x->file.name);
    attributes_deinit(&x->file.attributes);
    memset(&x->file, 0, sizeof x->file);
    x->file.fd = -1;
}

void extractor_free(struct extractor *x)
{
    if (!x)
        return;
    file_reset(x);
    for (size_t i = 0; i < x->count; i++)
        level_deinit(&x->levels[i]);
    free(x->levels);
    free(x);
}

const struct attr_not_applied *extractor_not_applied(const struct extractor *x)
{
    return &x->not_applied;
}

/* ---- directories ---- */

size_t extractor_depth(const struct extractor *x)
{
    return x->count - 1;
}

size_t extractor_pending(const struct extractor *x)
{
    return x->count - x->made;
}

enum status extract_directory_announce(struct extractor *x, const char *name, const struct attributes *a,
                                       struct error *err)
{
    ASSERT(x->file.fd < 0 && !x->finished);
    TRY(check_name(x, name, err));
    void *levels = x->levels;
    enum status status =
        array_grow(&levels, x->count, &x->capacity, sizeof *x->levels, LEVELS_MAX, "nested directories", err);
    x->levels = levels;
    TRY(status);

    CLEANUP(level_deinit) struct level next = {.fd = -1};
    TRY(attributes_copy(a, &next.attributes, err));
    next.name = strdup(name);
    if (!next.name)
        return fail(err, ERR_MEMORY, "out of memory for a name");
    x->levels[x->count++] = next;
    next = (struct level){.fd = -1};
    return OK;
}

/* Never follows a symlink, whoever put it there: an earlier entry of the archive or somebody else. */
static enum status make_and_open(struct extractor *x, struct level *next, struct error *err)
{
    char text[LOG_PATH_MAX];
    int parent = x->levels[x->made - 1].fd;
#define PLACE shown_below(x, x->made, next->name, text)
    bool made = mkdirat(parent, next->name, 0700) == 0;
    if (!made && errno != EEXIST)
        return fail(err, ERR_IO, "%s: cannot create directory", PLACE);
    if (!made && !x->options.allow_existing_dirs)
        return exists(PLACE, "exists already", err);
    CLEANUP(fd_close) int fd = openat(parent, next->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
        return exists(PLACE, "exists already and is not a directory", err);
    if (fd < 0)
        return fail(err, ERR_IO, "%s: cannot open directory", PLACE);
    struct stat st;
    if (fstat(fd, &st))
        return fail(err, ERR_IO, "%s: cannot stat directory", PLACE);
#undef PLACE
    next->fd = take_fd(&fd);
    next->device = st.st_dev;
    next->inode = st.st_ino;
    return OK;
}

enum status extract_pending(struct extractor *x, struct error *err)
{
    ASSERT(x->file.fd < 0 && !x->finished);
    while (x->made < x->count) {
        enum status status = make_and_open(x, &x->levels[x->made], err);
        if (status != OK) {
            while (x->count > x->made)
                level_deinit(&x->levels[--x->count]);
            return status;
        }
        x->made++;
        if (x->made - x->oldest_open > LEVELS_OPEN_MAX) {
            struct level *oldest = &x->levels[x->oldest_open++];
            close(take_fd(&oldest->fd));
        }
    }
    return OK;
}

enum status extract_directory_begin(struct extractor *x, const char *name, const struct attributes *a,
                                    struct error *err)
{
    TRY(extract_directory_announce(x, name, a, err));
    return extract_pending(x, err);
}

/* Opens the level above the top again. ".." of a directory that was moved meanwhile is another one: refused. */
static enum status reopen_parent(struct extractor *x, struct error *err)
{
    struct level *parent = &x->levels[x->count - 2];
    if (parent->fd >= 0)
        return OK;
    CLEANUP(fd_close) int fd = openat(top(x)->fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return cannot(x, NULL, "open the directory above again", err);
    struct stat st;
    if (fstat(fd, &st))
        return cannot(x, NULL, "stat the directory above again", err);
    char place[LOG_PATH_MAX];
    if (st.st_dev != parent->device || st.st_ino != parent->inode)
        return fail(err, ERR_MISMATCH, "%s: the directory was moved while it was being restored",
                    shown(x, NULL, place));
    parent->fd = take_fd(&fd);
    x->oldest_open = x->count - 2;
    return OK;
}

enum status extract_directory_end(struct extractor *x, struct error *err)
{
    ASSERT(x->file.fd < 0 && !x->finished && x->count > 1);
    enum status status = OK;
    if (x->made == x->count) {
        /* The parent first: the attributes may take away the right to pass through. */
        TRY(reopen_parent(x, err));
        status = apply(x, top(x)->fd, APPLY_TO_OPEN_FILE, &top(x)->attributes, NULL, err);
        x->made--;
    }
    level_deinit(&x->levels[--x->count]);
    return status;
}

enum status extract_finish(struct extractor *x, const struct attributes *root, struct error *err)
{
    ASSERT(x->file.fd < 0 && !x->finished && x->count == 1);
    x->finished = true;
    return apply(x, x->levels[0].fd, APPLY_TO_OPEN_FILE, root, NULL, err);
}

/* ---- what may be there already ---- */

/* Removes what stands in the way of `name`. OK: try again. */
static enum status make_room(struct extractor *x, const char *name, bool overwrite, struct error *err)
{
    char place[LOG_PATH_MAX];
    if (!overwrite)
        return exists(shown(x, name, place), "exists already", err);
    if (unlinkat(top(x)->fd, name, 0) == 0 || errno == ENOENT)
        return OK;
    struct stat st;
    int reason = errno;
    if (fstatat(top(x)->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return exists(shown(x, name, place), "exists already and is a directory", err);
    errno = reason;
    return cannot(x, name, "remove what exists already", err);
}

/* ---- regular files ---- */

enum status extract_file_begin(struct extractor *x, const char *name, const struct attributes *a, uint64_t size,
                               struct error *err)
{
    ASSERT(x->file.fd < 0 && !x->finished);
    TRY(check_name(x, name, err));
    char place[LOG_PATH_MAX];
    if (size > INT64_MAX)
        return fail(err, ERR_LIMIT, "%s: a file of %" PRIu64 " bytes is larger than any can be", shown(x, name, place),
                    size);
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;
    CLEANUP(fd_close) int fd = openat(top(x)->fd, name, flags, 0600);
    if (fd < 0 && errno == EEXIST) {
        TRY(make_room(x, name, x->options.overwrite_files, err));
        fd = openat(top(x)->fd, name, flags, 0600);
    }
    if (fd < 0)
        return cannot(x, name, "create file", err);
    if (attr_apply_early_flags(fd, a, &x->not_applied, err) != OK)
        return fail_within(err, "%s", shown(x, name, place));
    x->file.name = strdup(name);
    if (!x->file.name)
        return fail(err, ERR_MEMORY, "out of memory for a name");
    enum status status = attributes_copy(a, &x->file.attributes, err);
    if (status != OK) {
        file_reset(x);
        return status;
    }
    x->file.fd = take_fd(&fd);
    x->file.size = size;
    return OK;
}

void extract_file_abandon(struct extractor *x)
{
    file_reset(x);
}

static bool is_zero(const uint8_t *data, size_t size)
{
    return data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

static enum status write_at(struct extractor *x, const uint8_t *data, size_t size, uint64_t offset, struct error *err)
{
    while (size > 0) {
        ssize_t done = pwrite(x->file.fd, data, size, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return cannot(x, x->file.name, "write file", err);
        data += done;
        size -= (size_t)done;
        offset += (size_t)done;
        x->file.written = offset;
    }
    return OK;
}

enum status extract_file_data(struct extractor *x, const uint8_t *data, size_t size, struct error *err)
{
    ASSERT(x->file.fd >= 0);
    char place[LOG_PATH_MAX];
    if (size > x->file.size - x->file.done)
        return fail(err, ERR_MISMATCH, "%s: more data than the file's %" PRIu64 " bytes", shown(x, x->file.name, place),
                    x->file.size);
    /* Blocks are those of the file, whatever the parts it comes in. The piece of a block at either end of a part is
     * judged alone: leaving out zeros is always right, the file being new. */
    size_t run = 0; /* start of what has to be written */
    for (size_t at = 0; at < size;) {
        size_t block = HOLE_SIZE - (size_t)((x->file.done + at) % HOLE_SIZE);
        if (block > size - at)
            block = size - at;
        if (is_zero(data + at, block)) {
            TRY(write_at(x, data + run, at - run, x->file.done + run, err));
            run = at + block;
        }
        at += block;
    }
    TRY(write_at(x, data + run, size - run, x->file.done + run, err));
    x->file.done += size;
    return OK;
}

static enum status file_complete(struct extractor *x, struct error *err)
{
    char place[LOG_PATH_MAX];
    if (x->file.done != x->file.size)
        return fail(err, ERR_MISMATCH, "%s: extracted %" PRIu64 " bytes of a file of %" PRIu64 " bytes",
                    shown(x, x->file.name, place), x->file.done, x->file.size);
    if (x->file.written < x->file.size && ftruncate(x->file.fd, (off_t)x->file.size))
        return cannot(x, x->file.name, "extend file over the hole at its end", err);
    TRY(apply(x, x->file.fd, APPLY_TO_OPEN_FILE, &x->file.attributes, x->file.name, err));
    if (close(take_fd(&x->file.fd)))
        return cannot(x, x->file.name, "close file", err);
    return OK;
}

enum status extract_file_end(struct extractor *x, struct error *err)
{
    ASSERT(x->file.fd >= 0);
    enum status status = file_complete(x, err);
    file_reset(x);
    return status;
}

/* ---- everything else ---- */

/* Attributes of what was just made. In a directory that others may write to, it could have been exchanged for a link
 * to a file of somebody else: that must not be given away. */
static enum status apply_to_made(struct extractor *x, const char *name, const struct attributes *a, mode_t type,
                                 struct error *err)
{
    CLEANUP(fd_close) int fd = openat(top(x)->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return cannot(x, name, "open what was just created", err);
    struct stat st;
    if (fstat(fd, &st))
        return cannot(x, name, "stat what was just created", err);
    char place[LOG_PATH_MAX];
    if ((st.st_mode & S_IFMT) != type || st.st_nlink > 1)
        return fail(err, ERR_MISMATCH, "%s: was replaced while it was being restored", shown(x, name, place));
    return apply(x, fd, APPLY_TO_PATH_FD, a, name, err);
}

enum status extract_symlink(struct extractor *x, const char *name, const struct attributes *a, const char *target,
                            struct error *err)
{
    ASSERT(x->file.fd < 0 && !x->finished);
    TRY(check_name(x, name, err));
    int failed = symlinkat(target, top(x)->fd, name);
    if (failed && errno == EEXIST) {
        TRY(make_room(x, name, x->options.overwrite_symlinks, err));
        failed = symlinkat(target, top(x)->fd, name);
    }
    if (failed)
        return cannot(x, name, "create symlink", err);
    return apply_to_made(x, name, a, S_IFLNK, err);
}

enum status extract_node(struct extractor *x, const char *name, const struct attributes *a, uint64_t major,
                         uint64_t minor, struct error *err)
{
    ASSERT(x->file.fd < 0 && !x->finished);
    TRY(check_name(x, name, err));
    char place[LOG_PATH_MAX];
    mode_t type = (mode_t)(a->stat.mode & S_IFMT);
    bool device = S_ISCHR(type) || S_ISBLK(type);
    if (!device && !S_ISFIFO(type) && !S_ISSOCK(type))
        return fail(err, ERR_FORMAT, "%s: mode 0%o is neither of a device nor of a fifo or socket",
                    shown(x, name, place), (unsigned)a->stat.mode);
    if (major > UINT32_MAX || minor > UINT32_MAX)
        return fail(err, ERR_FORMAT, "%s: %" PRIu64 ":%" PRIu64 " is no device number", shown(x, name, place), major,
                    minor);
    dev_t number = device ? makedev((unsigned)major, (unsigned)minor) : 0;
    if (mknodat(top(x)->fd, name, type | 0600, number)) {
        if (errno == EEXIST)
            return exists(shown(x, name, place), "exists already", err);
        return cannot(x, name, device ? "create device node" : "create fifo or socket", err);
    }
    return apply_to_made(x, name, a, type, err);
}

/* The directory of a hardlink's target, entered one component at a time from the root; `*path` ends at its last one.
 * O_PATH, for a directory that was left may not be readable any more. */
static enum status open_beneath(struct extractor *x, const char *name, const char **path, int *out_fd,
                                struct error *err)
{
    char place[LOG_PATH_MAX], text[LOG_PATH_MAX], part_text[LOG_PATH_MAX];
    CLEANUP(fd_close) int fd = -1;
    const char *whole = *path;
    for (const char *part = whole;;) {
        size_t size = strcspn(part, "/");
        char component[256];
        if (size == 0 || size >= sizeof component || (size == 1 && part[0] == '.') ||
            (size == 2 && part[0] == '.' && part[1] == '.'))
            return fail(err, ERR_FORMAT, "%s: \"%.300s\" cannot be the target of a hardlink", shown(x, name, place),
                        log_path(whole, text));
        if (part[size] == '\0') {
            *path = part;
            *out_fd = take_fd(&fd);
            return OK;
        }
        memcpy(component, part, size);
        component[size] = '\0';
        int next = openat(fd >= 0 ? fd : x->levels[0].fd, component, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0 && (errno == ENOTDIR || errno == ELOOP))
            return fail(err, ERR_FORMAT,
                        "%s: target \"%.300s\" of the hardlink leads through \"%.300s\", which is not "
                        "a directory of the archive",
                        shown(x, name, place), log_path(whole, text), log_path(component, part_text));
        if (next < 0) {
            shown(x, name, place);
            log_path(whole, text);
            return fail(err, ERR_IO, "%s: cannot reach target \"%.300s\" of the hardlink", place, text);
        }
        fd_close(&fd);
        fd = next;
        part += size + 1;
    }
}

/* A file that was made immutable or append-only when it was complete cannot get another name. Only of the very file
 * that was looked at: `from` and `name` are looked up again. */
static bool lift_flags(int from, const char *name, const struct stat *target, int *out_fd, int *out_flags)
{
    CLEANUP(fd_close) int fd = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    int flags;
    if (fd < 0 || fstat(fd, &st) || st.st_dev != target->st_dev || st.st_ino != target->st_ino)
        return false;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) || !(flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)))
        return false;
    int lifted = flags & ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
    if (ioctl(fd, FS_IOC_SETFLAGS, &lifted))
        return false;
    *out_fd = take_fd(&fd);
    *out_flags = flags;
    return true;
}

/* linkat, also for targets that are immutable or append-only. -1 with errno. */
static int make_link(struct extractor *x, int from, const char *last, const struct stat *target, const char *name)
{
    int failed = linkat(from, last, top(x)->fd, name, 0);
    if (!failed || errno != EPERM)
        return failed;
    CLEANUP(fd_close) int fd = -1;
    int flags;
    if (!lift_flags(from, last, target, &fd, &flags)) {
        errno = EPERM;
        return -1;
    }
    failed = linkat(from, last, top(x)->fd, name, 0);
    int reason = errno;
    if (ioctl(fd, FS_IOC_SETFLAGS, &flags))
        return -1;
    errno = reason;
    return failed;
}

enum status extract_hardlink(struct extractor *x, const char *name, const char *target_path, struct error *err)
{
    ASSERT(x->file.fd < 0 && !x->finished);
    TRY(check_name(x, name, err));
    const char *last = target_path;
    CLEANUP(fd_close) int opened = -1;
    TRY(open_beneath(x, name, &last, &opened, err));
    int from = opened >= 0 ? opened : x->levels[0].fd;

    char place[LOG_PATH_MAX], text[LOG_PATH_MAX];
    shown(x, name, place);
    struct stat target;
    if (fstatat(from, last, &target, AT_SYMLINK_NOFOLLOW))
        return fail(err, ERR_IO, "%s: cannot find target \"%.300s\" of the hardlink", place,
                    log_path(target_path, text));
    if (!S_ISREG(target.st_mode))
        return fail(err, ERR_FORMAT, "%s: target \"%.300s\" of the hardlink is not a regular file", place,
                    log_path(target_path, text));
    int failed = make_link(x, from, last, &target, name);
    if (failed && errno == EEXIST) {
        bool overwrite = x->options.overwrite_hardlinks;
        struct stat present;
        /* Linked already. Removing it first would lose the file if it is its own target. */
        if (overwrite && fstatat(top(x)->fd, name, &present, AT_SYMLINK_NOFOLLOW) == 0 &&
            present.st_dev == target.st_dev && present.st_ino == target.st_ino)
            return OK;
        TRY(make_room(x, name, overwrite, err));
        failed = make_link(x, from, last, &target, name);
    }
    if (failed)
        return fail(err, ERR_IO, "%s: cannot create hardlink to \"%.300s\"", place, log_path(target_path, text));
    return OK;
}
