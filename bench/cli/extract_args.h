/* The options that `restore` and `pxar extract` share: what is extracted, and how entries are created. */
#ifndef PXB_CLI_EXTRACT_ARGS_H
#define PXB_CLI_EXTRACT_ARGS_H

#include "cli/cli.h"
#include "flow/restore.h"
#include "net/session.h"

/* clang-format off */
#define EXTRACT_ARGS_OPTIONS \
    {"pattern", required_argument, NULL, EXTRACT_ARGS_PATTERN}, \
    {"allow-existing-dirs", no_argument, NULL, EXTRACT_ARGS_ALLOW_EXISTING_DIRS}, \
    {"overwrite", no_argument, NULL, EXTRACT_ARGS_OVERWRITE}, \
    {"overwrite-files", no_argument, NULL, EXTRACT_ARGS_OVERWRITE_FILES}, \
    {"overwrite-symlinks", no_argument, NULL, EXTRACT_ARGS_OVERWRITE_SYMLINKS}, \
    {"overwrite-hardlinks", no_argument, NULL, EXTRACT_ARGS_OVERWRITE_HARDLINKS}, \
    {"ignore-acls", no_argument, NULL, EXTRACT_ARGS_IGNORE_ACLS}, \
    {"ignore-ownership", no_argument, NULL, EXTRACT_ARGS_IGNORE_OWNERSHIP}, \
    {"ignore-xattrs", no_argument, NULL, EXTRACT_ARGS_IGNORE_XATTRS}, \
    {"ignore-permissions", no_argument, NULL, EXTRACT_ARGS_IGNORE_PERMISSIONS}, \
    {"ignore-extract-device-errors", no_argument, NULL, EXTRACT_ARGS_IGNORE_DEVICE_ERRORS}, \
    {"prelude-target", required_argument, NULL, EXTRACT_ARGS_PRELUDE_TARGET}
/* clang-format on */
enum {
    EXTRACT_ARGS_PATTERN = CLI_OPTION_FIRST + 1000,
    EXTRACT_ARGS_ALLOW_EXISTING_DIRS,
    EXTRACT_ARGS_OVERWRITE,
    EXTRACT_ARGS_OVERWRITE_FILES,
    EXTRACT_ARGS_OVERWRITE_SYMLINKS,
    EXTRACT_ARGS_OVERWRITE_HARDLINKS,
    EXTRACT_ARGS_IGNORE_ACLS,
    EXTRACT_ARGS_IGNORE_OWNERSHIP,
    EXTRACT_ARGS_IGNORE_XATTRS,
    EXTRACT_ARGS_IGNORE_PERMISSIONS,
    EXTRACT_ARGS_IGNORE_DEVICE_ERRORS,
    EXTRACT_ARGS_PRELUDE_TARGET,
};
#define EXTRACT_ARGS_HELP                                                                                              \
    "  --pattern PATTERN        only entries that match and what is below them; repeatable, a leading '!' excludes,\n" \
    "                           the last match decides. '/etc/hosts' is one path, 'hosts' any entry of that name.\n"   \
    "                           Directories on the way are made, too; an empty directory that matches is made, and\n"  \
    "                           a hardlink needs its target to be selected\n"                                          \
    "  --allow-existing-dirs    fill directories that are there already\n"                                             \
    "  --overwrite-files        replace what is there already and no directory by the archive's files\n"               \
    "  --overwrite-symlinks     ... by its symlinks\n"                                                                 \
    "  --overwrite-hardlinks    ... by its hardlinks\n"                                                                \
    "  --overwrite              all three\n"                                                                           \
    "  --ignore-ownership       do not change owner and group\n"                                                       \
    "  --ignore-acls            do not set ACLs\n"                                                                     \
    "  --ignore-xattrs          do not set extended attributes\n"                                                      \
    "  --ignore-permissions     do not set permission bits: files stay 0600, directories 0700\n"                       \
    "  --ignore-extract-device-errors\n"                                                                               \
    "                           device nodes that cannot be made are counted and no error\n"                           \
    "  --prelude-target FILE    write the archive's prelude to FILE\n"

/* A pattern as typed: one that cannot be is ERR_USAGE. */
MUST_CHECK enum status extract_args_pattern(const char *text, struct restore_options *options, struct error *err);
/* Sets *out_taken if the option was one of these. Patterns are added to options->selection. */
MUST_CHECK enum status extract_args_take(int option, struct restore_options *options, bool *out_taken,
                                         struct error *err);
/* What was restored: log lines for text, else the counters on stdout. `network` NULL: not from a server. */
MUST_CHECK enum status extract_args_report(const struct restore_stats *stats, const struct net_stats *network,
                                           enum output_format format, struct error *err);

#endif
