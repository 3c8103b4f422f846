/* What the archives of a snapshot hold, as lines: from the stored catalog, or, when there is none, from the archives
 * themselves, read from front to back without their contents.
 * Source: bench/spec/datastore.md 7, bench/spec/archive-creation.md B2. */
#ifndef PXB_FLOW_CATALOG_DUMP_H
#define PXB_FLOW_CATALOG_DUMP_H

#include "base/io.h"
#include "store/store.h"

/* Writes the lines of catalog_line(), each with a newline, paths beginning with "./" and the archive's index
 * ("./root.mpxar.didx/a"). `archive` NULL: the catalog; without one all archives, sorted by name. Else one archive, or
 * the catalog, by the names that snapshot_resolve() knows.
 * ERR_NOT_FOUND: no such snapshot or archive, or none at all. ERR_UNSUPPORTED: encrypted, without key. Lines before an
 * error found later have been written then. */
MUST_CHECK enum status catalog_dump(struct store *store, const struct snapshot_id *snapshot, const char *archive,
                                    struct sink out, struct error *err);

#endif
