/* The worked examples of bench/spec/change-detection.md 14, in both profiles: files are one repeated byte in a flat
 * directory; look-ahead cache, encoder position and payload cutter run together, digests are real. */
#include "testing/testing.h"

#include "base/slab.h"
#include "chunk/digest.h"
#include "chunk/payload_cutter.h"
#include "detect/lookahead.h"
#include "pxar/item.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FILES_MAX = 1024, ENTRIES_MAX = 4096, ORDERS_MAX = 256 };

struct file {
    uint64_t size;
    uint8_t value;
    uint64_t old_offset; /* in the reference; 0: changed or new */
};

struct order {
    uint64_t boundary, size;
    size_t count;
};

/* One run: what goes in, what came out. */
struct simulation {
    const struct dynamic_index *reference;
    size_t average;
    uint64_t position;
    struct payload_cutter *cutter;
    uint8_t *stream; /* raw bytes written so far; large enough from the start, so that views stay valid */
    size_t written, cut;
    struct reuse_chunk waiting[ENTRIES_MAX]; /* injected, not yet applied by the cutter */
    size_t waiting_order[ORDERS_MAX];
    size_t orders_applied;

    struct index_entry entries[ENTRIES_MAX];
    size_t entry_count;
    uint64_t refs[FILES_MAX];
    uint64_t suggestions[FILES_MAX];
    size_t suggestion_count;
    struct order orders[ORDERS_MAX];
    size_t order_count;
    size_t chunks_waiting, chunks_applied;
    uint64_t reused_files, reused_bytes, reencoded_files, reencoded_bytes;
    struct lookahead_counters counters;
    const struct file *files;
};

static struct error error;
#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        if ((call) != OK) {                                                                                            \
            print_error("%s\n", error.text);                                                                           \
            assert_true(false);                                                                                        \
        }                                                                                                              \
    } while (0)

static void take_cuts(struct simulation *s)
{
    for (;;) {
        struct cut cut;
        MUST(payload_cutter_next(s->cutter, &cut, &error));
        if (cut.kind == CUT_MORE)
            return;
        uint64_t end = s->entry_count ? s->entries[s->entry_count - 1].end : 0;
        assert_true(s->entry_count < ENTRIES_MAX);
        if (cut.kind == CUT_RAW) {
            struct index_entry *e = &s->entries[s->entry_count++];
            e->end = end + cut.size;
            digest_of(s->stream + s->cut, (size_t)cut.size, &e->digest);
            s->cut += (size_t)cut.size;
            continue;
        }
        size_t count = s->waiting_order[s->orders_applied++];
        for (size_t i = 0; i < count; i++) {
            const struct reuse_chunk *chunk = &s->waiting[s->chunks_applied++];
            end += chunk->size;
            s->entries[s->entry_count++] =
                (struct index_entry){.end = end, .digest = s->reference->entries[chunk->entry].digest};
        }
    }
}

static void write_bytes(struct simulation *s, const uint8_t *data, size_t size)
{
    memcpy(s->stream + s->written, data, size);
    MUST(payload_cutter_write(s->cutter, s->stream + s->written, size, true, &error));
    s->written += size;
    take_cuts(s);
}

static void write_header(struct simulation *s, uint64_t type, uint64_t content_size)
{
    uint8_t header[ITEM_HEADER_SIZE];
    store_u64le(header, type);
    store_u64le(header + 8, content_size + ITEM_HEADER_SIZE);
    write_bytes(s, header, sizeof header);
}

static void suggest(struct simulation *s)
{
    s->suggestions[s->suggestion_count++] = s->position;
    MUST(payload_cutter_suggest(s->cutter, s->position, &error));
}

static enum status on_encode(void *context, void *entry, enum file_reason reason, struct error *err)
{
    (void)err;
    (void)reason;
    struct simulation *s = context;
    const struct file *f = entry;
    suggest(s);
    s->refs[f - s->files] = s->position;
    write_header(s, PXAR_PAYLOAD, f->size);
    for (uint64_t left = f->size; left > 0;) {
        size_t block = left < (4 << 20) ? (size_t)left : 4 << 20;
        uint8_t *bytes = make_constant(block, f->value);
        write_bytes(s, bytes, block);
        free(bytes);
        left -= block;
    }
    s->position += f->size + ITEM_HEADER_SIZE;
    s->reencoded_files++;
    s->reencoded_bytes += f->size + ITEM_HEADER_SIZE;
    return OK;
}

static enum status on_reference(void *context, void *entry, uint64_t offset, uint64_t old_offset, struct error *err)
{
    (void)err;
    struct simulation *s = context;
    const struct file *f = entry;
    assert_int_equal(old_offset, f->old_offset);
    assert_true(offset >= s->position);
    suggest(s);
    s->refs[f - s->files] = offset;
    s->reused_files++;
    s->reused_bytes += f->size + ITEM_HEADER_SIZE;
    return OK;
}

static enum status on_inject(void *context, uint64_t boundary, const struct reuse_chunk *chunks, size_t count,
                             uint64_t size, struct error *err)
{
    (void)err;
    struct simulation *s = context;
    assert_int_equal(boundary, s->position);
    memcpy(s->waiting + s->chunks_waiting, chunks, count * sizeof *chunks);
    s->chunks_waiting += count;
    s->waiting_order[s->order_count] = count;
    s->orders[s->order_count++] = (struct order){boundary, size, count};
    MUST(payload_cutter_order(s->cutter, boundary, size, &error));
    s->position += size;
    take_cuts(s);
    return OK;
}

static uint64_t on_position(void *context)
{
    return ((struct simulation *)context)->position;
}
static enum status unexpected(void *context, void *entry, struct error *err)
{
    (void)context;
    (void)entry;
    return fail(err, ERR_USAGE, "unexpected call");
}
static bool never_ready(void *context, const void *entry)
{
    (void)context;
    (void)entry;
    return false;
}
static enum status unexpected_end(void *context, struct error *err)
{
    (void)context;
    return fail(err, ERR_USAGE, "unexpected call");
}
static void no_drop(void *context, void *entry)
{
    (void)context;
    (void)entry;
}

static const struct lookahead_ops ops = {
    .encode = on_encode,
    .reference = on_reference,
    .link = unexpected,
    .link_ready = never_ready,
    .special = unexpected,
    .directory_begin = unexpected,
    .directory_end = unexpected_end,
    .inject = on_inject,
    .payload_position = on_position,
    .drop = no_drop,
};

/* `reference` NULL: mode data. */
static struct simulation *simulate(const struct file *files, size_t count, const struct dynamic_index *reference,
                                   enum reuse_profile profile, size_t average, size_t cache_limit)
{
    struct simulation *s = calloc(1, sizeof *s);
    assert_non_null(s);
    size_t total = 64;
    for (size_t i = 0; i < count; i++)
        total += (size_t)files[i].size + 16;
    s->stream = malloc(total);
    assert_non_null(s->stream);
    s->reference = reference;
    s->average = average;
    s->files = files;
    MUST(payload_cutter_new(average, 0, &s->cutter, &error));
    struct lookahead_options options = {
        .profile = profile, .threshold_ppm = THRESHOLD_DEFAULT_PPM, .cache_limit = cache_limit};
    struct lookahead *l;
    MUST(lookahead_new(&options, reference, &ops, s, &l, &error));
    write_header(s, PXAR_PAYLOAD_START_MARKER, 0);
    s->position = 16;
    for (size_t i = 0; i < count; i++) {
        void *entry = (void *)(uintptr_t)&files[i];
        if (reference && files[i].old_offset)
            MUST(lookahead_reusable(l, entry, files[i].old_offset, files[i].old_offset + 16 + files[i].size, &error));
        else
            MUST(lookahead_changed(l, entry, 0, FILE_MTIME, 0, &error));
    }
    MUST(lookahead_finish(l, &error));
    s->counters = *lookahead_count(l);
    lookahead_free(l);
    write_header(s, PXAR_PAYLOAD_TAIL_MARKER, 0);
    MUST(payload_cutter_end(s->cutter, &error));
    take_cuts(s);
    payload_cutter_free(s->cutter);
    assert_int_equal(s->cut, s->written);
    assert_int_equal(s->entries[s->entry_count - 1].end, s->position + 16);
    free(s->stream);
    s->stream = NULL;
    return s;
}

static struct dynamic_index index_of(struct simulation *s)
{
    return (struct dynamic_index){.entries = s->entries, .count = s->entry_count};
}

static void check_csum(struct simulation *s, const char *expected)
{
    struct dynamic_index index = index_of(s);
    struct digest csum;
    char text[DIGEST_TEXT_SIZE];
    dynamic_index_csum(&index, &csum);
    assert_string_equal(digest_text(&csum, text), expected);
}

static void check_ends(const struct simulation *s, const uint64_t *ends, size_t count)
{
    assert_int_equal(s->entry_count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(s->entries[i].end, ends[i]);
}

static void check_digest(const struct simulation *s, size_t entry, const char *prefix)
{
    char text[DIGEST_TEXT_SIZE];
    assert_memory_equal(digest_text(&s->entries[entry].digest, text), prefix, strlen(prefix));
}

static void check_orders(const struct simulation *s, const struct order *orders, size_t count)
{
    assert_int_equal(s->order_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(s->orders[i].boundary, orders[i].boundary);
        assert_int_equal(s->orders[i].count, orders[i].count);
        if (orders[i].size)
            assert_int_equal(s->orders[i].size, orders[i].size);
    }
}

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define CHECK_ENDS(s, ...)                                                                                             \
    do {                                                                                                               \
        static const uint64_t ends_[] = {__VA_ARGS__};                                                                 \
        check_ends(s, ends_, COUNT(ends_));                                                                            \
    } while (0)
#define CHECK_REFS(s, ...)                                                                                             \
    do {                                                                                                               \
        static const uint64_t refs_[] = {__VA_ARGS__};                                                                 \
        for (size_t i_ = 0; i_ < COUNT(refs_); i_++)                                                                   \
            assert_int_equal((s)->refs[i_], refs_[i_]);                                                                \
    } while (0)
#define CHECK_ORDERS(s, ...)                                                                                           \
    do {                                                                                                               \
        static const struct order orders_[] = {__VA_ARGS__};                                                           \
        check_orders(s, orders_, COUNT(orders_));                                                                      \
    } while (0)

enum { MIB4 = 4 << 20, KIB64 = 64 << 10, LIMIT = 65536 };

static const struct file three_chunks[] = {
    {12000000, 0x61, 16},       {300000, 0x62, 12000032}, {500000, 0x63, 12300048},
    {11000000, 0x64, 12800064}, {400000, 0x65, 23800080},
};

static struct simulation *reference_14_1(void)
{
    struct simulation *s = simulate(three_chunks, 5, NULL, PROFILE_TIGHT, MIB4, LIMIT);
    CHECK_ENDS(s, 12000032, 23800080, 24200112);
    check_digest(s, 0, "4f11233d844053cebcb79287016af4ba1c0dddb5fe5d682da92a66f5156ee39e");
    check_digest(s, 1, "5aca1869f77c4d04d5a88936a294846960c32e076dcdb32de8bb1b6d7d84f746");
    check_digest(s, 2, "6823de6f2cca24f0801b9b11041acd2af3dcf9b79189ed16853ded8b5f834a2c");
    check_csum(s, "5ee482bb538100190ea89c38d88abb40f1c1da5b8726e40e4b5eb2d41f03c1bf");
    CHECK_REFS(s, 16, 12000032, 12300048, 12800064, 23800080);
    return s;
}

static void run_14_1(enum reuse_profile profile)
{
    struct simulation *reference = reference_14_1();
    struct dynamic_index index = index_of(reference);
    static const struct file changed[] = {
        {12000000, 0x61, 16},       {310000, 0x42, 0}, {500000, 0x63, 12300048},
        {11000000, 0x64, 12800064}, {400500, 0x45, 0},
    };
    struct simulation *s = simulate(changed, 5, &index, profile, MIB4, LIMIT);
    if (profile == PROFILE_TIGHT) {
        CHECK_ENDS(s, 16, 12000048, 12310064, 24110112, 24510644);
        CHECK_REFS(s, 32, 12000048, 12610080, 13110096, 24110112);
        CHECK_ORDERS(s, {16, 12000032, 1}, {12310064, 11800048, 1});
        check_csum(s, "2a76e335ab9c1eaed35e156580aa33c103d18ce9a84a66d1038a7d854c5e12ef");
        check_digest(s, 0, "c3aef320d932bc67b7e919943a7ecac2c743d1af285f1d912d6f3f4a647f60a5");
        static const uint64_t suggestions[] = {16, 12000048, 12310064, 12310064, 24110112};
        assert_memory_equal(s->suggestions, suggestions, sizeof suggestions);
        assert_int_equal(s->reused_files, 3);
        assert_int_equal(s->reencoded_bytes, 310016 + 400516);
        assert_int_equal(s->counters.injected_bytes - s->reused_bytes, 300032); /* 293 KiB */
        assert_int_equal(s->counters.unreferenced_chunks, 0);
    } else {
        CHECK_ENDS(s, 12000032, 12310048, 24110096, 24510128, 24910660);
        CHECK_REFS(s, 16, 12000032, 12610064, 13110080, 24510128);
        CHECK_ORDERS(s, {12310048, 12200080, 2});
        check_csum(s, "baad488c24c9b6806d99e20d1ad918df1ba82750a7e3404f57e69bb15ab13311");
        check_digest(s, 4, "0ad91f511c18a99e37f428780d76b2bd72210a36bc3cef98a7e0ad8541cda417");
        static const uint64_t suggestions[] = {16, 12000032, 12310048, 12310048, 24510128};
        assert_memory_equal(s->suggestions, suggestions, sizeof suggestions);
        assert_int_equal(s->reused_files, 2);
        assert_int_equal(s->counters.injected_bytes - s->reused_bytes, 700048); /* 683.641 KiB */
    }
    assert_int_equal(s->counters.partial_chunks, 2);
    check_digest(s, profile == PROFILE_TIGHT ? 2 : 1,
                 "18ccd64ffca7c34d5d406153a59615746810e5298d23a1614e804ea7bfb2479a");
    free(s);
    free(reference);
}

static void test_14_1_tight(void **state)
{
    (void)state;
    run_14_1(PROFILE_TIGHT);
}
static void test_14_1_upstream(void **state)
{
    (void)state;
    run_14_1(PROFILE_UPSTREAM);
}

static void test_14_2_nothing_changed_three_generations(void **state)
{
    (void)state;
    for (int profile = PROFILE_TIGHT; profile <= PROFILE_UPSTREAM; profile++) {
        struct simulation *first = reference_14_1();
        struct dynamic_index index = index_of(first);
        struct simulation *second = simulate(three_chunks, 5, &index, (enum reuse_profile)profile, MIB4, LIMIT);
        CHECK_ENDS(second, 16, 12000048, 23800096, 24200128, 24200144);
        CHECK_REFS(second, 32, 12000048, 12300064, 12800080, 23800096);
        CHECK_ORDERS(second, {16, 24200112, 3});
        check_csum(second, "72bd7e6eaca8df1bf161970dac6ec68735736dff3343920c666340aefea6ddae");
        check_digest(second, 4, "d0947d64cf10fd8e368128d3f5b4c33a4926b2887d9950b5c3d43e5e32835a07");
        struct file again[5];
        memcpy(again, three_chunks, sizeof again);
        for (size_t i = 0; i < 5; i++)
            again[i].old_offset = second->refs[i];
        index = index_of(second);
        struct simulation *third = simulate(again, 5, &index, (enum reuse_profile)profile, MIB4, LIMIT);
        check_csum(third, "72bd7e6eaca8df1bf161970dac6ec68735736dff3343920c666340aefea6ddae");
        assert_int_equal(third->counters.injected_bytes - third->reused_bytes, 32);
        free(third);
        free(second);
        free(first);
    }
}

static const struct file small_tree[] = {
    {250000, 0x41, 16},      {250000, 0x42, 250032},  {250000, 0x43, 500048},  {250000, 0x44, 750064},
    {250000, 0x45, 1000080}, {250000, 0x46, 1250096}, {250000, 0x47, 1500112}, {250000, 0x48, 1750128},
    {6000, 0x62, 2000144},   {3000, 0x63, 2006160},   {4000, 0x64, 2009176},   {120000, 0x65, 2013192},
};

static struct simulation *reference_14_3(void)
{
    struct simulation *s = simulate(small_tree, 12, NULL, PROFILE_TIGHT, KIB64, LIMIT);
    CHECK_ENDS(s, 250032, 500048, 750064, 1000080, 1250096, 1500112, 1750128, 2000144, 2133224);
    for (size_t i = 0; i < 12; i++)
        assert_int_equal(s->refs[i], small_tree[i].old_offset);
    return s;
}

static void test_14_3_hole_inside_a_held_chunk(void **state)
{
    (void)state;
    struct simulation *reference = reference_14_3();
    struct dynamic_index index = index_of(reference);
    struct file without_c[11];
    memcpy(without_c, small_tree, 9 * sizeof *without_c);
    memcpy(without_c + 9, small_tree + 10, 2 * sizeof *without_c);
    for (int profile = PROFILE_TIGHT; profile <= PROFILE_UPSTREAM; profile++) {
        struct simulation *s = simulate(without_c, 11, &index, (enum reuse_profile)profile, KIB64, LIMIT);
        CHECK_REFS(s, 32, 250048, 500064, 750080, 1000096, 1250112, 1500128, 1750144, 2000160, 2009192, 2013208);
        CHECK_ENDS(s, 16, 250048, 500064, 750080, 1000096, 1250112, 1500128, 1750144, 2000160, 2133240, 2133256);
        CHECK_ORDERS(s, {16, 2000144, 8}, {2000160, 133080, 1});
        check_csum(s, "301b5bd2a4f68795a40d78bb96358b502986c4c5b9e143d390c2eaeae4aad56c");
        assert_int_equal(s->counters.injected_bytes - s->reused_bytes, 3048);
        free(s);
    }
    free(reference);
}

static void test_14_4_cache_limit_4(void **state)
{
    (void)state;
    struct simulation *reference = reference_14_3();
    struct dynamic_index index = index_of(reference);
    struct simulation *tight = simulate(small_tree, 12, &index, PROFILE_TIGHT, KIB64, 4);
    CHECK_ORDERS(tight, {16, 750064, 3}, {750080, 250016, 1}, {1000096, 750048, 3}, {1750144, 250016, 1},
                 {2000160, 133080, 1});
    CHECK_ENDS(tight, 16, 250048, 500064, 750080, 1000096, 1250112, 1500128, 1750144, 2000160, 2133240, 2133256);
    assert_int_equal(tight->reencoded_files, 0);
    struct simulation *unlimited = simulate(small_tree, 12, &index, PROFILE_TIGHT, KIB64, LIMIT);
    assert_int_equal(tight->entry_count, unlimited->entry_count);
    assert_memory_equal(tight->entries, unlimited->entries, tight->entry_count * sizeof *tight->entries);
    struct simulation *upstream = simulate(small_tree, 12, &index, PROFILE_UPSTREAM, KIB64, 4);
    assert_int_equal(upstream->reencoded_files, 8); /* a0..a7 */
    assert_int_equal(upstream->reused_files, 4);    /* b..e */
    assert_int_equal(upstream->counters.rejected_ranges, 2);
    free(upstream);
    free(unlimited);
    free(tight);
    free(reference);
}

/* The index is given: 100 chunks, one per file; the client itself would lose suggestions here (D10). */
static void test_14_5_hundred_equal_files(void **state)
{
    (void)state;
    enum { FILES = 100, SIZE = 1048576, BLOCK = SIZE + 16 };
    struct file files[FILES];
    for (uint64_t i = 0; i < FILES; i++)
        files[i] = (struct file){SIZE, 0, 16 + BLOCK * i};
    struct simulation *reference = simulate(files, FILES, NULL, PROFILE_TIGHT, 1 << 20, LIMIT);
    assert_int_equal(reference->entry_count, 100);
    for (size_t i = 0; i < 99; i++)
        assert_int_equal(reference->entries[i].end, 1048608 + BLOCK * i);
    assert_int_equal(reference->entries[99].end, 104859232);
    check_digest(reference, 0, "5c85c0827ed968c4147d6a7e59b0237fa342f6f2a9d4e6ced767f2bfc19a560f");
    check_digest(reference, 1, "504264eb4c90bde66d0d62e0906b8188bae27ee2f62dfbdaf7e0d6937d81979b");
    check_digest(reference, 98, "504264eb4c90bde66d0d62e0906b8188bae27ee2f62dfbdaf7e0d6937d81979b");
    check_digest(reference, 99, "53b46ab166dcef8a3ae9f95ec0f6c5168247a72a0d44f5e3d6e435b930344969");
    struct dynamic_index index = index_of(reference);
    for (int profile = PROFILE_TIGHT; profile <= PROFILE_UPSTREAM; profile++) {
        struct simulation *s = simulate(files, FILES, &index, (enum reuse_profile)profile, 1 << 20, LIMIT);
        CHECK_ORDERS(s, {16, 104859232, 100});
        for (uint64_t i = 0; i < FILES; i++)
            assert_int_equal(s->refs[i], 32 + BLOCK * i);
        assert_int_equal(s->counters.partial_chunks, 2);
        assert_int_equal(s->counters.injected_bytes - s->reused_bytes, 32);
        struct simulation *limited = simulate(files, FILES, &index, (enum reuse_profile)profile, 1 << 20, 40);
        if (profile == PROFILE_TIGHT)
            CHECK_ORDERS(limited, {16, 0, 39}, {40895120, 0, 1}, {41943712, 0, 39}, {82838800, 0, 1},
                         {83887392, 0, 20});
        else
            CHECK_ORDERS(limited, {16, 0, 40}, {41943712, 0, 40}, {83887392, 0, 20});
        assert_memory_equal(limited->refs, s->refs, FILES * sizeof *s->refs);
        assert_int_equal(limited->entry_count, s->entry_count);
        assert_memory_equal(limited->entries, s->entries, s->entry_count * sizeof *s->entries);
        free(limited);
        free(s);
    }
    free(reference);
}

static void test_14_6_batches(void **state)
{
    (void)state;
    enum { FILES = 300 };
    struct file files[FILES];
    for (size_t i = 0; i < FILES; i++)
        files[i] = (struct file){20000, (uint8_t)i, 16 + 20016 * i};
    struct simulation *reference = simulate(files, FILES, NULL, PROFILE_TIGHT, KIB64, LIMIT);
    assert_int_equal(reference->entry_count, FILES);
    struct dynamic_index index = index_of(reference);
    struct simulation *s = simulate(files, FILES, &index, PROFILE_TIGHT, KIB64, LIMIT);
    CHECK_ORDERS(s, {16, 2562064, 128}, {2562080, 2562048, 128}, {5124128, 880720, 44});
    free(s);
    free(reference);

    /* 300 files of 1000 bytes, one chunk each: an index no chunker makes, so it is written by hand. */
    struct index_entry entries[FILES];
    for (size_t i = 0; i < FILES; i++) {
        files[i] = (struct file){1000, 1, 16 + 1016 * i};
        entries[i] = (struct index_entry){.end = 16 + 1016 * (i + 1) + (i == FILES - 1 ? 16 : 0)};
        entries[i].digest.bytes[0] = (uint8_t)i;
    }
    struct dynamic_index tiny = {.entries = entries, .count = FILES};
    s = simulate(files, FILES, &tiny, PROFILE_TIGHT, KIB64, LIMIT);
    CHECK_ORDERS(s, {16, 130064, 128}, {130080, 130048, 128}, {260128, 44720, 44});
    free(s);
}

static void test_14_7_entries_of_equal_digest_are_two_chunks(void **state)
{
    (void)state;
    struct index_entry entries[3] = {{.end = 1024}, {.end = 2048}, {.end = 3072}};
    entries[0].digest.bytes[0] = entries[2].digest.bytes[0] = 'P';
    entries[1].digest.bytes[0] = 'Q';
    struct dynamic_index index = {.entries = entries, .count = 3};
    struct covering covering;
    MUST(covering_find(&index, 0, 3072, PROFILE_TIGHT, 0, &covering, &error));
    assert_int_equal(covering.count, 3);
    struct reuse_chunk first = covering_chunk(&index, &covering, 0), last = covering_chunk(&index, &covering, 2);
    assert_true(digest_equal(&entries[first.entry].digest, &entries[last.entry].digest));
    assert_int_not_equal(first.entry, last.entry);
}

static void test_14_8_files_ending_at_chunk_ends(void **state)
{
    (void)state;
    struct file files[12];
    for (size_t i = 0; i < 12; i++)
        files[i] = (struct file){i ? 262128 : 262112, (uint8_t)(i + 1), i ? 262144 * i : 16};
    struct simulation *reference = simulate(files, 12, NULL, PROFILE_TIGHT, KIB64, LIMIT);
    assert_int_equal(reference->entry_count, 13);
    for (size_t i = 0; i < 12; i++)
        assert_int_equal(reference->entries[i].end, 262144 * (i + 1));
    struct dynamic_index index = index_of(reference);
    struct simulation *upstream = simulate(files, 12, &index, PROFILE_UPSTREAM, KIB64, LIMIT);
    assert_int_equal(upstream->entry_count, 15);
    assert_int_equal(upstream->entries[12].end, 3145744);
    assert_int_equal(upstream->entries[13].end, 3145760);
    assert_int_equal(upstream->entries[14].end, 3145776);
    assert_int_equal(upstream->counters.injected_bytes - upstream->reused_bytes, 32);
    assert_int_equal(upstream->counters.partial_chunks, 2);
    struct simulation *tight = simulate(files, 12, &index, PROFILE_TIGHT, KIB64, LIMIT);
    assert_int_equal(tight->counters.injected_chunks, 12);
    assert_int_equal(tight->entry_count, 14);
    assert_int_equal(tight->entries[13].end, 3145760);
    assert_int_equal(tight->counters.injected_bytes - tight->reused_bytes, 16);
    free(tight);
    free(upstream);
    free(reference);
}

static void test_14_9_extra_chunk_in_the_small(void **state)
{
    (void)state;
    struct file files[60];
    for (size_t i = 0; i < 60; i++)
        files[i] = (struct file){20000, (uint8_t)(i + 1), 16 + 20016 * i};
    struct simulation *reference = simulate(files, 60, NULL, PROFILE_TIGHT, KIB64, LIMIT);
    assert_int_equal(reference->entry_count, 60);
    struct dynamic_index index = index_of(reference);
    files[30].old_offset = 0;
    struct simulation *upstream = simulate(files, 60, &index, PROFILE_UPSTREAM, KIB64, LIMIT);
    CHECK_ORDERS(upstream, {16, 0, 31}, {640544, 0, 29});
    assert_int_equal(upstream->entry_count, 63);
    assert_int_equal(upstream->counters.partial_chunks, 3);
    assert_int_equal(upstream->counters.unreferenced_chunks, 1);
    assert_int_equal(upstream->counters.injected_bytes - upstream->reused_bytes, 20048); /* 19.578 KiB */
    struct simulation *tight = simulate(files, 60, &index, PROFILE_TIGHT, KIB64, LIMIT);
    CHECK_ORDERS(tight, {16, 0, 30}, {620528, 0, 29});
    assert_int_equal(tight->entry_count, 62);
    assert_int_equal(tight->counters.unreferenced_chunks, 0);
    free(tight);
    free(upstream);
    free(reference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_14_1_tight),
        cmocka_unit_test(test_14_1_upstream),
        cmocka_unit_test(test_14_2_nothing_changed_three_generations),
        cmocka_unit_test(test_14_3_hole_inside_a_held_chunk),
        cmocka_unit_test(test_14_4_cache_limit_4),
        cmocka_unit_test(test_14_5_hundred_equal_files),
        cmocka_unit_test(test_14_6_batches),
        cmocka_unit_test(test_14_7_entries_of_equal_digest_are_two_chunks),
        cmocka_unit_test(test_14_8_files_ending_at_chunk_ends),
        cmocka_unit_test(test_14_9_extra_chunk_in_the_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
