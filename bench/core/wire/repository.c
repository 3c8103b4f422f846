#include "wire/repository.h"

#include "wire/protocol.h"

#include <stdio.h>
#include <string.h>

enum { QUOTE_MAX = 80 };

static void copy_text(char out[REPOSITORY_TEXT_MAX + 1], const char *text, size_t size)
{
    ASSERT(size <= REPOSITORY_TEXT_MAX);
    memcpy(out, text, size);
    out[size] = '\0';
}

static enum status check_datastore(const char *text, struct error *err)
{
    if (!name_is_safe(text, strlen(text)))
        return fail(err, ERR_USAGE,
                    "datastore '%.*s' is not made of letters, digits, '_', '.' and '-', beginning with a letter, digit "
                    "or '_'",
                    QUOTE_MAX, text);
    return OK;
}

static enum status check_host(const char *text, size_t size, struct error *err)
{
    if (!name_is_host(text, size))
        return fail(err, ERR_USAGE, "'%.*s' is not a host: a name, an IPv4 address, or an IPv6 address in brackets",
                    size > QUOTE_MAX ? QUOTE_MAX : (int)size, text);
    return OK;
}

static enum status check_auth_id(const char *text, size_t size, struct error *err)
{
    if (!name_is_auth_id(text, size))
        return fail(err, ERR_USAGE, "'%.*s' is neither a user (name@realm) nor an API token (name@realm!token)",
                    size > QUOTE_MAX ? QUOTE_MAX : (int)size, text);
    return OK;
}

/* The length of the host that `text` begins with, up to its colon; 0 when no host is there. */
static size_t host_size(const char *text)
{
    size_t size = 0;
    if (text[0] == '[') {
        size = strcspn(text, "]");
        if (text[size] == '\0' || text[size + 1] != ':')
            return 0;
        return size + 1;
    }
    size = strcspn(text, ":");
    return text[size] == ':' ? size : 0;
}

/* "[port:]datastore" */
static enum status parse_behind_host(const char *text, struct repository *out, struct error *err)
{
    size_t digits = strspn(text, "0123456789");
    if (digits >= 1 && text[digits] == ':') {
        unsigned port = 0;
        for (size_t i = 0; i < digits && port <= UINT16_MAX; i++)
            port = 10 * port + (unsigned)(text[i] - '0');
        if (digits > 5 || port > UINT16_MAX)
            return fail(err, ERR_USAGE, "port '%.*s' is not between 0 and 65535", digits > 20 ? 20 : (int)digits, text);
        out->port = (uint16_t)port;
        text += digits + 1;
    }
    TRY(check_datastore(text, err));
    copy_text(out->datastore, text, strlen(text));
    return OK;
}

enum status repository_parse(const char *text, struct repository *out, struct error *err)
{
    size_t size = strlen(text);
    *out = (struct repository){
        .auth_id = WIRE_AUTH_ID_DEFAULT,
        .host = WIRE_HOST_DEFAULT,
        .port = WIRE_PORT_DEFAULT,
    };
    if (size > REPOSITORY_TEXT_MAX)
        return fail(err, ERR_USAGE, "repository of %zu characters, at most %d are allowed", size, REPOSITORY_TEXT_MAX);
    const char *rest = text;
    const char *at = strrchr(text, '@');
    if (at) {
        TRY(check_auth_id(text, (size_t)(at - text), err));
        copy_text(out->auth_id, text, (size_t)(at - text));
        rest = at + 1;
    }
    size_t host = host_size(rest);
    if (host > 0) {
        TRY(check_host(rest, host, err));
        copy_text(out->host, rest, host);
        return parse_behind_host(rest + host + 1, out, err);
    }
    if (at || strchr(rest, ':'))
        return fail(err, ERR_USAGE, "repository '%.*s' is not [[user@realm[!token]@]host[:port]:]datastore: %s",
                    QUOTE_MAX, text, at ? "behind the user a host is missing" : "the host is missing");
    TRY(check_datastore(rest, err));
    copy_text(out->datastore, rest, strlen(rest));
    return OK;
}

enum status repository_make(const char *auth_id, const char *host, unsigned port, const char *datastore,
                            struct repository *out, struct error *err)
{
    auth_id = auth_id ? auth_id : WIRE_AUTH_ID_DEFAULT;
    host = host ? host : WIRE_HOST_DEFAULT;
    *out = (struct repository){0};
    if (!datastore)
        return fail(err, ERR_USAGE, "a repository needs the name of a datastore");
    if (port > UINT16_MAX)
        return fail(err, ERR_USAGE, "port %u is not between 0 and 65535", port);
    TRY(check_auth_id(auth_id, strlen(auth_id), err));
    TRY(check_host(host, strlen(host), err));
    TRY(check_datastore(datastore, err));
    if (strlen(auth_id) + strlen(host) + strlen(datastore) + 8 > REPOSITORY_TEXT_MAX)
        return fail(err, ERR_USAGE, "user, host and datastore together are longer than %d characters",
                    REPOSITORY_TEXT_MAX);
    copy_text(out->auth_id, auth_id, strlen(auth_id));
    copy_text(out->host, host, strlen(host));
    copy_text(out->datastore, datastore, strlen(datastore));
    out->port = port ? (uint16_t)port : WIRE_PORT_DEFAULT;
    return OK;
}

const char *repository_text(const struct repository *r, char out[REPOSITORY_FULL_SIZE])
{
    snprintf(out, REPOSITORY_FULL_SIZE, "%s@%s:%u:%s", r->auth_id, r->host, r->port, r->datastore);
    return out;
}

const char *repository_url(const struct repository *r, char out[REPOSITORY_FULL_SIZE])
{
    snprintf(out, REPOSITORY_FULL_SIZE, "https://%s:%u/", r->host, r->port);
    return out;
}

const char *repository_authority(const struct repository *r, char out[REPOSITORY_FULL_SIZE])
{
    snprintf(out, REPOSITORY_FULL_SIZE, "%s:%u", r->host, r->port);
    return out;
}

bool repository_is_token(const struct repository *r)
{
    return r->auth_id[name_token_offset(r->auth_id, strlen(r->auth_id))] != '\0';
}

const char *repository_user(const struct repository *r, char out[REPOSITORY_TEXT_MAX + 1])
{
    size_t size = strlen(r->auth_id);
    size_t token = name_token_offset(r->auth_id, size);
    copy_text(out, r->auth_id, token == size ? size : token - 1);
    return out;
}
