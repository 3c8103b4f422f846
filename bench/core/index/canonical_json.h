/* JSON in the one form that is signed: no blanks, members sorted by the bytes of their names, the shortest escapes,
 * integers alone as numbers, no null anywhere.
 * Pure. Source: bench/spec/datastore.md 6.1. */
#ifndef PXB_INDEX_CANONICAL_JSON_H
#define PXB_INDEX_CANONICAL_JSON_H

#include "base/buffer.h"

#include <jansson.h>

/* Appends. ERR_FORMAT: a null or a fraction. */
MUST_CHECK enum status canonical_json(const json_t *value, const char *name, struct buffer *out, struct error *err);

#endif
