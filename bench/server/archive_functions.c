#include "server/archive_functions.h"

#include "base/library.h"

#define ENTRY(name) {#name, offsetof(struct archive_functions, name)},
static const struct library_function functions[] = {ARCHIVE_FUNCTIONS(ENTRY)};
#undef ENTRY

static struct archive_functions table;

enum status archive_functions_load(const struct archive_functions **out, struct error *err)
{
    *out = NULL;
    TRY(library_load("libarchive.so.13", functions, sizeof functions / sizeof *functions, &table, err));
    *out = &table;
    return OK;
}
