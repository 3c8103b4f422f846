#include "base/log.h"

#include "base/clock.h"
#include "base/printable.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t output_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int level_now = LOG_INFO;
static atomic_uint_fast64_t warnings;
static bool progress_shown; /* under output_lock */
static atomic_uint_fast64_t progress_next_ns;

void log_set_level(enum log_level level)
{
    atomic_store(&level_now, (int)level);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load(&level_now);
}

static bool on_terminal(void)
{
    static atomic_int known = -1;
    int value = atomic_load(&known);
    if (value < 0) {
        value = isatty(STDERR_FILENO) ? 1 : 0;
        atomic_store(&known, value);
    }
    return value == 1;
}

static void progress_clear(void)
{
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = false;
}

void log_line(enum log_level level, const char *format, ...)
{
    if (level == LOG_WARNING)
        atomic_fetch_add(&warnings, 1);
    if (!log_enabled(level))
        return;
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* Messages quote paths, words of the command line and of servers: a line stays one, and only shows itself. */
    char line[4 * sizeof text];
    printable_escape(text, line, sizeof line);
    pthread_mutex_lock(&output_lock);
    progress_clear();
    fprintf(stderr, "%s%s\n", level == LOG_ERROR ? "error: " : "", line);
    pthread_mutex_unlock(&output_lock);
}

uint64_t log_warning_count(void)
{
    return atomic_load(&warnings);
}

bool progress_due(void)
{
    uint64_t now = clock_monotonic_ns();
    uint64_t next = atomic_load(&progress_next_ns);
    if (next == 0) {
        /* Short runs stay silent: the first line comes after a second (terminal) or a minute (elsewhere). */
        uint64_t first = now + (on_terminal() ? 1000000000U : 60000000000U);
        atomic_compare_exchange_strong(&progress_next_ns, &next, first);
        return false;
    }
    return now >= next;
}

void progress_update(const char *format, ...)
{
    if (!progress_due() || !log_enabled(LOG_INFO))
        return;
    atomic_store(&progress_next_ns, clock_monotonic_ns() + (on_terminal() ? 100000000U : 60000000000U));
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&output_lock);
    if (on_terminal()) {
        fprintf(stderr, "\r\033[K%.160s", text);
        progress_shown = true;
    } else {
        fprintf(stderr, "%s\n", text);
    }
    fflush(stderr);
    pthread_mutex_unlock(&output_lock);
}

void progress_end(void)
{
    pthread_mutex_lock(&output_lock);
    progress_clear();
    fflush(stderr);
    pthread_mutex_unlock(&output_lock);
    atomic_store(&progress_next_ns, 0);
}
