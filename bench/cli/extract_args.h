/* The options that `restore` and `pxar extract` share: how entries are created. */
#ifndef PXB_CLI_EXTRACT_ARGS_H
#define PXB_CLI_EXTRACT_ARGS_H

#include "cli/cli.h"
#include "flow/restore.h"

/* clang-format off */
#define EXTRACT_ARGS_OPTIONS \
    {"allow-existing-dirs", no_argument, NULL, EXTRACT_ARGS_ALLOW_EXISTING_DIRS}, \
    {"overwrite", no_argument, NULL, EXTRACT_ARGS_OVERWRITE}, \
    {"ignore-ownership", no_argument, NULL, EXTRACT_ARGS_IGNORE_OWNERSHIP}, \
    {"ignore-xattrs", no_argument, NULL, EXTRACT_ARGS_IGNORE_XATTRS}, \
    {"ignore-permissions", no_argument, NULL, EXTRACT_ARGS_IGNORE_PERMISSIONS}
/* clang-format on */
enum {
    EXTRACT_ARGS_ALLOW_EXISTING_DIRS = CLI_OPTION_FIRST + 1000,
    EXTRACT_ARGS_OVERWRITE,
    EXTRACT_ARGS_IGNORE_OWNERSHIP,
    EXTRACT_ARGS_IGNORE_XATTRS,
    EXTRACT_ARGS_IGNORE_PERMISSIONS,
};
#define EXTRACT_ARGS_HELP                                                                                              \
    "  --allow-existing-dirs    fill directories that are there already\n"                                             \
    "  --overwrite              replace files, symlinks and hardlinks that are there already\n"                        \
    "  --ignore-ownership       do not change owner and group\n"                                                       \
    "  --ignore-xattrs          do not set extended attributes\n"                                                      \
    "  --ignore-permissions     do not set permission bits\n"

/* True if the option was one of these. */
bool extract_args_take(int option, struct extract_options *out);
/* What was restored: a log line for text, else the counters on stdout. */
MUST_CHECK enum status extract_args_report(const struct restore_stats *stats, enum output_format format,
                                           struct error *err);

#endif
