#include "wire/http_head.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { QUOTE_MAX = 60 };

void http_head_init(struct http_head *h, enum http_kind kind)
{
    *h = (struct http_head){.kind = kind, .text = BUFFER_INIT(HTTP_HEAD_SIZE_MAX + 1)};
}

void http_head_deinit(struct http_head *h)
{
    if (h->text.data)
        OPENSSL_cleanse(h->text.data, h->text.capacity);
    buffer_deinit(&h->text);
    *h = (struct http_head){0};
}

/* RFC 9110 5.6.2. */
static bool is_token_character(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(const char *text)
{
    for (const char *p = text; *p; p++)
        if (!is_token_character(*p))
            return false;
    return *text != '\0';
}

/* Visible characters, and between them spaces and tabs. */
static bool is_value(const char *text)
{
    for (const char *p = text; *p; p++)
        if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f)
            return false;
    return true;
}

static bool is_target(const char *text)
{
    for (const char *p = text; *p; p++)
        if (*p <= ' ' || *p >= 0x7f)
            return false;
    return *text != '\0';
}

/* "HTTP/1.0" or "HTTP/1.1", up to `end`. */
static enum status parse_version(struct http_head *h, const char *text, size_t size, struct error *err)
{
    if (size != 8 || memcmp(text, "HTTP/1.", 7) != 0 || (text[7] != '0' && text[7] != '1'))
        return fail(err, ERR_FORMAT, "'%.*s' is not HTTP/1.1", size > 20 ? 20 : (int)size, text);
    h->minor = (unsigned)(text[7] - '0');
    return OK;
}

static enum status parse_request_line(struct http_head *h, char *line, struct error *err)
{
    char *target = strchr(line, ' ');
    char *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version)
        return fail(err, ERR_FORMAT, "'%.*s' is not a request line", QUOTE_MAX, line);
    *target++ = '\0';
    *version++ = '\0';
    if (!is_token(line) || !is_target(target))
        return fail(err, ERR_FORMAT, "request line with an unusable method or target");
    h->method = line;
    h->target = target;
    return parse_version(h, version, strlen(version), err);
}

static enum status parse_status_line(struct http_head *h, char *line, struct error *err)
{
    size_t size = strcspn(line, " ");
    TRY(parse_version(h, line, size, err));
    const char *code = line + size;
    if (strspn(code, " ") != 1 || strspn(code + 1, "0123456789") != 3 || code[1] == '0' ||
        (code[4] != ' ' && code[4] != '\0'))
        return fail(err, ERR_FORMAT, "'%.*s' is not a status line", QUOTE_MAX, line);
    h->status = (code[1] - '0') * 100 + (code[2] - '0') * 10 + (code[3] - '0');
    h->reason = code[4] ? code + 5 : code + 4;
    return is_value(h->reason) ? OK : fail(err, ERR_FORMAT, "control characters in a status line");
}

static enum status parse_field(struct http_head *h, char *line, struct error *err)
{
    if (*line == ' ' || *line == '\t')
        return fail(err, ERR_FORMAT, "a folded header line");
    char *colon = strchr(line, ':');
    if (!colon)
        return fail(err, ERR_FORMAT, "header line '%.*s' without a colon", QUOTE_MAX, line);
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t size = strlen(value);
    while (size > 0 && (value[size - 1] == ' ' || value[size - 1] == '\t'))
        size--;
    value[size] = '\0';
    if (!is_token(line))
        return fail(err, ERR_FORMAT, "'%.*s' is no name of a header", QUOTE_MAX, line);
    if (!is_value(value))
        return fail(err, ERR_FORMAT, "control characters in the header '%.*s'", QUOTE_MAX, line);
    h->fields[h->field_count++] = (struct http_field){line, value};
    return OK;
}

/* A decimal number without sign that fits 63 bits. */
static bool parse_length(const char *text, uint64_t *out)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || text[digits] || digits > 18)
        return false;
    *out = 0;
    for (size_t i = 0; i < digits; i++)
        *out = *out * 10 + (uint64_t)(text[i] - '0');
    return true;
}

static enum status check_framing(struct http_head *h, struct error *err)
{
    const char *length = http_head_find(h, "content-length");
    const char *coding = http_head_find(h, "transfer-encoding");
    if (http_head_count(h, "content-length") > 1 || http_head_count(h, "transfer-encoding") > 1)
        return fail(err, ERR_FORMAT, "the length of the body is given twice");
    if (length && coding)
        return fail(err, ERR_FORMAT, "a content-length beside a transfer-encoding");
    if (length && !parse_length(length, &h->length))
        return fail(err, ERR_FORMAT, "content-length '%.*s' is not a number", QUOTE_MAX, length);
    h->has_length = length != NULL;
    if (coding && (h->kind == HTTP_REQUEST || strcasecmp(coding, "chunked") != 0 || h->minor == 0))
        return fail(err, ERR_FORMAT, "transfer-encoding '%.*s' is not supported here", QUOTE_MAX, coding);
    h->chunked = coding != NULL;
    if (h->kind == HTTP_REQUEST && http_head_count(h, "host") > 1)
        return fail(err, ERR_FORMAT, "more than one Host");
    return OK;
}

/* The text is complete: cut at its line ends and taken apart in place. */
static enum status parse(struct http_head *h, struct error *err)
{
    char *line = (char *)h->text.data;
    for (unsigned k = 0;; k++) {
        char *end = strstr(line, "\r\n");
        ASSERT(end); /* feed let only such texts through */
        *end = '\0';
        if (end == line && k > 0)
            break;
        if (k == 0)
            TRY(h->kind == HTTP_REQUEST ? parse_request_line(h, line, err) : parse_status_line(h, line, err));
        else
            TRY(parse_field(h, line, err));
        line = end + 2;
    }
    return check_framing(h, err);
}

static bool ends_with(const struct buffer *b, const char *text)
{
    size_t size = strlen(text);
    return b->size >= size && memcmp(b->data + b->size - size, text, size) == 0;
}

enum status http_head_feed(struct http_head *h, const void *data, size_t size, size_t *out_used, struct error *err)
{
    const uint8_t *bytes = data;
    size_t used = 0;
    /* At once: growing would leave copies of secrets behind. */
    if (!h->text.data)
        TRY(buffer_reserve(&h->text, HTTP_HEAD_SIZE_MAX + 1, err));
    while (used < size && !h->complete) {
        uint8_t c = bytes[used];
        bool after_cr = ends_with(&h->text, "\r");
        if (after_cr != (c == '\n'))
            return fail(err, ERR_FORMAT, "a line that does not end with CR LF, at byte %zu of the head", h->text.size);
        if (c == '\0')
            return fail(err, ERR_FORMAT, "a NUL at byte %zu of the head", h->text.size);
        if (h->text.size >= HTTP_HEAD_SIZE_MAX)
            return fail(err, ERR_LIMIT, "the head is longer than %d bytes", HTTP_HEAD_SIZE_MAX);
        TRY(buffer_append_u8(&h->text, c, err));
        used++;
        if (c != '\n')
            continue;
        if (h->text.size == 2)
            return fail(err, ERR_FORMAT, "the head begins with an empty line");
        if (ends_with(&h->text, "\r\n\r\n"))
            h->complete = true;
        else if (h->lines++ > HTTP_HEAD_LINES_MAX)
            return fail(err, ERR_LIMIT, "the head has more than %d header lines", HTTP_HEAD_LINES_MAX);
    }
    *out_used = used;
    if (!h->complete)
        return OK;
    TRY(buffer_append_u8(&h->text, 0, err));
    return parse(h, err);
}

const char *http_head_find(const struct http_head *h, const char *name)
{
    for (size_t i = 0; i < h->field_count; i++)
        if (strcasecmp(h->fields[i].name, name) == 0)
            return h->fields[i].value;
    return NULL;
}

size_t http_head_count(const struct http_head *h, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < h->field_count; i++)
        count += strcasecmp(h->fields[i].name, name) == 0;
    return count;
}

bool http_head_lists(const struct http_head *h, const char *name, const char *word)
{
    for (size_t i = 0; i < h->field_count; i++) {
        if (strcasecmp(h->fields[i].name, name) != 0)
            continue;
        for (const char *p = h->fields[i].value; *p;) {
            p += strspn(p, ", \t");
            size_t size = strcspn(p, ", \t");
            if (size == strlen(word) && strncasecmp(p, word, size) == 0)
                return true;
            p += size;
        }
    }
    return false;
}

bool http_head_keeps_alive(const struct http_head *h)
{
    if (http_head_lists(h, "connection", "close") || http_head_framing(h) == HTTP_BODY_UNTIL_EOF)
        return false;
    return h->minor == 1 || http_head_lists(h, "connection", "keep-alive");
}

enum http_framing http_head_framing(const struct http_head *h)
{
    if (h->kind == HTTP_RESPONSE && (h->status < 200 || h->status == 204 || h->status == 304))
        return HTTP_BODY_NONE;
    if (h->chunked)
        return HTTP_BODY_CHUNKED;
    if (h->has_length)
        return h->length > 0 ? HTTP_BODY_SIZED : HTTP_BODY_NONE;
    return h->kind == HTTP_REQUEST ? HTTP_BODY_NONE : HTTP_BODY_UNTIL_EOF;
}

void http_head_target(const struct http_head *h, const char **out_path, size_t *out_path_size, const char **out_query)
{
    *out_path = h->target;
    *out_path_size = strcspn(h->target, "?");
    *out_query = h->target[*out_path_size] ? h->target + *out_path_size + 1 : "";
}

static enum status write_text(struct buffer *out, const char *text, struct error *err)
{
    return buffer_append(out, text, strlen(text), err);
}

static enum status write_fields(struct buffer *out, const struct http_field *fields, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!is_token(fields[i].name) || !is_value(fields[i].value))
            return fail(err, ERR_USAGE, "the header '%.*s' has characters that cannot be sent", QUOTE_MAX,
                        fields[i].name);
        TRY(write_text(out, fields[i].name, err));
        TRY(write_text(out, ": ", err));
        TRY(write_text(out, fields[i].value, err));
        TRY(write_text(out, "\r\n", err));
    }
    return write_text(out, "\r\n", err);
}

enum status http_request_write(struct buffer *out, const char *method, const char *target,
                               const struct http_field *fields, size_t count, struct error *err)
{
    if (!is_token(method) || !is_target(target))
        return fail(err, ERR_USAGE, "a method or target with characters that cannot be sent");
    TRY(write_text(out, method, err));
    TRY(write_text(out, " ", err));
    TRY(write_text(out, target, err));
    TRY(write_text(out, " HTTP/1.1\r\n", err));
    return write_fields(out, fields, count, err);
}

const char *http_reason(int status)
{
    switch (status) {
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 301: return "Moved Permanently";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 414: return "URI Too Long";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    default: return "Status";
    }
}

enum status http_response_write(struct buffer *out, int status, const char *reason, const struct http_field *fields,
                                size_t count, struct error *err)
{
    reason = reason ? reason : http_reason(status);
    if (status < 100 || status > 999 || !is_value(reason))
        return fail(err, ERR_USAGE, "status %d cannot be sent", status);
    char line[32];
    snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    TRY(write_text(out, line, err));
    TRY(write_text(out, reason, err));
    TRY(write_text(out, "\r\n", err));
    return write_fields(out, fields, count, err);
}
