/* What --stats FILE holds: one JSON object, schema "pxarbench-stats/1". Members only get added; a change of meaning
 * gets a new number. Counters are those of flow/stats.h under the same names, in bytes unless the name says otherwise.
 *
 *   schema              "pxarbench-stats/1"
 *   version             of the program
 *   result              "ok" | "failed"
 *   error               null | the sentence that was logged
 *   snapshot            "host/ID/2026-01-02T03:04:05Z"; "" if it failed before that was known
 *   mode                "legacy" | "data" | "metadata"; with a list of --rfc-change-detection "metadata", and the
 *                       archives' kinds tell
 *   profile             "tight" | "upstream" | "stored"
 *   compare             "strict" | "upstream" | "content"
 *   threads, chunk_average, cache_limit, padding_threshold, absorb_below, max_instances
 *                       as used, defaults filled in
 *   sync_level          "none" | "file" | "filesystem"
 *   duration_ns         wall time (monotonic) of the run
 *   user_ns, system_ns  processor time of the process
 *   peak_rss_bytes
 *   warnings            lines logged as warnings
 *   crypt_mode          "encrypt" | "sign-only"; only of runs with a key
 *   network             only of runs with a server: {"connections", "requests": of HTTP/1.1 and HTTP/2, "sent_bytes",
 *                       "received_bytes": within TLS, "wire_sent_bytes", "wire_received_bytes": of the TCP streams, as
 *                       the kernel counts them, "round_trips": of setting up connections, and the longest chain of
 *                       requests each of which was sent after the one before was answered, "stalls": times that output
 *                       waited for windows, streams or socket, "waited_ns": for answers, of all threads together,
 *                       "throttled_ns": by --rate}
 *   catalog             null | the stream catalog.pcat1.didx, members as in "metadata" below
 *   archives            a list, in the order of the command line, images and blobs included:
 *     name              "root"
 *     kind              "split" | "unified" | "image" | "blob"
 *     stored            names of the files in the snapshot, as the manifest lists them: ["root.ppxar.didx", ...]
 *     reference         {"reason": detect/reason.h, "detail": sentence or "", "snapshot": "host/ID/TIME" or ""}
 *     entries           {"directories", "files", "symlinks", "fifos", "sockets", "devices", "hardlink_inodes",
 *                        "hardlink_names", "skipped"}
 *     reused_files, reused_bytes, reencoded_files, reencoded_bytes
 *     injected_chunks, injected_bytes, padding_bytes, partial_chunks, unreferenced_chunks
 *                       partial: with padding; unreferenced: of these, those of which no byte is used
 *     flushes, rejected_ranges, file_bytes_read
 *     ledger            {"start_padding", "end_padding", "hole_padding", "dead_padding": in chunks that nobody uses,
 *                        "padding": all four, "ranges", "partial_chunks", "unreferenced_chunks": detect/ledger.h;
 *                        "stored_waste": bytes of old chunks that no file uses through any of their listings,
 *                        "relisted_chunks": old chunks listed more than once}; null unless split
 *     given_up_chunks   {"threshold", "instances", "absorbed"}: old chunks that profile stored did not list, by why
 *     early_chunks      old chunks judged before all of their files were seen, for the cache was full
 *     collateral_files, collateral_bytes
 *                       unchanged, and written anew for their chunks' sake; + 16 bytes per file
 *     touched_identical_files, touched_identical_bytes
 *                       written anew for an attribute, with the contents of before; + 16 bytes per file; null without
 *                       --decisions, which compares them
 *     reasons           {NAME: files}, names of detect/reason.h, only those with files
 *     not_stored        {"xattrs", "acls", "fcaps"}: files whose file system has them, but they are not in the archive
 *     metadata, payload {"size", "chunks", "known_chunks", "known_bytes", "injected_chunks", "injected_bytes",
 *                        "new_chunks", "new_bytes", "new_chunks_by_size": {"lt_16k", "lt_64k", "lt_256k", "lt_1m",
 *                        "lt_4m", "ge_4m"}: new_chunks by raw size, "duplicate_chunks", "compressed_bytes",
 * "duration_ns", "csum": hex, of the index; zeros if the stream did not get that far}; null unless split stream the
 * same, of a unified archive or an image; null for the others blob              {"raw_size", "size": encoded, "csum":
 * hex, of the encoded file}; null for the others
 *
 * A failed run has what was counted until then. */
#ifndef PXB_CLI_STATS_JSON_H
#define PXB_CLI_STATS_JSON_H

#include "flow/backup.h"
#include "net/session.h"

#include <jansson.h>

struct stats_run {
    const char *error;                     /* NULL: the run was fine */
    const struct archive_options *options; /* defaults filled in */
    enum sync_level sync;
    struct snapshot_id snapshot; /* id "" : not known */
    uint64_t duration_ns, user_ns, system_ns;
    uint64_t peak_rss_bytes;
    uint64_t warnings;
    const struct backup_source *sources; /* at least archive_count */
    const struct archive_stats *archives;
    size_t archive_count;
    const struct stream_stats *catalog; /* NULL: none */
    enum crypt_mode crypt_mode;
    const struct net_stats *network; /* NULL: no server */
};

/* As those of flow/backup.h. */
extern const char *const sync_level_names[];

/* New references; NULL: out of memory. */
json_t *stats_json_archive(const char *name, const struct archive_stats *a);
json_t *stats_json_network(const struct net_stats *n);
json_t *stats_json_run(const struct stats_run *run);

/* ERR_IO if `path` could not be written later (asked before hours of work). Leaves no file behind. */
MUST_CHECK enum status stats_file_check(const char *path, struct error *err);
/* Replaces `path` as a whole (temporary file and rename), so readers see the old statistics or the new ones. A path
 * that is no regular file (/dev/stdout, a pipe) is written to instead. `value` is borrowed. */
MUST_CHECK enum status stats_file_write(const char *path, const json_t *value, struct error *err);

#endif
