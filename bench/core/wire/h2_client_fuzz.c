/* Any bytes from a server. First byte: how; second: size of the pieces; the rest is fed to a client with requests under
 * way. Every request is answered exactly once, whatever comes; collected bodies keep within their ceilings. */
#include "wire/h2_client.h"
#include "wire/protocol.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { REQUESTS_MAX = 64, BODY_MAX = 3000 };

struct fuzz {
    struct h2_client *client;
    unsigned submitted;
    unsigned answered;
    bool seen[REQUESTS_MAX];
    size_t sunk[REQUESTS_MAX];
};

static size_t sink(void *user, const uint8_t *data, size_t size)
{
    size_t *sunk = user;
    ASSERT(data || size == 0);
    *sunk += size;
    ASSERT(*sunk <= BODY_MAX);
    return size / 2;
}

static void submit(struct fuzz *f)
{
    static const uint8_t bytes[100000];
    static const struct slice body[] = {{.data = bytes, .size = 10}, {.data = bytes, .size = sizeof bytes}};
    unsigned k = f->submitted;
    if (k == REQUESTS_MAX)
        return;
    const struct h2_request request = {
        .method = k % 2 ? "POST" : "GET",
        .path = "/path?with=parameters",
        .body = body,
        .body_count = k % 2 ? k % 4 / 2 + 1 : 0,
        .response_size_max = BODY_MAX,
        .sink = k % 3 == 2 ? sink : NULL,
        .user = &f->sunk[k],
    };
    int32_t id;
    if (h2_client_submit(f->client, &request, &id, NULL) == OK) {
        ASSERT(id == (int32_t)(2 * k + 1));
        f->submitted++;
    }
}

static void take_answers(struct fuzz *f)
{
    for (struct h2_response *response; (response = h2_client_next(f->client)); f->answered++) {
        unsigned k = (unsigned)response->id / 2;
        ASSERT(k < f->submitted && !f->seen[k] && response->user == &f->sunk[k]);
        f->seen[k] = true;
        if (response->status == OK) {
            ASSERT(response->http_status >= 200);
            ASSERT(response->body.size <=
                   (response->http_status == 200 ? (size_t)BODY_MAX : (size_t)WIRE_ERROR_TEXT_MAX));
        } else {
            ASSERT(response->text[0]);
        }
        h2_response_free(response);
    }
}

static void drain(struct fuzz *f, size_t most)
{
    const uint8_t *out;
    size_t size;
    (void)!h2_client_output(f->client, &out, &size, NULL);
    h2_client_sent(f->client, size < most ? size : most);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t settings[] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    struct fuzz f = {0};
    if (size < 2)
        return 0;
    unsigned how = data[0];
    size_t piece = data[1] ? data[1] : 1 << 20;
    data += 2;
    size -= 2;
    const struct h2_client_options options = {.stream_window = how & 1 ? 1000 : 0};
    if (h2_client_new(&options, &f.client, NULL) != OK)
        return 0;
    for (int i = 0; i < 8; i++)
        submit(&f);
    if (!(how & 2))
        (void)!h2_client_feed(f.client, settings, sizeof settings, NULL);
    if (how & 4)
        drain(&f, 1 << 20);
    for (size_t i = 0, step = 0; i < size; i += piece, step++) {
        (void)!h2_client_feed(f.client, data + i, size - i < piece ? size - i : piece, NULL);
        if (how & 8)
            take_answers(&f);
        if (step % 3 == 0)
            drain(&f, how & 16 ? 100 : 1 << 20);
        if (how & 32 && step % 5 == 0)
            submit(&f);
        if (how & 64)
            h2_client_cancel(f.client, (int32_t)(step & 127));
        h2_client_consume(f.client, (int32_t)(step & 15), 1);
    }
    drain(&f, 1 << 20);
    take_answers(&f);
    h2_client_lose(f.client, NULL);
    take_answers(&f);
    ASSERT(f.answered == f.submitted);
    h2_client_free(f.client);
    return 0;
}
