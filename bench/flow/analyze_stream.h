/* The split archives of a snapshot, open for analysis: the payload index, and the entries of the metadata stream in
 * archive order. No chunk of a payload stream is ever read. Errors name the snapshot. Not thread-safe; the metadata
 * stream has a thread of its own that reads ahead. */
#ifndef PXB_FLOW_ANALYZE_STREAM_H
#define PXB_FLOW_ANALYZE_STREAM_H

#include "flow/chunk_stream.h"
#include "flow/snapshot.h"
#include "pxar/decoder.h"

struct split_stream {
    struct snapshot_id id;
    struct store_reader *reader;
    struct stored_archive names;
    struct dynamic_index metadata_index;
    struct dynamic_index payload_index;
    uint64_t payload_size;
    /* Of the pass under way: */
    struct chunk_stream *chunks;
    struct decoder *decoder;
};

/* `archive`: a name that snapshot_resolve knows. ERR_USAGE: it is there, but is no split archive. ERR_UNSUPPORTED: it
 * is encrypted, and the store was opened without key. ERR_FORMAT, ... To be closed also after a failure. */
MUST_CHECK enum status split_stream_open(struct split_stream *s, struct store *store, const struct snapshot_id *id,
                                         const char *archive, struct error *err);
void split_stream_close(struct split_stream *s); /* accepts {0} */
/* From the beginning, as often as wanted. */
MUST_CHECK enum status split_stream_begin(struct split_stream *s, struct error *err);
/* As decoder_next; of files it is certain that they lie within the payload stream, between its markers. */
MUST_CHECK enum status split_stream_next(struct split_stream *s, struct archive_entry *out, struct error *err);
/* Puts the snapshot before a sentence about the stream; returns its status. */
MUST_CHECK enum status split_stream_failed(const struct split_stream *s, struct error *err);

/* "root" of "root.mpxar.didx", for each split archive of the snapshot; sorted. */
struct archive_names {
    char (*items)[STORED_NAME_SIZE]; /* owned */
    size_t count, capacity;
};
/* Adds those of the snapshot that are not there yet; `only` (any name of an archive; may be NULL) restricts it to one.
 * ERR_NOT_FOUND: the snapshot has no split archive. ERR_USAGE: `only` is none. */
MUST_CHECK enum status archive_names_add(struct archive_names *names, struct store *store, const struct snapshot_id *id,
                                         const char *only, struct error *err);
/* Whether the snapshot has that split archive. */
MUST_CHECK enum status archive_names_has(struct store *store, const struct snapshot_id *id, const char *name, bool *out,
                                         struct error *err);
void archive_names_deinit(struct archive_names *names); /* accepts {0} */

#endif
