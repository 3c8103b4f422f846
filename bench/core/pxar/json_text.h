/* Bytes, numbers and strings between archives and JSON: what jansson does not do by itself.
 * Pure. Source: the archive manifest and dump schemas; numbers are unsigned 64 bits there, jansson's are signed. */
#ifndef PXB_PXAR_JSON_TEXT_H
#define PXB_PXAR_JSON_TEXT_H

#include "base/buffer.h"

#include <jansson.h>

bool utf8_valid(const void *data, size_t size);
/* Appends a quoted JSON string; the bytes are valid UTF-8. */
MUST_CHECK enum status json_append_string(struct buffer *out, const char *text, size_t size, struct error *err);
/* Appends base64 without quotes. */
MUST_CHECK enum status base64_append(struct buffer *out, const uint8_t *data, size_t size, struct error *err);
/* Strict: alphabet, padding, no white space. Appends the bytes; ERR_FORMAT otherwise. */
MUST_CHECK enum status base64_decode_append(struct buffer *out, const char *text, size_t size, struct error *err);

/* Parses a JSON text whose integers may reach 2^64-1: those above 2^63-1 become strings "u64:N", which json_u64
 * understands. Duplicate keys are refused. ERR_FORMAT with line and column. The caller json_decrefs. */
MUST_CHECK enum status json_parse_wide(const char *text, size_t size, const char *name, json_t **out,
                                       struct error *err);
/* A non-negative integer of either form. */
bool json_u64(const json_t *value, uint64_t *out);

#endif
