/* The names of one directory, without "." and "..", sorted by their bytes. A failing readdir is an error, never a short
 * listing. Single-threaded object.
 * Source: bench/spec/archive-creation.md A2, A3, A10. */
#ifndef PXB_TREE_LISTING_H
#define PXB_TREE_LISTING_H

#include "base/status.h"

enum { LISTING_ENTRIES_MAX_DEFAULT = 1048576 };

struct listing_entry {
    const char *name; /* NUL-terminated, in the listing's memory */
    uint16_t name_size;
    uint8_t type; /* DT_*; DT_UNKNOWN: ask fstatat */
    int errnum;   /* why the type is unknown to the filter; 0: it did not have to ask */
};

struct listing {
    struct listing_entry *entries;
    size_t count;
    char *names; /* one block */
};

/* Decides about each entry, in the order of the directory, before it takes memory. May set entry->type when it had to
 * ask, and entry->errnum when asking failed. RESTART: what was kept is dropped and the directory is read again from its
 * start (the judge has learned something that changes earlier verdicts); the judge sees to it that this ends. */
enum listing_verdict { LISTING_KEEP, LISTING_DROP, LISTING_RESTART };
struct listing_filter {
    enum status (*judge)(void *context, struct listing_entry *entry, enum listing_verdict *out, struct error *err);
    void *context;
};

struct listing_options {
    bool is_root;                        /* a file ".pxarexclude-cli" is left out, silently */
    size_t entries_max;                  /* more kept entries, with the held ones: ERR_LIMIT */
    size_t entries_held;                 /* of other listings, at most entries_max */
    const struct listing_filter *filter; /* NULL: everything is kept */
};

/* Reads `fd` from the start and moves its position: one listing of a descriptor at a time. Memory holds kept entries
 * alone, never more than allowed. Errors do not name the directory: the caller knows it. */
MUST_CHECK enum status listing_read(int fd, const struct listing_options *options, struct listing *out,
                                    struct error *err);
void listing_deinit(struct listing *l); /* accepts {0} */

#endif
