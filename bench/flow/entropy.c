#include "flow/entropy.h"

#include <errno.h>
#include <sys/random.h>

enum status entropy_fill(void *out, size_t size, struct error *err)
{
    uint8_t *bytes = out;
    while (size > 0) {
        ssize_t got = getrandom(bytes, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(err, ERR_IO, "ask the kernel for %zu random bytes", size);
        bytes += got;
        size -= (size_t)got;
    }
    return OK;
}
