/* Time. Monotonic for durations, wall clock only for snapshot names and logs. Thread-safe. */
#ifndef PXB_BASE_CLOCK_H
#define PXB_BASE_CLOCK_H

#include "base/status.h"

uint64_t clock_monotonic_ns(void);
int64_t clock_wall_seconds(void);

enum { TIME_TEXT_SIZE = 32 };
/* "2026-11-22T10:20:30Z"; false outside years 0..9999. Pure. */
bool time_format_utc(int64_t seconds, char out[TIME_TEXT_SIZE]);
bool time_parse_utc(const char *text, int64_t *out_seconds);

#endif
