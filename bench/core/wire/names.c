#include "wire/names.h"

#include "base/hex.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter_or_digit(char c)
{
    return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool name_is_safe(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (!is_letter_or_digit(c) && c != '_' && (i == 0 || (c != '.' && c != '-')))
            return false;
    }
    return size > 0;
}

bool name_is_datastore(const char *text, size_t size)
{
    return size >= NAME_DATASTORE_MIN && size <= NAME_DATASTORE_MAX && name_is_safe(text, size);
}

bool name_has_extension(const char *text, size_t size, const char *extension)
{
    size_t extension_size = strlen(extension);
    return size > extension_size && memcmp(text + size - extension_size, extension, extension_size) == 0;
}

bool name_is_archive(const char *text, size_t size)
{
    return size <= NAME_FILE_MAX && name_is_safe(text, size) &&
           (name_has_extension(text, size, ".didx") || name_has_extension(text, size, ".fidx") ||
            name_has_extension(text, size, ".blob"));
}

bool name_is_backup_type(const char *text, size_t size)
{
    return (size == 4 && memcmp(text, "host", 4) == 0) || (size == 2 && memcmp(text, "vm", 2) == 0) ||
           (size == 2 && memcmp(text, "ct", 2) == 0);
}

bool name_is_backup_id(const char *text, size_t size)
{
    return size <= NAME_BACKUP_ID_MAX && name_is_safe(text, size);
}

bool name_is_namespace(const char *text, size_t size)
{
    if (size == 0)
        return true;
    if (size > NAME_NAMESPACE_MAX)
        return false;
    size_t start = 0;
    for (unsigned depth = 1; depth <= NAME_NAMESPACE_DEPTH_MAX; depth++) {
        size_t end = start;
        while (end < size && text[end] != '/')
            end++;
        if (!name_is_safe(text + start, end - start))
            return false;
        /* The server counts a separator with what is being added, also for the first one. */
        if (start == 0 && end + 1 > NAME_NAMESPACE_MAX)
            return false;
        if (end == size)
            return true;
        start = end + 1;
    }
    return false;
}

bool name_is_csum(const char *text, size_t size)
{
    uint8_t digest[32];
    return hex_decode(text, size, digest, sizeof digest);
}

bool name_is_digest(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (text[i] >= 'A' && text[i] <= 'F')
            return false;
    return name_is_csum(text, size);
}

/* The last `c`; `size` when there is none. */
static size_t find_last(const char *text, size_t size, char c)
{
    for (size_t i = size; i > 0; i--)
        if (text[i - 1] == c)
            return i - 1;
    return size;
}

size_t name_token_offset(const char *auth_id, size_t size)
{
    size_t at = find_last(auth_id, size, '@');
    size_t mark = find_last(auth_id, size, '!');
    if (mark == size || (at != size && mark < at))
        return size;
    return mark + 1;
}

static bool is_user_character(char c)
{
    return (unsigned char)c > ' ' && c != 0x7f && c != ':' && c != '/';
}

bool name_is_user_id(const char *text, size_t size)
{
    size_t at = find_last(text, size, '@');
    if (size < 3 || size > NAME_USER_ID_MAX || at == size || at == 0)
        return false;
    for (size_t i = 0; i < at; i++)
        if (!is_user_character(text[i]))
            return false;
    size_t realm_size = size - at - 1;
    return realm_size >= 2 && realm_size <= 32 && name_is_safe(text + at + 1, realm_size);
}

bool name_is_token_id(const char *text, size_t size)
{
    size_t token = name_token_offset(text, size);
    if (token == size)
        return false;
    size_t token_size = size - token;
    return token_size >= NAME_TOKEN_MIN && token_size <= NAME_TOKEN_MAX && name_is_safe(text + token, token_size) &&
           name_is_user_id(text, token - 1);
}

bool name_is_auth_id(const char *text, size_t size)
{
    return name_is_user_id(text, size) || name_is_token_id(text, size);
}

/* Labels of letters, digits and inner dashes; IPv4 addresses are such names, too. */
static bool is_dns_name(const char *text, size_t size)
{
    if (size == 0 || size > 253)
        return false;
    for (size_t i = 0; i < size; i++) {
        bool first = i == 0 || text[i - 1] == '.';
        bool last = i + 1 == size || text[i + 1] == '.';
        if (!is_letter_or_digit(text[i]) && !(text[i] == '.' && !first && !last) &&
            !(text[i] == '-' && !first && !last))
            return false;
    }
    return true;
}

bool name_is_host(const char *text, size_t size)
{
    if (size == 0 || text[0] != '[')
        return is_dns_name(text, size);
    char address[INET6_ADDRSTRLEN + 1];
    struct in6_addr parsed;
    if (size < 4 || text[size - 1] != ']' || size - 2 >= sizeof address || memchr(text, '\0', size))
        return false;
    memcpy(address, text + 1, size - 2);
    address[size - 2] = '\0';
    return inet_pton(AF_INET6, address, &parsed) == 1;
}

enum status certificate_fingerprint_parse(const char *text, uint8_t out[CERTIFICATE_FINGERPRINT_SIZE],
                                          struct error *err)
{
    size_t size = strlen(text);
    bool good = size == CERTIFICATE_FINGERPRINT_TEXT_SIZE - 1;
    for (size_t i = 0; good && i < CERTIFICATE_FINGERPRINT_SIZE; i++)
        good = hex_decode(text + 3 * i, 2, &out[i], 1) &&
               text[3 * i + 2] == (i + 1 < CERTIFICATE_FINGERPRINT_SIZE ? ':' : '\0');
    if (!good)
        return fail(err, ERR_USAGE,
                    "the fingerprint of %zu characters is not 32 pairs of hexadecimal digits joined by colons, like "
                    "ab:01:...",
                    size);
    return OK;
}

const char *certificate_fingerprint_text(const uint8_t fingerprint[CERTIFICATE_FINGERPRINT_SIZE],
                                         char out[CERTIFICATE_FINGERPRINT_TEXT_SIZE])
{
    for (size_t i = 0; i < CERTIFICATE_FINGERPRINT_SIZE; i++) {
        hex_encode(&fingerprint[i], 1, out + 3 * i);
        out[3 * i + 2] = ':';
    }
    out[CERTIFICATE_FINGERPRINT_TEXT_SIZE - 1] = '\0';
    return out;
}
