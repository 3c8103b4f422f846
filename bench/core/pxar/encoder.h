/* Writes a pxar archive: version 2 (split) into a metadata stream and a payload stream, version 1 (unified) into one.
 * Stack-based; the caller walks the tree in order and tells it each member. Not thread-safe, no system calls.
 *
 * File contents do not pass through: the encoder writes the 16-byte header to the payload sink (unified: behind the
 * file's attributes) and the caller delivers exactly `size` bytes to the same stream itself, before the next call (so
 * that flows can hand them on uncopied).
 * Members of one directory must come in ascending byte order of their names: ERR_USAGE otherwise. One exception (12.2):
 * the file ".pxarexclude-cli" of a unified archive's root may come after all others; nothing may follow it then.
 * Every call on a failed encoder fails. Offsets in bytes.
 * Source: bench/spec/pxar.md; order of calls and positions: bench/spec/change-detection.md 9. */
#ifndef PXB_PXAR_ENCODER_H
#define PXB_PXAR_ENCODER_H

#include "base/io.h"
#include "pxar/item.h"

struct encoder;

/* Writes FORMAT_VERSION, the prelude (if `prelude_size` > 0; ERR_LIMIT above PXAR_PRELUDE_SIZE_MAX, which readers
 * refuse), the root's entry, and the payload start marker. */
MUST_CHECK enum status encoder_new(struct sink metadata, struct sink payload, const struct attributes *root,
                                   const uint8_t *prelude, size_t prelude_size, struct encoder **out,
                                   struct error *err);
/* Writes the root's entry; a prelude has no place in version 1. The archive is what the other calls name the metadata
 * stream; its position counts contents too. encoder_reference and encoder_advance are ERR_USAGE. */
MUST_CHECK enum status encoder_new_unified(struct sink archive, const struct attributes *root, struct encoder **out,
                                           struct error *err);
void encoder_free(struct encoder *e); /* accepts NULL */

/* Payload stream position: 16 after encoder_new; counts headers, contents and injected bytes. Unified: 0. */
uint64_t encoder_payload_position(const struct encoder *e);
uint64_t encoder_metadata_position(const struct encoder *e);

/* A file whose contents follow now. `out_filename_offset` (may be NULL): what hardlinks refer to. ERR_MISMATCH when
 * bytes that were referenced before have not been injected yet. */
MUST_CHECK enum status encoder_file(struct encoder *e, const char *name, const struct attributes *a, uint64_t size,
                                    uint64_t *out_filename_offset, struct error *err);
/* A file whose contents are at `payload_offset` already, or will be once chunks are injected: at or behind the payload
 * position and strictly above every earlier reference, else ERR_MISMATCH. */
MUST_CHECK enum status encoder_reference(struct encoder *e, const char *name, const struct attributes *a, uint64_t size,
                                         uint64_t payload_offset, uint64_t *out_filename_offset, struct error *err);
/* Injected chunks of together `size` bytes stand in the payload stream here. */
MUST_CHECK enum status encoder_advance(struct encoder *e, uint64_t size, struct error *err);
MUST_CHECK enum status encoder_symlink(struct encoder *e, const char *name, const struct attributes *a,
                                       const char *target, size_t target_size, struct error *err);
/* `target_path` from the root, no leading slash, names as members have them; `target_offset` from encoder_file or
 * encoder_reference. */
MUST_CHECK enum status encoder_hardlink(struct encoder *e, const char *name, const char *target_path,
                                        uint64_t target_offset, struct error *err);
/* Char or block by mode. */
MUST_CHECK enum status encoder_device(struct encoder *e, const char *name, const struct attributes *a, uint64_t major,
                                      uint64_t minor, struct error *err);
/* Fifo or socket by mode. */
MUST_CHECK enum status encoder_special(struct encoder *e, const char *name, const struct attributes *a,
                                       struct error *err);
MUST_CHECK enum status encoder_directory_begin(struct encoder *e, const char *name, const struct attributes *a,
                                               struct error *err);
/* Writes the goodbye table of the innermost directory (not the root). */
MUST_CHECK enum status encoder_directory_end(struct encoder *e, struct error *err);
/* Root's goodbye table and, split, the payload tail marker (16 bytes the payload position does not count). ERR_MISMATCH
 * when a reference reaches behind the payload position. */
MUST_CHECK enum status encoder_finish(struct encoder *e, struct error *err);

#endif
