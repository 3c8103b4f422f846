/* From what the user said to where the snapshots are: options and environment become the path of a datastore directory,
 * or an account on a server.
 *
 *   --repository > PBS_REPOSITORY (_FD, _FILE, _CMD, credential) > PBS_SERVER, PBS_PORT, PBS_DATASTORE, PBS_AUTH_ID
 *         |
 *         |-- begins with '/' or '.': a directory; nothing of what follows is looked at
 *         '-- [[USER@REALM[!TOKEN]@]HOST[:PORT]:]DATASTORE
 *                 PBS_PASSWORD (_FD, ...)                        the secret; nobody is asked on the terminal
 *                 --fingerprint > PBS_FINGERPRINT (_FD, ...)     else the system's certificate authorities decide
 *                 --ns > PBS_NAMESPACE
 *                 ALL_PROXY                                      and no other variable of this kind
 *
 * Nothing is connected here and nothing is written to disk. Not thread-safe: the environment is read.
 * Source: bench/spec/protocol.md 2.2, 3, 4.2. */
#ifndef PXB_FLOW_CONNECT_H
#define PXB_FLOW_CONNECT_H

#include "flow/secret.h"
#include "net/account.h"
#include "store/store.h"

struct connect_options {
    const char *repository;  /* NULL: the environment says */
    const char *ns;          /* NULL: the environment, or the root namespace */
    const char *fingerprint; /* NULL: the environment, or none */
    uint64_t rate, burst;    /* bytes per second and bytes; 0: unlimited, as rate */
};

/* `{0}`: nothing. Must stay where it is while a store is open. */
struct connection {
    const char *path;             /* of a datastore directory; NULL: none */
    struct account *account;      /* on a server; NULL: none */
    struct repository repository; /* of the account */
    char ns[NAMESPACE_MAX + 1];
    struct secret text; /* owns `path` if that came out of a file */
    struct store_remote remote;
};

/* Reads options and environment. `path` and `account` both NULL: nothing names a repository. Texts of the options are
 * borrowed. As soon as a server is named the process forbids core dumps and may not be traced.
 *
 *   ERR_USAGE    a text breaks its rules, or there is no secret for the account: before anything is connected
 *   others       those of secret_lookup */
MUST_CHECK enum status connection_open(const struct connect_options *options, struct connection *out,
                                       struct error *err);
/* Stores must be closed. Zeroes the secret. Accepts {0}. */
void connection_close(struct connection *c);

/* Opens the store that `c` (path or account given) stands for; `options` without `remote`. Of a server: whether that is
 * there is found out with the first call. */
MUST_CHECK enum status connection_store(struct connection *c, const struct store_options *options, struct store **out,
                                        struct error *err);

#endif
