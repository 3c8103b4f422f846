#include "cli/walk_args.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static enum status need_patterns(struct walk_args *a, struct error *err)
{
    return a->patterns ? OK : pattern_list_new(&a->patterns, err);
}

static enum status take_exclude(struct walk_args *a, const char *text, struct error *err)
{
    TRY(need_patterns(a, err));
    enum status status = pattern_list_add_option(a->patterns, text, a->normalise, err);
    if (status == ERR_FORMAT) { /* not stored data, but what somebody typed */
        struct error why = *err;
        return fail(err, ERR_USAGE, "--exclude: %s", why.text);
    }
    return status;
}

static enum status take_device(struct walk_args *a, const char *path, struct error *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return fail(err, ERR_NOT_FOUND, "fstat \"%s\" failed - %s", path, strerror(errno));
    if (a->options.device_count == WALK_ARGS_DEVICES_MAX)
        return fail(err, ERR_LIMIT, "--include-dev: more than %d devices", WALK_ARGS_DEVICES_MAX);
    a->devices[a->options.device_count++] = (uint64_t)st.st_dev;
    return OK;
}

static enum status take_entries_max(struct walk_args *a, struct error *err)
{
    uint64_t value;
    TRY(cli_parse_u64("--entries-max", optarg, 1, UINT32_MAX, &value, err));
    a->options.entries_max = (size_t)value;
    return OK;
}

enum status walk_args_take(struct walk_args *a, int option, struct error *err)
{
    switch (option) {
    case WALK_ARGS_EXCLUDE: return take_exclude(a, optarg, err);
    case WALK_ARGS_INCLUDE_DEV: return take_device(a, optarg, err);
    case WALK_ARGS_ENTRIES_MAX: return take_entries_max(a, err);
    case WALK_ARGS_ALL_FILE_SYSTEMS: a->options.all_file_systems = true; return OK;
    case WALK_ARGS_SKIP_LOST_AND_FOUND: a->skip_lost_and_found = true; return OK;
    case WALK_ARGS_SKIP_E2BIG_XATTR: a->options.skip_e2big_xattr = true; return OK;
    case WALK_ARGS_SKIP_KERNEL_TRACING: a->options.skip_kernel_tracing = true; return OK;
    case WALK_ARGS_NO_XATTRS: a->options.no_xattrs = true; return OK;
    case WALK_ARGS_NO_FCAPS: a->options.no_fcaps = true; return OK;
    case WALK_ARGS_NO_ACLS: a->options.no_acls = true; return OK;
    default: return ERR_CLOSED;
    }
}

enum status walk_args_finish(struct walk_args *a, struct walk_options *out, struct error *err)
{
    static const char lost_and_found[] = "lost+found";
    if (a->options.all_file_systems && a->options.device_count > 0)
        return fail(err, ERR_USAGE, "option 'all-file-systems' conflicts with option 'include-dev'");
    if (a->skip_lost_and_found) {
        TRY(need_patterns(a, err));
        TRY(pattern_list_add(a->patterns, lost_and_found, sizeof lost_and_found - 1, PATTERN_EXCLUDE, false, err));
    }
    *out = a->options;
    out->patterns = a->patterns;
    out->devices = a->devices;
    return OK;
}

void walk_args_deinit(struct walk_args *a)
{
    pattern_list_free(a->patterns);
    a->patterns = NULL;
}
