/* Bytes as lower-case hexadecimal text and back. Pure. */
#ifndef PXB_BASE_HEX_H
#define PXB_BASE_HEX_H

#include "base/status.h"

/* `out` takes 2 x size + 1 bytes and ends with NUL. */
void hex_encode(const uint8_t *data, size_t size, char *out);
/* Exactly 2 x size digits (either case); false otherwise. */
bool hex_decode(const char *text, size_t text_size, uint8_t *out, size_t size);

#endif
