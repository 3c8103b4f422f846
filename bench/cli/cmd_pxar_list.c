#include "cli/cli.h"
#include "cli/cmd_pxar.h"
#include "cli/files.h"

#include "pxar/dump.h"

static const char help_text[] =
    "Usage: pxarbench pxar list X.mpxar\n"
    "\n"
    "Prints the path of every entry in archive order, one a line. Bytes that would break the line are escaped.\n";

static enum status list_run(int argc, char **argv, struct error *err)
{
    static const struct option options[] = {CLI_OPTIONS_END};
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;)
        switch (option) {
        case CLI_HELP: return cli_help(help_text);
        default: return ERR_USAGE;
        }
    TRY(cli_arguments(argc, argv, 1, 1, "X.mpxar", err));

    CLEANUP(input_file_close) struct input_file metadata = {0};
    TRY(input_file_open(argv[optind], &metadata, err));
    return list_archive(input_file_source(&metadata), cli_stdout_sink(), err);
}

int pxar_list_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(list_run(argc, argv, &err), &err);
}
