#include "testing/testing.h"

#include "store/local_server_changes.h"
#include "store/local_server_lists.h"
#include "store/test_store.h"

static struct error err;

struct seen {
    char text[4096];
};

static enum status note_group(void *context, const struct stored_group *group, struct error *problem)
{
    (void)problem;
    struct seen *seen = context;
    size_t used = strlen(seen->text);
    used += (size_t)snprintf(seen->text + used, sizeof seen->text - used, "%s/%s %s %s", group->id.type, group->id.id,
                             group->owner ? group->owner : "-", group->comment ? group->comment : "-");
    for (size_t i = 0; i < group->count; i++)
        used += (size_t)snprintf(seen->text + used, sizeof seen->text - used, " %lld", (long long)group->times[i]);
    snprintf(seen->text + used, sizeof seen->text - used, "\n");
    return OK;
}

static enum status note_namespace(void *context, const char *ns, struct error *problem)
{
    (void)problem;
    struct seen *seen = context;
    size_t used = strlen(seen->text);
    snprintf(seen->text + used, sizeof seen->text - used, "[%s]", ns);
    return OK;
}

static void test_groups_with_owner_comment_and_all_snapshots(void **state)
{
    (void)state;
    char *dir = small_store_dir();
    struct store *s = open_store_at(dir);
    struct snapshot_id first = snapshot("b", 1700000000), second = snapshot("b", 1700000060);
    struct snapshot_id other = snapshot("a", 5);
    make_snapshot(s, &first, NULL);
    make_snapshot(s, &second, NULL);
    make_snapshot(s, &other, NULL);
    assert_int_equal(mkdir(at(dir, "host/b/2023-11-14T22:13:50Z"), 0755), 0); /* unfinished, between the two */
    assert_int_equal(mkdir(at(dir, "host/b/2023-11-14"), 0755), 0);
    put_file(at(dir, "host/b/2023-11-14T22:13:51Z"), "", 0);
    put_file(at(dir, "host/b/notes"), "why\nmore", 8);
    put_file(at(dir, "host/a/owner"), "x@y!z", 5);
    struct seen seen = {0};
    assert_int_equal(local_each_group(s, "", NULL, NULL, note_group, &seen, &err), OK);
    assert_string_equal(seen.text, "host/a x@y!z - 5\nhost/b root@pam why 1700000000 1700000030 1700000060\n");
    seen = (struct seen){0};
    assert_int_equal(local_each_group(s, "", "host", "a", note_group, &seen, &err), OK);
    assert_string_equal(seen.text, "host/a x@y!z - 5\n");
    seen = (struct seen){0};
    assert_int_equal(local_each_group(s, "", "vm", "a", note_group, &seen, &err), OK);
    assert_int_equal(local_each_group(s, "", NULL, "none", note_group, &seen, &err), OK);
    assert_string_equal(seen.text, "");
    assert_int_equal(local_each_group(s, "", "disk", NULL, note_group, &seen, &err), ERR_USAGE);
    assert_int_equal(local_each_group(s, "", NULL, "../b", note_group, &seen, &err), ERR_USAGE);
    assert_int_equal(local_each_group(s, "none", NULL, NULL, note_group, &seen, &err), ERR_NOT_FOUND);
    store_close(s);
    temp_dir_remove(dir);
}

static void test_an_owner_is_one_line_that_names_somebody(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *owner; /* NULL: none */
    } cases[] = {
        {"root@pam\n", "root@pam"}, {"a@b!c", "a@b!c"},    {"", NULL},        {"\n", NULL},
        {"root\n", NULL},           {"root@pam!\n", NULL}, {"a b@c\n", NULL},
    };
    char *dir = small_store_dir();
    struct store *s = open_store_at(dir);
    struct snapshot_id id = snapshot("a", 5);
    make_snapshot(s, &id, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char owner[STORED_OWNER_SIZE];
        put_file(at(dir, "host/a/owner"), cases[i].text, strlen(cases[i].text));
        assert_int_equal(local_owner(s, &id, owner, &err), cases[i].owner ? OK : ERR_FORMAT);
        if (cases[i].owner)
            assert_string_equal(owner, cases[i].owner);
    }
    char long_text[400], owner[STORED_OWNER_SIZE];
    memset(long_text, 'a', sizeof long_text);
    memcpy(long_text + sizeof long_text - 4, "@pam", 4);
    put_file(at(dir, "host/a/owner"), long_text, sizeof long_text);
    assert_int_equal(local_owner(s, &id, owner, &err), ERR_FORMAT);
    put_file(at(dir, "host/a/owner"), "root@pam\0x", 10);
    assert_int_equal(local_owner(s, &id, owner, &err), ERR_FORMAT);
    struct snapshot_id none = snapshot("none", 5);
    assert_int_equal(local_owner(s, &none, owner, &err), ERR_NOT_FOUND);
    store_close(s);
    temp_dir_remove(dir);
}

static void test_files_are_regular_and_have_names_of_the_protocol(void **state)
{
    (void)state;
    char *dir = small_store_dir();
    struct store *s = open_store_at(dir);
    struct snapshot_id id = snapshot("a", 1700000000);
    make_snapshot(s, &id, NULL);
#define DIRECTORY "host/a/2023-11-14T22:13:20Z/"
    put_file(at(dir, DIRECTORY "b.blob"), "xyz", 3);
    put_file(at(dir, DIRECTORY "a.tmp_didx"), "xyz", 3);
    put_file(at(dir, DIRECTORY ".blob"), "xyz", 3);
    assert_int_equal(mkdir(at(dir, DIRECTORY "d.didx"), 0755), 0);
    assert_int_equal(symlink("b.blob", at(dir, DIRECTORY "l.blob")), 0);
    assert_int_equal(mkfifo(at(dir, DIRECTORY "p.blob"), 0644), 0);
    struct stored_files files;
    assert_int_equal(local_files(s, &id, &files, &err), OK);
    assert_int_equal(files.count, 2);
    assert_string_equal(files.items[0].name, "b.blob");
    assert_int_equal(files.items[0].size, 3);
    assert_string_equal(files.items[1].name, "index.json.blob");
    assert_true(files.is_finished && !files.is_protected);
    stored_files_deinit(&files);
    static const struct {
        const char *name;
        enum status status;
    } cases[] = {
        {"b.blob", OK},         {"none.blob", ERR_NOT_FOUND}, {"d.didx", ERR_FORMAT},    {"l.blob", ERR_FORMAT},
        {"p.blob", ERR_FORMAT}, {"../owner", ERR_USAGE},      {"a.tmp_didx", ERR_USAGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = -1;
        uint64_t size = 0;
        assert_int_equal(local_open_file(s, &id, cases[i].name, &fd, &size, &err), cases[i].status);
        assert_int_equal(fd >= 0, cases[i].status == OK);
        assert_int_equal(size, cases[i].status == OK ? 3 : 0);
        fd_cleanup(&fd);
    }
    /* Without its manifest it is being written. */
    assert_int_equal(unlink(at(dir, DIRECTORY "index.json.blob")), 0);
    put_file(at(dir, DIRECTORY ".protected"), "", 0);
    int fd = -1;
    uint64_t size;
    assert_int_equal(local_open_file(s, &id, "b.blob", &fd, &size, &err), ERR_NOT_FOUND);
    assert_int_equal(local_files(s, &id, &files, &err), OK);
    assert_true(!files.is_finished && files.is_protected);
    stored_files_deinit(&files);
    id.time++;
    assert_int_equal(local_files(s, &id, &files, &err), ERR_NOT_FOUND);
    store_close(s);
    temp_dir_remove(dir);
}

static void test_namespaces_parents_first(void **state)
{
    (void)state;
    char *dir = small_store_dir();
    struct store *s = open_store_at(dir);
    char whole[NAMESPACE_MAX + 1];
    assert_int_equal(local_make_namespace(s, "", "b", whole, &err), OK);
    assert_int_equal(local_make_namespace(s, "", "a", whole, &err), OK);
    assert_int_equal(local_make_namespace(s, "a", "c", whole, &err), OK);
    assert_string_equal(whole, "a/c");
    assert_int_equal(local_make_namespace(s, "a/c", "d", whole, &err), OK);
    put_file(at(dir, "ns/file"), "", 0);
    assert_int_equal(mkdir(at(dir, "ns/.hidden"), 0755), 0);
    assert_int_equal(symlink("a", at(dir, "ns/link")), 0);
    static const struct {
        const char *parent;
        unsigned depth;
        const char *wanted;
    } cases[] = {
        {"", 0, "[]"},   {"", 1, "[][a][b]"},  {"", 2, "[][a][a/c][b]"}, {"", 99, "[][a][a/c][a/c/d][b]"},
        {"a", 0, "[a]"}, {"a", 1, "[a][a/c]"}, {"b", 7, "[b]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seen seen = {0};
        assert_int_equal(local_each_namespace(s, cases[i].parent, cases[i].depth, note_namespace, &seen, &err), OK);
        assert_string_equal(seen.text, cases[i].wanted);
    }
    struct seen seen = {0};
    assert_int_equal(local_each_namespace(s, "link", 1, note_namespace, &seen, &err), ERR_NOT_FOUND);
    assert_int_equal(local_each_namespace(s, "../x", 1, note_namespace, &seen, &err), ERR_USAGE);
    assert_int_equal(unlink(at(dir, "ns/link")), 0);
    assert_int_equal(local_remove_namespace(s, "a", false, &err), OK);
    assert_false(exists(at(dir, "ns/a")));
    store_close(s);
    temp_dir_remove(dir);
}

static void test_a_namespace_may_be_as_long_as_it_may(void **state)
{
    (void)state;
    char *dir = small_store_dir();
    struct store *s = open_store_at(dir);
    char whole[NAMESPACE_MAX + 1], name[NAMESPACE_MAX + 2];
    memset(name, 'n', sizeof name);
    name[100] = '\0';
    assert_int_equal(local_make_namespace(s, "", name, whole, &err), OK);
    char parent[NAMESPACE_MAX + 1];
    memcpy(parent, whole, sizeof parent);
    memset(name, 'm', sizeof name);
    name[156] = '\0'; /* 100 + 1 + 156 */
    assert_int_equal(local_make_namespace(s, parent, name, whole, &err), ERR_USAGE);
    name[155] = '\0';
    assert_int_equal(local_make_namespace(s, parent, name, whole, &err), OK);
    assert_int_equal(strlen(whole), NAMESPACE_MAX);
    assert_int_equal(local_make_namespace(s, whole, "x", parent, &err), ERR_USAGE);
    store_close(s);
    temp_dir_remove(dir);
}

static void test_usage_is_of_the_filesystem(void **state)
{
    (void)state;
    char *dir = small_store_dir();
    struct store *s = open_store_at(dir);
    struct store_usage usage;
    assert_int_equal(local_usage(s, &usage, &err), OK);
    assert_true(usage.total > 0 && usage.used <= usage.total && usage.available <= usage.total);
    store_close(s);
    temp_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups_with_owner_comment_and_all_snapshots),
        cmocka_unit_test(test_an_owner_is_one_line_that_names_somebody),
        cmocka_unit_test(test_files_are_regular_and_have_names_of_the_protocol),
        cmocka_unit_test(test_namespaces_parents_first),
        cmocka_unit_test(test_a_namespace_may_be_as_long_as_it_may),
        cmocka_unit_test(test_usage_is_of_the_filesystem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
