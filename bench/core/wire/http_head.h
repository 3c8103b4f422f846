/* Heads of HTTP/1.1 messages: written, and read byte by byte as they come, requests and responses.
 *
 *   "GET /x HTTP/1.1 CRLF  name: value CRLF  ... CRLF"      then a body, or another protocol
 *
 * Pure and strict, because two parties who disagree about where a message ends can be played against each other: lines
 * end with CR LF and nothing else does, no folded lines, no space before the colon, one content-length of digits alone,
 * never a content-length beside a transfer coding. Bounded: 16 KiB, 64 header lines.
 * Source: bench/spec/protocol.md
 * 5, 7.1, 7.3, 14.2 (V23). */
#ifndef PXB_WIRE_HTTP_HEAD_H
#define PXB_WIRE_HTTP_HEAD_H

#include "base/buffer.h"

enum { HTTP_HEAD_SIZE_MAX = 16 << 10, HTTP_HEAD_LINES_MAX = 64 };

enum http_kind { HTTP_REQUEST, HTTP_RESPONSE };

struct http_field {
    const char *name;
    const char *value;
};

/* How long the body behind a head is. */
enum http_framing { HTTP_BODY_NONE, HTTP_BODY_SIZED, HTTP_BODY_CHUNKED, HTTP_BODY_UNTIL_EOF };

/* A head being read, then read. Texts point into `text` and end with NUL. */
struct http_head {
    enum http_kind kind;
    bool complete;
    struct buffer text;
    unsigned lines;

    const char *method; /* requests */
    const char *target;
    int status; /* responses */
    const char *reason;
    unsigned minor; /* HTTP/1.minor, 0 or 1 */
    struct http_field fields[HTTP_HEAD_LINES_MAX];
    size_t field_count;

    bool has_length; /* content-length was given */
    uint64_t length;
    bool chunked;
};

void http_head_init(struct http_head *h, enum http_kind kind);
/* Frees; secrets in the head (cookies, tokens) are overwritten first. Accepts zeroed. */
void http_head_deinit(struct http_head *h);
/* Takes bytes up to the end of the head; what follows (`*out_used` on) belongs to whatever comes next. Sets `complete`.
 * ERR_FORMAT: not a head; ERR_LIMIT: too long or too many lines. Afterwards only deinit is allowed. */
MUST_CHECK enum status http_head_feed(struct http_head *h, const void *data, size_t size, size_t *out_used,
                                      struct error *err);

/* Of complete heads. The first value under this name, whatever its case; NULL: none. */
const char *http_head_find(const struct http_head *h, const char *name);
size_t http_head_count(const struct http_head *h, const char *name);
/* Whether the comma separated list under `name` has this word (case does not matter). */
bool http_head_lists(const struct http_head *h, const char *name, const char *word);
/* Whether another message may follow on the connection. */
bool http_head_keeps_alive(const struct http_head *h);
/* Requests without a length have no body, and none may be chunked (this is checked when the head is read). */
enum http_framing http_head_framing(const struct http_head *h);
/* Target cut at its first '?': both parts point into it. `*out_query` "" when there is none. */
void http_head_target(const struct http_head *h, const char **out_path, size_t *out_path_size, const char **out_query);

/* Appends a whole head, its blank line included. ERR_USAGE: a name, value, method or target that cannot be written
 * (such as a line end in a value). */
MUST_CHECK enum status http_request_write(struct buffer *out, const char *method, const char *target,
                                          const struct http_field *fields, size_t count, struct error *err);
/* `reason` NULL: the usual one of the status. */
MUST_CHECK enum status http_response_write(struct buffer *out, int status, const char *reason,
                                           const struct http_field *fields, size_t count, struct error *err);
const char *http_reason(int status);

#endif
