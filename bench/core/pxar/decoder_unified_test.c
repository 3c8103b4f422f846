/* Archives of version 1, and what both versions have in common with the worked examples of the specification. */
#include "testing/testing.h"

#include "pxar/decoder_for_test.h"

#include <malloc.h>
#include <stdio.h>

static const struct feed unified = {.piece = SIZE_MAX, .no_payload = true};
static const struct feed skipping = {.piece = SIZE_MAX, .no_payload = true, .skip_contents = true};

static enum status decode_unified(const struct buffer *archive, const struct feed *feed)
{
    const struct buffer none = BUFFER_INIT(0);
    return decode_status(archive, &none, feed);
}

/* The whole sentence, in a static buffer. */
static const char *complaint(const struct buffer *archive, enum status expected)
{
    static struct error err;
    const struct buffer none = BUFFER_INIT(0);
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
    err = (struct error){0};
    assert_int_equal(decode(archive, &none, &unified, &text, &err), expected);
    return err.text;
}

static void insert(struct buffer *b, size_t offset, const void *data, size_t size)
{
    assert_int_equal(buffer_reserve(b, size, NULL), OK);
    memmove(b->data + offset + size, b->data + offset, b->size - offset);
    memcpy(b->data + offset, data, size);
    b->size += size;
}

/* FORMAT_VERSION in front, and the root's tail row moved along: it counts from offset 0. */
static void put_version(struct buffer *archive, uint64_t version)
{
    uint8_t item[24];
    store_u64le(item, PXAR_FORMAT_VERSION);
    store_u64le(item + 8, sizeof item);
    store_u64le(item + 16, version);
    insert(archive, 0, item, sizeof item);
    uint8_t *tail = archive->data + archive->size - PXAR_GOODBYE_ROW_SIZE;
    store_u64le(tail + 8, load_u64le(tail + 8) + sizeof item);
}

/* ---- the examples ---- */

static const struct example {
    const char *metadata, *payload; /* payload NULL: unified */
    const char *description;
} examples[] = {
    {EXAMPLE_EMPTY_UNIFIED, NULL,
     "0 / [] 0 mode 40755 flags 0 0:0 time 1700000000.000000000 at 0 0 distance 0 dev 0:0\n"
     "8 / [] 0 mode 0 flags 0 0:0 time 0.000000000 at 0 0 distance 0 dev 0:0\n"},
    {EXAMPLE_FILE_UNIFIED, NULL,
     "0 / [] 0 mode 40755 flags 0 0:0 time 1700000000.000000000 at 0 0 distance 0 dev 0:0\n"
     "1 /f [f] 1 mode 100644 flags 0 1000:1000 time 1700000001.000000005 at 56 74 distance 0 dev 0:0"
     " 3 bytes at 146 \"hi\n\"\n"
     "8 / [] 0 mode 0 flags 0 0:0 time 0.000000000 at 0 0 distance 0 dev 0:0\n"},
    {EXAMPLE_EMPTY_METADATA, EXAMPLE_EMPTY_PAYLOAD,
     "0 / [] 0 mode 40755 flags 0 0:0 time 1700000000.000000000 at 0 24 distance 0 dev 0:0\n"
     "8 / [] 0 mode 0 flags 0 0:0 time 0.000000000 at 0 0 distance 0 dev 0:0\n"},
    {EXAMPLE_FILES_METADATA, EXAMPLE_FILES_PAYLOAD,
     "0 / [] 0 mode 40755 flags 0 0:0 time 1700000000.000000000 at 0 68 distance 0 dev 0:0\n"
     "1 /a [a] 1 mode 100644 flags 0 1000:1000 time 1700000001.000000005 at 124 142 distance 0 dev 0:0"
     " 6 bytes at 16 \"hello\n\"\n"
     "3 /h [h] 1 mode 0 flags 0 0:0 time 0.000000000 at 230 0 -> a distance 106 dev 0:0\n"
     "2 /l [l] 1 mode 120777 flags 0 0:0 time 1700000001.000000005 at 274 292 -> a distance 0 dev 0:0\n"
     "1 /z [z] 1 mode 100600 flags 0 0:0 time 1700000001.000000005 at 366 384 distance 0 dev 0:0 0 bytes at 38 \"\"\n"
     "8 / [] 0 mode 0 flags 0 0:0 time 0.000000000 at 0 0 distance 0 dev 0:0\n"},
    {EXAMPLE_ATTRIBUTES_UNIFIED, NULL,
     "0 / [] 0 mode 40755 flags 0 0:0 time 1700000000.000000000 at 0 0 distance 0 dev 0:0\n"
     "0 /d [d] 1 mode 40750 flags 0 0:0 time 1700000001.000000005 at 56 74 distance 0 dev 0:0\n"
     "8 /d [] 1 mode 0 flags 0 0:0 time 0.000000000 at 0 0 distance 0 dev 0:0\n"
     "6 /null [null] 1 mode 20660 flags 0 0:0 time 1700000001.000000005 at 282 303 distance 0 dev 1:3\n"
     "4 /p [p] 1 mode 10600 flags 0 0:0 time 1700000001.000000005 at 391 409 distance 0 dev 0:0\n"
     "1 /x [x] 1 mode 100664 flags 100000 1000:1000 time 1700000001.000000005 at 465 483 distance 0 dev 0:0 user.k=v"
     " 0 bytes at 727 \"\"\n"
     "8 / [] 0 mode 0 flags 0 0:0 time 0.000000000 at 0 0 distance 0 dev 0:0\n"},
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

/* Both streams of an example, to be damaged. */
struct streams {
    struct buffer metadata, payload;
    bool split;
};

static struct streams streams_of(const struct example *e)
{
    struct streams s = {.metadata = bytes_of_hex(e->metadata), .split = e->payload != NULL};
    if (s.split)
        s.payload = bytes_of_hex(e->payload);
    return s;
}

static void streams_deinit(struct streams *s)
{
    buffer_deinit(&s->metadata);
    buffer_deinit(&s->payload);
}

static enum status decode_streams(const struct streams *s, size_t piece, bool skip_contents)
{
    struct feed feed = {.piece = piece, .no_payload = !s->split, .skip_contents = skip_contents};
    return decode_status(&s->metadata, &s->payload, &feed);
}

static void test_reads_every_example_whole_and_in_pieces(void **state)
{
    (void)state;
    static const size_t pieces[] = {SIZE_MAX, 1, 3, 0};
    for (size_t i = 0; i < EXAMPLES; i++) {
        CLEANUP(streams_deinit) struct streams s = streams_of(&examples[i]);
        for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
            CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
            struct feed feed = {.piece = pieces[k], .no_payload = !s.split};
            struct error err = {0};
            assert_int_equal(decode(&s.metadata, &s.payload, &feed, &text, &err), OK);
            assert_int_equal(buffer_append_u8(&text, 0, NULL), OK);
            assert_string_equal((const char *)text.data, examples[i].description);
            assert_int_equal(decode_streams(&s, pieces[k], true), OK);
        }
    }
}

static void test_attributes_of_the_example(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer archive = bytes_of_hex(EXAMPLE_ATTRIBUTES_UNIFIED);
    struct memory_source m = {.data = archive.data, .size = archive.size};
    CLEANUP(decoder_cleanup) struct decoder *d = NULL;
    struct archive_entry e;
    assert_int_equal(decoder_new(source_over_memory(&m, "m"), NULL, &d, NULL), OK);
    assert_int_equal(decoder_version(d), 1);
    assert_int_equal(decoder_next(d, &e, NULL), OK);
    assert_null(e.attributes.extras);
    assert_int_equal(decoder_next(d, &e, NULL), OK);
    const struct attribute_extras *x = e.attributes.extras;
    assert_true(x->has_default && !x->has_group_obj && !x->has_fcaps && !x->has_project_id);
    assert_int_equal(x->acl_default.user_obj, 7);
    assert_int_equal(x->acl_default.group_obj, 5);
    assert_int_equal(x->acl_default.other, 0);
    assert_true(x->acl_default.mask == ACL_PERM_UNSET);
    assert_int_equal(x->default_users.count, 1);
    assert_int_equal(x->default_users.entries[0].id, 1001);
    assert_int_equal(x->default_groups.entries[0].perm, 5);
    for (int i = 0; i < 4; i++)
        assert_int_equal(decoder_next(d, &e, NULL), OK);
    assert_string_equal(e.path, "/x");
    x = e.attributes.extras;
    assert_int_equal(x->xattr_count, 1);
    assert_int_equal(x->users.entries[0].id, 1001);
    assert_int_equal(x->users.entries[0].perm, 6);
    assert_int_equal(x->groups.entries[0].id, 1002);
    assert_int_equal(x->groups.entries[0].perm, 4);
    assert_true(x->has_group_obj && !x->has_default && x->has_fcaps && x->has_project_id);
    assert_int_equal(x->group_obj, 4);
    assert_int_equal(x->fcaps_size, 20);
    assert_int_equal(x->project_id, 7);
}

static void test_every_example_cut_anywhere_is_an_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < EXAMPLES; i++) {
        CLEANUP(streams_deinit) struct streams s = streams_of(&examples[i]);
        size_t metadata_size = s.metadata.size, payload_size = s.payload.size;
        for (size_t size = 0; size < metadata_size; size++) {
            s.metadata.size = size;
            assert_int_equal(decode_streams(&s, SIZE_MAX, false), ERR_FORMAT);
            assert_int_equal(decode_streams(&s, 1, true), ERR_FORMAT);
        }
        s.metadata.size = metadata_size;
        for (size_t size = 0; size < payload_size; size++) {
            s.payload.size = size;
            assert_int_equal(decode_streams(&s, SIZE_MAX, false), ERR_FORMAT);
            assert_int_equal(decode_streams(&s, 1, true), ERR_FORMAT);
        }
    }
}

static void test_no_changed_bit_of_an_example_does_harm(void **state)
{
    (void)state;
    for (size_t i = 0; i < EXAMPLES; i++) {
        CLEANUP(streams_deinit) struct streams s = streams_of(&examples[i]);
        for (size_t at = 0; at < s.metadata.size; at++)
            for (unsigned bit = 0; bit < 8; bit++) {
                s.metadata.data[at] ^= (uint8_t)(1U << bit);
                (void)decode_streams(&s, SIZE_MAX, bit & 1); /* which asserts that an error has a sentence */
                s.metadata.data[at] ^= (uint8_t)(1U << bit);
            }
    }
}

/* ---- round trips ---- */

static enum status recode_file(struct decoder *d, struct encoder *e, const struct archive_entry *x, struct buffer *to)
{
    uint8_t part[5];
    size_t size = 0;
    TRY(encoder_file(e, x->name, &x->attributes, x->size, NULL, NULL));
    do {
        TRY(decoder_content(d, part, sizeof part, &size, NULL));
        TRY(buffer_append(to, part, size, NULL));
    } while (size > 0);
    return OK;
}

/* Tells the encoder what the decoder found; contents go to `contents`, which the encoder writes to as well. */
static enum status recode(struct decoder *d, struct encoder *e, struct buffer *contents)
{
    for (struct archive_entry x;;) {
        TRY(decoder_next(d, &x, NULL));
        switch (x.kind) {
        case ENTRY_DIRECTORY: TRY(encoder_directory_begin(e, x.name, &x.attributes, NULL)); break;
        case ENTRY_FILE: TRY(recode_file(d, e, &x, contents)); break;
        case ENTRY_SYMLINK: TRY(encoder_symlink(e, x.name, &x.attributes, x.target, x.target_size, NULL)); break;
        case ENTRY_HARDLINK:
            TRY(encoder_hardlink(e, x.name, x.target, x.filename_offset - x.link_distance, NULL));
            break;
        case ENTRY_FIFO:
        case ENTRY_SOCKET: TRY(encoder_special(e, x.name, &x.attributes, NULL)); break;
        case ENTRY_CHAR_DEVICE:
        case ENTRY_BLOCK_DEVICE: TRY(encoder_device(e, x.name, &x.attributes, x.major, x.minor, NULL)); break;
        case ENTRY_DIRECTORY_END:
            if (x.depth == 0)
                return encoder_finish(e, NULL);
            TRY(encoder_directory_end(e, NULL));
            break;
        }
    }
}

static void assert_recodes(const struct streams *s)
{
    CLEANUP(streams_deinit) struct streams made = {0};
    CLEANUP(decoder_cleanup) struct decoder *d = NULL;
    struct memory_source m = {.data = s->metadata.data, .size = s->metadata.size};
    struct memory_source p = {.data = s->payload.data, .size = s->payload.size};
    struct source payload = source_over_memory(&p, "p");
    struct encoder *e = NULL;
    struct archive_entry root;
    size_t prelude_size = 0;
    assert_int_equal(decoder_new(source_over_memory(&m, "m"), s->split ? &payload : NULL, &d, NULL), OK);
    const uint8_t *prelude = decoder_prelude(d, &prelude_size);
    assert_int_equal(decoder_next(d, &root, NULL), OK);
    if (s->split)
        assert_int_equal(encoder_new(sink_to_buffer(&made.metadata), sink_to_buffer(&made.payload), &root.attributes,
                                     prelude, prelude_size, &e, NULL),
                         OK);
    else
        assert_int_equal(encoder_new_unified(sink_to_buffer(&made.metadata), &root.attributes, &e, NULL), OK);
    assert_int_equal(recode(d, e, s->split ? &made.payload : &made.metadata), OK);
    encoder_free(e);
    assert_int_equal(made.metadata.size, s->metadata.size);
    assert_memory_equal(made.metadata.data, s->metadata.data, s->metadata.size);
    assert_int_equal(made.payload.size, s->payload.size);
    if (s->split)
        assert_memory_equal(made.payload.data, s->payload.data, s->payload.size);
}

static void test_what_was_decoded_encodes_to_the_same_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < EXAMPLES; i++) {
        CLEANUP(streams_deinit) struct streams s = streams_of(&examples[i]);
        assert_recodes(&s);
    }
    /* Every flag there is and those nobody knows; times before 1970. */
    static const uint64_t flags[] = {0x2000, 0x4000, 0x8000, 0x3ff0000, 0, UINT64_MAX};
    static const int64_t times[] = {-305112601, INT64_MIN, INT64_MAX, -1};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        CLEANUP(streams_deinit) struct streams s = streams_of(&examples[1]);
        uint8_t *entry = s.metadata.data + EXAMPLE_F_ENTRY_AT + ITEM_HEADER_SIZE;
        store_u64le(entry + 8, flags[i]);
        store_u64le(entry + 24, (uint64_t)times[i % 4]);
        store_u32le(entry + 32, 999000000);
        assert_recodes(&s);
    }
}

/* ---- what is told apart ---- */

static void test_three_errors_say_what_they_are(void **state)
{
    (void)state;
    static const uint8_t zip[64] = "PK\3\4";
    struct buffer other = {.data = (uint8_t *)(uintptr_t)zip, .size = sizeof zip};
    assert_string_equal(complaint(&other, ERR_NOT_ARCHIVE),
                        "x.mpxar: not an archive: does not begin with an item of pxar");
    CLEANUP(buffer_deinit) struct buffer newer = bytes_of_hex(EXAMPLE_FILE_UNIFIED);
    put_version(&newer, 3);
    assert_non_null(strstr(complaint(&newer, ERR_VERSION), "x.mpxar: unsupported version 3"));
    CLEANUP(buffer_deinit) struct buffer corrupt = bytes_of_hex(EXAMPLE_FILE_UNIFIED);
    corrupt.data[EXAMPLE_F_PAYLOAD_AT]++;
    assert_string_equal(complaint(&corrupt, ERR_FORMAT),
                        "x.mpxar: corrupt at offset 130 in /f: unknown item type 28147a1b0b7c1a26");
    corrupt.data[EXAMPLE_F_PAYLOAD_AT]--;
    corrupt.size = EXAMPLE_F_GOODBYE_AT - 1;
    assert_string_equal(complaint(&corrupt, ERR_FORMAT),
                        "x.mpxar: corrupt at offset 148 in /f: ends early: 1 more bytes wanted");
    corrupt.size = 7;
    assert_string_equal(complaint(&corrupt, ERR_FORMAT),
                        "x.mpxar: corrupt at offset 7 in /: ends early: 9 more bytes wanted");
    CLEANUP(buffer_deinit) struct buffer payload = bytes_of_hex(EXAMPLE_FILES_PAYLOAD);
    assert_non_null(strstr(complaint(&payload, ERR_NOT_ARCHIVE), "not an archive"));
}

static void test_version_1_may_be_said(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer archive = bytes_of_hex(EXAMPLE_FILE_UNIFIED);
    put_version(&archive, 1);
    assert_int_equal(decode_unified(&archive, &unified), OK);
    assert_int_equal(decode_unified(&archive, &skipping), OK);
    /* A prelude, a second version: not there, nor without the first. */
    uint8_t prelude[18] = {0};
    store_u64le(prelude, PXAR_PRELUDE);
    store_u64le(prelude + 8, sizeof prelude);
    insert(&archive, 24, prelude, sizeof prelude);
    assert_non_null(strstr(complaint(&archive, ERR_FORMAT), "PRELUDE item where ENTRY is due"));
    CLEANUP(buffer_deinit) struct buffer twice = bytes_of_hex(EXAMPLE_FILE_UNIFIED);
    put_version(&twice, 1);
    put_version(&twice, 1);
    assert_non_null(strstr(complaint(&twice, ERR_FORMAT), "FORMAT_VERSION item where ENTRY is due"));
    CLEANUP(buffer_deinit) struct buffer first = bytes_of_hex(EXAMPLE_FILE_UNIFIED);
    insert(&first, 0, prelude, sizeof prelude);
    assert_int_equal(decode_unified(&first, &unified), ERR_NOT_ARCHIVE);
    CLEANUP(buffer_deinit) struct buffer later = bytes_of_hex(EXAMPLE_FILE_UNIFIED);
    insert(&later, EXAMPLE_F_AT, prelude, sizeof prelude);
    assert_int_equal(decode_unified(&later, &unified), ERR_FORMAT);
}

static void test_contents_are_where_the_version_has_them(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer split = bytes_of_hex(EXAMPLE_FILE_UNIFIED);
    put_version(&split, 2);
    assert_non_null(strstr(complaint(&split, ERR_FORMAT), "PAYLOAD item where PAYLOAD_REF is due"));
    CLEANUP(sketch_deinit) struct sketch s = begin_unified_sketch();
    uint8_t reference[16] = {16};
    put_item(&s, PXAR_FILENAME, "m", 2);
    put_entry(&s, 0100600);
    put_item(&s, PXAR_PAYLOAD_REF, reference, 16);
    assert_int_equal(end_sketch(&s, 1), ERR_FORMAT);
    assert_non_null(strstr(complaint(&s.bytes, ERR_FORMAT), "PAYLOAD_REF item where PAYLOAD is due"));
}

static void test_payload_stream_beside_version_1_is_refused(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer archive = bytes_of_hex(EXAMPLE_FILE_UNIFIED);
    CLEANUP(buffer_deinit) struct buffer payload = bytes_of_hex(EXAMPLE_FILES_PAYLOAD);
    assert_int_equal(decode_status(&archive, &payload, &whole), ERR_MISMATCH);
}

static void test_old_entries_are_read_everywhere(void **state)
{
    (void)state;
    uint8_t root[32] = {0}, file[32] = {0};
    store_u64le(root, 040755);
    store_u64le(root + 24, 1430487000000000000);
    store_u64le(file, 0100644);
    store_u64le(file + 8, 0x100000);
    store_u32le(file + 16, 5);
    store_u32le(file + 20, 6);
    store_u64le(file + 24, UINT64_MAX);
    CLEANUP(sketch_deinit) struct sketch s = {0};
    put_item(&s, PXAR_ENTRY_V1, root, 32);
    put_item(&s, PXAR_FILENAME, "f", 2);
    put_item(&s, PXAR_ENTRY_V1, file, 32);
    put_item(&s, PXAR_PAYLOAD, "text", 4);
    assert_int_equal(end_sketch(&s, 1), OK);
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
    const struct buffer none = BUFFER_INIT(0);
    assert_int_equal(decode(&s.bytes, &none, &unified, &text, NULL), OK);
    assert_int_equal(buffer_append_u8(&text, 0, NULL), OK);
    assert_string_equal((const char *)text.data,
                        "0 / [] 0 mode 40755 flags 0 0:0 time 1430487000.000000000 at 0 0 distance 0 dev 0:0\n"
                        "1 /f [f] 1 mode 100644 flags 100000 5:6 time 18446744073.709551615 at 48 66 distance 0 dev 0:0"
                        " 4 bytes at 130 \"text\"\n"
                        "8 / [] 0 mode 0 flags 0 0:0 time 0.000000000 at 0 0 distance 0 dev 0:0\n");
}

static void test_sizes_of_payloads(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer archive = bytes_of_hex(EXAMPLE_FILE_UNIFIED);
    static const uint64_t sizes[] = {0, 15, 16, 18, 20, 200, 1U << 30, INT64_MAX, UINT64_MAX - 200, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        store_u64le(archive.data + EXAMPLE_F_PAYLOAD_AT + 8, sizes[i]);
        assert_int_equal(decode_unified(&archive, &unified), ERR_FORMAT);
        assert_int_equal(decode_unified(&archive, &skipping), ERR_FORMAT);
    }
}

/* ---- reading and skipping ---- */

enum { LARGE = 1 << 20 };

static struct buffer large_archive(void)
{
    struct buffer b = BUFFER_INIT(0);
    struct attributes root = {.stat = {.mode = 040755}}, file = {.stat = {.mode = 0100644}};
    struct encoder *e = NULL;
    uint8_t *content = make_lcg(LARGE, 7);
    assert_int_equal(encoder_new_unified(sink_to_buffer(&b), &root, &e, NULL), OK);
    for (char name[2] = "a"; name[0] <= 'c'; name[0]++) {
        assert_int_equal(encoder_file(e, name, &file, LARGE, NULL, NULL), OK);
        assert_int_equal(buffer_append(&b, content, LARGE, NULL), OK);
    }
    assert_int_equal(encoder_finish(e, NULL), OK);
    encoder_free(e);
    free(content);
    return b;
}

/* A source that can skip, and counts what it was spared. */
struct skipping_source {
    struct memory_source memory;
    uint64_t skipped;
};
static enum status read_memory(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct skipping_source *s = context;
    struct source memory = source_over_memory(&s->memory, "s");
    return memory.read(memory.context, data, size, out_size, err);
}
static enum status skip_memory(void *context, uint64_t size, struct error *err)
{
    struct skipping_source *s = context;
    if (size > s->memory.size - s->memory.position)
        return fail(err, ERR_FORMAT, "s: ends before");
    s->memory.position += (size_t)size;
    s->skipped += size;
    return OK;
}

/* Reads `part` bytes of each file at most. */
static enum status read_parts(struct decoder *d, size_t part, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
    assert_int_equal(buffer_reserve(&text, LARGE, NULL), OK);
    uint8_t *expected = make_lcg(LARGE, 7);
    enum status status;
    struct archive_entry e;
    while ((status = decoder_next(d, &e, err)) == OK) {
        size_t done = 0;
        for (size_t got = 1; e.kind == ENTRY_FILE && done < part && got > 0; done += got) {
            status = decoder_content(d, text.data, part - done, &got, err);
            if (status != OK)
                break;
            assert_memory_equal(text.data, expected + done, got);
        }
        if (status != OK)
            break;
        assert_int_equal(done, e.kind == ENTRY_FILE ? part : 0);
    }
    free(expected);
    return status == ERR_CLOSED ? OK : status;
}

static void test_contents_are_skipped_by_the_source(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer archive = large_archive();
    static const struct {
        size_t part;
        uint64_t spared;
    } cases[] = {{0, 3 * (LARGE - 256 * 1024)}, {1, 3 * (LARGE - 256 * 1024)}, {LARGE - 1, 0}, {LARGE, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct skipping_source s = {.memory = {.data = archive.data, .size = archive.size}};
        struct source source = {.read = read_memory, .skip = skip_memory, .context = &s, .name = "s"};
        CLEANUP(decoder_cleanup) struct decoder *d = NULL;
        assert_int_equal(decoder_new(source, NULL, &d, NULL), OK);
        assert_int_equal(read_parts(d, cases[i].part, NULL), OK);
        assert_true(s.skipped >= cases[i].spared);
        assert_int_equal(decoder_metadata_position(d), archive.size);
    }
}

static void test_skipping_behind_the_end_is_an_error(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer archive = large_archive();
    struct skipping_source s = {.memory = {.data = archive.data, .size = 2 * LARGE}};
    struct source source = {.read = read_memory, .skip = skip_memory, .context = &s, .name = "s"};
    CLEANUP(decoder_cleanup) struct decoder *d = NULL;
    struct error err = {0};
    assert_int_equal(decoder_new(source, NULL, &d, NULL), OK);
    assert_int_equal(read_parts(d, 0, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "s: corrupt at offset "));
    assert_non_null(strstr(err.text, " in /b: s: ends before"));
}

static void test_content_only_while_standing_on_a_file(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer archive = bytes_of_hex(EXAMPLE_FILE_UNIFIED);
    struct memory_source m = {.data = archive.data, .size = archive.size};
    CLEANUP(decoder_cleanup) struct decoder *d = NULL;
    struct archive_entry e;
    uint8_t byte;
    size_t size = 9;
    assert_int_equal(decoder_new(source_over_memory(&m, "m"), NULL, &d, NULL), OK);
    assert_int_equal(decoder_content(d, &byte, 1, &size, NULL), ERR_USAGE);
    assert_int_equal(decoder_next(d, &e, NULL), OK);
    assert_int_equal(decoder_content(d, &byte, 1, &size, NULL), ERR_USAGE);
    assert_int_equal(decoder_next(d, &e, NULL), OK);
    assert_int_equal(decoder_content(d, &byte, 1, &size, NULL), OK);
    assert_int_equal(size, 1);
    assert_int_equal(byte, 'h');
    assert_int_equal(decoder_next(d, &e, NULL), OK);
    assert_int_equal(e.kind, ENTRY_DIRECTORY_END);
    assert_int_equal(decoder_content(d, &byte, 1, &size, NULL), ERR_USAGE);
    assert_int_equal(decoder_next(d, &e, NULL), ERR_CLOSED);
}

/* ---- memory ---- */

/* How much is allocated while a stream is read, seen whenever the decoder asks for more of it. Sanitizers replace the
 * allocator that is asked here: nothing is measured then. */
struct watching_source {
    struct memory_source memory;
    size_t before, most;
};
static size_t allocated(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}
static enum status read_watched(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct watching_source *w = context;
    size_t now = allocated();
    size_t more = now > w->before ? now - w->before : 0;
    w->most = more > w->most ? more : w->most;
    struct source memory = source_over_memory(&w->memory, "w");
    return memory.read(memory.context, data, size < 64 ? size : 64, out_size, err);
}

static void test_allocates_by_what_is_there_not_by_what_is_claimed(void **state)
{
    (void)state;
    static const struct {
        uint64_t type, mode, content_size;
    } cases[] = {
        {PXAR_PRELUDE, 0, 60 << 20},
        {PXAR_PRELUDE, 0, UINT64_MAX - 16},
        {PXAR_FILENAME, 0, PXAR_NAME_SIZE_MAX + 1},
        {PXAR_GOODBYE, 0, (uint64_t)24 << 40},
        {PXAR_XATTR, 010600, PXAR_XATTR_CONTENT_MAX},
        {PXAR_FCAPS, 010600, PXAR_XATTR_CONTENT_MAX},
        {PXAR_SYMLINK, 0120777, PXAR_TARGET_SIZE_MAX + 1},
        {PXAR_PAYLOAD, 0100644, (uint64_t)1 << 62},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(sketch_deinit) struct sketch s = {0};
        if (cases[i].type == PXAR_PRELUDE) {
            uint8_t version[8] = {2};
            put_item(&s, PXAR_FORMAT_VERSION, version, 8);
        } else {
            put_entry(&s, 040755);
        }
        if (cases[i].mode) {
            put_item(&s, PXAR_FILENAME, "m", 2);
            put_entry(&s, cases[i].mode);
        }
        assert_int_equal(item_append_header(&s.bytes, cases[i].type, cases[i].content_size, NULL), OK);
        assert_int_equal(buffer_append_zeros(&s.bytes, 1000, NULL), OK);
        struct watching_source w = {.memory = {.data = s.bytes.data, .size = s.bytes.size}, .before = allocated()};
        struct source source = {.read = read_watched, .context = &w, .name = "w"};
        CLEANUP(decoder_cleanup) struct decoder *d = NULL;
        struct error err = {0};
        enum status status = decoder_new(source, NULL, &d, &err);
        for (struct archive_entry e; status == OK;)
            status = decoder_next(d, &e, &err);
        assert_true(status == ERR_FORMAT || status == ERR_LIMIT);
        /* The read window, the decoder, and four times the input. */
        assert_true(w.most < 128 * 1024 + 64 * 1024 + 4 * s.bytes.size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_every_example_whole_and_in_pieces),
        cmocka_unit_test(test_attributes_of_the_example),
        cmocka_unit_test(test_every_example_cut_anywhere_is_an_error),
        cmocka_unit_test(test_no_changed_bit_of_an_example_does_harm),
        cmocka_unit_test(test_what_was_decoded_encodes_to_the_same_bytes),
        cmocka_unit_test(test_three_errors_say_what_they_are),
        cmocka_unit_test(test_version_1_may_be_said),
        cmocka_unit_test(test_contents_are_where_the_version_has_them),
        cmocka_unit_test(test_payload_stream_beside_version_1_is_refused),
        cmocka_unit_test(test_old_entries_are_read_everywhere),
        cmocka_unit_test(test_sizes_of_payloads),
        cmocka_unit_test(test_contents_are_skipped_by_the_source),
        cmocka_unit_test(test_skipping_behind_the_end_is_an_error),
        cmocka_unit_test(test_content_only_while_standing_on_a_file),
        cmocka_unit_test(test_allocates_by_what_is_there_not_by_what_is_claimed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
