/* Which texts are names: datastores, archives, users, hosts, digests, fingerprints.
 * Pure. Texts come with their length, so that a NUL inside is a character like any other (and never allowed).
 * Source: bench/spec/protocol.md 2.1. */
#ifndef PXB_WIRE_NAMES_H
#define PXB_WIRE_NAMES_H

#include "base/status.h"

enum {
    NAME_DATASTORE_MIN = 3,
    NAME_DATASTORE_MAX = 32,
    NAME_FILE_MAX = 200,
    NAME_BACKUP_ID_MAX = 128,
    NAME_NAMESPACE_MAX = 256,
    NAME_NAMESPACE_DEPTH_MAX = 7,
    NAME_USER_ID_MAX = 64,
    NAME_TOKEN_MIN = 1, /* 3 where tokens are made (2.1), but the transcript of 17 has one of 2 */
    NAME_TOKEN_MAX = 64,
    NAME_AUTH_ID_MAX = NAME_USER_ID_MAX + 1 + NAME_TOKEN_MAX,
    CERTIFICATE_FINGERPRINT_SIZE = 32,
    CERTIFICATE_FINGERPRINT_TEXT_SIZE = 3 * CERTIFICATE_FINGERPRINT_SIZE, /* 95 characters and NUL */
};

/* [A-Za-z0-9_][A-Za-z0-9._-]*: no separator, neither "." nor "..". */
bool name_is_safe(const char *text, size_t size);
bool name_is_datastore(const char *text, size_t size);
/* A file of a snapshot: safe, not too long, with a known extension. */
bool name_is_archive(const char *text, size_t size);
/* With this extension (".didx", ".fidx", ".blob"), and something before it. */
bool name_has_extension(const char *text, size_t size, const char *extension);
bool name_is_backup_type(const char *text, size_t size);
bool name_is_backup_id(const char *text, size_t size);
/* Root ("") or up to seven safe names joined by '/'. */
bool name_is_namespace(const char *text, size_t size);
/* Lower-case hexadecimal, 64 digits. */
bool name_is_digest(const char *text, size_t size);
/* 64 hexadecimal digits of either case. */
bool name_is_csum(const char *text, size_t size);
bool name_is_user_id(const char *text, size_t size);
bool name_is_token_id(const char *text, size_t size);
bool name_is_auth_id(const char *text, size_t size); /* a user or a token */
/* IPv4 address, DNS name, or IPv6 address in brackets. */
bool name_is_host(const char *text, size_t size);

/* Where a token's name begins in `auth_id` (behind the '!'); `size` when it names a user. */
size_t name_token_offset(const char *auth_id, size_t size);

/* "ab:cd:...", 32 pairs of either case. ERR_USAGE, with what is wrong, for anything else. */
MUST_CHECK enum status certificate_fingerprint_parse(const char *text, uint8_t out[CERTIFICATE_FINGERPRINT_SIZE],
                                                     struct error *err);
const char *certificate_fingerprint_text(const uint8_t fingerprint[CERTIFICATE_FINGERPRINT_SIZE],
                                         char out[CERTIFICATE_FINGERPRINT_TEXT_SIZE]);

#endif
