#include "pxar/lookup.h"

#include "pxar/dump.h"

#include <openssl/evp.h>
#include <stdlib.h>

enum { CONTENT_PART = 256 * 1024 };

struct digesting {
    EVP_MD_CTX *state;
    uint8_t *part;
};

static void digesting_deinit(struct digesting *d)
{
    EVP_MD_CTX_free(d->state);
    free(d->part);
}

static enum status digest_contents(struct accessor *a, const struct accessor_entry *file, uint8_t out[DUMP_DIGEST_SIZE],
                                   uint64_t *out_size, struct error *err)
{
    CLEANUP(digesting_deinit) struct digesting d = {.state = EVP_MD_CTX_new(), .part = malloc(CONTENT_PART)};
    if (!d.state || !d.part)
        return fail(err, ERR_MEMORY, "out of memory for reading contents");
    if (!EVP_DigestInit_ex(d.state, EVP_sha256(), NULL))
        return fail(err, ERR_UNSUPPORTED, "OpenSSL offers no SHA-256");
    *out_size = 0;
    for (;;) {
        size_t size = 0;
        TRY(accessor_read(a, file, *out_size, d.part, CONTENT_PART, &size, err));
        if (!EVP_DigestUpdate(d.state, d.part, size))
            return fail(err, ERR_UNSUPPORTED, "SHA-256 failed");
        *out_size += size;
        if (size < CONTENT_PART)
            break;
    }
    if (!EVP_DigestFinal_ex(d.state, out, NULL))
        return fail(err, ERR_UNSUPPORTED, "SHA-256 failed");
    return OK;
}

enum status lookup_line(struct accessor *a, const char *path, bool contents, struct buffer *out, struct error *err)
{
    CLEANUP(accessor_entry_deinit) struct accessor_entry found = {0};
    CLEANUP(accessor_entry_deinit) struct accessor_entry followed = {0};
    struct error missing = {0};
    enum status status = accessor_lookup(a, path, &found, &missing);
    if (status == ERR_NOT_FOUND)
        return buffer_append(out, "null", 4, err);
    if (status != OK) {
        if (err)
            *err = missing;
        return status;
    }
    struct dump_lookup lookup = {.range_start = found.range_start, .range_end = found.range_end};
    const struct accessor_entry *file = &found;
    if (found.entry.kind == ENTRY_HARDLINK) {
        TRY(accessor_follow(a, &found, &followed, err));
        lookup.followed = &followed.entry;
        file = &followed;
    }
    uint8_t digest[DUMP_DIGEST_SIZE];
    if (contents && file->entry.kind == ENTRY_FILE) {
        TRY(digest_contents(a, file, digest, &lookup.read_size, err));
        lookup.sha256 = digest;
    }
    return dump_lookup(out, &found.entry, &lookup, err);
}
