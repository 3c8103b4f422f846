#include "flow/secret.h"

#include "flow/protected.h"
#include "flow/words.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { OUTPUT_SIZE_MAX = 1 << 20, READ_SIZE = 4096 };

/* What CREDENTIALS_DIRECTORY calls them. */
static const struct {
    const char *base, *file;
} credentials[] = {
    {"PBS_PASSWORD", "proxmox-backup-client.password"},
    {"PBS_ENCRYPTION_PASSWORD", "proxmox-backup-client.encryption-password"},
    {"PBS_REPOSITORY", "proxmox-backup-client.repository"},
    {"PBS_FINGERPRINT", "proxmox-backup-client.fingerprint"},
};

static void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- the value ---- */

static enum status value_new(struct secret *out, struct error *err)
{
    void *memory;
    TRY(protected_new(SECRET_SIZE_MAX + 1, &memory, err));
    *out = (struct secret){.text = memory};
    return OK;
}

void secret_deinit(struct secret *s)
{
    protected_free(s->text, SECRET_SIZE_MAX + 1);
    *s = (struct secret){0};
}

/* Of the sequence at `p`, 0: none. The text ends with a NUL, which is in no sequence. */
static size_t sequence_size(const unsigned char *p)
{
    static const struct {
        unsigned char first_min, first_max, second_min, second_max;
        size_t size;
    } forms[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t k = 0; k < sizeof forms / sizeof forms[0]; k++) {
        if (p[0] < forms[k].first_min || p[0] > forms[k].first_max)
            continue;
        if (forms[k].size > 1 && (p[1] < forms[k].second_min || p[1] > forms[k].second_max))
            return 0;
        for (size_t i = 2; i < forms[k].size; i++)
            if ((p[i] & 0xc0) != 0x80)
                return 0;
        return forms[k].size;
    }
    return 0;
}

static enum status check_text(const struct secret *s, const char *what, struct error *err)
{
    for (size_t at = 0; at < s->size;) {
        size_t size = sequence_size((const unsigned char *)s->text + at);
        if (size == 0)
            return fail(err, ERR_FORMAT, "%s: is not text in UTF-8, at byte %zu", what, at);
        at += size;
    }
    return OK;
}

/* Cuts the text behind its first line. */
static void keep_first_line(struct secret *s)
{
    char *newline = memchr(s->text, '\n', s->size);
    size_t size = newline ? (size_t)(newline - s->text) : s->size;
    if (newline && size > 0 && s->text[size - 1] == '\r')
        size--;
    OPENSSL_cleanse(s->text + size, s->size - size);
    s->size = size;
    s->text[size] = '\0';
}

/* To the end of the first line, or of everything. */
static enum status read_value(int fd, bool whole, const char *what, struct secret *s, struct error *err)
{
    for (;;) {
        if (s->size == SECRET_SIZE_MAX)
            return fail(err, ERR_LIMIT, "%s: longer than %d bytes", what, SECRET_SIZE_MAX - 1);
        ssize_t got = read(fd, s->text + s->size, SECRET_SIZE_MAX - s->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(err, ERR_IO, "%s: read", what);
        if (got == 0)
            break;
        bool ended = !whole && memchr(s->text + s->size, '\n', (size_t)got);
        s->size += (size_t)got;
        if (ended)
            break;
    }
    if (!whole)
        keep_first_line(s);
    return OK;
}

/* ---- the sources ---- */

static enum status from_text(const char *text, const char *what, struct secret *s, struct error *err)
{
    size_t size = strcspn(text, "\n");
    if (size >= SECRET_SIZE_MAX)
        return fail(err, ERR_LIMIT, "%s: longer than %d bytes", what, SECRET_SIZE_MAX - 1);
    memcpy(s->text, text, size);
    s->size = size;
    if (text[size] == '\n' && size > 0 && text[size - 1] == '\r')
        s->text[--s->size] = '\0';
    return OK;
}

static enum status from_fd(const char *text, const char *what, struct secret *s, struct error *err)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (strspn(text, "0123456789") != strlen(text) || end == text || errno != 0 || number > INT_MAX)
        return fail(err, ERR_USAGE, "%s: is not the number of a descriptor", what);
    CLEANUP(fd_close) int fd = (int)number;
    return read_value(fd, false, what, s, err);
}

static enum status from_file(const char *path, const char *what, struct secret *s, struct error *err)
{
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return fail(err, ERR_IO, "%s: open %s", what, path);
    return read_value(fd, false, what, s, err);
}

/* Reads on where the value ended: a command that cannot write any more would fail for that. */
static enum status drain(int fd, const char *what, struct error *err)
{
    char rest[READ_SIZE];
    enum status status = OK;
    for (size_t total = 0; status == OK;) {
        ssize_t got = read(fd, rest, sizeof rest);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = fail(err, ERR_IO, "%s: read", what);
        if (got <= 0)
            break;
        total += (size_t)got;
        if (total > OUTPUT_SIZE_MAX)
            status = fail(err, ERR_LIMIT, "%s: the command does not stop writing", what);
    }
    OPENSSL_cleanse(rest, sizeof rest);
    return status;
}

static enum status spawn(const struct words *w, int output, const char *what, pid_t *out, struct error *err)
{
    posix_spawn_file_actions_t actions;
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed == 0) {
        failed = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
        if (failed == 0)
            failed = posix_spawnp(out, w->items[0], &actions, NULL, w->items, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    errno = failed;
    return failed == 0 ? OK : fail(err, ERR_IO, "%s: start %s", what, w->items[0]);
}

static enum status wait_for(pid_t pid, const char *what, struct error *err)
{
    int code;
    while (waitpid(pid, &code, 0) < 0)
        if (errno != EINTR)
            return fail(err, ERR_IO, "%s: wait for the command", what);
    if (WIFEXITED(code) && WEXITSTATUS(code) == 0)
        return OK;
    if (WIFSIGNALED(code))
        return fail(err, ERR_NOT_FOUND, "%s: the command was ended by signal %d", what, WTERMSIG(code));
    return fail(err, ERR_NOT_FOUND, "%s: the command failed with exit code %d", what, WEXITSTATUS(code));
}

static enum status from_output(const struct words *w, const char *what, struct secret *s, struct error *err)
{
    int ends[2];
    pid_t pid;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(err, ERR_IO, "%s: make a pipe", what);
    CLEANUP(fd_close) int input = ends[0];
    CLEANUP(fd_close) int output = ends[1];
    TRY(spawn(w, output, what, &pid, err));
    fd_close(&output);
    enum status status = read_value(input, false, what, s, err);
    if (status == OK)
        status = drain(input, what, err);
    fd_close(&input); /* a command that goes on writing ends by that */
    struct error second;
    enum status waited = wait_for(pid, what, status == OK ? err : &second);
    return status != OK ? status : waited;
}

static enum status from_command(const char *text, const char *what, struct secret *s, struct error *err)
{
    CLEANUP(words_deinit) struct words w = {0};
    if (words_split(text, &w, err) != OK)
        return fail_within(err, "%s", what);
    return from_output(&w, what, s, err);
}

static enum status from_credential(const char *path, const char *what, struct secret *s, bool *out_found,
                                   struct error *err)
{
    *out_found = false;
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return OK;
    *out_found = true;
    if (fd < 0)
        return fail(err, ERR_IO, "%s: open %s", what, path);
    return read_value(fd, true, what, s, err);
}

static enum status look_for_credential(const char *base, struct secret *s, bool *out_found, struct error *err)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    *out_found = false;
    for (size_t i = 0; directory && i < sizeof credentials / sizeof credentials[0]; i++) {
        if (strcmp(base, credentials[i].base) != 0)
            continue;
        char path[PATH_MAX];
        int size = snprintf(path, sizeof path, "%s/%s", directory, credentials[i].file);
        if (size < 0 || (size_t)size >= sizeof path)
            return fail(err, ERR_USAGE, "CREDENTIALS_DIRECTORY: longer than a path can be");
        TRY(from_credential(path, credentials[i].file, s, out_found, err));
        return *out_found ? check_text(s, credentials[i].file, err) : OK;
    }
    return OK;
}

static enum status look_everywhere(const char *base, struct secret *s, bool *out_found, struct error *err)
{
    static const struct {
        const char *suffix;
        enum status (*read)(const char *value, const char *what, struct secret *s, struct error *err);
    } sources[] = {{"", from_text}, {"_FD", from_fd}, {"_FILE", from_file}, {"_CMD", from_command}};
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        char name[SECRET_NAME_MAX + 8];
        snprintf(name, sizeof name, "%.*s%s", SECRET_NAME_MAX, base, sources[i].suffix);
        const char *value = getenv(name);
        if (!value)
            continue;
        *out_found = true;
        TRY(sources[i].read(value, name, s, err));
        return check_text(s, name, err);
    }
    return look_for_credential(base, s, out_found, err);
}

enum status secret_lookup(const char *base, struct secret *out, struct error *err)
{
    struct secret s;
    bool found = false;
    *out = (struct secret){0};
    ASSERT(strlen(base) <= SECRET_NAME_MAX);
    TRY(value_new(&s, err));
    enum status status = look_everywhere(base, &s, &found, err);
    if (status == OK && found)
        *out = s;
    else
        secret_deinit(&s);
    return status;
}
