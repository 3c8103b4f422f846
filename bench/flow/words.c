#include "flow/words.h"

#include <stdlib.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

/* From behind the opening quote to behind the closing one; NULL: there is none. */
static const char *take_quoted(const char *p, char quote, char **to)
{
    for (; *p && *p != quote; p++) {
        if (quote == '"' && *p == '\\' && p[1] && strchr("\"\\$`\n", p[1])) {
            p++;
            if (*p == '\n')
                continue;
        }
        *(*to)++ = *p;
    }
    return *p ? p + 1 : NULL;
}

/* One word, which is there; NULL: a quote does not end, or a '\' is the last character. */
static const char *take_word(const char *p, char **to)
{
    while (p && *p && !is_blank(*p)) {
        if (*p == '\'' || *p == '"') {
            p = take_quoted(p + 1, *p, to);
        } else if (*p == '\\') {
            if (!p[1])
                return NULL;
            if (p[1] != '\n')
                *(*to)++ = p[1];
            p += 2;
        } else {
            *(*to)++ = *p++;
        }
    }
    return p;
}

static enum status split(const char *text, struct words *w, struct error *err)
{
    char *to = w->text;
    for (const char *p = text;;) {
        /* An escaped newline between words is a blank, too. */
        while (is_blank(*p) || (p[0] == '\\' && p[1] == '\n'))
            p += *p == '\\' ? 2 : 1;
        if (!*p)
            break;
        if (w->count == WORDS_MAX)
            return fail(err, ERR_USAGE, "has more than %d words", WORDS_MAX);
        w->items[w->count++] = to;
        p = take_word(p, &to);
        if (!p)
            return fail(err, ERR_USAGE, "a quote or '\\' has no end");
        *to++ = '\0';
    }
    return w->count > 0 ? OK : fail(err, ERR_USAGE, "is empty");
}

enum status words_split(const char *text, struct words *out, struct error *err)
{
    *out = (struct words){0};
    /* No word is longer than what it was written as, and a blank or the end makes room for its NUL. */
    out->text = malloc(strlen(text) + 1);
    if (!out->text)
        return fail(err, ERR_MEMORY, "out of memory for %zu bytes", strlen(text) + 1);
    enum status status = split(text, out, err);
    if (status != OK)
        words_deinit(out);
    return status;
}

void words_deinit(struct words *w)
{
    free(w->text);
    *w = (struct words){0};
}
