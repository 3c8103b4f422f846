#include "testing/testing.h"

#include "tree/listing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char *path;
    int fd;
    struct listing listing;
    struct error err;
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){.path = temp_dir_make()};
    f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->fd >= 0);
}

static void end(struct fixture *f)
{
    listing_deinit(&f->listing);
    close(f->fd);
    temp_dir_remove(f->path);
}

static void touch(struct fixture *f, const char *name)
{
    int fd = openat(f->fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static enum status list(struct fixture *f, bool is_root, size_t entries_max)
{
    listing_deinit(&f->listing);
    struct listing_options options = {.is_root = is_root, .entries_max = entries_max};
    return listing_read(f->fd, &options, &f->listing, &f->err);
}

static void test_empty(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    assert_int_equal(list(&f, true, 0), OK);
    assert_int_equal(f.listing.count, 0);
    end(&f);
}

static void test_sorted_by_unsigned_bytes(void **state)
{
    (void)state;
    static const char *const sorted[] = {"A",      "Z",     "a",     "a b",      "a-",  "ab",
                                         "b\x01x", "b\x7f", "b\x80", "\xc3\xa4", "\xff"};
    enum { COUNT = sizeof sorted / sizeof sorted[0] };
    struct fixture f;
    begin(&f);
    for (size_t i = 0; i < COUNT; i++)
        touch(&f, sorted[(i * 7) % COUNT]);
    for (int round = 0; round < 2; round++) { /* again: from the start, whatever the position */
        assert_int_equal(list(&f, false, 1000), OK);
        assert_int_equal(f.listing.count, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            assert_string_equal(f.listing.entries[i].name, sorted[i]);
            assert_int_equal(f.listing.entries[i].name_size, strlen(sorted[i]));
            assert_int_equal(f.listing.entries[i].type, DT_REG);
        }
    }
    end(&f);
}

static void test_many_entries(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    struct fixture f;
    begin(&f);
    for (int i = 0; i < COUNT; i++) {
        char name[64];
        snprintf(name, sizeof name, "%04d-with-a-name-that-fills-buffers", (i * 1231) % COUNT);
        touch(&f, name);
    }
    assert_int_equal(list(&f, false, COUNT), OK);
    assert_int_equal(f.listing.count, COUNT);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(atoi(f.listing.entries[i].name), i);
    assert_int_equal(list(&f, false, COUNT - 1), ERR_LIMIT);
    assert_non_null(strstr(f.err.text, "exceeded allowed number of file entries (> 2999)"));
    end(&f);
}

static void test_pattern_file_is_left_out_of_the_root_alone(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    touch(&f, ".pxarexclude-cli");
    touch(&f, ".pxarexclude");
    assert_int_equal(list(&f, true, 1), OK);
    assert_int_equal(f.listing.count, 1);
    assert_string_equal(f.listing.entries[0].name, ".pxarexclude");
    assert_int_equal(list(&f, false, 2), OK);
    assert_int_equal(f.listing.count, 2);
    end(&f);
}

static void test_types(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    assert_int_equal(mkdirat(f.fd, "d", 0700), 0);
    assert_int_equal(symlinkat("x", f.fd, "l"), 0);
    assert_int_equal(mkfifoat(f.fd, "p", 0600), 0);
    assert_int_equal(list(&f, false, 10), OK);
    assert_int_equal(f.listing.entries[0].type, DT_DIR);
    assert_int_equal(f.listing.entries[1].type, DT_LNK);
    assert_int_equal(f.listing.entries[2].type, DT_FIFO);
    end(&f);
}

static void test_failing_read_is_no_short_listing(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    touch(&f, "file");
    int fd = openat(f.fd, "file", O_RDONLY | O_CLOEXEC);
    struct listing_options options = {.entries_max = 10};
    assert_int_equal(listing_read(fd, &options, &f.listing, &f.err), ERR_IO);
    assert_int_equal(f.err.errnum, ENOTDIR);
    close(fd);
    /* A directory that was removed answers ENOENT, where readdir says "end". */
    assert_int_equal(mkdirat(f.fd, "gone", 0700), 0);
    fd = openat(f.fd, "gone", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(unlinkat(f.fd, "gone", AT_REMOVEDIR), 0);
    assert_int_equal(listing_read(fd, &options, &f.listing, &f.err), ERR_IO);
    assert_int_equal(f.err.errnum, ENOENT);
    close(fd);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),        cmocka_unit_test(test_sorted_by_unsigned_bytes),
        cmocka_unit_test(test_many_entries), cmocka_unit_test(test_pattern_file_is_left_out_of_the_root_alone),
        cmocka_unit_test(test_types),        cmocka_unit_test(test_failing_read_is_no_short_listing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
