#include "cli/extract_args.h"

#include "base/log.h"
#include "base/size_text.h"
#include "cli/stats_json.h"

#include <inttypes.h>
#include <string.h>

enum status extract_args_pattern(const char *text, struct restore_options *options, struct error *err)
{
    enum status status = selection_add(options->selection, text, strlen(text), err);
    return status == ERR_FORMAT ? ERR_USAGE : status;
}

enum status extract_args_take(int option, struct restore_options *options, bool *out_taken, struct error *err)
{
    struct extract_options *x = &options->extract;
    *out_taken = true;
    switch (option) {
    case EXTRACT_ARGS_PATTERN: return extract_args_pattern(optarg, options, err);
    case EXTRACT_ARGS_ALLOW_EXISTING_DIRS: x->allow_existing_dirs = true; return OK;
    case EXTRACT_ARGS_OVERWRITE: x->overwrite_files = x->overwrite_symlinks = x->overwrite_hardlinks = true; return OK;
    case EXTRACT_ARGS_OVERWRITE_FILES: x->overwrite_files = true; return OK;
    case EXTRACT_ARGS_OVERWRITE_SYMLINKS: x->overwrite_symlinks = true; return OK;
    case EXTRACT_ARGS_OVERWRITE_HARDLINKS: x->overwrite_hardlinks = true; return OK;
    case EXTRACT_ARGS_IGNORE_ACLS: x->apply.ignore_acls = true; return OK;
    case EXTRACT_ARGS_IGNORE_OWNERSHIP: x->apply.ignore_ownership = true; return OK;
    case EXTRACT_ARGS_IGNORE_XATTRS: x->apply.ignore_xattrs = true; return OK;
    case EXTRACT_ARGS_IGNORE_PERMISSIONS: x->apply.ignore_permissions = true; return OK;
    case EXTRACT_ARGS_IGNORE_DEVICE_ERRORS: options->ignore_device_errors = true; return OK;
    case EXTRACT_ARGS_PRELUDE_TARGET: options->prelude_target = optarg; return OK;
    default: *out_taken = false; return OK;
    }
}

static json_t *not_applied(const struct attr_not_applied *n)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "xattrs_denied", cli_json_count(n->xattrs_denied),
                     "xattrs", cli_json_count(n->xattrs), "fcaps", cli_json_count(n->fcaps), "acls",
                     cli_json_count(n->acls), "acl_masks", cli_json_count(n->acl_masks), "project_ids",
                     cli_json_count(n->project_ids), "flags", cli_json_count(n->flags), "set_ids",
                     cli_json_count(n->set_ids), "mtimes", cli_json_count(n->mtimes));
}

enum status extract_args_report(const struct restore_stats *stats, const struct net_stats *network,
                                enum output_format format, struct error *err)
{
    if (format == OUTPUT_TEXT) {
        char size[SIZE_TEXT_SIZE];
        size_text(stats->file_bytes, size);
        double seconds = (double)stats->duration_ns / 1e9;
        if (stats->entries > 0) /* a tree: it has a root */
            log_info("restored %" PRIu64 " entries, %" PRIu64 " files with %s of data, in %.2f s", stats->entries,
                     stats->files, size, seconds);
        else
            log_info("restored %s of data, in %.2f s", size, seconds);
        if (stats->metadata_chunks + stats->payload_chunks > 0)
            log_info("read %" PRIu64 " metadata chunks, %" PRIu64 " payload chunks", stats->metadata_chunks,
                     stats->payload_chunks);
        return OK;
    }
    /* A member that is NULL with '*' is left out. */
    return cli_print_json(
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o*}", "entries",
                  cli_json_count(stats->entries), "files", cli_json_count(stats->files), "file_bytes",
                  cli_json_count(stats->file_bytes), "errors", cli_json_count(stats->errors), "device_errors",
                  cli_json_count(stats->device_errors), "devices", cli_json_count(stats->devices), "set_id_files",
                  cli_json_count(stats->set_id_files), "not_applied", not_applied(&stats->not_applied),
                  "metadata_chunks", cli_json_count(stats->metadata_chunks), "payload_chunks",
                  cli_json_count(stats->payload_chunks), "duration_ns", cli_json_count(stats->duration_ns), "network",
                  network ? stats_json_network(network) : NULL),
        format, err);
}
