#include "flow/file_source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

enum status file_source_open(struct file_source *f, const char *path, struct error *err)
{
    struct stat st;
    *f = (struct file_source){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), .path = path};
    if (f->fd < 0)
        return fail(err, ERR_IO, "%s: cannot open", path);
    if (fstat(f->fd, &st))
        return fail(err, ERR_IO, "%s: cannot stat", path);
    if (S_ISREG(st.st_mode)) {
        f->regular = true;
        f->size = (uint64_t)st.st_size;
    }
    return OK;
}

void file_source_close(struct file_source *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

static enum status file_read(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct file_source *f = context;
    ssize_t got;
    do
        got = read(f->fd, data, size);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return fail(err, ERR_IO, "%s: cannot read at offset %" PRIu64, f->path, f->position);
    f->position += (uint64_t)got;
    *out_size = (size_t)got;
    return OK;
}

static enum status file_skip(void *context, uint64_t size, struct error *err)
{
    struct file_source *f = context;
    /* Seeking beyond the end succeeds: the size says where it is. */
    if (f->position > f->size || size > f->size - f->position)
        return fail(err, ERR_FORMAT,
                    "%s: ends early at offset %" PRIu64 ": %" PRIu64 " bytes to skip from offset %" PRIu64, f->path,
                    f->size, size, f->position);
    if (lseek(f->fd, (off_t)size, SEEK_CUR) < 0)
        return fail(err, ERR_IO, "%s: cannot seek from offset %" PRIu64, f->path, f->position);
    f->position += size;
    return OK;
}

struct source file_source_sequential(struct file_source *f)
{
    if (f->regular)
        (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* advice: failure changes nothing */
    return (struct source){.read = file_read, .skip = f->regular ? file_skip : NULL, .context = f, .name = f->path};
}

static enum status file_read_at(void *context, uint64_t offset, uint8_t *data, size_t size, struct error *err)
{
    struct file_source *f = context;
    if (offset > f->size || size > f->size - offset)
        return fail(err, ERR_FORMAT, "%s: ends early at offset %" PRIu64 ": %zu bytes to read from offset %" PRIu64,
                    f->path, f->size, size, offset);
    while (size > 0) {
        ssize_t got = pread(f->fd, data, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(err, ERR_IO, "%s: cannot read at offset %" PRIu64, f->path, offset);
        if (got == 0)
            return fail(err, ERR_FORMAT, "%s: ends early at offset %" PRIu64, f->path, offset);
        data += got;
        size -= (size_t)got;
        offset += (uint64_t)got;
    }
    return OK;
}

struct source_at file_source_random(struct file_source *f)
{
    return (struct source_at){.read_at = file_read_at, .context = f, .size = f->size, .name = f->path};
}
