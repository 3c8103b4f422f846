/* The worked examples (bench/spec/pxar.md 15) and what tests of this folder share. Tests only. */
#ifndef PXB_PXAR_EXAMPLES_FOR_TEST_H
#define PXB_PXAR_EXAMPLES_FOR_TEST_H

#include "base/buffer.h"
#include "base/hex.h"
#include "base/io.h"
#include "pxar/encoder.h"

#include <string.h>

/* 15.3: an empty root. */
#define EXAMPLE_EMPTY_METADATA                                                                                         \
    "0da416df756c0f7318000000000000000200000000000000efac88e5746495d53800000000000000ed41000000000000"                 \
    "0000000000000000000000000000000000f153650000000000000000000000001d73d542a64fec2f2800000000000000"                 \
    "55153e755bed5eef50000000000000002800000000000000"
#define EXAMPLE_EMPTY_PAYLOAD "d24e4a19c2684c831000000000000000b5814c988bb7726c1000000000000000"
/* 15.4: `a` = "hello\n", `h` hardlink to `a`, `l` symlink to `a`, `z` empty; with a prelude. */
#define EXAMPLE_FILES_METADATA                                                                                         \
    "0da416df756c0f73180000000000000002000000000000001b777b9f9dd709e32c000000000000007b226578636c7564"                 \
    "652d7061747465726e73223a222a2e6f5c6e227defac88e5746495d53800000000000000ed4100000000000000000000"                 \
    "00000000000000000000000000f15365000000000000000000000000b31739062111701612000000000000006100efac"                 \
    "88e5746495d53800000000000000a4810000000000000000000000000000e8030000e803000001f15365000000000500"                 \
    "0000000000007e97bac46b3d9d41200000000000000010000000000000000600000000000000b3173906211170161200"                 \
    "00000000000068007572bd22849c26511a000000000000006a000000000000006100b317390621117016120000000000"                 \
    "00006c00efac88e5746495d53800000000000000ffa10000000000000000000000000000000000000000000001f15365"                 \
    "0000000005000000000000005fdcf5dbe771f92712000000000000006100b31739062111701612000000000000007a00"                 \
    "efac88e5746495d5380000000000000080810000000000000000000000000000000000000000000001f1536500000000"                 \
    "05000000000000007e97bac46b3d9d412000000000000000260000000000000000000000000000001d73d542a64fec2f"                 \
    "8800000000000000d8a95835af704b5a6a000000000000006a00000000000000592517c946047253c600000000000000"                 \
    "5c00000000000000008069b2b217b5fcf2000000000000002c00000000000000cf7b2c7c06e9260c5c01000000000000"                 \
    "700000000000000055153e755bed5eefd8010000000000008800000000000000"
#define EXAMPLE_FILES_PAYLOAD                                                                                          \
    "d24e4a19c2684c831000000000000000251a7c0b1b7a1428160000000000000068656c6c6f0a251a7c0b1b7a14281000"                 \
    "000000000000b5814c988bb7726c1000000000000000"
#define EXAMPLE_FILES_PRELUDE "{\"exclude-patterns\":\"*.o\\n\"}"

/* 15.1: an empty root. */
#define EXAMPLE_EMPTY_UNIFIED                                                                                          \
    "efac88e5746495d53800000000000000ed410000000000000000000000000000000000000000000000f1536500000000"                 \
    "00000000000000001d73d542a64fec2f280000000000000055153e755bed5eef38000000000000002800000000000000"
/* 15.2: `f` = "hi\n". */
#define EXAMPLE_FILE_UNIFIED                                                                                           \
    "efac88e5746495d53800000000000000ed410000000000000000000000000000000000000000000000f1536500000000"                 \
    "0000000000000000b31739062111701612000000000000006600efac88e5746495d53800000000000000a48100000000"                 \
    "00000000000000000000e8030000e803000001f15365000000000500000000000000251a7c0b1b7a1428130000000000"                 \
    "000068690a1d73d542a64fec2f40000000000000004011d5e3a4ab76435d000000000000005d0000000000000055153e"                 \
    "755bed5eef95000000000000004000000000000000"
/* 15.5: directory `d` with a default ACL, device `null`, fifo `p`, file `x` with every attribute. */
#define EXAMPLE_ATTRIBUTES_UNIFIED                                                                                     \
    "efac88e5746495d53800000000000000ed410000000000000000000000000000000000000000000000f1536500000000"                 \
    "0000000000000000b31739062111701612000000000000006400efac88e5746495d53800000000000000e84100000000"                 \
    "00000000000000000000000000000000000001f15365000000000500000000000000f596685a4113bbbb300000000000"                 \
    "0000070000000000000005000000000000000000000000000000ffffffffffffffff1fcd3205b45793c8200000000000"                 \
    "0000e9030000000000000700000000000000fe8f0316588a0af92000000000000000ea03000000000000050000000000"                 \
    "00001d73d542a64fec2f280000000000000055153e755bed5eefa8000000000000002800000000000000b31739062111"                 \
    "701615000000000000006e756c6c00efac88e5746495d53800000000000000b021000000000000000000000000000000"                 \
    "0000000000000001f15365000000000500000000000000e95c6d5806e9c99f2000000000000000010000000000000003"                 \
    "00000000000000b31739062111701612000000000000007000efac88e5746495d5380000000000000080110000000000"                 \
    "000000000000000000000000000000000001f15365000000000500000000000000b31739062111701612000000000000"                 \
    "007800efac88e5746495d53800000000000000b4810000000000000000100000000000e8030000e803000001f1536500"                 \
    "000000050000000000000003cd7db52902ab0d1800000000000000757365722e6b0076b8557d450a54e82c2000000000"                 \
    "000000e9030000000000000600000000000000ab034cb0ce3e6e132000000000000000ea030000000000000400000000"                 \
    "000000762858e9318086101800000000000000040000000000000067fbf7b59ddda92d24000000000000000100000200"                 \
    "200000000000000000000000000000bb1c7d2fe84075e018000000000000000700000000000000251a7c0b1b7a142810"                 \
    "000000000000001d73d542a64fec2f880000000000000005dfd8d6506e19dc0601000000000000060100000000000099"                 \
    "10ab39a9554dce50010000000000004a00000000000000a604a500217499e7bd010000000000006d00000000000000c3"                 \
    "472fbc6c1db6259f02000000000000e20000000000000055153e755bed5eefd7020000000000008800000000000000"

/* Where things are in EXAMPLE_FILE_UNIFIED. */
enum {
    EXAMPLE_F_AT = 0x38,
    EXAMPLE_F_ENTRY_AT = 0x4a,
    EXAMPLE_F_PAYLOAD_AT = 0x82,
    EXAMPLE_F_GOODBYE_AT = 0x95,
};

/* Where things are in EXAMPLE_FILES_METADATA. */
enum {
    EXAMPLE_VERSION_AT = 0,
    EXAMPLE_PRELUDE_AT = 0x18,
    EXAMPLE_ROOT_AT = 0x44,
    EXAMPLE_A_AT = 0x7c,
    EXAMPLE_A_ENTRY_AT = 0x8e,
    EXAMPLE_A_REF_AT = 0xc6,
    EXAMPLE_H_AT = 0xe6,
    EXAMPLE_H_LINK_AT = 0xf8,
    EXAMPLE_L_AT = 0x112,
    EXAMPLE_L_ENTRY_AT = 0x124,
    EXAMPLE_L_LINK_AT = 0x15c,
    EXAMPLE_Z_AT = 0x16e,
    EXAMPLE_Z_REF_AT = 0x1b8,
    EXAMPLE_GOODBYE_AT = 0x1d8,
    EXAMPLE_METADATA_SIZE = 608,
    EXAMPLE_PAYLOAD_SIZE = 70,
};

/* The bytes of a hex text, in a buffer the caller deinits. */
static inline struct buffer bytes_of_hex(const char *hex)
{
    struct buffer b = BUFFER_INIT(0);
    size_t size = strlen(hex) / 2;
    ASSERT(buffer_reserve(&b, size, NULL) == OK);
    ASSERT(hex_decode(hex, 2 * size, b.data, size));
    b.size = size;
    return b;
}

static inline enum status write_to_buffer(void *context, const uint8_t *data, size_t size, struct error *err)
{
    return buffer_append(context, data, size, err);
}
static inline struct sink sink_to_buffer(struct buffer *b)
{
    return (struct sink){.write = write_to_buffer, .context = b};
}

/* A source over bytes that gives at most `piece` of them at once: 0 means pieces of random size. */
struct piece_source {
    const uint8_t *data;
    size_t size;
    size_t position;
    size_t piece;
    uint64_t random;
};
static inline enum status read_piece(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    (void)err;
    struct piece_source *p = context;
    size_t part = p->piece;
    if (part == 0) {
        p->random = p->random * 6364136223846793005U + 1442695040888963407U;
        part = 1 + (size_t)(p->random >> 33) % 97;
    }
    part = part < size ? part : size;
    part = part < p->size - p->position ? part : p->size - p->position;
    if (part > 0)
        memcpy(data, p->data + p->position, part);
    p->position += part;
    *out_size = part;
    return OK;
}
static inline struct source source_over_pieces(struct piece_source *p, const char *name)
{
    return (struct source){.read = read_piece, .context = p, .name = name};
}

#endif
