/* The plain calls of the server, everything under /api2/json but logging in and the two upgrades: listings, single
 * files, catalogs, removing.
 *
 *   front.c: head, credentials, body --> rest_api_answer --> status, body or a source of bytes --> front.c
 *
 * Knows neither sockets nor HTTP/1.1. An api is thread-safe; a question and its answer belong to one thread.
 * Source: bench/spec/protocol.md 5, 6.3, 11. */
#ifndef PXB_SERVER_REST_H
#define PXB_SERVER_REST_H

#include "base/buffer.h"
#include "base/io.h"
#include "server/access.h"
#include "server/budget.h"
#include "store/store.h"

struct rest_question {
    const char *method;            /* "GET", "POST", "PUT", "DELETE" */
    const char *const *components; /* behind "api2/json": decoded, safe (wire/target.h) */
    size_t component_count;
    const char *query;        /* encoded, without '?'; "": none */
    const char *content_type; /* NULL: none */
    const uint8_t *body;      /* whole, at most rest_api_body_max bytes */
    size_t body_size;
    const struct caller *caller; /* NULL: not logged in (rest_api_is_public said that this is fine) */
};

/* Body or source, with `content_type`. Error texts are bodies, too: bare text. */
struct rest_answer {
    int status;
    const char *content_type;     /* a literal; NULL: none */
    struct buffer body;           /* owned; unless source.read is set */
    struct source source;         /* read until its end, on the asking thread; a failure ends the connection */
    void (*close)(void *context); /* of the source's context, once; NULL: nothing to do */
    bool has_size;                /* of the source */
    uint64_t size;
};
void rest_answer_deinit(struct rest_answer *answer); /* closes the source; accepts zeroed */

struct rest_api_options {
    struct store *store;       /* a local one; borrowed */
    const char *store_name;    /* borrowed */
    size_t parameter_body_max; /* of P calls: WIRE_PARAMETER_BODY_MAX or _OLD */
    struct budget *bodies;     /* of answers that are made as a whole; borrowed */
    const char *directory;     /* for those beyond it: files are made there; borrowed */
};
struct rest_api;
MUST_CHECK enum status rest_api_new(const struct rest_api_options *options, struct rest_api **out, struct error *err);
void rest_api_free(struct rest_api *api); /* accepts NULL; no question may be under way */

/* Asked when the head of a request is known. Whether it is answered without login (ping; what is not is 401 before
 * anything else is looked at). */
bool rest_api_is_public(const char *method, const char *const *components, size_t component_count);
/* How long its body may be. Longer ones: 400, without being read. Raw calls: WIRE_BLOB_ENCODED_MAX. */
size_t rest_api_body_max(const struct rest_api *api, const char *method, const char *const *components,
                         size_t component_count);
/* Always answers: 404 for unknown paths and methods, 400 for whatever has no status of its own. `answer` is overwritten
 * and the caller's to deinit. */
void rest_api_answer(struct rest_api *api, const struct rest_question *question, struct rest_answer *answer);

#endif
