/* The server before any upgrade: HTTP/1.1, logging in, what is refused and how. */
#include "testing/testing.h"

#include "server/serve_for_test.h"

#define HOST "Host: localhost:8007\r\n"

static json_t *login(struct peer *p, const char *target, const char *head, const char *body, int expected)
{
    struct plain_reply reply;
    ask(p, "POST", target, head, body, strlen(body), &reply);
    assert_int_equal(reply.status, expected);
    json_t *json = reply.status == 200 ? json_loads((const char *)reply.body.data, 0, NULL) : NULL;
    buffer_deinit(&reply.body);
    return json;
}

static const char *member(const json_t *json, const char *name)
{
    return json_string_value(json_object_get(json_object_get(json, "data"), name));
}

#define JSON_TYPE "Content-Type: application/json\r\n"
#define FORM_TYPE "Content-Type: application/x-www-form-urlencoded\r\n"
#define LOGIN_JSON "{\"username\":\"bench@pbs\",\"password\":\"s3cr3t\"}"

/* 50 */
static void test_login_another_call_and_the_upgrade_on_one_connection(void **state)
{
    (void)state;
    struct peer p;
    struct plain_reply reply;
    char head[1024];
    peer_open(&p);
    json_t *json = login(&p, "//api2/json/access/ticket", JSON_TYPE, LOGIN_JSON, 200);
    assert_string_equal(member(json, "username"), "bench@pbs");
    snprintf(head, sizeof head, "Cookie: PBSAuthCookie=%s\r\n", member(json, "ticket"));
    ask(&p, "GET", "//api2/json/version", head, NULL, 0, &reply);
    assert_int_equal(reply.status, 200);
    assert_false(reply.closes);
    assert_string_equal(reply.type, "application/json;charset=UTF-8");
    buffer_deinit(&reply.body);
    size_t size = strlen(head);
    snprintf(head + size, sizeof head - size, "Connection: upgrade\r\nUpgrade: " WIRE_BACKUP_PROTOCOL "\r\n");
    ask(&p, "GET", "//api2/json/backup?" BACKUP_QUERY("demo", 1700000000), head, NULL, 0, &reply);
    assert_int_equal(reply.status, 101);
    assert_non_null(strstr(reply.headers, "connection: upgrade\nupgrade: " WIRE_BACKUP_PROTOCOL "\ndate: "));
    json_decref(json);
    peer_close(&p);
    assert_true(goes_away("host/demo"));
}

/* 51 */
static void test_parameters_come_from_query_form_or_json(void **state)
{
    (void)state;
    struct peer p;
    static const char *const good[][3] = {
        {"/api2/json/access/ticket", JSON_TYPE, LOGIN_JSON},
        {"/api2/json/access/ticket", "Content-Type: application/json; charset=UTF-8\r\n", LOGIN_JSON},
        {"/api2/json/access/ticket", FORM_TYPE, "username=bench%40pbs&password=s3cr3t"},
        {"/api2/json/access/ticket?username=bench%40pbs&password=s3cr3t", "", ""},
        {"/api2/json/access/ticket?username=bench@pbs", FORM_TYPE, "password=s3cr3t"},
        {"/api2/json/access/ticket?username=nobody@pbs&x=1", JSON_TYPE, LOGIN_JSON}, /* the query is ignored */
    };
    static const char *const bad[][3] = {
        {"/api2/json/access/ticket?username=bench@pbs", JSON_TYPE, "{\"password\":\"s3cr3t\"}"},
        {"/api2/json/access/ticket", "Content-Type: text/plain\r\n", LOGIN_JSON},
        {"/api2/json/access/ticket", JSON_TYPE, "{\"username\":\"bench@pbs\",\"password\":\"\"}"},
        {"/api2/json/access/ticket", JSON_TYPE, "{\"username\":\"bench@pbs!ci\",\"password\":\"s3cr3t\"}"},
        {"/api2/json/access/ticket", JSON_TYPE, "{\"username\":\"bench@pbs\",\"password\":\"s3cr3t\",\"x\":1}"},
        {"/api2/json/access/ticket", JSON_TYPE, "[]"},
        {"/api2/json/access/ticket", JSON_TYPE, "{"},
        {"/api2/json/access/ticket", JSON_TYPE, ""},
        {"/api2/json/access/ticket?username=bench@pbs", FORM_TYPE, "username=bench@pbs&password=s3cr3t"},
    };
    peer_open(&p);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        json_decref(login(&p, good[i][0], good[i][1], good[i][2], 200));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        json_decref(login(&p, bad[i][0], bad[i][1], bad[i][2], 400));
    peer_close(&p);
}

/* V24 */
static int version_with(struct peer *p, const char *head)
{
    struct plain_reply reply;
    ask(p, "GET", "/api2/json/version", head, NULL, 0, &reply);
    buffer_deinit(&reply.body);
    return reply.status;
}

static void test_who_is_nobody_gets_401(void **state)
{
    (void)state;
    struct peer p;
    peer_open(&p);
    assert_int_equal(version_with(&p, AUTHORIZATION), 200);
    assert_int_equal(version_with(&p, "Authorization: PBSAPIToken=" TOKEN ":" SECRET "\r\n"), 200);
    assert_int_equal(version_with(&p, "Authorization: PBSAPIToken " TOKEN ":s3%63r3t\r\n"), 200);
    assert_int_equal(version_with(&p, ""), 401);
    assert_int_equal(version_with(&p, "Authorization: PBSAPIToken " TOKEN ":wrong\r\n"), 401);
    assert_int_equal(version_with(&p, "Authorization: PBSAPIToken " TOKEN ":\r\n"), 401);
    assert_int_equal(version_with(&p, "Authorization: PBSAPIToken " TOKEN ":" SECRET "%00\r\n"), 401);
    assert_int_equal(version_with(&p, "Authorization: PBSAPIToken bench@pbs!no:" SECRET "\r\n"), 401);
    assert_int_equal(version_with(&p, "Authorization: PBSAPIToken bench@pbs:" SECRET "\r\n"), 401); /* a user's */
    assert_int_equal(version_with(&p, "Authorization: Basic YTpi\r\n"), 401);
    assert_int_equal(version_with(&p, "Cookie: PBSAuthCookie=PBS:bench@pbs:6553F100::AAAA\r\n"), 401);
    /* A cookie counts, whatever else there is. */
    assert_int_equal(version_with(&p, "Cookie: PBSAuthCookie=x\r\n" AUTHORIZATION), 401);
    assert_int_equal(version_with(&p, "Cookie: other=x\r\n" AUTHORIZATION), 200);
    json_decref(
        login(&p, "/api2/json/access/ticket", JSON_TYPE, "{\"username\":\"bench@pbs\",\"password\":\"wrong\"}", 401));
    json_decref(
        login(&p, "/api2/json/access/ticket", JSON_TYPE, "{\"username\":\"nobody@pbs\",\"password\":\"s3cr3t\"}", 401));
    /* Unknown paths are nobody's business either. */
    struct plain_reply reply;
    ask(&p, "GET", "/api2/json/nothing", "", NULL, 0, &reply);
    assert_int_equal(reply.status, 401);
    buffer_deinit(&reply.body);
    ask(&p, "GET", "/api2/json/nothing", AUTHORIZATION, NULL, 0, &reply);
    assert_int_equal(reply.status, 404);
    buffer_deinit(&reply.body);
    ask(&p, "GET", "/api2/json/ping", "", NULL, 0, &reply);
    assert_int_equal(reply.status, 200);
    buffer_deinit(&reply.body);
    peer_close(&p);
}

static void test_tickets_and_csrf_tokens(void **state)
{
    (void)state;
    struct peer p;
    char head[2048], body[1024];
    struct plain_reply reply;
    static const char make[] = "{\"name\":\"a\"}";
    peer_open(&p);
    json_t *json = login(&p, "/api2/json/access/ticket", JSON_TYPE, LOGIN_JSON, 200);
    const char *ticket = member(json, "ticket");
    const char *csrf = member(json, "CSRFPreventionToken");
    assert_int_equal(strncmp(ticket, "PBS:bench@pbs:", 14), 0);
    snprintf(head, sizeof head, "Cookie: PBSAuthCookie=%s\r\n", ticket);
    assert_int_equal(version_with(&p, head), 200);
    snprintf(head, sizeof head, "Cookie: a=b; __Host-PBSAuthCookie=%s; c=d\r\n", ticket);
    assert_int_equal(version_with(&p, head), 200);
    snprintf(head, sizeof head, "Cookie: PBSAuthCookie=%s\r\n" JSON_TYPE, ticket);
    ask(&p, "POST", "/api2/json/admin/datastore/store1/namespace", head, make, strlen(make), &reply);
    assert_int_equal(reply.status, 401);
    buffer_deinit(&reply.body);
    snprintf(head, sizeof head, "Cookie: PBSAuthCookie=%s\r\nCSRFPreventionToken: %.9sAAAA\r\n" JSON_TYPE, ticket,
             csrf);
    ask(&p, "POST", "/api2/json/admin/datastore/store1/namespace", head, make, strlen(make), &reply);
    assert_int_equal(reply.status, 401);
    buffer_deinit(&reply.body);
    snprintf(head, sizeof head, "Cookie: PBSAuthCookie=%s\r\nCSRFPreventionToken: %s\r\n" JSON_TYPE, ticket, csrf);
    ask(&p, "POST", "/api2/json/admin/datastore/store1/namespace", head, make, strlen(make), &reply);
    assert_int_equal(reply.status, 200);
    assert_string_equal((const char *)reply.body.data, "{\"data\":\"a\"}");
    buffer_deinit(&reply.body);
    assert_true(is_stored("ns/a"));
    /* A ticket is as good as the password, for its own user. */
    snprintf(body, sizeof body, "{\"username\":\"bench@pbs\",\"password\":\"%s\"}", ticket);
    json_decref(login(&p, "/api2/json/access/ticket", JSON_TYPE, body, 200));
    snprintf(body, sizeof body, "{\"username\":\"other@pbs\",\"password\":\"%s\"}", ticket);
    json_decref(login(&p, "/api2/json/access/ticket", JSON_TYPE, body, 401));
    json_decref(json);
    peer_close(&p);
}

/* 77, V22 */
static int ask_length(size_t path_size, size_t query_size)
{
    struct peer p;
    struct plain_reply reply;
    char target[8192] = "/api2/json/version";
    size_t size = strlen(target);
    memset(target + size, '/', path_size - size);
    target[path_size] = '?';
    memcpy(target + path_size + 1, "_dc=", 4);
    memset(target + path_size + 5, 'x', query_size - 4);
    target[path_size + 1 + query_size] = '\0';
    peer_open(&p);
    ask(&p, "GET", target, AUTHORIZATION, NULL, 0, &reply);
    if (reply.status == 414)
        assert_int_equal(reply.body.size, 0);
    assert_false(reply.closes);
    buffer_deinit(&reply.body);
    peer_close(&p);
    return reply.status;
}

static void test_targets_of_3072_bytes_pass(void **state)
{
    (void)state;
    assert_int_equal(ask_length(1000, 2072), 200);
    assert_int_equal(ask_length(1000, 2073), 414);
    assert_int_equal(ask_length(2000, 1073), 414);
    /* One long name. */
    char text[4096] = "GET /api2/json/";
    memset(text + 15, 'x', 3061);
    snprintf(text + 15 + 3061, sizeof text - 15 - 3061, " HTTP/1.1\r\nHost: x\r\n" AUTHORIZATION "\r\n");
    assert_int_equal(ask_once(text), 404);
}

static void test_paths_outside_the_api_are_404_and_dots_400(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        int status;
    } cases[] = {
        {"/", 404},
        {"/api2", 404},
        {"/api2/json", 404},
        {"/api2/extjs/version", 404},
        {"/../etc/passwd", 400},
        {"/api2/json/.git", 400},
        {"/api2/json/%2e%2e/version", 400},
        {"/api2/json/a%2fb", 400},
        {"/api2/json/a%00b", 400},
        {"/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r", 404},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer p;
        struct plain_reply reply;
        peer_open(&p);
        ask(&p, "GET", cases[i].target, AUTHORIZATION, NULL, 0, &reply);
        if (reply.status != cases[i].status)
            print_error("%s\n", cases[i].target);
        assert_int_equal(reply.status, cases[i].status);
        assert_true(reply.body.size > 0 && reply.body.data[0] != '{'); /* bare text */
        buffer_deinit(&reply.body);
        peer_close(&p);
    }
}

/* V23, 78 */
static void test_heads_are_bounded_and_well_formed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "GET /api2/json/version\r\n\r\n",
        "GET /api2/json/version HTTP/2.0\r\n\r\n",
        "GET  /api2/json/version HTTP/1.1\r\n\r\n",
        "GET /api2/json/version HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET /api2/json/version HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET /api2/json/version HTTP/1.1\nHost: x\n\n",
        "POST /api2/json/access/ticket HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /api2/json/access/ticket HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST /api2/json/access/ticket HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "\x16\x03\x01",
        "garbage\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct peer p;
        struct plain_reply reply;
        peer_open(&p);
        peer_write(&p, bad[i], strlen(bad[i]));
        if (bad[i][0] == '\x16') { /* nothing more comes of it */
            peer_close(&p);
            continue;
        }
        read_reply(&p, &reply);
        if (reply.status != 400)
            print_error("%zu: %s\n", i, bad[i]);
        assert_int_equal(reply.status, 400);
        assert_true(reply.closes);
        buffer_deinit(&reply.body);
        peer_close(&p);
    }
    char *head = malloc(20000);
    assert_non_null(head);
    int size = sprintf(head, "GET /api2/json/ping HTTP/1.1\r\nX: ");
    memset(head + size, 'x', 17000);
    strcpy(head + size + 17000, "\r\n\r\n");
    assert_int_equal(ask_once(head), 400);
    size = sprintf(head, "GET /api2/json/ping HTTP/1.1\r\n");
    for (int i = 0; i < 65; i++)
        size += sprintf(head + size, "X: y\r\n");
    strcpy(head + size, "\r\n");
    assert_int_equal(ask_once(head), 400);
    free(head);
    /* A body where none can be taken in full: the connection cannot be kept. */
    struct peer p;
    struct plain_reply reply;
    peer_open(&p);
    const char *text = "POST /api2/json/access/ticket HTTP/1.1\r\nContent-Length: 524288\r\n\r\n";
    peer_write(&p, text, strlen(text));
    read_reply(&p, &reply);
    assert_int_equal(reply.status, 400);
    assert_true(reply.closes);
    buffer_deinit(&reply.body);
    peer_close(&p);
}

static void test_old_and_closing_clients(void **state)
{
    (void)state;
    struct peer p;
    struct plain_reply reply;
    const char *text = "GET /api2/json/ping HTTP/1.0\r\n\r\n";
    peer_open(&p);
    peer_write(&p, text, strlen(text));
    read_reply(&p, &reply);
    assert_int_equal(reply.status, 200);
    assert_true(reply.closes);
    buffer_deinit(&reply.body);
    uint8_t byte;
    assert_int_equal(peer_read(&p, &byte, 1), 0);
    peer_close(&p);
    peer_open(&p);
    ask(&p, "GET", "/api2/json/ping", "Connection: close\r\n", NULL, 0, &reply);
    assert_int_equal(reply.status, 200);
    assert_true(reply.closes);
    buffer_deinit(&reply.body);
    assert_int_equal(peer_read(&p, &byte, 1), 0);
    peer_close(&p);
}

static void test_requests_may_come_together_or_in_bytes(void **state)
{
    (void)state;
    struct peer p;
    struct plain_reply reply;
    static const char one[] = "GET /api2/json/ping HTTP/1.1\r\n" HOST "\r\n";
    char text[1024];
    peer_open(&p);
    snprintf(text, sizeof text, "%s%s%s", one, one, one);
    peer_write(&p, text, strlen(text));
    for (int i = 0; i < 3; i++) {
        read_reply(&p, &reply);
        assert_int_equal(reply.status, 200);
        buffer_deinit(&reply.body);
    }
    for (const char *c = one; *c; c++)
        peer_write(&p, c, 1);
    read_reply(&p, &reply);
    assert_int_equal(reply.status, 200);
    buffer_deinit(&reply.body);
    peer_close(&p);
}

static void test_a_body_waits_for_100(void **state)
{
    (void)state;
    struct peer p;
    struct plain_reply reply;
    char bytes[64];
    const char *head = "POST /api2/json/access/ticket HTTP/1.1\r\n" HOST JSON_TYPE "Expect: 100-continue\r\n"
                       "Content-Length: 44\r\n\r\n";
    assert_int_equal(strlen(LOGIN_JSON), 44);
    peer_open(&p);
    peer_write(&p, head, strlen(head));
    assert_int_equal(peer_read(&p, bytes, sizeof bytes), strlen("HTTP/1.1 100 Continue\r\n\r\n"));
    assert_memory_equal(bytes, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    peer_write(&p, LOGIN_JSON, strlen(LOGIN_JSON));
    read_reply(&p, &reply);
    assert_int_equal(reply.status, 200);
    buffer_deinit(&reply.body);
    peer_close(&p);
}

static void test_no_alpn_and_no_tls_below_1_2(void **state)
{
    (void)state;
    static const unsigned char protocols[] = "\x02h2\x08http/1.1";
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    const unsigned char *selected;
    unsigned size;
    int fd = connect_tcp();
    SSL_set_alpn_protos(ssl, protocols, sizeof protocols - 1);
    SSL_set_fd(ssl, fd);
    assert_int_equal(SSL_connect(ssl), 1);
    SSL_get0_alpn_selected(ssl, &selected, &size);
    assert_int_equal(size, 0);
    X509 *certificate = SSL_get1_peer_certificate(ssl);
    uint8_t digest[32];
    char text[CERTIFICATE_FINGERPRINT_TEXT_SIZE];
    X509_digest(certificate, EVP_sha256(), digest, &size);
    assert_string_equal(certificate_fingerprint_text(digest, text), serve_fingerprint(serve));
    X509_free(certificate);
    SSL_free(ssl);
    close(fd);
    ssl = SSL_new(context);
    fd = connect_tcp();
    SSL_set_max_proto_version(ssl, TLS1_1_VERSION);
    SSL_set_security_level(ssl, 0);
    SSL_set_fd(ssl, fd);
    assert_int_not_equal(SSL_connect(ssl), 1);
    ERR_clear_error();
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
}

static void test_who_speaks_no_tls_is_sent_away(void **state)
{
    (void)state;
    char bytes[256];
    int fd = connect_tcp();
    const char *text = "GET / HTTP/1.1\r\n\r\n";
    assert_true(write(fd, text, strlen(text)) > 0);
    ssize_t got;
    while ((got = read(fd, bytes, sizeof bytes)) > 0) /* an alert, at most */
        ;
    assert_int_equal(got, 0);
    close(fd);
}

static int setup_impatient(void **state)
{
    (void)state;
    const struct serve_limits limits = {.idle_ms = 300, .session_idle_ms = 300, .handshake_ms = 300, .connections = 3};
    start_serve(&limits, NULL);
    return 0;
}

static void test_the_silent_and_the_many_are_sent_away(void **state)
{
    (void)state;
    char byte;
    int silent = connect_tcp();
    assert_int_equal(read(silent, &byte, 1), 0); /* no handshake */
    close(silent);
    struct peer p;
    peer_open(&p);
    peer_write(&p, "GET /", 5);
    assert_int_equal(peer_read(&p, &byte, 1), 0); /* no request */
    peer_close(&p);
    open_backup(&p, BACKUP_QUERY("demo", 1700000000));
    assert_int_equal(get(&p, "/previous_backup_time"), 200);
    assert_int_equal(peer_read(&p, &byte, 1), 0); /* no more calls */
    peer_close(&p);
    assert_true(goes_away("host/demo"));
    int fds[4];
    for (int i = 0; i < 4; i++)
        fds[i] = connect_tcp();
    uint64_t begin = clock_monotonic_ns();
    assert_int_equal(read(fds[3], &byte, 1), 0); /* the fourth at once, the others when they were silent for long */
    assert_true(clock_monotonic_ns() - begin < 250000000);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}

static void test_stopping_ends_connections(void **state)
{
    (void)state;
    struct peer idle, session;
    char byte;
    peer_open(&idle);
    assert_int_equal(ask_raw(&idle, "GET /api2/json/ping HTTP/1.1\r\n" HOST "\r\n"), 200);
    open_backup(&session, BACKUP_QUERY("demo", 1700000000));
    assert_int_equal(get(&session, "/previous_backup_time"), 200);
    uint64_t begin = clock_monotonic_ns();
    serve_stop(serve);
    serve = NULL;
    assert_true(clock_monotonic_ns() - begin < UINT64_C(5000000000));
    assert_int_equal(peer_read(&idle, &byte, 1), 0);
    assert_false(is_stored("host/demo"));
    peer_close(&idle);
    peer_close(&session);
}

int main(void)
{
#define IN_SERVE(test) cmocka_unit_test_setup_teardown(test, serve_setup, serve_teardown)
    const struct CMUnitTest tests[] = {
        IN_SERVE(test_login_another_call_and_the_upgrade_on_one_connection),
        IN_SERVE(test_parameters_come_from_query_form_or_json),
        IN_SERVE(test_who_is_nobody_gets_401),
        IN_SERVE(test_tickets_and_csrf_tokens),
        IN_SERVE(test_targets_of_3072_bytes_pass),
        IN_SERVE(test_paths_outside_the_api_are_404_and_dots_400),
        IN_SERVE(test_heads_are_bounded_and_well_formed),
        IN_SERVE(test_old_and_closing_clients),
        IN_SERVE(test_requests_may_come_together_or_in_bytes),
        IN_SERVE(test_a_body_waits_for_100),
        IN_SERVE(test_no_alpn_and_no_tls_below_1_2),
        IN_SERVE(test_who_speaks_no_tls_is_sent_away),
        cmocka_unit_test_setup_teardown(test_the_silent_and_the_many_are_sent_away, setup_impatient, serve_teardown),
        IN_SERVE(test_stopping_ends_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
