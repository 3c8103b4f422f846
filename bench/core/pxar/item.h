/* Items of a pxar stream: constants, header, and one reader and one writer per record.
 * Pure. Source: bench/spec/pxar.md 2 to 9; the constants are checked against their derivation in item_test.c. */
#ifndef PXB_PXAR_ITEM_H
#define PXB_PXAR_ITEM_H

#include "attr/attributes.h"
#include "base/buffer.h"

#define PXAR_FORMAT_VERSION UINT64_C(0x730f6c75df16a40d)
#define PXAR_PRELUDE UINT64_C(0xe309d79d9f7b771b)
#define PXAR_ENTRY UINT64_C(0xd5956474e588acef)
#define PXAR_ENTRY_V1 UINT64_C(0x11da850a1c1cceff)
#define PXAR_FILENAME UINT64_C(0x16701121063917b3)
#define PXAR_XATTR UINT64_C(0x0dab0229b57dcd03)
#define PXAR_ACL_USER UINT64_C(0x2ce8540a457d55b8)
#define PXAR_ACL_GROUP UINT64_C(0x136e3eceb04c03ab)
#define PXAR_ACL_GROUP_OBJ UINT64_C(0x10868031e9582876)
#define PXAR_ACL_DEFAULT UINT64_C(0xbbbb13415a6896f5)
#define PXAR_ACL_DEFAULT_USER UINT64_C(0xc89357b40532cd1f)
#define PXAR_ACL_DEFAULT_GROUP UINT64_C(0xf90a8a5816038ffe)
#define PXAR_FCAPS UINT64_C(0x2da9dd9db5f7fb67)
#define PXAR_QUOTA_PROJID UINT64_C(0xe07540e82f7d1cbb)
#define PXAR_PAYLOAD UINT64_C(0x28147a1b0b7c1a25)
#define PXAR_PAYLOAD_REF UINT64_C(0x419d3d6bc4ba977e)
#define PXAR_SYMLINK UINT64_C(0x27f971e7dbf5dc5f)
#define PXAR_DEVICE UINT64_C(0x9fc9e906586d5ce9)
#define PXAR_HARDLINK UINT64_C(0x51269c8422bd7275)
#define PXAR_GOODBYE UINT64_C(0x2fec4fa642d5731d)
#define PXAR_GOODBYE_TAIL_MARKER UINT64_C(0xef5eed5b753e1555)
#define PXAR_PAYLOAD_START_MARKER UINT64_C(0x834c68c2194a4ed2)
#define PXAR_PAYLOAD_TAIL_MARKER UINT64_C(0x6c72b78b984c81b5)

enum {
    ITEM_HEADER_SIZE = 16,
    PXAR_NAME_SIZE_MAX = 4096,   /* without the terminator */
    PXAR_TARGET_SIZE_MAX = 4096, /* symlink target, hardlink path */
    PXAR_XATTR_CONTENT_MAX = 65791,
    PXAR_GOODBYE_ROW_SIZE = 24,
    PXAR_PRELUDE_SIZE_MAX = 64 * 1024 * 1024, /* ours: the format has none */
    PXAR_DEPTH_MAX = 4096,
};

struct item_header {
    uint64_t type;
    uint64_t full_size; /* includes these 16 bytes */
};

struct goodbye_row {
    uint64_t hash;
    uint64_t offset;
    uint64_t size;
};

/* What the format says about an item: its name for errors and the bounds of its content (3, 11). */
struct item_kind {
    const char *name;
    uint64_t content_min;
    uint64_t content_max;
};
/* NULL: no item of this type exists. */
const struct item_kind *item_kind_of(uint64_t type);

/* SipHash-2-4 of a member name (9.1), by OpenSSL's MAC; a hasher is reusable and not thread-safe. */
struct name_hasher;
MUST_CHECK enum status name_hasher_new(struct name_hasher **out, struct error *err);
void name_hasher_free(struct name_hasher *h);
uint64_t name_hash(struct name_hasher *h, const char *name, size_t size);

/* Sorts by hash and permutes into search-tree order (9.3, 9.4), in place; `scratch` has room for `count` rows. */
void goodbye_arrange(struct goodbye_row *rows, struct goodbye_row *scratch, size_t count);

/* ERR_USAGE/ERR_FORMAT by `status`: empty, ".", "..", '/', NUL inside, too long. */
MUST_CHECK enum status member_name_check(const char *name, size_t size, enum status status, struct error *err);

/* Relative to the root, of member names only: nothing a reader could be led astray by. Status as above. */
MUST_CHECK enum status hardlink_path_check(const char *path, size_t size, enum status status, struct error *err);

/* Appends header and content. */
MUST_CHECK enum status item_append_header(struct buffer *out, uint64_t type, uint64_t content_size, struct error *err);
/* ENTRY and all attribute items in stored order (4). ERR_USAGE for nanoseconds out of range, ERR_LIMIT for contents
 * over the item's bound. */
MUST_CHECK enum status item_append_attributes(struct buffer *out, const struct attributes *a, struct error *err);
/* FILENAME; the name was checked. */
MUST_CHECK enum status item_append_filename(struct buffer *out, const char *name, size_t size, struct error *err);

/* Readers of the fixed-size records: `content` has the size that item_kind_of demands. The time is as stored: callers
 * check the nanoseconds. */
void item_load_entry(const uint8_t *content, struct stat_record *out);
void item_load_entry_v1(const uint8_t *content, struct stat_record *out);
struct goodbye_row item_load_goodbye_row(const uint8_t *content);

#endif
