/* The options of `backup` and `pxar create` that say what of a tree is walked and stored.
 * Source: bench/spec/archive-creation.md A1. */
#ifndef PXB_CLI_WALK_ARGS_H
#define PXB_CLI_WALK_ARGS_H

#include "cli/cli.h"
#include "flow/walk_options.h"

/* clang-format off */
#define WALK_ARGS_OPTIONS \
    {"exclude", required_argument, NULL, WALK_ARGS_EXCLUDE}, \
    {"all-file-systems", no_argument, NULL, WALK_ARGS_ALL_FILE_SYSTEMS}, \
    {"entries-max", required_argument, NULL, WALK_ARGS_ENTRIES_MAX}
#define WALK_ARGS_BACKUP_OPTIONS \
    {"include-dev", required_argument, NULL, WALK_ARGS_INCLUDE_DEV}, \
    {"skip-lost-and-found", no_argument, NULL, WALK_ARGS_SKIP_LOST_AND_FOUND}, \
    {"skip-e2big-xattr", no_argument, NULL, WALK_ARGS_SKIP_E2BIG_XATTR}, \
    {"skip-kernel-tracing", no_argument, NULL, WALK_ARGS_SKIP_KERNEL_TRACING}
#define WALK_ARGS_CREATE_OPTIONS \
    {"no-xattrs", no_argument, NULL, WALK_ARGS_NO_XATTRS}, \
    {"no-fcaps", no_argument, NULL, WALK_ARGS_NO_FCAPS}, \
    {"no-acls", no_argument, NULL, WALK_ARGS_NO_ACLS}
/* clang-format on */
enum {
    WALK_ARGS_EXCLUDE = CLI_OPTION_FIRST + 2000,
    WALK_ARGS_ALL_FILE_SYSTEMS,
    WALK_ARGS_ENTRIES_MAX,
    WALK_ARGS_INCLUDE_DEV,
    WALK_ARGS_SKIP_LOST_AND_FOUND,
    WALK_ARGS_SKIP_E2BIG_XATTR,
    WALK_ARGS_SKIP_KERNEL_TRACING,
    WALK_ARGS_NO_XATTRS,
    WALK_ARGS_NO_FCAPS,
    WALK_ARGS_NO_ACLS,
};

enum { WALK_ARGS_DEVICES_MAX = 1024 };

struct walk_args {
    bool normalise; /* patterns: `backup` does, `pxar create` does not */
    struct walk_options options;
    struct pattern_list *patterns; /* owned; the options borrow it */
    uint64_t devices[WALK_ARGS_DEVICES_MAX];
    bool skip_lost_and_found;
};

/* ERR_CLOSED: the option is none of these. */
MUST_CHECK enum status walk_args_take(struct walk_args *a, int option, struct error *err);
/* After the last option: `out` borrows from `a`. */
MUST_CHECK enum status walk_args_finish(struct walk_args *a, struct walk_options *out, struct error *err);
void walk_args_deinit(struct walk_args *a); /* accepts {0} */

#endif
