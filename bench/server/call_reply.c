/* Replies: made, delayed, sent from files a piece at a time, and spoilt where fault injection wants it. */
#include "server/call.h"

#include "store/local_server.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REPLY_TEXT_MAX = 4096, GROWN_SIZE = 100 };

/* ---- files ---- */

static uint64_t spoilt_size(const struct call *c)
{
    switch (c->lie) {
    case LIE_CUT: return c->size / 2;
    case LIE_GROW: return c->size + GROWN_SIZE;
    case LIE_ENDLESS: return UINT64_MAX;
    default: return c->size;
    }
}

static bool read_file(const struct call *c, uint64_t offset, uint8_t *out, size_t size)
{
    while (size > 0) {
        ssize_t got = pread(c->fd, out, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        out += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return true;
}

static enum h2_source_result repeat(void *user, uint8_t *out, size_t room, size_t *out_size)
{
    struct call *c = user;
    uint64_t left = c->size - c->offset;
    *out_size = left < room ? (size_t)left : room;
    memset(out, c->filler, *out_size);
    c->offset += *out_size;
    return c->offset == c->size ? H2_SOURCE_END : H2_SOURCE_MORE;
}

static enum h2_source_result read_piece(void *user, uint8_t *out, size_t room, size_t *out_size)
{
    struct call *c = user;
    uint64_t size = spoilt_size(c);
    uint64_t left = size - c->offset;
    size_t piece = left < room ? (size_t)left : room;
    size_t from_file = c->offset < c->size ? (size_t)(c->size - c->offset < piece ? c->size - c->offset : piece) : 0;
    if (!read_file(c, c->offset, out, from_file))
        return H2_SOURCE_FAILED;
    memset(out + from_file, 0, piece - from_file);
    uint64_t middle = c->size / 2;
    if (c->lie == LIE_FLIP && c->offset <= middle && middle < c->offset + from_file)
        out[middle - c->offset] ^= 0x10;
    c->offset += piece;
    *out_size = piece;
    return c->offset == size ? H2_SOURCE_END : H2_SOURCE_MORE;
}

/* ---- sending ---- */

static void submit(struct call *c)
{
    struct session *s = c->session;
    struct error err = {0};
    const struct h2_reply reply = {
        .status = c->status,
        .content_type = c->type,
        .body = c->text.data,
        .body_size = c->text.size,
        .body_borrowed = true,
        .source = c->fd >= 0   ? read_piece
                  : c->repeats ? repeat
                               : NULL,
        .source_user = c,
    };
    c->submitted = true;
    shared_count_reply(s->shared, c->status);
    if (c->fault_cut && s->faults->cut_when == CUT_BEFORE_REPLY) {
        s->cut = SESSION_CUT_NOW;
        return;
    }
    /* A stream that is gone wants no reply; one that there is no memory for is reset. */
    enum status status = h2_server_respond(s->h2, c->stream, &reply, &err);
    if (status != OK && status != ERR_CLOSED)
        h2_server_reset(s->h2, c->stream, 2 /* INTERNAL_ERROR */);
    if (c->fault_cut && s->faults->cut_when == CUT_WITHIN_REPLY)
        s->cut = SESSION_CUT_HALF;
}

static void begin_file(struct call *c)
{
    c->session->files++;
    submit(c);
}

static void wait_for_file(struct call *c)
{
    struct session *s = c->session;
    if (s->files < SESSION_FILES_MAX && !s->waiting) {
        begin_file(c);
        return;
    }
    c->next_waiting = NULL;
    if (s->waiting)
        s->waiting_last->next_waiting = c;
    else
        s->waiting = c;
    s->waiting_last = c;
}

static void remove_waiting(struct call *c)
{
    struct session *s = c->session;
    struct call *before = NULL;
    for (struct call **at = &s->waiting; *at; before = *at, at = &(*at)->next_waiting) {
        if (*at != c)
            continue;
        *at = c->next_waiting;
        if (s->waiting_last == c)
            s->waiting_last = before;
        return;
    }
}

static void send_or_wait(struct call *c)
{
    if (c->fd >= 0)
        wait_for_file(c);
    else
        submit(c);
}

static void finish_reply(struct call *c)
{
    struct session *s = c->session;
    uint64_t delay = c->fault_delay ? s->faults->delay_call_ms : 0;
    if (c->status == 401)
        delay += s->faults->delay_401_ms;
    c->replied = true;
    if (delay > 0)
        c->due_ns = s->now + delay * 1000000;
    else
        send_or_wait(c);
}

void call_reply_due(struct session *s)
{
    for (struct call *c = s->calls, *next; c; c = next) {
        next = c->next;
        if (c->replied && c->due_ns > 0 && c->due_ns <= s->now) {
            c->due_ns = 0;
            send_or_wait(c);
        }
    }
    while (s->waiting && s->files < SESSION_FILES_MAX) {
        struct call *c = s->waiting;
        s->waiting = c->next_waiting;
        begin_file(c);
    }
}

void call_reply_close(struct call *c)
{
    struct session *s = c->session;
    if (c->fd >= 0) {
        if (c->submitted)
            s->files--;
        else
            remove_waiting(c);
        close(c->fd);
    }
    buffer_deinit(&c->text);
}

/* ---- making ---- */

void call_reply_error(struct call *c, int status, const char *text)
{
    char public_text[ERROR_TEXT_MAX];
    if (c->replied)
        return;
    local_public_text(c->session->shared->store, text, public_text);
    c->status = status;
    c->type = WIRE_TYPE_JSON_REPLY; /* as the original, although it is bare text */
    c->text = BUFFER_INIT(ERROR_TEXT_MAX);
    if (buffer_append(&c->text, public_text, strlen(public_text), NULL) != OK)
        buffer_clear(&c->text); /* the status says enough */
    finish_reply(c);
}

void call_reply_failure(struct call *c, const struct error *err)
{
    call_reply_error(c, 400, err->text);
}

void call_reply_data(struct call *c, const char *format, ...)
{
    char text[REPLY_TEXT_MAX];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ASSERT(size >= 0 && (size_t)size < sizeof text);
    if (c->replied)
        return;
    c->status = 200;
    c->type = WIRE_TYPE_JSON_REPLY;
    c->text = BUFFER_INIT(REPLY_TEXT_MAX + 16);
    if (buffer_printf(&c->text, NULL, "{\"data\":%s}", text) != OK) {
        buffer_deinit(&c->text);
        call_reply_error(c, 500, "out of memory");
        return;
    }
    finish_reply(c);
}

void call_reply_file(struct call *c, int fd, uint64_t size)
{
    if (c->replied) {
        close(fd);
        return;
    }
    c->status = 200;
    c->type = WIRE_TYPE_BINARY;
    c->fd = fd;
    c->size = size;
    c->lie = c->fault_lie ? c->session->faults->lie : LIE_NONE;
    if (c->lie == LIE_SWAP) /* whoever has something else to give has given it */
        c->lie = LIE_FLIP;
    finish_reply(c);
}

void call_reply_constant(struct call *c, uint8_t byte, uint64_t size)
{
    if (c->replied)
        return;
    c->status = 200;
    c->type = WIRE_TYPE_BINARY;
    c->repeats = true;
    c->filler = byte;
    c->size = size;
    finish_reply(c);
}
