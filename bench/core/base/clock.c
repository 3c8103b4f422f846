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

bool time_format_utc(int64_t seconds, char out[TIME_TEXT_SIZE])
{
    struct tm parts;
    time_t value = (time_t)seconds;
    if (!gmtime_r(&value, &parts) || parts.tm_year < -1900 || parts.tm_year > 9999 - 1900)
        return false;
    char text[80]; /* room for any int, which is what the compiler has to assume */
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02dZ", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
             parts.tm_hour, parts.tm_min, parts.tm_sec);
    memcpy(out, text, sizeof "0000-00-00T00:00:00Z");
    return true;
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
