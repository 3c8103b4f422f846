#include "flow/readahead.h"

#include "base/buffer.h"
#include "base/log.h"
#include "flow/walk_filter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>

enum {
    WINDOW_ENTRIES = 4096,
    WINDOW_CONTENTS = 24 << 20, /* bytes of contents read ahead */
    CLAIM_BATCH = 32,           /* nodes a worker takes at a time... */
    CLAIM_BATCH_CONTENTS = 8,   /* ...when it reads their contents, too */
    SCOUT_BATCH = 64,           /* nodes the scout publishes at a time */
    TAKE_BATCH = 64,            /* nodes the archiver takes at a time... */
    TAKE_CONTENTS = 4 << 20,    /* ...until they hold that many bytes of contents */
    DIRECTORIES_OPEN_MAX = 512,
    DIRECTORIES_OPEN_MIN = 8,
    TRACEFS_MAGIC = 0x74726163,
};
static const uint64_t bpf_fs_magic = 0xcafe4a11; /* more than an enum holds */

enum node_state { STATE_WAITING, STATE_BUSY, STATE_DONE };

/* One directory that the scout is in. */
struct frame {
    struct directory *directory; /* counted */
    struct listing listing;
    struct walk_mark mark; /* back to the parent */
    size_t next;
    uint64_t device;
    struct attr_features features;
};

struct worker {
    struct readahead *readahead;
    struct node_reader reader;
    pthread_t thread;
    bool started;
};

struct readahead {
    struct readahead_options options;
    struct attr_not_stored *not_stored;
    struct directories *directories;
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
    struct walk_filter filter;
    struct node *batch[SCOUT_BATCH];
    size_t batch_count;
    struct worker scout;

    /* The archiver's own. */
    struct node *taken[TAKE_BATCH];
    size_t taken_count, taken_next;
    struct worker self;

    struct worker *workers;
};

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

/* Lists the directory unless its contents are not wanted. The root has no name. */
static enum status frame_list(struct readahead *r, struct frame *f, struct error *err)
{
    int fd;
    TRY(directory_pin(f->directory, &fd, err));
    struct listing_options options = {
        .is_root = r->frame_count == 0,
        .entries_max = r->options.walk.entries_max,
        .entries_held = r->listed,
    };
    enum status status = walk_filter_list(&r->filter, fd, &options, &f->listing, err);
    directory_unpin(f->directory);
    return status;
}

static enum status frame_push(struct readahead *r, const struct node *n, struct directory *directory,
                              const struct stat *st, struct attr_features features, bool contents_wanted,
                              struct error *err)
{
    void *frames = r->frames;
    TRY(array_grow(&frames, r->frame_count, &r->frame_capacity, sizeof *r->frames, 65536, "nested directories", err));
    r->frames = frames;
    struct frame f = {.directory = directory, .device = (uint64_t)st->st_dev, .features = features};
    if (n)
        TRY(walk_filter_enter(&r->filter, n->name, n->name_size, &f.mark, err));
    enum status status = contents_wanted ? frame_list(r, &f, err) : OK;
    if (status != OK) {
        walk_filter_leave(&r->filter, f.mark);
        return status;
    }
    r->listed += f.listing.count;
    directory_retain(directory);
    r->frames[r->frame_count++] = f;
    return OK;
}

static void frame_pop(struct readahead *r)
{
    struct frame *f = &r->frames[--r->frame_count];
    r->listed -= f->listing.count;
    walk_filter_leave(&r->filter, f->mark);
    listing_deinit(&f->listing);
    directory_release(f->directory);
}

static struct attr_features features_wanted(const struct walk_options *walk, uint64_t magic)
{
    struct attr_features features = attr_features_of(magic);
    features.xattrs = features.xattrs && !walk->no_xattrs;
    features.fcaps = features.fcaps && !walk->no_fcaps;
    features.acl = features.acl && !walk->no_acls;
    return features;
}

static bool is_kernel_tracing(uint64_t magic)
{
    return magic == TRACEFS_MAGIC || magic == bpf_fs_magic;
}

static enum status file_system_of(struct readahead *r, struct directory *directory, struct attr_features *out,
                                  bool *out_virtual, struct error *err)
{
    int fd;
    TRY(directory_pin(directory, &fd, err));
    struct statfs fs;
    enum status status = OK;
    if (fstatfs(fd, &fs) != 0)
        status = fail(err, ERR_IO, "cannot ask for its file system");
    directory_unpin(directory);
    TRY(status);
    uint64_t magic = (uint64_t)(unsigned long)fs.f_type & 0xffffffffU;
    *out = features_wanted(&r->options.walk, magic);
    *out_virtual = fs_is_virtual(magic) || (r->options.walk.skip_kernel_tracing && is_kernel_tracing(magic));
    return OK;
}

static bool device_is_wanted(const struct readahead *r, uint64_t device)
{
    const struct walk_options *walk = &r->options.walk;
    bool wanted = walk->all_file_systems || device == r->root_device;
    for (size_t i = 0; i < walk->device_count && !wanted; i++)
        wanted = walk->devices[i] == device;
    return wanted;
}

/* What the walk does with an open directory: reads its attributes (with the features of its parent, as upstream does
 * also for the root of a mounted file system), decides whether its contents are wanted, lists them. *out_notice: it is
 * left out with everything below it. */
static enum status enter(struct readahead *r, struct node *n, struct directory *directory, const struct stat *st,
                         uint64_t parent_device, enum node_notice *out_notice, struct error *err)
{
    *out_notice = NOTICE_NONE;
    int fd;
    enum status status = directory_pin(directory, &fd, err);
    if (status != OK) {
        *out_notice = notice_of_directory(status, err);
        return status;
    }
    status = attr_read(r->scout.reader.attr_reader, fd, &n->features, n->name, &n->attributes, r->not_stored, err);
    directory_unpin(directory);
    struct attr_features features = n->features;
    bool contents_wanted = true;
    if (status == OK && (uint64_t)st->st_dev != parent_device) {
        bool is_virtual = false;
        status = file_system_of(r, directory, &features, &is_virtual, err);
        contents_wanted = !is_virtual && device_is_wanted(r, (uint64_t)st->st_dev);
    }
    if (status != OK) {
        *out_notice = status == ERR_NOT_FOUND ? NOTICE_VANISHED : notice_of_attributes(status, err);
        return status;
    }
    status = frame_push(r, n, directory, st, features, contents_wanted, err);
    if (status == ERR_NOT_FOUND || (status == ERR_IO && err->errnum == ENOENT))
        *out_notice = NOTICE_VANISHED; /* removed after it was opened */
    if (status == OK && !contents_wanted) {
        char path[LOG_PATH_MAX], shown[LOG_PATH_MAX];
        log_info("skipping mount point: \"%s\"", log_path(node_path(n, path, sizeof path), shown));
    }
    return status;
}

/* Opens a directory member and goes into it. Its node is complete: attributes are read here, the scout has it open. */
static enum status scout_directory(struct readahead *r, const struct listing_entry *entry, struct error *err)
{
    struct frame parent = r->frames[r->frame_count - 1];
    struct node *n;
    TRY(node_new(NODE_DIRECTORY_BEGIN, parent.directory, entry->name, entry->name_size, &n, err));
    n->features = parent.features;
    n->type = DT_DIR;
    struct stat st;
    struct directory *directory = NULL;
    enum node_notice notice;
    enum status status = directory_open_child(parent.directory, entry->name, &directory, &st, err);
    if (status == OK) {
        node_fill_from_stat(n, &st);
        status = enter(r, n, directory, &st, parent.device, &notice, err);
        directory_release(directory);
    } else {
        notice = notice_of_directory(status, err);
    }
    if (status != OK && notice == NOTICE_NONE) {
        status = node_fail_at(n, err);
        node_free(n);
        return status;
    }
    if (status != OK) {
        n->kind = NODE_MEMBER; /* nothing of it is archived, so there is no end either */
        node_set_skipped(n, notice);
    }
    return scout_put(r, n);
}

static bool is_known_type(uint8_t type)
{
    switch (type) {
    case DT_REG:
    case DT_DIR:
    case DT_LNK:
    case DT_BLK:
    case DT_CHR:
    case DT_FIFO:
    case DT_SOCK: return true;
    default: return false;
    }
}

/* For file systems whose listings do not say the type. Sets it, or makes the node a skipped one. */
static enum status ask_type(struct node *n, int known_errnum, struct error *err)
{
    int fd;
    struct stat st;
    enum status status = directory_pin(n->parent, &fd, err);
    if (status != OK) {
        enum node_notice notice = notice_of_directory(status, err);
        if (notice == NOTICE_NONE)
            return node_fail_at(n, err);
        node_set_skipped(n, notice);
        return OK;
    }
    int failed = known_errnum ? -1 : fstatat(fd, n->name, &st, AT_SYMLINK_NOFOLLOW);
    int reason = known_errnum ? known_errnum : errno;
    directory_unpin(n->parent);
    if (failed) {
        enum node_notice notice = notice_of_stat(reason);
        errno = reason;
        if (notice == NOTICE_NONE)
            return node_fail_stat(n, err);
        node_set_skipped(n, notice);
        return OK;
    }
    n->type = (uint8_t)IFTODT(st.st_mode);
    if (is_known_type(n->type))
        return OK;
    fail(err, ERR_UNSUPPORTED, "encountered unknown file type: 0x%x (0o%o)", (unsigned)st.st_mode & S_IFMT,
         (unsigned)st.st_mode & S_IFMT);
    return node_fail_at(n, err);
}

static enum status scout_member(struct readahead *r, const struct listing_entry *entry, struct error *err)
{
    if (entry->type == DT_DIR)
        return scout_directory(r, entry, err);
    struct frame *f = &r->frames[r->frame_count - 1];
    struct node *n;
    TRY(node_new(NODE_MEMBER, f->directory, entry->name, entry->name_size, &n, err));
    n->features = f->features;
    n->type = entry->type;
    enum status status = is_known_type(entry->type) ? OK : ask_type(n, entry->errnum, err);
    if (status == OK && n->outcome == NODE_READY && n->type == DT_DIR) {
        node_free(n);
        return scout_directory(r, entry, err);
    }
    if (status != OK) {
        node_free(n);
        return status;
    }
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

static size_t contents_bytes_of(const struct node *n)
{
    return n->has_contents ? n->contents.size : 0;
}

/* Under the lock: the next waiting nodes. */
static size_t claim(struct readahead *r, struct node *batch[CLAIM_BATCH])
{
    size_t count = 0;
    size_t count_max = r->options.reading.want_contents ? CLAIM_BATCH_CONTENTS : CLAIM_BATCH;
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
    if (r->archiver_waits && r->head < r->tail && atomic_load(&r->ring[r->head % WINDOW_ENTRIES]->state) == STATE_DONE)
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
            r->contents_bytes += contents_bytes_of(batch[i]);
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
            node_read(&w->reader, batch[i]);
        node_reader_unpin(&w->reader);
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
            r->contents_bytes -= contents_bytes_of(n);
            taken_bytes += contents_bytes_of(n);
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
                node_read(&r->self.reader, n);
                node_reader_unpin(&r->self.reader);
                pthread_mutex_lock(&r->lock);
                r->contents_bytes += contents_bytes_of(n);
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
    if (r->options.reading.want_contents && r->contents_bytes < WINDOW_CONTENTS)
        pthread_cond_broadcast(&r->worker_can_go);
    pthread_mutex_unlock(&r->lock);
    *out = r->taken[r->taken_next++];
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
    return share < DIRECTORIES_OPEN_MIN   ? DIRECTORIES_OPEN_MIN
           : share > DIRECTORIES_OPEN_MAX ? DIRECTORIES_OPEN_MAX
                                          : share;
}

static enum status start_worker(struct readahead *r, struct worker *w, void *(*run)(void *), void *argument,
                                struct error *err)
{
    w->readahead = r;
    TRY(node_reader_init(&w->reader, &r->options.reading, r->not_stored, err));
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
    node_reader_deinit(&w->reader);
}

static enum status read_root(struct readahead *r, struct directory *root, const char *path, const struct stat *st,
                             struct attributes *out, struct error *err)
{
    struct attr_features features;
    bool is_virtual = false;
    TRY(file_system_of(r, root, &features, &is_virtual, err));
    if (is_virtual)
        return fail(err, ERR_UNSUPPORTED, "refusing to backup a virtual file system");
    attributes_from_stat(st, out);
    int fd;
    TRY(directory_pin(root, &fd, err));
    enum status status = attr_read(r->scout.reader.attr_reader, fd, &features, path, out, r->not_stored, err);
    directory_unpin(root);
    if (status != OK)
        return fail_within(err, "failed to get metadata for source directory");
    r->root_device = (uint64_t)st->st_dev;
    return frame_push(r, NULL, root, st, features, true, err);
}

static enum status open_root(struct readahead *r, const char *path, struct attributes *out_root, struct error *err)
{
    struct directory *root;
    struct stat st;
    TRY(directory_open_root(r->directories, path, r->options.walk.no_follow_root, &root, &st, err));
    enum status status = read_root(r, root, path, &st, out_root, err);
    directory_release(root);
    return status == OK ? OK : fail_within(err, "%s", path);
}

static enum status start(struct readahead *r, const char *path, struct attributes *out_root, struct error *err)
{
    TRY(directories_new(directories_limit(), &r->directories, err));
    TRY(walk_filter_init(&r->filter, r->options.walk.patterns, err));
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

enum status readahead_new(const char *path, const struct readahead_options *options, struct attr_not_stored *not_stored,
                          struct readahead **out, struct attributes *out_root, struct error *err)
{
    struct readahead *r = calloc(1, sizeof *r);
    if (!r)
        return fail(err, ERR_MEMORY, "out of memory for the tree reader");
    r->options = *options;
    r->options.reading.skip_e2big_xattr = options->walk.skip_e2big_xattr;
    if (r->options.walk.entries_max == 0)
        r->options.walk.entries_max = LISTING_ENTRIES_MAX_DEFAULT;
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
    walk_filter_deinit(&r->filter);
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
