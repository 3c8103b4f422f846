/* Clients that want to keep what they hold, or more than they may have: of slots, locks and memory. And what else comes
 * before any session: odd but lawful HTTP/1.1, two servers at once, too few files. */
#include "testing/testing.h"

#include "server/certificate.h"
#include "server/own_token.h"
#include "server/serve_for_test.h"
#include "server/tls.h"

#include <sys/resource.h>
#include <sys/wait.h>

#define HOST "Host: localhost:8007\r\n"
#define PING "GET /api2/json/ping HTTP/1.1\r\n" HOST "\r\n"

/* ---- HTTP/1.1 ---- */

/* Everything until the end; the caller frees. */
static void read_all(struct peer *p, struct buffer *out)
{
    char bytes[4096];
    size_t got;
    *out = BUFFER_INIT(1 << 24);
    while ((got = peer_read(p, bytes, sizeof bytes)) > 0)
        assert_int_equal(buffer_append(out, bytes, got, NULL), OK);
    assert_int_equal(buffer_append_u8(out, 0, NULL), OK);
    out->size--;
}

static void test_blank_lines_are_the_same_in_pieces(void **state)
{
    (void)state;
    static const char *const pieces[][4] = {
        {"\r\n" PING}, {"\r", "\n" PING}, {"\r", "\n", "\r", "\n" PING}, {"\r\n\r", "\n" PING}};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct peer p;
        struct plain_reply reply;
        peer_open(&p);
        for (int k = 0; k < 4 && pieces[i][k]; k++)
            peer_write(&p, pieces[i][k], strlen(pieces[i][k])); /* each is a record */
        read_reply(&p, &reply);
        assert_int_equal(reply.status, 200);
        buffer_deinit(&reply.body);
        peer_close(&p);
    }
    static const char *const bad[][2] = {
        {"\rGET / HTTP/1.1\r\n\r\n", ""}, {"\r", "GET / HTTP/1.1\r\n\r\n"}, {"\r\n\r", "\r\n"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct peer p;
        struct plain_reply reply;
        peer_open(&p);
        for (int k = 0; k < 2; k++)
            peer_write(&p, bad[i][k], strlen(bad[i][k]));
        read_reply(&p, &reply);
        assert_int_equal(reply.status, 400);
        assert_true(reply.closes);
        buffer_deinit(&reply.body);
        peer_close(&p);
    }
}

static void test_blank_lines_have_an_end(void **state)
{
    (void)state;
    static char blank[16384 + 1024];
    struct peer p;
    struct plain_reply reply;
    for (size_t i = 0; i < sizeof blank; i++)
        blank[i] = i % 2 ? '\n' : '\r';
    peer_open(&p);
    peer_write(&p, blank, 16384);
    assert_int_equal(ask_raw(&p, PING), 200);
    peer_write(&p, blank, 16384); /* before each request anew */
    assert_int_equal(ask_raw(&p, PING), 200);
    peer_close(&p);
    peer_open(&p);
    peer_write(&p, blank, sizeof blank);
    peer_write(&p, PING, strlen(PING));
    read_reply(&p, &reply);
    assert_int_equal(reply.status, 400);
    assert_true(reply.closes);
    buffer_deinit(&reply.body);
    peer_close(&p);
}

static void test_replies_to_head_have_no_body(void **state)
{
    (void)state;
    static const char *const targets[] = {"/nothing", "/api2/json/ping", "/api2/json/version", "/api2/json/%2e"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        struct peer p;
        struct buffer all;
        char text[512];
        int size = snprintf(text, sizeof text,
                            "HEAD %s HTTP/1.1\r\n" HOST "\r\n"
                            "GET /api2/json/ping HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n",
                            targets[i]);
        peer_open(&p);
        peer_write(&p, text, (size_t)size);
        read_all(&p, &all);
        const char *end = strstr((const char *)all.data, "\r\n\r\n");
        assert_non_null(end);
        assert_non_null(strstr((const char *)all.data, "content-length: "));
        assert_memory_equal(end + 4, "HTTP/1.1 200", 12);
        buffer_deinit(&all);
        peer_close(&p);
    }
}

static void test_targets_may_be_absolute(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        int status;
    } cases[] = {
        {"https://localhost:8007/api2/json/ping", 200},
        {"HTTPS://x/api2/json/ping?_dc=1", 200},
        {"http://x//api2/json/ping", 200},
        {"https://x/api2/json/version", 401},
        {"https://x/", 404},
        {"https://x", 404},
        {"https://", 404},
        {"https://x?/api2/json/ping", 404},
        {"ftp://x/api2/json/ping", 404},
        {"x/https://x/api2/json/ping", 404},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", cases[i].target);
        int status = ask_once(text);
        if (status != cases[i].status)
            print_error("%s\n", cases[i].target);
        assert_int_equal(status, cases[i].status);
    }
}

/* ---- slots ---- */

static int setup_few(void **state)
{
    (void)state;
    const struct serve_limits limits = {.idle_ms = 500, .connections = 2};
    start_serve(&limits, NULL);
    return 0;
}

/* Whether a newcomer is served. */
static bool is_served(void)
{
    struct peer p = {.fd = connect_tcp(), .behind = BUFFER_INIT(1 << 20)};
    p.context = SSL_CTX_new(TLS_client_method());
    p.ssl = SSL_new(p.context);
    SSL_set_fd(p.ssl, p.fd);
    ERR_clear_error();
    bool served = SSL_connect(p.ssl) == 1 && ask_raw(&p, PING) == 200;
    peer_close(&p);
    return served;
}

static void test_slow_requests_do_not_keep_their_slots(void **state)
{
    (void)state;
    /* A head, a body, and blank lines that never end: a byte each in less than the idle time. */
    static const char *const begins[] = {"GET /api2/json/ping HTTP/1.1\r\nX: ",
                                         "POST /api2/json/access/ticket HTTP/1.1\r\nContent-Length: 2000\r\n\r\n", ""};
    for (size_t kind = 0; kind < sizeof begins / sizeof *begins; kind++) {
        struct peer slow[2];
        bool served = false;
        for (int i = 0; i < 2; i++) {
            peer_open(&slow[i]);
            peer_write(&slow[i], begins[kind], strlen(begins[kind]));
        }
        for (int k = 0; k < 200 && !served; k++) {
            for (int i = 0; i < 2; i++)
                peer_write(&slow[i], kind == 2 ? (k % 2 ? "\n" : "\r") : "x", 1);
            poll(NULL, 0, 100);
            served = is_served();
        }
        assert_true(served);
        for (int i = 0; i < 2; i++)
            peer_close(&slow[i]);
        for (int k = 0; k < 500 && !is_served(); k++) /* until the slots are free */
            poll(NULL, 0, 10);
    }
}

/* ---- locks ---- */

enum { LARGE = 12 << 20 }; /* more than sockets take */

static void make_large(void)
{
    struct peer p;
    struct buffer blob;
    char json[2048], csum[DIGEST_TEXT_SIZE];
    uint8_t *bytes = make_splitmix64(LARGE, 5);
    struct digest digest;
    plain_blob(bytes, LARGE, &blob);
    free(bytes);
    open_backup(&p, BACKUP_QUERY("demo", 1600000000));
    assert_int_equal(upload_blob(&p, "z.blob", &blob), 200);
    digest_of(blob.data, blob.size, &digest);
    digest_text(&digest, csum);
    manifest_json("demo", 1600000000, "z.blob", blob.size, csum, json, sizeof json);
    assert_int_equal(upload_json(&p, json), 200);
    assert_int_equal(post(&p, "/finish"), 200);
    peer_close(&p);
    buffer_deinit(&blob);
}

static int setup_short(void **state)
{
    (void)state;
    const struct serve_limits limits = {.idle_ms = 500};
    start_serve(&limits, NULL);
    return 0;
}

/* V26, though the good-bye cannot go out: he does not read. */
static void test_a_broken_session_that_does_not_read_keeps_nothing(void **state)
{
    (void)state;
    static const char *const ends[] = {
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", /* a frame of 16 MiB */
        "\0\0\x01\0\0\0\0\0\0x",                                                            /* data on stream 0 */
    };
    static const size_t sizes[] = {20, 10};
    make_large();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct peer p;
        struct serve_stats stats;
        const int small = 4096;
        const uint8_t *out;
        size_t size;
        open_backup(&p, BACKUP_QUERY("demo", 1700000000));
        setsockopt(p.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        send_call(&p, "GET", "/previous?archive-name=z.blob", NULL, NULL);
        while (h2_client_output(p.h2, &out, &size, &err) == OK && size > 0) {
            peer_write(&p, out, size);
            h2_client_sent(p.h2, size);
        }
        uint64_t sent = 0;
        for (int quiet = 0; quiet < 10; quiet++) { /* until nothing goes out any more */
            serve_stats(serve, &stats);
            quiet = stats.sent == sent ? quiet : 0;
            sent = stats.sent;
            poll(NULL, 0, 20);
        }
        assert_true(is_stored("host/demo/2023-11-14T22:13:20Z"));
        peer_write(&p, ends[i], sizes[i]);
        assert_true(goes_away("host/demo/2023-11-14T22:13:20Z"));
        struct peer next;
        open_backup(&next, BACKUP_QUERY("demo", 1700000001)); /* the lock is free */
        peer_close(&next);
        for (int k = 0; k < 1000 && stats.connections_now > 0; k++) { /* and in the end the connection */
            poll(NULL, 0, 20);
            serve_stats(serve, &stats);
        }
        assert_int_equal(stats.connections_now, 0);
        peer_close(&p);
    }
}

/* What is on its way through a slow network is no silence. */
static int setup_thin(void **state)
{
    (void)state;
    const struct serve_limits limits = {.idle_ms = 300};
    const struct faults faults = {.rate_out = 200000};
    start_serve(&limits, &faults);
    return 0;
}

static void test_a_thin_network_loses_no_end(void **state)
{
    (void)state;
    struct peer p;
    struct buffer blob, all;
    uint8_t *bytes = make_splitmix64(300000, 5);
    char json[2048], csum[DIGEST_TEXT_SIZE];
    struct digest digest;
    plain_blob(bytes, 300000, &blob);
    open_backup(&p, BACKUP_QUERY("demo", 1600000000));
    assert_int_equal(upload_blob(&p, "z.blob", &blob), 200);
    digest_of(blob.data, blob.size, &digest);
    digest_text(&digest, csum);
    manifest_json("demo", 1600000000, "z.blob", blob.size, csum, json, sizeof json);
    assert_int_equal(upload_json(&p, json), 200);
    assert_int_equal(post(&p, "/finish"), 200);
    peer_close(&p);
    peer_open(&p);
    const char *text =
        "GET /api2/json/admin/datastore/store1/download?backup-type=host&backup-id=demo&"
        "backup-time=1600000000&file-name=z.blob HTTP/1.1\r\n" HOST AUTHORIZATION "Connection: close\r\n\r\n";
    peer_write(&p, text, strlen(text));
    read_all(&p, &all);
    assert_memory_equal(all.data, "HTTP/1.1 200", 12);
    assert_true(all.size > blob.size && memmem(all.data, all.size, blob.data + blob.size - 100, 100) != NULL);
    buffer_deinit(&all);
    buffer_deinit(&blob);
    peer_close(&p);
    free(bytes);
}

/* ---- starting and ending ---- */

enum { SERVERS = 4, ROUNDS = 25 };

struct starter {
    const char *directory;
    struct thread *thread;
    pthread_barrier_t *barrier;
    char fingerprint[CERTIFICATE_FINGERPRINT_TEXT_SIZE];
    char secret[OWN_SECRET_SIZE];
};

static void start_run(void *argument)
{
    struct starter *s = argument;
    char path[PATH_MAX];
    struct tls_context *tls;
    snprintf(path, sizeof path, "%s/.pxarbench", s->directory);
    pthread_barrier_wait(s->barrier);
    if (own_token(s->directory, s->secret, path, &err) != OK)
        snprintf(s->secret, sizeof s->secret, "%.60s", err.text);
    snprintf(path, sizeof path, "%s/.pxarbench", s->directory);
    pthread_barrier_wait(s->barrier);
    if (tls_context_own(path, &tls, &err) == OK) {
        snprintf(s->fingerprint, sizeof s->fingerprint, "%s", tls_context_fingerprint(tls));
        tls_context_free(tls);
    } else {
        snprintf(s->fingerprint, sizeof s->fingerprint, "%.90s", err.text);
    }
}

static void test_servers_that_start_at_once_have_one_certificate_and_token(void **state)
{
    (void)state;
    char *parent = temp_dir_make();
    for (int round = 0; round < ROUNDS; round++) {
        struct starter starters[SERVERS];
        pthread_barrier_t barrier;
        char directory[PATH_MAX];
        snprintf(directory, sizeof directory, "%s/%d", parent, round);
        assert_int_equal(mkdir(directory, 0755), 0);
        char chunks[PATH_MAX + 10];
        snprintf(chunks, sizeof chunks, "%s/.chunks", directory);
        assert_int_equal(mkdir(chunks, 0755), 0);
        assert_int_equal(pthread_barrier_init(&barrier, NULL, SERVERS), 0);
        for (int i = 0; i < SERVERS; i++) {
            starters[i] = (struct starter){.directory = directory, .barrier = &barrier};
            assert_int_equal(flow_threads.start("start", start_run, &starters[i], &starters[i].thread, &err), OK);
        }
        for (int i = 0; i < SERVERS; i++)
            flow_threads.join(starters[i].thread);
        for (int i = 0; i < SERVERS; i++) {
            assert_string_equal(starters[i].secret, starters[0].secret);
            assert_string_equal(starters[i].fingerprint, starters[0].fingerprint);
        }
        assert_int_equal(strlen(starters[0].fingerprint), 95);
        assert_int_equal(strlen(starters[0].secret), 64);
        pthread_barrier_destroy(&barrier);
    }
    temp_dir_remove(parent);
}

/* What a server that may open so many files has to say at its start. */
static void said_with(rlim_t files, char out[4096])
{
    int fds[2];
    serve_dir = temp_dir_make();
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit limit = {.rlim_cur = files, .rlim_max = files};
        const struct serve_limits limits = {.connections = 10};
        dup2(fds[1], STDERR_FILENO);
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            _exit(1);
        start_serve(&limits, NULL);
        serve_stop(serve);
        _exit(0);
    }
    close(fds[1]);
    size_t size = 0;
    ssize_t got;
    while (size < 4095 && (got = read(fds[0], out + size, 4095 - size)) > 0)
        size += (size_t)got;
    out[size] = '\0';
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    temp_dir_remove(serve_dir);
    serve_dir = NULL;
}

static void test_too_few_files_are_told_at_the_start(void **state)
{
    (void)state;
    char text[4096];
    said_with(300, text);
    assert_non_null(strstr(text, "only 300 files may be open at a time, 10 connections may need 1808"));
    said_with(1808, text);
    assert_string_equal(text, "");
}

static void test_what_is_done_while_stopping_counts(void **state)
{
    (void)state;
    struct peer p;
    struct serve_stats stats;
    open_backup(&p, BACKUP_QUERY("demo", 1700000000));
    assert_int_equal(get(&p, "/previous_backup_time"), 200);
    serve_stats(serve, &stats);
    uint64_t before = stats.sent;
    assert_int_equal(stats.connections_now, 1);
    serve_end(serve);
    serve_stats(serve, &stats);
    assert_int_equal(stats.connections_now, 0);
    assert_true(stats.sent > before); /* good-bye */
    assert_int_equal(stats.sessions_backup, 1);
    serve_end(serve); /* once more does nothing */
    peer_close(&p);
}

int main(void)
{
#define IN_SERVE(test) cmocka_unit_test_setup_teardown(test, serve_setup, serve_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_too_few_files_are_told_at_the_start), /* forks: before there are threads */
        IN_SERVE(test_blank_lines_are_the_same_in_pieces),
        IN_SERVE(test_blank_lines_have_an_end),
        IN_SERVE(test_replies_to_head_have_no_body),
        IN_SERVE(test_targets_may_be_absolute),
        cmocka_unit_test_setup_teardown(test_slow_requests_do_not_keep_their_slots, setup_few, serve_teardown),
        cmocka_unit_test_setup_teardown(test_a_broken_session_that_does_not_read_keeps_nothing, setup_short,
                                        serve_teardown),
        cmocka_unit_test_setup_teardown(test_a_thin_network_loses_no_end, setup_thin, serve_teardown),
        cmocka_unit_test(test_servers_that_start_at_once_have_one_certificate_and_token),
        IN_SERVE(test_what_is_done_while_stopping_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
