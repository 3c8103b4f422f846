/* An image's index being written: a file whose slots are filled in any order. It grows with them, so that an image that
 * was only declared takes no space, also where files have no holes. */
#include "store/local.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_BACK_SIZE = 64 << 10 };

struct store_fixed_index {
    struct fixed_index_head head;
    struct index_file file;
    bool failed;
    uint64_t count;
    uint64_t written_count;
    uint8_t *written; /* one bit per slot: a digest of zeros would not tell */
};

static void discard(struct store_fixed_index *index)
{
    index_file_discard(&index->file);
    free(index->written);
    free(index);
}

static off_t slot_offset(uint64_t k)
{
    return (off_t)(INDEX_HEADER_SIZE + k * FIXED_ENTRY_SIZE); /* k <= INDEX_ENTRIES_MAX */
}

static enum status start(struct store_fixed_index *index, struct store_writer *w, const char *name, uint64_t size,
                         uint64_t chunk_size, struct error *err)
{
    struct index_header header;
    uint8_t bytes[INDEX_HEADER_SIZE];
    void *written;
    TRY(index_file_create(&index->file, w, name, ".fidx", &header, err));
    TRY(fixed_index_count(size, chunk_size, name, &index->count, err));
    TRY(array_new((size_t)index->count / 8 + 1, 1, INDEX_ENTRIES_MAX / 8 + 1, "index entries", &written, err));
    index->written = written;
    fixed_index_header_bytes(&header, size, chunk_size, bytes);
    if (!write_all(index->file.fd, bytes, sizeof bytes))
        return fail(err, ERR_IO, "write %s/%s", w->path, index->file.temporary);
    return OK;
}

static enum status put_slot(struct store_fixed_index *index, uint64_t k, const struct digest *digest, struct error *err)
{
    const struct index_file *f = &index->file;
    if (index->failed)
        return fail(err, ERR_FORMAT, "%s/%s: an earlier entry failed", f->writer->path, f->name);
    if (k >= index->count)
        return fail(err, ERR_USAGE, "%s/%s: there is no chunk %" PRIu64 " in an image of %" PRIu64 " chunks",
                    f->writer->path, f->name, k, index->count);
    uint8_t bit = (uint8_t)(1u << (k % 8));
    if (index->written[k / 8] & bit)
        return fail(err, ERR_EXISTS, "%s/%s: chunk %" PRIu64 " is there already", f->writer->path, f->name, k);
    if (pwrite(f->fd, digest->bytes, DIGEST_SIZE, slot_offset(k)) != DIGEST_SIZE)
        return fail(err, ERR_IO, "write %s/%s", f->writer->path, f->temporary);
    index->written[k / 8] |= bit;
    index->written_count++;
    return OK;
}

static enum status put(struct store_fixed_index *index, uint64_t k, const struct digest *digest, bool is_coming UNUSED,
                       struct error *err)
{
    enum status status = put_slot(index, k, digest, err);
    index->failed |= status != OK;
    return status;
}

static void digest_cleanup(struct digest_state **d)
{
    digest_free(*d);
}

/* Digests came in any order, so they are hashed from the file. */
static enum status file_csum(const struct store_fixed_index *index, struct digest *out, struct error *err)
{
    const struct index_file *f = &index->file;
    CLEANUP(digest_cleanup) struct digest_state *digest = NULL;
    TRY(digest_new(&digest, err));
    digest_begin(digest);
    off_t end = slot_offset(index->count);
    for (off_t offset = slot_offset(0); offset < end;) {
        uint8_t bytes[READ_BACK_SIZE];
        size_t wanted = end - offset < READ_BACK_SIZE ? (size_t)(end - offset) : READ_BACK_SIZE;
        ssize_t got = pread(f->fd, bytes, wanted, offset);
        if (got < 0)
            return fail(err, ERR_IO, "read %s/%s", f->writer->path, f->temporary);
        if (got == 0)
            return fail(err, ERR_FORMAT, "%s/%s: somebody cut it while it was written", f->writer->path, f->temporary);
        digest_update(digest, bytes, (size_t)got);
        offset += got;
    }
    digest_finish(digest, out);
    return OK;
}

static enum status publish(struct store_fixed_index *index, struct digest *out_csum, struct error *err)
{
    const struct index_file *f = &index->file;
    if (index->failed)
        return fail(err, ERR_FORMAT, "%s/%s: an earlier entry failed, the index is not complete", f->writer->path,
                    f->name);
    if (index->written_count != index->count)
        return fail(err, ERR_FORMAT, "%s/%s: %" PRIu64 " of %" PRIu64 " chunks were never written", f->writer->path,
                    f->name, index->count - index->written_count, index->count);
    TRY(file_csum(index, out_csum, err));
    return index_file_publish(&index->file, out_csum, err);
}

static enum status finish(struct store_fixed_index *index, struct digest *out_csum, struct error *err)
{
    enum status status = publish(index, out_csum, err);
    discard(index); /* nothing is left to remove when it went well */
    return status;
}

enum status local_fixed_index_begin(struct store_writer *w, const char *name, uint64_t size, uint64_t chunk_size,
                                    struct store_fixed_index **out, struct error *err)
{
    static const struct fixed_index_ops ops = {.put = put, .finish = finish, .abort = discard};
    struct store_fixed_index *index = calloc(1, sizeof *index);
    if (!index)
        return fail(err, ERR_MEMORY, "out of memory for index %s", name);
    index->head.ops = &ops;
    enum status status = start(index, w, name, size, chunk_size, err);
    if (status != OK) {
        discard(index);
        return status;
    }
    *out = index;
    return OK;
}
