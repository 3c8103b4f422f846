/* Requests of our client before HTTP/2: the upgrade to a session, authorization, and what the answers mean.
 * Pure. Heads may hold secrets: callers overwrite their buffers (OPENSSL_cleanse) when they are sent. Writers reserve
 * HTTP_HEAD_SIZE_MAX bytes first, so that growing leaves no copies behind; buffers need that much room.
 * Source: bench/spec/protocol.md 6.1, 6.2, 7.1, 7.3. */
#ifndef PXB_WIRE_UPGRADE_H
#define PXB_WIRE_UPGRADE_H

#include "wire/http_head.h"
#include "wire/repository.h"

enum session_kind { SESSION_BACKUP, SESSION_READER };

struct upgrade_request {
    enum session_kind kind;
    const char *store;
    const char *ns; /* "" or NULL: root, left out */
    const char *backup_type;
    const char *backup_id;
    int64_t backup_time;
    bool benchmark; /* backup sessions */
    bool debug;
};

/* The value of a header that says who we are. Exactly one of the two is used: a token's secret goes into Authorization,
 * a ticket into Cookie. `cookie_name` NULL: "PBSAuthCookie". */
struct http_credentials {
    const char *token_id;
    const char *token_secret;
    const char *cookie_name;
    const char *ticket;
    const char *csrf_token; /* with a ticket, for requests that are not GET */
};
/* Appends the value and its NUL to `out` and gives the header's name in `*out_name`; *out_name is NULL without
 * credentials. */
MUST_CHECK enum status credentials_write(struct buffer *out, const struct http_credentials *c, const char **out_name,
                                         struct error *err);

/* The value of an Authorization header: `out_id` and the decoded `out_secret` (both end with NUL). ERR_USAGE: something
 * else. */
MUST_CHECK enum status credentials_parse_token(const char *value, struct buffer *out_id, struct buffer *out_secret,
                                               struct error *err);
/* The decoded cookie of this name (ends with NUL). ERR_NOT_FOUND: no such cookie. */
MUST_CHECK enum status credentials_parse_cookie(const char *value, const char *name, struct buffer *out,
                                                struct error *err);

const char *session_protocol(enum session_kind kind);
/* Appends the whole head of the upgrade, in the order of 7.1. ERR_LIMIT: path and query are too long. */
MUST_CHECK enum status upgrade_write(struct buffer *out, const struct upgrade_request *request, const char *authority,
                                     const struct http_credentials *credentials, struct error *err);
/* A complete answer with status 101. ERR_FORMAT: to another protocol than the one asked for. */
MUST_CHECK enum status upgrade_check_reply(const struct http_head *reply, enum session_kind kind, struct error *err);

/* A call before or without a session: "/api2/json/PATH", query for GET, PUT and DELETE, JSON body for POST.
 * `keep_alive`: more will follow on the connection. `query` and `body_size` may be empty. */
struct rest_request {
    const char *method;
    const char *path; /* encoded, without a leading slash: "access/ticket" */
    const char *query;
    const char *content_type; /* NULL: form for everything but POST, which is JSON */
    size_t body_size;
    bool keep_alive;
};
MUST_CHECK enum status rest_write(struct buffer *out, const struct rest_request *request, const char *authority,
                                  const struct http_credentials *credentials, struct error *err);

#endif
