/* Checks everything that a snapshot refers to, and changes nothing: no chunk is renamed, no verify state is written.
 *
 *   index      file, format, checksum and length against the manifest; then each of its chunks
 *   chunk      once per run: there, crc, encrypted if and only if the manifest says so, decoded, digest, length of the
 *              index's range
 *   blob       size and SHA-256 of the file against the manifest, crc, decoded
 *   encrypted  with the key that the store was opened with all of that; without one, of chunks and blobs only crc and
 *              kind
 *   manifest   with a key its signature
 *
 * An index that is not the manifest's is one problem; its chunks are not looked at then, as they may be somebody
 * else's. A chunk is reported once per file, however often that refers to it. Not thread-safe. Source:
 * bench/spec/datastore.md 8.4. */
#ifndef PXB_FLOW_VERIFY_H
#define PXB_FLOW_VERIFY_H

#include "index/manifest.h"
#include "store/store.h"

enum verify_problem_kind {
    VERIFY_MISSING_FILE,
    VERIFY_UNREADABLE, /* a system call failed */
    VERIFY_DAMAGED_INDEX,
    VERIFY_DAMAGED_BLOB,
    VERIFY_WRONG_SIZE, /* not that of the manifest */
    VERIFY_WRONG_CSUM,
    VERIFY_MISSING_CHUNK,
    VERIFY_DAMAGED_CHUNK, /* magic, crc, frame */
    VERIFY_WRONG_KIND,    /* encrypted and should not be, or the other way round */
    VERIFY_WRONG_DIGEST,
    VERIFY_WRONG_LENGTH, /* not that of the index's range */
};
/* "missing-chunk", ... */
const char *verify_problem_name(enum verify_problem_kind kind);

/* Valid during the call. */
struct verify_problem {
    enum verify_problem_kind kind;
    const char *file;           /* of the manifest */
    const struct digest *chunk; /* NULL: the problem is the file's */
    uint64_t offset;            /* of the chunk's first reference in the stream */
    const char *text;           /* the sentence */
};

enum verify_verdict { VERIFY_GOOD, VERIFY_FAILED, VERIFY_ENCRYPTED /* nothing wrong, contents not verified */ };
struct verify_file {
    const struct manifest_file *file;
    enum verify_verdict verdict;
    uint64_t chunks;   /* entries of the index; 0 for blobs */
    uint64_t problems; /* reported for it */
};

struct verify_reporter {
    enum status (*problem)(void *context, const struct verify_problem *problem, struct error *err);
    enum status (*file_done)(void *context, const struct verify_file *file, struct error *err);
    void *context;
};

struct verify_stats {
    uint64_t files;
    uint64_t encrypted_files; /* verified as far as it goes without the key */
    uint64_t problems;
    uint64_t chunks;         /* loaded */
    uint64_t encoded_bytes;  /* of these chunks */
    uint64_t verified_bytes; /* decoded and compared with their digests, blobs too */
};

/* `archives`: names as snapshot_resolve() knows them; none: every file of the manifest. What is wrong with the stored
 * data is a problem and not an error: OK is returned. Errors are the rest: ERR_NOT_FOUND no such snapshot or archive,
 * a manifest that cannot be read, ERR_MEMORY, and what the reporter returns. */
MUST_CHECK enum status verify_snapshot(struct store *store, const struct snapshot_id *snapshot,
                                       const char *const *archives, size_t archive_count,
                                       const struct verify_reporter *reporter, struct verify_stats *out,
                                       struct error *err);

#endif
