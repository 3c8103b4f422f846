/* Encryption keys in files: made, loaded, wrapped with another passphrase. Keys are kept in protected memory
 * (flow/protected.h). Passphrases come from PBS_ENCRYPTION_PASSWORD (flow/secret.h); nobody is asked on the terminal.
 * Not thread-safe: the environment is read, and jansson's allocator is changed for a moment; what was loaded may be
 * shared.
 * Source: bench/spec/datastore.md 5. */
#ifndef PXB_FLOW_KEY_STORE_H
#define PXB_FLOW_KEY_STORE_H

#include "blob/key_file.h"

#define KEY_PASSPHRASE_NAME "PBS_ENCRYPTION_PASSWORD"
#define KEY_NEW_PASSPHRASE_NAME "PBS_NEW_ENCRYPTION_PASSWORD"

struct loaded_key;
/* A key file. ERR_IO, ERR_FORMAT, ERR_LIMIT; ERR_NOT_FOUND: it needs a passphrase and none is defined; ERR_MISMATCH:
 * another passphrase. The key is for as long as the store that is opened with it. */
MUST_CHECK enum status key_load(const char *path, struct loaded_key **out, struct error *err);
/* The same from an open descriptor, which is read to its end and closed. */
MUST_CHECK enum status key_load_fd(int fd, struct loaded_key **out, struct error *err);
void loaded_key_free(struct loaded_key *k);                               /* zeroes; accepts NULL */
const struct crypt_config *loaded_key_config(const struct loaded_key *k); /* NULL of NULL */

/* As a key file without passphrase: with the times and hint of the file that it was loaded from, `modified` now. Zero
 * it soon. */
MUST_CHECK enum status loaded_key_export(const struct loaded_key *k, struct key_file *out, struct error *err);

/* A new random key in a new file of mode 0600. `hint` may be NULL. ERR_IO: with EEXIST, the file is there. */
MUST_CHECK enum status key_create(const char *path, enum key_kdf kdf, const char *hint, struct error *err);
/* Replaces the file by one with the same key, wrapped anew: with the passphrase of PBS_NEW_ENCRYPTION_PASSWORD unless
 * `kdf` is none. `hint` NULL: the old one stays. The old file is whole until the new one is on disk. */
MUST_CHECK enum status key_change_passphrase(const char *path, enum key_kdf kdf, const char *hint, struct error *err);
/* What the file says of itself, without key and passphrase: data is zeroed. */
MUST_CHECK enum status key_describe(const char *path, struct key_file *out, struct error *err);

#endif
