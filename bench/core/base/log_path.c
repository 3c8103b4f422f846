#include "base/log_path.h"

#include "base/printable.h"

const char *log_path(const char *path, char out[LOG_PATH_MAX])
{
    printable_escape(path, out, LOG_PATH_MAX);
    return out;
}
