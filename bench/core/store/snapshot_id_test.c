#include "testing/testing.h"

#include "store/store.h"

#include <string.h>

static void test_parses_and_writes_names(void **state)
{
    (void)state;
    struct snapshot_id id;
    char text[SNAPSHOT_TEXT_SIZE];
    assert_int_equal(snapshot_id_parse("host/elsa-1.x_y/2026-01-02T03:04:05Z", &id, NULL), OK);
    assert_string_equal(id.type, "host");
    assert_string_equal(id.id, "elsa-1.x_y");
    assert_string_equal(id.ns, "");
    assert_int_equal(id.time, 1767323045);
    assert_string_equal(snapshot_id_text(&id, text), "host/elsa-1.x_y/2026-01-02T03:04:05Z");

    assert_int_equal(snapshot_group_parse("vm/100", &id, NULL), OK);
    assert_int_equal(id.time, 0);
    assert_string_equal(snapshot_id_text(&id, text), "vm/100");

    char longest[5 + BACKUP_ID_MAX + 1] = "host/";
    memset(longest + 5, 'x', BACKUP_ID_MAX);
    longest[5 + BACKUP_ID_MAX] = '\0';
    assert_int_equal(snapshot_group_parse(longest, &id, NULL), OK);
}

static void test_refuses_what_is_no_name(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "host",
        "host/",
        "/",
        "//",
        "host/..",
        "host/.",
        "host/.x",
        "host/-x",
        "host/a b",
        "host/a\n",
        "host/\xc3\xbc",
        "Host/a",
        "hosts/a",
        "hosthosthost/a",
        "/host/a",
        "../a",
        "host/a/",
        "host/a/b",
        "host/a/2026-01-02T03:04:05",
        "host/a/2026-01-02T03:04:05Z/",
        "host/a/2026-13-02T03:04:05Z",
        "host/a/2026-02-30T03:04:05Z",
        "host/a/2026-1-02T03:04:005Z",
        "host/a/1970-01-01T00:00:00Z",
        "host/../2026-01-02T03:04:05Z",
        "host/a/../2026-01-02T03:04:05Z",
        "host//2026-01-02T03:04:05Z",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct snapshot_id id;
        struct error err = {0};
        if (snapshot_id_parse(bad[i], &id, &err) != ERR_USAGE || !err.text[0])
            assert_string_equal(bad[i], "accepted");
        assert_true(snapshot_group_parse(bad[i], &id, &err) == ERR_USAGE);
    }
    char overlong[5 + BACKUP_ID_MAX + 2] = "host/";
    memset(overlong + 5, 'x', BACKUP_ID_MAX + 1);
    struct snapshot_id id;
    assert_int_equal(snapshot_group_parse(overlong, &id, NULL), ERR_USAGE);
}

static void test_checks_namespaces_and_times(void **state)
{
    (void)state;
    assert_int_equal(snapshot_namespace_check("", NULL), OK);
    assert_int_equal(snapshot_namespace_check("a", NULL), OK);
    assert_int_equal(snapshot_namespace_check("a/b/c/d/e/f/g", NULL), OK);
    static const char *const bad[] = {"/",  "a/", "/a",  "a//b",           "..", "a/..", "../a",
                                      ".a", "-a", "a b", "a/b/c/d/e/f/g/h"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (snapshot_namespace_check(bad[i], NULL) != ERR_USAGE)
            assert_string_equal(bad[i], "accepted");
    char name[NAMESPACE_MAX + 2] = {0};
    memset(name, 'n', NAMESPACE_MAX);
    assert_int_equal(snapshot_namespace_check(name, NULL), OK);
    name[NAMESPACE_MAX] = 'n';
    assert_int_equal(snapshot_namespace_check(name, NULL), ERR_USAGE);

    struct snapshot_id id = {.type = "ct", .id = "1", .ns = "a/b", .time = 1};
    assert_int_equal(snapshot_id_check(&id, NULL), OK);
    id.time = 253402300799; /* 9999-12-31T23:59:59Z */
    assert_int_equal(snapshot_id_check(&id, NULL), OK);
    id.time++;
    assert_int_equal(snapshot_id_check(&id, NULL), ERR_USAGE);
    id.time = 0;
    assert_int_equal(snapshot_id_check(&id, NULL), ERR_USAGE);
    assert_int_equal(snapshot_group_check(&id, NULL), OK);
    id.time = -1;
    assert_int_equal(snapshot_id_check(&id, NULL), ERR_USAGE);
    id = (struct snapshot_id){.type = "ct", .id = "1", .ns = "../b", .time = 1};
    assert_int_equal(snapshot_id_check(&id, NULL), ERR_USAGE);
    id = (struct snapshot_id){.type = "", .id = "1", .time = 1};
    assert_int_equal(snapshot_id_check(&id, NULL), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parses_and_writes_names),
        cmocka_unit_test(test_refuses_what_is_no_name),
        cmocka_unit_test(test_checks_namespaces_and_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
