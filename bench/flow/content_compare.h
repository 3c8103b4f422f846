/* Whether a file that is written anew has the contents that it had before: what was only touched. Compares, while the
 * file is copied, what goes into the archive with the old bytes from the store.
 *
 * Never fails: what cannot be read is unknown, and is said once. Reads stop at the first difference. Memory: two
 * chunks. Not thread-safe. */
#ifndef PXB_FLOW_CONTENT_COMPARE_H
#define PXB_FLOW_CONTENT_COMPARE_H

#include "flow/chunk_reader.h"

struct content_compare;
/* `reader`, `index` (of the old payload stream) and `name` are borrowed until free. */
MUST_CHECK enum status content_compare_new(struct store_reader *reader, const struct dynamic_index *index,
                                           const char *name, struct content_compare **out, struct error *err);
void content_compare_free(struct content_compare *c); /* accepts NULL */

/* A file of `size` bytes now, whose old payload header stands at `offset`: its contents follow. */
void content_compare_begin(struct content_compare *c, uint64_t offset, uint64_t size);
/* Any number of parts; more than was announced differs. Does nothing without a begin. */
void content_compare_part(struct content_compare *c, const uint8_t *data, size_t size);
/* Whether the parts were exactly the old contents. False without a begin, and when that is not known. */
bool content_compare_end(struct content_compare *c);

#endif
