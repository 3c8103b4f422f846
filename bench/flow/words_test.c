#include "testing/testing.h"

#include "flow/words.h"

#include <string.h>

static struct error err;

/* `wanted`: words joined by '|'. */
static void check(const char *text, const char *wanted)
{
    struct words w;
    char joined[256] = "";
    assert_int_equal(words_split(text, &w, &err), OK);
    for (size_t i = 0; i < w.count; i++) {
        strcat(joined, i ? "|" : "");
        strcat(joined, w.items[i]);
    }
    assert_null(w.items[w.count]);
    assert_string_equal(joined, wanted);
    words_deinit(&w);
}

static void test_words(void **state)
{
    (void)state;
    check("a", "a");
    check("  a\tb\n c ", "a|b|c");
    check("a'b c'd \"e f\"", "ab cd|e f");
    check("'' \"\"", "|");
    check("'a\\n\"$x`y`'", "a\\n\"$x`y`");
    check("\"a\\\"\\\\\\$\\`\\n\\\nb'c\"", "a\"\\$`\\nb'c");
    check("a\\ b \\'c\\\" \\\\", "a b|'c\"|\\");
    check("a\\\nb \\\n c", "ab|c");
    check("$HOME ~ * ;x # y |", "$HOME|~|*|;x|#|y||");
    words_deinit(&(struct words){0});
}

static void test_rejects(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "  \n", "'", "a 'b", "\"", "\"a\\\"", "a\\"};
    struct words w;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_int_equal(words_split(texts[i], &w, &err), ERR_USAGE);
    char many[2 * WORDS_MAX + 3];
    for (size_t i = 0; i <= WORDS_MAX; i++)
        memcpy(many + 2 * i, "a ", 3);
    assert_int_equal(words_split(many, &w, &err), ERR_USAGE);
    many[2 * WORDS_MAX] = '\0';
    assert_int_equal(words_split(many, &w, &err), OK);
    assert_int_equal(w.count, WORDS_MAX);
    words_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words), cmocka_unit_test(test_rejects)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
