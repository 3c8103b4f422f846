/* The manifest of a snapshot (index.json.blob, decoded): which files it has, their sizes and checksums.
 * JSON by jansson. Not thread-safe.
 * Source: bench/spec/datastore.md 6. */
#ifndef PXB_INDEX_MANIFEST_H
#define PXB_INDEX_MANIFEST_H

#include "base/buffer.h"
#include "blob/crypt.h"
#include "chunk/digest.h"

enum { MANIFEST_FILES_MAX = 65536, MANIFEST_SIZE_MAX = 16 << 20 };

struct manifest_file {
    char *filename;   /* owned; e.g. "root.mpxar.didx" */
    char *crypt_mode; /* owned; "none", "encrypt", "sign-only" */
    uint64_t size;
    struct digest csum;
};

struct manifest {
    char *backup_type; /* owned */
    char *backup_id;   /* owned */
    int64_t backup_time;
    struct manifest_file *files;
    size_t file_count;
    char *unprotected;     /* owned JSON text of the object, unknown members kept; never NULL after parse */
    char *key_fingerprint; /* owned copy of unprotected's member, or NULL */
    bool is_signed;
    struct digest signature; /* as stored: manifest_check_signature() says whether it is right */
};

MUST_CHECK enum status manifest_init(struct manifest *m, const char *type, const char *id, int64_t time,
                                     struct error *err);
void manifest_deinit(struct manifest *m); /* accepts {0} */
MUST_CHECK enum status manifest_add(struct manifest *m, const char *filename, const char *crypt_mode, uint64_t size,
                                    const struct digest *csum, struct error *err);
/* The same for many: the search for a file of that name, which manifest_add makes each time, is made once for all, by
 * manifest_check_names. *capacity: how many `m->files` has room for, 0 at first. `what` begins the sentence. */
MUST_CHECK enum status manifest_append(struct manifest *m, size_t *capacity, const char *filename,
                                       const char *crypt_mode, uint64_t size, const struct digest *csum,
                                       const char *what, struct error *err);
/* ERR_FORMAT: two files have the same name. */
MUST_CHECK enum status manifest_check_names(const struct manifest *m, const char *name, struct error *err);
/* NULL when absent; borrowed. */
const struct manifest_file *manifest_find(const struct manifest *m, const char *filename);
/* ERR_FORMAT names the member and what is wrong with it (and the JSON line on syntax errors). Filenames with '/' or
 * of other extensions than .didx .fidx .blob, and duplicates, are refused. */
MUST_CHECK enum status manifest_parse(const uint8_t *data, size_t size, const char *name, struct manifest *out,
                                      struct error *err);
/* Sorted members, 2-space indentation. Appends to `out`. */
MUST_CHECK enum status manifest_write(const struct manifest *m, struct buffer *out, struct error *err);
/* The signature of what the manifest says by now, and the key's fingerprint: to be called last. What is `unprotected`
 * is not signed and may change. */
MUST_CHECK enum status manifest_sign(struct manifest *m, const struct crypt_config *key, struct error *err);
/* `text`: what `m` was parsed from, for the signature covers members that nobody here knows. A signed manifest must be
 * signed with `key`: ERR_MISMATCH says "wrong key" if it names another one, or that it does not fit its signature. One
 * without signature is accepted. */
MUST_CHECK enum status manifest_check_signature(const struct manifest *m, const uint8_t *text, size_t size,
                                                const char *name, const struct crypt_config *key, struct error *err);
/* The fingerprint named there, if any, is that of `key`: ERR_MISMATCH. */
MUST_CHECK enum status manifest_check_fingerprint(const struct manifest *m, const struct crypt_config *key,
                                                  struct error *err);
/* Whether unprotected.verify_state says "failed"; one without a well-formed upid counts as absent. */
bool manifest_verify_failed(const struct manifest *m);
/* Sets unprotected.chunk_upload_stats. */
MUST_CHECK enum status manifest_set_upload_stats(struct manifest *m, uint64_t count, uint64_t size,
                                                 uint64_t compressed_size, uint64_t duplicates, struct error *err);

#endif
