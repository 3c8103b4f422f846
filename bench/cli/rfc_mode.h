/* --rfc-change-detection: the mode option as it was spelled before it was merged into the reference client, for scripts
 * of that time. In force for the whole invocation but for the list, which names the sources to be split:
 *
 *     data                        legacy
 *     metadata                    metadata
 *     metadata:a.pxar:b.pxar      metadata for these sources, legacy for the other directories
 *
 * What is called data today had no spelling. Source: bench/spec/change-detection.md 2.1. */
#ifndef PXB_CLI_RFC_MODE_H
#define PXB_CLI_RFC_MODE_H

#include "cli/backup_sources.h"

/* Sets the run's mode and, where it differs, that of each source. ERR_USAGE: not of that form, or a list with a name
 * that is no directory among the sources; `sources` may then be changed. */
MUST_CHECK enum status rfc_mode_apply(const char *spec, struct backup_sources *sources, enum detection_mode *out_mode,
                                      struct error *err);

#endif
