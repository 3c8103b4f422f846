/* pxarbench analyze: what the payload streams of snapshots are made of, and how that changes over generations. */
#include "cli/cmd_analyze.h"

#include "cli/analyze_what_if.h"
#include "cli/key_args.h"
#include "cli/repository_args.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "Usage: pxarbench analyze SNAPSHOT... [OPTION...]\n"
    "       pxarbench analyze --what-if SETTING... --decisions FILE [OPTION...]\n"
    "\n"
    "Tells what the split archives of each SNAPSHOT (TYPE/ID/TIME) are made of: the padding ledger, recomputed from\n"
    "metadata stream and payload index alone; chunks by size, and how often each is listed; what of the chunks no\n"
    "file uses; how much a restore fetches: in full, with a cache of the chunks used last, and of single files. No\n"
    "payload chunk is read.\n"
    "\n"
    "Of several snapshots, in the order given, each gets one line, with the chunks that are new and those no longer\n"
    "there. Then follow the ghosts: bytes in the chunks of the newest one that none of its files uses, but files of\n"
    "the older ones did, by name.\n"
    "\n"
    "With --what-if: what the run that wrote FILE would have read, uploaded and padded with other settings, replayed\n"
    "from its decisions and the payload index of its reference.\n"
    "\n" REPOSITORY_ARGS_HELP KEY_ARGS_HELP;

/* A literal of more than 4095 bytes is not portable. */
static const char more_help[] =
    "  --archive NAME          only this archive (default: all split ones)\n"
    "  --ranges                also list the ranges of the padding ledger\n"
    "  --ghosts N              name the N largest ghosts; 0: all (default 20)\n"
    "  --lru K,...             chunks that a reader keeps, up to 8 numbers (default 1,8,32)\n"
    "  --chunk-size KIB        average of the backup, a power of two from 64 to 4096: chunks below a quarter of it\n"
    "                          count as undersized (default 4096)\n" ANALYZE_WHAT_IF_HELP
    "  --output-format FORMAT  text, json or json-pretty (default text)\n";

enum { GHOSTS_DEFAULT = 20, WHAT_IF_TEXTS_MAX = 64 };

enum { ARCHIVE = CLI_OPTION_FIRST, RANGES, GHOSTS, LRU, CHUNK_SIZE, WHAT_IF, DECISIONS };

struct arguments {
    struct repository_args *repository;
    struct key_args *key;
    struct analyze_options options;
    uint64_t lru[LRU_COUNT_MAX];
    bool ranges;
    const char *settings[WHAT_IF_TEXTS_MAX];
    size_t setting_count;
    const char *decisions;
    enum output_format format;
};

static enum status parse_lru(const char *text, struct arguments *a, struct error *err)
{
    a->options.lru_count = 0;
    for (const char *p = text;; p++) {
        char number[24];
        size_t size = strcspn(p, ",");
        if (size >= sizeof number)
            return fail(err, ERR_USAGE, "--lru: '%s' is no list of numbers", text);
        if (a->options.lru_count == LRU_COUNT_MAX)
            return fail(err, ERR_USAGE, "--lru: at most %d numbers", LRU_COUNT_MAX);
        memcpy(number, p, size);
        number[size] = '\0';
        TRY(cli_parse_u64("--lru", number, 1, LRU_CHUNKS_MAX, &a->lru[a->options.lru_count++], err));
        p += size;
        if (!*p)
            return OK;
    }
}

static enum status take_number(int option, struct arguments *a, struct error *err)
{
    uint64_t value;
    if (option == GHOSTS) {
        TRY(cli_parse_u64("--ghosts", optarg, 0, UINT32_MAX, &value, err));
        a->options.ghosts_max = (size_t)value;
        return OK;
    }
    TRY(cli_parse_u64("--chunk-size", optarg, 64, 4096, &value, err));
    if (value & (value - 1))
        return fail(err, ERR_USAGE, "--chunk-size: %s is not a power of two", optarg);
    a->options.chunk_average = value * 1024;
    return OK;
}

static enum status take_setting(const char *text, struct arguments *a, struct error *err)
{
    if (a->setting_count == WHAT_IF_TEXTS_MAX)
        return fail(err, ERR_USAGE, "--what-if: more than %d texts", WHAT_IF_TEXTS_MAX);
    a->settings[a->setting_count++] = text;
    return OK;
}

/* Settings need no quotes: with --what-if, whatever is no option is one more of them. */
static enum status take_more_settings(int argc, char **argv, struct arguments *a, struct error *err)
{
    for (int i = optind; i < argc; i++) {
        if (!strchr(argv[i], '='))
            return fail(err, ERR_USAGE, "--what-if: takes no snapshot ('%s'): the file of --decisions says which one",
                        argv[i]);
        TRY(take_setting(argv[i], a, err));
    }
    return OK;
}

static enum status take_options(int argc, char **argv, struct arguments *a, struct error *err)
{
    static const struct option options[] = {
        {"archive", required_argument, NULL, ARCHIVE},
        {"ranges", no_argument, NULL, RANGES},
        {"ghosts", required_argument, NULL, GHOSTS},
        {"lru", required_argument, NULL, LRU},
        {"chunk-size", required_argument, NULL, CHUNK_SIZE},
        {"what-if", required_argument, NULL, WHAT_IF},
        {"decisions", required_argument, NULL, DECISIONS},
        REPOSITORY_ARGS_OPTIONS,
        KEY_ARGS_OPTIONS,
        CLI_FORMAT_OPTION,
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
        case ARCHIVE: a->options.archive = optarg; break;
        case RANGES: a->ranges = true; break;
        case GHOSTS:
        case CHUNK_SIZE: TRY(take_number(option, a, err)); break;
        case LRU: TRY(parse_lru(optarg, a, err)); break;
        case WHAT_IF: TRY(take_setting(optarg, a, err)); break;
        case DECISIONS: a->decisions = optarg; break;
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &a->format, err)); break;
        case CLI_HELP: fputs(help, stdout); return cli_help(more_help);
        default: return ERR_USAGE;
        }
    }
    if (a->setting_count > 0 && !a->decisions)
        return fail(err, ERR_USAGE, "--what-if: needs --decisions, the file of a recorded run");
    if (a->decisions && a->setting_count == 0)
        return fail(err, ERR_USAGE, "--decisions: needs --what-if, the settings to try");
    return a->decisions ? take_more_settings(argc, argv, a, err)
                        : cli_arguments(argc, argv, 1, INT_MAX, "SNAPSHOT...", err);
}

/* ---- the command ---- */

static void ids_free(struct snapshot_id **ids)
{
    free(*ids);
}

static enum status analyze_text(struct store *store, const struct snapshot_id *ids, size_t count,
                                const struct arguments *a, struct error *err)
{
    CLEANUP(analyze_text_deinit) struct analyze_text text = {0};
    struct analyze_reporter reporter;
    analyze_text_begin(&text, ids, count, &a->options, a->ranges, &reporter);
    return analyze_snapshots(store, ids, count, &a->options, &reporter, err);
}

static enum status analyze_json(struct store *store, const struct snapshot_id *ids, size_t count,
                                const struct arguments *a, struct error *err)
{
    CLEANUP(analyze_json_deinit) struct analyze_json json = {0};
    struct analyze_reporter reporter;
    TRY(analyze_json_begin(&json, a->ranges, &reporter, err));
    TRY(analyze_snapshots(store, ids, count, &a->options, &reporter, err));
    return analyze_json_print(&json, &a->options, a->format, err);
}

static enum status analyze(struct store *store, char **snapshots, size_t count, const struct arguments *a,
                           struct error *err)
{
    void *array;
    TRY(array_new(count, sizeof(struct snapshot_id), INT_MAX, "snapshots", &array, err));
    CLEANUP(ids_free) struct snapshot_id *ids = array;
    const char *ns = repository_args_ns(a->repository);
    for (size_t i = 0; i < count; i++) {
        TRY(snapshot_id_parse(snapshots[i], &ids[i], err));
        memcpy(ids[i].ns, ns, strlen(ns) + 1); /* checked: it fits */
    }
    return a->format == OUTPUT_TEXT ? analyze_text(store, ids, count, a, err) : analyze_json(store, ids, count, a, err);
}

static enum status run(int argc, char **argv, struct error *err)
{
    CLEANUP(key_args_deinit) struct key_args key = KEY_ARGS_INIT;
    CLEANUP(repository_args_deinit) struct repository_args repository = REPOSITORY_ARGS_INIT;
    struct arguments a = {.repository = &repository, .key = &key, .lru = {1, 8, 32}};
    a.options = (struct analyze_options){
        .chunk_average = UINT64_C(4) << 20, .lru = a.lru, .lru_count = 3, .ghosts_max = GHOSTS_DEFAULT};
    TRY(take_options(argc, argv, &a, err));
    TRY(repository_args_find(&repository, err));

    TRY(key_args_load(&key, err));
    const struct store_options reading = {.sync = SYNC_NONE, .key = key_args_config(&key)};
    CLEANUP(repository_args_store_close) struct store *store = NULL;
    TRY(repository_args_open(&repository, &reading, &store, err));
    if (a.decisions)
        return analyze_what_if(store, repository_args_ns(&repository), a.decisions, a.settings, a.setting_count,
                               a.format, err);
    return analyze(store, argv + optind, (size_t)(argc - optind), &a, err);
}

int cmd_analyze(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(run(argc, argv, &err), &err);
}
