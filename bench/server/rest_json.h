/* Bodies of answers: {"data": ...}, put together element by element so that a long list needs no tree of values.
 * Pure. Writers append to a buffer whose ceiling the caller chose (ERR_LIMIT). Values are taken, also on failure; one
 * that is NULL is a failed allocation.
 * Source: bench/spec/protocol.md 5.2. */
#ifndef PXB_SERVER_REST_JSON_H
#define PXB_SERVER_REST_JSON_H

#include "base/buffer.h"

#include <jansson.h>

/* The whole body. */
MUST_CHECK enum status rest_json_data(struct buffer *out, json_t *value, struct error *err);

/* A list: begin, any number of elements, end. */
struct rest_json_list {
    struct buffer *out; /* borrowed */
    size_t count;
};
MUST_CHECK enum status rest_json_list_begin(struct rest_json_list *list, struct buffer *out, struct error *err);
MUST_CHECK enum status rest_json_list_add(struct rest_json_list *list, json_t *value, struct error *err);
MUST_CHECK enum status rest_json_list_end(struct rest_json_list *list, struct error *err);

/* Names may be any bytes: what is not UTF-8 becomes U+FFFD. NULL: out of memory. */
json_t *rest_json_text(const char *bytes, size_t size);
/* Of bytes, as base64. */
json_t *rest_json_base64(const void *bytes, size_t size);
/* Sets a member of `object`. ERR_MEMORY: `value` is NULL, or there was no room for it. */
MUST_CHECK enum status rest_json_set(json_t *object, const char *name, json_t *value, struct error *err);

#endif
