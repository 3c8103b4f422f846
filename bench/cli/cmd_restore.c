#include "cli/cli.h"
#include "cli/extract_args.h"

#include <string.h>

static const char help_text[] =
    "Usage: pxarbench restore SNAPSHOT ARCHIVE TARGET --repository REPOSITORY [OPTION...]\n"
    "\n"
    "Restores ARCHIVE of SNAPSHOT (TYPE/ID/2026-01-02T03:04:05Z) into the directory TARGET, which is made if it is\n"
    "missing. ARCHIVE is NAME.pxar, NAME.mpxar or NAME.ppxar, with or without .didx.\n"
    "\n"
    "  --repository DIR         datastore directory (starts with '/' or '.'); default: $PBS_REPOSITORY\n"
    "  --ns NAMESPACE           default: the root namespace\n" EXTRACT_ARGS_HELP
    "  --output-format FORMAT   text: a line in the log (default); json, json-pretty: counters\n";

static enum status namespace_set(const char *ns, struct snapshot_id *id, struct error *err)
{
    if (strlen(ns) >= sizeof id->ns)
        return fail(err, ERR_USAGE, "--ns: longer than %zu bytes", sizeof id->ns - 1);
    memcpy(id->ns, ns, strlen(ns) + 1);
    return snapshot_id_check(id, err);
}

static enum status run(int argc, char **argv, struct error *err)
{
    enum { REPOSITORY = CLI_OPTION_FIRST, NAMESPACE };
    static const struct option options[] = {
        {"repository", required_argument, NULL, REPOSITORY},
        {"ns", required_argument, NULL, NAMESPACE},
        EXTRACT_ARGS_OPTIONS,
        CLI_FORMAT_OPTION,
        CLI_OPTIONS_END,
    };
    struct extract_options extract = {0};
    const char *repository = NULL;
    const char *ns = "";
    enum output_format format = OUTPUT_TEXT;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        if (extract_args_take(option, &extract))
            continue;
        switch (option) {
        case REPOSITORY: repository = optarg; break;
        case NAMESPACE: ns = optarg; break;
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &format, err)); break;
        case CLI_HELP: return cli_help(help_text);
        default: return ERR_USAGE;
        }
    }
    TRY(cli_arguments(argc, argv, 3, 3, "SNAPSHOT ARCHIVE TARGET", err));
    struct snapshot_id id;
    TRY(snapshot_id_parse(argv[optind], &id, err));
    TRY(namespace_set(ns, &id, err));
    const char *archive = argv[optind + 1];
    const char *target = argv[optind + 2];
    if (strcmp(target, "-") == 0)
        return fail(err, ERR_USAGE, "unable to pipe split archive: give a directory as TARGET");
    TRY(cli_repository(repository, &repository, err));

    const struct store_options store_options = {.sync = SYNC_NONE, .create = false};
    struct store *store = NULL;
    TRY(store_open(repository, &store_options, &store, err));
    struct restore_stats stats = {0};
    enum status status = restore_snapshot(store, &id, archive, target, &extract, &stats, err);
    store_close(store);
    TRY(status);
    return extract_args_report(&stats, format, err);
}

int cmd_restore(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(run(argc, argv, &err), &err);
}
