#include "cli/cli.h"
#include "cli/cmd_pxar.h"
#include "cli/extract_args.h"

enum { PAYLOAD_INPUT = CLI_OPTION_FIRST };

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

int pxar_extract_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(extract_run(argc, argv, &err), &err);
}
