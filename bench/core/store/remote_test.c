#include "testing/testing.h"

#include "store/fake_server_for_test.h"

static void test_needs_an_account(void **state)
{
    (void)state;
    struct store *s;
    struct error err = {0};
    assert_int_equal(store_open("user@pbs@host:store", &(struct store_options){0}, &s, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "'user@pbs@host:store' is not a directory"));
    assert_null(s);
}

static void test_lists_finished_snapshots(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    assert_true(store_is_remote(s));
    fake->rest_body =
        "{\"data\":["
        "{\"backup-type\":\"vm\",\"backup-id\":\"7\",\"backup-time\":9,\"files\":[{\"filename\":\"index.json.blob\","
        "\"size\":7}],\"owner\":null},"
        "{\"backup-type\":\"host\",\"backup-id\":\"b\",\"backup-time\":8,\"files\":[\"a.didx\",\"index.json.blob\"]},"
        "{\"backup-type\":\"host\",\"backup-id\":\"b\",\"backup-time\":10,\"files\":[]},"
        "{\"backup-type\":\"host\",\"backup-id\":\"b\",\"backup-time\":11},"
        "{\"backup-type\":\"host\",\"backup-id\":\"a\",\"backup-time\":9,\"files\":[{},3,{\"filename\":\"index.json."
        "blob\"}]}"
        "],\"total\":5}";
    struct snapshot_list list;
    struct error err = {0};
    if (store_list(s, "n s/x", NULL, &list, &err) == OK)
        assert_true(false); /* no such name */
    assert_int_equal(store_list(s, "ns/x", NULL, &list, &err), OK);
    assert_string_equal(fake->rest_log, "GET admin/datastore/store/snapshots?ns=ns%2Fx");
    assert_int_equal(list.count, 3);
    assert_string_equal(list.items[0].id, "a");
    assert_string_equal(list.items[0].ns, "ns/x");
    assert_string_equal(list.items[1].id, "b");
    assert_int_equal(list.items[1].time, 8);
    assert_string_equal(list.items[2].type, "vm");
    snapshot_list_deinit(&list);
    const struct snapshot_id group = {.type = "host", .id = "b"};
    fake->rest_body = "{\"data\":[]}";
    assert_int_equal(store_list(s, "", &group, &list, &err), OK);
    assert_string_equal(fake->rest_log, "GET admin/datastore/store/snapshots?backup-id=b&backup-type=host");
    assert_int_equal(list.count, 0);
    fake->rest_body = "{\"data\":[{\"backup-type\":\"host\",\"backup-id\":\"other\",\"backup-time\":8,"
                      "\"files\":[\"index.json.blob\"]}]}";
    assert_int_equal(store_list(s, "", &group, &list, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "is of host/other, not of host/b"));
    struct net_stats stats;
    store_net_stats(s, &stats);
    assert_int_equal(stats.requests, 7);
    store_close(s);
    fake_stop(false);
}

static void test_refuses_strange_lists(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "[]",
        "{\"data\":null}",
        "{\"data\":7}",
        "{\"data\":[7]}",
        "{\"data\":[{}]}",
        "{\"data\":[{\"backup-type\":\"host\",\"backup-id\":\"b\",\"backup-time\":\"8\",\"files\":[]}]}",
        "{\"data\":[{\"backup-type\":\"host\",\"backup-id\":\"../b\",\"backup-time\":8,\"files\":[]}]}",
        "{\"data\":[{\"backup-type\":\"hosts\",\"backup-id\":\"b\",\"backup-time\":8,\"files\":[]}]}",
        "{\"data\":[{\"backup-type\":\"hosthosthosthost\",\"backup-id\":\"b\",\"backup-time\":8,\"files\":[]}]}",
        "{\"data\":[{\"backup-type\":\"host\",\"backup-id\":\"b\",\"backup-time\":-8,\"files\":[]}]}",
        "no JSON",
    };
    fake_start();
    struct store *s = fake_store();
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct snapshot_list list;
        struct error err = {0};
        fake->rest_body = bodies[i];
        assert_int_equal(store_list(s, "", NULL, &list, &err), ERR_FORMAT);
        assert_non_null(strstr(err.text, "listing the snapshots: the server's answer"));
        assert_null(list.items);
    }
    fake->rest_body = "permission check failed";
    fake->rest_status = 403;
    struct snapshot_list list;
    assert_int_equal(store_list(s, "", NULL, &list, NULL), ERR_REFUSED);
    store_close(s);
    fake_stop(false);
}

static void test_forgets(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    const struct snapshot_id id = {.type = "host", .id = "a", .ns = "x", .time = 1700000000};
    struct error err = {0};
    assert_int_equal(store_forget(s, &id, &err), OK);
    assert_string_equal(fake->rest_log, "DELETE admin/datastore/store/snapshots?backup-id=a&backup-time=1700000000"
                                        "&backup-type=host&ns=x");
    fake->rest_status = 400;
    fake->rest_body = "it is protected";
    assert_int_equal(store_forget(s, &id, &err), ERR_REFUSED);
    assert_non_null(strstr(err.text, "removing snapshot host/a/2023-11-14T22:13:20Z"));
    assert_non_null(strstr(err.text, "it is protected"));
    store_close(s);
    fake_stop(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_needs_an_account),
        cmocka_unit_test(test_lists_finished_snapshots),
        cmocka_unit_test(test_refuses_strange_lists),
        cmocka_unit_test(test_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
