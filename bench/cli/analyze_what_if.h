/* `pxarbench analyze --what-if SETTINGS --decisions FILE`: the table of flow/what_if.h, as text or JSON. */
#ifndef PXB_CLI_ANALYZE_WHAT_IF_H
#define PXB_CLI_ANALYZE_WHAT_IF_H

#include "cli/cli.h"
#include "store/store.h"

/* `ns`: the namespace of the run. `settings`: texts of words "threshold=0,0.05,0.1", "profile=tight,upstream,stored",
 * "cache-limit=1000,65536", divided by blanks; all combinations are tried, what is not named is the run's own. A word
 * that comes twice adds values. Prints one table per archive of the run; JSON: an array of them. ERR_USAGE: the
 * settings; else as what_if(). */
MUST_CHECK enum status analyze_what_if(struct store *store, const char *ns, const char *decisions_path,
                                       const char *const *settings, size_t setting_count, enum output_format format,
                                       struct error *err);

/* For the help of `analyze`. */
#define ANALYZE_WHAT_IF_HELP                                                                                           \
    "  --what-if SETTING...    what the run of --decisions would have read and stored with other settings, without\n"  \
    "                          running it: threshold=0,0.05,0.1 profile=tight,upstream,stored "                        \
    "cache-limit=1000,65536;\n"                                                                                        \
    "                          all combinations, what is not named is the run's own; may be repeated\n"                \
    "  --decisions FILE        what `backup --decisions` wrote\n"

#endif
