#include "cli/cli.h"
#include "cli/cmd_pxar.h"
#include "cli/stats_json.h"
#include "cli/walk_args.h"

#include "base/log.h"
#include "base/size_text.h"

#include <inttypes.h>
#include <sys/stat.h>

enum { PAYLOAD_OUTPUT = CLI_OPTION_FIRST, THREADS, READ_SIZE_MAX };

static const char create_help[] =
    "Usage: pxarbench pxar create TREE ARCHIVE [OPTION...]\n"
    "\n"
    "Packs the directory TREE into a new file X.pxar, or into X.mpxar and X.ppxar.\n"
    "\n"
    "  --payload-output FILE    split archive: where the contents of files go\n"
    "  --exclude PATTERN        leave out what matches; may be given several times\n"
    "  --all-file-systems       enter mount points, but those of virtual file systems\n"
    "  --no-xattrs              without extended attributes, capabilities and ACLs\n"
    "  --no-fcaps               without file capabilities\n"
    "  --no-acls                without ACLs\n"
    "  --entries-max N          entries held in memory at once; default: 1048576\n"
    "  --threads N              1 to 64; default: number of processors\n"
    "  --read-size-max N        bytes read at once; for tests, the result does not depend on it\n"
    "  --output-format FORMAT   text: a line in the log (default); json, json-pretty: counters\n";

struct create_arguments {
    struct archive_options archive;
    struct walk_args walk;
    const char *payload;
    enum output_format format;
};

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
    char first[SIZE_TEXT_SIZE], second[SIZE_TEXT_SIZE];
    if (stats->kind == ARCHIVE_UNIFIED)
        log_info("packed %" PRIu64 " files and %" PRIu64 " directories: %s", stats->files, stats->directories,
                 size_text(stats->stream.size, first));
    else
        log_info("packed %" PRIu64 " files and %" PRIu64 " directories: metadata %s, payload %s", stats->files,
                 stats->directories, size_text(stats->metadata.size, first), size_text(stats->payload.size, second));
    return OK;
}

static enum status parse_option(int option, struct create_arguments *a, struct error *err)
{
    uint64_t value;
    switch (option) {
    case PAYLOAD_OUTPUT: a->payload = optarg; return OK;
    case THREADS:
        TRY(cli_parse_u64("--threads", optarg, 1, THREADS_MAX, &value, err));
        a->archive.threads = (unsigned)value;
        return OK;
    case READ_SIZE_MAX:
        TRY(cli_parse_u64("--read-size-max", optarg, 1, 1 << 30, &value, err));
        a->archive.read_size_max = (size_t)value;
        return OK;
    case CLI_OUTPUT_FORMAT: return cli_parse_format(optarg, &a->format, err);
    case CLI_HELP: return cli_help(create_help);
    default: return ERR_USAGE;
    }
}

static enum status parse(int argc, char **argv, struct create_arguments *a, struct error *err)
{
    static const struct option options[] = {
        {"payload-output", required_argument, NULL, PAYLOAD_OUTPUT},
        {"threads", required_argument, NULL, THREADS},
        {"read-size-max", required_argument, NULL, READ_SIZE_MAX},
        WALK_ARGS_OPTIONS,
        WALK_ARGS_CREATE_OPTIONS,
        CLI_FORMAT_OPTION,
        CLI_OPTIONS_END,
    };
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        enum status status = walk_args_take(&a->walk, option, err);
        TRY(status == ERR_CLOSED ? parse_option(option, a, err) : status);
    }
    TRY(cli_arguments(argc, argv, 2, 2, "TREE ARCHIVE", err));
    return walk_args_finish(&a->walk, &a->archive.walk, err);
}

static enum status create_run(int argc, char **argv, struct create_arguments *a, struct error *err)
{
    TRY(parse(argc, argv, a, err));
    const char *archive = argv[optind + 1];
    struct archive_stats stats = {0};
    TRY(pack_tree(argv[optind], archive, a->payload, &a->archive, &stats, err));
    if (a->payload)
        TRY(file_size(a->payload, &stats.payload.size, err));
    TRY(file_size(archive, a->payload ? &stats.metadata.size : &stats.stream.size, err));
    return create_report(archive, &stats, a->format, err);
}

int pxar_create_command(int argc, char **argv)
{
    struct error err = {0};
    struct create_arguments a = {0};
    enum status status = create_run(argc, argv, &a, &err);
    walk_args_deinit(&a.walk);
    return cli_exit_code(status, &err);
}
