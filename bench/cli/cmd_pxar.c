#include "cli/cli.h"
#include "cli/extract_args.h"
#include "cli/files.h"
#include "cli/stats_json.h"

#include "base/buffer.h"
#include "base/log.h"
#include "base/size_text.h"
#include "pxar/dump.h"
#include "pxar/tree_text.h"

#include <inttypes.h>
#include <sys/stat.h>

enum { PAYLOAD_OUTPUT = CLI_OPTION_FIRST, PAYLOAD_INPUT, ENTRIES_MAX, THREADS, READ_SIZE_MAX };

/* A tree description is read whole; its file contents are mostly generators, so even large ones are far below. */
enum { TREE_TEXT_SIZE_MAX = 1 << 28 };

/* ---- create ---- */

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
            archive.entries_max = (size_t)value;
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

static int create_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(create_run(argc, argv, &err), &err);
}

/* ---- extract ---- */

static const char extract_help[] =
    "Usage: pxarbench pxar extract X.mpxar --payload-input X.ppxar [TARGET] [OPTION...]\n"
    "\n"
    "Extracts a split archive into the directory TARGET (default: the current one), which is made if it is missing.\n"
    "\n"
    "  --payload-input FILE     where the contents of files are\n" EXTRACT_ARGS_HELP
    "  --output-format FORMAT   text: a line in the log (default); json, json-pretty: counters\n";

static enum status extract_run(int argc, char **argv, struct error *err)
{
    static const struct option options[] = {
        {"payload-input", required_argument, NULL, PAYLOAD_INPUT},
        EXTRACT_ARGS_OPTIONS,
        CLI_FORMAT_OPTION,
        CLI_OPTIONS_END,
    };
    struct extract_options extract = {0};
    const char *payload = NULL;
    enum output_format format = OUTPUT_TEXT;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        if (extract_args_take(option, &extract))
            continue;
        switch (option) {
        case PAYLOAD_INPUT: payload = optarg; break;
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &format, err)); break;
        case CLI_HELP: return cli_help(extract_help);
        default: return ERR_USAGE;
        }
    }
    TRY(cli_arguments(argc, argv, 1, 2, "X.mpxar [TARGET]", err));
    if (!payload)
        return fail(err, ERR_USAGE, "the contents of files are needed: give --payload-input X.ppxar");
    const char *target = argc - optind == 2 ? argv[optind + 1] : ".";
    struct restore_stats stats = {0};
    TRY(extract_files(argv[optind], payload, target, &extract, &stats, err));
    return extract_args_report(&stats, format, err);
}

static int extract_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(extract_run(argc, argv, &err), &err);
}

/* ---- list, dump ---- */

static const char list_help[] =
    "Usage: pxarbench pxar list X.mpxar\n"
    "\n"
    "Prints the path of every entry in archive order, one a line. Bytes that would break the line are escaped.\n";

static const char dump_help[] =
    "Usage: pxarbench pxar dump X.mpxar [--payload-input X.ppxar]\n"
    "\n"
    "Prints one JSON object a line: the format version, then every entry in archive order with its attributes and\n"
    "offsets. With the payload, files also get the SHA-256 of their contents.\n";

/* The two differ in what they print and in whether they can use a payload. */
static enum status show_run(int argc, char **argv, bool dump, struct error *err)
{
    static const struct option dump_options[] = {{"payload-input", required_argument, NULL, PAYLOAD_INPUT},
                                                 CLI_OPTIONS_END};
    static const struct option list_options[] = {CLI_OPTIONS_END};
    const char *payload_path = NULL;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, dump ? dump_options : list_options, err)) != CLI_NO_MORE;)
        switch (option) {
        case PAYLOAD_INPUT: payload_path = optarg; break;
        case CLI_HELP: return cli_help(dump ? dump_help : list_help);
        default: return ERR_USAGE;
        }
    TRY(cli_arguments(argc, argv, 1, 1, "X.mpxar", err));

    CLEANUP(input_file_close) struct input_file metadata = {0};
    CLEANUP(input_file_close) struct input_file payload = {0};
    TRY(input_file_open(argv[optind], &metadata, err));
    if (payload_path)
        TRY(input_file_open(payload_path, &payload, err));
    struct source payload_source = input_file_source(&payload);
    if (dump)
        return dump_archive(input_file_source(&metadata), payload_path ? &payload_source : NULL, cli_stdout_sink(),
                            err);
    return list_archive(input_file_source(&metadata), cli_stdout_sink(), err);
}

static int list_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(show_run(argc, argv, false, &err), &err);
}

static int dump_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(show_run(argc, argv, true, &err), &err);
}

/* ---- encode ---- */

static const char encode_help[] =
    "Usage: pxarbench pxar encode TREE.json X.mpxar --payload-output X.ppxar\n"
    "\n"
    "Builds a split archive from a description in JSON, without any file system. Both files must not exist yet.\n"
    "\n"
    "  --payload-output FILE    where the contents of files go\n";

static enum status read_whole(const char *path, struct buffer *out, struct error *err)
{
    CLEANUP(input_file_close) struct input_file file = {0};
    TRY(input_file_open(path, &file, err));
    struct source source = input_file_source(&file);
    for (;;) {
        size_t part;
        if (buffer_reserve(out, FILE_BUFFER_SIZE, err) != OK)
            return fail_within(err, "%s", path);
        TRY(source.read(source.context, out->data + out->size, FILE_BUFFER_SIZE, &part, err));
        if (part == 0)
            return OK;
        out->size += part;
    }
}

static enum status encode_files(const char *tree, struct output_file *metadata, struct output_file *payload,
                                struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(TREE_TEXT_SIZE_MAX);
    TRY(read_whole(tree, &text, err));
    TRY(tree_text_encode((const char *)text.data, text.size, tree, output_file_sink(metadata),
                         output_file_sink(payload), err));
    TRY(output_file_close(metadata, err));
    return output_file_close(payload, err);
}

static enum status encode_run(int argc, char **argv, struct error *err)
{
    static const struct option options[] = {{"payload-output", required_argument, NULL, PAYLOAD_OUTPUT},
                                            CLI_OPTIONS_END};
    const char *payload_path = NULL;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;)
        switch (option) {
        case PAYLOAD_OUTPUT: payload_path = optarg; break;
        case CLI_HELP: return cli_help(encode_help);
        default: return ERR_USAGE;
        }
    TRY(cli_arguments(argc, argv, 2, 2, "TREE.json X.mpxar", err));
    if (!payload_path)
        return fail(err, ERR_USAGE, "archives in one file come in a later release; give --payload-output X.ppxar");

    struct output_file metadata = {0}, payload = {0};
    TRY(output_file_create(argv[optind + 1], &metadata, err));
    enum status status = output_file_create(payload_path, &payload, err);
    if (status == OK)
        status = encode_files(argv[optind], &metadata, &payload, err);
    if (status != OK) {
        output_file_discard(&metadata);
        output_file_discard(&payload);
    }
    return status;
}

static int encode_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(encode_run(argc, argv, &err), &err);
}

int cmd_pxar(int argc, char **argv)
{
    static const struct cli_command commands[] = {
        {"create", create_command, "pack a directory into a split archive"},
        {"extract", extract_command, "unpack a split archive"},
        {"list", list_command, "print the paths of an archive"},
        {"dump", dump_command, "print every entry with all it has, as JSON lines"},
        {"encode", encode_command, "build an archive from a description in JSON"},
        {NULL, NULL, NULL},
    };
    return cli_dispatch("pxarbench pxar", commands, argc, argv);
}
