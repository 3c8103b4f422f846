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

/* Drops names that start with '-'; "restart" makes it drop those with '+' as well, from the start. */
struct sieve {
    bool plus_goes;
    int calls;
};

static enum status sieve_judge(void *context, struct listing_entry *entry, enum listing_verdict *out, struct error *err)
{
    struct sieve *s = context;
    s->calls++;
    assert_int_equal(entry->name_size, strlen(entry->name));
    if (strcmp(entry->name, "fatal") == 0)
        return fail(err, ERR_FORMAT, "the judge says no");
    *out = LISTING_KEEP;
    if (!s->plus_goes && strcmp(entry->name, "restart") == 0) {
        s->plus_goes = true;
        *out = LISTING_RESTART;
    } else if (entry->name[0] == '-' || (s->plus_goes && entry->name[0] == '+')) {
        *out = LISTING_DROP;
    } else if (strcmp(entry->name, "typed") == 0) {
        entry->type = DT_BLK;
        entry->errnum = 7;
    }
    return OK;
}

static void test_filter_drops_before_counting(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    for (int i = 0; i < 40; i++) {
        char name[8];
        snprintf(name, sizeof name, "%c%d", i % 2 ? '-' : '+', i);
        touch(&f, name);
    }
    touch(&f, "typed");
    struct sieve sieve = {0};
    struct listing_filter filter = {sieve_judge, &sieve};
    struct listing_options options = {.entries_max = 121, .entries_held = 100, .filter = &filter};
    assert_int_equal(listing_read(f.fd, &options, &f.listing, &f.err), OK);
    assert_int_equal(f.listing.count, 21);
    assert_int_equal(sieve.calls, 41);
    assert_string_equal(f.listing.entries[20].name, "typed");
    assert_int_equal(f.listing.entries[20].type, DT_BLK);
    assert_int_equal(f.listing.entries[20].errnum, 7);
    assert_int_equal(f.listing.entries[0].errnum, 0);
    listing_deinit(&f.listing);
    options.entries_held++;
    assert_int_equal(listing_read(f.fd, &options, &f.listing, &f.err), ERR_LIMIT);
    assert_string_equal(f.err.text, "exceeded allowed number of file entries (> 121)");
    /* A restart helps also when it comes after the limit was reached. */
    touch(&f, "restart");
    options.entries_max = options.entries_held + 2;
    assert_int_equal(listing_read(f.fd, &options, &f.listing, &f.err), OK);
    assert_int_equal(f.listing.count, 2);
    assert_string_equal(f.listing.entries[0].name, "restart");
    assert_string_equal(f.listing.entries[1].name, "typed");
    listing_deinit(&f.listing);
    touch(&f, "fatal");
    assert_int_equal(listing_read(f.fd, &options, &f.listing, &f.err), ERR_FORMAT);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_sorted_by_unsigned_bytes),
        cmocka_unit_test(test_many_entries),
        cmocka_unit_test(test_pattern_file_is_left_out_of_the_root_alone),
        cmocka_unit_test(test_filter_drops_before_counting),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_failing_read_is_no_short_listing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
