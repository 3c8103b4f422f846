/* What goes wrong on purpose goes wrong as it was asked for, and a server with faults is a whole server otherwise. */
#include "testing/testing.h"

#include "server/serve_for_test.h"

#define BASE_QUERY BACKUP_QUERY("demo", 1700000000)
#define NEXT_QUERY BACKUP_QUERY("demo", 1700000060)
#define BASE_DIR "host/demo/2023-11-14T22:13:20Z"
#define NEXT_DIR "host/demo/2023-11-14T22:14:20Z"
#define PING "GET /api2/json/ping HTTP/1.1\r\nHost: x\r\n\r\n"

static void set(const char *const *texts)
{
    struct faults faults = {0};
    for (; *texts; texts++)
        assert_int_equal(faults_set(&faults, *texts, &err), OK);
    serve_set_faults(serve, &faults);
}
#define SET(...) set((const char *const[]){__VA_ARGS__, NULL})

static void unset(void)
{
    const struct faults none = {0};
    serve_set_faults(serve, &none);
}

static uint64_t milliseconds_since(uint64_t begin)
{
    return (clock_monotonic_ns() - begin) / 1000000;
}

/* ---- a slow network ---- */

static void test_round_trips_are_waited_for_together(void **state)
{
    (void)state;
    struct peer p;
    struct answer a;
    SET("delay-in=20ms", "delay-out=20ms");
    uint64_t begin = clock_monotonic_ns();
    open_backup(&p, BASE_QUERY);
    assert_true(milliseconds_since(begin) >= 3 * 40 - 1); /* TCP, TLS 1.3, the upgrade */
    begin = clock_monotonic_ns();
    assert_int_equal(get(&p, "/previous_backup_time"), 200);
    assert_true(milliseconds_since(begin) >= 39);
    begin = clock_monotonic_ns();
    for (int i = 0; i < 50; i++)
        send_call(&p, "GET", "/previous_backup_time", NULL, NULL);
    for (int i = 0; i < 50; i++) {
        next_answer(&p, &a);
        assert_int_equal(a.status, 200);
        buffer_deinit(&a.body);
    }
    assert_true(milliseconds_since(begin) >= 39);
    assert_true(milliseconds_since(begin) < 50 * 40);
    /* Connections that stand follow. */
    unset();
    poll(NULL, 0, 100);
    begin = clock_monotonic_ns();
    for (int i = 0; i < 20; i++)
        assert_int_equal(get(&p, "/previous_backup_time"), 200);
    assert_true(milliseconds_since(begin) < 20 * 40);
    peer_close(&p);
}

static void test_bandwidth(void **state)
{
    (void)state;
    struct peer p;
    uint8_t *bytes = make_constant(1 << 20, 1);
    make_snapshot(BASE_QUERY, "demo", 1700000000, "x");
    SET("rate-in=10M", "rate-out=5M");
    open_reader(&p, BASE_QUERY);
    uint64_t begin = clock_monotonic_ns();
    assert_int_equal(get(&p, "/speedtest"), 200);
    assert_true(milliseconds_since(begin) >= 200);
    peer_close(&p);
    open_backup(&p, NEXT_QUERY);
    begin = clock_monotonic_ns();
    assert_int_equal(status_of(&p, "POST", "/speedtest", NULL, bytes, 1 << 20), 200);
    assert_true(milliseconds_since(begin) >= 100);
    peer_close(&p);
    SET("read-rate=4M");
    poll(NULL, 0, 50);
    open_backup(&p, NEXT_QUERY);
    begin = clock_monotonic_ns();
    for (int i = 0; i < 6; i++) /* the bucket begins with a second's worth */
        assert_int_equal(status_of(&p, "POST", "/speedtest", NULL, bytes, 1 << 20), 200);
    assert_true(milliseconds_since(begin) >= 400);
    peer_close(&p);
    free(bytes);
}

/* ---- lost connections ---- */

/* A backup of one blob, as far as it gets. Whether it was told that it is finished. */
static bool try_backup(const char *query, long long time)
{
    struct peer p;
    struct buffer blob;
    struct digest digest;
    char csum[DIGEST_TEXT_SIZE], json[2048];
    bool finished = false;
    plain_blob("some configuration", 18, &blob);
    digest_of(blob.data, blob.size, &digest);
    digest_text(&digest, csum);
    manifest_json("demo", time, "a.conf.blob", blob.size, csum, json, sizeof json);
    int status;
    peer_open(&p);
    while ((status = upgrade_as(&p, SESSION_BACKUP, query, TOKEN ":" SECRET)) == 400 && strstr(err.text, "lock"))
        poll(NULL, 0, 10); /* the last session's end has not been seen yet */
    if (status == 101)
        finished =
            upload_blob(&p, "a.conf.blob", &blob) == 200 && upload_json(&p, json) == 200 && post(&p, "/finish") == 200;
    peer_close(&p);
    buffer_deinit(&blob);
    return finished;
}

static void test_a_connection_may_be_lost_after_any_byte(void **state)
{
    (void)state;
    unsigned lost_in = 0, lost_out = 0;
    make_snapshot(BASE_QUERY, "demo", 1700000000, "x");
    for (int direction = 0; direction < 2; direction++)
        for (unsigned bytes = 1; bytes < 3000; bytes += bytes < 1000 ? 29 : 197) {
            char text[40];
            snprintf(text, sizeof text, "cut-%s=%u", direction ? "out" : "in", bytes);
            SET(text, bytes % 2 ? "cut-with-reset" : "cut-with-reset=0");
            bool finished = try_backup(NEXT_QUERY, 1700000060);
            unset();
            if (!finished) {
                direction ? lost_out++ : lost_in++;
                /* The last answer may be the one that was lost. */
                poll(NULL, 0, 10);
                if (!is_stored(NEXT_DIR "/index.json.blob"))
                    assert_true(goes_away(NEXT_DIR));
            }
            assert_true(is_stored(BASE_DIR "/index.json.blob"));
            if (!is_stored(NEXT_DIR "/index.json.blob")) {
                for (int i = 0; i < 100 && !finished; i++) {
                    finished = try_backup(NEXT_QUERY, 1700000060);
                    if (!finished)
                        poll(NULL, 0, 20);
                }
                assert_true(finished);
            }
            assert_int_equal(ask_once("DELETE /api2/json/admin/datastore/store1/snapshots?backup-id=demo&"
                                      "backup-time=1700000060&backup-type=host HTTP/1.1\r\nHost: x\r\n" AUTHORIZATION
                                      "\r\n"),
                             200);
        }
    print_message("%u points lost to the server, %u from it\n", lost_in, lost_out);
    assert_true(lost_in > 20 && lost_out > 10);
}

static void test_connections_are_lost_at_calls(void **state)
{
    (void)state;
    static const char *const whens[] = {"head", "body", "before-reply", "within-reply", "after-reply"};
    static const char *const calls[] = {"backup", "blob#1", "blob#2", "POST finish"};
    make_snapshot(BASE_QUERY, "demo", 1700000000, "x");
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < 4; k++) {
            char call_text[60], when[40];
            snprintf(call_text, sizeof call_text, "cut-call=%s", calls[k]);
            snprintf(when, sizeof when, "cut-when=%s", whens[i]);
            SET(call_text, when);
            bool finished = try_backup(NEXT_QUERY, 1700000060);
            unset();
            bool is_last = k == 3;
            if (finished != (is_last && i == 4))
                print_error("%s %s: %d\n", call_text, when, finished);
            assert_true(finished == (is_last && i == 4));
            /* Carried out when the answer is all that is missing. */
            if (is_last && i >= 2) {
                assert_true(is_stored(NEXT_DIR "/index.json.blob"));
                poll(NULL, 0, 50);
                assert_int_equal(
                    ask_once("DELETE /api2/json/admin/datastore/store1/snapshots?backup-id=demo&"
                             "backup-time=1700000060&backup-type=host HTTP/1.1\r\nHost: x\r\n" AUTHORIZATION "\r\n"),
                    200);
            } else {
                assert_true(goes_away(NEXT_DIR));
            }
        }
    SET("cut-call=ping#2", "cut-when=before-reply");
    assert_int_equal(ask_once(PING), 200);
    assert_int_equal(ask_once(PING), 0);
    assert_int_equal(ask_once(PING), 200);
    SET("cut-in=5", "cut-connection=2");
    assert_int_equal(ask_once(PING), 200);
    assert_int_equal(ask_once(PING), 0);
    assert_int_equal(ask_once(PING), 200);
}

/* ---- errors, delays, lies ---- */

static void test_errors_and_delays_of_calls(void **state)
{
    (void)state;
    struct peer p;
    struct buffer blob;
    plain_blob("some configuration", 18, &blob);
    SET("error-call=blob#2", "error-status=503", "delay-call=previous_backup_time", "delay-call-by=80ms");
    open_backup(&p, BASE_QUERY);
    assert_int_equal(upload_blob(&p, "a.blob", &blob), 200);
    assert_int_equal(upload_blob(&p, "b.blob", &blob), 503);
    assert_false(is_stored(BASE_DIR "/b.blob"));
    assert_int_equal(upload_blob(&p, "b.blob", &blob), 200);
    /* A delayed call holds up no other. */
    struct answer a;
    uint64_t begin = clock_monotonic_ns();
    int32_t slow = send_call(&p, "GET", "/previous_backup_time", NULL, NULL);
    send_call(&p, "POST", "/speedtest", NULL, NULL);
    struct h2_response *r;
    while (!(r = h2_client_next(p.h2)))
        pump(&p);
    assert_int_not_equal(r->id, slow);
    h2_response_free(r);
    next_answer(&p, &a);
    assert_true(milliseconds_since(begin) >= 79);
    buffer_deinit(&a.body);
    peer_close(&p);
    assert_true(goes_away("host/demo"));

    /* Early: before a body that is much too long to have come. */
    uint8_t *bytes = make_constant(1 << 24, 1);
    SET("error-call=speedtest", "error-early", "error-status=418");
    open_backup(&p, BASE_QUERY);
    assert_int_equal(status_of(&p, "POST", "/speedtest", NULL, bytes, 1 << 24), 418);
    assert_int_equal(get(&p, "/previous_backup_time"), 200);
    SET("error-call=speedtest", "error-early", "reset-with-cancel");
    peer_close(&p);
    assert_true(goes_away("host/demo"));
    open_backup(&p, BASE_QUERY);
    assert_int_equal(status_of(&p, "POST", "/speedtest", NULL, bytes, 1 << 24), 400);
    assert_int_equal(get(&p, "/previous_backup_time"), 200);
    peer_close(&p);
    free(bytes);
    buffer_deinit(&blob);

    SET("error-call=GET ping", "error-status=500", "delay-401=60ms");
    assert_int_equal(ask_once(PING), 500);
    begin = clock_monotonic_ns();
    assert_int_equal(ask_once("GET /api2/json/version HTTP/1.1\r\nHost: x\r\n\r\n"), 401);
    assert_true(milliseconds_since(begin) >= 59);
}

static void fetch(const char *path, struct buffer *out)
{
    struct peer p;
    struct answer a;
    open_reader(&p, BASE_QUERY);
    call(&p, "GET", "/download?file-name=root.pxar.didx", NULL, NULL, 0, &a);
    if (strncmp(path, "/download", 9) != 0) {
        buffer_deinit(&a.body);
        call(&p, "GET", path, NULL, NULL, 0, &a);
    }
    *out = a.body;
    if (a.status == 0)
        buffer_deinit(out);
    peer_close(&p);
}

static void test_lies(void **state)
{
    (void)state;
    struct made_chunk one, other;
    struct buffer real, got;
    char path[200];
    make_snapshot(BASE_QUERY, "demo", 1700000000, "chunk one");
    make_chunk("chunk one", 9, &one);
    make_chunk("chunk one2", 10, &other);
    snprintf(path, sizeof path, "/chunk?digest=%s", one.digest);
    fetch("/download", &real);
    SET("lie-call=download", "lie=flip");
    fetch("/download", &got);
    assert_int_equal(got.size, real.size);
    size_t differing = 0;
    for (size_t i = 0; i < got.size; i++)
        differing += got.data[i] != real.data[i];
    assert_int_equal(differing, 1);
    buffer_deinit(&got);
    SET("lie-call=download", "lie=cut");
    fetch("/download", &got);
    assert_int_equal(got.size, real.size / 2);
    buffer_deinit(&got);
    SET("lie-call=chunk", "lie=grow");
    fetch(path, &got);
    assert_int_equal(got.size, one.blob.size + 100);
    assert_memory_equal(got.data, one.blob.data, one.blob.size);
    buffer_deinit(&got);
    SET("lie-call=chunk", "lie=swap");
    fetch(path, &got);
    assert_int_equal(got.size, other.blob.size);
    assert_memory_equal(got.data, other.blob.data, other.blob.size);
    buffer_deinit(&got);
    SET("lie-call=chunk", "lie=endless");
    fetch(path, &got); /* the client's ceiling ends it */
    assert_int_equal(got.size, 0);
    unset();
    buffer_deinit(&real);
    buffer_deinit(&one.blob);
    buffer_deinit(&other.blob);
}

/* ---- HTTP/2 and the upgrade ---- */

static void test_the_101_comes_in_every_form(void **state)
{
    (void)state;
    struct peer p;
    struct buffer blob;
    make_snapshot(BASE_QUERY, "demo", 1700000000, "chunk one");
    plain_blob("some configuration", 18, &blob);
    SET("split-101");
    open_reader(&p, BASE_QUERY);
    assert_int_equal(get(&p, "/download?file-name=root.pxar.didx"), 200);
    peer_close(&p);
    SET("join-101");
    peer_open(&p);
    const char *text = "GET /api2/json/reader?" BASE_QUERY " HTTP/1.1\r\nHost: x\r\n" AUTHORIZATION
                       "Connection: upgrade\r\nUpgrade: " WIRE_READER_PROTOCOL "\r\n\r\n";
    uint8_t bytes[4096];
    peer_write(&p, text, strlen(text));
    size_t size = peer_read(&p, bytes, sizeof bytes);
    const uint8_t *end = memmem(bytes, size, "\r\n\r\n", 4);
    assert_non_null(end);
    assert_true((size_t)(bytes + size - end) > 4 + 9 && end[4 + 3] == 4); /* SETTINGS in the same record */
    peer_close(&p);
    open_reader(&p, BASE_QUERY);
    assert_int_equal(get(&p, "/download?file-name=root.pxar.didx"), 200);
    peer_close(&p);
    SET("settings-late=100ms");
    uint64_t begin = clock_monotonic_ns();
    open_reader(&p, BASE_QUERY);
    assert_int_equal(get(&p, "/download?file-name=root.pxar.didx"), 200);
    assert_true(milliseconds_since(begin) >= 90);
    peer_close(&p);
    buffer_deinit(&blob);
}

static void test_tight_limits(void **state)
{
    (void)state;
    struct peer p;
    struct answer a;
    uint8_t *bytes = make_splitmix64(1 << 20, 1);
    const struct slice body = {.data = bytes, .size = 1 << 20};
    SET("streams=1", "stream-window=65535", "connection-window=65535", "frame-size=16384");
    open_backup(&p, BASE_QUERY);
    for (int i = 0; i < 8; i++)
        send_call(&p, "POST", "/speedtest", WIRE_TYPE_FORM, &body);
    struct h2_client_state s;
    assert_true(pump(&p));
    h2_client_state(p.h2, &s);
    assert_int_equal(s.streams_max, 1);
    for (int i = 0; i < 8; i++) {
        next_answer(&p, &a);
        assert_int_equal(a.status, 200);
        buffer_deinit(&a.body);
    }
    peer_close(&p);
    free(bytes);
    assert_true(goes_away("host/demo"));
    SET("goaway-after=2");
    open_backup(&p, BASE_QUERY);
    assert_int_equal(get(&p, "/previous_backup_time"), 200);
    assert_int_equal(get(&p, "/previous_backup_time"), 200);
    assert_int_equal(peer_read(&p, &s, 1), 0); /* nothing left to do: it closes */
    peer_close(&p);
    assert_true(goes_away("host/demo"));
}

/* ---- the datastore ---- */

static void test_faults_of_the_datastore(void **state)
{
    (void)state;
    struct peer p;
    struct made_chunk one;
    char name[100], json[2048];
    make_chunk("chunk one", 9, &one);
    SET("drop-chunk=2");
    make_snapshot(BASE_QUERY, "demo", 1700000000, "chunk one");
    snprintf(name, sizeof name, ".chunks/%.4s/%s", one.digest, one.digest);
    assert_true(is_stored(name)); /* the first stays, "chunk one2" is gone */
    buffer_deinit(&one.blob);
    make_chunk("chunk one2", 10, &one);
    snprintf(name, sizeof name, ".chunks/%.4s/%s", one.digest, one.digest);
    assert_false(is_stored(name));
    buffer_deinit(&one.blob);
    SET("base-failed");
    open_backup(&p, NEXT_QUERY);
    assert_says(&p, "GET", "/previous_backup_time", "{\"data\":null}");
    peer_close(&p);
    assert_true(goes_away(NEXT_DIR));
    SET("release-lock-at-end");
    open_backup(&p, NEXT_QUERY);
    manifest_json("demo", 1700000060, NULL, 0, NULL, json, sizeof json);
    assert_int_equal(upload_json(&p, json), 200);
    assert_int_equal(post(&p, "/finish"), 200);
    struct peer next;
    assert_int_equal(open_as(&next, SESSION_BACKUP, BACKUP_QUERY("demo", 1700000070), TOKEN ":" SECRET), 400);
    assert_true(strstr(err.text, "lock") != NULL);
    peer_close(&p);
    open_backup(&next, BACKUP_QUERY("demo", 1700000070));
    peer_close(&next);
    assert_true(is_stored(NEXT_DIR "/index.json.blob"));
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, serve_setup, serve_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_round_trips_are_waited_for_together),
        TEST(test_bandwidth),
        TEST(test_a_connection_may_be_lost_after_any_byte),
        TEST(test_connections_are_lost_at_calls),
        TEST(test_errors_and_delays_of_calls),
        TEST(test_lies),
        TEST(test_the_101_comes_in_every_form),
        TEST(test_tight_limits),
        TEST(test_faults_of_the_datastore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
