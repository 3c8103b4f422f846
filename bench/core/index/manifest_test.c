#include "testing/testing.h"

#include "index/manifest.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define CSUM_1 "0101010101010101010101010101010101010101010101010101010101010101"
#define CSUM_2 "0202020202020202020202020202020202020202020202020202020202020202"

static enum status parse(const char *text, struct manifest *out, struct error *err)
{
    return manifest_parse((const uint8_t *)text, strlen(text), "m", out, err);
}

static void test_writes_sorted_members_with_two_spaces(void **state)
{
    (void)state;
    struct manifest m;
    struct digest csum = {{0}};
    memset(csum.bytes, 1, sizeof csum.bytes);
    assert_int_equal(manifest_init(&m, "host", "elsa", 1593179765, NULL), OK);
    /* In the order in which they are added: the payload index comes first, although "m" sorts before "p". */
    assert_int_equal(manifest_add(&m, "root.ppxar.didx", "none", 200, &csum, NULL), OK);
    assert_int_equal(manifest_add(&m, "root.mpxar.didx", "none", 0, &csum, NULL), OK);
    assert_int_equal(manifest_set_upload_stats(&m, 15, 660257, 607325, 11, NULL), OK);
    struct buffer out = BUFFER_INIT(1 << 20);
    assert_int_equal(manifest_write(&m, &out, NULL), OK);
    static const char wanted[] = "{\n"
                                 "  \"backup-id\": \"elsa\",\n"
                                 "  \"backup-time\": 1593179765,\n"
                                 "  \"backup-type\": \"host\",\n"
                                 "  \"files\": [\n"
                                 "    {\n"
                                 "      \"crypt-mode\": \"none\",\n"
                                 "      \"csum\": \"" CSUM_1 "\",\n"
                                 "      \"filename\": \"root.ppxar.didx\",\n"
                                 "      \"size\": 200\n"
                                 "    },\n"
                                 "    {\n"
                                 "      \"crypt-mode\": \"none\",\n"
                                 "      \"csum\": \"" CSUM_1 "\",\n"
                                 "      \"filename\": \"root.mpxar.didx\",\n"
                                 "      \"size\": 0\n"
                                 "    }\n"
                                 "  ],\n"
                                 "  \"signature\": null,\n"
                                 "  \"unprotected\": {\n"
                                 "    \"chunk_upload_stats\": {\n"
                                 "      \"compressed_size\": 607325,\n"
                                 "      \"count\": 15,\n"
                                 "      \"duplicates\": 11,\n"
                                 "      \"size\": 660257\n"
                                 "    }\n"
                                 "  }\n"
                                 "}";
    assert_int_equal(buffer_append_u8(&out, 0, NULL), OK);
    assert_string_equal((const char *)out.data, wanted);

    struct manifest again;
    assert_int_equal(parse(wanted, &again, NULL), OK);
    assert_string_equal(again.backup_id, "elsa");
    assert_int_equal(again.file_count, 2);
    assert_string_equal(again.files[0].filename, "root.ppxar.didx");
    assert_int_equal(again.files[0].size, 200);
    assert_true(digest_equal(&again.files[0].csum, &csum));
    assert_ptr_equal(manifest_find(&again, "root.mpxar.didx"), &again.files[1]);
    assert_null(manifest_find(&again, "root.pxar.didx"));
    manifest_deinit(&again);
    manifest_deinit(&m);
    manifest_deinit(&m);
    buffer_deinit(&out);
}

static void test_keeps_unknown_unprotected_members(void **state)
{
    (void)state;
    struct manifest m;
    assert_int_equal(parse("{\"backup-type\":\"ct\",\"backup-id\":\"7\",\"backup-time\":-5,\"files\":[],\"later\":1,"
                           "\"unprotected\":{\"notes\":\"Zeile\\n\\u00fc\",\"odd\":{\"a\":[1,null,{}]},"
                           "\"key-fingerprint\":\"0e:ab\"}}",
                           &m, NULL),
                     OK);
    assert_int_equal(m.backup_time, -5);
    assert_string_equal(m.key_fingerprint, "0e:ab");
    assert_int_equal(manifest_set_upload_stats(&m, 1, 2, 3, 4, NULL), OK);
    assert_int_equal(manifest_set_upload_stats(&m, 5, 6, 7, 8, NULL), OK); /* replaces */
    assert_string_equal(m.unprotected,
                        "{\"chunk_upload_stats\":{\"compressed_size\":7,\"count\":5,\"duplicates\":8,\"size\":6},"
                        "\"key-fingerprint\":\"0e:ab\",\"notes\":\"Zeile\\n\xc3\xbc\",\"odd\":{\"a\":[1,null,{}]}}");
    struct buffer out = BUFFER_INIT(1 << 20);
    assert_int_equal(manifest_write(&m, &out, NULL), OK);
    assert_int_equal(buffer_append_u8(&out, 0, NULL), OK);
    assert_non_null(strstr((const char *)out.data, "\"odd\": {"));
    assert_null(strstr((const char *)out.data, "later"));
    buffer_deinit(&out);
    manifest_deinit(&m);
}

static void test_accepts_what_old_manifests_lack(void **state)
{
    (void)state;
    struct manifest m;
    assert_int_equal(parse("{\"backup-type\":\"vm\",\"backup-id\":\"7\",\"backup-time\":1,\"files\":[{\"filename\":"
                           "\"a.img.fidx\",\"size\":9223372036854775807,\"csum\":\"" CSUM_2 "\"}]}",
                           &m, NULL),
                     OK);
    assert_string_equal(m.files[0].crypt_mode, "none");
    assert_true(m.files[0].size == INT64_MAX);
    assert_string_equal(m.unprotected, "{}");
    assert_null(m.key_fingerprint);
    manifest_deinit(&m);
}

static bool verify_failed(const char *unprotected)
{
    char text[512];
    struct manifest m;
    snprintf(text, sizeof text,
             "{\"backup-type\":\"vm\",\"backup-id\":\"7\",\"backup-time\":1,\"files\":[],\"unprotected\":%s}",
             unprotected);
    assert_int_equal(parse(text, &m, NULL), OK);
    bool failed = manifest_verify_failed(&m);
    manifest_deinit(&m);
    return failed;
}

static void test_failed_verify_state_needs_a_upid(void **state)
{
    (void)state;
#define UPID "\"upid\":\"UPID:pbs:00000ABC:00001234:00000001:65536000:verify:store:root@pam:\""
    assert_true(verify_failed("{\"verify_state\":{\"state\":\"failed\"," UPID "}}"));
    assert_false(verify_failed("{\"verify_state\":{\"state\":\"ok\"," UPID "}}"));
    assert_false(verify_failed("{\"verify_state\":{\"state\":\"failed\"}}"));
    assert_false(verify_failed("{\"verify_state\":{\"state\":\"failed\",\"upid\":\"nonsense\"}}"));
    assert_false(verify_failed("{\"verify_state\":{\"state\":3," UPID "}}"));
    assert_false(verify_failed("{\"verify_state\":[]}"));
    assert_false(verify_failed("{}"));
}

#define HEAD "{\"backup-type\":\"host\",\"backup-id\":\"x\",\"backup-time\":1,"
#define ONE_FILE(members) HEAD "\"files\":[{" members "}]}"
#define SIZE_CSUM "\"size\":1,\"csum\":\"" CSUM_1 "\""

static void test_rejects_with_the_member_named(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *part;
    } cases[] = {
        {"", "line 1"},
        {"{", "line 1"},
        {"[]", "not an object"},
        {"{\"backup-type\":\"host\",\n\"backup-type\":\"host\"}", "line 2"},
        {"{} {}", "end of file"},
        {"{\"backup-id\":\"x\"}", "backup-type is missing"},
        {"{\"backup-type\":1}", "backup-type is an integer"},
        {"{\"backup-type\":\"tape\",\"backup-id\":\"x\",\"backup-time\":1,\"files\":[]}", "\"tape\""},
        {"{\"backup-type\":\"vm\",\"backup-id\":\"\",\"backup-time\":1,\"files\":[]}", "backup-id is empty"},
        {"{\"backup-type\":\"vm\",\"backup-id\":\"a/b\",\"backup-time\":1,\"files\":[]}", "backup-id"},
        {"{\"backup-type\":\"vm\",\"backup-id\":\"a\",\"backup-time\":1.5,\"files\":[]}", "backup-time is a fraction"},
        {"{\"backup-type\":\"vm\",\"backup-id\":\"a\",\"backup-time\":9223372036854775808,\"files\":[]}",
         "big integer"},
        {HEAD "\"files\":{}}", "files is an object"},
        {HEAD "\"files\":[3]}", "files[0] is an integer"},
        {HEAD "\"files\":[],\"unprotected\":[]}", "unprotected is an array"},
        {HEAD "\"files\":[],\"unprotected\":{\"key-fingerprint\":3}}", "key-fingerprint is an integer"},
        {HEAD "\"files\":[],\"signature\":3}", "signature is an integer"},
        {HEAD "\"files\":[],\"signature\":\"00\"}", "signature is not 64"},
        {ONE_FILE("\"filename\":\"a.blob\",\"csum\":\"" CSUM_1 "\""), "files[0]: member size is missing"},
        {ONE_FILE("\"filename\":\"a.blob\",\"size\":-1,\"csum\":\"" CSUM_1 "\""), "negative"},
        {ONE_FILE("\"filename\":\"a.blob\",\"size\":\"1\",\"csum\":\"" CSUM_1 "\""), "size is a string"},
        {ONE_FILE("\"filename\":\"a.blob\",\"size\":1,\"csum\":\"" CSUM_1 "0\""), "csum is not 64"},
        {ONE_FILE("\"filename\":\"a.blob\",\"size\":1,\"csum\":\"xx\""), "csum is not 64"},
        {ONE_FILE("\"filename\":\"a.blob\",\"size\":1"), "csum is missing"},
        {ONE_FILE(SIZE_CSUM), "filename is missing"},
        {ONE_FILE("\"filename\":\"../a.blob\"," SIZE_CSUM), "0x2f"},
        {ONE_FILE("\"filename\":\"a\\n.blob\"," SIZE_CSUM), "0x0a"},
        {ONE_FILE("\"filename\":\"a\\u009b31m.blob\"," SIZE_CSUM), "0xc2"},
        {ONE_FILE("\"filename\":\"a\\u202e.blob\"," SIZE_CSUM), "0xe2"},
        {ONE_FILE("\"filename\":\"a\\u0000.blob\"," SIZE_CSUM), "line 1"},
        {ONE_FILE("\"filename\":\".blob\"," SIZE_CSUM), "not NAME.didx"},
        {ONE_FILE("\"filename\":\".a.blob\"," SIZE_CSUM), "not NAME.didx"},
        {ONE_FILE("\"filename\":\"a.txt\"," SIZE_CSUM), "not NAME.didx"},
        {ONE_FILE("\"filename\":\"\"," SIZE_CSUM), "not NAME.didx"},
        {ONE_FILE("\"filename\":\"a.blob\",\"crypt-mode\":\"rot13\"," SIZE_CSUM), "rot13"},
        {ONE_FILE("\"filename\":\"a.blob\",\"crypt-mode\":null," SIZE_CSUM), "crypt-mode is null"},
        {HEAD "\"files\":[{\"filename\":\"a.blob\"," SIZE_CSUM "},{\"filename\":\"b.blob\"," SIZE_CSUM
              "},{\"filename\":\"a.blob\"," SIZE_CSUM "}]}",
         "\"a.blob\" is listed twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct manifest m;
        struct error err = {0};
        assert_int_equal(parse(cases[i].text, &m, &err), ERR_FORMAT);
        if (!strstr(err.text, cases[i].part) || strncmp(err.text, "m: ", 3) != 0)
            assert_string_equal(err.text, cases[i].part); /* shows both */
        assert_null(m.backup_id);
    }
    struct manifest m;
    struct error err = {0};
    assert_int_equal(manifest_parse(NULL, 0, "m", &m, &err), ERR_FORMAT); /* of an empty blob */
    assert_non_null(strstr(err.text, "m: line 1"));
}

static void test_bounds_hostile_sizes(void **state)
{
    (void)state;
    struct manifest m;
    struct error err = {0};

    char *deep = malloc(200001);
    assert_non_null(deep);
    memset(deep, '[', 200000);
    deep[200000] = '\0';
    assert_int_equal(parse(deep, &m, &err), ERR_FORMAT);
    memcpy(deep, "{\"a\":", 5); /* nested objects as well */
    for (size_t i = 0; i + 5 <= 200000; i += 5)
        memcpy(deep + i, "{\"a\":", 5);
    assert_int_equal(parse(deep, &m, &err), ERR_FORMAT);
    free(deep);

    uint8_t *large = make_constant(MANIFEST_SIZE_MAX + 1, ' ');
    assert_int_equal(manifest_parse(large, MANIFEST_SIZE_MAX + 1, "m", &m, &err), ERR_LIMIT);
    free(large);

    struct buffer many = BUFFER_INIT(64 << 20);
    assert_int_equal(buffer_printf(&many, NULL, HEAD "\"files\":[0"), OK);
    for (size_t i = 0; i < MANIFEST_FILES_MAX; i++)
        assert_int_equal(buffer_append(&many, ",0", 2, NULL), OK);
    assert_int_equal(buffer_printf(&many, NULL, "]}"), OK);
    assert_int_equal(manifest_parse(many.data, many.size, "m", &m, &err), ERR_LIMIT);

    /* As many as are allowed: neither a square of comparisons nor a limit. */
    buffer_clear(&many);
    assert_int_equal(buffer_printf(&many, NULL, HEAD "\"files\":["), OK);
    for (unsigned i = 0; i < MANIFEST_FILES_MAX; i++)
        assert_int_equal(buffer_printf(&many, NULL, "%s{\"filename\":\"%u.blob\"," SIZE_CSUM "}", i ? "," : "", i), OK);
    assert_int_equal(buffer_printf(&many, NULL, "]}"), OK);
    assert_int_equal(manifest_parse(many.data, many.size, "m", &m, &err), OK);
    assert_int_equal(m.file_count, MANIFEST_FILES_MAX);
    struct digest csum = {{0}};
    assert_int_equal(manifest_add(&m, "more.blob", "none", 1, &csum, &err), ERR_LIMIT);
    manifest_deinit(&m);
    buffer_deinit(&many);
}

static long resident_peak_kb(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

/* As long as a manifest may be: compressed it is 1.5 KB. */
static void test_memory_for_json_is_bounded(void **state)
{
    (void)state;
    struct manifest m;
    struct error err = {0};
    struct buffer text = BUFFER_INIT(MANIFEST_SIZE_MAX);
    assert_int_equal(buffer_printf(&text, NULL, HEAD "\"files\":[],\"unprotected\":{\"x\":[{}"), OK);
    assert_int_equal(buffer_reserve(&text, MANIFEST_SIZE_MAX - text.size, NULL), OK);
    while (text.size < MANIFEST_SIZE_MAX - 8)
        assert_int_equal(buffer_append(&text, ",{}", 3, NULL), OK);
    assert_int_equal(buffer_append(&text, "]}}", 3, NULL), OK);
    long before_kb = resident_peak_kb();
    assert_int_equal(manifest_parse(text.data, text.size, "m", &m, &err), ERR_LIMIT);
    assert_true(resident_peak_kb() - before_kb < 32 << 10); /* 5.6 million objects would take 1.3 GB */
    buffer_deinit(&text);
}

static void test_add_refuses_what_parse_would_refuse(void **state)
{
    (void)state;
    struct manifest m;
    struct digest csum = {{0}};
    assert_int_equal(manifest_init(&m, "host", "x", 1, NULL), OK);
    assert_int_equal(manifest_add(&m, "a.blob", "none", 1, &csum, NULL), OK);
    assert_int_equal(manifest_add(&m, "a.blob", "none", 1, &csum, NULL), ERR_FORMAT);
    assert_int_equal(manifest_add(&m, "../b.blob", "none", 1, &csum, NULL), ERR_FORMAT);
    assert_int_equal(manifest_add(&m, "b.txt", "none", 1, &csum, NULL), ERR_FORMAT);
    assert_int_equal(manifest_add(&m, "b.blob", "plain", 1, &csum, NULL), ERR_FORMAT);
    assert_int_equal(manifest_add(&m, "b.blob", "none", UINT64_MAX, &csum, NULL), ERR_FORMAT);
    assert_int_equal(m.file_count, 1);
    manifest_deinit(&m);
}

static void test_write_past_the_buffers_limit_leaves_it_as_it_was(void **state)
{
    (void)state;
    struct manifest m;
    assert_int_equal(manifest_init(&m, "host", "x", 1, NULL), OK);
    struct buffer out = BUFFER_INIT(64);
    assert_int_equal(buffer_append(&out, "before", 6, NULL), OK);
    assert_int_equal(manifest_write(&m, &out, NULL), ERR_LIMIT);
    assert_int_equal(out.size, 6);
    buffer_deinit(&out);
    manifest_deinit(&m);
}

/* ---- signatures ---- */

/* scrypt("test", no salt): the specification's example. */
static const struct crypt_config *example_key(void)
{
    static struct crypt_config config;
    uint8_t key[CRYPT_KEY_SIZE];
    assert_true(hex_decode("28cdb1a3bef39396c3860e00d448fe7a0efd8244486ab6feb30457681d31597e", 64, key, sizeof key));
    assert_int_equal(crypt_config_init(&config, key, NULL), OK);
    return &config;
}

static const struct crypt_config *other_key(void)
{
    static struct crypt_config config;
    uint8_t key[CRYPT_KEY_SIZE] = {1};
    assert_int_equal(crypt_config_init(&config, key, NULL), OK);
    return &config;
}

#define EXAMPLE_SIGNATURE "d7b446fb7db081662081d4b40fedd858a1d6307a5aff4ecff7d5bf4fd35679e9"
#define EXAMPLE_FILES                                                                                                  \
    "\"files\":[{\"filename\":\"test1.img.fidx\",\"crypt-mode\":\"encrypt\",\"size\":200,\"csum\":\"" CSUM_1 "\"},"    \
    "{\"csum\":\"" CSUM_2 "\",\"size\":200,\"crypt-mode\":\"none\",\"filename\":\"abc.blob\"}]"
#define EXAMPLE_HEAD "\"backup-time\":1593179765,\"backup-type\":\"host\",\"backup-id\":\"elsa\""
#define SIGNED "\"signature\":\"" EXAMPLE_SIGNATURE "\""

static enum status check_text(const char *text, const struct crypt_config *key, struct error *err)
{
    struct manifest m;
    assert_int_equal(parse(text, &m, err), OK);
    enum status status = manifest_check_signature(&m, (const uint8_t *)text, strlen(text), "m", key, err);
    manifest_deinit(&m);
    return status;
}

static void test_signature_example(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(check_text("{" EXAMPLE_HEAD "," EXAMPLE_FILES "," SIGNED "}", example_key(), &err), OK);
    /* Neither order nor `unprotected` counts. */
    assert_int_equal(check_text("{" SIGNED ", " EXAMPLE_FILES ",\n" EXAMPLE_HEAD
                                ",\"unprotected\":{\"notes\":null,\"x\":1.5}}",
                                example_key(), &err),
                     OK);
}

static void test_changed_entries_do_not_fit_the_signature(void **state)
{
    (void)state;
    struct error err = {0};
    static const char text[] = "{" EXAMPLE_HEAD "," EXAMPLE_FILES "," SIGNED "}";
    static const struct {
        const char *from;
        char to;
    } edits[] = {{"1.img", '2'}, {"00,\"csum", '1'}, {"01010", '1'}, {"93179765", '8'}, {"lsa", 'k'}, {"bc.blob", 'c'}};
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        char changed[sizeof text];
        memcpy(changed, text, sizeof text);
        *strstr(changed, edits[i].from) = edits[i].to;
        assert_int_equal(check_text(changed, example_key(), &err), ERR_MISMATCH);
        assert_non_null(strstr(err.text, "does not fit its signature"));
    }
    /* Another mode, another member that we know nothing of, one entry less. */
    assert_int_equal(check_text("{" EXAMPLE_HEAD "," EXAMPLE_FILES "," SIGNED ",\"more\":1}", example_key(), &err),
                     ERR_MISMATCH);
    assert_int_equal(check_text("{" EXAMPLE_HEAD ",\"files\":[]," SIGNED "}", example_key(), &err), ERR_MISMATCH);
    assert_int_equal(check_text("{" EXAMPLE_HEAD "," EXAMPLE_FILES "," SIGNED ",\"more\":null}", example_key(), &err),
                     ERR_FORMAT);
}

static void test_other_keys(void **state)
{
    (void)state;
    struct error err = {0};
    char fingerprint[FINGERPRINT_TEXT_SIZE], text[2048];
    /* Without fingerprint the signature alone tells. */
    assert_int_equal(check_text("{" EXAMPLE_HEAD "," EXAMPLE_FILES "," SIGNED "}", other_key(), &err), ERR_MISMATCH);
    assert_non_null(strstr(err.text, "does not fit its signature"));
    snprintf(text, sizeof text, "{%s,%s,%s,\"unprotected\":{\"key-fingerprint\":\"%s\"}}", EXAMPLE_HEAD, EXAMPLE_FILES,
             SIGNED, fingerprint_text(example_key()->fingerprint, fingerprint));
    assert_int_equal(check_text(text, example_key(), &err), OK);
    assert_int_equal(check_text(text, other_key(), &err), ERR_MISMATCH);
    assert_non_null(strstr(err.text, "wrong key - unable to verify signature since manifest's key "));
    assert_non_null(strstr(err.text, fingerprint));
    /* The right key, but the manifest names another: the file was tampered with, or the key is not the one. */
    snprintf(text, sizeof text, "{%s,%s,%s,\"unprotected\":{\"key-fingerprint\":\"%s\"}}", EXAMPLE_HEAD, EXAMPLE_FILES,
             SIGNED, fingerprint_text(other_key()->fingerprint, fingerprint));
    assert_int_equal(check_text(text, example_key(), &err), ERR_MISMATCH);
    assert_non_null(strstr(err.text, "wrong key"));
}

static void test_without_signature_only_the_fingerprint_can_be_wrong(void **state)
{
    (void)state;
    struct error err = {0};
    char fingerprint[FINGERPRINT_TEXT_SIZE], text[2048];
    struct manifest m;
    assert_int_equal(check_text("{" EXAMPLE_HEAD "," EXAMPLE_FILES "}", example_key(), &err), OK);
    assert_int_equal(check_text("{" EXAMPLE_HEAD "," EXAMPLE_FILES ",\"signature\":null}", other_key(), &err), OK);
    snprintf(text, sizeof text, "{%s,%s,\"unprotected\":{\"key-fingerprint\":\"%s\"}}", EXAMPLE_HEAD, EXAMPLE_FILES,
             fingerprint_text(example_key()->fingerprint, fingerprint));
    assert_int_equal(parse(text, &m, &err), OK);
    assert_int_equal(manifest_check_fingerprint(&m, example_key(), &err), OK);
    assert_int_equal(manifest_check_fingerprint(&m, other_key(), &err), ERR_MISMATCH);
    assert_non_null(strstr(err.text, "wrong key - manifest's key "));
    manifest_deinit(&m);
    assert_int_equal(
        parse("{" EXAMPLE_HEAD "," EXAMPLE_FILES ",\"unprotected\":{\"key-fingerprint\":\"x\"}}", &m, &err), OK);
    assert_int_equal(manifest_check_fingerprint(&m, example_key(), &err), ERR_MISMATCH);
    manifest_deinit(&m);
    /* A sentence stays a line. */
    assert_int_equal(
        parse("{" EXAMPLE_HEAD "," EXAMPLE_FILES ",\"unprotected\":{\"key-fingerprint\":\"\\u001b[2J\\n\"}}", &m, &err),
        OK);
    assert_int_equal(manifest_check_fingerprint(&m, example_key(), &err), ERR_MISMATCH);
    assert_non_null(strstr(err.text, "manifest's key \\x1b[2J\\x0a does"));
    manifest_deinit(&m);
}

static void test_signed_manifest_is_written_and_checked(void **state)
{
    (void)state;
    struct error err = {0};
    struct manifest m, again;
    struct digest csum;
    char signature[DIGEST_TEXT_SIZE], fingerprint[FINGERPRINT_TEXT_SIZE];
    struct buffer text = BUFFER_INIT(1 << 20);
    assert_int_equal(manifest_init(&m, "host", "elsa", 1593179765, &err), OK);
    memset(csum.bytes, 1, sizeof csum.bytes);
    assert_int_equal(manifest_add(&m, "test1.img.fidx", "encrypt", 200, &csum, &err), OK);
    memset(csum.bytes, 2, sizeof csum.bytes);
    assert_int_equal(manifest_add(&m, "abc.blob", "none", 200, &csum, &err), OK);
    assert_int_equal(manifest_sign(&m, example_key(), &err), OK);
    assert_string_equal(digest_text(&m.signature, signature), EXAMPLE_SIGNATURE);
    /* Not signed, so it may come later. */
    assert_int_equal(manifest_set_upload_stats(&m, 1, 2, 3, 4, &err), OK);
    assert_int_equal(manifest_write(&m, &text, &err), OK);
    assert_int_equal(manifest_parse(text.data, text.size, "m", &again, &err), OK);
    assert_true(again.is_signed);
    assert_string_equal(again.key_fingerprint, fingerprint_text(example_key()->fingerprint, fingerprint));
    assert_int_equal(manifest_check_signature(&again, text.data, text.size, "m", example_key(), &err), OK);
    assert_int_equal(manifest_check_signature(&again, text.data, text.size, "m", other_key(), &err), ERR_MISMATCH);
    assert_non_null(strstr(again.unprotected, "chunk_upload_stats"));
    /* What is read is written with its signature. */
    buffer_clear(&text);
    assert_int_equal(manifest_write(&again, &text, &err), OK);
    assert_int_equal(manifest_check_signature(&again, text.data, text.size, "m", example_key(), &err), OK);
    manifest_deinit(&m);
    manifest_deinit(&again);
    buffer_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_for_json_is_bounded),
        cmocka_unit_test(test_writes_sorted_members_with_two_spaces),
        cmocka_unit_test(test_keeps_unknown_unprotected_members),
        cmocka_unit_test(test_accepts_what_old_manifests_lack),
        cmocka_unit_test(test_failed_verify_state_needs_a_upid),
        cmocka_unit_test(test_rejects_with_the_member_named),
        cmocka_unit_test(test_bounds_hostile_sizes),
        cmocka_unit_test(test_add_refuses_what_parse_would_refuse),
        cmocka_unit_test(test_write_past_the_buffers_limit_leaves_it_as_it_was),
        cmocka_unit_test(test_signature_example),
        cmocka_unit_test(test_changed_entries_do_not_fit_the_signature),
        cmocka_unit_test(test_other_keys),
        cmocka_unit_test(test_without_signature_only_the_fingerprint_can_be_wrong),
        cmocka_unit_test(test_signed_manifest_is_written_and_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
