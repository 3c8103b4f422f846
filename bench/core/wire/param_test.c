#include "testing/testing.h"

#include "wire/names.h"
#include "wire/param.h"

#include <string.h>

#define FORM "application/x-www-form-urlencoded"
#define JSON "application/json"

static const struct param_rule rules[] = {
    {.name = "wid", .type = PARAM_INTEGER, .min = 1, .max = 256},
    {.name = "archive-name", .type = PARAM_TEXT, .check = name_is_archive, .what = "a file name", .optional = true},
    {.name = "debug", .type = PARAM_BOOLEAN, .optional = true},
    {.name = "digest-list", .type = PARAM_TEXT_LIST, .optional = true},
    {.name = "offset-list", .type = PARAM_INTEGER_LIST, .min = 0, .max = INT64_MAX, .optional = true},
    {.name = "any", .type = PARAM_INTEGER, .optional = true},
};

static struct param_set set;
static struct error err;

static enum status parse_bytes(enum param_source source, const char *query, const char *type, const char *body,
                               size_t body_size)
{
    param_clear(&set);
    const struct param_input input = {
        .source = source,
        .query = query,
        .query_size = query ? strlen(query) : 0,
        .content_type = type,
        .body = body,
        .body_size = body_size,
        .body_size_max = 200,
    };
    err.text[0] = '\0';
    return param_parse(rules, sizeof rules / sizeof *rules, &input, &set, &err);
}

static enum status parse(const char *query, const char *type, const char *body)
{
    return parse_bytes(PARAM_FROM_ANYWHERE, query, type, body, body ? strlen(body) : 0);
}

static int64_t integer(const char *name)
{
    assert_true(param_get(&set, name)->present);
    return param_get(&set, name)->integer;
}

static void assert_refused(const char *query, const char *type, const char *body, const char *word)
{
    if (parse(query, type, body) != ERR_USAGE || !strstr(err.text, word)) {
        print_error("query '%s' type '%s' body '%s': '%s' instead of '%s'\n", query ? query : "", type ? type : "",
                    body ? body : "", err.text, word);
        assert_true(false);
    }
}

static void test_takes_query_and_form_body_together(void **state)
{
    (void)state;
    assert_int_equal(parse("wid=3", NULL, "debug=1"), OK);
    assert_int_equal(integer("wid"), 3);
    assert_true(param_get(&set, "debug")->boolean);
    assert_int_equal(parse("debug=off", FORM ";charset=UTF-8", "wid=4"), OK);
    assert_int_equal(integer("wid"), 4);
    assert_true(param_get(&set, "debug")->present);
    assert_false(param_get(&set, "debug")->boolean);
    assert_false(param_get(&set, "any")->present);
    assert_refused("wid=3", FORM, "wid=3", "twice");
}

static void test_json_alone_counts_when_it_is_json(void **state)
{
    (void)state;
    assert_int_equal(parse("wid=3&nonsense=1", JSON, "{\"wid\":5}"), OK);
    assert_int_equal(integer("wid"), 5);
    assert_int_equal(parse(NULL, "Application/JSON; charset=utf-8", "{\"wid\":5}"), OK);
    assert_refused("wid=3", JSON, "", "missing");
    assert_refused("wid=3", JSON, "{}", "missing");
    assert_refused(NULL, JSON, "{\"wid\":\"5\"}", "not an integer");
    assert_refused(NULL, JSON, "{\"wid\":5.0}", "not an integer");
    assert_refused(NULL, JSON, "{\"wid\":5,\"debug\":1}", "neither true nor false");
    assert_refused(NULL, JSON, "{\"wid\":5,\"archive-name\":7}", "not a string");
    assert_refused(NULL, JSON, "{\"wid\":5,\"archive-name\":null}", "not a string");
    assert_refused(NULL, JSON, "{\"wid\":5,\"digest-list\":\"a\"}", "not a list");
    assert_refused(NULL, JSON, "{\"wid\":5,\"digest-list\":[1]}", "not a string");
    assert_refused(NULL, JSON, "{\"wid\":5,\"offset-list\":[\"1\"]}", "not an integer");
    assert_refused(NULL, JSON, "[1]", "not a JSON object");
    assert_refused(NULL, JSON, "{\"wid\":5", "not JSON");
    assert_refused(NULL, JSON, "wid=5", "not JSON");
    assert_refused(NULL, JSON, "{\"wid\":5,\"_dc\":1}", "unknown");
    assert_refused(NULL, JSON, "{\"wid\":99999999999999999999}", "not JSON");
    /* A key given twice in one object is no error. */
    assert_int_equal(parse(NULL, JSON, "{\"wid\":5,\"wid\":6}"), OK);
}

static void test_other_content_types_are_refused(void **state)
{
    (void)state;
    assert_refused("wid=3", "text/plain", "", "not supported");
    assert_refused("wid=3", "application/jsonp", "", "not supported");
    assert_refused("wid=3", "", "", "not supported");
}

static void test_raw_calls_look_only_at_the_query(void **state)
{
    (void)state;
    assert_int_equal(parse_bytes(PARAM_FROM_QUERY_ONLY, "wid=7", JSON, "\0\1garbage", 9), OK);
    assert_int_equal(integer("wid"), 7);
    assert_int_equal(parse_bytes(PARAM_FROM_QUERY_ONLY, "", JSON, "{\"wid\":7}", 9), ERR_USAGE);
}

static void test_unknown_duplicate_and_missing_parameters_are_refused(void **state)
{
    (void)state;
    assert_refused("wid=1&x=1", NULL, NULL, "unknown parameter 'x'");
    assert_refused("wid=1&wid=1", NULL, NULL, "twice");
    assert_refused("debug=1", NULL, NULL, "'wid' is missing");
    assert_refused("wid=1&wi=2", NULL, NULL, "unknown");
    assert_refused("wid=1&=2", NULL, NULL, "unknown");
    assert_refused("wid=1&wid%00=2", NULL, NULL, "unknown");
}

static void test_dc_is_ignored_in_queries_only(void **state)
{
    (void)state;
    assert_int_equal(parse("_dc=17&wid=1&_dc=18", NULL, NULL), OK);
    assert_refused("wid=1", FORM, "_dc=17", "unknown");
}

static void test_integers_have_a_sign_digits_and_a_range(void **state)
{
    (void)state;
    assert_int_equal(parse("wid=%2B256&any=-9223372036854775808", NULL, NULL), OK);
    assert_int_equal(integer("wid"), 256);
    assert_true(integer("any") == INT64_MIN);
    assert_int_equal(parse("wid=01&any=9223372036854775807", NULL, NULL), OK);
    assert_true(integer("any") == INT64_MAX);
    assert_refused("wid=0", NULL, NULL, "between");
    assert_refused("wid=257", NULL, NULL, "between");
    assert_refused("wid=", NULL, NULL, "not an integer");
    assert_refused("wid=-", NULL, NULL, "not an integer");
    assert_refused("wid=1x", NULL, NULL, "not an integer");
    assert_refused("wid=+1", NULL, NULL, "not an integer"); /* the plus is a space */
    assert_refused("wid=0x1", NULL, NULL, "not an integer");
    assert_refused("wid=1&any=9223372036854775808", NULL, NULL, "not an integer");
    assert_refused("wid=1&any=-9223372036854775809", NULL, NULL, "not an integer");
}

static void test_booleans_have_eight_words(void **state)
{
    (void)state;
    static const char *const yes[] = {"wid=1&debug=1", "wid=1&debug=on", "wid=1&debug=YES", "wid=1&debug=True"};
    static const char *const no[] = {"wid=1&debug=0", "wid=1&debug=OFF", "wid=1&debug=no", "wid=1&debug=false"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(parse(yes[i], NULL, NULL), OK);
        assert_true(param_get(&set, "debug")->boolean);
        assert_int_equal(parse(no[i], NULL, NULL), OK);
        assert_false(param_get(&set, "debug")->boolean);
    }
    assert_refused("wid=1&debug=", NULL, NULL, "neither");
    assert_refused("wid=1&debug=2", NULL, NULL, "neither");
    assert_refused("wid=1&debug=1%00", NULL, NULL, "neither");
}

static void test_texts_are_checked_after_decoding(void **state)
{
    (void)state;
    assert_int_equal(parse("wid=1&archive-name=root%2Epxar.didx", NULL, NULL), OK);
    assert_string_equal(param_get(&set, "archive-name")->text.data, "root.pxar.didx");
    assert_int_equal(param_get(&set, "archive-name")->text.size, 14);
    static const char *const bad[] = {
        "..%2Fx.didx", "a%2Fb.didx", "../x.didx", ".x.didx", "-x.didx", "", "x.didx%00", "%00", "a%252fb.did", "%2e%2e",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char query[100] = "wid=1&archive-name=";
        assert_refused(strncat(query, bad[i], 50), NULL, NULL, "not a file name");
    }
    assert_refused(NULL, JSON, "{\"wid\":1,\"archive-name\":\"../x.didx\"}", "not a file name");
    assert_refused(NULL, JSON, "{\"wid\":1,\"archive-name\":\"a\\u0000.didx\"}", "JSON");
}

static void test_no_text_holds_a_nul(void **state)
{
    (void)state;
    assert_int_equal(parse("wid=1&digest-list=a%20b", NULL, NULL), OK);
    assert_refused("wid=1&digest-list=a%00b", NULL, NULL, "not a text");
}

static void test_lists_are_repeated_keys_or_arrays(void **state)
{
    (void)state;
    assert_int_equal(parse("wid=1&digest-list=a&offset-list=0&digest-list=b", FORM, "digest-list=c&offset-list=18"),
                     OK);
    const struct param_value *digests = param_get(&set, "digest-list");
    assert_int_equal(digests->count, 3);
    assert_string_equal(digests->texts[2].data, "c");
    assert_int_equal(param_get(&set, "offset-list")->integers[1], 18);
    assert_int_equal(parse(NULL, JSON, "{\"digest-list\":[\"a\",\"b\"],\"offset-list\":[0,18],\"wid\":2}"), OK);
    assert_int_equal(param_get(&set, "digest-list")->count, 2);
    assert_string_equal(param_get(&set, "digest-list")->texts[1].data, "b");
    assert_int_equal(param_get(&set, "offset-list")->integers[1], 18);
    assert_int_equal(parse(NULL, JSON, "{\"digest-list\":[],\"wid\":2}"), OK);
    assert_true(param_get(&set, "digest-list")->present);
    assert_int_equal(param_get(&set, "digest-list")->count, 0);
    assert_refused(NULL, JSON, "{\"offset-list\":[-1],\"wid\":2}", "between");
}

static void test_bodies_are_bounded(void **state)
{
    (void)state;
    char body[202];
    memset(body, ' ', sizeof body);
    memcpy(body, "{\"wid\":1}", 9);
    assert_int_equal(parse_bytes(PARAM_FROM_ANYWHERE, NULL, JSON, body, 200), OK);
    assert_int_equal(parse_bytes(PARAM_FROM_ANYWHERE, NULL, JSON, body, 201), ERR_USAGE);
    assert_non_null(strstr(err.text, "at most 200"));
}

/* Each would take a hundred times its three bytes. */
static void test_json_of_too_many_values_is_not_parsed(void **state)
{
    (void)state;
    struct buffer body = BUFFER_INIT(1 << 19);
    for (int count = 30000; count <= 40000; count += 10000) {
        buffer_clear(&body);
        assert_int_equal(buffer_append(&body, "{\"wid\":1,\"offset-list\":[", 24, NULL), OK);
        for (int i = 0; i < count; i++)
            assert_int_equal(buffer_append(&body, "{},", 3, NULL), OK);
        assert_int_equal(buffer_append(&body, "1]}", 3, NULL), OK);
        const struct param_input input = {
            .content_type = JSON, .body = body.data, .body_size = body.size, .body_size_max = 1 << 19};
        param_clear(&set);
        assert_int_equal(param_parse(rules, sizeof rules / sizeof *rules, &input, &set, &err), ERR_USAGE);
        assert_non_null(strstr(err.text, count == 30000 ? "not an integer" : "more than 65536 values"));
    }
    buffer_deinit(&body);
}

static bool is_abc(const char *text, size_t size)
{
    return size == 3 && memcmp(text, "abc", 3) == 0;
}

static void test_secrets_are_not_quoted(void **state)
{
    (void)state;
    static const struct param_rule login_rules[] = {
        {.name = "username", .type = PARAM_TEXT},
        {.name = "password", .type = PARAM_TEXT, .check = is_abc, .what = "a password", .is_secret = true},
    };
    static const struct {
        const char *type, *body;
    } cases[] = {
        {FORM, "username=x&password=s3cr3t"},
        {FORM, "username=x&password=s3cr3t%00"},
        {FORM, "username=x&s3cr3t"},
        {JSON, "{\"password\":\"s3cr3t\"}"},
        {JSON, "{\"s3cr3t\":1}"},
        {JSON, "{\"password\":s3cr3t}"},
        {JSON, "{\"password\":\"s3cr3t"},
        {FORM, "password=abc&password=s3cr3t"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct param_input input = {
            .content_type = cases[i].type,
            .body = cases[i].body,
            .body_size = strlen(cases[i].body),
            .body_size_max = 200,
        };
        struct param_set login;
        assert_int_equal(param_parse(login_rules, 2, &input, &login, &err), ERR_USAGE);
        assert_null(strstr(err.text, "s3"));
    }
}

static int clear(void **state)
{
    (void)state;
    param_clear(&set);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_query_and_form_body_together),
        cmocka_unit_test(test_json_alone_counts_when_it_is_json),
        cmocka_unit_test(test_other_content_types_are_refused),
        cmocka_unit_test(test_raw_calls_look_only_at_the_query),
        cmocka_unit_test(test_unknown_duplicate_and_missing_parameters_are_refused),
        cmocka_unit_test(test_dc_is_ignored_in_queries_only),
        cmocka_unit_test(test_integers_have_a_sign_digits_and_a_range),
        cmocka_unit_test(test_booleans_have_eight_words),
        cmocka_unit_test(test_texts_are_checked_after_decoding),
        cmocka_unit_test(test_no_text_holds_a_nul),
        cmocka_unit_test(test_lists_are_repeated_keys_or_arrays),
        cmocka_unit_test(test_bodies_are_bounded),
        cmocka_unit_test(test_json_of_too_many_values_is_not_parsed),
        cmocka_unit_test(test_secrets_are_not_quoted),
    };
    return cmocka_run_group_tests(tests, NULL, clear);
}
