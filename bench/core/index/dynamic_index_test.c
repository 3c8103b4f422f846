#include "testing/testing.h"

#include "index/dynamic_index.h"

#include <string.h>

/* bench/spec/datastore.md 2: two chunks, "chunk one" and "chunk two". */
static const char header_hex[] = "1c914ea519bab3cd0011223344556677"
                                 "8899aabbccddeeff00f1536500000000"
                                 "0eeedf4c9db4bb1f0575855fb9ec7880"
                                 "a29bfc047f4218d8b2a30d1de30aaa3f";
static const char entries_hex[] = "0900000000000000f54ac4fc59ff7f7010e4d2433baf48beee4300b92a58b92e15b80b6472f440ff"
                                  "1200000000000000eb265761503b8cd85507a537280b019a6a812bbdea2880122768cbbc5861b865";

enum { EXAMPLE_SIZE = INDEX_HEADER_SIZE + 2 * DYNAMIC_ENTRY_SIZE };

static struct index_entry entry(uint64_t end, const char *content)
{
    struct index_entry e = {.end = end};
    digest_of(content, strlen(content), &e.digest);
    return e;
}

static void example_bytes(uint8_t out[EXAMPLE_SIZE])
{
    struct index_entry entries[] = {entry(9, "chunk one"), entry(18, "chunk two")};
    struct dynamic_index index = {.entries = entries, .count = 2, .header.ctime = 1700000000};
    for (size_t i = 0; i < 16; i++)
        index.header.uuid[i] = (uint8_t)(0x11 * i);
    dynamic_index_csum(&index, &index.header.csum);
    dynamic_index_header_bytes(&index.header, out);
    for (size_t k = 0; k < 2; k++)
        dynamic_index_entry_bytes(&entries[k], out + INDEX_HEADER_SIZE + k * DYNAMIC_ENTRY_SIZE);
}

static void test_writes_the_example_of_the_specification(void **state)
{
    (void)state;
    uint8_t bytes[EXAMPLE_SIZE];
    example_bytes(bytes);
    assert_true(hex_equals(header_hex, bytes, 64));
    for (size_t i = 64; i < INDEX_HEADER_SIZE; i++)
        assert_int_equal(bytes[i], 0);
    assert_true(hex_equals(entries_hex, bytes + INDEX_HEADER_SIZE, 2 * DYNAMIC_ENTRY_SIZE));
    assert_string_equal(sha256_hex(bytes, sizeof bytes),
                        "2c2232bca1383b799d9cf0bdd58feac6d506b4d939a32762d0dd028298b97b54");
}

static void test_magic_is_the_digest_of_its_text(void **state)
{
    (void)state;
    static const char text[] = "Proxmox Backup dynamic sized chunk index v1.0";
    uint8_t bytes[EXAMPLE_SIZE];
    struct digest digest;
    digest_of(text, strlen(text), &digest);
    example_bytes(bytes);
    assert_memory_equal(bytes, digest.bytes, 8);
}

static void test_reads_what_it_writes(void **state)
{
    (void)state;
    uint8_t bytes[EXAMPLE_SIZE];
    example_bytes(bytes);
    struct dynamic_index index;
    assert_int_equal(dynamic_index_parse(bytes, sizeof bytes, "x", &index, NULL), OK);
    assert_int_equal(index.count, 2);
    assert_int_equal(index.header.ctime, 1700000000);
    assert_int_equal(index.header.uuid[15], 0xff);
    assert_int_equal(dynamic_index_size(&index), 18);
    assert_int_equal(dynamic_index_start(&index, 1), 9);
    assert_int_equal(dynamic_index_chunk_size(&index, 0), 9);
    assert_int_equal(dynamic_index_chunk_size(&index, 1), 9);
    struct digest csum;
    dynamic_index_csum(&index, &csum);
    assert_true(digest_equal(&csum, &index.header.csum));

    struct dynamic_index again = index;
    uint8_t copy[EXAMPLE_SIZE];
    dynamic_index_header_bytes(&again.header, copy);
    for (size_t k = 0; k < again.count; k++)
        dynamic_index_entry_bytes(&again.entries[k], copy + INDEX_HEADER_SIZE + k * DYNAMIC_ENTRY_SIZE);
    assert_memory_equal(copy, bytes, sizeof bytes);
    dynamic_index_deinit(&index);
    dynamic_index_deinit(&index); /* empty is fine */
}

static void test_csum_changes_with_any_entry_byte(void **state)
{
    (void)state;
    uint8_t bytes[EXAMPLE_SIZE];
    example_bytes(bytes);
    struct dynamic_index index;
    assert_int_equal(dynamic_index_parse(bytes, sizeof bytes, "x", &index, NULL), OK);
    struct digest csum, changed;
    dynamic_index_csum(&index, &csum);
    index.entries[1].digest.bytes[31] ^= 1;
    dynamic_index_csum(&index, &changed);
    assert_false(digest_equal(&csum, &changed));
    index.entries[1].digest.bytes[31] ^= 1;
    index.entries[0].end ^= 1;
    dynamic_index_csum(&index, &changed);
    assert_false(digest_equal(&csum, &changed));
    dynamic_index_deinit(&index);
}

static void test_csum_of_many_entries_is_the_hash_of_their_bytes(void **state)
{
    (void)state;
    enum { COUNT = 1000 }; /* several batches and a part */
    uint8_t *bytes = make_constant(COUNT * DYNAMIC_ENTRY_SIZE, 0);
    struct index_entry *entries = calloc(COUNT, sizeof *entries);
    assert_non_null(entries);
    for (size_t k = 0; k < COUNT; k++) {
        entries[k].end = 7 * (k + 1);
        digest_of(&k, sizeof k, &entries[k].digest);
        dynamic_index_entry_bytes(&entries[k], bytes + k * DYNAMIC_ENTRY_SIZE);
    }
    struct dynamic_index index = {.entries = entries, .count = COUNT};
    struct digest csum, wanted;
    dynamic_index_csum(&index, &csum);
    digest_of(bytes, COUNT * DYNAMIC_ENTRY_SIZE, &wanted);
    assert_true(digest_equal(&csum, &wanted));
    free(entries);
    free(bytes);
}

static void reject(const uint8_t *bytes, size_t size, enum status status, const char *part)
{
    struct dynamic_index index;
    struct error err = {0};
    assert_int_equal(dynamic_index_parse(bytes, size, "a.didx", &index, &err), status);
    assert_non_null(strstr(err.text, part));
    assert_non_null(strstr(err.text, "a.didx"));
    assert_null(index.entries);
}

static void test_rejects_what_is_not_an_index(void **state)
{
    (void)state;
    uint8_t bytes[EXAMPLE_SIZE + 1] = {0};
    example_bytes(bytes);
    reject(bytes, 0, ERR_NOT_ARCHIVE, "magic");
    reject(bytes, 7, ERR_NOT_ARCHIVE, "magic");
    reject(bytes, 8, ERR_FORMAT, "header");
    reject(bytes, INDEX_HEADER_SIZE - 1, ERR_FORMAT, "header");
    reject(bytes, INDEX_HEADER_SIZE, ERR_FORMAT, "no entries");
    reject(bytes, EXAMPLE_SIZE - 1, ERR_FORMAT, "multiple of 40");
    reject(bytes, EXAMPLE_SIZE + 1, ERR_FORMAT, "multiple of 40");
    bytes[7] ^= 1;
    reject(bytes, EXAMPLE_SIZE, ERR_NOT_ARCHIVE, "magic");
}

static void test_rejects_ends_that_do_not_grow(void **state)
{
    (void)state;
    uint8_t bytes[EXAMPLE_SIZE];
    example_bytes(bytes);
    store_u64le(bytes + INDEX_HEADER_SIZE + DYNAMIC_ENTRY_SIZE, 9);
    reject(bytes, sizeof bytes, ERR_FORMAT, "entry 1 at offset 4136");
    store_u64le(bytes + INDEX_HEADER_SIZE + DYNAMIC_ENTRY_SIZE, 8);
    reject(bytes, sizeof bytes, ERR_FORMAT, "entry 1");
    store_u64le(bytes + INDEX_HEADER_SIZE, 0);
    reject(bytes, sizeof bytes, ERR_FORMAT, "entry 0");
    store_u64le(bytes + INDEX_HEADER_SIZE, UINT64_MAX);
    reject(bytes, sizeof bytes, ERR_FORMAT, "entry 1");
}

static void test_finds_every_offset_with_any_hint(void **state)
{
    (void)state;
    struct index_entry entries[] = {{.end = 3}, {.end = 4}, {.end = 10}, {.end = 11}, {.end = 20}, {.end = 23}};
    enum { COUNT = sizeof entries / sizeof *entries };
    for (size_t count = 1; count <= COUNT; count++) {
        struct dynamic_index index = {.entries = entries, .count = count};
        uint64_t size = dynamic_index_size(&index);
        const size_t wild[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2, 1000};
        for (uint64_t offset = 0; offset < size; offset++) {
            size_t wanted = 0;
            while (entries[wanted].end <= offset)
                wanted++;
            for (size_t hint = 0; hint < COUNT + 4; hint++) {
                size_t found = SIZE_MAX;
                assert_int_equal(dynamic_index_find(&index, offset, hint, &found, NULL), OK);
                assert_int_equal(found, wanted);
            }
            for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
                size_t found = SIZE_MAX;
                assert_int_equal(dynamic_index_find(&index, offset, wild[i], &found, NULL), OK);
                assert_int_equal(found, wanted);
            }
        }
        struct error err = {0};
        size_t found;
        assert_int_equal(dynamic_index_find(&index, size, 0, &found, &err), ERR_NOT_FOUND);
        assert_int_equal(dynamic_index_find(&index, UINT64_MAX, 0, &found, &err), ERR_NOT_FOUND);
    }
    struct dynamic_index empty = {0};
    size_t found;
    assert_int_equal(dynamic_index_find(&empty, 0, 0, &found, NULL), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_the_example_of_the_specification),
        cmocka_unit_test(test_magic_is_the_digest_of_its_text),
        cmocka_unit_test(test_reads_what_it_writes),
        cmocka_unit_test(test_csum_changes_with_any_entry_byte),
        cmocka_unit_test(test_csum_of_many_entries_is_the_hash_of_their_bytes),
        cmocka_unit_test(test_rejects_what_is_not_an_index),
        cmocka_unit_test(test_rejects_ends_that_do_not_grow),
        cmocka_unit_test(test_finds_every_offset_with_any_hint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
