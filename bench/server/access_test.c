#include "testing/testing.h"

#include "server/access.h"

#include "wire/protocol.h"

#include <stdio.h>
#include <string.h>

enum { NOW = 1700000000 };

static struct error err;

static struct access *make(void)
{
    static const struct access_account accounts[] = {{"bench@pbs", "password", PRIVILEGE_ALL},
                                                     {"bench@pbs!ci", "s3cr3t", PRIVILEGE_BACKUP}};
    struct access *a;
    assert_int_equal(access_new(accounts, 2, &a, &err), OK);
    return a;
}

static enum status check(const struct access *a, const char *head_text, int64_t now, struct caller *out)
{
    struct http_head head;
    size_t used;
    char text[2048];
    http_head_init(&head, HTTP_REQUEST);
    snprintf(text, sizeof text, "%s\r\n", head_text);
    assert_int_equal(http_head_feed(&head, text, strlen(text), &used, &err), OK);
    assert_true(head.complete);
    enum status status = access_check(a, &head, now, out, &err);
    http_head_deinit(&head);
    return status;
}

/* 66, 6.3: the whole matrix. */
static void test_owners(void **state)
{
    (void)state;
    static const struct {
        const char *caller, *owner;
        bool owns;
    } cases[] = {
        {"u@pbs", "u@pbs", true},      {"u@pbs!t", "u@pbs!t", true},  {"u@pbs", "u@pbs!t", true},
        {"u@pbs!t", "u@pbs", false},   {"u@pbs!t", "u@pbs!s", false}, {"v@pbs", "u@pbs", false},
        {"v@pbs", "u@pbs!t", false},   {"u@pam", "u@pbs!t", false},   {"u@pb", "u@pbs!t", false},
        {"u@pbs!t!x", "u@pbs", false}, {"", "u@pbs", false},          {"x!y@pbs", "x!y@pbs!t", true},
        {"x", "x!y@pbs", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (access_owns(cases[i].caller, cases[i].owner) != cases[i].owns)
            print_error("%s of %s\n", cases[i].caller, cases[i].owner);
        assert_int_equal(access_owns(cases[i].caller, cases[i].owner), cases[i].owns);
    }
}

static void test_privileges(void **state)
{
    (void)state;
    unsigned p;
    assert_int_equal(privileges_parse("all", &p, &err), OK);
    assert_int_equal(p, PRIVILEGE_ALL);
    assert_int_equal(privileges_parse("none", &p, &err), OK);
    assert_int_equal(p, 0);
    assert_int_equal(privileges_parse("read,backup", &p, &err), OK);
    assert_int_equal(p, PRIVILEGE_READ | PRIVILEGE_BACKUP);
    static const char *const bad[] = {"", "read,", ",read", "Read", "reader", "read backup"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(privileges_parse(bad[i], &p, &err), ERR_USAGE);
}

static void test_tables_are_checked(void **state)
{
    (void)state;
    struct access *a;
    const struct access_account twice[] = {{"u@pbs", "x", 0}, {"u@pbs", "y", 0}};
    const struct access_account empty[] = {{"u@pbs", "", 0}};
    const struct access_account name[] = {{"u", "x", 0}};
    assert_int_equal(access_new(twice, 2, &a, &err), ERR_USAGE);
    assert_int_equal(access_new(empty, 1, &a, &err), ERR_USAGE);
    assert_int_equal(access_new(name, 1, &a, &err), ERR_USAGE);
    assert_int_equal(access_new(NULL, 0, &a, &err), ERR_USAGE);
    assert_null(a);
    access_free(NULL);
}

static void test_tokens(void **state)
{
    (void)state;
    struct access *a = make();
    struct caller caller;
    assert_int_equal(check(a, "GET / HTTP/1.1\r\nauthorization: PBSAPIToken bench@pbs!ci:s3cr3t\r\n", NOW, &caller),
                     OK);
    assert_string_equal(caller.auth_id, "bench@pbs!ci");
    assert_int_equal(caller.privileges, PRIVILEGE_BACKUP);
    static const char *const bad[] = {
        "PBSAPIToken bench@pbs!ci:s3cr3",
        "PBSAPIToken bench@pbs!ci:s3cr3t1",
        "PBSAPIToken bench@pbs!ci",
        "PBSAPIToken bench@pbs:password",
        "bench@pbs!ci:s3cr3t",
        "PBSAPIToken",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char head[200];
        snprintf(head, sizeof head, "GET / HTTP/1.1\r\nAuthorization: %s\r\n", bad[i]);
        assert_int_equal(check(a, head, NOW, &caller), ERR_REFUSED);
    }
    access_free(a);
}

static void test_tickets_have_their_time(void **state)
{
    (void)state;
    struct access *a = make();
    struct access *other = make();
    struct caller caller;
    char ticket[TICKET_TEXT_MAX], csrf[CSRF_TEXT_MAX], head[1024];
    assert_int_equal(access_login(a, "bench@pbs", "password", NOW, ticket, csrf, &err), OK);
    snprintf(head, sizeof head, "GET / HTTP/1.1\r\nCookie: PBSAuthCookie=%s\r\n", ticket);
    assert_int_equal(check(a, head, NOW, &caller), OK);
    assert_string_equal(caller.auth_id, "bench@pbs");
    assert_int_equal(check(a, head, NOW + WIRE_TICKET_LIFETIME_S, &caller), OK);
    assert_int_equal(check(a, head, NOW + WIRE_TICKET_LIFETIME_S + 1, &caller), ERR_REFUSED);
    assert_int_equal(check(a, head, NOW - 300, &caller), OK);
    assert_int_equal(check(a, head, NOW - 301, &caller), ERR_REFUSED);
    assert_int_equal(check(other, head, NOW, &caller), ERR_REFUSED); /* another server's key */
    /* Every byte of it counts. */
    size_t size = strlen(ticket);
    for (size_t i = 0; i < size; i++) {
        char changed[TICKET_TEXT_MAX];
        memcpy(changed, ticket, size + 1);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        snprintf(head, sizeof head, "GET / HTTP/1.1\r\nCookie: PBSAuthCookie=%s\r\n", changed);
        assert_int_equal(check(a, head, NOW, &caller), ERR_REFUSED);
    }
    /* Changing something needs the token as well, of the same user and time. */
    snprintf(head, sizeof head, "DELETE / HTTP/1.1\r\nCookie: PBSAuthCookie=%s\r\n", ticket);
    assert_int_equal(check(a, head, NOW, &caller), ERR_REFUSED);
    snprintf(head, sizeof head, "DELETE / HTTP/1.1\r\nCookie: PBSAuthCookie=%s\r\nCSRFPreventionToken: %s\r\n", ticket,
             csrf);
    assert_int_equal(check(a, head, NOW, &caller), OK);
    csrf[10] = csrf[10] == 'A' ? 'B' : 'A';
    snprintf(head, sizeof head, "DELETE / HTTP/1.1\r\nCookie: PBSAuthCookie=%s\r\nCSRFPreventionToken: %s\r\n", ticket,
             csrf);
    assert_int_equal(check(a, head, NOW, &caller), ERR_REFUSED);
    assert_int_equal(access_login(a, "bench@pbs", ticket, NOW + 900, ticket, csrf, &err), OK);
    assert_int_equal(access_login(a, "bench@pbs!ci", "s3cr3t", NOW, ticket, csrf, &err), ERR_REFUSED);
    assert_int_equal(access_login(a, "bench@pbs", "", NOW, ticket, csrf, &err), ERR_REFUSED);
    access_free(a);
    access_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_owners),
        cmocka_unit_test(test_privileges),
        cmocka_unit_test(test_tables_are_checked),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_tickets_have_their_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
