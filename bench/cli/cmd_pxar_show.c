#include "cli/cli.h"
#include "cli/cmd_pxar.h"
#include "cli/files.h"

#include "pxar/dump.h"

enum { PAYLOAD_INPUT = CLI_OPTION_FIRST, JSON };

static const char help_text[] =
    "Usage: pxarbench pxar dump X.pxar\n"
    "       pxarbench pxar dump X.mpxar [--payload-input X.ppxar]\n"
    "\n"
    "Prints one JSON object a line: for a split archive its version, then every entry in archive order with its\n"
    "attributes and offsets. Files also get the SHA-256 of their contents, if those are at hand.\n"
    "\n"
    "  --payload-input FILE     the payload of a split archive\n"
    "  --json                   accepted: there is no other form\n";

static enum status dump_run(int argc, char **argv, struct error *err)
{
    static const struct option options[] = {
        {"payload-input", required_argument, NULL, PAYLOAD_INPUT}, {"json", no_argument, NULL, JSON}, CLI_OPTIONS_END};
    const char *payload_path = NULL;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;)
        switch (option) {
        case PAYLOAD_INPUT: payload_path = optarg; break;
        case JSON: break;
        case CLI_HELP: return cli_help(help_text);
        default: return ERR_USAGE;
        }
    TRY(cli_arguments(argc, argv, 1, 1, "X.pxar", err));

    CLEANUP(input_file_close) struct input_file metadata = {0};
    CLEANUP(input_file_close) struct input_file payload = {0};
    TRY(input_file_open(argv[optind], &metadata, err));
    if (payload_path)
        TRY(input_file_open(payload_path, &payload, err));
    struct source payload_source = input_file_source(&payload);
    return dump_archive(input_file_source(&metadata), payload_path ? &payload_source : NULL, cli_stdout_sink(), err);
}

int pxar_dump_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(dump_run(argc, argv, &err), &err);
}
