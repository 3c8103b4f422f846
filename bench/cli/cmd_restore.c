#include "cli/cli.h"
#include "cli/extract_args.h"
#include "cli/key_args.h"

#include <limits.h>
#include <string.h>

static const char help_text[] =
    "Usage: pxarbench restore SNAPSHOT ARCHIVE TARGET [PATTERN...] --repository REPOSITORY [OPTION...]\n"
    "\n"
    "Restores ARCHIVE of SNAPSHOT (TYPE/ID/2026-01-02T03:04:05Z).\n"
    "\n"
    "  NAME.pxar, NAME.mpxar, NAME.ppxar   a tree, into the directory TARGET, which is made if it is missing\n"
    "  NAME.img, NAME.conf, NAME.log       an image or file, into the new file TARGET\n"
    "\n"
    "Extensions of stored files (.didx, .fidx, .blob) may be added. TARGET '-' is standard output: for images, files,\n"
    "catalog.pcat1, and the stream of an archive that is not split. The first error ends a restore.\n"
    "\n"
    "  --repository DIR         datastore directory (starts with '/' or '.'); default: $PBS_REPOSITORY\n"
    "  --ns NAMESPACE           default: the root namespace\n" KEY_ARGS_HELP EXTRACT_ARGS_HELP
    "  --output-format FORMAT   text: lines in the log (default); json, json-pretty: counters\n"
    "\n"
    "Only the chunks that are needed are read. With patterns that are all paths ('/etc/hosts'), the metadata on the "
    "way\n"
    "to them is enough.\n";

static enum status namespace_set(const char *ns, struct snapshot_id *id, struct error *err)
{
    if (strlen(ns) >= sizeof id->ns)
        return fail(err, ERR_USAGE, "--ns: longer than %zu bytes", sizeof id->ns - 1);
    memcpy(id->ns, ns, strlen(ns) + 1);
    return snapshot_id_check(id, err);
}

struct arguments {
    const char *repository, *ns;
    enum output_format format;
    struct key_args *key;
    struct restore_options options;
};

static enum status take_options(int argc, char **argv, struct arguments *a, struct error *err)
{
    enum { REPOSITORY = CLI_OPTION_FIRST, NAMESPACE };
    static const struct option options[] = {
        {"repository", required_argument, NULL, REPOSITORY},
        {"ns", required_argument, NULL, NAMESPACE},
        KEY_ARGS_OPTIONS,
        EXTRACT_ARGS_OPTIONS,
        CLI_FORMAT_OPTION,
        CLI_OPTIONS_END,
    };
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        bool taken;
        TRY(extract_args_take(option, &a->options, &taken, err));
        if (!taken)
            TRY(key_args_take(option, a->key, &taken, err));
        if (taken)
            continue;
        switch (option) {
        case REPOSITORY: a->repository = optarg; break;
        case NAMESPACE: a->ns = optarg; break;
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &a->format, err)); break;
        case CLI_HELP: return cli_help(help_text);
        default: return ERR_USAGE;
        }
    }
    return cli_arguments(argc, argv, 3, INT_MAX, "SNAPSHOT ARCHIVE TARGET [PATTERN...]", err);
}

static enum status run_selected(int argc, char **argv, struct selection *selection, struct error *err)
{
    CLEANUP(key_args_deinit) struct key_args key = KEY_ARGS_INIT;
    struct arguments a = {.ns = "", .key = &key, .options.selection = selection};
    TRY(take_options(argc, argv, &a, err));
    struct snapshot_id id;
    TRY(snapshot_id_parse(argv[optind], &id, err));
    TRY(namespace_set(a.ns, &id, err));
    const char *archive = argv[optind + 1];
    const char *target = argv[optind + 2];
    for (int i = optind + 3; i < argc; i++)
        TRY(extract_args_pattern(argv[i], &a.options, err));
    if (strcmp(target, "-") == 0 && a.format != OUTPUT_TEXT)
        return fail(err, ERR_USAGE, "--output-format: standard output is the TARGET");
    TRY(cli_repository(a.repository, &a.repository, err));

    TRY(key_args_load(&key, err));
    const struct store_options store_options = {.sync = SYNC_NONE, .key = key_args_config(&key)};
    struct store *store = NULL;
    TRY(store_open(a.repository, &store_options, &store, err));
    struct restore_stats stats = {0};
    enum status status = restore_snapshot(store, &id, archive, target, &a.options, &stats, err);
    store_close(store);
    TRY(status);
    return extract_args_report(&stats, a.format, err);
}

static enum status run(int argc, char **argv, struct error *err)
{
    struct selection *selection = NULL;
    TRY(selection_new(&selection, err));
    enum status status = run_selected(argc, argv, selection, err);
    selection_free(selection);
    return status;
}

int cmd_restore(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(run(argc, argv, &err), &err);
}
