/* Both halves against each other in memory. The pump moves bytes in pieces of a size the test chooses; the server's
 * handler answers by path, like a very small backup server. */
#include "testing/testing.h"

#include "wire/h2_client.h"
#include "wire/h2_server.h"
#include "wire/protocol.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>

enum { MIB = 1 << 20, BODY_SIZE = 16 * MIB };
static uint8_t *pattern; /* BODY_SIZE bytes */
static struct error err;

static uint64_t sum_of(uint64_t sum, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + data[i];
    return sum;
}

struct call {
    int32_t stream;
    char path[100];
    uint64_t received;
    uint64_t sum;
    bool checks; /* sums take time */
    size_t source_left;
    unsigned source_steps;
    char text[64];
};

struct pair {
    struct h2_client *client;
    struct h2_server *server;
    size_t piece; /* 0: random sizes */
    uint64_t seed;
    uint64_t to_server, to_client; /* bytes that passed */
    uint64_t to_server_max;        /* the connection ends there; 0: never */
    bool ended;
    size_t calls, calls_max, begun, complete;
    size_t partial, partial_max; /* bodies under way */
    int32_t last_waiting;
    bool sums;
};
static struct pair pair;

/* ---- the server's side ---- */

static enum h2_source_result read_source(void *user, uint8_t *out, size_t room, size_t *out_size)
{
    struct call *call = user;
    if (strncmp(call->path, "/wait", 5) == 0 && ++call->source_steps % 2 == 1) {
        pair.last_waiting = call->stream;
        *out_size = 0;
        return H2_SOURCE_WAIT;
    }
    if (strncmp(call->path, "/broken", 7) == 0 && call->source_left < 5000)
        return H2_SOURCE_FAILED;
    size_t size = call->source_left < room ? call->source_left : room;
    size = size > 1000 ? 1000 : size;
    memcpy(out, pattern, size);
    call->source_left -= size;
    *out_size = size;
    return call->source_left == 0 ? H2_SOURCE_END : H2_SOURCE_MORE;
}

static size_t size_in(const char *path)
{
    const char *text = strchr(path, '=');
    return text ? strtoul(text + 1, NULL, 10) : 0;
}

static void answer(struct h2_server *s, int32_t stream, struct call *call)
{
    struct h2_reply reply = {.status = 200, .content_type = WIRE_TYPE_BINARY, .body_borrowed = true};
    const struct http_field field = {"x-test", "1"};
    if (strncmp(call->path, "/download", 9) == 0) {
        reply.body = pattern;
        reply.body_size = size_in(call->path);
    } else if (strncmp(call->path, "/source", 7) == 0 || strncmp(call->path, "/wait", 5) == 0 ||
               strncmp(call->path, "/broken", 7) == 0) {
        call->source_left = size_in(call->path);
        reply.source = read_source;
        reply.source_user = call;
    } else if (strncmp(call->path, "/error", 6) == 0) {
        reply.status = 400;
        reply.body = pattern;
        reply.body_size = size_in(call->path);
    } else if (strncmp(call->path, "/never", 6) == 0) {
        return;
    } else if (strncmp(call->path, "/headers", 8) == 0) {
        static char value[5001];
        struct http_field fields[16];
        memset(value, 'v', sizeof value - 1);
        for (int i = 0; i < 16; i++)
            fields[i] = (struct http_field){"x", value};
        reply.headers = fields;
        reply.header_count = 16;
        assert_int_equal(h2_server_respond(s, stream, &reply, &err), OK);
        return;
    } else if (strncmp(call->path, "/reset", 6) == 0) {
        h2_server_reset(s, stream, NGHTTP2_INTERNAL_ERROR);
        return;
    } else {
        snprintf(call->text, sizeof call->text, "{\"data\":\"%llu %llu\"}", (unsigned long long)call->received,
                 (unsigned long long)call->sum);
        reply.content_type = WIRE_TYPE_JSON_REPLY;
        reply.body = call->text;
        reply.body_size = strlen(call->text);
        reply.body_borrowed = false;
        reply.headers = &field;
        reply.header_count = 1;
    }
    assert_int_equal(h2_server_respond(s, stream, &reply, &err), OK);
}

static void on_request(void *user, struct h2_server *s, int32_t stream, const struct h2_server_request *request)
{
    (void)user;
    struct call *call = calloc(1, sizeof *call);
    assert_non_null(call);
    call->stream = stream;
    snprintf(call->path, sizeof call->path, "%s", request->path);
    h2_server_set_user(s, stream, call);
    pair.begun++;
    if (++pair.calls > pair.calls_max)
        pair.calls_max = pair.calls;
    assert_int_equal(pair.calls, h2_server_streams(s));
}

static void on_data(void *user, struct h2_server *s, int32_t stream, void *stream_user, const uint8_t *data,
                    size_t size)
{
    (void)user;
    struct call *call = stream_user;
    if (call->received == 0 && ++pair.partial > pair.partial_max)
        pair.partial_max = pair.partial;
    call->received += size;
    if (pair.sums)
        call->sum = sum_of(call->sum, data, size);
    if (strncmp(call->path, "/early", 6) == 0) {
        const struct h2_reply reply = {.status = 400, .body = "too early", .body_size = 9};
        assert_int_equal(h2_server_respond(s, stream, &reply, &err), OK);
    }
}

static void on_end(void *user, struct h2_server *s, int32_t stream, void *stream_user)
{
    (void)user;
    answer(s, stream, stream_user);
}

static void on_closed(void *user, struct h2_server *s, int32_t stream, void *stream_user, bool complete)
{
    (void)user;
    (void)s;
    (void)stream;
    struct call *call = stream_user;
    pair.calls--;
    pair.partial -= call->received > 0;
    pair.complete += complete;
    free(call);
}

static const struct h2_server_handler handler = {on_request, on_data, on_end, on_closed};

/* ---- the connection ---- */

static size_t piece_of(size_t size)
{
    pair.seed = pair.seed * 6364136223846793005u + 1442695040888963407u;
    size_t piece = pair.piece ? pair.piece : (pair.seed >> 33) % 3000 + 1;
    return size < piece ? size : piece;
}

static void end_connection(void)
{
    pair.ended = true;
    h2_client_lose(pair.client, NULL);
}

static bool move_to_server(void)
{
    const uint8_t *data;
    size_t size;
    assert_int_equal(h2_client_output(pair.client, &data, &size, &err), OK);
    size = piece_of(size);
    if (pair.to_server_max && size >= pair.to_server_max - pair.to_server) {
        size = (size_t)(pair.to_server_max - pair.to_server);
        pair.ended = true;
    }
    if (size == 0)
        return false;
    assert_int_equal(h2_server_feed(pair.server, data, size, &err), OK);
    h2_client_sent(pair.client, size);
    pair.to_server += size;
    return true;
}

static bool move_to_client(void)
{
    const uint8_t *data;
    size_t size;
    assert_int_equal(h2_server_output(pair.server, &data, &size, &err), OK);
    size = piece_of(size);
    if (size == 0)
        return false;
    assert_int_equal(h2_client_feed(pair.client, data, size, &err), OK);
    h2_server_sent(pair.server, size);
    pair.to_client += size;
    return true;
}

/* Until neither side has anything to say, or the connection ends. */
static void pump(void)
{
    for (bool moved = true; moved && !pair.ended;) {
        moved = move_to_server();
        if (!pair.ended)
            moved |= move_to_client();
    }
    if (pair.ended)
        end_connection();
}

static void start(const struct h2_client_options *client, const struct h2_server_options *server, size_t piece)
{
    h2_client_free(pair.client);
    h2_server_free(pair.server);
    pair = (struct pair){.piece = piece, .seed = piece + 1, .sums = true};
    assert_int_equal(h2_client_new(client, &pair.client, &err), OK);
    assert_int_equal(h2_server_new(server, &handler, NULL, &pair.server, &err), OK);
}

static int setup(void **state)
{
    (void)state;
    pattern = make_splitmix64(BODY_SIZE, 7);
    return pattern ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    h2_client_free(pair.client);
    h2_server_free(pair.server);
    pair = (struct pair){0};
    return 0;
}

static int teardown(void **state)
{
    stop(state);
    free(pattern);
    return 0;
}

/* ---- requests ---- */

static const struct h2_client_options usual_client;
static const struct h2_server_options usual_server;
static const struct h2_server_options small_server = {
    .streams_max = 1, .stream_window = 65535, .connection_window = 65535, .frame_size_max = 16384};

static int32_t get(const char *path)
{
    int32_t id;
    const struct h2_request request = {.method = "GET", .path = path, .response_size_max = BODY_SIZE};
    assert_int_equal(h2_client_submit(pair.client, &request, &id, &err), OK);
    return id;
}

static int32_t post(const char *path, const struct slice *body, size_t count)
{
    int32_t id;
    const struct h2_request request = {
        .method = "POST", .path = path, .content_type = WIRE_TYPE_BINARY, .body = body, .body_count = count};
    assert_int_equal(h2_client_submit(pair.client, &request, &id, &err), OK);
    return id;
}

static void assert_json(struct h2_response *response, size_t size)
{
    char expected[64];
    snprintf(expected, sizeof expected, "{\"data\":\"%zu %llu\"}", size,
             (unsigned long long)(pair.sums ? sum_of(0, pattern, size) : 0));
    assert_non_null(response);
    if (response->status != OK)
        print_error("%s\n", response->text);
    assert_int_equal(response->status, OK);
    assert_int_equal(response->http_status, 200);
    assert_true(response->json);
    assert_int_equal(response->body.size, strlen(expected));
    assert_memory_equal(response->body.data, expected, response->body.size);
    h2_response_free(response);
}

static void assert_download(struct h2_response *response, size_t size)
{
    assert_non_null(response);
    assert_int_equal(response->status, OK);
    assert_false(response->json);
    assert_int_equal(response->body.size, size);
    assert_memory_equal(response->body.data, pattern, size);
    h2_response_free(response);
}

/* A few of everything; each comes back once, with what belongs to it. */
static void mixed_requests(void)
{
    struct slice body[3] = {
        {.data = pattern, .size = 1}, {.data = pattern + 1, .size = 0}, {.data = pattern + 1, .size = 3999}};
    int32_t ids[8] = {
        post("/a", body, 3), get("/download=5000"), get("/source=2500"), post("/b", NULL, 0),
        get("/error=30"),    get("/download=0"),    get("/broken=7000"), get("/reset"),
    };
    pump();
    unsigned seen = 0;
    for (struct h2_response *response; (response = h2_client_next(pair.client));) {
        unsigned k = 0;
        while (k < 8 && ids[k] != response->id)
            k++;
        assert_true(k < 8);
        assert_false(seen & 1u << k);
        seen |= 1u << k;
        switch (k) {
        case 0: assert_json(response, 4000); break;
        case 1: assert_download(response, 5000); break;
        case 2:
            assert_int_equal(response->body_size, 2500);
            h2_response_free(response);
            break;
        case 3: assert_json(response, 0); break;
        case 4:
            assert_int_equal(response->http_status, 400);
            assert_int_equal(response->status, OK);
            assert_int_equal(response->body.size, 30);
            h2_response_free(response);
            break;
        case 5: assert_download(response, 0); break;
        default: assert_int_equal(response->status, ERR_FORMAT); h2_response_free(response);
        }
    }
    assert_int_equal(seen, 255);
    assert_int_equal(pair.calls, 0);
    assert_int_equal(pair.complete, 6);
}

static void test_pieces_of_any_size_come_to_the_same(void **state)
{
    (void)state;
    uint64_t whole = 0;
    static const size_t pieces[] = {1 << 30, 1, 2, 7, 9, 100, 4096};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        start(&usual_client, &usual_server, pieces[i]);
        mixed_requests();
        assert_true(whole == 0 || pair.to_server >= whole - 200);
        whole = pair.to_server;
    }
    for (unsigned seed = 0; seed < 50; seed++) {
        start(&usual_client, &small_server, 0);
        pair.seed = seed;
        mixed_requests();
    }
}

static void test_late_settings_do_no_harm(void **state)
{
    (void)state;
    start(&usual_client, &(struct h2_server_options){.late_settings = true, .streams_max = 1}, 100);
    struct slice body = {.data = pattern, .size = 60000};
    post("/a", &body, 1);
    post("/b", &body, 1);
    pump();
    assert_int_equal(pair.begun, 1); /* one request before anything is known */
    assert_null(h2_client_next(pair.client));
    h2_server_announce(pair.server);
    pump();
    assert_json(h2_client_next(pair.client), 60000);
    assert_json(h2_client_next(pair.client), 60000);
    assert_int_equal(pair.calls_max, 1);
}

static void test_300_requests_against_small_limits(void **state)
{
    (void)state;
    static const uint32_t limits[] = {1, 200};
    for (int i = 0; i < 2; i++) {
        start(&usual_client, &(struct h2_server_options){.streams_max = limits[i]}, 5000);
        pump(); /* the settings are known */
        for (int k = 0; k < 300; k++)
            get("/download=1000");
        pump();
        for (int k = 0; k < 300; k++)
            assert_download(h2_client_next(pair.client), 1000);
        assert_null(h2_client_next(pair.client));
        assert_int_equal(pair.begun, 300);
        assert_true(pair.calls_max <= limits[i]);
        assert_true(limits[i] == 1 || pair.calls_max > 100);
    }
}

static void test_largest_bodies_pass_both_ways_through_small_windows(void **state)
{
    (void)state;
    for (int small = 0; small < 2; small++) {
        start(&usual_client, small ? &small_server : &usual_server, 16384);
        struct slice body = {.data = pattern, .size = BODY_SIZE};
        int32_t upload = post("/a", &body, 1);
        get("/download=16777216");
        pump();
        for (int i = 0; i < 2; i++) {
            struct h2_response *response = h2_client_next(pair.client);
            assert_non_null(response);
            if (response->id == upload)
                assert_json(response, BODY_SIZE);
            else
                assert_download(response, BODY_SIZE);
        }
        struct h2_client_state now;
        h2_client_state(pair.client, &now);
        assert_int_equal(now.body_sent, BODY_SIZE);
        char json[64];
        snprintf(json, sizeof json, "{\"data\":\"%d %llu\"}", BODY_SIZE,
                 (unsigned long long)sum_of(0, pattern, BODY_SIZE));
        assert_int_equal(now.body_received, BODY_SIZE + strlen(json));
        assert_int_equal(now.body_unsent, 0);
    }
}

static void test_200_bodies_of_4_mib_at_once_do_not_block_each_other(void **state)
{
    (void)state;
    start(&usual_client, &usual_server, 64 << 10);
    pair.sums = false;
    struct slice body = {.data = pattern, .size = 4 * MIB};
    pump();
    for (int i = 0; i < 200; i++)
        post("/a", &body, 1);
    pump();
    for (int i = 0; i < 200; i++)
        assert_json(h2_client_next(pair.client), 4 * MIB);
    assert_int_equal(pair.complete, 200);
    assert_int_equal(pair.partial_max, 200); /* they were interleaved */
}

static void test_an_early_error_is_that_error(void **state)
{
    (void)state;
    for (int cancel = 0; cancel < 2; cancel++)
        for (size_t piece = 1000; piece < 100000; piece += 33000) {
            start(&usual_client, &(struct h2_server_options){.reset_with_cancel = cancel}, piece);
            struct slice body = {.data = pattern, .size = 4 * MIB};
            post("/early", &body, 1);
            post("/a", &body, 1);
            pump();
            struct h2_response *response = h2_client_next(pair.client);
            assert_int_equal(response->status, OK);
            assert_int_equal(response->http_status, 400);
            assert_memory_equal(response->body.data, "too early", 9);
            h2_response_free(response);
            assert_json(h2_client_next(pair.client), 4 * MIB);
            get("/download=10");
            pump();
            assert_download(h2_client_next(pair.client), 10);
            struct h2_client_state now;
            h2_client_state(pair.client, &now);
            assert_true(now.body_sent < 5 * MIB);
        }
}

/* ---- sinks ---- */

struct taken {
    uint64_t size;
    uint64_t sum;
    bool hold;
};

static size_t take(void *user, const uint8_t *data, size_t size)
{
    struct taken *taken = user;
    taken->size += size;
    taken->sum = sum_of(taken->sum, data, size);
    return taken->hold ? 0 : size;
}

static int32_t get_into(const char *path, struct taken *taken, size_t size_max)
{
    int32_t id;
    const struct h2_request request = {
        .method = "GET", .path = path, .sink = take, .user = taken, .response_size_max = size_max};
    assert_int_equal(h2_client_submit(pair.client, &request, &id, &err), OK);
    return id;
}

static void test_a_slow_consumer_holds_back_its_own_download_only(void **state)
{
    (void)state;
    start(&(struct h2_client_options){.stream_window = 100000, .connection_window = 100000}, &usual_server, 5000);
    struct taken slow = {.hold = true};
    struct taken fast = {0};
    int32_t id = get_into("/download=1000000", &slow, 1000000);
    get_into("/download=3000000", &fast, 3000000);
    pump();
    struct h2_response *response = h2_client_next(pair.client);
    assert_ptr_equal(response->user, &fast);
    assert_int_equal(response->status, OK);
    assert_int_equal(response->body_size, 3000000);
    assert_int_equal(response->body.size, 0);
    assert_true(fast.sum == sum_of(0, pattern, 3000000));
    h2_response_free(response);
    assert_int_equal(slow.size, 100000);
    for (uint64_t used = 0; used < 1000000;) {
        assert_null(h2_client_next(pair.client));
        h2_client_consume(pair.client, id, (size_t)(slow.size - used));
        used = slow.size;
        pump();
        assert_true(slow.size <= used + 100000);
        if (slow.size == 1000000)
            break;
        assert_true(slow.size > used);
    }
    response = h2_client_next(pair.client);
    assert_ptr_equal(response->user, &slow);
    assert_true(slow.sum == sum_of(0, pattern, 1000000));
    h2_response_free(response);
    h2_client_consume(pair.client, id, 1);
}

static void test_answers_longer_than_accepted_are_refused(void **state)
{
    (void)state;
    start(&usual_client, &usual_server, 5000);
    struct taken taken = {0};
    get_into("/download=1000001", &taken, 1000000);
    pump();
    struct h2_response *response = h2_client_next(pair.client);
    assert_int_equal(response->status, ERR_LIMIT);
    assert_true(taken.size <= 1000000);
    h2_response_free(response);

    int32_t id;
    const struct h2_request request = {.method = "GET", .path = "/source=1048577"}; /* 1 MiB by default */
    assert_int_equal(h2_client_submit(pair.client, &request, &id, &err), OK);
    pump();
    response = h2_client_next(pair.client);
    assert_int_equal(response->status, ERR_LIMIT);
    assert_non_null(strstr(response->text, "1048576"));
    h2_response_free(response);
    get("/download=10");
    pump();
    assert_download(h2_client_next(pair.client), 10);
}

static void test_replies_that_cannot_be_sent_reset_their_request(void **state)
{
    (void)state;
    start(&usual_client, &usual_server, 5000);
    get("/headers");
    get("/download=10");
    pump();
    for (int i = 0; i < 2; i++) {
        struct h2_response *response = h2_client_next(pair.client);
        assert_non_null(response);
        assert_int_equal(response->status, response->id == 1 ? ERR_FORMAT : OK);
        h2_response_free(response);
    }
    assert_int_equal(pair.calls, 0);
}

static void test_long_error_texts_are_cut(void **state)
{
    (void)state;
    static const size_t sizes[] = {WIRE_ERROR_TEXT_MAX, WIRE_ERROR_TEXT_MAX + 1, 5 * MIB};
    start(&usual_client, &usual_server, 5000);
    for (size_t i = 0; i < 3; i++) {
        struct taken taken = {0};
        char path[40];
        snprintf(path, sizeof path, "/error=%zu", sizes[i]);
        get_into(path, &taken, 100);
        pump();
        struct h2_response *response = h2_client_next(pair.client);
        assert_int_equal(response->status, OK);
        assert_int_equal(response->http_status, 400);
        assert_int_equal(response->body.size, WIRE_ERROR_TEXT_MAX);
        assert_memory_equal(response->body.data, pattern, WIRE_ERROR_TEXT_MAX);
        assert_int_equal(response->body_cut, i > 0);
        assert_int_equal(taken.size, 0);
        h2_response_free(response);
    }
    struct h2_client_state now;
    h2_client_state(pair.client, &now);
    assert_true(now.body_received < 2 * MIB);
}

/* ---- ends ---- */

static void test_sources_may_pause(void **state)
{
    (void)state;
    start(&usual_client, &usual_server, 300);
    get("/wait=10000");
    pump();
    unsigned pauses = 0;
    struct h2_response *response;
    while (!(response = h2_client_next(pair.client))) {
        assert_true(++pauses < 100);
        h2_server_resume(pair.server, pair.last_waiting);
        pump();
    }
    assert_int_equal(pauses, 10);
    assert_int_equal(response->body_size, 10000);
    h2_response_free(response);
}

static void test_goaway_lets_running_requests_finish(void **state)
{
    (void)state;
    start(&usual_client, &(struct h2_server_options){.streams_max = 2}, 100);
    pump();
    for (int i = 0; i < 5; i++)
        get("/wait=1000");
    pump();
    int32_t running = pair.last_waiting;
    assert_true(running == 1 || running == 3);
    assert_int_equal(h2_server_goaway(pair.server, 0, &err), OK);
    pump();
    unsigned refused = 0;
    for (struct h2_response *response; (response = h2_client_next(pair.client)); refused++) {
        assert_int_equal(response->status, ERR_NETWORK);
        assert_true(response->id > 3);
        h2_response_free(response);
    }
    assert_int_equal(refused, 3);
    h2_server_resume(pair.server, 1);
    h2_server_resume(pair.server, 3);
    pump();
    for (int i = 0; i < 2; i++) {
        struct h2_response *response = h2_client_next(pair.client);
        assert_int_equal(response->status, OK);
        assert_int_equal(response->body_size, 1000);
        h2_response_free(response);
    }
    assert_true(h2_server_finished(pair.server));
}

static void test_a_connection_may_end_after_any_byte(void **state)
{
    (void)state;
    start(&usual_client, &usual_server, 0);
    struct slice body = {.data = pattern, .size = 700};
    uint64_t all = 0;
    for (uint64_t end = 0; end == 0 || end <= all; end++) {
        start(&usual_client, &(struct h2_server_options){.streams_max = 2}, 50);
        pair.to_server_max = end;
        for (int i = 0; i < 4; i++)
            post("/a", &body, 1);
        get("/download=700");
        pump();
        unsigned answers = 0;
        for (struct h2_response *response; (response = h2_client_next(pair.client)); answers++) {
            assert_true(response->status == OK || response->status == ERR_NETWORK);
            h2_response_free(response);
        }
        assert_int_equal(answers, 5);
        if (end == 0)
            all = pair.to_server;
    }
    assert_true(all > 4 * 700);
}

static void test_freeing_in_the_middle_frees_everything(void **state)
{
    (void)state;
    struct slice body = {.data = pattern, .size = BODY_SIZE};
    for (int bytes = 100; bytes < 3000; bytes += 400) {
        start(&usual_client, &usual_server, 100);
        for (int i = 0; i < 5; i++)
            post("/a", &body, 1);
        get("/never");
        get("/source=100000");
        for (int i = 0; i < bytes / 100; i++) {
            move_to_server();
            move_to_client();
        }
        h2_client_free(pair.client);
        pair.client = NULL;
        h2_server_free(pair.server);
        pair.server = NULL;
        assert_int_equal(pair.calls, 0);
    }
}

static void test_cancelled_uploads_stop(void **state)
{
    (void)state;
    start(&usual_client, &usual_server, 1000);
    struct slice body = {.data = pattern, .size = BODY_SIZE};
    int32_t id = post("/a", &body, 1);
    for (int i = 0; i < 500; i++)
        move_to_server();
    h2_client_cancel(pair.client, id);
    get("/download=10");
    pump();
    struct h2_response *response = h2_client_next(pair.client);
    assert_int_equal(response->status, ERR_CANCELLED);
    h2_response_free(response);
    assert_download(h2_client_next(pair.client), 10);
    struct h2_client_state now;
    h2_client_state(pair.client, &now);
    assert_true(now.body_sent < 2 * MIB);
    assert_int_equal(now.body_unsent, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_pieces_of_any_size_come_to_the_same, stop),
        cmocka_unit_test_teardown(test_late_settings_do_no_harm, stop),
        cmocka_unit_test_teardown(test_300_requests_against_small_limits, stop),
        cmocka_unit_test_teardown(test_largest_bodies_pass_both_ways_through_small_windows, stop),
        cmocka_unit_test_teardown(test_200_bodies_of_4_mib_at_once_do_not_block_each_other, stop),
        cmocka_unit_test_teardown(test_an_early_error_is_that_error, stop),
        cmocka_unit_test_teardown(test_a_slow_consumer_holds_back_its_own_download_only, stop),
        cmocka_unit_test_teardown(test_answers_longer_than_accepted_are_refused, stop),
        cmocka_unit_test_teardown(test_replies_that_cannot_be_sent_reset_their_request, stop),
        cmocka_unit_test_teardown(test_long_error_texts_are_cut, stop),
        cmocka_unit_test_teardown(test_sources_may_pause, stop),
        cmocka_unit_test_teardown(test_goaway_lets_running_requests_finish, stop),
        cmocka_unit_test_teardown(test_a_connection_may_end_after_any_byte, stop),
        cmocka_unit_test_teardown(test_freeing_in_the_middle_frees_everything, stop),
        cmocka_unit_test_teardown(test_cancelled_uploads_stop, stop),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
