/* Any bytes from a client. First byte: how; second: size of the pieces; the rest is fed to a server whose handler
 * answers in one of several ways. Every request it was told of is closed exactly once, and what it is told keeps to the
 * rules. */
#include "wire/h2_server.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    unsigned how;
    size_t open;
    unsigned requests;
    int32_t last;
};

struct call {
    uint64_t received;
    bool ended;
    unsigned left;
    struct h2_server_request request;
};

static enum h2_source_result source(void *user, uint8_t *out, size_t room, size_t *out_size)
{
    struct call *call = user;
    *out_size = room < 100 ? room : 100;
    memset(out, 'x', *out_size);
    switch (call->left--) {
    case 3: return H2_SOURCE_MORE;
    case 2: *out_size = 0; return H2_SOURCE_WAIT;
    case 1: return call->request.has_length ? H2_SOURCE_FAILED : H2_SOURCE_MORE;
    default: call->left = 0; return H2_SOURCE_END;
    }
}

static void respond(struct h2_server *s, int32_t stream, struct call *call)
{
    struct h2_reply reply = {.status = 200, .content_type = "text/plain", .body = "hello", .body_size = 5};
    if (strlen(call->request.path) % 2) {
        reply.body = NULL;
        reply.source = source;
        reply.source_user = call;
    }
    ASSERT(h2_server_respond(s, stream, &reply, NULL) == OK);
    ASSERT(h2_server_respond(s, stream, &reply, NULL) == ERR_EXISTS);
}

static void on_request(void *user, struct h2_server *s, int32_t stream, const struct h2_server_request *request)
{
    struct fuzz *f = user;
    struct call *call = calloc(1, sizeof *call);
    ASSERT(call);
    ASSERT(request->method && request->path && request->path[0]);
    ASSERT(request->path[0] == '/' || request->path[0] == '*');
    ASSERT(stream > f->last && stream % 2 == 1);
    f->last = stream;
    f->open++;
    f->requests++;
    ASSERT(h2_server_streams(s) == f->open);
    call->left = 3;
    call->request = *request;
    h2_server_set_user(s, stream, call);
    if (f->how & 1 && f->requests % 3 == 0)
        respond(s, stream, call);
    if (f->how & 2 && f->requests % 5 == 0)
        h2_server_reset(s, stream, 8);
}

static void on_data(void *user, struct h2_server *s, int32_t stream, void *stream_user, const uint8_t *data,
                    size_t size)
{
    struct fuzz *f = user;
    struct call *call = stream_user;
    ASSERT(data && size > 0 && !call->ended && call->request.has_body);
    call->received += size;
    if (f->how & 4 && call->received > 50) {
        call->ended = true;
        respond(s, stream, call);
    }
}

static void on_end(void *user, struct h2_server *s, int32_t stream, void *stream_user)
{
    (void)user;
    struct call *call = stream_user;
    ASSERT(!call->ended);
    ASSERT(!call->request.has_length || call->request.length == call->received);
    call->ended = true;
    respond(s, stream, call);
}

static void on_closed(void *user, struct h2_server *s, int32_t stream, void *stream_user, bool complete)
{
    struct fuzz *f = user;
    (void)s;
    (void)stream;
    (void)complete;
    f->open--;
    free(stream_user);
}

static void drain(struct h2_server *s, size_t most)
{
    const uint8_t *out;
    size_t size;
    (void)!h2_server_output(s, &out, &size, NULL);
    h2_server_sent(s, size < most ? size : most);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct h2_server_handler handler = {on_request, on_data, on_end, on_closed};
    static const char opening[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    struct h2_server *s;
    if (size < 2)
        return 0;
    struct fuzz f = {.how = data[0]};
    size_t piece = data[1] ? data[1] : 1 << 20;
    const struct h2_server_options options = {
        .lax = f.how & 8, .stream_window = f.how & 16 ? 1000 : 0, .late_settings = f.how & 32};
    data += 2;
    size -= 2;
    if (h2_server_new(&options, &handler, &f, &s, NULL) != OK)
        return 0;
    if (!(f.how & 64))
        (void)!h2_server_feed(s, opening, sizeof opening - 1, NULL);
    for (size_t i = 0, step = 0; i < size; i += piece, step++) {
        (void)!h2_server_feed(s, data + i, size - i < piece ? size - i : piece, NULL);
        if (step % 2 == 0)
            drain(s, f.how & 128 ? 50 : 1 << 20);
        h2_server_resume(s, (int32_t)(step & 15));
    }
    drain(s, 1 << 20);
    (void)h2_server_finished(s);
    (void)!h2_server_goaway(s, 0, NULL);
    drain(s, 1 << 20);
    h2_server_free(s);
    ASSERT(f.open == 0);
    return 0;
}
