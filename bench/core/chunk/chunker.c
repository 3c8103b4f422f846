#include "chunk/chunker.h"

#include "chunk/buzhash_table.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* Removing a byte from the hash needs no rotation of its table value only because of this. */
static_assert(CHUNKER_WINDOW % 32 == 0, "window");
/* The smallest chunk must hold a whole window, else the hash would depend on where the chunk began. */
static_assert(CHUNKER_AVERAGE_MIN / 4 >= CHUNKER_WINDOW, "window fits into the smallest chunk");

enum { CHUNK_SIZE_KIB_MIN = 64, CHUNK_SIZE_KIB_MAX = 4096 };

enum status chunk_size_check_kib(uint64_t kib, struct error *err)
{
    if (kib < CHUNK_SIZE_KIB_MIN)
        return fail(err, ERR_USAGE, "value must have a minimum value of %d (got %" PRIu64 ")", CHUNK_SIZE_KIB_MIN, kib);
    if (kib > CHUNK_SIZE_KIB_MAX)
        return fail(err, ERR_USAGE, "value must have a maximum value of %d (got %" PRIu64 ")", CHUNK_SIZE_KIB_MAX, kib);
    if (kib & (kib - 1))
        return fail(err, ERR_USAGE, "Got unsupported chunk size '%" PRIu64 "'", kib * 1024);
    return OK;
}

enum status chunker_init(struct chunker *c, size_t average, struct error *err)
{
    if (average < CHUNKER_AVERAGE_MIN || average > CHUNKER_AVERAGE_MAX || (average & (average - 1)))
        return fail(err, ERR_USAGE, "average chunk size %zu is not a power of two from %d to %d", average,
                    CHUNKER_AVERAGE_MIN, CHUNKER_AVERAGE_MAX);
    *c = (struct chunker){
        .mask = (uint32_t)(2 * average - 1),
        .threshold = (uint32_t)(2 * average - 3),
        .chunk_size_min = average / 4,
        .chunk_size_max = average * 4,
    };
    return OK;
}

void chunker_reset(struct chunker *c)
{
    c->hash = 0;
    c->size = 0; /* the window is written before it is read */
}

static inline uint32_t roll(uint32_t hash, uint32_t in)
{
    return (hash << 1 | hash >> 31) ^ in;
}

/* Hashes data[begin..end) with the 64 bytes in front of each byte at hand. Returns the offset behind the first
 * accepting byte, or 0. */
static size_t scan_contiguous(const struct chunker *c, uint32_t *hash, const uint8_t *data, size_t begin, size_t end)
{
    const uint32_t mask = c->mask;
    const uint32_t threshold = c->threshold;
    const uint8_t *in = data + begin;
    const uint8_t *const stop = data + end;
    uint32_t h = *hash;
    /* In fours: the look-ups of the next bytes do not wait for the hash of the previous one. */
    for (; stop - in >= 4; in += 4) {
        const uint8_t *out = in - CHUNKER_WINDOW;
        uint32_t x0 = buzhash_table[in[0]] ^ buzhash_table[out[0]];
        uint32_t x1 = buzhash_table[in[1]] ^ buzhash_table[out[1]];
        uint32_t x2 = buzhash_table[in[2]] ^ buzhash_table[out[2]];
        uint32_t x3 = buzhash_table[in[3]] ^ buzhash_table[out[3]];
        h = roll(h, x0);
        if ((h & mask) >= threshold)
            return (size_t)(in - data) + 1;
        h = roll(h, x1);
        if ((h & mask) >= threshold)
            return (size_t)(in - data) + 2;
        h = roll(h, x2);
        if ((h & mask) >= threshold)
            return (size_t)(in - data) + 3;
        h = roll(h, x3);
        if ((h & mask) >= threshold)
            return (size_t)(in - data) + 4;
    }
    for (; in < stop; in++) {
        h = roll(h, buzhash_table[in[0]] ^ buzhash_table[in[-CHUNKER_WINDOW]]);
        if ((h & mask) >= threshold)
            return (size_t)(in - data) + 1;
    }
    *hash = h;
    return 0;
}

/* The road of a chunk; n is its size so far:
 *
 *     0 ......... min-64 ............ min ........................ max
 *       counted          hashed, not        hashed and tested      cut
 *       only             tested
 *
 * The byte that makes n = min is the first to be tested, except that the byte which completes a chunk's very first 64
 * never is: with min = 64 the first test is at n = 65. */
size_t chunker_scan(struct chunker *c, const uint8_t *data, size_t size)
{
    const size_t hash_begin = c->chunk_size_min - CHUNKER_WINDOW;
    size_t i = 0;

    if (c->size < hash_begin) {
        i = hash_begin - c->size < size ? hash_begin - c->size : size;
        c->size += i;
    }
    if (c->size < c->chunk_size_min) {
        for (; i < size && c->size < c->chunk_size_min; i++, c->size++) {
            c->window[c->size % CHUNKER_WINDOW] = data[i];
            c->hash = roll(c->hash, buzhash_table[data[i]]);
        }
        if (c->size < c->chunk_size_min)
            return 0;
        if (c->chunk_size_min > CHUNKER_WINDOW && (c->hash & c->mask) >= c->threshold) {
            chunker_reset(c);
            return i;
        }
    }

    const size_t room = c->chunk_size_max - c->size;
    const size_t stop = room < size - i ? i + room : size;
    /* The 64 bytes in front of the first ones lie in an earlier call: the window has them. */
    for (; i < stop && i < CHUNKER_WINDOW; i++, c->size++) {
        uint8_t *slot = &c->window[c->size % CHUNKER_WINDOW];
        c->hash = roll(c->hash, buzhash_table[*slot] ^ buzhash_table[data[i]]);
        *slot = data[i];
        if ((c->hash & c->mask) >= c->threshold) {
            chunker_reset(c);
            return i + 1;
        }
    }
    if (i < stop) {
        size_t cut = scan_contiguous(c, &c->hash, data, i, stop);
        if (cut > 0) {
            chunker_reset(c);
            return cut;
        }
        c->size += stop - i;
        for (size_t k = 1; k <= CHUNKER_WINDOW; k++)
            c->window[(c->size - k) % CHUNKER_WINDOW] = data[stop - k];
    }
    if (c->size >= c->chunk_size_max) {
        chunker_reset(c);
        return stop;
    }
    return 0;
}
