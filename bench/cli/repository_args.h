/* The options that say where snapshots live, for every command that has to do with some: --repository, --ns, and of a
 * server --fingerprint, --rate, --burst. What the environment adds is in flow/connect.h. Single-threaded.
 *
 *     CLEANUP(repository_args_deinit) struct repository_args repository = REPOSITORY_ARGS_INIT;
 *     ... repository_args_take() for each option ...
 *     TRY(repository_args_find(&repository, err));
 *     CLEANUP(store_cleanup) struct store *store = NULL;         declared later: closed earlier
 *     TRY(repository_args_open(&repository, &options, &store, err)); */
#ifndef PXB_CLI_REPOSITORY_ARGS_H
#define PXB_CLI_REPOSITORY_ARGS_H

#include "cli/cli.h"
#include "flow/connect.h"

/* clang-format off */
#define REPOSITORY_ARGS_OPTIONS \
    {"repository", required_argument, NULL, REPOSITORY_ARGS_REPOSITORY}, \
    {"ns", required_argument, NULL, REPOSITORY_ARGS_NAMESPACE}, \
    {"fingerprint", required_argument, NULL, REPOSITORY_ARGS_FINGERPRINT}, \
    {"rate", required_argument, NULL, REPOSITORY_ARGS_RATE}, \
    {"burst", required_argument, NULL, REPOSITORY_ARGS_BURST}
/* clang-format on */
enum {
    REPOSITORY_ARGS_REPOSITORY = CLI_OPTION_FIRST + 4000,
    REPOSITORY_ARGS_NAMESPACE,
    REPOSITORY_ARGS_FINGERPRINT,
    REPOSITORY_ARGS_RATE,
    REPOSITORY_ARGS_BURST,
};
#define REPOSITORY_ARGS_SERVER_HELP                                                                                    \
    "  --fingerprint XX:XX:... SHA-256 of the server's certificate (default: $PBS_FINGERPRINT, else the system's\n"    \
    "                          certificate authorities decide)\n"                                                      \
    "  --rate BYTES            at most so many per second in each direction of a connection, also as 10MB, 10MiB\n"    \
    "  --burst BYTES           that may pass at once (default: as --rate)\n"
/* The columns of commands that read. */
#define REPOSITORY_ARGS_PLACE_HELP                                                                                     \
    "  --repository R          datastore directory, which begins with '/' or '.', or on a server:\n"                   \
    "                          [[USER@REALM[!TOKEN]@]HOST[:PORT]:]DATASTORE, with the password or token secret in\n"   \
    "                          PBS_PASSWORD, or _FD, _FILE, _CMD behind that name (default: $PBS_REPOSITORY)\n"
#define REPOSITORY_ARGS_HELP                                                                                           \
    REPOSITORY_ARGS_PLACE_HELP                                                                                         \
    "  --ns NAMESPACE          namespace (default: the root namespace; on a server "                                   \
    "$PBS_NAMESPACE)\n" REPOSITORY_ARGS_SERVER_HELP

struct repository_args {
    struct connect_options given;
    struct connection connection;
};
#define REPOSITORY_ARGS_INIT ((struct repository_args){0})

/* Sets *out_taken if the option was one of these. ERR_USAGE: no number. */
MUST_CHECK enum status repository_args_take(int option, struct repository_args *a, bool *out_taken, struct error *err);
/* Reads the environment, too. To be called once, when all options are known. ERR_USAGE: no repository is named, or it
 * does not go with the other options; others as connection_open. */
MUST_CHECK enum status repository_args_find(struct repository_args *a, struct error *err);
/* The same where none is needed. */
MUST_CHECK enum status repository_args_find_if_any(struct repository_args *a, bool *out_found, struct error *err);
bool repository_args_is_server(const struct repository_args *a);
/* The namespace, "" for the root: before `find`, what --ns says. */
const char *repository_args_ns(const struct repository_args *a);
MUST_CHECK enum status repository_args_open(struct repository_args *a, const struct store_options *options,
                                            struct store **out, struct error *err);
/* Stores must be closed. */
void repository_args_deinit(struct repository_args *a);

/* For CLEANUP. */
void repository_args_store_close(struct store **s);

#endif
