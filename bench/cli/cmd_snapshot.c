/* pxarbench snapshot: what a repository has. */
#include "base/log.h"
#include "base/size_text.h"
#include "cli/cli.h"
#include "cli/key_args.h"
#include "cli/repository_args.h"
#include "cli/snapshot_listing.h"
#include "flow/restore.h"
#include "index/manifest.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char list_help[] =
    "Usage: pxarbench snapshot list [GROUP] [OPTION...]\n"
    "\n"
    "Lists the finished snapshots of a namespace or of one GROUP (TYPE/ID), sorted by type, id and time.\n"
    "\n" REPOSITORY_ARGS_HELP KEY_ARGS_HELP "  --output-format FORMAT  text, json or json-pretty (default text)\n";

static const char files_help[] =
    "Usage: pxarbench snapshot files SNAPSHOT [OPTION...]\n"
    "\n"
    "Lists the files of a snapshot (TYPE/ID/TIME) as its manifest has them: name, encryption, size, checksum.\n"
    "The size of an index is the length of the stream that it stands for.\n"
    "\n" REPOSITORY_ARGS_HELP KEY_ARGS_HELP "  --output-format FORMAT  text, json or json-pretty (default text)\n";

static const char forget_help[] =
    "Usage: pxarbench snapshot forget SNAPSHOT [OPTION...]\n"
    "\n"
    "Removes a snapshot (TYPE/ID/TIME) for good. Its chunks stay until a garbage collection finds them unused. A\n"
    "snapshot that is protected, being read, or the base of a running backup is not removed.\n"
    "\n" REPOSITORY_ARGS_HELP;

struct options {
    struct repository_args *repository;
    struct key_args *key;
    enum output_format format;
};

static const struct option reading_options[] = {REPOSITORY_ARGS_OPTIONS, CLI_FORMAT_OPTION, KEY_ARGS_OPTIONS,
                                                CLI_OPTIONS_END};
/* Nothing is read and there is no result. */
static const struct option forget_options[] = {REPOSITORY_ARGS_OPTIONS, CLI_OPTIONS_END};

static enum status parse_options(int argc, char **argv, const struct option *options, const char *help,
                                 struct options *o, struct error *err)
{
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        bool taken;
        TRY(key_args_take(option, o->key, &taken, err));
        if (!taken)
            TRY(repository_args_take(option, o->repository, &taken, err));
        if (taken)
            continue;
        switch (option) {
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &o->format, err)); break;
        case CLI_HELP: return cli_help(help);
        default: return ERR_USAGE;
        }
    }
    TRY(key_args_load(o->key, err));
    return snapshot_namespace_check(repository_args_ns(o->repository), err);
}

static void reader_cleanup(struct store_reader **r)
{
    store_reader_close(*r);
}

static void json_cleanup(json_t **value)
{
    json_decref(*value);
}

static enum status open_repository(const struct options *o, struct store **out, struct error *err)
{
    const struct store_options options = {.sync = SYNC_NONE, .key = key_args_config(o->key)};
    TRY(repository_args_find(o->repository, err));
    return repository_args_open(o->repository, &options, out, err);
}

/* As the repository has been found. */
static void namespace_set(const struct options *o, struct snapshot_id *id)
{
    const char *ns = repository_args_ns(o->repository);
    memcpy(id->ns, ns, strlen(ns) + 1); /* checked: it fits */
}

static enum status read_manifest(struct store *s, const struct snapshot_id *id, struct manifest *out, struct error *err)
{
    CLEANUP(reader_cleanup) struct store_reader *reader = NULL;
    TRY(store_reader_open(s, id, &reader, err));
    return snapshot_manifest(reader, out, err);
}

static json_t *file_json(const struct manifest_file *file, bool with_csum)
{
    char csum[DIGEST_TEXT_SIZE];
    json_t *object = json_pack("{s:s, s:s, s:o}", "filename", file->filename, "crypt-mode", file->crypt_mode, "size",
                               cli_json_count(file->size));
    if (with_csum && json_object_set_new(object, "csum", json_string(digest_text(&file->csum, csum))) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *files_json(const struct manifest *m, bool with_csum)
{
    json_t *files = json_array();
    for (size_t i = 0; i < m->file_count; i++)
        if (json_array_append_new(files, file_json(&m->files[i], with_csum)) != 0) {
            json_decref(files);
            return NULL;
        }
    return files;
}

/* ---- list ---- */

static uint64_t total_size(const struct manifest *m)
{
    uint64_t total = 0;
    for (size_t i = 0; i < m->file_count; i++)
        if (__builtin_add_overflow(total, m->files[i].size, &total))
            return UINT64_MAX; /* sizes in a manifest are anyone's claim */
    return total;
}

static enum status list_text(const struct snapshot_id *id, const struct manifest *m, struct error *err)
{
    char name[SNAPSHOT_TEXT_SIZE], size[SIZE_TEXT_SIZE];
    TRY(cli_print(err, "%-40s %14s ", snapshot_id_text(id, name), m ? size_text(total_size(m), size) : "-"));
    for (size_t i = 0; m && i < m->file_count; i++)
        TRY(cli_print(err, " %s", m->files[i].filename));
    return cli_print(err, "\n");
}

static enum status list_json(const struct snapshot_id *id, const struct manifest *m, json_t *list, struct error *err)
{
    json_t *object = json_pack("{s:s, s:s, s:I, s:o}", "backup-type", id->type, "backup-id", id->id, "backup-time",
                               (json_int_t)id->time, "files", m ? files_json(m, false) : json_array());
    /* As a server does: without readable manifest no size. */
    if (object && m)
        json_object_set_new(object, "size", cli_json_count(total_size(m)));
    if (json_array_append_new(list, object) != 0)
        return fail(err, ERR_MEMORY, "out of memory for the list of snapshots");
    return OK;
}

static enum status list_one(struct store *s, const struct snapshot_id *id, enum output_format format, json_t *list,
                            struct error *err)
{
    CLEANUP(manifest_deinit) struct manifest manifest = {0};
    const struct manifest *m = &manifest;
    struct error reason = {0};
    enum status status = read_manifest(s, id, &manifest, &reason);
    if (status == ERR_NOT_FOUND)
        return OK; /* removed since we looked */
    if (status != OK) {
        char name[SNAPSHOT_TEXT_SIZE];
        log_warning("%s: %s", snapshot_id_text(id, name), reason.text);
        m = NULL;
    }
    return format == OUTPUT_TEXT ? list_text(id, m, err) : list_json(id, m, list, err);
}

static enum status list_server(const struct options *o, const struct snapshot_id *group, json_t *list,
                               struct error *err)
{
    CLEANUP(snapshot_listing_deinit) struct snapshot_listing l = {0};
    TRY(snapshot_listing_ask(o->repository->connection.account, repository_args_ns(o->repository), group, &l, err));
    for (size_t i = 0; i < l.count; i++) {
        const struct snapshot_listing_item *item = &l.items[i];
        const struct manifest *m = item->is_readable ? &item->files : NULL;
        TRY(o->format == OUTPUT_TEXT ? list_text(&item->id, m, err) : list_json(&item->id, m, list, err));
    }
    return OK;
}

static enum status list(int argc, char **argv, struct error *err)
{
    CLEANUP(key_args_deinit) struct key_args key = KEY_ARGS_INIT;
    CLEANUP(repository_args_deinit) struct repository_args repository = REPOSITORY_ARGS_INIT;
    struct options o = {.repository = &repository, .key = &key};
    struct snapshot_id group;
    TRY(parse_options(argc, argv, reading_options, list_help, &o, err));
    TRY(cli_arguments(argc, argv, 0, 1, "[GROUP]", err));
    bool one_group = optind < argc;
    if (one_group)
        TRY(snapshot_group_parse(argv[optind], &group, err));

    CLEANUP(repository_args_store_close) struct store *s = NULL;
    CLEANUP(snapshot_list_deinit) struct snapshot_list snapshots = {0};
    CLEANUP(json_cleanup) json_t *result = json_array();
    if (!result)
        return fail(err, ERR_MEMORY, "out of memory for the list of snapshots");
    TRY(open_repository(&o, &s, err));
    /* With a key the manifests' signatures are to be checked, which takes the manifests. */
    if (repository_args_is_server(&repository) && !key_args_config(&key)) {
        TRY(list_server(&o, one_group ? &group : NULL, result, err));
    } else {
        TRY(store_list(s, repository_args_ns(&repository), one_group ? &group : NULL, &snapshots, err));
        for (size_t i = 0; i < snapshots.count; i++)
            TRY(list_one(s, &snapshots.items[i], o.format, result, err));
    }
    return o.format == OUTPUT_TEXT ? OK : cli_print_json(json_incref(result), o.format, err);
}

/* ---- files ---- */

static enum status files_text(const struct manifest *m, struct error *err)
{
    char csum[DIGEST_TEXT_SIZE];
    for (size_t i = 0; i < m->file_count; i++)
        TRY(cli_print(err, "%-32s %-9s %16" PRIu64 " %s\n", m->files[i].filename, m->files[i].crypt_mode,
                      m->files[i].size, digest_text(&m->files[i].csum, csum)));
    return OK;
}

static enum status files(int argc, char **argv, struct error *err)
{
    CLEANUP(key_args_deinit) struct key_args key = KEY_ARGS_INIT;
    CLEANUP(repository_args_deinit) struct repository_args repository = REPOSITORY_ARGS_INIT;
    struct options o = {.repository = &repository, .key = &key};
    struct snapshot_id id;
    TRY(parse_options(argc, argv, reading_options, files_help, &o, err));
    TRY(cli_arguments(argc, argv, 1, 1, "SNAPSHOT", err));
    TRY(snapshot_id_parse(argv[optind], &id, err));

    CLEANUP(repository_args_store_close) struct store *s = NULL;
    CLEANUP(manifest_deinit) struct manifest m = {0};
    TRY(open_repository(&o, &s, err));
    namespace_set(&o, &id);
    TRY(read_manifest(s, &id, &m, err));
    return o.format == OUTPUT_TEXT ? files_text(&m, err) : cli_print_json(files_json(&m, true), o.format, err);
}

/* ---- forget ---- */

static enum status forget(int argc, char **argv, struct error *err)
{
    CLEANUP(key_args_deinit) struct key_args key = KEY_ARGS_INIT;
    CLEANUP(repository_args_deinit) struct repository_args repository = REPOSITORY_ARGS_INIT;
    struct options o = {.repository = &repository, .key = &key};
    struct snapshot_id id;
    char text[SNAPSHOT_TEXT_SIZE];
    TRY(parse_options(argc, argv, forget_options, forget_help, &o, err));
    TRY(cli_arguments(argc, argv, 1, 1, "SNAPSHOT", err));
    TRY(snapshot_id_parse(argv[optind], &id, err));

    CLEANUP(repository_args_store_close) struct store *s = NULL;
    TRY(open_repository(&o, &s, err));
    namespace_set(&o, &id);
    TRY(store_forget(s, &id, err));
    log_info("removed %s", snapshot_id_text(&id, text));
    return OK;
}

static int cmd_list(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(list(argc, argv, &err), &err);
}

static int cmd_files(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(files(argc, argv, &err), &err);
}

static int cmd_forget(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(forget(argc, argv, &err), &err);
}

int cmd_snapshot(int argc, char **argv)
{
    static const struct cli_command commands[] = {{"list", cmd_list, "finished snapshots of a datastore"},
                                                  {"files", cmd_files, "files of a snapshot with sizes and checksums"},
                                                  {"forget", cmd_forget, "remove a snapshot"},
                                                  {0}};
    return cli_dispatch("pxarbench snapshot", commands, argc, argv);
}
