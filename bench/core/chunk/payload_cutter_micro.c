/* What cutting costs beside hashing: trees of small files, every one with a suggestion. `--tiny`: milliseconds. */
#include "base/clock.h"
#include "chunk/payload_cutter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum status run(struct payload_cutter *c, const uint8_t *data, size_t file_count, size_t file_size,
                       bool is_reused, uint64_t *out_chunks, struct error *err)
{
    uint64_t position = 0;
    struct cut cut;
    *out_chunks = 0;
    for (size_t i = 0; i <= file_count; i++) {
        if (i < file_count) {
            TRY(payload_cutter_suggest(c, position, err));
            if (is_reused) {
                if (i % 128 == 127) {
                    TRY(payload_cutter_order(c, position, file_size, err));
                    position += file_size;
                }
            } else {
                TRY(payload_cutter_write(c, data, 16, true, err));
                TRY(payload_cutter_write(c, data + 16, file_size, true, err));
                position += 16 + file_size;
            }
        } else {
            TRY(payload_cutter_end(c, err));
        }
        for (;;) {
            TRY(payload_cutter_next(c, &cut, err));
            if (cut.kind == CUT_MORE)
                break;
            ++*out_chunks;
        }
    }
    return OK;
}

static int measure(const char *name, const uint8_t *data, size_t file_count, size_t file_size, bool is_reused)
{
    struct error err = {0};
    struct payload_cutter *c = NULL;
    uint64_t chunks = 0;
    uint64_t begin_ns = clock_monotonic_ns();
    enum status status = payload_cutter_new(CHUNKER_AVERAGE_DEFAULT, 0, &c, &err);
    if (status == OK)
        status = run(c, data, file_count, file_size, is_reused, &chunks, &err);
    uint64_t elapsed_ns = clock_monotonic_ns() - begin_ns;
    payload_cutter_free(c);
    if (status != OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%s: %zu files of %zu bytes in %.3f ms, %" PRIu64 " chunks\n", name, file_count, file_size,
           (double)elapsed_ns / 1e6, chunks);
    return 0;
}

int main(int argc, char **argv)
{
    bool tiny = argc > 1 && strcmp(argv[1], "--tiny") == 0;
    size_t file_count = tiny ? 1000 : 80000;
    uint8_t *data = calloc(1, 16 + (256 << 10));
    if (!data)
        return 1;
    int failed = measure("encoded", data, file_count, 0, false);
    failed |= measure("encoded", data, file_count, 16 << 10, false);
    failed |= measure("encoded", data, file_count / 10, 256 << 10, false);
    failed |= measure("reused", data, file_count, 16 << 10, true);
    free(data);
    return failed;
}
