#include "flow/image.h"

#include "base/log.h"
#include "base/size_text.h"
#include "blob/blob.h"
#include "flow/announce.h"
#include "flow/entropy.h"
#include "flow/file_source.h"
#include "flow/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PARTS_MAX = FIXED_CHUNK_SIZE_DEFAULT / SLAB_POOLED_CAPACITY };

/* ---- an image on its way in ---- */

struct image {
    const char *path; /* borrowed */
    int fd;
    uint64_t size;
    bool has_holes; /* the file system can tell where data is */
    bool zero_sent;
    uint64_t *bytes_read;
};

static void image_close(const struct image *image)
{
    if (image->fd >= 0)
        close(image->fd);
}

static enum status image_open(const char *path, struct image *out, struct error *err)
{
    struct stat st;
    out->path = path;
    /* O_NONBLOCK: a fifo must not hang us; it has no effect on files and block devices. */
    out->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (out->fd < 0)
        return fail(err, ERR_IO, "image \"%s\"", path);
    if (fstat(out->fd, &st) != 0)
        return fail(err, ERR_IO, "stat \"%s\"", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return fail(err, ERR_USAGE,
                    "\"%s\": got unexpected file type (expected an image: regular file or block device)", path);
    off_t size = lseek(out->fd, 0, SEEK_END); /* of devices stat does not tell it */
    if (size < 0)
        return fail(err, ERR_IO, "size of \"%s\"", path);
    if (size == 0)
        return fail(err, ERR_FORMAT, "image \"%s\" is empty: an index of nothing cannot be stored", path);
    out->size = (uint64_t)size;
    out->has_holes = S_ISREG(st.st_mode);
    return OK;
}

static enum status fail_shrunk(const struct image *image, uint64_t end, struct error *err)
{
    return fail(err, ERR_MISMATCH, "image \"%s\" shrank while being read: ends at offset %" PRIu64 " of %" PRIu64,
                image->path, end, image->size);
}

/* Behind the end of a file there are no data either, and that is no hole. */
static enum status check_not_shrunk(const struct image *image, struct error *err)
{
    struct stat st;
    if (fstat(image->fd, &st) != 0)
        return fail(err, ERR_IO, "stat \"%s\"", image->path);
    return (uint64_t)st.st_size >= image->size ? OK : fail_shrunk(image, (uint64_t)st.st_size, err);
}

/* Where data begins at or behind `offset`, at most `end`. */
static enum status next_data(struct image *image, uint64_t offset, uint64_t end, uint64_t *out, struct error *err)
{
    *out = offset;
    if (!image->has_holes)
        return OK;
    off_t found = lseek(image->fd, (off_t)offset, SEEK_DATA);
    if (found >= 0) {
        *out = (uint64_t)found < end ? (uint64_t)found : end;
    } else if (errno == ENXIO) { /* a hole to the end */
        *out = end;
        return check_not_shrunk(image, err);
    } else if (errno == EINVAL || errno == EOPNOTSUPP) {
        image->has_holes = false;
    } else {
        return fail(err, ERR_IO, "look for data in \"%s\" at offset %" PRIu64, image->path, offset);
    }
    return OK;
}

/* Where the data that begins at `offset` ends, at most `end`. */
static enum status data_end(struct image *image, uint64_t offset, uint64_t end, uint64_t *out, struct error *err)
{
    *out = end;
    if (!image->has_holes)
        return OK;
    off_t found = lseek(image->fd, (off_t)offset, SEEK_HOLE);
    /* ENXIO: it shrank; reading tells. No progress (a hole was punched meanwhile): read on. */
    if (found < 0 && errno != ENXIO)
        return fail(err, ERR_IO, "look for holes in \"%s\" at offset %" PRIu64, image->path, offset);
    if (found > (off_t)offset && (uint64_t)found < end)
        *out = (uint64_t)found;
    return OK;
}

static enum status read_range(struct image *image, uint8_t *data, uint64_t offset, uint64_t size, struct error *err)
{
    while (size > 0) {
        ssize_t got = pread(image->fd, data, (size_t)size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(err, ERR_IO, "read \"%s\" at offset %" PRIu64, image->path, offset);
        if (got == 0)
            return fail_shrunk(image, offset, err);
        *image->bytes_read += (uint64_t)got;
        data += got;
        offset += (uint64_t)got;
        size -= (uint64_t)got;
    }
    return OK;
}

/* Fills data[0, size) of the image's [offset, offset + size): zeros where it has holes. */
static enum status read_part(struct image *image, uint8_t *data, uint64_t offset, uint64_t size, struct error *err)
{
    uint64_t end = offset + size;
    for (uint64_t at = offset; at < end;) {
        uint64_t begins, ends;
        TRY(next_data(image, at, end, &begins, err));
        memset(data + (at - offset), 0, (size_t)(begins - at));
        if (begins == end)
            break;
        TRY(data_end(image, begins, end, &ends, err));
        TRY(read_range(image, data + (begins - offset), begins, ends - begins, err));
        at = ends;
    }
    return OK;
}

static enum status read_chunk(struct image *image, uint64_t offset, uint64_t size, struct slice parts[PARTS_MAX],
                              size_t *out_count, struct error *err)
{
    size_t count = 0;
    enum status status = OK;
    for (uint64_t done = 0; done < size && status == OK;) {
        uint64_t part = size - done < SLAB_POOLED_CAPACITY ? size - done : SLAB_POOLED_CAPACITY;
        struct slab *slab;
        status = slab_new((size_t)part, &slab, err);
        if (status != OK)
            break;
        parts[count++] = (struct slice){slab->data, (size_t)part, slab};
        status = read_part(image, slab->data, offset + done, part, err);
        done += part;
    }
    *out_count = count;
    for (size_t i = 0; status != OK && i < count; i++)
        slab_release(parts[i].slab);
    return status;
}

/* A failure elsewhere is told without its text, which finish has. */
static enum status elsewhere(enum status status, struct error *err)
{
    return status == OK ? OK : fail(err, ERR_CANCELLED, "stopped");
}

static const struct digest *zero_digest(const struct crypt_config *key, struct digest *out, struct error *err)
{
    uint8_t *zeros = calloc(1, FIXED_CHUNK_SIZE_DEFAULT);
    if (!zeros) {
        (void)fail(err, ERR_MEMORY, "out of memory for a chunk of zeros");
        return NULL;
    }
    crypt_digest_of(key, zeros, FIXED_CHUNK_SIZE_DEFAULT, out);
    free(zeros);
    return out;
}

static enum status send_chunks(struct image *image, const struct crypt_config *key, struct upload *upload,
                               struct error *err)
{
    struct digest zero;
    for (uint64_t offset = 0; offset < image->size;) {
        uint64_t left = image->size - offset;
        uint64_t size = left < FIXED_CHUNK_SIZE_DEFAULT ? left : FIXED_CHUNK_SIZE_DEFAULT;
        uint64_t data;
        TRY(next_data(image, offset, offset + size, &data, err));
        bool is_hole = data == offset + size && size == FIXED_CHUNK_SIZE_DEFAULT;
        if (is_hole && image->zero_sent) {
            TRY(elsewhere(upload_repeat(upload, size, &zero), err));
        } else {
            if (is_hole && !zero_digest(key, &zero, err))
                return ERR_MEMORY;
            struct slice parts[PARTS_MAX];
            size_t count;
            TRY(read_chunk(image, offset, size, parts, &count, err));
            /* What was a hole may have been written to since: then its digest is not the one of zeros. */
            for (size_t i = 0; is_hole && i < count; i++)
                for (size_t k = 0; k < parts[i].size && is_hole; k++)
                    is_hole = parts[i].data[k] == 0;
            TRY(elsewhere(upload_chunk(upload, parts, count), err));
            image->zero_sent = image->zero_sent || is_hole;
        }
        offset += size;
        char done[SIZE_TEXT_SIZE], all[SIZE_TEXT_SIZE];
        if (progress_due())
            progress_update("%s of %s", size_text(offset, done), size_text(image->size, all));
    }
    return OK;
}

enum status image_upload(struct sealer_pool *pool, struct store_writer *writer, const char *name, const char *path,
                         const struct fixed_index *previous, struct failure *failure, struct stream_stats *out,
                         uint64_t *out_bytes_read, struct error *err)
{
    *out_bytes_read = 0;
    CLEANUP(image_close) struct image image = {.fd = -1, .bytes_read = out_bytes_read};
    TRY(image_open(path, &image, err));
    struct upload *upload;
    TRY(upload_new_fixed(pool, writer, name, image.size, FIXED_CHUNK_SIZE_DEFAULT, previous, failure, &upload, err));
    enum status status = send_chunks(&image, sealer_pool_key(pool), upload, err);
    progress_end();
    if (status == OK)
        status = upload_finish(upload, out, err);
    if (status != OK)
        failure_set(failure, status, err); /* before the pool meets the consequences */
    upload_free(upload);
    struct error first;
    if (status != OK && failure_get(failure, &first) != OK) {
        *err = first; /* the cause rather than its consequence */
        status = first.status;
    }
    return status;
}

/* ---- a blob on its way in ---- */

static enum status read_file(const char *path, struct buffer *out, struct error *err)
{
    CLEANUP(file_source_close) struct file_source file = FILE_SOURCE_INIT;
    TRY(file_source_open(&file, path, err));
    struct source source = file_source_sequential(&file);
    for (;;) {
        enum { STEP = 1 << 16 };
        size_t got;
        TRY(buffer_reserve(out, STEP, err));
        TRY(source.read(source.context, out->data + out->size, STEP, &got, err));
        if (got == 0)
            return OK;
        out->size += got;
        if (out->size > BLOB_FILE_SIZE_MAX)
            return fail(err, ERR_LIMIT, "file \"%s\" is larger than %d bytes", path, BLOB_FILE_SIZE_MAX);
    }
}

static enum status seal_whole(struct blob_context *context, const struct crypt_config *key, const struct slice *whole,
                              struct buffer *out, struct error *err)
{
    uint8_t iv[CRYPT_IV_SIZE];
    if (!key)
        return blob_seal(context, whole, 1, out, err);
    TRY(entropy_fill(iv, sizeof iv, err));
    return blob_seal_encrypted(context, key, iv, whole, 1, out, err);
}

enum status blob_file_upload(struct store_writer *writer, const struct crypt_config *key, const char *name,
                             const char *path, struct blob_upload_stats *out, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer raw = BUFFER_INIT(BLOB_FILE_SIZE_MAX + (1 << 17));
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(BLOB_FILE_SIZE_MAX * 2);
    TRY(read_file(path, &raw, err));
    struct blob_context *context;
    TRY(blob_context_new(&context, err));
    struct slice whole = {.data = raw.data, .size = raw.size};
    enum status status = seal_whole(context, key, &whole, &sealed, err);
    blob_context_free(context);
    TRY(status);
    TRY(store_put_blob(writer, name, sealed.data, sealed.size, err));
    *out = (struct blob_upload_stats){.raw_size = raw.size, .size = sealed.size};
    digest_of(sealed.data, sealed.size, &out->csum);
    return OK;
}

/* ---- back again ---- */

/* A file that is there in the end only if all went well, or standard output. */
struct target {
    const char *path;
    int fd;
    bool is_stdout;
    uint64_t size; /* written or left out so far */
};

static enum status target_open(struct target *t, const char *path, struct error *err)
{
    bool is_stdout = strcmp(path, "-") == 0;
    *t = (struct target){.path = is_stdout ? "standard output" : path, .is_stdout = is_stdout};
    t->fd = is_stdout ? STDOUT_FILENO : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return t->fd < 0 ? fail(err, ERR_IO, "create \"%s\"", path) : OK;
}

static enum status target_write(struct target *t, const uint8_t *data, uint64_t size, struct error *err)
{
    while (size > 0) {
        ssize_t done = write(t->fd, data, (size_t)size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail(err, ERR_IO, "write \"%s\" at offset %" PRIu64, t->path, t->size);
        data += done;
        size -= (uint64_t)done;
        t->size += (uint64_t)done;
    }
    return OK;
}

static enum status target_close(struct target *t, enum status status, struct error *err)
{
    if (t->is_stdout)
        return status;
    if (status == OK && ftruncate(t->fd, (off_t)t->size) != 0) /* the image may end with a hole */
        status = fail(err, ERR_IO, "size of \"%s\"", t->path);
    if (close(t->fd) != 0 && status == OK)
        status = fail(err, ERR_IO, "close \"%s\"", t->path);
    if (status != OK)
        unlink(t->path);
    return status;
}

static enum status restore_chunk(struct store_reader *reader, struct blob_context *context,
                                 const struct crypt_config *key, const char *name, const struct digest *digest,
                                 uint64_t size, struct buffer *encoded, struct buffer *raw, struct error *err)
{
    char path[4096];
    TRY(store_get_chunk(reader, name, digest, encoded, err));
    store_chunk_path(reader, digest, path, sizeof path);
    if (blob_open_chunk(context, key, encoded->data, encoded->size, digest, size, path, raw, err) != OK)
        return fail_within(err, "%s", name);
    return OK;
}

/* Chunks of an image that will be read; those of zeros are not. */
struct image_chunks {
    const struct fixed_index *index;
    const struct digest *skipped; /* NULL: none */
};

static enum announcement announced_chunk(void *context, size_t k, struct store_hint *out)
{
    const struct image_chunks *c = context;
    *out = (struct store_hint){c->index->digests[k], fixed_index_chunk_size(c->index, k)};
    return c->skipped && digest_equal(&out->digest, c->skipped) ? ANNOUNCE_NOT : ANNOUNCE_IT;
}

static enum status restore_chunks(struct store_reader *reader, const struct fixed_index *index, const char *name,
                                  struct target *target, struct image_restore_stats *stats, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer encoded = BUFFER_INIT(CHUNK_BLOB_SIZE_MAX);
    CLEANUP(buffer_deinit) struct buffer raw = BUFFER_INIT(CHUNK_RAW_SIZE_MAX);
    const struct crypt_config *key = index->encrypted ? store_reader_key(reader) : NULL;
    struct digest zero;
    if (index->chunk_size == FIXED_CHUNK_SIZE_DEFAULT && !zero_digest(key, &zero, err))
        return ERR_MEMORY;
    bool skips = index->chunk_size == FIXED_CHUNK_SIZE_DEFAULT && !target->is_stdout;
    struct image_chunks chunks = {index, skips ? &zero : NULL};
    struct announcer announcer = {.reader = reader, .name = name, .chunk = announced_chunk, .context = &chunks};
    struct blob_context *context;
    TRY(blob_context_new(&context, err));
    enum status status = OK;
    for (size_t k = 0; k < index->count && status == OK; k++) {
        announce_ahead(&announcer, k, index->count);
        uint64_t size = fixed_index_chunk_size(index, k);
        bool is_zero = size == FIXED_CHUNK_SIZE_DEFAULT && index->chunk_size == FIXED_CHUNK_SIZE_DEFAULT &&
                       digest_equal(&index->digests[k], &zero);
        if (is_zero && !target->is_stdout) {
            if (lseek(target->fd, (off_t)size, SEEK_CUR) < 0)
                status = fail(err, ERR_IO, "seek in \"%s\"", target->path);
            target->size += size;
        } else {
            status = restore_chunk(reader, context, key, name, &index->digests[k], size, &encoded, &raw, err);
            stats->chunks++;
            if (status == OK)
                status = target_write(target, raw.data, size, err);
        }
        char done[SIZE_TEXT_SIZE], all[SIZE_TEXT_SIZE];
        if (progress_due())
            progress_update("restored %s of %s", size_text(target->size, done), size_text(index->size, all));
    }
    progress_end();
    blob_context_free(context);
    return status;
}

enum status image_restore(struct store_reader *reader, const struct manifest *m, const char *name, const char *target,
                          struct image_restore_stats *out, struct error *err)
{
    *out = (struct image_restore_stats){0};
    struct fixed_index index;
    TRY(snapshot_fixed_index(reader, m, name, &index, err));
    struct target file;
    enum status status = target_open(&file, target, err);
    if (status == OK) {
        status = restore_chunks(reader, &index, name, &file, out, err);
        status = target_close(&file, status, err);
    }
    out->size = index.size;
    fixed_index_deinit(&index);
    return status;
}

/* What the blob is to be opened with. A wrapped key is listed with the mode of the run and is not encrypted by it. */
static enum status blob_key(struct store_reader *reader, const struct manifest_file *entry,
                            const struct crypt_config **out, struct error *err)
{
    *out = NULL;
    if (strcmp(entry->crypt_mode, crypt_mode_names[CRYPT_ENCRYPT]) != 0 ||
        strcmp(entry->filename, WRAPPED_KEY_NAME) == 0)
        return OK;
    *out = store_reader_key(reader);
    if (!*out)
        return fail(err, ERR_UNSUPPORTED, "%s: is encrypted and cannot be read without its key", entry->filename);
    return OK;
}

enum status blob_file_restore(struct store_reader *reader, const struct manifest *m, const char *name,
                              const char *target, uint64_t *out_size, struct error *err)
{
    const struct manifest_file *entry = manifest_find(m, name);
    if (!entry)
        return fail(err, ERR_NOT_FOUND, "archive not found in manifest: \"%s\"", name);
    const struct crypt_config *key = NULL;
    TRY(blob_key(reader, entry, &key, err));
    CLEANUP(buffer_deinit) struct buffer encoded = BUFFER_INIT(CHUNK_BLOB_SIZE_MAX);
    CLEANUP(buffer_deinit) struct buffer raw = BUFFER_INIT(BLOB_RAW_SIZE_MAX);
    TRY(store_read_file(reader, name, CHUNK_BLOB_SIZE_MAX, &encoded, err));
    struct digest csum;
    digest_of(encoded.data, encoded.size, &csum);
    if (encoded.size != entry->size || !digest_equal(&csum, &entry->csum))
        return fail(err, ERR_MISMATCH, "%s: is not the file the manifest tells of (size or checksum differ)", name);
    struct blob_context *context;
    TRY(blob_context_new(&context, err));
    enum status status = blob_open_keyed(context, key, encoded.data, encoded.size, BLOB_RAW_SIZE_MAX, name, &raw, err);
    blob_context_free(context);
    TRY(status);
    struct target file;
    TRY(target_open(&file, target, err));
    status = target_write(&file, raw.data, raw.size, err);
    *out_size = raw.size;
    return target_close(&file, status, err);
}
