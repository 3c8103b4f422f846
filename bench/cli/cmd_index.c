/* pxarbench index: stored indexes, for looking at. */
#include "base/clock.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/whole_file.h"
#include "index/fixed_index.h"

#include <inttypes.h>
#include <stdio.h>

static const char show_help[] =
    "Usage: pxarbench index show FILE [--output-format text|json|json-pretty]\n"
    "\n"
    "Shows a dynamic or fixed index (.didx, .fidx): its header, the checksum computed from its entries beside the one\n"
    "it stores, and the entries: where in the stream or image each chunk begins and ends, and its digest.\n"
    "A stored checksum that is wrong is reported and no error: nobody trusts it, the manifest has the one that "
    "counts.\n";

enum { UUID_TEXT_SIZE = 37, READ_SPARE = 1 << 16 };

/* One of the two. */
struct either_index {
    bool is_fixed;
    struct dynamic_index dynamic;
    struct fixed_index fixed;
};

static void either_deinit(struct either_index *index)
{
    dynamic_index_deinit(&index->dynamic);
    fixed_index_deinit(&index->fixed);
}

static enum status either_parse(const struct buffer *bytes, const char *path, struct either_index *out,
                                struct error *err)
{
    enum status status = dynamic_index_parse(bytes->data, bytes->size, path, &out->dynamic, err);
    if (status != ERR_NOT_ARCHIVE)
        return status;
    status = fixed_index_parse(bytes->data, bytes->size, path, &out->fixed, err);
    out->is_fixed = status == OK;
    if (status == ERR_NOT_ARCHIVE)
        return fail(err, status, "%s: neither a dynamic nor a fixed index: wrong magic number at offset 0", path);
    return status;
}

static const struct index_header *either_header(const struct either_index *index)
{
    return index->is_fixed ? &index->fixed.header : &index->dynamic.header;
}

static size_t either_count(const struct either_index *index)
{
    return index->is_fixed ? index->fixed.count : index->dynamic.count;
}

static uint64_t either_size(const struct either_index *index)
{
    return index->is_fixed ? index->fixed.size : dynamic_index_size(&index->dynamic);
}

static void either_csum(const struct either_index *index, struct digest *out)
{
    if (index->is_fixed)
        fixed_index_csum(&index->fixed, out);
    else
        dynamic_index_csum(&index->dynamic, out);
}

struct shown_entry {
    uint64_t start, end;
    const struct digest *digest;
};

static struct shown_entry either_entry(const struct either_index *index, size_t k)
{
    if (!index->is_fixed)
        return (struct shown_entry){.start = dynamic_index_start(&index->dynamic, k),
                                    .end = index->dynamic.entries[k].end,
                                    .digest = &index->dynamic.entries[k].digest};
    uint64_t start = k * index->fixed.chunk_size;
    return (struct shown_entry){
        .start = start, .end = start + fixed_index_chunk_size(&index->fixed, k), .digest = &index->fixed.digests[k]};
}

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

static enum status print_text(const struct either_index *index, const struct digest *computed, struct error *err)
{
    char uuid[UUID_TEXT_SIZE], stored[DIGEST_TEXT_SIZE], text[DIGEST_TEXT_SIZE], time[TIME_TEXT_SIZE];
    const struct index_header *header = either_header(index);
    bool valid = digest_equal(&header->csum, computed);
    if (!time_format_utc(header->ctime, time))
        snprintf(time, sizeof time, "%" PRId64 " s", header->ctime);
    TRY(cli_print(err,
                  "kind           %s\nuuid           %s\nctime          %s\ncsum           %s (%s)\n"
                  "computed csum  %s\nsize           %" PRIu64 "\n",
                  index->is_fixed ? "fixed" : "dynamic", uuid_text(header->uuid, uuid), time,
                  digest_text(&header->csum, stored), valid ? "right" : "WRONG", digest_text(computed, text),
                  either_size(index)));
    if (index->is_fixed)
        TRY(cli_print(err, "chunk size     %" PRIu64 "\n", index->fixed.chunk_size));
    TRY(cli_print(err, "entries        %zu\n\n%16s %16s %10s digest\n", either_count(index), "start", "end", "size"));
    for (size_t k = 0; k < either_count(index); k++) {
        struct shown_entry e = either_entry(index, k);
        TRY(cli_print(err, "%16" PRIu64 " %16" PRIu64 " %10" PRIu64 " %s\n", e.start, e.end, e.end - e.start,
                      digest_text(e.digest, text)));
    }
    return OK;
}

static json_t *entries_json(const struct either_index *index)
{
    char text[DIGEST_TEXT_SIZE];
    json_t *entries = json_array();
    for (size_t k = 0; k < either_count(index) && entries; k++) {
        struct shown_entry e = either_entry(index, k);
        json_t *entry =
            json_pack("{s:o, s:o, s:o, s:s}", "start", cli_json_count(e.start), "end", cli_json_count(e.end), "size",
                      cli_json_count(e.end - e.start), "digest", digest_text(e.digest, text));
        if (json_array_append_new(entries, entry) != 0) {
            json_decref(entries);
            entries = NULL;
        }
    }
    return entries;
}

static json_t *index_json(const struct either_index *index, const struct digest *computed)
{
    char uuid[UUID_TEXT_SIZE], stored[DIGEST_TEXT_SIZE], text[DIGEST_TEXT_SIZE];
    const struct index_header *header = either_header(index);
    /* Members that are NULL with '*' are left out. */
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:b, s:o, s:o*, s:o}", "kind", index->is_fixed ? "fixed" : "dynamic",
                     "uuid", uuid_text(header->uuid, uuid), "ctime", (json_int_t)header->ctime, "csum",
                     digest_text(&header->csum, stored), "computed-csum", digest_text(computed, text), "csum-valid",
                     digest_equal(&header->csum, computed), "size", cli_json_count(either_size(index)), "chunk-size",
                     index->is_fixed ? cli_json_count(index->fixed.chunk_size) : NULL, "entries", entries_json(index));
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

    /* Dynamic ones have the larger entries. */
    const uint64_t size_max = INDEX_HEADER_SIZE + (uint64_t)INDEX_ENTRIES_MAX * DYNAMIC_ENTRY_SIZE;
    CLEANUP(buffer_deinit) struct buffer bytes = BUFFER_INIT((size_t)size_max + READ_SPARE);
    TRY(whole_file_read(path, (size_t)size_max, &bytes, err));
    CLEANUP(either_deinit) struct either_index index = {0};
    TRY(either_parse(&bytes, path, &index, err));
    struct digest computed;
    either_csum(&index, &computed);
    if (!digest_equal(&computed, &either_header(&index)->csum))
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
    static const struct cli_command commands[] = {
        {"show", cmd_show, "header, checksums and entries of a .didx or .fidx file"}, {0}};
    return cli_dispatch("pxarbench index", commands, argc, argv);
}
