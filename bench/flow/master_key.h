/* The encryption key for whoever owns a master key: a snapshot made with it holds the key, encrypted with the master
 * key's public half (RSA, PKCS #1 v1.5). Not thread-safe.
 * Source: bench/spec/datastore.md 5.2. */
#ifndef PXB_FLOW_MASTER_KEY_H
#define PXB_FLOW_MASTER_KEY_H

#include "flow/key_store.h"

/* `public_key_path`: PEM. Replaces `out` by what is stored, not yet as a blob. ERR_IO; ERR_FORMAT: no RSA public key;
 * ERR_LIMIT: the key is too small to take the key file's text (2048 bits are). */
MUST_CHECK enum status master_key_wrap(const struct loaded_key *key, const char *public_key_path, struct buffer *out,
                                       struct error *err);

#endif
