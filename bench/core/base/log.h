/* Lines for the human on standard error, and the count of warnings. Thread-safe; one line is written at once.
 * Results go to standard output and never through here. */
#ifndef PXB_BASE_LOG_H
#define PXB_BASE_LOG_H

#include "base/log_path.h"
#include "base/status.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level); /* default LOG_INFO */
bool log_enabled(enum log_level level);
void log_line(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
uint64_t log_warning_count(void);

/* A status line redrawn in place on a terminal, one line a minute elsewhere. `text` is copied. Any log line clears it
 * first. progress_end removes it. Cheap when called often: redraws at most ten times a second. */
void progress_update(const char *format, ...) PRINTF_LIKE(1, 2);
bool progress_due(void); /* whether progress_update would draw now: lets callers skip building the text */
void progress_end(void);

#endif
