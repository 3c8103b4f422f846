#include "server/body.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void body_init(struct body *b, struct shared *shared, size_t size_max)
{
    *b =
        (struct body){.shared = shared, .size_max = size_max, .memory = BUFFER_INIT(size_max ? size_max : 1), .fd = -1};
}

static void uncharge(struct body *b)
{
    if (b->charged > 0)
        atomic_fetch_sub(&b->shared->body_memory, b->charged);
    b->charged = 0;
}

void body_deinit(struct body *b)
{
    uncharge(b);
    buffer_deinit(&b->memory);
    if (b->fd >= 0)
        close(b->fd);
    b->fd = -1;
}

/* false: the budget is used up. */
static bool charge(struct body *b, size_t size)
{
    struct shared *s = b->shared;
    uint_fast64_t now = atomic_fetch_add(&s->body_memory, size) + size;
    if (now > s->limits.body_memory) {
        atomic_fetch_sub(&s->body_memory, size);
        return false;
    }
    b->charged += size;
    uint_fast64_t peak = atomic_load(&s->body_memory_peak);
    while (now > peak && !atomic_compare_exchange_weak(&s->body_memory_peak, &peak, now))
        ;
    return true;
}

static enum status write_file(struct body *b, const uint8_t *data, size_t size, struct error *err)
{
    while (size > 0) {
        ssize_t written = write(b->fd, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return fail(err, ERR_IO, "write an upload to a file in %s", b->shared->datastore);
        data += written;
        size -= (size_t)written;
    }
    return OK;
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

static enum status move_to_file(struct body *b, struct error *err)
{
    b->fd = open_nameless(b->shared->datastore);
    if (b->fd < 0)
        return fail(err, ERR_IO, "make a file for uploads in %s", b->shared->datastore);
    TRY(write_file(b, b->memory.data, b->memory.size, err));
    buffer_deinit(&b->memory);
    uncharge(b);
    return OK;
}

/* Room for `extra` more bytes in steps that double, so that what is charged is what is allocated. */
static enum status grow(struct body *b, size_t extra, bool *out_refused, struct error *err)
{
    *out_refused = false;
    if (b->memory.capacity - b->memory.size >= extra)
        return OK;
    size_t wanted = b->memory.capacity > 0 ? 2 * b->memory.capacity : extra;
    if (wanted < b->memory.size + extra)
        wanted = b->memory.size + extra;
    if (wanted > b->size_max)
        wanted = b->size_max;
    if (!charge(b, wanted - b->memory.capacity)) {
        *out_refused = true;
        return OK;
    }
    TRY(buffer_reserve(&b->memory, wanted - b->memory.size, err));
    return OK;
}

enum status body_add(struct body *b, const uint8_t *data, size_t size, struct error *err)
{
    if (size > b->size_max - b->size)
        return fail(err, ERR_LIMIT, "the body is longer than %zu bytes", b->size_max);
    if (b->fd < 0) {
        bool refused;
        TRY(grow(b, size, &refused, err));
        if (refused)
            TRY(move_to_file(b, err));
    }
    TRY(b->fd >= 0 ? write_file(b, data, size, err) : buffer_append(&b->memory, data, size, err));
    b->size += size;
    return OK;
}

enum status body_take(struct body *b, const uint8_t **out, size_t *out_size, struct error *err)
{
    if (b->fd >= 0) {
        TRY(buffer_reserve(&b->memory, b->size, err));
        while (b->memory.size < b->size) {
            ssize_t got =
                pread(b->fd, b->memory.data + b->memory.size, b->size - b->memory.size, (off_t)b->memory.size);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                return fail(err, ERR_IO, "read an upload from its file in %s", b->shared->datastore);
            b->memory.size += (size_t)got;
        }
    }
    *out = b->memory.data;
    *out_size = b->size;
    return OK;
}
