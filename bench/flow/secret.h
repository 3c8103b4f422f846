/* Passwords, passphrases and what else comes the same ways. For a base name B ("PBS_PASSWORD") the first of these that
 * is defined counts, also if it is empty or cannot be read:
 *
 *   B                       the value
 *   B_FD                    the number of an open descriptor, which is read and closed
 *   B_FILE                  a file
 *   B_CMD                   a command, split into words (flow/words.h) and started without a shell: its standard output
 *   CREDENTIALS_DIRECTORY   a file there, its whole content; only if it exists
 *
 * Of all but the last the first line counts, without its "\n" or "\r\n". Nobody is asked on the terminal. Values are
 * kept in protected memory (flow/protected.h) and never quoted in a sentence. Not thread-safe: the environment is read.
 * Source: bench/spec/protocol.md 3.1, 3.2. */
#ifndef PXB_FLOW_SECRET_H
#define PXB_FLOW_SECRET_H

#include "base/status.h"

enum { SECRET_SIZE_MAX = 16 << 10, SECRET_NAME_MAX = 64 };

/* `{0}`: none. */
struct secret {
    char *text; /* NUL-terminated UTF-8 without NUL inside; NULL: nothing is defined */
    size_t size;
};
/* ERR_USAGE: B_FD is no number, B_CMD cannot be split. ERR_IO: it cannot be read or started. ERR_FORMAT: not UTF-8, or
 * a NUL. ERR_LIMIT: longer than SECRET_SIZE_MAX. ERR_NOT_FOUND: the command failed. */
MUST_CHECK enum status secret_lookup(const char *base, struct secret *out, struct error *err);
void secret_deinit(struct secret *s); /* zeroes; accepts {0} */

#endif
