#include "testing/testing.h"

#include "base/hex.h"
#include "wire/h2_server.h"

#include <malloc.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>

static const char preface[] = "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a";
/* What the original client was seen to send behind the preface (bench/spec/protocol.md 7.4). */
static const char client_settings[] = "00000c04000000000000047ffffffe000500400000";
static const char client_window[] = "0000040800000000007ffeffff";

static struct h2_server *server;
static nghttp2_hd_deflater *deflater;
static struct error err;
/* What the handler saw. */
static struct buffer events = {.limit = 1 << 20};
static int closed_complete, closed_early;

static void on_request(void *user, struct h2_server *s, int32_t stream, const struct h2_server_request *request)
{
    (void)user;
    assert_int_equal(buffer_printf(&events, &err, "%s %s %s %d|", request->method, request->path,
                                   request->content_type ? request->content_type : "-", request->has_body),
                     OK);
    h2_server_set_user(s, stream, &events);
}

static void on_data(void *user, struct h2_server *s, int32_t stream, void *stream_user, const uint8_t *data,
                    size_t size)
{
    (void)user;
    (void)data;
    assert_ptr_equal(stream_user, &events);
    assert_ptr_equal(h2_server_get_user(s, stream), &events);
    assert_int_equal(buffer_printf(&events, &err, "%zu|", size), OK);
}

static void on_end(void *user, struct h2_server *s, int32_t stream, void *stream_user)
{
    (void)user;
    (void)s;
    (void)stream_user;
    assert_int_equal(buffer_printf(&events, &err, "end %d|", stream), OK);
}

static void on_closed(void *user, struct h2_server *s, int32_t stream, void *stream_user, bool complete)
{
    (void)user;
    (void)s;
    (void)stream;
    assert_ptr_equal(stream_user, &events);
    *(complete ? &closed_complete : &closed_early) += 1;
}

static const struct h2_server_handler handler = {on_request, on_data, on_end, on_closed};

static void start(const struct h2_server_options *options)
{
    h2_server_free(server);
    server = NULL;
    if (deflater)
        nghttp2_hd_deflate_del(deflater);
    assert_int_equal(nghttp2_hd_deflate_new(&deflater, 4096), 0);
    buffer_clear(&events);
    closed_complete = closed_early = 0;
    assert_int_equal(h2_server_new(options, &handler, NULL, &server, &err), OK);
}

static int teardown(void **state)
{
    (void)state;
    h2_server_free(server);
    server = NULL;
    nghttp2_hd_deflate_del(deflater);
    deflater = NULL;
    buffer_deinit(&events);
    return 0;
}

static enum status feed_bytes(const uint8_t *data, size_t size, size_t piece)
{
    for (size_t i = 0; i < size; i += piece)
        TRY(h2_server_feed(server, data + i, size - i < piece ? size - i : piece, &err));
    return OK;
}

static enum status feed(const char *hex)
{
    uint8_t data[4096];
    size_t size = strlen(hex) / 2;
    assert_true(size <= sizeof data && hex_decode(hex, 2 * size, data, size));
    return feed_bytes(data, size, size);
}

static void open_connection(const struct h2_server_options *options)
{
    start(options);
    assert_int_equal(feed(preface), OK);
    assert_int_equal(feed(client_settings), OK);
    assert_int_equal(feed(client_window), OK);
}

static const struct buffer *sent(void)
{
    static struct buffer all = {.limit = 64 << 20};
    buffer_clear(&all);
    for (;;) {
        const uint8_t *data;
        size_t size;
        (void)!h2_server_output(server, &data, &size, &err);
        if (size == 0)
            return &all;
        assert_int_equal(buffer_append(&all, data, size, &err), OK);
        h2_server_sent(server, size);
    }
}

struct header {
    const char *name, *value;
};

/* A HEADERS frame, made by nghttp2's encoder alone. */
static void request(int32_t stream, bool end, const struct header *headers, size_t count)
{
    static nghttp2_nv nv[40];
    static uint8_t frame[65536];
    assert_true(count <= 40);
    for (size_t i = 0; i < count; i++)
        nv[i] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)headers[i].name,
                             .value = (uint8_t *)(uintptr_t)headers[i].value,
                             .namelen = strlen(headers[i].name),
                             .valuelen = strlen(headers[i].value)};
    ssize_t size = nghttp2_hd_deflate_hd(deflater, frame + 9, sizeof frame - 9, nv, count);
    assert_true(size > 0);
    const uint8_t head[9] = {(uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size, 1, end ? 5 : 4, 0, 0, 0,
                             (uint8_t)stream};
    memcpy(frame, head, sizeof head);
    assert_int_equal(feed_bytes(frame, (size_t)size + 9, 1), OK);
}
#define REQUEST(stream, end, ...)                                                                                      \
    do {                                                                                                               \
        const struct header headers_[] = {__VA_ARGS__};                                                                \
        request(stream, end, headers_, sizeof headers_ / sizeof *headers_);                                            \
    } while (0)
#define USUAL(method, path)                                                                                            \
    {":method", method}, {":scheme", "https"}, {":authority", "localhost:8007"},                                       \
    {                                                                                                                  \
        ":path", path                                                                                                  \
    }

static const char *seen(void)
{
    assert_int_equal(buffer_append_u8(&events, 0, &err), OK);
    events.size--;
    return (const char *)events.data;
}

static bool contains(const struct buffer *b, const char *hex)
{
    uint8_t wanted[64];
    size_t size = strlen(hex) / 2;
    assert_true(hex_decode(hex, 2 * size, wanted, size));
    return memmem(b->data, b->size, wanted, size) != NULL;
}

static void respond(int32_t stream, int status, const char *body)
{
    const struct h2_reply reply = {
        .status = status, .content_type = "application/json;charset=UTF-8", .body = body, .body_size = strlen(body)};
    assert_int_equal(h2_server_respond(server, stream, &reply, &err), OK);
}

static void test_announces_the_specifications_settings(void **state)
{
    (void)state;
    start(&(struct h2_server_options){0});
    const struct buffer *out = sent();
    assert_true(hex_equals("000018040000000000"
                           "0003000000c8"
                           "000402000000"
                           "000500400000"
                           "000600004000"
                           "000004080000000000"
                           "01ff0001",
                           out->data, out->size));
}

static void test_settings_can_be_late_and_small(void **state)
{
    (void)state;
    start(&(struct h2_server_options){.late_settings = true,
                                      .streams_max = 1,
                                      .stream_window = 65535,
                                      .connection_window = 1,
                                      .frame_size_max = 1,
                                      .header_list_max = 999});
    assert_int_equal(sent()->size, 0);
    h2_server_announce(server);
    const struct buffer *out = sent();
    assert_true(hex_equals("000018040000000000"
                           "000300000001"
                           "00040000ffff"
                           "000500004000"
                           "0006000003e7",
                           out->data, out->size));
}

static void test_takes_the_original_clients_opening(void **state)
{
    (void)state;
    open_connection(&(struct h2_server_options){0});
    REQUEST(1, true, USUAL("GET", "/previous_backup_time"), {"user-agent", "proxmox-backup-client/1.0"},
            {"content-type", "application/x-www-form-urlencoded"});
    assert_string_equal(seen(), "GET /previous_backup_time application/x-www-form-urlencoded 0|end 1|");
    assert_int_equal(h2_server_streams(server), 1);
    sent();
    respond(1, 200, "{\"data\":null}");
    const struct buffer *out = sent();
    assert_memory_equal(out->data + out->size - 13, "{\"data\":null}", 13);
    assert_int_equal(closed_complete, 1);
    assert_int_equal(h2_server_streams(server), 0);
    assert_false(h2_server_finished(server));
}

static void test_a_wrong_preface_gets_settings_and_goodbye(void **state)
{
    (void)state;
    start(&(struct h2_server_options){0});
    const char text[] = "GET / HTTP/1.1\r\n\r\n";
    assert_int_equal(h2_server_feed(server, text, sizeof text - 1, &err), ERR_FORMAT);
    assert_int_equal(h2_server_feed(server, text, 1, &err), ERR_CLOSED);
    assert_false(h2_server_finished(server));
    const struct buffer *out = sent();
    assert_true(out->size >= 9 && out->data[3] == 4);
    assert_true(h2_server_finished(server));
}

static void test_bodies_come_as_they_arrive(void **state)
{
    (void)state;
    open_connection(&(struct h2_server_options){0});
    REQUEST(1, false, USUAL("POST", "/blob"), {"content-length", "3"});
    assert_int_equal(feed("000002000000000001"
                          "6161"),
                     OK);
    assert_int_equal(feed("000001000100000001"
                          "61"),
                     OK);
    assert_string_equal(seen(), "POST /blob - 1|2|1|end 1|");
}

static void test_lengths_that_lie_are_protocol_errors(void **state)
{
    (void)state;
    for (int lax = 0; lax < 2; lax++)
        for (int length = 0; length < 2; length++) {
            open_connection(&(struct h2_server_options){.lax = lax});
            REQUEST(1, false, USUAL("POST", "/blob"), {"content-length", length ? "4" : "2"});
            assert_int_equal(feed("000003000100000001"
                                  "616161"),
                             OK);
            assert_true(contains(sent(), "00000403000000000100000001"));
            assert_int_equal(closed_early, 1);
            assert_null(strstr(seen(), "end"));
            REQUEST(3, true, USUAL("GET", "/next"));
            assert_non_null(strstr(seen(), "/next"));
        }
}

static void test_strict_servers_want_authority_and_a_slash_and_lax_ones_do_not(void **state)
{
    (void)state;
    for (int lax = 0; lax < 2; lax++) {
        open_connection(&(struct h2_server_options){.lax = lax});
        REQUEST(1, true, {":method", "GET"}, {":scheme", "https"}, {":path", "/no-authority"});
        REQUEST(3, true, {":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", "no-slash?x=1"});
        REQUEST(5, true, USUAL("GET", "//twice"));
        assert_int_equal(strstr(seen(), "GET /no-authority") != NULL, lax);
        assert_int_equal(strstr(seen(), "GET /no-slash?x=1") != NULL, lax);
        assert_non_null(strstr(seen(), "GET //twice"));
        const struct buffer *out = sent();
        assert_int_equal(contains(out, "00000403000000000100000001"), !lax);
        assert_int_equal(contains(out, "00000403000000000300000001"), !lax);
        assert_false(contains(out, "000004030000000005"));
    }
}

static void test_lax_servers_still_want_whole_requests(void **state)
{
    (void)state;
    open_connection(&(struct h2_server_options){.lax = true});
    REQUEST(1, true, {":method", "GET"}, {":scheme", "https"});
    REQUEST(3, true, {":path", "/"}, {":scheme", "https"});
    REQUEST(5, true, USUAL("GET", "/a"), {":path", "/b"});
    REQUEST(7, true, USUAL("GET", ""));
    REQUEST(9, true, USUAL("GET", "/a"), {"content-length", "1x"});
    REQUEST(11, true, USUAL("GET", "/a"), {"content-length", ""});
    assert_int_equal(events.size, 0);
    const struct buffer *out = sent();
    for (int stream = 1; stream <= 11; stream += 2) {
        char hex[40];
        snprintf(hex, sizeof hex, "0000040300000000%02x00000001", (unsigned)stream);
        assert_true(contains(out, hex));
    }
}

static void test_headers_are_bounded(void **state)
{
    (void)state;
    static char value[17000];
    memset(value, 'v', sizeof value - 1);
    open_connection(&(struct h2_server_options){0});
    REQUEST(1, true, USUAL("GET", "/big"), {"x", value});
    assert_int_equal(events.size, 0);
    assert_true(contains(sent(), "000004030000000001"));
    value[16384 - 5 * 32 - 70] = '\0';
    REQUEST(3, true, USUAL("GET", "/smaller"), {"x", value});
    assert_non_null(strstr(seen(), "/smaller"));
}

/* RFC 9113 5.1.2; whether the client has seen our settings or not. */
static void test_more_streams_than_announced_are_refused(void **state)
{
    (void)state;
    for (int acknowledged = 0; acknowledged < 2; acknowledged++) {
        open_connection(&(struct h2_server_options){.streams_max = 2});
        assert_true(contains(sent(), "000300000002"));
        if (acknowledged)
            assert_int_equal(feed("000000040100000000"), OK);
        REQUEST(1, false, USUAL("POST", "/1"));
        REQUEST(3, false, USUAL("POST", "/3"));
        for (int stream = 5; stream < 100; stream += 2) {
            char reset[40];
            REQUEST(stream, stream % 4 == 1, USUAL("POST", "/too-many"));
            snprintf(reset, sizeof reset, "0000040300000000%02x00000007", (unsigned)stream);
            assert_true(contains(sent(), reset));
        }
        assert_int_equal(h2_server_streams(server), 2);
        assert_null(strstr(seen(), "too-many"));
        /* Late data of one that was refused; then one that may be goes on, and makes room for another. */
        assert_int_equal(feed("000001000100000005"
                              "61"),
                         OK);
        assert_int_equal(feed("000001000100000001"
                              "61"),
                         OK);
        assert_non_null(strstr(seen(), "end 1|"));
        respond(1, 200, "x");
        sent();
        assert_int_equal(closed_complete, 1);
        REQUEST(101, true, USUAL("GET", "/101"));
        assert_non_null(strstr(seen(), "end 101|"));
        assert_int_equal(closed_early, 0);
    }
}

/* A frame that is fed `count` times, on streams 1, 3, ... if it is a request. Returns how often it was taken. */
static unsigned flood(const uint8_t *frame, size_t size, unsigned count)
{
    uint8_t copy[64];
    memcpy(copy, frame, size);
    for (unsigned i = 0; i < count; i++) {
        uint32_t stream = 2 * i + 1;
        for (int k = 0; copy[3] == 1 && k < 4; k++)
            copy[5 + k] = (uint8_t)(stream >> (24 - 8 * k));
        if (h2_server_feed(server, copy, size, &err) != OK)
            return i;
    }
    return count;
}

/* As many as a record of TLS can carry, at once: of ten bytes each, which is no request, or of fifteen. */
static void test_a_record_full_of_streams_too_many_does_not_end_the_session(void **state)
{
    (void)state;
    static const char *const frames[] = {"00000101050000000182", "000006010500000001828784010161"};
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        uint8_t bytes[16384];
        char last[40];
        size_t size = strlen(frames[i]) / 2, used = 0;
        uint32_t stream = 1;
        open_connection(&(struct h2_server_options){0});
        sent();
        assert_int_equal(feed("000000040100000000"), OK);
        for (; used + size <= sizeof bytes; used += size, stream += 2) {
            assert_true(hex_decode(frames[i], 2 * size, bytes + used, size));
            bytes[used + 7] = (uint8_t)(stream >> 8);
            bytes[used + 8] = (uint8_t)stream;
        }
        assert_int_equal(feed_bytes(bytes, used, used), OK);
        assert_int_equal(h2_server_streams(server), i == 0 ? 0 : 200);
        snprintf(last, sizeof last, "0000040300%08x00000007", stream - 2);
        assert_true(contains(sent(), last));
        assert_false(h2_server_finished(server));
    }
}

static void test_streams_may_be_unlimited(void **state)
{
    (void)state;
    static const uint8_t frame[] = {0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x87, 0x84, 1, 1, 'a'};
    enum { MANY = 10000 };
    open_connection(&(struct h2_server_options){.streams_max = UINT32_MAX});
    sent();
    assert_int_equal(feed("000000040100000000"), OK);
    assert_int_equal(flood(frame, sizeof frame, MANY), MANY);
    assert_int_equal(h2_server_streams(server), MANY);
}

/* Answers that nobody takes. */
static void test_a_client_that_never_reads_cannot_make_answers_pile_up(void **state)
{
    (void)state;
    /* GET / and POST / of a host "a": without and with an end, without an authority, with lies about the length. */
    static const char *const frames[] = {
        "000006010500000001828784010161",         "000006010400000001838784010161",     "000003010500000001828784",
        "00000a0105000000018287840101610f0d0139", "0000080600000000000102030405060708", "000000040000000000",
    };
    enum { MANY = 200000, GROWTH_MAX = 4 << 20 };
    for (int how = 0; how < 4; how++)
        for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
            uint8_t frame[64];
            size_t size = strlen(frames[i]) / 2;
            assert_true(hex_decode(frames[i], 2 * size, frame, size));
            open_connection(&(struct h2_server_options){.late_settings = how & 1});
            if (!(how & 1))
                sent();
            if (how & 2)
                assert_int_equal(feed("000000040100000000"), OK);
            struct mallinfo2 before = mallinfo2();
            unsigned taken = flood(frame, size, MANY);
            struct mallinfo2 after = mallinfo2();
            if (taken == MANY || (after.uordblks > before.uordblks && after.uordblks - before.uordblks > GROWTH_MAX))
                print_error("%d %s: %u, %zu\n", how, frames[i], taken, after.uordblks - before.uordblks);
            assert_true(taken < MANY);
            assert_true(after.uordblks < before.uordblks + GROWTH_MAX);
            h2_server_announce(server);
            if (taken > 0)
                assert_true(contains(sent(), "0000000b")); /* ENHANCE_YOUR_CALM */
            assert_true(h2_server_finished(server));
        }
}

static void test_early_replies_reset_the_rest_of_the_request(void **state)
{
    (void)state;
    for (int cancel = 0; cancel < 2; cancel++) {
        open_connection(&(struct h2_server_options){.reset_with_cancel = cancel});
        REQUEST(1, false, USUAL("POST", "/blob"));
        assert_int_equal(feed("000002000000000001"
                              "6161"),
                         OK);
        respond(1, 400, "no");
        assert_int_equal(feed("000002000000000001"
                              "6161"),
                         OK); /* ignored */
        const struct buffer *out = sent();
        assert_true(contains(out, cancel ? "00000403000000000100000008" : "00000403000000000100000000"));
        assert_true(contains(out, "0000020001000000016e6f"));
        assert_int_equal(feed("000002000100000001"
                              "6161"),
                         OK); /* late */
        assert_string_equal(seen(), "POST /blob - 1|2|");
        assert_int_equal(closed_complete, 1);
        REQUEST(3, true, USUAL("GET", "/next"));
        assert_non_null(strstr(seen(), "/next"));
    }
}

static void test_an_early_reply_whose_request_ends_in_time_needs_no_reset(void **state)
{
    (void)state;
    open_connection(&(struct h2_server_options){0});
    REQUEST(1, false, USUAL("POST", "/blob"));
    respond(1, 400, "no");
    assert_int_equal(feed("000002000100000001"
                          "6161"),
                     OK);
    assert_false(contains(sent(), "000004030000000001"));
    assert_string_equal(seen(), "POST /blob - 1|");
    assert_int_equal(closed_complete, 1);
}

static void test_late_data_gives_the_connections_window_back(void **state)
{
    (void)state;
    static uint8_t frame[9 + 16384] = {0, 0x40, 0, 0, 0, 0, 0, 0, 1};
    open_connection(&(struct h2_server_options){.connection_window = 65535});
    REQUEST(1, false, USUAL("POST", "/blob"));
    respond(1, 400, "no");
    sent();
    unsigned updates = 0;
    for (int i = 0; i < 20; i++) { /* five times the window */
        assert_int_equal(feed_bytes(frame, sizeof frame, sizeof frame), OK);
        updates += contains(sent(), "000004080000000000");
    }
    assert_true(updates >= 5);
    assert_false(h2_server_finished(server));
}

static void test_windows_come_back_while_the_body_arrives(void **state)
{
    (void)state;
    static uint8_t frame[9 + 16384] = {0, 0x40, 0, 0, 0, 0, 0, 0, 1};
    open_connection(&(struct h2_server_options){.connection_window = 65535, .stream_window = 65535});
    REQUEST(1, false, USUAL("POST", "/blob"));
    sent();
    unsigned stream_updates = 0;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(feed_bytes(frame, sizeof frame, 1000), OK);
        stream_updates += contains(sent(), "000004080000000001");
    }
    assert_true(stream_updates >= 5);
    assert_int_equal(h2_server_streams(server), 1);
}

static void test_replies_are_given_once_and_to_living_streams(void **state)
{
    (void)state;
    const struct h2_reply reply = {.status = 200};
    open_connection(&(struct h2_server_options){0});
    assert_int_equal(h2_server_respond(server, 1, &reply, &err), ERR_CLOSED);
    REQUEST(1, true, USUAL("GET", "/1"));
    assert_int_equal(h2_server_respond(server, 1, &reply, &err), OK);
    assert_int_equal(h2_server_respond(server, 1, &reply, &err), ERR_EXISTS);
    REQUEST(3, true, USUAL("GET", "/3"));
    assert_int_equal(feed("000004030000000003"
                          "00000008"),
                     OK); /* the client gives up */
    assert_int_equal(closed_early, 1);
    assert_int_equal(h2_server_respond(server, 3, &reply, &err), ERR_CLOSED);
    assert_null(h2_server_get_user(server, 3));
    h2_server_reset(server, 3, 0);
    h2_server_resume(server, 3);
}

static void test_goaway_lets_running_requests_finish(void **state)
{
    (void)state;
    open_connection(&(struct h2_server_options){0});
    REQUEST(1, true, USUAL("GET", "/1"));
    assert_int_equal(h2_server_goaway(server, 0, &err), OK);
    assert_true(contains(sent(), "0000080700000000000000000100000000"));
    assert_false(h2_server_finished(server));
    respond(1, 200, "x");
    sent();
    assert_int_equal(closed_complete, 1);
    assert_true(h2_server_finished(server));
}

static void test_broken_rules_end_the_connection(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "000001000000000000"
        "00",
        "000001010500000001"
        "80",
        "000003010500000001"
        "ffffff",
        "000005040000000000"
        "0102030405",
        "000006040000000000"
        "000500000001",
        "ffffff000000000001",
        "000004080000000000"
        "00000000",
        "000001010500000002"
        "82",
        "000001090400000001"
        "82",
        "000004060000000000"
        "00000000",
        "000001010100000001"
        "82"
        "000008060000000000"
        "0000000000000000",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        open_connection(&(struct h2_server_options){0});
        sent();
        (void)!feed(bad[i]);
        const struct buffer *out = sent();
        if (!contains(out, "070000000000") || !h2_server_finished(server)) {
            print_error("survived %s\n", bad[i]);
            assert_true(false);
        }
        assert_int_equal(events.size, 0);
    }
}

static void test_floods_that_want_answers_end_the_connection(void **state)
{
    (void)state;
    static const char *const floods[] = {"0000080600000000000102030405060708", "000000040000000000"};
    for (int i = 0; i < 2; i++) {
        open_connection(&(struct h2_server_options){0});
        int count = 0;
        while (count < 40000 && feed(floods[i]) == OK) /* and nothing is sent in between */
            count++;
        assert_true(count < 40000);
    }
}

static void test_data_beyond_a_window_is_refused(void **state)
{
    (void)state;
    static uint8_t frame[9 + 70000] = {1, 0x11, 0x70, 0, 0, 0, 0, 0, 1};
    for (int connection = 0; connection < 2; connection++) {
        open_connection(connection ? &(struct h2_server_options){.connection_window = 65535}
                                   : &(struct h2_server_options){.stream_window = 1000});
        sent();
        assert_int_equal(feed("000000040100000000"), OK); /* the settings are acknowledged */
        REQUEST(1, false, USUAL("POST", "/blob"));
        (void)!feed_bytes(frame, sizeof frame, sizeof frame);
        /* GOAWAY, or RST_STREAM, with FLOW_CONTROL_ERROR */
        assert_true(contains(sent(), connection ? "0000080700000000000000000100000003" : "00000403000000000100000003"));
        assert_int_equal(h2_server_finished(server), connection);
    }
}

static void test_freeing_closes_every_stream(void **state)
{
    (void)state;
    open_connection(&(struct h2_server_options){0});
    REQUEST(1, true, USUAL("GET", "/1"));
    REQUEST(3, false, USUAL("GET", "/3"));
    respond(3, 200, "x");
    h2_server_free(server);
    server = NULL;
    assert_int_equal(closed_early, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_announces_the_specifications_settings, teardown),
        cmocka_unit_test_teardown(test_settings_can_be_late_and_small, teardown),
        cmocka_unit_test_teardown(test_takes_the_original_clients_opening, teardown),
        cmocka_unit_test_teardown(test_a_wrong_preface_gets_settings_and_goodbye, teardown),
        cmocka_unit_test_teardown(test_bodies_come_as_they_arrive, teardown),
        cmocka_unit_test_teardown(test_lengths_that_lie_are_protocol_errors, teardown),
        cmocka_unit_test_teardown(test_strict_servers_want_authority_and_a_slash_and_lax_ones_do_not, teardown),
        cmocka_unit_test_teardown(test_lax_servers_still_want_whole_requests, teardown),
        cmocka_unit_test_teardown(test_headers_are_bounded, teardown),
        cmocka_unit_test_teardown(test_more_streams_than_announced_are_refused, teardown),
        cmocka_unit_test_teardown(test_a_record_full_of_streams_too_many_does_not_end_the_session, teardown),
        cmocka_unit_test_teardown(test_streams_may_be_unlimited, teardown),
        cmocka_unit_test_teardown(test_a_client_that_never_reads_cannot_make_answers_pile_up, teardown),
        cmocka_unit_test_teardown(test_early_replies_reset_the_rest_of_the_request, teardown),
        cmocka_unit_test_teardown(test_an_early_reply_whose_request_ends_in_time_needs_no_reset, teardown),
        cmocka_unit_test_teardown(test_late_data_gives_the_connections_window_back, teardown),
        cmocka_unit_test_teardown(test_windows_come_back_while_the_body_arrives, teardown),
        cmocka_unit_test_teardown(test_replies_are_given_once_and_to_living_streams, teardown),
        cmocka_unit_test_teardown(test_goaway_lets_running_requests_finish, teardown),
        cmocka_unit_test_teardown(test_broken_rules_end_the_connection, teardown),
        cmocka_unit_test_teardown(test_floods_that_want_answers_end_the_connection, teardown),
        cmocka_unit_test_teardown(test_data_beyond_a_window_is_refused, teardown),
        cmocka_unit_test_teardown(test_freeing_closes_every_stream, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
