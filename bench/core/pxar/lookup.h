/* What random access finds under a path, as one JSON object: the members of a dump line (dump.h) with `entry_range`,
 * `content_offset` (unified archives), and `follow` for hardlinks, without `entry_offset`; `read_size` and `sha256` of
 * the contents, read through the accessor, when they are at hand. A hardlink's are those of the file it leads to.
 * "null" where the path does not exist. Pure. */
#ifndef PXB_PXAR_LOOKUP_H
#define PXB_PXAR_LOOKUP_H

#include "base/buffer.h"
#include "pxar/accessor.h"

/* `contents`: read them. Appends without a newline. Errors: those of the accessor but for ERR_NOT_FOUND. */
MUST_CHECK enum status lookup_line(struct accessor *a, const char *path, bool contents, struct buffer *out,
                                   struct error *err);

#endif
