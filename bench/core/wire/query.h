/* Parameters as text: percent coding, application/x-www-form-urlencoded written and split.
 * Pure. Writers append to a buffer whose ceiling the caller chose (ERR_LIMIT). Decoding is as servers do it: '%'
 * without two hexadecimal digits stands for itself.
 * Source: bench/spec/protocol.md 5.1, 6.1. */
#ifndef PXB_WIRE_QUERY_H
#define PXB_WIRE_QUERY_H

#include "base/buffer.h"

/* "key=value", behind a '&' unless `query` is empty. Key and value in form coding. */
MUST_CHECK enum status query_add(struct buffer *query, const char *key, const char *value, struct error *err);
MUST_CHECK enum status query_add_bytes(struct buffer *query, const char *key, const void *value, size_t size,
                                       struct error *err);
MUST_CHECK enum status query_add_integer(struct buffer *query, const char *key, int64_t value, struct error *err);
MUST_CHECK enum status query_add_boolean(struct buffer *query, const char *key, bool value, struct error *err);

/* Secrets in headers: control characters, space, "#<>`?{} and non-ASCII become %XX; '%' does not. */
MUST_CHECK enum status percent_encode_secret(struct buffer *out, const char *text, struct error *err);
/* One component of a path: everything but letters, digits and "-._~". */
MUST_CHECK enum status percent_encode_component(struct buffer *out, const char *text, struct error *err);
MUST_CHECK enum status percent_decode(struct buffer *out, const char *text, size_t size, struct error *err);

/* The next "key=value" of *text, which moves on behind it; false at the end. Empty pieces ("&&") are skipped. The
 * pieces are still encoded and point into the text. */
struct query_text {
    const char *data;
    size_t size;
};
bool query_next(struct query_text *text, struct query_text *out_key, struct query_text *out_value);
/* Form decoding: as percent_decode, and '+' is a space. */
MUST_CHECK enum status query_decode(struct buffer *out, struct query_text text, struct error *err);

#endif
