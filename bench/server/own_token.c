#include "server/own_token.h"

#include "base/hex.h"
#include "server/certificate.h"
#include "store/local_server.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_NAME "token"

enum { SECRET_BYTES = (OWN_SECRET_SIZE - 1) / 2 };

static enum status make(const char *directory, struct error *err)
{
    uint8_t bytes[SECRET_BYTES];
    char text[OWN_SECRET_SIZE + 1];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return fail(err, ERR_IO, "random bytes for a token");
    hex_encode(bytes, sizeof bytes, text);
    text[OWN_SECRET_SIZE - 1] = '\n';
    enum status status = write_private(directory, TOKEN_NAME, text, OWN_SECRET_SIZE, err);
    OPENSSL_cleanse(bytes, sizeof bytes);
    OPENSSL_cleanse(text, sizeof text);
    return status;
}

static enum status take(const char *path, char out[OWN_SECRET_SIZE], struct error *err)
{
    char text[OWN_SECRET_SIZE + 1];
    uint8_t bytes[SECRET_BYTES];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return fail(err, ERR_IO, "open %s", path);
    ssize_t got = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? read(fd, text, sizeof text) : -1;
    close(fd);
    bool good = got == OWN_SECRET_SIZE && (st.st_mode & 077) == 0 && text[OWN_SECRET_SIZE - 1] == '\n' &&
                hex_decode(text, OWN_SECRET_SIZE - 1, bytes, sizeof bytes);
    if (good) {
        memcpy(out, text, OWN_SECRET_SIZE - 1);
        out[OWN_SECRET_SIZE - 1] = '\0';
    }
    OPENSSL_cleanse(bytes, sizeof bytes);
    OPENSSL_cleanse(text, sizeof text);
    if (!good)
        return fail(err, ERR_FORMAT,
                    "%s: not a token that this program made, or others can read it; remove it, and a new one is made",
                    path);
    return OK;
}

enum status own_token(const char *datastore, char out_secret[OWN_SECRET_SIZE], char out_path[PATH_MAX],
                      struct error *err)
{
    char directory[PATH_MAX];
    int lock;
    TRY(local_prepare(datastore, err));
    char *real = realpath(datastore, NULL);
    if (!real)
        return fail(err, ERR_IO, "find the place of %s", datastore);
    int a = snprintf(directory, sizeof directory, "%s/.pxarbench", real);
    int b = snprintf(out_path, PATH_MAX, "%s/.pxarbench/" TOKEN_NAME, real);
    free(real);
    if (a < 0 || b < 0 || b >= PATH_MAX)
        return fail(err, ERR_LIMIT, "%.200s...: path is too long", datastore);
    TRY(own_directory(directory, &lock, err));
    enum status status = access(out_path, F_OK) == 0 ? OK : make(directory, err);
    if (status == OK)
        status = take(out_path, out_secret, err);
    close(lock);
    return status;
}
