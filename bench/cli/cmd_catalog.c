/* pxarbench catalog: what the archives of a snapshot hold. */
#include "cli/cli.h"
#include "cli/key_args.h"
#include "cli/repository_args.h"
#include "flow/catalog_dump.h"

#include <string.h>

static const char dump_help[] =
    "Usage: pxarbench catalog dump SNAPSHOT [ARCHIVE] [OPTION...]\n"
    "\n"
    "Lists the entries of the archives of SNAPSHOT (TYPE/ID/TIME), one line each: type, path, and for files size and\n"
    "time of modification. The lines come from the snapshot's catalog. Without one (split archives have none) they\n"
    "come from the archives themselves, whose file contents are not read. Types are d directory, f file, l symlink,\n"
    "h hardlink, b and c block and character device, p fifo, s socket.\n"
    "\n" REPOSITORY_ARGS_HELP KEY_ARGS_HELP;

static enum status dump(int argc, char **argv, struct error *err)
{
    static const struct option options[] = {
        REPOSITORY_ARGS_OPTIONS,
        KEY_ARGS_OPTIONS,
        CLI_OPTIONS_END,
    };
    CLEANUP(key_args_deinit) struct key_args key = KEY_ARGS_INIT;
    CLEANUP(repository_args_deinit) struct repository_args repository = REPOSITORY_ARGS_INIT;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        bool taken;
        TRY(key_args_take(option, &key, &taken, err));
        if (!taken)
            TRY(repository_args_take(option, &repository, &taken, err));
        if (taken)
            continue;
        switch (option) {
        case CLI_HELP: return cli_help(dump_help);
        default: return ERR_USAGE;
        }
    }
    TRY(cli_arguments(argc, argv, 1, 2, "SNAPSHOT [ARCHIVE]", err));
    struct snapshot_id id;
    TRY(snapshot_id_parse(argv[optind], &id, err));
    const char *archive = optind + 1 < argc ? argv[optind + 1] : NULL;
    TRY(repository_args_find(&repository, err));
    const char *ns = repository_args_ns(&repository);
    memcpy(id.ns, ns, strlen(ns) + 1); /* checked: it fits */

    TRY(key_args_load(&key, err));
    const struct store_options reading = {.sync = SYNC_NONE, .key = key_args_config(&key)};
    CLEANUP(repository_args_store_close) struct store *store = NULL;
    TRY(repository_args_open(&repository, &reading, &store, err));
    return catalog_dump(store, &id, archive, cli_stdout_sink(), err);
}

static int cmd_dump(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(dump(argc, argv, &err), &err);
}

int cmd_catalog(int argc, char **argv)
{
    static const struct cli_command commands[] = {{"dump", cmd_dump, "list the entries of a snapshot's archives"}, {0}};
    return cli_dispatch("pxarbench catalog", commands, argc, argv);
}
