/* What the tests of the decoder share: archives fed in pieces and described as text, and sketches of archives made item
 * by item. Include testing/testing.h first. Tests only. */
#ifndef PXB_PXAR_DECODER_FOR_TEST_H
#define PXB_PXAR_DECODER_FOR_TEST_H

#include "pxar/decoder.h"
#include "pxar/examples_for_test.h"

static inline void decoder_cleanup(struct decoder **d)
{
    decoder_free(*d);
}

/* How an archive is fed, and whether contents are asked for. `no_payload`: a unified archive, or metadata alone. */
struct feed {
    size_t piece; /* 0: random */
    bool no_payload;
    bool skip_contents;
};
UNUSED static const struct feed whole = {.piece = SIZE_MAX};

static inline enum status read_contents(struct decoder *d, struct buffer *text, struct error *err)
{
    TRY(buffer_append_u8(text, '"', err));
    for (;;) {
        uint8_t part[7];
        size_t size = 0;
        TRY(decoder_content(d, part, sizeof part, &size, err));
        if (size == 0)
            return buffer_append_u8(text, '"', err);
        TRY(buffer_append(text, part, size, err));
    }
}

/* One line per entry, everything that is told of it; to the end of the archive. */
static inline enum status describe(struct decoder *d, const struct feed *feed, struct buffer *text, struct error *err)
{
    for (;;) {
        struct archive_entry e;
        enum status status = decoder_next(d, &e, err);
        if (status == ERR_CLOSED)
            return OK;
        TRY(status);
        const struct stat_record *st = &e.attributes.stat;
        assert_int_equal(strlen(e.name), e.name_size);
        TRY(buffer_printf(text, err, "%d %s [%s] %zu mode %llo flags %llx %u:%u time %lld.%09u at %llu %llu", e.kind,
                          e.path, e.name, e.depth, (unsigned long long)st->mode, (unsigned long long)st->flags, st->uid,
                          st->gid, (long long)st->mtime_secs, st->mtime_nanos, (unsigned long long)e.filename_offset,
                          (unsigned long long)e.entry_offset));
        if (e.target) {
            assert_int_equal(strlen(e.target), e.target_size);
            TRY(buffer_printf(text, err, " -> %s", e.target));
        }
        TRY(buffer_printf(text, err, " distance %llu dev %llu:%llu", (unsigned long long)e.link_distance,
                          (unsigned long long)e.major, (unsigned long long)e.minor));
        const struct attribute_extras *x = e.attributes.extras;
        for (size_t i = 0; x && i < x->xattr_count; i++)
            TRY(buffer_printf(text, err, " %s=%.*s", x->xattrs[i].name, (int)x->xattrs[i].value_size,
                              (const char *)x->xattrs[i].value));
        if (e.kind == ENTRY_FILE) {
            TRY(buffer_printf(text, err, " %llu bytes at %llu ", (unsigned long long)e.size,
                              (unsigned long long)(decoder_version(d) == 1 ? e.content_offset : e.payload_offset)));
            assert_int_equal(decoder_version(d) == 1 ? e.payload_offset : e.content_offset, 0);
            if ((!feed->no_payload || decoder_version(d) == 1) && !feed->skip_contents)
                TRY(read_contents(d, text, err));
        }
        TRY(buffer_append_u8(text, '\n', err));
    }
}

static inline enum status decode(const struct buffer *metadata, const struct buffer *payload, const struct feed *feed,
                                 struct buffer *text, struct error *err)
{
    struct piece_source m = {.data = metadata->data, .size = metadata->size, .piece = feed->piece, .random = 3};
    struct piece_source p = {.data = payload->data, .size = payload->size, .piece = feed->piece, .random = 4};
    struct source payload_source = source_over_pieces(&p, "x.ppxar");
    CLEANUP(decoder_cleanup) struct decoder *d = NULL;
    TRY(decoder_new(source_over_pieces(&m, "x.mpxar"), feed->no_payload ? NULL : &payload_source, &d, err));
    TRY(describe(d, feed, text, err));
    assert_int_equal(decoder_metadata_position(d), metadata->size);
    struct archive_entry after;
    assert_int_equal(decoder_next(d, &after, err), ERR_CLOSED);
    return OK;
}

static inline enum status decode_status(const struct buffer *metadata, const struct buffer *payload,
                                        const struct feed *feed)
{
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
    struct error err = {0};
    enum status status = decode(metadata, payload, feed, &text, &err);
    assert_int_equal(status, err.status);
    assert_true(status == OK || strlen(err.text) > 10);
    return status;
}

/* Builds version (split), root, the given items and a goodbye table for `members`, and decodes it without payload. */
struct sketch {
    struct buffer bytes;
};

static inline void sketch_deinit(struct sketch *s)
{
    buffer_deinit(&s->bytes);
}

static inline void put_item(struct sketch *s, uint64_t type, const void *content, size_t size)
{
    assert_int_equal(item_append_header(&s->bytes, type, size, NULL), OK);
    assert_int_equal(buffer_append(&s->bytes, content, size, NULL), OK);
}

static inline void put_entry(struct sketch *s, uint64_t mode)
{
    struct attributes a = {.stat = {.mode = mode}};
    assert_int_equal(item_append_attributes(&s->bytes, &a, NULL), OK);
}

static inline struct sketch begin_sketch(void)
{
    struct sketch s = {0};
    uint8_t version[8] = {2};
    put_item(&s, PXAR_FORMAT_VERSION, version, 8);
    put_entry(&s, 040755);
    return s;
}

static inline struct sketch begin_unified_sketch(void)
{
    struct sketch s = {0};
    put_entry(&s, 040755);
    return s;
}

static inline enum status end_sketch(struct sketch *s, size_t members)
{
    uint64_t at = s->bytes.size;
    assert_int_equal(item_append_header(&s->bytes, PXAR_GOODBYE, 24 * (members + 1), NULL), OK);
    assert_int_equal(buffer_append_zeros(&s->bytes, 24 * members, NULL), OK);
    assert_int_equal(buffer_append_u64le(&s->bytes, PXAR_GOODBYE_TAIL_MARKER, NULL), OK);
    assert_int_equal(buffer_append_u64le(&s->bytes, at, NULL), OK);
    assert_int_equal(buffer_append_u64le(&s->bytes, 16 + 24 * (members + 1), NULL), OK);
    struct feed lone = {.piece = SIZE_MAX, .no_payload = true};
    return decode_status(&s->bytes, &s->bytes, &lone);
}

#endif
