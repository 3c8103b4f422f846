/* Memory for keys and passwords: pages of their own that are in no core dump, are not swapped out if the limits allow
 * it, and are zeroed before they go back. And the process as a whole: from the first secret on it leaves no core dump
 * and is nobody's to trace, for libraries have copies of their own while they work.
 * Source: bench/README.md, secrets. */
#ifndef PXB_FLOW_PROTECTED_H
#define PXB_FLOW_PROTECTED_H

#include "base/status.h"

/* Zeroed. Calls protect_process(). */
MUST_CHECK enum status protected_new(size_t size, void **out, struct error *err);
void protected_free(void *data, size_t size); /* accepts NULL; `size` as it was asked for */

/* For good, threads and later children without exec included. */
MUST_CHECK enum status protect_process(struct error *err);

/* Between the two, blocks that jansson gives back are zeroed first: a key file without passphrase is JSON, and the
 * parser copies strings. Not thread-safe, and nobody else may use jansson meanwhile. */
void json_cleansing_begin(void);
void json_cleansing_end(void);

#endif
