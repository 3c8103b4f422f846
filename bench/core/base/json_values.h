/* How many values a JSON text has, looked at before it is parsed: a parser takes up to 250 bytes of memory for a value
 * of three ("{},"), so a ceiling for the text alone is none for the memory. Pure. */
#ifndef PXB_BASE_JSON_VALUES_H
#define PXB_BASE_JSON_VALUES_H

#include "base/status.h"

/* ERR_LIMIT: there may be more than `max` values, elements of lists and members of objects, of any depth. One pass. Of
 * a text that is no JSON the values before the first error are counted, which is how far a parser gets, and perhaps
 * some behind it. `what` begins the sentence. */
MUST_CHECK enum status json_values_check(const void *text, size_t size, size_t max, const char *what,
                                         struct error *err);

#endif
