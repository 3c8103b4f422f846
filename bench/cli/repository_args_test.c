#include "testing/testing.h"

#include "cli/repository_args.h"

#include <stdio.h>
#include <string.h>

static struct error err;

static enum status take(struct repository_args *a, int option, const char *value)
{
    static char text[128];
    bool taken = false;
    snprintf(text, sizeof text, "%s", value);
    optarg = text;
    err = (struct error){0};
    enum status status = repository_args_take(option, a, &taken, &err);
    assert_true(taken);
    return status;
}

static int clear(void **state)
{
    (void)state;
    static const char *const names[] = {
        "PBS_REPOSITORY",  "PBS_REPOSITORY_FD", "PBS_REPOSITORY_FILE", "PBS_REPOSITORY_CMD",   "PBS_PASSWORD",
        "PBS_PASSWORD_FD", "PBS_PASSWORD_FILE", "PBS_PASSWORD_CMD",    "PBS_FINGERPRINT",      "CREDENTIALS_DIRECTORY",
        "PBS_NAMESPACE",   "PBS_SERVER",        "PBS_DATASTORE",       "PBS_FINGERPRINT_FILE", "ALL_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    return 0;
}

static void test_rates_have_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"1", 1},          {"500000", 500000},  {"7B", 7},
        {"10KB", 10000},   {"10KiB", 10240},    {"3MB", 3000000},
        {"3MiB", 3 << 20}, {"2GB", 2000000000}, {"1024GiB", UINT64_C(1) << 40},
    };
    struct repository_args a = REPOSITORY_ARGS_INIT;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(take(&a, REPOSITORY_ARGS_RATE, good[i].text), OK);
        assert_true(a.given.rate == good[i].bytes);
        assert_int_equal(take(&a, REPOSITORY_ARGS_BURST, good[i].text), OK);
        assert_true(a.given.burst == good[i].bytes);
    }
    static const char *const bad[] = {"",
                                      "0",
                                      "0MB",
                                      "-1",
                                      "1.5MB",
                                      "10 MB",
                                      "10mb",
                                      "10M",
                                      "10Mb",
                                      "MB",
                                      "10TiB",
                                      "1025GiB",
                                      "0x10",
                                      "1e6",
                                      "10MiBs",
                                      "99999999999999999999999999",
                                      "18446744073709551616"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(take(&a, REPOSITORY_ARGS_RATE, bad[i]), ERR_USAGE);
        assert_non_null(strstr(err.text, "--rate"));
        assert_int_equal(take(&a, REPOSITORY_ARGS_BURST, bad[i]), ERR_USAGE);
        assert_non_null(strstr(err.text, "--burst"));
    }
}

static void test_other_options_are_left_alone(void **state)
{
    (void)state;
    struct repository_args a = REPOSITORY_ARGS_INIT;
    bool taken = true;
    assert_int_equal(repository_args_take(CLI_OUTPUT_FORMAT, &a, &taken, &err), OK);
    assert_false(taken);
    assert_int_equal(repository_args_take('r', &a, &taken, &err), OK);
    assert_false(taken);
}

static void refused(struct repository_args *a, const char *says)
{
    err = (struct error){0};
    assert_int_equal(repository_args_find(a, &err), ERR_USAGE);
    if (!strstr(err.text, says))
        assert_string_equal(err.text, says);
    repository_args_deinit(a);
}

static void test_without_repository_says_where_one_may_come_from(void **state)
{
    (void)state;
    struct repository_args a = REPOSITORY_ARGS_INIT;
    bool found = true;
    refused(&a, "no repository: give --repository or set PBS_REPOSITORY");
    assert_int_equal(repository_args_find_if_any(&a, &found, &err), OK);
    assert_false(found);
    assert_int_equal(take(&a, REPOSITORY_ARGS_REPOSITORY, ""), OK);
    refused(&a, "no repository");
}

static void test_options_of_servers_do_not_go_with_directories(void **state)
{
    (void)state;
    struct repository_args a = REPOSITORY_ARGS_INIT;
    assert_int_equal(take(&a, REPOSITORY_ARGS_RATE, "1MB"), OK);
    a.given.repository = "/srv/store";
    refused(&a, "--rate: only for servers");
    a.given = (struct connect_options){.repository = "/srv/store", .fingerprint = "x"};
    refused(&a, "--fingerprint: only for servers");
    a.given = (struct connect_options){.repository = "/srv/store", .burst = 1};
    refused(&a, "--burst: needs --rate");
    assert_int_equal(setenv("PBS_FINGERPRINT", "x", 1), 0); /* of the surroundings, not of this command */
    a.given = (struct connect_options){.repository = "/srv/store", .ns = "a/b"};
    assert_string_equal(repository_args_ns(&a), "a/b");
    assert_int_equal(repository_args_find(&a, &err), OK);
    assert_false(repository_args_is_server(&a));
    assert_string_equal(repository_args_ns(&a), "a/b");
    repository_args_deinit(&a);
    assert_string_equal(repository_args_ns(&a), "");
}

static void test_servers_take_the_namespace_of_the_surroundings(void **state)
{
    (void)state;
    struct repository_args a = REPOSITORY_ARGS_INIT;
    assert_int_equal(setenv("PBS_PASSWORD", "secret", 1), 0);
    assert_int_equal(setenv("PBS_NAMESPACE", "from/env", 1), 0);
    a.given = (struct connect_options){.repository = "h:store", .rate = 1000, .burst = 2000};
    assert_string_equal(repository_args_ns(&a), "");
    if (repository_args_find(&a, &err) != OK)
        assert_string_equal(err.text, "");
    assert_true(repository_args_is_server(&a));
    assert_string_equal(repository_args_ns(&a), "from/env");
    repository_args_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_rates_have_units, clear),
        cmocka_unit_test_setup(test_other_options_are_left_alone, clear),
        cmocka_unit_test_setup(test_without_repository_says_where_one_may_come_from, clear),
        cmocka_unit_test_setup(test_options_of_servers_do_not_go_with_directories, clear),
        cmocka_unit_test_setup(test_servers_take_the_namespace_of_the_surroundings, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
