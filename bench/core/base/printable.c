#include "base/printable.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* What the first byte promises. */
static size_t promised_size(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

static bool is_shown(uint32_t c)
{
    bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
    bool turns =
        c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
    bool separates = c == 0x2028 || c == 0x2029;
    return !control && !turns && !separates;
}

size_t printable_size(const void *text, size_t size)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* less has a shorter form */
    const unsigned char *p = text;
    size_t length = size > 0 ? promised_size(p[0]) : 0;
    if (length == 0 || length > size)
        return 0;
    uint32_t c = length == 1 ? p[0] : p[0] & (0x7fU >> length);
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fU);
    }
    if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    return is_shown(c) ? length : 0;
}

void printable_escape(const char *text, char *out, size_t out_size)
{
    size_t used = 0;
    for (const char *p = text; *p;) {
        size_t size = printable_plain(*p) ? 1 : printable_size(p, SIZE_MAX);
        if (out_size - used <= (size > 0 ? size : 4))
            break;
        if (size == 0) {
            snprintf(out + used, out_size - used, "\\x%02x", (unsigned)(unsigned char)*p);
            used += 4;
            p++;
        } else {
            memcpy(out + used, p, size);
            used += size;
            p += size;
        }
    }
    out[used] = '\0';
}
