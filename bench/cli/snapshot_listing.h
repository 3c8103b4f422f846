/* The finished snapshots of a server's datastore with their files, by one call: a manifest each would take a session
 * each. What the server says is taken for what it is: names are checked, sizes are its claim, checksums it does not
 * tell. Source: bench/spec/protocol.md 11. */
#ifndef PXB_CLI_SNAPSHOT_LISTING_H
#define PXB_CLI_SNAPSHOT_LISTING_H

#include "base/buffer.h"
#include "index/manifest.h"
#include "net/account.h"
#include "store/store.h"

#include <jansson.h>

struct snapshot_listing_item {
    struct snapshot_id id;
    bool is_readable;      /* else the server could not make sense of the manifest, and tells no sizes */
    struct manifest files; /* without the manifest's own file; checksums are zero */
};
/* `{0}` is empty. */
struct snapshot_listing {
    struct snapshot_listing_item *items; /* owned; by type, id, time */
    size_t count;
    size_t capacity;
};

/* `ns` "" for the root, `group` NULL: all. ERR_FORMAT: the answer is not what the protocol says. */
MUST_CHECK enum status snapshot_listing_ask(struct account *account, const char *ns, const struct snapshot_id *group,
                                            struct snapshot_listing *out, struct error *err);
/* The same from the answer's data. */
MUST_CHECK enum status snapshot_listing_parse(const json_t *data, const char *ns, struct snapshot_listing *out,
                                              struct error *err);
void snapshot_listing_deinit(struct snapshot_listing *l); /* accepts {0} */

#endif
