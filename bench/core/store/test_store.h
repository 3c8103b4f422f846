/* What the tests of this folder share. Include testing/testing.h first. */
#ifndef PXB_STORE_TEST_STORE_H
#define PXB_STORE_TEST_STORE_H

#include "store/local.h"

#include "blob/blob.h"
#include "index/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct store_options reading UNUSED = {.sync = SYNC_NONE};
static const struct store_options writing UNUSED = {.sync = SYNC_NONE, .create = true};

/* "BASE/NAME" in a static buffer of its own per call site's turn (8 of them). */
UNUSED static const char *at(const char *base, const char *name)
{
    static char paths[8][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, PATH_MAX, "%s/%s", base, name);
    return path;
}

/* A datastore whose 65,536 directories come as they are needed: a second each would be too much. */
UNUSED static char *small_store_dir(void)
{
    char *dir = temp_dir_make();
    assert_int_equal(mkdir(at(dir, ".chunks"), 0750), 0);
    return dir;
}

UNUSED static struct store *open_store_at(const char *dir)
{
    struct store *s;
    struct error err = {0};
    if (store_open(dir, &writing, &s, &err) != OK)
        assert_string_equal(err.text, "");
    return s;
}

UNUSED static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

UNUSED static unsigned mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

UNUSED static void put_file(const char *path, const void *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_true(write(fd, data, size) == (ssize_t)size);
    assert_int_equal(close(fd), 0);
}

UNUSED static struct snapshot_id snapshot(const char *id, int64_t time)
{
    struct snapshot_id s = {.type = "host", .time = time};
    snprintf(s.id, sizeof s.id, "%s", id);
    return s;
}

/* A blob of `kind` and `size` bytes; only its magic number matters to the store. Owned by the caller. */
UNUSED static uint8_t *fake_blob(enum blob_kind kind, size_t size, uint8_t filler)
{
    static const uint8_t magics[][8] = {{0x42, 0xab, 0x38, 0x07, 0xbe, 0x83, 0x70, 0xa1},
                                        {0x31, 0xb9, 0x58, 0x42, 0x6f, 0xb6, 0xa3, 0x7f},
                                        {0x7b, 0x67, 0x85, 0xbe, 0x22, 0x2d, 0x4c, 0xf0},
                                        {0xe6, 0x59, 0x1b, 0xbf, 0x0b, 0xbf, 0xd8, 0x0b}};
    uint8_t *blob = make_constant(size, filler);
    memcpy(blob, magics[kind], 8);
    return blob;
}

/* A sealed manifest blob of a snapshot without files; `unprotected` is JSON or NULL. */
UNUSED static void manifest_blob(const struct snapshot_id *id, const char *unprotected, struct buffer *out)
{
    struct manifest m;
    struct blob_context *context;
    struct buffer text = BUFFER_INIT(1 << 20);
    assert_int_equal(manifest_init(&m, id->type, id->id, id->time, NULL), OK);
    if (unprotected) {
        free(m.unprotected);
        m.unprotected = strdup(unprotected);
    }
    assert_int_equal(manifest_write(&m, &text, NULL), OK);
    assert_int_equal(blob_context_new(&context, NULL), OK);
    struct slice slice = {.data = text.data, .size = text.size};
    assert_int_equal(blob_seal(context, &slice, 1, out, NULL), OK);
    blob_context_free(context);
    buffer_deinit(&text);
    manifest_deinit(&m);
}

UNUSED static struct store_writer *begin(struct store *s, const struct snapshot_id *id)
{
    struct store_writer *w;
    struct error err = {0};
    if (store_begin(s, id, &w, &err) != OK)
        assert_string_equal(err.text, "");
    return w;
}

/* store_put_chunk of bytes that stay the caller's. */
UNUSED static enum status put_chunk(struct store_writer *w, const struct digest *digest, const uint8_t *blob,
                                    size_t size, bool *out_new, struct error *err)
{
    struct buffer whole = BUFFER_INIT(size);
    assert_int_equal(buffer_append(&whole, blob, size, NULL), OK);
    enum status status = store_put_chunk(w, &(struct store_chunk){.digest = digest, .blob = &whole}, out_new, err);
    buffer_deinit(&whole);
    return status;
}

/* A finished snapshot with nothing but a manifest. */
UNUSED static void make_snapshot(struct store *s, const struct snapshot_id *id, const char *unprotected)
{
    struct buffer blob = BUFFER_INIT(1 << 20);
    struct error err = {0};
    manifest_blob(id, unprotected, &blob);
    if (store_finish(begin(s, id), blob.data, blob.size, &err) != OK)
        assert_string_equal(err.text, "");
    buffer_deinit(&blob);
}

/* A child process that runs `body`; its exit code is 0 when that returns true. */
UNUSED static pid_t start_child(bool (*body)(const char *dir, int ready_fd), const char *dir, int ready_fd)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body(dir, ready_fd) ? 0 : 1);
    return pid;
}

UNUSED static int wait_child(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#endif
