#include "server/link.h"

#include "base/buffer.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FIFO_MIN = 64 << 10, SEGMENTS_MIN = 16, PIECE_MAX = 64 << 10 };

/* ---- fifo ---- */

static void fifo_deinit(struct link_fifo *f)
{
    free(f->data);
    free(f->segments);
    *f = (struct link_fifo){0};
}

/* Room for `extra` more bytes and one more segment. */
static enum status fifo_reserve(struct link_fifo *f, size_t extra, struct error *err)
{
    ASSERT(f->size + extra <= LINK_FIFO_MAX);
    size_t capacity = f->capacity ? f->capacity : FIFO_MIN;
    while (capacity < f->size + extra)
        capacity *= 2;
    if (capacity != f->capacity) {
        uint8_t *data = malloc(capacity);
        if (!data)
            return fail(err, ERR_MEMORY, "out of memory for %zu bytes of a connection", capacity);
        size_t first = f->capacity - f->head < f->size ? f->capacity - f->head : f->size;
        if (f->size > 0) {
            memcpy(data, f->data + f->head, first);
            memcpy(data + first, f->data, f->size - first);
        }
        free(f->data);
        f->data = data;
        f->capacity = capacity;
        f->head = 0;
    }
    if (f->segment_count < f->segment_capacity)
        return OK;
    size_t segments = f->segment_capacity ? 2 * f->segment_capacity : SEGMENTS_MIN;
    struct link_segment *to = malloc(segments * sizeof *to);
    if (!to)
        return fail(err, ERR_MEMORY, "out of memory for %zu pieces of a connection", segments);
    for (size_t i = 0; i < f->segment_count; i++)
        to[i] = f->segments[(f->segment_head + i) & (f->segment_capacity - 1)];
    free(f->segments);
    f->segments = to;
    f->segment_capacity = segments;
    f->segment_head = 0;
    return OK;
}

/* The two pieces of free room, in order; reserved before. */
static int fifo_room(struct link_fifo *f, size_t size, struct iovec out[2])
{
    size_t tail = (f->head + f->size) & (f->capacity - 1);
    size_t first = f->capacity - tail < size ? f->capacity - tail : size;
    out[0] = (struct iovec){.iov_base = f->data + tail, .iov_len = first};
    out[1] = (struct iovec){.iov_base = f->data, .iov_len = size - first};
    return size > first ? 2 : 1;
}

static int fifo_bytes(const struct link_fifo *f, size_t size, struct iovec out[2])
{
    size_t first = f->capacity - f->head < size ? f->capacity - f->head : size;
    out[0] = (struct iovec){.iov_base = f->data + f->head, .iov_len = first};
    out[1] = (struct iovec){.iov_base = f->data, .iov_len = size - first};
    return size > first ? 2 : 1;
}

/* `size` bytes behind the last ones belong to the fifo now. */
static void fifo_add(struct link_fifo *f, size_t size, uint64_t delay_ns, uint64_t rate, uint64_t not_before,
                     uint64_t now)
{
    uint64_t begin = f->free_ns > now ? f->free_ns : now;
    f->free_ns = begin;
    if (rate > 0)
        f->free_ns += size * UINT64_C(1000000000) / rate; /* pieces are small */
    uint64_t due = f->free_ns + delay_ns;
    if (due < not_before)
        due = not_before;
    if (due < f->last_due_ns) /* a delay that got shorter: nothing overtakes */
        due = f->last_due_ns;
    f->last_due_ns = due;
    f->size += size;
    if (f->segment_count > 0) {
        struct link_segment *last = &f->segments[(f->segment_head + f->segment_count - 1) & (f->segment_capacity - 1)];
        if (last->due_ns == due || (last->due_ns <= now && due <= now)) {
            last->size += size;
            last->due_ns = due;
            return;
        }
    }
    f->segments[(f->segment_head + f->segment_count) & (f->segment_capacity - 1)] =
        (struct link_segment){.due_ns = due, .size = size};
    f->segment_count++;
}

static size_t fifo_due(const struct link_fifo *f, uint64_t now)
{
    size_t size = 0;
    for (size_t i = 0; i < f->segment_count; i++) {
        const struct link_segment *s = &f->segments[(f->segment_head + i) & (f->segment_capacity - 1)];
        if (s->due_ns > now)
            break;
        size += s->size;
    }
    return size;
}

static uint64_t fifo_next(const struct link_fifo *f)
{
    return f->segment_count > 0 ? f->segments[f->segment_head].due_ns : UINT64_MAX;
}

static void fifo_take(struct link_fifo *f, size_t size)
{
    ASSERT(size <= f->size);
    f->head = (f->head + size) & (f->capacity - 1);
    f->size -= size;
    while (size > 0) {
        struct link_segment *s = &f->segments[f->segment_head];
        size_t taken = s->size < size ? s->size : size;
        s->size -= taken;
        size -= taken;
        if (s->size == 0) {
            f->segment_head = (f->segment_head + 1) & (f->segment_capacity - 1);
            f->segment_count--;
        }
    }
    if (f->size == 0)
        f->head = 0; /* the same pages again */
}

/* A long or thin wire holds more than one without delay. */
static size_t fifo_limit(uint64_t delay_ns, uint64_t rate)
{
    return delay_ns > 0 || rate > 0 ? LINK_FIFO_MAX : LINK_FIFO_NORMAL;
}

/* ---- link ---- */

enum status link_init(struct link *l, int fd, uint64_t now, struct error *err)
{
    *l = (struct link){.fd = fd, .opened_ns = now};
    if (fifo_reserve(&l->in, FIFO_MIN, err) == OK && fifo_reserve(&l->out, FIFO_MIN, err) == OK)
        return OK;
    link_deinit(l, false);
    return ERR_MEMORY;
}

void link_deinit(struct link *l, bool with_reset)
{
    if (l->fd >= 0 && with_reset) {
        const struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    fifo_deinit(&l->in);
    fifo_deinit(&l->out);
}

void link_set(struct link *l, const struct faults *faults, uint64_t now)
{
    l->delay_in_ns = faults->delay_in_us * UINT64_C(1000);
    l->delay_out_ns = faults->delay_out_us * UINT64_C(1000);
    l->rate_in = faults->rate_in;
    l->rate_out = faults->rate_out;
    if (l->reading.rate != faults->read_rate)
        token_bucket_init(&l->reading, faults->read_rate, 0, now);
}

void link_receive(struct link *l, uint64_t now)
{
    size_t limit = fifo_limit(l->delay_in_ns, l->rate_in);
    while (!l->eof && !l->failed && l->in.size < limit) {
        size_t size = limit - l->in.size < PIECE_MAX ? limit - l->in.size : PIECE_MAX;
        if (l->reading.rate > 0) {
            if (token_bucket_wait(&l->reading, now) > 0)
                return;
            uint64_t piece = l->reading.rate / 20 + 1;
            size = piece < size ? (size_t)piece : size;
        }
        if (fifo_reserve(&l->in, size, NULL) != OK) {
            l->failed = true;
            return;
        }
        struct iovec room[2];
        struct msghdr message = {.msg_iov = room, .msg_iovlen = (size_t)fifo_room(&l->in, size, room)};
        ssize_t got = recvmsg(l->fd, &message, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            l->failed = errno != EAGAIN;
            return;
        }
        if (got == 0) {
            l->eof = true;
            return;
        }
        fifo_add(&l->in, (size_t)got, l->delay_in_ns, l->rate_in, l->opened_ns + 2 * l->delay_in_ns + l->delay_out_ns,
                 now);
        if (l->reading.rate > 0)
            token_bucket_pass(&l->reading, (uint64_t)got, now);
        if ((size_t)got < size)
            return;
    }
}

size_t link_read(struct link *l, uint8_t *out, size_t size, uint64_t now)
{
    size_t due = fifo_due(&l->in, now);
    if (size > due)
        size = due;
    if (size == 0)
        return 0;
    struct iovec bytes[2];
    fifo_bytes(&l->in, size, bytes);
    memcpy(out, bytes[0].iov_base, bytes[0].iov_len);
    memcpy(out + bytes[0].iov_len, bytes[1].iov_base, bytes[1].iov_len);
    fifo_take(&l->in, size);
    return size;
}

bool link_ended(const struct link *l)
{
    return l->failed || (l->eof && l->in.size == 0);
}

bool link_has_input(const struct link *l, uint64_t now)
{
    return fifo_next(&l->in) <= now;
}

size_t link_room(const struct link *l)
{
    size_t limit = fifo_limit(l->delay_out_ns, l->rate_out);
    return l->out.size < limit ? limit - l->out.size : 0;
}

enum status link_write(struct link *l, const uint8_t *data, size_t size, uint64_t now, struct error *err)
{
    TRY(fifo_reserve(&l->out, size, err));
    struct iovec room[2];
    fifo_room(&l->out, size, room);
    memcpy(room[0].iov_base, data, room[0].iov_len);
    memcpy(room[1].iov_base, data + room[0].iov_len, room[1].iov_len);
    fifo_add(&l->out, size, l->delay_out_ns, l->rate_out, 0, now);
    return OK;
}

void link_flush(struct link *l, uint64_t now)
{
    size_t due;
    while (!l->failed && (due = fifo_due(&l->out, now)) > 0) {
        struct iovec bytes[2];
        struct msghdr message = {.msg_iov = bytes, .msg_iovlen = (size_t)fifo_bytes(&l->out, due, bytes)};
        ssize_t sent = sendmsg(l->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            l->is_full = errno == EAGAIN;
            l->failed = !l->is_full;
            return;
        }
        fifo_take(&l->out, (size_t)sent);
        l->is_full = (size_t)sent < due;
        if (l->is_full)
            return;
    }
    if (fifo_due(&l->out, now) == 0)
        l->is_full = false;
}

bool link_is_flushed(const struct link *l)
{
    return l->out.size == 0;
}

void link_wait(const struct link *l, uint64_t now, short *out_events, uint64_t *out_due_ns)
{
    *out_events = 0;
    *out_due_ns = UINT64_MAX;
    uint64_t pause = l->reading.rate > 0 ? token_bucket_wait(&l->reading, now) : 0;
    if (!l->eof && l->in.size < fifo_limit(l->delay_in_ns, l->rate_in)) {
        if (pause > 0)
            *out_due_ns = now + pause;
        else
            *out_events |= POLLIN;
    }
    uint64_t next = fifo_next(&l->in);
    if (next > now && next < *out_due_ns)
        *out_due_ns = next;
    next = fifo_next(&l->out);
    if (next > now && next < *out_due_ns)
        *out_due_ns = next;
    if (next <= now)
        *out_events |= POLLOUT;
}
