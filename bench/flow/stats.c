#include "flow/stats.h"

const char *const size_class_names[SIZE_CLASSES] = {"lt_16k", "lt_64k", "lt_256k", "lt_1m", "lt_4m", "ge_4m"};

unsigned size_class_of(uint64_t size)
{
    enum { SMALLEST = 16 << 10, STEP = 4 };
    unsigned class = 0;
    for (uint64_t end = SMALLEST; class < SIZE_CLASSES - 1 && size >= end; end *= STEP)
        class ++;
    return class;
}
