#include "testing/testing.h"

#include "flow/backup.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* bench/spec/datastore.md 8.1. */
static void test_stored_names_of_every_source(void **state)
{
    (void)state;
    static const struct {
        struct backup_source source;
        enum detection_mode mode;
        const char *names[2];
    } cases[] = {
        {{.name = "root", .kind = SOURCE_TREE}, MODE_LEGACY, {"root.pxar.didx"}},
        {{.name = "root", .kind = SOURCE_TREE}, MODE_DATA, {"root.ppxar.didx", "root.mpxar.didx"}},
        {{.name = "root", .kind = SOURCE_TREE}, MODE_METADATA, {"root.ppxar.didx", "root.mpxar.didx"}},
        {{.name = "disk", .kind = SOURCE_IMAGE}, MODE_LEGACY, {"disk.img.fidx"}},
        {{.name = "disk", .kind = SOURCE_IMAGE}, MODE_METADATA, {"disk.img.fidx"}},
        {{.name = "app", .kind = SOURCE_BLOB, .extension = "conf"}, MODE_LEGACY, {"app.conf.blob"}},
        {{.name = "app", .kind = SOURCE_BLOB, .extension = "log"}, MODE_DATA, {"app.log.blob"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char names[2][BACKUP_STORED_NAME_SIZE];
        size_t count = cases[i].names[1] ? 2 : 1;
        assert_int_equal(backup_stored_names(&cases[i].source, cases[i].mode, names), count);
        for (size_t k = 0; k < count; k++)
            assert_string_equal(names[k], cases[i].names[k]);
    }
}

static enum status check(const struct backup_source *sources, size_t count, struct error *err)
{
    struct backup_options options = {.sources = sources, .source_count = count};
    *err = (struct error){0};
    return backup_check(&options, err);
}

static void test_sources_are_checked_against_each_other(void **state)
{
    (void)state;
    struct error err;
    struct backup_source sources[] = {
        {.name = "a", .path = "/", .kind = SOURCE_TREE},
        {.name = "b", .path = "/", .kind = SOURCE_TREE},
        {.name = "a", .path = "/", .kind = SOURCE_TREE},
    };
    assert_int_equal(check(sources, 0, &err), ERR_USAGE);
    assert_int_equal(check(sources, 2, &err), OK);
    assert_int_equal(check(sources, 3, &err), ERR_USAGE);
    assert_string_equal(err.text, "two sources would be stored as 'a.pxar.didx'");
}

static void test_sources_are_of_their_kind(void **state)
{
    (void)state;
    char *dir = temp_dir_make();
    char file[256];
    snprintf(file, sizeof file, "%s/file", dir);
    FILE *f = fopen(file, "we");
    assert_non_null(f);
    fclose(f);
    struct error err;
    const struct {
        struct backup_source source;
        enum status status;
    } cases[] = {
        {{.name = "a", .path = dir, .kind = SOURCE_TREE}, OK},
        {{.name = "a", .path = file, .kind = SOURCE_TREE}, ERR_NOT_FOUND},
        {{.name = "a", .path = dir, .kind = SOURCE_IMAGE}, ERR_NOT_FOUND},
        {{.name = "a", .path = file, .kind = SOURCE_IMAGE}, ERR_FORMAT}, /* empty */
        {{.name = "a", .path = file, .kind = SOURCE_BLOB, .extension = "conf"}, OK},
        {{.name = "a", .path = dir, .kind = SOURCE_BLOB, .extension = "conf"}, ERR_NOT_FOUND},
        {{.name = "a", .path = "/none/such", .kind = SOURCE_BLOB, .extension = "conf"}, ERR_IO},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(check(&cases[i].source, 1, &err), cases[i].status);
    temp_dir_remove(dir);
}

static void test_split_archives_need_utf8_patterns(void **state)
{
    (void)state;
    struct error err = {0};
    struct pattern_list *patterns;
    assert_int_equal(pattern_list_new(&patterns, &err), OK);
    assert_int_equal(pattern_list_add_option(patterns, "\xff", false, &err), OK);
    const struct backup_source source = {.name = "a", .path = "/", .kind = SOURCE_TREE};
    struct backup_options options = {.sources = &source, .source_count = 1, .archive.walk.patterns = patterns};
    for (int mode = MODE_LEGACY; mode <= MODE_METADATA; mode++) {
        options.archive.mode = (enum detection_mode)mode;
        assert_int_equal(backup_check(&options, &err), mode == MODE_LEGACY ? OK : ERR_USAGE);
    }
    pattern_list_free(patterns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stored_names_of_every_source),
        cmocka_unit_test(test_sources_are_checked_against_each_other),
        cmocka_unit_test(test_sources_are_of_their_kind),
        cmocka_unit_test(test_split_archives_need_utf8_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
