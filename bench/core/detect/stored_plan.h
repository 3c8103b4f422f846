/* Profile stored: which of a window's files are reused. The decision alone: no entries, no output.
 *
 * A window is a piece of the archive's sequence of regular files: raw ones, whose contents are written anew, and
 * offered ones, which could be reused. Offered files lie in the old payload stream in the same order.
 *
 * A chunk is what is stored, not an entry of the old index: where raw bytes went between its files, an earlier backup
 * listed it again behind them, and each listing serves a part. Such entries, near each other, are one chunk here:
 *
 *   files      o1   o2      o3      o4   o5         chunk k is o1, o2, o4; it loses files to other chunks at its
 *   entries   [     k     ][ x ][     k     ][ l    edges only: o5 could go with l, but nothing between
 *               used          |      used
 *
 * Resolving gives up chunks until every one left is worth keeping: passes over the chunks by waste and number of
 * listings until one gives up nothing, then a pass over the raw runs that lets short ones absorb neighbours in small
 * chunks, and again, until an absorbing pass gives up nothing. Giving up only ever adds to what is raw, so this ends.
 * Work: proportional to files plus chunks, times the logarithm of their number, however it cascades.
 *
 * A cut is a place in the window before which nothing can change any more, whatever follows it: no chunk is used on
 * both sides, or may be in future.
 * Not thread-safe. Bytes. Source: bench/spec/reuse-stored.md 2, 4. */
#ifndef PXB_DETECT_STORED_PLAN_H
#define PXB_DETECT_STORED_PLAN_H

#include "detect/covering.h"
#include "detect/reason.h"

/* How many entries apart two listings of one chunk may be. */
enum { PLAN_REACH = 32 };

struct plan_chunk {
    uint64_t id;         /* never 0, never used again */
    uint64_t start, end; /* in the old payload stream, of the entry that the window touches first */
    size_t entry;        /* touched last */
    uint64_t entry_end;
    uint64_t used_end;  /* within the chunk: behind the last byte that a file was offered for */
    uint64_t again_end; /* end of the last entry within reach that may list the chunk again; 0: there is none */
    /* Its files: at most one begins before it, the others begin in it. 0: none. */
    uint32_t opener, first_file, last_file;
    uint32_t listed;         /* how often it was listed */
    bool settled;            /* decided in an earlier window: its waste is not judged again, nor is it small */
    enum file_reason before; /* not FILE_UNCHANGED: given up in an earlier window */
    uint64_t unseen_live;    /* bytes that files still to come will use */
    /* Outcome: */
    enum file_reason verdict; /* FILE_UNCHANGED: kept */
    uint32_t stretches;       /* of reused files that touch it, without other files between: listings in this window */
    uint64_t live;            /* bytes of reused files */
    bool marked, marked_next; /* to be examined in this pass, in the next one */
};

struct plan_file {
    uint64_t start, end;             /* range in the old payload stream; raw: only the difference counts */
    uint64_t head_end;               /* of the entry that it begins in */
    size_t entry;                    /* that one */
    uint32_t head;                   /* its chunk */
    uint32_t rest_first, rest_count; /* the following entries are chunks of their own: no other file came before */
    uint32_t next;                   /* file that begins in the same chunk; 0: none */
    bool offered;                    /* may be reused */
    bool small;                      /* touches small chunks alone: may be absorbed */
    bool reused;                     /* outcome */
    enum file_reason reason;         /* outcome: why not */
    /* Raw files: the run they belong to, found by following `parent` to a file that is its own. */
    uint32_t parent;
    uint32_t run_first, run_last;
    uint64_t run_length;
};

/* A chunk that an entry to come may list again, be it in the window or decided before. */
struct plan_recent {
    size_t entry; /* touched last */
    uint64_t id;
    uint64_t used_end;
    bool in_window;
    uint32_t chunk; /* in the window */
    bool settled;
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

    uint64_t carried_raw; /* length of the raw run directly before the window */
    bool continues;       /* for plan_resolve: file 1 goes on in a listing made before the window */

    struct plan_file *files; /* [0] stands for what is before the window: a raw run, or a wall */
    size_t file_count;       /* with [0] */
    size_t file_capacity;
    struct plan_chunk *chunks;
    size_t chunk_count;
    size_t chunk_capacity;
    struct plan_recent recent[PLAN_REACH + 1];
    size_t recent_count;
    uint64_t last_id;
    size_t search_hint;

    /* While resolving: */
    struct plan_marks pass, next_pass;   /* chunks to examine; `pass` is a heap */
    struct plan_marks fresh, next_fresh; /* files that became raw since runs were looked at; `fresh` is a heap */
    size_t current_chunk;                /* being examined; chunk_count: none */
    size_t current_file;                 /* whose run is growing; 0: none */
    size_t early_cut;                    /* behind it runs are long enough to absorb nothing */
};

enum { PLAN_FILES_MAX = 1 << 26, PLAN_CHUNKS_MAX = 1 << 28 };

MUST_CHECK enum status plan_init(struct stored_plan *p, struct error *err); /* the rest zero or set by the caller */
void plan_deinit(struct stored_plan *p);

MUST_CHECK enum status plan_add_raw(struct stored_plan *p, uint64_t length, struct error *err);
/* ERR_FORMAT: outside of the old payload stream. Ranges ascend. */
MUST_CHECK enum status plan_add_offered(struct stored_plan *p, const struct dynamic_index *index, uint64_t start,
                                        uint64_t end, struct error *err);

static inline uint32_t plan_touched_count(const struct plan_file *f)
{
    return 1 + f->rest_count;
}
/* The k-th chunk that an offered file touches, and how many bytes of it are the file's. */
static inline uint32_t plan_touched(const struct plan_file *f, uint32_t k)
{
    return k == 0 ? f->head : f->rest_first + k - 1;
}
/* Two entries of equal contents. */
bool plan_same_chunk(const struct dynamic_index *index, size_t a, size_t b);
/* No file to come can touch it. `passed`: none begins before that offset of the old payload stream. */
bool plan_is_closed(const struct plan_chunk *c, uint64_t passed);
bool plan_may_come_again(const struct plan_chunk *c, uint64_t passed); /* in another entry */

/* Decides over all files of the window. `passed`: as above. `boundary`: an offered file is at hand. */
MUST_CHECK enum status plan_resolve(struct stored_plan *p, uint64_t passed, bool boundary, struct error *err);
/* After resolving: how many files, [0] included, stand before the last cut; 1: none. Raw files behind the cut are taken
 * along. */
size_t plan_cut(const struct stored_plan *p, uint64_t passed);
/* Takes the first `count` files out ([0] included, which stays for what is before the window then), with their chunks,
 * whose number is returned by reason. Those that are not closed are settled: then `count` is all. */
struct plan_given_up {
    uint64_t threshold, instances, absorbed;
};
struct plan_given_up plan_drop(struct stored_plan *p, size_t count, uint64_t passed);

#endif
