/* Where the files of a previous archive have their contents, in archive order: how many bytes of an old chunk belong to
 * files that a walk has not reached yet. A second reader of the metadata stream beside the cursor's, which must not
 * run ahead; it opens the stream at the first question and reads forward only as far as the answer needs.
 *
 * Never fails. A stream that cannot be read is warned of once, and from then on nothing counts as unseen: old chunks
 * are then given up too early, and the backup is as valid as before. Files outside of the payload stream, or not behind
 * the file before them, do not count (predicate.h's offset rule), so that an answer is never more than what was asked
 * about. Not thread-safe. Memory: some 32 bytes per file of the part last asked about, 64 MiB at most.
 * Source: bench/spec/reuse-stored.md 2. */
#ifndef PXB_FLOW_OLD_FILES_H
#define PXB_FLOW_OLD_FILES_H

#include "base/io.h"
#include "index/dynamic_index.h"
#include "store/store.h"

struct old_files;
/* `reader`, `metadata_index` (of the stream `name`, "root.mpxar.didx") are borrowed until free. `payload_size`: of the
 * payload stream. */
MUST_CHECK enum status old_files_new(struct store_reader *reader, const struct dynamic_index *metadata_index,
                                     const char *name, uint64_t payload_size, struct old_files **out,
                                     struct error *err);
/* The same over any metadata stream from its beginning. */
MUST_CHECK enum status old_files_over(struct source metadata, uint64_t payload_size, struct old_files **out,
                                      struct error *err);
void old_files_free(struct old_files *f); /* accepts NULL */

/* Bytes of [from, to) of the payload stream, headers included, of files whose headers stand at `from` or behind. To be
 * asked with growing `from`. */
uint64_t old_files_live(struct old_files *f, uint64_t from, uint64_t to);

/* How many files it remembers, those asked about for the last time included. For tests. */
size_t old_files_held(const struct old_files *f);

#endif
