#include "flow/node.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    CONTENTS_SLAB_SIZE = SLAB_POOLED_CAPACITY,
    LEASE_PAUSE_NS = 10 * 1000 * 1000,
    LEASE_TRIES = 6000, /* a minute; the kernel takes a lease after lease-break-time, 45 seconds */
};

/* ---- nodes ---- */

enum status node_new(enum node_kind kind, struct directory *parent, const char *name, size_t name_size,
                     struct node **out, struct error *err)
{
    struct node *n = calloc(1, sizeof *n + name_size + 1);
    if (!n)
        return fail(err, ERR_MEMORY, "out of memory for an entry");
    n->kind = kind;
    n->name_size = name_size;
    memcpy(n->name, name, name_size);
    if (parent) {
        directory_retain(parent);
        n->parent = parent;
    }
    *out = n;
    return OK;
}

void node_free(struct node *n)
{
    if (!n)
        return;
    directory_release(n->parent);
    attributes_deinit(&n->attributes);
    slab_release(n->contents.slab);
    free(n->target);
    free(n->error);
    free(n);
}

const char *node_path(const struct node *n, char *out, size_t out_size)
{
    if (n->parent)
        directory_path(n->parent, n->name, out, out_size);
    else
        snprintf(out, out_size, "%s", n->name);
    return out;
}

static void node_set_failed(struct node *n, const struct error *err)
{
    n->error = malloc(sizeof *n->error);
    if (n->error)
        *n->error = *err;
    n->outcome = NODE_FAILED;
}

void node_set_skipped(struct node *n, enum node_notice notice)
{
    n->outcome = NODE_SKIPPED;
    n->notice = notice;
}

/* ---- errors and warnings (A10) ---- */

enum node_notice notice_of_stat(int errnum)
{
    switch (errnum) {
    case ENOENT: return NOTICE_VANISHED_LISTED;
    case EACCES: return NOTICE_DENIED_STAT;
    case ESTALE: return NOTICE_STALE;
    default: return NOTICE_NONE;
    }
}

/* ELOOP, ENOTDIR, ENXIO and ENODEV: replaced by something else since the listing. */
enum node_notice notice_of_open(int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ELOOP:
    case ENOTDIR:
    case ENXIO:
    case ENODEV: return NOTICE_VANISHED;
    case EACCES: return NOTICE_DENIED_OPEN;
    case ESTALE: return NOTICE_STALE;
    default: return NOTICE_NONE;
    }
}

enum node_notice notice_of_directory(enum status status, const struct error *err)
{
    return status == ERR_NOT_FOUND ? NOTICE_VANISHED : status == ERR_IO ? notice_of_open(err->errnum) : NOTICE_NONE;
}

enum node_notice notice_of_attributes(enum status status, const struct error *err)
{
    return status == ERR_IO && err->errnum == ESTALE ? NOTICE_STALE : NOTICE_NONE;
}

void notice_warn(enum node_notice notice, const char *name, const char *path)
{
    char shown_path[LOG_PATH_MAX], shown_name[LOG_PATH_MAX];
    log_path(path, shown_path);
    switch (notice) {
    case NOTICE_VANISHED_LISTED:
        log_warning("warning: file vanished while reading directory: \"%s\"", shown_path);
        return;
    case NOTICE_VANISHED: log_warning("warning: file vanished while reading: \"%s\"", shown_path); return;
    case NOTICE_DENIED_STAT: log_warning("warning: failed to stat file: \"%s\": access denied", shown_path); return;
    case NOTICE_DENIED_OPEN:
        /* The sentence has the name alone; many directories can have a file of that name. */
        if (strcmp(name, path) == 0)
            log_warning("warning: failed to open file: \"%s\": access denied", shown_path);
        else
            log_warning("warning: failed to open file: \"%s\": access denied (\"%s\")", log_path(name, shown_name),
                        shown_path);
        return;
    case NOTICE_STALE: log_warning("warning: stale file handle encountered while reading: \"%s\"", shown_path); return;
    case NOTICE_NONE: break;
    }
    ASSERT(notice != NOTICE_NONE);
}

void node_warn(const struct node *n, enum node_notice notice)
{
    char path[LOG_PATH_MAX];
    notice_warn(notice, n->name, node_path(n, path, sizeof path));
}

enum status node_fail_at(const struct node *n, struct error *err)
{
    char path[LOG_PATH_MAX], shown[LOG_PATH_MAX];
    return fail_within(err, "error at \"%s\"", log_path(node_path(n, path, sizeof path), shown));
}

enum status node_fail_stat(const struct node *n, struct error *err)
{
    char path[LOG_PATH_MAX], shown[LOG_PATH_MAX];
    int reason = errno;
    log_path(node_path(n, path, sizeof path), shown);
    errno = reason;
    enum status status = fail(err, ERR_IO, "stat failed on \"%s\"", shown);
    directory_path(n->parent, NULL, path, sizeof path);
    return path[0] ? fail_within(err, "error at \"%s\"", log_path(path, shown)) : status;
}

/* What the entry costs when `status` (ERR_IO of an open, ERR_NOT_FOUND of a directory) is no reason to stop. */
static enum status skip_or_fail(struct node *n, enum status status, enum node_notice notice, struct error *err)
{
    if (notice == NOTICE_NONE)
        return status == OK ? OK : node_fail_at(n, err);
    node_set_skipped(n, notice);
    return OK;
}

/* ---- reading one entry ---- */

void node_fill_from_stat(struct node *n, const struct stat *st)
{
    attributes_from_stat(st, &n->attributes);
    n->device = (uint64_t)st->st_dev;
    n->inode = (uint64_t)st->st_ino;
    n->links = (uint64_t)st->st_nlink;
    n->rdev = (uint64_t)st->st_rdev;
    n->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
}

int node_open_at(int dir_fd, const char *name)
{
    /* O_NONBLOCK: what became a fifo since the listing must not hang us. On regular files it has one effect: a file
     * that somebody holds a lease on (a file server's oplock) answers "again" until the holder has given it up or the
     * kernel has taken it. */
    int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOATIME;
    for (unsigned tries = 0;;) {
        int fd = openat(dir_fd, name, flags);
        if (fd >= 0)
            return fd;
        if (errno == EPERM && (flags & O_NOATIME)) { /* for owners only */
            flags &= ~O_NOATIME;
        } else if (errno == EWOULDBLOCK && tries++ < LEASE_TRIES) {
            nanosleep(&(struct timespec){.tv_nsec = LEASE_PAUSE_NS}, NULL);
        } else if (errno != EINTR) {
            return -1;
        }
    }
}

enum status node_read_bytes(const struct node *n, int fd, uint8_t *data, size_t size, size_t announced,
                            size_t read_size_max, size_t *out_size, struct error *err)
{
    size_t done = 0;
    while (done < size) {
        size_t part = size - done;
        if (read_size_max && part > read_size_max)
            part = read_size_max;
        ssize_t got = read(fd, data + done, part);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            fail(err, ERR_IO, "cannot read the file");
            return node_fail_at(n, err);
        }
        done += (size_t)got;
        /* Reaching the announced size with a short read is the end of the file: asking again would tell no more. */
        if (got == 0 || ((size_t)got < part && done == announced))
            break;
    }
    *out_size = done;
    return OK;
}

static enum status read_contents(struct node_reader *r, struct node *n, int fd, struct error *err)
{
    size_t size = (size_t)n->size;
    n->has_contents = true;
    if (size == 0)
        return OK;
    size_t room = size + 1; /* one byte more, so that growth is noticed without another call */
    if (!r->slab || r->slab->capacity - r->slab_used < room) {
        slab_release(r->slab);
        r->slab = NULL;
        size_t capacity = room > CONTENTS_SLAB_SIZE ? room : CONTENTS_SLAB_SIZE;
        TRY(slab_new(capacity, &r->slab, err));
        r->slab_used = 0;
    }
    uint8_t *data = r->slab->data + r->slab_used;
    size_t got;
    TRY(node_read_bytes(n, fd, data, room, size, r->options.read_size_max, &got, err));
    n->grew = got > size;
    size_t used = n->grew ? size : got;
    slab_retain(r->slab);
    n->contents = (struct slice){.data = data, .size = used, .slab = r->slab};
    r->slab_used += used;
    return OK;
}

/* Not a file of several names: only the first of them in archive order needs the contents, and which one that is, the
 * threads that read ahead cannot know. */
static bool is_read_ahead(const struct node_reader *r, const struct node *n)
{
    return r->options.want_contents && n->links <= 1 && n->size <= NODE_CONTENTS_MAX;
}

static enum status read_open_file(struct node_reader *r, struct node *n, int fd, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        enum node_notice notice = notice_of_stat(errno);
        if (notice == NOTICE_NONE)
            return node_fail_stat(n, err);
        node_set_skipped(n, notice);
        return OK;
    }
    if (!S_ISREG(st.st_mode)) {
        node_set_skipped(n, NOTICE_VANISHED);
        return OK;
    }
    node_fill_from_stat(n, &st);
    enum status status = attr_read(r->attr_reader, fd, &n->features, n->name, &n->attributes, r->not_stored, err);
    if (status != OK)
        return skip_or_fail(n, status, notice_of_attributes(status, err), err);
    return is_read_ahead(r, n) ? read_contents(r, n, fd, err) : OK;
}

static enum status read_regular(struct node_reader *r, struct node *n, int dir_fd, struct error *err)
{
    int fd = node_open_at(dir_fd, n->name);
    if (fd < 0) {
        enum node_notice notice = notice_of_open(errno);
        return skip_or_fail(n, notice ? OK : fail(err, ERR_IO, "cannot open the file"), notice, err);
    }
    enum status status = read_open_file(r, n, fd, err);
    close(fd);
    return status;
}

static enum status read_target(struct node *n, int dir_fd, struct error *err)
{
    char target[PATH_MAX + 1];
    ssize_t size = readlinkat(dir_fd, n->name, target, sizeof target);
    if (size < 0) {
        /* By name, without a descriptor of the symlink: ENOENT and EINVAL (no symlink any more) are what opening it
         * would have met. */
        enum node_notice notice = errno == ENOENT || errno == EINVAL ? NOTICE_VANISHED
                                  : errno == ESTALE                  ? NOTICE_STALE
                                                                     : NOTICE_NONE;
        return skip_or_fail(n, notice ? OK : fail(err, ERR_IO, "cannot read the symlink"), notice, err);
    }
    if (size >= (ssize_t)sizeof target) {
        fail(err, ERR_LIMIT, "the target of the symlink is longer than %d bytes", PATH_MAX);
        return node_fail_at(n, err);
    }
    n->target = malloc((size_t)size + 1);
    if (!n->target)
        return fail(err, ERR_MEMORY, "out of memory for a symlink target");
    memcpy(n->target, target, (size_t)size);
    n->target[size] = '\0';
    n->target_size = (size_t)size;
    return OK;
}

static enum status read_other(struct node *n, int dir_fd, struct error *err)
{
    struct stat st;
    if (fstatat(dir_fd, n->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        enum node_notice notice = notice_of_stat(errno);
        if (notice == NOTICE_NONE)
            return node_fail_stat(n, err);
        node_set_skipped(n, notice);
        return OK;
    }
    if (IFTODT(st.st_mode) != n->type) {
        node_set_skipped(n, NOTICE_VANISHED);
        return OK;
    }
    node_fill_from_stat(n, &st);
    return n->type == DT_LNK ? read_target(n, dir_fd, err) : OK;
}

void node_reader_unpin(struct node_reader *r)
{
    if (r->pinned)
        directory_unpin(r->pinned);
    r->pinned = NULL;
}

static enum status pin(struct node_reader *r, struct directory *d, int *out_fd, struct error *err)
{
    if (r->pinned != d) {
        node_reader_unpin(r);
        TRY(directory_pin(d, &r->pinned_fd, err));
        r->pinned = d;
    }
    *out_fd = r->pinned_fd;
    return OK;
}

void node_read(struct node_reader *r, struct node *n)
{
    ASSERT(n->kind == NODE_MEMBER && n->parent);
    struct error err = {0};
    int dir_fd;
    enum status status = pin(r, n->parent, &dir_fd, &err);
    if (status != OK)
        status = skip_or_fail(n, status, notice_of_directory(status, &err), &err);
    else
        status = n->type == DT_REG ? read_regular(r, n, dir_fd, &err) : read_other(n, dir_fd, &err);
    if (status != OK)
        node_set_failed(n, &err);
}

/* ---- opening it again ---- */

/* Takes `fd`: hands it on or closes it. */
static enum status check_same(const struct node *n, int fd, int *out_fd, enum node_notice *out_notice,
                              struct error *err)
{
    struct stat st;
    enum status status = OK;
    if (fstat(fd, &st) != 0) {
        *out_notice = notice_of_stat(errno);
        if (*out_notice == NOTICE_NONE)
            status = node_fail_stat(n, err);
    } else if (S_ISREG(st.st_mode) && (uint64_t)st.st_dev == n->device && (uint64_t)st.st_ino == n->inode) {
        *out_fd = fd;
        return OK;
    }
    close(fd);
    return status;
}

enum status node_open(const struct node *n, int *out_fd, enum node_notice *out_notice, struct error *err)
{
    *out_fd = -1;
    *out_notice = NOTICE_VANISHED;
    int dir_fd;
    enum status status = directory_pin(n->parent, &dir_fd, err);
    if (status != OK) {
        *out_notice = notice_of_directory(status, err);
        return *out_notice ? OK : node_fail_at(n, err);
    }
    int fd = node_open_at(dir_fd, n->name);
    int reason = errno;
    directory_unpin(n->parent);
    if (fd >= 0)
        return check_same(n, fd, out_fd, out_notice, err);
    *out_notice = notice_of_open(reason);
    if (*out_notice)
        return OK;
    errno = reason;
    fail(err, ERR_IO, "cannot open the file");
    return node_fail_at(n, err);
}

/* ---- the reader's life ---- */

enum status node_reader_init(struct node_reader *r, const struct node_reader_options *options,
                             struct attr_not_stored *not_stored, struct error *err)
{
    *r = (struct node_reader){.options = *options, .not_stored = not_stored};
    TRY(attr_reader_new(&r->attr_reader, err));
    attr_reader_skip_e2big(r->attr_reader, options->skip_e2big_xattr);
    return OK;
}

void node_reader_deinit(struct node_reader *r)
{
    node_reader_unpin(r);
    attr_reader_free(r->attr_reader);
    slab_release(r->slab);
    *r = (struct node_reader){0};
}
