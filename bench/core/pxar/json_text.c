#include "pxar/json_text.h"

#include <inttypes.h>
#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

#define WIDE_PREFIX "u64:"

enum { BASE64_INPUT_MAX = INT_MAX / 2 };

/* Length of the sequence at p, 0 if it is none: no overlong forms, surrogates or values above U+10FFFF. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    uint8_t first = p[0];
    if (first < 0x80)
        return 1;
    size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || left < size)
        return 0;
    uint8_t second_min = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t second_max = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < second_min || p[1] > second_max)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

bool utf8_valid(const void *data, size_t size)
{
    const uint8_t *p = data;
    while (size > 0) {
        size_t length = utf8_sequence(p, size);
        if (length == 0)
            return false;
        p += length;
        size -= length;
    }
    return true;
}

static int append_piece(const char *text, size_t size, void *context)
{
    return buffer_append(context, text, size, NULL) == OK ? 0 : -1;
}

enum status json_append_string(struct buffer *out, const char *text, size_t size, struct error *err)
{
    json_t *string = json_stringn(text, size);
    bool done = string && json_dump_callback(string, append_piece, out, JSON_ENCODE_ANY) == 0;
    json_decref(string);
    if (!done)
        return fail(err, ERR_MEMORY, "out of memory for a JSON string of %zu bytes", size);
    return OK;
}

enum status base64_append(struct buffer *out, const uint8_t *data, size_t size, struct error *err)
{
    if (size > BASE64_INPUT_MAX)
        return fail(err, ERR_LIMIT, "%zu bytes are too many for base64", size);
    TRY(buffer_reserve(out, (size + 2) / 3 * 4 + 1, err));
    if (size > 0)
        out->size += (size_t)EVP_EncodeBlock(out->data + out->size, data, (int)size);
    return OK;
}

static bool is_base64_digit(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

enum status base64_decode_append(struct buffer *out, const char *text, size_t size, struct error *err)
{
    size_t padding = 0;
    while (padding < 2 && padding < size && text[size - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < size - padding; i++)
        if (!is_base64_digit(text[i]))
            return fail(err, ERR_FORMAT, "no base64 digit at position %zu", i);
    if (size % 4 != 0 || size > BASE64_INPUT_MAX)
        return fail(err, ERR_FORMAT, "base64 of %zu digits", size);
    if (size == 0)
        return OK;
    TRY(buffer_reserve(out, size / 4 * 3, err));
    int decoded = EVP_DecodeBlock(out->data + out->size, (const unsigned char *)text, (int)size);
    if (decoded < (int)padding)
        return fail(err, ERR_FORMAT, "no base64");
    out->size += (size_t)decoded - padding;
    return OK;
}

/* Whether the digits exceed what jansson can hold, but not 64 bits. */
static bool is_wide(const char *digits, size_t count)
{
    static const char signed_max[] = "9223372036854775807";
    static const char unsigned_max[] = "18446744073709551615";
    size_t signed_size = sizeof signed_max - 1, unsigned_size = sizeof unsigned_max - 1;
    if (count == signed_size)
        return memcmp(digits, signed_max, count) > 0;
    return count == unsigned_size && memcmp(digits, unsigned_max, count) <= 0;
}

static size_t string_length(const char *text, size_t size)
{
    size_t i = 1;
    while (i < size && text[i] != '"')
        i += text[i] == '\\' ? 2 : 1;
    return i < size ? i + 1 : size;
}

static bool is_number_byte(char c)
{
    return (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E';
}

/* Copies the text with wide integers quoted. Only tokens are recognised here; whether the text is JSON at all is for
 * the parser to say. */
static enum status quote_wide_integers(const char *text, size_t size, struct buffer *out, struct error *err)
{
    for (size_t i = 0; i < size;) {
        size_t length = 1;
        bool wide = false;
        if (text[i] == '"') {
            length = string_length(text + i, size - i);
        } else if (is_number_byte(text[i])) {
            size_t digits = 0;
            while (length < size - i && is_number_byte(text[i + length]))
                length++;
            while (digits < length && text[i + digits] >= '0' && text[i + digits] <= '9')
                digits++;
            wide = digits == length && is_wide(text + i, length);
        } else {
            while (length < size - i && text[i + length] != '"' && !is_number_byte(text[i + length]))
                length++;
        }
        if (wide)
            TRY(buffer_append(out, "\"" WIDE_PREFIX, sizeof WIDE_PREFIX, err));
        TRY(buffer_append(out, text + i, length, err));
        if (wide)
            TRY(buffer_append_u8(out, '"', err));
        i += length;
    }
    return OK;
}

enum status json_parse_wide(const char *text, size_t size, const char *name, json_t **out, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer quoted = BUFFER_INIT(0);
    TRY(quote_wide_integers(text, size, &quoted, err));
    json_error_t why;
    const char *bytes = quoted.size > 0 ? (const char *)quoted.data : "";
    *out = json_loadb(bytes, quoted.size, JSON_REJECT_DUPLICATES, &why);
    if (!*out)
        return fail(err, ERR_FORMAT, "%s: line %d, column %d: %s", name, why.line, why.column, why.text);
    return OK;
}

bool json_u64(const json_t *value, uint64_t *out)
{
    if (json_is_integer(value)) {
        *out = (uint64_t)json_integer_value(value);
        return json_integer_value(value) >= 0;
    }
    const char *text = json_string_value(value);
    size_t prefix = sizeof WIDE_PREFIX - 1;
    if (!text || strncmp(text, WIDE_PREFIX, prefix) != 0 || !is_wide(text + prefix, strlen(text + prefix)))
        return false;
    *out = 0;
    for (const char *p = text + prefix; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        *out = *out * 10 + (uint64_t)(*p - '0');
    }
    return true;
}
