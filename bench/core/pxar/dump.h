/* Renders an archive for people and scripts: one JSON object per entry, or one path per line.
 * Keys come in alphabetical order and are there when the archive stores them. Bytes that are UTF-8 stand under KEY as
 * a string, others under KEY_b64. No system calls: the streams are the caller's.
 *
 *   {"kind":"version","version":2}                         split archives only
 *   {"data_b64":"...","kind":"prelude"}                    when there is one
 *   {"entry_offset":24,"flags":0,"gid":0,"kind":"dir","mode":"0040755","mtime":[1700000000,0],"path":"/","uid":0}
 *   {...,"kind":"file",...,"payload_offset":16,"sha256":"...","size":3,...}
 *
 * Files have payload_offset in split archives, and sha256 when contents are at hand.
 *
 * Directory ends are not shown. */
#ifndef PXB_PXAR_DUMP_H
#define PXB_PXAR_DUMP_H

#include "pxar/decoder.h"

enum { DUMP_DIGEST_SIZE = 32 };

/* Appends the entry's object, without a newline; not for directory ends. `sha256` of the content, or NULL. */
MUST_CHECK enum status dump_entry(struct buffer *out, const struct archive_entry *entry, const uint8_t *sha256,
                                  struct error *err);

/* "dir", "file", ... as `kind` has it. */
const char *entry_kind_name(enum entry_kind kind);

/* What random access finds of an entry beside the entry itself. */
struct dump_lookup {
    uint64_t range_start, range_end;      /* as the goodbye table has it */
    const struct archive_entry *followed; /* of a hardlink: the file, its path "" */
    const uint8_t *sha256;                /* of the contents that were read, or NULL: not at hand */
    uint64_t read_size;
};
/* As dump_entry; with entry_range, content_offset (unified archives), follow, read_size, without entry_offset. */
MUST_CHECK enum status dump_lookup(struct buffer *out, const struct archive_entry *entry,
                                   const struct dump_lookup *lookup, struct error *err);

/* A path as lines of text have it: as stored but for what is not printable (base/printable.h), which becomes \xNN. */
MUST_CHECK enum status dump_path(struct buffer *out, const char *path, struct error *err);

/* The whole archive, checked to its end. What was read before an error is written. `payload` as for decoder_new: a
 * split archive without one gets no digests. */
MUST_CHECK enum status dump_archive(struct source metadata, const struct source *payload, struct sink out,
                                    struct error *err);

/* Paths, one a line. */
MUST_CHECK enum status list_archive(struct source metadata, struct sink out, struct error *err);

#endif
