#include "base/log_path.h"

#include <stdio.h>
#include <string.h>

/* Bytes of the printable UTF-8 character at `p` (which ends with NUL), 0 if there is none. */
static size_t printable_size(const unsigned char *p)
{
    if (p[0] < 0x80)
        return p[0] >= 0x20 && p[0] != 0x7f;
    size_t size = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* Control characters above ASCII, overlong forms, surrogates, beyond the last code point. */
    if ((p[0] == 0xc2 && p[1] < 0xa0) || (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return size;
}

const char *log_path(const char *path, char out[LOG_PATH_MAX])
{
    size_t used = 0;
    const unsigned char *p = (const unsigned char *)path;
    while (*p && used + 5 < LOG_PATH_MAX) {
        size_t size = printable_size(p);
        if (size == 0) {
            snprintf(out + used, LOG_PATH_MAX - used, "\\x%02x", *p);
            used += 4;
            p++;
        } else {
            memcpy(out + used, p, size);
            used += size;
            p += size;
        }
    }
    out[used] = '\0';
    return out;
}
