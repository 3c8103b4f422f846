/* How fast this machine does what a backup does with each chunk, one thread at a time: digest, compression, encryption.
 * Each is repeated over one chunk of 4 MiB that compresses to about half, for as long as asked.
 * Single-threaded. */
#ifndef PXB_CLI_BENCHMARK_LOCAL_H
#define PXB_CLI_BENCHMARK_LOCAL_H

#include "base/status.h"

enum benchmark_part {
    BENCHMARK_SHA256,
    BENCHMARK_COMPRESS,   /* zstd level 1, with the blob's checksum */
    BENCHMARK_DECOMPRESS, /* with it, too */
    BENCHMARK_VERIFY,     /* decompress and digest */
    BENCHMARK_ENCRYPT,    /* AES-256-GCM */
    BENCHMARK_PART_COUNT,
};

struct benchmark_speed {
    uint64_t bytes; /* before compression; 0: not measured */
    uint64_t ns;
};
/* In bytes per second; 0: not measured. */
double benchmark_speed_value(const struct benchmark_speed *s);

/* The chunk: `size` bytes, the same ones each time. */
void benchmark_data(uint8_t *out, size_t size);
/* About `duration_ns` for each part. */
MUST_CHECK enum status benchmark_local(uint64_t duration_ns, struct benchmark_speed out[BENCHMARK_PART_COUNT],
                                       struct error *err);

#endif
