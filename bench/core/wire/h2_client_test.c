#include "testing/testing.h"

#include "base/hex.h"
#include "wire/h2_client.h"
#include "wire/protocol.h"

#include <nghttp2/nghttp2.h>
#include <string.h>

/* What a server of version 3.2.7 was seen to send, and the original client (bench/spec/protocol.md 7.4). */
static const char server_settings[] = "000012040000000000000402000000000500400000000601000000";
static const char server_window[] = "00000408000000000001ff0001";
static const char settings_ack[] = "000000040100000000";
static const char preface[] = "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a";

static struct h2_client *client;
static struct error err;

static void start(const struct h2_client_options *options)
{
    h2_client_free(client);
    client = NULL;
    assert_int_equal(h2_client_new(options, &client, &err), OK);
}

static int teardown(void **state)
{
    (void)state;
    h2_client_free(client);
    client = NULL;
    return 0;
}

static enum status feed_bytes(const uint8_t *data, size_t size, size_t piece)
{
    for (size_t i = 0; i < size; i += piece)
        TRY(h2_client_feed(client, data + i, size - i < piece ? size - i : piece, &err));
    return OK;
}

static enum status feed(const char *hex)
{
    uint8_t data[4096];
    size_t size = strlen(hex) / 2;
    assert_true(size <= sizeof data && hex_decode(hex, 2 * size, data, size));
    return feed_bytes(data, size, size);
}

/* All that the client sends now, in a buffer of this function. */
static const struct buffer *sent(void)
{
    static struct buffer all = {.limit = 64 << 20};
    buffer_clear(&all);
    for (;;) {
        const uint8_t *data;
        size_t size;
        (void)!h2_client_output(client, &data, &size, &err);
        if (size == 0)
            return &all;
        assert_int_equal(buffer_append(&all, data, size, &err), OK);
        h2_client_sent(client, size);
    }
}

/* A connection whose settings are exchanged. */
static void greet(const struct h2_client_options *options)
{
    start(options);
    sent();
    assert_int_equal(feed("000000040000000000"), OK);
    assert_int_equal(feed(settings_ack), OK);
    sent();
}

static int setup(void **state)
{
    (void)state;
    greet(&(struct h2_client_options){0});
    return 0;
}

static int32_t submit(const char *method, const char *path)
{
    int32_t id;
    const struct h2_request request = {.method = method, .path = path};
    assert_int_equal(h2_client_submit(client, &request, &id, &err), OK);
    return id;
}

/* The only answer there is. */
static struct h2_response *only_answer(void)
{
    struct h2_response *response = h2_client_next(client);
    assert_non_null(response);
    assert_null(h2_client_next(client));
    return response;
}

static void assert_failure(enum status status, const char *word)
{
    struct h2_response *response = only_answer();
    if (response->status != status || !strstr(response->text, word)) {
        print_error("%s: '%s', expected %s: '%s'\n", status_name(response->status), response->text, status_name(status),
                    word);
        assert_true(false);
    }
    h2_response_free(response);
}

static void test_opens_with_the_specifications_bytes(void **state)
{
    (void)state;
    start(&(struct h2_client_options){.stream_window = WIRE_WINDOW_SIZE_MAX});
    char hex[400] = "";
    strcat(strcat(hex, preface), "00001204000000000000020000000000047ffffffe000500400000");
    strcat(hex, "0000040800000000007ffeffff");
    const struct buffer *out = sent();
    assert_true(hex_equals(hex, out->data, out->size));
}

static void test_windows_are_at_least_32_mib_by_default(void **state)
{
    (void)state;
    start(&(struct h2_client_options){0});
    char hex[400] = "";
    strcat(strcat(hex, preface), "000012040000000000000200000000000402000000000500400000");
    strcat(hex, "0000040800000000007ffeffff");
    const struct buffer *out = sent();
    assert_true(hex_equals(hex, out->data, out->size));
}

static void test_takes_a_real_servers_opening_byte_by_byte(void **state)
{
    (void)state;
    start(&(struct h2_client_options){0});
    uint8_t data[40];
    char hex[90] = "";
    strcat(strcat(hex, server_settings), server_window);
    assert_true(hex_decode(hex, strlen(hex), data, sizeof data));
    sent();
    assert_int_equal(feed_bytes(data, sizeof data, 1), OK);
    const struct buffer *out = sent();
    assert_true(hex_equals(settings_ack, out->data, out->size));
    struct h2_client_state now;
    h2_client_state(client, &now);
    assert_int_equal(now.streams_max, UINT32_MAX);
    assert_false(now.lost || now.closing);
}

static void assert_header(nghttp2_hd_inflater *inflater, const uint8_t **data, size_t *size, const char *name,
                          const char *value)
{
    nghttp2_nv nv = {0};
    int flags = 0;
    ssize_t used = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, *data, *size, 1);
    assert_true(used >= 0 && flags & NGHTTP2_HD_INFLATE_EMIT);
    assert_int_equal(nv.namelen, strlen(name));
    assert_memory_equal(nv.name, name, nv.namelen);
    assert_int_equal(nv.valuelen, strlen(value));
    assert_memory_equal(nv.value, value, nv.valuelen);
    *data += used;
    *size -= (size_t)used;
}

static void test_requests_have_exactly_the_specifications_headers(void **state)
{
    (void)state;
    sent();
    assert_int_equal(feed(server_settings), OK);
    assert_int_equal(submit("GET", "/previous_backup_time"), 1);
    assert_int_equal(submit("GET", "/previous?archive-name=x.didx"), 3);
    const struct buffer *out = sent();
    const uint8_t *data = out->data + 9; /* behind the acknowledgement of the settings */
    size_t size = (size_t)data[0] << 16 | (size_t)data[1] << 8 | data[2];
    assert_int_equal(data[3], 1);                 /* HEADERS */
    assert_int_equal(data[4], 5);                 /* END_STREAM, END_HEADERS */
    assert_memory_equal(data + 5, "\0\0\0\1", 4); /* stream 1 */
    data += 9;
    nghttp2_hd_inflater *inflater;
    assert_int_equal(nghttp2_hd_inflate_new(&inflater), 0);
    assert_header(inflater, &data, &size, ":method", "GET");
    assert_header(inflater, &data, &size, ":scheme", "https");
    assert_header(inflater, &data, &size, ":authority", "localhost:8007");
    assert_header(inflater, &data, &size, ":path", "/previous_backup_time");
    assert_header(inflater, &data, &size, "user-agent", "proxmox-backup-client/1.0");
    assert_header(inflater, &data, &size, "content-type", "application/x-www-form-urlencoded");
    assert_int_equal(size, 0);
    nghttp2_hd_inflate_del(inflater);
}

static void test_body_follows_the_headers(void **state)
{
    (void)state;
    sent();
    assert_int_equal(feed(server_settings), OK);
    const struct slice body[] = {{.data = (const uint8_t *)"one"},
                                 {.data = (const uint8_t *)"two", .size = 3},
                                 {.data = NULL},
                                 {.data = (const uint8_t *)"three", .size = 5}};
    const struct h2_request request = {
        .method = "POST", .path = "/x", .content_type = WIRE_TYPE_JSON, .body = body, .body_count = 4};
    int32_t id;
    assert_int_equal(h2_client_submit(client, &request, &id, &err), OK);
    struct h2_client_state now;
    h2_client_state(client, &now);
    assert_int_equal(now.body_unsent, 8);
    const struct buffer *out = sent();
    assert_memory_equal(out->data + out->size - 17, "\0\0\x08\0\1\0\0\0\1twothree", 17);
    h2_client_state(client, &now);
    assert_int_equal(now.body_unsent, 0);
    assert_int_equal(now.body_sent, 8);
}

static void test_unsent_bytes_stay_where_they_are(void **state)
{
    (void)state;
    start(&(struct h2_client_options){0});
    const uint8_t *first;
    const uint8_t *second;
    size_t first_size;
    size_t second_size;
    assert_int_equal(h2_client_output(client, &first, &first_size, &err), OK);
    h2_client_sent(client, 5);
    submit("GET", "/a");
    assert_int_equal(h2_client_output(client, &second, &second_size, &err), OK);
    assert_ptr_equal(second, first + 5);
    assert_true(second_size > first_size - 5);
}

static void test_a_response_is_taken_in_pieces_of_any_size(void **state)
{
    (void)state;
    /* HEADERS with :status 200, DATA {"data":1} with END_STREAM; PING; padding. */
    static const char hex[] = "000001010400000001"
                              "88"
                              "00000a000000000001"
                              "7b2264617461223a317d"
                              "000008060000000000"
                              "0102030405060708"
                              "000000000100000001";
    uint8_t data[sizeof hex / 2];
    assert_true(hex_decode(hex, sizeof hex - 1, data, sizeof data));
    for (size_t piece = 1; piece <= sizeof data; piece++) {
        greet(&(struct h2_client_options){0});
        int32_t id = submit("GET", "/a");
        sent();
        assert_int_equal(feed_bytes(data, sizeof data, piece), OK);
        struct h2_response *response = only_answer();
        assert_int_equal(response->id, id);
        assert_int_equal(response->status, OK);
        assert_int_equal(response->http_status, 200);
        assert_int_equal(response->body_size, 10);
        assert_memory_equal(response->body.data, "{\"data\":1}", 10);
        h2_response_free(response);
    }
}

static void test_status_1xx_is_not_the_answer(void **state)
{
    (void)state;
    submit("GET", "/a");
    sent();
    assert_int_equal(feed("000005010400000001"
                          "0803313030"),
                     OK); /* :status 100 */
    assert_null(h2_client_next(client));
    assert_int_equal(feed("000001010500000001"
                          "8d"),
                     OK); /* :status 404, END_STREAM */
    struct h2_response *response = only_answer();
    assert_int_equal(response->status, OK);
    assert_int_equal(response->http_status, 404);
    h2_response_free(response);
}

static void test_reset_after_a_whole_response_leaves_the_response(void **state)
{
    (void)state;
    static const char *const codes[] = {"00000000", "00000008"};
    for (int i = 0; i < 2; i++) {
        static const uint8_t bytes[100000];
        const struct slice body = {.data = bytes, .size = sizeof bytes};
        const struct h2_request request = {.method = "POST", .path = "/a", .body = &body, .body_count = 1};
        int32_t id;
        greet(&(struct h2_client_options){0});
        assert_int_equal(h2_client_submit(client, &request, &id, &err), OK);
        sent(); /* the window of 65535 bytes is used up */
        struct h2_client_state now;
        h2_client_state(client, &now);
        assert_true(now.blocked);
        assert_int_equal(now.body_unsent, 100000 - 65535);
        char hex[100] = "000001010500000001"
                        "8c"
                        "000004030000000001"; /* :status 400, RST_STREAM */
        assert_int_equal(feed(strcat(hex, codes[i])), OK);
        sent();
        struct h2_response *response = only_answer();
        assert_int_equal(response->status, OK);
        assert_int_equal(response->http_status, 400);
        h2_response_free(response);
        h2_client_state(client, &now);
        assert_int_equal(now.body_unsent, 0);
        assert_int_equal(submit("GET", "/b"), 3);
    }
}

static void test_an_early_response_without_reset_is_enough(void **state)
{
    (void)state;
    static const uint8_t bytes[100000];
    const struct slice body = {.data = bytes, .size = sizeof bytes};
    const struct h2_request request = {.method = "POST", .path = "/a", .body = &body, .body_count = 1};
    int32_t id;
    assert_int_equal(h2_client_submit(client, &request, &id, &err), OK);
    sent();
    assert_int_equal(feed("000001010500000001"
                          "8c"),
                     OK);
    const struct buffer *out = sent(); /* RST_STREAM, CANCEL */
    assert_true(hex_equals("00000403000000000100000008", out->data, out->size));
    struct h2_response *response = only_answer();
    assert_int_equal(response->http_status, 400);
    h2_response_free(response);
}

static void test_an_early_200_is_a_failure(void **state)
{
    (void)state;
    static const uint8_t bytes[100000];
    const struct slice body = {.data = bytes, .size = sizeof bytes};
    const struct h2_request request = {.method = "POST", .path = "/a", .body = &body, .body_count = 1};
    int32_t id;
    assert_int_equal(h2_client_submit(client, &request, &id, &err), OK);
    sent();
    assert_int_equal(feed("000001010500000001"
                          "88"),
                     OK);
    const struct buffer *out = sent(); /* RST_STREAM, CANCEL */
    assert_true(hex_equals("00000403000000000100000008", out->data, out->size));
    assert_failure(ERR_FORMAT, "before it had the whole request");
}

static void test_reset_without_response_is_a_failure(void **state)
{
    (void)state;
    submit("GET", "/a");
    sent();
    assert_int_equal(feed("000004030000000001"
                          "00000002"),
                     OK);
    assert_failure(ERR_FORMAT, "INTERNAL_ERROR");
    submit("GET", "/b");
    sent();
    assert_int_equal(feed("000001010400000003"
                          "88"
                          "000004030000000003"
                          "00000008"),
                     OK);
    assert_failure(ERR_FORMAT, "CANCEL");
    submit("GET", "/c");
    sent();
    assert_int_equal(feed("000004030000000005"
                          "00000000"),
                     OK); /* an error without an error's number */
    assert_failure(ERR_FORMAT, "NO_ERROR");
}

static void test_goaway_fails_what_the_server_will_not_answer(void **state)
{
    (void)state;
    int32_t id;
    submit("GET", "/a");
    submit("GET", "/b");
    sent();
    submit("GET", "/unsent");
    assert_int_equal(feed("000008070000000000"
                          "0000000100000000"),
                     OK); /* last stream 1 */
    sent();
    struct h2_client_state now;
    h2_client_state(client, &now);
    assert_true(now.closing);
    assert_int_equal(now.unanswered, 1);
    for (int i = 0; i < 2; i++) {
        struct h2_response *response = h2_client_next(client);
        assert_non_null(response);
        assert_int_equal(response->status, ERR_NETWORK);
        assert_true(response->id == 3 || response->id == 5);
        h2_response_free(response);
    }
    const struct h2_request late = {.method = "GET", .path = "/late"};
    assert_int_equal(h2_client_submit(client, &late, &id, &err), ERR_NETWORK);
    assert_int_equal(feed("000001010500000001"
                          "88"),
                     OK);
    struct h2_response *response = only_answer();
    assert_int_equal(response->status, OK);
    assert_int_equal(response->id, 1);
    h2_response_free(response);
}

static void test_goaway_fails_requests_queued_behind_the_limit(void **state)
{
    (void)state;
    static const uint8_t bytes[10] = {0};
    const struct slice body = {.data = bytes, .size = sizeof bytes};
    const struct h2_request request = {.method = "POST", .path = "/q", .body = &body, .body_count = 1};
    int32_t id;
    sent();
    assert_int_equal(feed("000006040000000000"
                          "000300000001"),
                     OK); /* one stream at a time */
    submit("GET", "/a");
    for (int i = 0; i < 20; i++)
        assert_int_equal(h2_client_submit(client, &request, &id, &err), OK);
    sent();
    struct h2_client_state now;
    h2_client_state(client, &now);
    assert_int_equal(now.streams_max, 1);
    assert_int_equal(now.body_unsent, 200);
    assert_int_equal(feed("000008070000000000"
                          "0000000100000000"),
                     OK);
    unsigned failed = 0;
    for (struct h2_response *response; (response = h2_client_next(client)); failed++) {
        assert_int_equal(response->status, ERR_NETWORK);
        h2_response_free(response);
    }
    assert_int_equal(failed, 20);
    assert_int_equal(feed("000001010500000001"
                          "88"),
                     OK);
    sent(); /* the queued ones must not come to life */
    struct h2_response *response = only_answer();
    assert_int_equal(response->status, OK);
    h2_response_free(response);
    h2_client_state(client, &now);
    assert_int_equal(now.body_unsent, 0);
}

static void test_lost_connections_fail_everything_once(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        submit("GET", "/a");
    sent();
    submit("GET", "/unsent");
    assert_int_equal(feed("000001010400000001"
                          "88"),
                     OK); /* half a response */
    h2_client_lose(client, NULL);
    h2_client_lose(client, "again");
    unsigned failed = 0;
    for (struct h2_response *response; (response = h2_client_next(client)); failed++) {
        assert_int_equal(response->status, ERR_NETWORK);
        assert_non_null(strstr(response->text, "closed the connection"));
        h2_response_free(response);
    }
    assert_int_equal(failed, 11);
    int32_t id;
    const struct h2_request late = {.method = "GET", .path = "/late"};
    assert_int_equal(h2_client_submit(client, &late, &id, &err), ERR_NETWORK);
    assert_int_equal(feed("00"), ERR_NETWORK);
    h2_client_cancel(client, 1);
    h2_client_consume(client, 1, 1);
    sent();
}

static void test_broken_rules_end_the_connection(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "000001000000000000"
        "00", /* DATA on stream 0 */
        "000001010400000001"
        "80", /* HPACK index 0 */
        "000003010400000001"
        "ffffff", /* HPACK integer without end */
        "000005040000000000"
        "0102030405", /* SETTINGS of 5 bytes */
        "000006040000000000"
        "000500000001", /* MAX_FRAME_SIZE 1 */
        "000006040000000000"
        "0004ffffffff",       /* INITIAL_WINDOW_SIZE beyond 31 bits */
        "ffffff000000000001", /* longer than MAX_FRAME_SIZE */
        "000005050400000001"
        "0000000288", /* PUSH_PROMISE */
        "000004080000000000"
        "00000000", /* WINDOW_UPDATE by 0 */
        "000004080000000000"
        "7fffffff"
        "0000040800000000007fffffff", /* window beyond 31 bits */
        "000001010400000002"
        "88", /* HEADERS on a stream that never was */
        "000001090400000001"
        "88", /* CONTINUATION of nothing */
        "000004060000000000"
        "00000000", /* PING of 4 bytes */
        "000001010000000001"
        "88"
        "000001010400000001"
        "88",                                               /* HEADERS not continued */
        "485454502f312e3120343030204261642052657175657374", /* HTTP/1.1 400 Bad Request */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        greet(&(struct h2_client_options){0});
        submit("GET", "/a");
        sent();
        if (feed(server_settings) != OK)
            assert_true(false);
        (void)!feed(bad[i]);
        sent();
        struct h2_response *response = h2_client_next(client);
        if (!response) {
            print_error("survived %s\n", bad[i]);
            assert_true(false);
        }
        assert_int_equal(response->status, ERR_NETWORK);
        assert_non_null(strstr(response->text, "broke the rules"));
        h2_response_free(response);
        struct h2_client_state now;
        h2_client_state(client, &now);
        assert_true(now.lost);
    }
}

static void test_broken_responses_fail_only_their_request(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "000001010500000001"
        "84", /* :path instead of :status */
        "000005010500000001"
        "0803393939", /* :status 999 */
        "000001010400000001"
        "88"
        "000005010500000001"
        "0803323030", /* a second :status as trailer */
        "000005010400000001"
        "880f0d0133"
        "000001000100000001"
        "78", /* content-length 3, one byte */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        greet(&(struct h2_client_options){0});
        submit("GET", "/a");
        submit("GET", "/b");
        sent();
        assert_int_equal(feed(server_settings), OK);
        assert_int_equal(feed(bad[i]), OK);
        sent();
        struct h2_response *response = only_answer();
        if (i != 1)
            assert_int_equal(response->status, ERR_FORMAT);
        h2_response_free(response);
        assert_int_equal(feed("000001010500000003"
                              "88"),
                         OK);
        response = only_answer();
        assert_int_equal(response->status, OK);
        h2_response_free(response);
    }
}

static void test_headers_longer_than_accepted_are_refused(void **state)
{
    (void)state;
    static uint8_t frame[100000];
    static char value[5000];
    nghttp2_nv nv[17] = {
        {.name = (uint8_t *)(uintptr_t) ":status", .value = (uint8_t *)(uintptr_t) "200", .namelen = 7, .valuelen = 3}};
    nghttp2_hd_deflater *deflater;
    memset(value, 'a', sizeof value);
    assert_int_equal(nghttp2_hd_deflate_new(&deflater, 4096), 0);
    for (int longer = 1; longer >= 0; longer--) {
        int32_t id = submit("GET", "/a");
        sent();
        for (int i = 1; i <= 16; i++)
            nv[i] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t) "x",
                                 .namelen = 1,
                                 .value = (uint8_t *)value,
                                 .valuelen = longer ? 5000 : 4000};
        ssize_t size = nghttp2_hd_deflate_hd(deflater, frame + 9, sizeof frame - 9, nv, 17);
        assert_true(size > 0);
        const uint8_t head[9] = {
            (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size, 1, 5, 0, 0, 0, (uint8_t)id};
        memcpy(frame, head, sizeof head);
        assert_int_equal(feed_bytes(frame, (size_t)size + 9, 1000), OK);
        sent();
        struct h2_response *response = only_answer();
        assert_int_equal(response->status, longer ? ERR_LIMIT : OK);
        h2_response_free(response);
    }
    nghttp2_hd_deflate_del(deflater);
}

static void test_floods_that_want_answers_end_the_connection(void **state)
{
    (void)state;
    static const char *const floods[] = {"0000080600000000000102030405060708", "000000040000000000"};
    for (int i = 0; i < 2; i++) {
        greet(&(struct h2_client_options){0});
        submit("GET", "/a");
        int count = 0;
        while (count < 20000 && feed(floods[i]) == OK) /* and nothing is sent in between */
            count++;
        assert_true(count < 20000);
        assert_failure(ERR_NETWORK, "broke the rules");
    }
}

static void test_submit_has_limits(void **state)
{
    (void)state;
    int32_t id;
    char path[WIRE_PATH_MAX + 2];
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[WIRE_PATH_MAX + 1] = '\0';
    const struct h2_request longer = {.method = "GET", .path = path};
    assert_int_equal(h2_client_submit(client, &longer, &id, &err), ERR_LIMIT);
    path[WIRE_PATH_MAX] = '\0';
    assert_int_equal(h2_client_submit(client, &longer, &id, &err), OK);
    greet(&(struct h2_client_options){.requests_max = 2});
    submit("GET", "/a");
    submit("GET", "/b");
    const struct h2_request third = {.method = "GET", .path = "/c"};
    assert_int_equal(h2_client_submit(client, &third, &id, &err), ERR_LIMIT);
}

static void test_cancelled_requests_answer_once(void **state)
{
    (void)state;
    int32_t open = submit("GET", "/a");
    sent();
    int32_t queued = submit("GET", "/b");
    h2_client_cancel(client, queued);
    assert_failure(ERR_CANCELLED, "cancelled");
    h2_client_cancel(client, open);
    h2_client_cancel(client, open);
    h2_client_cancel(client, 77);
    const struct buffer *out = sent();
    assert_memory_equal(out->data, "\0\0\4\3\0\0\0\0\1\0\0\0\x08", 13);
    assert_failure(ERR_CANCELLED, "cancelled");
    assert_int_equal(feed("000001010500000001"
                          "88"),
                     OK); /* crossed on the way */
    assert_null(h2_client_next(client));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_opens_with_the_specifications_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_windows_are_at_least_32_mib_by_default, setup, teardown),
        cmocka_unit_test_setup_teardown(test_takes_a_real_servers_opening_byte_by_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_requests_have_exactly_the_specifications_headers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_body_follows_the_headers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unsent_bytes_stay_where_they_are, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_response_is_taken_in_pieces_of_any_size, setup, teardown),
        cmocka_unit_test_setup_teardown(test_status_1xx_is_not_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_after_a_whole_response_leaves_the_response, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_early_response_without_reset_is_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_early_200_is_a_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_without_response_is_a_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_goaway_fails_what_the_server_will_not_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_goaway_fails_requests_queued_behind_the_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_connections_fail_everything_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_rules_end_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_responses_fail_only_their_request, setup, teardown),
        cmocka_unit_test_setup_teardown(test_headers_longer_than_accepted_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_floods_that_want_answers_end_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(test_submit_has_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled_requests_answer_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
