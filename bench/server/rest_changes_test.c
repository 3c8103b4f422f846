/* Namespaces, removing snapshots, uploading logs. */
#include "testing/testing.h"

#include "blob/blob.h"
#include "server/rest_for_test.h"

static struct rest_answer post(const char *path, const char *query, const char *type, const void *body, size_t size)
{
    const struct asked how = {.caller = administrator, .content_type = type, .body = body, .body_size = size};
    return ask_as(&how, "POST", path, query);
}

static struct rest_answer make_namespace(const char *json)
{
    return post(STORE_PATH "namespace", "", "application/json", json, strlen(json));
}

/* ---- namespaces ---- */

static void test_namespaces_are_made_and_listed(void **state)
{
    (void)state;
    assert_data(ask("GET", STORE_PATH "namespace", ""), "[{\"ns\":\"\"}]");
    assert_data(make_namespace("{\"name\":\"b\"}"), "\"b\"");
    assert_data(make_namespace("{\"name\":\"a\"}"), "\"a\"");
    assert_data(make_namespace("{\"name\":\"a\"}"), "\"a\"");
    assert_data(make_namespace("{\"name\":\"x\",\"parent\":\"a\"}"), "\"a/x\"");
    assert_data(make_namespace("{\"name\":\"y\",\"parent\":\"a/x\"}"), "\"a/x/y\"");
    assert_true(exists("store/ns/a/ns/x/ns/y"));
    assert_data(ask("GET", STORE_PATH "namespace", ""),
                "[{\"ns\":\"\"},{\"ns\":\"a\"},{\"ns\":\"a/x\"},{\"ns\":\"a/x/y\"},{\"ns\":\"b\"}]");
    assert_data(ask("GET", STORE_PATH "namespace", "max-depth=0"), "[{\"ns\":\"\"}]");
    assert_data(ask("GET", STORE_PATH "namespace", "max-depth=1"), "[{\"ns\":\"\"},{\"ns\":\"a\"},{\"ns\":\"b\"}]");
    assert_data(ask("GET", STORE_PATH "namespace", "parent=a&max-depth=1"), "[{\"ns\":\"a\"},{\"ns\":\"a/x\"}]");
    assert_data(ask("GET", STORE_PATH "groups", "ns=a%2Fx"), "[]");
    assert_status(ask("GET", STORE_PATH "namespace", "parent=none"), 400);
    assert_data(ask("DELETE", STORE_PATH "namespace", "ns=a"), "null");
    assert_data(ask("DELETE", STORE_PATH "namespace", "ns=b"), "null");
    assert_data(ask("GET", STORE_PATH "namespace", ""), "[{\"ns\":\"\"}]");
    assert_status(ask("DELETE", STORE_PATH "namespace", "ns=a"), 400);
}

static void test_namespaces_have_their_limits(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "{\"name\":\"\"}",
        "{\"name\":\"..\"}",
        "{\"name\":\"a/b\"}",
        "{\"name\":\"-a\"}",
        "{\"name\":\"a b\"}",
        "{\"name\":\"a\\u0000b\"}",
        "{\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", /* 33 */
        "{\"name\":\"a\",\"parent\":\"none\"}",
        "{\"name\":\"a\",\"parent\":\"../store\"}",
        "{\"name\":\"a\",\"parent\":\"/\"}",
        "{\"name\":7}",
        "{}",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_status(make_namespace(refused[i]), 400);
    assert_data(ask("GET", STORE_PATH "namespace", ""), "[{\"ns\":\"\"}]");
    assert_data(make_namespace("{\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}"),
                "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"");
    assert_data(ask("DELETE", STORE_PATH "namespace", "ns=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), "null");

    char parent[64] = "", json[256];
    for (int depth = 1; depth <= 8; depth++) {
        snprintf(json, sizeof json, "{\"name\":\"n%d\",\"parent\":\"%s\"}", depth, parent);
        struct rest_answer answer = make_namespace(json);
        assert_status(answer, depth <= 7 ? 200 : 400);
        snprintf(parent + strlen(parent), sizeof parent - strlen(parent), "%sn%d", depth > 1 ? "/" : "", depth);
    }
    assert_data(ask("DELETE", STORE_PATH "namespace", "ns=n1"), "null");
    assert_false(exists("store/ns/n1"));
    assert_error(ask("DELETE", STORE_PATH "namespace", "ns="), 400, "root");
}

static void add_group(const char *ns)
{
    char path[256];
    snprintf(path, sizeof path, "store/%s/host", ns);
    assert_int_equal(mkdir(at(path), 0755), 0);
    snprintf(path, sizeof path, "store/%s/host/one", ns);
    assert_int_equal(mkdir(at(path), 0755), 0);
    snprintf(path, sizeof path, "store/%s/host/one/owner", ns);
    put(path, "root@pam\n", 9);
    snprintf(path, sizeof path, "store/%s/host/one/" T1_NAME, ns);
    assert_int_equal(mkdir(at(path), 0755), 0);
    snprintf(path, sizeof path, "store/%s/host/one/" T1_NAME "/index.json.blob", ns);
    put(path, "x", 1);
}

static void test_a_namespace_with_groups_stays_unless_they_may_go(void **state)
{
    (void)state;
    assert_status(make_namespace("{\"name\":\"a\"}"), 200);
    assert_status(make_namespace("{\"name\":\"b\",\"parent\":\"a\"}"), 200);
    add_group("ns/a/ns/b");
    assert_error(ask("DELETE", STORE_PATH "namespace", "ns=a"), 400, "host/one");
    assert_status(ask("DELETE", STORE_PATH "namespace", "ns=a&delete-groups=false"), 400);
    assert_true(exists("store/ns/a/ns/b/host/one/" T1_NAME "/index.json.blob"));
    put("store/ns/a/ns/b/host/one/" T1_NAME "/.protected", "", 0);
    assert_error(ask("DELETE", STORE_PATH "namespace", "ns=a&delete-groups=1"), 400, "protected");
    assert_true(exists("store/ns/a/ns/b/host/one/" T1_NAME "/index.json.blob"));
    assert_int_equal(unlink(at("store/ns/a/ns/b/host/one/" T1_NAME "/.protected")), 0);
    assert_data(ask("DELETE", STORE_PATH "namespace", "ns=a&delete-groups=1"), "null");
    assert_false(exists("store/ns/a"));
    /* What lies below other names is not ours. */
    assert_status(make_namespace("{\"name\":\"a\"}"), 200);
    put("store/ns/a/keep", "x", 1);
    assert_status(ask("DELETE", STORE_PATH "namespace", "ns=a&delete-groups=1"), 400);
    assert_true(exists("store/ns/a/keep"));
    assert_int_equal(unlink(at("store/ns/a/keep")), 0);
    assert_data(ask("DELETE", STORE_PATH "namespace", "ns=a"), "null");
}

static void test_errors_do_not_tell_where_the_datastore_is(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *query, *word;
    } cases[] = {
        {"GET", STORE_PATH "groups", "ns=zz", "ns/zz"},
        {"DELETE", STORE_PATH "namespace", "ns=zz", "ns/zz"},
        {"GET", STORE_PATH "files", "backup-type=host&backup-id=none&backup-time=5", "none"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rest_answer answer = ask(cases[i].method, cases[i].path, cases[i].query);
        assert_int_equal(answer.status, 400);
        assert_int_equal(buffer_append_u8(&answer.body, 0, NULL), OK);
        assert_non_null(strstr((const char *)answer.body.data, cases[i].word));
        if (strstr((const char *)answer.body.data, dir))
            print_error("%s\n", (const char *)answer.body.data);
        assert_null(strstr((const char *)answer.body.data, dir));
        rest_answer_deinit(&answer);
    }
}

/* ---- snapshots ---- */

static struct snapshot_id snapshot_id(const char *id, int64_t time)
{
    struct snapshot_id s = {.type = "host", .time = time};
    snprintf(s.id, sizeof s.id, "%s", id);
    return s;
}

static void test_a_snapshot_is_removed_when_nobody_holds_it(void **state)
{
    (void)state;
    const char *const query = "backup-type=host&backup-id=gone&backup-time=1700000000";
    make_snapshot("gone", T1, 1);
    make_snapshot("gone", T2, 1);
    struct snapshot_id id = snapshot_id("gone", T1);
    struct store_reader *reader;
    assert_int_equal(store_reader_open(store, &id, &reader, &err), OK);
    assert_error(ask("DELETE", STORE_PATH "snapshots", query), 400, "locked");
    store_reader_close(reader);
    put("store/host/gone/" T1_NAME "/.protected", "", 0);
    assert_error(ask("DELETE", STORE_PATH "snapshots", query), 400, "protected");
    assert_true(exists("store/host/gone/" T1_NAME "/index.json.blob"));
    assert_int_equal(unlink(at("store/host/gone/" T1_NAME "/.protected")), 0);
    assert_data(ask("DELETE", STORE_PATH "snapshots", query), "null");
    assert_false(exists("store/host/gone/" T1_NAME));
    assert_true(exists("store/host/gone/" T2_NAME "/index.json.blob"));
    assert_error(ask("DELETE", STORE_PATH "snapshots", query), 400, "no such snapshot");
    /* The last one leaves the group and its owner. */
    assert_data(ask("DELETE", STORE_PATH "snapshots", "backup-type=host&backup-id=gone&backup-time=1700000060"),
                "null");
    assert_true(exists("store/host/gone/owner"));
    json_t *groups = data_of(ask("GET", STORE_PATH "groups", ""));
    assert_null(element_with(groups, "backup-id", "gone"));
    json_decref(groups);
}

static void test_neither_the_base_nor_what_is_written_is_removed(void **state)
{
    (void)state;
    make_snapshot("busy", T1, 1);
    struct snapshot_id id = snapshot_id("busy", T2);
    struct store_writer *writer;
    assert_int_equal(store_begin(store, &id, &writer, &err), OK);
    assert_error(ask("DELETE", STORE_PATH "snapshots", "backup-type=host&backup-id=busy&backup-time=1700000000"), 400,
                 "locked");
    assert_error(ask("DELETE", STORE_PATH "snapshots", "backup-type=host&backup-id=busy&backup-time=1700000060"), 400,
                 "locked");
    store_abort(writer);
    assert_data(ask("DELETE", STORE_PATH "snapshots", "backup-type=host&backup-id=busy&backup-time=1700000000"),
                "null");
}

/* ---- logs ---- */

static struct rest_answer put_log(const char *query, const struct buffer *blob)
{
    return post(STORE_PATH "upload-backup-log", query, "application/octet-stream", blob->data, blob->size);
}

static void test_one_log_per_snapshot(void **state)
{
    (void)state;
    struct blob_context *blobs;
    CLEANUP(buffer_deinit) struct buffer blob = BUFFER_INIT(1 << 20);
    const struct slice text = {.data = (const uint8_t *)"all went well\n", .size = 14};
    assert_int_equal(blob_context_new(&blobs, &err), OK);
    assert_int_equal(blob_seal(blobs, &text, 1, &blob, &err), OK);
    blob_context_free(blobs);
    assert_status(put_log("backup-type=host&backup-id=one&backup-time=5", &blob), 400);
    assert_status(put_log("", &blob), 400);
    /* Raw: the body is no form. */
    struct buffer cut = blob;
    cut.size = 11;
    assert_status(put_log(SNAPSHOT_T1, &cut), 400);
    blob.data[blob.size - 1] ^= 1;
    assert_error(put_log(SNAPSHOT_T1, &blob), 400, "crc");
    blob.data[blob.size - 1] ^= 1;
    blob.data[0] ^= 1;
    assert_status(put_log(SNAPSHOT_T1, &blob), 400);
    blob.data[0] ^= 1;
    assert_false(exists("store/host/one/" T1_NAME "/client.log.blob"));
    assert_data(put_log(SNAPSHOT_T1, &blob), "null");
    struct buffer stored;
    read_back("store/host/one/" T1_NAME "/client.log.blob", &stored);
    assert_int_equal(stored.size, blob.size);
    assert_memory_equal(stored.data, blob.data, blob.size);
    buffer_deinit(&stored);
    assert_error(put_log(SNAPSHOT_T1, &blob), 400, "already");
    json_t *files = data_of(ask("GET", STORE_PATH "files", SNAPSHOT_T1));
    assert_int_equal(json_array_size(files), 8); /* and no temporary one */
    json_decref(files);
    assert_int_equal(unlink(at("store/host/one/" T1_NAME "/client.log.blob")), 0);
}

static void test_an_unfinished_snapshot_takes_no_log(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer blob = BUFFER_INIT(1 << 20);
    static const uint8_t empty[] = {0x42, 0xab, 0x38, 0x07, 0xbe, 0x83, 0x70, 0xa1, 0, 0, 0, 0};
    assert_int_equal(buffer_append(&blob, empty, sizeof empty, NULL), OK);
    assert_int_equal(mkdir(at("store/host/one/2023-11-14T23:00:00Z"), 0755), 0);
    assert_error(put_log("backup-type=host&backup-id=one&backup-time=1700002800", &blob), 400, "not finished");
    assert_int_equal(rmdir(at("store/host/one/2023-11-14T23:00:00Z")), 0);
    assert_data(put_log(SNAPSHOT_T2, &blob), "null");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_namespaces_are_made_and_listed),
        cmocka_unit_test(test_namespaces_have_their_limits),
        cmocka_unit_test(test_a_namespace_with_groups_stays_unless_they_may_go),
        cmocka_unit_test(test_errors_do_not_tell_where_the_datastore_is),
        cmocka_unit_test(test_a_snapshot_is_removed_when_nobody_holds_it),
        cmocka_unit_test(test_neither_the_base_nor_what_is_written_is_removed),
        cmocka_unit_test(test_one_log_per_snapshot),
        cmocka_unit_test(test_an_unfinished_snapshot_takes_no_log),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
