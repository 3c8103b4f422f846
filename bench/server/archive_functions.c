#include "server/archive_functions.h"

#include "base/library.h"

#include <pthread.h>

#define ENTRY(name) {#name, offsetof(struct archive_functions, name)},
static const struct library_function functions[] = {ARCHIVE_FUNCTIONS(ENTRY)};
#undef ENTRY

#ifndef ARCHIVE_LIBRARY /* a test has none */
#define ARCHIVE_LIBRARY "libarchive.so.13"
#endif

static struct archive_functions table;
static bool is_loaded;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

enum status archive_functions_load(const struct archive_functions **out, struct error *err)
{
    *out = NULL;
    enum status status = OK;
    pthread_mutex_lock(&lock);
    if (!is_loaded)
        status = library_load(ARCHIVE_LIBRARY, functions, sizeof functions / sizeof *functions, &table, err);
    is_loaded = status == OK;
    pthread_mutex_unlock(&lock);
    TRY(status);
    *out = &table;
    return OK;
}
