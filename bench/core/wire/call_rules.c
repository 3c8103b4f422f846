#include "wire/call_rules.h"

#include "wire/protocol.h"

#include <string.h>

#define BACKUP_TIME_MAX 253402300799 /* the end of the year 9999 */

static bool is_dynamic(const char *text, size_t size)
{
    return name_is_archive(text, size) && name_has_extension(text, size, ".didx");
}

static bool is_fixed(const char *text, size_t size)
{
    return name_is_archive(text, size) && name_has_extension(text, size, ".fidx");
}

static bool is_blob(const char *text, size_t size)
{
    return name_is_archive(text, size) && name_has_extension(text, size, ".blob");
}

#define TEXT(param, is, that)                                                                                          \
    {                                                                                                                  \
        .name = param, .type = PARAM_TEXT, .check = is, .what = that                                                   \
    }
#define INTEGER(param, least, most)                                                                                    \
    {                                                                                                                  \
        .name = param, .type = PARAM_INTEGER, .min = least, .max = most                                                \
    }
#define WID INTEGER("wid", 1, WIRE_WID_MAX)
#define DIGEST TEXT("digest", name_is_digest, "a digest: 64 hexadecimal digits in lower case")
#define CSUM TEXT("csum", name_is_csum, "a checksum: 64 hexadecimal digits")

static const struct param_rule previous_rules[] = {
    TEXT("archive-name", name_is_archive, "the name of an archive ending in .didx, .fidx or .blob"),
};
static const struct param_rule dynamic_index_rules[] = {
    TEXT("archive-name", is_dynamic, "the name of an archive ending in .didx"),
};
static const struct param_rule fixed_index_rules[] = {
    TEXT("archive-name", is_fixed, "the name of an archive ending in .fidx"),
    INTEGER("size", 1, INT64_MAX),
    {.name = "reuse-csum",
     .type = PARAM_TEXT,
     .check = name_is_csum,
     .what = "a checksum: 64 hexadecimal digits",
     .optional = true},
};
static const struct param_rule append_rules[] = {
    WID,
    {.name = "digest-list", .type = PARAM_TEXT_LIST, .check = name_is_digest, .what = "a digest"},
    {.name = "offset-list", .type = PARAM_INTEGER_LIST, .min = 0, .max = INT64_MAX},
};
static const struct param_rule dynamic_chunk_rules[] = {
    WID,
    DIGEST,
    INTEGER("size", 1, WIRE_CHUNK_RAW_MAX),
    INTEGER("encoded-size", WIRE_CHUNK_ENCODED_MIN, WIRE_CHUNK_ENCODED_MAX),
};
static const struct param_rule fixed_chunk_rules[] = {
    WID,
    DIGEST,
    INTEGER("size", 1, WIRE_FIXED_CHUNK_SIZE),
    INTEGER("encoded-size", WIRE_CHUNK_ENCODED_MIN, WIRE_CHUNK_ENCODED_MAX),
};
static const struct param_rule dynamic_close_rules[] = {
    WID,
    INTEGER("chunk-count", 1, INT64_MAX),
    INTEGER("size", 1, INT64_MAX),
    CSUM,
};
static const struct param_rule fixed_close_rules[] = {
    WID,
    INTEGER("chunk-count", 0, INT64_MAX),
    INTEGER("size", 0, INT64_MAX),
    CSUM,
};
static const struct param_rule blob_rules[] = {
    TEXT("file-name", is_blob, "a file name ending in .blob"),
    INTEGER("encoded-size", WIRE_BLOB_ENCODED_MIN, WIRE_BLOB_ENCODED_MAX),
};
static const struct param_rule download_rules[] = {
    TEXT("file-name", name_is_archive, "a file name ending in .didx, .fidx or .blob"),
};
static const struct param_rule read_chunk_rules[] = {DIGEST};

#define SESSION_RULES                                                                                                  \
    TEXT("store", name_is_datastore, "the name of a datastore"),                                                       \
        TEXT("backup-type", name_is_backup_type, "host, vm or ct"),                                                    \
        TEXT("backup-id", name_is_backup_id, "a backup id"), INTEGER("backup-time", 1, BACKUP_TIME_MAX),               \
        {.name = "ns", .type = PARAM_TEXT, .check = name_is_namespace, .what = "a namespace", .optional = true},       \
    {                                                                                                                  \
        .name = "debug", .type = PARAM_BOOLEAN, .optional = true                                                       \
    }

static const struct param_rule backup_rules[] = {
    SESSION_RULES,
    {.name = "benchmark", .type = PARAM_BOOLEAN, .optional = true},
    {.name = "no-cache", .type = PARAM_BOOLEAN, .optional = true},
};
static const struct param_rule reader_rules[] = {SESSION_RULES};

#define COUNTED(rules) rules, sizeof rules / sizeof *rules
#define NONE NULL, 0

static const struct call_rules backup_calls[] = {
    {CALL_ID_LIST, "GET", "", PARAM_FROM_ANYWHERE, NONE},
    {CALL_ID_PREVIOUS_BACKUP_TIME, "GET", "previous_backup_time", PARAM_FROM_ANYWHERE, NONE},
    {CALL_ID_PREVIOUS, "GET", "previous", PARAM_FROM_QUERY_ONLY, COUNTED(previous_rules)},
    {CALL_ID_DYNAMIC_INDEX, "POST", "dynamic_index", PARAM_FROM_ANYWHERE, COUNTED(dynamic_index_rules)},
    {CALL_ID_DYNAMIC_APPEND, "PUT", "dynamic_index", PARAM_FROM_ANYWHERE, COUNTED(append_rules)},
    {CALL_ID_DYNAMIC_CHUNK, "POST", "dynamic_chunk", PARAM_FROM_QUERY_ONLY, COUNTED(dynamic_chunk_rules)},
    {CALL_ID_DYNAMIC_CLOSE, "POST", "dynamic_close", PARAM_FROM_ANYWHERE, COUNTED(dynamic_close_rules)},
    {CALL_ID_FIXED_INDEX, "POST", "fixed_index", PARAM_FROM_ANYWHERE, COUNTED(fixed_index_rules)},
    {CALL_ID_FIXED_APPEND, "PUT", "fixed_index", PARAM_FROM_ANYWHERE, COUNTED(append_rules)},
    {CALL_ID_FIXED_CHUNK, "POST", "fixed_chunk", PARAM_FROM_QUERY_ONLY, COUNTED(fixed_chunk_rules)},
    {CALL_ID_FIXED_CLOSE, "POST", "fixed_close", PARAM_FROM_ANYWHERE, COUNTED(fixed_close_rules)},
    {CALL_ID_BLOB, "POST", "blob", PARAM_FROM_QUERY_ONLY, COUNTED(blob_rules)},
    {CALL_ID_FINISH, "POST", "finish", PARAM_FROM_ANYWHERE, NONE},
    {CALL_ID_SPEEDTEST, "POST", "speedtest", PARAM_FROM_QUERY_ONLY, NONE},
};
static const struct call_rules reader_calls[] = {
    {CALL_ID_LIST, "GET", "", PARAM_FROM_ANYWHERE, NONE},
    {CALL_ID_DOWNLOAD, "GET", "download", PARAM_FROM_QUERY_ONLY, COUNTED(download_rules)},
    {CALL_ID_READ_CHUNK, "GET", "chunk", PARAM_FROM_QUERY_ONLY, COUNTED(read_chunk_rules)},
    {CALL_ID_SPEEDTEST, "GET", "speedtest", PARAM_FROM_QUERY_ONLY, NONE},
};
static const struct call_rules upgrades[] = {
    [SESSION_BACKUP] = {CALL_ID_LIST, "GET", "backup", PARAM_FROM_QUERY_ONLY, COUNTED(backup_rules)},
    [SESSION_READER] = {CALL_ID_LIST, "GET", "reader", PARAM_FROM_QUERY_ONLY, COUNTED(reader_rules)},
};

const struct call_rules *call_rules_at(enum session_kind kind, size_t k)
{
    if (kind == SESSION_BACKUP)
        return k < sizeof backup_calls / sizeof *backup_calls ? &backup_calls[k] : NULL;
    return k < sizeof reader_calls / sizeof *reader_calls ? &reader_calls[k] : NULL;
}

const struct call_rules *call_rules_find(enum session_kind kind, const char *method, const char *name)
{
    const struct call_rules *found;
    for (size_t k = 0; (found = call_rules_at(kind, k)); k++)
        if (strcmp(found->method, method) == 0 && strcmp(found->name, name) == 0)
            return found;
    return NULL;
}

const struct call_rules *call_rules_upgrade(enum session_kind kind)
{
    return &upgrades[kind];
}
