/* Random bytes of the kernel, for IVs, keys and salts. Thread-safe. */
#ifndef PXB_FLOW_ENTROPY_H
#define PXB_FLOW_ENTROPY_H

#include "base/status.h"

MUST_CHECK enum status entropy_fill(void *out, size_t size, struct error *err);

#endif
