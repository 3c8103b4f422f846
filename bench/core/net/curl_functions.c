#include "net/curl_functions.h"

#include "base/library.h"

#include <pthread.h>

#define ENTRY(name) {"curl_" #name, offsetof(struct curl_functions, name)},
static const struct library_function functions[] = {CURL_FUNCTIONS(ENTRY)};
#undef ENTRY

#ifndef CURL_LIBRARY /* a test has none */
#define CURL_LIBRARY "libcurl.so.4"
#endif

static struct curl_functions table;
static struct error trouble;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
    if (library_load(CURL_LIBRARY, functions, sizeof functions / sizeof *functions, &table, &trouble) != OK)
        return;
    CURLcode code = table.global_init(CURL_GLOBAL_DEFAULT);
    if (code != CURLE_OK)
        (void)fail(&trouble, ERR_UNSUPPORTED, "libcurl does not start: %s", table.easy_strerror(code));
}

enum status curl_functions_load(const struct curl_functions **out, struct error *err)
{
    pthread_once(&once, load);
    if (trouble.status != OK) {
        if (err)
            *err = trouble;
        return trouble.status;
    }
    *out = &table;
    return OK;
}
