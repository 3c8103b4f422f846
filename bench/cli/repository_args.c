#include "cli/repository_args.h"

#include <string.h>

static const uint64_t bytes_max = UINT64_C(1) << 40;

/* "10MiB": a whole number and a unit, of thousands or of 1024s. */
static enum status parse_bytes(const char *what, const char *text, uint64_t *out, struct error *err)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {
        {"", 1},
        {"B", 1},
        {"KB", 1000},
        {"MB", 1000000},
        {"GB", 1000000000},
        {"KiB", UINT64_C(1) << 10},
        {"MiB", UINT64_C(1) << 20},
        {"GiB", UINT64_C(1) << 30},
    };
    char number[24];
    size_t digits = strspn(text, "0123456789");
    for (size_t i = 0; digits > 0 && digits < sizeof number && i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(text + digits, units[i].name) != 0)
            continue;
        memcpy(number, text, digits);
        number[digits] = '\0';
        uint64_t value;
        TRY(cli_parse_u64(what, number, 1, bytes_max / units[i].bytes, &value, err));
        *out = value * units[i].bytes;
        return OK;
    }
    return fail(err, ERR_USAGE, "%s: '%.40s' is no number of bytes, as 500000, 10MB or 10MiB", what, text);
}

enum status repository_args_take(int option, struct repository_args *a, bool *out_taken, struct error *err)
{
    *out_taken = true;
    switch (option) {
    case REPOSITORY_ARGS_REPOSITORY: a->given.repository = optarg; return OK;
    case REPOSITORY_ARGS_NAMESPACE: a->given.ns = optarg; return OK;
    case REPOSITORY_ARGS_FINGERPRINT: a->given.fingerprint = optarg; return OK;
    case REPOSITORY_ARGS_RATE: return parse_bytes("--rate", optarg, &a->given.rate, err);
    case REPOSITORY_ARGS_BURST: return parse_bytes("--burst", optarg, &a->given.burst, err);
    default: *out_taken = false; return OK;
    }
}

enum status repository_args_find_if_any(struct repository_args *a, bool *out_found, struct error *err)
{
    const struct connect_options *o = &a->given;
    *out_found = false;
    if (o->burst && !o->rate)
        return fail(err, ERR_USAGE, "--burst: needs --rate");
    TRY(connection_open(o, &a->connection, err));
    /* An option without effect is a misunderstanding; a variable may be meant for another command. */
    if (a->connection.path && (o->fingerprint || o->rate))
        return fail(err, ERR_USAGE, "%s: only for servers, and '%.200s' is a directory",
                    o->fingerprint ? "--fingerprint" : "--rate", a->connection.path);
    *out_found = a->connection.path || a->connection.account;
    return OK;
}

enum status repository_args_find(struct repository_args *a, struct error *err)
{
    bool found;
    TRY(repository_args_find_if_any(a, &found, err));
    if (!found)
        return fail(err, ERR_USAGE, "no repository: give --repository or set PBS_REPOSITORY");
    return OK;
}

bool repository_args_is_server(const struct repository_args *a)
{
    return a->connection.account != NULL;
}

const char *repository_args_ns(const struct repository_args *a)
{
    bool found = a->connection.path || a->connection.account;
    return found ? a->connection.ns : a->given.ns ? a->given.ns : "";
}

enum status repository_args_open(struct repository_args *a, const struct store_options *options, struct store **out,
                                 struct error *err)
{
    return connection_store(&a->connection, options, out, err);
}

void repository_args_deinit(struct repository_args *a)
{
    connection_close(&a->connection);
    *a = REPOSITORY_ARGS_INIT;
}

void repository_args_store_close(struct store **s)
{
    store_close(*s);
}
