/* The command line's patterns as archives keep them, so that a restored tree can say what it lacks: a JSON prelude in a
 * split archive, a file in a unified one.
 * Source: bench/spec/archive-creation.md A6. */
#ifndef PXB_FLOW_EXCLUDE_TEXT_H
#define PXB_FLOW_EXCLUDE_TEXT_H

#include "tree/pattern.h"

/* The last member of a unified archive's root. */
#define EXCLUDE_FILE_NAME ".pxarexclude-cli"
enum { EXCLUDE_TEXT_SIZE_MAX = 64 << 20 };

/* Contents of that file, replacing `out`: empty without patterns. `patterns` may be NULL. */
MUST_CHECK enum status exclude_text(const struct pattern_list *patterns, struct buffer *out, struct error *err);
/* {"exclude-patterns":"..."}, replacing `out`: empty without patterns. ERR_USAGE: a pattern is not UTF-8, which JSON
 * cannot hold. */
MUST_CHECK enum status exclude_prelude(const struct pattern_list *patterns, struct buffer *out, struct error *err);

#endif
