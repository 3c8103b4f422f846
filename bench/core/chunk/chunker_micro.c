/* How fast plain scanning is. `--tiny`: milliseconds, so that it runs in every test run. */
#include "base/clock.h"
#include "chunk/chunker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t scan_all(struct chunker *c, const uint8_t *data, size_t size)
{
    size_t cuts = 0;
    for (size_t at = 0; at < size;) {
        size_t p = chunker_scan(c, data + at, size - at);
        if (p == 0)
            break;
        at += p;
        cuts++;
    }
    return cuts;
}

static int measure(const char *name, const uint8_t *data, size_t size, size_t average, unsigned rounds)
{
    struct error err = {0};
    struct chunker c;
    if (chunker_init(&c, average, &err) != OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    uint64_t best_ns = UINT64_MAX;
    size_t cuts = 0;
    for (unsigned round = 0; round < rounds; round++) {
        chunker_reset(&c);
        uint64_t begin_ns = clock_monotonic_ns();
        cuts = scan_all(&c, data, size);
        uint64_t elapsed_ns = clock_monotonic_ns() - begin_ns;
        if (elapsed_ns < best_ns)
            best_ns = elapsed_ns;
    }
    printf("%-8s average %7zu: %6.2f GB/s, %zu cuts\n", name, average, (double)size / (double)(best_ns ? best_ns : 1),
           cuts);
    return 0;
}

int main(int argc, char **argv)
{
    bool tiny = argc > 1 && strcmp(argv[1], "--tiny") == 0;
    size_t size = tiny ? (size_t)256 << 10 : (size_t)128 << 20;
    unsigned rounds = tiny ? 1 : 5;
    uint8_t *data = malloc(size);
    if (!data)
        return 1;
    uint64_t x = 1;
    for (size_t i = 0; i < size; i++) {
        x = x * 6364136223846793005U + 1442695040888963407U;
        data[i] = (uint8_t)(x >> 33);
    }
    int failed = measure("random", data, size, 64 << 10, rounds);
    failed |= measure("random", data, size, 4 << 20, rounds);
    /* No cut before the maximum: everything behind the minimum is hashed. */
    memset(data, 0, size);
    failed |= measure("zeros", data, size, 4 << 20, rounds);
    free(data);
    return failed;
}
