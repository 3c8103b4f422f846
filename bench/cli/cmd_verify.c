/* pxarbench verify: check everything that a snapshot refers to. */
#include "base/size_text.h"
#include "cli/cli.h"
#include "cli/key_args.h"
#include "cli/repository_args.h"
#include "flow/verify.h"

#include <inttypes.h>
#include <string.h>

static const char help[] =
    "Usage: pxarbench verify SNAPSHOT [ARCHIVE...] [OPTION...]\n"
    "\n"
    "Checks the files of SNAPSHOT (TYPE/ID/TIME), or those of the given archives: indexes and blobs against the\n"
    "manifest, and every chunk once: that it is there, its checksum, its digest, its length. Each problem is reported\n"
    "with file, chunk and offset. Contents of encrypted files are verified with their key, and the manifest's\n"
    "signature; without it only checksums and kinds are.\n"
    "\n"
    "Only reads: damaged chunks are not renamed and no verify state is written, so a server still has its own opinion\n"
    "of the snapshot. Exits with 1 if there is any problem.\n"
    "\n" REPOSITORY_ARGS_HELP KEY_ARGS_HELP "  --output-format FORMAT  text, json or json-pretty (default text)\n";

static const char *const verdict_names[] = {
    [VERIFY_GOOD] = "ok", [VERIFY_FAILED] = "failed", [VERIFY_ENCRYPTED] = "encrypted"};

/* ---- text ---- */

static enum status print_problem(void *context, const struct verify_problem *p, struct error *err)
{
    (void)context;
    char digest[DIGEST_TEXT_SIZE];
    if (!p->chunk)
        return cli_print(err, "%s: %s: %s\n", p->file, verify_problem_name(p->kind), p->text);
    return cli_print(err, "%s: %s: chunk %s at offset %" PRIu64 ": %s\n", p->file, verify_problem_name(p->kind),
                     digest_text(p->chunk, digest), p->offset, p->text);
}

static enum status print_file(void *context, const struct verify_file *f, struct error *err)
{
    (void)context;
    switch (f->verdict) {
    case VERIFY_GOOD: return cli_print(err, "%s: ok\n", f->file->filename);
    case VERIFY_ENCRYPTED: return cli_print(err, "%s: not verified: encrypted\n", f->file->filename);
    case VERIFY_FAILED: break;
    }
    return cli_print(err, "%s: failed, problems: %" PRIu64 "\n", f->file->filename, f->problems);
}

/* ---- json ---- */

struct json_lists {
    json_t *problems;
    json_t *files;
};

static void lists_deinit(struct json_lists *l)
{
    json_decref(l->problems);
    json_decref(l->files);
}

static enum status append(json_t *list, json_t *object, struct error *err)
{
    if (json_array_append_new(list, object) != 0)
        return fail(err, ERR_MEMORY, "out of memory for the result");
    return OK;
}

static enum status add_problem(void *context, const struct verify_problem *p, struct error *err)
{
    const struct json_lists *l = context;
    char digest[DIGEST_TEXT_SIZE];
    /* Members that are NULL with '*' are left out. */
    return append(l->problems,
                  json_pack("{s:s, s:s, s:s*, s:o*, s:o}", "filename", p->file, "problem", verify_problem_name(p->kind),
                            "chunk", p->chunk ? digest_text(p->chunk, digest) : NULL, "offset",
                            p->chunk ? cli_json_count(p->offset) : NULL, "text", cli_json_text(p->text)),
                  err);
}

static enum status add_file(void *context, const struct verify_file *f, struct error *err)
{
    const struct json_lists *l = context;
    return append(l->files,
                  json_pack("{s:s, s:s, s:s, s:o, s:o}", "filename", f->file->filename, "crypt-mode",
                            f->file->crypt_mode, "result", verdict_names[f->verdict], "chunks",
                            cli_json_count(f->chunks), "problems", cli_json_count(f->problems)),
                  err);
}

/* ---- the command ---- */

static enum status verify_text(struct store *store, const struct snapshot_id *id, const char *const *archives,
                               size_t count, struct verify_stats *stats, struct error *err)
{
    char size[SIZE_TEXT_SIZE];
    const struct verify_reporter reporter = {.problem = print_problem, .file_done = print_file};
    TRY(verify_snapshot(store, id, archives, count, &reporter, stats, err));
    return cli_print(err, "files %" PRIu64 ", chunks %" PRIu64 ", verified %s, not verified: files %" PRIu64 "\n",
                     stats->files, stats->chunks, size_text(stats->verified_bytes, size), stats->encrypted_files);
}

static enum status verify_json(struct store *store, const struct snapshot_id *id, const char *const *archives,
                               size_t count, enum output_format format, struct verify_stats *stats, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE];
    CLEANUP(lists_deinit) struct json_lists lists = {.problems = json_array(), .files = json_array()};
    const struct verify_reporter reporter = {.problem = add_problem, .file_done = add_file, .context = &lists};
    TRY(verify_snapshot(store, id, archives, count, &reporter, stats, err));
    json_t *result = json_pack("{s:s, s:b, s:O, s:O, s:o, s:o, s:o}", "snapshot", snapshot_id_text(id, text), "ok",
                               stats->problems == 0, "files", lists.files, "problems", lists.problems, "chunks",
                               cli_json_count(stats->chunks), "encoded-bytes", cli_json_count(stats->encoded_bytes),
                               "verified-bytes", cli_json_count(stats->verified_bytes));
    return cli_print_json(result, format, err);
}

static enum status run(int argc, char **argv, struct error *err)
{
    static const struct option options[] = {
        REPOSITORY_ARGS_OPTIONS,
        KEY_ARGS_OPTIONS,
        CLI_FORMAT_OPTION,
        CLI_OPTIONS_END,
    };
    CLEANUP(key_args_deinit) struct key_args key = KEY_ARGS_INIT;
    CLEANUP(repository_args_deinit) struct repository_args repository = REPOSITORY_ARGS_INIT;
    enum output_format format = OUTPUT_TEXT;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        bool taken;
        TRY(key_args_take(option, &key, &taken, err));
        if (!taken)
            TRY(repository_args_take(option, &repository, &taken, err));
        if (taken)
            continue;
        switch (option) {
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &format, err)); break;
        case CLI_HELP: return cli_help(help);
        default: return ERR_USAGE;
        }
    }
    TRY(cli_arguments(argc, argv, 1, argc, "SNAPSHOT [ARCHIVE...]", err));
    struct snapshot_id id;
    TRY(snapshot_id_parse(argv[optind], &id, err));
    const char *const *archives = (const char *const *)argv + optind + 1;
    size_t count = (size_t)(argc - optind - 1);
    TRY(repository_args_find(&repository, err));
    const char *ns = repository_args_ns(&repository);
    memcpy(id.ns, ns, strlen(ns) + 1); /* checked: it fits */

    TRY(key_args_load(&key, err));
    const struct store_options reading = {.sync = SYNC_NONE, .key = key_args_config(&key)};
    CLEANUP(repository_args_store_close) struct store *store = NULL;
    struct verify_stats stats = {0};
    TRY(repository_args_open(&repository, &reading, &store, err));
    if (format == OUTPUT_TEXT)
        TRY(verify_text(store, &id, archives, count, &stats, err));
    else
        TRY(verify_json(store, &id, archives, count, format, &stats, err));
    char text[SNAPSHOT_TEXT_SIZE];
    if (stats.problems > 0)
        return fail(err, ERR_MISMATCH, "%s: problems found: %" PRIu64, snapshot_id_text(&id, text), stats.problems);
    return OK;
}

int cmd_verify(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(run(argc, argv, &err), &err);
}
