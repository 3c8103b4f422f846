/* Whether an unchanged-looking file may be reused, and why not. Pure; a state per archive, not thread-safe.
 * Source: bench/spec/change-detection.md 5. */
#ifndef PXB_DETECT_PREDICATE_H
#define PXB_DETECT_PREDICATE_H

#include "detect/reason.h"
#include "pxar/decoder.h"

enum compare_rule {
    COMPARE_STRICT,   /* the whole table, with xattr values */
    COMPARE_UPSTREAM, /* xattr names only */
    COMPARE_CONTENT,  /* type, size and mtime: chmod, chown and xattr changes cost no reading */
};

/* `old`: the entry of the same name in the parallel directory, NULL if there is none. Everything but the rule about
 * offsets. FILE_UNCHANGED: reusable. */
enum file_reason predicate_compare(const struct attributes *now, uint64_t size, const struct archive_entry *old,
                                   enum compare_rule rule);

/* The old offset rule: accepted offsets strictly increase over the whole run. Ours is a little stricter than the
 * specification's, which compares offsets only: an accepted range must begin behind the end of the one before, so that
 * a damaged previous archive with overlapping references cannot confuse the padding count. Good archives never do. */
struct offset_guard {
    uint64_t behind; /* end of the range accepted last; 0: none (offsets are at least 16) */
};
/* FILE_UNCHANGED and the range [start, end) of the old payload stream; else FILE_NON_MONOTONE or FILE_OUT_OF_RANGE,
 * and the guard stays as it was. `stream_size`: of the old payload stream. */
enum file_reason offset_guard_accept(struct offset_guard *g, uint64_t payload_offset, uint64_t size,
                                     uint64_t stream_size, uint64_t *out_start, uint64_t *out_end);

#endif
