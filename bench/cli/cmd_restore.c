#include "cli/cli.h"
#include "cli/extract_args.h"
#include "cli/key_args.h"
#include "cli/repository_args.h"

#include "base/log.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static const char help_text[] =
    "Usage: pxarbench restore SNAPSHOT ARCHIVE TARGET [PATTERN...] --repository REPOSITORY [OPTION...]\n"
    "\n"
    "Restores ARCHIVE of SNAPSHOT (TYPE/ID/2026-01-02T03:04:05Z; TYPE/ID: the newest of that group).\n"
    "\n"
    "  NAME.pxar, NAME.mpxar, NAME.ppxar   a tree, into the directory TARGET, which is made if it is missing\n"
    "  NAME.img, NAME.conf, NAME.log       an image or file, into the new file TARGET\n"
    "\n"
    "Extensions of stored files (.didx, .fidx, .blob) may be added. TARGET '-' is standard output: for images, files,\n"
    "catalog.pcat1, and the stream of an archive that is not split. The first error ends a restore.\n"
    "\n" REPOSITORY_ARGS_HELP KEY_ARGS_HELP;

/* A literal of more than 4095 bytes is not portable. */
static const char more_help_text[] = EXTRACT_ARGS_HELP
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
    return id->time ? snapshot_id_check(id, err) : snapshot_group_check(id, err);
}

/* "TYPE/ID" is left without time until the store can be asked. */
static enum status parse_snapshot(const char *text, struct snapshot_id *out, struct error *err)
{
    const char *id = strchr(text, '/');
    bool is_group = id && !strchr(id + 1, '/');
    return is_group ? snapshot_group_parse(text, out, err) : snapshot_id_parse(text, out, err);
}

static enum status find_newest(struct store *store, struct snapshot_id *id, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE];
    CLEANUP(snapshot_list_deinit) struct snapshot_list list = {0};
    if (id->time)
        return OK;
    TRY(store_list(store, id->ns, id, &list, err));
    if (list.count == 0)
        return fail(err, ERR_NOT_FOUND, "%s: the group has no finished snapshot", snapshot_id_text(id, text));
    *id = list.items[list.count - 1];
    log_info("restoring %s", snapshot_id_text(id, text));
    return OK;
}

struct arguments {
    enum output_format format;
    struct repository_args *repository;
    struct key_args *key;
    struct restore_options options;
};

static enum status take_options(int argc, char **argv, struct arguments *a, struct error *err)
{
    static const struct option options[] = {
        REPOSITORY_ARGS_OPTIONS, KEY_ARGS_OPTIONS, EXTRACT_ARGS_OPTIONS, CLI_FORMAT_OPTION, CLI_OPTIONS_END,
    };
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        bool taken;
        TRY(extract_args_take(option, &a->options, &taken, err));
        if (!taken)
            TRY(repository_args_take(option, a->repository, &taken, err));
        if (!taken)
            TRY(key_args_take(option, a->key, &taken, err));
        if (taken)
            continue;
        switch (option) {
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &a->format, err)); break;
        case CLI_HELP: fputs(help_text, stdout); return cli_help(more_help_text);
        default: return ERR_USAGE;
        }
    }
    return cli_arguments(argc, argv, 3, INT_MAX, "SNAPSHOT ARCHIVE TARGET [PATTERN...]", err);
}

static enum status restore(struct store *store, struct snapshot_id *id, char **words, const struct restore_options *o,
                           struct restore_stats *stats, struct error *err)
{
    TRY(find_newest(store, id, err));
    return restore_snapshot(store, id, words[1], words[2], o, stats, err);
}

static enum status run_selected(int argc, char **argv, struct selection *selection, struct error *err)
{
    CLEANUP(key_args_deinit) struct key_args key = KEY_ARGS_INIT;
    CLEANUP(repository_args_deinit) struct repository_args repository = REPOSITORY_ARGS_INIT;
    struct arguments a = {.repository = &repository, .key = &key, .options.selection = selection};
    TRY(take_options(argc, argv, &a, err));
    struct snapshot_id id;
    TRY(parse_snapshot(argv[optind], &id, err));
    TRY(namespace_set(repository_args_ns(&repository), &id, err));
    for (int i = optind + 3; i < argc; i++)
        TRY(extract_args_pattern(argv[i], &a.options, err));
    if (strcmp(argv[optind + 2], "-") == 0 && a.format != OUTPUT_TEXT)
        return fail(err, ERR_USAGE, "--output-format: standard output is the TARGET");
    TRY(repository_args_find(&repository, err));
    TRY(namespace_set(repository_args_ns(&repository), &id, err));

    TRY(key_args_load(&key, err));
    const struct store_options store_options = {.sync = SYNC_NONE, .key = key_args_config(&key)};
    struct store *store = NULL;
    TRY(repository_args_open(&repository, &store_options, &store, err));
    struct restore_stats stats = {0};
    struct net_stats network = {0};
    enum status status = restore(store, &id, argv + optind, &a.options, &stats, err);
    store_net_stats(store, &network);
    store_close(store);
    TRY(status);
    return extract_args_report(&stats, repository_args_is_server(&repository) ? &network : NULL, a.format, err);
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
