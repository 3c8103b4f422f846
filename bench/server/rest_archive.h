/* An archive of a stored snapshot, open for lookups, walks and contents, whether it is split or not; and single files
 * of snapshots. Reads through the store; the snapshot stays locked against removal until it is closed. For one thread.
 * Memory: a few opened chunks for each stream.
 * Source: bench/spec/protocol.md 11. */
#ifndef PXB_SERVER_REST_ARCHIVE_H
#define PXB_SERVER_REST_ARCHIVE_H

#include "flow/chunk_reader.h"
#include "flow/snapshot.h"
#include "pxar/accessor.h"

struct rest_stream {
    struct dynamic_index index;
    struct chunk_reader *reader;
};

struct rest_archive {
    struct store_reader *snapshot;
    struct manifest manifest;
    struct stored_archive stored;
    struct rest_stream metadata, payload; /* of a unified archive only the first */
    /* Two positions in the same archive: what is found or walked in the first is read through the second. */
    struct accessor *tree, *contents;
};

/* `name`: an archive as snapshot_resolve knows it, with ".didx". ERR_NOT_FOUND, ERR_UNSUPPORTED (encrypted), ERR_USAGE
 * (no archive of files), and whatever is wrong with what is stored. Zeroed or open: close is due either way. */
MUST_CHECK enum status rest_archive_open(struct store *s, const struct snapshot_id *id, const char *name,
                                         struct rest_archive *out, struct error *err);
void rest_archive_close(struct rest_archive *a); /* accepts zeroed */

/* A file to read: itself, or what the hardlink stands for. ERR_USAGE for everything else. `out` is to be deinited. */
MUST_CHECK enum status rest_archive_file(struct rest_archive *a, const struct accessor_entry *entry,
                                         struct accessor_entry *out, struct error *err);

#endif
