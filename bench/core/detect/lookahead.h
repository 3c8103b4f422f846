/* The look-ahead cache: holds entries back until it is known whether the old chunks behind them are worth reusing.
 *
 * A state machine without I/O. The archiver tells it every entry in archive order; it answers through `ops`, in the
 * order in which the archive must be written. Entries are the archiver's opaque pointers: handed in with a call, owned
 * by the cache until exactly one of encode, reference, link, special, directory_begin takes them back, or `drop` (when
 * the run fails).
 *
 *          reusable file                       other events
 *   range: [s ........ e)  e == its start: grows | hole: flush(keep) | full: flush(keep) | changed file: flush(no keep)
 *
 * Profile stored works otherwise (detect/stored.h): entries wait until nothing to come can change their fate.
 * With `index` NULL (no reference) everything is encoded at once.
 * Not thread-safe. Offsets and sizes in bytes.
 * Source: bench/spec/change-detection.md 6 to 9; defects D1, D2, D12 of its section 13. */
#ifndef PXB_DETECT_LOOKAHEAD_H
#define PXB_DETECT_LOOKAHEAD_H

#include "detect/covering.h"
#include "detect/reason.h"

enum { INJECTION_BATCH_MAX = 128 };

struct lookahead_ops {
    /* A regular file whose contents are written now. */
    enum status (*encode)(void *context, void *entry, enum file_reason reason, struct error *err);
    /* A regular file whose contents will be at `payload_offset`; it was at `old_offset`. */
    enum status (*reference)(void *context, void *entry, uint64_t payload_offset, uint64_t old_offset,
                             struct error *err);
    /* A later name of a file with several links; `link_ready` said yes. */
    enum status (*link)(void *context, void *entry, struct error *err);
    bool (*link_ready)(void *context, const void *entry);
    /* Symlink, device, fifo, socket. */
    enum status (*special)(void *context, void *entry, struct error *err);
    enum status (*directory_begin)(void *context, void *entry, struct error *err);
    enum status (*directory_end)(void *context, struct error *err);
    /* At most INJECTION_BATCH_MAX chunks at payload position `boundary`; the position grows by their `size`. */
    enum status (*inject)(void *context, uint64_t boundary, const struct reuse_chunk *chunks, size_t count,
                          uint64_t size, struct error *err);
    uint64_t (*payload_position)(void *context);
    /* Profile stored, when the cache is full: how many bytes of [from, to) of the old payload stream belong to files of
     * the previous archive whose payload headers stand at `from` or behind. Asked with growing `from`. May be NULL for
     * the other profiles. */
    enum status (*unseen_live)(void *context, uint64_t from, uint64_t to, uint64_t *out, struct error *err);
    void (*drop)(void *context, void *entry);
};

struct lookahead_counters {
    uint64_t injected_chunks, injected_bytes;
    uint64_t partial_chunks;      /* injected with some bytes unreferenced, as the summary counts */
    uint64_t unreferenced_chunks; /* of these: no byte referenced */
    uint64_t flushes;             /* ranges judged; profile stored judges chunks: 0 */
    uint64_t rejected_ranges;
    uint64_t given_up_threshold; /* profile stored: old chunks not listed, for their waste */
    uint64_t given_up_instances; /* because they would be listed too often */
    uint64_t given_up_absorbed;  /* because they are small, next to a small new one */
    uint64_t early_chunks;       /* decided before all of their files were seen, because the cache was full */
    uint64_t relisted_chunks;    /* old chunks listed more than once, by contents: the same digest is the same chunk */
    uint64_t stored_waste_bytes; /* of listed old chunks, bytes that no file uses through any listing */
};

struct lookahead_options {
    enum reuse_profile profile;
    uint32_t threshold_ppm;
    size_t cache_limit; /* entries, >= 1 */
    /* Profile stored alone (bench/spec/reuse-stored.md 4): */
    uint64_t absorb_below;  /* bytes: smaller chunks are small */
    uint64_t absorb_until;  /* bytes: a raw run of at least that many absorbs nothing; the smallest chunk size */
    uint32_t max_instances; /* an old chunk is listed at most that often, >= 1 */
};

struct lookahead;
/* `index` (borrowed; NULL: no reference) must outlive the cache. ERR_USAGE: options out of range. */
MUST_CHECK enum status lookahead_new(const struct lookahead_options *options, const struct dynamic_index *index,
                                     const struct lookahead_ops *ops, void *context, struct lookahead **out,
                                     struct error *err);
/* Drops what is still cached; accepts NULL. */
void lookahead_free(struct lookahead *l);

/* Each takes `entry` on success and on failure. */
MUST_CHECK enum status lookahead_reusable(struct lookahead *l, void *entry, uint64_t old_start, uint64_t old_end,
                                          struct error *err);
/* `size`: of the contents now. `old_end`: where its old range ends in the old payload stream, 0 if it has none. */
MUST_CHECK enum status lookahead_changed(struct lookahead *l, void *entry, uint64_t size, enum file_reason reason,
                                         uint64_t old_end, struct error *err);
MUST_CHECK enum status lookahead_link(struct lookahead *l, void *entry, struct error *err);
MUST_CHECK enum status lookahead_special(struct lookahead *l, void *entry, struct error *err);
MUST_CHECK enum status lookahead_directory_begin(struct lookahead *l, void *entry, struct error *err);
MUST_CHECK enum status lookahead_directory_end(struct lookahead *l, struct error *err); /* not for the root */
/* Flushes when the cache is full, which the calls above do by themselves. For what must be known before one of them is
 * chosen: an entry that is flushed may turn out to have vanished. */
MUST_CHECK enum status lookahead_make_room(struct lookahead *l, struct error *err);
/* End of the walk: everything is out afterwards. */
MUST_CHECK enum status lookahead_finish(struct lookahead *l, struct error *err);
const struct lookahead_counters *lookahead_count(const struct lookahead *l);

#endif
