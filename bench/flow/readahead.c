#include "flow/readahead.h"

#include "base/buffer.h"
#include "base/log.h"
#include "tree/listing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    WINDOW_ENTRIES = 4096,
    WINDOW_CONTENTS = 24 << 20,   /* bytes of contents read ahead */
    CONTENTS_SIZE_MAX = 1 << 20,  /* larger files are read by the archiver */
    CLAIM_BATCH = 32,             /* nodes a worker takes at a time... */
    CLAIM_BATCH_CONTENTS = 8,     /* ...when it reads their contents, too */
    SCOUT_BATCH = 64,             /* nodes the scout publishes at a time */
    TAKE_BATCH = 64,              /* nodes the archiver takes at a time... */
    TAKE_CONTENTS = 4 << 20,      /* ...until they hold that many bytes of contents */
    CONTENTS_SLAB_SIZE = SLAB_POOLED_CAPACITY,
    DIRECTORIES_OPEN_MAX = 512,
    DIRECTORIES_OPEN_MIN = 8,
};

enum node_state { STATE_WAITING, STATE_BUSY, STATE_DONE };

/* One directory that the scout is in. */
struct frame {
    struct directory *directory; /* counted */
    struct listing listing;
    size_t next;
    uint64_t device;
    struct attr_features features;
};

/* What one reading thread needs: never shared. */
struct worker {
    struct readahead *readahead;
    struct attr_reader *attr_reader;
    struct slab *slab; /* contents are packed into it */
    size_t slab_used;
    struct directory *pinned; /* of the last node read: neighbours share it, and pinning takes a lock */
    int pinned_fd;
    pthread_t thread;
    bool started;
};

struct readahead {
    struct readahead_options options;
    struct attr_not_stored *not_stored;
    struct directories *directories;
    const char *root_path; /* borrowed, for messages while the root is read */
    uint64_t root_device;

    /* The window. Nodes [head, claim) are being read or done, [claim, tail) wait. */
    pthread_mutex_t lock;
    pthread_cond_t scout_can_go;
    pthread_cond_t worker_can_go;
    pthread_cond_t archiver_can_go;
    struct node **ring;
    uint64_t head, claim, tail;
    size_t contents_bytes; /* in the window, by announced size */
    bool ended;            /* the scout is through */
    bool stop;
    bool archiver_waits;
    enum status scout_status;
    struct error scout_error;

    /* The scout's own. */
    struct frame *frames;
    size_t frame_count;
    size_t frame_capacity;
    size_t listed; /* entries of all frames */
    struct node *batch[SCOUT_BATCH];
    size_t batch_count;
    struct worker scout;

    /* The archiver's own. */
    struct node *taken[TAKE_BATCH];
    size_t taken_count, taken_next;
    struct worker self;

    struct worker *workers;
};

/* ---- nodes ---- */

static enum status node_new(enum node_kind kind, struct directory *parent, const char *name, size_t name_size,
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

static void node_set_skipped(struct node *n, const char *notice)
{
    n->outcome = NODE_SKIPPED;
    n->notice = notice;
}

static const char vanished[] = "warning: file vanished while reading: ";
static const char denied[] = "warning: failed to open file, access denied: ";
static const char stale[] = "warning: stale file handle encountered while reading: ";

/* Whether an errno of stat or open only costs this entry (A10). ELOOP, ENOTDIR, ENXIO and ENODEV: replaced by
 * something else since the listing. */
static const char *notice_of(int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ELOOP:
    case ENOTDIR:
    case ENXIO:
    case ENODEV: return vanished;
    case EACCES: return denied;
    case ESTALE: return stale;
    default: return NULL;
    }
}

/* ---- reading one entry ---- */

static void fill_from_stat(struct node *n, const struct stat *st)
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

/* Reads until `size` bytes (one more than announced) or end of file. Returns bytes read or -1 with errno. */
static ssize_t read_up_to(int fd, uint8_t *data, size_t size, size_t read_size_max)
{
    size_t done = 0;
    while (done < size) {
        size_t part = size - done;
        if (read_size_max && part > read_size_max)
            part = read_size_max;
        ssize_t got = read(fd, data + done, part);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        done += (size_t)got;
        /* Reaching the announced size with a short read is the end of the file: asking again would tell no more. */
        if (got == 0 || ((size_t)got < part && done + 1 == size))
            break;
    }
    return (ssize_t)done;
}

static enum status read_contents(struct worker *w, struct node *n, int fd, struct error *err)
{
    size_t size = (size_t)n->size;
    size_t room = size + 1; /* one byte more, so that growth is noticed without another call */
    if (!w->slab || w->slab->capacity - w->slab_used < room) {
        slab_release(w->slab);
        w->slab = NULL;
        size_t capacity = room > CONTENTS_SLAB_SIZE ? room : CONTENTS_SLAB_SIZE;
        TRY(slab_new(capacity, &w->slab, err));
        w->slab_used = 0;
    }
    uint8_t *data = w->slab->data + w->slab_used;
    ssize_t got = read_up_to(fd, data, room, w->readahead->options.read_size_max);
    if (got < 0) {
        char path[LOG_PATH_MAX];
        return fail(err, ERR_IO, "read \"%s\"", node_path(n, path, sizeof path));
    }
    n->grew = (size_t)got > size;
    size_t used = n->grew ? size : (size_t)got;
    slab_retain(w->slab);
    n->contents = (struct slice){.data = data, .size = used, .slab = w->slab};
    n->has_contents = true;
    w->slab_used += used;
    return OK;
}

static enum status read_regular(struct worker *w, struct node *n, int dir_fd, struct error *err)
{
    char path[LOG_PATH_MAX];
    int fd = open_regular(dir_fd, n->name);
    if (fd < 0) {
        const char *notice = notice_of(errno);
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
        node_set_skipped(n, vanished);
    } else {
        fill_from_stat(n, &st);
        status = attr_read_xattrs(w->attr_reader, fd, &n->features, n->name, &n->attributes,
                                  w->readahead->not_stored, err);
        if (status != OK)
            fail_within(err, "\"%s\"", node_path(n, path, sizeof path));
        if (status == OK && w->readahead->options.want_contents && n->size <= CONTENTS_SIZE_MAX)
            status = read_contents(w, n, fd, err);
    }
    close(fd);
    return status;
}

static enum status read_other(struct node *n, int dir_fd, struct error *err)
{
    char path[LOG_PATH_MAX];
    struct stat st;
    if (fstatat(dir_fd, n->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        const char *notice = notice_of(errno);
        if (!notice)
            return fail(err, ERR_IO, "stat \"%s\"", node_path(n, path, sizeof path));
        node_set_skipped(n, notice);
        return OK;
    }
    if (IFTODT(st.st_mode) != n->type) {
        node_set_skipped(n, vanished);
        return OK;
    }
    fill_from_stat(n, &st);
    if (n->type != DT_LNK)
        return OK;
    char target[PATH_MAX + 1];
    ssize_t size = readlinkat(dir_fd, n->name, target, sizeof target);
    if (size < 0) {
        const char *notice = notice_of(errno);
        if (!notice && errno != EINVAL) /* EINVAL: no symlink any more */
            return fail(err, ERR_IO, "read link \"%s\"", node_path(n, path, sizeof path));
        node_set_skipped(n, notice ? notice : vanished);
        return OK;
    }
    if (size >= (ssize_t)sizeof target)
        return fail(err, ERR_LIMIT, "target of symlink \"%s\" is longer than %d bytes",
                    node_path(n, path, sizeof path), PATH_MAX);
    n->target = malloc((size_t)size + 1);
    if (!n->target)
        return fail(err, ERR_MEMORY, "out of memory for a symlink target");
    memcpy(n->target, target, (size_t)size);
    n->target[size] = '\0';
    n->target_size = (size_t)size;
    return OK;
}

static void worker_unpin(struct worker *w)
{
    if (w->pinned)
        directory_unpin(w->pinned);
    w->pinned = NULL;
}

static enum status worker_pin(struct worker *w, struct directory *d, int *out_fd, struct error *err)
{
    if (w->pinned != d) {
        worker_unpin(w);
        TRY(directory_pin(d, &w->pinned_fd, err));
        w->pinned = d;
    }
    *out_fd = w->pinned_fd;
    return OK;
}

/* Fills a waiting node; errors go into the node, so that they are met in archive order. The worker keeps the node's
 * directory pinned: worker_unpin before the node is handed on, which may end the directory's life. */
static void read_node(struct worker *w, struct node *n)
{
    if (n->kind != NODE_MEMBER)
        return; /* directories are complete when the scout publishes them */
    struct error err = {0};
    int dir_fd;
    enum status status = worker_pin(w, n->parent, &dir_fd, &err);
    if (status == ERR_NOT_FOUND) {
        node_set_skipped(n, vanished);
        return;
    }
    if (status == OK)
        status = n->type == DT_REG ? read_regular(w, n, dir_fd, &err) : read_other(n, dir_fd, &err);
    if (status != OK)
        node_set_failed(n, &err);
}

/* ---- the scout ---- */

static enum status publish(struct readahead *r)
{
    size_t done = 0;
    pthread_mutex_lock(&r->lock);
    while (done < r->batch_count && !r->stop) {
        if (r->tail - r->head == WINDOW_ENTRIES) {
            pthread_cond_wait(&r->scout_can_go, &r->lock);
            continue;
        }
        struct node *n = r->batch[done++];
        bool complete = n->kind != NODE_MEMBER || n->outcome != NODE_READY;
        atomic_store(&n->state, complete ? STATE_DONE : STATE_WAITING);
        r->ring[r->tail++ % WINDOW_ENTRIES] = n;
        if (done == r->batch_count || r->tail - r->head == WINDOW_ENTRIES) {
            pthread_cond_broadcast(&r->worker_can_go);
            if (r->archiver_waits)
                pthread_cond_signal(&r->archiver_can_go);
        }
    }
    bool stopped = r->stop;
    pthread_mutex_unlock(&r->lock);
    for (size_t i = done; i < r->batch_count; i++)
        node_free(r->batch[i]);
    r->batch_count = 0;
    return stopped ? ERR_CANCELLED : OK;
}

/* Takes the node. */
static enum status scout_put(struct readahead *r, struct node *n)
{
    r->batch[r->batch_count++] = n;
    return r->batch_count == SCOUT_BATCH ? publish(r) : OK;
}

static enum status frame_push(struct readahead *r, struct directory *directory, const struct stat *st,
                              struct attr_features features, bool contents_wanted, struct error *err)
{
    void *frames = r->frames;
    TRY(array_grow(&frames, r->frame_count, &r->frame_capacity, sizeof *r->frames, 65536, "nested directories", err));
    r->frames = frames;
    struct frame *f = &r->frames[r->frame_count];
    *f = (struct frame){.device = (uint64_t)st->st_dev, .features = features};
    if (contents_wanted) {
        char path[LOG_PATH_MAX];
        if (r->frame_count == 0)
            snprintf(path, sizeof path, "%s", r->root_path); /* below itself the root has no name */
        else
            directory_path(directory, NULL, path, sizeof path);
        int fd;
        TRY(directory_pin(directory, &fd, err));
        enum status status = listing_read(fd, path, r->frame_count == 0, r->options.entries_max, &f->listing, err);
        directory_unpin(directory);
        TRY(status);
        if (f->listing.count > r->options.entries_max - r->listed) {
            listing_deinit(&f->listing);
            return fail(err, ERR_LIMIT, "\"%s\": exceeded allowed number of file entries (> %zu)", path,
                        r->options.entries_max);
        }
    }
    r->listed += f->listing.count;
    directory_retain(directory);
    f->directory = directory;
    r->frame_count++;
    return OK;
}

static void frame_pop(struct readahead *r)
{
    struct frame *f = &r->frames[--r->frame_count];
    r->listed -= f->listing.count;
    listing_deinit(&f->listing);
    directory_release(f->directory);
}

static enum status features_of(struct directory *directory, struct attr_features *out, bool *out_virtual,
                               struct error *err)
{
    int fd;
    TRY(directory_pin(directory, &fd, err));
    struct statfs fs;
    enum status status = OK;
    if (fstatfs(fd, &fs) != 0)
        status = fail(err, ERR_IO, "statfs");
    directory_unpin(directory);
    TRY(status);
    *out = attr_features_of((uint64_t)(unsigned long)fs.f_type & 0xffffffffU);
    *out_virtual = fs_is_virtual((uint64_t)(unsigned long)fs.f_type & 0xffffffffU);
    return OK;
}

/* Opens a directory member and goes into it. Its node is complete: attributes are read here, the scout has it open. */
static enum status scout_directory(struct readahead *r, const struct listing_entry *entry, struct error *err)
{
    struct frame parent = r->frames[r->frame_count - 1];
    struct node *n;
    TRY(node_new(NODE_DIRECTORY_BEGIN, parent.directory, entry->name, entry->name_size, &n, err));
    n->features = parent.features;
    n->type = DT_DIR;
    char path[LOG_PATH_MAX];
    struct stat st;
    struct directory *directory;
    enum status status = directory_open_child(parent.directory, entry->name, &directory, &st, err);
    if (status != OK) {
        const char *notice = status == ERR_NOT_FOUND ? vanished : status == ERR_IO ? notice_of(err->errnum) : NULL;
        if (!notice) {
            node_free(n);
            return status;
        }
        n->kind = NODE_MEMBER; /* nothing of it is archived, so there is no end either */
        node_set_skipped(n, notice);
        return scout_put(r, n);
    }
    fill_from_stat(n, &st);
    int fd;
    status = directory_pin(directory, &fd, err);
    if (status == OK) {
        status = attr_read_xattrs(r->scout.attr_reader, fd, &parent.features, n->name, &n->attributes, r->not_stored,
                                  err);
        directory_unpin(directory);
    }
    bool contents_wanted = true;
    struct attr_features features = parent.features;
    if (status == OK && (uint64_t)st.st_dev != parent.device) {
        bool is_virtual = false;
        status = features_of(directory, &features, &is_virtual, err);
        if (is_virtual || (uint64_t)st.st_dev != r->root_device) {
            contents_wanted = false;
            log_info("skipping mount point: \"%s\"", node_path(n, path, sizeof path));
        }
    }
    if (status == OK)
        status = frame_push(r, directory, &st, features, contents_wanted, err);
    directory_release(directory);
    if (status == ERR_IO && notice_of(err->errnum) == vanished) { /* removed after it was opened */
        n->kind = NODE_MEMBER;
        node_set_skipped(n, vanished);
        return scout_put(r, n);
    }
    if (status != OK) {
        fail_within(err, "error at \"%s\"", node_path(n, path, sizeof path));
        node_free(n);
        return status;
    }
    return scout_put(r, n);
}

static enum status scout_member(struct readahead *r, const struct listing_entry *entry, struct error *err)
{
    struct frame *f = &r->frames[r->frame_count - 1];
    uint8_t type = entry->type;
    const char *notice = NULL;
    if (type == DT_UNKNOWN) { /* some file systems do not say */
        int fd;
        struct stat st;
        TRY(directory_pin(f->directory, &fd, err));
        if (fstatat(fd, entry->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            type = (uint8_t)IFTODT(st.st_mode);
        else
            notice = notice_of(errno);
        directory_unpin(f->directory);
        if (type == DT_UNKNOWN && !notice)
            return fail(err, ERR_IO, "stat \"%s\"", entry->name);
    }
    if (type == DT_DIR)
        return scout_directory(r, entry, err);
    struct node *n;
    TRY(node_new(NODE_MEMBER, f->directory, entry->name, entry->name_size, &n, err));
    n->features = f->features;
    n->type = type;
    if (notice)
        node_set_skipped(n, notice);
    return scout_put(r, n);
}

static enum status scout_walk(struct readahead *r, struct error *err)
{
    while (r->frame_count > 0) {
        struct frame *f = &r->frames[r->frame_count - 1];
        if (f->next < f->listing.count) {
            struct listing_entry entry = f->listing.entries[f->next++];
            TRY(scout_member(r, &entry, err));
            continue;
        }
        frame_pop(r);
        if (r->frame_count > 0) {
            struct node *n;
            TRY(node_new(NODE_DIRECTORY_END, NULL, "", 0, &n, err));
            TRY(scout_put(r, n));
        }
    }
    return publish(r);
}

static void *scout_main(void *argument)
{
    struct readahead *r = argument;
    struct error err = {0};
    enum status status = scout_walk(r, &err);
    if (status != OK && status != ERR_CANCELLED)
        (void)publish(r); /* what came before the error comes before it in the archive, too */
    pthread_mutex_lock(&r->lock);
    r->ended = true;
    r->scout_status = status;
    r->scout_error = err;
    pthread_cond_broadcast(&r->worker_can_go);
    pthread_cond_broadcast(&r->archiver_can_go);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- workers ---- */

static size_t announced_bytes(const struct node *n)
{
    return n->has_contents ? n->contents.size : 0;
}

/* Under the lock: the next waiting nodes. */
static size_t claim(struct readahead *r, struct node *batch[CLAIM_BATCH])
{
    size_t count = 0;
    size_t count_max = r->options.want_contents ? CLAIM_BATCH_CONTENTS : CLAIM_BATCH;
    while (count < count_max && r->claim < r->tail) {
        struct node *n = r->ring[r->claim++ % WINDOW_ENTRIES];
        int waiting = STATE_WAITING;
        if (atomic_compare_exchange_strong(&n->state, &waiting, STATE_BUSY))
            batch[count++] = n;
    }
    return count;
}

/* Under the lock: only when the node it waits for is done. */
static void wake_archiver(struct readahead *r)
{
    if (r->archiver_waits && r->head < r->tail &&
        atomic_load(&r->ring[r->head % WINDOW_ENTRIES]->state) == STATE_DONE)
        pthread_cond_signal(&r->archiver_can_go);
}

static void *worker_main(void *argument)
{
    struct worker *w = argument;
    struct readahead *r = w->readahead;
    struct node *batch[CLAIM_BATCH];
    size_t count = 0;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        for (size_t i = 0; i < count; i++) {
            r->contents_bytes += announced_bytes(batch[i]);
            atomic_store(&batch[i]->state, STATE_DONE);
        }
        if (count > 0)
            wake_archiver(r);
        count = 0;
        while (!r->stop && (r->claim == r->tail || r->contents_bytes >= WINDOW_CONTENTS)) {
            if (r->ended && r->claim == r->tail)
                break;
            pthread_cond_wait(&r->worker_can_go, &r->lock);
        }
        if (r->stop || (r->ended && r->claim == r->tail))
            break;
        count = claim(r, batch);
        pthread_mutex_unlock(&r->lock);
        for (size_t i = 0; i < count; i++)
            read_node(w, batch[i]);
        worker_unpin(w);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- the archiver's side ---- */

enum status readahead_next(struct readahead *r, struct node **out, struct error *err)
{
    if (r->taken_next < r->taken_count) {
        *out = r->taken[r->taken_next++];
        return OK;
    }
    r->taken_count = r->taken_next = 0;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        size_t taken_bytes = 0;
        while (r->taken_count < TAKE_BATCH && taken_bytes < TAKE_CONTENTS && r->head < r->tail) {
            struct node *n = r->ring[r->head % WINDOW_ENTRIES];
            if (atomic_load(&n->state) != STATE_DONE)
                break;
            r->contents_bytes -= announced_bytes(n);
            taken_bytes += announced_bytes(n);
            r->taken[r->taken_count++] = n;
            r->head++;
        }
        if (r->claim < r->head)
            r->claim = r->head;
        if (r->taken_count > 0)
            break;
        if (r->head == r->tail && r->ended) {
            enum status status = r->scout_status;
            if (status != OK && err)
                *err = r->scout_error;
            pthread_mutex_unlock(&r->lock);
            *out = NULL;
            return status;
        }
        if (r->head < r->tail) {
            struct node *n = r->ring[r->head % WINDOW_ENTRIES];
            int waiting = STATE_WAITING;
            if (atomic_compare_exchange_strong(&n->state, &waiting, STATE_BUSY)) {
                pthread_mutex_unlock(&r->lock);
                read_node(&r->self, n);
                worker_unpin(&r->self);
                pthread_mutex_lock(&r->lock);
                r->contents_bytes += announced_bytes(n);
                atomic_store(&n->state, STATE_DONE);
                continue;
            }
        }
        r->archiver_waits = true;
        pthread_cond_wait(&r->archiver_can_go, &r->lock);
        r->archiver_waits = false;
    }
    if (r->tail - r->head <= WINDOW_ENTRIES / 2)
        pthread_cond_signal(&r->scout_can_go);
    if (r->options.want_contents && r->contents_bytes < WINDOW_CONTENTS)
        pthread_cond_broadcast(&r->worker_can_go);
    pthread_mutex_unlock(&r->lock);
    *out = r->taken[r->taken_next++];
    return OK;
}

enum status node_open(const struct node *n, int *out_fd, const char **out_notice, struct error *err)
{
    char path[LOG_PATH_MAX];
    *out_fd = -1;
    *out_notice = vanished;
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
        *out_notice = notice_of(open_errno);
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

/* ---- life ---- */

/* A share of what the process may open, so that the result never depends on `ulimit -n`, only the speed. */
static size_t directories_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return DIRECTORIES_OPEN_MAX;
    size_t share = (size_t)limit.rlim_cur / 4;
    return share < DIRECTORIES_OPEN_MIN ? DIRECTORIES_OPEN_MIN
                                        : share > DIRECTORIES_OPEN_MAX ? DIRECTORIES_OPEN_MAX : share;
}

static enum status start_worker(struct readahead *r, struct worker *w, void *(*run)(void *), void *argument,
                                struct error *err)
{
    w->readahead = r;
    TRY(attr_reader_new(&w->attr_reader, err));
    if (!run)
        return OK;
    int failed = pthread_create(&w->thread, NULL, run, argument);
    if (failed)
        return fail(err, ERR_LIMIT, "cannot start a reading thread: %s", strerror(failed));
    w->started = true;
    return OK;
}

static void stop_worker(struct worker *w)
{
    if (w->started)
        pthread_join(w->thread, NULL);
    attr_reader_free(w->attr_reader);
    slab_release(w->slab);
}

static enum status open_root(struct readahead *r, const char *path, struct attributes *out_root, struct error *err)
{
    struct directory *root;
    struct stat st;
    TRY(directory_open_root(r->directories, path, &root, &st, err));
    struct attr_features features;
    bool is_virtual = false;
    enum status status = features_of(root, &features, &is_virtual, err);
    if (status == OK && is_virtual)
        status = fail(err, ERR_UNSUPPORTED, "%s: refusing to backup a virtual file system", path);
    attributes_from_stat(&st, out_root);
    int fd;
    if (status == OK)
        status = directory_pin(root, &fd, err);
    if (status == OK) {
        status = attr_read_xattrs(r->scout.attr_reader, fd, &features, path, out_root, r->not_stored, err);
        directory_unpin(root);
    }
    r->root_device = (uint64_t)st.st_dev;
    if (status == OK)
        status = frame_push(r, root, &st, features, true, err);
    directory_release(root);
    return status;
}

static enum status start(struct readahead *r, const char *path, struct attributes *out_root, struct error *err)
{
    TRY(directories_new(directories_limit(), &r->directories, err));
    void *ring, *workers;
    TRY(array_new(WINDOW_ENTRIES, sizeof *r->ring, WINDOW_ENTRIES, "window entries", &ring, err));
    r->ring = ring;
    TRY(array_new(r->options.threads, sizeof *r->workers, 1024, "threads", &workers, err));
    r->workers = workers;
    TRY(start_worker(r, &r->self, NULL, NULL, err));
    TRY(start_worker(r, &r->scout, NULL, NULL, err));
    TRY(open_root(r, path, out_root, err));
    int failed = pthread_create(&r->scout.thread, NULL, scout_main, r);
    if (failed)
        return fail(err, ERR_LIMIT, "cannot start a reading thread: %s", strerror(failed));
    r->scout.started = true;
    for (unsigned i = 0; i < r->options.threads; i++)
        TRY(start_worker(r, &r->workers[i], worker_main, &r->workers[i], err));
    return OK;
}

enum status readahead_new(const char *path, const struct readahead_options *options,
                          struct attr_not_stored *not_stored, struct readahead **out, struct attributes *out_root,
                          struct error *err)
{
    struct readahead *r = calloc(1, sizeof *r);
    if (!r)
        return fail(err, ERR_MEMORY, "out of memory for the tree reader");
    r->options = *options;
    r->root_path = path;
    r->not_stored = not_stored;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->scout_can_go, NULL);
    pthread_cond_init(&r->worker_can_go, NULL);
    pthread_cond_init(&r->archiver_can_go, NULL);
    *out_root = (struct attributes){0};
    enum status status = start(r, path, out_root, err);
    if (status != OK) {
        attributes_deinit(out_root);
        readahead_free(r);
        return status;
    }
    *out = r;
    return OK;
}

void readahead_free(struct readahead *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->scout_can_go);
    pthread_cond_broadcast(&r->worker_can_go);
    pthread_mutex_unlock(&r->lock);
    stop_worker(&r->scout);
    for (unsigned i = 0; r->workers && i < r->options.threads; i++)
        stop_worker(&r->workers[i]);
    stop_worker(&r->self);
    for (size_t i = r->taken_next; i < r->taken_count; i++)
        node_free(r->taken[i]);
    for (uint64_t i = r->head; r->ring && i < r->tail; i++)
        node_free(r->ring[i % WINDOW_ENTRIES]);
    for (size_t i = 0; i < r->batch_count; i++)
        node_free(r->batch[i]);
    while (r->frame_count > 0)
        frame_pop(r);
    free(r->frames);
    free(r->ring);
    free(r->workers);
    directories_free(r->directories);
    pthread_cond_destroy(&r->archiver_can_go);
    pthread_cond_destroy(&r->worker_can_go);
    pthread_cond_destroy(&r->scout_can_go);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
