/* The lines that sum up an archive, as users of the reference client know them: change detection and upload.
 * Pure: counters in, text out; printing is the caller's. Lines are separated by '\n', without one at the end, so that
 * each can be logged by itself; `out` is appended to.
 * Source: bench/spec/change-detection.md 12; pinned by its examples 14.1, 14.2, 14.9. */
#ifndef PXB_FLOW_SUMMARY_H
#define PXB_FLOW_SUMMARY_H

#include "base/buffer.h"
#include "flow/stats.h"

/* "Change detection summary:" and its four lines. Appends nothing when no reference was in use. */
MUST_CHECK enum status summary_change_detection(const struct archive_stats *a, struct buffer *out, struct error *err);
/* What the reference client does not say: why files were read, most frequent reason first, what of it was in vain, and
 * how much was read. Bytes are counted as in the summary, 16 more per file, but for the last line. Appends nothing
 * unless a reference was asked for. */
MUST_CHECK enum status summary_reasons(const struct archive_stats *a, struct buffer *out, struct error *err);
/* One to three lines. `archive`: stored name without its last extension ("root.ppxar", "disk.img"). */
MUST_CHECK enum status summary_upload(const char *archive, const struct stream_stats *s, struct buffer *out,
                                      struct error *err);
/* The same for the catalog, which has a line of its own. */
MUST_CHECK enum status summary_catalog(const struct stream_stats *s, struct buffer *out, struct error *err);

#endif
