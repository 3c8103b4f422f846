#include "testing/testing.h"

#include "pxar/encoder.h"
#include "pxar/examples_for_test.h"

#include <stdio.h>

/* Both streams in memory, and an encoder into them. */
struct archive {
    struct buffer metadata;
    struct buffer payload;
    struct encoder *encoder;
};

static const struct attributes root_attributes = {.stat = {.mode = 040755, .mtime_secs = 1700000000}};

static struct attributes with_mode(uint64_t mode, uint32_t owner)
{
    return (struct attributes){
        .stat = {.mode = mode, .uid = owner, .gid = owner, .mtime_secs = 1700000001, .mtime_nanos = 5}};
}

static void archive_begin(struct archive *a)
{
    *a = (struct archive){0};
    assert_int_equal(encoder_new(sink_to_buffer(&a->metadata), sink_to_buffer(&a->payload), &root_attributes, NULL, 0,
                                 &a->encoder, NULL),
                     OK);
}

static void archive_deinit(struct archive *a)
{
    encoder_free(a->encoder);
    buffer_deinit(&a->metadata);
    buffer_deinit(&a->payload);
}

static void put_content(struct archive *a, const char *text)
{
    assert_int_equal(buffer_append(&a->payload, text, strlen(text), NULL), OK);
}

static uint64_t u64_at(const struct buffer *b, size_t offset)
{
    assert_true(offset + 8 <= b->size);
    return load_u64le(b->data + offset);
}

static void test_empty_root_as_specified(void **state)
{
    (void)state;
    CLEANUP(archive_deinit) struct archive a;
    archive_begin(&a);
    assert_int_equal(encoder_payload_position(a.encoder), 16);
    assert_int_equal(encoder_finish(a.encoder, NULL), OK);
    assert_true(hex_equals(EXAMPLE_EMPTY_METADATA, a.metadata.data, a.metadata.size));
    assert_true(hex_equals(EXAMPLE_EMPTY_PAYLOAD, a.payload.data, a.payload.size));
    assert_string_equal(sha256_hex(a.metadata.data, a.metadata.size),
                        "4ee2b18efacacf105967492b2d4d66cb87ab8ec49a75b01a74445fdcefd97713");
    assert_string_equal(sha256_hex(a.payload.data, a.payload.size),
                        "564ec2fcce3caf1c2c13c24f67af54095c5a0df7f47a6298365358d07baa67ff");
    assert_int_equal(encoder_metadata_position(a.encoder), a.metadata.size);
    assert_int_equal(encoder_payload_position(a.encoder), 16);
}

static void test_files_and_links_as_specified(void **state)
{
    (void)state;
    CLEANUP(archive_deinit) struct archive a = {0};
    const char *prelude = EXAMPLE_FILES_PRELUDE;
    assert_int_equal(encoder_new(sink_to_buffer(&a.metadata), sink_to_buffer(&a.payload), &root_attributes,
                                 (const uint8_t *)prelude, strlen(prelude), &a.encoder, NULL),
                     OK);
    uint64_t target = 0;
    struct attributes file = with_mode(0100644, 1000), link = with_mode(0120777, 0), empty = with_mode(0100600, 0);
    assert_int_equal(encoder_file(a.encoder, "a", &file, 6, &target, NULL), OK);
    put_content(&a, "hello\n");
    assert_int_equal(target, EXAMPLE_A_AT);
    assert_int_equal(encoder_payload_position(a.encoder), 38);
    assert_int_equal(encoder_hardlink(a.encoder, "h", "a", target, NULL), OK);
    assert_int_equal(encoder_symlink(a.encoder, "l", &link, "a", 1, NULL), OK);
    assert_int_equal(encoder_file(a.encoder, "z", &empty, 0, NULL, NULL), OK);
    assert_int_equal(encoder_finish(a.encoder, NULL), OK);
    assert_true(hex_equals(EXAMPLE_FILES_METADATA, a.metadata.data, a.metadata.size));
    assert_true(hex_equals(EXAMPLE_FILES_PAYLOAD, a.payload.data, a.payload.size));
    assert_string_equal(sha256_hex(a.metadata.data, a.metadata.size),
                        "d8e3cddc5875bc0758a4d2485a833010da20584343cffbc3385f58db4ff9773f");
    assert_string_equal(sha256_hex(a.payload.data, a.payload.size),
                        "57c65fa4192cfb1a2b12229d051d69325a9c66bccf07734dc2be4810dd0678e8");
}

static void unified_begin(struct archive *a)
{
    *a = (struct archive){0};
    assert_int_equal(encoder_new_unified(sink_to_buffer(&a->metadata), &root_attributes, &a->encoder, NULL), OK);
}

static void put_unified(struct archive *a, const char *name, const char *text)
{
    struct attributes file = with_mode(0100644, 1000);
    assert_int_equal(encoder_file(a->encoder, name, &file, strlen(text), NULL, NULL), OK);
    assert_int_equal(buffer_append(&a->metadata, text, strlen(text), NULL), OK);
}

static void assert_unified(struct archive *a, const char *hex, const char *digest)
{
    assert_int_equal(encoder_finish(a->encoder, NULL), OK);
    assert_true(hex_equals(hex, a->metadata.data, a->metadata.size));
    assert_string_equal(sha256_hex(a->metadata.data, a->metadata.size), digest);
    assert_int_equal(encoder_metadata_position(a->encoder), a->metadata.size);
    assert_int_equal(encoder_payload_position(a->encoder), 0);
    assert_int_equal(a->payload.size, 0);
}

static void test_unified_empty_root_as_specified(void **state)
{
    (void)state;
    CLEANUP(archive_deinit) struct archive a;
    unified_begin(&a);
    assert_unified(&a, EXAMPLE_EMPTY_UNIFIED, "d4d80a6686ec476665cc46b0675fba3f186cffd236b37dcc8e8018190c3e4a37");
}

static void test_unified_file_as_specified(void **state)
{
    (void)state;
    CLEANUP(archive_deinit) struct archive a;
    unified_begin(&a);
    put_unified(&a, "f", "hi\n");
    assert_int_equal(encoder_metadata_position(a.encoder), a.metadata.size);
    assert_unified(&a, EXAMPLE_FILE_UNIFIED, "31fe85a4a50c08ea4166e1b9b7aec63903e1a1ddd9db429576bdb52bf776d42a");
}

static void test_unified_attributes_as_specified(void **state)
{
    (void)state;
    CLEANUP(archive_deinit) struct archive a;
    unified_begin(&a);
    struct attributes dir = with_mode(040750, 0), null = with_mode(020660, 0), fifo = with_mode(010600, 0);
    struct attributes x = with_mode(0100664, 1000);
    struct acl_entry named[] = {{1001, 7}, {1002, 5}, {1001, 6}, {1002, 4}};
    struct attribute_extras dir_extras = {.has_default = true,
                                          .acl_default = {7, 5, 0, ACL_PERM_UNSET},
                                          .default_users = {.entries = &named[0], .count = 1},
                                          .default_groups = {.entries = &named[1], .count = 1}};
    char name[] = "user.k";
    uint8_t value[] = {'v'}, fcaps[20] = {1, 0, 0, 2, 0, 0x20};
    struct xattr xattr = {name, 6, value, 1};
    struct attribute_extras x_extras = {.xattrs = &xattr,
                                        .xattr_count = 1,
                                        .users = {.entries = &named[2], .count = 1},
                                        .groups = {.entries = &named[3], .count = 1},
                                        .has_group_obj = true,
                                        .group_obj = 4,
                                        .has_fcaps = true,
                                        .fcaps = fcaps,
                                        .fcaps_size = sizeof fcaps,
                                        .has_project_id = true,
                                        .project_id = 7};
    dir.extras = &dir_extras;
    x.extras = &x_extras;
    x.stat.flags = 0x100000;
    assert_int_equal(encoder_directory_begin(a.encoder, "d", &dir, NULL), OK);
    assert_int_equal(encoder_directory_end(a.encoder, NULL), OK);
    assert_int_equal(encoder_device(a.encoder, "null", &null, 1, 3, NULL), OK);
    assert_int_equal(encoder_special(a.encoder, "p", &fifo, NULL), OK);
    assert_int_equal(encoder_file(a.encoder, "x", &x, 0, NULL, NULL), OK);
    assert_unified(&a, EXAMPLE_ATTRIBUTES_UNIFIED, "5080c194da93b340d1c28720a9dcf9fce902f6b3150c7c3613be8b8a31311e94");
}

static void test_unified_has_no_payload_to_refer_to(void **state)
{
    (void)state;
    struct attributes file = with_mode(0100644, 0);
    struct error err = {0};
    CLEANUP(archive_deinit) struct archive a, b;
    unified_begin(&a);
    assert_int_equal(encoder_reference(a.encoder, "a", &file, 10, 16, NULL, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "version 1"));
    assert_int_equal(encoder_finish(a.encoder, NULL), ERR_USAGE); /* as after every failure */
    unified_begin(&b);
    assert_int_equal(encoder_advance(b.encoder, 1, NULL), ERR_USAGE);
    assert_int_equal(encoder_finish(b.encoder, NULL), ERR_USAGE);
}

/* Names of empty files, "d/" for a directory with one, one after the other. */
static enum status put_names(struct archive *a, const char *const *names)
{
    struct attributes file = with_mode(0100644, 0), dir = with_mode(040700, 0);
    for (; *names; names++) {
        if (strcmp(*names, "d/") != 0) {
            TRY(encoder_file(a->encoder, *names, &file, 0, NULL, NULL));
            continue;
        }
        TRY(encoder_directory_begin(a->encoder, "d", &dir, NULL));
        TRY(encoder_file(a->encoder, "z", &file, 0, NULL, NULL));
        TRY(encoder_file(a->encoder, ".pxarexclude-cli", &file, 0, NULL, NULL));
        TRY(encoder_directory_end(a->encoder, NULL));
    }
    return encoder_finish(a->encoder, NULL);
}

static void test_exclude_list_of_a_unified_root_comes_last(void **state)
{
    (void)state;
    static const struct {
        const char *names[5];
        enum status unified, split;
    } cases[] = {
        {{"a", "b", ".pxarexclude-cli"}, OK, ERR_USAGE},
        {{".pxarexclude-cli"}, OK, OK},
        {{".pxarexclude-cli", "a"}, OK, OK}, /* in its place, as any name */
        {{"a", ".pxarexclude-cli", "b"}, ERR_USAGE, ERR_USAGE},
        {{"a", ".pxarexclude-cli", ".pxarexclude-cli"}, ERR_USAGE, ERR_USAGE},
        {{".pxarexclude-cli", "a", ".pxarexclude-cli"}, ERR_USAGE, ERR_USAGE}, /* twice */
        {{"a", ".pxarexclude"}, ERR_USAGE, ERR_USAGE},
        {{"d/"}, ERR_USAGE, ERR_USAGE}, /* below the root it is a name as any other */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(archive_deinit) struct archive a, b;
        unified_begin(&a);
        assert_int_equal(put_names(&a, cases[i].names), cases[i].unified);
        archive_begin(&b);
        assert_int_equal(put_names(&b, cases[i].names), cases[i].split);
    }
    /* Only as a file. */
    struct attributes fifo = with_mode(010600, 0), link = with_mode(0120777, 0), dir = with_mode(040700, 0);
    CLEANUP(archive_deinit) struct archive c, d, e;
    unified_begin(&c);
    put_unified(&c, "a", "");
    assert_int_equal(encoder_special(c.encoder, ".pxarexclude-cli", &fifo, NULL), ERR_USAGE);
    unified_begin(&d);
    put_unified(&d, "a", "");
    assert_int_equal(encoder_symlink(d.encoder, ".pxarexclude-cli", &link, "x", 1, NULL), ERR_USAGE);
    unified_begin(&e);
    put_unified(&e, "a", "");
    assert_int_equal(encoder_directory_begin(e.encoder, ".pxarexclude-cli", &dir, NULL), ERR_USAGE);
}

static void test_unified_hardlinks_and_rows_count_contents(void **state)
{
    (void)state;
    struct attributes file = with_mode(0100644, 0);
    uint64_t target = 0;
    CLEANUP(archive_deinit) struct archive a;
    unified_begin(&a);
    assert_int_equal(encoder_file(a.encoder, "a", &file, 5, &target, NULL), OK);
    assert_int_equal(buffer_append(&a.metadata, "12345", 5, NULL), OK);
    assert_int_equal(target, 56);
    assert_int_equal(encoder_hardlink(a.encoder, "b", "a", target, NULL), OK);
    assert_int_equal(encoder_finish(a.encoder, NULL), OK);
    size_t b_at = 56 + 18 + 56 + 16 + 5, goodbye = b_at + 18 + 26;
    assert_int_equal(u64_at(&a.metadata, b_at + 18 + 16), b_at - 56);
    assert_true(u64_at(&a.metadata, goodbye) == PXAR_GOODBYE);
    for (size_t i = 0; i < 2; i++) {
        struct goodbye_row row = item_load_goodbye_row(a.metadata.data + goodbye + 16 + 24 * i);
        assert_int_equal(row.size, row.offset == goodbye - 56 ? 18 + 56 + 16 + 5 : 18 + 26);
    }
}

static void test_unified_positions_cannot_overflow(void **state)
{
    (void)state;
    struct attributes file = with_mode(0100644, 0);
    static const struct {
        uint64_t size;
        enum status expected;
    } cases[] = {{(uint64_t)INT64_MAX - 56 - 90, OK},
                 {(uint64_t)INT64_MAX - 56 - 90 + 1, ERR_LIMIT},
                 {INT64_MAX, ERR_LIMIT},
                 {UINT64_MAX - 16, ERR_LIMIT},
                 {UINT64_MAX, ERR_LIMIT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(archive_deinit) struct archive a;
        unified_begin(&a);
        assert_int_equal(encoder_file(a.encoder, "a", &file, cases[i].size, NULL, NULL), cases[i].expected);
        if (cases[i].expected == OK)
            assert_int_equal(encoder_finish(a.encoder, NULL), ERR_LIMIT);
    }
}

static void test_row_counts_contents_of_encoded_but_not_of_referenced_files(void **state)
{
    (void)state;
    CLEANUP(archive_deinit) struct archive a;
    archive_begin(&a);
    struct attributes file = with_mode(0100644, 0);
    assert_int_equal(encoder_reference(a.encoder, "a", &file, 1000, 16, NULL, NULL), OK);
    assert_int_equal(encoder_advance(a.encoder, 2000, NULL), OK);
    assert_int_equal(encoder_payload_position(a.encoder), 2016);
    assert_int_equal(encoder_file(a.encoder, "b", &file, 5, NULL, NULL), OK);
    put_content(&a, "12345");
    assert_int_equal(encoder_finish(a.encoder, NULL), OK);
    /* a sorts before b by hash (0x0c26... first); two rows are stored as 1 0. */
    size_t goodbye = 80 + 2 * 106;
    assert_true(u64_at(&a.metadata, goodbye) == PXAR_GOODBYE);
    struct goodbye_row rows[2];
    for (size_t i = 0; i < 2; i++)
        rows[i] = item_load_goodbye_row(a.metadata.data + goodbye + 16 + 24 * i);
    bool a_first = rows[0].offset == goodbye - 80;
    assert_int_equal(rows[a_first ? 0 : 1].size, 106);
    assert_int_equal(rows[a_first ? 1 : 0].size, 106 + 5);
    /* References: as given, and the position at the file's header. */
    assert_int_equal(u64_at(&a.metadata, 80 + 18 + 56 + 16), 16);
    assert_int_equal(u64_at(&a.metadata, 80 + 106 + 18 + 56 + 16), 2016);
}

static void test_subdirectory_tail_counts_from_its_entry(void **state)
{
    (void)state;
    CLEANUP(archive_deinit) struct archive a;
    archive_begin(&a);
    struct attributes dir = with_mode(040700, 0), fifo = with_mode(010600, 0), socket = with_mode(0140600, 0),
                      device = with_mode(020660, 0);
    assert_int_equal(encoder_directory_begin(a.encoder, "d", &dir, NULL), OK);
    assert_int_equal(encoder_device(a.encoder, "c", &device, 1, 3, NULL), OK);
    assert_int_equal(encoder_special(a.encoder, "p", &fifo, NULL), OK);
    assert_int_equal(encoder_special(a.encoder, "s", &socket, NULL), OK);
    assert_int_equal(encoder_directory_end(a.encoder, NULL), OK);
    assert_int_equal(encoder_finish(a.encoder, NULL), OK);
    size_t entry = 80 + 18, goodbye = entry + 56 + 106 + 74 + 74, root_goodbye = goodbye + 16 + 4 * 24;
    struct goodbye_row tail = item_load_goodbye_row(a.metadata.data + goodbye + 16 + 3 * 24);
    assert_true(tail.hash == PXAR_GOODBYE_TAIL_MARKER);
    assert_int_equal(tail.offset, goodbye - entry);
    assert_int_equal(tail.size, 16 + 4 * 24);
    struct goodbye_row row = item_load_goodbye_row(a.metadata.data + root_goodbye + 16);
    assert_int_equal(row.offset, root_goodbye - 80);
    assert_int_equal(row.size, root_goodbye - 80);
    tail = item_load_goodbye_row(a.metadata.data + root_goodbye + 16 + 24);
    assert_int_equal(tail.offset, root_goodbye);
    assert_int_equal(a.metadata.size, root_goodbye + 16 + 2 * 24);
}

static enum status encode_name(const char *name)
{
    CLEANUP(archive_deinit) struct archive a;
    archive_begin(&a);
    struct attributes fifo = with_mode(010600, 0);
    struct error err = {0};
    enum status status = encoder_special(a.encoder, name, &fifo, &err);
    assert_int_equal(err.status, status);
    if (status != OK) {
        assert_true(err.text[0] != '\0');
        size_t written = a.metadata.size;
        assert_int_equal(encoder_special(a.encoder, "zz", &fifo, NULL), ERR_USAGE);
        assert_int_equal(encoder_finish(a.encoder, NULL), ERR_USAGE);
        assert_int_equal(a.metadata.size, written);
    }
    return status;
}

static void test_refuses_bad_names_and_stays_failed(void **state)
{
    (void)state;
    static char longest[PXAR_NAME_SIZE_MAX + 2];
    memset(longest, 'n', PXAR_NAME_SIZE_MAX);
    assert_int_equal(encode_name(longest), OK);
    longest[PXAR_NAME_SIZE_MAX] = 'n';
    assert_int_equal(encode_name(longest), ERR_USAGE);
    assert_int_equal(encode_name(""), ERR_USAGE);
    assert_int_equal(encode_name("."), ERR_USAGE);
    assert_int_equal(encode_name(".."), ERR_USAGE);
    assert_int_equal(encode_name("a/b"), ERR_USAGE);
}

static enum status encode_two(const char *first, const char *second)
{
    CLEANUP(archive_deinit) struct archive a;
    archive_begin(&a);
    struct attributes fifo = with_mode(010600, 0), dir = with_mode(040700, 0);
    assert_int_equal(encoder_directory_begin(a.encoder, first, &dir, NULL), OK);
    assert_int_equal(encoder_special(a.encoder, "in", &fifo, NULL), OK);
    assert_int_equal(encoder_directory_end(a.encoder, NULL), OK);
    return encoder_special(a.encoder, second, &fifo, NULL);
}

static void test_members_come_in_byte_order(void **state)
{
    (void)state;
    assert_int_equal(encode_two("a", "b"), OK);
    assert_int_equal(encode_two("z", "za"), OK);
    assert_int_equal(encode_two("z", "\xc3\xa4"), OK); /* unsigned */
    assert_int_equal(encode_two("b", "a"), ERR_USAGE);
    assert_int_equal(encode_two("za", "z"), ERR_USAGE);
    assert_int_equal(encode_two("a", "a"), ERR_USAGE);
    assert_int_equal(encode_two("\xff", "a"), ERR_USAGE);
}

static enum status put_reference(uint64_t advance, uint64_t first, uint64_t second)
{
    CLEANUP(archive_deinit) struct archive a;
    archive_begin(&a);
    struct attributes file = with_mode(0100644, 0);
    assert_int_equal(encoder_reference(a.encoder, "a", &file, 10, first, NULL, NULL), OK);
    assert_int_equal(encoder_advance(a.encoder, advance, NULL), OK);
    return encoder_reference(a.encoder, "b", &file, 10, second, NULL, NULL);
}

static void test_references_increase_and_are_not_behind_the_position(void **state)
{
    (void)state;
    assert_int_equal(put_reference(0, 16, 42), OK);
    assert_int_equal(put_reference(100, 16, 116), OK);
    assert_int_equal(put_reference(100, 16, 115), ERR_MISMATCH);
    assert_int_equal(put_reference(0, 100, 100), ERR_MISMATCH);
    assert_int_equal(put_reference(0, 100, 99), ERR_MISMATCH);
    assert_int_equal(put_reference(0, 100, 101), OK);
    assert_int_equal(put_reference(0, 100, INT64_MAX), ERR_LIMIT);
    assert_int_equal(put_reference(0, 100, UINT64_MAX), ERR_LIMIT);
}

static void test_referenced_bytes_must_be_injected(void **state)
{
    (void)state;
    struct attributes file = with_mode(0100644, 0);
    for (int with_file = 0; with_file < 2; with_file++)
        for (uint64_t injected = 99; injected <= 100; injected++) {
            CLEANUP(archive_deinit) struct archive a;
            archive_begin(&a);
            assert_int_equal(encoder_reference(a.encoder, "a", &file, 84, 16, NULL, NULL), OK);
            assert_int_equal(encoder_advance(a.encoder, injected, NULL), OK);
            enum status status =
                with_file ? encoder_file(a.encoder, "b", &file, 0, NULL, NULL) : encoder_finish(a.encoder, NULL);
            assert_int_equal(status, injected == 100 ? OK : ERR_MISMATCH);
        }
}

static void test_positions_cannot_overflow(void **state)
{
    (void)state;
    struct attributes file = with_mode(0100644, 0);
    CLEANUP(archive_deinit) struct archive a;
    archive_begin(&a);
    assert_int_equal(encoder_advance(a.encoder, (uint64_t)INT64_MAX - 16 - 20, NULL), OK);
    assert_int_equal(encoder_file(a.encoder, "a", &file, 4, NULL, NULL), OK);
    assert_int_equal(encoder_file(a.encoder, "b", &file, 0, NULL, NULL), ERR_LIMIT);
    CLEANUP(archive_deinit) struct archive b;
    archive_begin(&b);
    assert_int_equal(encoder_file(b.encoder, "b", &file, UINT64_MAX, NULL, NULL), ERR_LIMIT);
    CLEANUP(archive_deinit) struct archive c;
    archive_begin(&c);
    assert_int_equal(encoder_advance(c.encoder, UINT64_MAX, NULL), ERR_LIMIT);
}

static void test_kind_agrees_with_mode(void **state)
{
    (void)state;
    static const uint64_t modes[] = {0140600, 0120777, 0100644, 060600, 040700, 020600, 010600, 0, 0170644};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        struct attributes x = with_mode(modes[i], 0);
        struct archive a[6];
        for (size_t k = 0; k < 6; k++)
            archive_begin(&a[k]);
        assert_int_equal(encoder_special(a[0].encoder, "m", &x, NULL), i == 0 || i == 6 ? OK : ERR_USAGE);
        assert_int_equal(encoder_symlink(a[1].encoder, "m", &x, "t", 1, NULL), i == 1 ? OK : ERR_USAGE);
        assert_int_equal(encoder_file(a[2].encoder, "m", &x, 0, NULL, NULL), i == 2 ? OK : ERR_USAGE);
        assert_int_equal(encoder_reference(a[3].encoder, "m", &x, 0, 16, NULL, NULL), i == 2 ? OK : ERR_USAGE);
        assert_int_equal(encoder_device(a[4].encoder, "m", &x, 0, 0, NULL), i == 3 || i == 5 ? OK : ERR_USAGE);
        assert_int_equal(encoder_directory_begin(a[5].encoder, "m", &x, NULL), i == 4 ? OK : ERR_USAGE);
        for (size_t k = 0; k < 6; k++)
            archive_deinit(&a[k]);
        CLEANUP(archive_deinit) struct archive unified = {0};
        assert_int_equal(encoder_new_unified(sink_to_buffer(&unified.metadata), &x, &unified.encoder, NULL),
                         i == 4 ? OK : ERR_USAGE);
        CLEANUP(archive_deinit) struct archive root = {0};
        assert_int_equal(encoder_new(sink_to_buffer(&root.metadata), sink_to_buffer(&root.payload), &x, NULL, 0,
                                     &root.encoder, NULL),
                         i == 4 ? OK : ERR_USAGE);
    }
}

static void test_link_targets_are_bounded(void **state)
{
    (void)state;
    static char target[PXAR_TARGET_SIZE_MAX + 2];
    memset(target, 't', PXAR_TARGET_SIZE_MAX + 1);
    struct attributes link = with_mode(0120777, 0), file = with_mode(0100644, 0);
    static const struct {
        size_t size;
        enum status expected;
    } cases[] = {{0, OK}, {PXAR_TARGET_SIZE_MAX, OK}, {PXAR_TARGET_SIZE_MAX + 1, ERR_LIMIT}};
    for (size_t i = 0; i < 3; i++) {
        CLEANUP(archive_deinit) struct archive a;
        archive_begin(&a);
        assert_int_equal(encoder_symlink(a.encoder, "l", &link, target, cases[i].size, NULL), cases[i].expected);
    }
    CLEANUP(archive_deinit) struct archive b;
    archive_begin(&b);
    assert_int_equal(encoder_symlink(b.encoder, "l", &link, "a\0b", 3, NULL), ERR_USAGE);
    static const struct {
        const char *path;
        uint64_t offset;
        enum status expected;
    } links[] = {
        {"a", 80, OK},
        {"a", 0, ERR_USAGE},
        {"a", 186, ERR_USAGE},
        {"/a", 80, ERR_USAGE},
        {"", 80, ERR_USAGE},
        {target, 80, ERR_LIMIT},
        /* Paths that readers refuse. */
        {"a/", 80, ERR_USAGE},
        {"d//a", 80, ERR_USAGE},
        {"./a", 80, ERR_USAGE},
        {"../a", 80, ERR_USAGE},
        {"d/..", 80, ERR_USAGE},
        {"d/a", 80, OK},
    };
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        CLEANUP(archive_deinit) struct archive c;
        archive_begin(&c);
        assert_int_equal(encoder_file(c.encoder, "a", &file, 0, NULL, NULL), OK);
        assert_int_equal(encoder_hardlink(c.encoder, "b", links[i].path, links[i].offset, NULL), links[i].expected);
    }
}

static void test_preludes_are_what_readers_take(void **state)
{
    (void)state;
    uint8_t *prelude = calloc(1, (size_t)PXAR_PRELUDE_SIZE_MAX + 1);
    assert_non_null(prelude);
    for (size_t i = 0; i < 2; i++) {
        CLEANUP(archive_deinit) struct archive a = {0};
        assert_int_equal(encoder_new(sink_to_buffer(&a.metadata), sink_to_buffer(&a.payload), &root_attributes, prelude,
                                     (size_t)PXAR_PRELUDE_SIZE_MAX + i, &a.encoder, NULL),
                         i == 0 ? OK : ERR_LIMIT);
    }
    free(prelude);
}

static void test_directories_balance(void **state)
{
    (void)state;
    struct attributes dir = with_mode(040700, 0);
    CLEANUP(archive_deinit) struct archive a;
    archive_begin(&a);
    assert_int_equal(encoder_directory_end(a.encoder, NULL), ERR_USAGE);
    CLEANUP(archive_deinit) struct archive b;
    archive_begin(&b);
    assert_int_equal(encoder_directory_begin(b.encoder, "d", &dir, NULL), OK);
    assert_int_equal(encoder_finish(b.encoder, NULL), ERR_USAGE);
    CLEANUP(archive_deinit) struct archive c;
    archive_begin(&c);
    assert_int_equal(encoder_finish(c.encoder, NULL), OK);
    assert_int_equal(encoder_directory_begin(c.encoder, "d", &dir, NULL), ERR_USAGE);
    CLEANUP(archive_deinit) struct archive d;
    archive_begin(&d);
    for (int i = 1; i < PXAR_DEPTH_MAX; i++)
        assert_int_equal(encoder_directory_begin(d.encoder, "d", &dir, NULL), OK);
    assert_int_equal(encoder_directory_begin(d.encoder, "d", &dir, NULL), ERR_LIMIT);
}

/* A sink that fails at its n-th write. */
struct failing {
    struct buffer *to;
    unsigned writes_left;
};
static enum status write_or_fail(void *context, const uint8_t *data, size_t size, struct error *err)
{
    struct failing *f = context;
    if (f->writes_left == 0)
        return fail(err, ERR_CLOSED, "no more");
    f->writes_left--;
    return buffer_append(f->to, data, size, err);
}

static enum status encode_with(struct sink metadata, struct sink payload, struct buffer *content)
{
    CLEANUP(archive_deinit) struct archive a = {0};
    struct attributes file = with_mode(0100644, 0), dir = with_mode(040700, 0);
    TRY(encoder_new(metadata, payload, &root_attributes, NULL, 0, &a.encoder, NULL));
    TRY(encoder_directory_begin(a.encoder, "d", &dir, NULL));
    TRY(encoder_file(a.encoder, "f", &file, 2, NULL, NULL));
    TRY(buffer_append(content, "hi", 2, NULL));
    TRY(encoder_directory_end(a.encoder, NULL));
    return encoder_finish(a.encoder, NULL);
}

static void test_every_failing_write_is_reported(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++)
        for (unsigned n = 0;; n++) {
            CLEANUP(buffer_deinit) struct buffer metadata = BUFFER_INIT(0);
            CLEANUP(buffer_deinit) struct buffer payload = BUFFER_INIT(0);
            struct failing f = {which ? &payload : &metadata, n};
            struct sink failing = {write_or_fail, &f};
            enum status status = encode_with(which ? sink_to_buffer(&metadata) : failing,
                                             which ? failing : sink_to_buffer(&payload), &payload);
            if (status == OK) {
                assert_int_equal(n, which ? 3 : 5); /* one write per member, header or marker */
                break;
            }
            assert_int_equal(status, ERR_CLOSED);
        }
}

static void test_every_failing_write_of_a_unified_archive_is_reported(void **state)
{
    (void)state;
    struct attributes file = with_mode(0100644, 0);
    for (unsigned n = 0;; n++) {
        CLEANUP(archive_deinit) struct archive a = {0};
        struct failing f = {&a.metadata, n};
        enum status status = encoder_new_unified((struct sink){write_or_fail, &f}, &root_attributes, &a.encoder, NULL);
        if (status == OK)
            status = encoder_file(a.encoder, "f", &file, 0, NULL, NULL);
        if (status == OK)
            status = encoder_finish(a.encoder, NULL);
        if (status == OK) {
            assert_int_equal(n, 3); /* one write per member: the header of its contents is with its attributes */
            break;
        }
        assert_int_equal(status, ERR_CLOSED);
    }
}

static void test_large_directories_and_many_levels(void **state)
{
    (void)state;
    CLEANUP(archive_deinit) struct archive a;
    archive_begin(&a);
    struct attributes fifo = with_mode(010600, 0), dir = with_mode(040700, 0);
    char name[16];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "%06d", i);
        assert_int_equal(encoder_directory_begin(a.encoder, name, &dir, NULL), OK);
        for (int k = 0; k < i; k++) {
            snprintf(name, sizeof name, "%06d", k);
            assert_int_equal(encoder_special(a.encoder, name, &fifo, NULL), OK);
        }
        assert_int_equal(encoder_directory_end(a.encoder, NULL), OK);
    }
    assert_int_equal(encoder_finish(a.encoder, NULL), OK);
    assert_int_equal(load_u64le(a.metadata.data + a.metadata.size - 8), 16 + 24 * 201);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_root_as_specified),
        cmocka_unit_test(test_files_and_links_as_specified),
        cmocka_unit_test(test_unified_empty_root_as_specified),
        cmocka_unit_test(test_unified_file_as_specified),
        cmocka_unit_test(test_unified_attributes_as_specified),
        cmocka_unit_test(test_unified_has_no_payload_to_refer_to),
        cmocka_unit_test(test_exclude_list_of_a_unified_root_comes_last),
        cmocka_unit_test(test_unified_hardlinks_and_rows_count_contents),
        cmocka_unit_test(test_unified_positions_cannot_overflow),
        cmocka_unit_test(test_every_failing_write_of_a_unified_archive_is_reported),
        cmocka_unit_test(test_row_counts_contents_of_encoded_but_not_of_referenced_files),
        cmocka_unit_test(test_subdirectory_tail_counts_from_its_entry),
        cmocka_unit_test(test_refuses_bad_names_and_stays_failed),
        cmocka_unit_test(test_members_come_in_byte_order),
        cmocka_unit_test(test_references_increase_and_are_not_behind_the_position),
        cmocka_unit_test(test_referenced_bytes_must_be_injected),
        cmocka_unit_test(test_positions_cannot_overflow),
        cmocka_unit_test(test_kind_agrees_with_mode),
        cmocka_unit_test(test_link_targets_are_bounded),
        cmocka_unit_test(test_preludes_are_what_readers_take),
        cmocka_unit_test(test_directories_balance),
        cmocka_unit_test(test_every_failing_write_is_reported),
        cmocka_unit_test(test_large_directories_and_many_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
