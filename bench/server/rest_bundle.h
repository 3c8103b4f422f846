/* A directory of a stored archive as one zip or tar.zst file, made while it is read.
 *
 *   rest_archive: tree --members--> [ bundle ] --> pack (libarchive) --> bundle_read
 *                 contents --bytes--^
 *
 * Members begin with the directory's own name, those of the root with their own. A hardlink is another copy of its
 * target's contents, in tar a link where the target is in the directory as well. What the format has no place for
 * (sockets, in zip all special files) is left out. Memory: a block of contents and what becomes of it.
 * Not thread-safe. */
#ifndef PXB_SERVER_REST_BUNDLE_H
#define PXB_SERVER_REST_BUNDLE_H

#include "server/rest_archive.h"
#include "server/rest_pack.h"

struct bundle;
/* Borrows the archive, whose accessors are used for nothing else meanwhile; takes the content of `directory`, also on
 * failure. */
MUST_CHECK enum status bundle_new(struct rest_archive *archive, struct accessor_entry *directory, enum pack_kind kind,
                                  struct bundle **out, struct error *err);
void bundle_free(struct bundle *b); /* accepts NULL */
/* At most `size` bytes; none at the end. After a failure only free is allowed. */
MUST_CHECK enum status bundle_read(struct bundle *b, uint8_t *data, size_t size, size_t *out_size, struct error *err);

#endif
