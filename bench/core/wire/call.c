#include "wire/call.h"

#include "base/hex.h"
#include "wire/protocol.h"
#include "wire/query.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* An entry takes 67 bytes of digest and 21 of offset at most. */
static_assert(WIRE_APPEND_ENTRIES_MAX * (67 + 21) + 64 <= CALL_APPEND_BODY_MAX, "an append fits the oldest servers");

struct call_param {
    const char *name;
    const char *text; /* NULL: the number */
    uint64_t number;
};

/* Whole calls are put together beside the path, as query_add begins where a buffer is empty. */
static enum status write_path(struct buffer *path, const char *name, const struct call_param *params, size_t count,
                              struct error *err)
{
    struct buffer query = BUFFER_INIT(WIRE_PATH_MAX);
    enum status status = OK;
    for (size_t i = 0; status == OK && i < count; i++) {
        ASSERT(params[i].text || params[i].number <= INT64_MAX);
        status = params[i].text ? query_add(&query, params[i].name, params[i].text, err)
                                : query_add_integer(&query, params[i].name, (int64_t)params[i].number, err);
    }
    buffer_clear(path);
    if (status == OK && strlen(name) + 1 + query.size > WIRE_PATH_MAX)
        status = fail(err, ERR_LIMIT, "a call of %zu bytes, at most %d are sent", strlen(name) + 1 + query.size,
                      WIRE_PATH_MAX);
    if (status == OK)
        status = buffer_append(path, name, strlen(name), err);
    if (status == OK && query.size > 0)
        status = buffer_append_u8(path, '?', err);
    if (status == OK)
        status = buffer_append(path, query.data, query.size, err);
    if (status == OK)
        status = buffer_append_u8(path, 0, err);
    buffer_deinit(&query);
    return status;
}

static const char *name_of(enum call_index kind, const char *dynamic, const char *fixed)
{
    return kind == CALL_DYNAMIC ? dynamic : fixed;
}

enum status call_previous(struct buffer *path, const char *archive_name, struct error *err)
{
    const struct call_param params[] = {{"archive-name", archive_name, 0}};
    return write_path(path, "/previous", params, 1, err);
}

enum status call_create(struct buffer *path, enum call_index kind, const char *archive_name, uint64_t size,
                        struct error *err)
{
    const struct call_param params[] = {{"archive-name", archive_name, 0}, {"size", NULL, size}};
    return write_path(path, call_append_path(kind), params, kind == CALL_FIXED ? 2 : 1, err);
}

enum status call_chunk(struct buffer *path, enum call_index kind, uint32_t wid, const uint8_t digest[CALL_DIGEST_SIZE],
                       uint64_t size, uint64_t encoded_size, struct error *err)
{
    char hex[2 * CALL_DIGEST_SIZE + 1];
    hex_encode(digest, CALL_DIGEST_SIZE, hex);
    const struct call_param params[] = {
        {"digest", hex, 0}, {"encoded-size", NULL, encoded_size}, {"size", NULL, size}, {"wid", NULL, wid}};
    return write_path(path, name_of(kind, "/dynamic_chunk", "/fixed_chunk"), params, 4, err);
}

const char *call_append_path(enum call_index kind)
{
    return name_of(kind, "/dynamic_index", "/fixed_index");
}

enum status call_close(struct buffer *path, enum call_index kind, uint32_t wid, uint64_t chunk_count, uint64_t size,
                       const uint8_t csum[CALL_DIGEST_SIZE], struct error *err)
{
    char hex[2 * CALL_DIGEST_SIZE + 1];
    hex_encode(csum, CALL_DIGEST_SIZE, hex);
    const struct call_param params[] = {
        {"chunk-count", NULL, chunk_count}, {"csum", hex, 0}, {"size", NULL, size}, {"wid", NULL, wid}};
    return write_path(path, name_of(kind, "/dynamic_close", "/fixed_close"), params, 4, err);
}

enum status call_blob(struct buffer *path, const char *file_name, uint64_t encoded_size, struct error *err)
{
    const struct call_param params[] = {{"encoded-size", NULL, encoded_size}, {"file-name", file_name, 0}};
    return write_path(path, "/blob", params, 2, err);
}

enum status call_download(struct buffer *path, const char *file_name, struct error *err)
{
    const struct call_param params[] = {{"file-name", file_name, 0}};
    return write_path(path, "/download", params, 1, err);
}

enum status call_read_chunk(struct buffer *path, const uint8_t digest[CALL_DIGEST_SIZE], struct error *err)
{
    char hex[2 * CALL_DIGEST_SIZE + 1];
    hex_encode(digest, CALL_DIGEST_SIZE, hex);
    const struct call_param params[] = {{"digest", hex, 0}};
    return write_path(path, "/chunk", params, 1, err);
}

void call_append_deinit(struct call_append *append)
{
    buffer_deinit(&append->digests);
    buffer_deinit(&append->offsets);
    append->count = 0;
}

enum status call_append_add(struct call_append *append, const uint8_t digest[CALL_DIGEST_SIZE], uint64_t offset,
                            struct error *err)
{
    char hex[2 * CALL_DIGEST_SIZE + 1];
    if (append->count == WIRE_APPEND_ENTRIES_MAX)
        return fail(err, ERR_LIMIT, "an append of more than %d entries", WIRE_APPEND_ENTRIES_MAX);
    hex_encode(digest, CALL_DIGEST_SIZE, hex);
    const char *comma = append->count > 0 ? "," : "";
    /* Both or neither: the second has its room before the first is written. */
    TRY(buffer_reserve(&append->offsets, 32, err));
    TRY(buffer_printf(&append->digests, err, "%s\"%s\"", comma, hex));
    TRY(buffer_printf(&append->offsets, err, "%s%" PRIu64, comma, offset));
    append->count++;
    return OK;
}

enum status call_append_finish(struct call_append *append, uint32_t wid, struct buffer *body, struct error *err)
{
    buffer_clear(body);
    TRY(buffer_printf(body, err, "{\"digest-list\":["));
    TRY(buffer_append(body, append->digests.data, append->digests.size, err));
    TRY(buffer_printf(body, err, "],\"offset-list\":["));
    TRY(buffer_append(body, append->offsets.data, append->offsets.size, err));
    TRY(buffer_printf(body, err, "],\"wid\":%" PRIu32 "}", wid));
    buffer_clear(&append->digests);
    buffer_clear(&append->offsets);
    append->count = 0;
    return OK;
}
