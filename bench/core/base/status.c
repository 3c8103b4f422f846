#include "base/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status fail_va(struct error *err, enum status status, const char *format, va_list args)
{
    int saved_errno = errno;
    if (!err)
        return status;
    err->status = status;
    err->errnum = status == ERR_IO ? saved_errno : 0;
    int length = vsnprintf(err->text, sizeof err->text, format, args);
    if (length < 0)
        err->text[0] = '\0';
    if (status == ERR_IO && length >= 0 && (size_t)length < sizeof err->text) {
        char reason[128];
        snprintf(err->text + length, sizeof err->text - (size_t)length, ": %s",
                 strerror_r(saved_errno, reason, sizeof reason));
    }
    return status;
}

enum status fail_text(struct error *err, enum status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fail_va(err, status, format, args);
    va_end(args);
    return status;
}

enum status fail_within_text(struct error *err, const char *format, ...)
{
    if (!err)
        return ERR_IO;
    char prefix[ERROR_TEXT_MAX / 2];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    if (length < 0)
        return err->status;
    size_t used = strlen(prefix);
    size_t kept = strlen(err->text);
    size_t room = sizeof err->text - used - 3;
    if (kept > room)
        kept = room;
    memmove(err->text + used + 2, err->text, kept);
    memcpy(err->text, prefix, used);
    memcpy(err->text + used, ": ", 2);
    err->text[used + 2 + kept] = '\0';
    return err->status;
}

const char *status_name(enum status status)
{
    switch (status) {
    case OK: return "ok";
    case ERR_USAGE: return "usage";
    case ERR_IO: return "io";
    case ERR_FORMAT: return "format";
    case ERR_VERSION: return "version";
    case ERR_NOT_ARCHIVE: return "not-archive";
    case ERR_LIMIT: return "limit";
    case ERR_MEMORY: return "memory";
    case ERR_NOT_FOUND: return "not-found";
    case ERR_EXISTS: return "exists";
    case ERR_LOCKED: return "locked";
    case ERR_MISMATCH: return "mismatch";
    case ERR_UNSUPPORTED: return "unsupported";
    case ERR_REFUSED: return "refused";
    case ERR_NETWORK: return "network";
    case ERR_CLOSED: return "closed";
    case ERR_CANCELLED: return "cancelled";
    case ERR_HELP: return "help";
    }
    return "unknown";
}

_Noreturn void assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
    abort();
}
