/* pxarbench login: is the server there, is it the right one, does it accept the account, and what may that do. */
#include "base/clock.h"
#include "base/printable.h"
#include "base/size_text.h"
#include "cli/cli.h"
#include "cli/repository_args.h"
#include "net/rest.h"
#include "wire/protocol.h"
#include "wire/query.h"
#include "wire/reply.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "Usage: pxarbench login [OPTION...]\n"
    "\n"
    "Connects to the server of a repository, checks its certificate, and says who it is, whether it accepts the\n"
    "account, and what that may do there: list snapshots, back up, read. Changes nothing, and keeps nothing on disk:\n"
    "every command logs in by itself. Exits with 1 if the account may do nothing with the datastore.\n"
    "\n" REPOSITORY_ARGS_HELP "  --output-format FORMAT  text, json or json-pretty (default text)\n"
    "\n"
    "HTTP proxy: $ALL_PROXY, [http://][USER:PASSWORD@]HOST[:PORT]; other variables are not looked at.\n";

enum { LIST_SIZE_MAX = 64 << 20 };

struct finding {
    struct repository server;
    const char *ns;
    char version[64], release[64];
    uint64_t round_trip_ns;
    bool has_usage;
    uint64_t total, used, available;
    bool may_list, may_backup, may_read;
    uint64_t snapshots;          /* that it may list */
    char reason[ERROR_TEXT_MAX]; /* why it may not list */
};

static void buffer_cleanup(struct buffer *b)
{
    buffer_deinit(b);
}

static void json_cleanup(json_t **value)
{
    json_decref(*value);
}

/* The data of a GET. */
static enum status get(struct rest *r, const char *path, const char *query, size_t size_max, const char *what,
                       json_t **out, struct error *err)
{
    CLEANUP(buffer_cleanup) struct buffer body = BUFFER_INIT(size_max);
    TRY(rest_call(r, "GET", path, query, NULL, NULL, size_max, what, &body, err));
    return size_max > WIRE_JSON_REPLY_MAX ? reply_list(what, body.data, body.size, out, err)
                                          : reply_data(what, body.data, body.size, out, err);
}

static void copy_member(const json_t *object, const char *name, char *out, size_t out_size)
{
    const char *text = json_string_value(json_object_get(object, name));
    printable_escape(text ? text : "", out, out_size); /* the server's words, on somebody's terminal */
}

static enum status ask_version(struct rest *r, struct finding *f, struct error *err)
{
    CLEANUP(json_cleanup) json_t *data = NULL;
    TRY(get(r, "version", NULL, WIRE_JSON_REPLY_MAX, "asking for the server's version", &data, err));
    copy_member(data, "version", f->version, sizeof f->version);
    copy_member(data, "release", f->release, sizeof f->release);
    if (!*f->version)
        return fail(err, ERR_FORMAT,
                    "asking for the server's version: the answer names none: is this a backup server?");
    return OK;
}

/* The connection stands by now. */
static enum status measure_round_trip(struct rest *r, struct finding *f, struct error *err)
{
    for (int i = 0; i < 3; i++) {
        CLEANUP(json_cleanup) json_t *data = NULL;
        uint64_t begin = clock_monotonic_ns();
        TRY(get(r, "version", NULL, WIRE_JSON_REPLY_MAX, "asking for the server's version", &data, err));
        uint64_t took = clock_monotonic_ns() - begin;
        f->round_trip_ns = i == 0 || took < f->round_trip_ns ? took : f->round_trip_ns;
    }
    return OK;
}

/* ---- what the account may do ---- */

/* A refusal is a finding, anything else a failure. */
static bool is_refusal(enum status status)
{
    return status == ERR_REFUSED || status == ERR_NOT_FOUND;
}

static bool count_member(const json_t *object, const char *name, uint64_t *out)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static enum status ask_usage(struct rest *r, struct finding *f, struct error *err)
{
    CLEANUP(json_cleanup) json_t *data = NULL;
    CLEANUP(buffer_cleanup) struct buffer path = BUFFER_INIT(WIRE_TARGET_MAX);
    struct error reason = {0};
    TRY(buffer_printf(&path, err, "admin/datastore/%s/status", f->server.datastore));
    enum status status =
        get(r, (const char *)path.data, NULL, WIRE_JSON_REPLY_MAX, "asking for the datastore's state", &data, &reason);
    if (status != OK && !is_refusal(status)) {
        *err = reason;
        return status;
    }
    f->has_usage = status == OK && count_member(data, "total", &f->total) && count_member(data, "used", &f->used) &&
                   count_member(data, "avail", &f->available);
    return OK;
}

static enum status ask_list(struct rest *r, struct finding *f, struct error *err)
{
    CLEANUP(json_cleanup) json_t *data = NULL;
    CLEANUP(buffer_cleanup) struct buffer path = BUFFER_INIT(WIRE_TARGET_MAX);
    CLEANUP(buffer_cleanup) struct buffer query = BUFFER_INIT(WIRE_TARGET_MAX);
    struct error reason = {0};
    TRY(buffer_printf(&path, err, "admin/datastore/%s/snapshots", f->server.datastore));
    if (*f->ns) {
        TRY(query_add(&query, "ns", f->ns, err));
        TRY(buffer_append_u8(&query, '\0', err));
    }
    enum status status = get(r, (const char *)path.data, (const char *)query.data, LIST_SIZE_MAX,
                             "listing the snapshots", &data, &reason);
    if (status != OK && !is_refusal(status)) {
        *err = reason;
        return status;
    }
    f->may_list = status == OK && json_is_array(data);
    f->snapshots = f->may_list ? json_array_size(data) : 0;
    snprintf(f->reason, sizeof f->reason, "%s", reason.text);
    return OK;
}

/* Blanks every word of the text that is this name. */
static void take_out(const char *name, char *text)
{
    size_t size = strlen(name);
    for (char *at = text; size > 0 && (at = strstr(at, name)) != NULL; at += size) {
        bool begins = at == text || !isalnum((unsigned char)at[-1]);
        if (begins && !isalnum((unsigned char)at[size]))
            memset(at, ' ', size);
    }
}

/* Whether the server's words say that it is the header which it misses. They may quote what things are called. */
static bool misses_upgrade(const struct finding *f, char *text)
{
    const char *id = f->server.auth_id;
    char user[sizeof f->server.auth_id];
    snprintf(user, sizeof user, "%.*s", (int)strcspn(id, "!"), id);
    const char *const names[] = {id, user, f->server.datastore, f->ns};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        take_out(names[i], text);
    return strcasestr(text, "upgrade") != NULL;
}

/* Asks for a session as one would, but without the header that makes it one. The server looks at privileges before it
 * misses that, and does nothing before it has it: the answer's words say how far it came (protocol.md 7.2, 18). */
static enum status ask_session(struct rest *r, const struct finding *f, const char *path, bool *out_may,
                               struct error *err)
{
    CLEANUP(buffer_cleanup) struct buffer query = BUFFER_INIT(WIRE_TARGET_MAX);
    CLEANUP(buffer_cleanup) struct buffer body = BUFFER_INIT(WIRE_JSON_REPLY_MAX);
    struct error reason = {0};
    TRY(query_add(&query, "backup-id", "login", err));
    TRY(query_add_integer(&query, "backup-time", clock_wall_seconds(), err));
    TRY(query_add(&query, "backup-type", "host", err));
    if (*f->ns)
        TRY(query_add(&query, "ns", f->ns, err));
    TRY(query_add(&query, "store", f->server.datastore, err));
    TRY(buffer_append_u8(&query, '\0', err));
    enum status status = rest_call(r, "GET", path, (const char *)query.data, NULL, NULL, WIRE_JSON_REPLY_MAX,
                                   "asking what the account may", &body, &reason);
    if (status != OK && !is_refusal(status) && status != ERR_UNSUPPORTED) {
        *err = reason;
        return status;
    }
    *out_may = rest_last_status(r) == 400 && misses_upgrade(f, reason.text);
    return OK;
}

static enum status ask(struct rest *r, struct finding *f, struct error *err)
{
    TRY(rest_login(r, err));
    TRY(ask_version(r, f, err));
    TRY(measure_round_trip(r, f, err));
    TRY(ask_usage(r, f, err));
    TRY(ask_list(r, f, err));
    TRY(ask_session(r, f, "backup", &f->may_backup, err));
    return ask_session(r, f, "reader", &f->may_read, err);
}

/* ---- output ---- */

static const char *yes_no(bool value)
{
    return value ? "yes" : "no";
}

static enum status print_text(const struct finding *f, struct error *err)
{
    char authority[REPOSITORY_FULL_SIZE], total[SIZE_TEXT_SIZE], used[SIZE_TEXT_SIZE], free_text[SIZE_TEXT_SIZE];
    TRY(cli_print(err, "server      %s\n", repository_authority(&f->server, authority)));
    TRY(cli_print(err, "version     %s%s%s\n", f->version, *f->release ? "." : "", f->release));
    TRY(cli_print(err, "account     %s (%s)\n", f->server.auth_id,
                  repository_is_token(&f->server) ? "API token" : "user"));
    TRY(cli_print(err, "round trip  %.1f ms\n", (double)f->round_trip_ns / 1e6));
    TRY(cli_print(err, "datastore   %s\n", f->server.datastore));
    if (*f->ns)
        TRY(cli_print(err, "namespace   %s\n", f->ns));
    if (f->has_usage)
        TRY(cli_print(err, "space       %s, used %s, free %s\n", size_text(f->total, total), size_text(f->used, used),
                      size_text(f->available, free_text)));
    if (f->may_list)
        TRY(cli_print(err, "list        yes, snapshots: %" PRIu64 "\n", f->snapshots));
    else
        TRY(cli_print(err, "list        no (%s)\n", f->reason));
    return cli_print(err, "back up     %s\nread        %s\n", yes_no(f->may_backup), yes_no(f->may_read));
}

static enum status print_json(const struct finding *f, enum output_format format, struct error *err)
{
    char authority[REPOSITORY_FULL_SIZE];
    json_t *space = f->has_usage ? json_pack("{s:o, s:o, s:o}", "total", cli_json_count(f->total), "used",
                                             cli_json_count(f->used), "avail", cli_json_count(f->available))
                                 : json_null();
    return cli_print_json(json_pack("{s:s, s:o, s:o, s:s, s:b, s:s, s:s, s:o, s:o, s:{s:b, s:b, s:b}, s:o}", "server",
                                    repository_authority(&f->server, authority), "version", cli_json_text(f->version),
                                    "release", cli_json_text(f->release), "auth-id", f->server.auth_id, "token",
                                    repository_is_token(&f->server), "datastore", f->server.datastore, "ns", f->ns,
                                    "round_trip_ns", cli_json_count(f->round_trip_ns), "space", space, "may", "list",
                                    f->may_list, "backup", f->may_backup, "read", f->may_read, "snapshots",
                                    f->may_list ? cli_json_count(f->snapshots) : json_null()),
                          format, err);
}

/* ---- the command ---- */

static void rest_cleanup(struct rest **r)
{
    rest_free(*r);
}

static enum status run(int argc, char **argv, struct error *err)
{
    static const struct option options[] = {REPOSITORY_ARGS_OPTIONS, CLI_FORMAT_OPTION, CLI_OPTIONS_END};
    CLEANUP(repository_args_deinit) struct repository_args repository = REPOSITORY_ARGS_INIT;
    enum output_format format = OUTPUT_TEXT;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        bool taken;
        TRY(repository_args_take(option, &repository, &taken, err));
        if (taken)
            continue;
        switch (option) {
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &format, err)); break;
        case CLI_HELP: return cli_help(help);
        default: return ERR_USAGE;
        }
    }
    TRY(cli_arguments(argc, argv, 0, 0, "", err));
    TRY(repository_args_find(&repository, err));
    if (!repository_args_is_server(&repository))
        return fail(err, ERR_USAGE, "login: the repository is a directory, which needs no account");

    CLEANUP(rest_cleanup) struct rest *r = NULL;
    struct finding f = {.server = repository.connection.repository, .ns = repository_args_ns(&repository)};
    TRY(rest_new(repository.connection.account, &r, err));
    TRY(ask(r, &f, err));
    TRY(format == OUTPUT_TEXT ? print_text(&f, err) : print_json(&f, format, err));
    if (!f.may_list && !f.may_backup && !f.may_read)
        return fail(err, ERR_REFUSED,
                    "the account may do nothing with datastore %s: check its name, and the account's privileges there "
                    "(%s)",
                    f.server.datastore, f.reason);
    return OK;
}

int cmd_login(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(run(argc, argv, &err), &err);
}
