/* Byte counts for humans. Source: bench/spec/change-detection.md section 12, function H. Pure. */
#ifndef PXB_BASE_SIZE_TEXT_H
#define PXB_BASE_SIZE_TEXT_H

#include "base/status.h"

enum { SIZE_TEXT_SIZE = 32 };
/* "1023 B", "1 KiB", "1023.999 KiB", "10.967 MiB". Returns `out`. */
const char *size_text(uint64_t bytes, char out[SIZE_TEXT_SIZE]);

#endif
