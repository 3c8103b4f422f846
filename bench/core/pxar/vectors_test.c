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

static void encode_unified(const char *stem, struct buffer *archive)
{
    CLEANUP(buffer_deinit) struct buffer tree = {0};
    struct error err = {0};
    assert_true(read_file(stem, ".tree.json", &tree));
    if (tree_text_encode_unified((const char *)tree.data, tree.size, "tree", sink_to_buffer(archive), &err) != OK)
        print_error("%s\n", err.text);
    assert_int_equal(err.status, OK);
}

/* What the list of vectors says about NAME.pxar: some are only there by their digest. The caller json_decrefs *index.
 */
static json_t *listed_unified(const char *stem, json_t **index)
{
    CLEANUP(buffer_deinit) struct buffer text = {0};
    char path[8192];
    snprintf(path, sizeof path, "%s/index", folder);
    assert_true(read_file(path, ".json", &text));
    assert_int_equal(json_parse_wide((const char *)text.data, text.size, "index", index, NULL), OK);
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(*index, "vectors"), i, one)
    {
        if (strcmp(json_string_value(json_object_get(one, "name")), strrchr(stem, '/') + 1) == 0)
            return json_object_get(json_object_get(one, "files"), "pxar");
    }
    return NULL;
}

static void check_unified_encoding(const char *stem)
{
    CLEANUP(buffer_deinit) struct buffer archive = {0}, expected = {0};
    json_t *index = NULL;
    encode_unified(stem, &archive);
    if (read_file(stem, ".pxar", &expected))
        assert_same_bytes("archive", &expected, &archive);
    json_t *listed = listed_unified(stem, &index);
    assert_non_null(listed);
    assert_int_equal(archive.size, json_integer_value(json_object_get(listed, "size")));
    assert_string_equal(sha256_hex(archive.data, archive.size), json_string_value(json_object_get(listed, "sha256")));
    json_decref(index);
}

static void test_encodes_the_unified_reference_bytes(void **state)
{
    (void)state;
    assert_true(each_vector(".tree.json", check_unified_encoding) >= 12);
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
    struct piece_source p = {.piece = piece, .random = 2};
    if (payload) {
        p.data = payload->data;
        p.size = payload->size;
    }
    struct source payload_source = source_over_pieces(&p, "payload");
    return dump_archive(source_over_pieces(&m, "metadata"), payload ? &payload_source : NULL, sink_to_buffer(out), err);
}

static void check_dump_of(const struct buffer *metadata, const struct buffer *payload, const struct buffer *expected)
{
    static const size_t pieces[] = {SIZE_MAX, 1, 0};
    for (size_t i = 0; i < 3; i++) {
        CLEANUP(buffer_deinit) struct buffer dump = BUFFER_INIT(0);
        struct error err = {0};
        if (dump_pieces(metadata, payload, pieces[i], &dump, &err) != OK)
            print_error("%s\n", err.text);
        assert_int_equal(err.status, OK);
        assert_same_dump(expected, &dump);
    }
}

static void check_dump(const char *stem)
{
    CLEANUP(buffer_deinit) struct buffer metadata = {0}, payload = {0}, expected = {0};
    assert_true(read_file(stem, ".dump.jsonl", &expected));
    assert_true(read_file(stem, ".mpxar", &metadata));
    assert_true(read_file(stem, ".ppxar", &payload));
    check_dump_of(&metadata, &payload, &expected);
}

static void check_unified_dump(const char *stem)
{
    CLEANUP(buffer_deinit) struct buffer archive = {0}, expected = {0};
    assert_true(read_file(stem, ".dump1.jsonl", &expected));
    if (!read_file(stem, ".pxar", &archive)) /* then its digest was compared by the test above */
        encode_unified(stem, &archive);
    check_dump_of(&archive, NULL, &expected);
}

static void test_dumps_the_unified_reference_values(void **state)
{
    (void)state;
    assert_true(each_vector(".dump1.jsonl", check_unified_dump) >= 12);
}

static void test_dumps_the_reference_values(void **state)
{
    (void)state;
    assert_true(each_vector(".dump.jsonl", check_dump) >= 12);
}

/* The streams of one vector: `payload` is empty for a unified archive. */
struct streams {
    bool split;
    struct buffer metadata;
    struct buffer payload;
};

static void streams_deinit(struct streams *s)
{
    buffer_deinit(&s->metadata);
    buffer_deinit(&s->payload);
}

static void streams_copy(const struct streams *from, struct streams *out)
{
    *out = (struct streams){.split = from->split};
    assert_int_equal(buffer_append(&out->metadata, from->metadata.data, from->metadata.size, NULL), OK);
    assert_int_equal(buffer_append(&out->payload, from->payload.data, from->payload.size, NULL), OK);
}

static void apply_edit(json_t *edit, struct streams *streams)
{
    const char *op = json_string_value(json_object_get(edit, "op"));
    const char *file = json_string_value(json_object_get(edit, "file"));
    assert_true(strcmp(file, streams->split ? "mpxar" : "pxar") == 0 || (streams->split && strcmp(file, "ppxar") == 0));
    struct buffer *target = strcmp(file, "ppxar") == 0 ? &streams->payload : &streams->metadata;
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

/* What the reference accepts and this reader does not, and who allows it: the vectors' README by name, or a rule of
 * bench/spec/pxar.md that the reference leaves unchecked. Everything else must agree. */
static struct stricter {
    const char *name; /* how the case's name begins */
    const char *why;
    size_t seen;
} stricter_cases[] = {
    {"append ", "README: bytes behind the root's goodbye table", 0},
    {"payload: appended bytes", "README: bytes behind the payload's tail marker", 0},
    {"payload: no tail marker", "README: a missing tail marker", 0},
    {"payload: tail marker type", "README: a missing tail marker", 0},
    {"hard link offset beyond the start", "README: hard link offsets that point nowhere", 0},
    {"hard link offset 0", "README: hard link offsets that point nowhere", 0},
    {"nanos over 1e9", "README: nanoseconds over 10^9", 0},
    {"SYM without final NUL", "README: a link target without its final NUL", 0},
    {"HL without final NUL", "README: a link target without its final NUL", 0},
    {"root goodbye: tail ", "README: wrong items in a goodbye table (9.3: the tail row)", 0},
    {"format version 1 record in front", "README: wrong items in a goodbye table (9.3: the root's tail row)", 0},
    {"VER: size ", "11: FORMAT_VERSION content = 8", 0},
    {"ENT: size ", "11: ENTRY content = 40", 0},
    {"PR: size ", "11: PAYLOAD_REF content = 16", 0},
    {"file name with NUL inside", "5.9: names hold no zero byte", 0},
    {"mode without type", "11: the item kind agrees with the mode's type bits", 0},
    {"mode of unknown type", "11: the item kind agrees with the mode's type bits", 0},
    {"root is a regular file", "11: the root is a directory", 0},
    {"version 1", "4: version 1 has no PAYLOAD_REF and no payload stream", 0},
    {"no version record", "4: version 1 has no PAYLOAD_REF and no payload stream", 0},
    {"format version 2 record in front", "4: version 2 has no PAYLOAD in its metadata stream", 0},
};
enum { STRICTER_CASES = sizeof stricter_cases / sizeof *stricter_cases };

static struct stricter *find_stricter(const char *name)
{
    for (size_t i = 0; i < STRICTER_CASES; i++)
        if (strncmp(name, stricter_cases[i].name, strlen(stricter_cases[i].name)) == 0)
            return &stricter_cases[i];
    return NULL;
}

static void check_mutation(const struct streams *base, json_t *one)
{
    const char *name = json_string_value(json_object_get(one, "name"));
    bool reference_ok = strcmp(json_string_value(json_object_get(one, "decode")), "ok") == 0;
    bool same = json_is_true(json_object_get(one, "decode_same_as_unchanged"));
    CLEANUP(streams_deinit) struct streams streams;
    CLEANUP(buffer_deinit) struct buffer dump = {0}, unchanged = {0};
    struct error err = {0};
    size_t i;
    json_t *edit;
    streams_copy(base, &streams);
    json_array_foreach(json_object_get(one, "edits"), i, edit) apply_edit(edit, &streams);
    enum status status = dump_pieces(&streams.metadata, streams.split ? &streams.payload : NULL, SIZE_MAX, &dump, &err);
    struct stricter *stricter = reference_ok && status != OK ? find_stricter(name) : NULL;
    if (stricter && stricter->seen++ == 0)
        print_message("stricter: %s (%s): %s\n", name, stricter->why, err.text);
    bool fits = reference_ok ? status == OK || stricter : status != OK;
    if (!fits || (status != OK && err.text[0] == '\0'))
        print_error("%s: %s: %s\n", name, status_name(status), err.text);
    assert_true(fits);
    if (status != OK) {
        bool says = strstr(err.text, "corrupt at offset ") || strstr(err.text, "not an archive") ||
                    strstr(err.text, "unsupported version ") || status == ERR_MISMATCH || status == ERR_LIMIT;
        if (!says)
            print_error("%s: %s\n", name, err.text);
        assert_true(says);
        return;
    }
    assert_int_equal(dump_pieces(&base->metadata, base->split ? &base->payload : NULL, SIZE_MAX, &unchanged, NULL), OK);
    bool equal = dump.size == unchanged.size && memcmp(dump.data, unchanged.data, dump.size) == 0;
    if (equal != same)
        print_error("%s: %s the unchanged values\n", name, same ? "not" : "still");
    assert_int_equal(equal, same);
}

static void check_mutations(const char *stem)
{
    CLEANUP(buffer_deinit) struct buffer text = {0};
    CLEANUP(streams_deinit) struct streams base = {0};
    json_t *mutations = NULL, *one;
    char base_stem[8192];
    size_t i;
    assert_true(read_file(stem, ".mutations.json", &text));
    assert_int_equal(json_parse_wide((const char *)text.data, text.size, stem, &mutations, NULL), OK);
    base.split = strcmp(json_string_value(json_object_get(mutations, "archive")), "split") == 0;
    snprintf(base_stem, sizeof base_stem, "%s/%s", folder, json_string_value(json_object_get(mutations, "base")));
    assert_true(read_file(base_stem, base.split ? ".mpxar" : ".pxar", &base.metadata));
    if (base.split)
        assert_true(read_file(base_stem, ".ppxar", &base.payload));
    json_array_foreach(json_object_get(mutations, "cases"), i, one) check_mutation(&base, one);
    json_decref(mutations);
}

static void test_damaged_archives_are_not_read_as_if_fine(void **state)
{
    (void)state;
    for (size_t i = 0; i < STRICTER_CASES; i++)
        stricter_cases[i].seen = 0;
    assert_true(each_vector(".mutations.json", check_mutations) >= 3);
    for (size_t i = 0; i < STRICTER_CASES; i++) {
        if (stricter_cases[i].seen == 0)
            print_error("no case needs \"%s\" any more\n", stricter_cases[i].name);
        assert_true(stricter_cases[i].seen > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encodes_the_reference_bytes),
        cmocka_unit_test(test_encodes_the_unified_reference_bytes),
        cmocka_unit_test(test_dumps_the_reference_values),
        cmocka_unit_test(test_dumps_the_unified_reference_values),
        cmocka_unit_test(test_damaged_archives_are_not_read_as_if_fine),
    };
    return cmocka_run_group_tests(tests, find_vectors, NULL);
}
