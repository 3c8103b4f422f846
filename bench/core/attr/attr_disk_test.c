/* Attributes on real file systems: read from one file, given to another, read again. Each file system is made in an
 * image and mounted where nobody else sees it (a mount namespace of this process), so nothing is left behind whatever
 * happens: immutable files go with their image. */
#include "testing/testing.h"

#include "attr/attr_apply.h"
#include "attr/attr_read.h"
#include "attr/file_flags.h"
#include "attr/posix_acl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

struct file_system {
    const char *name;
    uint64_t magic;
    off_t image_size;
    const char *make[2]; /* commands, the image's path follows; the second when the first cannot be mounted */
    char directory[256];
    char reason[256]; /* why it is not there */
    bool mounted;
};

static struct file_system file_systems[] = {
    {.name = "ext4",
     .magic = 0xEF53,
     .image_size = 32 << 20,
     .make = {"mkfs.ext4 -q -F -b 4096 -I 256 -O quota,project", "mkfs.ext4 -q -F -b 4096 -I 256"}},
    {.name = "xfs", .magic = 0x58465342, .image_size = 320 << 20, .make = {"mkfs.xfs -q -f"}},
    {.name = "btrfs", .magic = 0x9123683E, .image_size = 128 << 20, .make = {"mkfs.btrfs -q -f"}},
    {.name = "tmpfs", .magic = 0x01021994},
};
enum { FILE_SYSTEMS = sizeof file_systems / sizeof file_systems[0] };
static char *work_directory;

/* ---- mounting ---- */

static bool mount_image(struct file_system *fs, const char *make)
{
    char image[300], command[1024];
    snprintf(image, sizeof image, "%s/%s.img", work_directory, fs->name);
    int fd = open(image, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, fs->image_size), 0);
    close(fd);
    snprintf(command, sizeof command, "PATH=$PATH:/usr/sbin:/sbin; %s '%s' >/dev/null 2>&1", make, image);
    if (system(command) != 0) {
        snprintf(fs->reason, sizeof fs->reason, "\"%s\" failed or is not installed", make);
        return false;
    }
    snprintf(command, sizeof command, "mount -o loop '%s' '%s' 2>/dev/null", image, fs->directory);
    if (system(command) != 0) {
        snprintf(fs->reason, sizeof fs->reason, "an image of %s cannot be mounted here", fs->name);
        return false;
    }
    return true;
}

static void mount_one(struct file_system *fs)
{
    snprintf(fs->directory, sizeof fs->directory, "%s/%s", work_directory, fs->name);
    assert_int_equal(mkdir(fs->directory, 0700), 0);
    if (!fs->make[0]) {
        fs->mounted = mount("pxarbench-test", fs->directory, fs->name, 0, "mode=700") == 0;
        if (!fs->mounted)
            snprintf(fs->reason, sizeof fs->reason, "cannot mount %s: %s", fs->name, strerror(errno));
    } else {
        fs->mounted = mount_image(fs, fs->make[0]) || (fs->make[1] && mount_image(fs, fs->make[1]));
    }
}

static int mount_all(void **state)
{
    (void)state;
    work_directory = temp_dir_make();
    const char *reason = geteuid() != 0 ? "only root can mount" : NULL;
    if (!reason && (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0))
        reason = "no mount namespace of our own";
    for (size_t i = 0; i < FILE_SYSTEMS; i++) {
        if (reason)
            snprintf(file_systems[i].reason, sizeof file_systems[i].reason, "%s", reason);
        else
            mount_one(&file_systems[i]);
    }
    return 0;
}

static int unmount_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < FILE_SYSTEMS; i++)
        if (file_systems[i].mounted)
            assert_int_equal(umount2(file_systems[i].directory, MNT_DETACH), 0);
    temp_dir_remove(work_directory);
    return 0;
}

/* ---- one file and its copy ---- */

struct pair {
    struct file_system *fs;
    struct attr_features features;
    struct attr_reader *reader;
    char path[300];
    int from, to;
    struct attributes a, b;
    struct attr_not_stored not_stored;
    struct attr_not_applied not_applied;
    struct error err;
};

static void begin(struct pair *p, void **state, bool directories)
{
    static int count;
    *p = (struct pair){.fs = *state};
    if (!p->fs->mounted) {
        print_message("%s\n", p->fs->reason);
        skip();
    }
    struct statfs sfs;
    assert_int_equal(statfs(p->fs->directory, &sfs), 0);
    assert_int_equal((uint32_t)sfs.f_type, p->fs->magic);
    p->features = attr_features_of((uint32_t)sfs.f_type);
    assert_int_equal(attr_reader_new(&p->reader, &p->err), OK);
    int fds[2];
    for (int i = 0; i < 2; i++) {
        snprintf(p->path, sizeof p->path, "%s/%d", p->fs->directory, count++);
        if (directories)
            assert_int_equal(mkdir(p->path, 0700), 0);
        fds[i] = open(p->path, directories ? O_RDONLY | O_DIRECTORY : O_RDWR | O_CREAT | O_EXCL, 0600);
        assert_true(fds[i] >= 0);
    }
    p->from = fds[0];
    p->to = fds[1];
}

/* `path` stays that of the copy. */
static void end(struct pair *p)
{
    close(p->from);
    close(p->to);
    attr_reader_free(p->reader);
    attributes_deinit(&p->a);
    attributes_deinit(&p->b);
}

static void read_into(struct pair *p, int fd, struct attributes *out)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    attributes_deinit(out);
    attributes_from_stat(&st, out);
    enum status status = attr_read(p->reader, fd, &p->features, "file", out, &p->not_stored, &p->err);
    if (status != OK)
        print_message("%s\n", p->err.text);
    assert_int_equal(status, OK);
}

/* Reads `from`, gives it to `to`, reads that. */
static void copy(struct pair *p)
{
    static const struct attr_apply_options everything = {0};
    read_into(p, p->from, &p->a);
    enum status status = attr_apply(p->to, APPLY_TO_OPEN_FILE, &p->a, &everything, &p->not_applied, &p->err);
    if (status != OK)
        print_message("%s\n", p->err.text);
    assert_int_equal(status, OK);
    read_into(p, p->to, &p->b);
}

static void assert_equal_attributes(const struct pair *p)
{
    assert_int_equal(attributes_compare(&p->a, &p->b, true), ATTRIBUTE_EQUAL);
}

static void set(int fd, const char *name, const void *value, size_t size)
{
    if (fsetxattr(fd, name, value, size, 0) != 0) {
        print_message("%s: %s\n", name, strerror(errno));
        assert_true(false);
    }
}

/* The kernel's own words, byte for byte. */
static void assert_same_xattr(const struct pair *p, const char *name, bool present)
{
    char a[1024], b[1024];
    ssize_t a_size = fgetxattr(p->from, name, a, sizeof a), b_size = fgetxattr(p->to, name, b, sizeof b);
    assert_int_equal(a_size, b_size);
    assert_int_equal(a_size >= 0, present);
    if (a_size > 0)
        assert_memory_equal(a, b, (size_t)a_size);
}

static void put_entry(uint8_t **at, unsigned tag, unsigned perm, uint32_t id)
{
    store_u32le(*at, tag | perm << 16);
    store_u32le(*at + 4, id);
    *at += 8;
}

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };
#define NO_ID UINT32_MAX

static bool stores_acls(const struct pair *p)
{
    return p->features.xattrs && p->features.acl;
}

/* XFS shows root its own form of an ACL as well, as "trusted.SGI_ACL_FILE". It is stored like any other name. */
static size_t acl_shadows(const struct pair *p)
{
    return p->fs->magic == 0x58465342;
}

static void set_acl(int fd, const char *name, const uint8_t *acl, const uint8_t *end_of_acl)
{
    set(fd, name, acl, (size_t)(end_of_acl - acl));
}

/* u::6 u:7:6 u:1000:1 g::5 g:50:2 m::3 o::0 and the like; the mask bounds the named ones. */
static void set_full_acl(int fd, const char *name)
{
    uint8_t acl[128], *at = acl + 4;
    store_u32le(acl, 2);
    put_entry(&at, USER_OBJ, 6, NO_ID);
    put_entry(&at, USER, 6, 7);
    put_entry(&at, USER, 1, 1000);
    put_entry(&at, GROUP_OBJ, 5, NO_ID);
    put_entry(&at, GROUP, 2, 50);
    put_entry(&at, MASK, 3, NO_ID);
    put_entry(&at, OTHER, 0, NO_ID);
    set_acl(fd, name, acl, at);
}

/* ---- the tests ---- */

static void test_everything_at_once(void **state)
{
    struct pair p;
    begin(&p, state, false);
    set(p.from, "user.zz", "z\0z", 3);
    set(p.from, "trusted.m", "m", 1);
    set(p.from, "user.a", "", 0);
    set(p.from, "security.NTACL", "nt", 2);
    assert_int_equal(fchown(p.from, 1234, 4321), 0);
    static const uint8_t caps[24] = {0x01, 0, 0, 3, 0, 0x20, 0, 0, 0,    0,    0, 0,
                                     0,    0, 0, 0, 0, 0,    0, 0, 0xa0, 0x86, 1, 0};
    set(p.from, "security.capability", caps, sizeof caps);
    set_full_acl(p.from, POSIX_ACL_ACCESS_NAME);
    assert_int_equal(fchmod(p.from, 06630), 0);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = -2, .tv_nsec = 750000000}};
    assert_int_equal(futimens(p.from, times), 0);
    copy(&p);
    assert_equal_attributes(&p);
    assert_int_equal(p.b.stat.mode, S_IFREG | 06630);
    assert_int_equal(p.b.stat.uid, 1234);
    assert_int_equal(p.b.stat.gid, 4321);
    assert_int_equal(p.b.stat.mtime_secs, -2);
    assert_int_equal(p.b.stat.mtime_nanos, 750000000);
    bool stored = p.features.xattrs;
    assert_int_equal(p.a.extras ? p.a.extras->xattr_count : 0, stored ? 4 + acl_shadows(&p) : 0);
    if (stored) {
        assert_same_xattr(&p, "security.NTACL", true);
        assert_same_xattr(&p, "user.a", true);
        assert_same_xattr(&p, "security.capability", true);
        assert_same_xattr(&p, POSIX_ACL_ACCESS_NAME, true);
    }
    assert_int_equal(atomic_load(&p.not_stored.xattrs), stored ? 0 : 1);
    assert_int_equal(atomic_load(&p.not_stored.acls), stored ? 0 : 1);
    assert_int_equal(atomic_load(&p.not_stored.fcaps), stored ? 0 : 1);
    end(&p);
}

static void test_access_acl_with_a_mask_only(void **state)
{
    struct pair p;
    begin(&p, state, false);
    uint8_t acl[64], *at = acl + 4;
    store_u32le(acl, 2);
    put_entry(&at, USER_OBJ, 6, NO_ID);
    put_entry(&at, GROUP_OBJ, 6, NO_ID);
    put_entry(&at, MASK, 0, NO_ID);
    put_entry(&at, OTHER, 4, NO_ID);
    set_acl(p.from, POSIX_ACL_ACCESS_NAME, acl, at);
    copy(&p);
    assert_equal_attributes(&p);
    assert_int_equal(p.a.stat.mode, S_IFREG | 0604);
    if (stores_acls(&p)) {
        assert_true(p.a.extras->has_group_obj);
        assert_int_equal(p.a.extras->group_obj, 6);
        assert_int_equal(p.a.extras->users.count + p.a.extras->groups.count, 0);
        assert_same_xattr(&p, POSIX_ACL_ACCESS_NAME, true);
    }
    end(&p);
}

static void test_directory_with_access_and_default_acl(void **state)
{
    struct pair p;
    begin(&p, state, true);
    set_full_acl(p.from, POSIX_ACL_ACCESS_NAME);
    set_full_acl(p.from, POSIX_ACL_DEFAULT_NAME);
    assert_int_equal(fchmod(p.from, 0630), 0); /* on XFS the names change places by it, here as in the copy */
    copy(&p);
    assert_equal_attributes(&p);
    if (stores_acls(&p)) {
        assert_int_equal(p.a.extras->default_users.count, 2);
        assert_int_equal(p.a.extras->acl_default.mask, 3);
        assert_same_xattr(&p, POSIX_ACL_ACCESS_NAME, true);
        assert_same_xattr(&p, POSIX_ACL_DEFAULT_NAME, true);
    } else {
        assert_int_equal(atomic_load(&p.not_stored.acls), 1);
    }
    end(&p);
}

static void test_default_acl_without_a_mask(void **state)
{
    struct pair p;
    begin(&p, state, true);
    uint8_t acl[64], *at = acl + 4;
    store_u32le(acl, 2);
    put_entry(&at, USER_OBJ, 7, NO_ID);
    put_entry(&at, GROUP_OBJ, 5, NO_ID);
    put_entry(&at, OTHER, 0, NO_ID);
    set_acl(p.from, POSIX_ACL_DEFAULT_NAME, acl, at);
    copy(&p);
    assert_equal_attributes(&p);
    if (stores_acls(&p)) {
        assert_true(p.a.extras->has_default);
        assert_true(p.a.extras->acl_default.mask == ACL_PERM_UNSET);
        assert_false(p.a.extras->has_group_obj);
        assert_same_xattr(&p, POSIX_ACL_DEFAULT_NAME, true);
        assert_same_xattr(&p, POSIX_ACL_ACCESS_NAME, false);
    }
    end(&p);
}

/* Of the file or directory that was there, or inherited: the archive has none. */
static void test_acls_that_are_not_stored_go(void **state)
{
    for (int directories = 0; directories < 2; directories++) {
        struct pair p;
        begin(&p, state, directories);
        assert_int_equal(fchmod(p.from, 0664), 0);
        set_full_acl(p.to, POSIX_ACL_ACCESS_NAME);
        if (directories)
            set_full_acl(p.to, POSIX_ACL_DEFAULT_NAME);
        static const struct attr_apply_options ignored = {.ignore_acls = true};
        read_into(&p, p.from, &p.a);
        assert_int_equal(attr_apply(p.to, APPLY_TO_OPEN_FILE, &p.a, &ignored, &p.not_applied, &p.err), OK);
        assert_true(fgetxattr(p.to, POSIX_ACL_ACCESS_NAME, NULL, 0) > 0);
        copy(&p);
        assert_equal_attributes(&p);
        assert_int_equal(fgetxattr(p.to, POSIX_ACL_ACCESS_NAME, NULL, 0), -1);
        assert_int_equal(fgetxattr(p.to, POSIX_ACL_DEFAULT_NAME, NULL, 0), -1);
        assert_int_equal(p.b.stat.mode & 07777, 0664);
        end(&p);
    }
}

static void test_no_permissions_by_an_acl(void **state)
{
    struct pair p;
    begin(&p, state, false);
    set_full_acl(p.from, POSIX_ACL_ACCESS_NAME);
    assert_int_equal(fchmod(p.from, 0674), 0);
    static const struct attr_apply_options ignored = {.ignore_permissions = true};
    read_into(&p, p.from, &p.a);
    assert_int_equal(attr_apply(p.to, APPLY_TO_OPEN_FILE, &p.a, &ignored, &p.not_applied, &p.err), OK);
    read_into(&p, p.to, &p.b);
    assert_int_equal(p.b.stat.mode, S_IFREG | 0600);
    if (stores_acls(&p)) {
        assert_int_equal(p.b.extras->users.count, 2);
        assert_int_equal(p.b.extras->group_obj, 5);
    }
    end(&p);
}

static void test_times_that_do_not_fit_are_counted(void **state)
{
    struct pair p;
    begin(&p, state, false);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = INT64_C(64060588800)}};
    assert_int_equal(futimens(p.from, times), 0);
    read_into(&p, p.from, &p.a);
    bool fits = p.a.stat.mtime_secs == INT64_C(64060588800);
    p.a.stat.mtime_secs = INT64_C(64060588800);
    static const struct attr_apply_options everything = {0};
    assert_int_equal(attr_apply(p.to, APPLY_TO_OPEN_FILE, &p.a, &everything, &p.not_applied, &p.err), OK);
    assert_int_equal(p.not_applied.mtimes, !fits);
    assert_true(fits == (p.fs->magic != 0xEF53 && p.fs->magic != 0x58465342));
    end(&p);
}

static uint32_t chattr_of(struct pair *p, int fd)
{
    uint32_t flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) {
        print_message("%s without chattr flags: %s\n", p->fs->name, strerror(errno));
        end(p);
        skip();
    }
    return flags;
}

static void chattr(int fd, uint32_t flags)
{
    assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
}

static void test_chattr_flags(void **state)
{
    static const uint32_t wanted[] = {FS_IMMUTABLE_FL, FS_APPEND_FL, FS_NOATIME_FL | FS_SYNC_FL, FS_NODUMP_FL,
                                      FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NOATIME_FL | FS_NODUMP_FL};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        struct pair p;
        begin(&p, state, false);
        set(p.from, "user.a", "1", 1);
        uint32_t before = chattr_of(&p, p.from), target_before = chattr_of(&p, p.to);
        uint32_t set_flags = before | wanted[i];
        if (ioctl(p.from, FS_IOC_SETFLAGS, &set_flags) != 0) {
            print_message("%s has no flags 0x%x\n", p.fs->name, wanted[i]);
            end(&p);
            continue;
        }
        copy(&p);
        assert_int_equal(p.a.stat.flags, file_flags_from_chattr(wanted[i]));
        assert_int_equal(chattr_of(&p, p.to), target_before | wanted[i]);
        assert_equal_attributes(&p);
        assert_int_equal(p.not_applied.flags, 0);
        chattr(p.from, before);
        chattr(p.to, target_before);
        end(&p);
    }
}

static void test_directory_flags(void **state)
{
    struct pair p;
    begin(&p, state, true);
    uint32_t before = chattr_of(&p, p.from), target_before = chattr_of(&p, p.to), wanted = before | FS_IMMUTABLE_FL;
    if (ioctl(p.from, FS_IOC_SETFLAGS, &wanted) != 0) {
        print_message("%s has no such flags\n", p.fs->name);
        end(&p);
        skip();
    }
    copy(&p);
    assert_equal_attributes(&p);
    assert_int_equal(p.b.stat.flags, FILE_FLAG_IMMUTABLE);
    assert_int_equal(unlinkat(AT_FDCWD, p.path, AT_REMOVEDIR), -1);
    assert_int_equal(errno, EPERM);
    chattr(p.from, before);
    chattr(p.to, target_before);
    end(&p);
}

static void test_project_id(void **state)
{
    for (int directories = 0; directories < 2; directories++) {
        struct pair p;
        begin(&p, state, directories);
        struct fsxattr fsx = {0};
        int failed = ioctl(p.from, FS_IOC_FSGETXATTR, &fsx);
        fsx.fsx_projid = 0xfffffffe;
        if (failed || ioctl(p.from, FS_IOC_FSSETXATTR, &fsx) != 0) {
            print_message("%s without project ids here: %s\n", p.fs->name, strerror(errno));
            end(&p);
            skip();
        }
        copy(&p);
        assert_equal_attributes(&p);
        if (p.features.project_id) {
            assert_true(p.a.extras->has_project_id);
            assert_int_equal(p.a.extras->project_id, 0xfffffffe);
        }
        end(&p);
    }
}

/* The real kernel's refusals. */
static void test_unprivileged_restore(void **state)
{
    enum { NOBODY = 65534 };
    struct pair p;
    begin(&p, state, false);
    static const uint8_t caps[20] = {0x01, 0, 0, 2, 0, 0x20};
    set(p.from, "user.a", "1", 1);
    set(p.from, "trusted.b", "2", 1);
    set(p.from, "security.NTACL", "3", 1);
    set(p.from, "security.capability", caps, sizeof caps);
    set_full_acl(p.from, POSIX_ACL_ACCESS_NAME);
    uint32_t before = chattr_of(&p, p.from), wanted = before | FS_IMMUTABLE_FL | FS_NOATIME_FL;
    if (ioctl(p.from, FS_IOC_SETFLAGS, &wanted) != 0)
        wanted = before;
    read_into(&p, p.from, &p.a);
    chattr(p.from, before);
    assert_int_equal(fchown(p.to, NOBODY, NOBODY), 0);
    uint32_t target_before = chattr_of(&p, p.to);
    pid_t pid = fork();
    if (pid == 0) {
        struct attr_apply_options options = {.ignore_ownership = true};
        if (setegid(NOBODY) || seteuid(NOBODY))
            _exit(1);
        if (attr_apply(p.to, APPLY_TO_OPEN_FILE, &p.a, &options, &p.not_applied, &p.err) != OK)
            _exit(2);
        bool has_flags = wanted != before;
        if (p.not_applied.flags != has_flags)
            _exit(3);
        bool stored = p.features.xattrs;
        if (p.not_applied.xattrs_denied != (stored ? 2 + acl_shadows(&p) : 0) || p.not_applied.fcaps != stored)
            _exit(4);
        _exit(p.not_applied.acls == 0 ? 0 : 5);
    }
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
    if (wanted != before)
        assert_int_equal(chattr_of(&p, p.to), target_before | FS_NOATIME_FL);
    if (p.features.xattrs)
        assert_same_xattr(&p, POSIX_ACL_ACCESS_NAME, true);
    assert_int_equal(fgetxattr(p.to, "security.capability", NULL, 0), -1);
    end(&p);
}

static void test_hundred_xattrs_keep_their_order(void **state)
{
    struct pair p;
    begin(&p, state, false);
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s%d", i % 3 ? "user." : "trusted.", i * 7919 % 101);
        set(p.from, name, "v", 1);
    }
    char list[8192];
    ssize_t size = flistxattr(p.from, list, sizeof list);
    copy(&p);
    assert_equal_attributes(&p);
    size_t at = 0, i = 0;
    for (; p.features.xattrs && at < (size_t)size; at += strlen(list + at) + 1, i++)
        assert_string_equal(p.a.extras->xattrs[i].name, list + at);
    assert_int_equal(i, p.features.xattrs ? 100 : 0);
    end(&p);
}

int main(void)
{
    static const struct {
        const char *name;
        CMUnitTestFunction function;
    } kinds[] = {
        {"everything_at_once", test_everything_at_once},
        {"access_acl_with_a_mask_only", test_access_acl_with_a_mask_only},
        {"directory_with_access_and_default_acl", test_directory_with_access_and_default_acl},
        {"default_acl_without_a_mask", test_default_acl_without_a_mask},
        {"acls_that_are_not_stored_go", test_acls_that_are_not_stored_go},
        {"no_permissions_by_an_acl", test_no_permissions_by_an_acl},
        {"times_that_do_not_fit_are_counted", test_times_that_do_not_fit_are_counted},
        {"chattr_flags", test_chattr_flags},
        {"directory_flags", test_directory_flags},
        {"project_id", test_project_id},
        {"unprivileged_restore", test_unprivileged_restore},
        {"hundred_xattrs_keep_their_order", test_hundred_xattrs_keep_their_order},
    };
    enum { KINDS = sizeof kinds / sizeof kinds[0] };
    static char names[FILE_SYSTEMS * KINDS][64];
    struct CMUnitTest tests[FILE_SYSTEMS * KINDS];
    for (size_t i = 0; i < FILE_SYSTEMS * KINDS; i++) {
        struct file_system *fs = &file_systems[i / KINDS];
        snprintf(names[i], sizeof names[i], "%s: %s", fs->name, kinds[i % KINDS].name);
        tests[i] = (struct CMUnitTest){.name = names[i], .test_func = kinds[i % KINDS].function, .initial_state = fs};
    }
    return cmocka_run_group_tests(tests, mount_all, unmount_all);
}
