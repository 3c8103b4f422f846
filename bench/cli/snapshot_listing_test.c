#include "testing/testing.h"

#include "cli/snapshot_listing.h"

#include <string.h>

static struct error err;

static enum status parse(const char *text, struct snapshot_listing *out)
{
    json_t *data = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(data);
    *out = (struct snapshot_listing){0};
    err = (struct error){0};
    enum status status = snapshot_listing_parse(data, "a/b", out, &err);
    json_decref(data);
    return status;
}

#define ID "\"backup-type\":\"host\",\"backup-id\":\"me\",\"backup-time\":1700000000,"
#define MANIFEST "{\"filename\":\"index.json.blob\",\"crypt-mode\":\"none\",\"size\":500}"

static void test_finished_snapshots_in_order_with_the_manifests_files(void **state)
{
    (void)state;
    struct snapshot_listing l;
    assert_int_equal(
        parse("[{\"backup-type\":\"vm\",\"backup-id\":\"a\",\"backup-time\":5,\"size\":9,\"files\":[" MANIFEST "]},"
              "{" ID "\"size\":700,\"protected\":false,\"owner\":null,\"files\":["
              "{\"filename\":\"root.ppxar.didx\",\"crypt-mode\":\"encrypt\",\"size\":200}," MANIFEST
              ",{\"filename\":\"client.log.blob\"}]},"
              "{\"backup-type\":\"host\",\"backup-id\":\"me\",\"backup-time\":9,\"files\":[" MANIFEST
              ",{\"filename\":\"lost.didx\"}]},"
              "{\"backup-type\":\"host\",\"backup-id\":\"me\",\"backup-time\":1700000100,\"files\":[]}]",
              &l),
        OK);
    assert_int_equal(l.count, 3); /* the last one is not finished */
    assert_string_equal(l.items[0].id.type, "host");
    assert_int_equal(l.items[0].id.time, 9);
    assert_false(l.items[0].is_readable);
    assert_int_equal(l.items[1].id.time, 1700000000);
    assert_string_equal(l.items[1].id.ns, "a/b");
    assert_true(l.items[1].is_readable);
    assert_int_equal(l.items[1].files.file_count, 1);
    assert_string_equal(l.items[1].files.files[0].filename, "root.ppxar.didx");
    assert_string_equal(l.items[1].files.files[0].crypt_mode, "encrypt");
    assert_int_equal(l.items[1].files.files[0].size, 200);
    assert_string_equal(l.items[2].id.type, "vm");
    snapshot_listing_deinit(&l);
    assert_int_equal(parse("[]", &l), OK);
    assert_int_equal(l.count, 0);
    snapshot_listing_deinit(&l);
}

static void test_answers_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "null",
        "{}",
        "[1]",
        "[[]]",
        "[{}]",
        "[{" ID "\"size\":1}]",
        "[{" ID "\"files\":{}}]",
        "[{" ID "\"files\":[1]}]",
        "[{" ID "\"files\":[{}]}]",
        "[{" ID "\"files\":[{\"filename\":\"../x.blob\"}]}]",
        "[{" ID "\"files\":[{\"filename\":\"a\\u001b[2Jx.blob\"}]}]",
        "[{" ID "\"files\":[{\"filename\":\"x.blob\",\"crypt-mode\":\"\\u001b\",\"size\":1}]}]",
        "[{" ID "\"files\":[{\"filename\":\"x.blob\",\"crypt-mode\":\"none\",\"size\":-1}]}]",
        "[{\"backup-type\":\"host\",\"backup-id\":\"me\",\"files\":[]}]",
        "[{\"backup-type\":\"host\",\"backup-id\":\"me\",\"backup-time\":-5,\"files\":[]}]",
        "[{\"backup-type\":\"host\",\"backup-id\":\"me\",\"backup-time\":\"5\",\"files\":[]}]",
        "[{\"backup-type\":\"host\",\"backup-id\":\"../me\",\"backup-time\":5,\"files\":[]}]",
        "[{\"backup-type\":\"hosts\",\"backup-id\":\"me\",\"backup-time\":5,\"files\":[]}]",
        "[{\"backup-type\":\"hostesses\",\"backup-id\":\"me\",\"backup-time\":5,\"files\":[]}]",
        "[{\"backup-type\":1,\"backup-id\":\"me\",\"backup-time\":5,\"files\":[]}]",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct snapshot_listing l;
        assert_int_equal(parse(bad[i], &l), ERR_FORMAT);
        assert_int_equal(err.status, ERR_FORMAT);
        assert_true(strncmp(err.text, "listing the snapshots: ", 23) == 0);
        assert_null(strchr(err.text, '\x1b'));
        snapshot_listing_deinit(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finished_snapshots_in_order_with_the_manifests_files),
        cmocka_unit_test(test_answers_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
