/* Which entries of a directory are walked: the patterns of the command line and of the .pxarexclude files from the root
 * down to the directory the walk is in. Excluded entries are never asked for their stat and take no memory; only a
 * pattern for directories alone, on a file system whose listings have no types, asks fstatat.
 * A single-threaded object, the scout's.
 *
 * A .pxarexclude costs nothing where there is none: the listing says so. Where one turns up it is read, and the listing
 * begins again with its patterns. It is no symlink, no fifo and not larger than EXCLUDE_FILE_SIZE_MAX, or it is ignored
 * with a warning.
 * Source: bench/spec/archive-creation.md A2, A3, A5. */
#ifndef PXB_FLOW_WALK_FILTER_H
#define PXB_FLOW_WALK_FILTER_H

#include "tree/listing.h"
#include "tree/pattern.h"

enum { EXCLUDE_FILE_SIZE_MAX = 16 << 20 };

/* The match path of the directory the walk is in ("" for the root, "/a/b") and the patterns found on the way. */
struct walk_filter {
    const struct pattern_list *given; /* borrowed, NULL: none */
    struct pattern_list *found;
    struct buffer path;
    struct buffer lines; /* of the .pxarexclude being read */
};
MUST_CHECK enum status walk_filter_init(struct walk_filter *f, const struct pattern_list *given, struct error *err);
void walk_filter_deinit(struct walk_filter *f); /* accepts {0} */

/* Goes into a directory below the one it is in. `out_mark` brings the walk back, patterns and all, also after a failed
 * listing. */
struct walk_mark {
    size_t path_size;
    size_t pattern_count;
};
MUST_CHECK enum status walk_filter_enter(struct walk_filter *f, const char *name, size_t name_size,
                                         struct walk_mark *out_mark, struct error *err);
void walk_filter_leave(struct walk_filter *f, struct walk_mark mark);

/* The kept entries of the directory it is in. `options->filter` is ignored. Errors are those of listing_read, of
 * fstatat (text: `stat failed on "<path>"`), and of opening .pxarexclude; the caller adds the directory. */
MUST_CHECK enum status walk_filter_list(struct walk_filter *f, int fd, const struct listing_options *options,
                                        struct listing *out, struct error *err);

#endif
