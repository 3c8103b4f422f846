/* A command line in one text, split into words by the quoting rules of a shell, without one. Pure.
 *
 *   blanks separate words   'all literal'   "all but \" \\ \$ \` and \newline"   \x is x, \newline is nothing
 *
 * Nothing is expanded. */
#ifndef PXB_FLOW_WORDS_H
#define PXB_FLOW_WORDS_H

#include "base/status.h"

enum { WORDS_MAX = 256 };

struct words {
    char *text;                 /* owned: what the words lie in */
    char *items[WORDS_MAX + 1]; /* NULL-terminated, as exec wants them */
    size_t count;
};
/* ERR_USAGE: a quote that does not end, no word at all, more than WORDS_MAX. The sentence does not quote the text. */
MUST_CHECK enum status words_split(const char *text, struct words *out, struct error *err);
void words_deinit(struct words *w); /* accepts {0} */

#endif
