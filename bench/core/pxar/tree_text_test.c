#include "testing/testing.h"

#include "pxar/dump.h"
#include "pxar/examples_for_test.h"
#include "pxar/tree_text.h"

#include <stdio.h>

#define HEAD "{\"schema\": \"pxar-vector-tree/1\", "
#define ROOT "\"root\": {\"mode\": \"0755\", \"uid\": 0, \"gid\": 0, \"mtime\": [1700000000, 0], \"entries\": ["
#define TAIL "]}}"
#define OWNED "\"uid\": 0, \"gid\": 0, \"mtime\": [1700000001, 5]"

static enum status encode(const char *json, struct buffer *metadata, struct buffer *payload, struct error *err)
{
    return tree_text_encode(json, strlen(json), "tree.json", sink_to_buffer(metadata), sink_to_buffer(payload), err);
}

static void test_manifest_of_the_specified_example(void **state)
{
    (void)state;
    static const char json[] =
        HEAD "\"prelude_b64\": \"eyJleGNsdWRlLXBhdHRlcm5zIjoiKi5vXG4ifQ==\", " ROOT
             "{\"name\": \"z\", \"type\": \"file\", \"mode\": \"0600\", " OWNED ", \"content\": {\"kind\": \"empty\"}},"
             "{\"name\": \"h\", \"type\": \"hardlink\", \"target\": \"a\"},"
             "{\"name_b64\": \"bA==\", \"type\": \"symlink\", \"mode\": \"0777\", " OWNED ", \"target_b64\": \"YQ==\"},"
             "{\"name\": \"a\", \"type\": \"file\", \"mode\": \"0644\", \"uid\": 1000, \"gid\": 1000, \"mtime\": "
             "[1700000001, 5], \"content\": {\"kind\": \"b64\", \"data\": \"aGVsbG8K\"}}" TAIL;
    CLEANUP(buffer_deinit) struct buffer metadata = {0}, payload = {0};
    struct error err = {0};
    assert_int_equal(encode(json, &metadata, &payload, &err), OK);
    assert_true(hex_equals(EXAMPLE_FILES_METADATA, metadata.data, metadata.size));
    assert_true(hex_equals(EXAMPLE_FILES_PAYLOAD, payload.data, payload.size));
}

/* The payload stream of one file with the given content member, without its markers and header. */
static void assert_content(const char *content, const uint8_t *expected, size_t size)
{
    char json[1024];
    snprintf(json, sizeof json,
             HEAD ROOT "{\"name\": \"f\", \"type\": \"file\", \"mode\": \"0644\", " OWNED ", \"content\": %s}" TAIL,
             content);
    CLEANUP(buffer_deinit) struct buffer metadata = {0}, payload = {0};
    struct error err = {0};
    if (encode(json, &metadata, &payload, &err) != OK)
        print_error("%s\n", err.text);
    assert_int_equal(err.status, OK);
    assert_int_equal(payload.size, 48 + size);
    if (size > 0)
        assert_memory_equal(payload.data + 32, expected, size);
}

static void test_content_kinds(void **state)
{
    (void)state;
    assert_content("{\"kind\": \"empty\"}", NULL, 0);
    assert_content("{\"kind\": \"b64\", \"data\": \"\"}", NULL, 0);
    assert_content("{\"kind\": \"b64\", \"data\": \"AP8=\"}", (const uint8_t *)"\0\xff", 2);
    assert_content("{\"kind\": \"repeat\", \"pattern_b64\": \"\", \"size\": 0}", NULL, 0);
    static const size_t sizes[] = {0, 1, 2, 3, 4, 7, 8, 65535, 65536, 65537, 200003};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i];
        char content[128];
        uint8_t *expected = make_splitmix64(size, 42);
        snprintf(content, sizeof content, "{\"kind\": \"splitmix64\", \"seed\": 42, \"size\": %zu}", size);
        assert_content(content, expected, size);
        for (size_t k = 0; k < size; k++)
            expected[k] = (uint8_t) "abc"[k % 3];
        snprintf(content, sizeof content, "{\"kind\": \"repeat\", \"pattern_b64\": \"YWJj\", \"size\": %zu}", size);
        assert_content(content, expected, size);
        free(expected);
    }
    uint8_t *expected = make_splitmix64(8, UINT64_MAX);
    assert_content("{\"kind\": \"splitmix64\", \"seed\": 18446744073709551615, \"size\": 8}", expected, 8);
    free(expected);
}

static void test_padding_belongs_to_no_file(void **state)
{
    (void)state;
    static const char json[] =
        HEAD ROOT "{\"name\": \"f\", \"type\": \"file\", \"mode\": \"0644\", " OWNED
                  ", \"content\": {\"kind\": \"b64\", \"data\": \"aGk=\"}, \"payload_pad_before\": {\"kind\": "
                  "\"repeat\", \"pattern_b64\": \"eA==\", \"size\": 5}}" TAIL;
    CLEANUP(buffer_deinit) struct buffer metadata = {0}, payload = {0};
    assert_int_equal(encode(json, &metadata, &payload, NULL), OK);
    assert_memory_equal(payload.data + 16, "xxxxx", 5);
    assert_memory_equal(payload.data + 37, "hi", 2);
    assert_int_equal(load_u64le(metadata.data + 80 + 18 + 56 + 16), 21);
}

static enum status encode_unified(const char *json, struct buffer *archive, struct error *err)
{
    return tree_text_encode_unified(json, strlen(json), "tree.json", sink_to_buffer(archive), err);
}

static void test_unified_archive_holds_contents_but_no_prelude_and_padding(void **state)
{
    (void)state;
    static const char start[] =
        HEAD "\"prelude_b64\": \"%s\", " ROOT
             "{\"name\": \"f\", \"type\": \"file\", \"mode\": \"0644\", \"uid\": 1000, \"gid\": "
             "1000, \"mtime\": [1700000001, 5], \"content\": {\"kind\": \"b64\", \"data\": "
             "\"aGkK\"}, \"payload_pad_before\": {\"kind\": \"%s\"}}" TAIL;
    static const struct {
        const char *prelude, *padding;
        enum status expected;
    } cases[] = {
        {"e30=", "empty", OK},
        {"", "b64\", \"data\": \"eHh4", OK},
        {"???", "empty", ERR_FORMAT}, /* left out, but checked */
        {"", "nothing", ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[1024];
        CLEANUP(buffer_deinit) struct buffer archive = {0};
        struct error err = {0};
        snprintf(json, sizeof json, start, cases[i].prelude, cases[i].padding);
        assert_int_equal(encode_unified(json, &archive, &err), cases[i].expected);
        assert_int_equal(err.status, cases[i].expected);
        if (cases[i].expected == OK)
            assert_true(hex_equals(EXAMPLE_FILE_UNIFIED, archive.data, archive.size));
        else
            assert_memory_equal(err.text, "tree.json: ", 11);
    }
}

static void test_hardlinks_find_earlier_files_only(void **state)
{
    (void)state;
#define FILE_ENTRY(name)                                                                                               \
    "{\"name\": \"" name "\", \"type\": \"file\", \"mode\": \"0644\", " OWNED ", \"content\": {\"kind\": \"empty\"}}"
#define DIR_ENTRY(name, entries)                                                                                       \
    "{\"name\": \"" name "\", \"type\": \"dir\", \"mode\": \"0755\", " OWNED ", \"entries\": [" entries "]}"
    static const struct {
        const char *target;
        bool found;
    } cases[] = {
        {"a/b", true},   {"a/b.c/x", true}, {"a/b0", true},   {"a.b", true},  {"a0", true},
        {"m", false},    {"a", false},      {"a/", false},    {"/a0", false}, {"", false},
        {"a/b/", false}, {"z", false},      {"a/b.c", false}, {"a0/", false}, {"a.b\\u0001", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[4096];
        snprintf(
            json, sizeof json,
            HEAD ROOT FILE_ENTRY("a.b") "," FILE_ENTRY("a0") "," DIR_ENTRY(
                "a",
                FILE_ENTRY("b") "," DIR_ENTRY("b.c", FILE_ENTRY("x")) "," FILE_ENTRY(
                    "b0")) "," FILE_ENTRY("z") ",{\"name\": \"m\", \"type\": \"hardlink\", \"target\": \"%s\"}" TAIL,
            cases[i].target);
        CLEANUP(buffer_deinit) struct buffer metadata = {0}, payload = {0};
        struct error err = {0};
        enum status status = encode(json, &metadata, &payload, &err);
        assert_int_equal(status, cases[i].found ? OK : ERR_FORMAT);
        if (!cases[i].found)
            assert_string_equal(err.text, "tree.json: root.entries[4].target: is not the path of an earlier file");
    }
}

#define FIFO(more) "{\"name\": \"p\", \"type\": \"fifo\", \"mode\": \"0600\", " OWNED ", " more "}"
#define FILE_WITH(content)                                                                                             \
    "{\"name\": \"p\", \"type\": \"file\", \"mode\": \"0600\", " OWNED ", \"content\": " content "}"

static void test_every_malformed_manifest_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        const char *sentence;
    } cases[] = {
        {"", "tree.json: line 1, column 0: '[' or '{' expected near end of file"},
        {"[]", "tree.json: the manifest: must be an object"},
        {"{}", "tree.json: schema: must be \"pxar-vector-tree/1\""},
        {"{\"schema\": 1}", "tree.json: schema: must be \"pxar-vector-tree/1\""},
        {HEAD "\"comment\": 1}", "tree.json: root: must be an object"},
        {HEAD "\"root\": []}", "tree.json: root: must be an object"},
        {HEAD "\"rooot\": []}", "tree.json: rooot: unknown key"},
        {HEAD "\"root\": {\"type\": \"file\"}}", "tree.json: root: must be of type dir"},
        {HEAD "\"root\": {}}", "tree.json: root.mode: must be an octal string like \"0644\""},
        {HEAD "\"root\": {\"mode\": \"0755\", " OWNED "}}", "tree.json: root.entries: is missing"},
        {HEAD "\"root\": {\"mode\": \"0755\", " OWNED ", \"entries\": 1}}",
         "tree.json: root.entries: must be an array"},
        {HEAD ROOT "1" TAIL, "tree.json: root.entries[0]: must be an object"},
        {HEAD ROOT "{}" TAIL, "tree.json: root.entries[0].name: is missing"},
        {HEAD ROOT "{\"name\": \"a\"}" TAIL, "tree.json: root.entries[0].type: must be a string"},
        {HEAD ROOT "{\"name\": \"a\", \"type\": \"door\"}" TAIL,
         "tree.json: root.entries[0].type: must be file, dir, symlink, hardlink, fifo, socket, chardev or blockdev"},
        {HEAD ROOT "{\"name\": 1, \"type\": \"fifo\"}" TAIL, "tree.json: root.entries[0].name: must be a string"},
        {HEAD ROOT "{\"name\": \"\", \"type\": \"fifo\"}" TAIL, "tree.json: root.entries[0]: empty name"},
        {HEAD ROOT "{\"name\": \"a/b\", \"type\": \"fifo\"}" TAIL, "tree.json: root.entries[0]: name with a slash"},
        {HEAD ROOT "{\"name_b64\": \"YQBi\", \"type\": \"fifo\"}" TAIL,
         "tree.json: root.entries[0].name: has a zero byte"},
        {HEAD ROOT "{\"name_b64\": \"YQ\", \"type\": \"fifo\"}" TAIL,
         "tree.json: root.entries[0].name_b64: base64 of 2 digits"},
        {HEAD ROOT "{\"name_b64\": \"Y Q=\", \"type\": \"fifo\"}" TAIL,
         "tree.json: root.entries[0].name_b64: no base64 digit at position 1"},
        {HEAD ROOT "{\"name\": \"a\", \"name_b64\": \"YQ==\", \"type\": \"fifo\"}" TAIL,
         "tree.json: root.entries[0].name: is there twice, as text and as base64"},
        {HEAD ROOT FIFO("\"flags\": 0") "," FIFO("\"flags\": 0") TAIL,
         "tree.json: root.entries[1]: has the name of another entry"},
        {HEAD ROOT FIFO("\"flag\": 0") TAIL, "tree.json: root.entries[0].flag: unknown key"},
        {HEAD ROOT FIFO("\"flags\": -1") TAIL,
         "tree.json: root.entries[0].flags: must be an integer from 0 to 18446744073709551615"},
        {HEAD ROOT FIFO("\"flags\": 1.5") TAIL,
         "tree.json: root.entries[0].flags: must be an integer from 0 to 18446744073709551615"},
        {HEAD ROOT FIFO("\"xattrs\": {}") TAIL, "tree.json: root.entries[0].xattrs: must be an array"},
        {HEAD ROOT FIFO("\"xattrs\": [{\"name\": \"user.a\"}]") TAIL,
         "tree.json: root.entries[0].xattrs[0].value_b64: is missing"},
        {HEAD ROOT FIFO("\"acl\": {\"users\": [{\"id\": 1}]}") TAIL,
         "tree.json: root.entries[0].acl.users[0].perm: is missing"},
        {HEAD ROOT FIFO("\"acl\": {\"default\": {\"user_obj\": 7}}") TAIL,
         "tree.json: root.entries[0].acl.default.group_obj: is missing"},
        {HEAD ROOT FIFO("\"acl\": {\"mask\": 7}") TAIL, "tree.json: root.entries[0].acl.mask: unknown key"},
        {HEAD ROOT FIFO("\"fcaps_b64\": 7") TAIL, "tree.json: root.entries[0].fcaps_b64: must be a string"},
        {HEAD ROOT FIFO("\"target\": \"t\"") TAIL, "tree.json: root.entries[0].target: unknown key"},
        {HEAD ROOT "{\"name\": \"a\", \"type\": \"fifo\", \"mode\": \"0100644\"}" TAIL,
         "tree.json: root.entries[0].mode: has more than permission bits"},
        {HEAD ROOT "{\"name\": \"a\", \"type\": \"fifo\", \"mode\": \"9\"}" TAIL,
         "tree.json: root.entries[0].mode: must be an octal string like \"0644\""},
        {HEAD ROOT "{\"name\": \"a\", \"type\": \"fifo\", \"mode\": \"0644\", \"uid\": 4294967296}" TAIL,
         "tree.json: root.entries[0].uid: must be an integer from 0 to 4294967295"},
        {HEAD ROOT "{\"name\": \"a\", \"type\": \"fifo\", \"mode\": \"0644\", \"uid\": 0, \"gid\": 0, \"mtime\": [0, "
                   "1000000000]}" TAIL,
         "tree.json: root.entries[0].mtime: must be [seconds, nanoseconds below 10^9]"},
        {HEAD ROOT "{\"name\": \"a\", \"type\": \"chardev\", \"mode\": \"0644\", " OWNED ", \"major\": 1}" TAIL,
         "tree.json: root.entries[0].minor: is missing"},
        {HEAD ROOT "{\"name\": \"a\", \"type\": \"symlink\", \"mode\": \"0777\", " OWNED "}" TAIL,
         "tree.json: root.entries[0].target: is missing"},
        {HEAD ROOT FILE_WITH("{}") TAIL, "tree.json: root.entries[0].content: must be an object with a kind"},
        {HEAD ROOT FILE_WITH("{\"kind\": \"zero\"}") TAIL,
         "tree.json: root.entries[0].content: kind must be empty, b64, repeat or splitmix64"},
        {HEAD ROOT FILE_WITH("{\"kind\": \"empty\", \"size\": 1}") TAIL,
         "tree.json: root.entries[0].content.size: unknown key"},
        {HEAD ROOT FILE_WITH("{\"kind\": \"b64\", \"data\": \"====\"}") TAIL,
         "tree.json: root.entries[0].content.data: no base64 digit at position 0"},
        {HEAD ROOT FILE_WITH("{\"kind\": \"repeat\", \"pattern_b64\": \"\", \"size\": 1}") TAIL,
         "tree.json: root.entries[0].content: an empty pattern makes no bytes"},
        {HEAD ROOT FILE_WITH("{\"kind\": \"splitmix64\", \"seed\": 1, \"size\": -1}") TAIL,
         "tree.json: root.entries[0].content.size: must be an integer from 0 to 9223372036854775807"},
        {HEAD ROOT FILE_WITH("{\"kind\": \"splitmix64\", \"seed\": 1, \"size\": 9223372036854775807}") TAIL,
         "tree.json: root.entries[0]: file of 9223372036854775807 bytes"},
        {HEAD "\"prelude_b64\": 1, " ROOT TAIL, "tree.json: prelude_b64: must be a string"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(buffer_deinit) struct buffer metadata = {0}, payload = {0};
        struct error err = {0};
        enum status status = encode(cases[i].json, &metadata, &payload, &err);
        assert_string_equal(err.text, cases[i].sentence);
        assert_true(status == ERR_FORMAT || status == ERR_LIMIT);
        assert_int_equal(encode(cases[i].json, &metadata, &payload, NULL), status);
    }
}

static void test_acl_lists_are_stored_sorted(void **state)
{
    (void)state;
    static const char json[] = HEAD ROOT FIFO(
        "\"acl\": {\"users\": [{\"id\": 9, \"perm\": 1}, {\"id\": 2, \"perm\": 7}, {\"id\": 2, \"perm\": 4}]}") TAIL;
    CLEANUP(buffer_deinit) struct buffer metadata = {0}, payload = {0}, dump = {0};
    assert_int_equal(encode(json, &metadata, &payload, NULL), OK);
    struct memory_source m = {.data = metadata.data, .size = metadata.size};
    assert_int_equal(dump_archive(source_over_memory(&m, "m"), NULL, sink_to_buffer(&dump), NULL), OK);
    assert_int_equal(buffer_append_u8(&dump, 0, NULL), OK);
    assert_non_null(strstr((const char *)dump.data, "\"acl\":{\"users\":[{\"id\":2,\"perm\":4},{\"id\":2,\"perm\":7},"
                                                    "{\"id\":9,\"perm\":1}]}"));
}

static void test_deep_trees_work_up_to_the_parsers_depth(void **state)
{
    (void)state;
    for (size_t depth = 500; depth <= 5000; depth += 4500) {
        CLEANUP(buffer_deinit) struct buffer json = {0}, metadata = {0}, payload = {0};
        assert_int_equal(buffer_printf(&json, NULL, "%s", HEAD ROOT), OK);
        for (size_t i = 0; i < depth; i++)
            assert_int_equal(buffer_printf(&json, NULL,
                                           "{\"name\": \"d\", \"type\": \"dir\", \"mode\": \"0755\", " OWNED
                                           ", \"entries\": ["),
                             OK);
        for (size_t i = 0; i < depth; i++)
            assert_int_equal(buffer_printf(&json, NULL, "]}"), OK);
        assert_int_equal(buffer_append(&json, TAIL, sizeof TAIL, NULL), OK);
        struct error err = {0};
        assert_int_equal(encode((const char *)json.data, &metadata, &payload, &err), depth == 500 ? OK : ERR_FORMAT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manifest_of_the_specified_example),
        cmocka_unit_test(test_content_kinds),
        cmocka_unit_test(test_padding_belongs_to_no_file),
        cmocka_unit_test(test_unified_archive_holds_contents_but_no_prelude_and_padding),
        cmocka_unit_test(test_hardlinks_find_earlier_files_only),
        cmocka_unit_test(test_every_malformed_manifest_is_named),
        cmocka_unit_test(test_acl_lists_are_stored_sorted),
        cmocka_unit_test(test_deep_trees_work_up_to_the_parsers_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
