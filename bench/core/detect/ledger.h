/* The padding ledger: what of a payload stream belongs to files, what to nobody, and where that lies.
 *
 * Told the stream's pieces in stream order. Two sources tell it, and must agree: a backup while it runs (from what the
 * look-ahead cache injects), and an analysis afterwards (from references and index alone, detect/usage.h).
 *
 * A range is a longest stretch of whole pieces with padding only in front of the first byte used, behind the last one
 * and in holes within a piece: it ends where a piece has a tail, where the next one has a head, and at pieces that
 * nobody uses, which are in no range. New bytes have no padding and join what they touch. The stream's own two markers
 * count as used.
 * Not thread-safe. Bytes unless the name says otherwise. Source: bench/spec/change-detection.md 7, 8. */
#ifndef PXB_DETECT_LEDGER_H
#define PXB_DETECT_LEDGER_H

#include "base/status.h"

struct ledger_range {
    uint64_t start, end; /* of its pieces, in the new payload stream */
    uint64_t referenced; /* headers, contents, own markers */
    uint64_t start_padding, end_padding, hole_padding;
};

struct ledger_totals {
    uint64_t size;          /* of the stream */
    uint64_t referenced;    /* headers, contents, own markers */
    uint64_t padding;       /* size - referenced: the four below */
    uint64_t start_padding; /* of all ranges */
    uint64_t end_padding;
    uint64_t hole_padding;
    uint64_t dead_padding; /* in chunks that nobody uses */
    uint64_t ranges;
    uint64_t partial_chunks;      /* with padding, those that nobody uses included */
    uint64_t unreferenced_chunks; /* nobody uses them */
};

struct ledger {
    struct ledger_totals totals;
    struct ledger_range range; /* under way: end > start */
    /* Told each range when it is complete; NULL: nobody is. */
    enum status (*on_range)(void *context, const struct ledger_range *range, struct error *err);
    void *context;
};

/* Zero-initialise, set on_range. A piece of `size` bytes: a chunk with unused bytes before the first and behind the
 * last one used and in between; head == size: nobody uses it. size 0 does nothing. */
MUST_CHECK enum status ledger_chunk(struct ledger *l, uint64_t size, uint64_t head, uint64_t holes, uint64_t tail,
                                    struct error *err);
/* New bytes: all used. */
MUST_CHECK enum status ledger_raw(struct ledger *l, uint64_t size, struct error *err);
/* Completes the last range. */
MUST_CHECK enum status ledger_finish(struct ledger *l, struct error *err);

#endif
