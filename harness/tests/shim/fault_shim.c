/* Makes chosen system calls of a program fail, or changes the file under them just before they run. LD_PRELOAD.
 *
 * FAULT_RULES holds one rule per line: CALL GLOB WHEN ACTION [ARGUMENT]
 *
 *   CALL    open, create (an open with O_CREAT), stat (by name), fstat, statfs, read, getdents, readlink, xattr, write,
 *           rename (by the old name), mkdir, unlink, sync; change: any of create, write, rename, mkdir, unlink, sync
 *   GLOB    of the absolute path; '*' also matches '/'
 *   WHEN    3: the third call that matches; 3+: that one and all after it
 *   ACTION  errno N      the call fails with that number and is not made
 *           truncate N   the file gets that size
 *           append N     the file gets that many bytes more
 *           unlink       the name goes
 *           replace KIND the name becomes a directory, symlink, fifo or another file (of 7 bytes)
 *           kill         SIGKILL
 *           pause PATH   makes PATH and waits until somebody removes it
 *           note PATH    PATH gets a byte more: its size is the number of calls
 *           untyped      getdents: the names that the call gives have no types (DT_UNKNOWN)
 *           magic HEX    statfs: the call tells of a file system of this type
 *
 * Tests only: rules are trusted, memory is never freed. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { RULES_MAX = 32, WORD_MAX = 1024 };

struct rule {
    char call[16];
    char glob[WORD_MAX];
    char action[16];
    char argument[WORD_MAX];
    unsigned long when;
    int and_after;
    atomic_ulong seen;
};

static struct rule rules[RULES_MAX];
/* What is to be done with the answer of the call that comes next; NULL: nothing. */
static _Thread_local const struct rule *with_answer;
static int rule_count;

__attribute__((noreturn)) static void complain(const char *what)
{
    fprintf(stderr, "fault_shim: %s\n", what);
    _exit(99);
}

__attribute__((constructor)) static void load(void)
{
    const char *text = getenv("FAULT_RULES");
    char *copy = strdup(text ? text : "");
    char *rest = NULL;
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        struct rule *r = &rules[rule_count++];
        char when[32];
        if (rule_count > RULES_MAX ||
            sscanf(line, "%15s %1023s %31s %15s %1023s", r->call, r->glob, when, r->action, r->argument) < 4)
            complain("bad FAULT_RULES");
        char *end;
        r->when = strtoul(when, &end, 10);
        r->and_after = *end == '+';
    }
    free(copy);
}

/* ---- actions: through syscall(), so that none of them is a call that rules see ---- */

static void raw_fill(const char *path, int flags, long size)
{
    char byte = 'X';
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC | flags, 0644);
    if (fd < 0)
        complain("cannot open what is to be changed");
    for (long i = 0; i < size; i++)
        if (syscall(SYS_write, fd, &byte, 1UL) != 1)
            complain("cannot write");
    syscall(SYS_close, fd);
}

static void raw_truncate(const char *path, long size)
{
    if (syscall(SYS_truncate, path, size) != 0)
        complain("cannot truncate");
}

static void raw_unlink(const char *path)
{
    if (syscall(SYS_unlinkat, AT_FDCWD, path, 0) != 0)
        complain("cannot unlink");
}

static void replace(const char *path, const char *kind)
{
    raw_unlink(path);
    long failed = 0;
    if (strcmp(kind, "directory") == 0)
        failed = syscall(SYS_mkdirat, AT_FDCWD, path, 0755);
    else if (strcmp(kind, "symlink") == 0)
        failed = syscall(SYS_symlinkat, "/etc/hostname", AT_FDCWD, path);
    else if (strcmp(kind, "fifo") == 0)
        failed = syscall(SYS_mknodat, AT_FDCWD, path, S_IFIFO | 0644, 0);
    else if (strcmp(kind, "file") == 0)
        raw_fill(path, O_CREAT | O_EXCL, 7);
    else
        complain("replace by what?");
    if (failed)
        complain("cannot replace");
}

static void pause_at(const char *path)
{
    const struct timespec moment = {.tv_nsec = 2 * 1000 * 1000};
    raw_fill(path, O_CREAT, 0);
    while (syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0)
        nanosleep(&moment, NULL);
}

/* Returns the errno of the call, 0 if it is to be made. */
static int act(const struct rule *r, const char *path)
{
    const char *action = r->action;
    if (strcmp(action, "errno") == 0)
        return atoi(r->argument);
    if (strcmp(action, "truncate") == 0)
        raw_truncate(path, atol(r->argument));
    else if (strcmp(action, "append") == 0)
        raw_fill(path, O_APPEND, atol(r->argument));
    else if (strcmp(action, "unlink") == 0)
        raw_unlink(path);
    else if (strcmp(action, "replace") == 0)
        replace(path, r->argument);
    else if (strcmp(action, "kill") == 0)
        kill(getpid(), SIGKILL);
    else if (strcmp(action, "pause") == 0)
        pause_at(r->argument);
    else if (strcmp(action, "note") == 0)
        raw_fill(r->argument, O_CREAT | O_APPEND, 1);
    else if (strcmp(action, "untyped") == 0 || strcmp(action, "magic") == 0)
        with_answer = r;
    else
        complain("unknown action");
    return 0;
}

/* ---- matching ---- */

static int is_change(const char *call)
{
    static const char *const changes[] = {"create", "write", "rename", "mkdir", "unlink", "sync"};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        if (strcmp(call, changes[i]) == 0)
            return 1;
    return 0;
}

static int call_matches(const char *wanted, const char *call)
{
    return strcmp(wanted, call) == 0 || (strcmp(wanted, "change") == 0 && is_change(call));
}

static void path_of(int dir_fd, const char *name, char out[PATH_MAX])
{
    char link[64];
    out[0] = '\0';
    size_t used = 0;
    if (!name || name[0] != '/') {
        snprintf(link, sizeof link, dir_fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dir_fd);
        long size = syscall(SYS_readlinkat, AT_FDCWD, link, out, (size_t)PATH_MAX / 2);
        used = size > 0 ? (size_t)size : 0;
    }
    if (name && name[0])
        snprintf(out + used, PATH_MAX - used, "%s%.*s", used ? "/" : "", PATH_MAX / 2 - 8, name);
    else
        out[used] = '\0';
}

/* Sets errno and returns -1 when the call is to fail. */
static int fault(const char *call, int dir_fd, const char *name)
{
    char path[PATH_MAX];
    int known = 0;
    int kept = errno;
    with_answer = NULL;
    for (int i = 0; i < rule_count; i++) {
        struct rule *r = &rules[i];
        if (!call_matches(r->call, call))
            continue;
        if (!known)
            path_of(dir_fd, name, path);
        known = 1;
        if (fnmatch(r->glob, path, 0) != 0)
            continue;
        unsigned long seen = atomic_fetch_add(&r->seen, 1) + 1;
        if (seen != r->when && !(r->and_after && seen > r->when))
            continue;
        int failed = act(r, path);
        if (failed) {
            errno = failed;
            return -1;
        }
    }
    errno = kept;
    return 0;
}

/* ---- the calls ---- */

#define REAL(name)                                                                                                     \
    static __typeof__(&name) real;                                                                                     \
    if (!real)                                                                                                         \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);
#define FAULT(call, dir_fd, name)                                                                                      \
    if (fault(call, dir_fd, name) != 0)                                                                                \
        return -1;

#define OPEN_MODE                                                                                                      \
    mode_t mode = 0;                                                                                                   \
    if (flags & O_CREAT) {                                                                                             \
        va_list args;                                                                                                  \
        va_start(args, flags);                                                                                         \
        mode = va_arg(args, mode_t);                                                                                   \
        va_end(args);                                                                                                  \
    }

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        OPEN_MODE                                                                                                      \
        REAL(name)                                                                                                     \
        FAULT(flags & O_CREAT ? "create" : "open", AT_FDCWD, path)                                                     \
        return real(path, flags, mode);                                                                                \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                   \
    int name(int dir_fd, const char *path, int flags, ...)                                                             \
    {                                                                                                                  \
        OPEN_MODE                                                                                                      \
        REAL(name)                                                                                                     \
        FAULT(flags & O_CREAT ? "create" : "open", dir_fd, path)                                                       \
        return real(dir_fd, path, flags, mode);                                                                        \
    }
OPENAT(openat)
OPENAT(openat64)

#define CALL(type, name, call, dir_fd, path, parameters, arguments)                                                    \
    type name parameters                                                                                               \
    {                                                                                                                  \
        REAL(name)                                                                                                     \
        FAULT(call, dir_fd, path)                                                                                      \
        return real arguments;                                                                                         \
    }
CALL(int, fstatat, "stat", d, p, (int d, const char *restrict p, struct stat *restrict s, int f), (d, p, s, f))
CALL(int, fstatat64, "stat", d, p, (int d, const char *restrict p, struct stat64 *restrict s, int f), (d, p, s, f))
CALL(int, fstat, "fstat", fd, NULL, (int fd, struct stat *s), (fd, s))
CALL(int, fstat64, "fstat", fd, NULL, (int fd, struct stat64 *s), (fd, s))
CALL(ssize_t, read, "read", fd, NULL, (int fd, void *data, size_t size), (fd, data, size))
CALL(ssize_t, pread, "read", fd, NULL, (int fd, void *data, size_t size, off_t at), (fd, data, size, at))
CALL(ssize_t, pread64, "read", fd, NULL, (int fd, void *data, size_t size, off64_t at), (fd, data, size, at))
CALL(ssize_t, readlinkat, "readlink", d, p, (int d, const char *restrict p, char *restrict out, size_t size),
     (d, p, out, size))
CALL(ssize_t, flistxattr, "xattr", fd, NULL, (int fd, char *list, size_t size), (fd, list, size))
CALL(ssize_t, fgetxattr, "xattr", fd, NULL, (int fd, const char *n, void *value, size_t size), (fd, n, value, size))
CALL(ssize_t, write, "write", fd, NULL, (int fd, const void *data, size_t size), (fd, data, size))
CALL(ssize_t, pwrite, "write", fd, NULL, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
CALL(ssize_t, pwrite64, "write", fd, NULL, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
CALL(int, renameat, "rename", d, p, (int d, const char *p, int e, const char *q), (d, p, e, q))
CALL(int, rename, "rename", AT_FDCWD, p, (const char *p, const char *q), (p, q))
CALL(int, mkdirat, "mkdir", d, p, (int d, const char *p, mode_t mode), (d, p, mode))
CALL(int, mkdir, "mkdir", AT_FDCWD, p, (const char *p, mode_t mode), (p, mode))
CALL(int, unlinkat, "unlink", d, p, (int d, const char *p, int flags), (d, p, flags))
CALL(int, unlink, "unlink", AT_FDCWD, p, (const char *p), (p))
CALL(int, fsync, "sync", fd, NULL, (int fd), (fd))
CALL(int, syncfs, "sync", fd, NULL, (int fd), (fd))

ssize_t getdents64(int fd, void *data, size_t size)
{
    REAL(getdents64)
    FAULT("getdents", fd, NULL)
    ssize_t got = real(fd, data, size);
    for (ssize_t at = 0; with_answer && at < got;) {
        struct dirent64 *entry = (struct dirent64 *)((char *)data + at);
        entry->d_type = DT_UNKNOWN;
        at += entry->d_reclen;
    }
    return got;
}

#define STATFS(name, type)                                                                                             \
    int name(int fd, struct type *out)                                                                                 \
    {                                                                                                                  \
        REAL(name)                                                                                                     \
        FAULT("statfs", fd, NULL)                                                                                      \
        int result = real(fd, out);                                                                                    \
        if (result == 0 && with_answer)                                                                                \
            out->f_type = (__typeof__(out->f_type))strtoul(with_answer->argument, NULL, 16);                           \
        return result;                                                                                                 \
    }
STATFS(fstatfs, statfs)
STATFS(fstatfs64, statfs64)
