/* Certificates and keys of a server: from files, or made here: P-256, signed by itself, for localhost and the loopback
 * addresses, ten years.
 * Source: bench/spec/protocol.md 14.1. */
#ifndef PXB_SERVER_CERTIFICATE_H
#define PXB_SERVER_CERTIFICATE_H

#include "base/status.h"

#include <openssl/x509.h>

#define CERTIFICATE_NAME "certificate.pem"
#define CERTIFICATE_KEY_NAME "key.pem"

/* The caller frees both. ERR_NOT_FOUND, ERR_IO, ERR_FORMAT. */
MUST_CHECK enum status certificate_load(const char *certificate_file, const char *key_file, X509 **out_certificate,
                                        EVP_PKEY **out_key, struct error *err);
/* Those in `directory`; made there first if one is missing. The directory gets mode 0700, the key 0600. */
MUST_CHECK enum status certificate_own(const char *directory, X509 **out_certificate, EVP_PKEY **out_key,
                                       struct error *err);
/* The directory `path`, made with mode 0700 if it is missing, and locked until *out_lock is closed: what is made in it
 * is made once, however many servers start. */
MUST_CHECK enum status own_directory(const char *path, int *out_lock, struct error *err);
/* What OpenSSL says that went wrong last; empties its queue. Valid until the thread's next call. */
const char *openssl_reason(void);

/* A file that only its owner reads, whole or not at all, replacing what is there. For keys and tokens. */
MUST_CHECK enum status write_private(const char *directory, const char *name, const void *data, size_t size,
                                     struct error *err);

#endif
