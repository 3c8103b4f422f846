#include "cli/backup_sources.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *extension;
    enum source_kind kind;
} kinds[] = {{"pxar", SOURCE_TREE}, {"img", SOURCE_IMAGE}, {"conf", SOURCE_BLOB}, {"log", SOURCE_BLOB}};

static enum status no_source(const char *text, struct error *err)
{
    return fail(err, ERR_USAGE, "'%s' is no source: NAME.pxar:PATH expected (or .img, .conf, .log)", text);
}

static enum status parse_extension(const char *text, const char *extension, size_t size, struct backup_source *out,
                                   struct error *err)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (size == strlen(kinds[i].extension) && strncmp(extension, kinds[i].extension, size) == 0) {
            out->kind = kinds[i].kind;
            out->extension = kinds[i].extension;
            return OK;
        }
    return no_source(text, err);
}

static bool same_name(const struct backup_source *a, const struct backup_source *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->extension, b->extension) == 0;
}

/* Names are ASCII letters, digits, '_' and '-', so they need no escaping anywhere. */
enum status backup_sources_add(struct backup_sources *s, const char *text, struct error *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    /* Servers take stored names of at most 200 bytes. */
    enum { NAME_SIZE_MAX = 200 - (int)sizeof ".mpxar.didx" + 1 };
    size_t name_size = strspn(text, letters);
    const char *extension = text + name_size;
    size_t extension_size = strcspn(extension, ":");
    if (name_size == 0 || extension[0] != '.' || extension[extension_size] != ':' ||
        extension[extension_size + 1] == '\0')
        return no_source(text, err);
    struct backup_source source = {.path = extension + extension_size + 1};
    TRY(parse_extension(text, extension + 1, extension_size - 1, &source, err));
    if (name_size > NAME_SIZE_MAX)
        return fail(err, ERR_USAGE, "'%s': the name is longer than %d bytes", text, NAME_SIZE_MAX);
    if (s->count == BACKUP_SOURCES_MAX)
        return fail(err, ERR_USAGE, "more than %d sources", BACKUP_SOURCES_MAX);
    s->names[s->count] = strndup(text, name_size);
    if (!s->names[s->count])
        return fail(err, ERR_MEMORY, "out of memory for a source's name");
    source.name = s->names[s->count];
    s->items[s->count++] = source;
    for (size_t i = 0; i + 1 < s->count; i++)
        if (same_name(&s->items[i], &source))
            return fail(err, ERR_USAGE, "there are two sources named '%s.%s'", source.name, source.extension);
    return OK;
}

void backup_sources_deinit(struct backup_sources *s)
{
    for (size_t i = 0; i < BACKUP_SOURCES_MAX; i++)
        free(s->names[i]);
    *s = (struct backup_sources){0};
}
