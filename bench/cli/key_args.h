/* The options that say which encryption key a command has: --keyfile, --keyfd. Single-threaded. */
#ifndef PXB_CLI_KEY_ARGS_H
#define PXB_CLI_KEY_ARGS_H

#include "cli/cli.h"
#include "flow/key_store.h"

/* clang-format off */
#define KEY_ARGS_OPTIONS \
    {"keyfile", required_argument, NULL, KEY_ARGS_KEYFILE}, \
    {"keyfd", required_argument, NULL, KEY_ARGS_KEYFD}
/* clang-format on */
enum { KEY_ARGS_KEYFILE = CLI_OPTION_FIRST + 3000, KEY_ARGS_KEYFD, KEY_ARGS_CRYPT_MODE, KEY_ARGS_MASTER_KEY };
/* Of commands that read; columns as there. */
#define KEY_ARGS_HELP                                                                                                  \
    "  --keyfile FILE          encryption key, for what is encrypted; signatures are checked with it. A passphrase\n"  \
    "                          is taken from PBS_ENCRYPTION_PASSWORD, or _FD, _FILE, _CMD behind that name\n"          \
    "  --keyfd N               the same from an open file descriptor\n"

/* `{.fd = -1}` is empty. */
struct key_args {
    const char *path;
    int fd;
    struct loaded_key *key;
};
#define KEY_ARGS_INIT ((struct key_args){.fd = -1})

/* Sets *out_taken if the option was one of these. ERR_USAGE: both, or one twice. */
MUST_CHECK enum status key_args_take(int option, struct key_args *a, bool *out_taken, struct error *err);
/* Loads the key, if one was given. To be called once, before anything is done. */
MUST_CHECK enum status key_args_load(struct key_args *a, struct error *err);
/* NULL: none was given. */
const struct crypt_config *key_args_config(const struct key_args *a);
void key_args_deinit(struct key_args *a); /* zeroes the key; accepts KEY_ARGS_INIT */

#endif
