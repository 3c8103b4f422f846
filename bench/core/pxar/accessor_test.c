#include "testing/testing.h"

#include "pxar/accessor.h"
#include "pxar/examples_for_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

/* ---- streams that count what is read of them ---- */

struct stream {
    struct buffer bytes;
    uint64_t reads, bytes_read;
    uint64_t claimed_size; /* 0: the truth */
};

static enum status stream_read_at(void *context, uint64_t offset, uint8_t *data, size_t size, struct error *err)
{
    struct stream *s = context;
    if (offset > s->bytes.size || size > s->bytes.size - offset)
        return fail(err, ERR_FORMAT, "test: %zu bytes wanted at offset %" PRIu64 " of %zu", size, offset,
                    s->bytes.size);
    s->reads++;
    s->bytes_read += size;
    memcpy(data, s->bytes.data + offset, size);
    return OK;
}

static struct source_at source_over_stream(struct stream *s, const char *name)
{
    return (struct source_at){.read_at = stream_read_at,
                              .context = s,
                              .size = s->claimed_size ? s->claimed_size : s->bytes.size,
                              .name = name};
}

/* ---- archives in memory ---- */

struct archive {
    unsigned version;
    struct stream metadata, payload;
    struct encoder *encoder;
    struct accessor *accessor;
    struct error err;
};

static struct attributes attributes_of(uint64_t mode)
{
    return (struct attributes){.stat = {.mode = mode, .uid = 1000, .gid = 100, .mtime_secs = 1700000000}};
}

static void archive_begin(struct archive *a, unsigned version)
{
    struct attributes root = attributes_of(S_IFDIR | 0755);
    *a = (struct archive){.version = version};
    struct sink metadata = sink_to_buffer(&a->metadata.bytes), payload = sink_to_buffer(&a->payload.bytes);
    if (version == 1)
        assert_int_equal(encoder_new_unified(metadata, &root, &a->encoder, NULL), OK);
    else
        assert_int_equal(encoder_new(metadata, payload, &root, NULL, 0, &a->encoder, NULL), OK);
}

static uint64_t add_file(struct archive *a, const char *name, const char *content)
{
    struct attributes attributes = attributes_of(S_IFREG | 0644);
    uint64_t offset;
    assert_int_equal(encoder_file(a->encoder, name, &attributes, strlen(content), &offset, NULL), OK);
    struct buffer *to = a->version == 1 ? &a->metadata.bytes : &a->payload.bytes;
    assert_int_equal(buffer_append(to, content, strlen(content), NULL), OK);
    return offset;
}

static void add_directory(struct archive *a, const char *name)
{
    struct attributes attributes = attributes_of(S_IFDIR | 0700);
    assert_int_equal(encoder_directory_begin(a->encoder, name, &attributes, NULL), OK);
}

static void end_directory(struct archive *a)
{
    assert_int_equal(encoder_directory_end(a->encoder, NULL), OK);
}

static enum status archive_try_open(struct archive *a, bool with_payload)
{
    struct source_at payload = source_over_stream(&a->payload, "x.ppxar");
    accessor_free(a->accessor);
    a->accessor = NULL;
    a->err = (struct error){0};
    return accessor_new(source_over_stream(&a->metadata, a->version == 1 ? "x.pxar" : "x.mpxar"),
                        with_payload && a->version == 2 ? &payload : NULL, &a->accessor, &a->err);
}

static void archive_open(struct archive *a)
{
    if (archive_try_open(a, true) != OK)
        assert_string_equal(a->err.text, "");
}

static void archive_end(struct archive *a)
{
    assert_int_equal(encoder_finish(a->encoder, NULL), OK);
    encoder_free(a->encoder);
    a->encoder = NULL;
    archive_open(a);
}

static void archive_deinit(struct archive *a)
{
    accessor_free(a->accessor);
    encoder_free(a->encoder);
    buffer_deinit(&a->metadata.bytes);
    buffer_deinit(&a->payload.bytes);
}

/*  a "hello"  d/{deep/{x "x"}, empty/, p fifo, z ""}  dev  h -> a  l -> a  tail "the end" */
static void make_tree(struct archive *a, unsigned version)
{
    struct attributes fifo = attributes_of(S_IFIFO | 0600), link = attributes_of(S_IFLNK | 0777);
    struct attributes device = attributes_of(S_IFCHR | 0600);
    uint8_t value[] = "value";
    assert_int_equal(attributes_add_xattr(&device, "user.k", 6, value, 5, NULL), OK);
    archive_begin(a, version);
    uint64_t first = add_file(a, "a", "hello");
    add_directory(a, "d");
    add_directory(a, "deep");
    add_file(a, "x", "x");
    end_directory(a);
    add_directory(a, "empty");
    end_directory(a);
    assert_int_equal(encoder_special(a->encoder, "p", &fifo, NULL), OK);
    add_file(a, "z", "");
    end_directory(a);
    assert_int_equal(encoder_device(a->encoder, "dev", &device, 1, 3, NULL), OK);
    assert_int_equal(encoder_hardlink(a->encoder, "h", "a", first, NULL), OK);
    assert_int_equal(encoder_symlink(a->encoder, "l", &link, "a", 1, NULL), OK);
    add_file(a, "tail", "the end");
    attributes_deinit(&device);
    archive_end(a);
}

static const char *const tree_paths[] = {"/",    "/a",   "/d", "/d/deep", "/d/deep/x", "/d/empty", "/d/p",
                                         "/d/z", "/dev", "/h", "/l",      "/tail",     NULL};

static void example_open(struct archive *a, const char *metadata, const char *payload, unsigned version)
{
    *a = (struct archive){.version = version};
    a->metadata.bytes = bytes_of_hex(metadata);
    if (payload)
        a->payload.bytes = bytes_of_hex(payload);
    archive_open(a);
}

static enum status lookup(struct archive *a, const char *path, struct accessor_entry *out)
{
    *out = (struct accessor_entry){0};
    a->err = (struct error){0};
    return accessor_lookup(a->accessor, path, out, &a->err);
}

static struct accessor_entry found(struct archive *a, const char *path)
{
    struct accessor_entry e;
    if (lookup(a, path, &e) != OK)
        assert_string_equal(a->err.text, "");
    return e;
}

static void assert_not_found(struct archive *a, const char *path)
{
    struct accessor_entry e;
    assert_int_equal(lookup(a, path, &e), ERR_NOT_FOUND);
    assert_non_null(a->err.text[0] ? a->err.text : NULL);
}

static void assert_contents(struct archive *a, const struct accessor_entry *e, const char *wanted)
{
    uint8_t data[64];
    size_t size;
    assert_int_equal(e->entry.size, strlen(wanted));
    assert_int_equal(accessor_read(a->accessor, e, 0, data, sizeof data, &size, &a->err), OK);
    assert_int_equal(size, strlen(wanted));
    assert_memory_equal(data, wanted, size);
}

/* Where the table of the directory at `path` has its first row, and how many rows there are. */
static size_t rows_of(struct archive *a, const char *path, size_t *out_count)
{
    struct accessor_entry e = found(a, path);
    uint64_t size = load_u64le(a->metadata.bytes.data + e.range_end - 8);
    *out_count = (size_t)((size - ITEM_HEADER_SIZE) / PXAR_GOODBYE_ROW_SIZE - 1);
    size_t rows = (size_t)(e.range_end - size + ITEM_HEADER_SIZE);
    accessor_entry_deinit(&e);
    return rows;
}

static uint8_t *at_offset(struct archive *a, size_t offset)
{
    return a->metadata.bytes.data + offset;
}

/* ---- lookups ---- */

static void member_name(char out[16], unsigned i)
{
    snprintf(out, 16, "m%06u", i);
}

static void check_directory_of(unsigned version, unsigned count, unsigned step)
{
    struct archive a;
    char name[16], path[32];
    archive_begin(&a, version);
    add_directory(&a, "dir");
    for (unsigned i = 0; i < count; i++) {
        member_name(name, i);
        add_file(&a, name, name);
    }
    end_directory(&a);
    archive_end(&a);
    for (unsigned i = 0; i < count; i += step) {
        member_name(name, i);
        snprintf(path, sizeof path, "dir/%s", name);
        struct accessor_entry e = found(&a, path);
        assert_string_equal(e.entry.name, name);
        assert_contents(&a, &e, name);
        accessor_entry_deinit(&e);
    }
    for (unsigned i = 0; i < 200; i++) {
        snprintf(path, sizeof path, "/dir/absent-%u", i);
        assert_not_found(&a, path);
    }
    assert_not_found(&a, "/dir/m00000");
    assert_not_found(&a, "/m000000");
    archive_deinit(&a);
}

static void test_finds_every_member_of_directories_of_any_size(void **state)
{
    (void)state;
    static const unsigned counts[] = {0, 1, 2, 3, 10, 1000};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (unsigned version = 1; version <= 2; version++)
            check_directory_of(version, counts[i], 1);
    check_directory_of(1, 100000, 11);
    check_directory_of(2, 100000, 1);
}

static void test_a_lookup_among_100000_reads_little(void **state)
{
    (void)state;
    struct archive a;
    char name[16];
    archive_begin(&a, 2);
    for (unsigned i = 0; i < 100000; i++) {
        member_name(name, i);
        add_file(&a, name, "");
    }
    archive_end(&a);
    a.metadata.bytes_read = 0;
    struct accessor_entry e = found(&a, "/m054321");
    /* 17 levels of the tree and two tables' ends, the name, the entry. */
    assert_true(a.metadata.bytes_read <= 17 * PXAR_GOODBYE_ROW_SIZE + 512);
    accessor_entry_deinit(&e);
    a.metadata.bytes_read = 0;
    assert_not_found(&a, "/absent");
    assert_true(a.metadata.bytes_read <= 17 * PXAR_GOODBYE_ROW_SIZE + 64);
    archive_deinit(&a);
}

static void test_finds_all_names_of_equal_hash(void **state)
{
    (void)state;
    static const unsigned counts[] = {2, 3, 7, 10};
    struct name_hasher *hasher;
    assert_int_equal(name_hasher_new(&hasher, NULL), OK);
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        struct archive a;
        char name[16];
        size_t count;
        archive_begin(&a, 2);
        for (unsigned i = 0; i < counts[c]; i++) {
            member_name(name, i);
            add_file(&a, name, name);
        }
        archive_end(&a);
        size_t rows = rows_of(&a, "/", &count);
        assert_int_equal(count, counts[c]);
        for (unsigned i = 0; i <= counts[c]; i++) {
            member_name(name, i);
            for (size_t k = 0; k < count; k++)
                store_u64le(at_offset(&a, rows + k * PXAR_GOODBYE_ROW_SIZE), name_hash(hasher, name, strlen(name)));
            if (i == counts[c]) {
                assert_not_found(&a, name);
                break;
            }
            struct accessor_entry e = found(&a, name);
            assert_contents(&a, &e, name);
            accessor_entry_deinit(&e);
        }
        archive_deinit(&a);
    }
    name_hasher_free(hasher);
}

static void test_row_sizes_beyond_the_next_member_or_the_archive_do_not_matter(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {500, 100000, UINT64_C(1) << 60, UINT64_MAX - 100000};
    struct archive a;
    make_tree(&a, 2);
    size_t count, rows = rows_of(&a, "/", &count);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (size_t i = 0; i < count; i++) {
            uint8_t *row = at_offset(&a, rows + i * PXAR_GOODBYE_ROW_SIZE);
            uint64_t offset = rows - ITEM_HEADER_SIZE - load_u64le(row + 8);
            struct accessor_entry directory = found(&a, "/d");
            if (offset != directory.entry.filename_offset) /* a directory's is exact */
                store_u64le(row + 16, sizes[s]);
            accessor_entry_deinit(&directory);
        }
        archive_open(&a);
        for (const char *const *path = tree_paths; *path; path++) {
            struct accessor_entry e = found(&a, *path);
            assert_string_equal(e.entry.path, *path);
            if (strcmp(*path, "/tail") == 0) {
                assert_contents(&a, &e, "the end");
                assert_int_equal(e.range_end, e.entry.filename_offset + sizes[s]);
            }
            accessor_entry_deinit(&e);
        }
    }
    archive_deinit(&a);
}

static void test_paths_may_be_written_in_many_ways(void **state)
{
    (void)state;
    char long_name[PXAR_NAME_SIZE_MAX + 2];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    for (unsigned version = 1; version <= 2; version++) {
        static const char *const same[] = {"/d/deep/x", "d/deep/x", "//d///deep//x/", "d/deep/x/"};
        static const char *const roots[] = {"", "/", "///"};
        static const char *const refused[] = {".", "/..", "/d/.", "d/../d"};
        static const char *const absent[] = {"/d/deep/y", "/q", "/a/x", "/l/x", "/h/x", "/tail/x/y", "/d/p/x"};
        struct archive a;
        struct accessor_entry e;
        make_tree(&a, version);
        for (size_t i = 0; i < 4; i++) {
            e = found(&a, same[i]);
            assert_string_equal(e.entry.path, "/d/deep/x");
            assert_string_equal(e.entry.name, "x");
            assert_int_equal(e.entry.name_size, 1);
            assert_int_equal(e.entry.depth, 3);
            accessor_entry_deinit(&e);
        }
        for (size_t i = 0; i < 3; i++) {
            e = found(&a, roots[i]);
            assert_int_equal(e.entry.kind, ENTRY_DIRECTORY);
            assert_string_equal(e.entry.path, "/");
            assert_string_equal(e.entry.name, "");
            assert_int_equal(e.range_start, 0);
            assert_int_equal(e.range_end, a.metadata.bytes.size);
            accessor_entry_deinit(&e);
        }
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(lookup(&a, refused[i], &e), ERR_USAGE);
        assert_int_equal(lookup(&a, long_name, &e), ERR_USAGE);
        assert_int_equal(lookup(&a, long_name + 1, &e), ERR_NOT_FOUND);
        for (size_t i = 0; i < 7; i++)
            assert_not_found(&a, absent[i]);
        assert_int_equal(lookup(&a, "/d/deep/y", &e), ERR_NOT_FOUND);
        assert_non_null(strstr(a.err.text, ": no y in /d/deep"));
        assert_int_equal(lookup(&a, "/a/x", &e), ERR_NOT_FOUND);
        assert_non_null(strstr(a.err.text, ": /a is no directory"));
        archive_deinit(&a);
    }
}

static void test_an_entry_has_all_that_is_stored(void **state)
{
    (void)state;
    struct archive a;
    example_open(&a, EXAMPLE_ATTRIBUTES_UNIFIED, NULL, 1);
    assert_int_equal(accessor_version(a.accessor), 1);
    struct accessor_entry e = found(&a, "/x");
    const struct attribute_extras *x = e.entry.attributes.extras;
    assert_int_equal(e.entry.attributes.stat.mode, 0100664);
    assert_int_equal(e.entry.attributes.stat.mtime_nanos, 5);
    assert_non_null(x);
    assert_int_equal(x->xattr_count, 1);
    assert_string_equal(x->xattrs[0].name, "user.k");
    assert_memory_equal(x->xattrs[0].value, "v", 1);
    assert_int_equal(x->users.entries[0].id, 1001);
    assert_int_equal(x->groups.entries[0].id, 1002);
    assert_int_equal(x->group_obj, 4);
    assert_int_equal(x->fcaps_size, 20);
    assert_int_equal(x->project_id, 7);
    assert_int_equal(e.entry.filename_offset, 0x1d1);
    assert_int_equal(e.entry.entry_offset, 0x1e3);
    assert_int_equal(e.range_start, 0x1e3);
    assert_int_equal(e.range_end, 0x2d7);
    assert_int_equal(e.entry.content_offset, 0x2d7);
    accessor_entry_deinit(&e);
    e = found(&a, "/null");
    assert_int_equal(e.entry.kind, ENTRY_CHAR_DEVICE);
    assert_int_equal(e.entry.major, 1);
    assert_int_equal(e.entry.minor, 3);
    accessor_entry_deinit(&e);
    e = found(&a, "/d");
    assert_int_equal(e.entry.attributes.extras->acl_default.mask, ACL_PERM_UNSET);
    accessor_entry_deinit(&e);
    archive_deinit(&a);
}

static void test_the_prelude_is_there(void **state)
{
    (void)state;
    struct archive a;
    size_t size;
    example_open(&a, EXAMPLE_FILES_METADATA, EXAMPLE_FILES_PAYLOAD, 2);
    assert_int_equal(accessor_version(a.accessor), 2);
    assert_memory_equal(accessor_prelude(a.accessor, &size), EXAMPLE_FILES_PRELUDE, sizeof EXAMPLE_FILES_PRELUDE - 1);
    assert_int_equal(size, sizeof EXAMPLE_FILES_PRELUDE - 1);
    archive_deinit(&a);
    example_open(&a, EXAMPLE_EMPTY_METADATA, EXAMPLE_EMPTY_PAYLOAD, 2);
    assert_null(accessor_prelude(a.accessor, &size));
    archive_deinit(&a);
}

/* ---- hardlinks ---- */

static void test_follows_the_hardlink_of_the_example(void **state)
{
    (void)state;
    struct archive a;
    struct accessor_entry file = {0};
    example_open(&a, EXAMPLE_FILES_METADATA, EXAMPLE_FILES_PAYLOAD, 2);
    struct accessor_entry link = found(&a, "/h");
    assert_int_equal(link.entry.kind, ENTRY_HARDLINK);
    assert_string_equal(link.entry.target, "a");
    assert_int_equal(accessor_follow(a.accessor, &link, &file, &a.err), OK);
    assert_int_equal(file.entry.kind, ENTRY_FILE);
    assert_string_equal(file.entry.path, "");
    assert_int_equal(file.entry.filename_offset, EXAMPLE_A_AT);
    assert_int_equal(file.entry.attributes.stat.mode, 0100644);
    assert_int_equal(file.entry.attributes.stat.uid, 1000);
    assert_int_equal(file.entry.payload_offset, 16);
    assert_contents(&a, &file, "hello\n");
    accessor_entry_deinit(&file);

    /* Only hardlinks lead somewhere; they have no contents themselves. */
    uint8_t byte;
    size_t size;
    struct accessor_entry other = found(&a, "/a");
    assert_int_equal(accessor_follow(a.accessor, &other, &file, &a.err), ERR_USAGE);
    assert_int_equal(accessor_read(a.accessor, &link, 0, &byte, 1, &size, &a.err), ERR_USAGE);
    accessor_entry_deinit(&other);
    accessor_entry_deinit(&link);
    archive_deinit(&a);
}

static void test_hardlinks_to_anything_but_a_file_are_refused(void **state)
{
    (void)state;
    struct archive a;
    make_tree(&a, 2);
    struct accessor_entry d = found(&a, "/d"), link = found(&a, "/h"), file;
    const uint64_t at_link = link.entry.filename_offset;
    const struct {
        uint64_t distance;
        const char *said;
    } bad[] = {
        {at_link - d.entry.filename_offset, "which is no file"},
        {at_link - d.entry.entry_offset, "FILENAME or GOODBYE is due"},
        {at_link - 1, "where no member is"},
        {5, "unknown item type"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        store_u64le(at_offset(&a, (size_t)link.range_start + ITEM_HEADER_SIZE), bad[i].distance);
        archive_open(&a);
        struct accessor_entry changed = found(&a, "/h");
        assert_int_equal(accessor_follow(a.accessor, &changed, &file, &a.err), ERR_FORMAT);
        assert_non_null(strstr(a.err.text, "x.mpxar: corrupt at offset "));
        if (!strstr(a.err.text, bad[i].said))
            assert_string_equal(a.err.text, bad[i].said);
        accessor_entry_deinit(&changed);
    }
    accessor_entry_deinit(&d);
    accessor_entry_deinit(&link);
    archive_deinit(&a);
}

/* ---- listing ---- */

struct listed {
    struct archive *archive;
    struct buffer text;
};

static enum status list_below(void *context, const struct accessor_entry *entry, struct error *err)
{
    struct listed *l = context;
    TRY(buffer_printf(&l->text, err, "%s %zu %d\n", entry->entry.path, entry->entry.depth, (int)entry->entry.kind));
    if (entry->entry.kind != ENTRY_DIRECTORY)
        return OK;
    return accessor_list(l->archive->accessor, entry, list_below, l, err);
}

static enum status walk_below(void *context, const struct archive_entry *entry, struct error *err)
{
    struct listed *l = context;
    if (entry->kind == ENTRY_DIRECTORY_END)
        return OK;
    return buffer_printf(&l->text, err, "%s %zu %d\n", entry->path, entry->depth, (int)entry->kind);
}

/* What a sequential reader finds below `path`. */
static struct buffer decoded_below(struct archive *a, const char *path)
{
    struct buffer out = BUFFER_INIT(0);
    struct memory_source memory = {.data = a->metadata.bytes.data, .size = a->metadata.bytes.size};
    struct decoder *d;
    struct archive_entry e;
    size_t size = strcmp(path, "/") == 0 ? 0 : strlen(path);
    assert_int_equal(decoder_new(source_over_memory(&memory, "x"), NULL, &d, NULL), OK);
    while (decoder_next(d, &e, NULL) == OK)
        if (e.kind != ENTRY_DIRECTORY_END && strlen(e.path) > size + 1 && strncmp(e.path, path, size) == 0 &&
            e.path[size] == '/')
            assert_int_equal(buffer_printf(&out, NULL, "%s %zu %d\n", e.path, e.depth, (int)e.kind), OK);
    decoder_free(d);
    return out;
}

static void assert_same_text(const struct buffer *a, const struct buffer *b)
{
    assert_int_equal(a->size, b->size);
    if (a->size > 0)
        assert_memory_equal(a->data, b->data, a->size);
}

static void test_lists_and_walks_what_a_sequential_reader_finds(void **state)
{
    (void)state;
    static const char *const paths[] = {"/", "/d", "/d/deep", "/d/empty"};
    for (unsigned version = 1; version <= 2; version++)
        for (size_t i = 0; i < 4; i++) {
            struct archive a;
            make_tree(&a, version);
            struct listed listed = {.archive = &a}, walked = {.archive = &a};
            struct accessor_entry e = found(&a, paths[i]);
            assert_int_equal(accessor_list(a.accessor, &e, list_below, &listed, &a.err), OK);
            assert_int_equal(accessor_walk(a.accessor, &e, walk_below, &walked, &a.err), OK);
            struct buffer wanted = decoded_below(&a, paths[i]);
            assert_same_text(&listed.text, &wanted);
            assert_same_text(&walked.text, &wanted);
            buffer_deinit(&wanted);
            buffer_deinit(&listed.text);
            buffer_deinit(&walked.text);
            accessor_entry_deinit(&e);
            archive_deinit(&a);
        }
}

static void test_a_walk_reads_only_the_subtree(void **state)
{
    (void)state;
    struct archive a;
    char name[16];
    archive_begin(&a, 1);
    for (unsigned d = 0; d < 50; d++) {
        member_name(name, d);
        add_directory(&a, name);
        for (unsigned i = 0; i < 100; i++) {
            member_name(name, i);
            add_file(&a, name, "some contents that nobody wants to see");
        }
        end_directory(&a);
    }
    archive_end(&a);
    struct accessor_entry e = found(&a, "/m000020");
    struct listed walked = {.archive = &a};
    a.metadata.bytes_read = 0;
    assert_int_equal(accessor_walk(a.accessor, &e, walk_below, &walked, &a.err), OK);
    assert_true(a.metadata.bytes_read <= e.range_end - e.range_start + 64);
    buffer_deinit(&walked.text);
    accessor_entry_deinit(&e);
    archive_deinit(&a);
}

static enum status stop_at_once(void *context, const struct accessor_entry *entry, struct error *err)
{
    (void)entry;
    ++*(int *)context;
    return fail(err, ERR_CANCELLED, "enough");
}

static void test_a_visit_that_fails_ends_the_listing(void **state)
{
    (void)state;
    struct archive a;
    int visits = 0;
    make_tree(&a, 2);
    struct accessor_entry root = found(&a, "/"), file = found(&a, "/a");
    assert_int_equal(accessor_list(a.accessor, &root, stop_at_once, &visits, &a.err), ERR_CANCELLED);
    assert_int_equal(visits, 1);
    assert_string_equal(a.err.text, "enough");
    assert_int_equal(accessor_list(a.accessor, &file, stop_at_once, &visits, &a.err), ERR_USAGE);
    assert_int_equal(accessor_walk(a.accessor, &file, walk_below, &visits, &a.err), ERR_USAGE);
    accessor_entry_deinit(&root);
    accessor_entry_deinit(&file);
    archive_deinit(&a);
}

/* ---- contents ---- */

static void test_reads_any_part_of_a_file(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        struct archive a;
        uint8_t data[16];
        size_t size;
        make_tree(&a, version);
        struct accessor_entry e = found(&a, "/tail"), empty = found(&a, "/d/z"), directory = found(&a, "/d");
        for (size_t from = 0; from <= 7; from++)
            for (size_t wanted = 0; wanted <= 8; wanted++) {
                size_t left = 7 - from;
                assert_int_equal(accessor_read(a.accessor, &e, from, data, wanted, &size, &a.err), OK);
                assert_int_equal(size, wanted < left ? wanted : left);
                assert_memory_equal(data, &"the end"[from], size);
            }
        assert_int_equal(accessor_read(a.accessor, &e, 8, data, 1, &size, &a.err), ERR_USAGE);
        assert_int_equal(accessor_read(a.accessor, &e, UINT64_MAX, data, 1, &size, &a.err), ERR_USAGE);
        assert_int_equal(accessor_read(a.accessor, &directory, 0, data, 1, &size, &a.err), ERR_USAGE);
        assert_contents(&a, &empty, "");
        accessor_entry_deinit(&e);
        accessor_entry_deinit(&empty);
        accessor_entry_deinit(&directory);
        archive_deinit(&a);
    }
}

static void test_a_lone_metadata_stream_is_listed_and_its_contents_are_refused(void **state)
{
    (void)state;
    struct archive a;
    uint8_t byte;
    size_t size;
    make_tree(&a, 2);
    assert_int_equal(archive_try_open(&a, false), OK);
    struct accessor_entry root = found(&a, "/"), e = found(&a, "/tail");
    struct listed listed = {.archive = &a};
    assert_int_equal(accessor_list(a.accessor, &root, list_below, &listed, &a.err), OK);
    assert_true(listed.text.size > 0);
    assert_int_equal(accessor_read(a.accessor, &e, 0, &byte, 1, &size, &a.err), ERR_USAGE);
    assert_string_equal(a.err.text, "x.mpxar: contents are in the payload stream, which was not given");
    buffer_deinit(&listed.text);
    accessor_entry_deinit(&root);
    accessor_entry_deinit(&e);
    archive_deinit(&a);
}

static void test_a_wrong_payload_header_is_found_when_contents_are_asked_for(void **state)
{
    (void)state;
    struct archive a;
    uint8_t byte;
    size_t size;
    make_tree(&a, 2);
    struct accessor_entry e = found(&a, "/tail");
    uint8_t *header = a.payload.bytes.data + e.entry.payload_offset;
    for (size_t at = 0; at < ITEM_HEADER_SIZE; at++) {
        header[at] ^= 1;
        archive_open(&a);
        assert_int_equal(accessor_read(a.accessor, &e, 3, &byte, 1, &size, &a.err), ERR_FORMAT);
        assert_non_null(strstr(a.err.text, "is not that of a file of 7 bytes"));
        header[at] ^= 1;
    }
    /* Once checked, only reading from the beginning checks again. */
    archive_open(&a);
    assert_int_equal(accessor_read(a.accessor, &e, 3, &byte, 1, &size, &a.err), OK);
    header[0] ^= 1;
    assert_int_equal(accessor_read(a.accessor, &e, 3, &byte, 1, &size, &a.err), OK);
    assert_int_equal(accessor_read(a.accessor, &e, 0, &byte, 1, &size, &a.err), ERR_FORMAT);
    assert_int_equal(accessor_read(a.accessor, &e, 3, &byte, 1, &size, &a.err), ERR_FORMAT);
    accessor_entry_deinit(&e);
    archive_deinit(&a);
}

static void test_references_outside_the_payload_are_refused(void **state)
{
    (void)state;
    struct archive a;
    uint8_t byte;
    size_t size;
    make_tree(&a, 2);
    struct accessor_entry e = found(&a, "/tail");
    const uint64_t total = a.payload.bytes.size;
    const uint64_t bad[][2] = {{total - 15, 0},      {total - 16, 1},  {total, 0},
                               {UINT64_MAX - 16, 0}, {16, total - 31}, {16, UINT64_MAX - 32}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        e.entry.payload_offset = bad[i][0];
        e.entry.size = bad[i][1];
        assert_int_equal(accessor_read(a.accessor, &e, 0, &byte, 1, &size, &a.err), ERR_FORMAT);
        assert_non_null(strstr(a.err.text, "at payload offset"));
        assert_null(strstr(a.err.text, "test:"));
    }
    accessor_entry_deinit(&e);
    archive_deinit(&a);
}

/* ---- damage ---- */

static void test_what_is_no_archive_is_said_to_be_none(void **state)
{
    (void)state;
    struct archive a = {.version = 2};
    assert_int_equal(buffer_append(&a.metadata.bytes, "this is a text and no archive at all", 36, NULL), OK);
    assert_int_equal(archive_try_open(&a, false), ERR_NOT_ARCHIVE);
    buffer_clear(&a.metadata.bytes);
    assert_int_equal(archive_try_open(&a, false), ERR_FORMAT);
    archive_deinit(&a);

    make_tree(&a, 2);
    store_u64le(at_offset(&a, ITEM_HEADER_SIZE), 3);
    assert_int_equal(archive_try_open(&a, true), ERR_VERSION);
    archive_deinit(&a);

    make_tree(&a, 1);
    a.version = 2; /* give it a payload */
    assert_int_equal(archive_try_open(&a, true), ERR_MISMATCH);
    archive_deinit(&a);
}

static void test_a_cut_archive_cannot_be_opened(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        struct archive a;
        make_tree(&a, version);
        size_t whole = a.metadata.bytes.size;
        for (size_t size = 0; size < whole; size++) {
            a.metadata.bytes.size = size;
            enum status status = archive_try_open(&a, true);
            assert_true(status == ERR_FORMAT || status == ERR_NOT_ARCHIVE);
        }
        a.metadata.bytes.size = whole;
        archive_deinit(&a);
    }
}

/* Opens, finds, lists, walks and reads everything; all of it may fail, but must come to an end. */
static enum status use_all(struct archive *a)
{
    enum status worst = archive_try_open(a, true);
    if (worst != OK)
        return worst;
    struct accessor_entry root = {0};
    struct listed listed = {.archive = a, .text = BUFFER_INIT(1 << 20)};
    for (const char *const *path = tree_paths; *path; path++) {
        struct accessor_entry e = {0}, file = {0};
        enum status status = accessor_lookup(a->accessor, *path, &e, &a->err);
        if (status == OK && e.entry.kind == ENTRY_HARDLINK)
            status = accessor_follow(a->accessor, &e, &file, &a->err);
        if (status == OK && (e.entry.kind == ENTRY_FILE || e.entry.kind == ENTRY_HARDLINK)) {
            uint8_t data[32];
            size_t size;
            status = accessor_read(a->accessor, e.entry.kind == ENTRY_FILE ? &e : &file, 0, data, sizeof data, &size,
                                   &a->err);
        }
        worst = worst == OK ? status : worst;
        accessor_entry_deinit(&e);
        accessor_entry_deinit(&file);
    }
    enum status status = accessor_lookup(a->accessor, "/", &root, &a->err);
    if (status == OK)
        status = accessor_list(a->accessor, &root, list_below, &listed, &a->err);
    worst = worst == OK ? status : worst;
    if (root.entry.kind == ENTRY_DIRECTORY)
        status = accessor_walk(a->accessor, &root, walk_below, &listed, &a->err);
    worst = worst == OK ? status : worst;
    buffer_deinit(&listed.text);
    accessor_entry_deinit(&root);
    return worst;
}

static void test_every_byte_may_be_wrong(void **state)
{
    (void)state;
    static const uint8_t changes[] = {0x01, 0x80, 0xff};
    for (unsigned version = 1; version <= 2; version++) {
        struct archive a;
        make_tree(&a, version);
        assert_int_equal(use_all(&a), OK);
        for (size_t at = 0; at < a.metadata.bytes.size; at++)
            for (size_t i = 0; i < sizeof changes; i++) {
                *at_offset(&a, at) ^= changes[i];
                enum status status = use_all(&a);
                assert_true(status == OK || a.err.text[0] != '\0');
                *at_offset(&a, at) ^= changes[i];
            }
        archive_deinit(&a);
    }
}

/* Opens the archive after `value` was put in place, and looks at all of it. */
static void assert_found_bad(struct archive *a, size_t at, uint64_t value, const char *said)
{
    uint64_t before = load_u64le(at_offset(a, at));
    store_u64le(at_offset(a, at), value);
    assert_int_not_equal(use_all(a), OK);
    if (archive_try_open(a, true) == OK) {
        struct accessor_entry root = found(a, "/");
        struct listed listed = {.archive = a};
        assert_int_equal(accessor_list(a->accessor, &root, list_below, &listed, &a->err), ERR_FORMAT);
        buffer_deinit(&listed.text);
        accessor_entry_deinit(&root);
    }
    if (!strstr(a->err.text, said) || !strstr(a->err.text, "corrupt at offset"))
        assert_string_equal(a->err.text, said);
    store_u64le(at_offset(a, at), before);
}

static void test_wrong_tables_are_refused(void **state)
{
    (void)state;
    struct archive a;
    make_tree(&a, 2);
    size_t size = a.metadata.bytes.size, count, below_count;
    size_t rows = rows_of(&a, "/", &count), below = rows_of(&a, "/d", &below_count);
    size_t tail = size - PXAR_GOODBYE_ROW_SIZE;
    assert_found_bad(&a, tail, 1, "no tail row where the directory ends");
    assert_found_bad(&a, tail + 8, 1, "tail row with offset 1");
    for (size_t i = 0; i < 5; i++) {
        const uint64_t sizes[] = {0, 16, 41, size, UINT64_MAX};
        assert_found_bad(&a, tail + 16, sizes[i], "tail row of a table of");
    }
    /* One row more or less: something else stands where the table should begin. */
    assert_found_bad(&a, tail + 16, load_u64le(at_offset(&a, tail + 16)) - PXAR_GOODBYE_ROW_SIZE,
                     "tail row with offset");
    assert_found_bad(&a, rows - 8, 40, "no GOODBYE where the tail row says");
    assert_found_bad(&a, rows - 16, PXAR_FILENAME, "no GOODBYE where the tail row says");
    /* Rows. */
    assert_found_bad(&a, rows + 8, 0, "goodbye row with offset 0");
    assert_found_bad(&a, rows + 8, size, "goodbye row with offset");
    assert_found_bad(&a, rows + 16, UINT64_MAX, "goodbye row with size");
    assert_found_bad(&a, rows + 16, 1, "its goodbye row ends at");
    /* Its own directory's FILENAME: would be a loop. */
    struct accessor_entry d = found(&a, "/d");
    assert_found_bad(&a, below + 8, below - ITEM_HEADER_SIZE - d.entry.filename_offset, "goodbye row with offset");
    accessor_entry_deinit(&d);
    /* A member twice, another never: by the whole row, so that only the place is wrong. */
    uint8_t before[PXAR_GOODBYE_ROW_SIZE];
    memcpy(before, at_offset(&a, rows), sizeof before);
    memcpy(at_offset(&a, rows), at_offset(&a, rows + PXAR_GOODBYE_ROW_SIZE), sizeof before);
    assert_found_bad(&a, rows, load_u64le(at_offset(&a, rows)), "a member ends here");
    memcpy(at_offset(&a, rows), before, sizeof before);
    /* A hash under which nobody finds the member. */
    assert_found_bad(&a, rows, load_u64le(at_offset(&a, rows)) ^ 1, "goodbye row with hash");
    assert_int_equal(use_all(&a), OK);
    archive_deinit(&a);
}

static void test_a_row_that_leads_to_no_filename_is_refused(void **state)
{
    (void)state;
    struct archive a;
    struct accessor_entry e;
    make_tree(&a, 2);
    struct accessor_entry wanted = found(&a, "/tail");
    size_t count, rows = rows_of(&a, "/", &count);
    for (size_t i = 0; i < count; i++) {
        uint8_t *offset = at_offset(&a, rows + i * PXAR_GOODBYE_ROW_SIZE + 8);
        if (rows - ITEM_HEADER_SIZE - load_u64le(offset) == wanted.entry.filename_offset)
            store_u64le(offset, load_u64le(offset) - 1);
    }
    assert_int_equal(lookup(&a, "/tail", &e), ERR_FORMAT);
    assert_non_null(strstr(a.err.text, "does not lead to a FILENAME"));
    accessor_entry_deinit(&wanted);
    archive_deinit(&a);
}

static void test_a_directory_that_reaches_beyond_its_parent_is_refused(void **state)
{
    (void)state;
    struct archive a;
    struct accessor_entry e;
    make_tree(&a, 2);
    size_t count, rows = rows_of(&a, "/", &count);
    struct accessor_entry d = found(&a, "/d");
    for (size_t i = 0; i < count; i++) {
        uint8_t *row = at_offset(&a, rows + i * PXAR_GOODBYE_ROW_SIZE);
        if (rows - ITEM_HEADER_SIZE - load_u64le(row + 8) != d.entry.filename_offset)
            continue;
        /* To the archive's end: the root's own table would be its. */
        store_u64le(row + 16, a.metadata.bytes.size - d.entry.filename_offset);
        assert_int_equal(lookup(&a, "/d", &e), ERR_FORMAT);
        assert_non_null(strstr(a.err.text, "reaches beyond its directory"));
        store_u64le(row + 16, 60);
        assert_int_equal(lookup(&a, "/d", &e), ERR_FORMAT);
        /* Its entry, but no table. */
        store_u64le(row + 16, d.head_end - d.entry.filename_offset);
        assert_int_equal(lookup(&a, "/d/z", &e), ERR_FORMAT);
        assert_non_null(strstr(a.err.text, "no room for a goodbye table"));
    }
    accessor_entry_deinit(&d);
    archive_deinit(&a);
}

static void test_a_stream_that_claims_to_be_huge_costs_nothing(void **state)
{
    (void)state;
    struct archive a;
    make_tree(&a, 2);
    a.metadata.claimed_size = UINT64_C(1) << 62;
    a.metadata.bytes_read = 0;
    assert_int_equal(archive_try_open(&a, true), ERR_FORMAT);
    assert_true(a.metadata.bytes_read < 1024);
    archive_deinit(&a);
}

static void test_empty_objects_are_accepted(void **state)
{
    (void)state;
    struct accessor_entry e = {0};
    accessor_entry_deinit(&e);
    accessor_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_every_member_of_directories_of_any_size),
        cmocka_unit_test(test_a_lookup_among_100000_reads_little),
        cmocka_unit_test(test_finds_all_names_of_equal_hash),
        cmocka_unit_test(test_row_sizes_beyond_the_next_member_or_the_archive_do_not_matter),
        cmocka_unit_test(test_paths_may_be_written_in_many_ways),
        cmocka_unit_test(test_an_entry_has_all_that_is_stored),
        cmocka_unit_test(test_the_prelude_is_there),
        cmocka_unit_test(test_follows_the_hardlink_of_the_example),
        cmocka_unit_test(test_hardlinks_to_anything_but_a_file_are_refused),
        cmocka_unit_test(test_lists_and_walks_what_a_sequential_reader_finds),
        cmocka_unit_test(test_a_walk_reads_only_the_subtree),
        cmocka_unit_test(test_a_visit_that_fails_ends_the_listing),
        cmocka_unit_test(test_reads_any_part_of_a_file),
        cmocka_unit_test(test_a_lone_metadata_stream_is_listed_and_its_contents_are_refused),
        cmocka_unit_test(test_a_wrong_payload_header_is_found_when_contents_are_asked_for),
        cmocka_unit_test(test_references_outside_the_payload_are_refused),
        cmocka_unit_test(test_what_is_no_archive_is_said_to_be_none),
        cmocka_unit_test(test_a_cut_archive_cannot_be_opened),
        cmocka_unit_test(test_every_byte_may_be_wrong),
        cmocka_unit_test(test_wrong_tables_are_refused),
        cmocka_unit_test(test_a_row_that_leads_to_no_filename_is_refused),
        cmocka_unit_test(test_a_directory_that_reaches_beyond_its_parent_is_refused),
        cmocka_unit_test(test_a_stream_that_claims_to_be_huge_costs_nothing),
        cmocka_unit_test(test_empty_objects_are_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
