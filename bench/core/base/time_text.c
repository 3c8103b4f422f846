/* Apart from clock.c, and without gmtime_r(): folders that make no system calls format times as well, and the C library
 * looks for time zone files even for UTC. */
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

enum { DAY_SECONDS = 86400, YEAR_MAX = 9999 };

#define FIRST_SECOND INT64_C(-62167219200) /* 0000-01-01T00:00:00Z */
#define LAST_SECOND INT64_C(253402300799)  /* 9999-12-31T23:59:59Z */

static bool is_leap(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days between the first day of year 0, which is a leap year, and that of `year`. */
static unsigned days_before_year(unsigned year)
{
    return 365 * year + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
}

bool time_format_utc(int64_t seconds, char out[TIME_TEXT_SIZE])
{
    static const unsigned char month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (seconds < FIRST_SECOND || seconds > LAST_SECOND)
        return false;
    uint64_t since = (uint64_t)(seconds - FIRST_SECOND);
    unsigned day = (unsigned)(since / DAY_SECONDS);
    unsigned second = (unsigned)(since % DAY_SECONDS);
    unsigned year = day / 366; /* never too large, and at most by 28 too small */
    while (year < YEAR_MAX && days_before_year(year + 1) <= day)
        year++;
    day -= days_before_year(year);
    unsigned month = 0;
    for (;; month++) {
        unsigned days = month_days[month] + (month == 1 && is_leap(year) ? 1u : 0u);
        if (day < days)
            break;
        day -= days;
    }
    char text[80]; /* room for any number, which is what the compiler has to assume */
    snprintf(text, sizeof text, "%04u-%02u-%02uT%02u:%02u:%02uZ", year, month + 1, day + 1, second / 3600,
             second / 60 % 60, second % 60);
    memcpy(out, text, sizeof "0000-00-00T00:00:00Z");
    return true;
}
