/* Helpers for C tests: generators of the specification's test vectors, temporary directories, failing allocations. */
#ifndef PXB_TESTING_TESTING_H
#define PXB_TESTING_TESTING_H

/* cmocka wants these first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* base/status.h has a function of that name */
#include <stdbool.h>
#include <stdlib.h>

/* bench/spec/chunking.md 10. Owned by the caller: free(). */
uint8_t *make_lcg(size_t size, uint64_t seed);
uint8_t *make_counter(size_t size);
uint8_t *make_constant(size_t size, uint8_t value);
uint8_t *make_mod(size_t size, unsigned mod);
/* Vectors' splitmix64 stream. */
uint8_t *make_splitmix64(size_t size, uint64_t seed);

/* Lower-case hex SHA-256 in a static buffer (one per call site is enough: copy it if you keep it). */
const char *sha256_hex(const void *data, size_t size);

/* Compares two bytes strings given as hex text and data. */
bool hex_equals(const char *hex, const void *data, size_t size);

/* A directory below $TMPDIR or /tmp, removed by temp_dir_remove. Caller frees the returned path. */
char *temp_dir_make(void);
void temp_dir_remove(char *path);

#endif
