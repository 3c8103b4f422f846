#include "testing/testing.h"

#include "cli/snapshot_listing.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* Each with as many files as a manifest may have: a search through them for each one would take minutes. */
static void test_many_files_cost_no_square_of_their_number(void **state)
{
    (void)state;
    enum { SNAPSHOTS = 12 };
    struct snapshot_listing l = {0};
    json_t *files = json_array(), *snapshots = json_array();
    for (int i = 0; i < MANIFEST_FILES_MAX; i++) {
        char name[128];
        snprintf(name, sizeof name, "%0100d.blob", i);
        assert_int_equal(json_array_append_new(
                             files, json_pack("{s:s, s:s, s:i}", "filename", name, "crypt-mode", "none", "size", i)),
                         0);
    }
    for (int i = 0; i < SNAPSHOTS; i++)
        assert_int_equal(
            json_array_append_new(snapshots, json_pack("{s:s, s:s, s:i, s:O}", "backup-type", "host", "backup-id", "me",
                                                       "backup-time", i + 1, "files", files)),
            0);
    alarm(60);
    assert_int_equal(snapshot_listing_parse(snapshots, "", &l, &err), OK);
    alarm(0);
    snapshot_listing_deinit(&l);
    json_decref(snapshots);
    json_decref(files);
    assert_int_equal(parse("[{" ID "\"files\":[" MANIFEST
                           ",{\"filename\":\"a.blob\",\"crypt-mode\":\"none\",\"size\":1},"
                           "{\"filename\":\"a.blob\",\"crypt-mode\":\"none\",\"size\":1}]}]",
                           &l),
                     ERR_FORMAT);
    assert_non_null(strstr(err.text, "listed twice"));
    snapshot_listing_deinit(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finished_snapshots_in_order_with_the_manifests_files),
        cmocka_unit_test(test_answers_that_are_none),
        cmocka_unit_test(test_many_files_cost_no_square_of_their_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
