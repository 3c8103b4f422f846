/* What is in a finished snapshot: its manifest, and its archives by the names people type. Reads from the store, keeps
 * nothing open. Not thread-safe.
 * Source: bench/spec/archive-creation.md B2; bench/spec/datastore.md 2, 3, 6. */
#ifndef PXB_FLOW_SNAPSHOT_H
#define PXB_FLOW_SNAPSHOT_H

#include "index/dynamic_index.h"
#include "index/fixed_index.h"
#include "index/manifest.h"
#include "store/store.h"

enum { STORED_NAME_SIZE = 256 }; /* with the NUL */

enum stored_kind { STORED_SPLIT, STORED_UNIFIED, STORED_IMAGE, STORED_BLOB, STORED_CATALOG };
struct stored_archive {
    enum stored_kind kind;
    char name[STORED_NAME_SIZE];         /* metadata index, unified index, image index, blob, catalog index */
    char payload_name[STORED_NAME_SIZE]; /* split only: payload index */
};

/* The manifest of an open snapshot: read, decoded, parsed, if the store was opened with a key its signature and the
 * key's fingerprint checked (index/manifest.h), and that it is this snapshot's: ERR_MISMATCH. One that is not signed is
 * accepted, under a key with a warning. Also ERR_NOT_FOUND, ERR_FORMAT, ... */
MUST_CHECK enum status snapshot_manifest(struct store_reader *reader, struct manifest *out, struct error *err);
/* Without these three checks. `out_text`: what it was parsed from, up to MANIFEST_SIZE_MAX bytes. */
MUST_CHECK enum status snapshot_manifest_unchecked(struct store_reader *reader, struct buffer *out_text,
                                                   struct manifest *out, struct error *err);
/* The last of them: its type, id and time. Whoever keeps the snapshots may hand out another one's files, which are
 * signed as they are. */
MUST_CHECK enum status snapshot_manifest_check(const struct store_reader *reader, const struct manifest *m,
                                               struct error *err);

/* `given` is X.pxar, X.mpxar or X.ppxar with or without .didx; X.img with or without .fidx; X.conf or X.log with or
 * without .blob; catalog.pcat1 with or without .didx; or the whole name of any other .fidx or .blob. A unified archive
 * that is there wins; X.pxar then means the pair; split names never mean a unified archive.
 * ERR_NOT_FOUND: "archive not found in manifest". ERR_USAGE: longer than 255 bytes with its extensions. */
MUST_CHECK enum status snapshot_resolve(const struct manifest *m, const char *given, struct stored_archive *out,
                                        struct error *err);

/* A stored index, checked against its manifest entry (csum and size recomputed). ERR_UNSUPPORTED: encrypted,
 * and the store was opened without a key. */
MUST_CHECK enum status snapshot_index(struct store_reader *reader, const struct manifest *m, const char *name,
                                      struct dynamic_index *out, struct error *err);
MUST_CHECK enum status snapshot_fixed_index(struct store_reader *reader, const struct manifest *m, const char *name,
                                            struct fixed_index *out, struct error *err);

/* The index will be read: stores on servers send it meanwhile. Names that are not in the manifest are ignored. */
void snapshot_prefetch_index(struct store_reader *reader, const struct manifest *m, const char *name);

#endif
