/* How `pxarbench analyze` shows what it finds. Each is a reporter of flow/analyze.h with what it needs as context.
 *
 * JSON, schema "pxarbench-analyze/1". Numbers are exact integers; *_ppm are parts per million, rounded down; bytes
 * where the name says nothing else:
 *
 *   schema, chunk_average
 *   archives[]: name, snapshots[], ghosts (null: one snapshot only)
 *   snapshots[], in the order given:
 *     snapshot             "host/ID/TIME"
 *     files, content_bytes regular files and their contents; later names of a file with several links are not counted
 *     metadata_size        of the metadata stream
 *     ledger               as in the statistics of a backup: size (of the payload stream), referenced, padding (the sum
 *                          of start_, end_, hole_ and dead_padding), ranges, partial_chunks, unreferenced_chunks (index
 *                          entries), stored_waste (bytes of chunks, each once, that no file uses through any listing),
 *                          relisted_chunks (chunks, by digest, with more than one index entry)
 *     waste_max_ppm        of one chunk: bytes that no file uses through any listing / its size
 *     virtual_ppm          size of the payload stream / referenced bytes
 *     index_entries, listings_max (of one chunk), entry_size_mean
 *     chunks, chunk_bytes  by digest, each once
 *     undersized_chunks    smaller than chunk_average / 4; empty_entries
 *     chunk_sizes          of chunks, each once: mean, median, lt_16k, lt_64k, lt_256k, lt_1m, lt_4m, ge_4m
 *     discontinuities      files that do not begin where the one before them ends; backward_files: of these, before it
 *     reads                flow/amplification.h: restored_bytes; full[]: lru (chunks kept), chunks and bytes fetched,
 * ppm (fetched / restored); single files that are not empty: files, touched_entries, fetched_ppm and file_entries with
 * median, p95, max change               against the snapshot before it in the list, null for the first: new_chunks,
 * new_bytes, dropped_chunks, dropped_bytes ranges[]             only with --ranges: start, end, referenced,
 * start_padding, end_padding, hole_padding ghosts: newest, deleted, replaced, moved (each files, bytes), header_bytes,
 * unattributed_bytes; all bytes together are the newest snapshot's stored_waste; files[]: path (path_b64: not UTF-8),
 * snapshot, size, bytes, fate */
#ifndef PXB_CLI_CMD_ANALYZE_H
#define PXB_CLI_CMD_ANALYZE_H

#include "cli/cli.h"
#include "flow/analyze.h"

struct analyze_json {
    json_t *archives; /* owned */
    json_t *archive;  /* the one under way; borrowed */
    json_t *ranges;   /* owned; of the snapshot under way */
    bool with_ranges;
};
MUST_CHECK enum status analyze_json_begin(struct analyze_json *j, bool with_ranges, struct analyze_reporter *out,
                                          struct error *err);
MUST_CHECK enum status analyze_json_print(struct analyze_json *j, const struct analyze_options *options,
                                          enum output_format format, struct error *err);
void analyze_json_deinit(struct analyze_json *j); /* accepts {0} */

/* One snapshot: a list of everything. Several: one line each. */
struct analyze_text {
    const struct analyze_options *options; /* borrowed */
    const char *archive;                   /* borrowed */
    size_t snapshot_count;                 /* given */
    int id_width;
    struct buffer ranges; /* lines for the snapshot under way */
    bool began;
};
/* `options`: LRU sizes, chunk average. */
void analyze_text_begin(struct analyze_text *t, const struct snapshot_id *ids, size_t count,
                        const struct analyze_options *options, bool with_ranges, struct analyze_reporter *out);
void analyze_text_deinit(struct analyze_text *t); /* accepts {0} */

#endif
