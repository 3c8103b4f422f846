#include "testing/testing.h"

#include "wire/http_head.h"

#include <stdio.h>
#include <string.h>

static struct http_head head;
static struct error err;

static enum status feed_in_pieces(enum http_kind kind, const char *text, size_t size, size_t piece, size_t *out_used)
{
    http_head_deinit(&head);
    http_head_init(&head, kind);
    err.text[0] = '\0';
    *out_used = 0;
    while (*out_used < size && !head.complete) {
        size_t used = 0;
        size_t now = size - *out_used < piece ? size - *out_used : piece;
        TRY(http_head_feed(&head, text + *out_used, now, &used, &err));
        *out_used += used;
    }
    return OK;
}

static enum status feed(enum http_kind kind, const char *text)
{
    size_t used;
    return feed_in_pieces(kind, text, strlen(text), strlen(text), &used);
}

static int done(void **state)
{
    (void)state;
    http_head_deinit(&head);
    return 0;
}

static const char upgrade_reply[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                    "connection: upgrade\r\n"
                                    "upgrade: proxmox-backup-protocol-v1\r\n"
                                    "date: Mon, 23 Nov 2026 03:00:00 GMT\r\n"
                                    "\r\n";

static void test_reads_the_same_in_pieces_of_every_size(void **state)
{
    (void)state;
    char text[sizeof upgrade_reply + 40];
    size_t size = sizeof upgrade_reply - 1;
    memcpy(text, upgrade_reply, size);
    memset(text + size, '\n', 40); /* another protocol, in the same read */
    for (size_t piece = 1; piece <= size + 40; piece++) {
        size_t used;
        assert_int_equal(feed_in_pieces(HTTP_RESPONSE, text, size + 40, piece, &used), OK);
        assert_true(head.complete);
        assert_int_equal(used, size);
        assert_int_equal(head.status, 101);
        assert_string_equal(head.reason, "Switching Protocols");
        assert_int_equal(head.field_count, 3);
        assert_string_equal(http_head_find(&head, "Upgrade"), "proxmox-backup-protocol-v1");
        assert_true(http_head_lists(&head, "CONNECTION", "Upgrade"));
        assert_int_equal(http_head_framing(&head), HTTP_BODY_NONE);
    }
}

static void test_reads_requests(void **state)
{
    (void)state;
    assert_int_equal(feed(HTTP_REQUEST, "POST //api2/json/access/ticket?a=b?c HTTP/1.1\r\nHost: h:8007\r\n"
                                        "Content-Length: 12 \r\nX-Empty:\r\nX: \t a b\t \r\n\r\n"),
                     OK);
    const char *path;
    const char *query;
    size_t path_size;
    http_head_target(&head, &path, &path_size, &query);
    assert_string_equal(head.method, "POST");
    assert_int_equal(path_size, strlen("//api2/json/access/ticket"));
    assert_string_equal(query, "a=b?c");
    assert_true(head.has_length);
    assert_int_equal(head.length, 12);
    assert_int_equal(http_head_framing(&head), HTTP_BODY_SIZED);
    assert_string_equal(http_head_find(&head, "x-empty"), "");
    assert_string_equal(http_head_find(&head, "x"), "a b");
    assert_null(http_head_find(&head, "y"));
    assert_true(http_head_keeps_alive(&head));
    assert_int_equal(feed(HTTP_REQUEST, "GET / HTTP/1.1\r\n\r\n"), OK);
    http_head_target(&head, &path, &path_size, &query);
    assert_string_equal(query, "");
    assert_int_equal(http_head_framing(&head), HTTP_BODY_NONE);
}

static void test_refuses_what_could_be_read_in_two_ways(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.1\r\nHost: h\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\rx: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\n A: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA : b\r\n\r\n",
        "GET / HTTP/1.1\r\nA\r\n\r\n",
        "GET / HTTP/1.1\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA(: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\x01\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\x7f\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "GET /\xc3\xa4 HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET / HTTP/1.2\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "GE(T / HTTP/1.1\r\n\r\n",
        " / HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        if (feed(HTTP_REQUEST, requests[i]) != ERR_FORMAT) {
            print_error("accepted: %s\n", requests[i]);
            assert_true(false);
        }
    static const char *const responses[] = {
        "HTTP/1.1 200OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 \r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 200 O\x01K\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof responses / sizeof *responses; i++)
        if (feed(HTTP_RESPONSE, responses[i]) != ERR_FORMAT) {
            print_error("accepted: %s\n", responses[i]);
            assert_true(false);
        }
    size_t used;
    assert_int_equal(feed_in_pieces(HTTP_REQUEST, "GET /\0 HTTP/1.1\r\n\r\n", 19, 19, &used), ERR_FORMAT);
}

static void test_size_and_lines_are_bounded(void **state)
{
    (void)state;
    struct buffer text = BUFFER_INIT(1 << 20);
    for (int lines = 64; lines <= 65; lines++) {
        buffer_clear(&text);
        assert_int_equal(buffer_printf(&text, &err, "GET / HTTP/1.1\r\n"), OK);
        for (int i = 0; i < lines; i++)
            assert_int_equal(buffer_printf(&text, &err, "h%d: v\r\n", i), OK);
        assert_int_equal(buffer_append(&text, "\r\n", 3, &err), OK);
        assert_int_equal(feed(HTTP_REQUEST, (const char *)text.data), lines == 64 ? OK : ERR_LIMIT);
    }
    for (int extra = 0; extra <= 1; extra++) {
        size_t frame = strlen("GET / HTTP/1.1\r\nA: \r\n\r\n");
        buffer_clear(&text);
        assert_int_equal(
            buffer_printf(&text, &err, "GET / HTTP/1.1\r\nA: %0*d\r\n\r\n", HTTP_HEAD_SIZE_MAX - (int)frame + extra, 7),
            OK);
        assert_int_equal(buffer_append_u8(&text, 0, &err), OK);
        assert_int_equal(feed(HTTP_REQUEST, (const char *)text.data), extra ? ERR_LIMIT : OK);
    }
    /* Without any line end, too. */
    buffer_clear(&text);
    assert_int_equal(buffer_printf(&text, &err, "%0*d", 100000, 7), OK);
    assert_int_equal(feed(HTTP_REQUEST, (const char *)text.data), ERR_LIMIT);
    buffer_deinit(&text);
}

static void test_framing_of_responses(void **state)
{
    (void)state;
    assert_int_equal(feed(HTTP_RESPONSE, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), OK);
    assert_int_equal(http_head_framing(&head), HTTP_BODY_NONE);
    assert_true(http_head_keeps_alive(&head));
    assert_int_equal(feed(HTTP_RESPONSE, "HTTP/1.1 200 \r\nTransfer-Encoding: Chunked\r\n\r\n"), OK);
    assert_int_equal(http_head_framing(&head), HTTP_BODY_CHUNKED);
    assert_int_equal(feed(HTTP_RESPONSE, "HTTP/1.1 400\r\n\r\n"), OK);
    assert_string_equal(head.reason, "");
    assert_int_equal(http_head_framing(&head), HTTP_BODY_UNTIL_EOF);
    assert_false(http_head_keeps_alive(&head));
    assert_int_equal(feed(HTTP_RESPONSE, "HTTP/1.1 204 No Content\r\n\r\n"), OK);
    assert_int_equal(http_head_framing(&head), HTTP_BODY_NONE);
    assert_int_equal(feed(HTTP_RESPONSE, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n"), OK);
    assert_false(http_head_keeps_alive(&head));
    assert_int_equal(feed(HTTP_REQUEST, "GET / HTTP/1.1\r\nConnection: foo, Close\r\n\r\n"), OK);
    assert_false(http_head_keeps_alive(&head));
    assert_int_equal(feed(HTTP_REQUEST, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), OK);
    assert_true(http_head_keeps_alive(&head));
    assert_false(http_head_lists(&head, "connection", "keep"));
}

static void test_writes_heads_that_read_back(void **state)
{
    (void)state;
    struct buffer out = BUFFER_INIT(4096);
    const struct http_field fields[] = {{"Host", "h:8007"}, {"X-Empty", ""}, {"X-More", "a\tb \xc3\xa4"}};
    assert_int_equal(http_request_write(&out, "PUT", "/a?b=c", fields, 3, &err), OK);
    assert_int_equal(out.size,
                     strlen("PUT /a?b=c HTTP/1.1\r\nHost: h:8007\r\nX-Empty: \r\nX-More: a\tb \xc3\xa4\r\n\r\n"));
    assert_int_equal(buffer_append_u8(&out, 0, &err), OK);
    assert_int_equal(feed(HTTP_REQUEST, (const char *)out.data), OK);
    assert_string_equal(http_head_find(&head, "x-more"), "a\tb \xc3\xa4");
    buffer_clear(&out);
    assert_int_equal(http_response_write(&out, 414, NULL, NULL, 0, &err), OK);
    assert_int_equal(buffer_append_u8(&out, 0, &err), OK);
    assert_string_equal((const char *)out.data, "HTTP/1.1 414 URI Too Long\r\n\r\n");
    buffer_deinit(&out);
}

static void test_never_writes_a_line_end_into_a_header(void **state)
{
    (void)state;
    struct buffer out = BUFFER_INIT(4096);
    const struct http_field bad[] = {{"A", "b\r\nC: d"}, {"A", "b\n"}, {"A\r\n", "b"}, {"A b", "c"},
                                     {"", "b"},          {"A:", "b"},  {"A", "\x7f"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(http_request_write(&out, "GET", "/", &bad[i], 1, &err), ERR_USAGE);
        assert_int_equal(http_response_write(&out, 200, NULL, &bad[i], 1, &err), ERR_USAGE);
    }
    assert_int_equal(http_request_write(&out, "GET", "/ HTTP/1.1\r\nA: b", NULL, 0, &err), ERR_USAGE);
    assert_int_equal(http_request_write(&out, "GET", "", NULL, 0, &err), ERR_USAGE);
    assert_int_equal(http_request_write(&out, "G T", "/", NULL, 0, &err), ERR_USAGE);
    assert_int_equal(http_response_write(&out, 99, NULL, NULL, 0, &err), ERR_USAGE);
    assert_int_equal(http_response_write(&out, 200, "a\r\n", NULL, 0, &err), ERR_USAGE);
    buffer_deinit(&out);
}

static void test_known_statuses_have_reasons(void **state)
{
    (void)state;
    static const int known[] = {101, 200, 301, 308, 400, 401, 403, 404, 405, 414, 431, 500, 501, 503};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_string_not_equal(http_reason(known[i]), http_reason(299));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_reads_the_same_in_pieces_of_every_size, done),
        cmocka_unit_test_teardown(test_reads_requests, done),
        cmocka_unit_test_teardown(test_refuses_what_could_be_read_in_two_ways, done),
        cmocka_unit_test_teardown(test_size_and_lines_are_bounded, done),
        cmocka_unit_test_teardown(test_framing_of_responses, done),
        cmocka_unit_test_teardown(test_writes_heads_that_read_back, done),
        cmocka_unit_test_teardown(test_never_writes_a_line_end_into_a_header, done),
        cmocka_unit_test(test_known_statuses_have_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
