#include "testing/testing.h"

#include "flow/snapshot.h"

#include <string.h>

static void manifest_with(struct manifest *m, const char *const *names, size_t count)
{
    struct digest csum = {{0}};
    *m = (struct manifest){0};
    assert_int_equal(manifest_init(m, "host", "x", 1, NULL), OK);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(manifest_add(m, names[i], "none", 1, &csum, NULL), OK);
}

struct expectation {
    const char *given;
    enum status status;
    enum stored_kind kind;
    const char *name, *payload_name;
};

static void check(const char *const *names, size_t name_count, const struct expectation *expected, size_t count)
{
    struct manifest m;
    manifest_with(&m, names, name_count);
    for (size_t i = 0; i < count; i++) {
        const struct expectation *e = &expected[i];
        struct stored_archive found;
        struct error err = {0};
        print_message("%s\n", e->given);
        assert_int_equal(snapshot_resolve(&m, e->given, &found, &err), e->status);
        if (e->status == ERR_NOT_FOUND)
            assert_non_null(strstr(err.text, "archive not found in manifest"));
        if (e->status != OK)
            continue;
        assert_int_equal(found.kind, e->kind);
        assert_string_equal(found.name, e->name);
        assert_string_equal(found.payload_name, e->payload_name ? e->payload_name : "");
    }
    manifest_deinit(&m);
}
#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define NOT_FOUND .status = ERR_NOT_FOUND

static void test_six_names_of_a_split_archive(void **state)
{
    (void)state;
    static const char *const names[] = {"root.mpxar.didx", "root.ppxar.didx"};
#define SPLIT(given)                                                                                                   \
    {                                                                                                                  \
        (given), OK, STORED_SPLIT, "root.mpxar.didx", "root.ppxar.didx"                                                \
    }
    static const struct expectation expected[] = {
        SPLIT("root.pxar"),       SPLIT("root.mpxar"),      SPLIT("root.ppxar"),
        SPLIT("root.pxar.didx"),  SPLIT("root.mpxar.didx"), SPLIT("root.ppxar.didx"),
        {"roo.pxar", NOT_FOUND},  {"root", NOT_FOUND},      {"root.pxar.fidx", NOT_FOUND},
        {"root.xpxar", NOT_FOUND}};
    check(names, COUNT(names), expected, COUNT(expected));
}

static void test_six_names_of_a_unified_archive(void **state)
{
    (void)state;
    static const char *const names[] = {"root.pxar.didx", "catalog.pcat1.didx"};
    static const struct expectation expected[] = {
        {"root.pxar", OK, STORED_UNIFIED, "root.pxar.didx", NULL},
        {"root.pxar.didx", OK, STORED_UNIFIED, "root.pxar.didx", NULL},
        {"root.mpxar", NOT_FOUND},
        {"root.ppxar", NOT_FOUND},
        {"root.mpxar.didx", NOT_FOUND},
        {"root.ppxar.didx", NOT_FOUND},
        {"catalog.pcat1", OK, STORED_CATALOG, "catalog.pcat1.didx", NULL},
        {"catalog.pcat1.didx", OK, STORED_CATALOG, "catalog.pcat1.didx", NULL},
    };
    check(names, COUNT(names), expected, COUNT(expected));
}

static void test_a_unified_archive_wins_over_a_pair(void **state)
{
    (void)state;
    static const char *const names[] = {"a.pxar.didx", "a.mpxar.didx", "a.ppxar.didx"};
    static const struct expectation expected[] = {
        {"a.pxar", OK, STORED_UNIFIED, "a.pxar.didx", NULL},
        {"a.mpxar", OK, STORED_SPLIT, "a.mpxar.didx", "a.ppxar.didx"},
    };
    check(names, COUNT(names), expected, COUNT(expected));
}

static void test_images_and_blobs(void **state)
{
    (void)state;
    static const char *const names[] = {"disk.img.fidx", "app.conf.blob", "client.log.blob", "x.blob", "odd.fidx"};
    static const struct expectation expected[] = {
        {"disk.img", OK, STORED_IMAGE, "disk.img.fidx", NULL},
        {"disk.img.fidx", OK, STORED_IMAGE, "disk.img.fidx", NULL},
        {"odd.fidx", OK, STORED_IMAGE, "odd.fidx", NULL},
        {"app.conf", OK, STORED_BLOB, "app.conf.blob", NULL},
        {"app.conf.blob", OK, STORED_BLOB, "app.conf.blob", NULL},
        {"client.log", OK, STORED_BLOB, "client.log.blob", NULL},
        {"x.blob", OK, STORED_BLOB, "x.blob", NULL},
        {"disk.pxar", NOT_FOUND},
        {"disk", NOT_FOUND},
        {"other.img", NOT_FOUND},
        {"app.log", NOT_FOUND},
        {"catalog.pcat1", NOT_FOUND},
        {".img", NOT_FOUND},
        {"", NOT_FOUND},
    };
    check(names, COUNT(names), expected, COUNT(expected));
}

static void test_half_a_pair(void **state)
{
    (void)state;
    static const char *const names[] = {"a.mpxar.didx", "b.ppxar.didx"};
    static const struct expectation expected[] = {{"a.pxar", NOT_FOUND},
                                                  {"a.mpxar", NOT_FOUND},
                                                  {"a.ppxar", NOT_FOUND},
                                                  {"b.pxar", NOT_FOUND},
                                                  {"b.ppxar", NOT_FOUND}};
    check(names, COUNT(names), expected, COUNT(expected));
}

static void test_long_names(void **state)
{
    (void)state;
    static const char *const extensions[] = {".pxar", ".mpxar", ".img", ".conf"};
    static const size_t appended[] = {sizeof ".ppxar.didx" - 1, sizeof ".ppxar.didx" - 1, sizeof ".img.fidx" - 1,
                                      sizeof ".conf.blob" - 1};
    struct manifest m;
    manifest_with(&m, NULL, 0);
    for (size_t i = 0; i < COUNT(extensions); i++) {
        char given[400];
        struct stored_archive found;
        memset(given, 'n', sizeof given);
        size_t stem = 255 - appended[i];
        memcpy(given + stem, extensions[i], strlen(extensions[i]) + 1);
        assert_int_equal(snapshot_resolve(&m, given, &found, NULL), ERR_NOT_FOUND);
        memset(given, 'n', sizeof given);
        memcpy(given + stem + 1, extensions[i], strlen(extensions[i]) + 1);
        assert_int_equal(snapshot_resolve(&m, given, &found, NULL), ERR_USAGE);
    }
    manifest_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_six_names_of_a_split_archive),
        cmocka_unit_test(test_six_names_of_a_unified_archive),
        cmocka_unit_test(test_a_unified_archive_wins_over_a_pair),
        cmocka_unit_test(test_images_and_blobs),
        cmocka_unit_test(test_half_a_pair),
        cmocka_unit_test(test_long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
