#include "testing/testing.h"

#include "wire/upgrade.h"

#include <string.h>

static struct buffer out = {.limit = 64 << 10};
static struct error err;

static int reset(void **state)
{
    (void)state;
    buffer_deinit(&out);
    return 0;
}

static const char *text(void)
{
    assert_int_equal(buffer_append_u8(&out, 0, &err), OK);
    return (const char *)out.data;
}

static const struct http_credentials token = {.token_id = "bench@pbs!ci", .token_secret = "s3cr3t"};
static const struct http_credentials ticket = {.ticket = "PBS:a@pbs:0123ABCD::x+/y", .csrf_token = "0123ABCD:z"};

/* bench/spec/protocol.md 17.1, 17.2. */
static void test_writes_the_transcripts_upgrades(void **state)
{
    (void)state;
    struct upgrade_request request = {.kind = SESSION_BACKUP,
                                      .store = "store1",
                                      .backup_type = "host",
                                      .backup_id = "demo",
                                      .backup_time = 1700000060,
                                      .debug = true};
    assert_int_equal(upgrade_write(&out, &request, "pbs.example:8007", &token, &err), OK);
    assert_string_equal(text(), "GET /api2/json/backup?backup-id=demo&backup-time=1700000060&backup-type=host&"
                                "benchmark=false&debug=true&store=store1 HTTP/1.1\r\n"
                                "Host: pbs.example:8007\r\n"
                                "User-Agent: proxmox-backup-client/1.0\r\n"
                                "Content-Type: application/x-www-form-urlencoded\r\n"
                                "Authorization: PBSAPIToken bench@pbs!ci:s3cr3t\r\n"
                                "Connection: upgrade\r\n"
                                "Upgrade: proxmox-backup-protocol-v1\r\n"
                                "\r\n");
    buffer_clear(&out);
    request.kind = SESSION_READER;
    assert_int_equal(upgrade_write(&out, &request, "pbs.example:8007", &token, &err), OK);
    assert_string_equal(text(), "GET /api2/json/reader?backup-id=demo&backup-time=1700000060&backup-type=host&"
                                "debug=true&store=store1 HTTP/1.1\r\n"
                                "Host: pbs.example:8007\r\n"
                                "User-Agent: proxmox-backup-client/1.0\r\n"
                                "Content-Type: application/x-www-form-urlencoded\r\n"
                                "Authorization: PBSAPIToken bench@pbs!ci:s3cr3t\r\n"
                                "Connection: upgrade\r\n"
                                "Upgrade: proxmox-backup-reader-protocol-v1\r\n"
                                "\r\n");
}

static void test_namespaces_and_tickets(void **state)
{
    (void)state;
    const struct upgrade_request request = {.kind = SESSION_BACKUP,
                                            .store = "store1",
                                            .ns = "a/b",
                                            .backup_type = "host",
                                            .backup_id = "x",
                                            .backup_time = 1};
    assert_int_equal(upgrade_write(&out, &request, "h:1", &ticket, &err), OK);
    const char *written = text();
    assert_non_null(strstr(written, "&store=store1&ns=a%2Fb HTTP/1.1\r\n"));
    assert_non_null(strstr(written, "\r\nCookie: PBSAuthCookie=PBS:a@pbs:0123ABCD::x+/y\r\n"));
    assert_null(strstr(written, "Authorization"));
    assert_null(strstr(written, "CSRF"));
    assert_null(strstr(written, "Expect"));
    assert_null(strstr(written, "Accept-Encoding"));
}

static void test_overlong_targets_are_refused_here(void **state)
{
    (void)state;
    char id[3200];
    memset(id, 'x', sizeof id);
    struct upgrade_request request = {.kind = SESSION_READER, .store = "s", .backup_type = "vm", .backup_id = id};
    size_t other = strlen("/api2/json/reader") + strlen("backup-id=&backup-time=0&backup-type=vm&debug=false&store=s");
    id[3072 - other] = '\0';
    assert_int_equal(upgrade_write(&out, &request, "h:1", &token, &err), OK);
    id[3072 - other] = 'x';
    id[3073 - other] = '\0';
    assert_int_equal(upgrade_write(&out, &request, "h:1", &token, &err), ERR_LIMIT);
}

static void test_secrets_are_encoded_and_read_back(void **state)
{
    (void)state;
    static const char secret[] = "p%a ss:\r\n\"w\xc3\xb6rd?";
    const struct http_credentials odd = {.token_id = "x!y@pbs!tok", .token_secret = secret};
    const char *name;
    assert_int_equal(credentials_write(&out, &odd, &name, &err), OK);
    assert_string_equal(name, "Authorization");
    assert_string_equal((const char *)out.data, "PBSAPIToken x!y@pbs!tok:p%a%20ss:%0D%0A%22w%C3%B6rd%3F");
    struct buffer id = BUFFER_INIT(100);
    struct buffer read = BUFFER_INIT(100);
    for (int separator = 0; separator < 2; separator++) {
        out.data[strlen("PBSAPIToken")] = separator ? '=' : ' ';
        buffer_clear(&id);
        buffer_clear(&read);
        assert_int_equal(credentials_parse_token((const char *)out.data, &id, &read, &err), OK);
        assert_string_equal((const char *)id.data, "x!y@pbs!tok");
        assert_string_equal((const char *)read.data, secret);
    }
    static const char *const bad[] = {"",          "PBSAPIToken",    "PBSAPIToken a", "PBSAPITokena:b",
                                      "Basic a:b", "pbsapitoken a:b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(credentials_parse_token(bad[i], &id, &read, &err), ERR_USAGE);
    buffer_deinit(&id);
    buffer_deinit(&read);
}

static void test_cookies_are_found_among_others(void **state)
{
    (void)state;
    const struct http_credentials odd = {.ticket = "PBS:ä b", .cookie_name = "__Host-PBSAuthCookie"};
    const char *name;
    assert_int_equal(credentials_write(&out, &odd, &name, &err), OK);
    assert_string_equal(name, "Cookie");
    assert_string_equal((const char *)out.data, "__Host-PBSAuthCookie=PBS:%C3%A4%20b");
    struct buffer read = BUFFER_INIT(100);
    assert_int_equal(
        credentials_parse_cookie("a=b; xPBSAuthCookie=n; PBSAuthCookie=PBS%3Ax ;c", "PBSAuthCookie", &read, &err), OK);
    assert_string_equal((const char *)read.data, "PBS:x ");
    assert_int_equal(credentials_parse_cookie("a=b; PBSAuthCookie", "PBSAuthCookie", &read, &err), ERR_NOT_FOUND);
    assert_int_equal(credentials_parse_cookie("", "PBSAuthCookie", &read, &err), ERR_NOT_FOUND);
    assert_int_equal(credentials_parse_cookie(";;; ;", "PBSAuthCookie", &read, &err), ERR_NOT_FOUND);
    buffer_deinit(&read);
}

static void test_no_credentials_no_header(void **state)
{
    (void)state;
    const struct http_credentials none = {.token_id = NULL};
    const struct rest_request request = {.method = "GET", .path = "ping"};
    assert_int_equal(rest_write(&out, &request, "h:1", &none, &err), OK);
    assert_string_equal(text(), "GET /api2/json/ping HTTP/1.1\r\nHost: h:1\r\nUser-Agent: proxmox-backup-client/1.0\r\n"
                                "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n");
}

static void test_calls_with_tickets_carry_the_csrf_token_unless_they_get(void **state)
{
    (void)state;
    struct rest_request request = {.method = "GET", .path = "admin/datastore/s/snapshots", .query = "ns=a%2Fb"};
    request.keep_alive = true;
    assert_int_equal(rest_write(&out, &request, "h:1", &ticket, &err), OK);
    const char *written = text();
    assert_non_null(strstr(written, "GET /api2/json/admin/datastore/s/snapshots?ns=a%2Fb HTTP/1.1\r\n"));
    assert_non_null(strstr(written, "Connection: keep-alive\r\n"));
    assert_null(strstr(written, "CSRF"));
    assert_null(strstr(written, "Content-Length"));
    buffer_clear(&out);
    request = (struct rest_request){.method = "POST", .path = "access/ticket", .body_size = 17};
    assert_int_equal(rest_write(&out, &request, "h:1", &ticket, &err), OK);
    written = text();
    assert_non_null(strstr(written, "\r\nCSRFPreventionToken: 0123ABCD:z\r\n"));
    assert_non_null(strstr(written, "\r\nContent-Length: 17\r\n"));
    assert_non_null(strstr(written, "\r\nContent-Type: application/json\r\n"));
    buffer_clear(&out);
    request = (struct rest_request){.method = "DELETE", .path = "x"};
    assert_int_equal(rest_write(&out, &request, "h:1", &token, &err), OK);
    written = text();
    assert_null(strstr(written, "CSRF"));
    assert_non_null(strstr(written, "\r\nContent-Length: 0\r\n"));
}

static void check_reply(const char *reply, enum status expected)
{
    struct http_head head;
    size_t used;
    http_head_init(&head, HTTP_RESPONSE);
    assert_int_equal(http_head_feed(&head, reply, strlen(reply), &used, &err), OK);
    assert_int_equal(upgrade_check_reply(&head, SESSION_BACKUP, &err), expected);
    http_head_deinit(&head);
}

static void test_replies_must_switch_to_what_was_asked_for(void **state)
{
    (void)state;
    check_reply("HTTP/1.1 101 X\r\nUpgrade: proxmox-backup-protocol-v1\r\n\r\n", OK);
    check_reply("HTTP/1.1 101 X\r\nUPGRADE: Proxmox-Backup-Protocol-v1\r\n\r\n", OK);
    check_reply("HTTP/1.1 101 X\r\nUpgrade: proxmox-backup-reader-protocol-v1\r\n\r\n", ERR_FORMAT);
    check_reply("HTTP/1.1 101 X\r\nUpgrade: h2c\r\n\r\n", ERR_FORMAT);
    check_reply("HTTP/1.1 101 X\r\n\r\n", ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_writes_the_transcripts_upgrades, reset),
        cmocka_unit_test_teardown(test_namespaces_and_tickets, reset),
        cmocka_unit_test_teardown(test_overlong_targets_are_refused_here, reset),
        cmocka_unit_test_teardown(test_secrets_are_encoded_and_read_back, reset),
        cmocka_unit_test_teardown(test_cookies_are_found_among_others, reset),
        cmocka_unit_test_teardown(test_no_credentials_no_header, reset),
        cmocka_unit_test_teardown(test_calls_with_tickets_carry_the_csrf_token_unless_they_get, reset),
        cmocka_unit_test_teardown(test_replies_must_switch_to_what_was_asked_for, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
