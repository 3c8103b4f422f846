/* Indexes being written: header, entries, at the end the checksum and the final name. Fixed ones: local_fixed.c. */
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

/* ---- the file ---- */

enum status index_file_create(struct index_file *f, struct store_writer *w, const char *name, const char *extension,
                              struct index_header *out_header, struct error *err)
{
    *f = (struct index_file){.writer = w, .fd = -1};
    atomic_fetch_add(&w->open_indexes, 1);
    TRY(stored_name_check(name, err));
    size_t stem_size = strlen(name) - strlen(extension); /* checked: all extensions are as long */
    if (strcmp(name + stem_size, extension) != 0)
        return fail(err, ERR_USAGE, "'%s' is not the name of an index ending in %s", name, extension);
    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(f->temporary, sizeof f->temporary, "%.*s.tmp_%s", (int)stem_size, name, extension + 1);
    struct stat st;
    if (fstatat(w->snapshot_fd, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return fail(err, ERR_EXISTS, "%s/%s is there already", w->path, f->name);
    f->fd = openat(w->snapshot_fd, f->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, STORE_FILE_MODE);
    if (f->fd < 0 && errno == EEXIST)
        return fail(err, ERR_EXISTS, "%s/%s is being written already", w->path, f->name);
    if (f->fd < 0)
        return fail(err, ERR_IO, "create %s/%s", w->path, f->temporary);
    f->created = true;

    *out_header = (struct index_header){.ctime = clock_wall_seconds()};
    if (getrandom(out_header->uuid, sizeof out_header->uuid, 0) != (ssize_t)sizeof out_header->uuid)
        return fail(err, ERR_IO, "random bytes for the uuid of %s", f->name);
    out_header->uuid[6] = (uint8_t)((out_header->uuid[6] & 0x0f) | 0x40); /* RFC 9562: version 4, variant 1 */
    out_header->uuid[8] = (uint8_t)((out_header->uuid[8] & 0x3f) | 0x80);
    return OK;
}

enum status index_file_publish(struct index_file *f, const struct digest *csum, struct error *err)
{
    const struct store_writer *w = f->writer;
    bool written = pwrite(f->fd, csum->bytes, DIGEST_SIZE, INDEX_CSUM_OFFSET) == DIGEST_SIZE &&
                   (w->store->sync != SYNC_FILE || fsync(f->fd) == 0) && close(fd_take(&f->fd)) == 0;
    if (!written || renameat(w->snapshot_fd, f->temporary, w->snapshot_fd, f->name) != 0)
        return fail(err, ERR_IO, "write %s/%s", w->path, f->name);
    f->created = false;
    return OK;
}

void index_file_discard(struct index_file *f)
{
    if (!f->writer)
        return;
    fd_cleanup(&f->fd);
    if (f->created)
        unlinkat(f->writer->snapshot_fd, f->temporary, 0);
    atomic_fetch_sub(&f->writer->open_indexes, 1);
    *f = (struct index_file){.fd = -1};
}

/* ---- a dynamic index ---- */

struct store_index {
    struct index_head head;
    struct index_file file;
    bool failed;
    uint64_t end;
    uint64_t count;
    struct digest_state *digest;
    uint8_t pending[APPEND_BUFFER_SIZE];
    size_t pending_size;
};

static enum status flush_pending(struct store_index *index, struct error *err)
{
    if (!write_all(index->file.fd, index->pending, index->pending_size)) {
        index->failed = true;
        return fail(err, ERR_IO, "write %s/%s", index->file.writer->path, index->file.temporary);
    }
    index->pending_size = 0;
    return OK;
}

static void discard(struct store_index *index)
{
    index_file_discard(&index->file);
    digest_free(index->digest);
    free(index);
}

static enum status start(struct store_index *index, struct store_writer *w, const char *name, struct error *err)
{
    struct index_header header;
    TRY(index_file_create(&index->file, w, name, ".didx", &header, err));
    static_assert(sizeof index->pending >= INDEX_HEADER_SIZE, "the header goes through the same buffer");
    dynamic_index_header_bytes(&header, index->pending);
    index->pending_size = INDEX_HEADER_SIZE;
    TRY(digest_new(&index->digest, err));
    digest_begin(index->digest);
    return OK;
}

static enum status append(struct store_index *index, uint64_t end, const struct digest *digest, bool is_coming UNUSED,
                          struct error *err)
{
    const struct index_file *f = &index->file;
    ASSERT(f->fd >= 0);
    if (index->failed)
        return fail(err, ERR_FORMAT, "%s/%s: an earlier entry failed", f->writer->path, f->name);
    if (end <= index->end || index->count >= INDEX_ENTRIES_MAX) {
        index->failed = true;
        if (index->count >= INDEX_ENTRIES_MAX)
            return fail(err, ERR_LIMIT, "%s/%s: more than %d entries", f->writer->path, f->name, INDEX_ENTRIES_MAX);
        return fail(err, ERR_FORMAT, "%s/%s: entry %" PRIu64 " would end at %" PRIu64 ", which is not behind %" PRIu64,
                    f->writer->path, f->name, index->count, end, index->end);
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

static enum status publish(struct store_index *index, struct digest *out_csum, struct error *err)
{
    const struct index_file *f = &index->file;
    if (index->failed)
        return fail(err, ERR_FORMAT, "%s/%s: an earlier entry failed, the index is not complete", f->writer->path,
                    f->name);
    if (index->count == 0)
        return fail(err, ERR_FORMAT, "%s/%s: the index has no entries, empty streams cannot be stored", f->writer->path,
                    f->name);
    TRY(flush_pending(index, err));
    digest_finish(index->digest, out_csum);
    return index_file_publish(&index->file, out_csum, err);
}

static enum status finish(struct store_index *index, struct digest *out_csum, uint64_t *out_size, uint64_t *out_count,
                          struct error *err)
{
    enum status status = publish(index, out_csum, err);
    if (status == OK) {
        *out_size = index->end;
        *out_count = index->count;
    }
    discard(index); /* nothing is left to remove when it went well */
    return status;
}

enum status local_index_begin(struct store_writer *w, const char *name, struct store_index **out, struct error *err)
{
    static const struct index_ops ops = {.append = append, .finish = finish, .abort = discard};
    struct store_index *index = calloc(1, sizeof *index);
    if (!index)
        return fail(err, ERR_MEMORY, "out of memory for index %s", name);
    index->head.ops = &ops;
    enum status status = start(index, w, name, err);
    if (status != OK) {
        discard(index);
        return status;
    }
    *out = index;
    return OK;
}
