/* Shared libraries that only some commands need, loaded by the first call that does: being linked to them would cost
 * every run the time to load them and all that they depend on. Never unloaded. Thread-safe for different tables. */
#ifndef PXB_BASE_LIBRARY_H
#define PXB_BASE_LIBRARY_H

#include "base/status.h"

struct library_function {
    const char *name;
    size_t offset; /* of its pointer in the table */
};

/* Fills `table` with the functions' addresses. `file`: as the dynamic linker knows it, "libcurl.so.4". ERR_UNSUPPORTED:
 * it is not installed, or lacks one. */
MUST_CHECK enum status library_load(const char *file, const struct library_function *functions, size_t count,
                                    void *table, struct error *err);

#endif
