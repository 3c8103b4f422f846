/* An index being written: header, entries, at the end the checksum and the final name. */
#include "store/local.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { APPEND_BUFFER_SIZE = 64 << 10 };

struct store_index {
    struct store_writer *writer;
    char name[TEMPORARY_NAME_MAX];
    char temporary[TEMPORARY_NAME_MAX]; /* "root.mpxar.tmp_didx" */
    int fd;
    bool created; /* the temporary file is there */
    bool failed;
    uint64_t end;
    uint64_t count;
    struct digest_state *digest;
    uint8_t pending[APPEND_BUFFER_SIZE];
    size_t pending_size;
};

static enum status flush_pending(struct store_index *index, struct error *err)
{
    if (!write_all(index->fd, index->pending, index->pending_size)) {
        index->failed = true;
        return fail(err, ERR_IO, "write %s/%s", index->writer->path, index->temporary);
    }
    index->pending_size = 0;
    return OK;
}

static enum status create_file(struct store_index *index, struct error *err)
{
    struct store_writer *w = index->writer;
    struct stat st;
    if (fstatat(w->snapshot_fd, index->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return fail(err, ERR_EXISTS, "%s/%s is there already", w->path, index->name);
    index->fd =
        openat(w->snapshot_fd, index->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, STORE_FILE_MODE);
    if (index->fd < 0 && errno == EEXIST)
        return fail(err, ERR_EXISTS, "%s/%s is being written already", w->path, index->name);
    if (index->fd < 0)
        return fail(err, ERR_IO, "create %s/%s", w->path, index->temporary);
    index->created = true;

    struct index_header header = {.ctime = clock_wall_seconds()};
    if (getrandom(header.uuid, sizeof header.uuid, 0) != (ssize_t)sizeof header.uuid)
        return fail(err, ERR_IO, "random bytes for the uuid of %s", index->name);
    header.uuid[6] = (uint8_t)((header.uuid[6] & 0x0f) | 0x40); /* RFC 9562: version 4, variant 1 */
    header.uuid[8] = (uint8_t)((header.uuid[8] & 0x3f) | 0x80);
    static_assert(sizeof index->pending >= INDEX_HEADER_SIZE, "the header goes through the same buffer");
    dynamic_index_header_bytes(&header, index->pending); /* csum still zero */
    index->pending_size = INDEX_HEADER_SIZE;
    TRY(digest_new(&index->digest, err));
    digest_begin(index->digest);
    return OK;
}

enum status store_index_begin(struct store_writer *w, const char *name, struct store_index **out, struct error *err)
{
    static const char extension[] = ".didx";
    *out = NULL;
    TRY(stored_name_check(name, err));
    size_t stem_size = strlen(name) - strlen(extension);
    if (strcmp(name + stem_size, extension) != 0)
        return fail(err, ERR_USAGE, "'%s' is not the name of a dynamic index", name);
    struct store_index *index = calloc(1, sizeof *index);
    if (!index)
        return fail(err, ERR_MEMORY, "out of memory for index %s", name);
    index->writer = w;
    index->fd = -1;
    snprintf(index->name, sizeof index->name, "%s", name);
    snprintf(index->temporary, sizeof index->temporary, "%.*s.tmp_didx", (int)stem_size, name);
    atomic_fetch_add(&w->open_indexes, 1);
    enum status status = create_file(index, err);
    if (status != OK) {
        store_index_abort(index);
        return status;
    }
    *out = index;
    return OK;
}

enum status store_index_append(struct store_index *index, uint64_t end, const struct digest *digest, struct error *err)
{
    ASSERT(index->fd >= 0);
    if (index->failed)
        return fail(err, ERR_FORMAT, "%s/%s: an earlier entry failed", index->writer->path, index->name);
    if (end <= index->end || index->count >= INDEX_ENTRIES_MAX) {
        index->failed = true;
        if (index->count >= INDEX_ENTRIES_MAX)
            return fail(err, ERR_LIMIT, "%s/%s: more than %d entries", index->writer->path, index->name,
                        INDEX_ENTRIES_MAX);
        return fail(err, ERR_FORMAT, "%s/%s: entry %" PRIu64 " would end at %" PRIu64 ", which is not behind %" PRIu64,
                    index->writer->path, index->name, index->count, end, index->end);
    }
    if (index->pending_size > APPEND_BUFFER_SIZE - DYNAMIC_ENTRY_SIZE)
        TRY(flush_pending(index, err));
    uint8_t *bytes = index->pending + index->pending_size;
    dynamic_index_entry_bytes(&(struct index_entry){.end = end, .digest = *digest}, bytes);
    digest_update(index->digest, bytes, DYNAMIC_ENTRY_SIZE);
    index->pending_size += DYNAMIC_ENTRY_SIZE;
    index->end = end;
    index->count++;
    return OK;
}

static enum status finish(struct store_index *index, struct digest *out_csum, struct error *err)
{
    struct store_writer *w = index->writer;
    if (index->failed)
        return fail(err, ERR_FORMAT, "%s/%s: an earlier entry failed, the index is not complete", w->path, index->name);
    if (index->count == 0)
        return fail(err, ERR_FORMAT, "%s/%s: the index has no entries, empty streams cannot be stored", w->path,
                    index->name);
    TRY(flush_pending(index, err));
    digest_finish(index->digest, out_csum);
    bool written = pwrite(index->fd, out_csum->bytes, DIGEST_SIZE, INDEX_CSUM_OFFSET) == DIGEST_SIZE &&
                   (w->store->sync != SYNC_FILE || fsync(index->fd) == 0) && close(fd_take(&index->fd)) == 0;
    if (!written || renameat(w->snapshot_fd, index->temporary, w->snapshot_fd, index->name) != 0)
        return fail(err, ERR_IO, "write %s/%s", w->path, index->name);
    index->created = false;
    return OK;
}

enum status store_index_finish(struct store_index *index, struct digest *out_csum, uint64_t *out_size,
                               uint64_t *out_count, struct error *err)
{
    enum status status = finish(index, out_csum, err);
    if (status == OK) {
        *out_size = index->end;
        *out_count = index->count;
    }
    store_index_abort(index); /* nothing is left to remove when it went well */
    return status;
}

void store_index_abort(struct store_index *index)
{
    if (!index)
        return;
    struct store_writer *w = index->writer;
    fd_cleanup(&index->fd);
    if (index->created)
        unlinkat(w->snapshot_fd, index->temporary, 0);
    digest_free(index->digest);
    free(index);
    atomic_fetch_sub(&w->open_indexes, 1);
}
