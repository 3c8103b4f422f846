#include "testing/testing.h"

#include "base/log.h"
#include "tree/pattern.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct pattern_list *new_list(void)
{
    struct error err = {0};
    struct pattern_list *l = NULL;
    assert_int_equal(pattern_list_new(&l, &err), OK);
    return l;
}

static void add(struct pattern_list *l, const char *text, enum pattern_result type, bool anchored)
{
    struct error err = {0};
    enum status s = pattern_list_add(l, text, strlen(text), type, anchored, &err);
    if (s != OK)
        print_error("%s\n", err.text);
    assert_int_equal(s, OK);
}

static enum pattern_result match(const struct pattern_list *l, const char *path, uint8_t type)
{
    return pattern_list_match(l, path, strlen(path), type);
}

/* The answer of one pattern alone. */
static enum pattern_result match_one(const char *text, bool anchored, const char *path, uint8_t type)
{
    struct pattern_list *l = new_list();
    add(l, text, PATTERN_EXCLUDE, anchored);
    enum pattern_result result = match(l, path, type);
    pattern_list_free(l);
    return result;
}

/* Standard error of what runs in between, in a file: as many lines as come. */
struct capture {
    int saved;
    FILE *file;
};

static struct capture capture_begin(void)
{
    struct capture c = {dup(STDERR_FILENO), tmpfile()};
    assert_non_null(c.file);
    assert_int_equal(dup2(fileno(c.file), STDERR_FILENO), STDERR_FILENO);
    return c;
}

/* The caller frees the text. */
static char *capture_end(struct capture *c)
{
    dup2(c->saved, STDERR_FILENO);
    close(c->saved);
    long size = lseek(fileno(c->file), 0, SEEK_END);
    assert_true(size >= 0);
    char *text = calloc(1, (size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(pread(fileno(c->file), text, (size_t)size, 0), size);
    fclose(c->file);
    return text;
}

/* ---- one pattern ---- */

struct vector {
    const char *pattern;
    const char *path;
    uint8_t type;
    enum pattern_result expected;
    bool anchored;
};

static void check_vectors(const struct vector *v, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        enum pattern_result got = match_one(v[i].pattern, v[i].anchored, v[i].path, v[i].type);
        if (got != v[i].expected)
            print_error("pattern \"%s\" on \"%s\"\n", v[i].pattern, v[i].path);
        assert_int_equal(got, v[i].expected);
    }
}

#define NONE PATTERN_NO_MATCH
#define EXCL PATTERN_EXCLUDE

static void test_vectors_of_the_specification(void **state)
{
    (void)state;
    static const struct vector vectors[] = {
        {"foo", "/a/foo", DT_REG, EXCL, false},
        {"foo", "/foo/a", DT_REG, NONE, false},
        {"/foo", "/a/foo", DT_REG, NONE, false},
        {"a/foo", "/x/a/foo", DT_REG, EXCL, false},
        {"a/foo", "/xa/foo", DT_REG, NONE, false},
        {"foo/", "/foo", DT_DIR, EXCL, false},
        {"foo/", "/foo", DT_REG, NONE, false},
        {"foo/", "/foo", DT_LNK, NONE, false},
        {"foo//", "/foo", DT_DIR, EXCL, false},
        {"*", "/a/foo", DT_REG, EXCL, false},
        {"*.tmp", "/.tmp", DT_REG, EXCL, false},
        {"a*b", "/a/b", DT_REG, NONE, false},
        {"a?b", "/a/b", DT_REG, NONE, false},
        {"*/x", "/x", DT_REG, EXCL, false},
        {"/foo*", "/foobar/baz", DT_REG, NONE, false},
        {"\\*", "/x", DT_REG, NONE, false},
        {"d/x", "/d/x", DT_REG, NONE, true},
        {"!x", "/x", DT_REG, PATTERN_INCLUDE, false},
        {"**/*.tmp", "/x.tmp", DT_REG, EXCL, false},
        {"/**/x", "/x", DT_REG, EXCL, false},
        {"/a/**", "/a", DT_DIR, NONE, false},
        {"/a/**", "/a/b/c", DT_REG, EXCL, false},
        {"a/**/b", "/a/b", DT_REG, EXCL, false},
        {"a**b", "/axyb", DT_REG, EXCL, false},
        {"a**b", "/a/b", DT_REG, NONE, false},
        {"**a", "/x/ya", DT_REG, EXCL, false},
        {"[^abc]", "/d", DT_REG, EXCL, false},
        {"[!abc]", "/d", DT_REG, NONE, false},
        {"[!abc]", "/!", DT_REG, EXCL, false},
        {"x[^a]y", "/x/y", DT_REG, EXCL, false},
        {"[]a]", "/a", DT_REG, NONE, false},
        {"[c-a]x", "/bx", DT_REG, EXCL, false},
        {"[-a]", "/-", DT_REG, EXCL, false},
        {"/d/x", "/d/x", DT_REG, EXCL, true},
        {"lost+found", "/a/lost+found", DT_REG, EXCL, false},
    };
    check_vectors(vectors, sizeof vectors / sizeof *vectors);
}

static void test_rules_beyond_the_vectors(void **state)
{
    (void)state;
    static const struct vector vectors[] = {
        /* bytes, not characters */
        {"?", "/\xc3\xa4", DT_REG, NONE, false},
        {"??", "/\xc3\xa4", DT_REG, EXCL, false},
        /* stars: more of them collapse, unbounded pairs are one star */
        {"/a/***/b", "/a/x/y/b", DT_REG, EXCL, false},
        {"/a/**/b", "/a/xb", DT_REG, NONE, false},
        {"/a/**/**/b", "/a/b", DT_REG, EXCL, false},
        {"/a/**/**", "/a/b", DT_REG, EXCL, false},
        {"/a/**/*", "/a/x/y", DT_REG, EXCL, false},
        {"/a/**b", "/a/x/b", DT_REG, NONE, false},
        {"/a**/b", "/a/x/b", DT_REG, NONE, false},
        {"/a/*/b", "/a/b", DT_REG, NONE, false},
        {"**", "/a/b", DT_REG, EXCL, true},
        {"**/b", "/a/b", DT_REG, EXCL, true},
        {"*b", "/b", DT_REG, NONE, true},
        /* the star before a set that takes '/' has more than one end to try */
        {"/*[^x]*", "/bc/d", DT_REG, EXCL, true},
        {"/*[^x]e*", "/bc/ed", DT_REG, EXCL, true},
        /* a star inside ** has to give way to another place of ** */
        {"/**/a*b", "/a/x/acb", DT_REG, EXCL, true},
        {"/**/a*b", "/ab/a/xb", DT_REG, NONE, true},
        /* components above the directory */
        {"x/a", "/x/a", DT_REG, EXCL, false},
        /* the tail is there, what comes before it is not */
        {"x*.tmp", "/y/a.tmp", DT_REG, NONE, false},
        {"foo", "/barfoo", DT_REG, NONE, false},
        {"foobarbaz", "/foo", DT_REG, NONE, false},
        /* escapes */
        {"a\\bc", "/abc", DT_REG, EXCL, false},
        {"\\[a]", "/[a]", DT_REG, EXCL, false},
        {"\\!x", "/!x", DT_REG, EXCL, false},
        {"/a\\/**\\/b", "/a/b", DT_REG, EXCL, false},
        {"[\\]]", "/]", DT_REG, EXCL, false},
        {"[a\\-c]", "/b", DT_REG, NONE, false},
        {"[a\\-c]", "/-", DT_REG, EXCL, false},
        /* sets */
        {"[--a]", "/a", DT_REG, EXCL, false},
        {"[a-\\]]", "/^", DT_REG, EXCL, false},
        {"[^-a]x", "/-x", DT_REG, NONE, false},
        {"[a^]", "/^", DT_REG, EXCL, false},
        {"[[a]", "/[", DT_REG, EXCL, false},
        {"x[^]y", "/xzy", DT_REG, EXCL, false},
        {"x[]y", "/xzy", DT_REG, NONE, false},
        {"[a-c-e]", "/d", DT_REG, NONE, false},
        {"[a-c-e]", "/-", DT_REG, EXCL, false},
        {"[\xc3][\x80-\xff]", "/\xc3\xa4", DT_REG, EXCL, false},
        {"[[:digit:]-]", "/-", DT_REG, EXCL, false},
        {"[[:digit:]-z]", "/y", DT_REG, NONE, false},
        /* accepted, and below the root they match nothing */
        {"", "/a", DT_DIR, NONE, false},
        {"!", "/a", DT_DIR, NONE, false},
        {"/", "/a", DT_DIR, NONE, false},
        {"///", "/a", DT_DIR, NONE, false},
    };
    check_vectors(vectors, sizeof vectors / sizeof *vectors);
}

static void test_classes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *members; /* pairs of first and last byte */
        bool del, controls;
    } classes[] = {
        {"alnum", "09AZaz", false, false},   {"alpha", "AZaz", false, false},   {"digit", "09", false, false},
        {"graph", "!~", false, false},       {"lower", "az", false, false},     {"print", " ~", true, false},
        {"punct", "!/:@[`{~", false, false}, {"upper", "AZ", false, false},     {"xdigit", "09AFaf", false, false},
        {"cntrl", "", true, true},           {"blank", "  \t\t", false, false}, {"space", "  \t\n\f\r", false, false},
    };
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        char text[32];
        snprintf(text, sizeof text, "/x[[:%s:]]", classes[i].name);
        struct pattern_list *l = new_list();
        add(l, text, PATTERN_EXCLUDE, true);
        for (unsigned c = 1; c < 256; c++) {
            bool expected = (c == 0x7f && classes[i].del) || (c < 0x20 && classes[i].controls);
            for (const char *m = classes[i].members; *m; m += 2)
                expected |= c >= (uint8_t)m[0] && c <= (uint8_t)m[1];
            char path[] = {'/', 'x', (char)c, '\0'};
            if ((match(l, path, DT_REG) == PATTERN_EXCLUDE) != expected)
                print_error("class %s, byte %u\n", classes[i].name, c);
            assert_int_equal(match(l, path, DT_REG) == PATTERN_EXCLUDE, expected);
        }
        pattern_list_free(l);
    }
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        const char *sentence;
    } bad[] = {
        {"[abc", 4, "pattern \"[abc\": set without end at byte 0"},
        {"x[^abc", 6, "pattern \"x[^abc\": set without end at byte 1"},
        {"[a-]", 4, "pattern \"[a-]\": range without end at byte 1"},
        {"[a-", 3, "pattern \"[a-\": range without end at byte 1"},
        {"[[:digit:]--]", 13, "pattern \"[[:digit:]--]\": range without end at byte 10"},
        {"[", 1, "pattern \"[\": set without end at byte 0"},
        {"[^", 2, "pattern \"[^\": set without end at byte 0"},
        {"a\\", 2, "pattern \"a\\\": backslash without a byte after it at byte 1"},
        {"a\\/", 3, "pattern \"a\\/\": backslash without a byte after it at byte 1"},
        {"[a\\", 3, "pattern \"[a\\\": backslash without a byte after it at byte 2"},
        {"[a-\\", 4, "pattern \"[a-\\\": backslash without a byte after it at byte 3"},
        {"!ab[[:foo:]]", 12, "pattern \"!ab[[:foo:]]\": unknown class at byte 4"},
        {"[[:alpha]", 9, "pattern \"[[:alpha]\": unknown class at byte 1"},
        {"[[:", 3, "pattern \"[[:\": unknown class at byte 1"},
        {"a\0b", 3, "pattern \"a\\x01b\": NUL at byte 1"},
        {"\0", 1, "pattern \"\\x01\": NUL at byte 0"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        struct pattern_list *l = new_list();
        add(l, "kept", PATTERN_EXCLUDE, false);
        /* exactly as much memory as there is text, for the address sanitizer */
        char *text = malloc(bad[i].size);
        assert_non_null(text);
        memcpy(text, bad[i].text, bad[i].size);
        assert_int_equal(pattern_list_add(l, text, bad[i].size, PATTERN_EXCLUDE, false, &err), ERR_FORMAT);
        assert_string_equal(err.text, bad[i].sentence);
        assert_int_equal(pattern_list_count(l), 1);
        assert_int_equal(match(l, "/kept", DT_REG), PATTERN_EXCLUDE);
        free(text);
        pattern_list_free(l);
    }
}

static void test_limit_of_the_size(void **state)
{
    (void)state;
    struct error err = {0};
    struct pattern_list *l = new_list();
    char *text = malloc(PATTERN_SIZE_MAX + 2);
    char *path = malloc(PATTERN_SIZE_MAX + 2);
    assert_true(text && path);
    for (int shape = 0; shape < 3; shape++) {
        memset(text, shape == 1 ? '?' : 'a', PATTERN_SIZE_MAX + 1);
        memset(path, 'a', PATTERN_SIZE_MAX + 1);
        path[0] = '/';
        if (shape == 2)
            text[0] = '?';
        assert_int_equal(pattern_list_add(l, text, PATTERN_SIZE_MAX, PATTERN_EXCLUDE, false, &err), OK);
        assert_int_equal(pattern_list_match(l, path, PATTERN_SIZE_MAX + 1, DT_REG), PATTERN_EXCLUDE);
        assert_int_equal(pattern_list_match(l, path, PATTERN_SIZE_MAX, DT_REG), PATTERN_NO_MATCH);
        assert_int_equal(pattern_list_add(l, text, PATTERN_SIZE_MAX + 1, PATTERN_EXCLUDE, false, &err), ERR_LIMIT);
        pattern_list_cut(l, 0);
    }
    free(text);
    free(path);
    pattern_list_free(l);
}

/* ---- against a matcher that is slow and plain ---- */

/* Whether text[0, n) matches path[0, m), read straight off A5.1: tries everything. `previous`: the byte of the pattern
 * before text, '/' at its start. No classes and no escapes outside sets. */
static bool slow_set(const char *set, size_t n, char c)
{
    bool complement = n > 0 && set[0] == '^';
    bool in = false;
    for (size_t i = complement; i < n; i++) {
        if (i + 2 < n && set[i + 1] == '-') {
            char low = set[i] < set[i + 2] ? set[i] : set[i + 2], high = set[i] < set[i + 2] ? set[i + 2] : set[i];
            in |= c >= low && c <= high;
            i += 2;
        } else {
            in |= c == set[i];
        }
    }
    return in != complement;
}

static bool slow(const char *text, const char *start, const char *path)
{
    if (*text == '\0')
        return *path == '\0';
    if (*text == '*') {
        const char *after = text;
        while (*after == '*')
            after++;
        bool left = text == start || text[-1] == '/';
        bool right = *after == '\0' || *after == '/';
        bool crosses = after - text > 1 && left && right;
        if (crosses && text != start && *after == '/' && slow(after + 1, start, path))
            return true; /* the '/' before was the single one */
        for (;; path++) {
            if (slow(after, start, path))
                return true;
            if (*path == '\0' || (*path == '/' && !crosses))
                return false;
        }
    }
    if (*path == '\0')
        return false;
    if (*text == '[') {
        const char *close = strchr(text, ']');
        return slow_set(text + 1, (size_t)(close - text - 1), *path) && slow(close + 1, start, path + 1);
    }
    if (*text == '?')
        return *path != '/' && slow(text + 1, start, path + 1);
    return *text == *path && slow(text + 1, start, path + 1);
}

static bool slow_suffixes(const char *text, const char *path)
{
    if (slow(text, text, path))
        return true;
    for (const char *at = path; *at; at++) {
        if (*at == '/' && slow(text, text, at + 1))
            return true;
    }
    return false;
}

static uint64_t random_next(uint64_t *x)
{
    *x = *x * 6364136223846793005U + 1442695040888963407U;
    return *x >> 33;
}

static void test_equals_the_slow_matcher(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a",    "b",    "/",    "/",  "*",      "**",  "/**/", "/**/",
                                         "[ab]", "[^a]", "[^/]", "[]", "[b-a/]", "***", "?",    "/*"};
    uint64_t x = 20240229;
    unsigned matches = 0, rounds = 60000;
    for (unsigned round = 0; round < rounds; round++) {
        char text[64] = "", path[24];
        for (unsigned count = 1 + (unsigned)(random_next(&x) % 7); count > 0; count--)
            strcat(text, pieces[random_next(&x) % (sizeof pieces / sizeof *pieces)]);
        size_t end = strlen(text);
        while (end > 0 && text[end - 1] == '/') /* directories only: not a matter of the pattern itself */
            text[--end] = '\0';
        if (end == 0)
            continue;
        struct pattern_list *unanchored = new_list(), *anchored = new_list();
        add(unanchored, text, PATTERN_EXCLUDE, false);
        add(anchored, text, PATTERN_EXCLUDE, true);
        for (unsigned k = 0; k < 12; k++) {
            size_t size = 0;
            for (unsigned count = 1 + (unsigned)(random_next(&x) % 8); count > 0; count--) {
                if (size == 0 || (path[size - 1] != '/' && random_next(&x) % 3 == 0))
                    path[size++] = '/';
                path[size++] = "abb"[random_next(&x) % 3];
            }
            path[size] = '\0';
            bool expected = slow_suffixes(text, path), expected_whole = slow(text, text, path);
            if ((match(unanchored, path, DT_REG) == PATTERN_EXCLUDE) != expected ||
                (match(anchored, path, DT_REG) == PATTERN_EXCLUDE) != expected_whole)
                print_error("pattern \"%s\" on \"%s\"\n", text, path);
            assert_int_equal(match(unanchored, path, DT_REG) == PATTERN_EXCLUDE, expected);
            assert_int_equal(match(anchored, path, DT_REG) == PATTERN_EXCLUDE, expected_whole);
            matches += expected;
        }
        pattern_list_free(unanchored);
        pattern_list_free(anchored);
    }
    assert_true(matches > rounds && matches < rounds * 11); /* both answers are common */
}

/* Whoever backtracks does not come back from here, and size x size x size is minutes. */
static void test_hostile_patterns_take_size_times_size(void **state)
{
    (void)state;
    static const char *const pieces[] = {"*a", "**/", "*a/", "/**/*", "*[^x]", "?*", "/**/a*"};
    enum { PATH = 4000, PATTERN = 8000 };
    char *path = malloc(PATH + 1), *text = malloc(PATTERN + 64);
    assert_true(path && text);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        for (int slashes = 0; slashes < 2; slashes++) {
            for (size_t k = 0; k < PATH; k++)
                path[k] = (slashes ? k % 2 == 0 : k == 0) ? '/' : 'a';
            path[PATH] = '\0';
            path[PATH - 2] = 'z';
            size_t size = 0;
            while (size + strlen(pieces[i]) < PATTERN / 3) {
                memcpy(text + size, pieces[i], strlen(pieces[i]));
                size += strlen(pieces[i]);
            }
            memcpy(text + size, "*y*", 4); /* never matches, and only the end tells */
            assert_int_equal(match_one(text, false, path, DT_REG), PATTERN_NO_MATCH);
            memcpy(text + size, "*z*", 4);
            (void)match_one(text, false, path, DT_REG);
        }
    }
    free(path);
    free(text);
}

/* ---- lists ---- */

static void test_last_match_decides(void **state)
{
    (void)state;
    struct pattern_list *l = new_list();
    assert_int_equal(match(l, "/a", DT_REG), PATTERN_NO_MATCH);
    add(l, "*.o", PATTERN_EXCLUDE, false);
    add(l, "!keep.o", PATTERN_EXCLUDE, false);
    assert_int_equal(match(l, "/d/x.o", DT_REG), PATTERN_EXCLUDE);
    assert_int_equal(match(l, "/d/keep.o", DT_REG), PATTERN_INCLUDE);
    assert_int_equal(match(l, "/d/x.c", DT_REG), PATTERN_NO_MATCH);
    add(l, "/d/keep.o", PATTERN_EXCLUDE, true);
    assert_int_equal(match(l, "/d/keep.o", DT_REG), PATTERN_EXCLUDE);
    assert_int_equal(match(l, "/e/keep.o", DT_REG), PATTERN_INCLUDE);
    assert_int_equal(pattern_list_count(l), 3);
    pattern_list_cut(l, 1); /* the directory is left: its patterns do not reach its siblings */
    assert_int_equal(match(l, "/d/keep.o", DT_REG), PATTERN_EXCLUDE);
    assert_int_equal(match(l, "/e/keep.o", DT_REG), PATTERN_EXCLUDE);
    pattern_list_cut(l, 1);
    pattern_list_cut(l, 0);
    assert_int_equal(match(l, "/e/keep.o", DT_REG), PATTERN_NO_MATCH);
    pattern_list_free(l);
    pattern_list_free(NULL);
}

static void test_include_lists_of_a_restore(void **state)
{
    (void)state;
    struct pattern_list *l = new_list();
    add(l, "/etc/**", PATTERN_INCLUDE, false);
    add(l, "!*.bak", PATTERN_INCLUDE, false);
    assert_int_equal(match(l, "/etc/a/b", DT_REG), PATTERN_INCLUDE);
    assert_int_equal(match(l, "/etc/a.bak", DT_REG), PATTERN_EXCLUDE);
    assert_int_equal(match(l, "/var", DT_DIR), PATTERN_NO_MATCH);
    pattern_list_free(l);
}

static void test_type_is_asked_for_only_when_it_decides(void **state)
{
    (void)state;
    struct pattern_list *l = new_list();
    add(l, "a*", PATTERN_EXCLUDE, false);
    add(l, "!ab/", PATTERN_EXCLUDE, false);
    add(l, "abc", PATTERN_EXCLUDE, false);
    assert_int_equal(match(l, "/ab", DT_UNKNOWN), PATTERN_NEEDS_TYPE);
    assert_int_equal(match(l, "/ab", DT_DIR), PATTERN_INCLUDE);
    assert_int_equal(match(l, "/ab", DT_REG), PATTERN_EXCLUDE);
    assert_int_equal(match(l, "/ab", DT_LNK), PATTERN_EXCLUDE);
    assert_int_equal(match(l, "/ac", DT_UNKNOWN), PATTERN_EXCLUDE);  /* no directory-only pattern fits */
    assert_int_equal(match(l, "/abc", DT_UNKNOWN), PATTERN_EXCLUDE); /* decided before one is met */
    assert_int_equal(match(l, "/b", DT_UNKNOWN), PATTERN_NO_MATCH);
    pattern_list_free(l);
}

static void check_text(const struct pattern_list *l, const char *expected)
{
    struct error err = {0};
    struct buffer text = BUFFER_INIT(0);
    assert_int_equal(pattern_list_text(l, &text, &err), OK);
    assert_int_equal(buffer_append_u8(&text, 0, &err), OK);
    assert_string_equal((const char *)text.data, expected);
    buffer_deinit(&text);
}

static void test_text_for_archives(void **state)
{
    (void)state;
    struct error err = {0};
    struct pattern_list *l = new_list();
    check_text(l, "");
    static const char *const options[] = {"foo/", "!bar", "/x//"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pattern_list_add_option(l, options[i], false, &err), OK);
    check_text(l, "foo/\n!bar\n/x/\n");
    add(l, "", PATTERN_EXCLUDE, false);
    add(l, "!!y", PATTERN_EXCLUDE, false);
    add(l, "lost+found", PATTERN_EXCLUDE, false);
    check_text(l, "foo/\n!bar\n/x/\n//\n!!y\nlost+found\n");
    pattern_list_free(l);
}

/* ---- normalising, escaping ---- */

static void test_normalise(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"a", "a"},
        {"/a", "/a"},
        {"a/", "a/"},
        {"/a/", "/a/"},
        {"", ""},
        {"/", "/"},
        {"//", "/"},
        {"./a", "a"},
        {"a//f", "a/f"},
        {"a/../b", "b"},
        {"/x//", "/x/"},
        {"foo//", "foo/"},
        {"/..", "/"},
        {"../a", "a"},
        {"/../../a", "/a"},
        {"a/b/../../..", ""},
        {"a/b/..", "a"},
        {"/a/..", "/"},
        {"/a/b/../c/", "/a/c/"},
        {".", ""},
        {"./", ""},
        {"a/.", "a"},
        {"a/./", "a/"},
        {"!./x", "!./x"},
        {"!a//x", "!a/x"},
        {"...", "..."},
        {"a/.../b", "a/.../b"},
        {".a/..b", ".a/..b"},
        {"\\../x", "\\../x"},
        {"**//x", "**/x"},
    };
    struct buffer out = BUFFER_INIT(0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        bool changed = false;
        assert_int_equal(pattern_normalise(cases[i].text, strlen(cases[i].text), &out, &changed, &err), OK);
        assert_string_equal((const char *)out.data, cases[i].expected);
        assert_int_equal(out.size, strlen(cases[i].expected));
        assert_int_equal(changed, strcmp(cases[i].text, cases[i].expected) != 0);
    }
    buffer_deinit(&out);
}

static void test_options_are_normalised_with_a_warning(void **state)
{
    (void)state;
    struct error err = {0};
    struct pattern_list *l = new_list();
    struct capture c = capture_begin();
    enum status plain = pattern_list_add_option(l, "a/b/", true, &err);
    enum status changed = pattern_list_add_option(l, "./a\n//b", true, &err);
    enum status kept = pattern_list_add_option(l, "./c", false, &err);
    enum status bad = pattern_list_add_option(l, ".//[", true, &err);
    char *text = capture_end(&c);
    assert_int_equal(plain, OK);
    assert_int_equal(changed, OK);
    assert_int_equal(kept, OK);
    assert_int_equal(bad, ERR_FORMAT);
    assert_string_equal(text, "Sanitized exclude pattern. Given: \"./a\\x0a//b\", used: \"a\\x0a/b\"\n"
                              "Sanitized exclude pattern. Given: \".//[\", used: \"[\"\n");
    free(text);
    check_text(l, "a/b/\na\n/b\n./c\n");
    assert_int_equal(match(l, "/c", DT_REG), PATTERN_NO_MATCH);
    pattern_list_free(l);
}

static void test_escape(void **state)
{
    (void)state;
    struct error err = {0};
    struct buffer out = BUFFER_INIT(0);
    static const char name[] = "!a*b?[c]\\d!-^";
    assert_int_equal(buffer_append_u8(&out, '/', &err), OK);
    assert_int_equal(pattern_escape(name, strlen(name), &out, &err), OK);
    assert_int_equal(buffer_append_u8(&out, 0, &err), OK);
    assert_string_equal((const char *)out.data, "/\\!a\\*b\\?\\[c]\\\\d!-^");
    char path[32];
    snprintf(path, sizeof path, "/%s", name);
    assert_int_equal(match_one((const char *)out.data, true, path, DT_REG), PATTERN_EXCLUDE);
    assert_int_equal(match_one((const char *)out.data + 1, false, path, DT_REG), PATTERN_EXCLUDE);
    buffer_deinit(&out);
    assert_true(pattern_is_literal("/a]b/c!", 7));
    static const char *const meaning[] = {"", "a*", "?", "[a", "a\\b", "!a", "a/"};
    for (size_t i = 0; i < sizeof meaning / sizeof *meaning; i++)
        assert_false(pattern_is_literal(meaning[i], strlen(meaning[i])));
    assert_false(pattern_is_literal("a\0b", 3));
}

/* ---- .pxarexclude ---- */

static void add_lines(struct pattern_list *l, const char *dir, const char *lines)
{
    struct error err = {0};
    assert_int_equal(pattern_list_add_lines(l, dir, (const uint8_t *)lines, strlen(lines), &err), OK);
}

static void test_lines(void **state)
{
    (void)state;
    struct pattern_list *l = new_list();
    add_lines(l, "/d",
              "# comment\n"
              "\n"
              "  \t\r\f\n"
              "  # another\r\n"
              "/x\r\n"
              "!/y\n"
              "\t!z \n"
              "u\n"
              "!!v\n"
              "\va\n"
              "!!/w\n"
              "last one#");
    check_text(l, "/d/x\n!/d/y\n!z\nu\nv\n\va\n/w\nlast one#\n");
    assert_int_equal(match(l, "/d/x", DT_REG), PATTERN_EXCLUDE);
    assert_int_equal(match(l, "/d/d/x", DT_REG), PATTERN_NO_MATCH);
    assert_int_equal(match(l, "/d/y", DT_REG), PATTERN_INCLUDE);
    assert_int_equal(match(l, "/d/e/y", DT_REG), PATTERN_NO_MATCH);
    assert_int_equal(match(l, "/d/e/z", DT_REG), PATTERN_INCLUDE);
    assert_int_equal(match(l, "/d/e/u", DT_REG), PATTERN_EXCLUDE);
    assert_int_equal(match(l, "/d/v", DT_REG), PATTERN_EXCLUDE); /* inverted twice */
    pattern_list_cut(l, 0);
    add_lines(l, "", "/x\n!/y/\n");
    check_text(l, "/x\n!/y/\n");
    add_lines(l, "", "");
    assert_int_equal(pattern_list_count(l), 2);
    pattern_list_free(l);
}

static void test_lines_are_normalised(void **state)
{
    (void)state;
    struct pattern_list *l = new_list();
    struct capture c = capture_begin();
    add_lines(l, "/d", "/a/../b//\n!./c\n");
    char *text = capture_end(&c);
    assert_string_equal(text, "Sanitized exclude pattern. Given: \"/d/a/../b//\", used: \"/d/b/\"\n"
                              "Sanitized exclude pattern. Given: \"./c\", used: \"c\"\n");
    free(text);
    check_text(l, "/d/b/\n!c\n");
    pattern_list_free(l);
}

static void test_directory_names_have_no_meaning_in_lines(void **state)
{
    (void)state;
    static const char *const names[] = {"/[", "/a*", "/b\\", "/q?/!x", "/[a]"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct pattern_list *l = new_list();
        add_lines(l, names[i], "/*.x");
        char path[32];
        snprintf(path, sizeof path, "%s/f.x", names[i]);
        assert_int_equal(match(l, path, DT_REG), PATTERN_EXCLUDE);
        assert_int_equal(match(l, "/a/f.x", DT_REG), PATTERN_NO_MATCH);
        assert_int_equal(match(l, "/ab/f.x", DT_REG), PATTERN_NO_MATCH);
        pattern_list_free(l);
    }
}

static void test_bad_lines_are_logged_and_skipped(void **state)
{
    (void)state;
    struct error err = {0};
    struct pattern_list *l = new_list();
    struct capture c = capture_begin();
    static const char lines[] = "good\n[abc\na\0b\nx\\\n/also good\n";
    enum status s = pattern_list_add_lines(l, "/d\n", (const uint8_t *)lines, sizeof lines - 1, &err);
    add_lines(l, "", "[");
    char *text = capture_end(&c);
    assert_int_equal(s, OK);
    assert_string_equal(text,
                        "error: bad pattern in \"/d\\x0a\": pattern \"[abc\": set without end at byte 0\n"
                        "error: bad pattern in \"/d\\x0a\": pattern \"a\\x01b\": NUL at byte 1\n"
                        "error: bad pattern in \"/d\\x0a\": pattern \"x\\\": backslash without a byte after it at "
                        "byte 1\n"
                        "error: bad pattern in \"/\": pattern \"[\": set without end at byte 0\n");
    free(text);
    check_text(l, "good\n/d\n/also good\n");
    pattern_list_free(l);
}

static void test_overlong_line_is_a_bad_one(void **state)
{
    (void)state;
    struct error err = {0};
    struct pattern_list *l = new_list();
    enum { SIZE = 1 << 20 };
    char *lines = malloc(SIZE + 8);
    assert_non_null(lines);
    memset(lines, 'a', SIZE);
    memcpy(lines + SIZE, "\nafter\n", 8);
    struct capture c = capture_begin();
    enum status s = pattern_list_add_lines(l, "/d", (const uint8_t *)lines, SIZE + 7, &err);
    char *text = capture_end(&c);
    assert_int_equal(s, OK);
    assert_non_null(strstr(text, "bad pattern in \"/d\": "));
    assert_non_null(strstr(text, "1048576 bytes are more than the limit of 65536"));
    free(text);
    free(lines);
    check_text(l, "after\n");
    pattern_list_free(l);
}

static void test_tree_vector_of_the_specification(void **state)
{
    (void)state;
    struct pattern_list *l = new_list();
    add_lines(l, "", "/subfolder0/file1\n/subfolder1/*\n!/subfolder1/file2\n");
    size_t root = pattern_list_count(l);
    static const struct {
        const char *path;
        uint8_t type;
        bool kept;
    } entries[] = {
        {"/.pxarexclude", DT_REG, true},
        {"/subfolder0", DT_DIR, true},
        {"/subfolder0/.pxarexclude", DT_REG, true},
        {"/subfolder0/file0", DT_REG, true},
        {"/subfolder0/file1", DT_REG, false},
        {"/subfolder0/file2", DT_REG, true},
        {"/subfolder0/file3", DT_REG, false},
        {"/subfolder1", DT_DIR, true},
        {"/subfolder1/file0", DT_REG, false},
        {"/subfolder1/file1", DT_REG, false},
        {"/subfolder1/file2", DT_REG, true},
        {"/subfolder1/file3", DT_REG, false},
    };
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        if (strncmp(entries[i].path, "/subfolder0/", 12) == 0 && pattern_list_count(l) == root)
            add_lines(l, "/subfolder0", "file3");
        if (strncmp(entries[i].path, "/subfolder1", 11) == 0)
            pattern_list_cut(l, root);
        assert_int_equal(match(l, entries[i].path, entries[i].type) != PATTERN_EXCLUDE, entries[i].kept);
    }
    pattern_list_free(l);
}

static void test_options_can_be_undone_by_lines(void **state)
{
    (void)state;
    struct error err = {0};
    struct pattern_list *l = new_list();
    assert_int_equal(pattern_list_add_option(l, "*.log", true, &err), OK);
    assert_int_equal(pattern_list_add_option(l, "lost+found", true, &err), OK);
    add_lines(l, "/d", "!keep.log");
    assert_int_equal(match(l, "/d/keep.log", DT_REG), PATTERN_INCLUDE);
    assert_int_equal(match(l, "/d/other.log", DT_REG), PATTERN_EXCLUDE);
    assert_int_equal(match(l, "/d/e/lost+found", DT_DIR), PATTERN_EXCLUDE);
    pattern_list_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_of_the_specification),
        cmocka_unit_test(test_rules_beyond_the_vectors),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_limit_of_the_size),
        cmocka_unit_test(test_equals_the_slow_matcher),
        cmocka_unit_test(test_hostile_patterns_take_size_times_size),
        cmocka_unit_test(test_last_match_decides),
        cmocka_unit_test(test_include_lists_of_a_restore),
        cmocka_unit_test(test_type_is_asked_for_only_when_it_decides),
        cmocka_unit_test(test_text_for_archives),
        cmocka_unit_test(test_normalise),
        cmocka_unit_test(test_options_are_normalised_with_a_warning),
        cmocka_unit_test(test_escape),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_lines_are_normalised),
        cmocka_unit_test(test_directory_names_have_no_meaning_in_lines),
        cmocka_unit_test(test_bad_lines_are_logged_and_skipped),
        cmocka_unit_test(test_overlong_line_is_a_bad_one),
        cmocka_unit_test(test_tree_vector_of_the_specification),
        cmocka_unit_test(test_options_can_be_undone_by_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
