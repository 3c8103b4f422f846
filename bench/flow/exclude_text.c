#include "flow/exclude_text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum status exclude_text(const struct pattern_list *patterns, struct buffer *out, struct error *err)
{
    buffer_clear(out);
    if (!patterns || pattern_list_count(patterns) == 0)
        return OK;
    return pattern_list_text(patterns, out, err);
}

/* Control characters as the reference writes them (datastore.md 6.1): \u001b, where jansson gives \u001B. */
static void lower_escapes(char *text)
{
    for (char *p = text; (p = strchr(p, '\\')); p += 2)
        for (size_t i = 2; p[1] == 'u' && i < 6; i++)
            if (p[i] >= 'A' && p[i] <= 'F')
                p[i] = (char)(p[i] - 'A' + 'a');
}

/* Takes the value. */
static enum status dump(json_t *value, struct buffer *out, struct error *err)
{
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    json_decref(value);
    if (!text)
        return fail(err, ERR_MEMORY, "out of memory for the exclude patterns");
    lower_escapes(text);
    enum status status = buffer_append(out, text, strlen(text), err);
    free(text);
    return status;
}

static enum status prelude_of(const struct buffer *text, struct buffer *out, struct error *err)
{
    const char *bytes = (const char *)text->data;
    json_t *value = json_stringn(bytes, text->size);
    if (!value) {
        /* Either there is no memory, or what only the checking maker refuses. */
        value = json_stringn_nocheck(bytes, text->size);
        if (!value)
            return fail(err, ERR_MEMORY, "out of memory for the exclude patterns");
        json_decref(value);
        return fail(err, ERR_USAGE,
                    "an exclude pattern is not UTF-8: a split archive cannot hold it (legacy mode can)");
    }
    return dump(json_pack("{s:o}", "exclude-patterns", value), out, err);
}

enum status exclude_prelude(const struct pattern_list *patterns, struct buffer *out, struct error *err)
{
    struct buffer text = BUFFER_INIT(EXCLUDE_TEXT_SIZE_MAX);
    enum status status = exclude_text(patterns, &text, err);
    buffer_clear(out);
    if (status == OK && text.size > 0)
        status = prelude_of(&text, out, err);
    buffer_deinit(&text);
    return status;
}
