/* Counters of one run, filled by the flows, printed by the command line and --stats.
 * Plain numbers; written by the thread that owns the flow. Bytes unless the name says otherwise.
 * Source: bench/spec/change-detection.md 12. */
#ifndef PXB_FLOW_STATS_H
#define PXB_FLOW_STATS_H

#include "chunk/digest.h"
#include "detect/ledger.h"
#include "detect/reason.h"

/* Chunks by raw size: below 16 KiB, 64 KiB, 256 KiB, 1 MiB, 4 MiB, and larger ones. */
enum { SIZE_CLASSES = 6 };
extern const char *const size_class_names[SIZE_CLASSES]; /* "lt_16k" ... "ge_4m" */
unsigned size_class_of(uint64_t size);

/* One uploaded stream. known: digest of the previous index or met earlier in this stream; stored: written to the store
 * now; duplicate: uploaded, but the store had it. known + injected + new = chunks. */
struct stream_stats {
    uint64_t size;
    uint64_t chunks;
    uint64_t known_chunks, known_bytes;
    uint64_t injected_chunks, injected_bytes;
    uint64_t new_chunks, new_bytes; /* raw bytes of uploaded chunks */
    uint64_t new_chunks_by_size[SIZE_CLASSES];
    uint64_t duplicate_chunks; /* of the new ones */
    uint64_t compressed_bytes; /* encoded size of the new ones */
    uint64_t duration_ns;
    struct digest csum;
};

/* A .conf or .log: no chunks. */
struct blob_stats {
    uint64_t raw_size;
    uint64_t size; /* encoded */
    struct digest csum;
};

/* What became of one source. */
enum archive_kind {
    ARCHIVE_SPLIT,   /* metadata and payload */
    ARCHIVE_UNIFIED, /* stream */
    ARCHIVE_IMAGE,   /* stream */
    ARCHIVE_BLOB,    /* blob */
};

struct archive_stats {
    enum archive_kind kind; /* which of the streams below there are */
    enum reference_reason reference;
    char reference_detail[512];   /* sentence behind the reason, "" if none */
    char reference_snapshot[512]; /* "host/ID/TIME", "" if none */
    uint64_t directories, files, symlinks, fifos, sockets, devices;
    uint64_t hardlink_inodes;                  /* first names of multi-link files */
    uint64_t hardlink_names;                   /* later names: stored as hardlinks */
    uint64_t reused_files, reused_bytes;       /* + 16 per file, as the summary counts */
    uint64_t reencoded_files, reencoded_bytes; /* + 16 per file */
    uint64_t injected_chunks, injected_bytes;
    uint64_t padding_bytes;       /* injected - reused */
    uint64_t partial_chunks;      /* injected, some bytes unreferenced (the summary's figure) */
    uint64_t unreferenced_chunks; /* of these: no byte referenced */
    uint64_t flushes, rejected_ranges;
    uint64_t given_up_threshold, given_up_instances, given_up_absorbed; /* profile stored: old chunks, by why */
    uint64_t early_chunks;       /* of the old ones, judged before all of their files were seen */
    struct ledger_totals ledger; /* of a split archive's payload stream; its padding is padding_bytes */
    uint64_t stored_waste_bytes; /* of listed old chunks, what no file uses through any listing */
    uint64_t relisted_chunks;    /* old chunks listed more than once */
    bool compared_touched;       /* whether the next two are known: only with --decisions */
    uint64_t touched_identical_files, touched_identical_bytes;     /* reencoded for an attribute, contents as before */
    uint64_t skipped_entries;                                      /* vanished, unreadable: each with a warning */
    uint64_t file_bytes_read;                                      /* contents read from the source tree */
    uint64_t reasons[FILE_REASON_COUNT];                           /* files by reason */
    uint64_t reason_bytes[FILE_REASON_COUNT];                      /* + 16 per file */
    uint64_t xattrs_not_stored, acls_not_stored, fcaps_not_stored; /* files that have them */
    struct stream_stats metadata, payload;                         /* of a split archive */
    struct stream_stats stream;                                    /* the only one of a unified archive or image */
    struct blob_stats blob;
};

#endif
