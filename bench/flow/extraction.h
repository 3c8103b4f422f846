/* Entries of an archive on their way into a tree: which are wanted, what happens to one that fails, what is told at the
 * end. Where the entries come from is the caller's: a sequential decoder, or an accessor that skips what is not wanted.
 * Not thread-safe.
 * Source: bench/spec/archive-creation.md B4, B5, B7. */
#ifndef PXB_FLOW_EXTRACTION_H
#define PXB_FLOW_EXTRACTION_H

#include "flow/selection.h"
#include "pxar/decoder.h"
#include "tree/extract.h"

struct restore_options {
    struct extract_options extract;
    struct selection *selection; /* borrowed; NULL or empty: everything */
    bool no_device_nodes, no_fifos, no_sockets;
    bool ignore_device_errors;  /* device nodes that cannot be made are counted and no error */
    bool collect_errors;        /* log an entry's error and go on: ERR_MISMATCH "there were errors" at the end */
    const char *prelude_target; /* NULL: none; the prelude is written to this file */
};

struct restore_stats {
    uint64_t entries; /* made, the root included */
    uint64_t files;
    uint64_t file_bytes;
    uint64_t errors;                          /* collected; a directory that cannot be made is one, whatever is in it */
    uint64_t device_errors;                   /* ignored */
    uint64_t devices;                         /* made */
    uint64_t set_id_files;                    /* made of what is stored with set-id bits */
    uint64_t metadata_chunks, payload_chunks; /* fetched; the chunks of a unified archive are metadata */
    struct attr_not_applied not_applied;
    uint64_t duration_ns;
};

/* Contents of the entry that is being extracted; as decoder_content. */
struct content {
    enum status (*read)(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err);
    void *context;
};

struct extraction;
/* `options` and `stats` are borrowed; `stats` counts up. */
MUST_CHECK enum status extraction_new(const char *target, const struct restore_options *options,
                                      struct restore_stats *stats, struct extraction **out, struct error *err);
void extraction_free(struct extraction *x); /* accepts NULL */
/* Entries in archive order, the root first and its end last. Entries that are not wanted may be left out, directories
 * only together with all below them. An error is final; all errors name the path. Those of reading (contents, memory)
 * are final even when errors are collected. */
MUST_CHECK enum status extraction_entry(struct extraction *x, const struct archive_entry *entry,
                                        const struct content *content, struct error *err);
/* After the root's end: says what was left out, and fails if errors were collected. */
MUST_CHECK enum status extraction_finish(struct extraction *x, struct error *err);

#endif
