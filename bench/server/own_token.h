/* The account of a server that was told of none: a token whose secret is made once and lies in a file that only its
 * owner reads.
 * Source: bench/spec/protocol.md 14.1. */
#ifndef PXB_SERVER_OWN_TOKEN_H
#define PXB_SERVER_OWN_TOKEN_H

#include "base/status.h"

#include <limits.h>

#define OWN_TOKEN_ID "bench@pbs!serve"

enum { OWN_SECRET_SIZE = 65 }; /* 64 hexadecimal digits and NUL */

/* DATASTORE/.pxarbench/token, made if it is missing; the datastore's directory is made as well. ERR_FORMAT: something
 * else is there, or others can read it. */
MUST_CHECK enum status own_token(const char *datastore, char out_secret[OWN_SECRET_SIZE], char out_path[PATH_MAX],
                                 struct error *err);

#endif
