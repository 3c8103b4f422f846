#include "wire/query.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool is_letter_or_digit(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static enum status append_escaped(struct buffer *out, uint8_t c, struct error *err)
{
    static const char digits[] = "0123456789ABCDEF";
    const char text[3] = {'%', digits[c >> 4], digits[c & 15]};
    return buffer_append(out, text, sizeof text, err);
}

static enum status append_form(struct buffer *out, const void *data, size_t size, struct error *err)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = bytes[i];
        if (is_letter_or_digit(c) || c == '*' || c == '-' || c == '.' || c == '_')
            TRY(buffer_append_u8(out, c, err));
        else if (c == ' ')
            TRY(buffer_append_u8(out, '+', err));
        else
            TRY(append_escaped(out, c, err));
    }
    return OK;
}

enum status query_add_bytes(struct buffer *query, const char *key, const void *value, size_t size, struct error *err)
{
    if (query->size > 0)
        TRY(buffer_append_u8(query, '&', err));
    TRY(append_form(query, key, strlen(key), err));
    TRY(buffer_append_u8(query, '=', err));
    return append_form(query, value, size, err);
}

enum status query_add(struct buffer *query, const char *key, const char *value, struct error *err)
{
    return query_add_bytes(query, key, value, strlen(value), err);
}

enum status query_add_integer(struct buffer *query, const char *key, int64_t value, struct error *err)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    return query_add(query, key, text, err);
}

enum status query_add_boolean(struct buffer *query, const char *key, bool value, struct error *err)
{
    return query_add(query, key, value ? "true" : "false", err);
}

enum status percent_encode_secret(struct buffer *out, const char *text, struct error *err)
{
    for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
        if (*p <= ' ' || *p >= 0x7f || strchr("\"#<>`?{}", *p))
            TRY(append_escaped(out, *p, err));
        else
            TRY(buffer_append_u8(out, *p, err));
    }
    return OK;
}

enum status percent_encode_component(struct buffer *out, const char *text, struct error *err)
{
    for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
        if (is_letter_or_digit(*p) || strchr("-._~", *p))
            TRY(buffer_append_u8(out, *p, err));
        else
            TRY(append_escaped(out, *p, err));
    }
    return OK;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static enum status decode(struct buffer *out, const char *text, size_t size, bool plus_is_space, struct error *err)
{
    TRY(buffer_reserve(out, size, err));
    for (size_t i = 0; i < size; i++) {
        uint8_t c = (uint8_t)text[i];
        if (c == '%' && size - i > 2 && digit_value(text[i + 1]) >= 0 && digit_value(text[i + 2]) >= 0) {
            c = (uint8_t)(digit_value(text[i + 1]) << 4 | digit_value(text[i + 2]));
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        TRY(buffer_append_u8(out, c, err));
    }
    return OK;
}

enum status percent_decode(struct buffer *out, const char *text, size_t size, struct error *err)
{
    return decode(out, text, size, false, err);
}

enum status query_decode(struct buffer *out, struct query_text text, struct error *err)
{
    return decode(out, text.data, text.size, true, err);
}

bool query_next(struct query_text *text, struct query_text *out_key, struct query_text *out_value)
{
    while (text->size > 0) {
        const char *end = memchr(text->data, '&', text->size);
        size_t size = end ? (size_t)(end - text->data) : text->size;
        struct query_text pair = {text->data, size};
        size_t taken = end ? size + 1 : size;
        text->data += taken;
        text->size -= taken;
        if (size == 0)
            continue;
        const char *equals = memchr(pair.data, '=', pair.size);
        size_t key_size = equals ? (size_t)(equals - pair.data) : pair.size;
        *out_key = (struct query_text){pair.data, key_size};
        size_t value_start = equals ? key_size + 1 : key_size;
        *out_value = (struct query_text){pair.data + value_start, pair.size - value_start};
        return true;
    }
    return false;
}
