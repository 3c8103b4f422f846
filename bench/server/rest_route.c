/* Which plain calls there are, and what parameters they take. */
#include "server/rest_context.h"
#include "wire/names.h"

#include <string.h>

#define BACKUP_TIME_MAX 253402300799 /* the end of the year 9999 */

#define TEXT(parameter, is_optional, is, that)                                                                         \
    {                                                                                                                  \
        .name = (parameter), .type = PARAM_TEXT, .optional = (is_optional), .check = (is), .what = (that)              \
    }
#define NAMESPACE(parameter, is_optional) TEXT(parameter, is_optional, name_is_namespace, "a namespace")
#define BACKUP_TYPE(is_optional) TEXT("backup-type", is_optional, name_is_backup_type, "host, vm or ct")
#define BACKUP_ID(is_optional) TEXT("backup-id", is_optional, name_is_backup_id, "a backup id")
#define BACKUP_TIME                                                                                                    \
    {                                                                                                                  \
        .name = "backup-time", .type = PARAM_INTEGER, .min = 1, .max = BACKUP_TIME_MAX                                 \
    }
#define SNAPSHOT BACKUP_TYPE(false), BACKUP_ID(false), BACKUP_TIME, NAMESPACE("ns", true)
#define ARCHIVE_NAME TEXT("archive-name", true, name_is_archive, "the name of an archive")
#define FILE_NAME TEXT("file-name", false, name_is_archive, "a file name ending in .didx, .fidx or .blob")
#define FILE_PATH TEXT("filepath", false, NULL, NULL)

enum { NEW_NAMESPACE_MAX = 32 };

static bool is_new_namespace(const char *text, size_t size)
{
    return name_is_safe(text, size) && size <= NEW_NAMESPACE_MAX;
}

static const struct param_rule groups_rules[] = {NAMESPACE("ns", true)};
static const struct param_rule snapshots_rules[] = {NAMESPACE("ns", true), BACKUP_TYPE(true), BACKUP_ID(true)};
static const struct param_rule snapshot_rules[] = {SNAPSHOT};
static const struct param_rule namespaces_rules[] = {
    NAMESPACE("parent", true),
    {.name = "max-depth", .type = PARAM_INTEGER, .optional = true, .min = 0, .max = NAME_NAMESPACE_DEPTH_MAX},
};
static const struct param_rule make_namespace_rules[] = {
    {.name = "name", .type = PARAM_TEXT, .check = is_new_namespace, .what = "a name of at most 32 characters"},
    NAMESPACE("parent", true),
};
static const struct param_rule remove_namespace_rules[] = {
    NAMESPACE("ns", false),
    {.name = "delete-groups", .type = PARAM_BOOLEAN, .optional = true},
};
static const struct param_rule download_rules[] = {SNAPSHOT, FILE_NAME};
static const struct param_rule catalog_rules[] = {SNAPSHOT, FILE_PATH, ARCHIVE_NAME};
static const struct param_rule member_rules[] = {
    SNAPSHOT, FILE_PATH, ARCHIVE_NAME, {.name = "tar", .type = PARAM_BOOLEAN, .optional = true}};

#define RULES(table) .rules = (table), .rule_count = sizeof(table) / sizeof *(table)
#define STORE "admin/datastore/?/"

static const struct rest_route routes[] = {
    {.method = "GET", .path = "version", .handle = rest_get_version},
    {.method = "GET", .path = "ping", .is_public = true, .handle = rest_get_ping},
    {.method = "GET", .path = "admin/datastore", .handle = rest_get_datastores},
    {.method = "GET", .path = STORE "status", .handle = rest_get_status},
    {.method = "GET", .path = STORE "groups", RULES(groups_rules), .handle = rest_get_groups},
    {.method = "GET", .path = STORE "snapshots", RULES(snapshots_rules), .handle = rest_get_snapshots},
    {.method = "DELETE", .path = STORE "snapshots", RULES(snapshot_rules), .handle = rest_remove_snapshot},
    {.method = "GET", .path = STORE "files", RULES(snapshot_rules), .handle = rest_get_files},
    {.method = "GET", .path = STORE "namespace", RULES(namespaces_rules), .handle = rest_get_namespaces},
    {.method = "POST", .path = STORE "namespace", RULES(make_namespace_rules), .handle = rest_make_namespace},
    {.method = "DELETE", .path = STORE "namespace", RULES(remove_namespace_rules), .handle = rest_remove_namespace},
    {.method = "GET", .path = STORE "download", .is_raw = true, RULES(download_rules), .handle = rest_download},
    {.method = "GET",
     .path = STORE "download-decoded",
     .is_raw = true,
     RULES(download_rules),
     .handle = rest_download_decoded},
    {.method = "GET", .path = STORE "catalog", RULES(catalog_rules), .handle = rest_get_catalog},
    {.method = "GET",
     .path = STORE "pxar-file-download",
     .is_raw = true,
     RULES(member_rules),
     .handle = rest_download_member},
    {.method = "POST",
     .path = STORE "upload-backup-log",
     .is_raw = true,
     RULES(snapshot_rules),
     .handle = rest_put_log},
    {.method = "GET", .path = STORE "gc", .handle = rest_get_gc},
    {.method = "POST", .path = STORE "gc", .handle = rest_start_gc},
    {.method = "GET", .path = "nodes/localhost/tasks/?/status", .handle = rest_get_task},
};

static bool matches(const char *pattern, const char *const *components, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t size = strcspn(pattern, "/");
        bool any = size == 1 && pattern[0] == '?';
        if (size == 0 || (!any && (strlen(components[i]) != size || memcmp(components[i], pattern, size) != 0)))
            return false;
        pattern += size;
        pattern += *pattern == '/';
    }
    return *pattern == '\0';
}

const struct rest_route *rest_route_find(const char *method, const char *const *components, size_t component_count)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (strcmp(routes[i].method, method) == 0 && matches(routes[i].path, components, component_count))
            return &routes[i];
    return NULL;
}
