#include "cli/backup_sources.h"
#include "cli/cli.h"
#include "cli/key_args.h"
#include "cli/repository_args.h"
#include "cli/rfc_mode.h"
#include "cli/stats_json.h"
#include "cli/walk_args.h"

#include "base/clock.h"
#include "base/log.h"
#include "chunk/chunker.h"
#include "flow/master_key.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help_text[] =
    "Usage: pxarbench backup NAME.pxar:PATH... --repository REPOSITORY [OPTION...]\n"
    "\n"
    "Stores each source in one new snapshot:\n"
    "  NAME.pxar:DIRECTORY           NAME.pxar.didx, or NAME.mpxar.didx and NAME.ppxar.didx\n"
    "  NAME.img:FILE                 an image or block device: NAME.img.fidx\n"
    "  NAME.conf:FILE, NAME.log:FILE a small file: NAME.conf.blob, NAME.log.blob\n"
    "\n"
    "  --repository R                datastore directory (starts with '/' or '.'), made on first use, or on a\n"
    "                                server: [[USER@REALM[!TOKEN]@]HOST[:PORT]:]DATASTORE; default:\n"
    "                                $PBS_REPOSITORY\n"
    "  --change-detection-mode MODE  legacy (default): one stream and a catalog; data: metadata and payload\n"
    "                                streams; metadata: these, and what is unchanged since the previous\n"
    "                                snapshot is reused unread\n"
    "  --rfc-change-detection SPEC   instead, as it was spelled before: data (legacy today), metadata, or\n"
    "                                metadata:NAME.pxar:NAME.pxar, which leaves the other directories in one\n"
    "                                stream\n"
    "  --backup-id ID                default: name of this host\n"
    "  --backup-type TYPE            host (default), vm, ct\n"
    "  --backup-time TIME            seconds since 1970 or 2026-01-02T03:04:05Z; default: now\n"
    "  --ns NAMESPACE                default: the root namespace; on a server $PBS_NAMESPACE\n"
    "  --exclude PATTERN             leave out what matches; may be given several times\n"
    "  --include-dev PATH            enter mount points of the file system that PATH is on, too; may be given\n"
    "                                several times\n"
    "  --all-file-systems            enter all mount points but those of virtual file systems\n"
    "  --skip-lost-and-found         leave out every lost+found\n"
    "  --skip-e2big-xattr            go on without extended attributes that the kernel says are too big to list\n"
    "  --skip-kernel-tracing         treat tracefs and bpf as virtual file systems\n"
    "  --entries-max N               entries held in memory at once; default: 1048576\n"
    "  --chunk-size KIB              average, a power of two from 64 to 4096; default: 4096\n"
    "  --threads N                   1 to 64; default: number of processors\n"
    "  --padding-threshold X         0 to 1, at most 6 decimals: a range with a greater share of padding is\n"
    "                                read again; default: 0.1\n"
    "  --reuse-profile PROFILE       tight (default); upstream: as the reference client, one chunk too many\n"
    "                                when a range ends with its chunk; stored: each old chunk is kept or not\n"
    "                                by the share of it that no file needs any more\n"
    "  --absorb-below BYTES          profile stored: smaller chunks beside small new ones are written anew, 0:\n"
    "                                none are; default: a sixteenth of the chunk size\n"
    "  --max-instances N             profile stored: an old chunk is listed at most N times; default: 8\n"
    "  --compare RULE                strict (default); upstream: without values of extended attributes;\n"
    "                                content: size and mtime alone\n"
    "  --cache-limit N               entries looked ahead; default: 65536\n"
    "  --require-reference           fail when metadata mode finds no usable previous snapshot\n";

/* A literal of more than 4095 bytes is not portable. */
static const char more_help_text[] =
    "  --sync-level LEVEL            of a datastore directory: none, file, filesystem (default)\n"
    "  --fingerprint XX:XX:...       of a server: SHA-256 of its certificate; default: $PBS_FINGERPRINT, else the\n"
    "                                system's certificate authorities decide. Its password or token secret is taken\n"
    "                                from PBS_PASSWORD, or _FD, _FILE, _CMD behind that name\n"
    "  --rate BYTES                  of a server: at most so many per second in each direction of a connection,\n"
    "                                also as 10MB, 10MiB\n"
    "  --burst BYTES                 that may pass at once; default: as --rate\n"
    "  --keyfile FILE                encryption key. A passphrase is taken from PBS_ENCRYPTION_PASSWORD, or _FD,\n"
    "                                _FILE, _CMD behind that name\n"
    "  --keyfd N                     the same from an open file descriptor\n"
    "  --crypt-mode MODE             encrypt (default with a key): contents are encrypted, the manifest is signed;\n"
    "                                sign-only; none (default without)\n"
    "  --master-pubkey-file FILE     RSA public key (PEM, at least 3072 bits): the encryption key is stored with the\n"
    "                                snapshot, readable for the owner of the private key\n"
    "  --dry-run                     check everything, store nothing; with a server the backup is begun and given up\n"
    "  --stats FILE                  all counters as JSON, also of a run that fails\n"
    "  --decisions FILE              a JSON line for each file: reused or read again, and why\n"
    "  --read-size-max N             bytes read at once; for tests, the result does not depend on it\n"
    "  --output-format FORMAT        text: nothing (default); json, json-pretty: the counters of --stats\n";

struct arguments {
    struct backup_options options;
    struct backup_sources sources;
    struct walk_args walk;
    struct repository_args repository;
    struct key_args key;
    const char *crypt_mode;
    const char *master_key_path;
    struct buffer wrapped_key;
    struct net_stats network; /* of a server */
    const char *mode;
    const char *rfc_mode;
    const char *stats_path;
    const char *decisions_path;
    enum sync_level sync;
    bool has_sync;
    enum output_format format;
};

static void arguments_deinit(struct arguments *a)
{
    backup_sources_deinit(&a->sources);
    walk_args_deinit(&a->walk);
    repository_args_deinit(&a->repository);
    key_args_deinit(&a->key);
    buffer_deinit(&a->wrapped_key);
}

/* ---- parsing ---- */

static enum status parse_mode(const char *text, enum detection_mode *out, struct error *err)
{
    size_t index = MODE_LEGACY;
    if (text)
        TRY(cli_parse_enum("--change-detection-mode", text, detection_mode_names, &index, err));
    *out = (enum detection_mode)index;
    return OK;
}

static enum status copy_text(const char *what, const char *text, char *out, size_t out_size, struct error *err)
{
    if (strlen(text) >= out_size)
        return fail(err, ERR_USAGE, "%s: longer than %zu bytes", what, out_size - 1);
    memcpy(out, text, strlen(text) + 1);
    return OK;
}

static enum status parse_type(const char *text, struct snapshot_id *id, struct error *err)
{
    static const char *const types[] = {"host", "vm", "ct", NULL};
    size_t index;
    TRY(cli_parse_enum("--backup-type", text, types, &index, err));
    return copy_text("--backup-type", types[index], id->type, sizeof id->type, err);
}

static enum status parse_time(const char *text, int64_t *out, struct error *err)
{
    if (strchr(text, 'T')) {
        if (!time_parse_utc(text, out) || *out < 1)
            return fail(err, ERR_USAGE, "--backup-time: '%s' is no time like 2026-01-02T03:04:05Z", text);
        return OK;
    }
    uint64_t seconds;
    /* The year 9999 ends at 253402300799. */
    TRY(cli_parse_u64("--backup-time", text, 1, UINT64_C(253402300799), &seconds, err));
    *out = (int64_t)seconds;
    return OK;
}

static enum status parse_threshold(const char *text, uint32_t *out_ppm, struct error *err)
{
    double value;
    TRY(cli_parse_double("--padding-threshold", text, 0, 1, &value, err));
    uint32_t ppm = (uint32_t)(value * 1e6 + 0.5);
    double lost = value * 1e6 - ppm;
    if (lost > 1e-6 || lost < -1e-6)
        return fail(err, ERR_USAGE, "--padding-threshold: at most 6 decimals are supported (got %s)", text);
    *out_ppm = ppm;
    return OK;
}

/* Names up to the first dot, as the reference client takes it. */
static enum status default_backup_id(struct snapshot_id *id, struct error *err)
{
    char host[HOST_NAME_MAX + 1] = "";
    if (gethostname(host, sizeof host - 1) != 0)
        return fail(err, ERR_IO, "ask for this host's name");
    host[strcspn(host, ".")] = '\0';
    return copy_text("the host's name, the default of --backup-id", host, id->id, sizeof id->id, err);
}

static enum status parse_archive_number(int option, struct archive_options *archive, struct error *err)
{
    uint64_t value;
    switch (option) {
    case 'k':
        TRY(cli_parse_u64("--chunk-size", optarg, 64, 4096, &value, err));
        TRY(chunk_size_check_kib(value, err));
        archive->chunk_average = value * 1024;
        break;
    case 't':
        TRY(cli_parse_u64("--threads", optarg, 1, THREADS_MAX, &value, err));
        archive->threads = (unsigned)value;
        break;
    case 'l': TRY(cli_parse_u64("--cache-limit", optarg, 1, CACHE_LIMIT_MAX, &archive->cache_limit, err)); break;
    case 'a':
        TRY(cli_parse_u64("--absorb-below", optarg, 0, ABSORB_BELOW_MAX, &archive->absorb_below, err));
        archive->has_absorb_below = true;
        break;
    case 'x':
        TRY(cli_parse_u64("--max-instances", optarg, 1, MAX_INSTANCES_MAX, &value, err));
        archive->max_instances = (uint32_t)value;
        break;
    default:
        TRY(cli_parse_u64("--read-size-max", optarg, 1, 1 << 30, &value, err));
        archive->read_size_max = (size_t)value;
        break;
    }
    return OK;
}

static enum status parse_option(int option, struct arguments *a, struct error *err)
{
    struct backup_options *o = &a->options;
    size_t index;
    switch (option) {
    case 'm': a->mode = optarg; return OK;
    case 'F': a->rfc_mode = optarg; return OK;
    case 'i':
        if (!*optarg) /* not "the default" */
            return fail(err, ERR_USAGE, "--backup-id: the id is empty");
        return copy_text("--backup-id", optarg, o->snapshot.id, sizeof o->snapshot.id, err);
    case 'T': return parse_type(optarg, &o->snapshot, err);
    case 'w': return parse_time(optarg, &o->snapshot.time, err);
    case 'p': return parse_threshold(optarg, &o->archive.threshold_ppm, err);
    case 'f':
        TRY(cli_parse_enum("--reuse-profile", optarg, reuse_profile_names, &index, err));
        o->archive.profile = (enum reuse_profile)index;
        return OK;
    case 'c':
        TRY(cli_parse_enum("--compare", optarg, compare_rule_names, &index, err));
        o->archive.compare = (enum compare_rule)index;
        return OK;
    case KEY_ARGS_MASTER_KEY: a->master_key_path = optarg; return OK;
    case KEY_ARGS_CRYPT_MODE: a->crypt_mode = optarg; return OK;
    case 'q': o->archive.require_reference = true; return OK;
    case 'd': o->dry_run = true; return OK;
    case 'y':
        TRY(cli_parse_enum("--sync-level", optarg, sync_level_names, &index, err));
        a->sync = (enum sync_level)index;
        a->has_sync = true;
        return OK;
    case 's': a->stats_path = optarg; return OK;
    case 'D': a->decisions_path = optarg; return OK;
    case 'k':
    case 't':
    case 'l':
    case 'a':
    case 'x':
    case 'R': return parse_archive_number(option, &o->archive, err);
    case CLI_OUTPUT_FORMAT: return cli_parse_format(optarg, &a->format, err);
    case CLI_HELP: fputs(help_text, stdout); return cli_help(more_help_text);
    default: return ERR_USAGE;
    }
}

/* Found out now and not when the backup is done. */
static enum status check_output_files(const struct arguments *a, struct error *err)
{
    if (a->stats_path && !*a->stats_path)
        return fail(err, ERR_USAGE, "--stats: the name of the file is empty");
    if (a->decisions_path && !*a->decisions_path)
        return fail(err, ERR_USAGE, "--decisions: the name of the file is empty");
    struct stat st;
    bool both = a->stats_path && a->decisions_path && strcmp(a->stats_path, a->decisions_path) == 0;
    if (both && (stat(a->stats_path, &st) != 0 || S_ISREG(st.st_mode))) /* a terminal or pipe can take both */
        return fail(err, ERR_USAGE, "--stats and --decisions: both are '%s'; give each a file of its own",
                    a->stats_path);
    return OK;
}

/* A key that is not used, or a wish that needs one: either might leave readable what was to be unreadable. */
static enum status complete_crypt_mode(struct arguments *a, struct error *err)
{
    bool has_key = a->key.path || a->key.fd >= 0;
    size_t mode = has_key ? CRYPT_ENCRYPT : CRYPT_NONE;
    if (a->crypt_mode)
        TRY(cli_parse_enum("--crypt-mode", a->crypt_mode, crypt_mode_names, &mode, err));
    if (has_key && mode == CRYPT_NONE)
        return fail(err, ERR_USAGE, "--crypt-mode none and a key exclude each other");
    if (!has_key && mode != CRYPT_NONE)
        return fail(err, ERR_USAGE, "--crypt-mode %s needs a key: give --keyfile or --keyfd", crypt_mode_names[mode]);
    if (!has_key && a->master_key_path)
        return fail(err, ERR_USAGE, "--master-pubkey-file: there is no encryption key to store, give --keyfile");
    a->options.crypt_mode = (enum crypt_mode)mode;
    a->options.key_name = a->key.path;
    return OK;
}

/* What can only be judged when all options are known. */
static enum status complete(struct arguments *a, struct error *err)
{
    struct backup_options *o = &a->options;
    o->source_count = a->sources.count;
    TRY(parse_mode(a->mode, &o->archive.mode, err));
    if (a->rfc_mode && a->mode)
        return fail(err, ERR_USAGE, "--rfc-change-detection and --change-detection-mode exclude each other");
    if (a->rfc_mode)
        TRY(rfc_mode_apply(a->rfc_mode, &a->sources, &o->archive.mode, err));
    if (!o->archive.has_absorb_below)
        o->archive.absorb_below = absorb_below_default(o->archive.chunk_average);
    TRY(complete_crypt_mode(a, err));
    TRY(check_output_files(a, err));
    TRY(walk_args_finish(&a->walk, &o->archive.walk, err));
    TRY(copy_text("--ns", repository_args_ns(&a->repository), o->snapshot.ns, sizeof o->snapshot.ns, err));
    TRY(repository_args_find(&a->repository, err));
    if (a->has_sync && repository_args_is_server(&a->repository))
        return fail(err, ERR_USAGE, "--sync-level: only for datastore directories, a server decides for itself");
    TRY(copy_text("--ns", repository_args_ns(&a->repository), o->snapshot.ns, sizeof o->snapshot.ns, err));
    if (!o->snapshot.id[0])
        TRY(default_backup_id(&o->snapshot, err));
    /* The rules for ids and namespaces hold for every time; "now" is not known yet. */
    struct snapshot_id checked = o->snapshot;
    if (checked.time == 0)
        checked.time = clock_wall_seconds();
    return snapshot_id_check(&checked, err);
}

static enum status parse(int argc, char **argv, struct arguments *a, struct error *err)
{
    static const struct option options[] = {
        {"change-detection-mode", required_argument, NULL, 'm'},
        {"rfc-change-detection", required_argument, NULL, 'F'},
        {"backup-id", required_argument, NULL, 'i'},
        {"backup-type", required_argument, NULL, 'T'},
        {"backup-time", required_argument, NULL, 'w'},
        {"chunk-size", required_argument, NULL, 'k'},
        {"threads", required_argument, NULL, 't'},
        {"padding-threshold", required_argument, NULL, 'p'},
        {"reuse-profile", required_argument, NULL, 'f'},
        {"absorb-below", required_argument, NULL, 'a'},
        {"max-instances", required_argument, NULL, 'x'},
        {"compare", required_argument, NULL, 'c'},
        {"cache-limit", required_argument, NULL, 'l'},
        {"require-reference", no_argument, NULL, 'q'},
        {"master-pubkey-file", required_argument, NULL, KEY_ARGS_MASTER_KEY},
        {"crypt-mode", required_argument, NULL, KEY_ARGS_CRYPT_MODE},
        {"dry-run", no_argument, NULL, 'd'},
        {"sync-level", required_argument, NULL, 'y'},
        {"stats", required_argument, NULL, 's'},
        {"decisions", required_argument, NULL, 'D'},
        {"read-size-max", required_argument, NULL, 'R'},
        WALK_ARGS_OPTIONS,
        WALK_ARGS_BACKUP_OPTIONS,
        REPOSITORY_ARGS_OPTIONS,
        KEY_ARGS_OPTIONS,
        CLI_FORMAT_OPTION,
        CLI_OPTIONS_END,
    };
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;) {
        bool taken;
        TRY(key_args_take(option, &a->key, &taken, err));
        if (!taken)
            TRY(repository_args_take(option, &a->repository, &taken, err));
        if (taken)
            continue;
        enum status status = walk_args_take(&a->walk, option, err);
        TRY(status == ERR_CLOSED ? parse_option(option, a, err) : status);
    }
    TRY(cli_arguments(argc, argv, 1, BACKUP_SOURCES_MAX, "NAME.pxar:PATH", err));
    for (int i = optind; i < argc; i++)
        TRY(backup_sources_add(&a->sources, argv[i], err));
    return complete(a, err);
}

/* Filled in here, so that the statistics say what was used. */
static void defaults_set(struct arguments *a)
{
    struct archive_options *archive = &a->options.archive;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    a->sync = SYNC_FILESYSTEM;
    a->options.sources = a->sources.items;
    a->walk.normalise = true;
    memcpy(a->options.snapshot.type, "host", sizeof "host");
    archive->chunk_average = CHUNKER_AVERAGE_DEFAULT;
    archive->threshold_ppm = 100000;
    archive->cache_limit = CACHE_LIMIT_DEFAULT;
    archive->max_instances = MAX_INSTANCES_DEFAULT;
    archive->threads = processors < 1 ? 1 : processors > THREADS_MAX ? THREADS_MAX : (unsigned)processors;
}

/* ---- running ---- */

static enum status run_with_store(struct arguments *a, struct backup_result *result, struct error *err)
{
    const struct store_options store_options = {
        .sync = a->sync, .create = !a->options.dry_run, .key = key_args_config(&a->key)};
    struct store *store = NULL;
    enum status status = repository_args_open(&a->repository, &store_options, &store, err);
    if (status == ERR_NOT_FOUND && a->options.dry_run && !repository_args_is_server(&a->repository)) {
        /* A first backup may be tried dry as well: it would make the datastore, and looks at nothing in it. */
        log_info("Would create datastore %s", a->repository.connection.path);
        *err = (struct error){0};
        status = OK;
    }
    if (status == OK)
        status = backup_run(store, &a->options, result, err);
    if (store)
        store_net_stats(store, &a->network);
    store_close(store);
    return status;
}

/* Before anything is stored: a master key that is too small must not cost a whole backup. */
static enum status load_keys(struct arguments *a, struct error *err)
{
    TRY(key_args_load(&a->key, err));
    if (!a->master_key_path)
        return OK;
    TRY(master_key_wrap(a->key.key, a->master_key_path, &a->wrapped_key, err));
    a->options.wrapped_key = (struct slice){.data = a->wrapped_key.data, .size = a->wrapped_key.size};
    return OK;
}

static enum status run_with_decisions(struct arguments *a, struct backup_result *result, struct error *err)
{
    /* Before anything is created: a typing error in the third source must not cost the backup of the first two. */
    TRY(backup_check(&a->options, err));
    TRY(load_keys(a, err));
    if (!a->decisions_path)
        return run_with_store(a, result, err);
    FILE *decisions = fopen(a->decisions_path, "we");
    if (!decisions)
        return fail(err, ERR_IO, "create %s", a->decisions_path);
    a->options.archive.decisions = decisions;
    enum status status = run_with_store(a, result, err);
    a->options.archive.decisions = NULL;
    bool failed = ferror(decisions) != 0;
    errno = EIO; /* an error of an earlier write is not kept by stdio */
    failed |= fclose(decisions) != 0;
    if (failed && status == OK)
        status = fail(err, ERR_IO, "write %s", a->decisions_path);
    return status;
}

static uint64_t timeval_ns(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_usec * 1000U;
}

static json_t *statistics(const struct arguments *a, const struct backup_result *result, uint64_t duration_ns,
                          const char *error)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    const struct stats_run run = {
        .error = error,
        .options = &a->options.archive,
        .sync = a->sync,
        .snapshot = result->snapshot,
        .duration_ns = duration_ns,
        .user_ns = timeval_ns(usage.ru_utime),
        .system_ns = timeval_ns(usage.ru_stime),
        .peak_rss_bytes = (uint64_t)usage.ru_maxrss * 1024U,
        .warnings = log_warning_count(),
        .sources = a->sources.items,
        .archives = result->archives,
        .archive_count = result->archive_count,
        .catalog = result->has_catalog ? &result->catalog : NULL,
        .crypt_mode = a->options.crypt_mode,
        .network = repository_args_is_server(&a->repository) ? &a->network : NULL,
    };
    return stats_json_run(&run);
}

static enum status statistics_write(const struct arguments *a, const json_t *json, struct error *err)
{
    if (!json)
        return fail(err, ERR_MEMORY, "out of memory for the statistics");
    return stats_file_write(a->stats_path, json, err);
}

static enum status run_parsed(struct arguments *a, struct error *err)
{
    if (a->stats_path)
        TRY(stats_file_check(a->stats_path, err));
    struct backup_result result = {0};
    uint64_t begin = clock_monotonic_ns();
    enum status status = run_with_decisions(a, &result, err);
    uint64_t duration_ns = result.duration_ns ? result.duration_ns : clock_monotonic_ns() - begin;
    bool finished = status == OK && !a->options.dry_run;
    bool wanted = a->stats_path || (status == OK && a->format != OUTPUT_TEXT);
    json_t *json = wanted ? statistics(a, &result, duration_ns, status == OK ? NULL : err->text) : NULL;
    if (a->stats_path) {
        struct error second = {0};
        enum status written = statistics_write(a, json, &second);
        if (written != OK && status != OK)
            log_error("%s", second.text); /* the first failure decides; both are said */
        else if (written != OK)
            *err = second;
        if (status == OK)
            status = written;
    }
    if (status == OK && a->format != OUTPUT_TEXT)
        status = cli_print_json(json_incref(json), a->format, err);
    if (finished && status != OK)
        fail_within(err, "the snapshot is finished and stays, but its statistics are lost");
    json_decref(json);
    backup_result_deinit(&result);
    return status;
}

int cmd_backup(int argc, char **argv)
{
    struct error err = {0};
    struct arguments a = {
        .repository = REPOSITORY_ARGS_INIT, .key = KEY_ARGS_INIT, .wrapped_key = BUFFER_INIT(1 << 20)};
    defaults_set(&a);
    enum status status = parse(argc, argv, &a, &err);
    if (status == OK)
        status = run_parsed(&a, &err);
    arguments_deinit(&a);
    return cli_exit_code(status, &err);
}
