#include "tree/directory.h"

#include "base/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH_CEILING = 1 << 20 }; /* far above what any path can be; the archive's own limit is much lower */

/* Open and unpinned directories hang in the pool's ring, least recently used first. A pinned or closed one is out. */
struct directory {
    struct directories *pool;
    struct directory *parent; /* one reference on it; NULL for a root */
    char *name;
    size_t name_size;
    size_t depth;
    dev_t device;
    ino_t inode;
    atomic_size_t references;
    /* Under the pool's lock: */
    int fd; /* -1: closed to save descriptors */
    size_t pins;
    struct directory *newer, *older;
};

struct directories {
    pthread_mutex_t lock;
    size_t limit;
    atomic_size_t open_count; /* written under the lock; including those about to be opened */
    size_t handles;
    struct directory ring; /* its `newer` is the least recently used, its `older` the most recently used */
};

static void ring_append(struct directories *pool, struct directory *d)
{
    d->newer = &pool->ring;
    d->older = pool->ring.older;
    d->older->newer = d;
    pool->ring.older = d;
}

static void ring_remove(struct directory *d)
{
    d->older->newer = d->newer;
    d->newer->older = d->older;
    d->older = d->newer = NULL;
}

/* False: none is unpinned. */
static bool close_least_recent(struct directories *pool)
{
    struct directory *d = pool->ring.newer;
    if (d == &pool->ring)
        return false;
    ring_remove(d);
    close(d->fd);
    d->fd = -1;
    pool->open_count--;
    return true;
}

static void pin_locked(struct directory *d)
{
    if (d->pins++ == 0)
        ring_remove(d);
}

static void unpin_locked(struct directory *d)
{
    ASSERT(d->pins > 0);
    if (--d->pins > 0)
        return;
    ring_append(d->pool, d);
    if (d->pool->open_count > d->pool->limit)
        close_least_recent(d->pool);
}

/* Counts one more open descriptor, closing others to stay within the limit. When all are pinned the limit gives way:
 * waiting here could wait for the caller itself. */
static void reserve(struct directories *pool)
{
    pthread_mutex_lock(&pool->lock);
    while (pool->open_count >= pool->limit && close_least_recent(pool))
        ;
    pool->open_count++;
    pthread_mutex_unlock(&pool->lock);
}

static void unreserve(struct directories *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->open_count--;
    pthread_mutex_unlock(&pool->lock);
}

/* A reserved descriptor, or -1 with errno. The kernel's own limits are met by closing what nobody uses. */
static int open_at(struct directories *pool, int parent_fd, const char *name, int extra_flags)
{
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOCTTY | extra_flags;
    bool noatime = true;
    reserve(pool);
    for (;;) {
        int fd = openat(parent_fd, name, flags | (noatime ? O_NOATIME : 0));
        if (fd >= 0)
            return fd;
        if (errno == EPERM && noatime) {
            noatime = false; /* only owners may */
            continue;
        }
        if (errno == EINTR)
            continue;
        int reason = errno;
        bool again = false;
        if (reason == EMFILE || reason == ENFILE) {
            pthread_mutex_lock(&pool->lock);
            again = close_least_recent(pool);
            pthread_mutex_unlock(&pool->lock);
        }
        if (again)
            continue;
        unreserve(pool);
        errno = reason;
        return -1;
    }
}

static void close_reserved(struct directories *pool, int fd)
{
    int reason = errno;
    close(fd);
    unreserve(pool);
    errno = reason;
}

enum status directories_new(size_t descriptor_limit, struct directories **out, struct error *err)
{
    struct directories *pool = calloc(1, sizeof *pool);
    if (!pool)
        return fail(err, ERR_MEMORY, "out of memory for the pool of directories");
    pthread_mutex_init(&pool->lock, NULL);
    pool->limit = descriptor_limit;
    pool->ring.newer = pool->ring.older = &pool->ring;
    *out = pool;
    return OK;
}

void directories_free(struct directories *pool)
{
    if (!pool)
        return;
    ASSERT(pool->handles == 0 && pool->open_count == 0);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* Takes the reserved `fd`, also on failure. The handle has one reference and `pins` pins. */
static enum status handle_new(struct directories *pool, struct directory *parent, const char *name, int fd, size_t pins,
                              struct directory **out, struct stat *out_stat, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st)) {
        close_reserved(pool, fd);
        return fail(err, ERR_IO, "cannot stat the open directory");
    }
    struct directory *d = calloc(1, sizeof *d);
    char *copy = strdup(name);
    if (!d || !copy) {
        free(d);
        free(copy);
        close_reserved(pool, fd);
        return fail(err, ERR_MEMORY, "out of memory for a directory handle");
    }
    *d = (struct directory){
        .pool = pool,
        .parent = parent,
        .name = copy,
        .name_size = strlen(copy),
        .depth = parent ? parent->depth + 1 : 0,
        .device = st.st_dev,
        .inode = st.st_ino,
        .fd = fd,
        .pins = pins,
    };
    atomic_init(&d->references, 1);
    if (parent)
        directory_retain(parent);
    pthread_mutex_lock(&pool->lock);
    pool->handles++;
    if (pins == 0)
        ring_append(pool, d);
    pthread_mutex_unlock(&pool->lock);
    if (out_stat)
        *out_stat = st;
    *out = d;
    return OK;
}

static bool is_symlink(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

enum status directory_open_root(struct directories *pool, const char *path, bool no_follow, struct directory **out,
                                struct stat *out_stat, struct error *err)
{
    int fd = open_at(pool, AT_FDCWD, path, no_follow ? O_NOFOLLOW : 0);
    int reason = errno;
    if (fd < 0 && reason == ENOTDIR) {
        /* O_DIRECTORY speaks before O_NOFOLLOW. */
        if (!no_follow || !is_symlink(path))
            return fail(err, ERR_USAGE, "%s: is not a directory", path);
        reason = ELOOP;
    }
    errno = reason;
    if (fd < 0)
        return fail(err, ERR_IO, "%s: cannot open directory", path);
    /* Pinned for life: everything else is opened again from here. */
    enum status status = handle_new(pool, NULL, path, fd, 1, out, out_stat, err);
    return status == OK ? OK : fail_within(err, "%s", path);
}

/* A directory that was there and is not any more. */
static enum status vanished(const struct directory *d, struct error *err)
{
    char path[ERROR_TEXT_MAX / 2];
    directory_path(d, NULL, path, sizeof path);
    enum status status = fail(err, ERR_NOT_FOUND, "%s: directory vanished or was replaced while in use", path);
    if (err)
        err->errnum = ENOENT;
    return status;
}

/* Opens `d`, whose parent is pinned with `parent_fd`, and pins it. */
static enum status reopen_pinned(struct directory *d, int parent_fd, struct error *err)
{
    struct directories *pool = d->pool;
    int fd = open_at(pool, parent_fd, d->name, O_NOFOLLOW);
    if (fd < 0) {
        if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
            return vanished(d, err);
        char path[ERROR_TEXT_MAX / 2];
        directory_path(d, NULL, path, sizeof path); /* keeps errno */
        return fail(err, ERR_IO, "%s: cannot open directory again", path);
    }
    struct stat st;
    if (fstat(fd, &st) || st.st_dev != d->device || st.st_ino != d->inode) {
        close_reserved(pool, fd);
        return vanished(d, err);
    }
    pthread_mutex_lock(&pool->lock);
    bool late = d->fd >= 0; /* another thread was faster */
    if (late) {
        pin_locked(d);
    } else {
        d->fd = fd;
        d->pins = 1;
    }
    pthread_mutex_unlock(&pool->lock);
    if (late)
        close_reserved(pool, fd);
    return OK;
}

/* From the nearest open ancestor down. At most two descriptors are pinned by this at any time. */
static enum status reopen(struct directory *d, int *out_fd, struct error *err)
{
    void *memory = NULL;
    TRY(array_new(d->depth + 1, sizeof(struct directory *), DEPTH_CEILING, "levels of directories", &memory, err));
    struct directory **chain = memory;
    size_t count = 0;
    struct directory *at = d;
    pthread_mutex_lock(&d->pool->lock);
    for (; at->fd < 0; at = at->parent) /* ends: the root is always open */
        chain[count++] = at;
    pin_locked(at);
    int fd = at->fd;
    pthread_mutex_unlock(&d->pool->lock);

    enum status status = OK;
    while (count > 0 && status == OK) {
        struct directory *next = chain[--count];
        status = reopen_pinned(next, fd, err);
        pthread_mutex_lock(&d->pool->lock);
        unpin_locked(at);
        if (status == OK)
            fd = next->fd;
        pthread_mutex_unlock(&d->pool->lock);
        at = next;
    }
    free(memory);
    *out_fd = fd;
    return status;
}

enum status directory_pin(struct directory *d, int *out_fd, struct error *err)
{
    pthread_mutex_lock(&d->pool->lock);
    int fd = d->fd;
    if (fd >= 0)
        pin_locked(d);
    pthread_mutex_unlock(&d->pool->lock);
    if (fd < 0)
        return reopen(d, out_fd, err);
    *out_fd = fd;
    return OK;
}

void directory_unpin(struct directory *d)
{
    pthread_mutex_lock(&d->pool->lock);
    unpin_locked(d);
    pthread_mutex_unlock(&d->pool->lock);
}

enum status directory_open_child(struct directory *parent, const char *name, struct directory **out,
                                 struct stat *out_stat, struct error *err)
{
    int parent_fd;
    TRY(directory_pin(parent, &parent_fd, err));
    int fd = open_at(parent->pool, parent_fd, name, O_NOFOLLOW);
    int reason = errno;
    directory_unpin(parent);
    if (fd >= 0)
        return handle_new(parent->pool, parent, name, fd, 0, out, out_stat, err);
    errno = reason;
    return fail(err, ERR_IO, "cannot open directory");
}

void directory_retain(struct directory *d)
{
    atomic_fetch_add_explicit(&d->references, 1, memory_order_relaxed);
}

/* A loop, not a recursion: the last handle of a deep tree may take all its ancestors with it. */
void directory_release(struct directory *d)
{
    while (d && atomic_fetch_sub_explicit(&d->references, 1, memory_order_acq_rel) == 1) {
        struct directory *parent = d->parent;
        struct directories *pool = d->pool;
        pthread_mutex_lock(&pool->lock);
        ASSERT(d->pins == (parent ? 0 : 1));
        if (d->fd >= 0) {
            if (d->pins == 0)
                ring_remove(d);
            close(d->fd);
            pool->open_count--;
        }
        pool->handles--;
        pthread_mutex_unlock(&pool->lock);
        free(d->name);
        free(d);
        d = parent;
    }
}

/* Puts `size` bytes to where they belong in a text cut at `out_size`. */
static void put_cut(char *out, size_t out_size, size_t at, const char *text, size_t size)
{
    if (at >= out_size)
        return;
    size_t part = size < out_size - at ? size : out_size - at;
    memcpy(out + at, text, part);
}

size_t directory_path(const struct directory *d, const char *name, char *out, size_t out_size)
{
    size_t name_size = name ? strlen(name) : 0;
    size_t total = 0;
    for (const struct directory *at = d; at->parent; at = at->parent)
        total += at->name_size + (at->parent->parent ? 1 : 0);
    bool separated = name && total > 0;
    size_t whole = total + (separated ? 1 : 0) + name_size;
    if (out_size == 0)
        return whole;

    size_t room = out_size - 1; /* for the NUL */
    if (name) {
        put_cut(out, room, whole - name_size, name, name_size);
        if (separated)
            put_cut(out, room, total, "/", 1);
    }
    size_t end = total;
    for (const struct directory *at = d; at->parent; at = at->parent) {
        put_cut(out, room, end - at->name_size, at->name, at->name_size);
        end -= at->name_size;
        if (at->parent->parent)
            put_cut(out, room, --end, "/", 1);
    }
    out[whole < room ? whole : room] = '\0';
    return whole;
}

size_t directory_open_count(const struct directories *pool)
{
    return pool->open_count;
}
