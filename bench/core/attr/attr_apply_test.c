#include "testing/testing.h"

#include "attr/attr_apply.h"
#include "attr/posix_acl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/msdos_fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static const struct attr_apply_options everything = {0};

/* The system calls below write down that they were made, fail if they are told to, and answer in place of the kernel
 * where a file system would have to be mounted for it: extended attributes are taken, flags live in here. */
static struct {
    char trace[1024];
    struct {
        const char *call;
        int errnum;
    } faults[4];
    bool acl_taken;    /* an ACL is put into `acl` instead of the file */
    bool xattrs_taken; /* all others go nowhere; names of root only are refused to others */
    uint8_t acl[256];
    size_t acl_size;
    bool flags_taken; /* flags and project id live here; `root_only` bits are refused to others */
    uint32_t chattr, root_only, fat, project;
    uint32_t unknown; /* flags that the file system does not have */
} fake;

/* 0, or -1 with errno. */
static int enter(const char *call)
{
    size_t used = strlen(fake.trace);
    snprintf(fake.trace + used, sizeof fake.trace - used, "%s ", call);
    for (size_t i = 0; i < sizeof fake.faults / sizeof fake.faults[0]; i++) {
        if (fake.faults[i].call && strcmp(fake.faults[i].call, call) == 0) {
            errno = fake.faults[i].errnum;
            return -1;
        }
    }
    return 0;
}

int fchown(int fd, uid_t uid, gid_t gid)
{
    return enter("chown") ? -1 : (int)syscall(SYS_fchown, fd, uid, gid);
}

int fchmod(int fd, mode_t mode)
{
    return enter("chmod") ? -1 : (int)syscall(SYS_fchmod, fd, mode);
}

int futimens(int fd, const struct timespec times[2])
{
    return enter("utimens") ? -1 : (int)syscall(SYS_utimensat, fd, NULL, times, 0);
}

int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
    if (enter(name))
        return -1;
    if (fake.acl_taken && strncmp(name, "system.", 7) == 0) {
        fake.acl_size = size < sizeof fake.acl ? size : sizeof fake.acl;
        memcpy(fake.acl, value, fake.acl_size);
        return 0;
    }
    if (!fake.xattrs_taken)
        return (int)syscall(SYS_fsetxattr, fd, name, value, size, flags);
    errno = EPERM;
    return geteuid() == 0 || strncmp(name, "user.", 5) == 0 ? 0 : -1;
}

/* Only those of ACLs are told. */
ssize_t fgetxattr(int fd, const char *name, void *value, size_t size)
{
    if (strncmp(name, "system.", 7) == 0 && enter("getacl"))
        return -1;
    return syscall(SYS_fgetxattr, fd, name, value, size);
}

static int fake_ioctl(unsigned long request, void *argument)
{
    struct fsxattr *fsx = argument;
    uint32_t wanted;
    switch (request) {
    case FS_IOC_GETFLAGS: memcpy(argument, &fake.chattr, sizeof fake.chattr); return 0;
    case FAT_IOCTL_GET_ATTRIBUTES: memcpy(argument, &fake.fat, sizeof fake.fat); return 0;
    case FS_IOC_FSGETXATTR: fsx->fsx_projid = fake.project; return 0;
    case FAT_IOCTL_SET_ATTRIBUTES: memcpy(&fake.fat, argument, sizeof fake.fat); return 0;
    case FS_IOC_FSSETXATTR: fake.project = fsx->fsx_projid; return 0;
    default: break;
    }
    memcpy(&wanted, argument, sizeof wanted);
    if (wanted & fake.unknown) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if (fake.chattr & wanted & FS_IMMUTABLE_FL) {
        errno = EPERM;
        return -1;
    }
    if (geteuid() != 0 && ((wanted ^ fake.chattr) & fake.root_only)) {
        errno = EPERM;
        return -1;
    }
    fake.chattr = wanted;
    return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    void *argument = va_arg(args, void *);
    va_end(args);
    const char *name = request == FS_IOC_GETFLAGS            ? "getflags"
                       : request == FS_IOC_SETFLAGS          ? "setflags"
                       : request == FAT_IOCTL_GET_ATTRIBUTES ? "getfat"
                       : request == FAT_IOCTL_SET_ATTRIBUTES ? "setfat"
                       : request == FS_IOC_FSGETXATTR        ? "getproject"
                       : request == FS_IOC_FSSETXATTR        ? "setproject"
                                                             : "ioctl";
    if (enter(name))
        return -1;
    return fake.flags_taken ? fake_ioctl(request, argument) : (int)syscall(SYS_ioctl, fd, request, argument);
}

struct fixture {
    char *directory;
    char path[256];
    int fd;
    struct attributes attributes;
    struct attr_not_applied not_applied;
    struct error err;
};

static void begin(struct fixture *f)
{
    memset(&fake, 0, sizeof fake);
    *f = (struct fixture){.directory = temp_dir_make()};
    snprintf(f->path, sizeof f->path, "%s/file", f->directory);
    f->fd = open(f->path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(f->fd >= 0);
    f->attributes.stat = (struct stat_record){
        .mode = S_IFREG | 0640, .uid = geteuid(), .gid = getegid(), .mtime_secs = -7, .mtime_nanos = 123456789};
}

static void end(struct fixture *f)
{
    close(f->fd);
    attributes_deinit(&f->attributes);
    temp_dir_remove(f->directory);
}

static void need_root(struct fixture *f)
{
    if (geteuid() == 0)
        return;
    end(f);
    print_message("needs root\n");
    skip();
}

static enum status apply_with(struct fixture *f, const struct attr_apply_options *options)
{
    return attr_apply(f->fd, APPLY_TO_OPEN_FILE, &f->attributes, options, &f->not_applied, &f->err);
}

static void test_mode_and_mtime(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    assert_int_equal(apply_with(&f, &everything), OK);
    struct stat st;
    assert_int_equal(fstat(f.fd, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0640);
    assert_int_equal(st.st_mtim.tv_sec, -7);
    assert_int_equal(st.st_mtim.tv_nsec, 123456789);
    end(&f);
}

/* chown takes set-id bits away, so it must come first. */
static void test_set_id_bits_survive_the_owner(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    need_root(&f);
    f.attributes.stat.mode = S_IFREG | 06755;
    f.attributes.stat.uid = 1234;
    f.attributes.stat.gid = 4321;
    assert_int_equal(apply_with(&f, &everything), OK);
    struct stat st;
    assert_int_equal(fstat(f.fd, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 06755);
    assert_int_equal(st.st_uid, 1234);
    assert_int_equal(st.st_gid, 4321);
    end(&f);
}

static void test_options_leave_out(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    f.attributes.stat.uid = geteuid() + 1;
    f.attributes.stat.mode = S_IFREG | 0777;
    assert_int_equal(attributes_add_xattr(&f.attributes, "user.a", 6, (const uint8_t *)"1", 1, NULL), OK);
    struct attr_apply_options none = {.ignore_ownership = true, .ignore_xattrs = true, .ignore_permissions = true};
    assert_int_equal(apply_with(&f, &none), OK);
    struct stat st;
    assert_int_equal(fstat(f.fd, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    assert_int_equal(st.st_uid, geteuid());
    assert_int_equal(st.st_mtim.tv_sec, -7);
    assert_int_equal(flistxattr(f.fd, NULL, 0), 0);
    end(&f);
}

static void test_xattrs_are_set_and_foreign_names_are_not(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    if (fsetxattr(f.fd, "user.probe", "1", 1, 0)) {
        end(&f);
        print_message("file system takes no user attributes\n");
        skip();
    }
    assert_int_equal(fremovexattr(f.fd, "user.probe"), 0);
    assert_int_equal(attributes_add_xattr(&f.attributes, "security.evil", 13, (const uint8_t *)"1", 1, NULL), OK);
    assert_int_equal(attributes_add_xattr(&f.attributes, "user.a", 6, (const uint8_t *)"v\0w", 3, NULL), OK);
    assert_int_equal(apply_with(&f, &everything), OK);
    char value[8];
    assert_int_equal(fgetxattr(f.fd, "user.a", value, sizeof value), 3);
    assert_memory_equal(value, "v\0w", 3);
    assert_int_equal(fgetxattr(f.fd, "security.evil", value, sizeof value), -1);
    assert_int_equal(f.not_applied.xattrs, 1);
    end(&f);
}

static mode_t mode_of(const struct fixture *f)
{
    struct stat st;
    assert_int_equal(fstat(f->fd, &st), 0);
    return st.st_mode;
}

/* Everything that can be stored, on a file system that takes it all. */
static void begin_with_everything(struct fixture *f)
{
    begin(f);
    fake.acl_taken = fake.xattrs_taken = fake.flags_taken = true;
    struct attribute_extras *x;
    assert_int_equal(attributes_extras(&f->attributes, &x, NULL), OK);
    assert_int_equal(attributes_add_xattr(&f->attributes, "user.a", 6, (const uint8_t *)"1", 1, NULL), OK);
    assert_int_equal(attributes_add_xattr(&f->attributes, "trusted.b", 9, (const uint8_t *)"2", 1, NULL), OK);
    static const uint8_t caps[20] = {0x01, 0, 0, 2, 0, 0x20};
    assert_int_equal(attributes_set_fcaps(&f->attributes, caps, sizeof caps, NULL), OK);
    assert_int_equal(acl_list_add(&x->users, 1, 6, NULL), OK);
    x->has_group_obj = true;
    x->group_obj = 4;
    x->has_default = true;
    x->acl_default = (struct acl_default){7, 5, 0, ACL_PERM_UNSET};
    x->has_project_id = true;
    x->project_id = 77;
    f->attributes.stat.mode = S_IFREG | 0660; /* the group bits are the mask */
    f->attributes.stat.flags = 0x400000 | 0x4000;
}

/* bench/spec/archive-creation.md B6. */
static void test_order_of_the_steps(void **state)
{
    (void)state;
    struct fixture f;
    begin_with_everything(&f);
    need_root(&f);
    assert_int_equal(apply_with(&f, &everything), OK);
    assert_string_equal(fake.trace, "chown user.a trusted.b security.capability system.posix_acl_access "
                                    "system.posix_acl_default getproject setproject chmod utimens "
                                    "getflags setflags getfat setfat ");
    assert_int_equal(fake.project, 77);
    assert_int_equal(fake.chattr, FS_IMMUTABLE_FL);
    assert_int_equal(fake.fat, ATTR_SYS);
    static const struct attr_not_applied nothing;
    assert_memory_equal(&f.not_applied, &nothing, sizeof nothing);
    end(&f);
}

static void test_plain_file_costs_four_calls(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    assert_int_equal(apply_with(&f, &everything), OK);
    assert_string_equal(fake.trace, "chown getacl chmod utimens ");
    end(&f);
}

static void test_each_option_leaves_out_its_step(void **state)
{
    (void)state;
    static const struct {
        struct attr_apply_options options;
        const char *missing[2];
    } rows[] = {
        {{.ignore_ownership = true}, {"chown "}},
        {{.ignore_xattrs = true}, {"user.a ", "trusted.b "}},
        {{.ignore_fcaps = true}, {"security.capability "}},
        {{.ignore_acls = true}, {"system.posix_acl_access ", "system.posix_acl_default "}},
        {{.ignore_permissions = true}, {"chmod "}},
    };
    enum { ROWS = sizeof rows / sizeof rows[0] };
    for (size_t i = 0; i < ROWS; i++) {
        struct fixture f;
        begin_with_everything(&f);
        need_root(&f);
        assert_int_equal(apply_with(&f, &rows[i].options), OK);
        for (size_t row = 0; row < ROWS; row++)
            for (size_t j = 0; j < 2 && rows[row].missing[j]; j++)
                if (row == i)
                    assert_null(strstr(fake.trace, rows[row].missing[j]));
                else
                    assert_non_null(strstr(fake.trace, rows[row].missing[j]));
        assert_int_equal(f.not_applied.acls, 0);
        end(&f);
    }
}

/* The form in which XFS shows root an ACL would bring it back through the other door. */
static void test_ignored_acls_stay_out_on_xfs_too(void **state)
{
    (void)state;
    struct attr_apply_options without_acls = {.ignore_acls = true};
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        begin(&f);
        fake.xattrs_taken = true;
        const uint8_t value[] = "1";
        assert_int_equal(attributes_add_xattr(&f.attributes, "trusted.SGI_ACL_FILE", 20, value, 1, NULL), OK);
        assert_int_equal(attributes_add_xattr(&f.attributes, "trusted.SGI_ACL_DEFAULT", 23, value, 1, NULL), OK);
        assert_int_equal(attributes_add_xattr(&f.attributes, "user.SGI_ACL_FILE", 17, value, 1, NULL), OK);
        need_root(&f);
        assert_int_equal(apply_with(&f, i == 0 ? &without_acls : &everything), OK);
        assert_int_equal(strstr(fake.trace, "trusted.SGI_ACL_FILE") != NULL, i);
        assert_int_equal(strstr(fake.trace, "trusted.SGI_ACL_DEFAULT") != NULL, i);
        assert_non_null(strstr(fake.trace, "user.SGI_ACL_FILE"));
        end(&f);
    }
}

/* With an ACL the stored group bits are its mask, more than the group itself had. */
static void test_group_gets_no_more_without_its_acl(void **state)
{
    (void)state;
    struct attr_apply_options without_acls = {.ignore_acls = true};
    static const struct {
        mode_t mode;
        uint64_t group_obj;
        mode_t expected;
    } rows[] = {{0660, 4, 0640}, {0670, 0, 0600}, {0640, 7, 0640}, {02775, 5, 02755}, {0606, 7, 0606}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int refused = 0; refused < 2; refused++) {
            struct fixture f;
            begin(&f);
            struct attribute_extras *x;
            assert_int_equal(attributes_extras(&f.attributes, &x, NULL), OK);
            assert_int_equal(acl_list_add(&x->users, 1, 6, NULL), OK);
            x->has_group_obj = true;
            x->group_obj = rows[i].group_obj;
            f.attributes.stat.mode = S_IFREG | rows[i].mode;
            if (refused) { /* by a target without ACLs: an error, but the file stays */
                fake.faults[0].call = POSIX_ACL_ACCESS_NAME;
                fake.faults[0].errnum = EOPNOTSUPP;
                assert_int_equal(apply_with(&f, &everything), ERR_IO);
                assert_int_equal(f.err.errnum, EOPNOTSUPP);
                assert_int_equal(f.not_applied.acls, 1);
            } else {
                assert_int_equal(apply_with(&f, &without_acls), OK);
                assert_int_equal(f.not_applied.acls, 0);
            }
            assert_int_equal(mode_of(&f), S_IFREG | rows[i].expected);
            end(&f);
        }
    }
}

static void test_group_keeps_the_mask_with_its_acl(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    fake.acl_taken = true;
    struct attribute_extras *x;
    assert_int_equal(attributes_extras(&f.attributes, &x, NULL), OK);
    x->has_group_obj = true;
    x->group_obj = 4;
    f.attributes.stat.mode = S_IFREG | 0660;
    assert_int_equal(apply_with(&f, &everything), OK);
    assert_int_equal(mode_of(&f), S_IFREG | 0660);
    static const uint8_t expected[] = {2,   0,   0,  0, 1, 0, 6,   0,   255, 255, 255, 255, 4, 0, 4,   0,   255, 255,
                                       255, 255, 16, 0, 6, 0, 255, 255, 255, 255, 32,  0,   0, 0, 255, 255, 255, 255};
    assert_int_equal(fake.acl_size, sizeof expected);
    assert_memory_equal(fake.acl, expected, sizeof expected);
    assert_int_equal(f.not_applied.acl_masks, 0);

    /* Named entries without a group object: the mode's group bits are the mask, said once. */
    x->has_group_obj = false;
    assert_int_equal(acl_list_add(&x->groups, 12, 7, NULL), OK);
    assert_int_equal(apply_with(&f, &everything), OK);
    assert_int_equal(f.not_applied.acl_masks, 1);
    end(&f);
}

static void test_nonsense_acl_is_an_error_and_sets_nothing(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct attribute_extras *x;
    assert_int_equal(attributes_extras(&f.attributes, &x, NULL), OK);
    assert_int_equal(acl_list_add(&x->users, 1, 8, NULL), OK);
    assert_int_equal(apply_with(&f, &everything), ERR_FORMAT);
    assert_null(strstr(fake.trace, "system."));
    end(&f);
}

/* bench/spec/archive-creation.md B6: what is ignored, and where. */
static void test_what_the_target_does_not_have(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        int errnum;
        bool ignored;
    } rows[] = {
        {"chown", EOPNOTSUPP, true},
        {"chown", EPERM, false},
        {"user.a", EOPNOTSUPP, true},
        {"user.a", ENOSPC, false},
        {"trusted.b", EOPNOTSUPP, true},
        {"security.capability", EOPNOTSUPP, true},
        {"security.capability", EINVAL, false},
        {"system.posix_acl_access", EOPNOTSUPP, false},
        {"system.posix_acl_default", EOPNOTSUPP, false},
        {"getproject", ENOTTY, true},
        {"setproject", EOPNOTSUPP, true},
        {"setproject", EIO, false},
        {"chmod", EOPNOTSUPP, true},
        {"chmod", EPERM, false},
        {"utimens", EOPNOTSUPP, true},
        {"utimens", EROFS, false},
        {"getflags", ENOTTY, true},
        {"setflags", EOPNOTSUPP, true},
        {"setflags", EINVAL, true},
        {"setflags", EBADF, true},
        {"setflags", ENOSYS, true},
        {"setflags", EIO, false},
        {"getfat", ENOTTY, true},
        {"setfat", EIO, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        begin_with_everything(&f);
        need_root(&f);
        fake.faults[0].call = rows[i].call;
        fake.faults[0].errnum = rows[i].errnum;
        enum status status = apply_with(&f, &everything);
        assert_int_equal(status, rows[i].ignored ? OK : ERR_IO);
        if (!rows[i].ignored)
            assert_int_equal(f.err.errnum, rows[i].errnum);
        assert_non_null(strstr(fake.trace, "chmod utimens getflags")); /* later steps are tried all the same */
        end(&f);
    }
}

static void test_first_unsupported_xattr_ends_xattrs_and_capabilities(void **state)
{
    (void)state;
    struct fixture f;
    begin_with_everything(&f);
    fake.faults[0].call = "user.a";
    fake.faults[0].errnum = EOPNOTSUPP;
    assert_int_equal(apply_with(&f, &everything), OK);
    assert_null(strstr(fake.trace, "trusted.b"));
    assert_null(strstr(fake.trace, "security.capability"));
    assert_non_null(strstr(fake.trace, POSIX_ACL_ACCESS_NAME));
    assert_int_equal(f.not_applied.xattrs_denied, 2);
    assert_int_equal(f.not_applied.fcaps, 1);
    end(&f);
}

static void test_first_failure_is_told(void **state)
{
    (void)state;
    struct fixture f;
    begin_with_everything(&f);
    fake.faults[0].call = "user.a";
    fake.faults[0].errnum = ENOSPC;
    fake.faults[1].call = "utimens";
    fake.faults[1].errnum = EIO;
    assert_int_equal(apply_with(&f, &everything), ERR_IO);
    assert_int_equal(f.err.errnum, ENOSPC);
    assert_non_null(strstr(f.err.text, "user.a"));
    end(&f);
}

/* Refused, ignored or fine: what counts is whose the file is. */
static void test_set_id_bits_are_for_the_stored_owner_alone(void **state)
{
    (void)state;
    static const struct {
        uid_t uid_more;
        gid_t gid_more;
        mode_t wanted;
    } rows[] = {{0, 0, 06755}, {1, 0, 02755}, {0, 1, 04755}, {1, 1, 0755}};
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        begin(&f);
        struct attr_apply_options options = {.ignore_ownership = i % 2 == 0};
        fake.faults[0].call = "chown";
        fake.faults[0].errnum = EPERM;
        f.attributes.stat.mode = S_IFREG | 06755;
        f.attributes.stat.uid += rows[i / 2].uid_more;
        f.attributes.stat.gid += rows[i / 2].gid_more;
        assert_int_equal(apply_with(&f, &options), options.ignore_ownership ? OK : ERR_IO);
        assert_int_equal(mode_of(&f), S_IFREG | rows[i / 2].wanted);
        assert_int_equal(f.not_applied.set_ids, rows[i / 2].wanted != 06755);
        end(&f);
    }
}

/* To the kernel the largest id means that there is nothing to change. */
static void test_owner_that_cannot_be(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        begin(&f);
        f.attributes.stat.mode = S_IFREG | 06755;
        *(i == 0 ? &f.attributes.stat.uid : &f.attributes.stat.gid) = UINT32_MAX;
        assert_int_equal(apply_with(&f, &everything), ERR_FORMAT);
        assert_non_null(strstr(f.err.text, "4294967295"));
        assert_int_equal(mode_of(&f), S_IFREG | (i == 0 ? 02755 : 04755));
        end(&f);
    }
}

static void test_flags_that_are_known_are_set(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    fake.flags_taken = true;
    fake.unknown = FS_NOCOW_FL | FS_COMPR_FL;
    fake.chattr = FS_EXTENT_FL | FS_SYNC_FL;
    f.attributes.stat.flags = 0x400000 | 0x80000 | 0x40000 | 0x100000 | 0x20000;
    assert_int_equal(apply_with(&f, &everything), OK);
    assert_int_equal(fake.chattr, FS_EXTENT_FL | FS_IMMUTABLE_FL | FS_NODUMP_FL | FS_NOATIME_FL);
    assert_int_equal(f.not_applied.flags, 1);
    end(&f);
}

static void test_names_in_errors_hold_no_control_characters(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    assert_int_equal(attributes_add_xattr(&f.attributes, "user.\033[2J", 9, (const uint8_t *)"1", 1, NULL), OK);
    fake.faults[0].call = "user.\033[2J";
    fake.faults[0].errnum = ENOSPC;
    assert_int_equal(apply_with(&f, &everything), ERR_IO);
    assert_non_null(strstr(f.err.text, "user.\\x1b[2J"));
    assert_null(strchr(f.err.text, '\033'));
    end(&f);
}

static void test_flags_take_the_stored_bits_and_keep_the_others(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    fake.flags_taken = true;
    fake.chattr = FS_EXTENT_FL | FS_TOPDIR_FL | FS_SYNC_FL;
    fake.fat = ATTR_RO | ATTR_HIDDEN;
    f.attributes.stat.flags = 0x10000 | 0x20000 | 0x8000 | (UINT64_C(1) << 40); /* append, noatime, archive, unknown */
    assert_int_equal(apply_with(&f, &everything), OK);
    assert_int_equal(fake.chattr, FS_EXTENT_FL | FS_TOPDIR_FL | FS_APPEND_FL | FS_NOATIME_FL);
    assert_int_equal(fake.fat, ATTR_RO | ATTR_ARCH);
    assert_int_equal(f.not_applied.flags, 0);
    end(&f);
}

/* The client's default feature set lacks it: we do not. */
static void test_nodump_is_restored(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    fake.flags_taken = true;
    f.attributes.stat.flags = 0x100000;
    assert_int_equal(apply_with(&f, &everything), OK);
    assert_int_equal(fake.chattr, FS_NODUMP_FL);
    f.attributes.stat.flags = 0x800000;
    assert_int_equal(apply_with(&f, &everything), OK);
    assert_int_equal(fake.chattr, FS_SYNC_FL);
    end(&f);
}

static void test_early_flags(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    fake.flags_taken = true;
    fake.chattr = FS_EXTENT_FL;
    f.attributes.stat.flags = 0x400000 | 0x10000 | 0x100000 | 0x200000 | 0x800000 | 0x2000;
    assert_int_equal(attr_apply_early_flags(f.fd, &f.attributes, &f.not_applied, &f.err), OK);
    assert_string_equal(fake.trace, "");
    f.attributes.stat.flags |= 0x20000 | 0x40000 | 0x80000 | 0x1000000 | 0x2000000;
    assert_int_equal(attr_apply_early_flags(f.fd, &f.attributes, &f.not_applied, &f.err), OK);
    assert_int_equal(fake.chattr,
                     FS_EXTENT_FL | FS_NOATIME_FL | FS_COMPR_FL | FS_NOCOW_FL | FS_NOCOMP_FL | FS_PROJINHERIT_FL);
    fake.faults[0].call = "getflags";
    fake.faults[0].errnum = ENOTTY;
    assert_int_equal(attr_apply_early_flags(f.fd, &f.attributes, &f.not_applied, &f.err), OK);
    assert_int_equal(f.not_applied.flags, 0); /* told by attr_apply */
    fake.faults[0].errnum = EIO;
    assert_int_equal(attr_apply_early_flags(f.fd, &f.attributes, &f.not_applied, &f.err), ERR_IO);
    end(&f);
}

static void test_project_id_over_32_bits_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    fake.flags_taken = true;
    struct attribute_extras *x;
    assert_int_equal(attributes_extras(&f.attributes, &x, NULL), OK);
    x->has_project_id = true;
    x->project_id = UINT64_C(1) << 32;
    assert_int_equal(apply_with(&f, &everything), ERR_FORMAT);
    assert_int_equal(fake.project, 0);
    end(&f);
}

/* ---- a restore by somebody else than root ---- */

enum { NOBODY = 65534 };

/* Runs attr_apply in a child that is not root and owns the file. What it found is in *f afterwards. */
static enum status apply_unprivileged(struct fixture *f, const struct attr_apply_options *options)
{
    struct answer {
        enum status status;
        struct attr_not_applied not_applied;
        struct error err;
        uint32_t chattr;
    } *answer = mmap(NULL, sizeof *answer, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(answer, MAP_FAILED);
    assert_int_equal(syscall(SYS_fchown, f->fd, NOBODY, NOBODY), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setegid(NOBODY) || seteuid(NOBODY))
            _exit(1);
        answer->status =
            attr_apply(f->fd, APPLY_TO_OPEN_FILE, &f->attributes, options, &answer->not_applied, &answer->err);
        answer->chattr = fake.chattr;
        _exit(0);
    }
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_int_equal(how, 0);
    enum status status = answer->status;
    f->not_applied = answer->not_applied;
    f->err = answer->err;
    fake.chattr = answer->chattr;
    munmap(answer, sizeof *answer);
    return status;
}

static void test_unprivileged_counts_what_only_root_may(void **state)
{
    (void)state;
    struct fixture f;
    begin_with_everything(&f);
    need_root(&f);
    struct attr_apply_options options = {.ignore_ownership = true};
    assert_int_equal(attributes_add_xattr(&f.attributes, "security.NTACL", 14, (const uint8_t *)"3", 1, NULL), OK);
    f.attributes.stat.flags = 0x400000 | 0x10000 | 0x20000;
    fake.root_only = FS_IMMUTABLE_FL | FS_APPEND_FL;
    fake.faults[0].call = "setproject";
    fake.faults[0].errnum = EPERM;
    assert_int_equal(apply_unprivileged(&f, &options), OK);
    assert_int_equal(f.not_applied.xattrs_denied, 2);
    assert_int_equal(f.not_applied.fcaps, 1);
    assert_int_equal(f.not_applied.project_ids, 1);
    assert_int_equal(f.not_applied.flags, 1);
    assert_int_equal(f.not_applied.acls, 0);
    assert_int_equal(fake.chattr, FS_NOATIME_FL); /* the others are set */
    assert_int_equal(mode_of(&f), S_IFREG | 0660);
    end(&f);
}

static void test_unprivileged_owner_is_an_error_with_a_hint(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    need_root(&f);
    f.attributes.stat.uid = 1;
    assert_int_equal(apply_unprivileged(&f, &everything), ERR_IO);
    assert_int_equal(f.err.errnum, EPERM);
    assert_non_null(strstr(f.err.text, "(try --ignore-ownership)"));
    end(&f);
}

static void test_every_eperm_is_an_error_for_root(void **state)
{
    (void)state;
    static const char *const calls[] = {
        "chown", "user.a",  "trusted.b", "security.capability", POSIX_ACL_ACCESS_NAME, "getproject",
        "chmod", "utimens", "setflags"};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        struct fixture f;
        begin_with_everything(&f);
        need_root(&f);
        fake.faults[0].call = calls[i];
        fake.faults[0].errnum = EPERM;
        assert_int_equal(apply_with(&f, &everything), ERR_IO);
        assert_int_equal(f.err.errnum, EPERM);
        assert_null(strstr(f.err.text, "--ignore-ownership"));
        end(&f);
    }
}

static void test_symlink_by_path_descriptor(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    char link[300];
    snprintf(link, sizeof link, "%s/link", f.directory);
    assert_int_equal(symlink("file", link), 0);
    struct stat before;
    assert_int_equal(fstat(f.fd, &before), 0);
    int fd = open(link, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    assert_true(fd >= 0);
    f.attributes.stat.mode = S_IFLNK | 0777;
    assert_int_equal(attr_apply(fd, APPLY_TO_PATH_FD, &f.attributes, &everything, &f.not_applied, &f.err), OK);
    close(fd);
    struct stat st;
    assert_int_equal(lstat(link, &st), 0);
    assert_int_equal(st.st_mtim.tv_sec, -7);
    struct stat after;
    assert_int_equal(fstat(f.fd, &after), 0);
    assert_int_equal(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
    assert_int_equal(after.st_mode, before.st_mode);
    end(&f);
}

static void test_fifo_by_path_descriptor(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    char path[300];
    snprintf(path, sizeof path, "%s/fifo", f.directory);
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    f.attributes.stat.mode = S_IFIFO | 0644;
    assert_int_equal(attr_apply(fd, APPLY_TO_PATH_FD, &f.attributes, &everything, &f.not_applied, &f.err), OK);
    close(fd);
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFIFO | 0644);
    assert_int_equal(st.st_mtim.tv_nsec, 123456789);
    end(&f);
}

static void test_failure_names_what_was_tried(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    f.attributes.stat.mtime_nanos = 1000000000;
    assert_int_equal(apply_with(&f, &everything), ERR_IO);
    assert_int_equal(f.err.errnum, EINVAL);
    assert_non_null(strstr(f.err.text, "modification time"));
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mode_and_mtime),
        cmocka_unit_test(test_set_id_bits_survive_the_owner),
        cmocka_unit_test(test_options_leave_out),
        cmocka_unit_test(test_xattrs_are_set_and_foreign_names_are_not),
        cmocka_unit_test(test_order_of_the_steps),
        cmocka_unit_test(test_plain_file_costs_four_calls),
        cmocka_unit_test(test_each_option_leaves_out_its_step),
        cmocka_unit_test(test_ignored_acls_stay_out_on_xfs_too),
        cmocka_unit_test(test_group_gets_no_more_without_its_acl),
        cmocka_unit_test(test_group_keeps_the_mask_with_its_acl),
        cmocka_unit_test(test_nonsense_acl_is_an_error_and_sets_nothing),
        cmocka_unit_test(test_what_the_target_does_not_have),
        cmocka_unit_test(test_first_unsupported_xattr_ends_xattrs_and_capabilities),
        cmocka_unit_test(test_first_failure_is_told),
        cmocka_unit_test(test_set_id_bits_are_for_the_stored_owner_alone),
        cmocka_unit_test(test_owner_that_cannot_be),
        cmocka_unit_test(test_flags_that_are_known_are_set),
        cmocka_unit_test(test_names_in_errors_hold_no_control_characters),
        cmocka_unit_test(test_flags_take_the_stored_bits_and_keep_the_others),
        cmocka_unit_test(test_nodump_is_restored),
        cmocka_unit_test(test_early_flags),
        cmocka_unit_test(test_project_id_over_32_bits_is_refused),
        cmocka_unit_test(test_unprivileged_counts_what_only_root_may),
        cmocka_unit_test(test_unprivileged_owner_is_an_error_with_a_hint),
        cmocka_unit_test(test_every_eperm_is_an_error_for_root),
        cmocka_unit_test(test_symlink_by_path_descriptor),
        cmocka_unit_test(test_fifo_by_path_descriptor),
        cmocka_unit_test(test_failure_names_what_was_tried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
