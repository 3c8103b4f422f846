/* A plain file as a source, sequential and at any offset. Not buffered: the readers of archives ask for large parts.
 * Not thread-safe. The object must stay where it is while its sources are in use; errors name path and offset. */
#ifndef PXB_FLOW_FILE_SOURCE_H
#define PXB_FLOW_FILE_SOURCE_H

#include "base/io.h"

struct file_source {
    int fd;
    const char *path; /* borrowed */
    uint64_t position;
    uint64_t size; /* of a regular file */
    bool regular;  /* else only to be read in order */
};
#define FILE_SOURCE_INIT                                                                                               \
    {                                                                                                                  \
        .fd = -1                                                                                                       \
    }

MUST_CHECK enum status file_source_open(struct file_source *f, const char *path, struct error *err);
void file_source_close(struct file_source *f); /* accepts FILE_SOURCE_INIT */
/* From the file's beginning; one of them at a time. */
struct source file_source_sequential(struct file_source *f);
/* Of a regular file. */
struct source_at file_source_random(struct file_source *f);

#endif
