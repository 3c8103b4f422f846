/* Random access to a pxar archive of either version through its goodbye tables: lookup by path, listings, contents,
 * hardlinks. Pure; reads only what it needs through `source_at`. An accessor is for one thread at a time; entries are
 * the caller's and independent of each other.
 *
 * Goodbye tables are read row by row while searching and whole when listing (bounded by the stream). Everything is
 * checked: tail rows, rows, names, that the header at the table's place is a GOODBYE of the tail's size, that a member
 * lies within its directory. Equal hashes are searched in both subtrees. Errors: ERR_NOT_ARCHIVE, ERR_VERSION,
 * ERR_FORMAT with path and offset.
 * Source: bench/spec/pxar.md 9.5, 10.1, 10.2. */
#ifndef PXB_PXAR_ACCESSOR_H
#define PXB_PXAR_ACCESSOR_H

#include "base/io.h"
#include "pxar/decoder.h"

/* One member as it stands in the archive. Owns its strings and attributes: accessor_entry_deinit. */
struct accessor_entry {
    struct archive_entry entry; /* name, path, target and attributes are owned by this object */
    uint64_t range_start;       /* of the entry: behind its FILENAME; 0 for the root */
    uint64_t range_end;         /* as the goodbye row says, not clamped: too large for split files (9.2) */
    uint64_t head_end;          /* behind its own items: where a directory's members begin, or the contents */
};

struct accessor;
/* `payload` NULL: a unified archive, or a split one without contents (ERR_USAGE when they are asked for). Reads the
 * version, the prelude, the root's entry and tail. ERR_MISMATCH: a payload beside a unified archive. */
MUST_CHECK enum status accessor_new(struct source_at metadata, const struct source_at *payload, struct accessor **out,
                                    struct error *err);
void accessor_free(struct accessor *a);              /* accepts NULL */
unsigned accessor_version(const struct accessor *a); /* 1 or 2 */
/* Borrowed; NULL when the archive has none. */
const uint8_t *accessor_prelude(const struct accessor *a, size_t *out_size);

/* `path`: components separated by '/', leading, trailing and repeated ones ignored, "" or "/" is the root. No "." and
 * "..", no names that are too long: ERR_USAGE. ERR_NOT_FOUND (err says which component). Hardlinks and symlinks are not
 * followed. */
MUST_CHECK enum status accessor_lookup(struct accessor *a, const char *path, struct accessor_entry *out,
                                       struct error *err);
/* A member of `directory`. */
MUST_CHECK enum status accessor_child(struct accessor *a, const struct accessor_entry *directory, const char *name,
                                      size_t name_size, struct accessor_entry *out, struct error *err);
/* All members in archive order (by FILENAME offset). `visit` may keep nothing of the entry, but may use the accessor.
 * Its failure ends the listing. ERR_FORMAT also when the members do not stand one behind the other, each with its row:
 * a member is in one listing only. Memory: 48 bytes per member. */
typedef enum status accessor_visit(void *context, const struct accessor_entry *entry, struct error *err);
MUST_CHECK enum status accessor_list(struct accessor *a, const struct accessor_entry *directory, accessor_visit *visit,
                                     void *context, struct error *err);
/* Everything below `directory` in archive order, directory ends included (their own not), without looking at the
 * tables: no chunk but those of the subtree is read. The entry is valid during the visit, which must not use the
 * accessor. */
typedef enum status accessor_walk_visit(void *context, const struct archive_entry *entry, struct error *err);
MUST_CHECK enum status accessor_walk(struct accessor *a, const struct accessor_entry *directory,
                                     accessor_walk_visit *visit, void *context, struct error *err);
/* The same in steps. Between begin and the last step the accessor is used for nothing else; `directory` is borrowed. A
 * walk may be given up at any time. */
struct accessor_walker {
    struct accessor *accessor;
    const struct accessor_entry *directory;
    uint64_t end;     /* of what was visited */
    uint64_t goodbye; /* where it all ends */
    size_t open;      /* directories below `directory` */
};
MUST_CHECK enum status accessor_walk_begin(struct accessor *a, const struct accessor_entry *directory,
                                           struct accessor_walker *out, struct error *err);
/* `out` is valid until the next step. ERR_CLOSED, without text: that was all. */
MUST_CHECK enum status accessor_walk_next(struct accessor_walker *w, struct archive_entry *out, struct error *err);
/* The file a hardlink refers to (10.2); its path is "". ERR_FORMAT when it refers to nothing or to no regular file. */
MUST_CHECK enum status accessor_follow(struct accessor *a, const struct accessor_entry *link,
                                       struct accessor_entry *out, struct error *err);
/* Contents of a file at `offset` (ERR_USAGE beyond its size); *out_size is less than `size` at the end only. Split:
 * the PAYLOAD header is checked on each call that starts at offset 0 and on the first one of a file. */
MUST_CHECK enum status accessor_read(struct accessor *a, const struct accessor_entry *file, uint64_t offset,
                                     uint8_t *data, size_t size, size_t *out_size, struct error *err);
void accessor_entry_deinit(struct accessor_entry *e); /* accepts {0} */

#endif
