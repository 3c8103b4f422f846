/* Some entries of an archive into a tree, found by their paths: only what lies on the way to them is read. */
#ifndef PXB_FLOW_RESTORE_PATHS_H
#define PXB_FLOW_RESTORE_PATHS_H

#include "flow/extraction.h"
#include "pxar/accessor.h"

/* Hands to `x` the directories on the way to `paths` (selection_paths: sorted, at least one), the entries there, and
 * all below them, each once and in archive order as long as its directories are sorted. What is not there is logged. */
MUST_CHECK enum status restore_paths(struct accessor *archive, const char *const *paths, size_t path_count,
                                     struct extraction *x, struct error *err);

#endif
