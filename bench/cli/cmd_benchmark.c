/* pxarbench benchmark: what a backup's speed is bounded by, part by part. */
#include "cli/benchmark_upload.h"
#include "cli/cli.h"
#include "cli/repository_args.h"
#include "cli/stats_json.h"

#include <assert.h>

static const char help[] =
    "Usage: pxarbench benchmark [OPTION...]\n"
    "\n"
    "Measures what a backup does with each chunk, one part after the other and each in one thread: SHA-256, zstd\n"
    "level 1 there and back, verifying (decompression and digest), AES-256-GCM; over data that compresses to about\n"
    "half. With a server's repository also the upload: how fast the server takes data over one TLS connection, which\n"
    "needs the privilege to back up and stores nothing. Speeds are of uncompressed data, in 1000000 bytes per second;\n"
    "ratios are those to the slowest part, which is what bounds a backup that does one thing at a time.\n"
    "\n" REPOSITORY_ARGS_PLACE_HELP REPOSITORY_ARGS_SERVER_HELP
    "  --seconds N             for the upload, and a fifth for each other part (default 5)\n"
    "  --output-format FORMAT  text, json or json-pretty (default text)\n";

enum { SECONDS = CLI_OPTION_FIRST };

/* In the order of the table; the first is the server's. */
static const struct {
    const char *member, *text;
} rows[] = {
    {"tls", "TLS: upload to the server"},
    [1 + BENCHMARK_SHA256] = {"sha256", "SHA-256"},
    [1 + BENCHMARK_COMPRESS] = {"compress", "zstd level 1: compression"},
    [1 + BENCHMARK_DECOMPRESS] = {"decompress", "zstd level 1: decompression"},
    [1 + BENCHMARK_VERIFY] = {"verify", "verifying a chunk"},
    [1 + BENCHMARK_ENCRYPT] = {"aes256_gcm", "AES-256-GCM: encryption"},
};
enum { ROW_COUNT = 1 + BENCHMARK_PART_COUNT };
static_assert(sizeof rows / sizeof rows[0] == ROW_COUNT, "a row for each part");

struct result {
    struct benchmark_speed speeds[ROW_COUNT];
    bool has_network;
    struct net_stats network;
};

static double slowest(const struct result *r)
{
    double found = 0;
    for (int i = 0; i < ROW_COUNT; i++) {
        double value = benchmark_speed_value(&r->speeds[i]);
        if (value > 0 && (found <= 0 || value < found))
            found = value;
    }
    return found > 0 ? found : 1;
}

static enum status print_text(const struct result *r, struct error *err)
{
    TRY(cli_print(err, "%-30s %16s %8s\n", "part", "speed", "ratio"));
    for (int i = 0; i < ROW_COUNT; i++) {
        double value = benchmark_speed_value(&r->speeds[i]);
        if (value > 0)
            TRY(cli_print(err, "%-30s %11.2f MB/s %8.2f\n", rows[i].text, value / 1e6, value / slowest(r)));
        else
            TRY(cli_print(err, "%-30s %16s %8s\n", rows[i].text, "no server", "-"));
    }
    return OK;
}

static json_t *speed_json(const struct result *r, int row)
{
    const struct benchmark_speed *s = &r->speeds[row];
    double value = benchmark_speed_value(s);
    if (value <= 0)
        return json_null();
    return json_pack("{s:f, s:f, s:o, s:o}", "bytes_per_second", value, "ratio", value / slowest(r), "bytes",
                     cli_json_count(s->bytes), "duration_ns", cli_json_count(s->ns));
}

static enum status print_json(const struct result *r, enum output_format format, struct error *err)
{
    json_t *object = json_object();
    bool failed = !object;
    for (int i = 0; !failed && i < ROW_COUNT; i++)
        failed = json_object_set_new(object, rows[i].member, speed_json(r, i)) != 0;
    if (!failed && r->has_network)
        failed = json_object_set_new(object, "network", stats_json_network(&r->network)) != 0;
    if (failed) {
        json_decref(object);
        object = NULL;
    }
    return cli_print_json(object, format, err);
}

static enum status run(int argc, char **argv, struct error *err)
{
    static const struct option options[] = {
        {"seconds", required_argument, NULL, SECONDS}, REPOSITORY_ARGS_OPTIONS, CLI_FORMAT_OPTION, CLI_OPTIONS_END};
    CLEANUP(repository_args_deinit) struct repository_args repository = REPOSITORY_ARGS_INIT;
    enum output_format format = OUTPUT_TEXT;
    double seconds = 5;
    bool found;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        bool taken;
        TRY(repository_args_take(option, &repository, &taken, err));
        if (taken)
            continue;
        switch (option) {
        case SECONDS: TRY(cli_parse_double("--seconds", optarg, 0.01, 3600, &seconds, err)); break;
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &format, err)); break;
        case CLI_HELP: return cli_help(help);
        default: return ERR_USAGE;
        }
    }
    TRY(cli_arguments(argc, argv, 0, 0, "", err));
    if (repository.given.ns)
        return fail(err, ERR_USAGE, "--ns: nothing is stored, so there is no namespace to store it in");
    TRY(repository_args_find_if_any(&repository, &found, err));

    struct result result = {.has_network = repository_args_is_server(&repository)};
    uint64_t duration_ns = (uint64_t)(seconds * 1e9);
    if (result.has_network)
        TRY(benchmark_upload(repository.connection.account, duration_ns, &result.speeds[0], &result.network, err));
    TRY(benchmark_local(duration_ns / 5, result.speeds + 1, err));
    return format == OUTPUT_TEXT ? print_text(&result, err) : print_json(&result, format, err);
}

int cmd_benchmark(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(run(argc, argv, &err), &err);
}
