#include "testing/testing.h"

#include "pxar/dump.h"
#include "pxar/examples_for_test.h"
#include "pxar/json_text.h"
#include "pxar/tree_text.h"

#define A_SHA256 "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const char *text_of(struct buffer *b)
{
    assert_int_equal(buffer_append_u8(b, 0, NULL), OK);
    return (const char *)b->data;
}

static const char *dump(const struct buffer *metadata, const struct buffer *payload, struct buffer *out,
                        enum status expected)
{
    struct memory_source m = {.data = metadata->data, .size = metadata->size};
    struct memory_source p = {0};
    if (payload)
        p = (struct memory_source){.data = payload->data, .size = payload->size};
    struct source payload_source = source_over_memory(&p, "p");
    struct error err = {0};
    assert_int_equal(
        dump_archive(source_over_memory(&m, "m"), payload ? &payload_source : NULL, sink_to_buffer(out), &err),
        expected);
    assert_int_equal(err.status, expected);
    return text_of(out);
}

static void test_dump_of_the_specified_example(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer metadata = bytes_of_hex(EXAMPLE_FILES_METADATA);
    CLEANUP(buffer_deinit) struct buffer payload = bytes_of_hex(EXAMPLE_FILES_PAYLOAD);
    CLEANUP(buffer_deinit) struct buffer out = {0}, lone = {0}, cut = {0};
#define START                                                                                                          \
    "{\"kind\":\"version\",\"version\":2}\n"                                                                           \
    "{\"data_b64\":\"eyJleGNsdWRlLXBhdHRlcm5zIjoiKi5vXG4ifQ==\",\"kind\":\"prelude\"}\n"                               \
    "{\"entry_offset\":68,\"flags\":0,\"gid\":0,\"kind\":\"dir\",\"mode\":\"0040755\",\"mtime\":[1700000000,0],"       \
    "\"path\":\"/\",\"uid\":0}\n"                                                                                      \
    "{\"entry_offset\":142,\"filename_offset\":124,\"flags\":0,\"gid\":1000,\"kind\":\"file\",\"mode\":\"0100644\","   \
    "\"mtime\":[1700000001,5],\"path\":\"/a\",\"payload_offset\":16,"
    assert_string_equal(dump(&metadata, &payload, &out, OK),
                        START "\"sha256\":\"" A_SHA256 "\",\"size\":6,\"uid\":1000}\n"
                              "{\"filename_offset\":230,\"kind\":\"hardlink\",\"link_offset\":106,\"path\":\"/h\","
                              "\"target\":\"a\"}\n"
                              "{\"entry_offset\":292,\"filename_offset\":274,\"flags\":0,\"gid\":0,\"kind\":"
                              "\"symlink\",\"mode\":\"0120777\",\"mtime\":[1700000001,5],\"path\":\"/l\",\"target\":"
                              "\"a\",\"uid\":0}\n"
                              "{\"entry_offset\":384,\"filename_offset\":366,\"flags\":0,\"gid\":0,\"kind\":\"file\","
                              "\"mode\":\"0100600\",\"mtime\":[1700000001,5],\"path\":\"/z\",\"payload_offset\":38,"
                              "\"sha256\":\"" EMPTY_SHA256 "\",\"size\":0,\"uid\":0}\n");
    const char *without = dump(&metadata, NULL, &lone, OK);
    assert_memory_equal(without, START "\"size\":6", strlen(START "\"size\":6"));
    assert_null(strstr(without, "sha256"));
    /* What came before the damage is shown. */
    metadata.size = EXAMPLE_H_AT + 3;
    assert_string_equal(dump(&metadata, NULL, &cut, ERR_FORMAT), START "\"size\":6,\"uid\":1000}\n");
}

static void test_dump_of_a_unified_archive(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer archive = bytes_of_hex(EXAMPLE_FILE_UNIFIED);
    CLEANUP(buffer_deinit) struct buffer out = {0}, listed = {0};
    assert_string_equal(dump(&archive, NULL, &out, OK),
                        "{\"entry_offset\":0,\"flags\":0,\"gid\":0,\"kind\":\"dir\",\"mode\":\"0040755\",\"mtime\":"
                        "[1700000000,0],\"path\":\"/\",\"uid\":0}\n"
                        "{\"entry_offset\":74,\"filename_offset\":56,\"flags\":0,\"gid\":1000,\"kind\":\"file\","
                        "\"mode\":\"0100644\",\"mtime\":[1700000001,5],\"path\":\"/f\",\"sha256\":"
                        "\"98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4\",\"size\":3,"
                        "\"uid\":1000}\n");
    struct memory_source m = {.data = archive.data, .size = archive.size};
    assert_int_equal(list_archive(source_over_memory(&m, "m"), sink_to_buffer(&listed), NULL), OK);
    assert_string_equal(text_of(&listed), "/\n/f\n");
}

static void make_odd_tree(struct buffer *metadata, struct buffer *payload)
{
    static const char json[] =
        "{\"schema\": \"pxar-vector-tree/1\", \"root\": {\"mode\": \"0755\", \"uid\": 0, \"gid\": 0, \"mtime\": [-9, "
        "8], \"quota_project_id\": 18446744073709551615, \"xattrs\": [{\"name_b64\": \"dXNlci7/\", \"value_b64\": "
        "\"AA==\"}], \"entries\": ["
        "{\"name\": \"tab\\t\\\"quote\\\" \\u00e4\\u007f\\u0001\", \"type\": \"fifo\", \"mode\": \"7777\", \"uid\": 0, "
        "\"gid\": 0, \"mtime\": [0, 0], \"acl\": {\"default\": {\"user_obj\": 7, \"group_obj\": null, \"other\": 0, "
        "\"mask\": null}, \"group_obj\": 5}, \"fcaps_b64\": \"AQ==\"},"
        "{\"name_b64\": \"wK8=\", \"type\": \"symlink\", \"mode\": \"0777\", \"uid\": 0, \"gid\": 0, \"mtime\": [0, "
        "0], "
        "\"target_b64\": \"7aCA\"}]}}";
    struct error err = {0};
    assert_int_equal(
        tree_text_encode(json, strlen(json), "odd", sink_to_buffer(metadata), sink_to_buffer(payload), &err), OK);
}

static void test_odd_bytes_and_wide_numbers(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer metadata = {0}, payload = {0}, out = {0};
    make_odd_tree(&metadata, &payload);
    const char *text = dump(&metadata, &payload, &out, OK);
    assert_non_null(strstr(text, "\"mtime\":[-9,8],\"path\":\"/\",\"quota_project_id\":18446744073709551615,\"uid\":0,"
                                 "\"xattrs\":[{\"name_b64\":\"dXNlci7/\",\"value_b64\":\"AA==\"}]}"));
    assert_non_null(strstr(text, "\"path\":\"/tab\\t\\\"quote\\\" \xc3\xa4\x7f\\u0001\""));
    assert_non_null(strstr(text, "\"mode\":\"0017777\""));
    assert_non_null(strstr(text, "{\"acl\":{\"default\":{\"group_obj\":null,\"mask\":null,\"other\":0,\"user_obj\":7},"
                                 "\"group_obj\":5},\"entry_offset\""));
    assert_non_null(strstr(text, "\"fcaps_b64\":\"AQ==\""));
    assert_non_null(strstr(text, "\"path_b64\":\"L8Cv\",\"target_b64\":\"7aCA\""));
}

static void test_list_keeps_one_line_per_path(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer metadata = {0}, payload = {0}, out = {0};
    make_odd_tree(&metadata, &payload);
    struct memory_source m = {.data = metadata.data, .size = metadata.size};
    assert_int_equal(list_archive(source_over_memory(&m, "m"), sink_to_buffer(&out), NULL), OK);
    assert_string_equal(text_of(&out), "/\n/tab\\x09\"quote\" \xc3\xa4\\x7f\\x01\n/\\xc0\\xaf\n");
    metadata.size--;
    struct memory_source cut = {.data = metadata.data, .size = metadata.size};
    buffer_clear(&out);
    assert_int_equal(list_archive(source_over_memory(&cut, "m"), sink_to_buffer(&out), NULL), ERR_FORMAT);
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        bool valid;
    } cases[] = {
        {"", true},
        {"plain", true},
        {"\xc3\xa4", true},
        {"\xe2\x82\xac", true},
        {"\xf0\x9f\x98\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\xed\x9f\xbf", true},
        {"\xee\x80\x80", true},
        {"\x80", false},
        {"\xc3", false},
        {"\xc3x", false},
        {"\xc0\xaf", false}, /* overlong */
        {"\xc1\xbf", false},
        {"\xe0\x9f\xbf", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\xed\xa0\x80", false},     /* surrogate */
        {"\xf4\x90\x80\x80", false}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", false},
        {"\xe2\x82", false},
        {"\xe2\x82x", false},
        {"\xff", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(utf8_valid(cases[i].bytes, strlen(cases[i].bytes)), cases[i].valid);
}

static void test_base64(void **state)
{
    (void)state;
    for (size_t size = 0; size < 100; size++) {
        uint8_t *data = make_lcg(size, size);
        CLEANUP(buffer_deinit) struct buffer text = {0}, back = {0};
        assert_int_equal(base64_append(&text, data, size, NULL), OK);
        assert_int_equal(text.size, (size + 2) / 3 * 4);
        assert_int_equal(base64_decode_append(&back, (const char *)text.data, text.size, NULL), OK);
        assert_int_equal(back.size, size);
        if (size > 0)
            assert_memory_equal(back.data, data, size);
        free(data);
    }
    static const char *const bad[] = {"A",    "AA",       "AAA",  "AA=",   "A===", "=AAA",
                                      "AA=A", "AAAA====", " AAA", "AAA\n", "AA-_"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CLEANUP(buffer_deinit) struct buffer out = {0};
        assert_int_equal(base64_decode_append(&out, bad[i], strlen(bad[i]), NULL), ERR_FORMAT);
    }
}

static void test_wide_integers(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        bool parses, number;
        uint64_t value;
    } cases[] = {
        {"[0]", true, true, 0},
        {"[9223372036854775807]", true, true, INT64_MAX},
        {"[9223372036854775808]", true, true, (uint64_t)INT64_MAX + 1},
        {"[18446744073709551615]", true, true, UINT64_MAX},
        {"[18446744073709551616]", false, false, 0},
        {"[99999999999999999999]", false, false, 0},
        {"[-9223372036854775808]", true, false, 0},
        {"[-9223372036854775809]", false, false, 0},
        {"[1.0]", true, false, 0},
        {"[\"18446744073709551615\"]", true, false, 0},
        {"[\"a\\\"18446744073709551615\"]", true, false, 0},
        {"[null]", true, false, 0},
        {"[18446744073709551615", false, false, 0},
        {"[\"\\", false, false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *list = NULL;
        uint64_t value = 0;
        enum status status = json_parse_wide(cases[i].json, strlen(cases[i].json), "x", &list, NULL);
        assert_int_equal(status, cases[i].parses ? OK : ERR_FORMAT);
        if (status == OK)
            assert_int_equal(json_u64(json_array_get(list, 0), &value), cases[i].number);
        if (cases[i].number)
            assert_true(value == cases[i].value);
        json_decref(list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dump_of_the_specified_example),
        cmocka_unit_test(test_dump_of_a_unified_archive),
        cmocka_unit_test(test_odd_bytes_and_wide_numbers),
        cmocka_unit_test(test_list_keeps_one_line_per_path),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_wide_integers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
