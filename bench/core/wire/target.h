/* The target of a request taken apart for routing: "/a//b%20c?query" is the components "a", "b c" and the query.
 * Pure. Empty components are dropped; decoded ones begin with no '.' and contain neither '/' nor NUL, so none leads out
 * of a tree.
 * Source: bench/spec/protocol.md 5.1, 7.4. */
#ifndef PXB_WIRE_TARGET_H
#define PXB_WIRE_TARGET_H

#include "base/buffer.h"

enum { TARGET_COMPONENTS_MAX = 16 };

struct target {
    struct buffer text; /* the decoded components, each with its NUL */
    const char *components[TARGET_COMPONENTS_MAX];
    size_t count;
    const char *query; /* borrowed from what was parsed; "" when there is none */
    size_t path_size;  /* encoded, for limits */
    size_t query_size;
};

/* ERR_USAGE: a component that is not allowed (status 400); ERR_NOT_FOUND: more components than any call has. On failure
 * nothing is left to free. */
MUST_CHECK enum status target_parse(const char *text, struct target *out, struct error *err);
void target_deinit(struct target *t); /* accepts zeroed */
/* Whether the components are exactly these: "admin/datastore/?/status", where '?' stands for any one. */
bool target_is(const struct target *t, const char *pattern);

#endif
