/* Snapshot to tree, image or file. Chunks are fetched and opened ahead by one thread per stream; entries are created in
 * archive order. Only chunks that are needed are fetched: with a selection nothing is read ahead beyond a wanted file,
 * and if the selection is made of paths, not even the metadata is read but on the way to them.
 * Source: bench/spec/archive-creation.md part B. */
#ifndef PXB_FLOW_RESTORE_H
#define PXB_FLOW_RESTORE_H

#include "flow/chunk_stream.h"
#include "flow/extraction.h"
#include "flow/snapshot.h"

/* `archive`: any name that snapshot_resolve knows. `target`: a directory for trees; a new file for images and blobs;
 * "-" for standard output, to which images, blobs, catalogs and the stream of a unified archive go. ERR_USAGE: a split
 * archive to standard output; a selection for anything but a tree. */
MUST_CHECK enum status restore_snapshot(struct store *store, const struct snapshot_id *snapshot, const char *archive,
                                        const char *target, const struct restore_options *options,
                                        struct restore_stats *out, struct error *err);
/* The same from plain files (`pxar extract`). `payload_path` NULL: a unified archive; ERR_USAGE if it is not. */
MUST_CHECK enum status extract_files(const char *archive_path, const char *payload_path, const char *target,
                                     const struct restore_options *options, struct restore_stats *out,
                                     struct error *err);

#endif
