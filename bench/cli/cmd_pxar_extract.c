#include "cli/cli.h"
#include "cli/cmd_pxar.h"
#include "cli/extract_args.h"

static const char extract_help[] =
    "Usage: pxarbench pxar extract X.pxar [TARGET] [OPTION...]\n"
    "       pxarbench pxar extract X.mpxar --payload-input X.ppxar [TARGET] [OPTION...]\n"
    "\n"
    "Extracts an archive into the directory TARGET (default: the current one), which is made if it is missing. "
    "Entries\n"
    "that cannot be extracted are logged and left out; the exit status is then 1. A damaged archive ends it at once.\n"
    "\n"
    "  --payload-input FILE     where the contents of files are, for a split archive\n"
    "  --files-from FILE        patterns, one per line\n" EXTRACT_ARGS_HELP
    "  --no-xattrs              do not set extended attributes\n"
    "  --no-fcaps               do not set file capabilities\n"
    "  --no-acls                do not set ACLs\n"
    "  --no-device-nodes        leave out device nodes\n"
    "  --no-fifos               leave out fifos\n"
    "  --no-sockets             leave out sockets\n"
    "  --strict                 the first error ends it\n"
    "  --output-format FORMAT   text: lines in the log (default); json, json-pretty: counters\n";

struct arguments {
    const char *payload;
    bool strict;
    enum output_format format;
    struct restore_options options;
};

static enum status take_options(int argc, char **argv, struct arguments *a, struct error *err)
{
    enum {
        PAYLOAD_INPUT = CLI_OPTION_FIRST,
        FILES_FROM,
        NO_XATTRS,
        NO_FCAPS,
        NO_ACLS,
        NO_DEVICE_NODES,
        NO_FIFOS,
        NO_SOCKETS,
        STRICT
    };
    static const struct option options[] = {
        {"payload-input", required_argument, NULL, PAYLOAD_INPUT},
        {"files-from", required_argument, NULL, FILES_FROM},
        {"no-xattrs", no_argument, NULL, NO_XATTRS},
        {"no-fcaps", no_argument, NULL, NO_FCAPS},
        {"no-acls", no_argument, NULL, NO_ACLS},
        {"no-device-nodes", no_argument, NULL, NO_DEVICE_NODES},
        {"no-fifos", no_argument, NULL, NO_FIFOS},
        {"no-sockets", no_argument, NULL, NO_SOCKETS},
        {"strict", no_argument, NULL, STRICT},
        EXTRACT_ARGS_OPTIONS,
        CLI_FORMAT_OPTION,
        CLI_OPTIONS_END,
    };
    struct attr_apply_options *apply = &a->options.extract.apply;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        bool taken;
        TRY(extract_args_take(option, &a->options, &taken, err));
        if (taken)
            continue;
        switch (option) {
        case PAYLOAD_INPUT: a->payload = optarg; break;
        case FILES_FROM: TRY(selection_add_file(a->options.selection, optarg, err)); break;
        case NO_XATTRS: apply->ignore_xattrs = true; break;
        case NO_FCAPS: apply->ignore_fcaps = true; break;
        case NO_ACLS: apply->ignore_acls = true; break;
        case NO_DEVICE_NODES: a->options.no_device_nodes = true; break;
        case NO_FIFOS: a->options.no_fifos = true; break;
        case NO_SOCKETS: a->options.no_sockets = true; break;
        case STRICT: a->strict = true; break;
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &a->format, err)); break;
        case CLI_HELP: return cli_help(extract_help);
        default: return ERR_USAGE;
        }
    }
    return cli_arguments(argc, argv, 1, 2, "ARCHIVE [TARGET]", err);
}

static enum status run_selected(int argc, char **argv, struct selection *selection, struct error *err)
{
    struct arguments a = {.options.selection = selection};
    TRY(take_options(argc, argv, &a, err));
    a.options.collect_errors = !a.strict;
    const char *target = argc - optind == 2 ? argv[optind + 1] : ".";
    struct restore_stats stats = {0};
    enum status status = extract_files(argv[optind], a.payload, target, &a.options, &stats, err);
    /* With errors collected the archive was read to its end: the counters say what came of it. */
    if (status != OK && stats.errors == 0)
        return status;
    struct error report_err = {0};
    enum status reported = extract_args_report(&stats, NULL, a.format, &report_err);
    if (status == OK && reported != OK)
        *err = report_err;
    return status != OK ? status : reported;
}

static enum status run(int argc, char **argv, struct error *err)
{
    struct selection *selection = NULL;
    TRY(selection_new(&selection, err));
    enum status status = run_selected(argc, argv, selection, err);
    selection_free(selection);
    return status;
}

int pxar_extract_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(run(argc, argv, &err), &err);
}
