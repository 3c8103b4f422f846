/* pxarbench index: stored indexes, for looking at. */
#include "base/clock.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "index/dynamic_index.h"

#include <inttypes.h>
#include <stdio.h>

static const char show_help[] =
    "Usage: pxarbench index show FILE [--output-format text|json|json-pretty]\n"
    "\n"
    "Shows a dynamic index (.didx): its header, the checksum computed from its entries beside the one it stores, and\n"
    "the entries: where in the stream each chunk begins and ends, and its digest.\n"
    "A stored checksum that is wrong is reported and no error: nobody trusts it, the manifest has the one that "
    "counts.\n";

enum { UUID_TEXT_SIZE = 37, READ_SIZE = 1 << 16 };

static const char *uuid_text(const uint8_t uuid[16], char out[UUID_TEXT_SIZE])
{
    static const size_t dash_before[] = {4, 6, 8, 10};
    char *end = out;
    for (size_t i = 0, dash = 0; i < 16; i++) {
        if (dash < 4 && i == dash_before[dash]) {
            *end++ = '-';
            dash++;
        }
        hex_encode(&uuid[i], 1, end);
        end += 2;
    }
    *end = '\0';
    return out;
}

static enum status read_file(const char *path, struct buffer *out, struct error *err)
{
    CLEANUP(input_file_close) struct input_file file = {0};
    TRY(input_file_open(path, &file, err));
    struct source source = input_file_source(&file);
    for (;;) {
        size_t got;
        TRY(buffer_reserve(out, READ_SIZE, err));
        TRY(source.read(source.context, out->data + out->size, READ_SIZE, &got, err));
        if (got == 0)
            return OK;
        out->size += got;
    }
}

static enum status print_text(const struct dynamic_index *index, const struct digest *computed, struct error *err)
{
    char uuid[UUID_TEXT_SIZE], stored[DIGEST_TEXT_SIZE], text[DIGEST_TEXT_SIZE], time[TIME_TEXT_SIZE];
    bool valid = digest_equal(&index->header.csum, computed);
    if (!time_format_utc(index->header.ctime, time))
        snprintf(time, sizeof time, "%" PRId64 " s", index->header.ctime);
    TRY(cli_print(err, "uuid           %s\nctime          %s\ncsum           %s (%s)\ncomputed csum  %s\n",
                  uuid_text(index->header.uuid, uuid), time, digest_text(&index->header.csum, stored),
                  valid ? "right" : "WRONG", digest_text(computed, text)));
    TRY(cli_print(err, "size           %" PRIu64 "\nentries        %zu\n\n%16s %16s %10s digest\n",
                  dynamic_index_size(index), index->count, "start", "end", "size"));
    for (size_t k = 0; k < index->count; k++)
        TRY(cli_print(err, "%16" PRIu64 " %16" PRIu64 " %10" PRIu64 " %s\n", dynamic_index_start(index, k),
                      index->entries[k].end, dynamic_index_chunk_size(index, k),
                      digest_text(&index->entries[k].digest, text)));
    return OK;
}

static json_t *index_json(const struct dynamic_index *index, const struct digest *computed)
{
    char uuid[UUID_TEXT_SIZE], stored[DIGEST_TEXT_SIZE], text[DIGEST_TEXT_SIZE];
    json_t *entries = json_array();
    for (size_t k = 0; k < index->count && entries; k++) {
        json_t *entry =
            json_pack("{s:o, s:o, s:o, s:s}", "start", cli_json_count(dynamic_index_start(index, k)), "end",
                      cli_json_count(index->entries[k].end), "size", cli_json_count(dynamic_index_chunk_size(index, k)),
                      "digest", digest_text(&index->entries[k].digest, text));
        if (json_array_append_new(entries, entry) != 0) {
            json_decref(entries);
            entries = NULL;
        }
    }
    return json_pack("{s:s, s:I, s:s, s:s, s:b, s:o, s:o}", "uuid", uuid_text(index->header.uuid, uuid), "ctime",
                     (json_int_t)index->header.ctime, "csum", digest_text(&index->header.csum, stored), "computed-csum",
                     digest_text(computed, text), "csum-valid", digest_equal(&index->header.csum, computed), "size",
                     cli_json_count(dynamic_index_size(index)), "entries", entries);
}

static enum status show(int argc, char **argv, struct error *err)
{
    static const struct option options[] = {CLI_FORMAT_OPTION, CLI_OPTIONS_END};
    enum output_format format = OUTPUT_TEXT;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;)
        switch (option) {
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &format, err)); break;
        case CLI_HELP: return cli_help(show_help);
        default: return ERR_USAGE;
        }
    TRY(cli_arguments(argc, argv, 1, 1, "FILE", err));
    const char *path = argv[optind];

    const uint64_t file_size_max = INDEX_HEADER_SIZE + (uint64_t)INDEX_ENTRIES_MAX * DYNAMIC_ENTRY_SIZE;
    CLEANUP(buffer_deinit) struct buffer bytes = BUFFER_INIT((size_t)file_size_max + READ_SIZE);
    TRY(read_file(path, &bytes, err));
    CLEANUP(dynamic_index_deinit) struct dynamic_index index = {0};
    TRY(dynamic_index_parse(bytes.data, bytes.size, path, &index, err));
    struct digest computed;
    dynamic_index_csum(&index, &computed);
    if (!digest_equal(&computed, &index.header.csum))
        log_warning("%s: the stored checksum does not match the entries", path);
    if (format == OUTPUT_TEXT)
        return print_text(&index, &computed, err);
    return cli_print_json(index_json(&index, &computed), format, err);
}

static int cmd_show(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(show(argc, argv, &err), &err);
}

int cmd_index(int argc, char **argv)
{
    static const struct cli_command commands[] = {{"show", cmd_show, "header, checksums and entries of a .didx file"},
                                                  {0}};
    return cli_dispatch("pxarbench index", commands, argc, argv);
}
