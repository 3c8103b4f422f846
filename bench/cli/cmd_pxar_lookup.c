#include "cli/archive_input.h"
#include "cli/cli.h"
#include "cli/cmd_pxar.h"
#include "cli/key_args.h"
#include "cli/repository_args.h"

#include "pxar/lookup.h"

#include <limits.h>

static const char help_text[] =
    "Usage: pxarbench pxar lookup ARCHIVE PATH... [--payload-input X.ppxar]\n"
    "       pxarbench pxar lookup --repository REPOSITORY SNAPSHOT ARCHIVE PATH...\n"
    "\n"
    "Finds each PATH by the archive's tables, without reading the rest, and prints one JSON object a line, or null "
    "where\n"
    "there is no such path. Contents are read and digested when they are at hand; of a hardlink, those of its file.\n"
    "ARCHIVE is X.mpxar or X.pxar, in a snapshot any name of an archive there. Chunks that were read are counted on\n"
    "standard error.\n"
    "\n"
    "  --payload-input X.ppxar  where a split archive's contents are\n" REPOSITORY_ARGS_HELP KEY_ARGS_HELP;

struct arguments {
    const char *payload_path;
    struct repository_args *repository;
    struct key_args *key;
};

static enum status take_options(int argc, char **argv, struct arguments *a, struct error *err)
{
    enum { PAYLOAD_INPUT = CLI_OPTION_FIRST };
    static const struct option options[] = {
        {"payload-input", required_argument, NULL, PAYLOAD_INPUT},
        REPOSITORY_ARGS_OPTIONS,
        KEY_ARGS_OPTIONS,
        CLI_OPTIONS_END,
    };
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        bool taken;
        TRY(key_args_take(option, a->key, &taken, err));
        if (!taken)
            TRY(repository_args_take(option, a->repository, &taken, err));
        if (taken)
            continue;
        switch (option) {
        case PAYLOAD_INPUT: a->payload_path = optarg; break;
        case CLI_HELP: return cli_help(help_text);
        default: return ERR_USAGE;
        }
    }
    if (a->repository->given.repository && a->payload_path)
        return fail(err, ERR_USAGE, "--payload-input: not with --repository");
    if (a->repository->given.repository)
        return cli_arguments(argc, argv, 3, INT_MAX, "SNAPSHOT ARCHIVE PATH...", err);
    return cli_arguments(argc, argv, 2, INT_MAX, "ARCHIVE PATH...", err);
}

static enum status print_lines(const struct archive_input *archive, char **paths, struct error *err)
{
    struct sink out = cli_stdout_sink();
    CLEANUP(buffer_deinit) struct buffer line = BUFFER_INIT(0);
    for (; *paths; paths++) {
        buffer_clear(&line);
        TRY(lookup_line(archive->accessor, *paths, archive->has_contents, &line, err));
        TRY(buffer_append_u8(&line, '\n', err));
        TRY(out.write(out.context, line.data, line.size, err));
    }
    return OK;
}

static enum status run(int argc, char **argv, struct error *err)
{
    CLEANUP(key_args_deinit) struct key_args key = KEY_ARGS_INIT;
    CLEANUP(repository_args_deinit) struct repository_args repository = REPOSITORY_ARGS_INIT;
    struct arguments a = {.repository = &repository, .key = &key};
    CLEANUP(archive_input_close) struct archive_input archive = ARCHIVE_INPUT_INIT;
    TRY(take_options(argc, argv, &a, err));
    bool stored = repository.given.repository != NULL; /* the variable does not make files snapshots */
    char **words = argv + optind;
    if ((key.path || key.fd >= 0) && !stored)
        return fail(err, ERR_USAGE, "--keyfile, --keyfd: only with --repository, files are not encrypted");
    TRY(key_args_load(&key, err));
    if (stored)
        TRY(archive_input_open_snapshot(&archive, &repository, key_args_config(&key), words[0], words[1], true, err));
    else
        TRY(archive_input_open_files(&archive, words[0], a.payload_path, err));
    enum status status = print_lines(&archive, words + (stored ? 2 : 1), err);
    archive_input_report(&archive);
    return status;
}

int pxar_lookup_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(run(argc, argv, &err), &err);
}
