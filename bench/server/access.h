/* Who may do what: accounts with their secrets, tickets, and whose groups are whose.
 * An access table does not change once it is made and may be shared between threads; secrets are zeroed with it.
 * Source: bench/spec/protocol.md 6. */
#ifndef PXB_SERVER_ACCESS_H
#define PXB_SERVER_ACCESS_H

#include "base/buffer.h"
#include "wire/http_head.h"
#include "wire/names.h"

/* On the one datastore, in all of its namespaces. */
enum privilege {
    PRIVILEGE_AUDIT = 1,
    PRIVILEGE_READ = 2,
    PRIVILEGE_BACKUP = 4,
    PRIVILEGE_MODIFY = 8,
    PRIVILEGE_PRUNE = 16,
    PRIVILEGE_ALL = 31,
};
/* "audit", "read", "backup", "modify", "prune", joined by ',', or "all" or "none". ERR_USAGE. */
MUST_CHECK enum status privileges_parse(const char *text, unsigned *out, struct error *err);

/* Whoever a request comes from. */
struct caller {
    char auth_id[NAME_AUTH_ID_MAX + 1];
    unsigned privileges; /* of enum privilege */
};

/* Whether `auth_id` may use a group of `owner`'s: its own, or one of its tokens'. A token may not use its user's. */
bool access_owns(const char *auth_id, const char *owner);

struct access_account {
    const char *auth_id; /* a token or a user */
    const char *secret;  /* of the token, or password */
    unsigned privileges; /* of enum privilege */
};

struct access;
/* Everything is copied. ERR_USAGE: no auth id, empty secret, or twice the same. */
MUST_CHECK enum status access_new(const struct access_account *accounts, size_t count, struct access **out,
                                  struct error *err);
void access_free(struct access *a); /* zeroes; accepts NULL */

/* The credentials of a request. A cookie counts before an Authorization header; with a ticket, anything but GET needs
 * its CSRF token. ERR_REFUSED: none, or not good ones (status 401). `now`: Unix seconds. */
MUST_CHECK enum status access_check(const struct access *a, const struct http_head *head, int64_t now,
                                    struct caller *out, struct error *err);

enum { TICKET_TEXT_MAX = 512, CSRF_TEXT_MAX = 128 };
/* A login: `password` is the user's, or a ticket that is still valid. ERR_REFUSED. */
MUST_CHECK enum status access_login(const struct access *a, const char *user_id, const char *password, int64_t now,
                                    char out_ticket[TICKET_TEXT_MAX], char out_csrf[CSRF_TEXT_MAX], struct error *err);

#endif
