/* What may be shown on somebody's terminal: text of servers, names in archives and file systems may hold anything.
 * Pure. */
#ifndef PXB_BASE_PRINTABLE_H
#define PXB_BASE_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character that the text begins with if it is UTF-8 and only shows itself. 0 otherwise: control
 * characters (of ASCII, and U+0080 to U+009F, which old terminals obey as well), what turns the direction of writing
 * and so makes text look like another one (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069), separators of
 * lines (U+2028, U+2029), overlong forms, surrogates, and bytes that are no UTF-8. NUL is a control character: of a
 * text that ends with one `size` may be SIZE_MAX. */
size_t printable_size(const void *text, size_t size);

/* The same for most of what there is, without a call. */
static inline bool printable_plain(char c)
{
    return c >= 0x20 && c < 0x7f;
}

/* Copies the text with "\xNN" for each byte of what is not printable, cut where `out_size` ends and ended by NUL. */
void printable_escape(const char *text, char *out, size_t out_size);

#endif
