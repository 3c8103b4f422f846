/* The catalog of a snapshot (pcat1): a directory listing of all its unified archives. Writer and reader.
 * Pure. Not thread-safe; instances are independent.
 * Source: bench/spec/datastore.md 7. */
#ifndef PXB_PXAR_CATALOG_H
#define PXB_PXAR_CATALOG_H

#include "base/io.h"
#include "pxar/decoder.h"

enum { CATALOG_NAME_SIZE_MAX = 4095 };

struct catalog_entry {
    enum entry_kind kind;
    const char *name; /* NUL-terminated; borrowed */
    size_t name_size;
    uint64_t size; /* files */
    int64_t mtime; /* files: seconds */
};

/* Writes children before parents; holds the tables of the open directories. Every call on a failed one fails. */
struct catalog_writer;
MUST_CHECK enum status catalog_writer_new(struct sink out, struct catalog_writer **writer, struct error *err);
void catalog_writer_free(struct catalog_writer *w); /* accepts NULL */
/* An archive ("root.pxar.didx") or a directory in it; what follows is in it until the matching end. */
MUST_CHECK enum status catalog_directory_begin(struct catalog_writer *w, const char *name, size_t name_size,
                                               struct error *err);
MUST_CHECK enum status catalog_directory_end(struct catalog_writer *w, struct error *err);
/* Any entry that is no directory. ERR_USAGE outside an archive. */
MUST_CHECK enum status catalog_add(struct catalog_writer *w, const struct catalog_entry *entry, struct error *err);
/* The root's block and the trailer. ERR_USAGE while a directory is open. */
MUST_CHECK enum status catalog_finish(struct catalog_writer *w, struct error *err);

/* Walks the whole catalog depth first in stored order. `path` starts with "./": "./root.pxar.didx/a"; NUL-terminated,
 * valid during the call. Everything is checked: magic (ERR_NOT_ARCHIVE), root offset, names, distances, tables
 * consumed, types, depth. Blocks must stand in the order in which their directories end, as every writer makes them:
 * each byte is then part of one block at most, and the work is bounded by the stream's length. Memory: the tables of
 * the open directories, as far as they could be read. `visit`'s failure ends the walk. */
typedef enum status catalog_visit(void *context, const char *path, size_t path_size, const struct catalog_entry *entry,
                                  struct error *err);
MUST_CHECK enum status catalog_walk(struct source_at stream, catalog_visit *visit, void *context, struct error *err);

/* One line of `catalog dump`, without newline: d "./root.pxar.didx/dir", f "./root.pxar.didx/a" 300
 * 2023-11-14T22:13:20Z; types as stored (d f l h b c p s). Control characters and quotes are escaped. */
MUST_CHECK enum status catalog_line(const char *path, size_t path_size, const struct catalog_entry *entry,
                                    struct buffer *out, struct error *err);

#endif
