#include "cli/files.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

enum status input_file_open(const char *path, struct input_file *out, struct error *err)
{
    out->path = path;
    out->position = 0;
    out->size = 0;
    out->file = fopen(path, "re");
    if (!out->file)
        return fail(err, ERR_IO, "open %s", path);
    setvbuf(out->file, out->buffer, _IOFBF, sizeof out->buffer);
    struct stat st;
    if (fstat(fileno(out->file), &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
        out->size = (uint64_t)st.st_size;
    return OK;
}

void input_file_close(struct input_file *f)
{
    if (f->file)
        fclose(f->file);
    f->file = NULL;
}

static enum status input_read(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct input_file *f = context;
    *out_size = fread(data, 1, size, f->file);
    if (*out_size == 0 && ferror(f->file))
        return fail(err, ERR_IO, "read %s at offset %" PRIu64, f->path, f->position);
    f->position += *out_size;
    return OK;
}

static enum status input_skip(void *context, uint64_t size, struct error *err)
{
    struct input_file *f = context;
    /* Seeking drops what stdio holds: near targets are cheaper to read over. */
    if (f->size && size > FILE_BUFFER_SIZE) {
        if (f->position > f->size || size > f->size - f->position)
            return fail(err, ERR_FORMAT, "%s: ends early at offset %" PRIu64, f->path, f->size);
        if (fseeko(f->file, (off_t)(f->position + size), SEEK_SET) != 0)
            return fail(err, ERR_IO, "seek %s to offset %" PRIu64, f->path, f->position + size);
        f->position += size;
        return OK;
    }
    uint8_t dropped[4096];
    while (size > 0) {
        size_t part;
        TRY(input_read(f, dropped, size < sizeof dropped ? (size_t)size : sizeof dropped, &part, err));
        if (part == 0)
            return fail(err, ERR_FORMAT, "%s: ends early at offset %" PRIu64, f->path, f->position);
        size -= part;
    }
    return OK;
}

struct source input_file_source(struct input_file *f)
{
    return (struct source){.read = input_read, .skip = input_skip, .context = f, .name = f->path};
}

enum status output_file_create(const char *path, struct output_file *out, struct error *err)
{
    out->path = path;
    out->file = NULL;
    out->created = false;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0)
        return fail(err, ERR_IO, "create %s", path);
    out->created = true;
    out->file = fdopen(fd, "w");
    if (!out->file) {
        enum status status = fail(err, ERR_IO, "create %s", path);
        close(fd);
        output_file_discard(out);
        return status;
    }
    return OK;
}

static enum status output_write(void *context, const uint8_t *data, size_t size, struct error *err)
{
    struct output_file *f = context;
    if (size && fwrite(data, 1, size, f->file) != size)
        return fail(err, ERR_IO, "write %s", f->path);
    return OK;
}

struct sink output_file_sink(struct output_file *f)
{
    return (struct sink){.write = output_write, .context = f};
}

enum status output_file_close(struct output_file *f, struct error *err)
{
    FILE *file = f->file;
    f->file = NULL;
    if (fclose(file) != 0)
        return fail(err, ERR_IO, "write %s", f->path);
    return OK;
}

void output_file_discard(struct output_file *f)
{
    if (f->file)
        fclose(f->file);
    f->file = NULL;
    if (f->created)
        unlink(f->path);
    f->created = false;
}
