/* `pxar create`: one archive into one or two plain files, without a store. */
#include "base/log.h"
#include "flow/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BUFFER_SIZE = 1 << 18 };

struct packed_file {
    const char *path;
    int fd;
    size_t used;
    uint8_t buffer[FILE_BUFFER_SIZE];
};

struct packing {
    struct packed_file metadata, payload; /* unified: the archive is `metadata` */
    struct error error;                   /* why a write failed */
};

static enum status write_all(struct packing *p, const struct packed_file *f, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t done = write(f->fd, data, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail(&p->error, ERR_IO, "write %s", f->path);
        data += done;
        size -= (size_t)done;
    }
    return OK;
}

/* A file that is not there (a unified archive's payload) has nothing in it. */
static enum status file_flush(struct packing *p, struct packed_file *f)
{
    size_t used = f->used;
    f->used = 0;
    return write_all(p, f, f->buffer, used);
}

/* Takes the slice. */
static enum status file_put(struct packing *p, struct packed_file *f, struct slice part)
{
    enum status status = OK;
    if (part.size > sizeof f->buffer - f->used)
        status = file_flush(p, f);
    if (status == OK && part.size > sizeof f->buffer / 2) {
        status = f->used ? file_flush(p, f) : OK;
        if (status == OK)
            status = write_all(p, f, part.data, part.size);
    } else if (status == OK) {
        memcpy(f->buffer + f->used, part.data, part.size);
        f->used += part.size;
    }
    slab_release(part.slab);
    return status;
}

static enum status put_metadata(void *context, struct slice part)
{
    struct packing *p = context;
    return file_put(p, &p->metadata, part);
}
static enum status put_payload(void *context, struct slice part, bool ends_write)
{
    (void)ends_write;
    struct packing *p = context;
    return file_put(p, &p->payload, part);
}
static enum status ignore_suggestion(void *context, uint64_t offset)
{
    (void)context;
    (void)offset;
    return OK;
}
static enum status refuse_injection(void *context, uint64_t boundary, const struct reuse_chunk *chunks, size_t count,
                                    uint64_t size)
{
    (void)context;
    (void)boundary;
    (void)chunks;
    (void)count;
    (void)size;
    return ERR_UNSUPPORTED; /* there is no reference, so nothing to inject */
}

static enum status file_create(struct packed_file *f, const char *path, struct error *err)
{
    f->path = path;
    f->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    return f->fd < 0 ? fail(err, ERR_IO, "create %s", path) : OK;
}

static enum status file_close(struct packed_file *f, enum status status, struct error *err)
{
    if (f->fd >= 0 && close(f->fd) != 0 && status == OK)
        status = fail(err, ERR_IO, "close %s", f->path);
    return status;
}

static enum status pack(struct packing *p, const char *tree, const char *archive_path, const char *payload_path,
                        const struct archive_options *options, struct archive_stats *out, struct error *err)
{
    TRY(file_create(&p->metadata, archive_path, err));
    if (payload_path)
        TRY(file_create(&p->payload, payload_path, err));
    struct archive_output output = {.metadata = put_metadata,
                                    .payload = put_payload,
                                    .suggest = ignore_suggestion,
                                    .inject = refuse_injection,
                                    .context = p};
    enum status status = archive_tree(tree, options, NULL, &output, out, err);
    if (status == OK)
        status = file_flush(p, &p->metadata);
    if (status == OK)
        status = file_flush(p, &p->payload);
    if (p->error.status != OK) { /* the cause, wherever it was noticed */
        *err = p->error;
        status = p->error.status;
    }
    return status;
}

/* The reference tool opens the tree without following links. */
static enum status check_no_symlink(const char *tree, struct error *err)
{
    struct stat st;
    if (lstat(tree, &st) == 0 && S_ISLNK(st.st_mode)) {
        errno = ELOOP;
        return fail(err, ERR_IO, "open %s", tree);
    }
    return OK; /* what else may be wrong is said when it is opened */
}

enum status pack_tree(const char *tree, const char *archive_path, const char *payload_path,
                      const struct archive_options *options, struct archive_stats *out, struct error *err)
{
    struct archive_options checked = *options;
    checked.mode = payload_path ? MODE_DATA : MODE_LEGACY;
    TRY(archive_options_prepare(&checked, &checked, err));
    *out = (struct archive_stats){.kind = payload_path ? ARCHIVE_SPLIT : ARCHIVE_UNIFIED,
                                  .reference = REFERENCE_NOT_ASKED};
    TRY(check_no_symlink(tree, err));
    struct packing *p = malloc(sizeof *p);
    if (!p)
        return fail(err, ERR_MEMORY, "out of memory for file buffers");
    p->metadata.fd = p->payload.fd = -1;
    p->metadata.used = p->payload.used = 0;
    p->error = (struct error){0};
    enum status status = pack(p, tree, archive_path, payload_path, &checked, out, err);
    status = file_close(&p->payload, status, err);
    status = file_close(&p->metadata, status, err);
    if (status != OK) { /* only what was created here */
        if (p->payload.fd >= 0)
            unlink(payload_path);
        if (p->metadata.fd >= 0)
            unlink(archive_path);
    }
    free(p);
    return status;
}
