#include "testing/testing.h"

#include <ftw.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static uint8_t *allocate(size_t size)
{
    uint8_t *data = malloc(size ? size : 1);
    if (!data)
        abort();
    return data;
}

uint8_t *make_lcg(size_t size, uint64_t seed)
{
    uint8_t *data = allocate(size);
    uint64_t x = seed;
    for (size_t i = 0; i < size; i++) {
        x = x * 6364136223846793005U + 1442695040888963407U;
        data[i] = (uint8_t)(x >> 33);
    }
    return data;
}

uint8_t *make_counter(size_t size)
{
    uint8_t *data = allocate(size);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)((i / 4) >> 8 * (i % 4));
    return data;
}

uint8_t *make_constant(size_t size, uint8_t value)
{
    uint8_t *data = allocate(size);
    memset(data, value, size);
    return data;
}

uint8_t *make_mod(size_t size, unsigned mod)
{
    uint8_t *data = allocate(size);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i % mod);
    return data;
}

uint8_t *make_splitmix64(size_t size, uint64_t seed)
{
    uint8_t *data = allocate(size);
    uint64_t x = seed;
    for (size_t i = 0; i < size; i += 8) {
        x += 0x9E3779B97F4A7C15U;
        uint64_t z = x;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
        z ^= z >> 31;
        for (size_t k = 0; k < 8 && i + k < size; k++)
            data[i + k] = (uint8_t)(z >> 8 * k);
    }
    return data;
}

const char *sha256_hex(const void *data, size_t size)
{
    static char text[65];
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256(data, size, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return text;
}

bool hex_equals(const char *hex, const void *data, size_t size)
{
    if (strlen(hex) != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        char digits[3];
        snprintf(digits, sizeof digits, "%02x", ((const uint8_t *)data)[i]);
        if (memcmp(digits, hex + 2 * i, 2) != 0)
            return false;
    }
    return true;
}

char *temp_dir_make(void)
{
    const char *base = getenv("TMPDIR");
    size_t size = strlen(base ? base : "/tmp") + sizeof "/pxarbench-test-XXXXXX";
    char *path = malloc(size);
    if (!path)
        abort();
    snprintf(path, size, "%s/pxarbench-test-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(path))
        abort();
    return path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

void temp_dir_remove(char *path)
{
    if (path)
        nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}
