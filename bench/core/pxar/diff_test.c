#include "testing/testing.h"

#include "pxar/diff.h"
#include "pxar/examples_for_test.h"

#include <stdio.h>
#include <sys/stat.h>

/* ---- archives ---- */

struct archive {
    unsigned version;
    struct buffer metadata, payload;
    struct encoder *encoder;
};

static void begin(struct archive *a, unsigned version, const char *prelude)
{
    struct attributes root = {.stat = {.mode = S_IFDIR | 0755, .mtime_secs = 1}};
    *a = (struct archive){.version = version};
    struct sink metadata = sink_to_buffer(&a->metadata), payload = sink_to_buffer(&a->payload);
    if (version == 1)
        assert_int_equal(encoder_new_unified(metadata, &root, &a->encoder, NULL), OK);
    else
        assert_int_equal(encoder_new(metadata, payload, &root, (const uint8_t *)prelude, prelude ? strlen(prelude) : 0,
                                     &a->encoder, NULL),
                         OK);
}

static void end(struct archive *a)
{
    assert_int_equal(encoder_finish(a->encoder, NULL), OK);
    encoder_free(a->encoder);
}

static void archive_deinit(struct archive *a)
{
    buffer_deinit(&a->metadata);
    buffer_deinit(&a->payload);
}

static struct attributes plain(uint64_t mode)
{
    return (struct attributes){.stat = {.mode = mode, .uid = 5, .gid = 6, .mtime_secs = 1000, .mtime_nanos = 7}};
}

static uint64_t add_file_with(struct archive *a, const char *name, const struct attributes *attributes,
                              const char *content)
{
    uint64_t offset;
    assert_int_equal(encoder_file(a->encoder, name, attributes, strlen(content), &offset, NULL), OK);
    assert_int_equal(buffer_append(a->version == 1 ? &a->metadata : &a->payload, content, strlen(content), NULL), OK);
    return offset;
}

static uint64_t add_file(struct archive *a, const char *name, const char *content)
{
    struct attributes attributes = plain(S_IFREG | 0644);
    return add_file_with(a, name, &attributes, content);
}

static void add_directory(struct archive *a, const char *name)
{
    struct attributes attributes = plain(S_IFDIR | 0755);
    assert_int_equal(encoder_directory_begin(a->encoder, name, &attributes, NULL), OK);
}

static void end_directory(struct archive *a)
{
    assert_int_equal(encoder_directory_end(a->encoder, NULL), OK);
}

/* Only what is in `names`: letters are files, a letter with '(' is a directory up to ')'. */
static void make(struct archive *a, unsigned version, const char *names)
{
    begin(a, version, NULL);
    for (; *names; names++) {
        char name[] = {*names, '\0'};
        if (*names == ')') {
            end_directory(a);
        } else if (names[1] == '(') {
            add_directory(a, name);
            names++;
        } else {
            add_file(a, name, name);
        }
    }
    end(a);
}

/* ---- comparing ---- */

struct outcome {
    enum status status;
    struct diff_counts counts;
    struct buffer text;
    struct error err;
};

static struct outcome compare_as(struct archive *a, struct archive *b, bool with_contents, struct diff_options options)
{
    struct outcome o = {0};
    struct memory_source memory[4] = {
        {.data = a->metadata.data, .size = a->metadata.size},
        {.data = a->payload.data, .size = a->payload.size},
        {.data = b->metadata.data, .size = b->metadata.size},
        {.data = b->payload.data, .size = b->payload.size},
    };
    struct source payload_a = source_over_memory(&memory[1], "A.ppxar"),
                  payload_b = source_over_memory(&memory[3], "B.ppxar");
    struct diff_input input_a = {.metadata = source_over_memory(&memory[0], "A.mpxar"),
                                 .payload = with_contents && a->version == 2 ? &payload_a : NULL};
    struct diff_input input_b = {.metadata = source_over_memory(&memory[2], "B.mpxar"),
                                 .payload = with_contents && b->version == 2 ? &payload_b : NULL};
    o.status = diff_archives(&input_a, &input_b, &options, sink_to_buffer(&o.text), &o.counts, &o.err);
    assert_int_equal(buffer_append_u8(&o.text, '\0', NULL), OK);
    return o;
}

static struct outcome compare(struct archive *a, struct archive *b)
{
    return compare_as(a, b, true, (struct diff_options){0});
}

/* `wanted`: all lines. */
static void assert_lines(struct outcome *o, const char *wanted)
{
    if (o->status != OK)
        assert_string_equal(o->err.text, "");
    assert_string_equal((const char *)o->text.data, wanted);
    assert_int_equal(diff_same(&o->counts), wanted[0] == '\0');
    buffer_deinit(&o->text);
}

static void assert_counts(const struct outcome *o, uint64_t same, uint64_t different, uint64_t only_a, uint64_t only_b)
{
    assert_int_equal(o->counts.same, same);
    assert_int_equal(o->counts.different, different);
    assert_int_equal(o->counts.only_a, only_a);
    assert_int_equal(o->counts.only_b, only_b);
}

static void assert_trees(const char *a_names, const char *b_names, const char *wanted)
{
    for (unsigned versions = 0; versions < 4; versions++) {
        struct archive a, b;
        make(&a, 1 + versions % 2, a_names);
        make(&b, 1 + versions / 2, b_names);
        struct outcome o = compare(&a, &b);
        assert_lines(&o, wanted);
        archive_deinit(&a);
        archive_deinit(&b);
    }
}

static void test_trees_are_merged_by_name(void **state)
{
    (void)state;
    assert_trees("", "", "");
    assert_trees("abc", "abc", "");
    assert_trees("a(b(cd)e)f", "a(b(cd)e)f", "");
    assert_trees("abc", "ac", "only in A: /b (file)\n");
    assert_trees("ac", "abcd", "only in B: /b (file)\nonly in B: /d (file)\n");
    assert_trees("ab", "cd",
                 "only in A: /a (file)\nonly in A: /b (file)\nonly in B: /c (file)\nonly in B: /d (file)\n");
    assert_trees("", "a(b(c))", "only in B: /a (dir)\nonly in B: /a/b (dir)\nonly in B: /a/b/c (file)\n");
    assert_trees("a(x)b(y)c", "b(z)c",
                 "only in A: /a (dir)\nonly in A: /a/x (file)\nonly in A: /b/y (file)\nonly in B: /b/z (file)\n");
    assert_trees("a(b())z", "a()z", "only in A: /a/b (dir)\n");
}

static void test_a_directory_in_place_of_a_file_is_another_kind(void **state)
{
    (void)state;
    struct archive a, b;
    make(&a, 2, "a(x(y))b");
    make(&b, 2, "ab");
    struct outcome o = compare(&a, &b);
    assert_counts(&o, 2, 1, 2, 0);
    assert_lines(&o, "/a: kind \"dir\" -> \"file\"\n/a: mode \"0040755\" -> \"0100644\"\n/a: size null -> 1\n"
                     "only in A: /a/x (dir)\nonly in A: /a/x/y (file)\n");
    o = compare(&b, &a);
    assert_counts(&o, 2, 1, 0, 2);
    assert_lines(&o, "/a: kind \"file\" -> \"dir\"\n/a: mode \"0100644\" -> \"0040755\"\n/a: size 1 -> null\n"
                     "only in B: /a/x (dir)\nonly in B: /a/x/y (file)\n");
    archive_deinit(&a);
    archive_deinit(&b);
}

/* ---- fields ---- */

/* Two archives of one file each. */
static void assert_files(const struct attributes *x, const struct attributes *y, const char *x_content,
                         const char *y_content, const char *wanted)
{
    struct archive a, b;
    begin(&a, 2, NULL);
    add_file_with(&a, "f", x, x_content);
    end(&a);
    begin(&b, 1, NULL);
    add_file_with(&b, "f", y, y_content);
    end(&b);
    struct outcome o = compare(&a, &b);
    assert_counts(&o, 1 + !wanted[0], !!wanted[0], 0, 0);
    assert_lines(&o, wanted);
    archive_deinit(&a);
    archive_deinit(&b);
}

static void test_every_field_of_the_entry_counts(void **state)
{
    (void)state;
    const struct attributes x = plain(S_IFREG | 0644);
    struct attributes y = x;
    assert_files(&x, &x, "c", "c", "");
    y.stat.mode = S_IFREG | 04755;
    assert_files(&x, &y, "c", "c", "/f: mode \"0100644\" -> \"0104755\"\n");
    y = x;
    y.stat.uid = 4294967295;
    assert_files(&x, &y, "c", "c", "/f: uid 5 -> 4294967295\n");
    y = x;
    y.stat.gid = 0;
    assert_files(&x, &y, "c", "c", "/f: gid 6 -> 0\n");
    y = x;
    y.stat.mtime_secs = -2;
    y.stat.mtime_nanos = 750000000;
    assert_files(&x, &y, "c", "c", "/f: mtime [1000,7] -> [-2,750000000]\n");
    y = x;
    y.stat.mtime_nanos = 8;
    assert_files(&x, &y, "c", "c", "/f: mtime [1000,7] -> [1000,8]\n");
    y = x;
    y.stat.flags = UINT64_MAX;
    assert_files(&x, &y, "c", "c", "/f: flags 0 -> 18446744073709551615\n");
}

static void test_contents_and_sizes_count(void **state)
{
    (void)state;
    const struct attributes x = plain(S_IFREG | 0644);
    assert_files(&x, &x, "a", "b",
                 "/f: content \"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\" -> "
                 "\"3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d\"\n");
    assert_files(&x, &x, "", "a",
                 "/f: size 0 -> 1\n"
                 "/f: content \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\" -> "
                 "\"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\"\n");
}

static void test_contents_that_are_not_at_hand_are_not_compared(void **state)
{
    (void)state;
    struct archive a, b;
    make(&a, 2, "ab");
    begin(&b, 2, NULL);
    add_file(&b, "a", "x");
    add_file(&b, "b", "y");
    end(&b);
    struct outcome o = compare_as(&a, &b, false, (struct diff_options){0});
    assert_int_equal(o.counts.contents_not_compared, 2);
    assert_int_equal(o.counts.contents_compared, 0);
    assert_lines(&o, "");
    o = compare(&a, &b);
    assert_int_equal(o.counts.contents_not_compared, 0);
    assert_int_equal(o.counts.contents_compared, 2);
    assert_counts(&o, 1, 2, 0, 0);
    buffer_deinit(&o.text);
    archive_deinit(&a);
    archive_deinit(&b);
}

static void test_extended_attributes_are_compared_by_name(void **state)
{
    (void)state;
    struct attributes x = plain(S_IFREG | 0644), y = plain(S_IFREG | 0644);
    const uint8_t one[] = "1", two[] = "22";
    assert_int_equal(attributes_add_xattr(&x, "user.c", 6, one, 1, NULL), OK);
    assert_int_equal(attributes_add_xattr(&x, "user.a", 6, one, 1, NULL), OK);
    assert_int_equal(attributes_add_xattr(&x, "user.\xff", 6, one, 0, NULL), OK);
    assert_files(&x, &x, "", "", "");
    assert_int_equal(attributes_add_xattr(&y, "user.a", 6, two, 2, NULL), OK);
    assert_int_equal(attributes_add_xattr(&y, "user.b", 6, one, 1, NULL), OK);
    assert_files(&x, &y, "", "",
                 "/f: xattr \"user.a\" \"MQ==\" -> \"MjI=\"\n"
                 "/f: xattr \"user.b\" null -> \"MQ==\"\n"
                 "/f: xattr \"user.c\" \"MQ==\" -> null\n"
                 "/f: xattr {\"b64\":\"dXNlci7/\"} \"\" -> null\n");
    attributes_deinit(&y);
    /* The same ones in another order. */
    y = plain(S_IFREG | 0644);
    assert_int_equal(attributes_add_xattr(&y, "user.a", 6, one, 1, NULL), OK);
    assert_int_equal(attributes_add_xattr(&y, "user.c", 6, one, 1, NULL), OK);
    assert_int_equal(attributes_add_xattr(&y, "user.\xff", 6, one, 0, NULL), OK);
    assert_files(&x, &y, "", "",
                 "/f: xattr_order [\"user.c\",\"user.a\",{\"b64\":\"dXNlci7/\"}] -> "
                 "[\"user.a\",\"user.c\",{\"b64\":\"dXNlci7/\"}]\n");
    attributes_deinit(&x);
    attributes_deinit(&y);
}

static void test_every_part_of_an_acl_counts(void **state)
{
    (void)state;
    struct attributes none = plain(S_IFREG | 0644), all = plain(S_IFREG | 0644);
    struct attribute_extras *x;
    assert_int_equal(attributes_extras(&all, &x, NULL), OK);
    assert_int_equal(acl_list_add(&x->users, 1, 7, NULL), OK);
    assert_int_equal(acl_list_add(&x->users, 2, 6, NULL), OK);
    assert_int_equal(acl_list_add(&x->groups, 3, 5, NULL), OK);
    assert_int_equal(acl_list_add(&x->default_users, 4, 4, NULL), OK);
    assert_int_equal(acl_list_add(&x->default_groups, 5, 3, NULL), OK);
    x->has_group_obj = x->has_default = true;
    x->group_obj = 2;
    x->acl_default = (struct acl_default){.user_obj = 7, .group_obj = 5, .other = 0, .mask = ACL_PERM_UNSET};
    assert_files(&all, &all, "", "", "");
    assert_files(&all, &none, "", "",
                 "/f: acl.users [{\"id\":1,\"perm\":7},{\"id\":2,\"perm\":6}] -> null\n"
                 "/f: acl.groups [{\"id\":3,\"perm\":5}] -> null\n"
                 "/f: acl.group_obj 2 -> null\n"
                 "/f: acl.default {\"group_obj\":5,\"mask\":null,\"other\":0,\"user_obj\":7} -> null\n"
                 "/f: acl.default_users [{\"id\":4,\"perm\":4}] -> null\n"
                 "/f: acl.default_groups [{\"id\":5,\"perm\":3}] -> null\n");
    attributes_deinit(&all);
}

static void test_capabilities_and_project_ids_count(void **state)
{
    (void)state;
    struct attributes x = plain(S_IFREG | 0644), y = plain(S_IFREG | 0644);
    const uint8_t caps[] = {1, 2, 3};
    assert_int_equal(attributes_set_fcaps(&x, caps, 3, NULL), OK);
    assert_int_equal(attributes_set_fcaps(&y, caps, 2, NULL), OK);
    x.extras->has_project_id = y.extras->has_project_id = true;
    x.extras->project_id = UINT64_MAX;
    assert_files(&x, &y, "", "", "/f: fcaps \"AQID\" -> \"AQI=\"\n/f: quota_project_id 18446744073709551615 -> 0\n");
    y.extras->has_project_id = false;
    y.extras->project_id = 0;
    assert_files(&y, &x, "", "", "/f: fcaps \"AQI=\" -> \"AQID\"\n/f: quota_project_id null -> 18446744073709551615\n");
    attributes_deinit(&x);
    attributes_deinit(&y);
}

static void test_targets_and_devices_count(void **state)
{
    (void)state;
    struct archive archives[2];
    for (unsigned i = 0; i < 2; i++) {
        struct attributes link = plain(S_IFLNK | 0777), character = plain(S_IFCHR | 0600), fifo = plain(S_IFIFO | 0600);
        begin(&archives[i], 2, NULL);
        struct encoder *e = archives[i].encoder;
        uint64_t a = add_file(&archives[i], "a", ""), b = add_file(&archives[i], "b", "");
        assert_int_equal(encoder_device(e, "c", &character, 1 + i, 3 + i, NULL), OK);
        assert_int_equal(encoder_hardlink(e, "h", i ? "b" : "a", i ? b : a, NULL), OK);
        if (i)
            add_file(&archives[i], "k", "");
        else
            assert_int_equal(encoder_hardlink(e, "k", "a", a, NULL), OK);
        assert_int_equal(encoder_symlink(e, "l", &link, i ? "y\xff" : "y", 1 + i, NULL), OK);
        assert_int_equal(encoder_special(e, "p", &fifo, NULL), OK);
        end(&archives[i]);
    }
    struct outcome o = compare(&archives[0], &archives[1]);
    assert_counts(&o, 4, 4, 0, 0);
    assert_lines(&o, "/c: major 1 -> 2\n"
                     "/c: minor 3 -> 4\n"
                     "/h: target \"a\" -> \"b\"\n"
                     "/k: kind \"hardlink\" -> \"file\"\n"
                     "/k: target \"a\" -> null\n"
                     "/l: target \"y\" -> {\"b64\":\"ef8=\"}\n");
    archive_deinit(&archives[0]);
    archive_deinit(&archives[1]);
}

static void test_offsets_count_only_when_asked_for(void **state)
{
    (void)state;
    struct archive a, b;
    make(&a, 2, "a");
    make(&b, 1, "a");
    struct outcome o = compare(&a, &b);
    assert_lines(&o, "");
    o = compare_as(&a, &b, true, (struct diff_options){.offsets = true});
    assert_counts(&o, 0, 2, 0, 0);
    assert_lines(&o, "/: entry_offset 24 -> 0\n"
                     "/a: filename_offset 80 -> 56\n"
                     "/a: entry_offset 98 -> 74\n"
                     "/a: payload_offset 16 -> null\n"
                     "/a: content_offset null -> 146\n");
    archive_deinit(&a);
    archive_deinit(&b);
}

static void test_preludes_count(void **state)
{
    (void)state;
    static const char *const preludes[] = {NULL, "{}", "{\"exclude-patterns\":\"*.o\\n\"}"};
    struct archive archives[3], unified;
    for (unsigned i = 0; i < 3; i++) {
        begin(&archives[i], 2, preludes[i]);
        end(&archives[i]);
    }
    make(&unified, 1, "");
    struct outcome o = compare(&archives[1], &archives[1]);
    assert_lines(&o, "");
    o = compare(&archives[1], &archives[2]);
    assert_counts(&o, 1, 0, 0, 0);
    assert_lines(&o, "the archive: prelude \"{}\" -> \"{\\\"exclude-patterns\\\":\\\"*.o\\\\n\\\"}\"\n");
    o = compare(&archives[0], &archives[1]);
    assert_lines(&o, "the archive: prelude null -> \"{}\"\n");
    /* Version 1 has no place for one. */
    o = compare(&unified, &archives[2]);
    assert_lines(&o, "");
    for (unsigned i = 0; i < 3; i++)
        archive_deinit(&archives[i]);
    archive_deinit(&unified);
}

/* ---- .pxarexclude-cli ---- */

/* Its place among "a" and "-": last, as version 1 has it, or by its name. */
static void make_with_patterns(struct archive *a, unsigned version, bool last, const char *patterns)
{
    begin(a, version, NULL);
    add_file(a, "-", "");
    if (!last)
        add_file(a, ".pxarexclude-cli", patterns);
    add_file(a, "a", "");
    if (last)
        add_file(a, ".pxarexclude-cli", patterns);
    end(a);
}

static void test_the_patterns_file_is_compared_wherever_it_stands(void **state)
{
    (void)state;
    struct archive last, sorted, changed, without;
    make_with_patterns(&last, 1, true, "*.o\n");
    make_with_patterns(&sorted, 2, false, "*.o\n");
    make_with_patterns(&changed, 1, true, "*.p\n");
    make(&without, 2, "-a");
    struct outcome o = compare(&last, &sorted);
    assert_counts(&o, 4, 0, 0, 0);
    assert_lines(&o, "");
    o = compare_as(&sorted, &changed, true, (struct diff_options){.format = DIFF_JSON});
    assert_counts(&o, 3, 1, 0, 0);
    assert_non_null(strstr((const char *)o.text.data, "\"field\":\"content\",\"path\":\"/.pxarexclude-cli\"}\n"));
    buffer_deinit(&o.text);
    o = compare_as(&sorted, &changed, false, (struct diff_options){0});
    assert_int_equal(o.counts.contents_not_compared, 3);
    assert_lines(&o, "");
    struct archive plain_names;
    begin(&plain_names, 1, NULL);
    add_file(&plain_names, "-", "");
    add_file(&plain_names, "a", "");
    end(&plain_names);
    o = compare(&last, &plain_names);
    assert_lines(&o, "only in A: /.pxarexclude-cli (file)\n");
    o = compare(&plain_names, &sorted);
    assert_lines(&o, "only in B: /.pxarexclude-cli (file)\n");
    archive_deinit(&plain_names);
    archive_deinit(&last);
    archive_deinit(&sorted);
    archive_deinit(&changed);
    archive_deinit(&without);
}

/* ---- forms ---- */

static void test_json_lines_say_the_same(void **state)
{
    (void)state;
    struct archive a, b;
    struct attributes other = plain(S_IFREG | 0600);
    const uint8_t value[] = "v";
    assert_int_equal(attributes_add_xattr(&other, "user.\xff", 6, value, 1, NULL), OK);
    begin(&a, 2, NULL);
    add_file(&a, "f", "");
    add_file(&a, "x\xff", "");
    end(&a);
    begin(&b, 2, NULL);
    add_file_with(&b, "f", &other, "");
    add_file(&b, "new\n", "");
    end(&b);
    struct outcome o = compare_as(&a, &b, true, (struct diff_options){.format = DIFF_JSON});
    assert_lines(&o, "{\"a\":\"0100644\",\"b\":\"0100600\",\"field\":\"mode\",\"path\":\"/f\"}\n"
                     "{\"a\":null,\"b\":\"dg==\",\"field\":\"xattr\",\"name_b64\":\"dXNlci7/\",\"path\":\"/f\"}\n"
                     "{\"kind\":\"file\",\"only\":\"b\",\"path\":\"/new\\n\"}\n"
                     "{\"kind\":\"file\",\"only\":\"a\",\"path_b64\":\"L3j/\"}\n");
    o = compare(&a, &b);
    assert_lines(&o, "/f: mode \"0100644\" -> \"0100600\"\n"
                     "/f: xattr {\"b64\":\"dXNlci7/\"} null -> \"dg==\"\n"
                     "only in B: /new\\x0a (file)\n"
                     "only in A: /x\\xff (file)\n");
    attributes_deinit(&other);
    archive_deinit(&a);
    archive_deinit(&b);
}

static void test_the_summary_has_all_counts(void **state)
{
    (void)state;
    struct diff_counts counts = {.same = 1, .different = 2, .only_a = 3, .only_b = 4, .contents_compared = 5};
    struct buffer text = BUFFER_INIT(0);
    assert_int_equal(diff_summary(&counts, DIFF_TEXT, &text, NULL), OK);
    assert_int_equal(buffer_append_u8(&text, '\0', NULL), OK);
    assert_string_equal((char *)text.data, "1 same, 2 different, 3 only in A, 4 only in B");
    buffer_clear(&text);
    counts.contents_not_compared = 6;
    assert_int_equal(diff_summary(&counts, DIFF_TEXT, &text, NULL), OK);
    assert_int_equal(buffer_append_u8(&text, '\0', NULL), OK);
    assert_string_equal((char *)text.data,
                        "1 same, 2 different, 3 only in A, 4 only in B; contents of 6 files not compared");
    buffer_clear(&text);
    assert_int_equal(diff_summary(&counts, DIFF_JSON, &text, NULL), OK);
    assert_int_equal(buffer_append_u8(&text, '\0', NULL), OK);
    assert_string_equal((char *)text.data, "{\"contents_compared\":5,\"contents_not_compared\":6,\"different\":2,"
                                           "\"only_a\":3,\"only_b\":4,\"same\":1}");
    buffer_deinit(&text);
    assert_true(diff_same(&(struct diff_counts){.same = 1, .contents_not_compared = 9}));
    assert_false(diff_same(&(struct diff_counts){.different = 1}));
    assert_false(diff_same(&(struct diff_counts){.only_a = 1}));
    assert_false(diff_same(&(struct diff_counts){.only_b = 1}));
    assert_false(diff_same(&(struct diff_counts){.preludes_differ = true}));
}

/* ---- trouble ---- */

static void test_damage_is_an_error_whatever_was_found_before(void **state)
{
    (void)state;
    struct archive a, b;
    make(&a, 2, "abc");
    make(&b, 2, "ac");
    b.metadata.size -= 1;
    struct outcome o = compare(&a, &b);
    assert_int_equal(o.status, ERR_FORMAT);
    assert_non_null(strstr(o.err.text, "B.mpxar: "));
    assert_string_equal((const char *)o.text.data, "only in A: /b (file)\n");
    buffer_deinit(&o.text);
    b.metadata.size += 1;
    a.payload.size -= 1; /* its tail marker */
    o = compare(&a, &b);
    assert_int_equal(o.status, ERR_FORMAT);
    assert_non_null(strstr(o.err.text, "A.ppxar: "));
    buffer_deinit(&o.text);
    archive_deinit(&a);
    archive_deinit(&b);
}

static void test_unsorted_members_are_refused(void **state)
{
    (void)state;
    struct archive a, b;
    make(&a, 2, "d(ab)x");
    make(&b, 2, "d(ab)x");
    /* "a" and "b" change their names. */
    for (size_t i = 0; i + 18 < b.metadata.size; i++)
        if (load_u64le(b.metadata.data + i) == PXAR_FILENAME && b.metadata.data[i + 16] == 'a')
            b.metadata.data[i + 16] = 'c';
    struct outcome o = compare(&a, &b);
    assert_int_equal(o.status, ERR_FORMAT);
    assert_non_null(strstr(o.err.text, "B.mpxar: /d/b is not sorted by name"));
    buffer_deinit(&o.text);
    /* Twice the same name. */
    for (size_t i = 0; i + 18 < b.metadata.size; i++)
        if (load_u64le(b.metadata.data + i) == PXAR_FILENAME && b.metadata.data[i + 16] == 'c')
            b.metadata.data[i + 16] = 'b';
    o = compare(&b, &a);
    assert_int_equal(o.status, ERR_FORMAT);
    assert_non_null(strstr(o.err.text, "A.mpxar: /d/b is not sorted"));
    buffer_deinit(&o.text);
    /* A directory counts as the member it is. */
    for (size_t i = 0; i + 18 < a.metadata.size; i++)
        if (load_u64le(a.metadata.data + i) == PXAR_FILENAME && a.metadata.data[i + 16] == 'x')
            a.metadata.data[i + 16] = 'c';
    o = compare(&a, &a);
    assert_int_equal(o.status, ERR_FORMAT);
    assert_non_null(strstr(o.err.text, "/c is not sorted"));
    buffer_deinit(&o.text);
    archive_deinit(&a);
    archive_deinit(&b);
}

static enum status refuse(void *context, const uint8_t *data, size_t size, struct error *err)
{
    (void)context;
    (void)data;
    (void)size;
    return fail(err, ERR_LOCKED, "no more");
}

static void test_a_sink_that_fails_ends_it(void **state)
{
    (void)state;
    struct archive a, b;
    struct diff_counts counts;
    struct error err = {0};
    make(&a, 1, "a");
    make(&b, 1, "b");
    struct memory_source x = {.data = a.metadata.data, .size = a.metadata.size};
    struct memory_source y = {.data = b.metadata.data, .size = b.metadata.size};
    struct diff_input inputs[] = {{.metadata = source_over_memory(&x, "A")}, {.metadata = source_over_memory(&y, "B")}};
    assert_int_equal(
        diff_archives(&inputs[0], &inputs[1], &(struct diff_options){0}, (struct sink){.write = refuse}, &counts, &err),
        ERR_LOCKED);
    archive_deinit(&a);
    archive_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trees_are_merged_by_name),
        cmocka_unit_test(test_a_directory_in_place_of_a_file_is_another_kind),
        cmocka_unit_test(test_every_field_of_the_entry_counts),
        cmocka_unit_test(test_contents_and_sizes_count),
        cmocka_unit_test(test_contents_that_are_not_at_hand_are_not_compared),
        cmocka_unit_test(test_extended_attributes_are_compared_by_name),
        cmocka_unit_test(test_every_part_of_an_acl_counts),
        cmocka_unit_test(test_capabilities_and_project_ids_count),
        cmocka_unit_test(test_targets_and_devices_count),
        cmocka_unit_test(test_offsets_count_only_when_asked_for),
        cmocka_unit_test(test_preludes_count),
        cmocka_unit_test(test_the_patterns_file_is_compared_wherever_it_stands),
        cmocka_unit_test(test_json_lines_say_the_same),
        cmocka_unit_test(test_the_summary_has_all_counts),
        cmocka_unit_test(test_damage_is_an_error_whatever_was_found_before),
        cmocka_unit_test(test_unsorted_members_are_refused),
        cmocka_unit_test(test_a_sink_that_fails_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
