/* Sessions with a server that behaves; session_hostile_test.c has the others. */
#include "testing/testing.h"

#include "base/clock.h"
#include "net/session_for_test.h"

static void check_call(const char *path)
{
    struct h2_response *response;
    check_ok(call_for("GET", path, 0, &response), &err);
    assert_int_equal(response->http_status, 200);
    h2_response_free(response);
}

static void check_upload(size_t size)
{
    struct h2_response *response;
    char expected[100];
    check_ok(call_for("POST", "/dynamic_chunk?wid=1", size, &response), &err);
    snprintf(expected, sizeof expected, "{\"data\":\"%zu %llu\"}", size,
             (unsigned long long)peer_sum(0, peer_pattern, size));
    assert_int_equal(response->body.size, strlen(expected));
    assert_memory_equal(response->body.data, expected, strlen(expected));
    h2_response_free(response);
}

static void check_download(size_t size)
{
    struct h2_response *response;
    char path[60];
    snprintf(path, sizeof path, "/download?size=%zu", size);
    check_ok(call_for("GET", path, 0, &response), &err);
    assert_int_equal(response->body.size, size);
    assert_memory_equal(response->body.data, peer_pattern, size);
    h2_response_free(response);
}

static void test_upgrades_as_the_transcript_does(void **state)
{
    (void)state;
    struct upgrade_request reader = backup;
    begin();
    check_ok(net_session_wait_open(session, &err), &err);
    check_call("/previous_backup_time");
    char expected[1000];
    snprintf(expected, sizeof expected,
             "GET /api2/json/backup?backup-id=demo&backup-time=1700000060&backup-type=host&benchmark=false&debug=false"
             "&store=store1\nHost: 127.0.0.1:%u\nUser-Agent: proxmox-backup-client/1.0\nContent-Type: "
             "application/x-www-form-urlencoded\nAuthorization: PBSAPIToken u@pbs!tok:s3cr3t\nConnection: upgrade\n"
             "Upgrade: proxmox-backup-protocol-v1\n\n\n",
             peer.port);
    assert_string_equal(peer_heard(&peer), expected);
    finish();
    reader.kind = SESSION_READER;
    reader.ns = "a/b";
    reader.debug = true;
    begin_as("u@pbs!tok", &reader);
    check_call("/download?size=3");
    check_says(peer_heard(&peer), "GET /api2/json/reader?backup-id=demo&backup-time=1700000060&backup-type=host&"
                                  "debug=true&store=store1&ns=a%2Fb\n");
    finish();
    assert_int_equal(peer.logins, 0);
    assert_int_equal(peer.h2_before, 0);
}

static void test_users_log_in_on_the_sessions_connection(void **state)
{
    (void)state;
    begin_as("u@pbs", &backup);
    check_call("/previous_backup_time");
    struct net_session *first = session;
    check_ok(net_session_start(account, &backup, &peer_threads, &session, &err), &err);
    check_call("/previous_backup_time");
    net_session_close(first);
    const char *log = peer_heard(&peer);
    finish();
    assert_int_equal(peer_times(log, "Cookie: PBSAuthCookie=PBS:u@pbs:00000001::sig/+\n"), 2);
    assert_int_equal(peer.logins, 1);
    assert_int_equal(peer.upgrades, 2);
    assert_int_equal(peer.accepted, 2);
}

static void test_an_old_ticket_is_replaced_once(void **state)
{
    (void)state;
    for (int closing = 0; closing < 2; closing++) {
        script.upgrade_status[0] = 401;
        script.say_close = closing == 1;
        begin_as("u@pbs", &backup);
        check_call("/previous_backup_time");
        finish();
        assert_int_equal(peer.logins, 2);
        assert_int_equal(peer.upgrades, 2);
        assert_int_equal(peer.accepted, closing ? 4 : 1);
    }
    script.upgrade_status[0] = script.upgrade_status[1] = script.upgrade_status[2] = 401;
    begin_as("u@pbs", &backup);
    assert_int_equal(net_session_wait_open(session, &err), ERR_REFUSED);
    finish();
    assert_int_equal(peer.upgrades, 2);
}

static void test_the_101_may_come_in_any_pieces(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        script.piece = (size_t)(i & 1);
        script.coalesce = (i & 2) != 0;
        begin();
        check_upload(100000);
        check_download(100000);
        finish();
        assert_int_equal(peer.h2_before, 0);
    }
}

static void test_servers_that_prefer_h2_get_no_chance(void **state)
{
    (void)state;
    script.prefers_h2 = true;
    begin();
    check_call("/previous_backup_time");
    finish();
}

static void test_largest_bodies_pass_narrow_sockets_and_windows(void **state)
{
    (void)state;
    for (int narrow = 0; narrow < 2; narrow++) {
        script.receive_buffer = 4096;
        if (narrow) {
            script.h2.streams_max = 1;
            script.h2.stream_window = 65535;
            script.h2.connection_window = 65535;
            script.h2.frame_size_max = 16384;
        }
        begin();
        check_upload(16 << 20);
        check_download(16 << 20);
        struct net_stats stats;
        net_session_stats(session, &stats);
        assert_true(stats.stalls > 0);
        assert_true(stats.sent > 16 << 20);
        finish();
    }
}

static void test_counts(void **state)
{
    (void)state;
    struct net_stats stats;
    script.coalesce = true;
    begin();
    for (int i = 0; i < 3; i++)
        check_call("/previous_backup_time");
    net_session_stats(session, &stats);
    assert_int_equal(stats.connections, 1);
    assert_int_equal(stats.requests, 4);
    assert_int_equal(stats.round_trips, 2 + 1 + 3);
    assert_true(stats.waited_ns > 0);
    assert_int_equal(stats.throttled_ns, 0);
    assert_true(stats.wire_sent == 0 || stats.wire_sent > stats.sent);
    assert_true(stats.wire_received == 0 || stats.wire_received > stats.received);
    struct net_stats sum = stats;
    net_stats_add(&sum, &stats);
    assert_int_equal(sum.requests, 8);
    assert_int_equal(sum.sent, 2 * stats.sent);
    finish();
}

/* ---- many requests ---- */

struct submitter {
    pthread_t thread;
    atomic_uint answered;
    atomic_uint failed;
    unsigned count;
    size_t body_size;
    unsigned again; /* requests that answers bring about */
};

static void on_done(void *user, struct h2_response *response, const struct error *opening);

static void submit_one(struct submitter *s)
{
    struct net_request request = request_of("POST", "/x", s->body_size);
    struct error own;
    request.done = on_done;
    request.user = s;
    if (net_session_submit(session, &request, &own) != OK) {
        atomic_fetch_add(&s->failed, 1);
        atomic_fetch_add(&s->answered, 1);
    }
}

static void on_done(void *user, struct h2_response *response, const struct error *opening)
{
    struct submitter *s = user;
    ASSERT(response);
    bool good = !opening && response->status == OK && response->http_status == 200;
    h2_response_free(response);
    if (s->again > 0) {
        s->again--;
        submit_one(s);
    }
    atomic_fetch_add(&s->failed, !good);
    atomic_fetch_add(&s->answered, 1);
}

static void *submit_many(void *argument)
{
    struct submitter *s = argument;
    for (unsigned i = 0; i < s->count; i++)
        submit_one(s);
    return NULL;
}

static void wait_for_all(struct submitter *s, unsigned count)
{
    while (atomic_load(&s->answered) < count)
        usleep(1000);
    assert_int_equal(atomic_load(&s->answered), count);
}

static void test_threads_submit_a_thousand_requests(void **state)
{
    (void)state;
    struct submitter submitters[2] = {{.count = 500}, {.count = 500, .body_size = 5000, .again = 50}};
    begin();
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&submitters[i].thread, NULL, submit_many, &submitters[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(submitters[i].thread, NULL);
    wait_for_all(&submitters[0], 500);
    wait_for_all(&submitters[1], 550);
    finish();
    assert_int_equal(submitters[0].failed + submitters[1].failed, 0);
    assert_int_equal(peer.requests, 1050);
}

static void test_requests_may_come_before_the_connection(void **state)
{
    (void)state;
    struct submitter submitter = {.count = 5000};
    script.login_waits = true;
    begin_as("u@pbs", &backup);
    submit_many(&submitter);
    atomic_store(&peer.go, true);
    wait_for_all(&submitter, 5000);
    finish();
    assert_int_equal(submitter.failed, 0);
}

static void test_what_is_asked_together_is_one_round_trip(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    struct submitter submitter = {.count = COUNT};
    struct net_stats stats;
    script.login_waits = true;
    begin_as("u@pbs", &backup);
    submit_many(&submitter);
    atomic_store(&peer.go, true);
    wait_for_all(&submitter, COUNT);
    net_session_stats(session, &stats);
    assert_int_equal(stats.requests, 2 + COUNT);
    assert_int_equal(stats.round_trips, 2 + 2 + 1);
    finish();
}

static void test_uploads_run_while_downloads_do(void **state)
{
    (void)state;
    enum { COUNT = 20 };
    struct submitter submitter = {.count = COUNT, .body_size = 1 << 20};
    script.receive_buffer = 65536;
    begin();
    submit_many(&submitter);
    for (int i = 0; i < 5; i++)
        check_download(4 << 20);
    wait_for_all(&submitter, COUNT);
    finish();
    assert_int_equal(submitter.failed, 0);
}

static void test_a_rate_slows_sessions_down(void **state)
{
    (void)state;
    struct net_stats stats;
    peer_start(&peer, &script);
    struct account_options options = peer_account(&peer, "u@pbs!tok");
    options.rate = 400000;
    options.burst = 1000;
    begin_with(&options, &backup);
    uint64_t since_ns = clock_monotonic_ns();
    check_upload(100000);
    check_download(100000);
    assert_true(clock_monotonic_ns() - since_ns > 2 * (100000 - 20000) * UINT64_C(2500));
    net_session_stats(session, &stats);
    assert_true(stats.throttled_ns > 0);
    finish();
}

/* ---- locks ---- */

static void test_locked_groups_are_tried_again(void **state)
{
    (void)state;
    uint64_t since_ns = clock_monotonic_ns();
    script.upgrade_status[0] = script.upgrade_status[1] = 400;
    script.upgrade_body = "unable to acquire LOCK on group";
    begin();
    check_call("/previous_backup_time");
    finish();
    assert_int_equal(peer.upgrades, 3);
    assert_true(clock_monotonic_ns() - since_ns >= 400000000);
    for (int i = 0; i < PEER_SCRIPTED; i++)
        script.upgrade_status[i] = 400;
    script.upgrade_body = "locked";
    begin();
    assert_int_equal(net_session_wait_open(session, &err), ERR_LOCKED);
    finish();
    assert_int_equal(peer.upgrades, 6);
}

static void test_closing_does_not_wait_for_locks(void **state)
{
    (void)state;
    for (int i = 0; i < PEER_SCRIPTED; i++)
        script.upgrade_status[i] = 400;
    script.upgrade_body = "locked";
    begin();
    while (peer_count(&peer, &peer.upgrades) == 0)
        usleep(1000);
    finish();
    assert_true(peer.upgrades < 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upgrades_as_the_transcript_does),
        cmocka_unit_test(test_users_log_in_on_the_sessions_connection),
        cmocka_unit_test(test_an_old_ticket_is_replaced_once),
        cmocka_unit_test(test_the_101_may_come_in_any_pieces),
        cmocka_unit_test(test_servers_that_prefer_h2_get_no_chance),
        cmocka_unit_test(test_largest_bodies_pass_narrow_sockets_and_windows),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_threads_submit_a_thousand_requests),
        cmocka_unit_test(test_requests_may_come_before_the_connection),
        cmocka_unit_test(test_what_is_asked_together_is_one_round_trip),
        cmocka_unit_test(test_uploads_run_while_downloads_do),
        cmocka_unit_test(test_a_rate_slows_sessions_down),
        cmocka_unit_test(test_locked_groups_are_tried_again),
        cmocka_unit_test(test_closing_does_not_wait_for_locks),
    };
    alarm(500);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
