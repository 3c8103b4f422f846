#include "flow/node.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONTENTS_SLAB_SIZE = SLAB_POOLED_CAPACITY };

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

void node_set_skipped(struct node *n, const char *notice)
{
    n->outcome = NODE_SKIPPED;
    n->notice = notice;
}

const char node_vanished[] = "warning: file vanished while reading: ";
static const char denied[] = "warning: failed to open file, access denied: ";
static const char stale[] = "warning: stale file handle encountered while reading: ";

/* ELOOP, ENOTDIR, ENXIO and ENODEV: replaced by something else since the listing. */
const char *node_notice_of(int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ELOOP:
    case ENOTDIR:
    case ENXIO:
    case ENODEV: return node_vanished;
    case EACCES: return denied;
    case ESTALE: return stale;
    default: return NULL;
    }
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

/* A descriptor of a regular file, or -1 with errno. */
static int open_regular(int dir_fd, const char *name)
{
    /* O_NONBLOCK: what became a fifo since the listing must not hang us; it has no effect on regular files. */
    int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    int fd = openat(dir_fd, name, flags | O_NOATIME);
    if (fd < 0 && errno == EPERM) /* O_NOATIME is for owners only */
        fd = openat(dir_fd, name, flags);
    return fd;
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
            char path[LOG_PATH_MAX], shown[LOG_PATH_MAX];
            int reason = errno;
            node_path(n, path, sizeof path);
            errno = reason;
            return fail(err, ERR_IO, "read \"%s\"", log_path(path, shown));
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

static enum status read_regular(struct node_reader *r, struct node *n, int dir_fd, struct error *err)
{
    char path[LOG_PATH_MAX];
    int fd = open_regular(dir_fd, n->name);
    if (fd < 0) {
        const char *notice = node_notice_of(errno);
        if (!notice)
            return fail(err, ERR_IO, "open \"%s\"", node_path(n, path, sizeof path));
        node_set_skipped(n, notice);
        return OK;
    }
    struct stat st;
    enum status status = OK;
    if (fstat(fd, &st) != 0) {
        status = fail(err, ERR_IO, "stat \"%s\"", node_path(n, path, sizeof path));
    } else if (!S_ISREG(st.st_mode)) {
        node_set_skipped(n, node_vanished);
    } else {
        node_fill_from_stat(n, &st);
        status = attr_read_xattrs(r->attr_reader, fd, &n->features, n->name, &n->attributes, r->not_stored, err);
        if (status != OK)
            fail_within(err, "\"%s\"", node_path(n, path, sizeof path));
        if (status == OK && r->options.want_contents && n->size <= NODE_CONTENTS_MAX)
            status = read_contents(r, n, fd, err);
    }
    close(fd);
    return status;
}

static enum status read_other(struct node *n, int dir_fd, struct error *err)
{
    char path[LOG_PATH_MAX];
    struct stat st;
    if (fstatat(dir_fd, n->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        const char *notice = node_notice_of(errno);
        if (!notice)
            return fail(err, ERR_IO, "stat \"%s\"", node_path(n, path, sizeof path));
        node_set_skipped(n, notice);
        return OK;
    }
    if (IFTODT(st.st_mode) != n->type) {
        node_set_skipped(n, node_vanished);
        return OK;
    }
    node_fill_from_stat(n, &st);
    if (n->type != DT_LNK)
        return OK;
    char target[PATH_MAX + 1];
    ssize_t size = readlinkat(dir_fd, n->name, target, sizeof target);
    if (size < 0) {
        const char *notice = node_notice_of(errno);
        if (!notice && errno != EINVAL) /* EINVAL: no symlink any more */
            return fail(err, ERR_IO, "read link \"%s\"", node_path(n, path, sizeof path));
        node_set_skipped(n, notice ? notice : node_vanished);
        return OK;
    }
    if (size >= (ssize_t)sizeof target)
        return fail(err, ERR_LIMIT, "target of symlink \"%s\" is longer than %d bytes", node_path(n, path, sizeof path),
                    PATH_MAX);
    n->target = malloc((size_t)size + 1);
    if (!n->target)
        return fail(err, ERR_MEMORY, "out of memory for a symlink target");
    memcpy(n->target, target, (size_t)size);
    n->target[size] = '\0';
    n->target_size = (size_t)size;
    return OK;
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
    if (status == ERR_NOT_FOUND) {
        node_set_skipped(n, node_vanished);
        return;
    }
    if (status == OK)
        status = n->type == DT_REG ? read_regular(r, n, dir_fd, &err) : read_other(n, dir_fd, &err);
    if (status != OK)
        node_set_failed(n, &err);
}

/* ---- opening it again ---- */

enum status node_open(const struct node *n, int *out_fd, const char **out_notice, struct error *err)
{
    char path[LOG_PATH_MAX];
    *out_fd = -1;
    *out_notice = node_vanished;
    int dir_fd;
    enum status status = directory_pin(n->parent, &dir_fd, err);
    if (status == ERR_NOT_FOUND)
        return OK;
    TRY(status);
    int fd = open_regular(dir_fd, n->name);
    int open_errno = errno;
    directory_unpin(n->parent);
    errno = open_errno;
    if (fd < 0) {
        *out_notice = node_notice_of(open_errno);
        return *out_notice ? OK : fail(err, ERR_IO, "open \"%s\"", node_path(n, path, sizeof path));
    }
    struct stat st;
    if (fstat(fd, &st) != 0) {
        status = fail(err, ERR_IO, "stat \"%s\"", node_path(n, path, sizeof path));
        close(fd);
        return status;
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_dev != n->device || (uint64_t)st.st_ino != n->inode) {
        close(fd);
        return OK;
    }
    *out_fd = fd;
    return OK;
}

/* ---- the reader's life ---- */

enum status node_reader_init(struct node_reader *r, const struct node_reader_options *options,
                             struct attr_not_stored *not_stored, struct error *err)
{
    *r = (struct node_reader){.options = *options, .not_stored = not_stored};
    return attr_reader_new(&r->attr_reader, err);
}

void node_reader_deinit(struct node_reader *r)
{
    node_reader_unpin(r);
    attr_reader_free(r->attr_reader);
    slab_release(r->slab);
    *r = (struct node_reader){0};
}
