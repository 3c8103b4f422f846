/* Paths and names inside sentences for the human. Pure. */
#ifndef PXB_BASE_LOG_PATH_H
#define PXB_BASE_LOG_PATH_H

enum { LOG_PATH_MAX = 1024 };
/* Paths may hold any byte: what is not printable (base/printable.h) becomes \xNN, so a line stays a line.
 * Overlong ones are cut. Returns `out`. */
const char *log_path(const char *path, char out[LOG_PATH_MAX]);

#endif
