/* Chunk files: inserting and fetching. */
#include "store/local.h"

#include "blob/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum verdict { INSERT, DUPLICATE };

static bool is_encrypted(enum blob_kind kind)
{
    return kind == BLOB_ENCRYPTED || kind == BLOB_ENCRYPTED_ZSTD;
}

/* From the first bytes of the chunk that is there. */
static enum status stored_kind(const struct store *s, const char *name, enum blob_kind *out, struct error *err)
{
    uint8_t head[BLOB_ENCRYPTED_HEADER_SIZE];
    CLEANUP(fd_cleanup) int fd = openat(s->chunks_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t got = fd < 0 ? -1 : read(fd, head, sizeof head);
    if (got < 0)
        return fail(err, ERR_IO, "read %s/.chunks/%s", s->path, name);
    char path[STORED_PATH_MAX];
    snprintf(path, sizeof path, "%.500s/.chunks/%s", s->path, name);
    return blob_kind_of(head, (size_t)got, path, out, err);
}

/* The table of datastore.md 8.2, first matching row. */
static enum status judge(const struct store *s, const char *name, enum blob_kind kind, size_t size, enum verdict *out,
                         struct error *err)
{
    struct stat st;
    *out = INSERT;
    /* Following links; a dangling one counts as none. */
    if (fstatat(s->chunks_fd, name, &st, 0) != 0)
        return errno == ENOENT ? OK : fail(err, ERR_IO, "stat %s/.chunks/%s", s->path, name);
    if (!S_ISREG(st.st_mode))
        return fail(err, ERR_FORMAT, "%s/.chunks/%s: not a regular file", s->path, name);
    uint64_t there = (uint64_t)st.st_size;
    *out = there == size ? DUPLICATE : INSERT;
    if (there == size || there == 0)
        return OK;
    if (is_encrypted(kind)) {
        enum blob_kind kind_there;
        TRY(stored_kind(s, name, &kind_there, err));
        if (!is_encrypted(kind_there))
            return fail(err, ERR_MISMATCH, "%s/.chunks/%s: an unencrypted chunk is there, the new one is encrypted",
                        s->path, name);
        if (kind == BLOB_ENCRYPTED && kind_there == BLOB_ENCRYPTED)
            return fail(err, ERR_MISMATCH,
                        "%s/.chunks/%s: an encrypted chunk of %llu bytes is there, the new one has %zu", s->path, name,
                        (unsigned long long)there, size);
        *out = DUPLICATE;
        return OK;
    }
    *out = there < size ? DUPLICATE : INSERT;
    return OK;
}

/* A garbage collection must see that the chunk is in use again. */
static enum status touch(const struct store *s, const char *name, struct error *err)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};
    if (utimensat(s->chunks_fd, name, times, AT_SYMLINK_NOFOLLOW) != 0)
        return fail(err, ERR_IO, "set access time of %s/.chunks/%s", s->path, name);
    return OK;
}

/* Returns the descriptor of the new file, or -1 with errno. */
static int create_temporary(const struct store *s, const char *name)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    int fd = openat(s->chunks_fd, name, flags, STORE_FILE_MODE);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    /* Copies of a datastore may lack the empty ones of the 65,536 directories. */
    char dir[5];
    memcpy(dir, name, 4);
    dir[4] = '\0';
    if (mkdirat(s->chunks_fd, dir, CHUNK_DIR_MODE) != 0 && errno != EEXIST)
        return -1;
    return openat(s->chunks_fd, name, flags, STORE_FILE_MODE);
}

static enum status write_temporary(const struct store *s, const char *name, const uint8_t *blob, size_t size,
                                   struct error *err)
{
    CLEANUP(fd_cleanup) int fd = create_temporary(s, name);
    if (fd < 0)
        return fail(err, ERR_IO, "create %s/.chunks/%s", s->path, name);
    if (write_all(fd, blob, size) && (s->sync != SYNC_FILE || fsync(fd) == 0) && close(fd_take(&fd)) == 0)
        return OK;
    fail_text(err, ERR_IO, "write %s/.chunks/%s", s->path, name);
    unlinkat(s->chunks_fd, name, 0);
    return ERR_IO;
}

static enum status sync_chunk_dir(const struct store *s, const char *name, struct error *err)
{
    char dir[5];
    memcpy(dir, name, 4);
    dir[4] = '\0';
    CLEANUP(fd_cleanup) int fd = openat(s->chunks_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, ERR_IO, "open %s/.chunks/%s", s->path, dir);
    TRY(sync_dir(fd, dir, err));
    return sync_dir(s->chunks_fd, ".chunks", err); /* the directory may be new as well */
}

enum status local_put_chunk(struct store *s, const struct digest *digest, const uint8_t *blob, size_t size,
                            bool *out_new, struct error *err)
{
    *out_new = false;
    char name[CHUNK_NAME_SIZE];
    chunk_name(digest, name);
    enum blob_kind kind;
    TRY(blob_kind_of(blob, size, name, &kind, err));
    if (size > CHUNK_BLOB_SIZE_MAX)
        return fail(err, ERR_LIMIT, "chunk %s of %zu bytes, at most %d are allowed", name + 5, size,
                    CHUNK_BLOB_SIZE_MAX);

    /* Most chunks of a second backup are there: look before writing. What counts is the look under the lock. */
    enum verdict verdict;
    TRY(judge(s, name, kind, size, &verdict, err));
    if (verdict == DUPLICATE)
        return touch(s, name, err);

    char temporary[TEMPORARY_NAME_MAX];
    TRY(temporary_name(name, ".tmp_", temporary, err));
    TRY(write_temporary(s, temporary, blob, size, err));
    pthread_mutex_lock(&s->insert_lock);
    enum status status = judge(s, name, kind, size, &verdict, err);
    if (status == OK && verdict == INSERT && renameat(s->chunks_fd, temporary, s->chunks_fd, name) != 0)
        status = fail(err, ERR_IO, "rename to %s/.chunks/%s", s->path, name);
    pthread_mutex_unlock(&s->insert_lock);
    if (status != OK || verdict == DUPLICATE)
        unlinkat(s->chunks_fd, temporary, 0);
    TRY(status);
    if (verdict == DUPLICATE)
        return touch(s, name, err);
    if (s->sync == SYNC_FILE)
        TRY(sync_chunk_dir(s, name, err));
    *out_new = true;
    return OK;
}

enum status local_replace_chunk(struct store *s, const struct digest *digest, const uint8_t *blob, size_t size,
                                struct error *err)
{
    char name[CHUNK_NAME_SIZE];
    chunk_name(digest, name);
    enum blob_kind kind;
    TRY(blob_kind_of(blob, size, name, &kind, err));
    struct stat st;
    if (fstatat(s->chunks_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return fail(err, ERR_FORMAT, "%s/.chunks/%s: not a regular file", s->path, name);
    char temporary[TEMPORARY_NAME_MAX];
    TRY(temporary_name(name, ".tmp_", temporary, err));
    TRY(write_temporary(s, temporary, blob, size, err));
    pthread_mutex_lock(&s->insert_lock);
    enum status status = OK;
    if (renameat(s->chunks_fd, temporary, s->chunks_fd, name) != 0)
        status = fail(err, ERR_IO, "rename to %s/.chunks/%s", s->path, name);
    pthread_mutex_unlock(&s->insert_lock);
    if (status != OK)
        unlinkat(s->chunks_fd, temporary, 0);
    TRY(status);
    return s->sync == SYNC_FILE ? sync_chunk_dir(s, name, err) : OK;
}

enum status local_get_chunk(struct store *s, const struct digest *digest, struct buffer *out, struct error *err)
{
    char name[CHUNK_NAME_SIZE];
    char path[STORED_PATH_MAX];
    chunk_name(digest, name);
    snprintf(path, sizeof path, "%.500s/.chunks", s->path);
    /* Links are followed as they are when inserting: a chunk that counted as there can be read. Its digest is checked
     * by whoever decodes it. */
    enum status status = read_whole(s->chunks_fd, name, 0, CHUNK_BLOB_SIZE_MAX, path, out, err);
    if (status == ERR_NOT_FOUND)
        return fail(err, ERR_NOT_FOUND, "chunk %s is missing in %s", name + 5, path);
    return status;
}
