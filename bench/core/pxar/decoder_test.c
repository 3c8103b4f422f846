#include "testing/testing.h"

#include "pxar/decoder_for_test.h"

#include <stdio.h>

static struct buffer files_metadata, files_payload;

static int make_examples(void **state)
{
    (void)state;
    files_metadata = bytes_of_hex(EXAMPLE_FILES_METADATA);
    files_payload = bytes_of_hex(EXAMPLE_FILES_PAYLOAD);
    return 0;
}

static int drop_examples(void **state)
{
    (void)state;
    buffer_deinit(&files_metadata);
    buffer_deinit(&files_payload);
    return 0;
}

static const char files_description[] =
    "0 / [] 0 mode 40755 flags 0 0:0 time 1700000000.000000000 at 0 68 distance 0 dev 0:0\n"
    "1 /a [a] 1 mode 100644 flags 0 1000:1000 time 1700000001.000000005 at 124 142 distance 0 dev 0:0"
    " 6 bytes at 16 \"hello\n\"\n"
    "3 /h [h] 1 mode 0 flags 0 0:0 time 0.000000000 at 230 0 -> a distance 106 dev 0:0\n"
    "2 /l [l] 1 mode 120777 flags 0 0:0 time 1700000001.000000005 at 274 292 -> a distance 0 dev 0:0\n"
    "1 /z [z] 1 mode 100600 flags 0 0:0 time 1700000001.000000005 at 366 384 distance 0 dev 0:0 0 bytes at 38 \"\"\n"
    "8 / [] 0 mode 0 flags 0 0:0 time 0.000000000 at 0 0 distance 0 dev 0:0\n";

static void test_reads_the_example_whole_and_in_pieces(void **state)
{
    (void)state;
    static const struct feed feeds[] = {{.piece = SIZE_MAX}, {.piece = 1}, {.piece = 3}, {.piece = 0}};
    for (size_t i = 0; i < sizeof feeds / sizeof *feeds; i++) {
        CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
        struct error err = {0};
        assert_int_equal(decode(&files_metadata, &files_payload, &feeds[i], &text, &err), OK);
        assert_int_equal(buffer_append_u8(&text, 0, NULL), OK);
        assert_string_equal((const char *)text.data, files_description);
    }
    struct feed skipping = {.piece = SIZE_MAX, .skip_contents = true};
    assert_int_equal(decode_status(&files_metadata, &files_payload, &skipping), OK);
    CLEANUP(buffer_deinit) struct buffer empty = bytes_of_hex(EXAMPLE_EMPTY_METADATA);
    CLEANUP(buffer_deinit) struct buffer empty_payload = bytes_of_hex(EXAMPLE_EMPTY_PAYLOAD);
    assert_int_equal(decode_status(&empty, &empty_payload, &whole), OK);
}

static void test_prelude(void **state)
{
    (void)state;
    struct memory_source m = {.data = files_metadata.data, .size = files_metadata.size};
    CLEANUP(decoder_cleanup) struct decoder *d = NULL;
    assert_int_equal(decoder_new(source_over_memory(&m, "m"), NULL, &d, NULL), OK);
    size_t size = 0;
    const uint8_t *prelude = decoder_prelude(d, &size);
    assert_int_equal(size, strlen(EXAMPLE_FILES_PRELUDE));
    assert_memory_equal(prelude, EXAMPLE_FILES_PRELUDE, size);
    CLEANUP(buffer_deinit) struct buffer empty = bytes_of_hex(EXAMPLE_EMPTY_METADATA);
    struct memory_source n = {.data = empty.data, .size = empty.size};
    CLEANUP(decoder_cleanup) struct decoder *e = NULL;
    assert_int_equal(decoder_new(source_over_memory(&n, "n"), NULL, &e, NULL), OK);
    assert_null(decoder_prelude(e, &size));
    assert_int_equal(size, 0);
}

static void test_lone_metadata_is_listed_but_gives_no_contents(void **state)
{
    (void)state;
    struct feed lone = {.piece = SIZE_MAX, .no_payload = true};
    assert_int_equal(decode_status(&files_metadata, &files_payload, &lone), OK);
    struct memory_source m = {.data = files_metadata.data, .size = files_metadata.size};
    CLEANUP(decoder_cleanup) struct decoder *d = NULL;
    assert_int_equal(decoder_new(source_over_memory(&m, "m"), NULL, &d, NULL), OK);
    struct archive_entry e;
    uint8_t byte;
    size_t size = 9;
    assert_int_equal(decoder_next(d, &e, NULL), OK);
    assert_int_equal(decoder_content(d, &byte, 1, &size, NULL), ERR_USAGE); /* a directory */
    assert_int_equal(decoder_next(d, &e, NULL), OK);
    assert_int_equal(e.kind, ENTRY_FILE);
    assert_int_equal(decoder_content(d, &byte, 1, &size, NULL), ERR_USAGE);
    assert_int_equal(decoder_next(d, &e, NULL), OK); /* asking did no harm */
}

/* ---- damage ---- */

/* A copy of the example that a test may damage. */
struct copy {
    struct buffer metadata;
    struct buffer payload;
};

static struct copy copy_of_files(void)
{
    struct copy c = {0};
    assert_int_equal(buffer_append(&c.metadata, files_metadata.data, files_metadata.size, NULL), OK);
    assert_int_equal(buffer_append(&c.payload, files_payload.data, files_payload.size, NULL), OK);
    return c;
}

static void copy_deinit(struct copy *c)
{
    buffer_deinit(&c->metadata);
    buffer_deinit(&c->payload);
}

static void insert(struct buffer *b, size_t offset, const void *data, size_t size)
{
    assert_int_equal(buffer_reserve(b, size, NULL), OK);
    memmove(b->data + offset + size, b->data + offset, b->size - offset);
    memcpy(b->data + offset, data, size);
    b->size += size;
}

static void cut(struct buffer *b, size_t offset, size_t size)
{
    memmove(b->data + offset, b->data + offset + size, b->size - offset - size);
    b->size -= size;
}

static void test_truncated_anywhere_is_an_error(void **state)
{
    (void)state;
    for (size_t size = 0; size < files_metadata.size; size++) {
        CLEANUP(copy_deinit) struct copy c = copy_of_files();
        c.metadata.size = size;
        assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), ERR_FORMAT);
        struct feed lone = {.piece = 1, .no_payload = true};
        assert_int_equal(decode_status(&c.metadata, &c.payload, &lone), ERR_FORMAT);
    }
    for (size_t size = 0; size < files_payload.size; size++) {
        CLEANUP(copy_deinit) struct copy c = copy_of_files();
        c.payload.size = size;
        assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), ERR_FORMAT);
        struct feed skipping = {.piece = SIZE_MAX, .skip_contents = true};
        assert_int_equal(decode_status(&c.metadata, &c.payload, &skipping), ERR_FORMAT);
    }
}

static void test_bytes_behind_the_end_are_an_error(void **state)
{
    (void)state;
    CLEANUP(copy_deinit) struct copy c = copy_of_files();
    insert(&c.metadata, c.metadata.size, "x", 1);
    assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), ERR_FORMAT);
    CLEANUP(copy_deinit) struct copy p = copy_of_files();
    insert(&p.payload, p.payload.size, "x", 1);
    assert_int_equal(decode_status(&p.metadata, &p.payload, &whole), ERR_FORMAT);
    struct feed lone = {.piece = SIZE_MAX, .no_payload = true};
    assert_int_equal(decode_status(&p.metadata, &p.payload, &lone), OK);
}

static void test_mutated_bytes_never_crash(void **state)
{
    (void)state;
    static const uint8_t flips[] = {0x01, 0x10, 0x80, 0xff};
    for (size_t i = 0; i < files_metadata.size; i++)
        for (size_t k = 0; k < sizeof flips; k++) {
            CLEANUP(copy_deinit) struct copy c = copy_of_files();
            c.metadata.data[i] ^= flips[k];
            (void)decode_status(&c.metadata, &c.payload, &whole);
        }
    for (size_t i = 0; i < files_payload.size; i++) {
        CLEANUP(copy_deinit) struct copy c = copy_of_files();
        c.payload.data[i] ^= 0xff;
        bool in_content = i >= 32 && i < 38;
        assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), in_content ? OK : ERR_FORMAT);
    }
}

static void test_other_streams_are_told_apart(void **state)
{
    (void)state;
    static const char zip[] = "PK\3\4 a file of another kind altogether";
    struct buffer other = {.data = (uint8_t *)(uintptr_t)zip, .size = sizeof zip - 1};
    assert_int_equal(decode_status(&other, &files_payload, &whole), ERR_NOT_ARCHIVE);
    other.size = 2;
    assert_int_equal(decode_status(&other, &files_payload, &whole), ERR_NOT_ARCHIVE);
    other.size = 0;
    assert_int_equal(decode_status(&other, &files_payload, &whole), ERR_FORMAT);

    static const uint64_t versions[] = {0, 3, UINT64_MAX};
    for (size_t i = 0; i < 3; i++) {
        CLEANUP(copy_deinit) struct copy c = copy_of_files();
        store_u64le(c.metadata.data + 16, versions[i]);
        char expected[64];
        snprintf(expected, sizeof expected, "unsupported version %llu", (unsigned long long)versions[i]);
        CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
        struct error err = {0};
        assert_int_equal(decode(&c.metadata, &c.payload, &whole, &text, &err), ERR_VERSION);
        assert_non_null(strstr(err.text, expected));
    }
}

static void test_misplaced_version_and_prelude(void **state)
{
    (void)state;
    const uint8_t *version = files_metadata.data, *prelude = files_metadata.data + EXAMPLE_PRELUDE_AT;
    static const size_t version_places[] = {EXAMPLE_PRELUDE_AT, EXAMPLE_ROOT_AT,  EXAMPLE_A_AT,
                                            EXAMPLE_H_AT,       EXAMPLE_A_REF_AT, EXAMPLE_GOODBYE_AT};
    for (size_t i = 0; i < sizeof version_places / sizeof *version_places; i++) {
        CLEANUP(copy_deinit) struct copy c = copy_of_files();
        insert(&c.metadata, version_places[i], version, EXAMPLE_PRELUDE_AT);
        assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), ERR_FORMAT);
    }
    static const size_t prelude_places[] = {EXAMPLE_ROOT_AT, EXAMPLE_A_AT, EXAMPLE_H_AT, EXAMPLE_GOODBYE_AT};
    for (size_t i = 0; i < sizeof prelude_places / sizeof *prelude_places; i++) {
        CLEANUP(copy_deinit) struct copy c = copy_of_files();
        insert(&c.metadata, prelude_places[i], prelude, EXAMPLE_ROOT_AT - EXAMPLE_PRELUDE_AT);
        assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), ERR_FORMAT);
    }
    CLEANUP(copy_deinit) struct copy first = copy_of_files();
    cut(&first.metadata, 0, EXAMPLE_PRELUDE_AT);
    assert_int_equal(decode_status(&first.metadata, &first.payload, &whole), ERR_NOT_ARCHIVE);
}

static void test_payload_start_and_headers_are_checked(void **state)
{
    (void)state;
    CLEANUP(copy_deinit) struct copy c = copy_of_files();
    c.payload.data[16 + 8]++; /* the header of `a` claims one byte more */
    assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), ERR_FORMAT);
    struct feed skipping = {.piece = SIZE_MAX, .skip_contents = true};
    assert_int_equal(decode_status(&c.metadata, &c.payload, &skipping), OK); /* nobody asked for it */
    c.payload.data[0]++;
    assert_int_equal(decode_status(&c.metadata, &c.payload, &skipping), ERR_FORMAT);
}

static void test_foreign_bytes_between_files(void **state)
{
    (void)state;
    uint8_t foreign[200];
    memset(foreign, 0x5a, sizeof foreign);
    for (int behind = 0; behind < 2; behind++) {
        CLEANUP(copy_deinit) struct copy c = copy_of_files();
        insert(&c.payload, behind ? EXAMPLE_PAYLOAD_SIZE - 16 : 38, foreign, sizeof foreign);
        if (!behind)
            store_u64le(c.metadata.data + EXAMPLE_Z_REF_AT + 16, 38 + sizeof foreign);
        static const struct feed feeds[] = {
            {.piece = SIZE_MAX}, {.piece = 1}, {.piece = SIZE_MAX, .skip_contents = true}};
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(decode_status(&c.metadata, &c.payload, &feeds[i]), OK);
    }
}

static void test_references_are_checked(void **state)
{
    (void)state;
    static const struct {
        uint64_t offset, size;
        enum status reading, skipping;
    } cases[] = {
        {38, 0, OK, OK},
        {16, 6, ERR_FORMAT, OK}, /* backward: an older client's archive can be listed, not read through */
        {15, 0, ERR_FORMAT, ERR_FORMAT},
        {0, 0, ERR_FORMAT, ERR_FORMAT},
        {60, 0, ERR_FORMAT, ERR_FORMAT}, /* outside the payload */
        {38, 100, ERR_FORMAT, ERR_FORMAT},
        {UINT64_MAX, 0, ERR_FORMAT, ERR_FORMAT},
        {38, UINT64_MAX - 40, ERR_FORMAT, ERR_FORMAT},
        {UINT64_MAX - 16, 1, ERR_FORMAT, ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(copy_deinit) struct copy c = copy_of_files();
        store_u64le(c.metadata.data + EXAMPLE_Z_REF_AT + 16, cases[i].offset);
        store_u64le(c.metadata.data + EXAMPLE_Z_REF_AT + 24, cases[i].size);
        assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), cases[i].reading);
        struct feed skipping = {.piece = SIZE_MAX, .skip_contents = true};
        assert_int_equal(decode_status(&c.metadata, &c.payload, &skipping), cases[i].skipping);
    }
}

static void test_backward_reference_is_named_as_such(void **state)
{
    (void)state;
    CLEANUP(copy_deinit) struct copy c = copy_of_files();
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
    struct error err = {0};
    store_u64le(c.metadata.data + EXAMPLE_Z_REF_AT + 16, 16);
    assert_int_equal(decode(&c.metadata, &c.payload, &whole, &text, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "reference to payload offset 16, but the payload was read up to 38"));
}

/* A source that can skip, and counts what it was spared. */
struct skipping_source {
    struct memory_source memory;
    uint64_t skipped;
};
static enum status read_memory(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct skipping_source *s = context;
    struct source memory = source_over_memory(&s->memory, "p");
    return memory.read(memory.context, data, size, out_size, err);
}
static enum status skip_memory(void *context, uint64_t size, struct error *err)
{
    struct skipping_source *s = context;
    if (size > s->memory.size - s->memory.position)
        return fail(err, ERR_FORMAT, "skipped behind the end");
    s->memory.position += (size_t)size;
    s->skipped += size;
    return OK;
}

static void test_large_gaps_are_skipped_not_read(void **state)
{
    (void)state;
    enum { GAP = 1 << 20 };
    for (int missing = 0; missing < 2; missing++) {
        CLEANUP(copy_deinit) struct copy c = copy_of_files();
        uint8_t *gap = make_constant(GAP, 0x5a);
        insert(&c.payload, 38, gap, GAP);
        free(gap);
        store_u64le(c.metadata.data + EXAMPLE_Z_REF_AT + 16, 38 + GAP + (missing ? 1000 : 0));
        struct memory_source m = {.data = c.metadata.data, .size = c.metadata.size};
        struct skipping_source p = {.memory = {.data = c.payload.data, .size = c.payload.size}};
        struct source payload = {.read = read_memory, .skip = skip_memory, .context = &p, .name = "p"};
        CLEANUP(decoder_cleanup) struct decoder *d = NULL;
        CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
        struct error err = {0};
        assert_int_equal(decoder_new(source_over_memory(&m, "m"), &payload, &d, &err), OK);
        assert_int_equal(describe(d, &whole, &text, &err), missing ? ERR_FORMAT : OK);
        assert_true(missing || p.skipped > GAP / 2);
    }
}

/* ---- references that are not in order ---- */

enum { LARGE = 200 * 1000, A_AT = 16, B_AT = 35, INSIDE_B_AT = 51, LARGE_AT = 68, MAX_REFERENCES = 4 };

static struct buffer payload_of_three(void)
{
    CLEANUP(sketch_deinit) struct sketch inner = {0};
    put_item(&inner, PXAR_PAYLOAD, "x", 1);
    struct sketch s = {0};
    uint8_t *large = make_lcg(LARGE, 3);
    put_item(&s, PXAR_PAYLOAD_START_MARKER, "", 0);
    put_item(&s, PXAR_PAYLOAD, "aaa", 3);
    put_item(&s, PXAR_PAYLOAD, inner.bytes.data, inner.bytes.size);
    put_item(&s, PXAR_PAYLOAD, large, LARGE);
    put_item(&s, PXAR_PAYLOAD_TAIL_MARKER, "", 0);
    free(large);
    return s.bytes;
}

/* Files that refer to the payload of three; of those with `read` so much is asked for. */
struct out_of_order {
    struct {
        uint64_t offset, size, read;
    } files[MAX_REFERENCES];
    size_t seeks;
    enum status status; /* with a source that seeks */
    const char *sentence;
    size_t cut; /* of the payload's end */
};

static struct buffer metadata_of(const struct out_of_order *c)
{
    struct sketch s = begin_sketch();
    size_t count = 0;
    for (; count < MAX_REFERENCES && c->files[count].offset > 0; count++) {
        uint8_t reference[16], name[2] = {(uint8_t)('a' + count), 0};
        store_u64le(reference, c->files[count].offset);
        store_u64le(reference + 8, c->files[count].size);
        put_item(&s, PXAR_FILENAME, name, 2);
        put_entry(&s, 0100600);
        put_item(&s, PXAR_PAYLOAD_REF, reference, 16);
    }
    assert_int_equal(end_sketch(&s, count), OK); /* listed it is always */
    return s.bytes;
}

struct seeking_source {
    struct skipping_source skipping; /* first: its functions serve here, too */
    size_t seeks;
    enum status status; /* of seeking */
};
static enum status seek_memory(void *context, uint64_t offset, struct error *err)
{
    struct seeking_source *s = context;
    s->seeks++;
    if (s->status != OK)
        return fail(err, s->status, "cannot seek today");
    assert_true(offset <= s->skipping.memory.size);
    s->skipping.memory.position = (size_t)offset;
    return OK;
}

static enum status read_out_of_order(const struct out_of_order *c, struct source payload, const struct buffer *stored,
                                     struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer metadata = metadata_of(c);
    struct memory_source m = {.data = metadata.data, .size = metadata.size};
    CLEANUP(decoder_cleanup) struct decoder *d = NULL;
    static uint8_t part[LARGE];
    TRY(decoder_new(source_over_memory(&m, "x.mpxar"), &payload, &d, err));
    for (;;) {
        struct archive_entry e;
        enum status status = decoder_next(d, &e, err);
        if (status == ERR_CLOSED)
            return OK;
        TRY(status);
        uint64_t wanted = e.kind == ENTRY_FILE ? c->files[e.name[0] - 'a'].read : 0;
        uint64_t at = e.payload_offset + ITEM_HEADER_SIZE;
        for (uint64_t done = 0; done < wanted;) {
            size_t got = 0;
            size_t ask = wanted - done < 70000 ? (size_t)(wanted - done) : 70000;
            status = decoder_content(d, part, ask, &got, err);
            if (status != OK) { /* stays: no second seek */
                struct error again = {0};
                assert_int_equal(decoder_content(d, part, ask, &got, &again), status);
                assert_int_equal(decoder_next(d, &e, &again), status);
                return status;
            }
            assert_true(got > 0);
            assert_memory_equal(part, stored->data + at + done, got);
            done += got;
        }
        if (wanted > 0 && wanted == e.size) {
            size_t got = 1;
            TRY(decoder_content(d, part, 1, &got, err));
            assert_int_equal(got, 0);
        }
    }
}

static const struct out_of_order out_of_order_cases[] = {
    {.files = {{B_AT, 17, 17}, {A_AT, 3, 3}}, .seeks = 1},                                     /* swapped */
    {.files = {{A_AT, 3, 3}, {A_AT, 3, 3}, {A_AT, 3, 1}, {A_AT, 3, 3}}, .seeks = 3},           /* repeated */
    {.files = {{B_AT, 17, 17}, {INSIDE_B_AT, 1, 1}, {B_AT, 17, 17}}, .seeks = 2},              /* overlap */
    {.files = {{LARGE_AT, LARGE, LARGE}, {A_AT, 3, 3}, {LARGE_AT, LARGE, LARGE}}, .seeks = 1}, /* forward */
    {.files = {{LARGE_AT, LARGE, 100}, {LARGE_AT, LARGE, LARGE}, {B_AT, 17, 1}, {A_AT, 3, 3}}, .seeks = 3}, /* parts */
    {.files = {{LARGE_AT, LARGE, 0}, {B_AT, 17, 17}, {A_AT, 3, 0}}}, /* nobody asked: no seek */
    {.files = {{B_AT, 17, 17}, {A_AT, 4, 4}},
     .seeks = 1,
     .status = ERR_FORMAT,
     .sentence = "payload header at payload offset 16 is not that of a file of 4 bytes"},
    {.files = {{B_AT, 17, 17}, {A_AT + 1, 3, 3}},
     .seeks = 1,
     .status = ERR_FORMAT,
     .sentence = "payload header at payload offset 17 is not that of a file of 3 bytes"},
    /* What the archive says of the end is checked from wherever it went back to. */
    {.files = {{LARGE_AT + 1000 * 1000, 5, 0}, {B_AT, 17, 17}, {A_AT, 3, 3}},
     .seeks = 1,
     .status = ERR_FORMAT,
     .sentence = "skipped behind the end"},
    {.files = {{LARGE_AT, LARGE, LARGE}, {A_AT, 3, 3}},
     .seeks = 1,
     .cut = ITEM_HEADER_SIZE,
     .status = ERR_FORMAT,
     .sentence = "no payload tail marker"},
    {.files = {{LARGE_AT, 10, 0}, {B_AT, 17, 17}, {A_AT, 3, 3}},
     .seeks = 1,
     .cut = 1,
     .status = ERR_FORMAT,
     .sentence = "no payload tail marker"},
};

static void test_source_that_seeks_gives_references_in_any_order(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer payload = payload_of_three();
    for (size_t i = 0; i < sizeof out_of_order_cases / sizeof *out_of_order_cases; i++) {
        const struct out_of_order *c = &out_of_order_cases[i];
        struct seeking_source s = {.skipping.memory = {.data = payload.data, .size = payload.size - c->cut}};
        struct source source = {
            .read = read_memory, .skip = skip_memory, .seek = seek_memory, .context = &s, .name = "x.ppxar"};
        struct error err = {0};
        assert_int_equal(read_out_of_order(c, source, &payload, &err), c->status);
        assert_true(!c->sentence || strstr(err.text, c->sentence));
        assert_int_equal(s.seeks, c->seeks);
        assert_true(c->status != OK || s.skipping.memory.position == payload.size);
    }
}

static void test_source_that_cannot_seek_refuses_references_that_go_back(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer payload = payload_of_three();
    for (size_t i = 0; i < sizeof out_of_order_cases / sizeof *out_of_order_cases; i++) {
        const struct out_of_order *c = &out_of_order_cases[i];
        struct seeking_source s = {.skipping.memory = {.data = payload.data, .size = payload.size - c->cut}};
        struct source source = {.read = read_memory, .skip = skip_memory, .context = &s, .name = "x.ppxar"};
        struct error err = {0};
        assert_int_equal(read_out_of_order(c, source, &payload, &err), c->seeks > 0 ? ERR_FORMAT : OK);
        assert_true(c->seeks == 0 || strstr(err.text, ", but the payload was read up to "));
    }
}

static void test_failure_to_seek_is_told(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer payload = payload_of_three();
    static const enum status statuses[] = {ERR_IO, ERR_FORMAT};
    for (size_t i = 0; i < 2; i++) {
        struct seeking_source s = {.skipping.memory = {.data = payload.data, .size = payload.size},
                                   .status = statuses[i]};
        struct source source = {.read = read_memory, .seek = seek_memory, .context = &s, .name = "x.ppxar"};
        struct error err = {0};
        assert_int_equal(read_out_of_order(&out_of_order_cases[0], source, &payload, &err), statuses[i]);
        assert_non_null(strstr(err.text, i == 0 ? "cannot seek today" : "x.ppxar: corrupt at offset 16 in /b: cannot"));
        assert_int_equal(s.seeks, 1);
    }
}

/* ---- one member under a root ---- */

/* A member `m` of the mode, with one item more. */
static enum status decode_item(uint64_t mode, uint64_t type, const void *content, size_t size)
{
    CLEANUP(sketch_deinit) struct sketch s = begin_sketch();
    put_item(&s, PXAR_FILENAME, "m", 2);
    put_entry(&s, mode);
    put_item(&s, type, content, size);
    return end_sketch(&s, 1);
}

static enum status decode_name(const char *name, size_t content_size)
{
    CLEANUP(sketch_deinit) struct sketch s = begin_sketch();
    put_item(&s, PXAR_FILENAME, name, content_size);
    put_entry(&s, 010600);
    return end_sketch(&s, 1);
}

static void test_names_are_checked(void **state)
{
    (void)state;
    static char longest[PXAR_NAME_SIZE_MAX + 2];
    memset(longest, 'n', PXAR_NAME_SIZE_MAX);
    assert_int_equal(decode_name(longest, PXAR_NAME_SIZE_MAX + 1), OK);
    longest[PXAR_NAME_SIZE_MAX] = 'n';
    assert_int_equal(decode_name(longest, PXAR_NAME_SIZE_MAX + 2), ERR_FORMAT);
    assert_int_equal(decode_name("n", 2), OK);
    assert_int_equal(decode_name("n", 1), ERR_FORMAT); /* no terminator */
    assert_int_equal(decode_name("nn", 2), ERR_FORMAT);
    assert_int_equal(decode_name("", 1), ERR_FORMAT);
    assert_int_equal(decode_name("", 0), ERR_FORMAT);
    assert_int_equal(decode_name(".", 2), ERR_FORMAT);
    assert_int_equal(decode_name("..", 3), ERR_FORMAT);
    assert_int_equal(decode_name("a/b", 4), ERR_FORMAT);
    assert_int_equal(decode_name("a\0b", 4), ERR_FORMAT);
}

static void test_sizes_of_items(void **state)
{
    (void)state;
    static uint8_t zeros[70000];
    static const struct {
        uint64_t mode, type;
        size_t smallest, largest;
    } cases[] = {
        {010600, PXAR_XATTR, 1, 65791},           {010600, PXAR_ACL_USER, 16, 16},
        {010600, PXAR_ACL_GROUP, 16, 16},         {010600, PXAR_ACL_GROUP_OBJ, 8, 8},
        {010600, PXAR_ACL_DEFAULT, 32, 32},       {010600, PXAR_ACL_DEFAULT_USER, 16, 16},
        {010600, PXAR_ACL_DEFAULT_GROUP, 16, 16}, {010600, PXAR_FCAPS, 0, 65791},
        {010600, PXAR_QUOTA_PROJID, 8, 8},        {020600, PXAR_DEVICE, 16, 16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t smallest = cases[i].smallest, largest = cases[i].largest;
        assert_int_equal(decode_item(cases[i].mode, cases[i].type, zeros, smallest), OK);
        assert_int_equal(decode_item(cases[i].mode, cases[i].type, zeros, largest), OK);
        assert_int_equal(decode_item(cases[i].mode, cases[i].type, zeros, largest + 1), ERR_FORMAT);
        if (smallest > 0)
            assert_int_equal(decode_item(cases[i].mode, cases[i].type, zeros, smallest - 1), ERR_FORMAT);
    }
    uint8_t reference[17] = {16};
    assert_int_equal(decode_item(0100600, PXAR_PAYLOAD_REF, reference, 16), OK);
    assert_int_equal(decode_item(0100600, PXAR_PAYLOAD_REF, reference, 15), ERR_FORMAT);
    assert_int_equal(decode_item(0100600, PXAR_PAYLOAD_REF, reference, 17), ERR_FORMAT);
    assert_int_equal(decode_item(010600, PXAR_XATTR, "user.k=v", 8), ERR_FORMAT); /* no zero byte */

    /* ENTRY itself, FORMAT_VERSION, and sizes that are less than a header. */
    for (uint64_t size = 0; size < 80; size++) {
        for (size_t at = EXAMPLE_VERSION_AT; at <= EXAMPLE_A_ENTRY_AT; at += EXAMPLE_A_ENTRY_AT) {
            CLEANUP(copy_deinit) struct copy c = copy_of_files();
            bool right = size == (at ? 56 : 24);
            store_u64le(c.metadata.data + at + 8, size);
            assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), right ? OK : ERR_FORMAT);
        }
    }
    static const size_t items[] = {0,
                                   EXAMPLE_PRELUDE_AT,
                                   EXAMPLE_ROOT_AT,
                                   EXAMPLE_A_AT,
                                   EXAMPLE_A_REF_AT,
                                   EXAMPLE_H_LINK_AT,
                                   EXAMPLE_L_LINK_AT,
                                   EXAMPLE_GOODBYE_AT};
    static const uint64_t sizes[] = {0, 15, 1U << 20, UINT64_MAX, UINT64_MAX - 7, INT64_MAX};
    for (size_t i = 0; i < sizeof items / sizeof *items; i++)
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            CLEANUP(copy_deinit) struct copy c = copy_of_files();
            store_u64le(c.metadata.data + items[i] + 8, sizes[k]);
            enum status status = decode_status(&c.metadata, &c.payload, &whole);
            assert_true(status == ERR_FORMAT || (items[i] == EXAMPLE_PRELUDE_AT && status == ERR_LIMIT));
        }
}

static enum status decode_link(const char *content, size_t size)
{
    return decode_item(0120777, PXAR_SYMLINK, content, size);
}

static void test_symlink_targets(void **state)
{
    (void)state;
    static char longest[PXAR_TARGET_SIZE_MAX + 2];
    memset(longest, 't', PXAR_TARGET_SIZE_MAX);
    assert_int_equal(decode_link(longest, PXAR_TARGET_SIZE_MAX + 1), OK);
    longest[PXAR_TARGET_SIZE_MAX] = 't';
    assert_int_equal(decode_link(longest, PXAR_TARGET_SIZE_MAX + 2), ERR_FORMAT);
    assert_int_equal(decode_link("", 1), OK);
    assert_int_equal(decode_link("", 0), ERR_FORMAT);
    assert_int_equal(decode_link("../../x", 8), OK); /* any text, it is the extractor's to care */
    assert_int_equal(decode_link("tt", 2), ERR_FORMAT);
    assert_int_equal(decode_link("t\0t", 4), ERR_FORMAT);
}

static enum status decode_hardlink(uint64_t distance, const char *path, size_t size)
{
    CLEANUP(sketch_deinit) struct sketch s = begin_sketch();
    uint8_t content[8 + PXAR_TARGET_SIZE_MAX + 2] = {0};
    assert_true(size <= sizeof content - 8);
    store_u64le(content, distance);
    if (size > 0)
        memcpy(content + 8, path, size);
    uint8_t reference[16] = {16};
    put_item(&s, PXAR_FILENAME, "a", 2);
    put_entry(&s, 0100600);
    put_item(&s, PXAR_PAYLOAD_REF, reference, 16);
    put_item(&s, PXAR_FILENAME, "b", 2);
    put_item(&s, PXAR_HARDLINK, content, 8 + size);
    return end_sketch(&s, 2);
}

static void test_hardlinks(void **state)
{
    (void)state;
    static char longest[PXAR_TARGET_SIZE_MAX + 2];
    memset(longest, 't', PXAR_TARGET_SIZE_MAX);
    assert_int_equal(decode_hardlink(106, "a", 2), OK);
    assert_int_equal(decode_hardlink(106, longest, PXAR_TARGET_SIZE_MAX + 1), OK);
    longest[PXAR_TARGET_SIZE_MAX] = 't';
    assert_int_equal(decode_hardlink(106, longest, PXAR_TARGET_SIZE_MAX + 2), ERR_FORMAT);
    assert_int_equal(decode_hardlink(0, "a", 2), ERR_FORMAT);
    assert_int_equal(decode_hardlink(186, "a", 2), ERR_FORMAT);
    assert_int_equal(decode_hardlink(UINT64_MAX, "a", 2), ERR_FORMAT);
    assert_int_equal(decode_hardlink(106, "", 0), ERR_FORMAT);
    assert_int_equal(decode_hardlink(106, "aa", 2), ERR_FORMAT);
    assert_int_equal(decode_hardlink(106, "a\0a", 4), ERR_FORMAT);
    static const char *const bad_paths[] = {"", "/a", "a/", "a//b", "../a", "a/../b", "./a", ".."};
    for (size_t i = 0; i < sizeof bad_paths / sizeof *bad_paths; i++)
        assert_int_equal(decode_hardlink(106, bad_paths[i], strlen(bad_paths[i]) + 1), ERR_FORMAT);
    assert_int_equal(decode_hardlink(106, "d/e/f", 6), OK);
    /* After ENTRY instead of right after FILENAME. */
    assert_int_equal(decode_item(0100600, PXAR_HARDLINK, "\1\0\0\0\0\0\0\0a", 10), ERR_FORMAT);
}

static void test_kind_agrees_with_mode(void **state)
{
    (void)state;
    static const uint64_t modes[] = {0100600, 0120600, 020600, 060600, 010600, 0140600, 0, 0150000, 0170000};
    static const uint8_t reference[16] = {16}, device[16] = {1};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        assert_int_equal(decode_item(modes[i], PXAR_PAYLOAD_REF, reference, 16), i == 0 ? OK : ERR_FORMAT);
        assert_int_equal(decode_item(modes[i], PXAR_SYMLINK, "t", 2), i == 1 ? OK : ERR_FORMAT);
        assert_int_equal(decode_item(modes[i], PXAR_DEVICE, device, 16), i == 2 || i == 3 ? OK : ERR_FORMAT);
        CLEANUP(sketch_deinit) struct sketch s = begin_sketch();
        put_item(&s, PXAR_FILENAME, "m", 2);
        put_entry(&s, modes[i]);
        assert_int_equal(end_sketch(&s, 1), i == 4 || i == 5 ? OK : ERR_FORMAT);
    }
    /* The root is a directory. */
    CLEANUP(copy_deinit) struct copy c = copy_of_files();
    store_u64le(c.metadata.data + EXAMPLE_ROOT_AT + 16, 0100755);
    assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), ERR_FORMAT);
    /* Contents are in the payload stream, never here. */
    assert_int_equal(decode_item(0100600, PXAR_PAYLOAD, "text", 4), ERR_FORMAT);
    assert_int_equal(decode_item(0100600, PXAR_PAYLOAD_START_MARKER, "", 0), ERR_FORMAT);
    assert_int_equal(decode_item(0100600, 0x1122334455667788, "text", 4), ERR_FORMAT);
}

static void test_attributes_in_any_order_but_single_ones_once(void **state)
{
    (void)state;
    static const uint64_t order[] = {PXAR_QUOTA_PROJID,      PXAR_XATTR,
                                     PXAR_ACL_DEFAULT_GROUP, PXAR_FCAPS,
                                     PXAR_ACL_USER,          PXAR_ACL_GROUP,
                                     PXAR_ACL_DEFAULT,       PXAR_XATTR,
                                     PXAR_ACL_USER,          PXAR_ACL_DEFAULT_USER,
                                     PXAR_ACL_GROUP_OBJ};
    uint8_t content[32] = {'k', 0, 'v', 0, 0, 0, 0, 0, 6};
    CLEANUP(sketch_deinit) struct sketch s = begin_sketch();
    put_item(&s, PXAR_FILENAME, "m", 2);
    put_entry(&s, 010600);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        put_item(&s, order[i], content, order[i] == PXAR_XATTR ? 3 : (size_t)item_kind_of(order[i])->content_min);
    size_t end = s.bytes.size;
    assert_int_equal(end_sketch(&s, 1), OK);

    struct memory_source m = {.data = s.bytes.data, .size = s.bytes.size};
    CLEANUP(decoder_cleanup) struct decoder *d = NULL;
    struct archive_entry e;
    assert_int_equal(decoder_new(source_over_memory(&m, "m"), NULL, &d, NULL), OK);
    assert_int_equal(decoder_next(d, &e, NULL), OK);
    assert_null(e.attributes.extras);
    assert_int_equal(decoder_next(d, &e, NULL), OK);
    const struct attribute_extras *x = e.attributes.extras;
    assert_non_null(x);
    assert_int_equal(x->xattr_count, 2);
    assert_string_equal(x->xattrs[1].name, "k");
    assert_int_equal(x->xattrs[1].value_size, 1);
    assert_int_equal(x->xattrs[1].value[0], 'v');
    assert_int_equal(x->users.count, 2);
    assert_int_equal(x->users.entries[0].perm, 6);
    assert_int_equal(x->groups.count, 1);
    assert_int_equal(x->default_users.count, 1);
    assert_int_equal(x->default_groups.count, 1);
    assert_true(x->has_group_obj && x->has_default && x->has_fcaps && x->has_project_id);
    assert_int_equal(x->acl_default.group_obj, 6);
    assert_int_equal(x->fcaps_size, 0);
    assert_int_equal(x->project_id, 'k' + 'v' * 65536);
    assert_int_equal(decoder_next(d, &e, NULL), OK);
    assert_null(e.attributes.extras);

    static const uint64_t single[] = {PXAR_QUOTA_PROJID, PXAR_FCAPS, PXAR_ACL_DEFAULT, PXAR_ACL_GROUP_OBJ};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
        s.bytes.size = end;
        put_item(&s, single[i], content, (size_t)item_kind_of(single[i])->content_min);
        assert_int_equal(end_sketch(&s, 1), ERR_FORMAT);
    }
}

static void test_old_entries_are_read(void **state)
{
    (void)state;
    CLEANUP(sketch_deinit) struct sketch s = begin_sketch();
    uint8_t entry[32] = {0};
    store_u64le(entry, 010600);
    store_u64le(entry + 24, 1430487000000000000);
    put_item(&s, PXAR_FILENAME, "m", 2);
    put_item(&s, PXAR_ENTRY_V1, entry, 32);
    size_t end = s.bytes.size;
    assert_int_equal(end_sketch(&s, 1), OK);
    struct memory_source m = {.data = s.bytes.data, .size = s.bytes.size};
    CLEANUP(decoder_cleanup) struct decoder *d = NULL;
    struct archive_entry e;
    assert_int_equal(decoder_new(source_over_memory(&m, "m"), NULL, &d, NULL), OK);
    assert_int_equal(decoder_next(d, &e, NULL), OK);
    assert_int_equal(decoder_next(d, &e, NULL), OK);
    assert_int_equal(e.attributes.stat.mtime_secs, 1430487000);
    assert_int_equal(e.attributes.stat.mtime_nanos, 0);
    s.bytes.size = end - 48;
    put_item(&s, PXAR_ENTRY_V1, entry, 31);
    assert_int_equal(end_sketch(&s, 1), ERR_FORMAT);
}

static void test_nanoseconds_are_checked(void **state)
{
    (void)state;
    CLEANUP(copy_deinit) struct copy c = copy_of_files();
    store_u32le(c.metadata.data + EXAMPLE_A_ENTRY_AT + 16 + 32, 999999999);
    assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), OK);
    store_u32le(c.metadata.data + EXAMPLE_A_ENTRY_AT + 16 + 32, 1000000000);
    assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), ERR_FORMAT);
    store_u32le(c.metadata.data + EXAMPLE_A_ENTRY_AT + 16 + 32, 5);
    store_u32le(c.metadata.data + EXAMPLE_A_ENTRY_AT + 16 + 36, 1); /* reserved: ignored */
    assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), OK);
}

static void test_goodbye_tables_are_checked(void **state)
{
    (void)state;
    /* Rows too few, too many, a part of a row. */
    for (int64_t change = -24; change <= 24; change += 12) {
        CLEANUP(copy_deinit) struct copy c = copy_of_files();
        uint64_t size = (uint64_t)(136 + change);
        uint8_t more[24] = {0};
        if (change > 0)
            insert(&c.metadata, EXAMPLE_GOODBYE_AT + 16, more, (size_t)change);
        else
            cut(&c.metadata, EXAMPLE_GOODBYE_AT + 16, (size_t)-change);
        store_u64le(c.metadata.data + EXAMPLE_GOODBYE_AT + 8, size);
        store_u64le(c.metadata.data + c.metadata.size - 8, size);
        assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), change == 0 ? OK : ERR_FORMAT);
    }
    for (size_t field = 1; field <= 3; field++) {
        CLEANUP(copy_deinit) struct copy c = copy_of_files();
        c.metadata.data[c.metadata.size - 8 * field] ^= 1;
        assert_int_equal(decode_status(&c.metadata, &c.payload, &whole), ERR_FORMAT);
    }
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    CLEANUP(sketch_deinit) struct sketch s = begin_sketch();
    for (int i = 0; i < PXAR_DEPTH_MAX; i++) {
        put_item(&s, PXAR_FILENAME, "d", 2);
        put_entry(&s, 040700);
    }
    assert_int_equal(end_sketch(&s, 1), ERR_LIMIT);
}

static void test_failure_is_repeated(void **state)
{
    (void)state;
    struct memory_source m = {.data = files_metadata.data, .size = EXAMPLE_A_REF_AT};
    CLEANUP(decoder_cleanup) struct decoder *d = NULL;
    struct archive_entry e;
    struct error first = {0}, second = {0};
    assert_int_equal(decoder_new(source_over_memory(&m, "m"), NULL, &d, NULL), OK);
    assert_int_equal(decoder_next(d, &e, NULL), OK);
    assert_int_equal(decoder_next(d, &e, &first), ERR_FORMAT);
    assert_int_equal(decoder_next(d, &e, &second), ERR_FORMAT);
    assert_string_equal(first.text, second.text);
    assert_int_equal(first.status, ERR_FORMAT);
}

static void test_errors_name_offset_and_path(void **state)
{
    (void)state;
    CLEANUP(copy_deinit) struct copy c = copy_of_files();
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
    struct error err = {0};
    c.metadata.data[EXAMPLE_L_LINK_AT]++;
    assert_int_equal(decode(&c.metadata, &c.payload, &whole, &text, &err), ERR_FORMAT);
    assert_string_equal(err.text, "x.mpxar: corrupt at offset 348 in /l: unknown item type 27f971e7dbf5dc60");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_the_example_whole_and_in_pieces),
        cmocka_unit_test(test_prelude),
        cmocka_unit_test(test_lone_metadata_is_listed_but_gives_no_contents),
        cmocka_unit_test(test_truncated_anywhere_is_an_error),
        cmocka_unit_test(test_bytes_behind_the_end_are_an_error),
        cmocka_unit_test(test_mutated_bytes_never_crash),
        cmocka_unit_test(test_other_streams_are_told_apart),
        cmocka_unit_test(test_misplaced_version_and_prelude),
        cmocka_unit_test(test_payload_start_and_headers_are_checked),
        cmocka_unit_test(test_foreign_bytes_between_files),
        cmocka_unit_test(test_references_are_checked),
        cmocka_unit_test(test_backward_reference_is_named_as_such),
        cmocka_unit_test(test_large_gaps_are_skipped_not_read),
        cmocka_unit_test(test_source_that_seeks_gives_references_in_any_order),
        cmocka_unit_test(test_source_that_cannot_seek_refuses_references_that_go_back),
        cmocka_unit_test(test_failure_to_seek_is_told),
        cmocka_unit_test(test_names_are_checked),
        cmocka_unit_test(test_sizes_of_items),
        cmocka_unit_test(test_symlink_targets),
        cmocka_unit_test(test_hardlinks),
        cmocka_unit_test(test_kind_agrees_with_mode),
        cmocka_unit_test(test_attributes_in_any_order_but_single_ones_once),
        cmocka_unit_test(test_old_entries_are_read),
        cmocka_unit_test(test_nanoseconds_are_checked),
        cmocka_unit_test(test_goodbye_tables_are_checked),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_failure_is_repeated),
        cmocka_unit_test(test_errors_name_offset_and_path),
    };
    return cmocka_run_group_tests(tests, make_examples, drop_examples);
}
