/* Sessions with servers that are out of order, and sessions that are closed at any time. */
#include "testing/testing.h"

#include "base/clock.h"
#include "net/session_for_test.h"

static void test_errors_of_calls_leave_the_session_usable(void **state)
{
    (void)state;
    begin();
    assert_int_equal(call("/error", 10), ERR_REFUSED);
    check_says(err.text, "calling: ");
    check_says(err.text, "no such luck");
    check_ok(call("/x", 10), &err);
    finish();
}

static void test_early_errors_are_those_errors(void **state)
{
    (void)state;
    for (int cancel = 0; cancel < 2; cancel++) {
        script.h2.reset_with_cancel = cancel == 1;
        script.receive_buffer = 16384;
        begin();
        for (int i = 0; i < 3; i++) {
            assert_int_equal(call("/early", 16 << 20), ERR_REFUSED);
            check_says(err.text, "too early");
        }
        check_ok(call("/x", 100000), &err);
        finish();
    }
}

static void test_nothing_is_good_before_it_was_sent(void **state)
{
    (void)state;
    script.receive_buffer = 16384;
    begin();
    assert_int_equal(call("/early-good", 16 << 20), ERR_FORMAT);
    check_says(err.text, "calling: ");
    check_says(err.text, "before it had the whole request");
    check_ok(call("/x", 100000), &err);
    finish();
}

static void test_goaway_lets_running_requests_finish(void **state)
{
    (void)state;
    struct flight flight = {0};
    script.receive_buffer = 16384;
    begin();
    check_ok(net_session_wait_open(session, &err), &err);
    check_ok(call("/x", 0), &err);
    check_ok(submit(&flight, "/x", 8 << 20), &err);
    check_ok(call("/goaway", 0), &err);
    wait_for(&flight, 1);
    assert_int_equal(flight.good, 1);
    assert_int_equal(call("/x", 0), ERR_NETWORK);
    finish();
}

static void test_lost_connections_answer_everything(void **state)
{
    (void)state;
    struct flight flight = {0};
    begin();
    check_ok(submit(&flight, "/x", 0), &err);
    wait_for(&flight, 1);
    for (int i = 0; i < 10; i++)
        check_ok(submit(&flight, "/never", 100), &err);
    check_ok(submit(&flight, "/cut", 0), &err);
    wait_for(&flight, 12);
    assert_int_equal(flight.good, 1);
    assert_int_equal(flight.last, ERR_NETWORK);
    check_says(flight.text, "calling: ");
    check_says(flight.text, "closed the connection");
    check_says(flight.text, "try again");
    enum status status;
    while ((status = submit(&flight, "/x", 0)) == OK) /* until the session's thread has seen the end */
        usleep(1000);
    assert_int_equal(status, ERR_NETWORK);
    assert_int_equal(call("/x", 10), ERR_NETWORK);
    check_ok(net_session_wait_open(session, &err), &err); /* it stood once */
    finish();
}

static void test_the_connection_may_end_after_any_byte(void **state)
{
    (void)state;
    for (unsigned after = 1; after < 3000; after = after * 5 / 4 + 7) {
        struct flight flight = {0};
        script.end_after = after;
        begin();
        for (int i = 0; i < 5; i++)
            if (submit(&flight, "/x", 600) != OK)
                atomic_fetch_add(&flight.answered, 1);
        wait_for(&flight, 5);
        assert_true(flight.good < 5);
        finish();
    }
}

static void test_idle_sessions_notice_the_end(void **state)
{
    (void)state;
    struct flight flight = {0};
    begin();
    check_ok(call("/x", 0), &err);
    atomic_store(&peer.stop, true);
    enum status status;
    unsigned count = 0;
    while ((status = submit(&flight, "/never", 0)) == OK && ++count < 20000)
        usleep(1000);
    assert_int_equal(status, ERR_NETWORK);
    wait_for(&flight, count);
    finish();
}

static void test_refused_upgrades_say_why(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body;
        enum status expected;
    } cases[] = {
        {400, "unable to parse parameter", ERR_UNSUPPORTED},
        {400, "backup owner check failed", ERR_REFUSED},
        {400, "backup timestamp is older", ERR_EXISTS},
        {401, "authentication failed", ERR_REFUSED},
        {403, "permission check failed", ERR_REFUSED},
        {404, "no such namespace", ERR_NOT_FOUND},
        {500, "out of order", ERR_NETWORK},
        {301, "", ERR_UNSUPPORTED},
        {200, "{}", ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct flight flight = {0};
        script.upgrade_status[0] = cases[i].status;
        script.upgrade_body = cases[i].body;
        begin();
        enum status submitted = submit(&flight, "/x", 10);
        assert_int_equal(net_session_wait_open(session, &err), cases[i].expected);
        check_says(err.text, "starting the backup: ");
        check_says(err.text, cases[i].body);
        assert_null(strstr(err.text, "s3cr3t"));
        if (submitted == OK) {
            wait_for(&flight, 1);
            assert_int_equal(flight.opening, 1);
            assert_int_equal(flight.last, cases[i].expected);
            assert_string_equal(flight.text, err.text);
        }
        while (submit(&flight, "/x", 10) == OK)
            usleep(1000);
        assert_int_equal(call("/x", 10), cases[i].expected);
        finish();
        assert_int_equal(peer.received, peer.used); /* nothing behind the requests */
    }
}

static void check_never_opens(enum status expected, const char *words)
{
    begin();
    assert_int_equal(net_session_wait_open(session, &err), expected);
    check_says(err.text, words);
    finish();
}

static void test_upgrades_that_are_none(void **state)
{
    (void)state;
    script.raw = "HTTP/1.1 101 Switching\r\nupgrade: websocket\r\n\r\n";
    check_never_opens(ERR_FORMAT, "websocket");
    script.raw = "HTTP/1.1 101 Switching\r\n\r\n";
    check_never_opens(ERR_FORMAT, WIRE_BACKUP_PROTOCOL);
    script.raw = "HTTP/1.1 101 Switching\r\nx: y";
    script.endless = true;
    check_never_opens(ERR_LIMIT, "starting the backup");
    script.raw = "";
    script.close_after_raw = true;
    check_never_opens(ERR_NETWORK, "instead of answering");
    script.raw = "220 mail.example ESMTP\r\n\r\n";
    check_never_opens(ERR_FORMAT, "starting the backup");
    script.raw = "HTTP/1.1 400 Bad\r\ncontent-length: 99999999\r\n\r\nparameter x";
    script.endless = true;
    check_never_opens(ERR_UNSUPPORTED, "parameter");
    script.silent = true;
    stall_timeout_ms = 100;
    check_never_opens(ERR_NETWORK, "100 ms");
}

static void test_garbage_behind_the_upgrade_ends_the_session(void **state)
{
    (void)state;
    static const char *const garbage[] = {
        "HTTP/1.1 101 Switching\r\nupgrade: " WIRE_BACKUP_PROTOCOL "\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nupgrade: " WIRE_BACKUP_PROTOCOL "\r\n\r\n\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f",
    };
    for (size_t i = 0; i < 4; i++) {
        script.raw = garbage[i / 2];
        script.piece = i & 1;
        script.early = true; /* what we send does not matter to it */
        stall_timeout_ms = 5000;
        begin();
        enum status status = call("/x", 10);
        assert_true(status == ERR_NETWORK || status == ERR_FORMAT);
        check_says(err.text, "HTTP/2");
        finish();
    }
}

static void test_silence_while_an_answer_is_due_ends_the_session(void **state)
{
    (void)state;
    stall_timeout_ms = 1000;
    begin();
    check_ok(call("/x", 0), &err);
    usleep(1200000); /* idle is not silent */
    check_ok(call("/x", 0), &err);
    assert_int_equal(call("/never", 0), ERR_NETWORK);
    check_says(err.text, "no answer and took no data for 1000 ms");
    finish();
}

/* Waits, though not for ever, for what must not take for ever. */
static void check_ends(struct flight *flight, unsigned limit_s, const char *words)
{
    for (unsigned i = 0; i < limit_s * 1000 && atomic_load(&flight->answered) == 0; i++)
        usleep(1000);
    bool answered = atomic_load(&flight->answered) == 1;
    finish(); /* else its answer would come after this function */
    assert_true(answered);
    assert_int_equal(flight->last, ERR_NETWORK);
    check_says(flight->text, words);
}

static void test_what_only_keeps_the_connection_alive_is_no_progress(void **state)
{
    (void)state;
    static const char *const noises[] = {
        "0000080600000000000102030405060708", /* PING */
        "000000040000000000",                 /* SETTINGS */
        "00000408000000000000000001",         /* WINDOW_UPDATE */
    };
    for (size_t i = 0; i < 2 * sizeof noises / sizeof *noises; i++) {
        struct flight flight = {0};
        script.noise = noises[i / 2];
        script.noise_ms = i & 1 ? 30 : 1;
        script.h2.stream_window = 65535;
        stall_timeout_ms = 500;
        begin();
        check_ok(submit(&flight, "/never", i & 1 ? 100 : 1 << 20), &err);
        check_ends(&flight, 30, "no answer and took no data for 500 ms");
    }
}

static void test_a_trickle_ends_the_session(void **state)
{
    (void)state;
    struct flight flight = {0};
    script.noise_ms = 20;
    stall_timeout_ms = 300;
    begin();
    check_ok(submit(&flight, "/trickle", 0), &err);
    check_ends(&flight, 60, "too slow: no answer within 3000 ms");
}

static void test_slow_servers_are_not_silent(void **state)
{
    (void)state;
    script.slow_read_ms = 40;
    script.receive_buffer = 8192;
    stall_timeout_ms = 2000;
    uint64_t since_ns = clock_monotonic_ns();
    begin();
    check_ok(call("/x", 2 << 20), &err); /* takes 128 reads or more */
    assert_true(clock_monotonic_ns() - since_ns > 2 * UINT64_C(2000000000));
    finish();
}

static void test_wrong_fingerprints_stop_sessions_before_a_byte(void **state)
{
    (void)state;
    struct flight flight = {0};
    peer_start(&peer, &script);
    struct account_options options = peer_account(&peer, "u@pbs!tok");
    char other[CERTIFICATE_FINGERPRINT_TEXT_SIZE];
    snprintf(other, sizeof other, "%s", peer.fingerprint);
    other[0] = other[0] == '0' ? '1' : '0';
    options.fingerprint = other;
    begin_with(&options, &backup);
    enum status submitted = submit(&flight, "/x", 10);
    assert_int_equal(net_session_wait_open(session, &err), ERR_MISMATCH);
    if (submitted == OK)
        wait_for(&flight, 1);
    finish();
    assert_int_equal(peer.received, 0);
    assert_int_equal(peer.handshakes, 1);
}

/* ---- closing ---- */

static void check_close_answers(struct flight *flight, unsigned count)
{
    uint64_t since_ns = clock_monotonic_ns();
    finish();
    /* Not the minutes of any timeout. */
    assert_true(clock_monotonic_ns() - since_ns < 60 * UINT64_C(1000000000));
    assert_int_equal(flight->answered, count);
    assert_int_equal(flight->good, 0);
}

static void test_closing_while_connecting(void **state)
{
    (void)state;
    for (int when = 0; when < 3; when++) {
        struct flight flight = {0};
        script.no_handshake = when < 2;
        script.silent = when == 2; /* within the upgrade */
        begin();
        check_ok(submit(&flight, "/x", 10), &err);
        while (when > 0 && peer_count(&peer, &peer.accepted) == 0)
            usleep(1000);
        while (when == 2 && peer_count(&peer, &peer.handshakes) == 0)
            usleep(1000);
        check_close_answers(&flight, 1);
        assert_int_equal(flight.opening, 1);
        assert_int_equal(flight.last, ERR_CANCELLED);
    }
}

static void test_closing_while_uploading(void **state)
{
    (void)state;
    struct flight flight = {0};
    script.slow_read_ms = 20;
    script.receive_buffer = 4096;
    begin();
    check_ok(call("/x", 10), &err);
    for (int i = 0; i < 4; i++)
        check_ok(submit(&flight, "/x", 16 << 20), &err);
    usleep(100000);
    check_close_answers(&flight, 4);
    assert_int_equal(flight.last, ERR_NETWORK);
}

static void test_closing_does_not_wait_for_a_busy_connection(void **state)
{
    (void)state;
    enum { COUNT = 10 };
    struct flight flight = {0};
    begin();
    check_ok(call("/x", 10), &err);
    for (int i = 0; i < COUNT; i++)
        check_ok(submit(&flight, "/x", 16 << 20), &err);
    finish();
    assert_int_equal(flight.answered, COUNT);
    assert_true(flight.good < COUNT);
}

static void test_closing_while_waiting_and_while_idle(void **state)
{
    (void)state;
    struct flight flight = {0};
    begin();
    check_ok(call("/x", 0), &err);
    check_ok(submit(&flight, "/never", 0), &err);
    usleep(20000);
    check_close_answers(&flight, 1);
    flight = (struct flight){0};
    begin();
    check_ok(net_session_wait_open(session, &err), &err);
    check_close_answers(&flight, 0);
    begin(); /* at once */
    check_close_answers(&flight, 0);
    net_session_close(NULL);
}

static enum status refuse_to_start(const char *name, void (*body)(void *argument), void *argument, struct thread **out,
                                   struct error *reason)
{
    (void)body;
    (void)argument;
    (void)out;
    return fail(reason, ERR_LIMIT, "cannot start thread %s", name);
}

static void test_without_a_thread_there_is_no_session(void **state)
{
    (void)state;
    const struct threads none = {.start = refuse_to_start, .join = peer_thread_join};
    peer_start(&peer, &script);
    const struct account_options options = peer_account(&peer, "u@pbs!tok");
    check_ok(account_new(&options, &account, &err), &err);
    assert_int_equal(net_session_start(account, &backup, &none, &session, &err), ERR_LIMIT);
    finish();
    assert_int_equal(peer.accepted, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_of_calls_leave_the_session_usable),
        cmocka_unit_test(test_early_errors_are_those_errors),
        cmocka_unit_test(test_nothing_is_good_before_it_was_sent),
        cmocka_unit_test(test_goaway_lets_running_requests_finish),
        cmocka_unit_test(test_lost_connections_answer_everything),
        cmocka_unit_test(test_the_connection_may_end_after_any_byte),
        cmocka_unit_test(test_idle_sessions_notice_the_end),
        cmocka_unit_test(test_refused_upgrades_say_why),
        cmocka_unit_test(test_upgrades_that_are_none),
        cmocka_unit_test(test_garbage_behind_the_upgrade_ends_the_session),
        cmocka_unit_test(test_silence_while_an_answer_is_due_ends_the_session),
        cmocka_unit_test(test_what_only_keeps_the_connection_alive_is_no_progress),
        cmocka_unit_test(test_a_trickle_ends_the_session),
        cmocka_unit_test(test_slow_servers_are_not_silent),
        cmocka_unit_test(test_wrong_fingerprints_stop_sessions_before_a_byte),
        cmocka_unit_test(test_without_a_thread_there_is_no_session),
        cmocka_unit_test(test_closing_while_connecting),
        cmocka_unit_test(test_closing_while_uploading),
        cmocka_unit_test(test_closing_does_not_wait_for_a_busy_connection),
        cmocka_unit_test(test_closing_while_waiting_and_while_idle),
    };
    alarm(500);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
