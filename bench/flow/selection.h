/* Which entries of an archive are wanted: the patterns of a restore, with what a directory hands on to its members.
 * No system calls. Not thread-safe.
 * Source: bench/spec/archive-creation.md A5, B1, B4. */
#ifndef PXB_FLOW_SELECTION_H
#define PXB_FLOW_SELECTION_H

#include "base/status.h"

enum { SELECTION_PATTERN_MAX = 65536 };

struct selection;
MUST_CHECK enum status selection_new(struct selection **out, struct error *err);
void selection_free(struct selection *s); /* accepts NULL */
/* One include pattern; a leading '!' makes it exclude. The last one that matches decides. ERR_FORMAT, ERR_LIMIT. */
MUST_CHECK enum status selection_add(struct selection *s, const char *text, size_t size, struct error *err);
/* A file of patterns, one per line; empty lines are skipped, nothing else is special. Errors name file and line.
 * ERR_FORMAT: no pattern at all, which would select everything. */
MUST_CHECK enum status selection_add_file(struct selection *s, const char *path, struct error *err);
/* No patterns: everything is wanted. NULL counts as empty. */
bool selection_is_empty(const struct selection *s);

/* Whether the entry of match path `path` ("/a/b") and `type` (DT_*) is wanted, its directory being so or not. */
bool selection_wants(const struct selection *s, const char *path, size_t path_size, uint8_t type, bool parent_wanted);
/* The same from the root on, without knowing about the directories between. `type` is that of the last component. */
bool selection_wants_path(const struct selection *s, const char *path, size_t path_size, uint8_t type);

/* If every pattern is the path of one entry ("/a/b", "/a/b/"): these paths, without trailing slashes, sorted so that
 * the members of a directory stand together (a '/' before any other byte), without duplicates. Else NULL. Borrowed
 * until the next pattern is added. */
const char *const *selection_paths(struct selection *s, size_t *out_count);

#endif
