/* Names of snapshots: parsed, checked, written. Pure. */
#include "store/store.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

enum { NAMESPACE_DEPTH_MAX = 7, QUOTE_MAX = 80 };

/* [A-Za-z0-9_][A-Za-z0-9._-]*: no separator, neither "." nor "..", no leading dash. */
static bool safe_id(const char *text, size_t size)
{
    if (size == 0)
        return false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        bool word = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
        if (!word && (i == 0 || (c != '.' && c != '-')))
            return false;
    }
    return true;
}

static enum status check_namespace(const char *ns, struct error *err)
{
    if (*ns == '\0')
        return OK;
    size_t depth = 0;
    for (const char *component = ns;;) {
        size_t size = strcspn(component, "/");
        if (!safe_id(component, size))
            return fail(err, ERR_USAGE,
                        "namespace '%.*s': each component is made of letters, digits, '_', '.' and '-', and begins "
                        "with a letter, digit or '_'",
                        QUOTE_MAX, ns);
        if (++depth > NAMESPACE_DEPTH_MAX)
            return fail(err, ERR_USAGE, "namespace '%.*s' is deeper than %d levels", QUOTE_MAX, ns,
                        NAMESPACE_DEPTH_MAX);
        if (component[size] == '\0')
            return OK;
        component += size + 1;
    }
}

static enum status check_group(const struct snapshot_id *id, struct error *err)
{
    if (strcmp(id->type, "host") != 0 && strcmp(id->type, "vm") != 0 && strcmp(id->type, "ct") != 0)
        return fail(err, ERR_USAGE, "backup type '%.*s' is not host, vm or ct", QUOTE_MAX, id->type);
    if (!safe_id(id->id, strlen(id->id)))
        return fail(err, ERR_USAGE,
                    "backup id '%.*s' is not made of letters, digits, '_', '.' and '-', beginning with a letter, "
                    "digit or '_'",
                    QUOTE_MAX, id->id);
    return check_namespace(id->ns, err);
}

enum status snapshot_namespace_check(const char *ns, struct error *err)
{
    if (strlen(ns) > NAMESPACE_MAX)
        return fail(err, ERR_USAGE, "namespace of %zu characters, at most %d are allowed", strlen(ns), NAMESPACE_MAX);
    return check_namespace(ns, err);
}

enum status snapshot_group_check(const struct snapshot_id *id, struct error *err)
{
    return check_group(id, err);
}

enum status snapshot_id_check(const struct snapshot_id *id, struct error *err)
{
    char text[TIME_TEXT_SIZE];
    TRY(check_group(id, err));
    if (id->time < 1 || !time_format_utc(id->time, text))
        return fail(err, ERR_USAGE, "backup time %lld is not between 1 and the end of the year 9999",
                    (long long)id->time);
    return OK;
}

/* "TYPE/ID", with `rest` behind it ("" or "/..."). */
static enum status parse_group(const char *text, struct snapshot_id *out, const char **rest, struct error *err)
{
    *out = (struct snapshot_id){0};
    size_t type_size = strcspn(text, "/");
    if (text[type_size] == '\0')
        return fail(err, ERR_USAGE, "'%.*s' is not TYPE/ID or TYPE/ID/TIME", QUOTE_MAX, text);
    const char *id = text + type_size + 1;
    size_t id_size = strcspn(id, "/");
    if (type_size >= sizeof out->type)
        return fail(err, ERR_USAGE, "backup type '%.*s' is not host, vm or ct", QUOTE_MAX, text);
    if (id_size > BACKUP_ID_MAX)
        return fail(err, ERR_USAGE, "backup id of %zu characters, at most %d are allowed", id_size, BACKUP_ID_MAX);
    memcpy(out->type, text, type_size);
    memcpy(out->id, id, id_size);
    *rest = id + id_size;
    return check_group(out, err);
}

enum status snapshot_group_parse(const char *text, struct snapshot_id *out, struct error *err)
{
    const char *rest;
    TRY(parse_group(text, out, &rest, err));
    if (*rest)
        return fail(err, ERR_USAGE, "'%.*s' is not a group: TYPE/ID, like host/elsa", QUOTE_MAX, text);
    return OK;
}

enum status snapshot_id_parse(const char *text, struct snapshot_id *out, struct error *err)
{
    const char *rest;
    TRY(parse_group(text, out, &rest, err));
    if (*rest != '/' || !time_parse_utc(rest + 1, &out->time))
        return fail(err, ERR_USAGE, "'%.*s' is not a snapshot: TYPE/ID/TIME, like host/elsa/2026-01-02T03:04:05Z",
                    QUOTE_MAX, text);
    return snapshot_id_check(out, err);
}

const char *snapshot_id_text(const struct snapshot_id *id, char out[SNAPSHOT_TEXT_SIZE])
{
    char time_text[TIME_TEXT_SIZE];
    if (id->time == 0)
        snprintf(out, SNAPSHOT_TEXT_SIZE, "%s/%s", id->type, id->id);
    else if (time_format_utc(id->time, time_text))
        snprintf(out, SNAPSHOT_TEXT_SIZE, "%s/%s/%s", id->type, id->id, time_text);
    else
        snprintf(out, SNAPSHOT_TEXT_SIZE, "%s/%s/%lld", id->type, id->id, (long long)id->time);
    return out;
}
