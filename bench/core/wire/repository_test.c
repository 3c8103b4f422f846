#include "testing/testing.h"

#include "wire/repository.h"

#include <string.h>

/* bench/spec/protocol.md 2.2, both lists. */
static const struct {
    const char *text, *auth_id, *host;
    uint16_t port;
    const char *datastore;
} accepted[] = {
    {"store1", "root@pam", "localhost", 8007, "store1"},
    {"host1:store1", "root@pam", "host1", 8007, "store1"},
    {"user@pbs@host1:store1", "user@pbs", "host1", 8007, "store1"},
    {"user@pbs!tok@host1:store1", "user@pbs!tok", "host1", 8007, "store1"},
    {"a@b@pbs@host:store", "a@b@pbs", "host", 8007, "store"},
    {"x!y@pbs@h:store", "x!y@pbs", "h", 8007, "store"},
    {"192.168.55.55:1234:mystore", "root@pam", "192.168.55.55", 1234, "mystore"},
    {"[ff80::51]:mystore", "root@pam", "[ff80::51]", 8007, "mystore"},
    {"user@pbs@[::1]:8008:ds", "user@pbs", "[::1]", 8008, "ds"},
    {"8008:store1", "root@pam", "8008", 8007, "store1"},
    {"1234:5678:store1", "root@pam", "1234", 5678, "store1"},
};

static const char *const refused[] = {
    "",
    ":store",
    "host:",
    "user@pbs@store1",
    "user@host:store",
    "fe80::1:store",
    "[::1%lo]:s",
    "[1.2.3.4]:s",
    "host/x:store",
    "http://host:store",
    "host_1:store",
    "host-:store",
    "host:123456:store",
    "host:65536:store",
    "h:.store",
    "h:..",
    "h:st ore",
    "user@pbs!t!u@h:store",
    /* beyond the list */
    "@host:store",
    "user@pbs@:store",
    "[::1]store",
    "[::1]",
    "[::1]:",
    "host:8007:",
    "host::store",
    "host:80x:store",
    "host:008007:store",
    "a b@pbs@h:s",
    "user@pbs!@h:store",
    "h:store\n",
};

static void test_accepts_what_the_original_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        struct repository r;
        struct error err = {0};
        if (repository_parse(accepted[i].text, &r, &err) != OK) {
            print_error("'%s': %s\n", accepted[i].text, err.text);
            assert_true(false);
        }
        assert_string_equal(r.auth_id, accepted[i].auth_id);
        assert_string_equal(r.host, accepted[i].host);
        assert_int_equal(r.port, accepted[i].port);
        assert_string_equal(r.datastore, accepted[i].datastore);

        char text[REPOSITORY_FULL_SIZE];
        struct repository again;
        assert_int_equal(repository_parse(repository_text(&r, text), &again, &err), OK);
        assert_string_equal(again.auth_id, r.auth_id);
        assert_string_equal(again.host, r.host);
        assert_string_equal(again.datastore, r.datastore);
        assert_int_equal(again.port, r.port);
    }
}

static void test_refuses_what_the_original_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct repository r;
        struct error err = {0};
        if (repository_parse(refused[i], &r, &err) != ERR_USAGE) {
            print_error("'%s' was accepted\n", refused[i]);
            assert_true(false);
        }
        assert_true(strlen(err.text) > 10);
    }
}

static void test_is_at_most_256_characters_long(void **state)
{
    (void)state;
    char text[REPOSITORY_TEXT_MAX + 2];
    struct repository r;
    struct error err;
    memset(text, 's', sizeof text);
    text[REPOSITORY_TEXT_MAX] = '\0';
    assert_int_equal(repository_parse(text, &r, &err), OK);
    text[REPOSITORY_TEXT_MAX] = 's';
    text[REPOSITORY_TEXT_MAX + 1] = '\0';
    assert_int_equal(repository_parse(text, &r, &err), ERR_USAGE);
}

static void test_is_made_from_parts(void **state)
{
    (void)state;
    struct repository r;
    struct error err;
    char text[REPOSITORY_FULL_SIZE];
    assert_int_equal(repository_make(NULL, NULL, 0, "abc", &r, &err), OK);
    assert_string_equal(repository_text(&r, text), "root@pam@localhost:8007:abc");
    assert_int_equal(repository_make("u@pbs!tok", "[::1]", 99, "abc", &r, &err), OK);
    assert_string_equal(repository_text(&r, text), "u@pbs!tok@[::1]:99:abc");
    assert_string_equal(repository_url(&r, text), "https://[::1]:99/");
    assert_string_equal(repository_authority(&r, text), "[::1]:99");
    assert_int_equal(repository_make(NULL, NULL, 0, NULL, &r, &err), ERR_USAGE);
    assert_int_equal(repository_make("u", NULL, 0, "abc", &r, &err), ERR_USAGE);
    assert_int_equal(repository_make(NULL, "a_b", 0, "abc", &r, &err), ERR_USAGE);
    assert_int_equal(repository_make(NULL, NULL, 65536, "abc", &r, &err), ERR_USAGE);
    assert_int_equal(repository_make(NULL, NULL, 0, "../x", &r, &err), ERR_USAGE);
    char name[REPOSITORY_TEXT_MAX + 1];
    memset(name, 'n', sizeof name);
    name[REPOSITORY_TEXT_MAX] = '\0';
    assert_int_equal(repository_make(NULL, NULL, 0, name, &r, &err), ERR_USAGE);
}

static void test_knows_tokens_and_their_users(void **state)
{
    (void)state;
    struct repository r;
    struct error err;
    char user[REPOSITORY_TEXT_MAX + 1];
    assert_int_equal(repository_parse("x!y@pbs!tok@h:store", &r, &err), OK);
    assert_true(repository_is_token(&r));
    assert_string_equal(repository_user(&r, user), "x!y@pbs");
    assert_int_equal(repository_parse("x!y@pbs@h:store", &r, &err), OK);
    assert_false(repository_is_token(&r));
    assert_string_equal(repository_user(&r, user), "x!y@pbs");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_what_the_original_accepts),
        cmocka_unit_test(test_refuses_what_the_original_refuses),
        cmocka_unit_test(test_is_at_most_256_characters_long),
        cmocka_unit_test(test_is_made_from_parts),
        cmocka_unit_test(test_knows_tokens_and_their_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
