/* How fast members are encoded and decoded: a tree of small files in memory, as a source tree has them.
 * `--tiny`: a few members, to show that it runs. Prints one JSON object per measurement, best of several rounds. */
#include "base/clock.h"
#include "pxar/decoder.h"
#include "pxar/encoder.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILES_PER_DIRECTORY = 16, ROUNDS = 5 };

static enum status append(void *context, const uint8_t *data, size_t size, struct error *err)
{
    return buffer_append(context, data, size, err);
}

static enum status put_directory(struct encoder *e, unsigned directory, struct error *err)
{
    static const struct attributes dir = {.stat = {.mode = 040755, .mtime_secs = 1700000000}};
    static const struct attributes file = {.stat = {.mode = 0100644, .uid = 1000, .mtime_secs = 1700000000}};
    char name[64];
    snprintf(name, sizeof name, "directory-%07u", directory);
    TRY(encoder_directory_begin(e, name, &dir, err));
    for (unsigned i = 0; i < FILES_PER_DIRECTORY; i++) {
        snprintf(name, sizeof name, "some_file_name_%02u.c", i);
        TRY(encoder_file(e, name, &file, 0, NULL, err));
    }
    return encoder_directory_end(e, err);
}

static enum status encode(unsigned directories, struct buffer *metadata, struct buffer *payload, struct error *err)
{
    static const struct attributes root = {.stat = {.mode = 040755}};
    struct encoder *e = NULL;
    TRY(encoder_new((struct sink){append, metadata}, (struct sink){append, payload}, &root, NULL, 0, &e, err));
    enum status status = OK;
    for (unsigned i = 0; i < directories && status == OK; i++)
        status = put_directory(e, i, err);
    if (status == OK)
        status = encoder_finish(e, err);
    encoder_free(e);
    return status;
}

static enum status decode(const struct buffer *metadata, uint64_t *out_entries, struct error *err)
{
    struct memory_source m = {.data = metadata->data, .size = metadata->size};
    struct decoder *d = NULL;
    TRY(decoder_new(source_over_memory(&m, "metadata"), NULL, &d, err));
    struct archive_entry entry;
    enum status status;
    *out_entries = 0;
    while ((status = decoder_next(d, &entry, err)) == OK)
        *out_entries += entry.kind != ENTRY_DIRECTORY_END;
    decoder_free(d);
    return status == ERR_CLOSED ? OK : status;
}

static void report(const char *what, uint64_t ns, uint64_t members, size_t size)
{
    printf("{\"what\":\"%s\",\"members\":%" PRIu64 ",\"bytes\":%zu,\"elapsed_ns\":%" PRIu64 "}\n", what, members, size,
           ns);
}

int main(int argc, char **argv)
{
    bool tiny = argc > 1 && strcmp(argv[1], "--tiny") == 0;
    unsigned directories = tiny ? 3 : 4800;
    struct buffer metadata = BUFFER_INIT(0), payload = BUFFER_INIT(0);
    struct error err = {0};
    uint64_t encode_ns = UINT64_MAX, decode_ns = UINT64_MAX, entries = 0;
    for (int round = 0; round < (tiny ? 1 : ROUNDS); round++) {
        buffer_clear(&metadata);
        buffer_clear(&payload);
        uint64_t start = clock_monotonic_ns();
        if (encode(directories, &metadata, &payload, &err) != OK)
            break;
        uint64_t encoded = clock_monotonic_ns();
        if (decode(&metadata, &entries, &err) != OK)
            break;
        uint64_t decoded = clock_monotonic_ns();
        encode_ns = encoded - start < encode_ns ? encoded - start : encode_ns;
        decode_ns = decoded - encoded < decode_ns ? decoded - encoded : decode_ns;
    }
    bool right = err.status == OK && entries == 1 + directories * (FILES_PER_DIRECTORY + 1);
    if (right) {
        report("encode", encode_ns, entries, metadata.size);
        report("decode", decode_ns, entries, metadata.size);
    } else {
        fprintf(stderr, "%" PRIu64 " entries: %s\n", entries, err.text);
    }
    buffer_deinit(&metadata);
    buffer_deinit(&payload);
    return right ? 0 : 1;
}
