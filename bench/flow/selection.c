#include "flow/selection.h"

#include "base/log_path.h"
#include "tree/pattern.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct selection {
    struct pattern_list *patterns;
    char **paths; /* of the patterns so far, as long as each of them is one */
    size_t path_count, path_capacity;
    bool only_paths;
};

enum status selection_new(struct selection **out, struct error *err)
{
    struct selection *s = calloc(1, sizeof *s);
    if (!s)
        return fail(err, ERR_MEMORY, "out of memory for patterns");
    enum status status = pattern_list_new(&s->patterns, err);
    if (status != OK) {
        free(s);
        return status;
    }
    s->only_paths = true;
    *out = s;
    return OK;
}

void selection_free(struct selection *s)
{
    if (!s)
        return;
    pattern_list_free(s->patterns);
    for (size_t i = 0; i < s->path_count; i++)
        free(s->paths[i]);
    free(s->paths);
    free(s);
}

/* "/a/b" whose components can be the names of entries. The language has no other text that is the path of one entry. */
static bool is_path(const char *text, size_t size)
{
    if (size < 2 || text[0] != '/' || !pattern_is_literal(text, size))
        return false;
    for (size_t at = 0; at < size;) {
        at++;
        size_t end = at;
        while (end < size && text[end] != '/')
            end++;
        size_t length = end - at;
        if (length == 0 || (length <= 2 && memcmp(text + at, "..", length) == 0))
            return false;
        at = end;
    }
    return true;
}

enum status selection_add(struct selection *s, const char *text, size_t size, struct error *err)
{
    TRY(pattern_list_add(s->patterns, text, size, PATTERN_INCLUDE, false, err));
    while (size > 0 && text[size - 1] == '/')
        size--;
    if (!s->only_paths || !is_path(text, size)) {
        s->only_paths = false;
        return OK;
    }
    void *paths = s->paths;
    enum status status =
        array_grow(&paths, s->path_count, &s->path_capacity, sizeof *s->paths, PATTERN_LIST_MAX, "patterns", err);
    s->paths = paths;
    TRY(status);
    char *copy = strndup(text, size);
    if (!copy)
        return fail(err, ERR_MEMORY, "out of memory for a pattern");
    s->paths[s->path_count++] = copy;
    return OK;
}

static enum status add_lines(struct selection *s, FILE *file, const char *path, struct error *err)
{
    char *line = NULL;
    size_t capacity = 0, before = pattern_list_count(s->patterns);
    enum status status = OK;
    for (size_t number = 1; status == OK; number++) {
        errno = 0;
        ssize_t got = getdelim(&line, &capacity, '\n', file);
        if (got < 0) {
            if (!feof(file))
                status = fail(err, ERR_IO, "%s: cannot read line %zu", path, number);
            break;
        }
        size_t size = (size_t)got;
        if (size > 0 && line[size - 1] == '\n')
            size--;
        if (size == 0)
            continue;
        status = selection_add(s, line, size, err);
        if (status != OK)
            (void)fail_within(err, "%s: line %zu", path, number);
    }
    free(line);
    /* Without patterns everything is wanted: not what a list that came out empty asks for. */
    if (status == OK && pattern_list_count(s->patterns) == before)
        return fail(err, ERR_FORMAT, "%s: the list of patterns is empty", path);
    return status;
}

enum status selection_add_file(struct selection *s, const char *path, struct error *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return fail(err, ERR_IO, "%s: cannot open the list of patterns", path);
    enum status status = add_lines(s, file, path, err);
    fclose(file);
    return status;
}

bool selection_is_empty(const struct selection *s)
{
    return !s || pattern_list_count(s->patterns) == 0;
}

bool selection_wants(const struct selection *s, const char *path, size_t path_size, uint8_t type, bool parent_wanted)
{
    switch (pattern_list_match(s->patterns, path, path_size, type)) {
    case PATTERN_INCLUDE: return true;
    case PATTERN_EXCLUDE: return false;
    default: return parent_wanted;
    }
}

bool selection_wants_path(const struct selection *s, const char *path, size_t path_size, uint8_t type)
{
    bool wanted = false;
    for (size_t end = 1; end <= path_size; end++)
        if (end == path_size || path[end] == '/')
            wanted = selection_wants(s, path, end, end == path_size ? type : DT_DIR, wanted);
    return wanted;
}

static int compare_paths(const void *left, const void *right)
{
    const char *a = *(char *const *)left;
    const char *b = *(char *const *)right;
    while (*a && *a == *b) {
        a++;
        b++;
    }
    /* NUL, '/', everything else: a directory stands directly before its members. */
    int x = *a == '/' ? 1 : *a ? (unsigned char)*a + 1 : 0;
    int y = *b == '/' ? 1 : *b ? (unsigned char)*b + 1 : 0;
    return x - y;
}

const char *const *selection_paths(struct selection *s, size_t *out_count)
{
    *out_count = 0;
    if (!s || !s->only_paths || s->path_count == 0)
        return NULL;
    qsort(s->paths, s->path_count, sizeof *s->paths, compare_paths);
    size_t kept = 1;
    for (size_t i = 1; i < s->path_count; i++) {
        if (strcmp(s->paths[i], s->paths[kept - 1]) == 0)
            free(s->paths[i]);
        else
            s->paths[kept++] = s->paths[i];
    }
    s->path_count = kept;
    *out_count = kept;
    return (const char *const *)s->paths;
}
