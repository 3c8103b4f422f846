/* Snapshot to tree. Chunks are fetched and opened ahead by one thread per stream; entries are created in archive order.
 * Source: bench/spec/archive-creation.md part B. */
#ifndef PXB_FLOW_RESTORE_H
#define PXB_FLOW_RESTORE_H

#include "base/io.h"
#include "flow/snapshot.h"
#include "tree/extract.h"

struct restore_stats {
    uint64_t entries;
    uint64_t files;
    uint64_t file_bytes;
    uint64_t metadata_chunks, payload_chunks; /* fetched */
    uint64_t duration_ns;
};

/* A sequential stream over an index; reads ahead in a thread of its own when `ahead` chunks > 0. Skips do not fetch
 * chunks that lie wholly in the skipped range. Every chunk's digest and length is checked. */
struct chunk_stream;
MUST_CHECK enum status chunk_stream_new(struct store_reader *reader, const struct dynamic_index *index,
                                        const char *name, size_t ahead, struct chunk_stream **out, struct error *err);
struct source chunk_stream_source(struct chunk_stream *s);
uint64_t chunk_stream_fetched(const struct chunk_stream *s);
void chunk_stream_free(struct chunk_stream *s); /* stops its thread; accepts NULL */

MUST_CHECK enum status restore_snapshot(struct store *store, const struct snapshot_id *snapshot, const char *archive,
                                        const char *target, const struct extract_options *options,
                                        struct restore_stats *out, struct error *err);
/* The same from plain files (`pxar extract`). */
MUST_CHECK enum status extract_files(const char *metadata_path, const char *payload_path, const char *target,
                                     const struct extract_options *options, struct restore_stats *out,
                                     struct error *err);

#endif
