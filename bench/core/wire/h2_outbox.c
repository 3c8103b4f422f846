#include "wire/h2_outbox.h"

#include <stdlib.h>
#include <string.h>

enum status h2_outbox_init(struct h2_outbox *o, struct error *err)
{
    *o = (struct h2_outbox){.data = malloc(H2_OUTBOX_SIZE)};
    return o->data ? OK : fail(err, ERR_MEMORY, "out of memory for %d bytes to send", H2_OUTBOX_SIZE);
}

void h2_outbox_deinit(struct h2_outbox *o)
{
    free(o->data);
    *o = (struct h2_outbox){0};
}

static void take_rest(struct h2_outbox *o)
{
    size_t size = o->rest_size < h2_outbox_room(o) ? o->rest_size : h2_outbox_room(o);
    if (size == 0)
        return;
    memcpy(o->data + o->tail, o->rest, size);
    o->tail += size;
    o->rest += size;
    o->rest_size -= size;
}

enum status h2_outbox_fill(struct h2_outbox *o, nghttp2_session *session, struct error *err)
{
    for (;;) {
        take_rest(o);
        if (o->rest_size > 0)
            return OK;
        ssize_t size = nghttp2_session_mem_send(session, &o->rest);
        if (size < 0)
            return h2_failure((int)size, err);
        if (size == 0)
            return OK;
        o->rest_size = (size_t)size;
    }
}

void h2_outbox_sent(struct h2_outbox *o, size_t size)
{
    ASSERT(size <= o->tail - o->head);
    o->head += size;
    if (o->head == o->tail)
        o->head = o->tail = 0;
}

void h2_outbox_put_frame(struct h2_outbox *o, const uint8_t header[H2_FRAME_HEADER_SIZE], const struct slice *slices,
                         size_t *slice, size_t *offset, size_t size)
{
    ASSERT(H2_FRAME_HEADER_SIZE + size <= h2_outbox_room(o));
    memcpy(o->data + o->tail, header, H2_FRAME_HEADER_SIZE);
    o->tail += H2_FRAME_HEADER_SIZE;
    while (size > 0) {
        const struct slice *from = &slices[*slice];
        size_t piece = from->size - *offset < size ? from->size - *offset : size;
        if (piece > 0)
            memcpy(o->data + o->tail, from->data + *offset, piece);
        o->tail += piece;
        size -= piece;
        *offset += piece;
        if (*offset == from->size && size > 0) {
            ++*slice;
            *offset = 0;
        }
    }
}

nghttp2_nv h2_header(const char *name, const char *value)
{
    return (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name,
        .value = (uint8_t *)(uintptr_t)value,
        .namelen = strlen(name),
        .valuelen = strlen(value),
        .flags = NGHTTP2_NV_FLAG_NONE,
    };
}

ssize_t h2_data_frame_size(nghttp2_session *session, uint8_t type, int32_t stream, int32_t session_window,
                           int32_t stream_window, uint32_t frame_size_max, void *user)
{
    (void)session;
    (void)type;
    (void)stream;
    (void)session_window;
    (void)stream_window;
    (void)user;
    return frame_size_max < H2_DATA_FRAME_MAX ? (ssize_t)frame_size_max : H2_DATA_FRAME_MAX;
}

const char *h2_error_name(uint32_t code)
{
    return nghttp2_http2_strerror(code);
}

enum status h2_failure(int code, struct error *err)
{
    return fail(err, code == NGHTTP2_ERR_NOMEM ? ERR_MEMORY : ERR_FORMAT, "HTTP/2: %s", nghttp2_strerror(code));
}
