/* What of a payload stream is used, from the streams alone: the references of the metadata stream against the entries
 * of the payload index. Tells the padding ledger (detect/ledger.h), which a backup tells too while it runs: both must
 * come to the same totals.
 *
 *     chunk     |--------- K ---------|------ L ------|---- M ----|
 *     files       [hdr a][hdr b]  [hdr c    ]           [hdr d][tm
 *               ^ head          ^ hole       ^ tail of L: in no other chunk
 *
 * A file uses 16 bytes of payload header and its contents. The stream's own two markers, its first and last 16 bytes,
 * count as used; markers within injected chunks do not.
 *
 * Files are told in archive order, which is stream order, in one pass; the index is at hand as a whole, and no more
 * than the place in it is kept. Hardlinks carry no reference and are not told. Nothing is trusted: references that go
 * back, overlap what is used already (the markers included) or leave the stream are ERR_FORMAT with both offsets; the
 * object then stays as it was, and the caller may go on behind that file.
 * Not thread-safe. Source: bench/spec/change-detection.md 3 and 9. */
#ifndef PXB_DETECT_USAGE_H
#define PXB_DETECT_USAGE_H

#include "detect/ledger.h"
#include "index/dynamic_index.h"

/* One index entry, complete. A chunk that nobody uses: head == size. */
struct usage_chunk {
    size_t entry;
    uint64_t start, size;
    uint64_t head, holes, tail; /* unused bytes, as ledger_chunk takes them */
    uint64_t files;             /* of which bytes lie in it */
};

struct usage_observer { /* each may be NULL */
    /* Every entry once, in order, after the ledger was told. */
    enum status (*chunk)(void *context, const struct usage_chunk *chunk, struct error *err);
    /* A longest stretch [start, end) that nobody uses, in stream order; chunk ends do not cut it. */
    enum status (*unused)(void *context, uint64_t start, uint64_t end, struct error *err);
    void *context;
};

/* Members are the implementation's; the struct is here so that it needs no allocation. */
struct usage {
    const struct dynamic_index *index;
    struct ledger *ledger;
    struct usage_observer observer;
    uint64_t size;           /* of the stream */
    uint64_t used_end;       /* of what is used so far */
    struct usage_chunk open; /* the first chunk that is not complete */
    uint64_t open_used_end;  /* used_end within it; 0: nothing of it is used */
};

/* `index` and `ledger` (zero-initialised, on_range set) are borrowed until the end, `observer` (may be NULL) is copied.
 * ERR_FORMAT: a stream too short for its markers. */
MUST_CHECK enum status usage_begin(struct usage *u, const struct dynamic_index *index, struct ledger *ledger,
                                   const struct usage_observer *observer, struct error *err);
/* A file whose payload header stands at `offset`, with `size` bytes of contents. */
MUST_CHECK enum status usage_file(struct usage *u, uint64_t offset, uint64_t size, struct error *err);
/* No more files: completes chunks and ledger. */
MUST_CHECK enum status usage_finish(struct usage *u, struct error *err);

#endif
