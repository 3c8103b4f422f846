#include "testing/testing.h"

#include "index/fixed_index.h"

#include <string.h>

/* bench/spec/datastore.md 3: an image of 5 MiB, digests of "chunk one" and "chunk two". */
static const char header_hex[] = "2f7f41ed91fd0fcd0011223344556677"
                                 "8899aabbccddeeff00f1536500000000"
                                 "981d74131ec1f74ca4d51fea3f9ca227"
                                 "18ca5fdbeebeb1063d8da4a3eb260a4f"
                                 "00005000000000000000400000000000";

enum { FIELDS_SIZE = 80, EXAMPLE_SIZE = INDEX_HEADER_SIZE + 2 * FIXED_ENTRY_SIZE, IMAGE_SIZE = 5242880 };

static void example_bytes(uint8_t out[EXAMPLE_SIZE])
{
    struct digest digests[2];
    digest_of("chunk one", 9, &digests[0]);
    digest_of("chunk two", 9, &digests[1]);
    struct fixed_index index = {.digests = digests, .count = 2, .header.ctime = 1700000000};
    for (size_t i = 0; i < 16; i++)
        index.header.uuid[i] = (uint8_t)(0x11 * i);
    fixed_index_csum(&index, &index.header.csum);
    fixed_index_header_bytes(&index.header, IMAGE_SIZE, FIXED_CHUNK_SIZE_DEFAULT, out);
    memcpy(out + INDEX_HEADER_SIZE, digests, sizeof digests);
}

static void test_writes_the_example_of_the_specification(void **state)
{
    (void)state;
    uint8_t bytes[EXAMPLE_SIZE];
    example_bytes(bytes);
    assert_true(hex_equals(header_hex, bytes, FIELDS_SIZE));
    for (size_t i = FIELDS_SIZE; i < INDEX_HEADER_SIZE; i++)
        assert_int_equal(bytes[i], 0);
    assert_string_equal(sha256_hex(bytes, sizeof bytes),
                        "960aea37d0aa3c6445a6fc2b70486d46747189745f2d03340b0366e6c83e1ddb");
}

static void test_magic_is_the_digest_of_its_text(void **state)
{
    (void)state;
    static const char text[] = "Proxmox Backup fixed sized chunk index v1.0";
    uint8_t bytes[EXAMPLE_SIZE];
    struct digest digest;
    digest_of(text, strlen(text), &digest);
    example_bytes(bytes);
    assert_memory_equal(bytes, digest.bytes, 8);
}

static void test_reads_what_it_writes(void **state)
{
    (void)state;
    uint8_t bytes[EXAMPLE_SIZE], copy[EXAMPLE_SIZE];
    example_bytes(bytes);
    struct fixed_index index;
    assert_int_equal(fixed_index_parse(bytes, sizeof bytes, "x", &index, NULL), OK);
    assert_int_equal(index.count, 2);
    assert_int_equal(index.size, IMAGE_SIZE);
    assert_int_equal(index.chunk_size, FIXED_CHUNK_SIZE_DEFAULT);
    assert_int_equal(index.header.ctime, 1700000000);
    assert_int_equal(index.header.uuid[15], 0xff);
    assert_int_equal(fixed_index_chunk_size(&index, 0), 4 << 20);
    assert_int_equal(fixed_index_chunk_size(&index, 1), 1 << 20);
    struct digest csum;
    fixed_index_csum(&index, &csum);
    assert_true(digest_equal(&csum, &index.header.csum));

    fixed_index_header_bytes(&index.header, index.size, index.chunk_size, copy);
    memcpy(copy + INDEX_HEADER_SIZE, index.digests, 2 * FIXED_ENTRY_SIZE);
    assert_memory_equal(copy, bytes, sizeof bytes);
    fixed_index_deinit(&index);
    fixed_index_deinit(&index); /* empty is fine */
}

static void test_csum_changes_with_any_entry_byte(void **state)
{
    (void)state;
    uint8_t bytes[EXAMPLE_SIZE];
    example_bytes(bytes);
    struct fixed_index index;
    assert_int_equal(fixed_index_parse(bytes, sizeof bytes, "x", &index, NULL), OK);
    for (size_t i = 0; i < 2 * DIGEST_SIZE; i++) {
        struct digest changed;
        index.digests[i / DIGEST_SIZE].bytes[i % DIGEST_SIZE] ^= 1;
        fixed_index_csum(&index, &changed);
        assert_false(digest_equal(&changed, &index.header.csum));
        index.digests[i / DIGEST_SIZE].bytes[i % DIGEST_SIZE] ^= 1;
    }
    fixed_index_deinit(&index);
}

static void test_last_chunk_is_the_rest_or_a_whole_one(void **state)
{
    (void)state;
    uint8_t bytes[EXAMPLE_SIZE];
    example_bytes(bytes);
    static const struct {
        uint64_t size, chunk_size, last;
    } cases[] = {{8192, 4096, 4096}, {8191, 4096, 4095}, {4097, 4096, 1}, {2, 1, 1}, {33554432, 16777216, 16777216}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        store_u64le(bytes + 64, cases[i].size);
        store_u64le(bytes + 72, cases[i].chunk_size);
        struct fixed_index index;
        assert_int_equal(fixed_index_parse(bytes, sizeof bytes, "x", &index, NULL), OK);
        assert_int_equal(index.count, 2);
        assert_int_equal(fixed_index_chunk_size(&index, 0), cases[i].chunk_size);
        assert_int_equal(fixed_index_chunk_size(&index, 1), cases[i].last);
        fixed_index_deinit(&index);
    }
}

static void reject(const uint8_t *bytes, size_t size, enum status status, const char *part)
{
    struct fixed_index index;
    struct error err = {0};
    assert_int_equal(fixed_index_parse(bytes, size, "a.fidx", &index, &err), status);
    if (!strstr(err.text, part))
        assert_string_equal(err.text, part);
    assert_non_null(strstr(err.text, "a.fidx"));
    assert_null(index.digests);
}

static void test_rejects_what_is_not_an_index(void **state)
{
    (void)state;
    uint8_t bytes[EXAMPLE_SIZE + FIXED_ENTRY_SIZE] = {0};
    example_bytes(bytes);
    reject(bytes, 0, ERR_NOT_ARCHIVE, "magic");
    reject(bytes, 7, ERR_NOT_ARCHIVE, "magic");
    reject(bytes, 8, ERR_FORMAT, "header");
    reject(bytes, INDEX_HEADER_SIZE - 1, ERR_FORMAT, "header");
    reject(bytes, INDEX_HEADER_SIZE, ERR_FORMAT, "index size is 4096, 2 chunks");
    reject(bytes, EXAMPLE_SIZE - 1, ERR_FORMAT, "index size is 4159");
    reject(bytes, EXAMPLE_SIZE + 1, ERR_FORMAT, "index size is 4161");
    reject(bytes, EXAMPLE_SIZE + FIXED_ENTRY_SIZE, ERR_FORMAT, "make it 4160");
    bytes[7] ^= 1;
    reject(bytes, EXAMPLE_SIZE, ERR_NOT_ARCHIVE, "magic");
}

static void test_rejects_sizes(void **state)
{
    (void)state;
    uint8_t bytes[EXAMPLE_SIZE];
    example_bytes(bytes);
    static const uint64_t chunk_sizes[] = {0, 3, 4194303, 6291456, UINT64_MAX, (UINT64_C(1) << 63) + 1};
    for (size_t i = 0; i < sizeof chunk_sizes / sizeof *chunk_sizes; i++) {
        store_u64le(bytes + 72, chunk_sizes[i]);
        reject(bytes, sizeof bytes, ERR_FORMAT, "not a power of two");
    }
    store_u64le(bytes + 72, 2 * FIXED_CHUNK_SIZE_MAX);
    reject(bytes, sizeof bytes, ERR_FORMAT, "is above 16777216");
    store_u64le(bytes + 72, UINT64_C(1) << 63);
    reject(bytes, sizeof bytes, ERR_FORMAT, "is above 16777216");
    store_u64le(bytes + 72, FIXED_CHUNK_SIZE_DEFAULT);

    store_u64le(bytes + 64, 0);
    reject(bytes, sizeof bytes, ERR_FORMAT, "offset 64 is 0");
    store_u64le(bytes + 64, FIXED_CHUNK_SIZE_DEFAULT);
    reject(bytes, sizeof bytes, ERR_FORMAT, "1 chunks");
    store_u64le(bytes + 64, 2 * FIXED_CHUNK_SIZE_DEFAULT + 1);
    reject(bytes, sizeof bytes, ERR_FORMAT, "3 chunks");
    store_u64le(bytes + 64, UINT64_MAX); /* nothing of that count is allocated */
    reject(bytes, sizeof bytes, ERR_LIMIT, "at most 268435456");
    store_u64le(bytes + 64, INDEX_ENTRIES_MAX * (uint64_t)FIXED_CHUNK_SIZE_DEFAULT);
    reject(bytes, sizeof bytes, ERR_FORMAT, "268435456 chunks");
}

static void test_slots_follow_the_position_rules(void **state)
{
    (void)state;
    enum { CHUNK = 4, SIZE = 10 };
    for (uint64_t end = 0; end <= SIZE + 5; end++)
        for (uint64_t length = 0; length <= CHUNK + 2; length++) {
            struct error err = {0};
            uint64_t slot = 99;
            enum status status = fixed_index_slot(SIZE, CHUNK, end, length, &slot, &err);
            bool first = end == 4 && length == 4, second = end == 8 && length == 4, last = end == 10 && length == 2;
            assert_int_equal(status, first || second || last ? OK : ERR_FORMAT);
            assert_int_equal(slot, first ? 0 : second ? 1 : last ? 2 : 99);
        }
    uint64_t slot;
    assert_int_equal(fixed_index_slot(8, CHUNK, 8, 4, &slot, NULL), OK); /* no rest: the last one is whole */
    assert_int_equal(fixed_index_slot(8, CHUNK, 2, UINT64_MAX - 1, &slot, NULL), ERR_FORMAT);
    assert_int_equal(fixed_index_slot(2, CHUNK, 2, 2, &slot, NULL), OK);
    assert_int_equal(slot, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_the_example_of_the_specification),
        cmocka_unit_test(test_magic_is_the_digest_of_its_text),
        cmocka_unit_test(test_reads_what_it_writes),
        cmocka_unit_test(test_csum_changes_with_any_entry_byte),
        cmocka_unit_test(test_last_chunk_is_the_rest_or_a_whole_one),
        cmocka_unit_test(test_rejects_what_is_not_an_index),
        cmocka_unit_test(test_rejects_sizes),
        cmocka_unit_test(test_slots_follow_the_position_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
