/* The 256 constants of the rolling hash. Source: bench/spec/chunking.md section 1. */
#ifndef PXB_CHUNK_BUZHASH_TABLE_H
#define PXB_CHUNK_BUZHASH_TABLE_H

#include <stdint.h>

enum { BUZHASH_TABLE_COUNT = 256 };
extern const uint32_t buzhash_table[BUZHASH_TABLE_COUNT];

#endif
