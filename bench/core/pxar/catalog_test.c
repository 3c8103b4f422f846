#include "testing/testing.h"

#include "base/hex.h"
#include "pxar/catalog.h"
#include "pxar/catalog_number.h"

#include <stdio.h>
#include <string.h>

/* bench/spec/datastore.md 7. */
static const char example_hex[] = "91fd60f9c46758d50a02660178058100"
                                  "6c01791803660561 2e747874ac0280e2"
                                  "cfaa066403737562 0b68017a1201640e"
                                  "726f6f742e707861 722e64696478192c"
                                  "00000000000000";
enum { EXAMPLE_SIZE = 71, SUB_BLOCK = 8, ARCHIVE_BLOCK = 19, ROOT_BLOCK = 44 };

static const char example_lines[] = "d \"./root.pxar.didx\"\n"
                                    "f \"./root.pxar.didx/a.txt\" 300 2023-11-14T22:13:20Z\n"
                                    "d \"./root.pxar.didx/sub\"\n"
                                    "f \"./root.pxar.didx/sub/x\" 5 1969-12-31T23:59:59Z\n"
                                    "l \"./root.pxar.didx/sub/y\"\n"
                                    "h \"./root.pxar.didx/z\"\n";

static void example_bytes(uint8_t out[EXAMPLE_SIZE])
{
    char digits[2 * EXAMPLE_SIZE + 1];
    size_t used = 0;
    for (const char *c = example_hex; *c; c++)
        if (*c != ' ')
            digits[used++] = *c;
    assert_true(used == 2 * EXAMPLE_SIZE && hex_decode(digits, used, out, EXAMPLE_SIZE));
}

/* ---- sink, source, visitor ---- */

static enum status keep(void *context, const uint8_t *data, size_t size, struct error *err)
{
    return buffer_append(context, data, size, err);
}

static enum status memory_read_at(void *context, uint64_t offset, uint8_t *data, size_t size, struct error *err)
{
    const struct buffer *b = context;
    if (offset > b->size || size > b->size - offset)
        return fail(err, ERR_FORMAT, "catalog read beyond its end");
    if (size > 0)
        memcpy(data, b->data + offset, size);
    return OK;
}

static enum status add_line(void *context, const char *path, size_t path_size, const struct catalog_entry *entry,
                            struct error *err)
{
    assert_int_equal(strlen(path), path_size);
    assert_int_equal(strlen(entry->name), entry->name_size);
    assert_string_equal(path + path_size - entry->name_size, entry->name);
    TRY(catalog_line(path, path_size, entry, context, err));
    return buffer_append_u8(context, '\n', err);
}

/* The lines of a catalog, NUL-terminated. */
static enum status lines_of(const void *data, size_t size, struct buffer *out, struct error *err)
{
    struct buffer stream = BUFFER_INIT(0);
    TRY(buffer_append(&stream, data, size, err));
    struct source_at source = {.read_at = memory_read_at, .context = &stream, .size = size, .name = "catalog"};
    enum status status = catalog_walk(source, add_line, out, err);
    buffer_deinit(&stream);
    return status == OK ? buffer_append_u8(out, '\0', err) : status;
}

static void assert_lines(const void *data, size_t size, const char *wanted)
{
    struct buffer lines = BUFFER_INIT(0);
    struct error err = {0};
    if (lines_of(data, size, &lines, &err) != OK)
        assert_string_equal(err.text, "");
    assert_string_equal((const char *)lines.data, wanted);
    buffer_deinit(&lines);
}

static void reject(const void *data, size_t size, enum status status, const char *part)
{
    struct buffer lines = BUFFER_INIT(0);
    struct error err = {0};
    assert_int_equal(lines_of(data, size, &lines, &err), status);
    if (!strstr(err.text, part))
        assert_string_equal(err.text, part);
    buffer_deinit(&lines);
}

static enum status add(struct catalog_writer *w, enum entry_kind kind, const char *name, uint64_t size, int64_t mtime)
{
    struct catalog_entry entry = {.kind = kind, .name = name, .name_size = strlen(name), .size = size, .mtime = mtime};
    return catalog_add(w, &entry, NULL);
}

static enum status begin(struct catalog_writer *w, const char *name)
{
    return catalog_directory_begin(w, name, strlen(name), NULL);
}

static struct catalog_writer *new_writer(struct buffer *out)
{
    struct catalog_writer *w;
    *out = BUFFER_INIT(0);
    assert_int_equal(catalog_writer_new((struct sink){.write = keep, .context = out}, &w, NULL), OK);
    return w;
}

/* ---- writing ---- */

static void write_example(struct buffer *out)
{
    struct catalog_writer *w = new_writer(out);
    assert_int_equal(begin(w, "root.pxar.didx"), OK);
    assert_int_equal(add(w, ENTRY_FILE, "a.txt", 300, 1700000000), OK);
    assert_int_equal(begin(w, "sub"), OK);
    assert_int_equal(add(w, ENTRY_FILE, "x", 5, -1), OK);
    assert_int_equal(add(w, ENTRY_SYMLINK, "y", 0, 0), OK);
    assert_int_equal(catalog_directory_end(w, NULL), OK);
    assert_int_equal(add(w, ENTRY_HARDLINK, "z", 0, 0), OK);
    assert_int_equal(catalog_directory_end(w, NULL), OK);
    assert_int_equal(catalog_finish(w, NULL), OK);
    catalog_writer_free(w);
}

static void test_writes_the_example_of_the_specification(void **state)
{
    (void)state;
    struct buffer out;
    uint8_t wanted[EXAMPLE_SIZE];
    example_bytes(wanted);
    write_example(&out);
    assert_int_equal(out.size, EXAMPLE_SIZE);
    assert_memory_equal(out.data, wanted, EXAMPLE_SIZE);
    assert_lines(out.data, out.size, example_lines);
    buffer_deinit(&out);
}

static void test_magic_is_the_digest_of_its_text(void **state)
{
    (void)state;
    static const char text[] = "Proxmox Backup Catalog file v1.0";
    uint8_t bytes[EXAMPLE_SIZE];
    char start[17];
    example_bytes(bytes);
    hex_encode(bytes, 8, start);
    assert_int_equal(strncmp(sha256_hex(text, strlen(text)), start, 16), 0);
}

static void test_all_types_several_archives_and_empty_directories(void **state)
{
    (void)state;
    struct buffer out;
    struct catalog_writer *w = new_writer(&out);
    assert_int_equal(begin(w, "a.pxar.didx"), OK);
    assert_int_equal(begin(w, "empty"), OK);
    assert_int_equal(catalog_directory_end(w, NULL), OK);
    assert_int_equal(add(w, ENTRY_BLOCK_DEVICE, "b", 0, 0), OK);
    assert_int_equal(add(w, ENTRY_CHAR_DEVICE, "c", 0, 0), OK);
    assert_int_equal(add(w, ENTRY_FIFO, "p", 0, 0), OK);
    assert_int_equal(add(w, ENTRY_SOCKET, "s", 0, 0), OK);
    assert_int_equal(begin(w, "second"), OK);
    assert_int_equal(add(w, ENTRY_FILE, "f", UINT64_MAX, INT64_MIN), OK);
    assert_int_equal(catalog_directory_end(w, NULL), OK);
    assert_int_equal(catalog_directory_end(w, NULL), OK);
    assert_int_equal(begin(w, "b.pxar.didx"), OK);
    assert_int_equal(add(w, ENTRY_FILE, "f", 0, INT64_MAX), OK);
    assert_int_equal(catalog_directory_end(w, NULL), OK);
    assert_int_equal(catalog_finish(w, NULL), OK);
    catalog_writer_free(w);
    assert_lines(out.data, out.size,
                 "d \"./a.pxar.didx\"\n"
                 "d \"./a.pxar.didx/empty\"\n"
                 "b \"./a.pxar.didx/b\"\n"
                 "c \"./a.pxar.didx/c\"\n"
                 "p \"./a.pxar.didx/p\"\n"
                 "s \"./a.pxar.didx/s\"\n"
                 "d \"./a.pxar.didx/second\"\n"
                 "f \"./a.pxar.didx/second/f\" 18446744073709551615 -9223372036854775808\n"
                 "d \"./b.pxar.didx\"\n"
                 "f \"./b.pxar.didx/f\" 0 9223372036854775807\n");
    buffer_deinit(&out);
}

static void test_no_archives(void **state)
{
    (void)state;
    struct buffer out;
    struct catalog_writer *w = new_writer(&out);
    assert_int_equal(catalog_finish(w, NULL), OK);
    catalog_writer_free(w);
    assert_true(hex_equals("91fd60f9c46758d5"
                           "0100"
                           "0800000000000000",
                           out.data, out.size));
    assert_lines(out.data, out.size, "");
    buffer_deinit(&out);
}

static void test_misuse_is_refused_and_stays(void **state)
{
    (void)state;
    enum { CASES = 8 };
    for (int i = 0; i < CASES; i++) {
        struct buffer out;
        struct catalog_writer *w = new_writer(&out);
        enum status status = OK;
        switch (i) {
        case 0: status = add(w, ENTRY_FILE, "outside", 0, 0); break;
        case 1: status = catalog_directory_end(w, NULL); break;
        case 2:
            assert_int_equal(begin(w, "a.pxar.didx"), OK);
            status = catalog_finish(w, NULL);
            break;
        case 3:
            assert_int_equal(begin(w, "a.pxar.didx"), OK);
            status = add(w, ENTRY_DIRECTORY, "d", 0, 0);
            break;
        case 4: status = begin(w, ""); break;
        case 5: status = begin(w, "a/b"); break;
        case 6: status = begin(w, ".."); break;
        case 7: status = catalog_directory_begin(w, "a\0b", 3, NULL); break;
        default: break;
        }
        assert_int_equal(status, ERR_USAGE);
        assert_int_equal(begin(w, "x"), ERR_USAGE);
        assert_int_equal(catalog_directory_end(w, NULL), ERR_USAGE);
        assert_int_equal(catalog_finish(w, NULL), ERR_USAGE);
        catalog_writer_free(w);
        buffer_deinit(&out);
    }
    struct buffer out;
    struct catalog_writer *w = new_writer(&out);
    assert_int_equal(catalog_finish(w, NULL), OK);
    assert_int_equal(catalog_finish(w, NULL), ERR_USAGE);
    assert_int_equal(begin(w, "x"), ERR_USAGE);
    catalog_writer_free(w);
    catalog_writer_free(NULL);
    buffer_deinit(&out);
}

static void test_longest_name(void **state)
{
    (void)state;
    static char name[CATALOG_NAME_SIZE_MAX + 2];
    memset(name, 'n', CATALOG_NAME_SIZE_MAX);
    struct buffer out, lines = BUFFER_INIT(0);
    struct catalog_writer *w = new_writer(&out);
    assert_int_equal(begin(w, name), OK);
    assert_int_equal(add(w, ENTRY_FIFO, name, 0, 0), OK);
    assert_int_equal(catalog_directory_end(w, NULL), OK);
    assert_int_equal(catalog_finish(w, NULL), OK);
    catalog_writer_free(w);
    assert_int_equal(lines_of(out.data, out.size, &lines, NULL), OK);
    buffer_deinit(&lines);
    buffer_deinit(&out);
    name[CATALOG_NAME_SIZE_MAX] = 'n';
    w = new_writer(&out);
    assert_int_equal(begin(w, name), ERR_LIMIT);
    catalog_writer_free(w);
    buffer_deinit(&out);
}

static void test_deepest_directory(void **state)
{
    (void)state;
    struct buffer out, lines = BUFFER_INIT(0);
    struct catalog_writer *w = new_writer(&out);
    for (int depth = 0; depth < PXAR_DEPTH_MAX; depth++)
        assert_int_equal(begin(w, "d"), OK);
    for (int depth = 0; depth < PXAR_DEPTH_MAX; depth++)
        assert_int_equal(catalog_directory_end(w, NULL), OK);
    assert_int_equal(catalog_finish(w, NULL), OK);
    assert_int_equal(lines_of(out.data, out.size, &lines, NULL), OK);
    catalog_writer_free(w);
    buffer_deinit(&lines);
    buffer_deinit(&out);

    w = new_writer(&out);
    for (int depth = 0; depth < PXAR_DEPTH_MAX; depth++)
        assert_int_equal(begin(w, "d"), OK);
    assert_int_equal(begin(w, "d"), ERR_LIMIT);
    catalog_writer_free(w); /* with directories open */
    buffer_deinit(&out);
}

static void test_walker_bounds_the_depth(void **state)
{
    (void)state;
    /* Each block has one directory, the block before it: 6 bytes, distance 6; the first has something else. */
    enum { DEPTH = PXAR_DEPTH_MAX + 10 };
    static const uint8_t inner[] = {0x05, 0x01, 'd', 0x01, 'n', 0x06};
    struct buffer out = BUFFER_INIT(0);
    uint8_t bytes[EXAMPLE_SIZE];
    example_bytes(bytes);
    assert_int_equal(buffer_append(&out, bytes, 8, NULL), OK);
    assert_int_equal(buffer_append(&out, (const uint8_t[]){0x05, 0x01, 's', 0x02, 'n', 'n'}, 6, NULL), OK);
    for (int i = 0; i < DEPTH; i++)
        assert_int_equal(buffer_append(&out, inner, sizeof inner, NULL), OK);
    assert_int_equal(buffer_append_u64le(&out, out.size - sizeof inner, NULL), OK);
    char place[64]; /* the root is one of the DEPTH */
    snprintf(place, sizeof place, "directory at offset %d: ", 8 + 6 + 6 * (DEPTH - 1 - (PXAR_DEPTH_MAX + 1)));
    reject(out.data, out.size, ERR_LIMIT, place);
    reject(out.data, out.size, ERR_LIMIT, "nested directories");
    buffer_deinit(&out);
}

static enum status refuse(void *context, const uint8_t *data, size_t size, struct error *err)
{
    (void)data;
    (void)size;
    int *left = context;
    return (*left)-- > 0 ? OK : fail(err, ERR_IO, "disk full");
}

static void test_failing_sink_is_reported_at_any_step(void **state)
{
    (void)state;
    enum { WRITES = 8 }; /* magic; table length and table of three blocks; trailer */
    for (int good = 0; good <= WRITES; good++) {
        int left = good;
        struct catalog_writer *w;
        enum status status = catalog_writer_new((struct sink){.write = refuse, .context = &left}, &w, NULL);
        if (status == OK)
            status = begin(w, "a");
        if (status == OK)
            status = begin(w, "b");
        if (status == OK)
            status = catalog_directory_end(w, NULL);
        if (status == OK)
            status = catalog_directory_end(w, NULL);
        if (status == OK)
            status = catalog_finish(w, NULL);
        assert_int_equal(status, good < WRITES ? ERR_IO : OK);
        catalog_writer_free(w);
    }
}

/* ---- rejects ---- */

static void reject_changed(size_t at, uint8_t value, enum status status, const char *part)
{
    uint8_t bytes[EXAMPLE_SIZE];
    example_bytes(bytes);
    bytes[at] = value;
    reject(bytes, sizeof bytes, status, part);
}

static void test_rejects_magic_and_ends(void **state)
{
    (void)state;
    uint8_t bytes[EXAMPLE_SIZE + 1] = {0};
    example_bytes(bytes);
    for (size_t i = 0; i < 8; i++)
        reject_changed(i, (uint8_t)(bytes[i] ^ 1), ERR_NOT_ARCHIVE, "wrong magic number at offset 0");
    reject(bytes, 7, ERR_NOT_ARCHIVE, "not a catalog");
    for (size_t size = 8; size < EXAMPLE_SIZE; size++)
        reject(bytes, size, ERR_FORMAT, "catalog");
    memmove(bytes + 64, bytes + 63, 8);
    reject(bytes, EXAMPLE_SIZE + 1, ERR_FORMAT, "1 bytes behind the root's table at offset 63");
}

static void test_rejects_root_offsets(void **state)
{
    (void)state;
    reject_changed(63, 63, ERR_FORMAT, "the root's offset 63 at offset 63 is outside of 8..63");
    reject_changed(63, 62, ERR_FORMAT, "table of 25 bytes at offset 62"); /* within: some byte taken as a length */
    reject_changed(63, 7, ERR_FORMAT, "the root's offset 7");
    reject_changed(70, 0x80, ERR_FORMAT, "the root's offset 9223372036854775852");
}

static void test_rejects_tables(void **state)
{
    (void)state;
    reject_changed(ROOT_BLOCK, 0x11, ERR_FORMAT, "1 bytes behind the root's table");
    reject_changed(ROOT_BLOCK, 0x13, ERR_FORMAT, "table of 19 bytes at offset 44, where 18 have room");
    reject_changed(ROOT_BLOCK, 0, ERR_FORMAT, "table of 0 bytes at offset 44");
    reject_changed(SUB_BLOCK, 0x0b, ERR_FORMAT, "where 10 have room"); /* into its parent's block */
    reject_changed(SUB_BLOCK, 0, ERR_FORMAT, "table of 0 bytes at offset 8");
    reject_changed(SUB_BLOCK + 1, 1, ERR_FORMAT, "3 bytes behind the last entry of a table at offset 16");
    reject_changed(SUB_BLOCK + 1, 3, ERR_FORMAT, "ends early");
    reject_changed(ARCHIVE_BLOCK + 1, 2, ERR_FORMAT, "3 bytes behind the last entry");
}

static void test_rejects_types_and_names(void **state)
{
    (void)state;
    reject_changed(10, 'x', ERR_FORMAT, "entry of unknown type 0x78 at offset 10");
    reject_changed(10, 0, ERR_FORMAT, "entry of unknown type 0x00");
    reject_changed(11, 0, ERR_FORMAT, "empty name");
    reject_changed(12, '/', ERR_FORMAT, "slash");
    reject_changed(12, 0, ERR_FORMAT, "zero byte");
    reject_changed(12, '.', ERR_FORMAT, "entry at offset 10: name \".\"");
    reject_changed(11, 0x7f, ERR_FORMAT, "ends early");

    /* One name of 4096 bytes. */
    struct buffer out = BUFFER_INIT(0);
    uint8_t bytes[EXAMPLE_SIZE], *name = make_constant(4096, 'n');
    example_bytes(bytes);
    for (int size = 4095; size <= 4096; size++) {
        buffer_clear(&out);
        uint8_t length[CATALOG_UNSIGNED_SIZE_MAX];
        assert_int_equal(buffer_append(&out, bytes, 8, NULL), OK);
        assert_int_equal(buffer_append(&out, length, catalog_unsigned_bytes((uint64_t)size + 4, length), NULL), OK);
        assert_int_equal(buffer_append(&out, "\001p", 2, NULL), OK);
        assert_int_equal(buffer_append(&out, length, catalog_unsigned_bytes((uint64_t)size, length), NULL), OK);
        assert_int_equal(buffer_append(&out, name, (size_t)size, NULL), OK);
        assert_int_equal(buffer_append_u64le(&out, 8, NULL), OK);
        if (size == 4096) {
            reject(out.data, out.size, ERR_FORMAT, "name of 4096 bytes at offset 11: at most 4095");
        } else {
            struct buffer lines = BUFFER_INIT(0);
            assert_int_equal(lines_of(out.data, out.size, &lines, NULL), OK);
            buffer_deinit(&lines);
        }
    }
    free(name);
    buffer_deinit(&out);
}

static void test_rejects_distances(void **state)
{
    (void)state;
    enum { TO_SUB = 40, TO_ARCHIVE = 62 };
    reject_changed(TO_SUB, 0, ERR_FORMAT, "distance 0 at offset 40");
    reject_changed(TO_SUB, 20, ERR_FORMAT, "distance 20 at offset 40 leads out of the catalog");
    reject_changed(TO_SUB, 19, ERR_FORMAT, "refers to offset 0"); /* the magic number is no block */
    reject_changed(TO_SUB, 12, ERR_FORMAT, "refers to offset 7");
    reject_changed(TO_ARCHIVE, 0, ERR_FORMAT, "distance 0 at offset 62");
    reject_changed(TO_ARCHIVE, 45, ERR_FORMAT, "leads out of the catalog");
}

/* Blocks at 8 (empty), 10 (empty), 12: two directories, `first` and `second` bytes before it; the root. */
static void two_children(uint8_t first, uint8_t second, struct buffer *out)
{
    uint8_t bytes[EXAMPLE_SIZE];
    example_bytes(bytes);
    buffer_clear(out);
    const uint8_t blocks[] = {1, 0, 1, 0, 9, 2, 'd', 1, 'a', first, 'd', 1, 'b', second};
    assert_int_equal(buffer_append(out, bytes, 8, NULL), OK);
    assert_int_equal(buffer_append(out, blocks, sizeof blocks, NULL), OK);
    assert_int_equal(buffer_append_u64le(out, 12, NULL), OK);
}

static void test_blocks_are_used_once_and_in_order(void **state)
{
    (void)state;
    struct buffer out = BUFFER_INIT(0);
    two_children(4, 2, &out);
    assert_lines(out.data, out.size, "d \"./a\"\nd \"./b\"\n");
    two_children(2, 2, &out);
    reject(out.data, out.size, ERR_FORMAT, "refers to offset 10, which belongs to an earlier one: its own begin at 12");
    two_children(4, 4, &out);
    reject(out.data, out.size, ERR_FORMAT, "which belongs to an earlier one");
    two_children(2, 4, &out);
    reject(out.data, out.size, ERR_FORMAT, "which belongs to an earlier one");
    two_children(4, 3, &out); /* from the middle of another block on */
    reject(out.data, out.size, ERR_FORMAT, "which belongs to an earlier one");
    buffer_deinit(&out);
}

static void test_every_changed_byte_ends(void **state)
{
    (void)state;
    for (size_t at = 0; at < EXAMPLE_SIZE; at++)
        for (unsigned value = 0; value < 256; value++) {
            uint8_t bytes[EXAMPLE_SIZE];
            struct buffer lines = BUFFER_INIT(0);
            struct error err = {0};
            example_bytes(bytes);
            bytes[at] = (uint8_t)value;
            enum status status = lines_of(bytes, sizeof bytes, &lines, &err);
            assert_true((status == OK) == (err.text[0] == '\0'));
            buffer_deinit(&lines);
        }
}

static enum status stop_at_second(void *context, const char *path, size_t path_size, const struct catalog_entry *entry,
                                  struct error *err)
{
    (void)path;
    (void)path_size;
    (void)entry;
    return ++*(int *)context == 2 ? fail(err, ERR_CANCELLED, "enough") : OK;
}

static void test_visitor_ends_the_walk(void **state)
{
    (void)state;
    struct buffer stream;
    int seen = 0;
    write_example(&stream);
    struct source_at source = {.read_at = memory_read_at, .context = &stream, .size = stream.size, .name = "catalog"};
    assert_int_equal(catalog_walk(source, stop_at_second, &seen, NULL), ERR_CANCELLED);
    assert_int_equal(seen, 2);
    buffer_deinit(&stream);
}

/* ---- text ---- */

static void test_lines_stay_lines(void **state)
{
    (void)state;
    static const struct {
        const char *path, *line;
    } cases[] = {
        {"./a b", "p \"./a b\""},
        {"./a\"b\\", "p \"./a\\\"b\\\\\""},
        {"./\n\r\t\x01\x7f", "p \"./\\n\\r\\t\\x01\\x7f\""},
        {"./\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "p \"./\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"./\xff\xc3", "p \"./\\xff\\xc3\""},
        {"./\xc2\x9b\xe2\x80\xae", "p \"./\\xc2\\x9b\\xe2\\x80\\xae\""},
        {"./\xed\xa0\x80\xc0\x80", "p \"./\\xed\\xa0\\x80\\xc0\\x80\""},
        {"./\xf4\x90\x80\x80\xe0\x80\x80", "p \"./\\xf4\\x90\\x80\\x80\\xe0\\x80\\x80\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buffer out = BUFFER_INIT(0);
        struct catalog_entry entry = {.kind = ENTRY_FIFO, .name = ""};
        assert_int_equal(catalog_line(cases[i].path, strlen(cases[i].path), &entry, &out, NULL), OK);
        assert_int_equal(buffer_append_u8(&out, '\0', NULL), OK);
        assert_string_equal((const char *)out.data, cases[i].line);
        buffer_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_the_example_of_the_specification),
        cmocka_unit_test(test_magic_is_the_digest_of_its_text),
        cmocka_unit_test(test_all_types_several_archives_and_empty_directories),
        cmocka_unit_test(test_no_archives),
        cmocka_unit_test(test_misuse_is_refused_and_stays),
        cmocka_unit_test(test_longest_name),
        cmocka_unit_test(test_deepest_directory),
        cmocka_unit_test(test_walker_bounds_the_depth),
        cmocka_unit_test(test_failing_sink_is_reported_at_any_step),
        cmocka_unit_test(test_rejects_magic_and_ends),
        cmocka_unit_test(test_rejects_root_offsets),
        cmocka_unit_test(test_rejects_tables),
        cmocka_unit_test(test_rejects_types_and_names),
        cmocka_unit_test(test_rejects_distances),
        cmocka_unit_test(test_blocks_are_used_once_and_in_order),
        cmocka_unit_test(test_every_changed_byte_ends),
        cmocka_unit_test(test_visitor_ends_the_walk),
        cmocka_unit_test(test_lines_stay_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
