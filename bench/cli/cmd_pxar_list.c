#include "cli/archive_input.h"
#include "cli/cli.h"
#include "cli/cmd_pxar.h"
#include "cli/files.h"
#include "cli/key_args.h"
#include "cli/repository_args.h"

#include "pxar/dump.h"

#include <limits.h>

static const char help_text[] =
    "Usage: pxarbench pxar list ARCHIVE [PATH...]\n"
    "       pxarbench pxar list --repository REPOSITORY SNAPSHOT ARCHIVE [PATH...]\n"
    "\n"
    "Prints the path of every entry in archive order, one a line. Bytes that would break the line are escaped.\n"
    "With PATHs: each of them, and of a directory everything below it; found by the archive's tables, without reading\n"
    "the rest. ARCHIVE is X.mpxar or X.pxar, in a snapshot any name of an archive there. Chunks that were read are\n"
    "counted on standard error.\n"
    "\n" REPOSITORY_ARGS_HELP KEY_ARGS_HELP;

enum { FLUSH_SIZE = 64 * 1024 };

struct arguments {
    struct repository_args *repository;
    struct key_args *key;
};

static enum status take_options(int argc, char **argv, struct arguments *a, struct error *err)
{
    static const struct option options[] = {
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
        case CLI_HELP: return cli_help(help_text);
        default: return ERR_USAGE;
        }
    }
    if (a->repository->given.repository)
        return cli_arguments(argc, argv, 2, INT_MAX, "SNAPSHOT ARCHIVE [PATH...]", err);
    return cli_arguments(argc, argv, 1, INT_MAX, "ARCHIVE [PATH...]", err);
}

static enum status flush(struct buffer *lines, struct error *err)
{
    struct sink out = cli_stdout_sink();
    enum status status = lines->size > 0 ? out.write(out.context, lines->data, lines->size, err) : OK;
    buffer_clear(lines);
    return status;
}

static enum status print_path(struct buffer *lines, const char *path, struct error *err)
{
    TRY(dump_path(lines, path, err));
    TRY(buffer_append_u8(lines, '\n', err));
    return lines->size < FLUSH_SIZE ? OK : flush(lines, err);
}

static enum status print_below(void *context, const struct archive_entry *entry, struct error *err)
{
    return entry->kind == ENTRY_DIRECTORY_END ? OK : print_path(context, entry->path, err);
}

static enum status print_found(struct accessor *a, const char *path, struct buffer *lines, struct error *err)
{
    CLEANUP(accessor_entry_deinit) struct accessor_entry found = {0};
    TRY(accessor_lookup(a, path, &found, err));
    TRY(print_path(lines, found.entry.path, err));
    return found.entry.kind == ENTRY_DIRECTORY ? accessor_walk(a, &found, print_below, lines, err) : OK;
}

static enum status print_all(struct accessor *a, char **paths, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer lines = BUFFER_INIT(0);
    enum status status = *paths ? OK : print_found(a, "/", &lines, err);
    for (; *paths && status == OK; paths++)
        status = print_found(a, *paths, &lines, err);
    /* What was found before a failure is shown; the failure itself is what counts. */
    enum status flushed = flush(&lines, status == OK ? err : NULL);
    return status != OK ? status : flushed;
}

/* Without paths a file is read from its beginning, and may be a pipe. */
static enum status list_whole_file(const char *path, struct error *err)
{
    CLEANUP(input_file_close) struct input_file metadata = {0};
    TRY(input_file_open(path, &metadata, err));
    return list_archive(input_file_source(&metadata), cli_stdout_sink(), err);
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
    char **paths = words + (stored ? 2 : 1);
    if ((key.path || key.fd >= 0) && !stored)
        return fail(err, ERR_USAGE, "--keyfile, --keyfd: only with --repository, files are not encrypted");
    TRY(key_args_load(&key, err));
    if (!stored && !*paths)
        return list_whole_file(words[0], err);
    if (stored)
        TRY(archive_input_open_snapshot(&archive, &repository, key_args_config(&key), words[0], words[1], false, err));
    else
        TRY(archive_input_open_files(&archive, words[0], NULL, err));
    enum status status = print_all(archive.accessor, paths, err);
    archive_input_report(&archive);
    return status;
}

int pxar_list_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(run(argc, argv, &err), &err);
}
