/* Reads a pxar archive sequentially: step, then ask what you are standing on. Version 1 (unified) is one stream with
 * the contents inside. Both streams of version 2 (split) are constructor arguments; the payload may be absent (contents
 * are then refused, 10.3). Not thread-safe, no system calls.
 *
 * Everything read is checked (pxar.md 11): sizes before allocating, names, kind against mode, goodbye size. Errors are
 * ERR_NOT_ARCHIVE ("not an archive": the first item is none of ours), ERR_VERSION ("unsupported version N") and
 * ERR_FORMAT ("corrupt at offset N in /path": everything behind the first item, and streams that end early).
 * Source: bench/spec/pxar.md 4, 5, 10.3, 11. */
#ifndef PXB_PXAR_DECODER_H
#define PXB_PXAR_DECODER_H

#include "base/io.h"
#include "pxar/item.h"

enum entry_kind {
    ENTRY_DIRECTORY,
    ENTRY_FILE,
    ENTRY_SYMLINK,
    ENTRY_HARDLINK,
    ENTRY_FIFO,
    ENTRY_SOCKET,
    ENTRY_CHAR_DEVICE,
    ENTRY_BLOCK_DEVICE,
    ENTRY_DIRECTORY_END, /* the goodbye table of the innermost open directory; the root's is the last entry */
};

/* Valid until the next call of the decoder; everything is borrowed. */
struct archive_entry {
    enum entry_kind kind;
    const char *name; /* NUL-terminated; "" for the root and directory ends */
    size_t name_size;
    const char *path; /* from the root, "/" for the root itself, "/a/b"; also set on directory ends (their directory) */
    size_t depth;     /* root 0 */
    struct attributes attributes; /* do not deinit; empty for hardlinks and directory ends */
    uint64_t filename_offset;     /* 0 for the root */
    uint64_t entry_offset;        /* 0 for hardlinks */
    uint64_t size;                /* files: content bytes */
    uint64_t payload_offset;      /* split files: of the PAYLOAD header in the payload stream, at least 16; else 0 */
    uint64_t content_offset;      /* unified files: of the first content byte in the stream; else 0 */
    const char *target;           /* symlink target, hardlink path; NUL-terminated */
    size_t target_size;
    uint64_t link_distance; /* hardlinks */
    uint64_t major, minor;  /* devices */
};

struct decoder;
/* `payload` NULL: a unified archive, or a split one's metadata only. Reads up to and including the prelude, and the
 * payload's start marker. ERR_MISMATCH: a payload beside a unified archive. */
MUST_CHECK enum status decoder_new(struct source metadata, const struct source *payload, struct decoder **out,
                                   struct error *err);
void decoder_free(struct decoder *d);              /* accepts NULL */
unsigned decoder_version(const struct decoder *d); /* 1 or 2 */
/* Borrowed; NULL when the archive has none. */
const uint8_t *decoder_prelude(const struct decoder *d, size_t *out_size);
/* OK: *out filled. ERR_CLOSED (no error text) after the root's end; bytes behind it are ERR_FORMAT, and so is a payload
 * that ends before the last reference or without its tail marker. A failure stays: every later call repeats it. */
MUST_CHECK enum status decoder_next(struct decoder *d, struct archive_entry *out, struct error *err);
/* Contents of the current file, in parts; OK with *out_size 0 at its end. Checks the PAYLOAD header first. What is not
 * read is skipped later, by the source. ERR_USAGE, without harm to the decoder: not on a file, or a split archive
 * without its payload stream.
 * Archives of older clients may refer to what was read already, or to the same bytes twice: a payload source that can
 * seek goes back, at most once per file, and the contents are given as stored. ERR_FORMAT where it cannot: such an
 * archive can only be listed. */
MUST_CHECK enum status decoder_content(struct decoder *d, uint8_t *data, size_t size, size_t *out_size,
                                       struct error *err);
/* Files for whose contents the payload source had to go back: 0 unless the archive is of an older client, or damaged.
 */
uint64_t decoder_went_back(const struct decoder *d);
uint64_t decoder_metadata_position(const struct decoder *d);
/* For random access (pxar/accessor.h): forgets where it is, and any failure, and stands in front of a member of
 * `directory` ("/", "/a") whose FILENAME is what the metadata source gives next, from `offset` of the stream. Of what
 * follows only the next entry is meaningful; its depth is 1. Without a payload stream. */
MUST_CHECK enum status decoder_seek(struct decoder *d, uint64_t offset, const char *directory, struct error *err);

#endif
