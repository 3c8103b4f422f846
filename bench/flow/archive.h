/* A tree into an archive: walks, compares with the reference, encodes. The archiver is one thread (the caller's); the
 * reading threads are readahead's.
 * Source: bench/spec/archive-creation.md part A, bench/spec/change-detection.md 5 to 9. */
#ifndef PXB_FLOW_ARCHIVE_H
#define PXB_FLOW_ARCHIVE_H

#include "base/slab.h"
#include "flow/backup.h"
#include "flow/reference.h"
#include "pxar/catalog.h"

/* Where the two streams go. Every call may return the status of a failure that happened elsewhere (without text).
 * In mode legacy `metadata` gets the whole archive, and of the others none is called. */
struct archive_output {
    /* Takes the slice, also on failure. */
    enum status (*metadata)(void *context, struct slice part);
    enum status (*payload)(void *context, struct slice part, bool ends_write);
    enum status (*suggest)(void *context, uint64_t offset);
    enum status (*inject)(void *context, uint64_t boundary, const struct reuse_chunk *chunks, size_t count,
                          uint64_t size);
    /* The reference broke: the previous metadata stream is damaged. NULL where there is no reference. */
    void (*distrust)(void *context);
    /* The archive's members are listed here, but for the root itself. NULL: nowhere. Borrowed. */
    struct catalog_writer *catalog;
    /* What the decisions name: "root", "host/ID/TIME". NULL where the options want none. */
    const char *archive, *snapshot;
    void *context;
};

/* Failures elsewhere come without text; theirs is kept by the flow. */
MUST_CHECK enum status archive_elsewhere(enum status status, struct error *err);

/* Checks the options (ERR_USAGE) and fills in the defaults; threads are cut to what the descriptor limit allows. */
MUST_CHECK enum status archive_options_prepare(const struct archive_options *given, struct archive_options *out,
                                               struct error *err);

/* `options`: prepared. `reference`: NULL or one whose reason is REFERENCE_USED; it may become REFERENCE_METADATA_BROKE.
 * Adds to `stats` (streams and reference fields are the caller's). */
MUST_CHECK enum status archive_tree(const char *path, const struct archive_options *options,
                                    struct reference *reference, const struct archive_output *output,
                                    struct archive_stats *stats, struct error *err);

#endif
