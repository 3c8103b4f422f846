/* Archives made by the reference implementation: the same bytes from the same trees, the same values back, and no
 * success where it fails. The folder is named by PXB_VECTORS; without it the tests are skipped. */
#include "testing/testing.h"

#include "pxar/dump.h"
#include "pxar/examples_for_test.h"
#include "pxar/json_text.h"
#include "pxar/tree_text.h"

#include <glob.h>
#include <stdio.h>
#include <zstd.h>

#define DEFAULT_VECTORS "../shared/vectors"

static char folder[4096];

static int find_vectors(void **state)
{
    (void)state;
    const char *named = getenv("PXB_VECTORS");
    snprintf(folder, sizeof folder, "%s/pxar", named ? named : DEFAULT_VECTORS);
    return 0;
}

static void decompress(struct buffer *data)
{
    struct buffer out = BUFFER_INIT(0);
    ZSTD_DCtx *context = ZSTD_createDCtx();
    ZSTD_inBuffer in = {data->data, data->size, 0};
    while (in.pos < in.size) {
        assert_int_equal(buffer_reserve(&out, 65536, NULL), OK);
        ZSTD_outBuffer part = {out.data + out.size, out.capacity - out.size, 0};
        assert_false(ZSTD_isError(ZSTD_decompressStream(context, &part, &in)));
        out.size += part.pos;
    }
    ZSTD_freeDCtx(context);
    buffer_deinit(data);
    *data = out;
}

static bool read_plain_file(const char *path, struct buffer *out)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    uint8_t part[65536];
    for (size_t got; (got = fread(part, 1, sizeof part, f)) > 0;)
        assert_int_equal(buffer_append(out, part, got, NULL), OK);
    fclose(f);
    return true;
}

/* STEM + suffix, or the same name with .zst behind it. */
static bool read_file(const char *stem, const char *suffix, struct buffer *out)
{
    char path[8192];
    *out = BUFFER_INIT(0);
    snprintf(path, sizeof path, "%s%s", stem, suffix);
    if (read_plain_file(path, out))
        return true;
    snprintf(path, sizeof path, "%s%s.zst", stem, suffix);
    if (!read_plain_file(path, out))
        return false;
    decompress(out);
    return true;
}

/* Calls `check` with the path of each vector without its suffix; returns how many. */
static size_t each_vector(const char *pattern, void (*check)(const char *stem))
{
    char path[8192];
    glob_t found;
    snprintf(path, sizeof path, "%s/*%s*", folder, pattern);
    if (glob(path, 0, NULL, &found) != 0) {
        print_message("skipped: no vectors in %s (set PXB_VECTORS)\n", folder);
        skip();
    }
    size_t count = found.gl_pathc;
    for (size_t i = 0; i < count; i++) {
        char *stem = found.gl_pathv[i];
        *strstr(stem, pattern) = '\0';
        print_message("%s\n", stem);
        check(stem);
    }
    globfree(&found);
    return count;
}

static void assert_same_bytes(const char *what, const struct buffer *expected, const struct buffer *found)
{
    size_t size = expected->size < found->size ? expected->size : found->size;
    for (size_t i = 0; i < size; i++)
        if (expected->data[i] != found->data[i]) {
            print_error("%s differs first at offset %zu\n", what, i);
            assert_true(false);
        }
    assert_int_equal(found->size, expected->size);
}

static void check_encoding(const char *stem)
{
    CLEANUP(buffer_deinit) struct buffer tree = {0}, metadata = {0}, payload = {0}, expected = {0};
    struct error err = {0};
    assert_true(read_file(stem, ".tree.json", &tree));
    if (tree_text_encode((const char *)tree.data, tree.size, "tree", sink_to_buffer(&metadata),
                         sink_to_buffer(&payload), &err) != OK)
        print_error("%s\n", err.text);
    assert_int_equal(err.status, OK);
    assert_true(read_file(stem, ".mpxar", &expected));
    assert_same_bytes("metadata", &expected, &metadata);
    buffer_deinit(&expected);
    assert_true(read_file(stem, ".ppxar", &expected));
    assert_same_bytes("payload", &expected, &payload);
}

static void test_encodes_the_reference_bytes(void **state)
{
    (void)state;
    assert_true(each_vector(".tree.json", check_encoding) >= 12);
}

/* The next line as JSON, NULL at the end. The caller json_decrefs. */
static json_t *next_line(const struct buffer *text, size_t *position)
{
    if (*position >= text->size)
        return NULL;
    const char *start = (const char *)text->data + *position;
    const char *end = memchr(start, '\n', text->size - *position);
    size_t size = end ? (size_t)(end - start) : text->size - *position;
    *position += size + 1;
    json_t *value = NULL;
    struct error err = {0};
    if (json_parse_wide(start, size, "dump", &value, &err) != OK)
        print_error("%s\n", err.text);
    assert_non_null(value);
    return value;
}

static void assert_same_dump(const struct buffer *expected, const struct buffer *found)
{
    size_t expected_at = 0, found_at = 0;
    for (size_t line = 1;; line++) {
        json_t *x = next_line(expected, &expected_at), *y = next_line(found, &found_at);
        if (!x || !y || !json_equal(x, y))
            if (x || y)
                print_error("dump line %zu differs\n", line);
        bool ended = !x && !y;
        assert_true(ended || (x && y && json_equal(x, y)));
        json_decref(x);
        json_decref(y);
        if (ended)
            return;
    }
}

static enum status dump_pieces(const struct buffer *metadata, const struct buffer *payload, size_t piece,
                               struct buffer *out, struct error *err)
{
    struct piece_source m = {.data = metadata->data, .size = metadata->size, .piece = piece, .random = 1};
    struct piece_source p = {.data = payload->data, .size = payload->size, .piece = piece, .random = 2};
    struct source payload_source = source_over_pieces(&p, "payload");
    return dump_archive(source_over_pieces(&m, "metadata"), &payload_source, sink_to_buffer(out), err);
}

static void check_dump(const char *stem)
{
    CLEANUP(buffer_deinit) struct buffer metadata = {0}, payload = {0}, expected = {0};
    assert_true(read_file(stem, ".dump.jsonl", &expected));
    assert_true(read_file(stem, ".mpxar", &metadata));
    assert_true(read_file(stem, ".ppxar", &payload));
    static const size_t pieces[] = {SIZE_MAX, 1, 0};
    for (size_t i = 0; i < 3; i++) {
        CLEANUP(buffer_deinit) struct buffer dump = BUFFER_INIT(0);
        struct error err = {0};
        if (dump_pieces(&metadata, &payload, pieces[i], &dump, &err) != OK)
            print_error("%s\n", err.text);
        assert_int_equal(err.status, OK);
        assert_same_dump(&expected, &dump);
    }
}

static void test_dumps_the_reference_values(void **state)
{
    (void)state;
    assert_true(each_vector(".dump.jsonl", check_dump) >= 12);
}

static void apply_edit(json_t *edit, struct buffer *metadata, struct buffer *payload)
{
    const char *op = json_string_value(json_object_get(edit, "op"));
    const char *file = json_string_value(json_object_get(edit, "file"));
    struct buffer *target = strcmp(file, "mpxar") == 0 ? metadata : payload;
    size_t offset = (size_t)json_integer_value(json_object_get(edit, "offset"));
    size_t size = (size_t)json_integer_value(json_object_get(edit, "size"));
    CLEANUP(buffer_deinit) struct buffer bytes = BUFFER_INIT(0);
    json_t *text = json_object_get(edit, "bytes_b64");
    if (text)
        assert_int_equal(base64_decode_append(&bytes, json_string_value(text), json_string_length(text), NULL), OK);
    CLEANUP(buffer_deinit) struct buffer tail = BUFFER_INIT(0);
    if (strcmp(op, "append") == 0) {
        assert_int_equal(buffer_append(target, bytes.data, bytes.size, NULL), OK);
    } else if (strcmp(op, "truncate") == 0) {
        assert_true(size <= target->size);
        target->size = size;
    } else if (strcmp(op, "set") == 0) {
        assert_true(offset + bytes.size <= target->size);
        memcpy(target->data + offset, bytes.data, bytes.size);
    } else {
        size_t kept = strcmp(op, "delete") == 0 ? offset + size : offset;
        assert_true(kept <= target->size);
        assert_int_equal(buffer_append(&tail, target->data + kept, target->size - kept, NULL), OK);
        target->size = offset;
        assert_int_equal(buffer_append(target, bytes.data, bytes.size, NULL), OK);
        assert_int_equal(buffer_append(target, tail.data, tail.size, NULL), OK);
    }
}

/* What the reference accepts and this reader does not is one of these; everything else must agree. */
static bool may_be_stricter(const char *name)
{
    static const char *const reasons[] = {
        "append",      "VER: size",         "ENT: size", "PR: size",          "NUL",     "hard link offset",
        "mode",        "nanos over",        "root is",   "goodbye",           "version", "tail marker",
        "payload: no", "payload: appended", "size 0",    "no version record",
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (strstr(name, reasons[i]))
            return true;
    return false;
}

static void check_mutations(const char *stem)
{
    CLEANUP(buffer_deinit) struct buffer text = {0}, base_metadata = {0}, base_payload = {0};
    json_t *mutations = NULL;
    char base[8192];
    assert_true(read_file(stem, ".mutations.json", &text));
    assert_int_equal(json_parse_wide((const char *)text.data, text.size, stem, &mutations, NULL), OK);
    bool split = strcmp(json_string_value(json_object_get(mutations, "archive")), "split") == 0;
    snprintf(base, sizeof base, "%s/%s", folder, json_string_value(json_object_get(mutations, "base")));
    assert_true(read_file(base, ".mpxar", &base_metadata));
    assert_true(read_file(base, ".ppxar", &base_payload));
    json_t *cases = json_object_get(mutations, "cases");
    for (size_t i = 0; split && i < json_array_size(cases); i++) {
        json_t *one = json_array_get(cases, i), *edits = json_object_get(one, "edits");
        const char *name = json_string_value(json_object_get(one, "name"));
        CLEANUP(buffer_deinit) struct buffer metadata = BUFFER_INIT(0), payload = BUFFER_INIT(0);
        CLEANUP(buffer_deinit) struct buffer dump = BUFFER_INIT(0);
        assert_int_equal(buffer_append(&metadata, base_metadata.data, base_metadata.size, NULL), OK);
        assert_int_equal(buffer_append(&payload, base_payload.data, base_payload.size, NULL), OK);
        for (size_t k = 0; k < json_array_size(edits); k++)
            apply_edit(json_array_get(edits, k), &metadata, &payload);
        struct error err = {0};
        enum status status = dump_pieces(&metadata, &payload, SIZE_MAX, &dump, &err);
        bool reference_ok = strcmp(json_string_value(json_object_get(one, "decode")), "ok") == 0;
        bool fits = reference_ok ? status == OK || may_be_stricter(name) : status != OK;
        if (!fits || (status != OK && err.text[0] == '\0'))
            print_error("%s: %s: %s\n", name, status_name(status), err.text);
        assert_true(fits);
        assert_true(status == OK || err.text[0] != '\0');
    }
    json_decref(mutations);
}

static void test_damaged_archives_are_not_read_as_if_fine(void **state)
{
    (void)state;
    assert_true(each_vector(".mutations.json", check_mutations) >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encodes_the_reference_bytes),
        cmocka_unit_test(test_dumps_the_reference_values),
        cmocka_unit_test(test_damaged_archives_are_not_read_as_if_fine),
    };
    return cmocka_run_group_tests(tests, find_vectors, NULL);
}
