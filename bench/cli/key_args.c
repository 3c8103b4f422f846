#include "cli/key_args.h"

#include <limits.h>

enum status key_args_take(int option, struct key_args *a, bool *out_taken, struct error *err)
{
    *out_taken = option == KEY_ARGS_KEYFILE || option == KEY_ARGS_KEYFD;
    if (!*out_taken)
        return OK;
    if (a->path || a->fd >= 0)
        return fail(err, ERR_USAGE, "--keyfile and --keyfd: one key, given once");
    if (option == KEY_ARGS_KEYFILE) {
        a->path = optarg;
        return *optarg ? OK : fail(err, ERR_USAGE, "--keyfile: the name of the file is empty");
    }
    uint64_t fd;
    TRY(cli_parse_u64("--keyfd", optarg, 0, INT_MAX, &fd, err));
    a->fd = (int)fd;
    return OK;
}

enum status key_args_load(struct key_args *a, struct error *err)
{
    if (a->path)
        return key_load(a->path, &a->key, err);
    return a->fd >= 0 ? key_load_fd(a->fd, &a->key, err) : OK;
}

const struct crypt_config *key_args_config(const struct key_args *a)
{
    return loaded_key_config(a->key);
}

void key_args_deinit(struct key_args *a)
{
    loaded_key_free(a->key);
    *a = KEY_ARGS_INIT;
}
