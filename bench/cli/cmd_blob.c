/* pxarbench blob: stored blobs, for looking at. */
#include "base/size_text.h"
#include "blob/blob.h"
#include "cli/cli.h"
#include "cli/key_args.h"
#include "cli/whole_file.h"

#include <inttypes.h>
#include <stdio.h>

static const char show_help[] =
    "Usage: pxarbench blob show FILE [--raw] [--output-format text|json|json-pretty]\n"
    "\n"
    "Shows a data blob (a .blob file or a chunk): its kind, sizes, checksum, and the SHA-256 of its content.\n"
    "The content of an encrypted one is decoded with its key, and the digest is the keyed one, by which a chunk is\n"
    "stored; without the key only its checksum is checked.\n"
    "\n"
    "  --raw                   write the content to standard output and nothing else\n" KEY_ARGS_HELP
    "  --output-format FORMAT  text, json or json-pretty (default text)\n";

enum { READ_SPARE = 1 << 16 };

static const char *const kind_names[] = {
    [BLOB_PLAIN] = "uncompressed",
    [BLOB_ZSTD] = "compressed",
    [BLOB_ENCRYPTED] = "encrypted",
    [BLOB_ENCRYPTED_ZSTD] = "encrypted-compressed",
};

static void context_cleanup(struct blob_context **c)
{
    blob_context_free(*c);
}

struct shown_blob {
    enum blob_kind kind;
    uint32_t crc;
    size_t encoded_size;
    struct digest encoded_digest;
    bool decoded;
    size_t size;
    struct digest digest;
};

static enum status print_text(const struct shown_blob *b, struct error *err)
{
    char encoded[DIGEST_TEXT_SIZE], content[DIGEST_TEXT_SIZE], size[SIZE_TEXT_SIZE];
    TRY(cli_print(err, "kind            %s\nencoded size    %zu\nencoded digest  %s\ncrc             %08" PRIx32 "\n",
                  kind_names[b->kind], b->encoded_size, digest_text(&b->encoded_digest, encoded), b->crc));
    if (!b->decoded)
        return cli_print(err, "content         not decoded: encrypted\n");
    return cli_print(err, "size            %zu (%s)\ndigest          %s\n", b->size, size_text(b->size, size),
                     digest_text(&b->digest, content));
}

static json_t *blob_json(const struct shown_blob *b)
{
    char encoded[DIGEST_TEXT_SIZE], content[DIGEST_TEXT_SIZE], crc[9];
    snprintf(crc, sizeof crc, "%08" PRIx32, b->crc);
    /* Members that are NULL with '*' are left out. */
    return json_pack("{s:s, s:o, s:s, s:s, s:o*, s:s*}", "kind", kind_names[b->kind], "encoded-size",
                     cli_json_count(b->encoded_size), "encoded-digest", digest_text(&b->encoded_digest, encoded), "crc",
                     crc, "size", b->decoded ? cli_json_count(b->size) : NULL, "digest",
                     b->decoded ? digest_text(&b->digest, content) : NULL);
}

static enum status show(int argc, char **argv, struct error *err)
{
    enum { RAW = CLI_OPTION_FIRST };
    static const struct option options[] = {
        {"raw", no_argument, NULL, RAW}, KEY_ARGS_OPTIONS, CLI_FORMAT_OPTION, CLI_OPTIONS_END};
    CLEANUP(key_args_deinit) struct key_args key = KEY_ARGS_INIT;
    enum output_format format = OUTPUT_TEXT;
    bool raw = false;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        bool taken;
        TRY(key_args_take(option, &key, &taken, err));
        if (taken)
            continue;
        switch (option) {
        case RAW: raw = true; break;
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &format, err)); break;
        case CLI_HELP: return cli_help(show_help);
        default: return ERR_USAGE;
        }
    }
    TRY(cli_arguments(argc, argv, 1, 1, "FILE", err));
    const char *path = argv[optind];

    const size_t size_max = BLOB_RAW_SIZE_MAX + BLOB_ENCRYPTED_HEADER_SIZE;
    CLEANUP(buffer_deinit) struct buffer encoded = BUFFER_INIT(size_max + READ_SPARE);
    CLEANUP(buffer_deinit) struct buffer content = BUFFER_INIT(BLOB_RAW_SIZE_MAX);
    CLEANUP(context_cleanup) struct blob_context *context = NULL;
    TRY(key_args_load(&key, err));
    TRY(whole_file_read(path, size_max, &encoded, err));
    TRY(blob_context_new(&context, err));
    struct shown_blob b = {.encoded_size = encoded.size};
    TRY(blob_check(encoded.data, encoded.size, path, &b.kind, err));
    const struct crypt_config *config = blob_is_encrypted(b.kind) ? key_args_config(&key) : NULL;
    b.decoded = raw || config || !blob_is_encrypted(b.kind);
    if (b.decoded)
        TRY(blob_open_keyed(context, config, encoded.data, encoded.size, BLOB_RAW_SIZE_MAX, path, &content, err));
    if (raw) {
        struct sink out = cli_stdout_sink();
        return out.write(out.context, content.data, content.size, err);
    }
    b.crc = load_u32le(encoded.data + BLOB_CRC_OFFSET);
    digest_of(encoded.data, encoded.size, &b.encoded_digest);
    b.size = content.size;
    crypt_digest_of(config, content.data, content.size, &b.digest);
    return format == OUTPUT_TEXT ? print_text(&b, err) : cli_print_json(blob_json(&b), format, err);
}

static int cmd_show(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(show(argc, argv, &err), &err);
}

int cmd_blob(int argc, char **argv)
{
    static const struct cli_command commands[] = {{"show", cmd_show, "kind, sizes, checksum and content of a blob"},
                                                  {0}};
    return cli_dispatch("pxarbench blob", commands, argc, argv);
}
