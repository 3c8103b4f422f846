#include "testing/testing.h"

#include "flow/restore.h"
#include "pxar/encoder.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Archives in plain files, split and unified, extracted with every way of selecting. */

static const char prelude_text[] = "{\"exclude-patterns\":\"x\\n\"}";

struct fixture {
    char *base;
    char target[300], metadata_path[300], payload_path[300], unified_path[300], prelude_path[300];
    struct buffer metadata, payload, unified;
    struct restore_options options;
    struct restore_stats stats;
    struct error err;
};

/* ---- the archive ---- */

static struct attributes attributes_of(uint64_t mode)
{
    return (struct attributes){
        .stat = {.mode = mode, .uid = geteuid(), .gid = getegid(), .mtime_secs = 1700000000, .mtime_nanos = 42}};
}

static enum status append_to_buffer(void *context, const uint8_t *data, size_t size, struct error *err)
{
    return buffer_append(context, data, size, err);
}

static uint64_t add_file(struct encoder *e, struct buffer *contents, const char *name, const char *text)
{
    struct attributes a = attributes_of(S_IFREG | 0640);
    uint64_t offset;
    assert_int_equal(encoder_file(e, name, &a, strlen(text), &offset, NULL), OK);
    assert_int_equal(buffer_append(contents, text, strlen(text), NULL), OK);
    return offset;
}

static void begin_directory(struct encoder *e, const char *name)
{
    struct attributes a = attributes_of(S_IFDIR | 0711);
    assert_int_equal(encoder_directory_begin(e, name, &a, NULL), OK);
}

/*  a "hello"   d/{deep/{e/, x "x"}, z ""}   dev (character device)   e/   h -> a   l -> nowhere   p fifo   zz "end" */
static void write_members(struct encoder *e, struct buffer *contents)
{
    struct attributes link = attributes_of(S_IFLNK | 0777);
    struct attributes fifo = attributes_of(S_IFIFO | 0600);
    struct attributes device = attributes_of(S_IFCHR | 0600);
    uint64_t first = add_file(e, contents, "a", "hello");
    begin_directory(e, "d");
    begin_directory(e, "deep");
    begin_directory(e, "e");
    assert_int_equal(encoder_directory_end(e, NULL), OK);
    add_file(e, contents, "x", "x");
    assert_int_equal(encoder_directory_end(e, NULL), OK);
    add_file(e, contents, "z", "");
    assert_int_equal(encoder_directory_end(e, NULL), OK);
    assert_int_equal(encoder_device(e, "dev", &device, 1, 3, NULL), OK);
    begin_directory(e, "e");
    assert_int_equal(encoder_directory_end(e, NULL), OK);
    assert_int_equal(encoder_hardlink(e, "h", "a", first, NULL), OK);
    assert_int_equal(encoder_symlink(e, "l", &link, "nowhere", 7, NULL), OK);
    assert_int_equal(encoder_special(e, "p", &fifo, NULL), OK);
    add_file(e, contents, "zz", "end");
    assert_int_equal(encoder_finish(e, NULL), OK);
    encoder_free(e);
}

static void write_file(const char *path, const void *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}

static void begin(struct fixture *f)
{
    *f = (struct fixture){.base = temp_dir_make()};
    assert_int_equal(chmod(f->base, 0755), 0);
    snprintf(f->target, sizeof f->target, "%s/target", f->base);
    snprintf(f->metadata_path, sizeof f->metadata_path, "%s/x.mpxar", f->base);
    snprintf(f->payload_path, sizeof f->payload_path, "%s/x.ppxar", f->base);
    snprintf(f->unified_path, sizeof f->unified_path, "%s/x.pxar", f->base);
    snprintf(f->prelude_path, sizeof f->prelude_path, "%s/prelude", f->base);
    f->metadata = f->payload = f->unified = BUFFER_INIT(1 << 20);
    struct sink metadata = {.write = append_to_buffer, .context = &f->metadata};
    struct sink payload = {.write = append_to_buffer, .context = &f->payload};
    struct sink unified = {.write = append_to_buffer, .context = &f->unified};
    struct attributes root = attributes_of(S_IFDIR | 0755);
    struct encoder *e;
    assert_int_equal(
        encoder_new(metadata, payload, &root, (const uint8_t *)prelude_text, sizeof prelude_text - 1, &e, NULL), OK);
    write_members(e, &f->payload);
    assert_int_equal(encoder_new_unified(unified, &root, &e, NULL), OK);
    write_members(e, &f->unified);
    write_file(f->metadata_path, f->metadata.data, f->metadata.size);
    write_file(f->payload_path, f->payload.data, f->payload.size);
    write_file(f->unified_path, f->unified.data, f->unified.size);
    assert_int_equal(selection_new(&f->options.selection, NULL), OK);
}

static void end(struct fixture *f)
{
    buffer_deinit(&f->metadata);
    buffer_deinit(&f->payload);
    buffer_deinit(&f->unified);
    selection_free(f->options.selection);
    temp_dir_remove(f->base);
}

static enum status extract(struct fixture *f)
{
    return extract_files(f->metadata_path, f->payload_path, f->target, &f->options, &f->stats, &f->err);
}

static enum status extract_unified(struct fixture *f)
{
    return extract_files(f->unified_path, NULL, f->target, &f->options, &f->stats, &f->err);
}

static void choose(struct fixture *f, const char *pattern)
{
    assert_int_equal(selection_add(f->options.selection, pattern, strlen(pattern), &f->err), OK);
}

/* ---- what came of it ---- */

static char *in(const struct fixture *f, const char *path)
{
    static char text[4][600];
    static unsigned turn;
    char *out = text[turn++ % 4];
    snprintf(out, sizeof text[0], "%s/%s", f->target, path);
    return out;
}

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static struct stat stat_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st;
}

static void assert_text(const char *path, const char *text)
{
    char data[64] = {0};
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, data, sizeof data), strlen(text));
    close(fd);
    assert_string_equal(data, text);
}

static char listed[4096];
static size_t listed_root_size;

static int list_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
    (void)type;
    (void)place;
    size_t used = strlen(listed);
    if (path[listed_root_size] != '\0')
        snprintf(listed + used, sizeof listed - used, "%s%s ", path + listed_root_size + 1,
                 S_ISDIR(st->st_mode) ? "/" : "");
    return 0;
}

static int compare_words(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All that is in the target: "a d/ d/z", sorted. */
static const char *tree_of(const struct fixture *f)
{
    static char sorted[4096];
    char *words[64];
    size_t count = 0;
    listed[0] = '\0';
    listed_root_size = strlen(f->target);
    assert_int_equal(nftw(f->target, list_one, 16, FTW_PHYS), 0);
    char *save = NULL;
    for (char *word = strtok_r(listed, " ", &save); word; word = strtok_r(NULL, " ", &save))
        words[count++] = word;
    qsort(words, count, sizeof words[0], compare_words);
    sorted[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        strcat(sorted, i ? " " : "");
        strcat(sorted, words[i]);
    }
    return sorted;
}

static const char everything[] = "a d/ d/deep/ d/deep/e/ d/deep/x d/z dev e/ h l p zz";

static bool may_make_devices(const struct fixture *f)
{
    char path[400];
    snprintf(path, sizeof path, "%s/device", f->base);
    bool may = mknod(path, S_IFCHR | 0600, makedev(1, 3)) == 0;
    unlink(path);
    return may;
}

static void next_target(struct fixture *f)
{
    static unsigned turn;
    snprintf(f->target, sizeof f->target, "%s/target%u", f->base, turn++);
}

/* ---- whole archives ---- */

static void test_split_and_unified_archives_give_the_same_tree(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    if (!may_make_devices(&f))
        f.options.no_device_nodes = true;
    const char *wanted = f.options.no_device_nodes ? "a d/ d/deep/ d/deep/e/ d/deep/x d/z e/ h l p zz" : everything;
    for (int unified = 0; unified < 2; unified++) {
        next_target(&f);
        assert_int_equal(unified ? extract_unified(&f) : extract(&f), OK);
        assert_string_equal(tree_of(&f), wanted);
        assert_text(in(&f, "a"), "hello");
        assert_text(in(&f, "zz"), "end");
        assert_int_equal(stat_of(in(&f, "a")).st_ino, stat_of(in(&f, "h")).st_ino);
        assert_int_equal(stat_of(in(&f, "d/deep")).st_mtim.tv_nsec, 42);
        assert_int_equal(f.stats.entries, f.options.no_device_nodes ? 12 : 13);
        assert_int_equal(f.stats.file_bytes, 9);
    }
    end(&f);
}

static void test_kind_of_archive_and_payload_must_fit(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    for (int by_path = 0; by_path < 2; by_path++) {
        assert_int_equal(extract_files(f.metadata_path, NULL, f.target, &f.options, &f.stats, &f.err), ERR_USAGE);
        assert_non_null(strstr(f.err.text, "--payload-input"));
        assert_int_equal(extract_files(f.unified_path, f.payload_path, f.target, &f.options, &f.stats, &f.err),
                         ERR_MISMATCH);
        assert_false(is_there(f.target));
        choose(&f, "/a");
    }
    end(&f);
}

static void test_kinds_that_are_left_out(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    f.options.no_device_nodes = true;
    f.options.no_fifos = true;
    f.options.no_sockets = true;
    assert_int_equal(extract(&f), OK);
    assert_string_equal(tree_of(&f), "a d/ d/deep/ d/deep/e/ d/deep/x d/z e/ h l zz");
    end(&f);
}

static void test_prelude(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    f.options.no_device_nodes = true;
    f.options.prelude_target = f.prelude_path;
    assert_int_equal(extract_unified(&f), OK); /* has none */
    assert_false(is_there(f.prelude_path));
    next_target(&f);
    assert_int_equal(extract(&f), OK);
    assert_text(f.prelude_path, prelude_text);
    next_target(&f);
    assert_int_equal(extract(&f), ERR_IO); /* there already */
    assert_int_equal(f.err.errnum, EEXIST);
    assert_false(is_there(f.target));
    f.options.extract.overwrite_files = true;
    write_file(f.prelude_path, "much longer than the prelude can ever be, it must be cut", 56);
    assert_int_equal(extract(&f), OK);
    assert_text(f.prelude_path, prelude_text);
    choose(&f, "/a");
    next_target(&f);
    unlink(f.prelude_path);
    assert_int_equal(extract(&f), OK);
    assert_text(f.prelude_path, prelude_text);
    end(&f);
}

/* ---- selections ---- */

struct choice {
    const char *patterns[4];
    const char *tree;
};

/* Each both ways: by path, and in order; the pattern that matches nothing is no path. */
static void check_choice(const struct choice *choice)
{
    for (int way = 0; way < 4; way++) {
        struct fixture f;
        begin(&f);
        for (size_t i = 0; i < 4 && choice->patterns[i]; i++)
            choose(&f, choice->patterns[i]);
        if (way & 1)
            choose(&f, "/nothing*");
        print_message("%s, %d\n", choice->patterns[0], way);
        assert_int_equal(way & 2 ? extract_unified(&f) : extract(&f), OK);
        assert_string_equal(tree_of(&f), choice->tree);
        if (is_there(in(&f, "d")))
            assert_int_equal(stat_of(in(&f, "d")).st_mode, S_IFDIR | 0711);
        if (is_there(in(&f, "d")))
            assert_int_equal(stat_of(in(&f, "d")).st_mtim.tv_sec, 1700000000);
        assert_int_equal(stat_of(f.target).st_mode, S_IFDIR | 0755);
        assert_int_equal(stat_of(f.target).st_mtim.tv_sec, 1700000000);
        size_t entries = 1;
        for (const char *c = choice->tree; *c; c++)
            entries += *c == ' ';
        assert_int_equal(f.stats.entries, entries + (choice->tree[0] != '\0'));
        end(&f);
    }
}

static void test_selections(void **state)
{
    (void)state;
    static const struct choice choices[] = {
        {{"/a"}, "a"},
        {{"/zz", "/a", "/h"}, "a h zz"},
        {{"/d"}, "d/ d/deep/ d/deep/e/ d/deep/x d/z"},
        {{"/d/z"}, "d/ d/z"},
        {{"/d/deep/x"}, "d/ d/deep/ d/deep/x"},
        {{"/d/deep/x", "/d/deep"}, "d/ d/deep/ d/deep/e/ d/deep/x"},
        {{"/d/deep/x", "/missing", "/a/below", "/d/missing/more"}, "d/ d/deep/ d/deep/x"},
        {{"/d/deep/e"}, "d/ d/deep/ d/deep/e/"}, /* empty, below parents that nobody asked for */
        {{"/d/deep/e/"}, "d/ d/deep/ d/deep/e/"},
        {{"/a/"}, ""}, /* directories only */
        {{"/"}, ""},
        {{"x"}, "d/ d/deep/ d/deep/x"},
        {{"e"}, "d/ d/deep/ d/deep/e/ e/"},
        {{"d", "!deep"}, "d/ d/z"},
        {{"d", "!deep", "x"}, "d/ d/deep/ d/deep/x d/z"},
        {{"/*", "!/d", "!/dev"}, "a e/ h l p zz"},
        {{"!/a"}, ""},
    };
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++)
        check_choice(&choices[i]);
}

static void test_hardlink_without_its_target(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct fixture f;
        begin(&f);
        choose(&f, "/h");
        if (way & 1)
            choose(&f, "/nothing*");
        /* What lies there is not the archive's: no link to it. */
        assert_int_equal(mkdir(f.target, 0755), 0);
        write_file(in(&f, "a"), "other", 5);
        f.options.collect_errors = way & 2;
        assert_int_equal(extract(&f), way & 2 ? ERR_MISMATCH : ERR_NOT_FOUND);
        if (!(way & 2))
            assert_string_equal(f.err.text, "/h: is a hardlink to /a, which is not selected");
        assert_string_equal(tree_of(&f), "a");
        end(&f);
    }
}

/* ---- errors ---- */

static void test_first_error_ends_a_restore(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    assert_int_equal(mkdir(f.target, 0755), 0);
    write_file(in(&f, "d"), "old", 3);
    assert_int_equal(extract(&f), ERR_EXISTS);
    assert_non_null(strstr(f.err.text, "/d: exists already"));
    assert_string_equal(tree_of(&f), "a d");
    end(&f);
}

static void test_errors_are_collected(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    f.options.collect_errors = true;
    f.options.no_device_nodes = true;
    assert_int_equal(mkdir(f.target, 0755), 0);
    write_file(in(&f, "d"), "old", 3); /* nothing goes below it */
    write_file(in(&f, "a"), "old", 3); /* and nothing is linked to it */
    write_file(in(&f, "l"), "old", 3);
    assert_int_equal(extract(&f), ERR_MISMATCH);
    assert_string_equal(f.err.text, "there were errors: 4");
    assert_int_equal(f.stats.errors, 4);
    assert_int_equal(f.stats.entries, 4);
    assert_string_equal(tree_of(&f), "a d e/ l p zz");
    assert_text(in(&f, "a"), "old");
    assert_text(in(&f, "l"), "old");
    assert_int_equal(stat_of(in(&f, "a")).st_nlink, 1);
    assert_int_equal(stat_of(f.target).st_mtim.tv_sec, 1700000000);
    end(&f);
}

static void test_only_what_is_below_a_failed_directory_is_left_out(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    f.options.collect_errors = true;
    f.options.no_device_nodes = true;
    f.options.extract.allow_existing_dirs = true;
    assert_int_equal(mkdir(f.target, 0755), 0);
    assert_int_equal(mkdir(in(&f, "d"), 0700), 0);
    write_file(in(&f, "d/deep"), "old", 3);
    assert_int_equal(extract(&f), ERR_MISMATCH);
    assert_int_equal(f.stats.errors, 1);
    assert_string_equal(tree_of(&f), "a d/ d/deep d/z e/ h l p zz");
    assert_int_equal(stat_of(in(&f, "d")).st_mode, S_IFDIR | 0711);
    assert_int_equal(stat_of(in(&f, "d")).st_mtim.tv_sec, 1700000000);
    end(&f);
}

static void test_directory_made_late_that_fails_is_one_error(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    f.options.collect_errors = true;
    choose(&f, "/d/deep/*");
    choose(&f, "/d/z");
    choose(&f, "/zz");
    assert_int_equal(mkdir(f.target, 0755), 0);
    write_file(in(&f, "d"), "old", 3);
    assert_int_equal(extract(&f), ERR_MISMATCH);
    assert_string_equal(f.err.text, "there were errors: 1");
    assert_string_equal(tree_of(&f), "d zz");
    end(&f);
}

static void become(uid_t uid)
{
    if (uid != 0) {
        assert_int_equal(setegid(uid), 0);
        assert_int_equal(seteuid(uid), 0);
    } else {
        assert_int_equal(seteuid(uid), 0);
        assert_int_equal(setegid(uid), 0);
    }
}

static void test_device_nodes_may_be_left_out_by_a_user(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("needs root to become somebody else\n");
        skip();
    }
    struct fixture f;
    begin(&f);
    assert_int_equal(mkdir(f.target, 0755), 0);
    assert_int_equal(chown(f.target, 65534, 65534), 0);
    f.options.extract.apply.ignore_ownership = true;
    f.options.extract.allow_existing_dirs = true;
    become(65534);
    enum status refused = extract(&f);
    struct error refused_err = f.err;
    become(0);
    temp_dir_remove(strdup(f.target));
    assert_int_equal(mkdir(f.target, 0755), 0);
    assert_int_equal(chown(f.target, 65534, 65534), 0);
    f.options.ignore_device_errors = true;
    become(65534);
    enum status ignored = extract(&f);
    become(0);
    assert_int_equal(refused, ERR_IO);
    assert_non_null(strstr(refused_err.text, "/dev: cannot create device node"));
    assert_int_equal(ignored, OK);
    assert_int_equal(f.stats.device_errors, 1);
    assert_string_equal(tree_of(&f), "a d/ d/deep/ d/deep/e/ d/deep/x d/z e/ h l p zz");
    end(&f);
}

/* ---- damage ---- */

/* Cut anywhere, with all options that forgive: an error, whichever way the archive is read. */
static void check_cuts(struct fixture *f, const char *path, const struct buffer *whole, bool unified)
{
    for (size_t size = 0; size < whole->size; size += size % 8 || whole->size - size < 40 ? 1 : 8) {
        next_target(f);
        write_file(path, whole->data, size);
        enum status status = unified ? extract_unified(f) : extract(f);
        if (status == OK)
            print_message("cut to %zu of %zu bytes\n", size, whole->size);
        assert_int_not_equal(status, OK);
        assert_int_not_equal(f->err.text[0], '\0');
    }
    write_file(path, whole->data, whole->size);
}

static void test_archives_cut_anywhere_are_errors(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    f.options.collect_errors = true;
    f.options.no_device_nodes = true;
    check_cuts(&f, f.metadata_path, &f.metadata, false);
    check_cuts(&f, f.payload_path, &f.payload, false);
    check_cuts(&f, f.unified_path, &f.unified, true);
    choose(&f, "/nothing*");
    check_cuts(&f, f.metadata_path, &f.metadata, false);
    check_cuts(&f, f.payload_path, &f.payload, false);
    check_cuts(&f, f.unified_path, &f.unified, true);
    selection_free(f.options.selection);
    assert_int_equal(selection_new(&f.options.selection, NULL), OK);
    choose(&f, "/d/deep/x");
    check_cuts(&f, f.metadata_path, &f.metadata, false);
    check_cuts(&f, f.unified_path, &f.unified, true);
    end(&f);
}

static void test_wrong_payload_headers_are_errors(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    f.options.no_device_nodes = true;
    f.options.collect_errors = true;
    for (int by_path = 0; by_path < 2; by_path++) {
        for (size_t byte = 16; byte < 32; byte++) { /* of "a", the first file */
            f.payload.data[byte] ^= 1;
            write_file(f.payload_path, f.payload.data, f.payload.size);
            f.payload.data[byte] ^= 1;
            next_target(&f);
            assert_int_equal(extract(&f), ERR_FORMAT);
            assert_non_null(strstr(f.err.text, "/a"));
        }
        choose(&f, "/a");
    }
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_and_unified_archives_give_the_same_tree),
        cmocka_unit_test(test_kind_of_archive_and_payload_must_fit),
        cmocka_unit_test(test_kinds_that_are_left_out),
        cmocka_unit_test(test_prelude),
        cmocka_unit_test(test_selections),
        cmocka_unit_test(test_hardlink_without_its_target),
        cmocka_unit_test(test_first_error_ends_a_restore),
        cmocka_unit_test(test_errors_are_collected),
        cmocka_unit_test(test_only_what_is_below_a_failed_directory_is_left_out),
        cmocka_unit_test(test_directory_made_late_that_fails_is_one_error),
        cmocka_unit_test(test_device_nodes_may_be_left_out_by_a_user),
        cmocka_unit_test(test_archives_cut_anywhere_are_errors),
        cmocka_unit_test(test_wrong_payload_headers_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
