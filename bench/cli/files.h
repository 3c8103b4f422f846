/* Plain files as sources and sinks, for the commands that work without a repository. Not thread-safe; an object must
 * stay where it is while its source or sink is in use. Errors name the path, reading also the offset. */
#ifndef PXB_CLI_FILES_H
#define PXB_CLI_FILES_H

#include "base/io.h"

#include <stdio.h>

enum { FILE_BUFFER_SIZE = 65536 };

struct input_file {
    FILE *file;
    const char *path; /* borrowed */
    uint64_t position;
    uint64_t size; /* of a regular file; 0: unknown, skipping reads */
    char buffer[FILE_BUFFER_SIZE];
};

MUST_CHECK enum status input_file_open(const char *path, struct input_file *out, struct error *err);
void input_file_close(struct input_file *f); /* accepts {0} */
struct source input_file_source(struct input_file *f);

/* A new file that exists in the end only if everything went well. */
struct output_file {
    FILE *file;
    const char *path; /* borrowed */
    bool created;
};

/* Exclusive, mode 0640 (less umask). ERR_IO also when the file is there already. */
MUST_CHECK enum status output_file_create(const char *path, struct output_file *out, struct error *err);
struct sink output_file_sink(struct output_file *f);
/* Closes; what was written is now the caller's business, also on failure: then output_file_discard. */
MUST_CHECK enum status output_file_close(struct output_file *f, struct error *err);
/* Removes the file if output_file_create made it. Accepts {0}. */
void output_file_discard(struct output_file *f);

#endif
