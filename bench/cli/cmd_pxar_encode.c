#include "cli/cli.h"
#include "cli/cmd_pxar.h"
#include "cli/files.h"
#include "cli/whole_file.h"

#include "base/buffer.h"
#include "pxar/tree_text.h"

#include <string.h>

enum { PAYLOAD_OUTPUT = CLI_OPTION_FIRST };

/* A tree description is read whole; its file contents are mostly generators, so even large ones are far below. */
enum { TREE_TEXT_SIZE_MAX = 1 << 28 };

static const char encode_help[] =
    "Usage: pxarbench pxar encode TREE.json X.pxar\n"
    "       pxarbench pxar encode TREE.json X.mpxar --payload-output X.ppxar\n"
    "\n"
    "Builds an archive from a description in JSON, without any file system: one file with all in it, or a split\n"
    "archive. The files must not exist yet.\n"
    "\n"
    "  --payload-output FILE    where the contents of files go: makes a split archive\n";

/* `payload` NULL: unified. */
static enum status encode_files(const char *tree, struct output_file *archive, struct output_file *payload,
                                struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(TREE_TEXT_SIZE_MAX + FILE_BUFFER_SIZE);
    TRY(whole_file_read(tree, TREE_TEXT_SIZE_MAX, &text, err));
    const char *json = (const char *)text.data;
    if (!payload) {
        TRY(tree_text_encode_unified(json, text.size, tree, output_file_sink(archive), err));
        return output_file_close(archive, err);
    }
    TRY(tree_text_encode(json, text.size, tree, output_file_sink(archive), output_file_sink(payload), err));
    TRY(output_file_close(archive, err));
    return output_file_close(payload, err);
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t size = strlen(text), suffix_size = strlen(suffix);
    return size >= suffix_size && strcmp(text + size - suffix_size, suffix) == 0;
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
    TRY(cli_arguments(argc, argv, 2, 2, "TREE.json X.pxar", err));

    if (!payload_path && has_suffix(argv[optind + 1], ".mpxar"))
        return fail(err, ERR_USAGE, "%s is the name of one half of an archive; give --payload-output X.ppxar",
                    argv[optind + 1]);

    struct output_file archive = {0}, payload = {0};
    TRY(output_file_create(argv[optind + 1], &archive, err));
    enum status status = payload_path ? output_file_create(payload_path, &payload, err) : OK;
    if (status == OK)
        status = encode_files(argv[optind], &archive, payload_path ? &payload : NULL, err);
    if (status != OK) {
        output_file_discard(&archive);
        output_file_discard(&payload);
    }
    return status;
}

int pxar_encode_command(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(encode_run(argc, argv, &err), &err);
}
