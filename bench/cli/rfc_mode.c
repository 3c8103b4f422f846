#include "cli/rfc_mode.h"

#include <string.h>

static enum status no_spec(const char *spec, struct error *err)
{
    return fail(err, ERR_USAGE,
                "--rfc-change-detection: '%s' is neither 'data' nor 'metadata', nor 'metadata:NAME.pxar' with any"
                " number of names",
                spec);
}

/* The directory of that name: in the list, so in the run's mode. */
static enum status select_source(struct backup_sources *sources, const char *name, size_t name_size, struct error *err)
{
    for (size_t i = 0; i < sources->count; i++) {
        struct backup_source *source = &sources->items[i];
        if (source->kind == SOURCE_TREE && strlen(source->name) == name_size &&
            memcmp(source->name, name, name_size) == 0) {
            source->has_mode = false;
            return OK;
        }
    }
    return fail(err, ERR_USAGE, "--rfc-change-detection: there is no source '%.*s.pxar'", (int)name_size, name);
}

/* `list`: behind "metadata", ":a.pxar:b.pxar". */
static enum status select_listed(const char *spec, const char *list, struct backup_sources *sources, struct error *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    static const char extension[] = ".pxar";
    enum { EXTENSION_SIZE = sizeof extension - 1 };
    for (const char *name = list + 1;; name++) {
        size_t name_size = strspn(name, letters);
        const char *end = name + name_size;
        bool is_name = name_size > 0 && strncmp(end, extension, EXTENSION_SIZE) == 0;
        if (!is_name || (end[EXTENSION_SIZE] != '\0' && end[EXTENSION_SIZE] != ':'))
            return no_spec(spec, err);
        TRY(select_source(sources, name, name_size, err));
        name = end + EXTENSION_SIZE;
        if (*name == '\0')
            return OK;
    }
}

enum status rfc_mode_apply(const char *spec, struct backup_sources *sources, enum detection_mode *out_mode,
                           struct error *err)
{
    static const char metadata[] = "metadata";
    *out_mode = MODE_LEGACY;
    if (strcmp(spec, "data") == 0)
        return OK;
    const char *list = spec + sizeof metadata - 1;
    if (strncmp(spec, metadata, sizeof metadata - 1) != 0 || (*list != '\0' && *list != ':'))
        return no_spec(spec, err);
    *out_mode = MODE_METADATA;
    if (*list == '\0')
        return OK;
    for (size_t i = 0; i < sources->count; i++) {
        sources->items[i].has_mode = sources->items[i].kind == SOURCE_TREE;
        sources->items[i].mode = MODE_LEGACY;
    }
    return select_listed(spec, list, sources, err);
}
