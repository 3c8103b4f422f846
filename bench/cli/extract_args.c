#include "cli/extract_args.h"

#include "base/log.h"
#include "base/size_text.h"

#include <inttypes.h>

bool extract_args_take(int option, struct extract_options *out)
{
    switch (option) {
    case EXTRACT_ARGS_ALLOW_EXISTING_DIRS: out->allow_existing_dirs = true; return true;
    case EXTRACT_ARGS_OVERWRITE: out->overwrite = true; return true;
    case EXTRACT_ARGS_IGNORE_OWNERSHIP: out->ignore_ownership = true; return true;
    case EXTRACT_ARGS_IGNORE_XATTRS: out->ignore_xattrs = true; return true;
    case EXTRACT_ARGS_IGNORE_PERMISSIONS: out->ignore_permissions = true; return true;
    default: return false;
    }
}

enum status extract_args_report(const struct restore_stats *stats, enum output_format format, struct error *err)
{
    if (format == OUTPUT_TEXT) {
        char size[SIZE_TEXT_SIZE];
        log_info("restored %" PRIu64 " entries, %" PRIu64 " files with %s of data, in %.2f s", stats->entries,
                 stats->files, size_text(stats->file_bytes, size), (double)stats->duration_ns / 1e9);
        return OK;
    }
    return cli_print_json(
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "entries", cli_json_count(stats->entries), "files",
                  cli_json_count(stats->files), "file_bytes", cli_json_count(stats->file_bytes), "metadata_chunks",
                  cli_json_count(stats->metadata_chunks), "payload_chunks", cli_json_count(stats->payload_chunks),
                  "duration_ns", cli_json_count(stats->duration_ns)),
        format, err);
}
