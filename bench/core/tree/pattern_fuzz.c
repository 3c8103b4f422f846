/* Patterns, lines and paths from hostile bytes. The first byte says what is asked; then come, separated by NULs, a
 * directory, a path and the text (the rest, NULs included).
 * Whatever is taken has a text that, read as options, gives the same text and the same answers. */
#include "tree/pattern.h"

#include "base/log.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ASK_LINES = 1, ASK_INCLUDE = 2, ASK_ANCHORED = 4, ASK_NORMALISED = 8 };

/* Cuts off what stands before the next NUL. */
static char *take_string(const uint8_t **data, size_t *size)
{
    const uint8_t *nul = memchr(*data, '\0', *size);
    size_t taken = nul ? (size_t)(nul - *data) : *size;
    char *copy = calloc(1, taken + 1);
    ASSERT(copy);
    memcpy(copy, *data, taken);
    taken += nul != NULL;
    *data += taken;
    *size -= taken;
    return copy;
}

static void add_to_list(struct pattern_list *l, unsigned ask, const char *dir, const uint8_t *data, size_t size)
{
    struct error err = {0};
    enum status s;
    if (ask & ASK_LINES) {
        ASSERT(pattern_list_add_lines(l, dir, data, size, &err) == OK);
    } else if (ask & ASK_NORMALISED) {
        char *text = take_string(&data, &size);
        s = pattern_list_add_option(l, text, true, &err);
        ASSERT(s == OK || s == ERR_FORMAT || s == ERR_LIMIT);
        free(text);
    } else {
        s = pattern_list_add(l, (const char *)data, size, ask & ASK_INCLUDE ? PATTERN_INCLUDE : PATTERN_EXCLUDE,
                             ask & ASK_ANCHORED, &err);
        ASSERT(s == OK || s == ERR_FORMAT || s == ERR_LIMIT);
        ASSERT(pattern_list_count(l) == (s == OK));
    }
}

/* Only where a line of the text means what its pattern means: an exclude that starts with '!' cannot be written, and a
 * pattern may hold a newline. */
static bool text_is_faithful(const struct buffer *text, size_t patterns, unsigned ask)
{
    size_t lines = 0;
    for (size_t i = 0; i < text->size; i++)
        lines += text->data[i] == '\n';
    return lines == patterns && !(ask & (ASK_LINES | ASK_INCLUDE | ASK_ANCHORED));
}

static void check_text(const struct pattern_list *l, const char *path, unsigned ask)
{
    struct error err = {0};
    struct buffer text = BUFFER_INIT(0), again_text = BUFFER_INIT(0);
    struct pattern_list *again;
    ASSERT(pattern_list_text(l, &text, &err) == OK);
    ASSERT(pattern_list_new(&again, &err) == OK);
    if (text_is_faithful(&text, pattern_list_count(l), ask)) {
        for (size_t at = 0; at < text.size;) {
            const uint8_t *line = text.data + at;
            size_t line_size = (size_t)((const uint8_t *)memchr(line, '\n', text.size - at) - line);
            ASSERT(pattern_list_add(again, (const char *)line, line_size, PATTERN_EXCLUDE, false, &err) == OK);
            at += line_size + 1;
        }
        ASSERT(pattern_list_text(again, &again_text, &err) == OK);
        ASSERT(text.size == again_text.size && (text.size == 0 || memcmp(text.data, again_text.data, text.size) == 0));
        ASSERT(pattern_list_match(l, path, strlen(path), DT_DIR) ==
               pattern_list_match(again, path, strlen(path), DT_DIR));
    }
    pattern_list_free(again);
    buffer_deinit(&text);
    buffer_deinit(&again_text);
}

static void check_match(const struct pattern_list *l, const char *path)
{
    size_t size = strlen(path);
    enum pattern_result unknown = pattern_list_match(l, path, size, DT_UNKNOWN);
    enum pattern_result directory = pattern_list_match(l, path, size, DT_DIR);
    enum pattern_result file = pattern_list_match(l, path, size, DT_REG);
    ASSERT(directory != PATTERN_NEEDS_TYPE && file != PATTERN_NEEDS_TYPE);
    if (unknown == PATTERN_NEEDS_TYPE)
        ASSERT(directory != PATTERN_NO_MATCH);
    else
        ASSERT(directory == unknown && file == unknown);
}

/* A path, escaped, is a pattern that matches it. */
static void check_escape(const char *path)
{
    struct error err = {0};
    size_t size = strlen(path);
    if (size == 0 || path[size - 1] == '/' || size > PATTERN_SIZE_MAX / 2)
        return;
    struct buffer escaped = BUFFER_INIT(0);
    struct pattern_list *l;
    ASSERT(pattern_escape(path, size, &escaped, &err) == OK);
    ASSERT(pattern_is_literal(path, size) == (escaped.size == size && memcmp(escaped.data, path, size) == 0));
    ASSERT(pattern_list_new(&l, &err) == OK);
    ASSERT(pattern_list_add(l, (const char *)escaped.data, escaped.size, PATTERN_EXCLUDE, true, &err) == OK);
    ASSERT(pattern_list_match(l, path, size, DT_REG) == PATTERN_EXCLUDE);
    ASSERT(pattern_list_match(l, path, size - 1, DT_REG) == PATTERN_NO_MATCH);
    pattern_list_free(l);
    buffer_deinit(&escaped);
}

static void check_normalise(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct buffer once = BUFFER_INIT(0), twice = BUFFER_INIT(0);
    bool changed;
    ASSERT(pattern_normalise((const char *)data, size, &once, &changed, &err) == OK);
    ASSERT(once.size <= size && once.data[once.size] == '\0');
    ASSERT(pattern_normalise((const char *)once.data, once.size, &twice, &changed, &err) == OK);
    ASSERT(!changed);
    buffer_deinit(&once);
    buffer_deinit(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    log_set_level((enum log_level) - 1); /* bad lines are what is tried here: below LOG_ERROR, nothing is said */
    struct error err = {0};
    struct pattern_list *l;
    unsigned ask = data[0];
    data++;
    size--;
    char *dir = take_string(&data, &size);
    char *path = take_string(&data, &size);
    ASSERT(pattern_list_new(&l, &err) == OK);
    add_to_list(l, ask, dir, data, size);
    check_match(l, path);
    check_text(l, path, ask);
    check_escape(path);
    check_normalise(data, size);
    pattern_list_cut(l, pattern_list_count(l) / 2);
    check_match(l, path);
    pattern_list_free(l);
    free(dir);
    free(path);
    return 0;
}
