/* A run of the look-ahead cache without a tree and without data: from the events of a walk and the previous payload
 * index to decisions, injections and the padding ledger. For counterfactuals (`analyze --what-if`) and for comparing
 * the cache with a model. Payload positions are exact; where new bytes are cut is not known here.
 * Not thread-safe. Source: bench/spec/change-detection.md 6 to 9. */
#ifndef PXB_DETECT_SIMULATE_H
#define PXB_DETECT_SIMULATE_H

#include "detect/ledger.h"
#include "detect/lookahead.h"

enum sim_kind {
    SIM_FILE,    /* a regular file, under its first name */
    SIM_LINK,    /* a later name of a file with several links; the first one is in the archive by then */
    SIM_SPECIAL, /* symlink, device, fifo, socket */
    SIM_ENTER,   /* directory begin, not of the root */
    SIM_LEAVE,
};
struct sim_event {
    enum sim_kind kind;
    /* SIM_FILE: */
    uint64_t size;           /* contents */
    enum file_reason reason; /* FILE_UNCHANGED: reusable */
    uint64_t old_offset;     /* of its payload header in the old payload stream; 0: none */
    uint64_t old_size;       /* of its contents there; counts for files that are not reusable */
};

struct sim_observer { /* each may be NULL */
    /* What became of the file of event `ordinal` (counted from 0 over all events), in archive order. */
    enum status (*file)(void *context, uint64_t ordinal, bool reused, enum file_reason reason, uint64_t offset,
                        struct error *err);
    enum status (*inject)(void *context, uint64_t boundary, const struct reuse_chunk *chunks, size_t count,
                          uint64_t size, struct error *err);
    /* As in lookahead_ops; NULL: 0 bytes. */
    enum status (*unseen_live)(void *context, uint64_t from, uint64_t to, uint64_t *out, struct error *err);
    void *context;
};

struct sim_result {
    uint64_t reused_files, reused_bytes;       /* + 16 per file */
    uint64_t reencoded_files, reencoded_bytes; /* + 16 per file */
    uint64_t read_bytes;                       /* contents of re-encoded files */
    uint64_t payload_size;                     /* of the new stream, both markers included */
    struct lookahead_counters cache;
    struct ledger_totals ledger;
};

struct simulation;
/* `index` and `observer` (copied) are borrowed until the end. */
MUST_CHECK enum status simulation_new(const struct lookahead_options *options, const struct dynamic_index *index,
                                      const struct sim_observer *observer, struct simulation **out, struct error *err);
void simulation_free(struct simulation *s); /* accepts NULL */
/* ERR_FORMAT: an event that no walk makes (a reusable range that goes back, overlaps or lies outside of the old stream,
 * leaving the root). After a failure only simulation_free. The old range of a file that is not reusable may be
 * anything: it is cut at the end of the old stream, as a backup does. */
MUST_CHECK enum status simulation_event(struct simulation *s, const struct sim_event *event, struct error *err);
/* Directories that were not left are left. */
MUST_CHECK enum status simulation_finish(struct simulation *s, struct sim_result *out, struct error *err);

#endif
