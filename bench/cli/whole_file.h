/* A plain file as a buffer, for the commands that need all of it. */
#ifndef PXB_CLI_WHOLE_FILE_H
#define PXB_CLI_WHOLE_FILE_H

#include "base/buffer.h"

/* Replaces `out`; memory follows what is really read. ERR_LIMIT above `size_max` bytes; ERR_IO. */
MUST_CHECK enum status whole_file_read(const char *path, size_t size_max, struct buffer *out, struct error *err);

#endif
