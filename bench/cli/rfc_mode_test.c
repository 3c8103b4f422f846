#include "testing/testing.h"

#include "cli/rfc_mode.h"

#include <string.h>

static void make_sources(struct backup_sources *s)
{
    static const char *const words[] = {"a.pxar:/", "b_-1.pxar:/", "c.img:/dev/null", "a.conf:/etc/hostname",
                                        "ab.pxar:/"};
    *s = (struct backup_sources){0};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        assert_int_equal(backup_sources_add(s, words[i], NULL), OK);
}

/* What each source becomes, a letter each: l for one stream, s for two, i and b. */
static enum status apply(const char *spec, char out[8], struct error *err)
{
    struct backup_sources s;
    enum detection_mode mode;
    make_sources(&s);
    *err = (struct error){0};
    enum status status = rfc_mode_apply(spec, &s, &mode, err);
    for (size_t i = 0; i < s.count; i++) {
        char names[2][BACKUP_STORED_NAME_SIZE];
        size_t count = backup_stored_names(&s.items[i], mode, names);
        out[i] = count == 2 ? 's' : strstr(names[0], ".pxar.didx") ? 'l' : strstr(names[0], ".img") ? 'i' : 'b';
    }
    out[s.count] = '\0';
    backup_sources_deinit(&s);
    return status;
}

static void test_what_each_spelling_splits(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *sources;
    } cases[] = {
        {"data", "llibl"},
        {"metadata", "ssibs"},
        {"metadata:a.pxar", "slibl"},
        {"metadata:b_-1.pxar", "lsibl"},
        {"metadata:ab.pxar", "llibs"},
        {"metadata:ab.pxar:a.pxar", "slibs"},
        {"metadata:a.pxar:b_-1.pxar:ab.pxar", "ssibs"},
        {"metadata:a.pxar:a.pxar", "slibl"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char sources[8];
        struct error err;
        assert_int_equal(apply(cases[i].spec, sources, &err), OK);
        assert_string_equal(sources, cases[i].sources);
    }
}

static void test_other_spellings_are_refused(void **state)
{
    (void)state;
    static const char *const specs[] = {
        "",
        "Data",
        "data:a.pxar",
        "legacy",
        "metadata:",
        "metadata:a",
        "metadat",
        "metadataa",
        "metadata:a.pxar:",
        "metadata::a.pxar",
        "metadata:.pxar",
        "metadata,a.pxar",
        "metadata a",
        "data ",
        "metadata:a.pxar,b",
        "metadata:a.pxarx",
        "metadata:a.mpxar",
        "metadata:\xc3\xa4.pxar",
        " metadata",
        "metadata:a.pxar b_-1.pxar",
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        char sources[8];
        struct error err;
        assert_int_equal(apply(specs[i], sources, &err), ERR_USAGE);
        assert_non_null(strstr(err.text, "is neither 'data' nor 'metadata'"));
    }
}

static void test_names_must_be_directories_among_the_sources(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *name;
    } cases[] = {
        {"metadata:x.pxar", "'x.pxar'"},
        {"metadata:a.pxar:aa.pxar", "'aa.pxar'"},
        {"metadata:c.pxar", "'c.pxar'"}, /* an image of that name is none */
        {"metadata:b.pxar", "'b.pxar'"}, /* nor is one that only begins so */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char sources[8];
        struct error err;
        assert_int_equal(apply(cases[i].spec, sources, &err), ERR_USAGE);
        assert_non_null(strstr(err.text, "there is no source"));
        assert_non_null(strstr(err.text, cases[i].name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_each_spelling_splits),
        cmocka_unit_test(test_other_spellings_are_refused),
        cmocka_unit_test(test_names_must_be_directories_among_the_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
