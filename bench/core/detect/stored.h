/* The look-ahead cache of profile stored: a window of entries whose old chunks are judged together.
 *
 *            out                          window                      still to come
 *   ....... raw run  | offered  raw  special  offered  offered ...  |
 *         (its length)  begins with an offered file
 *
 * Offered (reusable) files wait until a cut is behind them: no later entry can change what becomes of them then. What
 * is not offered waits behind offered files only. When the cache is full everything in it is decided, with one guess:
 * how much of the last chunk the files will use that are still to come.
 *
 *   listed chunks    injected | pending (at most one batch and one)
 *   A reused file goes on with the last pending chunk, or begins behind it. Raw bytes need the pending ones out first.
 *
 * Behind lookahead.h, whose contracts hold. Not thread-safe. Source: bench/spec/reuse-stored.md. */
#ifndef PXB_DETECT_STORED_H
#define PXB_DETECT_STORED_H

#include "detect/lookahead_inject.h"

struct stored;
/* Options, index and injector are borrowed. */
MUST_CHECK enum status stored_new(const struct lookahead_options *options, const struct dynamic_index *index,
                                  struct injector *injector, struct stored **out, struct error *err);
void stored_free(struct stored *s); /* accepts NULL; drops what is still cached */

/* Each takes `entry`. */
MUST_CHECK enum status stored_reusable(struct stored *s, void *entry, uint64_t old_start, uint64_t old_end,
                                       struct error *err);
MUST_CHECK enum status stored_changed(struct stored *s, void *entry, uint64_t size, enum file_reason reason,
                                      uint64_t old_end, struct error *err);
MUST_CHECK enum status stored_link(struct stored *s, void *entry, struct error *err);
MUST_CHECK enum status stored_special(struct stored *s, void *entry, struct error *err);
MUST_CHECK enum status stored_directory_begin(struct stored *s, void *entry, struct error *err);
MUST_CHECK enum status stored_directory_end(struct stored *s, struct error *err);
MUST_CHECK enum status stored_make_room(struct stored *s, struct error *err);
MUST_CHECK enum status stored_finish(struct stored *s, struct error *err);

#endif
