#include "testing/testing.h"

#include "server/rest_pack.h"

#include <archive.h>
#include <archive_entry.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static struct error err;

static void add(struct pack *p, const char *path, const struct attributes *attributes, const char *contents)
{
    struct pack_member member = {.path = path, .attributes = attributes, .size = strlen(contents)};
    if (pack_add(p, &member, &err) != OK || pack_data(p, (const uint8_t *)contents, strlen(contents), &err) != OK)
        assert_string_equal(err.text, "");
}

static void test_which_files_have_a_place(void **state)
{
    (void)state;
    static const struct {
        uint64_t mode;
        bool in_zip, in_tar;
    } cases[] = {
        {S_IFREG, true, true},  {S_IFDIR, true, true},  {S_IFLNK, true, true},    {S_IFIFO, false, true},
        {S_IFCHR, false, true}, {S_IFBLK, false, true}, {S_IFSOCK, false, false}, {0, false, false},
    };
    struct pack *zip, *tar;
    assert_int_equal(pack_new(PACK_ZIP, &zip, &err), OK);
    assert_int_equal(pack_new(PACK_TAR_ZST, &tar, &err), OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(pack_takes(zip, cases[i].mode | 0644), cases[i].in_zip);
        assert_int_equal(pack_takes(tar, cases[i].mode | 0644), cases[i].in_tar);
    }
    pack_free(zip);
    pack_free(tar);
}

static void test_a_tar_file_keeps_what_it_can(void **state)
{
    (void)state;
    struct attributes file = {
        .stat = {.mode = S_IFREG | 04755, .uid = 12345, .gid = 3000000000, .mtime_secs = -5, .mtime_nanos = 250000000}};
    struct attributes device = {.stat = {.mode = S_IFCHR | 0600, .mtime_secs = 7}};
    assert_int_equal(attributes_add_xattr(&file, "user.note", 9, (const uint8_t *)"a\0b", 3, &err), OK);
    assert_int_equal(attributes_set_fcaps(&file, (const uint8_t *)"caps", 4, &err), OK);
    struct pack *p;
    assert_int_equal(pack_new(PACK_TAR_ZST, &p, &err), OK);
    add(p, "d/file", &file, "contents");
    const struct pack_member null = {.path = "null", .attributes = &device, .major = 1, .minor = 3};
    assert_int_equal(pack_add(p, &null, &err), OK);
    assert_int_equal(pack_finish(p, &err), OK);

    struct archive *a = archive_read_new();
    struct archive_entry *e;
    archive_read_support_format_tar(a);
    archive_read_support_filter_zstd(a);
    const struct buffer *packed = pack_output(p);
    assert_int_equal(archive_read_open_memory(a, packed->data, packed->size), ARCHIVE_OK);
    assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_OK);
    assert_string_equal(archive_entry_pathname(e), "d/file");
    assert_int_equal(archive_entry_mode(e), S_IFREG | 04755);
    assert_int_equal(archive_entry_uid(e), 12345);
    assert_int_equal(archive_entry_gid(e), 3000000000);
    /* 4.75 seconds before the epoch. */
    assert_int_equal(archive_entry_mtime(e), -5);
    assert_int_equal(archive_entry_mtime_nsec(e), 250000000);
    const char *name;
    const void *value;
    size_t size;
    unsigned seen = 0;
    archive_entry_xattr_reset(e);
    while (archive_entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK) {
        if (strcmp(name, "user.note") == 0 && size == 3 && memcmp(value, "a\0b", 3) == 0)
            seen |= 1;
        if (strcmp(name, "security.capability") == 0 && size == 4 && memcmp(value, "caps", 4) == 0)
            seen |= 2;
    }
    assert_int_equal(seen, 3);
    assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_OK);
    assert_int_equal(archive_entry_mode(e), S_IFCHR | 0600);
    assert_int_equal(archive_entry_rdevmajor(e), 1);
    assert_int_equal(archive_entry_rdevminor(e), 3);
    assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_EOF);
    archive_read_free(a);
    pack_free(p);
    attributes_deinit(&file);
}

/* Whatever is missing of a member: nobody waits for it, and nothing leaks. */
static void test_a_packed_file_may_be_given_up_anywhere(void **state)
{
    (void)state;
    const struct attributes file = {.stat = {.mode = S_IFREG | 0644}};
    static const uint8_t block[100000] = {1, 2, 3};
    for (int kind = PACK_ZIP; kind <= PACK_TAR_ZST; kind++)
        for (int step = 0; step < 4; step++) {
            struct timespec begin, end;
            struct pack *p;
            const struct pack_member huge = {.path = "huge", .attributes = &file, .size = UINT64_C(1) << 50};
            assert_int_equal(pack_new((enum pack_kind)kind, &p, &err), OK);
            if (step >= 1)
                add(p, "small", &file, "small");
            if (step >= 2)
                assert_int_equal(pack_add(p, &huge, &err), OK);
            if (step >= 3)
                assert_int_equal(pack_data(p, block, sizeof block, &err), OK);
            clock_gettime(CLOCK_MONOTONIC, &begin);
            pack_free(p);
            clock_gettime(CLOCK_MONOTONIC, &end);
            assert_true(end.tv_sec - begin.tv_sec < 60); /* 2^50 zeros take hours */
        }
}

static void test_sizes_that_no_archive_has_are_refused(void **state)
{
    (void)state;
    const struct attributes file = {.stat = {.mode = S_IFREG | 0644}};
    const struct pack_member member = {.path = "x", .attributes = &file, .size = UINT64_C(1) << 63};
    struct pack *p;
    assert_int_equal(pack_new(PACK_TAR_ZST, &p, &err), OK);
    assert_int_equal(pack_add(p, &member, &err), ERR_FORMAT);
    pack_free(p);
}

/* Of zeros next to nothing is left: still something comes now and then. */
static void test_zeros_come_out_now_and_then(void **state)
{
    (void)state;
    const struct attributes file = {.stat = {.mode = S_IFREG | 0644}};
    const struct pack_member member = {.path = "zeros", .attributes = &file, .size = UINT64_C(1) << 40};
    uint8_t *zeros = make_constant(1 << 20, 0);
    for (int kind = PACK_ZIP; kind <= PACK_TAR_ZST; kind++) {
        struct pack *p;
        assert_int_equal(pack_new((enum pack_kind)kind, &p, &err), OK);
        assert_int_equal(pack_add(p, &member, &err), OK);
        for (int round = 0; round < 2; round++) {
            buffer_clear(pack_output(p));
            for (int i = 0; i < 80 && pack_output(p)->size == 0; i++)
                assert_int_equal(pack_data(p, zeros, 1 << 20, &err), OK);
            assert_true(pack_output(p)->size > 0);
        }
        pack_free(p);
    }
    free(zeros);
}

/* What is packed and not taken has a ceiling: then there is an error, and it stays. */
static void test_output_without_room_is_an_error(void **state)
{
    (void)state;
    const struct attributes file = {.stat = {.mode = S_IFREG | 0644}};
    uint8_t *noise = make_splitmix64(1 << 20, 1);
    for (int kind = PACK_ZIP; kind <= PACK_TAR_ZST; kind++) {
        struct pack *p;
        const struct pack_member member = {.path = "noise", .attributes = &file, .size = 100 << 20};
        assert_int_equal(pack_new((enum pack_kind)kind, &p, &err), OK);
        pack_output(p)->limit = 1 << 20;
        assert_int_equal(pack_add(p, &member, &err), OK);
        enum status status = OK;
        for (int i = 0; i < 5 && status == OK; i++)
            status = pack_data(p, noise, 1 << 20, &err);
        assert_int_equal(status, ERR_LIMIT);
        buffer_clear(pack_output(p));
        assert_int_equal(pack_data(p, noise, 1 << 20, &err), ERR_LIMIT);
        pack_free(p);
    }
    free(noise);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_files_have_a_place),
        cmocka_unit_test(test_a_tar_file_keeps_what_it_can),
        cmocka_unit_test(test_a_packed_file_may_be_given_up_anywhere),
        cmocka_unit_test(test_sizes_that_no_archive_has_are_refused),
        cmocka_unit_test(test_zeros_come_out_now_and_then),
        cmocka_unit_test(test_output_without_room_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
