#include "cli/cli.h"
#include "cli/cmd_pxar.h"
#include "cli/files.h"

#include "base/buffer.h"
#include "pxar/tree_text.h"

enum { PAYLOAD_OUTPUT = CLI_OPTION_FIRST };

/* A tree description is read whole; its file contents are mostly generators, so even large ones are far below. */
enum { TREE_TEXT_SIZE_MAX = 1 << 28 };

static const char encode_help[] =
    "Usage: pxarbench pxar encode TREE.json X.mpxar --payload-output X.ppxar\n"
    "\n"
    "Builds a split archive from a description in JSON, without any file system. Both files must not exist yet.\n"
    "\n"
    "  --payload-output FILE    where the contents of files go\n";

static enum status read_whole(const char *path, struct buffer *out, struct error *err)
{
    CLEANUP(input_file_close) struct input_file file = {0};
    TRY(input_file_open(path, &file, err));
    struct source source = input_file_source(&file);
    for (;;) {
        size_t part;
        if (buffer_reserve(out, FILE_BUFFER_SIZE, err) != OK)
            return fail_within(err, "%s", path);
        TRY(source.read(source.context, out->data + out->size, FILE_BUFFER_SIZE, &part, err));
        if (part == 0)
            return OK;
        out->size += part;
    }
}

static enum status encode_files(const char *tree, struct output_file *metadata, struct output_file *payload,
                                struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(TREE_TEXT_SIZE_MAX);
    TRY(read_whole(tree, &text, err));
    TRY(tree_text_encode((const char *)text.data, text.size, tree, output_file_sink(metadata),
                         output_file_sink(payload), err));
    TRY(output_file_close(metadata, err));
    return output_file_close(payload, err);
}

static enum status encode_run(int argc, char **argv, struct error *err)
{
    static const struct option options[] = {{"payload-output", required_argument, NULL, PAYLOAD_OUTPUT},
                                            CLI_OPTIONS_END};
    const char *payload_path = NULL;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;)
        switch (option) {
        case PAYLOAD_OUTPUT: payload_path = optarg; break;
        case CLI_HELP: return cli_help(encode_help);
        default: return ERR_USAGE;
        }
    TRY(cli_arguments(argc, argv, 2, 2, "TREE.json X.mpxar", err));
    if (!payload_path)
        return fail(err, ERR_USAGE, "archives in one file come in a later release; give --payload-output X.ppxar");

    struct output_file metadata = {0}, payload = {0};
    TRY(output_file_create(argv[optind + 1], &metadata, err));
    enum status status = output_file_create(payload_path, &payload, err);
    if (status == OK)
        status = encode_files(argv[optind], &metadata, &payload, err);
    if (status != OK) {
        output_file_discard(&metadata);
        output_file_discard(&payload);
    }
    return status;
}

int pxar_encode_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(encode_run(argc, argv, &err), &err);
}
