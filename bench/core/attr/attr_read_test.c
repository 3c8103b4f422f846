#include "testing/testing.h"

#include "attr/attr_read.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/msdos_fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static const struct attr_features all = {.xattrs = true, .acl = true, .fcaps = true, .project_id = true};
static const struct attr_features with_fat = {.xattrs = true, .fat_flags = true};

/* What the system calls below answer in place of the kernel, and how often each was made. */
struct fake_value {
    const char *name;
    int errnum; /* 0: the value */
    const void *value;
    size_t size;
};
static struct {
    const char *list; /* names, each ending with NUL; NULL: the kernel's answer */
    size_t list_size;
    int list_errnum;
    struct fake_value values[4];
    int chattr_errnum, fat_errnum, project_errnum;
    bool has_chattr, has_fat, has_project;
    uint32_t chattr, fat, project;
    int list_calls, value_calls, ioctl_calls;
} fake;

static int refuse(int errnum)
{
    errno = errnum;
    return -1;
}

static ssize_t answer(const void *value, size_t value_size, void *out, size_t size)
{
    if (value_size > size)
        return refuse(ERANGE);
    memcpy(out, value, value_size);
    return (ssize_t)value_size;
}

ssize_t flistxattr(int fd, char *list, size_t size)
{
    fake.list_calls++;
    if (fake.list_errnum)
        return refuse(fake.list_errnum);
    if (fake.list)
        return answer(fake.list, fake.list_size, list, size);
    return (ssize_t)syscall(SYS_flistxattr, fd, list, size);
}

ssize_t fgetxattr(int fd, const char *name, void *value, size_t size)
{
    fake.value_calls++;
    for (size_t i = 0; i < sizeof fake.values / sizeof fake.values[0]; i++) {
        const struct fake_value *v = &fake.values[i];
        if (v->name && strcmp(v->name, name) == 0)
            return v->errnum ? refuse(v->errnum) : answer(v->value, v->size, value, size);
    }
    return (ssize_t)syscall(SYS_fgetxattr, fd, name, value, size);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    void *argument = va_arg(args, void *);
    va_end(args);
    fake.ioctl_calls++;
    if (request == FS_IOC_GETFLAGS && fake.chattr_errnum)
        return refuse(fake.chattr_errnum);
    if (request == FAT_IOCTL_GET_ATTRIBUTES && fake.fat_errnum)
        return refuse(fake.fat_errnum);
    if (request == FS_IOC_FSGETXATTR && fake.project_errnum)
        return refuse(fake.project_errnum);
    if (request == FS_IOC_GETFLAGS && fake.has_chattr) {
        memcpy(argument, &fake.chattr, sizeof fake.chattr);
        return 0;
    }
    if (request == FAT_IOCTL_GET_ATTRIBUTES && fake.has_fat) {
        memcpy(argument, &fake.fat, sizeof fake.fat);
        return 0;
    }
    if (request == FS_IOC_FSGETXATTR && fake.has_project) {
        ((struct fsxattr *)argument)->fsx_projid = fake.project;
        return 0;
    }
    return (int)syscall(SYS_ioctl, fd, request, argument);
}

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
    memset(&fake, 0, sizeof fake);
    *f = (struct fixture){.directory = directory};
    f->attributes.stat.mode = S_IFREG | 0640;
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
    return attr_read(f->reader, f->fd, features, "some/file", &f->attributes, &f->not_stored, &f->err);
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
        bool xattrs, acl, fcaps, project_id, fat_flags;
    } rows[] = {
        {0xEF53, 1, 1, 1, 1, 0},     {0x58465342, 1, 1, 1, 1, 0}, {0x2FC12FC1, 1, 1, 1, 1, 0},
        {0x9123683E, 1, 1, 1, 0, 0}, {0x01021994, 0, 1, 0, 0, 0}, {0x65735546, 1, 0, 0, 0, 1},
        {0x4d44, 0, 0, 0, 0, 1},     {0x12345678, 1, 1, 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct attr_features f = attr_features_of(rows[i].magic);
        assert_int_equal(f.xattrs, rows[i].xattrs);
        assert_int_equal(f.acl, rows[i].acl);
        assert_int_equal(f.fcaps, rows[i].fcaps);
        assert_int_equal(f.project_id, rows[i].project_id);
        assert_int_equal(f.fat_flags, rows[i].fat_flags);
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

static const uint8_t caps[20] = {0x01, 0, 0, 2, 0, 0x20};
/* user rw, user 1 r, group r, mask r, other none */
static const uint8_t acl[] = {2, 0, 0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 2,   0,  4,
                              0, 1, 0,   0,   0,   4,   0,  4, 0,   255, 255, 255, 255, 16, 0,
                              4, 0, 255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255};

/* A file that has everything the list of extended attributes can name. */
static const char everything_listed[] = "user.first\0security.capability\0system.posix_acl_access\0security.selinux\0"
                                        "system.posix_acl_default\0trusted.last";
static void fake_everything(void)
{
    fake.list = everything_listed;
    fake.list_size = sizeof everything_listed;
    fake.values[0] = (struct fake_value){"user.first", 0, "1", 1};
    fake.values[1] = (struct fake_value){"security.capability", 0, caps, sizeof caps};
    fake.values[2] = (struct fake_value){"system.posix_acl_access", 0, acl, sizeof acl};
    fake.values[3] = (struct fake_value){"system.posix_acl_default", 0, acl, sizeof acl};
}

static void test_acl_and_capabilities_are_stored_where_they_belong(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    set_or_skip(&f, "security.capability", caps, sizeof caps);
    set_or_skip(&f, "system.posix_acl_access", acl, sizeof acl);
    set_or_skip(&f, "trusted.t", "1", 1);
    assert_int_equal(read_all(&f, &all), OK);
    const struct attribute_extras *x = f.attributes.extras;
    assert_int_equal(x->xattr_count, 1);
    assert_string_equal(x->xattrs[0].name, "trusted.t");
    assert_true(x->has_fcaps);
    assert_int_equal(x->fcaps_size, sizeof caps);
    assert_memory_equal(x->fcaps, caps, sizeof caps);
    assert_int_equal(x->users.count, 1);
    assert_int_equal(x->users.entries[0].id, 1);
    assert_int_equal(x->users.entries[0].perm, 4);
    assert_true(x->has_group_obj);
    assert_int_equal(x->group_obj, 4);
    assert_false(x->has_default);
    assert_int_equal(atomic_load(&f.not_stored.fcaps), 0);
    assert_int_equal(atomic_load(&f.not_stored.acls), 0);
    end(&f);
}

static void test_features_decide_and_the_rest_is_counted(void **state)
{
    (void)state;
    static const struct {
        struct attr_features features;
        size_t xattrs_stored;
        bool acl_stored, fcaps_stored;
        int value_calls;
    } rows[] = {
        {{.xattrs = true, .acl = true, .fcaps = true}, 1, true, true, 4},
        {{.xattrs = true, .acl = true}, 1, true, false, 3},
        {{.xattrs = true, .fcaps = true}, 1, false, true, 2},
        {{.xattrs = true}, 1, false, false, 1},
        {{.acl = true, .fcaps = true}, 0, false, false, 0}, /* extended attributes are the master switch */
        {{.acl = false}, 0, false, false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        begin(&f);
        fake_everything();
        fake.list_size -= sizeof "trusted.last";
        assert_int_equal(read_all(&f, &rows[i].features), OK);
        static const struct attribute_extras none;
        const struct attribute_extras *x = f.attributes.extras ? f.attributes.extras : &none;
        assert_int_equal(x->xattr_count, rows[i].xattrs_stored);
        assert_int_equal(x->has_fcaps, rows[i].fcaps_stored);
        assert_int_equal(x->users.count, rows[i].acl_stored);
        assert_int_equal(x->default_users.count, rows[i].acl_stored);
        assert_int_equal(atomic_load(&f.not_stored.xattrs), !rows[i].xattrs_stored);
        assert_int_equal(atomic_load(&f.not_stored.acls), !rows[i].acl_stored); /* two ACLs, one file */
        assert_int_equal(atomic_load(&f.not_stored.fcaps), !rows[i].fcaps_stored);
        assert_int_equal(fake.value_calls, rows[i].value_calls);
        end(&f);
    }
}

/* The price of one of many files. */
static void test_plain_file_costs_three_calls(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    assert_int_equal(read_all(&f, &all), OK);
    assert_int_equal(fake.list_calls, 1);
    assert_int_equal(fake.value_calls, 0);
    assert_int_equal(fake.ioctl_calls, 2);
    static const struct attr_features btrfs = {.xattrs = true, .acl = true, .fcaps = true};
    assert_int_equal(read_all(&f, &btrfs), OK);
    assert_int_equal(fake.list_calls, 2);
    assert_int_equal(fake.ioctl_calls, 3);
    end(&f);
}

/* bench/spec/archive-creation.md A9, column "tolerated", for each call. */
static void test_errors_of_xattrs_are_tolerated_or_fatal(void **state)
{
    (void)state;
    enum { LIST, XATTR, FCAPS, ACL, CALLS };
    static const struct {
        int errnum;
        bool tolerated[CALLS];
    } rows[] = {
        {EOPNOTSUPP, {true, true, true, true}},
        {EBADF, {true, true, true, true}},
        {ENODATA, {false, true, true, true}},
        {ENOTTY, {false}},
        {EIO, {false}},
        {EACCES, {false}},
        {EPERM, {false}},
        {ESTALE, {false}},
        {E2BIG, {false}},
        {EINVAL, {false}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int call = LIST; call < CALLS; call++) {
            struct fixture f;
            begin(&f);
            fake_everything();
            fake.list_size -= sizeof "trusted.last";
            if (call == LIST)
                fake.list_errnum = rows[i].errnum;
            else
                fake.values[call - XATTR].errnum = rows[i].errnum;
            if (rows[i].tolerated[call]) {
                assert_int_equal(read_all(&f, &all), OK);
            } else {
                assert_int_equal(read_all(&f, &all), ERR_IO);
                assert_int_equal(f.err.errnum, rows[i].errnum);
                assert_non_null(strstr(f.err.text, "some/file: "));
            }
            if (rows[i].tolerated[call] && call != LIST) { /* only the one is missing */
                assert_int_equal(f.attributes.extras->xattr_count, call != XATTR);
                assert_int_equal(f.attributes.extras->has_fcaps, call != FCAPS);
                assert_int_equal(f.attributes.extras->has_group_obj, call != ACL);
                assert_int_equal(f.attributes.extras->has_default, true);
            }
            end(&f);
        }
    }
}

static void test_malformed_acl_is_fatal(void **state)
{
    (void)state;
    uint8_t unknown_tag[sizeof acl];
    memcpy(unknown_tag, acl, sizeof acl);
    unknown_tag[4] = 64;
    const struct {
        const uint8_t *value;
        size_t size;
    } rows[] = {{unknown_tag, sizeof unknown_tag}, {acl, sizeof acl - 1}, {acl, 3}, {acl, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t which = 2; which < 4; which++) {
            struct fixture f;
            begin(&f);
            fake_everything();
            fake.values[which].value = rows[i].value;
            fake.values[which].size = rows[i].size;
            assert_int_equal(read_all(&f, &all), ERR_FORMAT);
            assert_non_null(strstr(f.err.text, which == 2 ? "some/file: access ACL" : "some/file: default ACL"));
            end(&f);
        }
    }
}

static void test_e2big_is_fatal_with_a_hint(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        begin(&f);
        fake_everything();
        *(i == 0 ? &fake.list_errnum : &fake.values[0].errnum) = E2BIG;
        assert_int_equal(read_all(&f, &all), ERR_IO);
        assert_int_equal(f.err.errnum, E2BIG);
        assert_non_null(strstr(f.err.text, "(try --skip-e2big-xattr)"));
        end(&f);
    }
}

/* What was read before stays; flags and project id are another matter. */
static void test_e2big_with_the_option_ends_the_files_xattrs(void **state)
{
    (void)state;
    static const char list[] = "user.a\0system.posix_acl_access\0user.big\0security.capability\0user.b\0"
                               "system.posix_acl_default";
    struct fixture f;
    begin(&f);
    fake_everything();
    attr_reader_skip_e2big(f.reader, true);
    fake.list = list;
    fake.list_size = sizeof list;
    fake.values[0] = (struct fake_value){"user.a", 0, "1", 1};
    fake.values[3] = (struct fake_value){"user.big", E2BIG, NULL, 0};
    fake.has_chattr = fake.has_project = true;
    fake.chattr = FS_NODUMP_FL;
    fake.project = 9;
    assert_int_equal(read_all(&f, &all), OK);
    const struct attribute_extras *x = f.attributes.extras;
    assert_int_equal(x->xattr_count, 1);
    assert_string_equal(x->xattrs[0].name, "user.a");
    assert_int_equal(x->users.count, 1);
    assert_false(x->has_fcaps);
    assert_false(x->has_default);
    assert_int_equal(f.attributes.stat.flags, 0x100000);
    assert_int_equal(x->project_id, 9);
    assert_int_equal(atomic_load(&f.not_stored.acls) + atomic_load(&f.not_stored.fcaps), 0);
    end(&f);

    begin(&f);
    attr_reader_skip_e2big(f.reader, true);
    fake.list_errnum = E2BIG;
    assert_int_equal(read_all(&f, &all), OK);
    assert_int_equal(fake.value_calls, 0);
    end(&f);
}

/* Not covered by the option. */
static void test_e2big_of_capabilities_is_fatal_anyway(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    fake_everything();
    attr_reader_skip_e2big(f.reader, true);
    fake.values[1].errnum = E2BIG;
    assert_int_equal(read_all(&f, &all), ERR_IO);
    assert_int_equal(f.err.errnum, E2BIG);
    assert_null(strstr(f.err.text, "--skip-e2big-xattr"));
    end(&f);
}

static void test_flags_and_project_id(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    fake.has_chattr = fake.has_fat = fake.has_project = true;
    fake.chattr = FS_APPEND_FL | FS_NODUMP_FL | FS_EXTENT_FL; /* the last is none of ours */
    fake.fat = ATTR_HIDDEN | ATTR_ARCH | ATTR_RO;
    fake.project = UINT32_MAX;
    assert_int_equal(read_all(&f, &all), OK);
    assert_int_equal(f.attributes.stat.flags, 0x110000); /* not asked for FAT attributes */
    assert_true(f.attributes.extras->has_project_id);
    assert_int_equal(f.attributes.extras->project_id, UINT32_MAX);
    attributes_deinit(&f.attributes);
    f.attributes.stat.mode = S_IFREG;
    assert_int_equal(read_all(&f, &with_fat), OK);
    assert_int_equal(f.attributes.stat.flags, 0x110000 | 0x2000 | 0x8000);
    assert_null(f.attributes.extras);

    fake.project = 0;
    assert_int_equal(read_all(&f, &all), OK);
    assert_null(f.attributes.extras);
    fake.project = 3;
    f.attributes.stat.mode = S_IFIFO;
    assert_int_equal(read_all(&f, &all), OK);
    assert_null(f.attributes.extras);
    f.attributes.stat.mode = S_IFDIR;
    assert_int_equal(read_all(&f, &all), OK);
    assert_int_equal(f.attributes.extras->project_id, 3);
    end(&f);
}

static void test_errors_of_ioctls_are_tolerated_or_fatal(void **state)
{
    (void)state;
    static const struct {
        int errnum;
        bool tolerated;
    } rows[] = {
        {ENOTTY, true}, {ENOSYS, true}, {EBADF, true},   {EOPNOTSUPP, true}, {EINVAL, true},
        {EIO, false},   {EPERM, false}, {EACCES, false}, {ESTALE, false},    {ENODATA, false},
    };
    static const struct attr_features every = {.xattrs = true, .project_id = true, .fat_flags = true};
    int *const faults[] = {&fake.chattr_errnum, &fake.fat_errnum, &fake.project_errnum};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t call = 0; call < 3; call++) {
            struct fixture f;
            begin(&f);
            fake.has_chattr = fake.has_fat = fake.has_project = true;
            *faults[call] = rows[i].errnum;
            assert_int_equal(read_all(&f, &every), rows[i].tolerated ? OK : ERR_IO);
            if (!rows[i].tolerated) {
                assert_int_equal(f.err.errnum, rows[i].errnum);
                assert_non_null(strstr(f.err.text, "some/file: "));
            }
            end(&f);
        }
    }
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

/* No fault injected: the kernel gives out lists of up to 64 KiB. */
static void test_list_longer_than_the_kernel_gives_out(void **state)
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
    for (int i = 0; i < 300; i++) {
        char name[256];
        snprintf(name, sizeof name, "user.%03d%0240d", i, i);
        set_or_skip(&f, name, "x", 1);
    }
    assert_int_equal(read_all(&f, &all), ERR_IO);
    assert_int_equal(f.err.errnum, E2BIG);
    attr_reader_skip_e2big(f.reader, true);
    assert_int_equal(read_all(&f, &all), OK);
    assert_null(f.attributes.extras);
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
        cmocka_unit_test(test_acl_and_capabilities_are_stored_where_they_belong),
        cmocka_unit_test(test_features_decide_and_the_rest_is_counted),
        cmocka_unit_test(test_plain_file_costs_three_calls),
        cmocka_unit_test(test_errors_of_xattrs_are_tolerated_or_fatal),
        cmocka_unit_test(test_malformed_acl_is_fatal),
        cmocka_unit_test(test_e2big_is_fatal_with_a_hint),
        cmocka_unit_test(test_e2big_with_the_option_ends_the_files_xattrs),
        cmocka_unit_test(test_e2big_of_capabilities_is_fatal_anyway),
        cmocka_unit_test(test_flags_and_project_id),
        cmocka_unit_test(test_errors_of_ioctls_are_tolerated_or_fatal),
        cmocka_unit_test(test_xattrs_of_a_file_system_that_stores_none_are_counted),
        cmocka_unit_test(test_path_descriptor_has_none),
        cmocka_unit_test(test_buffers_grow),
        cmocka_unit_test(test_list_longer_than_the_kernel_gives_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
