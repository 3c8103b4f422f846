#include "cli/cli.h"
#include "cli/cmd_pxar.h"
#include "cli/files.h"

#include "pxar/diff.h"

/* As diff(1) has them. */
enum { EXIT_SAME = 0, EXIT_DIFFERENT = 1, EXIT_TROUBLE = 2 };

static const char help_text[] =
    "Usage: pxarbench pxar diff A B [OPTION...]\n"
    "\n"
    "Compares two archives (X.mpxar or X.pxar) entry by entry and prints each field that differs, with both values.\n"
    "The last line counts. Exit code: 0 the same, 1 different, 2 trouble.\n"
    "\n"
    "  --payload-input-a A.ppxar  contents of A; contents are compared when both are at hand\n"
    "  --payload-input-b B.ppxar  contents of B\n"
    "  --offsets                  compare where things stand, too\n"
    "  --output-format FORMAT     text (default); json: one object a line\n";

struct side {
    const char *path, *payload_path;
    struct input_file metadata, payload;
    struct source payload_source;
};

static void side_close(struct side *s)
{
    input_file_close(&s->metadata);
    input_file_close(&s->payload);
}

static enum status side_open(struct side *s, struct diff_input *out, struct error *err)
{
    TRY(input_file_open(s->path, &s->metadata, err));
    out->metadata = input_file_source(&s->metadata);
    if (!s->payload_path)
        return OK;
    TRY(input_file_open(s->payload_path, &s->payload, err));
    s->payload_source = input_file_source(&s->payload);
    out->payload = &s->payload_source;
    return OK;
}

static enum status take_options(int argc, char **argv, struct side *a, struct side *b, struct diff_options *out,
                                struct error *err)
{
    enum { PAYLOAD_A = CLI_OPTION_FIRST, PAYLOAD_B, OFFSETS };
    static const struct option options[] = {
        {"payload-input-a", required_argument, NULL, PAYLOAD_A},
        {"payload-input-b", required_argument, NULL, PAYLOAD_B},
        {"offsets", no_argument, NULL, OFFSETS},
        CLI_FORMAT_OPTION,
        CLI_OPTIONS_END,
    };
    static const char *const formats[] = {"text", "json", NULL};
    size_t format = 0;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;)
        switch (option) {
        case PAYLOAD_A: a->payload_path = optarg; break;
        case PAYLOAD_B: b->payload_path = optarg; break;
        case OFFSETS: out->offsets = true; break;
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_enum("--output-format", optarg, formats, &format, err)); break;
        case CLI_HELP: return cli_help(help_text);
        default: return ERR_USAGE;
        }
    TRY(cli_arguments(argc, argv, 2, 2, "A B", err));
    a->path = argv[optind];
    b->path = argv[optind + 1];
    out->format = format == 1 ? DIFF_JSON : DIFF_TEXT;
    return OK;
}

static enum status run(int argc, char **argv, bool *out_same, struct error *err)
{
    CLEANUP(side_close) struct side a = {0};
    CLEANUP(side_close) struct side b = {0};
    CLEANUP(buffer_deinit) struct buffer summary = BUFFER_INIT(0);
    struct diff_input inputs[2] = {0};
    struct diff_options options = {0};
    struct diff_counts counts;
    struct sink out = cli_stdout_sink();
    TRY(take_options(argc, argv, &a, &b, &options, err));
    TRY(side_open(&a, &inputs[0], err));
    TRY(side_open(&b, &inputs[1], err));
    TRY(diff_archives(&inputs[0], &inputs[1], &options, out, &counts, err));
    TRY(diff_summary(&counts, options.format, &summary, err));
    TRY(buffer_append_u8(&summary, '\n', err));
    *out_same = diff_same(&counts);
    return out.write(out.context, summary.data, summary.size, err);
}

int pxar_diff_command(int argc, char **argv)
{
    struct error err = {0};
    bool same = true; /* as --help leaves it */
    int code = cli_exit_code(run(argc, argv, &same, &err), &err);
    if (code != CLI_DONE)
        return EXIT_TROUBLE;
    return same ? EXIT_SAME : EXIT_DIFFERENT;
}
