/* What a function tells its caller: a status for the program, one sentence for the human.
 *
 * Errors are written where they are known, with path and offset; callers pass them on with TRY.
 * A struct error belongs to one thread at a time. Filling it never allocates and never fails. */
#ifndef PXB_BASE_STATUS_H
#define PXB_BASE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum status {
    OK = 0,
    ERR_USAGE,       /* the caller's parameters: exit 2 on the command line */
    ERR_IO,          /* a system call failed; fail() adds errno's text */
    ERR_FORMAT,      /* stored data is not what its format says */
    ERR_VERSION,     /* stored data of a version that is not supported */
    ERR_NOT_ARCHIVE, /* stored data of another kind altogether */
    ERR_LIMIT,       /* a stated ceiling was reached */
    ERR_MEMORY,
    ERR_NOT_FOUND,
    ERR_EXISTS,
    ERR_LOCKED,      /* somebody else is at it */
    ERR_MISMATCH,    /* two things that must agree do not: digest, size, checksum */
    ERR_UNSUPPORTED, /* asked for something this release does not do */
    ERR_REFUSED,     /* somebody who may decide so said no: a server, a permission */
    ERR_NETWORK,     /* a connection failed or ended; trying again may help */
    ERR_CLOSED,      /* producer finished, nothing left */
    ERR_CANCELLED,   /* stopped because another thread failed first */
    ERR_HELP,        /* help was asked for and printed, so there is nothing left to do: no failure */
};

enum { ERROR_TEXT_MAX = 2048 };

/* `{0}` means no error. `errnum` is errno of an ERR_IO, else 0. */
struct error {
    enum status status;
    int errnum;
    char text[ERROR_TEXT_MAX];
};

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#define CLEANUP(function) __attribute__((cleanup(function)))
#define UNUSED __attribute__((unused))

/* Assertions stay on in every build: what we measure is what we tested. */
#define ASSERT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            assert_failed(#condition, __FILE__, __LINE__);                                                             \
    } while (0)
_Noreturn void assert_failed(const char *condition, const char *file, int line);

/* Writes the sentence and returns `status`, which is not OK. Call with ERR_IO directly after the failed system call:
 * errno is kept and its text appended. `err` may be NULL. Overlong text is cut. */
#define fail(...) fail_known(fail_text(__VA_ARGS__))
enum status fail_text(struct error *err, enum status status, const char *format, ...) PRINTF_LIKE(3, 4);
enum status fail_va(struct error *err, enum status status, const char *format, va_list args) PRINTF_LIKE(3, 0);

/* Puts "text: " before what is there already; returns the error's status. Only after a failure that filled `err`. */
#define fail_within(...) fail_known(fail_within_text(__VA_ARGS__))
enum status fail_within_text(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* Lets the compiler see that a failing function does not return OK: else it takes outputs for uninitialised. */
static inline enum status fail_known(enum status status)
{
    ASSERT(status != OK);
    return status;
}

/* A short name ("io", "format") for reports and tests. Never NULL. */
const char *status_name(enum status status);

/* The only macro that returns. */
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        enum status try_status_ = (call);                                                                              \
        if (try_status_ != OK)                                                                                         \
            return try_status_;                                                                                        \
    } while (0)

#endif
