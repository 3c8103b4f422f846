/* The pattern language of --exclude, .pxarexclude and restore: parsing, and lists in which the last match decides.
 * Bytes, not characters. No system calls. A list may be matched by several threads while nobody changes it.
 * Source: bench/spec/archive-creation.md A5. */
#ifndef PXB_TREE_PATTERN_H
#define PXB_TREE_PATTERN_H

#include "base/buffer.h"

enum { PATTERN_SIZE_MAX = 65536, PATTERN_LIST_MAX = 1 << 20 };

enum pattern_result {
    PATTERN_NO_MATCH,
    PATTERN_INCLUDE,
    PATTERN_EXCLUDE,
    PATTERN_NEEDS_TYPE, /* only with type DT_UNKNOWN: a directory-only pattern has to be decided first */
};

struct pattern_list; /* grows at the end, is cut from the end: the patterns of a directory go when it is left */
MUST_CHECK enum status pattern_list_new(struct pattern_list **out, struct error *err);
void pattern_list_free(struct pattern_list *l); /* accepts NULL */
size_t pattern_list_count(const struct pattern_list *l);
void pattern_list_cut(struct pattern_list *l, size_t count);

/* Parses one entry (A5.2): leading '!' inverts `type`, trailing '/' means directories only. `anchored`: only the whole
 * path is tried (A5.5). ERR_FORMAT with the position: trailing backslash, unknown class, unclosed set or range, NUL
 * inside. ERR_LIMIT: longer than PATTERN_SIZE_MAX, or too many. */
MUST_CHECK enum status pattern_list_add(struct pattern_list *l, const char *text, size_t size, enum pattern_result type,
                                        bool anchored, struct error *err);
/* One option of the command line: normalised (A5.3, with its warning) if `normalise`, then added unanchored. */
MUST_CHECK enum status pattern_list_add_option(struct pattern_list *l, const char *text, bool normalise,
                                               struct error *err);
/* The lines of a .pxarexclude in the directory `dir` (match path: "" for the root, "/a/b"), A5.4. A bad line is logged
 * and skipped, and so is one beyond PATTERN_SIZE_MAX. Only ERR_MEMORY and ERR_LIMIT (a full list) fail. */
MUST_CHECK enum status pattern_list_add_lines(struct pattern_list *l, const char *dir, const uint8_t *lines,
                                              size_t size, struct error *err);

/* Last to first, the first hit decides (A5.5). `path` starts with a slash and has no empty components. `type`: DT_*.
 * Bounded: for each pattern at most its size x path_size steps, all suffixes together. */
enum pattern_result pattern_list_match(const struct pattern_list *l, const char *path, size_t path_size, uint8_t type);

/* Appends the text stored in archives (A6): one line per pattern. */
MUST_CHECK enum status pattern_list_text(const struct pattern_list *l, struct buffer *out, struct error *err);

/* Lexical normalisation (A5.3) of `text`, replaces `out` (NUL-terminated, the NUL not counted). */
MUST_CHECK enum status pattern_normalise(const char *text, size_t size, struct buffer *out, bool *out_changed,
                                         struct error *err);
/* Appends `text` with a backslash before each byte that patterns give a meaning: `\ * ? [`, and `!` as the first. There
 * is no escape for slashes at the end: they still mean "directories only". */
MUST_CHECK enum status pattern_escape(const char *text, size_t size, struct buffer *out, struct error *err);
/* Whether the text is not empty and nothing in it has a meaning (a "/" at its end has): anchored, it matches itself
 * alone. */
bool pattern_is_literal(const char *text, size_t size);

#endif
