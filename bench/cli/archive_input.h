/* An archive that is read at any place, from plain files or out of a snapshot: what commands with an accessor share.
 * Not thread-safe; an object must stay where it is while it is open. */
#ifndef PXB_CLI_ARCHIVE_INPUT_H
#define PXB_CLI_ARCHIVE_INPUT_H

#include "cli/repository_args.h"
#include "flow/chunk_reader.h"
#include "pxar/accessor.h"

struct archive_file {
    int fd; /* -1: not open */
    const char *path;
};

/* One stream of a stored archive. */
struct archive_stream {
    struct dynamic_index index;
    struct chunk_reader *reader; /* NULL: not open */
    char name[256];
};

struct archive_input {
    struct archive_file metadata_file, payload_file;
    struct store *store;
    struct store_reader *store_reader;
    struct archive_stream metadata_stream, payload_stream;
    struct accessor *accessor;
    struct source_at metadata;
    bool has_contents;
};
#define ARCHIVE_INPUT_INIT ((struct archive_input){.metadata_file.fd = -1, .payload_file.fd = -1})

/* `payload_path` NULL: a unified archive, or one without contents. Regular files and block devices only. */
MUST_CHECK enum status archive_input_open_files(struct archive_input *a, const char *metadata_path,
                                                const char *payload_path, struct error *err);
/* `repository` (all options taken, not looked for yet) and `key` (NULL: none) are borrowed until close. `snapshot` as
 * typed, `archive` by any of its names (flow/snapshot.h). */
MUST_CHECK enum status archive_input_open_snapshot(struct archive_input *a, struct repository_args *repository,
                                                   const struct crypt_config *key, const char *snapshot,
                                                   const char *archive, bool with_contents, struct error *err);
/* Logs what was read of a snapshot: "read N metadata chunks (M bytes) of K", and the same of the payload if that is
 * open. Nothing for files. */
void archive_input_report(const struct archive_input *a);
void archive_input_close(struct archive_input *a); /* accepts ARCHIVE_INPUT_INIT */

#endif
