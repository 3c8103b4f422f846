/* pxarbench: the command line. Options of the program itself, then the subcommand; see cli/cli.h. */
#include "base/log.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const struct cli_command commands[] = {
    {"backup", cmd_backup, "back up directories into a repository"},
    {"restore", cmd_restore, "restore an archive of a snapshot into a directory"},
    {"snapshot", cmd_snapshot, "list snapshots and their files"},
    {"catalog", cmd_catalog, "list what the archives of a snapshot hold"},
    {"verify", cmd_verify, "check everything that a snapshot refers to"},
    {"analyze", cmd_analyze, "padding, chunks, read amplification and ghosts of snapshots"},
    {"serve", cmd_serve, "a datastore directory as a backup server, for tests and benchmarks"},
    {"login", cmd_login, "try an account on a server: what it is, and what it may"},
    {"benchmark", cmd_benchmark, "speeds of digest, compression, encryption, and of uploading"},
    {"key", cmd_key, "encryption keys: create, show, change the passphrase"},
    {"pxar", cmd_pxar, "create, extract and show archives without a repository"},
    {"chunk", cmd_chunk, "cut a file into chunks"},
    {"index", cmd_index, "show a stored index"},
    {"blob", cmd_blob, "show a stored blob or chunk"},
    {"version", cmd_version, "print the version"},
    {NULL, NULL, NULL},
};

/* A descriptor that is closed at birth would be given to the first file opened, and messages or results would go into
 * somebody's archive. Opened the wrong way round it fails as a closed one should. */
static bool standard_descriptors_open(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        int opened = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        if (opened != fd)
            return false;
    }
    return true;
}

/* What stdio kept back may still fail: a full disk must not look like success. */
static int close_stdout(int code)
{
    bool failed = ferror(stdout) != 0;
    errno = 0;
    bool flush_failed = fflush(stdout) != 0;
    if (!failed && !flush_failed)
        return code;
    if (code == CLI_DONE) {
        log_error("write standard output: %s", errno ? strerror(errno) : "some of it could not be written");
        return CLI_FAILED;
    }
    return code; /* said already */
}

int main(int argc, char **argv)
{
    if (!standard_descriptors_open())
        return CLI_FAILED;
    int first = 1;
    for (; first < argc; first++) {
        if (strcmp(argv[first], "--quiet") == 0) {
            log_set_level(LOG_ERROR);
        } else if (strcmp(argv[first], "--verbose") == 0) {
            log_set_level(LOG_DEBUG);
        } else if (strcmp(argv[first], "--version") == 0) {
            char name[] = "version";
            char *version_argv[] = {name, NULL};
            return close_stdout(cmd_version(1, version_argv));
        } else {
            break;
        }
    }
    /* argv[0] for the dispatcher is whatever stands before the command. */
    return close_stdout(cli_dispatch("pxarbench", commands, argc - first + 1, argv + first - 1));
}
