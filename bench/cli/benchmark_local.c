#include "cli/benchmark_local.h"

#include "base/clock.h"
#include "blob/blob.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_SIZE = 4 << 20, PIECE_SIZE = 32, WINDOW_SIZE = 64 << 10 };

double benchmark_speed_value(const struct benchmark_speed *s)
{
    return s->ns > 0 ? (double)s->bytes * 1e9 / (double)s->ns : 0;
}

/* xorshift64*: any sequence without a pattern will do. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

void benchmark_data(uint8_t *out, size_t size)
{
    uint64_t state = 88172645463325252U;
    for (size_t at = 0; at < size; at += PIECE_SIZE) {
        size_t piece = size - at < PIECE_SIZE ? size - at : PIECE_SIZE;
        uint64_t choice = next_random(&state);
        if (at > WINDOW_SIZE && (choice & 1)) { /* seen before */
            memcpy(out + at, out + at - PIECE_SIZE - (choice >> 32) % (WINDOW_SIZE - PIECE_SIZE), piece);
            continue;
        }
        for (size_t i = 0; i < piece; i++)
            out[at + i] = (uint8_t)(next_random(&state) >> 56);
    }
}

struct bench {
    struct blob_context *blobs;
    struct crypt_cipher *cipher;
    struct slice raw;
    struct digest digest;
    struct buffer blob;  /* of the chunk, made once */
    struct buffer spare; /* where results go */
};

static enum status run_once(struct bench *b, enum benchmark_part part, struct error *err)
{
    static const uint8_t key[CRYPT_KEY_SIZE], iv[CRYPT_IV_SIZE]; /* nothing is kept */
    uint8_t tag[CRYPT_TAG_SIZE];
    struct digest digest;
    switch (part) {
    case BENCHMARK_SHA256: digest_of(b->raw.data, b->raw.size, &digest); return OK;
    case BENCHMARK_COMPRESS: return blob_seal(b->blobs, &b->raw, 1, &b->spare, err);
    case BENCHMARK_DECOMPRESS:
        return blob_open(b->blobs, b->blob.data, b->blob.size, CHUNK_SIZE, "benchmark", &b->spare, err);
    case BENCHMARK_VERIFY:
        return blob_open_chunk(b->blobs, NULL, b->blob.data, b->blob.size, &b->digest, CHUNK_SIZE, "benchmark",
                               &b->spare, err);
    default: return crypt_seal(b->cipher, key, iv, &b->raw, 1, b->spare.data, tag, err);
    }
}

static enum status measure(struct bench *b, enum benchmark_part part, uint64_t duration_ns, struct benchmark_speed *out,
                           struct error *err)
{
    TRY(run_once(b, part, err)); /* caches and pages */
    uint64_t begin = clock_monotonic_ns();
    *out = (struct benchmark_speed){0};
    do {
        TRY(run_once(b, part, err));
        out->bytes += CHUNK_SIZE;
        out->ns = clock_monotonic_ns() - begin;
    } while (out->ns < duration_ns);
    return OK;
}

static void bench_deinit(struct bench *b)
{
    blob_context_free(b->blobs);
    crypt_cipher_free(b->cipher);
    buffer_deinit(&b->blob);
    buffer_deinit(&b->spare);
}

static void data_free(uint8_t **data)
{
    free(*data);
}

enum status benchmark_local(uint64_t duration_ns, struct benchmark_speed out[BENCHMARK_PART_COUNT], struct error *err)
{
    CLEANUP(data_free) uint8_t *data = malloc(CHUNK_SIZE);
    CLEANUP(bench_deinit)
    struct bench b = {.blob = BUFFER_INIT(CHUNK_BLOB_SIZE_MAX), .spare = BUFFER_INIT(CHUNK_BLOB_SIZE_MAX)};
    if (!data)
        return fail(err, ERR_MEMORY, "out of memory for the data of the benchmark");
    benchmark_data(data, CHUNK_SIZE);
    b.raw = (struct slice){.data = data, .size = CHUNK_SIZE};
    digest_of(data, CHUNK_SIZE, &b.digest);
    TRY(blob_context_new(&b.blobs, err));
    TRY(crypt_cipher_new(&b.cipher, err));
    TRY(buffer_reserve(&b.spare, CHUNK_BLOB_SIZE_MAX, err));
    TRY(blob_seal(b.blobs, &b.raw, 1, &b.blob, err));
    for (int part = 0; part < BENCHMARK_PART_COUNT; part++)
        TRY(measure(&b, (enum benchmark_part)part, duration_ns, &out[part], err));
    return OK;
}
