#include "tree/pattern.h"

#include "base/log.h"
#include "tree/pattern_glob.h"

#include <assert.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static_assert((int)PATTERN_SIZE_MAX <= (int)GLOB_TOKENS_MAX, "every pattern can be compiled");

struct pattern {
    char *text; /* without '!' and trailing slashes; "/" if nothing was left */
    size_t text_size;
    bool exclude;
    bool directories_only;
    struct glob glob;
};

struct pattern_list {
    struct pattern *patterns;
    size_t count;
    size_t capacity;
};

enum status pattern_list_new(struct pattern_list **out, struct error *err)
{
    return array_new(1, sizeof **out, 1, "pattern list", (void **)out, err);
}

void pattern_list_free(struct pattern_list *l)
{
    if (!l)
        return;
    pattern_list_cut(l, 0);
    free(l->patterns);
    free(l);
}

size_t pattern_list_count(const struct pattern_list *l)
{
    return l->count;
}

void pattern_list_cut(struct pattern_list *l, size_t count)
{
    ASSERT(count <= l->count);
    while (l->count > count) {
        struct pattern *p = &l->patterns[--l->count];
        glob_deinit(&p->glob);
        free(p->text);
    }
}

enum { SHOWN_MAX = 200 };
/* The beginning of a text, which need not end with NUL, for a sentence. */
static const char *shown(const char *text, size_t size, char out[LOG_PATH_MAX])
{
    char copy[SHOWN_MAX + 1];
    size_t copied = size < SHOWN_MAX ? size : SHOWN_MAX;
    for (size_t i = 0; i < copied; i++)
        copy[i] = (char)(text[i] ? text[i] : '\x01'); /* NULs: their place is in the error */
    copy[copied] = '\0';
    return log_path(copy, out);
}

enum status pattern_list_add(struct pattern_list *l, const char *text, size_t size, enum pattern_result type,
                             bool anchored, struct error *err)
{
    ASSERT(type == PATTERN_INCLUDE || type == PATTERN_EXCLUDE);
    char name[LOG_PATH_MAX];
    if (size > PATTERN_SIZE_MAX)
        return fail(err, ERR_LIMIT, "pattern \"%s...\": %zu bytes are more than the limit of %d",
                    shown(text, size, name), size, PATTERN_SIZE_MAX);
    TRY(array_grow((void **)&l->patterns, l->count, &l->capacity, sizeof *l->patterns, PATTERN_LIST_MAX, "patterns",
                   err));
    size_t begin = 0, end = size;
    bool exclude = type == PATTERN_EXCLUDE;
    if (begin < end && text[begin] == '!') {
        begin++;
        exclude = !exclude;
    }
    while (end > begin && text[end - 1] == '/')
        end--;
    struct pattern p = {.exclude = exclude, .directories_only = end < size || begin == end};
    const char *body = text;
    if (begin == end) {
        body = "/";
        begin = 0;
        end = 1;
    }
    p.text_size = end - begin;
    TRY(array_new(p.text_size + 1, 1, SIZE_MAX, "bytes of a pattern", (void **)&p.text, err));
    memcpy(p.text, body + begin, p.text_size);
    enum status s = glob_init(&p.glob, body, begin, end, anchored, err);
    if (s != OK) {
        free(p.text);
        return fail_within(err, "pattern \"%s\"", shown(text, size, name));
    }
    l->patterns[l->count++] = p;
    return OK;
}

static void warn_sanitised(const char *text, size_t size, const struct buffer *normalised)
{
    char before[LOG_PATH_MAX], after[LOG_PATH_MAX];
    log_warning("Sanitized exclude pattern. Given: \"%s\", used: \"%s\"", shown(text, size, before),
                shown((const char *)normalised->data, normalised->size, after));
}

enum status pattern_list_add_option(struct pattern_list *l, const char *text, bool normalise, struct error *err)
{
    size_t size = strlen(text);
    if (!normalise)
        return pattern_list_add(l, text, size, PATTERN_EXCLUDE, false, err);
    CLEANUP(buffer_deinit) struct buffer normal = BUFFER_INIT(0);
    bool changed;
    TRY(pattern_normalise(text, size, &normal, &changed, err));
    if (changed)
        warn_sanitised(text, size, &normal);
    return pattern_list_add(l, (const char *)normal.data, normal.size, PATTERN_EXCLUDE, false, err);
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r';
}

static void log_bad_line(const char *dir, const char *why)
{
    char name[LOG_PATH_MAX];
    log_error("bad pattern in \"%s\": %s", *dir ? log_path(dir, name) : "/", why);
}

/* One line, without blanks around it. The buffers are empty or what the last line left. */
static enum status add_line(struct pattern_list *l, const char *dir, const char *line, size_t size, struct buffer *text,
                            struct buffer *normal, struct error *err)
{
    bool include = line[0] == '!';
    if (include) {
        line++;
        size--;
    }
    bool anchored = size > 0 && line[0] == '/';
    buffer_clear(text);
    if (anchored)
        TRY(pattern_escape(dir, strlen(dir), text, err));
    TRY(buffer_append(text, line, size, err));
    bool changed;
    TRY(pattern_normalise((const char *)text->data, text->size, normal, &changed, err));
    if (changed)
        warn_sanitised((const char *)text->data, text->size, normal);
    return pattern_list_add(l, (const char *)normal->data, normal->size, include ? PATTERN_INCLUDE : PATTERN_EXCLUDE,
                            anchored, err);
}

enum status pattern_list_add_lines(struct pattern_list *l, const char *dir, const uint8_t *lines, size_t size,
                                   struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
    CLEANUP(buffer_deinit) struct buffer normal = BUFFER_INIT(0);
    for (size_t at = 0; at < size;) {
        const uint8_t *newline = memchr(lines + at, '\n', size - at);
        size_t begin = at;
        size_t end = newline ? (size_t)(newline - lines) : size;
        at = end + 1;
        while (begin < end && is_blank(lines[begin]))
            begin++;
        while (end > begin && is_blank(lines[end - 1]))
            end--;
        if (begin == end || lines[begin] == '#')
            continue;
        struct error line_err = {0};
        bool full = l->count == PATTERN_LIST_MAX;
        enum status s = add_line(l, dir, (const char *)lines + begin, end - begin, &text, &normal, &line_err);
        if (s == ERR_MEMORY || (s == ERR_LIMIT && full)) {
            if (err)
                *err = line_err;
            return s;
        }
        if (s != OK) /* too long counts as bad: whoever can write here shall not be able to stop the backup */
            log_bad_line(dir, line_err.text);
    }
    return OK;
}

enum pattern_result pattern_list_match(const struct pattern_list *l, const char *path, size_t path_size, uint8_t type)
{
    for (size_t i = l->count; i-- > 0;) {
        const struct pattern *p = &l->patterns[i];
        if (p->directories_only && type != DT_DIR && type != DT_UNKNOWN)
            continue;
        if (!glob_match(&p->glob, path, path_size))
            continue;
        if (p->directories_only && type == DT_UNKNOWN)
            return PATTERN_NEEDS_TYPE;
        return p->exclude ? PATTERN_EXCLUDE : PATTERN_INCLUDE;
    }
    return PATTERN_NO_MATCH;
}

enum status pattern_list_text(const struct pattern_list *l, struct buffer *out, struct error *err)
{
    for (size_t i = 0; i < l->count; i++) {
        const struct pattern *p = &l->patterns[i];
        if (!p->exclude)
            TRY(buffer_append_u8(out, '!', err));
        TRY(buffer_append(out, p->text, p->text_size, err));
        if (p->directories_only)
            TRY(buffer_append_u8(out, '/', err));
        TRY(buffer_append_u8(out, '\n', err));
    }
    return OK;
}

enum status pattern_normalise(const char *text, size_t size, struct buffer *out, bool *out_changed, struct error *err)
{
    buffer_clear(out);
    size_t root = size > 0 && text[0] == '/';
    if (root)
        TRY(buffer_append_u8(out, '/', err));
    for (size_t at = 0; at < size;) {
        const char *slash = memchr(text + at, '/', size - at);
        const char *name = text + at;
        size_t name_size = slash ? (size_t)(slash - name) : size - at;
        at += name_size + 1;
        if (name_size == 0 || (name_size == 1 && name[0] == '.'))
            continue;
        if (name_size == 2 && name[0] == '.' && name[1] == '.') {
            while (out->size > root && out->data[out->size - 1] != '/')
                out->size--;
            if (out->size > root)
                out->size--;
            continue;
        }
        if (out->size > root)
            TRY(buffer_append_u8(out, '/', err));
        TRY(buffer_append(out, name, name_size, err));
    }
    if (out->size > root && text[size - 1] == '/')
        TRY(buffer_append_u8(out, '/', err));
    *out_changed = out->size != size || (size > 0 && memcmp(out->data, text, size) != 0);
    TRY(buffer_reserve(out, 1, err));
    out->data[out->size] = '\0';
    return OK;
}

static bool has_meaning(char c)
{
    return c == '\\' || c == '*' || c == '?' || c == '[';
}

enum status pattern_escape(const char *text, size_t size, struct buffer *out, struct error *err)
{
    TRY(buffer_reserve(out, size, err));
    for (size_t i = 0; i < size; i++) {
        if (has_meaning(text[i]) || (i == 0 && text[i] == '!'))
            TRY(buffer_append_u8(out, '\\', err));
        TRY(buffer_append_u8(out, (uint8_t)text[i], err));
    }
    return OK;
}

bool pattern_is_literal(const char *text, size_t size)
{
    if (size == 0 || text[0] == '!' || text[size - 1] == '/')
        return false;
    for (size_t i = 0; i < size; i++) {
        if (has_meaning(text[i]) || text[i] == '\0')
            return false;
    }
    return true;
}
