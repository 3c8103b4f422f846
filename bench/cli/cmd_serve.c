/* pxarbench serve: a datastore directory behind the backup server's protocol. */
#include "cli/cli.h"

#include "base/log.h"
#include "flow/protected.h"
#include "flow/threads.h"
#include "server/own_token.h"
#include "server/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ACCOUNTS_MAX = 64, SECRET_FILE_MAX = 4096 };

static const char help_text[] =
    "Usage: pxarbench serve --datastore DIR [OPTION...]\n"
    "\n"
    "Puts the datastore DIR, which is made if it is missing, behind the protocol of a backup server, for tests and\n"
    "benchmarks of clients. Prints where it listens, the fingerprint of its certificate, and a line for a shell that\n"
    "lets clients use it; then serves until SIGTERM or SIGINT. What is unfinished then is removed.\n"
    "\n"
    "  --name NAME           of the datastore (default: the last component of DIR, or store)\n"
    "  --listen ADDR:PORT    default 127.0.0.1:0, that is any free port. Anything but a loopback address lets others "
    "in\n"
    "  --token ID[:MAY]=FILE an API token like bench@pbs!ci, its secret in the first line of FILE. MAY: audit, read,\n"
    "                        backup, modify, prune joined by ',' (default all). Repeatable. Without --token and "
    "--user\n"
    "                        the account is " OWN_TOKEN_ID ", its secret in DIR/.pxarbench/token\n"
    "  --user ID[:MAY]=FILE  a user like root@pam, with a password\n"
    "  --certificate FILE    PEM, with --key FILE. Default: self-made, kept in DIR/.pxarbench\n"
    "  --sync LEVEL          none, file or filesystem (default), as of backup\n"
    "  --connections N       at a time, default 128\n"
    "  --idle SECONDS        before a connection without a session, or with half a request, is closed, default 60\n"
    "  --session-idle SECONDS  the same for sessions, default: never\n"
    "  --parameter-body N    bytes of a body with parameters, default 524287; 65535: older servers\n"
    "  --loose               the manifest need not fit what was uploaded\n"
    "  --latency DURATION    round trip time of the network, e.g. 30ms\n"
    "  --bandwidth MBIT      of the network, in each direction, in millions of bits per second\n"
    "  --fault NAME[=VALUE]  something goes wrong on purpose; repeatable:\n";

static const char help_end[] =
    "  --faults FILE         a fault per line; read at the start and again on SIGHUP, then a line says so\n"
    "  --ready-fd N          a line of JSON goes to this descriptor once clients may come, which is then closed\n"
    "  --stats               a line of JSON on standard output at the end\n";

struct account_file {
    const char *id;
    char *secret; /* protected */
    unsigned privileges;
    char path[PATH_MAX];
};

struct arguments {
    struct serve_options options;
    char listen[80];
    struct account_file accounts[ACCOUNTS_MAX];
    size_t account_count;
    struct faults faults; /* without those of the file */
    const char *faults_file;
    int ready_fd;
    bool stats;
};

/* ---- arguments ---- */

/* Somebody may have a reason to share a secret, but should know that he does. */
static void warn_if_shared(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077) != 0)
        log_warning("%s: other users can read the secret in it", path);
}

/* The first line of a file, in protected memory. */
static enum status read_secret(struct account_file *a, const char *path, struct error *err)
{
    void *memory;
    if (!realpath(path, a->path))
        return fail(err, ERR_IO, "open %s", path);
    TRY(protected_new(SECRET_FILE_MAX, &memory, err));
    a->secret = memory;
    int fd = open(a->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return fail(err, ERR_IO, "open %s", path);
    size_t size = 0;
    ssize_t got;
    while (size < SECRET_FILE_MAX - 1 && (got = read(fd, a->secret + size, SECRET_FILE_MAX - 1 - size)) != 0) {
        if (got < 0 && errno != EINTR) {
            fail_text(err, ERR_IO, "read %s", path);
            close(fd);
            return ERR_IO;
        }
        size += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    a->secret[size] = '\0';
    size_t length = strcspn(a->secret, "\r\n");
    if (length == SECRET_FILE_MAX - 1)
        return fail(err, ERR_LIMIT, "%s: the first line is longer than %d bytes", path, SECRET_FILE_MAX - 2);
    a->secret[length] = '\0';
    warn_if_shared(path);
    return OK;
}

/* "ID[:PRIVILEGES]=FILE". A user's name may have a '=' before its '@'. */
static enum status add_account(struct arguments *a, const char *what, char *text, bool is_token, struct error *err)
{
    if (a->account_count == ACCOUNTS_MAX)
        return fail(err, ERR_USAGE, "%s: at most %d accounts", what, ACCOUNTS_MAX);
    struct account_file *account = &a->accounts[a->account_count];
    char *at = strchr(text, '@');
    char *equals = at ? strchr(at, '=') : NULL;
    if (!equals || !equals[1])
        return fail(err, ERR_USAGE, "%s: ID=FILE is wanted, or ID:PRIVILEGES=FILE", what);
    *equals = '\0';
    char *colon = strchr(text, ':');
    account->privileges = PRIVILEGE_ALL;
    if (colon) {
        *colon = '\0';
        TRY(privileges_parse(colon + 1, &account->privileges, err));
    }
    size_t size = strlen(text);
    if (is_token ? !name_is_token_id(text, size) : !name_is_user_id(text, size))
        return fail(err, ERR_USAGE, "%s: '%.200s' is not %s", what, text,
                    is_token ? "the id of a token, like bench@pbs!ci" : "a user, like root@pam");
    account->id = text;
    a->account_count++;
    return read_secret(account, equals + 1, err);
}

static enum status take_listen(struct arguments *a, const char *text, struct error *err)
{
    const char *colon = strrchr(text, ':');
    uint64_t port = 0;
    size_t size = colon ? (size_t)(colon - text) : 0;
    if (!colon || size == 0 || size >= sizeof a->listen)
        return fail(err, ERR_USAGE, "--listen: '%.100s' is not ADDRESS:PORT", text);
    memcpy(a->listen, text, size);
    a->listen[size] = '\0';
    TRY(cli_parse_u64("--listen", colon + 1, 0, 65535, &port, err));
    a->options.address = a->listen;
    a->options.port = (unsigned)port;
    return OK;
}

static enum status take_latency(struct faults *f, const char *text, struct error *err)
{
    struct faults parsed = {0};
    char fault[64];
    int size = snprintf(fault, sizeof fault, "delay-in=%s", text);
    if (size < 0 || (size_t)size >= sizeof fault || faults_set(&parsed, fault, err) != OK)
        return fail(err, ERR_USAGE, "--latency: '%.50s' is no duration like 30ms or 300us", text);
    f->delay_in_us = parsed.delay_in_us / 2;
    f->delay_out_us = parsed.delay_in_us - f->delay_in_us;
    return OK;
}

static enum status take_bandwidth(struct faults *f, const char *text, struct error *err)
{
    double mbit;
    TRY(cli_parse_double("--bandwidth", text, 0.001, 1000000, &mbit, err));
    f->rate_in = f->rate_out = (uint64_t)(mbit * 125000);
    return OK;
}

static enum status take_count(const char *what, const char *text, uint64_t max, unsigned factor, unsigned *out,
                              struct error *err)
{
    uint64_t value;
    TRY(cli_parse_u64(what, text, 1, max, &value, err));
    *out = (unsigned)value * factor;
    return OK;
}

static enum status take_size(const char *what, const char *text, size_t *out, struct error *err)
{
    uint64_t value;
    TRY(cli_parse_u64(what, text, 1024, 16 << 20, &value, err));
    *out = (size_t)value;
    return OK;
}

static enum status take_fd(const char *text, int *out, struct error *err)
{
    uint64_t value;
    TRY(cli_parse_u64("--ready-fd", text, 0, INT_MAX, &value, err));
    *out = (int)value;
    return fcntl(*out, F_GETFD) < 0 ? fail(err, ERR_USAGE, "--ready-fd: descriptor %s is not open", text) : OK;
}

static enum status take_sync(const char *text, enum sync_level *out, struct error *err)
{
    static const char *const names[] = {"none", "file", "filesystem", NULL};
    size_t level;
    TRY(cli_parse_enum("--sync", text, names, &level, err));
    *out = (enum sync_level)level;
    return OK;
}

static enum status show_help(void)
{
    fputs(help_text, stdout);
    fputs(faults_help(), stdout);
    return cli_help(help_end);
}

static enum status take_arguments(int argc, char **argv, struct arguments *a, struct error *err)
{
    enum {
        DATASTORE = CLI_OPTION_FIRST,
        NAME,
        LISTEN,
        TOKEN,
        USER,
        CERTIFICATE,
        KEY,
        SYNC,
        CONNECTIONS,
        IDLE,
        SESSION_IDLE,
        PARAMETER_BODY,
        LOOSE,
        LATENCY,
        BANDWIDTH,
        FAULT,
        FAULTS,
        READY_FD,
        STATS
    };
    static const struct option options[] = {{"datastore", required_argument, NULL, DATASTORE},
                                            {"name", required_argument, NULL, NAME},
                                            {"listen", required_argument, NULL, LISTEN},
                                            {"token", required_argument, NULL, TOKEN},
                                            {"user", required_argument, NULL, USER},
                                            {"certificate", required_argument, NULL, CERTIFICATE},
                                            {"key", required_argument, NULL, KEY},
                                            {"sync", required_argument, NULL, SYNC},
                                            {"connections", required_argument, NULL, CONNECTIONS},
                                            {"idle", required_argument, NULL, IDLE},
                                            {"session-idle", required_argument, NULL, SESSION_IDLE},
                                            {"parameter-body", required_argument, NULL, PARAMETER_BODY},
                                            {"loose", no_argument, NULL, LOOSE},
                                            {"latency", required_argument, NULL, LATENCY},
                                            {"bandwidth", required_argument, NULL, BANDWIDTH},
                                            {"fault", required_argument, NULL, FAULT},
                                            {"faults", required_argument, NULL, FAULTS},
                                            {"ready-fd", required_argument, NULL, READY_FD},
                                            {"stats", no_argument, NULL, STATS},
                                            CLI_OPTIONS_END};
    struct serve_options *o = &a->options;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;)
        switch (option) {
        case DATASTORE: o->datastore = optarg; break;
        case NAME: o->name = optarg; break;
        case LISTEN: TRY(take_listen(a, optarg, err)); break;
        case TOKEN: TRY(add_account(a, "--token", optarg, true, err)); break;
        case USER: TRY(add_account(a, "--user", optarg, false, err)); break;
        case CERTIFICATE: o->certificate_file = optarg; break;
        case KEY:
            o->key_file = optarg;
            warn_if_shared(optarg);
            break;
        case SYNC: TRY(take_sync(optarg, &o->sync, err)); break;
        case CONNECTIONS: TRY(take_count("--connections", optarg, 100000, 1, &o->limits.connections, err)); break;
        case IDLE: TRY(take_count("--idle", optarg, 1000000, 1000, &o->limits.idle_ms, err)); break;
        case SESSION_IDLE:
            TRY(take_count("--session-idle", optarg, 1000000, 1000, &o->limits.session_idle_ms, err));
            break;
        case PARAMETER_BODY: TRY(take_size("--parameter-body", optarg, &o->limits.parameter_body_max, err)); break;
        case LOOSE: o->loose = true; break;
        case LATENCY: TRY(take_latency(&a->faults, optarg, err)); break;
        case BANDWIDTH: TRY(take_bandwidth(&a->faults, optarg, err)); break;
        case FAULT: TRY(faults_set(&a->faults, optarg, err)); break;
        case FAULTS: a->faults_file = optarg; break;
        case READY_FD: TRY(take_fd(optarg, &a->ready_fd, err)); break;
        case STATS: a->stats = true; break;
        case CLI_HELP: return show_help();
        default: return ERR_USAGE;
        }
    TRY(cli_arguments(argc, argv, 0, 0, "no arguments", err));
    if (!o->datastore)
        return fail(err, ERR_USAGE, "serve: --datastore DIR is missing");
    return OK;
}

/* Those of the command line, then a line each of the file; blank ones and those with '#' say nothing. */
static enum status load_faults(const struct arguments *a, struct faults *out, struct error *err)
{
    *out = a->faults;
    if (!a->faults_file)
        return OK;
    FILE *file = fopen(a->faults_file, "re");
    if (!file)
        return fail(err, ERR_IO, "open %s", a->faults_file);
    char line[256];
    enum status status = OK;
    for (unsigned number = 1; status == OK && fgets(line, sizeof line, file); number++) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] && line[0] != '#' && faults_set(out, line, err) != OK)
            status = fail_within(err, "%s, line %u", a->faults_file, number);
    }
    if (status == OK && ferror(file))
        status = fail(err, ERR_IO, "read %s", a->faults_file);
    fclose(file);
    return status;
}

/* ---- serving ---- */

static enum status use_own_token(struct arguments *a, struct error *err)
{
    struct account_file *account = &a->accounts[0];
    void *memory;
    TRY(protected_new(SECRET_FILE_MAX, &memory, err));
    account->secret = memory;
    account->id = OWN_TOKEN_ID;
    account->privileges = PRIVILEGE_ALL;
    a->account_count = 1;
    return own_token(a->options.datastore, account->secret, account->path, err);
}

/* In single quotes, whatever is in it. */
static void quote(const char *text, char *out, size_t size)
{
    size_t used = 0;
    out[used++] = '\'';
    for (; *text && used + 8 < size; text++) {
        if (*text == '\'') {
            memcpy(out + used, "'\\''", 4);
            used += 4;
        } else {
            out[used++] = *text;
        }
    }
    out[used++] = '\'';
    out[used] = '\0';
}

static const char *client_host(const struct serve *s)
{
    const char *address = serve_address(s);
    if (strcmp(address, "0.0.0.0") == 0)
        return "localhost";
    return strcmp(address, "[::]") == 0 ? "localhost" : address;
}

static enum status announce(const struct arguments *a, const struct serve *s, struct error *err)
{
    char repository[512], quoted[4 * PATH_MAX + 16], quoted_path[4 * PATH_MAX + 16];
    const struct account_file *account = &a->accounts[0];
    snprintf(repository, sizeof repository, "%s@%s:%u:%s", account->id, client_host(s), serve_port(s), serve_name(s));
    quote(repository, quoted, sizeof quoted);
    quote(account->path, quoted_path, sizeof quoted_path);
    TRY(cli_print(err, "listening on https://%s:%u/\nfingerprint %s\n", serve_address(s), serve_port(s),
                  serve_fingerprint(s)));
    TRY(cli_print(err, "export PBS_REPOSITORY=%s PBS_FINGERPRINT=%s PBS_PASSWORD_FILE=%s\n", quoted,
                  serve_fingerprint(s), quoted_path));
    if (fflush(stdout) != 0)
        return fail(err, ERR_IO, "write to standard output");
    if (a->ready_fd < 0)
        return OK;
    json_t *json =
        json_pack("{s:s, s:i, s:s, s:s, s:s, s:o, s:i}", "address", serve_address(s), "port", (int)serve_port(s),
                  "fingerprint", serve_fingerprint(s), "name", serve_name(s), "repository", repository, "password_file",
                  cli_json_text(account->path), "pid", (int)getpid());
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text)
        return fail(err, ERR_MEMORY, "out of memory");
    int written = dprintf(a->ready_fd, "%s\n", text);
    free(text);
    if (written < 0 || close(a->ready_fd) != 0)
        return fail(err, ERR_IO, "write to descriptor %d", a->ready_fd);
    return OK;
}

static void reload(const struct arguments *a, struct serve *s)
{
    struct error err = {0};
    struct faults faults;
    if (load_faults(a, &faults, &err) != OK) {
        log_error("the faults stay as they are: %s", err.text);
        return;
    }
    serve_set_faults(s, &faults);
    printf("faults are set\n");
    fflush(stdout);
}

static enum status print_stats(struct serve *s, struct error *err)
{
    struct serve_stats t;
    serve_stats(s, &t);
    json_t *json = json_object();
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {
        {"connections", t.connections},
        {"requests_http1", t.requests_http1},
        {"requests_h2", t.requests_h2},
        {"sessions_backup", t.sessions_backup},
        {"sessions_reader", t.sessions_reader},
        {"sessions_finished", t.sessions_finished},
        {"chunks", t.chunks},
        {"chunks_known", t.chunks_known},
        {"received", t.received},
        {"sent", t.sent},
        {"errors_4xx", t.errors[4]},
        {"errors_5xx", t.errors[5]},
        {"memory_peak", t.memory_peak},
    };
    for (size_t i = 0; json && i < sizeof members / sizeof *members; i++)
        if (json_object_set_new(json, members[i].name, cli_json_count(members[i].value)) != 0) {
            json_decref(json);
            json = NULL;
        }
    return cli_print_json(json, OUTPUT_JSON, err);
}

/* Signals are blocked in all threads: they are taken here, one at a time. */
static enum status serve_until_told(struct arguments *a, struct error *err)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0)
        return fail(err, ERR_IO, "block signals");
    struct serve *s;
    TRY(serve_start(&a->options, &s, err));
    enum status status = announce(a, s, err);
    for (int signal_number = 0; status == OK && signal_number != SIGTERM && signal_number != SIGINT;) {
        if (sigwait(&signals, &signal_number) != 0)
            status = fail(err, ERR_IO, "wait for signals");
        if (status == OK && signal_number == SIGHUP)
            reload(a, s);
    }
    serve_end(s); /* requests are finished meanwhile: they count */
    if (status == OK && a->stats)
        status = print_stats(s, err);
    serve_stop(s);
    return status;
}

static enum status prepare_and_serve(int argc, char **argv, struct arguments *a, struct error *err)
{
    TRY(take_arguments(argc, argv, a, err));
    if (a->account_count == 0)
        TRY(use_own_token(a, err));
    struct access_account accounts[ACCOUNTS_MAX];
    for (size_t i = 0; i < a->account_count; i++)
        accounts[i] = (struct access_account){
            .auth_id = a->accounts[i].id, .secret = a->accounts[i].secret, .privileges = a->accounts[i].privileges};
    a->options.accounts = accounts;
    a->options.account_count = a->account_count;
    a->options.threads = &flow_threads;
    TRY(load_faults(a, &a->options.faults, err));
    return serve_until_told(a, err);
}

static void arguments_deinit(struct arguments *a)
{
    for (size_t i = 0; i < ACCOUNTS_MAX; i++)
        protected_free(a->accounts[i].secret, SECRET_FILE_MAX);
}

int cmd_serve(int argc, char **argv)
{
    struct error err = {0};
    struct arguments *a = calloc(1, sizeof *a);
    if (!a)
        return cli_exit_code(fail(&err, ERR_MEMORY, "out of memory"), &err);
    a->ready_fd = -1;
    a->options.sync = SYNC_FILESYSTEM;
    enum status status = prepare_and_serve(argc, argv, a, &err);
    arguments_deinit(a);
    free(a);
    return cli_exit_code(status, &err);
}
