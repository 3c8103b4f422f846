#include "server/body.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS_MAX = 1 << 20, MEMORY_LEAST = 64 };

/* ---- the file ---- */

void body_file_init(struct body_file *f, const char *directory, uint64_t slot_size)
{
    *f = (struct body_file){.directory = directory, .slot_size = slot_size, .fd = -1};
}

void body_file_deinit(struct body_file *f)
{
    ASSERT(f->taken_count == 0 && f->fd < 0);
    free(f->taken);
    *f = (struct body_file){.fd = -1};
}

/* Not every filesystem has nameless files. */
static int open_nameless(const char *directory)
{
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    char path[PATH_MAX];
    int size = snprintf(path, sizeof path, "%s/.upload_XXXXXX", directory);
    if (size < 0 || (size_t)size >= sizeof path)
        return -1;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static enum status take_slot(struct body_file *f, size_t *out, struct error *err)
{
    size_t slot = 0;
    while (slot < f->slot_count && f->taken[slot])
        slot++;
    void *taken = f->taken;
    TRY(array_grow(&taken, slot, &f->slot_capacity, sizeof *f->taken, SLOTS_MAX, "uploads in a file", err));
    f->taken = taken;
    if (f->fd < 0)
        f->fd = open_nameless(f->directory);
    if (f->fd < 0)
        return fail(err, ERR_IO, "make a file for uploads");
    f->taken[slot] = true;
    f->taken_count++;
    if (slot == f->slot_count)
        f->slot_count++;
    *out = slot;
    return OK;
}

/* Its disk space is free again: with the file, or as a hole in it where there can be holes. */
static void give_slot(struct body_file *f, size_t slot)
{
    f->taken[slot] = false;
    if (--f->taken_count == 0) {
        close(f->fd);
        f->fd = -1;
        f->slot_count = 0;
        return;
    }
    if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(slot * f->slot_size),
                  (off_t)f->slot_size) != 0)
        return; /* the next upload overwrites it */
}

/* ---- a body ---- */

void body_init(struct body *b, struct budget *budget, struct body_file *file, size_t size_max)
{
    ASSERT(size_max <= file->slot_size);
    *b = (struct body){
        .budget = budget, .file = file, .size_max = size_max, .memory = BUFFER_INIT(size_max ? size_max : 1)};
}

static void uncharge(struct body *b)
{
    if (b->charged > 0)
        budget_give(b->budget, b->charged);
    b->charged = 0;
}

void body_deinit(struct body *b)
{
    uncharge(b);
    buffer_deinit(&b->memory);
    if (b->in_file)
        give_slot(b->file, b->slot);
    b->in_file = false;
}

static enum status write_file(const struct body *b, uint64_t offset, const uint8_t *data, size_t size,
                              struct error *err)
{
    offset += b->slot * b->file->slot_size;
    while (size > 0) {
        ssize_t written = pwrite(b->file->fd, data, size, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return fail(err, ERR_IO, "write an upload to its file");
        data += written;
        offset += (uint64_t)written;
        size -= (size_t)written;
    }
    return OK;
}

static enum status move_to_file(struct body *b, struct error *err)
{
    TRY(take_slot(b->file, &b->slot, err));
    b->in_file = true;
    TRY(write_file(b, 0, b->memory.data, b->memory.size, err));
    buffer_deinit(&b->memory);
    uncharge(b);
    return OK;
}

/* Room for `extra` more bytes. Steps are the buffer's own, so that what is charged is what is allocated. */
static enum status grow(struct body *b, size_t extra, bool *out_refused, struct error *err)
{
    *out_refused = false;
    if (b->memory.capacity - b->memory.size >= extra)
        return OK;
    size_t least = b->size_max < MEMORY_LEAST ? b->size_max : MEMORY_LEAST;
    size_t wanted = b->memory.capacity > 0 ? b->memory.capacity : least;
    while (wanted < b->memory.size + extra)
        wanted = wanted > b->size_max / 2 ? b->size_max : 2 * wanted;
    if (!budget_take(b->budget, wanted - b->memory.capacity)) {
        *out_refused = true;
        return OK;
    }
    b->charged += wanted - b->memory.capacity;
    TRY(buffer_reserve(&b->memory, wanted - b->memory.size, err));
    ASSERT(b->memory.capacity == wanted);
    return OK;
}

enum status body_add(struct body *b, const void *data, size_t size, struct error *err)
{
    if (size > b->size_max - b->size)
        return fail(err, ERR_LIMIT, "the body is longer than %zu bytes", b->size_max);
    if (!b->in_file) {
        bool refused;
        TRY(grow(b, size, &refused, err));
        if (refused)
            TRY(move_to_file(b, err));
    }
    TRY(b->in_file ? write_file(b, b->size, data, size, err) : buffer_append(&b->memory, data, size, err));
    b->size += size;
    return OK;
}

enum status body_read(const struct body *b, uint64_t offset, void *out, size_t size, struct error *err)
{
    ASSERT(offset <= b->size && size <= b->size - offset);
    if (!b->in_file) {
        if (size > 0)
            memcpy(out, b->memory.data + offset, size);
        return OK;
    }
    uint8_t *at = out;
    offset += b->slot * b->file->slot_size;
    while (size > 0) {
        ssize_t got = pread(b->file->fd, at, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return fail(err, ERR_IO, "read an upload from its file");
        at += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return OK;
}

enum status body_take(const struct body *b, struct buffer *scratch, const uint8_t **out, size_t *out_size,
                      struct error *err)
{
    *out = b->memory.data;
    *out_size = b->size;
    if (!b->in_file)
        return OK;
    buffer_clear(scratch);
    scratch->limit = b->size_max;
    TRY(buffer_reserve(scratch, b->size, err));
    TRY(body_read(b, 0, scratch->data, b->size, err));
    scratch->size = b->size;
    *out = scratch->data;
    return OK;
}
