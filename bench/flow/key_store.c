#include "flow/key_store.h"

#include "base/clock.h"
#include "flow/entropy.h"
#include "flow/protected.h"
#include "flow/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_SIZE_MAX = 2 * KEY_FILE_SIZE_MAX };

struct loaded_key {
    struct crypt_config config;
    char created[KEY_TIME_SIZE];
    bool has_hint;
    char hint[KEY_HINT_SIZE_MAX + 1];
};

static void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- text in protected memory ---- */

struct key_text {
    struct buffer bytes; /* borrows `memory`: never grows, never freed as a buffer */
    void *memory;
};

static enum status text_new(struct key_text *out, struct error *err)
{
    TRY(protected_new(TEXT_SIZE_MAX, &out->memory, err));
    out->bytes = (struct buffer){.data = out->memory, .capacity = TEXT_SIZE_MAX, .limit = TEXT_SIZE_MAX};
    return OK;
}

static void text_free(struct key_text *t)
{
    protected_free(t->memory, TEXT_SIZE_MAX);
    *t = (struct key_text){0};
}

static enum status text_read(struct key_text *t, int fd, const char *name, struct error *err)
{
    struct buffer *b = &t->bytes;
    for (;;) {
        ssize_t got = read(fd, b->data + b->size, KEY_FILE_SIZE_MAX + 1 - b->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(err, ERR_IO, "read %s", name);
        if (got == 0)
            return OK;
        b->size += (size_t)got;
        if (b->size > KEY_FILE_SIZE_MAX)
            return fail(err, ERR_LIMIT, "%s: is no key file: longer than %d bytes", name, KEY_FILE_SIZE_MAX);
    }
}

/* ---- loading ---- */

/* The file as it is. Descriptor and text are done with afterwards. */
static enum status file_read(int fd, const char *name, struct key_file *out, struct error *err)
{
    CLEANUP(text_free) struct key_text text = {0};
    TRY(text_new(&text, err));
    TRY(text_read(&text, fd, name, err));
    json_cleansing_begin();
    enum status status = key_file_parse(text.bytes.data, text.bytes.size, name, out, err);
    json_cleansing_end();
    return status;
}

static enum status file_open(const char *path, struct key_file *out, struct error *err)
{
    TRY(protect_process(err));
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return fail(err, ERR_IO, "open key file %s", path);
    return file_read(fd, path, out, err);
}

static enum status passphrase_of(const char *base, bool needed, const char *name, struct secret *out, struct error *err)
{
    *out = (struct secret){0};
    if (!needed)
        return OK;
    TRY(secret_lookup(base, out, err));
    return out->text ? OK
                     : fail(err, ERR_NOT_FOUND, "%s: a passphrase is needed: set %s, or %s_FD, _FILE or _CMD", name,
                            base, base);
}

static enum status unwrap(const struct key_file *f, const char *name, uint8_t out[CRYPT_KEY_SIZE], struct error *err)
{
    CLEANUP(secret_deinit) struct secret passphrase = {0};
    TRY(passphrase_of(KEY_PASSPHRASE_NAME, f->kdf != KEY_KDF_NONE, name, &passphrase, err));
    return key_file_unwrap(f, passphrase.text, name, out, err);
}

static enum status config_from(const struct key_file *f, const char *name, struct loaded_key *k, struct error *err)
{
    uint8_t *key = k->config.key; /* init copies a key onto itself */
    TRY(unwrap(f, name, key, err));
    return crypt_config_init(&k->config, key, err);
}

static enum status load(const struct key_file *f, const char *name, struct loaded_key **out, struct error *err)
{
    void *memory;
    TRY(protected_new(sizeof **out, &memory, err));
    struct loaded_key *k = memory;
    memcpy(k->created, f->created, sizeof k->created);
    k->has_hint = f->hint != NULL;
    if (f->hint)
        memcpy(k->hint, f->hint, strlen(f->hint) + 1); /* parsing saw to it that it fits */
    enum status status = config_from(f, name, k, err);
    if (status == OK)
        *out = k;
    else
        loaded_key_free(k);
    return status;
}

enum status key_load(const char *path, struct loaded_key **out, struct error *err)
{
    CLEANUP(key_file_deinit) struct key_file f = {0};
    TRY(file_open(path, &f, err));
    return load(&f, path, out, err);
}

enum status key_load_fd(int given, struct loaded_key **out, struct error *err)
{
    char name[48];
    snprintf(name, sizeof name, "file descriptor %d", given);
    CLEANUP(key_file_deinit) struct key_file f = {0};
    CLEANUP(fd_close) int fd = given;
    TRY(protect_process(err));
    TRY(file_read(fd, name, &f, err));
    return load(&f, name, out, err);
}

void loaded_key_free(struct loaded_key *k)
{
    protected_free(k, sizeof *k);
}

const struct crypt_config *loaded_key_config(const struct loaded_key *k)
{
    return k ? &k->config : NULL;
}

enum status key_describe(const char *path, struct key_file *out, struct error *err)
{
    TRY(file_open(path, out, err));
    OPENSSL_cleanse(out->data, sizeof out->data);
    return OK;
}

/* ---- writing ---- */

static enum status write_all(int fd, const uint8_t *data, size_t size, const char *path, struct error *err)
{
    while (size > 0) {
        ssize_t done = write(fd, data, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail(err, ERR_IO, "write %s", path);
        data += done;
        size -= (size_t)done;
    }
    return OK;
}

static enum status fill_new(int fd, const char *path, const struct key_file *f, struct error *err)
{
    CLEANUP(text_free) struct key_text text = {0};
    TRY(text_new(&text, err));
    json_cleansing_begin();
    enum status status = key_file_write(f, KEY_FILE_PRETTY, &text.bytes, err);
    json_cleansing_end();
    TRY(status);
    if (fchmod(fd, 0600) != 0) /* whatever the umask is */
        return fail(err, ERR_IO, "set the mode of %s", path);
    TRY(write_all(fd, text.bytes.data, text.bytes.size, path, err));
    return fsync(fd) == 0 ? OK : fail(err, ERR_IO, "sync %s", path);
}

/* A new file; gone again after a failure. */
static enum status write_new(const char *path, const struct key_file *f, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail(err, ERR_IO, "create key file %s", path);
    enum status status = fill_new(fd, path, f, err);
    if (close(fd) != 0 && status == OK)
        status = fail(err, ERR_IO, "close %s", path);
    if (status != OK)
        (void)unlink(path);
    return status;
}

static enum status sync_directory_of(const char *path, struct error *err)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t size = slash ? (size_t)(slash - path) + 1 : 0;
    ASSERT(size < sizeof directory); /* it was opened */
    memcpy(directory, size > 0 ? path : ".", size > 0 ? size : 1);
    directory[size > 0 ? size : 1] = '\0';
    CLEANUP(fd_close) int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        return fail(err, ERR_IO, "sync %s", directory);
    return OK;
}

static enum status replace(const char *path, const struct key_file *f, struct error *err)
{
    char temporary[PATH_MAX];
    int size = snprintf(temporary, sizeof temporary, "%s.tmp_%ld", path, (long)getpid());
    if (size < 0 || (size_t)size >= sizeof temporary)
        return fail(err, ERR_USAGE, "%.200s...: the path is too long", path);
    TRY(write_new(temporary, f, err));
    if (rename(temporary, path) != 0) {
        enum status status = fail(err, ERR_IO, "rename %s to %s", temporary, path);
        (void)unlink(temporary);
        return status;
    }
    return sync_directory_of(path, err);
}

static enum status now(char out[KEY_TIME_SIZE], struct error *err)
{
    char text[TIME_TEXT_SIZE];
    if (!time_format_utc(clock_wall_seconds(), text))
        return fail(err, ERR_UNSUPPORTED, "the clock is not between the years 0 and 9999");
    text[strlen(text) - 1] = '\0'; /* as the reference: an offset, also when it is none */
    snprintf(out, KEY_TIME_SIZE, "%s+00:00", text);
    return OK;
}

static enum status set_hint(struct key_file *f, const char *hint, struct error *err)
{
    if (!hint)
        return OK;
    if (strlen(hint) > KEY_HINT_SIZE_MAX)
        return fail(err, ERR_USAGE, "the hint is longer than %d bytes", KEY_HINT_SIZE_MAX);
    char *copy = strdup(hint);
    if (!copy)
        return fail(err, ERR_MEMORY, "out of memory for a hint");
    free(f->hint);
    f->hint = copy;
    return OK;
}

/* `base`: where the passphrase is. Sets everything but `created`. */
static enum status wrap(struct key_file *f, const uint8_t key[CRYPT_KEY_SIZE], enum key_kdf kdf, const char *base,
                        const char *path, const char *hint, struct error *err)
{
    uint8_t entropy[KEY_ENTROPY_SIZE];
    CLEANUP(secret_deinit) struct secret passphrase = {0};
    TRY(set_hint(f, hint, err));
    TRY(now(f->modified, err));
    TRY(passphrase_of(base, kdf != KEY_KDF_NONE, path, &passphrase, err));
    TRY(entropy_fill(entropy, sizeof entropy, err));
    return key_file_wrap(f, key, kdf, passphrase.text, entropy, err);
}

static enum status create(const char *path, uint8_t key[CRYPT_KEY_SIZE], enum key_kdf kdf, const char *hint,
                          struct error *err)
{
    CLEANUP(key_file_deinit) struct key_file f = {0};
    TRY(entropy_fill(key, CRYPT_KEY_SIZE, err));
    TRY(wrap(&f, key, kdf, KEY_PASSPHRASE_NAME, path, hint, err));
    memcpy(f.created, f.modified, sizeof f.created);
    TRY(write_new(path, &f, err));
    return sync_directory_of(path, err);
}

enum status key_create(const char *path, enum key_kdf kdf, const char *hint, struct error *err)
{
    void *key;
    struct stat st;
    if (lstat(path, &st) == 0) { /* said before the passphrase costs anything; O_EXCL is what counts */
        errno = EEXIST;
        return fail(err, ERR_IO, "create key file %s", path);
    }
    TRY(protected_new(CRYPT_KEY_SIZE, &key, err));
    enum status status = create(path, key, kdf, hint, err);
    protected_free(key, CRYPT_KEY_SIZE);
    return status;
}

static enum status change(const char *path, uint8_t key[CRYPT_KEY_SIZE], enum key_kdf kdf, const char *hint,
                          struct error *err)
{
    CLEANUP(key_file_deinit) struct key_file f = {0};
    TRY(file_open(path, &f, err));
    TRY(unwrap(&f, path, key, err));
    TRY(wrap(&f, key, kdf, KEY_NEW_PASSPHRASE_NAME, path, hint, err));
    return replace(path, &f, err);
}

enum status key_change_passphrase(const char *path, enum key_kdf kdf, const char *hint, struct error *err)
{
    void *key;
    TRY(protected_new(CRYPT_KEY_SIZE, &key, err));
    enum status status = change(path, key, kdf, hint, err);
    protected_free(key, CRYPT_KEY_SIZE);
    return status;
}

enum status loaded_key_export(const struct loaded_key *k, struct key_file *out, struct error *err)
{
    static const uint8_t no_entropy[KEY_ENTROPY_SIZE];
    struct key_file f = {0};
    enum status status = set_hint(&f, k->has_hint ? k->hint : NULL, err);
    if (status == OK)
        status = now(f.modified, err);
    if (status == OK)
        status = key_file_wrap(&f, k->config.key, KEY_KDF_NONE, NULL, no_entropy, err);
    memcpy(f.created, k->created, sizeof f.created);
    if (status == OK)
        *out = f;
    else
        key_file_deinit(&f);
    OPENSSL_cleanse(f.data, sizeof f.data);
    return status;
}
