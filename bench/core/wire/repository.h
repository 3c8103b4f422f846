/* Names of datastores on servers: "[[auth-id@]host[:port]:]datastore".
 * Pure values without pointers; nothing is resolved or connected here.
 * Source: bench/spec/protocol.md 2.2. */
#ifndef PXB_WIRE_REPOSITORY_H
#define PXB_WIRE_REPOSITORY_H

#include "wire/names.h"

enum {
    REPOSITORY_TEXT_MAX = 256,
    REPOSITORY_FULL_SIZE = 3 * REPOSITORY_TEXT_MAX + 16, /* with everything spelled out, or as a URL */
};

struct repository {
    char auth_id[REPOSITORY_TEXT_MAX + 1];
    char host[REPOSITORY_TEXT_MAX + 1]; /* an IPv6 address keeps its brackets */
    char datastore[REPOSITORY_TEXT_MAX + 1];
    uint16_t port;
};

/* ERR_USAGE: which part is wrong, and what it should be. */
MUST_CHECK enum status repository_parse(const char *text, struct repository *out, struct error *err);
/* Put together from parts (PBS_SERVER and its kin); NULL and 0 take the defaults, `datastore` is mandatory. */
MUST_CHECK enum status repository_make(const char *auth_id, const char *host, unsigned port, const char *datastore,
                                       struct repository *out, struct error *err);
/* All parts spelled out; parses back to the same repository if it is not longer than REPOSITORY_TEXT_MAX. */
const char *repository_text(const struct repository *r, char out[REPOSITORY_FULL_SIZE]);
/* "https://host:port/" */
const char *repository_url(const struct repository *r, char out[REPOSITORY_FULL_SIZE]);
/* "host:port", as in a Host header. */
const char *repository_authority(const struct repository *r, char out[REPOSITORY_FULL_SIZE]);
bool repository_is_token(const struct repository *r);
/* The user behind a token, or the user. */
const char *repository_user(const struct repository *r, char out[REPOSITORY_TEXT_MAX + 1]);

#endif
