/* Which entries of an index have the same contents: same digest, same size.
 * Pure: memory alone. Work grows as entries times their logarithm, whatever the digests are (a hash table would be at
 * the mercy of an index made to collide). Memory: 4 bytes per entry, 32 more while it is made. */
#ifndef PXB_DETECT_LOOKAHEAD_EQUAL_H
#define PXB_DETECT_LOOKAHEAD_EQUAL_H

#include "index/dynamic_index.h"

/* out[k]: the first entry with the contents of entry k, which may be k. free() it. */
MUST_CHECK enum status equal_entries(const struct dynamic_index *index, uint32_t **out, struct error *err);

#endif
