#include "testing/testing.h"

#include "flow/connect.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define SECRET "s3cr3t of nobody else"
#define FINGERPRINT "0A:1b:2c:3d:4e:5f:60:71:82:93:a4:b5:c6:d7:e8:f9:0a:1b:2c:3d:4e:5f:60:71:82:93:a4:b5:c6:d7:e8:f9"

static const char *const suffixes[] = {"", "_FD", "_FILE", "_CMD"};
static const char *const sources[] = {"PBS_REPOSITORY", "PBS_PASSWORD", "PBS_FINGERPRINT"};
static const char *const plain[] = {"PBS_SERVER",    "PBS_PORT",  "PBS_DATASTORE",        "PBS_AUTH_ID",
                                    "PBS_NAMESPACE", "ALL_PROXY", "CREDENTIALS_DIRECTORY"};

static char *dir;
static struct error err;
static struct connection c;

static int clear(void **state)
{
    (void)state;
    connection_close(&c);
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
        for (size_t k = 0; k < sizeof suffixes / sizeof suffixes[0]; k++) {
            char name[64];
            snprintf(name, sizeof name, "%s%s", sources[i], suffixes[k]);
            unsetenv(name);
        }
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        unsetenv(plain[i]);
    return 0;
}

static int setup(void **state)
{
    dir = temp_dir_make();
    return clear(state);
}

static int teardown(void **state)
{
    temp_dir_remove(dir);
    return clear(state);
}

static void set(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

static const char *file_with(const char *name, const char *text)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    return path;
}

static void opened(const struct connect_options *o)
{
    connection_close(&c);
    if (connection_open(o, &c, &err) != OK)
        assert_string_equal(err.text, "");
}

static void is_directory(const char *path)
{
    assert_non_null(c.path);
    assert_string_equal(c.path, path);
    assert_null(c.account);
}

static void is_server(const char *text)
{
    char found[REPOSITORY_FULL_SIZE];
    assert_null(c.path);
    assert_non_null(c.account);
    assert_string_equal(repository_text(&c.repository, found), text);
    assert_string_equal(repository_text(account_repository(c.account), found), text);
}

static void refused(const struct connect_options *o, enum status status, const char *says)
{
    connection_close(&c);
    err = (struct error){0};
    assert_int_equal(connection_open(o, &c, &err), status);
    if (!strstr(err.text, says))
        assert_string_equal(err.text, says);
    assert_null(strstr(err.text, SECRET));
    assert_null(c.path);
    assert_null(c.account);
}

static const struct connect_options nothing = {0};

/* Runs first: a process that only ever uses directories is not changed. */
static void test_directories_need_nothing_and_change_nothing(void **state)
{
    (void)state;
    assert_int_equal(prctl(PR_GET_DUMPABLE), 1);
    set("PBS_PASSWORD_FILE", "/nonexistent");
    set("PBS_FINGERPRINT", "nonsense");
    set("PBS_NAMESPACE", "not/looked at");
    set("PBS_SERVER", "nor this");
    set("ALL_PROXY", "socks5://x");
    opened(&(struct connect_options){.repository = "/srv/store"});
    is_directory("/srv/store");
    opened(&(struct connect_options){.repository = "./store", .ns = "a/b"});
    is_directory("./store");
    assert_string_equal(c.ns, "a/b");
    set("PBS_REPOSITORY", "/srv/other");
    opened(&nothing);
    is_directory("/srv/other");
    assert_string_equal(c.ns, "");
    refused(&(struct connect_options){.ns = "../x"}, ERR_USAGE, "../x");
    assert_int_equal(prctl(PR_GET_DUMPABLE), 1);
}

static void test_options_go_before_variables_before_parts(void **state)
{
    (void)state;
    set("PBS_PASSWORD", SECRET);
    set("PBS_SERVER", "parts.example");
    set("PBS_DATASTORE", "store3");
    opened(&nothing);
    is_server("root@pam@parts.example:8007:store3");
    set("PBS_PORT", "1234");
    set("PBS_AUTH_ID", "u@pbs!tok");
    opened(&nothing);
    is_server("u@pbs!tok@parts.example:1234:store3");
    set("PBS_REPOSITORY", "u@pbs@variable:store2");
    opened(&nothing);
    is_server("u@pbs@variable:8007:store2");
    opened(&(struct connect_options){.repository = "option:store1"});
    is_server("root@pam@option:8007:store1");
}

static void test_a_repository_may_come_from_a_file_or_command(void **state)
{
    (void)state;
    set("PBS_PASSWORD", SECRET);
    set("PBS_REPOSITORY_FILE", file_with("repository", "h.example:store\nnot this\n"));
    opened(&nothing);
    is_server("root@pam@h.example:8007:store");
    set("PBS_REPOSITORY_FILE", file_with("repository", "/srv/store\n"));
    opened(&nothing);
    is_directory("/srv/store");
    unsetenv("PBS_REPOSITORY_FILE");
    set("PBS_REPOSITORY_CMD", "echo h2.example:store");
    opened(&nothing);
    is_server("root@pam@h2.example:8007:store");
    set("PBS_REPOSITORY_CMD", "false");
    refused(&nothing, ERR_NOT_FOUND, "PBS_REPOSITORY_CMD");
    unsetenv("PBS_REPOSITORY_CMD");
    set("CREDENTIALS_DIRECTORY", dir);
    file_with("proxmox-backup-client.repository", "h3.example:store");
    opened(&nothing);
    is_server("root@pam@h3.example:8007:store");
}

static void test_nothing_is_named(void **state)
{
    (void)state;
    opened(&nothing);
    assert_null(c.path);
    assert_null(c.account);
    set("PBS_PORT", "nonsense"); /* of no server */
    opened(&nothing);
    assert_null(c.account);
    set("PBS_SERVER", "h");
    set("PBS_PORT", "8007");
    set("PBS_DATASTORE", "store");
    set("PBS_REPOSITORY", ""); /* defined: no other source counts */
    opened(&nothing);
    assert_null(c.account);
}

static void test_parts_are_checked(void **state)
{
    (void)state;
    set("PBS_PASSWORD", SECRET);
    set("PBS_SERVER", "h");
    refused(&nothing, ERR_USAGE, "set PBS_DATASTORE");
    set("PBS_DATASTORE", "store");
    static const char *const ports[] = {"0", "65536", "80x", "-1", "+80", " 80", "123456"};
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        set("PBS_PORT", ports[i]);
        refused(&nothing, ERR_USAGE, "PBS_PORT");
    }
    set("PBS_PORT", "65535");
    set("PBS_SERVER", "h_1");
    refused(&nothing, ERR_USAGE, "PBS_SERVER");
    set("PBS_SERVER", "::1");
    refused(&nothing, ERR_USAGE, "in brackets");
    set("PBS_SERVER", "[::1]");
    opened(&nothing);
    is_server("root@pam@[::1]:65535:store");
    set("PBS_AUTH_ID", "nobody");
    refused(&nothing, ERR_USAGE, "neither a user");
    set("PBS_AUTH_ID", "");
    unsetenv("PBS_SERVER");
    opened(&nothing);
    is_server("root@pam@localhost:65535:store");
    set("PBS_DATASTORE", "/srv/store");
    refused(&nothing, ERR_USAGE, "datastore");
}

static void test_namespaces(void **state)
{
    (void)state;
    set("PBS_PASSWORD", SECRET);
    set("PBS_REPOSITORY", "h:store");
    set("PBS_NAMESPACE", "from/env");
    opened(&nothing);
    assert_string_equal(c.ns, "from/env");
    opened(&(struct connect_options){.ns = "given"});
    assert_string_equal(c.ns, "given");
    opened(&(struct connect_options){.ns = ""}); /* the root, said */
    assert_string_equal(c.ns, "");
    set("PBS_NAMESPACE", "a//b");
    refused(&nothing, ERR_USAGE, "PBS_NAMESPACE");
    refused(&(struct connect_options){.ns = "a/../b"}, ERR_USAGE, "a/../b");
}

static void test_without_secret_nothing_is_tried(void **state)
{
    (void)state;
    refused(&(struct connect_options){.repository = "u@pbs!tok@h:store"}, ERR_USAGE,
            "u@pbs!tok needs a secret: set PBS_PASSWORD");
    refused(&(struct connect_options){.repository = "u@pbs@h:store"}, ERR_USAGE, "u@pbs needs a secret");
    set("PBS_PASSWORD", ""); /* defined: an empty secret */
    opened(&(struct connect_options){.repository = "u@pbs@h:store"});
    unsetenv("PBS_PASSWORD");
    set("PBS_PASSWORD_FILE", "/nonexistent");
    refused(&(struct connect_options){.repository = "u@pbs@h:store"}, ERR_IO, "PBS_PASSWORD_FILE");
    set("PBS_PASSWORD_FILE", file_with("secret", SECRET "\nsecond\n"));
    opened(&(struct connect_options){.repository = "u@pbs@h:store"});
    assert_int_equal(prctl(PR_GET_DUMPABLE), 0);
}

static void test_fingerprints(void **state)
{
    (void)state;
    set("PBS_PASSWORD", SECRET);
    set("PBS_REPOSITORY", "h:store");
    opened(&(struct connect_options){.fingerprint = FINGERPRINT});
    refused(&(struct connect_options){.fingerprint = ""}, ERR_USAGE, "fingerprint");
    refused(&(struct connect_options){.fingerprint = "0a1b2c"}, ERR_USAGE, "fingerprint");
    set("PBS_FINGERPRINT", FINGERPRINT);
    opened(&nothing);
    set("PBS_FINGERPRINT", "0a:1b");
    refused(&nothing, ERR_USAGE, "fingerprint");
    opened(&(struct connect_options){.fingerprint = FINGERPRINT}); /* the variable is not looked at */
    set("PBS_FINGERPRINT", "");                                    /* none: the authorities decide */
    opened(&nothing);
    unsetenv("PBS_FINGERPRINT");
    set("PBS_FINGERPRINT_FILE", file_with("fingerprint", FINGERPRINT "\n"));
    opened(&nothing);
}

static void test_proxies(void **state)
{
    (void)state;
    set("PBS_PASSWORD", SECRET);
    set("PBS_REPOSITORY", "h:store");
    static const char *const good[] = {"", "proxy", "proxy:3128", "http://user:" SECRET "@proxy:3128", "HTTP://p"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        set("ALL_PROXY", good[i]);
        opened(&nothing);
    }
    set("ALL_PROXY", "socks5://user:" SECRET "@proxy");
    refused(&nothing, ERR_USAGE, "ALL_PROXY");
}

static void test_texts_that_name_nothing(void **state)
{
    (void)state;
    set("PBS_PASSWORD", SECRET);
    static const char *const bad[] = {":store", "host:", "u@pbs@store", "http://host:store", "host:65536:store"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused(&(struct connect_options){.repository = bad[i]}, ERR_USAGE, "");
}

static void test_stores_open_without_connecting(void **state)
{
    (void)state;
    struct store *store;
    const struct store_options options = {.sync = SYNC_NONE};
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/.chunks", dir); /* enough for a datastore that is only opened */
    assert_int_equal(mkdir(path, 0755), 0);
    opened(&(struct connect_options){.repository = dir});
    assert_int_equal(connection_store(&c, &options, &store, &err), OK);
    assert_false(store_is_remote(store));
    store_close(store);
    set("PBS_PASSWORD", SECRET);
    opened(&(struct connect_options){.repository = ".dot@pbs@nowhere.invalid:store"});
    is_directory(".dot@pbs@nowhere.invalid:store");
    set("PBS_SERVER", "nowhere.invalid");
    set("PBS_DATASTORE", "store");
    set("PBS_AUTH_ID", ".dot@pbs");
    opened(&nothing);
    if (connection_store(&c, &options, &store, &err) != OK)
        assert_string_equal(err.text, "");
    assert_true(store_is_remote(store));
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_directories_need_nothing_and_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_options_go_before_variables_before_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_repository_may_come_from_a_file_or_command, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parts_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_namespaces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_secret_nothing_is_tried, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fingerprints, setup, teardown),
        cmocka_unit_test_setup_teardown(test_proxies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_texts_that_name_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stores_open_without_connecting, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
