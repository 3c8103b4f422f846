#include "testing/testing.h"

#include "wire/call.h"
#include "wire/call_rules.h"
#include "wire/target.h"

#include <string.h>

static struct error err;
static struct param_set set;

#define DIGEST "c022bb7a50a05eb51491558bed34f9628c14f701a1c9d4ead1de10a04aa67f66"

static enum status parse(const struct call_rules *rules, const char *query, const char *json)
{
    assert_non_null(rules);
    const struct param_input input = {
        .source = rules->source,
        .query = query,
        .query_size = strlen(query),
        .content_type = json ? "application/json" : NULL,
        .body = json,
        .body_size = json ? strlen(json) : 0,
        .body_size_max = 65535,
    };
    param_clear(&set);
    return param_parse(rules->rules, rules->rule_count, &input, &set, &err);
}

static int done(void **state)
{
    (void)state;
    param_clear(&set);
    return 0;
}

static void test_calls_are_found_by_method_and_name(void **state)
{
    (void)state;
    assert_int_equal(call_rules_find(SESSION_BACKUP, "POST", "dynamic_index")->id, CALL_ID_DYNAMIC_INDEX);
    assert_int_equal(call_rules_find(SESSION_BACKUP, "PUT", "dynamic_index")->id, CALL_ID_DYNAMIC_APPEND);
    assert_int_equal(call_rules_find(SESSION_BACKUP, "GET", "")->id, CALL_ID_LIST);
    assert_int_equal(call_rules_find(SESSION_READER, "GET", "chunk")->id, CALL_ID_READ_CHUNK);
    assert_null(call_rules_find(SESSION_BACKUP, "GET", "dynamic_index"));
    assert_null(call_rules_find(SESSION_BACKUP, "GET", "chunk"));
    assert_null(call_rules_find(SESSION_READER, "POST", "finish"));
    assert_null(call_rules_find(SESSION_READER, "POST", "speedtest"));
    assert_null(call_rules_find(SESSION_BACKUP, "get", "previous"));
    assert_null(call_rules_find(SESSION_BACKUP, "POST", "Finish"));
    size_t count = 0;
    for (const struct call_rules *rules; (rules = call_rules_at(SESSION_BACKUP, count)); count++) {
        assert_int_equal(rules->id, count);
        assert_ptr_equal(call_rules_find(SESSION_BACKUP, rules->method, rules->name), rules);
    }
    assert_int_equal(count, CALL_ID_SPEEDTEST + 1);
}

/* What the client writes, the server's tables take. */
static void test_the_clients_calls_are_accepted(void **state)
{
    (void)state;
    static const uint8_t digest[CALL_DIGEST_SIZE] = {0xab, 0xcd};
    struct buffer path[8];
    static const char *const methods[8] = {"GET", "POST", "POST", "POST", "POST", "POST", "POST", "POST"};
    enum status status[8];
    for (int i = 0; i < 8; i++)
        path[i] = BUFFER_INIT(8192);
    status[0] = call_previous(&path[0], "index.json.blob", &err);
    status[1] = call_create(&path[1], CALL_DYNAMIC, "root.mpxar.didx", 0, &err);
    status[2] = call_create(&path[2], CALL_FIXED, "disk.img.fidx", 1, &err);
    status[3] = call_chunk(&path[3], CALL_DYNAMIC, 256, digest, 16777216, 16777260, &err);
    status[4] = call_chunk(&path[4], CALL_FIXED, 1, digest, 4194304, 13, &err);
    status[5] = call_close(&path[5], CALL_DYNAMIC, 2, 1, 1, digest, &err);
    status[6] = call_close(&path[6], CALL_FIXED, 2, 0, 0, digest, &err);
    status[7] = call_blob(&path[7], "index.json.blob", 12, &err);
    for (int i = 0; i < 8; i++) {
        struct target target;
        assert_int_equal(status[i], OK);
        assert_int_equal(target_parse((const char *)path[i].data, &target, &err), OK);
        assert_int_equal(target.count, 1);
        assert_int_equal(parse(call_rules_find(SESSION_BACKUP, methods[i], target.components[0]), target.query, NULL),
                         OK);
        target_deinit(&target);
        buffer_deinit(&path[i]);
    }
    assert_int_equal(parse(call_rules_find(SESSION_READER, "GET", "download"), "file-name=root.ppxar.didx", NULL), OK);
    assert_int_equal(parse(call_rules_find(SESSION_READER, "GET", "chunk"), "digest=" DIGEST, NULL), OK);
    assert_int_equal(parse(call_rules_find(SESSION_BACKUP, "PUT", "dynamic_index"), "",
                           "{\"digest-list\":[\"" DIGEST "\"],\"offset-list\":[0],\"wid\":1}"),
                     OK);
    assert_int_equal(parse(call_rules_find(SESSION_BACKUP, "POST", "finish"), "", NULL), OK);
}

static void test_every_schema_violation_is_refused(void **state)
{
    (void)state;
    static const struct {
        enum session_kind kind;
        const char *method, *name, *query, *json;
    } rows[] = {
        {SESSION_BACKUP, "POST", "dynamic_index", "", NULL},
        {SESSION_BACKUP, "POST", "dynamic_index", "archive-name=x.fidx", NULL},
        {SESSION_BACKUP, "POST", "dynamic_index", "archive-name=x.blob", NULL},
        {SESSION_BACKUP, "POST", "dynamic_index", "archive-name=..%2Fx.didx", NULL},
        {SESSION_BACKUP, "POST", "dynamic_index", "archive-name=../x.didx", NULL},
        {SESSION_BACKUP, "POST", "dynamic_index", "archive-name=a/b.didx", NULL},
        {SESSION_BACKUP, "POST", "dynamic_index", "archive-name=.x.didx", NULL},
        {SESSION_BACKUP, "POST", "dynamic_index", "archive-name=-x.didx", NULL},
        {SESSION_BACKUP, "POST", "dynamic_index", "archive-name=", NULL},
        {SESSION_BACKUP, "POST", "dynamic_index", "archive-name=x.didx%00", NULL},
        {SESSION_BACKUP, "POST", "dynamic_index", "archive-name=x.didx&size=1", NULL},
        {SESSION_BACKUP, "POST", "dynamic_index", "archive-name=x.didx&archive-name=x.didx", NULL},
        {SESSION_BACKUP, "POST", "fixed_index", "archive-name=x.didx&size=1", NULL},
        {SESSION_BACKUP, "POST", "fixed_index", "archive-name=x.fidx", NULL},
        {SESSION_BACKUP, "POST", "fixed_index", "archive-name=x.fidx&size=0", NULL},
        {SESSION_BACKUP, "POST", "fixed_index", "archive-name=x.fidx&size=1&reuse-csum=ab", NULL},
        {SESSION_BACKUP, "GET", "previous", "archive-name=x.txt", NULL},
        {SESSION_BACKUP, "PUT", "dynamic_index", "", "{\"digest-list\":[\"ab\"],\"offset-list\":[0],\"wid\":1}"},
        {SESSION_BACKUP, "PUT", "dynamic_index", "", "{\"digest-list\":[],\"offset-list\":[-1],\"wid\":1}"},
        {SESSION_BACKUP, "PUT", "dynamic_index", "", "{\"digest-list\":[],\"offset-list\":[],\"wid\":\"1\"}"},
        {SESSION_BACKUP, "PUT", "dynamic_index", "", "{\"digest-list\":[],\"offset-list\":[],\"wid\":0}"},
        {SESSION_BACKUP, "PUT", "dynamic_index", "", "{\"digest-list\":[],\"offset-list\":[],\"wid\":257}"},
        {SESSION_BACKUP, "POST", "dynamic_chunk", "wid=1&size=1&encoded-size=13", NULL},
        {SESSION_BACKUP, "POST", "dynamic_chunk", "wid=1&size=0&encoded-size=13&digest=" DIGEST, NULL},
        {SESSION_BACKUP, "POST", "dynamic_chunk", "wid=1&size=16777217&encoded-size=13&digest=" DIGEST, NULL},
        {SESSION_BACKUP, "POST", "dynamic_chunk", "wid=1&size=1&encoded-size=12&digest=" DIGEST, NULL},
        {SESSION_BACKUP, "POST", "dynamic_chunk", "wid=1&size=1&encoded-size=16777261&digest=" DIGEST, NULL},
        {SESSION_BACKUP, "POST", "dynamic_chunk", "wid=0&size=1&encoded-size=13&digest=" DIGEST, NULL},
        {SESSION_BACKUP, "POST", "dynamic_chunk", "wid=1&size=1&encoded-size=13&digest=" DIGEST "a", NULL},
        {SESSION_BACKUP, "POST", "fixed_chunk", "wid=1&size=4194305&encoded-size=13&digest=" DIGEST, NULL},
        {SESSION_BACKUP, "POST", "dynamic_close", "wid=1&chunk-count=0&size=1&csum=" DIGEST, NULL},
        {SESSION_BACKUP, "POST", "dynamic_close", "wid=1&chunk-count=1&size=0&csum=" DIGEST, NULL},
        {SESSION_BACKUP, "POST", "dynamic_close", "wid=1&chunk-count=1&size=1&csum=x", NULL},
        {SESSION_BACKUP, "POST", "fixed_close", "wid=1&chunk-count=-1&size=0&csum=" DIGEST, NULL},
        {SESSION_BACKUP, "POST", "blob", "file-name=x.didx&encoded-size=12", NULL},
        {SESSION_BACKUP, "POST", "blob", "file-name=x.blob&encoded-size=11", NULL},
        {SESSION_BACKUP, "POST", "blob", "file-name=x.blob&encoded-size=16777261", NULL},
        {SESSION_BACKUP, "POST", "blob", "", "{\"file-name\":\"x.blob\",\"encoded-size\":12}"},
        {SESSION_BACKUP, "POST", "finish", "x=1", NULL},
        {SESSION_READER, "GET", "download", "file-name=../index.json.blob", NULL},
        {SESSION_READER, "GET", "download", "file-name=passwd", NULL},
        {SESSION_READER, "GET", "chunk", "digest=C022BB7A50A05EB51491558BED34F9628C14F701A1C9D4EAD1DE10A04AA67F66",
         NULL},
        {SESSION_READER, "GET", "chunk", "digest=..%2F", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct call_rules *rules = call_rules_find(rows[i].kind, rows[i].method, rows[i].name);
        if (parse(rules, rows[i].query, rows[i].json) != ERR_USAGE) {
            print_error("accepted: %s %s?%s %s\n", rows[i].method, rows[i].name, rows[i].query,
                        rows[i].json ? rows[i].json : "");
            assert_true(false);
        }
    }
}

static void test_upgrades(void **state)
{
    (void)state;
#define USUAL "backup-id=demo&backup-time=1700000060&backup-type=host&store=store1"
    static const char *const good[] = {USUAL, USUAL "&debug=true", USUAL "&ns=a%2Fb", USUAL "&ns="};
    static const char *const bad[] = {
        "backup-id=demo&backup-time=1700000060&backup-type=host",
        "backup-id=demo&backup-time=0&backup-type=host&store=store1",
        "backup-id=demo&backup-time=253402300800&backup-type=host&store=store1",
        "backup-id=..&backup-time=1&backup-type=host&store=store1",
        "backup-id=a%2Fb&backup-time=1&backup-type=host&store=store1",
        "backup-id=demo&backup-time=1&backup-type=pc&store=store1",
        "backup-id=demo&backup-time=1&backup-type=host&store=..%2Fx",
        "backup-id=demo&backup-time=1&backup-type=host&store=ab",
        USUAL "&ns=1/2/3/4/5/6/7/8",
        USUAL "&ns=..",
        USUAL "&debug=maybe",
        USUAL "&x=1",
    };
    for (int kind = SESSION_BACKUP; kind <= SESSION_READER; kind++) {
        const struct call_rules *rules = call_rules_upgrade((enum session_kind)kind);
        for (size_t i = 0; i < sizeof good / sizeof *good; i++)
            assert_int_equal(parse(rules, good[i], "{}"), OK);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
            assert_int_equal(parse(rules, bad[i], NULL), ERR_USAGE);
        assert_int_equal(parse(rules, USUAL "&benchmark=1", NULL), kind == SESSION_BACKUP ? OK : ERR_USAGE);
        assert_int_equal(parse(rules, USUAL "&no-cache=1", NULL), kind == SESSION_BACKUP ? OK : ERR_USAGE);
    }
    assert_string_equal(call_rules_upgrade(SESSION_READER)->name, "reader");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_are_found_by_method_and_name),
        cmocka_unit_test(test_the_clients_calls_are_accepted),
        cmocka_unit_test(test_every_schema_violation_is_refused),
        cmocka_unit_test(test_upgrades),
    };
    return cmocka_run_group_tests(tests, NULL, done);
}
