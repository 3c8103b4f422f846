#include "flow/connect.h"

#include "flow/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of variables that have no other sources, an empty one counts as not set: scripts empty what they do not use. */
static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static bool names_directory(const char *text)
{
    return text[0] == '/' || text[0] == '.';
}

/* ---- which repository ---- */

/* `*out` NULL: none is named. */
static enum status find_text(const struct connect_options *o, struct connection *c, const char **out, struct error *err)
{
    const char *plain = getenv("PBS_REPOSITORY");
    if (o->repository || (plain && names_directory(plain))) {
        /* A directory's path is taken as it is, and who uses one stays a process that can be measured and dumped. */
        *out = o->repository ? o->repository : plain;
        return OK;
    }
    TRY(secret_lookup("PBS_REPOSITORY", &c->text, err));
    *out = c->text.text;
    return OK;
}

static enum status parse_port(const char *text, unsigned *out, struct error *err)
{
    size_t size = strlen(text);
    unsigned long port = size <= 5 && strspn(text, "0123456789") == size ? strtoul(text, NULL, 10) : 0;
    if (port < 1 || port > UINT16_MAX)
        return fail(err, ERR_USAGE, "PBS_PORT: '%.40s' is no port, a number from 1 to 65535", text);
    *out = (unsigned)port;
    return OK;
}

static enum status find_parts(struct connection *c, bool *out_found, struct error *err)
{
    const char *host = environment("PBS_SERVER");
    const char *datastore = environment("PBS_DATASTORE");
    const char *port_text = environment("PBS_PORT");
    unsigned port = 0;
    *out_found = host || datastore;
    if (!*out_found)
        return OK;
    if (!datastore)
        return fail(err, ERR_USAGE, "PBS_SERVER names a server: set PBS_DATASTORE to the datastore there");
    if (port_text)
        TRY(parse_port(port_text, &port, err));
    if (repository_make(environment("PBS_AUTH_ID"), host, port, datastore, &c->repository, err) != OK)
        return fail_within(err, "PBS_SERVER, PBS_DATASTORE, PBS_AUTH_ID");
    return OK;
}

/* ---- the account ---- */

static enum status find_namespace(const struct connect_options *o, struct connection *c, struct error *err)
{
    const char *ns = o->ns ? o->ns : c->path ? NULL : environment("PBS_NAMESPACE");
    if (!ns)
        return OK;
    if (snapshot_namespace_check(ns, err) != OK)
        return o->ns ? err->status : fail_within(err, "PBS_NAMESPACE");
    memcpy(c->ns, ns, strlen(ns) + 1); /* checked: it fits */
    return OK;
}

/* Both secrets are zeroed by the caller. */
static enum status make_account(const struct connect_options *o, struct connection *c, struct secret *password,
                                struct secret *fingerprint, struct error *err)
{
    struct account_options options = {.repository = c->repository,
                                      .fingerprint = o->fingerprint,
                                      .rate = o->rate,
                                      .burst = o->burst,
                                      .proxy = environment("ALL_PROXY")};
    if (!o->fingerprint) {
        TRY(secret_lookup("PBS_FINGERPRINT", fingerprint, err));
        options.fingerprint = fingerprint->size > 0 ? fingerprint->text : NULL;
    }
    TRY(secret_lookup("PBS_PASSWORD", password, err));
    options.secret = password->text;
    return account_new(&options, &c->account, err);
}

static enum status open_account(const struct connect_options *o, struct connection *c, struct error *err)
{
    struct secret password = {0}, fingerprint = {0};
    enum status status = make_account(o, c, &password, &fingerprint, err);
    secret_deinit(&password);
    secret_deinit(&fingerprint);
    return status;
}

/* ---- */

static enum status open_connection(const struct connect_options *o, struct connection *c, struct error *err)
{
    const char *text;
    bool found = true;
    TRY(find_text(o, c, &text, err));
    if (text && names_directory(text))
        c->path = text;
    else if (text && *text)
        TRY(repository_parse(text, &c->repository, err));
    else if (text) /* defined and empty: no other source is looked at */
        return OK;
    else
        TRY(find_parts(c, &found, err));
    if (!found)
        return OK;
    TRY(find_namespace(o, c, err));
    return c->path ? OK : open_account(o, c, err);
}

enum status connection_open(const struct connect_options *options, struct connection *out, struct error *err)
{
    *out = (struct connection){0};
    enum status status = open_connection(options, out, err);
    if (status != OK)
        connection_close(out);
    return status;
}

void connection_close(struct connection *c)
{
    account_free(c->account);
    secret_deinit(&c->text);
    *c = (struct connection){0};
}

enum status connection_store(struct connection *c, const struct store_options *options, struct store **out,
                             struct error *err)
{
    struct store_options with = *options;
    if (c->path)
        return store_open(c->path, &with, out, err);
    /* Begins with the host: a user's name could begin as a path does. */
    char text[REPOSITORY_FULL_SIZE];
    snprintf(text, sizeof text, "%s:%u:%s", c->repository.host, c->repository.port, c->repository.datastore);
    c->remote = (struct store_remote){.account = c->account, .threads = &flow_threads};
    with.remote = &c->remote;
    return store_open(text, &with, out, err);
}
