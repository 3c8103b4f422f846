#include "testing/testing.h"

#include "wire/names.h"

#include <stdio.h>
#include <string.h>

struct row {
    const char *text;
    bool good;
};

static void check(bool (*is)(const char *, size_t), const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is(rows[i].text, strlen(rows[i].text)) != rows[i].good) {
            print_error("'%s' should be %s\n", rows[i].text, rows[i].good ? "accepted" : "refused");
            assert_true(false);
        }
}
#define CHECK(is, ...)                                                                                                 \
    do {                                                                                                               \
        static const struct row rows[] = {__VA_ARGS__};                                                                \
        check(is, rows, sizeof rows / sizeof *rows);                                                                   \
    } while (0)

static void test_safe_names_have_no_separator_and_no_leading_dot_or_dash(void **state)
{
    (void)state;
    CHECK(name_is_safe, {"a", true}, {"_", true}, {"A.b-c_9", true}, {"a..b", true}, {"", false}, {".", false},
          {"..", false}, {".a", false}, {"-a", false}, {"a/b", false}, {"a b", false}, {"a\n", false},
          {"\xc3\xa4", false}, {"a%2fb", false}, {"a\\b", false});
    assert_false(name_is_safe("a\0b", 3));
}

static void test_datastores_have_3_to_32_characters(void **state)
{
    (void)state;
    CHECK(name_is_datastore, {"ab", false}, {"abc", true}, {"abcdefghijklmnopqrstuvwxyz012345", true},
          {"abcdefghijklmnopqrstuvwxyz0123456", false}, {"a/c", false});
}

static void test_archives_have_a_known_extension(void **state)
{
    (void)state;
    CHECK(name_is_archive, {"root.pxar.didx", true}, {"x.fidx", true}, {"index.json.blob", true}, {"root.pxar", false},
          {".didx", false}, {"../x.didx", false}, {"a/b.didx", false}, {".x.didx", false}, {"-x.didx", false},
          {"", false}, {"x.DIDX", false}, {"x.didx ", false}, {"didx", false});
    char name[NAME_FILE_MAX + 2];
    memset(name, 'a', sizeof name);
    memcpy(name + NAME_FILE_MAX - 5, ".blob", 5);
    assert_true(name_is_archive(name, NAME_FILE_MAX));
    memcpy(name + NAME_FILE_MAX - 4, ".blob", 5);
    assert_false(name_is_archive(name, NAME_FILE_MAX + 1));
    assert_true(name_has_extension("x.didx", 6, ".didx"));
    assert_false(name_has_extension(".didx", 5, ".didx"));
}

static void test_backup_types_and_ids(void **state)
{
    (void)state;
    CHECK(name_is_backup_type, {"host", true}, {"vm", true}, {"ct", true}, {"HOST", false}, {"", false}, {"hos", false},
          {"vms", false}, {"x", false});
    char id[NAME_BACKUP_ID_MAX + 1];
    memset(id, 'x', sizeof id);
    assert_true(name_is_backup_id(id, NAME_BACKUP_ID_MAX));
    assert_false(name_is_backup_id(id, NAME_BACKUP_ID_MAX + 1));
}

static void test_namespaces_are_bounded_in_depth_and_length(void **state)
{
    (void)state;
    CHECK(name_is_namespace, {"", true}, {"a", true}, {"a/b", true}, {"1/2/3/4/5/6/7", true},
          {"1/2/3/4/5/6/7/8", false}, {"/", false}, {"/a", false}, {"a/", false}, {"a//b", false}, {"a/../b", false},
          {"a/.b", false});
    char ns[NAME_NAMESPACE_MAX + 1];
    memset(ns, 'x', sizeof ns);
    assert_true(name_is_namespace(ns, 255));
    assert_false(name_is_namespace(ns, 256)); /* a first component of 256 */
    ns[100] = '/';
    assert_true(name_is_namespace(ns, 256));
    assert_false(name_is_namespace(ns, 257));
}

static void test_digests_are_lower_case_and_checksums_either(void **state)
{
    (void)state;
#define TEN "0123456789"
#define SIXTY TEN TEN TEN TEN TEN TEN
    CHECK(name_is_digest, {SIXTY "abcd", true}, {SIXTY "ABCD", false}, {SIXTY "abc", false}, {SIXTY "abcde", false},
          {SIXTY "abcg", false}, {"", false});
    CHECK(name_is_csum, {SIXTY "abcd", true}, {SIXTY "ABCD", true}, {SIXTY "abc", false}, {SIXTY "abcg", false});
}

static void test_user_and_token_ids(void **state)
{
    (void)state;
    CHECK(name_is_user_id, {"root@pam", true}, {"a@b@pbs", true}, {"x!y@pbs", true}, {"\xc3\xa4@pbs", true},
          {"root", false}, {"@pam", false}, {"root@", false}, {"root@p", false}, {"ro ot@pam", false},
          {"ro:ot@pam", false}, {"ro/ot@pam", false}, {"root@pa!m", false}, {"root@.pam", false});
    CHECK(name_is_token_id, {"root@pam!tok", true}, {"x!y@pbs!tok", true}, {"root@pam", false}, {"root@pam!", false},
          {"root@pam!to", true}, {"root@pam!t/k", false}, {"root!tok", false}, {"x!y@pbs", false},
          {"user@pbs!t!use", false});
    CHECK(name_is_auth_id, {"root@pam", true}, {"root@pam!tok", true}, {"root@pam!", false}, {"", false});
    char user[NAME_USER_ID_MAX + 2];
    memset(user, 'u', sizeof user);
    memcpy(user + NAME_USER_ID_MAX - 4, "@pam", 5);
    assert_true(name_is_user_id(user, NAME_USER_ID_MAX));
    memcpy(user + NAME_USER_ID_MAX - 4, "u@pam", 5);
    assert_false(name_is_user_id(user, NAME_USER_ID_MAX + 1));
    assert_int_equal(name_token_offset("a@b!tok", 7), 4);
    assert_int_equal(name_token_offset("a!b@c", 5), 5);
    assert_int_equal(name_token_offset("a!b", 3), 2);
}

static void test_hosts_are_names_or_addresses(void **state)
{
    (void)state;
    CHECK(name_is_host, {"localhost", true}, {"a.b-c.d", true}, {"8008", true}, {"192.168.0.1", true}, {"[::1]", true},
          {"[ff80::51]", true}, {"[::ffff:1.2.3.4]", true}, {"", false}, {"a_b", false}, {"-a", false}, {"a-", false},
          {"a.-b", false}, {"a..b", false}, {".a", false}, {"a.", false}, {"a/b", false}, {"::1", false},
          {"[::1", false}, {"[]", false}, {"[1.2.3.4]", false}, {"[::1%lo]", false}, {"[::1]x", false}, {"a b", false});
}

static void test_fingerprints_need_colons_and_ignore_case(void **state)
{
    (void)state;
    uint8_t fingerprint[CERTIFICATE_FINGERPRINT_SIZE];
    char text[CERTIFICATE_FINGERPRINT_TEXT_SIZE];
    char upper[CERTIFICATE_FINGERPRINT_TEXT_SIZE];
    struct error err;
    for (unsigned i = 0; i < CERTIFICATE_FINGERPRINT_SIZE; i++)
        fingerprint[i] = (uint8_t)(7 * i + 160);
    certificate_fingerprint_text(fingerprint, text);
    assert_memory_equal(text, "a0:a7:ae", 8);
    assert_int_equal(strlen(text), 95);
    for (size_t i = 0; i < sizeof text; i++)
        upper[i] = (char)(text[i] >= 'a' && text[i] <= 'f' ? text[i] - 32 : text[i]);
    uint8_t again[CERTIFICATE_FINGERPRINT_SIZE] = {0};
    assert_int_equal(certificate_fingerprint_parse(upper, again, &err), OK);
    assert_memory_equal(again, fingerprint, sizeof again);

    char plain[65] = "";
    for (size_t i = 0; i < CERTIFICATE_FINGERPRINT_SIZE; i++)
        snprintf(plain + 2 * i, 3, "%02x", fingerprint[i]);
    assert_int_equal(certificate_fingerprint_parse(plain, again, &err), ERR_USAGE);
    assert_int_equal(certificate_fingerprint_parse("", again, &err), ERR_USAGE);
    text[5] = '.';
    assert_int_equal(certificate_fingerprint_parse(text, again, &err), ERR_USAGE);
    text[5] = ':';
    text[0] = 'g';
    assert_int_equal(certificate_fingerprint_parse(text, again, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "colons"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safe_names_have_no_separator_and_no_leading_dot_or_dash),
        cmocka_unit_test(test_datastores_have_3_to_32_characters),
        cmocka_unit_test(test_archives_have_a_known_extension),
        cmocka_unit_test(test_backup_types_and_ids),
        cmocka_unit_test(test_namespaces_are_bounded_in_depth_and_length),
        cmocka_unit_test(test_digests_are_lower_case_and_checksums_either),
        cmocka_unit_test(test_user_and_token_ids),
        cmocka_unit_test(test_hosts_are_names_or_addresses),
        cmocka_unit_test(test_fingerprints_need_colons_and_ignore_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
