/* Indexes of earlier snapshots: their chunks become known in a session. Read in pieces, since an index may be large. */
#include "server/call.h"

#include "base/bytes.h"
#include "index/fixed_index.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_ENTRIES = 1024 };

static const uint8_t dynamic_magic[8] = {0x1c, 0x91, 0x4e, 0xa5, 0x19, 0xba, 0xb3, 0xcd};
static const uint8_t fixed_magic[8] = {0x2f, 0x7f, 0x41, 0xed, 0x91, 0xfd, 0x0f, 0xcd};

static enum status read_at(int fd, uint8_t *out, size_t size, uint64_t offset, const char *name, struct error *err)
{
    while (size > 0) {
        ssize_t got = pread(fd, out, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(err, ERR_IO, "read %s at offset %llu", name, (unsigned long long)offset);
        if (got == 0)
            return fail(err, ERR_FORMAT, "%s: ends early at offset %llu", name, (unsigned long long)offset);
        out += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return OK;
}

static enum status register_dynamic(struct known *known, int fd, uint64_t size, const char *name, struct error *err)
{
    uint8_t bytes[PIECE_ENTRIES * DYNAMIC_ENTRY_SIZE];
    uint64_t end = 0;
    if ((size - INDEX_HEADER_SIZE) % DYNAMIC_ENTRY_SIZE != 0)
        return fail(err, ERR_FORMAT, "%s: %llu bytes are no whole number of entries", name, (unsigned long long)size);
    for (uint64_t offset = INDEX_HEADER_SIZE; offset < size;) {
        size_t piece = size - offset < sizeof bytes ? (size_t)(size - offset) : sizeof bytes;
        TRY(read_at(fd, bytes, piece, offset, name, err));
        for (size_t i = 0; i < piece; i += DYNAMIC_ENTRY_SIZE) {
            uint64_t next = load_u64le(bytes + i);
            if (next <= end || next - end > UINT32_MAX)
                return fail(err, ERR_FORMAT, "%s: entry at offset %llu ends at %llu, the one before at %llu", name,
                            (unsigned long long)(offset + i), (unsigned long long)next, (unsigned long long)end);
            struct digest digest;
            memcpy(digest.bytes, bytes + i + 8, DIGEST_SIZE);
            TRY(known_add(known, &digest, (uint32_t)(next - end), err));
            end = next;
        }
        offset += piece;
    }
    return OK;
}

static enum status register_fixed(struct known *known, int fd, uint64_t size, const uint8_t *header, const char *name,
                                  struct error *err)
{
    uint8_t bytes[PIECE_ENTRIES * FIXED_ENTRY_SIZE];
    uint64_t image = load_u64le(header + 64);
    uint64_t chunk = load_u64le(header + 72);
    uint64_t count;
    TRY(fixed_index_count(image, chunk, name, &count, err));
    if (size - INDEX_HEADER_SIZE != count * FIXED_ENTRY_SIZE)
        return fail(err, ERR_FORMAT, "%s: %llu bytes, not what %llu chunks take", name, (unsigned long long)size,
                    (unsigned long long)count);
    uint64_t k = 0;
    for (uint64_t offset = INDEX_HEADER_SIZE; offset < size;) {
        size_t piece = size - offset < sizeof bytes ? (size_t)(size - offset) : sizeof bytes;
        TRY(read_at(fd, bytes, piece, offset, name, err));
        for (size_t i = 0; i < piece; i += FIXED_ENTRY_SIZE, k++) {
            struct digest digest;
            memcpy(digest.bytes, bytes + i, DIGEST_SIZE);
            TRY(known_add(known, &digest, (uint32_t)(k + 1 < count ? chunk : image - k * chunk), err));
        }
        offset += piece;
    }
    return OK;
}

enum status register_index(struct known *known, int fd, uint64_t size, const char *name, struct error *err)
{
    uint8_t header[INDEX_HEADER_SIZE];
    if (size < INDEX_HEADER_SIZE)
        return fail(err, ERR_FORMAT, "%s: %llu bytes are too short for an index", name, (unsigned long long)size);
    TRY(read_at(fd, header, sizeof header, 0, name, err));
    bool is_dynamic = name_has_extension(name, strlen(name), ".didx");
    if (memcmp(header, is_dynamic ? dynamic_magic : fixed_magic, sizeof dynamic_magic) != 0)
        return fail(err, ERR_FORMAT, "%s: this is no index", name);
    return is_dynamic ? register_dynamic(known, fd, size, name, err)
                      : register_fixed(known, fd, size, header, name, err);
}
