/* Profile stored: which of a window's files are reused. The decision alone: no entries, no output, no index but the
 * chunks that the window's files touch.
 *
 * A window is a piece of the archive's sequence of regular files: raw ones, whose contents are written anew, and
 * offered ones, which could be reused. Offered files lie in the old payload stream in the same order, so the files that
 * touch a chunk are neighbours but for raw files between, and a chunk loses files to other chunks at its edges only:
 *
 *   files    o1   o2   raw   o3   o4         o2 goes with chunk a: chunk b has one file less, o3 and o4
 *   chunks  [  a   ][      b    ][  c        are untouched unless that makes b too poor
 *
 * Resolving gives up chunks until every one left is worth keeping: passes over the chunks by waste and number of
 * listings until one gives up nothing, then a pass over the raw runs that lets short ones absorb neighbours in small
 * chunks, and again, until an absorbing pass gives up nothing. Giving up only ever adds to what is raw, so this ends.
 * Work: proportional to files plus chunks, times the logarithm of their number, however it cascades.
 *
 * A cut is a place in the window before which nothing can change any more, whatever follows it.
 * Not thread-safe. Bytes. Source: bench/spec/reuse-stored.md 2, 4. */
#ifndef PXB_DETECT_STORED_PLAN_H
#define PXB_DETECT_STORED_PLAN_H

#include "detect/covering.h"
#include "detect/reason.h"

struct plan_chunk {
    size_t entry;        /* of the old index */
    uint64_t start, end; /* in the old payload stream */
    uint32_t first_file, last_file;
    uint32_t listed;         /* how often it was listed before this window */
    bool settled;            /* decided in an earlier window: its waste is not judged again, nor is it small */
    bool queued;             /* something about it changed since it was examined */
    enum file_reason before; /* not FILE_UNCHANGED: given up in an earlier window */
    /* Outcome: */
    enum file_reason verdict; /* FILE_UNCHANGED: kept */
    uint32_t stretches;       /* of reused files that touch it, without raw files between: listings in this window */
    uint64_t live;            /* bytes of reused files */
};

struct plan_file {
    uint64_t start, end;     /* range in the old payload stream; raw: only the difference counts */
    uint32_t first, last;    /* chunks it touches; offered files alone */
    bool offered;            /* may be reused */
    bool small;              /* touches small chunks alone: may be absorbed */
    bool reused;             /* outcome */
    enum file_reason reason; /* outcome: why not */
    /* Raw files: the run they belong to, found by following `parent` to a file that is its own. */
    uint32_t parent;
    uint32_t run_first, run_last;
    uint64_t run_length;
};

/* What is known already about the chunk that the first file of a window may touch. */
struct plan_carry {
    bool valid;
    size_t entry;
    uint32_t listed;
    enum file_reason before;
};

struct plan_marks {
    uint32_t *at;
    size_t count, capacity;
};

struct stored_plan {
    uint32_t threshold_ppm;
    uint64_t absorb_below, absorb_until;
    uint32_t max_instances;

    /* Set for the next plan_resolve: */
    uint64_t carried_raw; /* length of the raw run directly before the window */
    bool continues;       /* the listing of chunk 0 made before this window goes on with file 1 */
    uint64_t unseen_live; /* bytes of the last chunk that files still to come will use */
    struct plan_carry carry;

    struct plan_file *files; /* [0] stands for what is before the window: a raw run, or a wall */
    size_t file_count;       /* with [0] */
    size_t file_capacity;
    struct plan_chunk *chunks;
    size_t chunk_count;
    size_t chunk_capacity;
    size_t search_hint;

    /* While resolving: */
    struct plan_marks queue, examined; /* chunks to examine in the next pass, in this one */
    struct plan_marks fresh;           /* files that became raw since runs were looked at */
    size_t current;                    /* chunk being examined; behind all: none */
    size_t examine_to;                 /* this pass examines up to here, not included */
    size_t early_cut;                  /* behind it runs are long enough to absorb nothing */
};

enum { PLAN_FILES_MAX = 1 << 26, PLAN_CHUNKS_MAX = 1 << 28 };

MUST_CHECK enum status plan_init(struct stored_plan *p, struct error *err); /* the rest zero or set by the caller */
void plan_deinit(struct stored_plan *p);

MUST_CHECK enum status plan_add_raw(struct stored_plan *p, uint64_t length, struct error *err);
/* ERR_FORMAT: outside of the old payload stream. Ranges ascend. */
MUST_CHECK enum status plan_add_offered(struct stored_plan *p, const struct dynamic_index *index, uint64_t start,
                                        uint64_t end, struct error *err);

/* Decides over all files of the window. `boundary`: the next offered file touches none of its chunks. */
MUST_CHECK enum status plan_resolve(struct stored_plan *p, bool boundary, struct error *err);
/* After resolving: how many files, [0] included, stand before the last cut; 1: none. `passed`: no further file begins
 * before that offset of the old payload stream. Raw files behind the cut are taken along. */
size_t plan_cut(const struct stored_plan *p, uint64_t passed);
/* Takes the first `count` files out ([0] included, which stays for what is before the window then), with their chunks,
 * whose number is returned by reason. */
struct plan_given_up {
    uint64_t threshold, instances, absorbed;
};
struct plan_given_up plan_drop(struct stored_plan *p, size_t count);

#endif
