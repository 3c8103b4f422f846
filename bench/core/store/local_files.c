/* Small steps on files and directories: whole or not at all, and never through a link. */
#include "store/local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { REMOVE_DEPTH_MAX = 16 };

void fd_cleanup(int *fd)
{
    int saved_errno = errno;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = saved_errno;
}

bool write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0) {
            if (errno == EINTR)
                continue;
            return false;
        }
        if (written == 0) {
            errno = EIO; /* a file that takes nothing and gives no reason would keep us here for ever */
            return false;
        }
        data += written;
        size -= (size_t)written;
    }
    return true;
}

enum status open_regular(int dir_fd, const char *name, int flags, const char *path, int *out_fd, uint64_t *out_size,
                         struct error *err)
{
    /* O_NONBLOCK: opening a FIFO waits for a writer otherwise. It changes nothing for regular files. */
    CLEANUP(fd_cleanup) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags);
    if (fd < 0 && errno == ENOENT)
        return fail(err, ERR_NOT_FOUND, "%s/%s: no such file", path, name);
    if (fd < 0 && (errno == ELOOP || errno == ENXIO))
        return fail(err, ERR_FORMAT, "%s/%s: not a regular file", path, name);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return fail(err, ERR_IO, "open %s/%s", path, name);
    if (!S_ISREG(st.st_mode))
        return fail(err, ERR_FORMAT, "%s/%s: not a regular file", path, name);
    *out_size = (uint64_t)st.st_size;
    *out_fd = fd_take(&fd);
    return OK;
}

enum status read_whole(int dir_fd, const char *name, int flags, size_t size_max, const char *path, struct buffer *out,
                       struct error *err)
{
    buffer_clear(out);
    int opened;
    uint64_t size;
    TRY(open_regular(dir_fd, name, flags, path, &opened, &size, err));
    CLEANUP(fd_cleanup) int fd = opened;
    if (size > size_max)
        return fail(err, ERR_LIMIT, "%s/%s: size %" PRIu64 ", at most %zu are allowed", path, name, size, size_max);
    TRY(buffer_reserve(out, (size_t)size, err));
    /* As much as there was when we looked: a file that grows behind our back stays within size_max. */
    while (out->size < (size_t)size) {
        ssize_t got = read(fd, out->data + out->size, (size_t)size - out->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(err, ERR_IO, "read %s/%s at offset %zu", path, name, out->size);
        if (got == 0)
            return fail(err, ERR_FORMAT, "%s/%s: ends at offset %zu while it is read, its size was %" PRIu64, path,
                        name, out->size, size);
        out->size += (size_t)got;
    }
    return OK;
}

enum status write_renamed(int dir_fd, const char *temporary, const char *name, const uint8_t *data, size_t size,
                          bool sync, const char *path, struct error *err)
{
    CLEANUP(fd_cleanup)
    int fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, STORE_FILE_MODE);
    if (fd < 0)
        return fail(err, ERR_IO, "create %s/%s", path, temporary);
    /* close() may be the first to tell of a full disk or quota. */
    bool written = write_all(fd, data, size) && (!sync || fsync(fd) == 0) && close(fd_take(&fd)) == 0;
    if (!written || renameat(dir_fd, temporary, dir_fd, name) != 0) {
        fail_text(err, ERR_IO, "write %s/%s", path, name);
        unlinkat(dir_fd, temporary, 0);
        return ERR_IO;
    }
    return OK;
}

enum status sync_dir(int fd, const char *path, struct error *err)
{
    if (fsync(fd) != 0 && errno != EINVAL && errno != EROFS)
        return fail(err, ERR_IO, "sync directory %s", path);
    return OK;
}

enum status open_dir(int dir_fd, const char *name, const char *path, int *out, struct error *err)
{
    *out = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (*out >= 0)
        return OK;
    if (errno == ENOENT)
        return fail(err, ERR_NOT_FOUND, "%s: no such directory", path);
    if (errno == ENOTDIR || errno == ELOOP)
        return fail(err, ERR_NOT_FOUND, "%s: not a directory", path);
    return fail(err, ERR_IO, "open directory %s", path);
}

static void dir_cleanup(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

enum status local_each_entry(int dir_fd, const char *path, local_entry_visit *visit, void *context, struct error *err)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(dir_cleanup) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        fail_text(err, ERR_IO, "read directory %s", path);
        fd_cleanup(&fd);
        return ERR_IO;
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry)
            return errno ? fail(err, ERR_IO, "read directory %s", path) : OK;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            TRY(visit(context, dir_fd, entry->d_name, err));
    }
}

static enum status remove_tree_within(int dir_fd, const char *name, const char *path, int depth, struct error *err)
{
    if (depth > REMOVE_DEPTH_MAX)
        return fail(err, ERR_LIMIT, "%s: directories deeper than %d are not removed", path, REMOVE_DEPTH_MAX);
    CLEANUP(fd_cleanup) int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? OK : fail(err, ERR_IO, "remove %s", path);
    /* Without its manifest the snapshot is gone for everyone, however far we get with the rest. */
    if (depth == 0 && unlinkat(fd, MANIFEST_NAME, 0) != 0 && errno != ENOENT && errno != EISDIR && errno != EPERM)
        return fail(err, ERR_IO, "remove %s/" MANIFEST_NAME, path);
    CLEANUP(dir_cleanup) DIR *dir = fdopendir(fd);
    if (!dir)
        return fail(err, ERR_IO, "read directory %s", path);
    int entries_fd = fd_take(&fd); /* closed with `dir` */
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry && errno)
            return fail(err, ERR_IO, "read directory %s", path);
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(entries_fd, entry->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM)
            return fail(err, ERR_IO, "remove %s/%s", path, entry->d_name);
        TRY(remove_tree_within(entries_fd, entry->d_name, path, depth + 1, err));
    }
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return fail(err, ERR_IO, "remove %s", path);
    return OK;
}

enum status remove_tree(int dir_fd, const char *name, const char *path, struct error *err)
{
    return remove_tree_within(dir_fd, name, path, 0, err);
}

enum status temporary_name(const char *name, const char *suffix, char out[TEMPORARY_NAME_MAX], struct error *err)
{
    static const char letters[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    uint8_t random[6];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return fail(err, ERR_IO, "random bytes for a temporary name");
    char tail[sizeof random + 1] = {0};
    for (size_t i = 0; i < sizeof random; i++)
        tail[i] = letters[random[i] % 64];
    int size = snprintf(out, TEMPORARY_NAME_MAX, "%s%s%s", name, suffix, tail);
    if (size < 0 || size >= TEMPORARY_NAME_MAX)
        return fail(err, ERR_LIMIT, "%.80s: name is too long", name);
    return OK;
}
