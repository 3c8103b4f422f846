/* Runs the program "real" beside itself with the same words, and then keeps a processor busy for PERMILLE thousandths of the
 * time that took: a slowdown of known size, for power.py. Compiled with -DPERMILLE=N. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
    static char path[4096];
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    if (slash == NULL || (size_t)(slash - argv[0]) + sizeof "/real" > sizeof path) {
        fprintf(stderr, "stretch: called without a folder\n");
        return 127;
    }
    snprintf(path, sizeof path, "%.*s/real", (int)(slash - argv[0]), argv[0]);
    uint64_t started = now();
    pid_t child = fork();
    if (child == 0) {
        execv(path, argv);
        fprintf(stderr, "stretch: %s: %s\n", path, strerror(errno));
        _exit(127);
    }
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return 127;
    }
    if (child < 0)
        return 127;
    uint64_t ended = now();
    uint64_t until = ended + (ended - started) * PERMILLE / 1000;
    while (now() < until) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
