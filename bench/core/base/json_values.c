#include "base/json_values.h"

enum status json_values_check(const void *text, size_t size, size_t max, const char *what, struct error *err)
{
    const unsigned char *p = text;
    size_t count = 1;
    bool in_string = false;
    /* Each opening bracket stands for a value that holds others and for the first of those, each comma for a further
     * one; the outermost value has nothing before it. */
    for (size_t i = 0; i < size; i++) {
        if (p[i] == '"')
            in_string = !in_string;
        else if (in_string)
            i += p[i] == '\\'; /* what is escaped ends no string */
        else
            count += p[i] == ',' || p[i] == '{' || p[i] == '[';
    }
    return count <= max ? OK
                        : fail(err, ERR_LIMIT, "%s: JSON of %zu bytes with about %zu values, at most %zu are taken",
                               what, size, count, max);
}
