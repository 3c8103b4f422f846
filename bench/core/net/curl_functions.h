/* What we use of libcurl, loaded with the first connection: with its forty libraries it would add 8 ms to the start of
 * every command. Thread-safe. */
#ifndef PXB_NET_CURL_FUNCTIONS_H
#define PXB_NET_CURL_FUNCTIONS_H

#include "base/status.h"

#include <curl/curl.h>

#define CURL_FUNCTIONS(each)                                                                                           \
    each(global_init) each(easy_init) each(easy_cleanup) each(easy_setopt) each(easy_getinfo) each(easy_recv)          \
        each(easy_send) each(easy_strerror) each(multi_init) each(multi_cleanup) each(multi_add_handle)                \
            each(multi_remove_handle) each(multi_perform) each(multi_poll) each(multi_info_read) each(multi_strerror)

#define CURL_FUNCTIONS_MEMBER(name) __typeof__(&curl_##name) name;
struct curl_functions {
    CURL_FUNCTIONS(CURL_FUNCTIONS_MEMBER)
};
#undef CURL_FUNCTIONS_MEMBER

/* ERR_UNSUPPORTED: there is no libcurl, or it does not start. `*out` stays for the life of the process. */
MUST_CHECK enum status curl_functions_load(const struct curl_functions **out, struct error *err);

#endif
