/* Calls of backup and reader sessions as the client writes them: paths with their parameters, and the body of an
 * append. To the byte as in the worked transcript (parameters in alphabetical order). Pure. Path writers replace the
 * buffer's content; the path ends with NUL. ERR_LIMIT above WIRE_PATH_MAX.
 * Source: bench/spec/protocol.md 8, 10, 17. */
#ifndef PXB_WIRE_CALL_H
#define PXB_WIRE_CALL_H

#include "base/buffer.h"

enum { CALL_DIGEST_SIZE = 32, CALL_APPEND_BODY_MAX = 65535 };

#define CALL_PREVIOUS_BACKUP_TIME "/previous_backup_time" /* GET */
#define CALL_FINISH "/finish"                             /* POST */
#define CALL_SPEEDTEST "/speedtest"                       /* POST in a backup, GET in a reader session */

/* Whose calls: "/dynamic_..." or "/fixed_...". */
enum call_index { CALL_DYNAMIC, CALL_FIXED };

/* GET */
MUST_CHECK enum status call_previous(struct buffer *path, const char *archive_name, struct error *err);
/* POST; `size` counts for fixed indexes only. */
MUST_CHECK enum status call_create(struct buffer *path, enum call_index kind, const char *archive_name, uint64_t size,
                                   struct error *err);
/* POST, the blob is the body. */
MUST_CHECK enum status call_chunk(struct buffer *path, enum call_index kind, uint32_t wid,
                                  const uint8_t digest[CALL_DIGEST_SIZE], uint64_t size, uint64_t encoded_size,
                                  struct error *err);
/* PUT, with the body of call_append_finish. */
const char *call_append_path(enum call_index kind);
/* POST */
MUST_CHECK enum status call_close(struct buffer *path, enum call_index kind, uint32_t wid, uint64_t chunk_count,
                                  uint64_t size, const uint8_t csum[CALL_DIGEST_SIZE], struct error *err);
/* POST, the blob is the body. */
MUST_CHECK enum status call_blob(struct buffer *path, const char *file_name, uint64_t encoded_size, struct error *err);
/* GET */
MUST_CHECK enum status call_download(struct buffer *path, const char *file_name, struct error *err);
/* GET */
MUST_CHECK enum status call_read_chunk(struct buffer *path, const uint8_t digest[CALL_DIGEST_SIZE], struct error *err);

/* An append being put together: entries, then the body. `{0}`-like CALL_APPEND_INIT is empty; it may be used again
 * after finish. */
struct call_append {
    struct buffer digests;
    struct buffer offsets;
    size_t count;
};
#define CALL_APPEND_INIT                                                                                               \
    ((struct call_append){.digests = {.limit = CALL_APPEND_BODY_MAX}, .offsets = {.limit = CALL_APPEND_BODY_MAX}})
void call_append_deinit(struct call_append *append);
/* At most WIRE_APPEND_ENTRIES_MAX: ERR_LIMIT. */
MUST_CHECK enum status call_append_add(struct call_append *append, const uint8_t digest[CALL_DIGEST_SIZE],
                                       uint64_t offset, struct error *err);
/* Replaces `body` (JSON, below 64 KiB whatever the offsets) and empties the append. */
MUST_CHECK enum status call_append_finish(struct call_append *append, uint32_t wid, struct buffer *body,
                                          struct error *err);

#endif
