#include "server/certificate.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VALID_DAYS = 3650, SERIAL_SIZE = 16 };

const char *openssl_reason(void)
{
    static _Thread_local char text[256];
    unsigned long code = ERR_peek_last_error();
    if (code)
        ERR_error_string_n(code, text, sizeof text);
    else
        snprintf(text, sizeof text, "no reason given");
    ERR_clear_error();
    return text;
}

/* ---- files ---- */

static void bio_cleanup(BIO **bio)
{
    BIO_free_all(*bio);
}

static BIO *open_pem(const char *path, struct error *err)
{
    BIO *bio = BIO_new_file(path, "re");
    if (!bio)
        fail_text(err, ERR_IO, "open %s", path);
    ERR_clear_error();
    return bio;
}

enum status certificate_load(const char *certificate_file, const char *key_file, X509 **out_certificate,
                             EVP_PKEY **out_key, struct error *err)
{
    *out_certificate = NULL;
    *out_key = NULL;
    CLEANUP(bio_cleanup) BIO *bio = open_pem(certificate_file, err);
    if (!bio)
        return ERR_IO;
    *out_certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    if (!*out_certificate)
        return fail(err, ERR_FORMAT, "%s: no certificate in PEM form: %s", certificate_file, openssl_reason());
    CLEANUP(bio_cleanup) BIO *key_bio = open_pem(key_file, err);
    if (!key_bio)
        return ERR_IO;
    char nothing[] = ""; /* a passphrase that is never right: nobody is asked for one */
    *out_key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, nothing);
    if (!*out_key)
        return fail(err, ERR_FORMAT, "%s: no key in PEM form without passphrase: %s", key_file, openssl_reason());
    return OK;
}

enum status own_directory(const char *path, int *out_lock, struct error *err)
{
    *out_lock = -1;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return fail(err, ERR_IO, "create %s", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, ERR_IO, "open %s", path);
    while (flock(fd, LOCK_EX) != 0)
        if (errno != EINTR) {
            fail_text(err, ERR_IO, "lock %s", path);
            close(fd);
            return ERR_IO;
        }
    *out_lock = fd;
    return OK;
}

static bool write_whole(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        data += written;
        size -= (size_t)written;
    }
    return true;
}

enum status write_private(const char *directory, const char *name, const void *data, size_t size, struct error *err)
{
    char temporary[PATH_MAX], path[PATH_MAX];
    int a = snprintf(temporary, sizeof temporary, "%s/%s.tmp_XXXXXX", directory, name);
    int b = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (a < 0 || b < 0 || (size_t)a >= sizeof temporary)
        return fail(err, ERR_LIMIT, "%.200s...: path is too long", directory);
    int fd = mkostemp(temporary, O_CLOEXEC); /* with mode 0600 */
    if (fd < 0)
        return fail(err, ERR_IO, "create %s", temporary);
    bool written = write_whole(fd, data, size);
    written = close(fd) == 0 && written;
    if (written && rename(temporary, path) == 0)
        return OK;
    fail_text(err, ERR_IO, "write %s", path);
    unlink(temporary);
    return ERR_IO;
}

/* ---- making ---- */

static bool add_extension(X509 *certificate, X509V3_CTX *context, int id, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, context, id, value);
    bool added = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

static bool set_serial(X509 *certificate)
{
    uint8_t bytes[SERIAL_SIZE];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] &= 0x7f;
    bytes[0] |= 0x40; /* positive, of full length */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return set;
}

static X509 *make_certificate(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    if (!certificate)
        return NULL;
    X509_NAME *name = X509_get_subject_name(certificate);
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    bool good =
        X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
        X509_gmtime_adj(X509_getm_notBefore(certificate), -24L * 3600) &&
        X509_gmtime_adj(X509_getm_notAfter(certificate), VALID_DAYS * 24L * 3600) &&
        X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"pxarbench serve", -1, -1, 0) == 1 &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0) == 1 &&
        X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
        add_extension(certificate, &context, NID_subject_key_identifier, "hash") &&
        add_extension(certificate, &context, NID_basic_constraints, "critical,CA:FALSE") &&
        add_extension(certificate, &context, NID_ext_key_usage, "serverAuth") &&
        add_extension(certificate, &context, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1") &&
        X509_sign(certificate, key, EVP_sha256()) > 0;
    if (good)
        return certificate;
    X509_free(certificate);
    return NULL;
}

static enum status write_key(const char *directory, EVP_PKEY *key, struct error *err)
{
    CLEANUP(bio_cleanup) BIO *bio = BIO_new(BIO_s_secmem());
    char *text;
    if (!bio || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return fail(err, ERR_MEMORY, "out of memory for a key: %s", openssl_reason());
    long size = BIO_get_mem_data(bio, &text);
    return write_private(directory, CERTIFICATE_KEY_NAME, text, (size_t)size, err);
}

static enum status write_certificate(const char *directory, X509 *certificate, struct error *err)
{
    CLEANUP(bio_cleanup) BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    if (!bio || PEM_write_bio_X509(bio, certificate) != 1)
        return fail(err, ERR_MEMORY, "out of memory for a certificate: %s", openssl_reason());
    long size = BIO_get_mem_data(bio, &text);
    return write_private(directory, CERTIFICATE_NAME, text, (size_t)size, err);
}

static void key_cleanup(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static void certificate_cleanup(X509 **certificate)
{
    X509_free(*certificate);
}

static enum status make(const char *directory, struct error *err)
{
    CLEANUP(key_cleanup) EVP_PKEY *key = EVP_EC_gen("P-256");
    CLEANUP(certificate_cleanup) X509 *certificate = key ? make_certificate(key) : NULL;
    if (!certificate)
        return fail(err, ERR_UNSUPPORTED, "OpenSSL cannot make a certificate: %s", openssl_reason());
    TRY(write_key(directory, key, err));
    return write_certificate(directory, certificate, err);
}

enum status certificate_own(const char *directory, X509 **out_certificate, EVP_PKEY **out_key, struct error *err)
{
    char certificate_file[PATH_MAX], key_file[PATH_MAX];
    *out_certificate = NULL;
    *out_key = NULL;
    int lock;
    int a = snprintf(certificate_file, sizeof certificate_file, "%s/" CERTIFICATE_NAME, directory);
    int b = snprintf(key_file, sizeof key_file, "%s/" CERTIFICATE_KEY_NAME, directory);
    if (a < 0 || b < 0 || (size_t)a >= sizeof certificate_file || (size_t)b >= sizeof key_file)
        return fail(err, ERR_LIMIT, "%.200s...: path is too long", directory);
    TRY(own_directory(directory, &lock, err));
    enum status status = OK;
    if (access(certificate_file, F_OK) != 0 || access(key_file, F_OK) != 0)
        status = make(directory, err);
    if (status == OK)
        status = certificate_load(certificate_file, key_file, out_certificate, out_key, err);
    close(lock);
    return status;
}
