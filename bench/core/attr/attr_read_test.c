#include "testing/testing.h"

#include "attr/attr_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

static const struct attr_features all = {.xattrs = true, .acl = true, .fcaps = true, .project_id = true};

struct fixture {
    char *directory;
    char path[256];
    int fd;
    struct attr_reader *reader;
    struct attributes attributes;
    struct attr_not_stored not_stored;
    struct error err;
};

static void begin_in(struct fixture *f, char *directory)
{
    *f = (struct fixture){.directory = directory};
    snprintf(f->path, sizeof f->path, "%s/file", directory);
    f->fd = open(f->path, O_RDWR | O_CREAT | O_EXCL, 0640);
    assert_true(f->fd >= 0);
    assert_int_equal(attr_reader_new(&f->reader, &f->err), OK);
}

static void begin(struct fixture *f)
{
    begin_in(f, temp_dir_make());
}

static void end(struct fixture *f)
{
    close(f->fd);
    attr_reader_free(f->reader);
    attributes_deinit(&f->attributes);
    temp_dir_remove(f->directory);
}

static enum status read_all(struct fixture *f, const struct attr_features *features)
{
    return attr_read_xattrs(f->reader, f->fd, features, "some/file", &f->attributes, &f->not_stored, &f->err);
}

/* Whether this file system takes it; a test that needs it is skipped otherwise. */
static void set_or_skip(struct fixture *f, const char *name, const void *value, size_t size)
{
    if (fsetxattr(f->fd, name, value, size, 0) == 0)
        return;
    int reason = errno;
    end(f);
    print_message("file system refuses %s: %s\n", name, strerror(reason));
    skip();
}

static void test_stat_part(void **state)
{
    (void)state;
    struct stat st = {.st_mode = 0104750, .st_uid = 7, .st_gid = UINT32_MAX - 1};
    st.st_mtim = (struct timespec){.tv_sec = -5, .tv_nsec = 999999999};
    struct attributes a = {0};
    attributes_from_stat(&st, &a);
    assert_int_equal(a.stat.mode, 0104750);
    assert_int_equal(a.stat.uid, 7);
    assert_int_equal(a.stat.gid, UINT32_MAX - 1);
    assert_int_equal(a.stat.mtime_secs, -5);
    assert_int_equal(a.stat.mtime_nanos, 999999999);
    assert_int_equal(a.stat.flags, 0);
    assert_null(a.extras);
}

static void test_features_by_file_system(void **state)
{
    (void)state;
    static const struct {
        uint64_t magic;
        bool xattrs, acl, fcaps, project_id;
    } rows[] = {
        {0xEF53, 1, 1, 1, 1},     {0x58465342, 1, 1, 1, 1}, {0x2FC12FC1, 1, 1, 1, 1}, {0x9123683E, 1, 1, 1, 0},
        {0x01021994, 0, 1, 0, 0}, {0x65735546, 1, 0, 0, 0}, {0x4d44, 0, 0, 0, 0},     {0x12345678, 1, 1, 1, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct attr_features f = attr_features_of(rows[i].magic);
        assert_int_equal(f.xattrs, rows[i].xattrs);
        assert_int_equal(f.acl, rows[i].acl);
        assert_int_equal(f.fcaps, rows[i].fcaps);
        assert_int_equal(f.project_id, rows[i].project_id);
    }
}

static void test_virtual_file_systems(void **state)
{
    (void)state;
    static const uint64_t virtual_ones[] = {0x42494e4d, 0x63677270, 0x27e0eb,   0x62656570, 0x64626720, 0x1cd1,
                                            0xde5e81e4, 0x65735543, 0x958458f6, 0x19800202, 0x6e667364, 0x9fa0,
                                            0x6165676c, 0x67596969, 0x73636673, 0xf97cff8c, 0x43415d53, 0x62656572};
    static const uint64_t real_ones[] = {0xEF53, 0x01021994, 0x65735546, 0x74726163, 0};
    for (size_t i = 0; i < sizeof virtual_ones / sizeof virtual_ones[0]; i++)
        assert_true(fs_is_virtual(virtual_ones[i]));
    for (size_t i = 0; i < sizeof real_ones / sizeof real_ones[0]; i++)
        assert_false(fs_is_virtual(real_ones[i]));
}

static void test_names_that_are_stored(void **state)
{
    (void)state;
    assert_true(xattr_is_stored("user.a"));
    assert_true(xattr_is_stored("trusted.overlay.opaque"));
    assert_true(xattr_is_stored("security.NTACL"));
    assert_false(xattr_is_stored("security.NTACL2"));
    assert_false(xattr_is_stored("security.selinux"));
    assert_false(xattr_is_stored("security.capability"));
    assert_false(xattr_is_stored("system.posix_acl_access"));
    assert_false(xattr_is_stored("username"));
}

static void test_plain_file_has_no_extras(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    assert_int_equal(read_all(&f, &all), OK);
    assert_null(f.attributes.extras);
    end(&f);
}

static void test_keeps_the_kernels_order_and_values(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    set_or_skip(&f, "user.zz", "\0bytes", 6);
    set_or_skip(&f, "user.a", "", 0);
    set_or_skip(&f, "user.m", "x", 1);
    char list[256];
    ssize_t list_size = flistxattr(f.fd, list, sizeof list);
    assert_int_equal(read_all(&f, &all), OK);
    assert_non_null(f.attributes.extras);
    assert_int_equal(f.attributes.extras->xattr_count, 3);
    size_t at = 0;
    for (size_t i = 0; i < 3; i++) {
        const struct xattr *x = &f.attributes.extras->xattrs[i];
        assert_true(at < (size_t)list_size);
        assert_string_equal(x->name, list + at);
        at += strlen(list + at) + 1;
        if (strcmp(x->name, "user.zz") == 0) {
            assert_int_equal(x->value_size, 6);
            assert_memory_equal(x->value, "\0bytes", 6);
        }
        if (strcmp(x->name, "user.a") == 0)
            assert_int_equal(x->value_size, 0);
    }
    end(&f);
}

static void test_acl_and_capabilities_are_counted_not_stored(void **state)
{
    (void)state;
    static const uint8_t caps[20] = {0x01, 0, 0, 2, 0, 0x20};
    /* version 2: user rw, user 1 r, group r, mask r, other none */
    static const uint8_t acl[] = {2, 0, 0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 2,   0,  4,
                                  0, 1, 0,   0,   0,   4,   0,  4, 0,   255, 255, 255, 255, 16, 0,
                                  4, 0, 255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255};
    struct fixture f;
    begin(&f);
    set_or_skip(&f, "security.capability", caps, sizeof caps);
    set_or_skip(&f, "system.posix_acl_access", acl, sizeof acl);
    set_or_skip(&f, "trusted.t", "1", 1);
    assert_int_equal(read_all(&f, &all), OK);
    assert_int_equal(f.attributes.extras->xattr_count, 1);
    assert_string_equal(f.attributes.extras->xattrs[0].name, "trusted.t");
    assert_int_equal(atomic_load(&f.not_stored.fcaps), 1);
    assert_int_equal(atomic_load(&f.not_stored.acls), 1);
    end(&f);
}

static void test_xattrs_of_a_file_system_that_stores_none_are_counted(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    set_or_skip(&f, "user.a", "1", 1);
    struct attr_features none = {.acl = true, .fcaps = true};
    assert_int_equal(read_all(&f, &none), OK);
    assert_null(f.attributes.extras);
    assert_int_equal(atomic_load(&f.not_stored.xattrs), 1);
    assert_int_equal(read_all(&f, &all), OK); /* stored, hence not counted */
    assert_int_equal(atomic_load(&f.not_stored.xattrs), 1);
    end(&f);
}

static void test_path_descriptor_has_none(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    int fd = open(f.path, O_PATH | O_CLOEXEC);
    assert_true(fd >= 0);
    close(f.fd);
    f.fd = fd;
    assert_int_equal(read_all(&f, &all), OK);
    assert_null(f.attributes.extras);
    end(&f);
}

/* ext4 has room for one block; tmpfs takes values of 64 KiB. */
static void test_buffers_grow(void **state)
{
    (void)state;
    char template[] = "/dev/shm/pxarbench-test-XXXXXX";
    char *made = mkdtemp(template);
    if (!made) {
        print_message("no tmpfs at /dev/shm\n");
        skip();
    }
    struct fixture f;
    begin_in(&f, strdup(made));
    char *value = malloc(XATTR_VALUE_SIZE_MAX);
    assert_non_null(value);
    memset(value, 'v', XATTR_VALUE_SIZE_MAX);
    if (fsetxattr(f.fd, "user.large", value, XATTR_VALUE_SIZE_MAX, 0)) {
        free(value);
        end(&f);
        print_message("tmpfs takes no user attributes\n");
        skip();
    }
    for (int i = 0; i < 40; i++) {
        char name[256];
        snprintf(name, sizeof name, "user.%02d%0200d", i, i);
        assert_int_equal(fsetxattr(f.fd, name, "x", 1, 0), 0);
    }
    assert_int_equal(read_all(&f, &all), OK);
    assert_int_equal(f.attributes.extras->xattr_count, 41);
    bool found = false;
    for (size_t i = 0; i < 41; i++) {
        const struct xattr *x = &f.attributes.extras->xattrs[i];
        if (x->value_size != XATTR_VALUE_SIZE_MAX)
            continue;
        found = true;
        assert_memory_equal(x->value, value, XATTR_VALUE_SIZE_MAX);
    }
    assert_true(found);
    free(value);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stat_part),
        cmocka_unit_test(test_features_by_file_system),
        cmocka_unit_test(test_virtual_file_systems),
        cmocka_unit_test(test_names_that_are_stored),
        cmocka_unit_test(test_plain_file_has_no_extras),
        cmocka_unit_test(test_keeps_the_kernels_order_and_values),
        cmocka_unit_test(test_acl_and_capabilities_are_counted_not_stored),
        cmocka_unit_test(test_xattrs_of_a_file_system_that_stores_none_are_counted),
        cmocka_unit_test(test_path_descriptor_has_none),
        cmocka_unit_test(test_buffers_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
