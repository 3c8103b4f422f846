/* The JSON file that a client keeps its encryption key in, as it is or wrapped with a passphrase.
 * Pure: text in, text out; salt, IV and times come from the caller. Not thread-safe.
 * Without a passphrase the structure and its text hold the key itself: both are zeroed here or, the text, by its owner.
 * Source: bench/spec/datastore.md 5.1. */
#ifndef PXB_BLOB_KEY_FILE_H
#define PXB_BLOB_KEY_FILE_H

#include "base/buffer.h"
#include "blob/crypt.h"

enum key_kdf { KEY_KDF_NONE, KEY_KDF_SCRYPT, KEY_KDF_PBKDF2 };
extern const char *const key_kdf_names[]; /* "none", "scrypt", "pbkdf2"; NULL-terminated */

enum {
    KEY_FILE_SIZE_MAX = 64 << 10, /* of the text */
    KEY_HINT_SIZE_MAX = 1024,
    KEY_TIME_SIZE = 48,
    KEY_SALT_SIZE = 32,      /* of files made here */
    KEY_SALT_SIZE_MAX = 256, /* of files that are read */
    KEY_WRAPPED_SIZE = CRYPT_IV_SIZE + CRYPT_TAG_SIZE + CRYPT_KEY_SIZE,
    KEY_ENTROPY_SIZE = KEY_SALT_SIZE + CRYPT_IV_SIZE,
    KEY_PASSPHRASE_SIZE_MIN = 5,
    /* A file that somebody else wrote must not cost more than a few seconds and what the reference spends in memory. */
    KEY_PBKDF2_ITERATIONS = 65535,
    KEY_PBKDF2_ITERATIONS_MAX = 10000000,
    KEY_SCRYPT_N = 65536,
    KEY_SCRYPT_R = 8,
    KEY_SCRYPT_P = 1,
    KEY_SCRYPT_MEMORY_MAX = 1025 << 20,
    KEY_SCRYPT_COST_MAX = 1 << 24, /* n x r x p, 32 times that of a new file */
};

struct key_file {
    enum key_kdf kdf;
    uint64_t n; /* scrypt */
    uint32_t r, p;
    uint64_t iterations; /* pbkdf2 */
    uint8_t salt[KEY_SALT_SIZE_MAX];
    size_t salt_size;
    uint8_t data[KEY_WRAPPED_SIZE]; /* the key, or IV, tag, encrypted key */
    size_t data_size;
    char created[KEY_TIME_SIZE], modified[KEY_TIME_SIZE]; /* RFC 3339 */
    bool has_fingerprint;
    uint8_t fingerprint[FINGERPRINT_SIZE];
    char *hint; /* owned; NULL: none */
};

/* ERR_FORMAT names the member and what is wrong with it; ERR_LIMIT: parameters that would cost too much. */
MUST_CHECK enum status key_file_parse(const uint8_t *text, size_t size, const char *name, struct key_file *out,
                                      struct error *err);
void key_file_deinit(struct key_file *f); /* zeroes; accepts {0} */
/* Appends the text. Members that are not of the format are lost when a file is read and written again. */
enum key_file_form { KEY_FILE_PRETTY, KEY_FILE_COMPACT /* no blanks, no final newline */ };
MUST_CHECK enum status key_file_write(const struct key_file *f, enum key_file_form form, struct buffer *out,
                                      struct error *err);

/* `passphrase` is ignored without kdf, and NULL if there is none: ERR_NOT_FOUND when one is needed. ERR_USAGE: shorter
 * than KEY_PASSPHRASE_SIZE_MIN. ERR_MISMATCH: it is another one, or the file is damaged; or the key is not the
 * fingerprint's. On failure `out` is zeroed. */
MUST_CHECK enum status key_file_unwrap(const struct key_file *f, const char *passphrase, const char *name,
                                       uint8_t out[CRYPT_KEY_SIZE], struct error *err);
/* Sets kdf with its parameters for new files, data and fingerprint; the rest is left alone. `entropy`: random bytes,
 * for salt and IV. Errors as above. */
MUST_CHECK enum status key_file_wrap(struct key_file *f, const uint8_t key[CRYPT_KEY_SIZE], enum key_kdf kdf,
                                     const char *passphrase, const uint8_t entropy[KEY_ENTROPY_SIZE],
                                     struct error *err);

#endif
