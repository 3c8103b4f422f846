#include "testing/testing.h"

#include "tree/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/*  base/outside/secret      must never change
 *  base/target              where entries go              */
struct fixture {
    char *base;
    char target[300];
    char outside[300];
    struct extractor *x;
    struct error err;
};

static char *in(const char *directory, const char *path)
{
    static char text[4][600];
    static unsigned turn;
    char *out = text[turn++ % 4];
    snprintf(out, sizeof text[0], "%s/%s", directory, path);
    return out;
}

static void put_file(const char *path, const char *content)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    close(fd);
}

static void assert_content(const char *path, const char *content)
{
    char data[256] = {0};
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, data, sizeof data), strlen(content));
    close(fd);
    assert_string_equal(data, content);
}

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static void open_extractor(struct fixture *f, const struct extract_options *options)
{
    assert_int_equal(extractor_new(f->target, options, &f->x, &f->err), OK);
}

static void begin_with(struct fixture *f, const struct extract_options *options)
{
    *f = (struct fixture){.base = temp_dir_make()};
    snprintf(f->target, sizeof f->target, "%s/target", f->base);
    snprintf(f->outside, sizeof f->outside, "%s/outside", f->base);
    assert_int_equal(mkdir(f->outside, 0755), 0);
    put_file(in(f->outside, "secret"), "secret");
    open_extractor(f, options);
}

static const struct extract_options plain = {0};
static const struct extract_options permissive = {
    .allow_existing_dirs = true, .overwrite_files = true, .overwrite_symlinks = true, .overwrite_hardlinks = true};

static void begin(struct fixture *f)
{
    begin_with(f, &plain);
}

static void end(struct fixture *f)
{
    assert_content(in(f->outside, "secret"), "secret");
    assert_false(is_there(in(f->outside, "evil")));
    extractor_free(f->x);
    temp_dir_remove(f->base);
}

static struct attributes attributes_of(uint64_t mode)
{
    return (struct attributes){
        .stat = {.mode = mode, .uid = geteuid(), .gid = getegid(), .mtime_secs = 1000000, .mtime_nanos = 5}};
}

static enum status put(struct fixture *f, const char *name, const char *content)
{
    struct attributes a = attributes_of(S_IFREG | 0644);
    TRY(extract_file_begin(f->x, name, &a, strlen(content), &f->err));
    TRY(extract_file_data(f->x, (const uint8_t *)content, strlen(content), &f->err));
    return extract_file_end(f->x, &f->err);
}

static enum status enter(struct fixture *f, const char *name)
{
    struct attributes a = attributes_of(S_IFDIR | 0755);
    return extract_directory_begin(f->x, name, &a, &f->err);
}

static enum status leave(struct fixture *f)
{
    return extract_directory_end(f->x, &f->err);
}

static enum status make_link(struct fixture *f, const char *name, const char *target)
{
    struct attributes a = attributes_of(S_IFLNK | 0777);
    return extract_symlink(f->x, name, &a, target, &f->err);
}

static enum status hardlink_to(struct fixture *f, const char *name, const char *target)
{
    return extract_hardlink(f->x, name, target, &f->err);
}

static enum status finish(struct fixture *f)
{
    struct attributes a = attributes_of(S_IFDIR | 0751);
    return extract_finish(f->x, &a, &f->err);
}

static struct stat stat_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st;
}

static void test_tree_with_every_kind(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    assert_int_equal(stat_of(f.target).st_mode, S_IFDIR | 0700);
    assert_int_equal(put(&f, "a", "hello"), OK);
    assert_int_equal(enter(&f, "d"), OK);
    assert_int_equal(stat_of(in(f.target, "d")).st_mode, S_IFDIR | 0700); /* until left */
    assert_int_equal(put(&f, "empty", ""), OK);
    assert_int_equal(make_link(&f, "l", "../a"), OK);
    assert_int_equal(hardlink_to(&f, "h", "a"), OK);
    struct attributes fifo = attributes_of(S_IFIFO | 0620);
    assert_int_equal(extract_node(f.x, "p", &fifo, 0, 0, &f.err), OK);
    struct attributes sock = attributes_of(S_IFSOCK | 0711);
    assert_int_equal(extract_node(f.x, "s", &sock, 0, 0, &f.err), OK);
    assert_int_equal(leave(&f), OK);
    assert_int_equal(hardlink_to(&f, "z", "d/empty"), OK);
    assert_int_equal(finish(&f), OK);

    assert_content(in(f.target, "a"), "hello");
    struct stat a = stat_of(in(f.target, "a"));
    assert_int_equal(a.st_mode, S_IFREG | 0644);
    assert_int_equal(a.st_mtim.tv_sec, 1000000);
    assert_int_equal(a.st_mtim.tv_nsec, 5);
    assert_int_equal(a.st_nlink, 2);
    assert_int_equal(stat_of(in(f.target, "d/h")).st_ino, a.st_ino);
    assert_int_equal(stat_of(in(f.target, "z")).st_ino, stat_of(in(f.target, "d/empty")).st_ino);
    struct stat d = stat_of(in(f.target, "d"));
    assert_int_equal(d.st_mode, S_IFDIR | 0755);
    assert_int_equal(d.st_mtim.tv_sec, 1000000); /* after its entries were made */
    struct stat p = stat_of(in(f.target, "d/p"));
    assert_int_equal(p.st_mode, S_IFIFO | 0620);
    assert_int_equal(p.st_mtim.tv_sec, 1000000);
    assert_int_equal(stat_of(in(f.target, "d/s")).st_mode, S_IFSOCK | 0711);
    struct stat l = stat_of(in(f.target, "d/l"));
    assert_true(S_ISLNK(l.st_mode));
    assert_int_equal(l.st_mtim.tv_sec, 1000000);
    char text[16] = {0};
    assert_int_equal(readlink(in(f.target, "d/l"), text, sizeof text), 4);
    assert_string_equal(text, "../a");
    assert_int_equal(stat_of(f.target).st_mode, S_IFDIR | 0751);
    assert_int_equal(stat_of(f.target).st_mtim.tv_sec, 1000000);
    end(&f);
}

static void test_device_numbers(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct attributes a = attributes_of(S_IFCHR | 0660);
    enum status status = extract_node(f.x, "c", &a, 4095, 70000, &f.err);
    if (status != OK && (f.err.errnum == EPERM || f.err.errnum == EACCES)) {
        end(&f);
        print_message("device nodes need a right that is missing here\n");
        skip();
    }
    assert_int_equal(status, OK);
    struct stat st = stat_of(in(f.target, "c"));
    assert_int_equal(st.st_mode, S_IFCHR | 0660);
    assert_int_equal(major(st.st_rdev), 4095);
    assert_int_equal(minor(st.st_rdev), 70000);
    assert_int_equal(extract_node(f.x, "e", &a, UINT64_C(1) << 32, 0, &f.err), ERR_FORMAT);
    a.stat.mode = S_IFREG | 0644;
    assert_int_equal(extract_node(f.x, "e", &a, 0, 0, &f.err), ERR_FORMAT);
    end(&f);
}

static void check_sparse(size_t part)
{
    enum { SIZE = 64 * 4096 + 100 };
    struct fixture f;
    begin(&f);
    uint8_t *data = make_constant(SIZE, 0);
    data[5 * 4096 + 17] = 1;
    data[40 * 4096 - 1] = 2;
    struct attributes a = attributes_of(S_IFREG | 0600);
    assert_int_equal(extract_file_begin(f.x, "s", &a, SIZE, &f.err), OK);
    for (size_t at = 0; at < SIZE;) {
        size_t size = part < SIZE - at ? part : SIZE - at;
        assert_int_equal(extract_file_data(f.x, data + at, size, &f.err), OK);
        at += size;
    }
    assert_int_equal(extract_file_end(f.x, &f.err), OK);
    struct stat st = stat_of(in(f.target, "s"));
    assert_int_equal(st.st_size, SIZE);
    assert_true(st.st_blocks * 512 <= 4 * 4096);
    uint8_t *back = malloc(SIZE);
    int fd = open(in(f.target, "s"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, back, SIZE), SIZE);
    close(fd);
    assert_memory_equal(back, data, SIZE);
    free(back);
    free(data);
    end(&f);
}

static void test_zero_blocks_become_holes_in_any_parts(void **state)
{
    (void)state;
    check_sparse(SIZE_MAX);
    check_sparse(4096);
    check_sparse(1000);
    check_sparse(4097);
}

static void test_size_must_be_met(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct attributes a = attributes_of(S_IFREG | 0600);
    assert_int_equal(extract_file_begin(f.x, "s", &a, 10, &f.err), OK);
    assert_int_equal(extract_file_data(f.x, (const uint8_t *)"12345", 5, &f.err), OK);
    assert_int_equal(extract_file_data(f.x, (const uint8_t *)"123456", 6, &f.err), ERR_MISMATCH);
    assert_int_equal(extract_file_end(f.x, &f.err), ERR_MISMATCH);
    assert_non_null(strstr(f.err.text, "/s: extracted 5 bytes of a file of 10 bytes"));
    assert_int_equal(stat_of(in(f.target, "s")).st_mode, S_IFREG | 0600);
    end(&f);
}

static void test_names_that_leave_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ".", "..", "/", "a/b", "../evil", "/etc"};
    struct fixture f;
    begin_with(&f, &permissive);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(put(&f, bad[i], "x"), ERR_FORMAT);
        assert_int_equal(enter(&f, bad[i]), ERR_FORMAT);
        assert_int_equal(make_link(&f, bad[i], "x"), ERR_FORMAT);
        assert_int_equal(hardlink_to(&f, bad[i], "x"), ERR_FORMAT);
        struct attributes a = attributes_of(S_IFIFO | 0600);
        assert_int_equal(extract_node(f.x, bad[i], &a, 0, 0, &f.err), ERR_FORMAT);
    }
    end(&f);
}

static void test_archive_with_symlink_and_directory_of_one_name(void **state)
{
    (void)state;
    struct fixture f;
    begin_with(&f, &permissive);
    assert_int_equal(make_link(&f, "a", "../outside"), OK);
    assert_int_equal(enter(&f, "a"), ERR_EXISTS);
    assert_non_null(strstr(f.err.text, "/a: exists already and is not a directory"));
    end(&f);
}

static void test_planted_symlink_is_no_directory(void **state)
{
    (void)state;
    struct fixture f;
    begin_with(&f, &permissive);
    assert_int_equal(symlink(f.outside, in(f.target, "d")), 0);
    assert_int_equal(enter(&f, "d"), ERR_EXISTS);
    extractor_free(f.x);
    open_extractor(&f, &plain);
    assert_int_equal(enter(&f, "d"), ERR_EXISTS);
    end(&f);
}

static void test_overwriting_replaces_a_symlink(void **state)
{
    (void)state;
    struct fixture f;
    begin_with(&f, &permissive);
    assert_int_equal(symlink(in(f.outside, "secret"), in(f.target, "f")), 0);
    assert_int_equal(symlink(in(f.outside, "evil"), in(f.target, "g")), 0);
    assert_int_equal(put(&f, "f", "mine"), OK);
    assert_int_equal(put(&f, "g", "mine"), OK);
    assert_content(in(f.target, "f"), "mine");
    assert_content(in(f.target, "g"), "mine");
    end(&f);
}

/* O_TRUNC would write into the inode that another name still has. */
static void test_overwriting_makes_a_new_inode(void **state)
{
    (void)state;
    struct fixture f;
    begin_with(&f, &permissive);
    assert_int_equal(link(in(f.outside, "secret"), in(f.target, "f")), 0);
    assert_int_equal(put(&f, "f", "mine"), OK);
    end(&f);
}

static void test_hardlink_targets_stay_inside(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "../x", "../outside/secret", "a/../../outside/secret", "/etc/passwd", "", "a//f", "a/", "./a/f", "a/.",
        "..",   "a/../a/f"};
    struct fixture f;
    begin(&f);
    assert_int_equal(enter(&f, "a"), OK);
    assert_int_equal(put(&f, "f", "x"), OK);
    assert_int_equal(leave(&f), OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(hardlink_to(&f, "h", bad[i]), ERR_FORMAT);
        assert_false(is_there(in(f.target, "h")));
    }
    assert_int_equal(make_link(&f, "s", "../outside"), OK);
    assert_int_equal(hardlink_to(&f, "h", "s/secret"), ERR_FORMAT);
    assert_int_equal(make_link(&f, "s\033[2J", "x"), OK);
    assert_int_equal(hardlink_to(&f, "h", "s\033[2J/secret"), ERR_FORMAT);
    assert_non_null(strstr(f.err.text, "through \"s\\x1b[2J\""));
    assert_null(strchr(f.err.text, '\033'));
    assert_int_equal(make_link(&f, "t", "../outside/secret"), OK);
    assert_int_equal(hardlink_to(&f, "h", "t"), ERR_FORMAT);
    assert_int_equal(hardlink_to(&f, "h", "a"), ERR_FORMAT); /* a directory */
    assert_int_equal(hardlink_to(&f, "h", "a/missing"), ERR_IO);
    assert_int_equal(hardlink_to(&f, "h", "nowhere/f"), ERR_IO);
    assert_non_null(strstr(f.err.text, "/h"));
    assert_non_null(strstr(f.err.text, "nowhere/f"));
    assert_false(is_there(in(f.target, "h")));
    assert_int_equal(hardlink_to(&f, "h", "a/f"), OK);
    assert_int_equal(stat_of(in(f.outside, "secret")).st_nlink, 1);
    end(&f);
}

static void test_hardlink_to_itself_loses_nothing(void **state)
{
    (void)state;
    struct fixture f;
    begin_with(&f, &permissive);
    put_file(in(f.target, "h"), "present");
    assert_int_equal(hardlink_to(&f, "h", "h"), OK);
    assert_content(in(f.target, "h"), "present");
    end(&f);
}

static void test_existing_entries_without_options(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    put_file(in(f.target, "old"), "old");
    assert_int_equal(mkdir(in(f.target, "dir"), 0755), 0);
    put_file(in(f.target, "source"), "s");
    struct attributes fifo = attributes_of(S_IFIFO | 0600);
    assert_int_equal(put(&f, "old", "new"), ERR_EXISTS);
    assert_non_null(strstr(f.err.text, "/old: exists already"));
    assert_int_equal(make_link(&f, "old", "x"), ERR_EXISTS);
    assert_int_equal(hardlink_to(&f, "old", "source"), ERR_EXISTS);
    assert_int_equal(extract_node(f.x, "old", &fifo, 0, 0, &f.err), ERR_EXISTS);
    assert_int_equal(enter(&f, "dir"), ERR_EXISTS);
    assert_int_equal(enter(&f, "old"), ERR_EXISTS);
    assert_content(in(f.target, "old"), "old");
    end(&f);
}

static void test_existing_entries_with_options(void **state)
{
    (void)state;
    struct fixture f;
    begin_with(&f, &permissive);
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "old%d", i);
        put_file(in(f.target, name), "old");
    }
    assert_int_equal(mkdir(in(f.target, "dir"), 0755), 0);
    put_file(in(f.target, "dir/kept"), "kept");
    put_file(in(f.target, "source"), "s");
    struct attributes fifo = attributes_of(S_IFIFO | 0600);
    assert_int_equal(put(&f, "old0", "new"), OK);
    assert_content(in(f.target, "old0"), "new");
    assert_int_equal(make_link(&f, "old1", "x"), OK);
    assert_int_equal(hardlink_to(&f, "old2", "source"), OK);
    assert_content(in(f.target, "old2"), "s");
    assert_int_equal(extract_node(f.x, "old3", &fifo, 0, 0, &f.err), ERR_EXISTS);
    assert_int_equal(put(&f, "dir", "x"), ERR_EXISTS); /* never a directory */
    assert_int_equal(make_link(&f, "dir", "x"), ERR_EXISTS);
    assert_int_equal(hardlink_to(&f, "dir", "source"), ERR_EXISTS);
    assert_int_equal(enter(&f, "old0"), ERR_EXISTS);
    assert_int_equal(enter(&f, "dir"), OK);
    assert_int_equal(put(&f, "added", "x"), OK);
    assert_int_equal(leave(&f), OK);
    assert_content(in(f.target, "dir/kept"), "kept");
    assert_int_equal(finish(&f), OK);
    end(&f);
}

/* B5: what may be replaced depends on what the archive has, not on what is there; a directory never may. */
enum { OLD_FILE, OLD_LINK, OLD_FIFO, OLD_DIRECTORY, OLD_KINDS };

static void plant(struct fixture *f, int old)
{
    char *path = in(f->target, "name");
    switch (old) {
    case OLD_FILE: put_file(path, "old"); break;
    case OLD_LINK: assert_int_equal(symlink(in(f->outside, "secret"), path), 0); break;
    case OLD_FIFO: assert_int_equal(mkfifo(path, 0600), 0); break;
    default: assert_int_equal(mkdir(path, 0755), 0); break;
    }
}

enum { NEW_FILE, NEW_LINK, NEW_HARDLINK, NEW_FIFO, NEW_KINDS };

static enum status put_kind(struct fixture *f, int kind)
{
    struct attributes fifo = attributes_of(S_IFIFO | 0600);
    switch (kind) {
    case NEW_FILE: return put(f, "name", "new");
    case NEW_LINK: return make_link(f, "name", "new");
    case NEW_HARDLINK: return hardlink_to(f, "name", "source");
    default: return extract_node(f->x, "name", &fifo, 0, 0, &f->err);
    }
}

static void test_overwrite_matrix(void **state)
{
    (void)state;
    for (int allowed = 0; allowed < 8; allowed++)
        for (int old = 0; old < OLD_KINDS; old++)
            for (int kind = 0; kind < NEW_KINDS; kind++) {
                struct extract_options options = {.overwrite_files = allowed & 1,
                                                  .overwrite_symlinks = allowed & 2,
                                                  .overwrite_hardlinks = allowed & 4};
                struct fixture f;
                begin_with(&f, &options);
                put_file(in(f.target, "source"), "s");
                plant(&f, old);
                struct stat before = stat_of(in(f.target, "name"));
                bool may = kind != NEW_FIFO && (allowed & 1 << kind) && old != OLD_DIRECTORY;
                assert_int_equal(put_kind(&f, kind), may ? OK : ERR_EXISTS);
                struct stat after = stat_of(in(f.target, "name"));
                if (!may) {
                    assert_non_null(strstr(f.err.text, "/name: exists already"));
                    assert_int_equal(f.err.errnum, EEXIST);
                    assert_int_equal(after.st_ino, before.st_ino);
                } else if (kind == NEW_LINK) {
                    assert_true(S_ISLNK(after.st_mode));
                } else {
                    assert_content(in(f.target, "name"), kind == NEW_FILE ? "new" : "s");
                }
                end(&f);
            }
}

/* O_TRUNC on a device node would write to the device. */
static void test_overwriting_never_opens_a_device(void **state)
{
    (void)state;
    struct fixture f;
    begin_with(&f, &permissive);
    if (mknod(in(f.target, "null"), S_IFCHR | 0666, makedev(1, 3))) {
        end(&f);
        print_message("device nodes need a right that is missing here\n");
        skip();
    }
    assert_int_equal(put(&f, "null", "mine"), OK);
    assert_content(in(f.target, "null"), "mine");
    end(&f);
}

static void test_hardlink_is_not_made_through_a_planted_directory_link(void **state)
{
    (void)state;
    struct fixture f;
    begin_with(&f, &permissive);
    assert_int_equal(symlink(f.outside, in(f.target, "d")), 0);
    assert_int_equal(hardlink_to(&f, "h", "d/secret"), ERR_FORMAT);
    assert_int_equal(symlink("d", in(f.target, "e")), 0);
    assert_int_equal(hardlink_to(&f, "h", "e/secret"), ERR_FORMAT);
    assert_int_equal(stat_of(in(f.outside, "secret")).st_nlink, 1);
    end(&f);
}

/* ---- directories that are made when they are needed ---- */

static enum status announce(struct fixture *f, const char *name, uint64_t permissions)
{
    struct attributes a = attributes_of(S_IFDIR | permissions);
    return extract_directory_announce(f->x, name, &a, &f->err);
}

static void test_announced_directories_are_made_with_their_attributes(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    assert_int_equal(announce(&f, "a", 0711), OK);
    assert_int_equal(announce(&f, "b", 0750), OK);
    assert_int_equal(announce(&f, "unused", 0750), OK);
    assert_int_equal(extractor_pending(f.x), 3);
    assert_int_equal(leave(&f), OK);
    assert_false(is_there(in(f.target, "a")));
    assert_int_equal(extract_pending(f.x, &f.err), OK);
    assert_int_equal(extractor_pending(f.x), 0);
    assert_int_equal(put(&f, "file", "x"), OK);
    assert_int_equal(announce(&f, "never", 0750), OK);
    assert_int_equal(leave(&f), OK);
    assert_int_equal(leave(&f), OK);
    assert_int_equal(leave(&f), OK);
    assert_int_equal(finish(&f), OK);
    assert_int_equal(stat_of(in(f.target, "a")).st_mode, S_IFDIR | 0711);
    assert_int_equal(stat_of(in(f.target, "a")).st_mtim.tv_sec, 1000000);
    assert_int_equal(stat_of(in(f.target, "a/b")).st_mode, S_IFDIR | 0750);
    assert_int_equal(stat_of(in(f.target, "a/b")).st_mtim.tv_sec, 1000000);
    assert_content(in(f.target, "a/b/file"), "x");
    assert_false(is_there(in(f.target, "a/b/unused")));
    assert_false(is_there(in(f.target, "a/b/never")));
    end(&f);
}

static void test_directory_that_cannot_be_made_is_not_entered(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    put_file(in(f.target, "file"), "old");
    assert_int_equal(enter(&f, "good"), OK);
    assert_int_equal(enter(&f, "inner"), OK);
    put_file(in(f.target, "good/inner/taken"), "old");
    assert_int_equal(announce(&f, "taken", 0755), OK);
    assert_int_equal(announce(&f, "below", 0755), OK);
    assert_int_equal(extractor_depth(f.x), 4);
    assert_int_equal(extract_pending(f.x, &f.err), ERR_EXISTS);
    assert_non_null(strstr(f.err.text, "/good/inner/taken: exists already"));
    assert_int_equal(extractor_depth(f.x), 2);
    assert_int_equal(extractor_pending(f.x), 0);
    assert_int_equal(put(&f, "next", "x"), OK); /* goes where it should */
    assert_content(in(f.target, "good/inner/next"), "x");
    assert_int_equal(leave(&f), OK);
    assert_int_equal(leave(&f), OK);
    assert_int_equal(enter(&f, "file"), ERR_EXISTS);
    assert_int_equal(extractor_depth(f.x), 0);
    assert_int_equal(finish(&f), OK);
    end(&f);
}

static void test_many_announced_levels_with_few_descriptors(void **state)
{
    (void)state;
    enum { DEPTH = 200 };
    struct fixture f;
    begin(&f);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit tight = {.rlim_cur = 32, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    for (int i = 0; i < DEPTH; i++)
        assert_int_equal(announce(&f, "d", 0755), OK);
    assert_int_equal(extract_pending(f.x, &f.err), OK);
    assert_int_equal(put(&f, "f", "x"), OK);
    for (int i = 0; i < DEPTH; i++)
        assert_int_equal(leave(&f), OK);
    assert_int_equal(finish(&f), OK);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(stat_of(in(f.target, "d/d/d")).st_mtim.tv_sec, 1000000);
    end(&f);
}

static void test_extraction_goes_on_after_a_file_that_failed(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct attributes a = attributes_of(S_IFREG | 0644);
    assert_int_equal(extract_file_begin(f.x, "short", &a, 10, &f.err), OK);
    assert_int_equal(extract_file_end(f.x, &f.err), ERR_MISMATCH);
    assert_int_equal(extract_file_begin(f.x, "left", &a, 10, &f.err), OK);
    assert_int_equal(extract_file_data(f.x, (const uint8_t *)"12345", 5, &f.err), OK);
    extract_file_abandon(f.x);
    extract_file_abandon(f.x);
    assert_int_equal(stat_of(in(f.target, "left")).st_mode, S_IFREG | 0600);
    assert_int_equal(put(&f, "next", "x"), OK);
    assert_content(in(f.target, "next"), "x");
    assert_int_equal(finish(&f), OK);
    end(&f);
}

/* ---- flags ---- */

static int flags_of(const char *path)
{
    int flags = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    assert_true(fd >= 0);
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags))
        flags = 0;
    close(fd);
    return flags;
}

static void clear_flags(const char *path)
{
    int none = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    assert_true(fd >= 0);
    assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &none), 0);
    close(fd);
}

static bool can_be_immutable(const char *directory)
{
    int flags = FS_IMMUTABLE_FL;
    int none = 0;
    int fd = open(directory, O_RDONLY | O_CLOEXEC);
    bool can = geteuid() == 0 && ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0 && ioctl(fd, FS_IOC_SETFLAGS, &none) == 0;
    close(fd);
    return can;
}

static void test_immutable_entries_do_not_block_their_own_restore(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    if (!can_be_immutable(f.target)) {
        end(&f);
        print_message("this file system has no immutable files, or a right is missing\n");
        skip();
    }
    struct attributes d = attributes_of(S_IFDIR | 0755);
    struct attributes a = attributes_of(S_IFREG | 0644);
    d.stat.flags = UINT64_C(0x400000); /* immutable */
    a.stat.flags = UINT64_C(0x410000); /* immutable, append-only */
    assert_int_equal(extract_directory_begin(f.x, "d", &d, &f.err), OK);
    assert_int_equal(extract_file_begin(f.x, "f", &a, 1, &f.err), OK);
    assert_int_equal(extract_file_data(f.x, (const uint8_t *)"x", 1, &f.err), OK);
    assert_int_equal(extract_file_end(f.x, &f.err), OK);
    assert_int_equal(hardlink_to(&f, "h", "d/f"), OK);
    assert_int_equal(leave(&f), OK);
    assert_int_equal(hardlink_to(&f, "i", "d/f"), OK);
    assert_int_equal(finish(&f), OK);
    int wanted = FS_IMMUTABLE_FL | FS_APPEND_FL;
    int file_flags = flags_of(in(f.target, "i"));
    int directory_flags = flags_of(in(f.target, "d"));
    struct stat st = stat_of(in(f.target, "d/f"));
    struct stat other = stat_of(in(f.target, "i"));
    struct stat directory = stat_of(in(f.target, "d"));
    clear_flags(in(f.target, "d"));
    clear_flags(in(f.target, "i"));
    assert_int_equal(file_flags & wanted, wanted);
    assert_int_equal(directory_flags & wanted, FS_IMMUTABLE_FL);
    assert_int_equal(st.st_ino, other.st_ino);
    assert_int_equal(st.st_nlink, 3);
    assert_int_equal(st.st_mtim.tv_sec, 1000000);
    assert_int_equal(directory.st_mtim.tv_sec, 1000000);
    end(&f);
}

static void test_deep_tree_with_few_descriptors(void **state)
{
    (void)state;
    enum { DEPTH = 500 };
    struct fixture f;
    begin(&f);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit tight = {.rlim_cur = 32, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(enter(&f, "d"), OK);
        assert_int_equal(put(&f, "before", "x"), OK);
    }
    for (int i = 0; i < DEPTH; i++) {
        /* Written after the level below was left: the parent is really open again. */
        assert_int_equal(put(&f, "later", "x"), OK);
        if (i == DEPTH / 2) { /* down again from the middle, further than what is kept open */
            for (int k = 0; k < 40; k++)
                assert_int_equal(enter(&f, "e"), OK);
            for (int k = 0; k < 40; k++)
                assert_int_equal(leave(&f), OK);
            assert_int_equal(put(&f, "latest", "x"), OK);
        }
        assert_int_equal(leave(&f), OK);
    }
    assert_int_equal(finish(&f), OK);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    int fd = open(f.target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < DEPTH; i++) {
        int next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(fd);
        fd = next;
        struct stat st;
        assert_int_equal(fstatat(fd, "later", &st, 0), 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode, S_IFDIR | 0755);
        assert_int_equal(st.st_mtim.tv_sec, 1000000);
        assert_int_equal(fstatat(fd, "latest", &st, 0), i + 1 == DEPTH - DEPTH / 2 ? 0 : -1);
    }
    close(fd);
    end(&f);
}

static void test_moved_directory_is_noticed(void **state)
{
    (void)state;
    enum { DEPTH = 40 };
    struct fixture f;
    begin(&f);
    for (int i = 0; i < DEPTH; i++)
        assert_int_equal(enter(&f, "d"), OK);
    /* The sixth level leaves the tree while its descriptor and its parent's are closed. */
    assert_int_equal(rename(in(f.target, "d/d/d/d/d/d"), in(f.outside, "moved")), 0);
    enum status status = OK;
    int left = 0;
    for (; left < DEPTH && status == OK; left++)
        status = leave(&f);
    assert_int_equal(status, ERR_MISMATCH);
    assert_int_equal(left, DEPTH - 5);
    assert_int_equal(rename(in(f.outside, "moved"), in(f.target, "d/d/d/d/d/d")), 0);
    end(&f);
}

static void test_attributes_are_copied_at_begin(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct attributes a = attributes_of(S_IFDIR | 0711);
    assert_int_equal(extract_directory_begin(f.x, "d", &a, &f.err), OK);
    struct attributes b = attributes_of(S_IFREG | 0604);
    assert_int_equal(extract_file_begin(f.x, "f", &b, 0, &f.err), OK);
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    assert_int_equal(extract_file_end(f.x, &f.err), OK);
    assert_int_equal(leave(&f), OK);
    assert_int_equal(stat_of(in(f.target, "d")).st_mode, S_IFDIR | 0711);
    assert_int_equal(stat_of(in(f.target, "d/f")).st_mode, S_IFREG | 0604);
    end(&f);
}

/* Runs as nobody when started as root, so that the rule is seen in both cases. */
static void test_owner_needs_root_unless_ignored(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    bool root = geteuid() == 0;
    if (root) {
        assert_int_equal(chmod(f.base, 0755), 0);
        assert_int_equal(chown(f.target, 65534, 65534), 0);
        assert_int_equal(setegid(65534), 0);
        assert_int_equal(seteuid(65534), 0);
    }
    struct attributes a = attributes_of(S_IFREG | 0644);
    a.stat.uid = 1;
    assert_int_equal(extract_file_begin(f.x, "f", &a, 0, &f.err), OK);
    assert_int_equal(extract_file_end(f.x, &f.err), ERR_IO);
    assert_int_equal(f.err.errnum, EPERM);
    assert_non_null(strstr(f.err.text, "/f: cannot change owner to 1:"));
    extractor_free(f.x);
    struct extract_options ignoring = {.apply.ignore_ownership = true};
    open_extractor(&f, &ignoring);
    assert_int_equal(extract_file_begin(f.x, "g", &a, 0, &f.err), OK);
    assert_int_equal(extract_file_end(f.x, &f.err), OK);
    /* A directory without rights for its own owner can still be filled and left. */
    struct attributes d = attributes_of(S_IFDIR | 0555);
    assert_int_equal(extract_directory_begin(f.x, "d", &d, &f.err), OK);
    assert_int_equal(put(&f, "inside", "x"), OK);
    assert_int_equal(leave(&f), OK);
    assert_int_equal(finish(&f), OK);
    if (root) {
        assert_int_equal(seteuid(0), 0);
        assert_int_equal(setegid(0), 0);
    }
    assert_int_equal(stat_of(in(f.target, "g")).st_mode, S_IFREG | 0644);
    assert_int_equal(stat_of(in(f.target, "d")).st_mode, S_IFDIR | 0555);
    assert_int_equal(chmod(in(f.target, "d"), 0755), 0);
    end(&f);
}

static void test_control_characters_do_not_reach_the_terminal(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    put_file(in(f.target, "a\033[31m\n"), "old");
    assert_int_equal(put(&f, "a\033[31m\n", "new"), ERR_EXISTS);
    assert_null(strchr(f.err.text, '\033'));
    assert_null(strchr(f.err.text, '\n'));
    end(&f);
}

static void test_target_must_be_a_directory(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct extractor *other = NULL;
    assert_int_equal(extractor_new(in(f.outside, "secret"), &plain, &other, &f.err), ERR_IO);
    assert_int_equal(extractor_new(in(f.base, "missing/target"), &plain, &other, &f.err), ERR_IO);
    assert_non_null(strstr(f.err.text, "missing/target"));
    assert_null(other);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree_with_every_kind),
        cmocka_unit_test(test_device_numbers),
        cmocka_unit_test(test_zero_blocks_become_holes_in_any_parts),
        cmocka_unit_test(test_size_must_be_met),
        cmocka_unit_test(test_names_that_leave_are_refused),
        cmocka_unit_test(test_archive_with_symlink_and_directory_of_one_name),
        cmocka_unit_test(test_planted_symlink_is_no_directory),
        cmocka_unit_test(test_overwriting_replaces_a_symlink),
        cmocka_unit_test(test_overwriting_makes_a_new_inode),
        cmocka_unit_test(test_hardlink_targets_stay_inside),
        cmocka_unit_test(test_hardlink_to_itself_loses_nothing),
        cmocka_unit_test(test_existing_entries_without_options),
        cmocka_unit_test(test_existing_entries_with_options),
        cmocka_unit_test(test_overwrite_matrix),
        cmocka_unit_test(test_overwriting_never_opens_a_device),
        cmocka_unit_test(test_hardlink_is_not_made_through_a_planted_directory_link),
        cmocka_unit_test(test_announced_directories_are_made_with_their_attributes),
        cmocka_unit_test(test_directory_that_cannot_be_made_is_not_entered),
        cmocka_unit_test(test_many_announced_levels_with_few_descriptors),
        cmocka_unit_test(test_extraction_goes_on_after_a_file_that_failed),
        cmocka_unit_test(test_immutable_entries_do_not_block_their_own_restore),
        cmocka_unit_test(test_deep_tree_with_few_descriptors),
        cmocka_unit_test(test_moved_directory_is_noticed),
        cmocka_unit_test(test_attributes_are_copied_at_begin),
        cmocka_unit_test(test_owner_needs_root_unless_ignored),
        cmocka_unit_test(test_control_characters_do_not_reach_the_terminal),
        cmocka_unit_test(test_target_must_be_a_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
