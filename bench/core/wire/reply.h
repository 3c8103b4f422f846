/* What a server's answer means: a status for the program, one sentence for the user that says what to do.
 * Pure. The server's own words are quoted, cut, without control characters.
 * Source: bench/spec/protocol.md 5.2, 18. */
#ifndef PXB_WIRE_REPLY_H
#define PXB_WIRE_REPLY_H

#include "base/status.h"

#include <jansson.h>

/* Statuses mean different things in different places. */
enum reply_place { REPLY_REST, REPLY_BACKUP_UPGRADE, REPLY_READER_UPGRADE, REPLY_BACKUP_SESSION, REPLY_READER_SESSION };

/* OK for 200 (and, for an upgrade, 101). Else `what` ("uploading a chunk") begins the sentence:
 *
 *   ERR_LOCKED       another backup of the group runs, or has just ended: try again
 *   ERR_EXISTS       the backup time is not later than the last one's
 *   ERR_REFUSED      account, privilege, owner, or a refusal without a better name
 *   ERR_NOT_FOUND    no such path, file, namespace or snapshot
 *   ERR_UNSUPPORTED  the server is something else, or of another generation
 *   ERR_LIMIT        the request was too long
 *   ERR_NETWORK      the server, or what stands before it, is out of order
 *   ERR_FORMAT       an answer that has no place here */
MUST_CHECK enum status reply_check(enum reply_place place, const char *what, int http_status, const void *body,
                                   size_t size, struct error *err);

/* So many values of JSON (base/json_values.h) are taken: 250 bytes of memory each at most. A list of 100000 snapshots
 * has about three million. */
enum { REPLY_VALUES_MAX = 1 << 16, REPLY_LIST_VALUES_MAX = 1 << 22 };

/* What is in the envelope of a 200, `{"data": ...}`; an empty body stands for null. The caller owns `*out`
 * (json_decref). ERR_FORMAT: not JSON, no object, no data. ERR_LIMIT: too many values. */
MUST_CHECK enum status reply_data(const char *what, const void *body, size_t size, json_t **out, struct error *err);
/* The same where the data is a list of whatever the datastore has. */
MUST_CHECK enum status reply_list(const char *what, const void *body, size_t size, json_t **out, struct error *err);

#endif
