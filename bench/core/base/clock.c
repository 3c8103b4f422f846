#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

uint64_t clock_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

int64_t clock_wall_seconds(void)
{
    return (int64_t)time(NULL);
}

bool time_parse_utc(const char *text, int64_t *out_seconds)
{
    struct tm parts = {0};
    char again[TIME_TEXT_SIZE];
    if (strlen(text) != 20 || sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ", &parts.tm_year, &parts.tm_mon, &parts.tm_mday,
                                     &parts.tm_hour, &parts.tm_min, &parts.tm_sec) != 6)
        return false;
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    time_t value = timegm(&parts);
    /* The way back catches "2026-13-01" and the like, which timegm normalises. */
    if (!time_format_utc((int64_t)value, again) || strcmp(again, text) != 0)
        return false;
    *out_seconds = (int64_t)value;
    return true;
}
