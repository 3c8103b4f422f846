#include "cli/cli.h"
#include "cli/cmd_pxar.h"
#include "cli/stats_json.h"

#include "base/log.h"
#include "base/size_text.h"

#include <inttypes.h>
#include <sys/stat.h>

enum { PAYLOAD_OUTPUT = CLI_OPTION_FIRST, ENTRIES_MAX, THREADS, READ_SIZE_MAX };

static const char create_help[] =
    "Usage: pxarbench pxar create TREE X.mpxar --payload-output X.ppxar [OPTION...]\n"
    "\n"
    "Packs the directory TREE into a split archive. Both files must not exist yet.\n"
    "\n"
    "  --payload-output FILE    where the contents of files go\n"
    "  --entries-max N          entries held in memory at once; default: 1048576\n"
    "  --threads N              1 to 64; default: number of processors\n"
    "  --read-size-max N        bytes read at once; for tests, the result does not depend on it\n"
    "  --output-format FORMAT   text: a line in the log (default); json, json-pretty: counters\n";

/* Nothing is uploaded, so the flow counts no streams: the files are the streams. */
static enum status file_size(const char *path, uint64_t *out, struct error *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return fail(err, ERR_IO, "stat %s", path);
    *out = (uint64_t)st.st_size;
    return OK;
}

static enum status create_report(const char *name, const struct archive_stats *stats, enum output_format format,
                                 struct error *err)
{
    if (format != OUTPUT_TEXT)
        return cli_print_json(stats_json_archive(name, stats), format, err);
    char metadata[SIZE_TEXT_SIZE], payload[SIZE_TEXT_SIZE];
    log_info("packed %" PRIu64 " files and %" PRIu64 " directories: metadata %s, payload %s", stats->files,
             stats->directories, size_text(stats->metadata.size, metadata), size_text(stats->payload.size, payload));
    return OK;
}

static enum status create_run(int argc, char **argv, struct error *err)
{
    static const struct option options[] = {
        {"payload-output", required_argument, NULL, PAYLOAD_OUTPUT},
        {"entries-max", required_argument, NULL, ENTRIES_MAX},
        {"threads", required_argument, NULL, THREADS},
        {"read-size-max", required_argument, NULL, READ_SIZE_MAX},
        CLI_FORMAT_OPTION,
        CLI_OPTIONS_END,
    };
    struct archive_options archive = {.mode = MODE_DATA};
    const char *payload = NULL;
    enum output_format format = OUTPUT_TEXT;
    uint64_t value;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;)
        switch (option) {
        case PAYLOAD_OUTPUT: payload = optarg; break;
        case ENTRIES_MAX:
            TRY(cli_parse_u64("--entries-max", optarg, 1, UINT32_MAX, &value, err));
            archive.walk.entries_max = (size_t)value;
            break;
        case THREADS:
            TRY(cli_parse_u64("--threads", optarg, 1, THREADS_MAX, &value, err));
            archive.threads = (unsigned)value;
            break;
        case READ_SIZE_MAX:
            TRY(cli_parse_u64("--read-size-max", optarg, 1, 1 << 30, &value, err));
            archive.read_size_max = (size_t)value;
            break;
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &format, err)); break;
        case CLI_HELP: return cli_help(create_help);
        default: return ERR_USAGE;
        }
    TRY(cli_arguments(argc, argv, 2, 2, "TREE X.mpxar", err));
    if (!payload)
        return fail(err, ERR_USAGE, "archives in one file come in a later release; give --payload-output X.ppxar");
    struct archive_stats stats = {0};
    TRY(pack_tree(argv[optind], argv[optind + 1], payload, &archive, &stats, err));
    TRY(file_size(argv[optind + 1], &stats.metadata.size, err));
    TRY(file_size(payload, &stats.payload.size, err));
    return create_report(argv[optind + 1], &stats, format, err);
}

int pxar_create_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(create_run(argc, argv, &err), &err);
}
