#include "testing/testing.h"

#include "attr/attr_apply.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static const struct attr_apply_options everything = {0};

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

static void test_what_is_not_applied_is_counted(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct attribute_extras *x;
    assert_int_equal(attributes_extras(&f.attributes, &x, NULL), OK);
    x->has_project_id = true;
    f.attributes.stat.flags = 0x100000;
    assert_int_equal(attributes_set_fcaps(&f.attributes, (const uint8_t *)"1234", 4, NULL), OK);
    assert_int_equal(acl_list_add(&x->users, 1, 6, NULL), OK);
    x->has_group_obj = true;
    x->group_obj = 4;
    f.attributes.stat.mode = S_IFREG | 0660; /* the group bits are the mask */
    assert_int_equal(apply_with(&f, &everything), OK);
    assert_int_equal(f.not_applied.acls, 1);
    assert_int_equal(f.not_applied.fcaps, 1);
    assert_int_equal(f.not_applied.project_ids, 1);
    assert_int_equal(f.not_applied.flags, 1);
    struct stat st;
    assert_int_equal(fstat(f.fd, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0640); /* not more than the group had */
    end(&f);
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
        cmocka_unit_test(test_what_is_not_applied_is_counted),
        cmocka_unit_test(test_symlink_by_path_descriptor),
        cmocka_unit_test(test_fifo_by_path_descriptor),
        cmocka_unit_test(test_failure_names_what_was_tried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
