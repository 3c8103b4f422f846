#include "cli/cli.h"

static const char help_text[] = "Usage: pxarbench version [--output-format text|json|json-pretty]\n"
                                "\n"
                                "Prints the version of this program and of the archive format it writes.\n";

static enum status run(int argc, char **argv, struct error *err)
{
    static const struct option options[] = {CLI_FORMAT_OPTION, CLI_OPTIONS_END};
    enum output_format format = OUTPUT_TEXT;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;)
        switch (option) {
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &format, err)); break;
        case CLI_HELP: return cli_help(help_text);
        default: return ERR_USAGE;
        }
    TRY(cli_arguments(argc, argv, 0, 0, "", err));
    if (format == OUTPUT_TEXT)
        return cli_print(err, "pxarbench %s\n", PXB_VERSION);
    return cli_print_json(json_pack("{s:s, s:i}", "version", PXB_VERSION, "archive_format", 2), format, err);
}

int cmd_version(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(run(argc, argv, &err), &err);
}
