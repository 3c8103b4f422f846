/* pxarbench chunk: where a file would be cut, with digests. For test vectors and for looking at data. */
#include "base/buffer.h"
#include "chunk/chunker.h"
#include "chunk/digest.h"
#include "chunk/payload_cutter.h"
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "Usage: pxarbench chunk FILE [OPTION...]\n"
    "\n"
    "Cuts FILE (- is standard input) into chunks and prints a list of {\"end\":N,\"digest\":\"hex\"}.\n"
    "\n"
    "  --average BYTES         average chunk size, a power of two from 256 (default 4194304)\n"
    "  --suggest A,B,...       suggested boundaries: stream offsets; cut as a payload stream (may be repeated)\n"
    "  --order B:S1+S2+...     inject chunks of these sizes at stream offset B (may be repeated, ascending)\n"
    "  --feed-size BYTES       give the data to the chunker in blocks of this size (default: all at once)\n"
    "  --output-format FORMAT  text, json or json-pretty (default json)\n"
    "\n"
    "Suggestions and orders are known before the first byte. With one of them FILE is held in memory (at most 4 GiB);\n"
    "else it is streamed and the result does not depend on the feed size. Injected chunks have no data, so their "
    "digest\n"
    "is null and they carry \"injected\":true; offsets behind them include their sizes.\n";

enum { READ_SIZE = 1 << 20, LIST_COUNT_MAX = 1 << 24 };

struct numbers {
    uint64_t *values;
    size_t count;
    size_t capacity;
};

struct order {
    uint64_t boundary;
    uint64_t size;
    size_t chunk_count; /* of chunk_sizes, in order */
};

struct options {
    uint64_t average;
    uint64_t feed_size; /* 0: not given */
    enum output_format format;
    bool is_payload;
    struct numbers suggestions;
    struct numbers chunk_sizes;
    struct order *orders;
    size_t order_count;
    size_t order_capacity;
};

static void options_deinit(struct options *o)
{
    free(o->suggestions.values);
    free(o->chunk_sizes.values);
    free(o->orders);
}

/* Numbers between separators, appended to `list`. */
static enum status parse_numbers(const char *what, const char *text, char separator, struct numbers *list,
                                 struct error *err)
{
    for (;;) {
        const char *end = strchr(text, separator);
        size_t size = end ? (size_t)(end - text) : strlen(text);
        char number[32];
        if (size >= sizeof number)
            return fail(err, ERR_USAGE, "%s: '%.*s' is not a number of bytes", what, (int)sizeof number, text);
        memcpy(number, text, size);
        number[size] = '\0';
        uint64_t value;
        TRY(cli_parse_u64(what, number, 0, INT64_MAX, &value, err));
        void *values = list->values;
        TRY(array_grow(&values, list->count, &list->capacity, sizeof *list->values, LIST_COUNT_MAX, what, err));
        list->values = values;
        list->values[list->count++] = value;
        if (!end)
            return OK;
        text = end + 1;
    }
}

static enum status parse_order(const char *text, struct options *o, struct error *err)
{
    const char *colon = strchr(text, ':');
    if (!colon)
        return fail(err, ERR_USAGE, "--order: '%s' is not of the form BOUNDARY:SIZE+SIZE...", text);
    char boundary[32];
    size_t size = (size_t)(colon - text);
    if (size >= sizeof boundary)
        return fail(err, ERR_USAGE, "--order: '%.*s' is not an offset", (int)sizeof boundary, text);
    memcpy(boundary, text, size);
    boundary[size] = '\0';

    struct order order = {0};
    TRY(cli_parse_u64("--order", boundary, 0, INT64_MAX, &order.boundary, err));
    size_t first = o->chunk_sizes.count;
    TRY(parse_numbers("--order", colon + 1, '+', &o->chunk_sizes, err));
    order.chunk_count = o->chunk_sizes.count - first;
    for (size_t i = first; i < o->chunk_sizes.count; i++)
        if (__builtin_add_overflow(order.size, o->chunk_sizes.values[i], &order.size))
            return fail(err, ERR_USAGE, "--order: '%s': the sizes' sum is too large", text);
    void *orders = o->orders;
    TRY(array_grow(&orders, o->order_count, &o->order_capacity, sizeof *o->orders, LIST_COUNT_MAX, "orders", err));
    o->orders = orders;
    o->orders[o->order_count++] = order;
    return OK;
}

static void file_close(FILE **file)
{
    if (*file && *file != stdin)
        fclose(*file);
}

static void digest_cleanup(struct digest_state **s)
{
    digest_free(*s);
}

static void cutter_cleanup(struct payload_cutter **c)
{
    payload_cutter_free(*c);
}

static void json_cleanup(json_t **value)
{
    json_decref(*value);
}

/* At most `size` bytes; *out_size 0: end of file. */
static enum status read_some(FILE *file, const char *path, uint8_t *data, size_t size, size_t *out_size,
                             struct error *err)
{
    errno = 0;
    *out_size = fread(data, 1, size, file);
    if (*out_size < size && ferror(file))
        return fail(err, ERR_IO, "read %s", path);
    return OK;
}

static enum status add_chunk(json_t *list, uint64_t end, const struct digest *digest, struct error *err)
{
    char text[DIGEST_TEXT_SIZE];
    json_t *chunk = digest ? json_pack("{s:I, s:s}", "end", (json_int_t)end, "digest", digest_text(digest, text))
                           : json_pack("{s:I, s:n, s:b}", "end", (json_int_t)end, "digest", "injected", 1);
    if (json_array_append_new(list, chunk) != 0)
        return fail(err, ERR_MEMORY, "out of memory for the list of chunks");
    return OK;
}

static enum status cut_plain(const struct options *o, FILE *file, const char *path, json_t *list, struct error *err)
{
    struct chunker chunker;
    TRY(chunker_init(&chunker, (size_t)o->average, err));
    CLEANUP(digest_cleanup) struct digest_state *digest = NULL;
    TRY(digest_new(&digest, err));
    size_t block_size = o->feed_size && o->feed_size < READ_SIZE ? (size_t)o->feed_size : READ_SIZE;
    CLEANUP(buffer_deinit) struct buffer block = BUFFER_INIT(READ_SIZE);
    TRY(buffer_reserve(&block, block_size, err));

    struct digest value;
    uint64_t end = 0;
    uint64_t chunk_begin = 0;
    digest_begin(digest);
    for (;;) {
        size_t size;
        TRY(read_some(file, path, block.data, block_size, &size, err));
        if (size == 0)
            break;
        for (size_t at = 0; at < size;) {
            size_t p = chunker_scan(&chunker, block.data + at, size - at);
            size_t scanned = p ? p : size - at;
            digest_update(digest, block.data + at, scanned);
            at += scanned;
            end += scanned;
            if (p == 0)
                continue;
            digest_finish(digest, &value);
            TRY(add_chunk(list, end, &value, err));
            digest_begin(digest);
            chunk_begin = end;
        }
    }
    if (end > chunk_begin) {
        digest_finish(digest, &value);
        TRY(add_chunk(list, end, &value, err));
    }
    return OK;
}

static enum status cut_payload(const struct options *o, FILE *file, const char *path, json_t *list, struct error *err)
{
    CLEANUP(cutter_cleanup) struct payload_cutter *cutter = NULL;
    size_t feed_size = o->feed_size ? (size_t)o->feed_size : SIZE_MAX;
    TRY(payload_cutter_new((size_t)o->average, feed_size, &cutter, err));
    for (size_t i = 0; i < o->suggestions.count; i++)
        TRY(payload_cutter_suggest(cutter, o->suggestions.values[i], err));
    for (size_t i = 0; i < o->order_count; i++)
        TRY(payload_cutter_order(cutter, o->orders[i].boundary, o->orders[i].size, err));

    CLEANUP(buffer_deinit) struct buffer data = BUFFER_INIT((size_t)4 << 30);
    for (;;) {
        size_t size;
        TRY(buffer_reserve(&data, 1, err));
        TRY(read_some(file, path, data.data + data.size, data.capacity - data.size, &size, err));
        if (size == 0)
            break;
        data.size += size;
    }
    TRY(payload_cutter_write(cutter, data.data, data.size, true, err));
    TRY(payload_cutter_end(cutter, err));

    size_t taken = 0;
    size_t order_at = 0;
    size_t chunk_at = 0;
    for (;;) {
        struct cut cut;
        TRY(payload_cutter_next(cutter, &cut, err));
        if (cut.kind == CUT_MORE)
            return OK;
        if (cut.kind == CUT_RAW) {
            struct digest digest;
            digest_of(data.data + taken, (size_t)cut.size, &digest);
            taken += (size_t)cut.size;
            TRY(add_chunk(list, cut.offset + cut.size, &digest, err));
            continue;
        }
        uint64_t end = cut.offset;
        for (size_t i = 0; i < o->orders[order_at].chunk_count; i++) {
            end += o->chunk_sizes.values[chunk_at++];
            TRY(add_chunk(list, end, NULL, err));
        }
        order_at++;
    }
}

static enum status print_text(const json_t *list, struct error *err)
{
    size_t i;
    json_t *chunk;
    json_array_foreach(list, i, chunk)
    {
        const char *digest = json_string_value(json_object_get(chunk, "digest"));
        TRY(cli_print(err, "%" JSON_INTEGER_FORMAT " %s\n", json_integer_value(json_object_get(chunk, "end")),
                      digest ? digest : "injected"));
    }
    return OK;
}

static enum status run(int argc, char **argv, struct error *err)
{
    enum { AVERAGE = CLI_OPTION_FIRST, FEED_SIZE, SUGGEST, ORDER };
    static const struct option names[] = {
        {"average", required_argument, NULL, AVERAGE},
        {"feed-size", required_argument, NULL, FEED_SIZE},
        {"suggest", required_argument, NULL, SUGGEST},
        {"order", required_argument, NULL, ORDER},
        CLI_FORMAT_OPTION,
        CLI_OPTIONS_END,
    };
    CLEANUP(options_deinit) struct options o = {.average = CHUNKER_AVERAGE_DEFAULT, .format = OUTPUT_JSON};
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, names, err)) != CLI_NO_MORE;)
        switch (option) {
        case AVERAGE:
            TRY(cli_parse_u64("--average", optarg, CHUNKER_AVERAGE_MIN, CHUNKER_AVERAGE_MAX, &o.average, err));
            break;
        case FEED_SIZE: TRY(cli_parse_u64("--feed-size", optarg, 1, INT64_MAX, &o.feed_size, err)); break;
        case SUGGEST:
            TRY(parse_numbers("--suggest", optarg, ',', &o.suggestions, err));
            o.is_payload = true;
            break;
        case ORDER:
            TRY(parse_order(optarg, &o, err));
            o.is_payload = true;
            break;
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &o.format, err)); break;
        case CLI_HELP: return cli_help(help_text);
        default: return ERR_USAGE;
        }
    TRY(cli_arguments(argc, argv, 1, 1, "FILE", err));
    /* Before the file is opened: a wrong average is the caller's mistake whatever the file. */
    struct chunker checked;
    TRY(chunker_init(&checked, (size_t)o.average, err));

    const char *path = argv[optind];
    bool is_stdin = strcmp(path, "-") == 0;
    CLEANUP(file_close) FILE *file = is_stdin ? stdin : fopen(path, "rbe");
    if (!file)
        return fail(err, ERR_IO, "open %s", path);
    CLEANUP(json_cleanup) json_t *list = json_array();
    if (!list)
        return fail(err, ERR_MEMORY, "out of memory for the list of chunks");
    TRY((o.is_payload ? cut_payload : cut_plain)(&o, file, is_stdin ? "standard input" : path, list, err));
    if (o.format == OUTPUT_TEXT)
        return print_text(list, err);
    return cli_print_json(json_incref(list), o.format, err);
}

int cmd_chunk(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(run(argc, argv, &err), &err);
}
