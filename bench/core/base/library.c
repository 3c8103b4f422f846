#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

enum status library_load(const char *file, const struct library_function *functions, size_t count, void *table,
                         struct error *err)
{
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library)
        return fail(err, ERR_UNSUPPORTED, "%s cannot be loaded, which this command needs: %s", file, dlerror());
    for (size_t i = 0; i < count; i++) {
        void *found = dlsym(library, functions[i].name);
        if (!found)
            return fail(err, ERR_UNSUPPORTED, "%s has no %s, which this command needs", file, functions[i].name);
        /* POSIX lets a function's address be one of data; C has no conversion for it. */
        memcpy((char *)table + functions[i].offset, &found, sizeof found);
    }
    return OK;
}
