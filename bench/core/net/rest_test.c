#include "testing/testing.h"

#include "net/rest.h"
#include "net/tls_peer_for_test.h"

static struct peer peer;
static struct peer_script script;
static struct error err;
static struct account *account;
static struct rest *rest;
static struct buffer out;

static void begin(const char *auth_id)
{
    peer_start(&peer, &script);
    const struct account_options options = peer_account(&peer, auth_id);
    check_ok(account_new(&options, &account, &err), &err);
    check_ok(rest_new(account, &rest, &err), &err);
    err = (struct error){0};
}

static void finish(void)
{
    buffer_deinit(&out);
    rest_free(rest);
    account_free(account);
    peer_stop(&peer);
    peer_drop(&peer);
    script = (struct peer_script){0};
}

static const char *finish_but_keep_log(void)
{
    const char *log = peer_heard(&peer);
    finish();
    return log;
}

static enum status get(void)
{
    return rest_call(rest, "GET", "version", NULL, NULL, NULL, 1000, "asking for the version", &out, &err);
}

static void check_get(void)
{
    check_ok(get(), &err);
    assert_int_equal(out.size, 16);
    assert_memory_equal(out.data, "{\"data\":[1,2,3]}", 16);
}

static void test_tokens_never_log_in(void **state)
{
    (void)state;
    struct net_stats stats;
    begin("u@pbs!tok");
    assert_string_equal(account_repository(account)->datastore, "store1");
    check_ok(rest_login(rest, &err), &err);
    assert_int_equal(peer_count(&peer, &peer.accepted), 0);
    check_get();
    check_get();
    rest_stats(rest, &stats);
    assert_int_equal(stats.connections, 1);
    assert_int_equal(stats.requests, 2);
    assert_int_equal(stats.round_trips, 4);
    assert_true(stats.sent > 300 && stats.received > 200);
    assert_true(stats.wire_sent == 0 || stats.wire_sent > stats.sent);
    assert_true(stats.wire_received == 0 || stats.wire_received > stats.received);
    const char *log = finish_but_keep_log();
    assert_int_equal(peer.logins, 0);
    assert_int_equal(peer.calls, 2);
    assert_int_equal(peer_times(log, "GET /api2/json/version\n"), 2);
    assert_int_equal(peer_times(log, "Authorization: PBSAPIToken u@pbs!tok:s3cr3t\n"), 2);
    assert_int_equal(peer_times(log, "Cookie"), 0);
    assert_null(strcasestr(log, "accept-encoding"));
    assert_null(strcasestr(log, "expect:"));
}

static void test_users_log_in_once(void **state)
{
    (void)state;
    const struct slice body = {.data = (const uint8_t *)"{\"ns\":\"a\"}", .size = 10};
    begin("u@pbs");
    check_ok(rest_login(rest, &err), &err);
    check_get();
    check_ok(rest_call(rest, "DELETE", "snapshots", "ns=a", NULL, NULL, 1000, "removing", &out, &err), &err);
    check_ok(rest_call(rest, "POST", "namespace", NULL, NULL, &body, 1000, "making", &out, &err), &err);
    const char *log = finish_but_keep_log();
    assert_int_equal(peer.logins, 1);
    assert_int_equal(peer.accepted, 1);
    check_says(log, "POST /api2/json/access/ticket\n");
    check_says(log, "\n{\"username\":\"u@pbs\",\"password\":\"s3cr3t\"}\n");
    check_says(log, "DELETE /api2/json/snapshots?ns=a\n");
    check_says(log, "\n{\"ns\":\"a\"}\n");
    assert_int_equal(peer_times(log, "Cookie: PBSAuthCookie=PBS:u@pbs:00000001::sig/+\n"), 3);
    assert_int_equal(peer_times(log, "CSRFPreventionToken: 00000001:csrf\n"), 2);
    assert_int_equal(peer_times(log, "Authorization"), 0);
    assert_int_equal(peer_times(log, "s3cr3t"), 1);
}

static void test_an_old_ticket_is_replaced_once(void **state)
{
    (void)state;
    script.call_status[1] = 401;
    begin("u@pbs");
    check_get();
    check_get();
    finish();
    assert_int_equal(peer.logins, 2);
    assert_int_equal(peer.calls, 3);
    assert_int_equal(peer.accepted, 1);
    for (int i = 0; i < PEER_SCRIPTED; i++)
        script.call_status[i] = 401;
    begin("u@pbs");
    assert_int_equal(get(), ERR_REFUSED);
    check_says(err.text, "asking for the version: ");
    check_says(err.text, "not so");
    finish();
    assert_int_equal(peer.logins, 2);
    assert_int_equal(peer.calls, 2);
    script.call_status[0] = 401;
    begin("u@pbs!tok"); /* a token has nothing to replace */
    assert_int_equal(get(), ERR_REFUSED);
    finish();
    assert_int_equal(peer.calls, 1);
}

static void check_login_fails(const char *body, int status, enum status expected, const char *words)
{
    script.login_body = body;
    script.login_status[0] = status;
    begin("u@pbs");
    assert_int_equal(get(), expected);
    check_says(err.text, words);
    assert_null(strstr(err.text, "s3cr3t"));
    finish();
    assert_int_equal(peer.logins, 1);
    assert_int_equal(peer.calls, 0);
}

static void test_logins_that_fail(void **state)
{
    (void)state;
    check_login_fails("authentication failed", 401, ERR_REFUSED, "check user or token, and secret");
    check_login_fails("{\"data\":{\"ticket\":\"PBS:!tfa!x\",\"CSRFPreventionToken\":\"invalid\"}}", 0, ERR_UNSUPPORTED,
                      "API token");
    check_login_fails("{\"data\":null}", 0, ERR_FORMAT, "no ticket");
    check_login_fails("{\"data\":{\"ticket\":1,\"CSRFPreventionToken\":\"x\"}}", 0, ERR_FORMAT, "no ticket");
    check_login_fails("{\"data\":{\"ticket\":\"x\"}}", 0, ERR_FORMAT, "no CSRF token");
    check_login_fails("{\"data\":{\"ticket\":\"x\\r\\ny\",\"CSRFPreventionToken\":\"x\"}}", 0, ERR_FORMAT, "ticket");
    check_login_fails("{\"data\":{\"ticket\":\"\",\"CSRFPreventionToken\":\"x\"}}", 0, ERR_FORMAT, "0 bytes");
    check_login_fails("what?", 0, ERR_FORMAT, "not JSON");
}

static void test_newer_servers_cookie_wins(void **state)
{
    (void)state;
    script.login_cookie = "__Host-PBSAuthCookie=PBS%3Acookie; Path=/; Secure";
    begin("u@pbs");
    check_get();
    const char *log = finish_but_keep_log();
    assert_int_equal(peer_times(log, "Cookie: __Host-PBSAuthCookie=PBS%3Acookie\n"), 1);
    script.login_cookie = "PBSAuthCookie=other";
    begin("u@pbs");
    check_get();
    log = finish_but_keep_log();
    assert_int_equal(peer_times(log, "Cookie: PBSAuthCookie=PBS:u@pbs:00000001::sig/+\n"), 1);
}

static void test_passwords_are_written_as_json(void **state)
{
    (void)state;
    peer_start(&peer, &script);
    struct account_options options = peer_account(&peer, "u@pbs");
    options.secret = "a\"b\\c\x01\xc3\xa4";
    check_ok(account_new(&options, &account, &err), &err);
    check_ok(rest_new(account, &rest, &err), &err);
    check_get();
    const char *log = finish_but_keep_log();
    check_says(log, "\"password\":\"a\\\"b\\\\c\\u0001\xc3\xa4\"}");
}

/* The server has closed so many connections. */
static void wait_for_ends(unsigned count)
{
    while (peer_count(&peer, &peer.ended) < count)
        usleep(1000);
}

static void test_a_kept_connection_may_be_gone(void **state)
{
    (void)state;
    script.close_after_answer = true;
    begin("u@pbs!tok");
    for (unsigned i = 1; i <= 4; i++) {
        check_get();
        wait_for_ends(i);
    }
    finish();
    assert_int_equal(peer.calls, 4);
    assert_int_equal(peer.accepted, 4);
    script.say_close = true; /* also within a login */
    begin("u@pbs");
    check_get();
    check_get();
    finish();
    assert_int_equal(peer.logins, 1);
    assert_int_equal(peer.calls, 2);
    assert_int_equal(peer.accepted, 3);
}

static void test_questions_are_asked_again_when_a_kept_connection_breaks(void **state)
{
    (void)state;
    script.call_status[1] = PEER_HANGS_UP;
    begin("u@pbs!tok");
    check_get();
    check_get();
    finish();
    assert_int_equal(peer.calls, 3);
    assert_int_equal(peer.accepted, 2);
    /* Not what changes things, and not on a connection of its own. */
    script.call_status[1] = PEER_HANGS_UP;
    script.call_status[2] = PEER_HANGS_UP;
    begin("u@pbs!tok");
    check_get();
    assert_int_equal(rest_call(rest, "DELETE", "snapshots", "ns=a", NULL, NULL, 1000, "removing", &out, &err),
                     ERR_NETWORK);
    check_says(err.text, "removing: ");
    assert_int_equal(get(), ERR_NETWORK);
    check_get();
    finish();
    assert_int_equal(peer.calls, 4);
}

static void test_calls_that_change_things_are_not_sent_into_a_closed_connection(void **state)
{
    (void)state;
    script.close_after_answer = true;
    begin("u@pbs!tok");
    for (unsigned i = 1; i < 4; i++) {
        check_ok(rest_call(rest, "DELETE", "snapshots", "ns=a", NULL, NULL, 1000, "removing", &out, &err), &err);
        wait_for_ends(i);
    }
    finish();
    assert_int_equal(peer.calls, 3);
}

static void test_errors_are_the_servers_words(void **state)
{
    (void)state;
    static const int statuses[] = {400, 403, 404, 414, 500};
    static const enum status expected[] = {ERR_REFUSED, ERR_REFUSED, ERR_NOT_FOUND, ERR_LIMIT, ERR_NETWORK};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        script.call_status[0] = statuses[i];
        begin("u@pbs!tok");
        assert_int_equal(get(), expected[i]);
        check_says(err.text, "asking for the version: ");
        check_says(err.text, "not so"); /* although the content type claims JSON */
        check_get();
        finish();
        assert_int_equal(peer.accepted, 1);
    }
}

static void test_answers_have_a_ceiling(void **state)
{
    (void)state;
    begin("u@pbs!tok");
    assert_int_equal(rest_call(rest, "GET", "version", NULL, NULL, NULL, 15, "asking", &out, &err), ERR_LIMIT);
    check_get();
    finish();
}

static void test_a_server_that_is_silent_is_given_up(void **state)
{
    (void)state;
    script.silent = true;
    peer_start(&peer, &script);
    struct account_options options = peer_account(&peer, "u@pbs!tok");
    options.stall_timeout_ms = 100;
    check_ok(account_new(&options, &account, &err), &err);
    check_ok(rest_new(account, &rest, &err), &err);
    assert_int_equal(get(), ERR_NETWORK);
    check_says(err.text, "100 ms");
    finish();
}

enum { SHARING = 6 };

static void *call_by_itself(void *argument)
{
    (void)argument;
    struct rest *own;
    struct error own_err;
    struct buffer body = {0};
    ASSERT(rest_new(account, &own, &own_err) == OK);
    enum status status = rest_call(own, "GET", "version", NULL, NULL, NULL, 1000, "asking", &body, &own_err);
    rest_free(own);
    buffer_deinit(&body);
    return (void *)(uintptr_t)status;
}

static void check_sharing(enum status expected)
{
    pthread_t threads[SHARING];
    for (int i = 0; i < SHARING; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_by_itself, NULL), 0);
    for (int i = 0; i < SHARING; i++) {
        void *status;
        pthread_join(threads[i], &status);
        assert_int_equal((uintptr_t)status, expected);
    }
}

static void test_connections_share_one_login(void **state)
{
    (void)state;
    script.login_pause_ms = 50;
    begin("u@pbs");
    check_sharing(OK);
    finish();
    assert_int_equal(peer.logins, 1);
    assert_int_equal(peer.calls, SHARING);
    for (int i = 0; i < PEER_SCRIPTED; i++)
        script.login_status[i] = 401;
    script.login_pause_ms = 300;
    begin("u@pbs");
    check_sharing(ERR_REFUSED);
    finish();
    assert_true(peer.logins < SHARING);
    assert_int_equal(peer.calls, 0);
}

static void test_what_an_account_needs(void **state)
{
    (void)state;
    peer_start(&peer, &script);
    const struct account_options good = peer_account(&peer, "u@pbs!tok");
    struct account_options options = good;
    options.secret = NULL;
    assert_int_equal(account_new(&options, &account, &err), ERR_USAGE);
    check_says(err.text, "PBS_PASSWORD");
    options = good;
    options.fingerprint = "0011";
    assert_int_equal(account_new(&options, &account, &err), ERR_USAGE);
    char bare[CERTIFICATE_FINGERPRINT_TEXT_SIZE];
    size_t used = 0;
    for (const char *p = good.fingerprint; *p; p++)
        if (*p != ':')
            bare[used++] = *p;
    bare[used] = '\0';
    options.fingerprint = bare;
    assert_int_equal(account_new(&options, &account, &err), ERR_USAGE);
    options = good;
    options.proxy = "socks5://u:secretive@proxy:1080";
    assert_int_equal(account_new(&options, &account, &err), ERR_USAGE);
    assert_null(strstr(err.text, "secretive"));
    /* Upper case is as good. */
    options = good;
    for (char *p = peer.fingerprint; *p; p++)
        *p = (char)(*p >= 'a' && *p <= 'f' ? *p - 'a' + 'A' : *p);
    check_ok(account_new(&options, &account, &err), &err);
    check_ok(rest_new(account, &rest, &err), &err);
    check_get();
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens_never_log_in),
        cmocka_unit_test(test_users_log_in_once),
        cmocka_unit_test(test_an_old_ticket_is_replaced_once),
        cmocka_unit_test(test_logins_that_fail),
        cmocka_unit_test(test_newer_servers_cookie_wins),
        cmocka_unit_test(test_passwords_are_written_as_json),
        cmocka_unit_test(test_a_kept_connection_may_be_gone),
        cmocka_unit_test(test_questions_are_asked_again_when_a_kept_connection_breaks),
        cmocka_unit_test(test_calls_that_change_things_are_not_sent_into_a_closed_connection),
        cmocka_unit_test(test_errors_are_the_servers_words),
        cmocka_unit_test(test_answers_have_a_ceiling),
        cmocka_unit_test(test_a_server_that_is_silent_is_given_up),
        cmocka_unit_test(test_connections_share_one_login),
        cmocka_unit_test(test_what_an_account_needs),
    };
    alarm(300);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
