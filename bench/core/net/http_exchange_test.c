#include "testing/testing.h"

#include "base/clock.h"
#include "net/http_exchange.h"
#include "net/login.h"
#include "net/tls_peer_for_test.h"

static struct peer peer;
static struct peer_script script;
static struct error err;
static struct http_answer answer;
static struct tls_link *link_;
static struct sigpipe_state sigpipe;
static uint64_t rate;

enum { BODY_MAX = 1000 };

static void begin(void)
{
    struct account *account;
    peer_start(&peer, &script);
    struct account_options options = peer_account(&peer, "u@pbs!tok");
    options.rate = rate;
    options.burst = rate > 0 ? 1 : 0;
    check_ok(account_new(&options, &account, &err), &err);
    const struct tls_link_options link_options = account_link_options(account);
    check_ok(tls_link_open(&link_options, NULL, &link_, &err), &err);
    account_free(account);
    sigpipe_block(&sigpipe);
    err = (struct error){0};
}

static void finish(void)
{
    sigpipe_restore(&sigpipe);
    http_answer_deinit(&answer);
    tls_link_close(link_);
    peer_stop(&peer);
    peer_drop(&peer);
    script = (struct peer_script){0};
    rate = 0;
}

static enum status ask_with(bool upgrade, size_t body_size, unsigned timeout_ms)
{
    char text[200];
    snprintf(text, sizeof text, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", body_size);
    const struct buffer head = {.data = (uint8_t *)text, .size = strlen(text)};
    const struct http_request_bytes request = {
        .head = &head,
        .body = peer_pattern,
        .body_size = body_size,
        .upgrade = upgrade,
        .body_max = BODY_MAX,
        .timeout_ns = timeout_ms * UINT64_C(1000000),
    };
    http_answer_deinit(&answer);
    return http_exchange(link_, &request, NULL, &answer, &err);
}

/* Asks a server that answers with these bytes, whole and byte by byte. `body` NULL: a failure that says `words`. */
static void check_raw(const char *raw, bool closes, int http_status, const char *body, bool reusable,
                      enum status expected, const char *words)
{
    for (size_t piece = 0; piece < 2; piece++) {
        script.raw = raw;
        script.close_after_raw = closes;
        script.piece = piece;
        begin();
        enum status status = ask_with(false, 10, 20000);
        if (expected == OK) {
            check_ok(status, &err);
            assert_int_equal(answer.head.status, http_status);
            assert_int_equal(answer.body.size, strlen(body));
            assert_memory_equal(answer.body.data, body, strlen(body));
            /* What comes later than the answer is seen by the next one only. */
            assert_true(answer.reusable == reusable || (piece > 0 && answer.reusable));
        } else {
            assert_int_equal(status, expected);
            check_says(err.text, words);
        }
        finish();
    }
}

static void test_bodies_of_all_framings(void **state)
{
    (void)state;
    check_raw("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", false, 200, "hello", true, OK, NULL);
    check_raw("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false, 200, "", true, OK, NULL);
    check_raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", false, 200,
              "hello", true, OK, NULL);
    check_raw("HTTP/1.1 200 OK\r\n\r\nhello", true, 200, "hello", false, OK, NULL);
    check_raw("HTTP/1.1 204 None\r\n\r\n", false, 204, "", true, OK, NULL);
    check_raw("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello", true, 200, "hello", false, OK,
              NULL);
    check_raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: "
              "2\r\n\r\nok",
              false, 200, "ok", true, OK, NULL);
    check_raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n", false, 200, "ok", false, OK, NULL);
}

static void test_errors_are_whole_although_their_text_is_not(void **state)
{
    (void)state;
    check_raw("HTTP/1.1 400 Bad\r\ncontent-length: 500\r\n\r\nno such", true, 400, "no such", false, OK, NULL);
    check_raw("HTTP/1.1 403 Bad\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\nzzz\r\n", false, 403, "no", false, OK,
              NULL);
    check_raw("HTTP/1.1 502 Bad\r\n\r\n", true, 502, "", false, OK, NULL);
}

static void test_answers_that_are_none(void **state)
{
    (void)state;
    check_raw("", true, 0, NULL, false, ERR_NETWORK, "instead of answering");
    check_raw("HTTP/1.1 200 OK\r\ncontent-le", true, 0, NULL, false, ERR_NETWORK, "within an answer");
    check_raw("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", true, 0, NULL, false, ERR_NETWORK, "within an answer");
    check_raw("SSH-2.0-OpenSSH_9\r\n\r\n", false, 0, NULL, false, ERR_FORMAT, "cannot be used");
    check_raw("HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", false, 0, NULL, false, ERR_FORMAT, "another protocol");
    check_raw("HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n", false, 0, NULL, false, ERR_LIMIT, "1001");
    check_raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", false, 0, NULL, false, ERR_FORMAT,
              "chunked");
}

static void test_endless_answers_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        enum status expected;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nx: y", ERR_LIMIT},  /* a head */
        {"HTTP/1.1 200 OK\r\n\r\nx", ERR_LIMIT}, /* a body */
        {"HTTP/1.1 400 Bad\r\n\r\nx", OK},       /* an error's text */
        {"HTTP/1.1 200 OK\r\nx: y\r\n\r\n\n", ERR_LIMIT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script.raw = cases[i].raw;
        script.endless = true;
        begin();
        assert_int_equal(ask_with(false, 0, 60000), cases[i].expected);
        if (cases[i].expected == OK) {
            assert_int_equal(answer.body.size, WIRE_ERROR_TEXT_MAX);
            assert_false(answer.reusable);
        }
        finish();
    }
}

static void test_endless_interim_answers_are_bounded(void **state)
{
    (void)state;
    static char raw[20 * 26 + 1];
    for (int i = 0; i < 20; i++)
        memcpy(raw + i * 25, "HTTP/1.1 100 Continue\r\n\r\n", 26);
    script.raw = raw;
    begin();
    assert_int_equal(ask_with(false, 0, 20000), ERR_LIMIT);
    finish();
}

static void test_silence_ends(void **state)
{
    (void)state;
    script.silent = true;
    begin();
    assert_int_equal(ask_with(false, 10, 150), ERR_NETWORK);
    check_says(err.text, "150 ms");
    finish();
    /* So does a trickle. */
    script.raw = "HTTP/1.1 200 OK\r\nx: y";
    script.endless = true;
    script.slow_read_ms = 5;
    begin();
    assert_int_equal(ask_with(false, 10, 150), ERR_NETWORK);
    check_says(err.text, "150 ms");
    finish();
}

static void test_bodies_larger_than_all_buffers_arrive(void **state)
{
    (void)state;
    script.receive_buffer = 4096;
    begin();
    check_ok(ask_with(false, 1 << 20, 60000), &err);
    finish();
    assert_true(peer.received > 1 << 20);
    assert_int_equal(peer.calls, 1);
}

static void test_connections_are_used_again(void **state)
{
    (void)state;
    script.raw = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    begin();
    for (int i = 0; i < 3; i++) {
        check_ok(ask_with(false, 5, 20000), &err);
        assert_true(answer.reusable);
    }
    finish();
    assert_int_equal(peer.calls, 3);
    assert_int_equal(peer.accepted, 1);
}

static void test_early_answers_end_the_sending(void **state)
{
    (void)state;
    script.raw = "HTTP/1.1 413 Too much\r\ncontent-length: 8\r\n\r\ntoo much";
    script.early = true;
    script.receive_buffer = 4096;
    begin();
    check_ok(ask_with(false, PEER_STREAM_MAX, 60000), &err);
    assert_int_equal(answer.head.status, 413);
    assert_false(answer.reusable);
    finish();
    assert_true(peer.received < PEER_STREAM_MAX);
}

static void test_nothing_is_good_before_it_was_sent(void **state)
{
    (void)state;
    script.raw = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    script.early = true;
    script.receive_buffer = 4096;
    begin();
    assert_int_equal(ask_with(false, PEER_STREAM_MAX, 60000), ERR_FORMAT);
    check_says(err.text, "before the whole request was sent");
    finish();
}

/* The link's own rate keeps the upgrade's head back while the answer to it is there already. */
static void test_a_101_before_the_upgrade_is_none(void **state)
{
    (void)state;
    static const char answer_text[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    static char raw[200];
    snprintf(raw, sizeof raw, "%sHTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", answer_text);
    script.raw = raw;
    script.piece = sizeof answer_text - 1; /* the second piece comes in a record of its own */
    rate = 16 << 10;
    begin();
    check_ok(ask_with(false, 2 * TLS_LINK_SEND_MAX, 60000), &err);
    assert_true(answer.reusable);
    assert_int_equal(ask_with(true, 0, 60000), ERR_FORMAT);
    check_says(err.text, "before the whole request was sent");
    finish();
}

static void test_what_follows_an_upgrade_is_handed_on(void **state)
{
    (void)state;
    for (size_t piece = 0; piece < 2; piece++) {
        script.raw = "HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\nbehind";
        script.piece = piece;
        begin();
        check_ok(ask_with(true, 0, 20000), &err);
        assert_int_equal(answer.head.status, 101);
        assert_true(piece == 1 || answer.behind.size == 6);
        assert_memory_equal(answer.behind.data, "behind", answer.behind.size);
        finish();
    }
    /* A 200 is not what was asked for: its text is an error's. */
    script.raw = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    begin();
    check_ok(ask_with(true, 0, 20000), &err);
    assert_int_equal(answer.head.status, 200);
    assert_memory_equal(answer.body.data, "hello", 5);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies_of_all_framings),
        cmocka_unit_test(test_errors_are_whole_although_their_text_is_not),
        cmocka_unit_test(test_answers_that_are_none),
        cmocka_unit_test(test_endless_answers_are_bounded),
        cmocka_unit_test(test_endless_interim_answers_are_bounded),
        cmocka_unit_test(test_silence_ends),
        cmocka_unit_test(test_bodies_larger_than_all_buffers_arrive),
        cmocka_unit_test(test_connections_are_used_again),
        cmocka_unit_test(test_early_answers_end_the_sending),
        cmocka_unit_test(test_nothing_is_good_before_it_was_sent),
        cmocka_unit_test(test_a_101_before_the_upgrade_is_none),
        cmocka_unit_test(test_what_follows_an_upgrade_is_handed_on),
    };
    alarm(300);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
