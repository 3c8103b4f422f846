#include "wire/upgrade.h"

#include "wire/protocol.h"
#include "wire/query.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { CREDENTIALS_SIZE_MAX = 12 << 10, HEAD_FIELDS_MAX = 8 };

static void cleanse(struct buffer *b)
{
    if (b->data)
        OPENSSL_cleanse(b->data, b->capacity);
    buffer_deinit(b);
}

static enum status append_text(struct buffer *out, const char *text, struct error *err)
{
    return buffer_append(out, text, strlen(text), err);
}

enum status credentials_write(struct buffer *out, const struct http_credentials *c, const char **out_name,
                              struct error *err)
{
    *out_name = NULL;
    if (c->token_id) {
        TRY(append_text(out, "PBSAPIToken ", err));
        TRY(append_text(out, c->token_id, err));
        TRY(append_text(out, ":", err));
        TRY(percent_encode_secret(out, c->token_secret, err));
        *out_name = "Authorization";
    } else if (c->ticket) {
        TRY(append_text(out, c->cookie_name ? c->cookie_name : "PBSAuthCookie", err));
        TRY(append_text(out, "=", err));
        TRY(percent_encode_secret(out, c->ticket, err));
        *out_name = "Cookie";
    }
    return buffer_append_u8(out, 0, err);
}

enum status credentials_parse_token(const char *value, struct buffer *out_id, struct buffer *out_secret,
                                    struct error *err)
{
    static const char word[] = "PBSAPIToken";
    size_t size = sizeof word - 1;
    bool good = strncmp(value, word, size) == 0 && (value[size] == ' ' || value[size] == '=');
    const char *id = good ? value + size + 1 : "";
    const char *colon = strchr(id, ':');
    if (!colon)
        return fail(err, ERR_USAGE, "an Authorization header that is not 'PBSAPIToken ID:SECRET'");
    TRY(buffer_append(out_id, id, (size_t)(colon - id), err));
    TRY(buffer_append_u8(out_id, 0, err));
    TRY(percent_decode(out_secret, colon + 1, strlen(colon + 1), err));
    return buffer_append_u8(out_secret, 0, err);
}

enum status credentials_parse_cookie(const char *value, const char *name, struct buffer *out, struct error *err)
{
    size_t name_size = strlen(name);
    for (const char *p = value;;) {
        p += strspn(p, " \t;");
        size_t size = strcspn(p, ";");
        if (size > name_size && memcmp(p, name, name_size) == 0 && p[name_size] == '=') {
            TRY(percent_decode(out, p + name_size + 1, size - name_size - 1, err));
            return buffer_append_u8(out, 0, err);
        }
        if (p[size] == '\0')
            return fail(err, ERR_NOT_FOUND, "no cookie named %s", name);
        p += size;
    }
}

const char *session_protocol(enum session_kind kind)
{
    return kind == SESSION_BACKUP ? WIRE_BACKUP_PROTOCOL : WIRE_READER_PROTOCOL;
}

/* "PATH?QUERY" with the limit that servers set. */
static enum status write_target(struct buffer *out, const char *path, const struct buffer *query, struct error *err)
{
    if (strlen(path) + query->size > WIRE_TARGET_MAX)
        return fail(err, ERR_LIMIT, "path and parameters of %zu bytes, servers take %d", strlen(path) + query->size,
                    WIRE_TARGET_MAX);
    TRY(append_text(out, path, err));
    if (query->size > 0) {
        TRY(buffer_append_u8(out, '?', err));
        TRY(buffer_append(out, query->data, query->size, err));
    }
    return buffer_append_u8(out, 0, err);
}

/* Host, User-Agent, Content-Type and credentials, then what the caller adds. */
static enum status write_head(struct buffer *out, const char *method, const char *target, const char *authority,
                              const char *content_type, const struct http_credentials *credentials,
                              const struct http_field *more, size_t more_count, struct error *err)
{
    struct http_field fields[HEAD_FIELDS_MAX + 4];
    struct buffer value = BUFFER_INIT(CREDENTIALS_SIZE_MAX);
    const char *name;
    size_t count = 0;
    ASSERT(more_count <= HEAD_FIELDS_MAX);
    /* At once: buffers that grow leave copies of secrets behind. */
    TRY(buffer_reserve(out, HTTP_HEAD_SIZE_MAX, err));
    enum status status = buffer_reserve(&value, CREDENTIALS_SIZE_MAX, err);
    if (status == OK)
        status = credentials_write(&value, credentials, &name, err);
    if (status == OK) {
        fields[count++] = (struct http_field){"Host", authority};
        fields[count++] = (struct http_field){"User-Agent", WIRE_USER_AGENT};
        fields[count++] = (struct http_field){"Content-Type", content_type};
        if (name)
            fields[count++] = (struct http_field){name, (const char *)value.data};
        for (size_t i = 0; i < more_count; i++)
            fields[count++] = more[i];
        status = http_request_write(out, method, target, fields, count, err);
    }
    cleanse(&value);
    return status;
}

static enum status write_upgrade_query(struct buffer *query, const struct upgrade_request *r, struct error *err)
{
    TRY(query_add(query, "backup-id", r->backup_id, err));
    TRY(query_add_integer(query, "backup-time", r->backup_time, err));
    TRY(query_add(query, "backup-type", r->backup_type, err));
    if (r->kind == SESSION_BACKUP)
        TRY(query_add_boolean(query, "benchmark", r->benchmark, err));
    TRY(query_add_boolean(query, "debug", r->debug, err));
    TRY(query_add(query, "store", r->store, err));
    return r->ns && *r->ns ? query_add(query, "ns", r->ns, err) : OK;
}

static enum status upgrade_write_with(struct buffer *out, const struct upgrade_request *r, const char *authority,
                                      const struct http_credentials *credentials, struct buffer *query,
                                      struct buffer *target, struct error *err)
{
    const struct http_field more[] = {{"Connection", "upgrade"}, {"Upgrade", session_protocol(r->kind)}};
    TRY(write_upgrade_query(query, r, err));
    TRY(write_target(target, r->kind == SESSION_BACKUP ? "/api2/json/backup" : "/api2/json/reader", query, err));
    return write_head(out, "GET", (const char *)target->data, authority, WIRE_TYPE_FORM, credentials, more, 2, err);
}

enum status upgrade_write(struct buffer *out, const struct upgrade_request *request, const char *authority,
                          const struct http_credentials *credentials, struct error *err)
{
    struct buffer query = BUFFER_INIT(2 * WIRE_TARGET_MAX);
    struct buffer target = BUFFER_INIT(2 * WIRE_TARGET_MAX);
    enum status status = upgrade_write_with(out, request, authority, credentials, &query, &target, err);
    buffer_deinit(&query);
    buffer_deinit(&target);
    return status;
}

enum status upgrade_check_reply(const struct http_head *reply, enum session_kind kind, struct error *err)
{
    const char *upgrade = http_head_find(reply, "upgrade");
    ASSERT(reply->complete && reply->status == 101);
    if (!upgrade || strcasecmp(upgrade, session_protocol(kind)) != 0)
        return fail(err, ERR_FORMAT, "the server switched to the protocol '%.60s' instead of %s",
                    upgrade ? upgrade : "", session_protocol(kind));
    return OK;
}

static enum status rest_write_with(struct buffer *out, const struct rest_request *r, const char *authority,
                                   const struct http_credentials *credentials, struct buffer *path,
                                   struct buffer *target, struct error *err)
{
    bool get = strcmp(r->method, "GET") == 0;
    bool post = strcmp(r->method, "POST") == 0;
    struct buffer query = {.data = NULL};
    char length[24];
    struct http_field more[HEAD_FIELDS_MAX];
    size_t count = 0;
    TRY(append_text(path, "/api2/json/", err));
    TRY(append_text(path, r->path, err));
    TRY(buffer_append_u8(path, 0, err));
    if (r->query)
        query = (struct buffer){.data = (uint8_t *)(uintptr_t)r->query, .size = strlen(r->query)};
    TRY(write_target(target, (const char *)path->data, &query, err));
    if (!get && credentials->ticket && credentials->csrf_token)
        more[count++] = (struct http_field){"CSRFPreventionToken", credentials->csrf_token};
    if (!get) {
        snprintf(length, sizeof length, "%zu", r->body_size);
        more[count++] = (struct http_field){"Content-Length", length};
    }
    more[count++] = (struct http_field){"Connection", r->keep_alive ? "keep-alive" : "close"};
    const char *type = r->content_type ? r->content_type : post ? WIRE_TYPE_JSON : WIRE_TYPE_FORM;
    return write_head(out, r->method, (const char *)target->data, authority, type, credentials, more, count, err);
}

enum status rest_write(struct buffer *out, const struct rest_request *request, const char *authority,
                       const struct http_credentials *credentials, struct error *err)
{
    struct buffer path = BUFFER_INIT(2 * WIRE_TARGET_MAX);
    struct buffer target = BUFFER_INIT(2 * WIRE_TARGET_MAX);
    enum status status = rest_write_with(out, request, authority, credentials, &path, &target, err);
    buffer_deinit(&path);
    buffer_deinit(&target);
    return status;
}
