#include "wire/target.h"

#include "wire/query.h"

#include <string.h>

enum { TEXT_MAX = 64 << 10, QUOTE_MAX = 60 };

void target_deinit(struct target *t)
{
    buffer_deinit(&t->text);
    *t = (struct target){0};
}

/* Decodes one component behind the others; its place in the text is noted when the text no longer moves. */
static enum status add_component(struct target *t, size_t *offsets, const char *text, size_t size, struct error *err)
{
    if (t->count == TARGET_COMPONENTS_MAX)
        return fail(err, ERR_NOT_FOUND, "a path of more than %d components", TARGET_COMPONENTS_MAX);
    size_t start = t->text.size;
    TRY(percent_decode(&t->text, text, size, err));
    size_t decoded = t->text.size - start;
    const char *component = (const char *)t->text.data + start;
    if (component[0] == '.' || memchr(component, '/', decoded) || memchr(component, '\0', decoded))
        return fail(err, ERR_USAGE, "'%.*s' is not allowed in a path", size > QUOTE_MAX ? QUOTE_MAX : (int)size, text);
    TRY(buffer_append_u8(&t->text, 0, err));
    offsets[t->count++] = start;
    return OK;
}

static enum status split(struct target *t, const char *text, struct error *err)
{
    size_t offsets[TARGET_COMPONENTS_MAX];
    for (size_t start = 0; start < t->path_size;) {
        size_t size = strcspn(text + start, "/?");
        if (size > 0)
            TRY(add_component(t, offsets, text + start, size, err));
        start += size + 1;
    }
    for (size_t i = 0; i < t->count; i++)
        t->components[i] = (const char *)t->text.data + offsets[i];
    return OK;
}

enum status target_parse(const char *text, struct target *out, struct error *err)
{
    *out = (struct target){.text = BUFFER_INIT(TEXT_MAX), .path_size = strcspn(text, "?")};
    out->query = text[out->path_size] ? text + out->path_size + 1 : "";
    out->query_size = strlen(out->query);
    enum status status = split(out, text, err);
    if (status != OK)
        target_deinit(out);
    return status;
}

bool target_is(const struct target *t, const char *pattern)
{
    for (size_t i = 0; i < t->count; i++) {
        size_t size = strcspn(pattern, "/");
        bool any = size == 1 && pattern[0] == '?';
        if (size == 0 || (!any && (strlen(t->components[i]) != size || memcmp(t->components[i], pattern, size) != 0)))
            return false;
        pattern += size;
        pattern += *pattern == '/';
    }
    return *pattern == '\0';
}
