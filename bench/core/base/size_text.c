#include "base/size_text.h"

#include <inttypes.h>
#include <stdio.h>

const char *size_text(uint64_t bytes, char out[SIZE_TEXT_SIZE])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    int bits = bytes ? 64 - __builtin_clzll(bytes) : 0;
    int unit = bits <= 10 ? 0 : (bits - 1) / 10;
    if (unit > 5)
        unit = 5;
    /* The unit is chosen before rounding, so 1073741823 becomes "1024 MiB". */
    unsigned shift = 10U * (unsigned)unit;
    /* Whole units and the remainder apart: the remainder is below 2^50, so a thousand of it fits; bytes * 1000 does
     * not. */
    uint64_t remainder = bytes & ((UINT64_C(1) << shift) - 1);
    uint64_t half = shift ? UINT64_C(1) << (shift - 1) : 0;
    uint64_t thousandths = (bytes >> shift) * 1000 + ((remainder * 1000 + half) >> shift);
    uint64_t whole = thousandths / 1000;
    uint64_t fraction = thousandths % 1000;
    if (fraction == 0)
        snprintf(out, SIZE_TEXT_SIZE, "%" PRIu64 " %s", whole, units[unit]);
    else if (fraction % 100 == 0)
        snprintf(out, SIZE_TEXT_SIZE, "%" PRIu64 ".%" PRIu64 " %s", whole, fraction / 100, units[unit]);
    else if (fraction % 10 == 0)
        snprintf(out, SIZE_TEXT_SIZE, "%" PRIu64 ".%02" PRIu64 " %s", whole, fraction / 10, units[unit]);
    else
        snprintf(out, SIZE_TEXT_SIZE, "%" PRIu64 ".%03" PRIu64 " %s", whole, fraction, units[unit]);
    return out;
}
