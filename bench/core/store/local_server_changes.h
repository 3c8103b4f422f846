/* What a server's plain calls change in a datastore directory: snapshots and namespaces removed, namespaces made, a log
 * added to a finished snapshot. Thread-safe; locks are those of store/local.h, never waited for.
 * Source: bench/spec/datastore.md 8; bench/spec/protocol.md 9.5, 11. */
#ifndef PXB_STORE_LOCAL_SERVER_CHANGES_H
#define PXB_STORE_LOCAL_SERVER_CHANGES_H

#include "store/store.h"

#define CLIENT_LOG_NAME "client.log.blob"

/* ERR_NOT_FOUND; ERR_REFUSED: it is protected; ERR_LOCKED: it is being written or read, or is the base of a running
 * backup. The group stays, and with it its owner. */
MUST_CHECK enum status local_remove_snapshot(struct store *s, const struct snapshot_id *id, struct error *err);

/* The namespace `name` in `parent`; one that is there already is fine. `name` is one component. ERR_USAGE: not allowed,
 * too deep, too long; ERR_NOT_FOUND: no such parent. `out` gets the whole name. */
MUST_CHECK enum status local_make_namespace(struct store *s, const char *parent, const char *name,
                                            char out[NAMESPACE_MAX + 1], struct error *err);
/* The namespace and all below it. ERR_EXISTS: groups are there, and `with_groups` is not set: nothing was removed.
 * ERR_USAGE: the root namespace. ERR_LOCKED, ERR_REFUSED (protected): what was removed until then stays removed. */
MUST_CHECK enum status local_remove_namespace(struct store *s, const char *ns, bool with_groups, struct error *err);

/* Stores the blob as CLIENT_LOG_NAME of a finished snapshot. ERR_EXISTS: there is one. */
MUST_CHECK enum status local_put_log(struct store *s, const struct snapshot_id *id, const uint8_t *blob, size_t size,
                                     struct error *err);

#endif
