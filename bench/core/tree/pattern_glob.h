/* One pattern of the exclude language: compiled once, tried on a path and on its suffixes. Bytes, not characters.
 * No system calls; a compiled pattern may be matched by several threads. Not here: '!', the trailing '/' and lists
 * (pattern.h).
 * Matching never backtracks: one pass over the path carries the set of positions in the pattern that can be reached,
 * from all suffixes together, so the worst case is size of the pattern x size of the path.
 * Source: bench/spec/archive-creation.md A5.1, A5.5. */
#ifndef PXB_TREE_PATTERN_GLOB_H
#define PXB_TREE_PATTERN_GLOB_H

#include "base/status.h"

enum { GLOB_TOKENS_MAX = 65536 };

enum glob_shape {
    GLOB_LITERAL, /* nothing but bytes */
    GLOB_ENDING,  /* any beginning, then bytes: "*.tmp" */
    GLOB_GENERAL,
};

struct glob_token;
struct glob {
    enum glob_shape shape;
    bool whole;                /* only the whole path can match */
    bool within_name;          /* nothing in it matches a '/' */
    size_t size_min;           /* bytes of the shortest match */
    uint8_t *tail;             /* the bytes it ends with, without escapes */
    size_t tail_size;          /* may be 0 */
    struct glob_token *tokens; /* GLOB_GENERAL only; ends with one that nothing leaves */
    size_t token_count;        /* without that one */
    uint8_t (*sets)[32];
};

/* Compiles text[begin, end); positions in errors count from `text`. ERR_FORMAT, or ERR_LIMIT beyond GLOB_TOKENS_MAX
 * bytes. Nothing to deinit after a failure. */
MUST_CHECK enum status glob_init(struct glob *g, const char *text, size_t begin, size_t end, bool anchored,
                                 struct error *err);
void glob_deinit(struct glob *g); /* accepts a zeroed one */
/* `path` starts with '/' and has no empty components. */
bool glob_match(const struct glob *g, const char *path, size_t path_size);

#endif
