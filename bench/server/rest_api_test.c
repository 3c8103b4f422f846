/* Routing, parameters, privileges, listings. */
#include "testing/testing.h"

#include "blob/blob.h"
#include "index/manifest.h"
#include "server/rest_for_test.h"
#include "store/local_server_lists.h"

static const struct caller audit = {"audit@pbs", PRIVILEGE_AUDIT};
static const struct caller reader = {"reader@pbs", PRIVILEGE_READ};
static const struct caller bench = {"bench@pbs!ci", PRIVILEGE_BACKUP | PRIVILEGE_PRUNE};
static const struct caller bench_user = {"bench@pbs", PRIVILEGE_BACKUP | PRIVILEGE_PRUNE};
static const struct caller other_token = {"bench@pbs!other", PRIVILEGE_BACKUP | PRIVILEGE_PRUNE};
static const struct caller nobody = {"nobody@pbs", 0};

static struct rest_answer ask_by(const struct caller *caller, const char *method, const char *path, const char *query)
{
    return ask_as(&(struct asked){.caller = *caller}, method, path, query);
}

/* ---- what there is ---- */

static void test_version_and_ping(void **state)
{
    (void)state;
    json_t *version = data_of(ask_by(&nobody, "GET", "version", ""));
    assert_non_null(text_of(version, "version"));
    assert_non_null(text_of(version, "release"));
    assert_non_null(text_of(version, "repoid"));
    json_decref(version);
    const struct asked anonymous = {0};
    assert_data(ask_as(&anonymous, "GET", "ping", ""), "{\"pong\":true}");
    assert_status(ask_as(&anonymous, "GET", "version", ""), 401);
    const char *const ping[] = {"ping"};
    const char *const version_path[] = {"version"};
    assert_true(rest_api_is_public("GET", ping, 1));
    assert_false(rest_api_is_public("GET", version_path, 1));
    assert_false(rest_api_is_public("POST", ping, 1));
}

static void test_other_paths_and_methods_are_404(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path;
    } cases[] = {
        {"GET", ""},
        {"GET", "versions"},
        {"GET", "version/more"},
        {"POST", "version"},
        {"get", "version"},
        {"GET", "admin"},
        {"GET", STORE_PATH "nothing"},
        {"GET", STORE_PATH "groups/more"},
        {"PUT", STORE_PATH "groups"},
        {"DELETE", STORE_PATH "groups"},
        {"GET", STORE_PATH "upload-backup-log"},
        {"GET", "nodes/elsewhere/tasks/UPID/status"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_status(ask(cases[i].method, cases[i].path, ""), 404);
}

static void test_a_datastore_is_one_that_there_is(void **state)
{
    (void)state;
    assert_data(ask("GET", "admin/datastore", ""), "[{\"store\":\"store1\"}]");
    assert_data(ask_by(&nobody, "GET", "admin/datastore", ""), "[]");
    assert_error(ask("GET", "admin/datastore/store2/groups", ""), 403, "permission");
    assert_status(ask("GET", "admin/datastore/st ore/groups", ""), 400);
    assert_status(ask("GET", "admin/datastore/a/groups", ""), 400);
    json_t *status = data_of(ask_by(&audit, "GET", STORE_PATH "status", ""));
    int64_t total = number_of(status, "total");
    assert_true(total > 0 && number_of(status, "used") <= total && number_of(status, "avail") <= total);
    json_decref(status);
    assert_error(ask_by(&nobody, "GET", STORE_PATH "status", ""), 403, "permission");
}

static void test_bodies_have_the_length_that_their_call_needs(void **state)
{
    (void)state;
    const char *const log[] = {"admin", "datastore", "store1", "upload-backup-log"};
    const char *const ns[] = {"admin", "datastore", "store1", "namespace"};
    const char *const none[] = {"nothing"};
    assert_int_equal(rest_api_body_max(api, "POST", log, 4), WIRE_BLOB_ENCODED_MAX);
    assert_int_equal(rest_api_body_max(api, "POST", ns, 4), WIRE_PARAMETER_BODY_MAX);
    assert_int_equal(rest_api_body_max(api, "GET", none, 1), WIRE_PARAMETER_BODY_MAX);
}

static void test_no_garbage_is_collected_and_no_task_runs(void **state)
{
    (void)state;
    json_t *gc = data_of(ask("GET", STORE_PATH "gc", ""));
    assert_int_equal(number_of(gc, "disk-chunks"), 0);
    assert_string_equal(text_of(gc, "store"), "store1");
    json_decref(gc);
    assert_error(ask("POST", STORE_PATH "gc", ""), 400, "garbage");
    assert_status(ask_by(&bench, "POST", STORE_PATH "gc", ""), 403);
    assert_error(ask("GET", "nodes/localhost/tasks/UPID:a:b:c:/status", ""), 400, "UPID:a:b:c:");
}

/* ---- parameters ---- */

static void test_parameters_follow_the_schema(void **state)
{
    (void)state;
    static const struct {
        const char *path, *query;
        int status;
    } cases[] = {
        {STORE_PATH "groups", "", 200},
        {STORE_PATH "groups", "ns=", 200},
        {STORE_PATH "groups", "_dc=1", 200},
        {STORE_PATH "groups", "unknown=1", 400},
        {STORE_PATH "groups", "ns=&ns=", 400},
        {STORE_PATH "groups", "ns=missing", 400},
        {STORE_PATH "groups", "ns=..%2Fx", 400},
        {STORE_PATH "groups", "ns=a%2F%2Fb", 400},
        {STORE_PATH "groups", "ns=a%00b", 400},
        {STORE_PATH "snapshots", "backup-type=host", 200},
        {STORE_PATH "snapshots", "backup-type=disk", 400},
        {STORE_PATH "snapshots", "backup-id=..", 400},
        {STORE_PATH "snapshots", "backup-id=one%2F..", 400},
        {STORE_PATH "files", SNAPSHOT_T1, 200},
        {STORE_PATH "files", "backup-type=host&backup-id=one", 400},
        {STORE_PATH "files", "backup-type=host&backup-id=one&backup-time=0", 400},
        {STORE_PATH "files", "backup-type=host&backup-id=one&backup-time=x", 400},
        {STORE_PATH "files", "backup-type=host&backup-id=one&backup-time=253402300800", 400},
        {STORE_PATH "files", "backup-type=host&backup-id=one&backup-time=1", 400},
        {STORE_PATH "namespace", "max-depth=7", 200},
        {STORE_PATH "namespace", "max-depth=8", 400},
        {STORE_PATH "namespace", "max-depth=-1", 400},
        {STORE_PATH "download", SNAPSHOT_T1 "&file-name=..%2Fowner", 400},
        {STORE_PATH "download", SNAPSHOT_T1 "&file-name=owner", 400},
        {STORE_PATH "download", SNAPSHOT_T1 "&file-name=.protected", 400},
        {STORE_PATH "download", SNAPSHOT_T1 "&file-name=-x.blob", 400},
        {STORE_PATH "download", SNAPSHOT_T1 "&file-name=", 400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rest_answer answer = ask("GET", cases[i].path, cases[i].query);
        if (answer.status != cases[i].status)
            print_error("%s?%s\n", cases[i].path, cases[i].query);
        assert_status(answer, cases[i].status);
    }
}

static void test_a_json_type_means_that_the_query_is_ignored(void **state)
{
    (void)state;
    struct asked how = {.caller = administrator, .content_type = "application/json"};
    assert_status(ask_as(&how, "GET", STORE_PATH "groups", "ns=missing"), 200);
    how.body = "{\"ns\":\"missing\"}";
    how.body_size = strlen(how.body);
    assert_status(ask_as(&how, "GET", STORE_PATH "groups", ""), 400);
    how.content_type = "text/plain";
    assert_status(ask_as(&how, "GET", STORE_PATH "groups", ""), 400);
    how.content_type = "application/x-www-form-urlencoded";
    how.body = "ns=missing";
    how.body_size = strlen(how.body);
    assert_status(ask_as(&how, "GET", STORE_PATH "groups", ""), 400);
    /* Raw calls look at the query only, whatever the type. */
    how.content_type = "text/plain";
    how.body_size = 0;
    assert_status(ask_as(&how, "GET", STORE_PATH "download", SNAPSHOT_T1 "&file-name=index.json.blob"), 200);
}

static void test_errors_are_bare_text(void **state)
{
    (void)state;
    struct rest_answer answer = ask("GET", STORE_PATH "groups", "unknown=1");
    assert_string_equal(answer.content_type, WIRE_TYPE_JSON_REPLY);
    assert_non_null(memmem(answer.body.data, answer.body.size, "unknown", 7));
    assert_true(answer.body.data[0] != '{');
    rest_answer_deinit(&answer);
}

/* ---- listings ---- */

static void test_groups_count_unfinished_snapshots(void **state)
{
    (void)state;
    assert_int_equal(mkdir(at("store/host/one/2023-11-14T23:00:00Z"), 0755), 0);
    put("store/host/one/2023-11-14T23:00:00Z/root.mpxar.didx", "", 0);
    put("store/host/one/2023-11-14T23:00:00Z/root.ppxar.tmp_didx", "", 0);
    assert_int_equal(mkdir(at("store/host/bare"), 0755), 0);
    put("store/host/one/notes", "first line\nsecond", 17);
    json_t *groups = data_of(ask_by(&audit, "GET", STORE_PATH "groups", ""));
    assert_int_equal(json_array_size(groups), 2);
    const json_t *one = element_with(groups, "backup-id", "one");
    assert_string_equal(text_of(one, "backup-type"), "host");
    assert_string_equal(text_of(one, "owner"), "root@pam");
    assert_string_equal(text_of(one, "comment"), "first line");
    assert_int_equal(number_of(one, "backup-count"), 3);
    assert_int_equal(number_of(one, "last-backup"), 1700002800);
    const json_t *files = json_object_get(one, "files");
    assert_int_equal(json_array_size(files), 1);
    assert_string_equal(json_string_value(json_array_get(files, 0)), "root.mpxar.didx");
    assert_string_equal(text_of(element_with(groups, "backup-id", "two"), "owner"), "bench@pbs!ci");
    json_decref(groups);
    /* A snapshot that runs has no files to show. */
    json_t *snapshots = data_of(ask_by(&audit, "GET", STORE_PATH "snapshots", "backup-id=one"));
    assert_int_equal(json_array_size(snapshots), 3);
    const json_t *last = json_array_get(snapshots, 2);
    assert_int_equal(json_array_size(json_object_get(last, "files")), 0);
    assert_null(json_object_get(last, "size"));
    json_decref(snapshots);
    assert_int_equal(unlink(at("store/host/one/notes")), 0);
    assert_int_equal(unlink(at("store/host/one/2023-11-14T23:00:00Z/root.mpxar.didx")), 0);
    assert_int_equal(unlink(at("store/host/one/2023-11-14T23:00:00Z/root.ppxar.tmp_didx")), 0);
    assert_int_equal(rmdir(at("store/host/one/2023-11-14T23:00:00Z")), 0);
    assert_int_equal(rmdir(at("store/host/bare")), 0);
}

static void test_files_of_the_manifest_and_others(void **state)
{
    (void)state;
    put("store/host/one/" T1_NAME "/client.log.blob", "not looked at", 13);
    put("store/host/one/" T1_NAME "/README", "nobody's", 8);
    json_t *files = data_of(ask_by(&reader, "GET", STORE_PATH "files", SNAPSHOT_T1));
    assert_int_equal(json_array_size(files), 8);
    const json_t *index = element_with(files, "filename", "disk.img.fidx");
    assert_int_equal(number_of(index, "size"), 5 << 20);
    assert_string_equal(text_of(index, "crypt-mode"), "none");
    assert_non_null(element_with(files, "filename", "root.ppxar.didx"));
    assert_non_null(element_with(files, "filename", "catalog.pcat1.didx"));
    const json_t *manifest = element_with(files, "filename", "index.json.blob");
    struct stat st;
    assert_int_equal(stat(at("store/host/one/" T1_NAME "/index.json.blob"), &st), 0);
    assert_int_equal(number_of(manifest, "size"), st.st_size);
    const json_t *log = element_with(files, "filename", "client.log.blob");
    assert_non_null(log);
    assert_null(json_object_get(log, "size"));
    assert_null(json_object_get(log, "crypt-mode"));
    json_decref(files);
    assert_int_equal(unlink(at("store/host/one/" T1_NAME "/client.log.blob")), 0);
    assert_int_equal(unlink(at("store/host/one/" T1_NAME "/README")), 0);
}

static void test_snapshots_with_what_is_known_of_them(void **state)
{
    (void)state;
    put("store/host/one/" T1_NAME "/.protected", "", 0);
    json_t *snapshots = data_of(ask("GET", STORE_PATH "snapshots", ""));
    assert_int_equal(json_array_size(snapshots), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *s = json_array_get(snapshots, i);
        assert_string_equal(text_of(s, "backup-id"), i < 2 ? "one" : "two");
        assert_string_equal(text_of(s, "owner"), i < 2 ? "root@pam" : "bench@pbs!ci");
        assert_int_equal(number_of(s, "backup-time"), i == 1 ? T2 : T1);
        assert_int_equal(json_is_true(json_object_get(s, "protected")), i == 0);
        const json_t *files = json_object_get(s, "files");
        assert_int_equal(json_array_size(files), i < 2 ? 7 : 3);
        int64_t size = 0;
        for (size_t k = 0; k < json_array_size(files); k++)
            size += number_of(json_array_get(files, k), "size");
        assert_int_equal(number_of(s, "size"), size);
    }
    json_decref(snapshots);
    assert_int_equal(unlink(at("store/host/one/" T1_NAME "/.protected")), 0);
    json_t *filtered = data_of(ask("GET", STORE_PATH "snapshots", "backup-type=host&backup-id=two"));
    assert_int_equal(json_array_size(filtered), 1);
    json_decref(filtered);
    assert_data(ask("GET", STORE_PATH "snapshots", "backup-type=vm"), "[]");
    assert_data(ask("GET", STORE_PATH "snapshots", "backup-id=none"), "[]");
    assert_status(ask("GET", STORE_PATH "snapshots", "ns=none"), 400);
}

/* A snapshot with nothing but this in its manifest. */
static void make_noted(const char *unprotected)
{
    struct manifest m;
    struct blob_context *blobs;
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(1 << 20);
    CLEANUP(buffer_deinit) struct buffer blob = BUFFER_INIT(1 << 20);
    assert_int_equal(manifest_init(&m, "host", "noted", T1, &err), OK);
    free(m.unprotected);
    m.unprotected = strdup(unprotected);
    assert_int_equal(manifest_write(&m, &text, &err), OK);
    manifest_deinit(&m);
    assert_int_equal(blob_context_new(&blobs, &err), OK);
    const struct slice slice = {.data = text.data, .size = text.size};
    assert_int_equal(blob_seal(blobs, &slice, 1, &blob, &err), OK);
    blob_context_free(blobs);
    put("store/host/noted/" T1_NAME "/index.json.blob", blob.data, blob.size);
}

static void test_notes_key_and_verification_come_from_the_manifest(void **state)
{
    (void)state;
    char unprotected[8192], notes[5000];
    assert_int_equal(mkdir(at("store/host/noted"), 0755), 0);
    assert_int_equal(mkdir(at("store/host/noted/" T1_NAME), 0755), 0);
    put("store/host/noted/owner", "root@pam\n", 9);
    make_noted("{\"notes\":\"first\\nsecond\",\"key-fingerprint\":\"ab:cd\","
               "\"verify_state\":{\"upid\":\"UPID:x\",\"state\":\"failed\"}}");
    json_t *list = data_of(ask("GET", STORE_PATH "snapshots", "backup-id=noted"));
    const json_t *s = json_array_get(list, 0);
    assert_string_equal(text_of(s, "comment"), "first");
    assert_string_equal(text_of(s, "fingerprint"), "ab:cd");
    assert_string_equal(text_of(json_object_get(s, "verification"), "state"), "failed");
    assert_string_equal(text_of(json_object_get(s, "verification"), "upid"), "UPID:x");
    json_decref(list);
    /* A text of the client's fills no list. */
    memset(notes, 'n', sizeof notes);
    snprintf(unprotected, sizeof unprotected, "{\"notes\":\"%.*s\",\"verify_state\":{\"state\":\"sure\"}}",
             (int)sizeof notes, notes);
    make_noted(unprotected);
    list = data_of(ask("GET", STORE_PATH "snapshots", "backup-id=noted"));
    s = json_array_get(list, 0);
    assert_int_equal(strlen(text_of(s, "comment")), 1024);
    assert_null(json_object_get(s, "verification"));
    assert_null(json_object_get(s, "fingerprint"));
    json_decref(list);
    assert_status(ask("DELETE", STORE_PATH "snapshots", "backup-type=host&backup-id=noted&backup-time=1700000000"),
                  200);
}

/* A manifest that cannot be read is no reason not to list the others. */
static void test_a_broken_manifest_leaves_its_snapshot_in_the_list(void **state)
{
    (void)state;
    const char *path = "store/host/two/" T1_NAME "/index.json.blob";
    struct buffer whole;
    read_back(path, &whole);
    put(path, "broken", 6);
    json_t *snapshots = data_of(ask("GET", STORE_PATH "snapshots", "backup-id=two"));
    const json_t *s = json_array_get(snapshots, 0);
    assert_int_equal(json_array_size(json_object_get(s, "files")), 3);
    assert_null(json_object_get(s, "size"));
    json_decref(snapshots);
    assert_status(ask("GET", STORE_PATH "files", "backup-type=host&backup-id=two&backup-time=1700000000"), 400);
    put(path, whole.data, whole.size);
    buffer_deinit(&whole);
}

/* Whatever lies around in the directory: only names of the protocol come out, and no link is followed. */
static void test_foreign_names_are_not_listed(void **state)
{
    (void)state;
    assert_int_equal(mkdir(at("store/host/.hidden"), 0755), 0);
    assert_int_equal(mkdir(at("store/host/-dash"), 0755), 0);
    assert_int_equal(mkdir(at("store/host/w\xc3\xbc"), 0755), 0);
    assert_int_equal(symlink("one", at("store/host/link")), 0);
    assert_int_equal(symlink("/etc/passwd", at("store/host/two/" T1_NAME "/link.blob")), 0);
    json_t *groups = data_of(ask("GET", STORE_PATH "groups", ""));
    assert_int_equal(json_array_size(groups), 2);
    json_decref(groups);
    json_t *files = data_of(ask("GET", STORE_PATH "files", "backup-type=host&backup-id=two&backup-time=1700000000"));
    assert_null(element_with(files, "filename", "link.blob"));
    json_decref(files);
    assert_status(
        ask("GET", STORE_PATH "download", "backup-type=host&backup-id=two&backup-time=1700000000&file-name=link.blob"),
        400);
    assert_int_equal(unlink(at("store/host/two/" T1_NAME "/link.blob")), 0);
    assert_int_equal(unlink(at("store/host/link")), 0);
    assert_int_equal(rmdir(at("store/host/.hidden")), 0);
    assert_int_equal(rmdir(at("store/host/-dash")), 0);
    assert_int_equal(rmdir(at("store/host/w\xc3\xbc")), 0);
}

/* ---- who may ---- */

#define SNAPSHOT_TWO "backup-type=host&backup-id=two&backup-time=1700000000"
#define FILE_PATH_ROOT "&archive-name=root.mpxar.didx&filepath=Lw%3D%3D"

/* Group two is bench@pbs!ci's: bench@pbs may use it, bench@pbs!other may not (protocol.md 6.3). Statuses of audit,
 * reader, bench (the owner), bench_user, other_token, nobody. */
static void test_privileges_and_the_owner_rule(void **state)
{
    (void)state;
    static const struct caller *const callers[] = {&audit, &reader, &bench, &bench_user, &other_token, &nobody};
    static const struct {
        const char *method, *path, *query;
        int statuses[6];
    } cases[] = {
        {"GET", "version", "", {200, 200, 200, 200, 200, 200}},
        {"GET", STORE_PATH "status", "", {200, 403, 200, 200, 200, 403}},
        {"GET", STORE_PATH "groups", "", {200, 403, 200, 200, 200, 403}},
        {"GET", STORE_PATH "snapshots", "", {200, 403, 200, 200, 200, 403}},
        {"GET", STORE_PATH "files", SNAPSHOT_TWO, {200, 200, 200, 200, 400, 403}},
        {"GET", STORE_PATH "namespace", "", {200, 200, 200, 200, 200, 403}},
        {"GET", STORE_PATH "download", SNAPSHOT_TWO "&file-name=root.mpxar.didx", {403, 200, 200, 200, 400, 403}},
        {"GET",
         STORE_PATH "download-decoded",
         SNAPSHOT_TWO "&file-name=root.mpxar.didx",
         {403, 200, 200, 200, 400, 403}},
        {"GET", STORE_PATH "catalog", SNAPSHOT_TWO FILE_PATH_ROOT, {403, 200, 200, 200, 400, 403}},
        {"GET", STORE_PATH "pxar-file-download", SNAPSHOT_TWO FILE_PATH_ROOT, {403, 200, 200, 200, 400, 403}},
        {"POST", STORE_PATH "upload-backup-log", SNAPSHOT_TWO, {403, 403, 400, 400, 400, 403}},
        {"POST", STORE_PATH "namespace", "name=x", {403, 403, 403, 403, 403, 403}},
        {"DELETE", STORE_PATH "namespace", "ns=x", {403, 403, 403, 403, 403, 403}},
        /* A missing one, so that it is not gone for the next: 400 is what who may remove it gets. */
        {"DELETE",
         STORE_PATH "snapshots",
         "backup-type=host&backup-id=two&backup-time=5",
         {403, 403, 400, 400, 400, 403}},
        {"GET", STORE_PATH "gc", "", {200, 403, 403, 403, 403, 403}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < 6; k++) {
            struct rest_answer answer = ask_by(callers[k], cases[i].method, cases[i].path, cases[i].query);
            if (answer.status != cases[i].statuses[k])
                print_error("%s %s as %s\n", cases[i].method, cases[i].path, callers[k]->auth_id);
            assert_status(answer, cases[i].statuses[k]);
        }
    assert_error(ask_by(&other_token, "GET", STORE_PATH "files", SNAPSHOT_TWO), 400, "owner");
    assert_error(ask_by(&nobody, "GET", STORE_PATH "files", SNAPSHOT_TWO), 403, "permission");
}

static void test_who_may_only_back_up_sees_its_own_groups(void **state)
{
    (void)state;
    static const struct {
        const struct caller *caller;
        size_t groups, snapshots;
    } cases[] = {{&audit, 2, 3}, {&bench, 1, 1}, {&bench_user, 1, 1}, {&other_token, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *groups = data_of(ask_by(cases[i].caller, "GET", STORE_PATH "groups", ""));
        json_t *snapshots = data_of(ask_by(cases[i].caller, "GET", STORE_PATH "snapshots", ""));
        assert_int_equal(json_array_size(groups), cases[i].groups);
        assert_int_equal(json_array_size(snapshots), cases[i].snapshots);
        json_decref(groups);
        json_decref(snapshots);
    }
}

static void test_a_group_without_owner_is_nobodys(void **state)
{
    (void)state;
    put("store/host/two/owner", "\n", 1);
    assert_error(ask_by(&bench, "GET", STORE_PATH "files", SNAPSHOT_TWO), 400, "owner");
    json_t *groups = data_of(ask_by(&bench, "GET", STORE_PATH "groups", ""));
    assert_int_equal(json_array_size(groups), 0);
    json_decref(groups);
    groups = data_of(ask_by(&audit, "GET", STORE_PATH "groups", ""));
    assert_int_equal(json_array_size(groups), 2);
    assert_null(json_object_get(element_with(groups, "backup-id", "two"), "owner"));
    json_decref(groups);
    put("store/host/two/owner", "bench@pbs!ci\n", 13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_and_ping),
        cmocka_unit_test(test_other_paths_and_methods_are_404),
        cmocka_unit_test(test_a_datastore_is_one_that_there_is),
        cmocka_unit_test(test_bodies_have_the_length_that_their_call_needs),
        cmocka_unit_test(test_no_garbage_is_collected_and_no_task_runs),
        cmocka_unit_test(test_parameters_follow_the_schema),
        cmocka_unit_test(test_a_json_type_means_that_the_query_is_ignored),
        cmocka_unit_test(test_errors_are_bare_text),
        cmocka_unit_test(test_groups_count_unfinished_snapshots),
        cmocka_unit_test(test_files_of_the_manifest_and_others),
        cmocka_unit_test(test_snapshots_with_what_is_known_of_them),
        cmocka_unit_test(test_notes_key_and_verification_come_from_the_manifest),
        cmocka_unit_test(test_a_broken_manifest_leaves_its_snapshot_in_the_list),
        cmocka_unit_test(test_foreign_names_are_not_listed),
        cmocka_unit_test(test_privileges_and_the_owner_rule),
        cmocka_unit_test(test_who_may_only_back_up_sees_its_own_groups),
        cmocka_unit_test(test_a_group_without_owner_is_nobodys),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
