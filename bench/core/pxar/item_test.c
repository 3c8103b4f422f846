#include "testing/testing.h"

#include "pxar/item.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/sysmacros.h>

static struct name_hasher *hasher;

static int make_hasher(void **state)
{
    (void)state;
    return name_hasher_new(&hasher, NULL) == OK ? 0 : -1;
}

static int drop_hasher(void **state)
{
    (void)state;
    name_hasher_free(hasher);
    return 0;
}

static void test_constants_are_hashes_of_their_names(void **state)
{
    (void)state;
    static const struct {
        uint64_t type;
        const char *text;
    } constants[] = {
        {PXAR_FORMAT_VERSION, "__PROXMOX_FORMAT_VERSION__"},
        {PXAR_PRELUDE, "__PROXMOX_FORMAT_PRELUDE__"},
        {PXAR_ENTRY, "__PROXMOX_FORMAT_ENTRY_V2__"},
        {PXAR_ENTRY_V1, "__PROXMOX_FORMAT_ENTRY__"},
        {PXAR_FILENAME, "__PROXMOX_FORMAT_FILENAME__"},
        {PXAR_XATTR, "__PROXMOX_FORMAT_XATTR__"},
        {PXAR_ACL_USER, "__PROXMOX_FORMAT_ACL_USER__"},
        {PXAR_ACL_GROUP, "__PROXMOX_FORMAT_ACL_GROUP__"},
        {PXAR_ACL_GROUP_OBJ, "__PROXMOX_FORMAT_ACL_GROUP_OBJ__"},
        {PXAR_ACL_DEFAULT, "__PROXMOX_FORMAT_ACL_DEFAULT__"},
        {PXAR_ACL_DEFAULT_USER, "__PROXMOX_FORMAT_ACL_DEFAULT_USER__"},
        {PXAR_ACL_DEFAULT_GROUP, "__PROXMOX_FORMAT_ACL_DEFAULT_GROUP__"},
        {PXAR_FCAPS, "__PROXMOX_FORMAT_FCAPS__"},
        {PXAR_QUOTA_PROJID, "__PROXMOX_FORMAT_QUOTA_PROJID__"},
        {PXAR_PAYLOAD, "__PROXMOX_FORMAT_PXAR_PAYLOAD__"},
        {PXAR_PAYLOAD_REF, "__PROXMOX_FORMAT_PXAR_PAYLOAD_REF__"},
        {PXAR_SYMLINK, "__PROXMOX_FORMAT_SYMLINK__"},
        {PXAR_DEVICE, "__PROXMOX_FORMAT_DEVICE__"},
        {PXAR_HARDLINK, "__PROXMOX_FORMAT_HARDLINK__"},
        {PXAR_GOODBYE, "__PROXMOX_FORMAT_GOODBYE__"},
        {PXAR_GOODBYE_TAIL_MARKER, "__PROXMOX_FORMAT_PXAR_GOODBYE_TAIL_MARKER__"},
        {PXAR_PAYLOAD_START_MARKER, "__PROXMOX_FORMAT_PXAR_PAYLOAD_START_MARKER__"},
        {PXAR_PAYLOAD_TAIL_MARKER, "__PROXMOX_FORMAT_PXAR_PAYLOAD_TAIL_MARKER__"},
    };
    assert_int_equal(sizeof constants / sizeof *constants, 23);
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        uint64_t hash = name_hash(hasher, constants[i].text, strlen(constants[i].text));
        if (hash != constants[i].type)
            print_error("%s\n", constants[i].text);
        assert_true(hash == constants[i].type);
        assert_true((item_kind_of(hash) != NULL) == (hash != PXAR_GOODBYE_TAIL_MARKER));
    }
    assert_null(item_kind_of(0));
}

static void test_key_is_the_digest_of_its_sentence(void **state)
{
    (void)state;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_size = 0;
    const char *sentence = "PROXMOX ARCHIVE FORMAT";
    assert_int_equal(EVP_Digest(sentence, strlen(sentence), digest, &digest_size, EVP_sha1(), NULL), 1);
    /* k0 and k1 are the first 16 bytes as big-endian numbers; the hash of "" below pins what item.c makes of them. */
    assert_true(hex_equals("83ac3f1cfbb450dbaa4f1b6879369fbd", digest, 16));
}

static void test_name_hashes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t hash;
    } names[] = {
        {"", 0x76614015f8d1bb6c},         {"a", 0x0c26e9067c2c7bcf},          {"f", 0x4376aba4e3d51140},
        {"h", 0xfcb517b2b2698000},        {"l", 0x53720446c9172559},          {"z", 0x5a4b70af3558a9d8},
        {"a.txt", 0xdc392d66b611aa72},    {"file.txt", 0x967764f630c3da14},   {"abcdefg", 0x9d5cbd401ebbb094},
        {"abcdefgh", 0xea82693c92359125}, {"lost+found", 0xedc93cb8247896c7}, {".pxarexclude-cli", 0x046975ce672e09eb},
        {"\xc3\xa4", 0x26b1ec6690696abf},
    };
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            assert_true(name_hash(hasher, names[i].name, strlen(names[i].name)) == names[i].hash);
}

/* Arranges rows whose hash is their sorted index, given in a scrambled order. */
static void arrange(struct goodbye_row *rows, size_t n)
{
    static struct goodbye_row scratch[100000];
    assert_true(n <= sizeof scratch / sizeof *scratch);
    size_t step = 7919; /* prime, so that the walk meets every index */
    for (size_t i = 0, at = 0; i < n; i++, at = (at + step) % (n ? n : 1))
        rows[i] = (struct goodbye_row){.hash = n % step == 0 ? i : at, .offset = i, .size = 2 * i};
    goodbye_arrange(rows, scratch, n);
}

static void test_permutation_table(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        uint8_t order[17];
    } tables[] = {
        {1, {0}},
        {2, {1, 0}},
        {3, {1, 0, 2}},
        {4, {2, 1, 3, 0}},
        {5, {3, 1, 4, 0, 2}},
        {6, {3, 1, 5, 0, 2, 4}},
        {7, {3, 1, 5, 0, 2, 4, 6}},
        {8, {4, 2, 6, 1, 3, 5, 7, 0}},
        {9, {5, 3, 7, 1, 4, 6, 8, 0, 2}},
        {10, {6, 3, 8, 1, 5, 7, 9, 0, 2, 4}},
        {16, {8, 4, 12, 2, 6, 10, 14, 1, 3, 5, 7, 9, 11, 13, 15, 0}},
        {17, {9, 5, 13, 3, 7, 11, 15, 1, 4, 6, 8, 10, 12, 14, 16, 0, 2}},
    };
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        struct goodbye_row rows[17];
        arrange(rows, tables[t].n);
        for (size_t i = 0; i < tables[t].n; i++)
            assert_int_equal(rows[i].hash, tables[t].order[i]);
    }
    goodbye_arrange(NULL, NULL, 0);
}

static void walk_in_order(const struct goodbye_row *rows, size_t n, size_t index, uint64_t *next)
{
    if (index >= n)
        return;
    walk_in_order(rows, n, 2 * index + 1, next);
    assert_int_equal(rows[index].hash, *next);
    ++*next;
    walk_in_order(rows, n, 2 * index + 2, next);
}

static void test_permutation_is_a_search_tree(void **state)
{
    (void)state;
    static struct goodbye_row rows[100000];
    for (size_t n = 1; n <= 1000; n++) {
        arrange(rows, n);
        uint64_t next = 0;
        walk_in_order(rows, n, 0, &next);
        assert_int_equal(next, n);
    }
    arrange(rows, 100000);
    uint64_t next = 0;
    walk_in_order(rows, 100000, 0, &next);
    assert_int_equal(next, 100000);
}

static void test_equal_hashes_keep_archive_order(void **state)
{
    (void)state;
    enum { COUNT = 1023 };
    static struct goodbye_row rows[COUNT], scratch[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        rows[i] = (struct goodbye_row){.hash = 5, .offset = i};
    goodbye_arrange(rows, scratch, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        rows[i].hash = rows[i].offset;
    uint64_t next = 0;
    walk_in_order(rows, COUNT, 0, &next);
}

static void test_names(void **state)
{
    (void)state;
    static char longest[PXAR_NAME_SIZE_MAX + 1];
    memset(longest, 'n', sizeof longest);
    assert_int_equal(member_name_check(longest, PXAR_NAME_SIZE_MAX, ERR_FORMAT, NULL), OK);
    assert_int_equal(member_name_check(longest, PXAR_NAME_SIZE_MAX + 1, ERR_FORMAT, NULL), ERR_FORMAT);
    static const struct {
        const char *name;
        size_t size;
        bool accepted;
    } names[] = {
        {"", 0, false},     {".", 1, false},   {"..", 2, false}, {"a/b", 3, false}, {"/", 1, false},
        {"a\0b", 3, false}, {"a\0", 2, false}, {"...", 3, true}, {".a", 2, true},   {"..a", 3, true},
        {"\\", 1, true},    {"\xff", 1, true}, {" ", 1, true},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct error err = {0};
        enum status expected = names[i].accepted ? OK : ERR_USAGE;
        assert_int_equal(member_name_check(names[i].name, names[i].size, ERR_USAGE, &err), expected);
        assert_true(names[i].accepted == (err.text[0] == '\0'));
    }
}

static void test_attributes_in_stored_order(void **state)
{
    (void)state;
    CLEANUP(attributes_deinit)
    struct attributes a = {
        .stat = {
            .mode = 0100664, .flags = 0x100000, .uid = 1000, .gid = 1000, .mtime_secs = 1700000001, .mtime_nanos = 5}};
    struct attribute_extras *x;
    assert_int_equal(attributes_extras(&a, &x, NULL), OK);
    static const uint8_t caps[20] = {1, 0, 0, 2, 0, 0x20};
    x->has_project_id = true;
    x->project_id = 7;
    x->has_group_obj = true;
    x->group_obj = 4;
    assert_int_equal(attributes_set_fcaps(&a, caps, sizeof caps, NULL), OK);
    assert_int_equal(acl_list_add(&x->groups, 1002, 4, NULL), OK);
    assert_int_equal(acl_list_add(&x->users, 1001, 6, NULL), OK);
    assert_int_equal(attributes_add_xattr(&a, "user.k", 6, (const uint8_t *)"v", 1, NULL), OK);
    CLEANUP(buffer_deinit) struct buffer out = BUFFER_INIT(0);
    assert_int_equal(item_append_attributes(&out, &a, NULL), OK);
    /* pxar.md 15.5, the file `x` from its ENTRY to its QUOTA_PROJID. */
    assert_true(hex_equals("efac88e5746495d53800000000000000b4810000000000000000100000000000"
                           "e8030000e803000001f15365000000000500000000000000"
                           "03cd7db52902ab0d1800000000000000757365722e6b0076"
                           "b8557d450a54e82c2000000000000000e9030000000000000600000000000000"
                           "ab034cb0ce3e6e132000000000000000ea030000000000000400000000000000"
                           "762858e93180861018000000000000000400000000000000"
                           "67fbf7b59ddda92d24000000000000000100000200200000000000000000000000000000"
                           "bb1c7d2fe84075e018000000000000000700000000000000",
                           out.data, out.size));
}

static void test_default_acl_of_a_directory(void **state)
{
    (void)state;
    CLEANUP(attributes_deinit)
    struct attributes a = {.stat = {.mode = 040750, .mtime_secs = 1700000001, .mtime_nanos = 5}};
    struct attribute_extras *x;
    assert_int_equal(attributes_extras(&a, &x, NULL), OK);
    x->has_default = true;
    x->acl_default = (struct acl_default){.user_obj = 7, .group_obj = 5, .other = 0, .mask = ACL_PERM_UNSET};
    assert_int_equal(acl_list_add(&x->default_groups, 1002, 5, NULL), OK);
    assert_int_equal(acl_list_add(&x->default_users, 1001, 7, NULL), OK);
    CLEANUP(buffer_deinit) struct buffer out = BUFFER_INIT(0);
    assert_int_equal(item_append_attributes(&out, &a, NULL), OK);
    assert_true(hex_equals("efac88e5746495d53800000000000000e8410000000000000000000000000000"
                           "000000000000000001f15365000000000500000000000000"
                           "f596685a4113bbbb3000000000000000"
                           "070000000000000005000000000000000000000000000000ffffffffffffffff"
                           "1fcd3205b45793c82000000000000000e9030000000000000700000000000000"
                           "fe8f0316588a0af92000000000000000ea030000000000000500000000000000",
                           out.data, out.size));
}

static void test_times(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer out = BUFFER_INIT(0);
    struct attributes a = {.stat = {.mode = 0100644, .mtime_secs = -305112601, .mtime_nanos = 999000000}};
    assert_int_equal(item_append_attributes(&out, &a, NULL), OK);
    assert_true(hex_equals("e759d0edffffffffc0878b3b00000000", out.data + 40, 16));
    struct stat_record read;
    item_load_entry(out.data + ITEM_HEADER_SIZE, &read);
    assert_int_equal(read.mtime_secs, -305112601);
    assert_int_equal(read.mtime_nanos, 999000000);
    a.stat.mtime_nanos = 1000000000;
    assert_int_equal(item_append_attributes(&out, &a, NULL), ERR_USAGE);

    uint8_t v1[32] = {0};
    store_u64le(v1, 0100644);
    store_u64le(v1 + 24, 1430487000000000000);
    item_load_entry_v1(v1, &read);
    assert_int_equal(read.mode, 0100644);
    assert_int_equal(read.mtime_secs, 1430487000);
    assert_int_equal(read.mtime_nanos, 0);
}

static void test_contents_over_the_bound(void **state)
{
    (void)state;
    static uint8_t big[PXAR_XATTR_CONTENT_MAX];
    CLEANUP(buffer_deinit) struct buffer out = BUFFER_INIT(0);
    CLEANUP(attributes_deinit) struct attributes a = {.stat = {.mode = 0100644}};
    assert_int_equal(attributes_add_xattr(&a, "user.v", 6, big, PXAR_XATTR_CONTENT_MAX - 7, NULL), OK);
    assert_int_equal(item_append_attributes(&out, &a, NULL), OK);
    assert_int_equal(out.size, 56 + 16 + PXAR_XATTR_CONTENT_MAX);
    assert_int_equal(attributes_add_xattr(&a, "user.w", 6, big, PXAR_XATTR_CONTENT_MAX - 6, NULL), OK);
    assert_int_equal(item_append_attributes(&out, &a, NULL), ERR_LIMIT);
}

/* The format's split of device numbers (5.13) is the C library's, which readers and writers use. */
static void test_device_numbers(void **state)
{
    (void)state;
    static const uint64_t devices[] = {0x0103, 0xabcd1dcba5623478, 0, UINT64_MAX, 0x00fff0ff, 0xfffff000000fff00};
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        uint64_t d = devices[i];
        uint64_t major_number = ((d >> 8) & 0xfff) | ((d >> 32) & 0xfffff000);
        uint64_t minor_number = (d & 0xff) | ((d >> 12) & 0xffffff00);
        assert_int_equal(major(d), major_number);
        assert_int_equal(minor(d), minor_number);
        assert_true(makedev((unsigned)major_number, (unsigned)minor_number) == d);
    }
    assert_int_equal(major(devices[0]), 1);
    assert_int_equal(minor(devices[0]), 3);
    assert_int_equal(major(devices[1]), 0xabcd1234);
    assert_int_equal(minor(devices[1]), 0xdcba5678);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constants_are_hashes_of_their_names),
        cmocka_unit_test(test_key_is_the_digest_of_its_sentence),
        cmocka_unit_test(test_name_hashes),
        cmocka_unit_test(test_permutation_table),
        cmocka_unit_test(test_permutation_is_a_search_tree),
        cmocka_unit_test(test_equal_hashes_keep_archive_order),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_attributes_in_stored_order),
        cmocka_unit_test(test_default_acl_of_a_directory),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_contents_over_the_bound),
        cmocka_unit_test(test_device_numbers),
    };
    return cmocka_run_group_tests(tests, make_hasher, drop_hasher);
}
