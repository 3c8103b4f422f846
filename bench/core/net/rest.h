/* Calls before and beside sessions: one HTTP/1.1 connection, kept alive, logged in when first needed. For one thread.
 * Source: bench/spec/protocol.md 5, 6, 11. */
#ifndef PXB_NET_REST_H
#define PXB_NET_REST_H

#include "net/account.h"
#include "net/session.h"

struct rest;
/* Does not connect yet. `account` is borrowed. */
MUST_CHECK enum status rest_new(struct account *account, struct rest **out, struct error *err);
void rest_free(struct rest *r); /* accepts NULL */

/* `method` GET, POST, PUT or DELETE; `path` without "/api2/json/", encoded; `query` encoded or NULL; `body` JSON or
 * NULL (`content_type` NULL: JSON). A 401 is answered with one new login. Connects again once if the kept connection
 * was closed. `what` ("listing the snapshots") begins the sentence of an error. On OK `out` has the body of the 200,
 * at most `size_max` bytes (ERR_LIMIT). At most 120 s. */
MUST_CHECK enum status rest_call(struct rest *r, const char *method, const char *path, const char *query,
                                 const char *content_type, const struct slice *body, size_t size_max, const char *what,
                                 struct buffer *out, struct error *err);
/* HTTP's status of the last answer, whatever was made of it; 0: the last call got none. */
int rest_last_status(const struct rest *r);
/* Logs in if the account is a user's; nothing for a token. */
MUST_CHECK enum status rest_login(struct rest *r, struct error *err);
void rest_stats(const struct rest *r, struct net_stats *out);

#endif
