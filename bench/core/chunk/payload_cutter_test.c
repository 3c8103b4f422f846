#include "chunk/payload_cutter_for_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void test_suggestions_by_feed_size(void **state)
{
    (void)state;
    static const uint64_t suggestions[] = {10000, 16384, 40000, 60000, 100000, 100000, 140000, 400000, 700000, 1048560};
    static const struct {
        size_t feed_size;
        int64_t ends[32];
    } rows[] = {
        {SIZE_MAX,
         {16384, 40000, 60000, 100000, 140000, 400000, 428947, 463595, 700000, 722523, 741953, 802006, 1048560,
          1048576}},
        {262144,
         {16384, 40000, 60000, 100000, 140000, 169268, 245395, 400000, 428947, 463595, 700000, 722523, 741953, 802006,
          1048560, 1048576}},
        {4096, {16384,  40000,  60000,  96061,  140000, 169268, 245395, 301757, 395236, 428947,  463595, 527869,
                625817, 700000, 722523, 741953, 802006, 873041, 900130, 918379, 992251, 1048560, 1048576}},
        {61, {16384,  40000,  60000,  96061,  140000, 169268, 245395, 301757, 395236, 428947,  463595, 527869,
              625817, 700000, 722523, 741953, 802006, 873041, 900130, 918379, 992251, 1048560, 1048576}},
    };
    uint8_t *data = make_lcg(1048576, 1);
    for (size_t r = 0; r < COUNT(rows); r++) {
        struct list *l = cut_whole(65536, rows[r].feed_size, data, 1048576, suggestions, COUNT(suggestions), NULL, 0);
        assert_list(l, rows[r].ends);
        free(l);
    }
    free(data);
}

static void test_forced_boundary_in_a_stream(void **state)
{
    (void)state;
    static const size_t feeds[] = {0, 61, 4096, 262144, SIZE_MAX};
    static const uint64_t orders[][2] = {{300000, 123456}};
    uint8_t *data = make_lcg(1048576, 1);
    for (size_t f = 0; f < COUNT(feeds); f++) {
        struct list *l = cut_whole(65536, feeds[f], data, 1048576, NULL, 0, orders, 1);
        assert_list(l, ENDS(23672, 96061, 169268, 245395, 300000, -423456, 518692, 552403, 587051, 651325, 749273,
                            845979, 865409, 925462, 996497, 1023586, 1041835, 1115707, 1172032));
        free(l);
    }
    free(data);
}

static void test_forced_boundary_at_a_hash_cut(void **state)
{
    (void)state;
    static const size_t feeds[] = {0, 61, 4096, 96061, 262144, SIZE_MAX};
    static const uint64_t orders[][2] = {{96061, 5000}};
    uint8_t *data = make_lcg(524288, 1);
    for (size_t f = 0; f < COUNT(feeds); f++) {
        struct list *l = cut_whole(65536, feeds[f], data, 524288, NULL, 0, orders, 1);
        assert_list(l, ENDS(23672, 96061, -101061, 174268, 250395, 306757, 400236, 433947, 468595, 529288));
        free(l);
    }
    free(data);
}

static void test_suggestions_and_forced_boundaries_together(void **state)
{
    (void)state;
    static const uint64_t suggestions[] = {32768, 65536};
    static const uint64_t orders[][2] = {{32768, 1024}, {131072, 2048}, {657408, 512}, {658432, 0}};
    static const uint64_t raw_sizes[] = {32768, 31744, 65536, 262144, 262144, 512, 262144, 131584};
    static const size_t feeds[] = {0, 4096, 262144, SIZE_MAX};
    uint8_t *data = make_counter(1048576);
    for (size_t f = 0; f < COUNT(feeds); f++) {
        struct list *l = cut_whole(65536, feeds[f], data, 1048576, suggestions, 2, orders, 4);
        size_t raw = 0;
        for (size_t i = 0; i < l->count; i++) {
            uint64_t size = l->end[i] - (i ? l->end[i - 1] : 0);
            if (!l->is_injected[i])
                assert_int_equal(size, raw_sizes[raw++]);
        }
        assert_int_equal(raw, COUNT(raw_sizes));
        assert_int_equal(l->end[l->count - 1], 1048576 + 1024 + 2048 + 512);
        free(l);
    }
    free(data);
}

/* change-detection.md 10.2. */
static void test_hash_vectors_of_change_detection(void **state)
{
    (void)state;
    static const uint64_t suggestions[] = {32768, 32768, 0, 405521};
    uint8_t *data = make_counter(1048576);
    struct list *l = cut_whole(65536, SIZE_MAX, data, 1048576, NULL, 0, NULL, 0);
    assert_list(l, ENDS(143377, 405521, 667665, 929809, 1048576));
    free(l);
    l = cut_whole(65536, SIZE_MAX, data, 1048576, suggestions, 4, NULL, 0);
    assert_list(l, ENDS(32768, 143377, 405521, 667665, 929809, 1048576));
    free(l);
    free(data);
}

static struct archive archive_of_the_specification(void)
{
    static const struct {
        size_t size;
        uint64_t seed;
    } files[] = {{100000, 1}, {300000, 2},  {1000000, 3}, {70000, 4},  {0, 0},
                 {262128, 5}, {5000000, 6}, {20000, 7},   {150000, 8}, {130000, 9}};
    struct archive a = archive_begin();
    for (size_t i = 0; i < COUNT(files); i++)
        archive_file(&a, files[i].size, files[i].seed);
    archive_end(&a);
    assert_int_equal(a.data_size, 7032320);
    assert_string_equal(sha256_hex(a.data, a.data_size),
                        "3c9b24ffe1140d5636b08f6e54f2a13154b96b89098e0ba4cf045da7153056fc");
    return a;
}

static void test_whole_payload_stream(void **state)
{
    (void)state;
    static const int64_t first[] = {100032, 206508, 400048, 434780, 484880, 544152, 592999, 661387};
    static const struct {
        size_t feed_size;
        size_t chunk_count;
        uint64_t sum;
        const char *list;
    } rows[] = {
        {0, 112, 412083332, "7528d38a79cd9d4f6065f00056c9a7bf1948f39ddc27c5291e1b57a1781afd7e"},
        {SIZE_MAX, 112, 412083332, "7528d38a79cd9d4f6065f00056c9a7bf1948f39ddc27c5291e1b57a1781afd7e"},
        {262144, 115, 416117963, "c1035803929c2f3b1a8dad2ad3a393358da63f7c2a80f18a1b3d79850190b1ff"},
        {4096, 124, 446779501, "a42f93f2eb028bcd8c91f43bfc6347973b57ec5d2adf105cbb135c5068aacdec"},
    };
    struct archive a = archive_of_the_specification();
    for (size_t r = 0; r < COUNT(rows); r++) {
        struct list *l = play(&a, 65536, rows[r].feed_size, 0, ASK_ALWAYS);
        uint64_t sum = 0;
        for (size_t i = 0; i < l->count; i++)
            sum += l->end[i];
        if (rows[r].feed_size != 4096)
            for (size_t i = 0; i < COUNT(first); i++)
                assert_int_equal(l->end[i], first[i]);
        assert_int_equal(l->count, rows[r].chunk_count);
        assert_int_equal(sum, rows[r].sum);
        assert_string_equal(list_digest(l), rows[r].list);
        free(l);
    }
    struct list *l = play(&a, 4194304, 0, 0, ASK_ALWAYS);
    assert_list(l, ENDS(1400064, 6732256, 7032320));
    free(l);
    archive_deinit(&a);
}

static void test_parts_of_a_write_and_asking_do_not_matter(void **state)
{
    (void)state;
    static const size_t parts[] = {1, 7, 61, 4099, 262143, 262144, 262145, 1000000};
    struct archive a = archive_of_the_specification();
    struct list *whole = play(&a, 65536, 0, 0, ASK_AT_THE_END);
    for (size_t i = 0; i < COUNT(parts); i++)
        for (int ask = ASK_AT_THE_END; ask <= ASK_SOMETIMES; ask++) {
            struct list *l = play(&a, 65536, 0, parts[i], (enum ask)ask);
            assert_lists_equal(l, whole);
            free(l);
        }
    free(whole);
    archive_deinit(&a);
}

/* A file whose last block goes past the writer's buffer ends exactly with a piece: the one place where the reference
 * can lose the next file's suggestion. Ours must never, whether the next file is encoded or reused. */
static void test_suggestion_behind_a_large_block_is_never_lost(void **state)
{
    (void)state;
    static const size_t sizes[] = {262144, 262145, 300000, 1 << 20, 4 << 20, (4 << 20) + 262144};
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (int reuse = 0; reuse < 2; reuse++)
            for (int ask = ASK_AT_THE_END; ask <= ASK_SOMETIMES; ask++) {
                struct archive a = archive_begin();
                archive_file(&a, sizes[s], 77);
                uint64_t end = a.position;
                if (reuse)
                    archive_reuse(&a, 3, 123456);
                archive_file(&a, 50000, 78);
                archive_end(&a);
                struct list *l = play(&a, 4194304, 0, 0, (enum ask)ask);
                bool found = false;
                for (size_t i = 0; i < l->count; i++)
                    found |= l->end[i] == end && !l->is_injected[i];
                /* Below the minimum only a forced boundary cuts. */
                assert_int_equal(found, reuse || end >= 1 << 20);
                free(l);
                archive_deinit(&a);
            }
}

/* Several suggestions and orders behind a held piece; asking after the first of them must not decide anything. */
static void test_held_piece_waits_for_bytes(void **state)
{
    (void)state;
    uint8_t *data = make_lcg(400000, 1); /* hash cuts at 23672, 96061, ... */
    for (int ask = 0; ask < 2; ask++) {
        struct payload_cutter *c = make(65536, 0);
        struct list *l = list_new();
        write_bytes(c, data, 300000);
        if (ask)
            assert_int_equal(drain(c, l, NULL), OK);
        order(c, 300000, 0);
        write_bytes(c, data + 300000, 0); /* an empty write is no event */
        if (ask)
            assert_int_equal(drain(c, l, NULL), OK);
        suggest(c, 250000);
        assert_int_equal(l->count, 0);
        write_bytes(c, data + 300000, 100000);
        finish(c, l);
        assert_int_equal(l->end[0], 250000);
        assert_int_equal(l->end[1], 300000);
        assert_true(l->is_injected[2]);
        free(l);
    }
    free(data);
}

static void test_suggestion_must_fit_minimum_and_maximum(void **state)
{
    (void)state;
    uint8_t *data = make_constant(600000, 0); /* no hash cuts */
    static const struct {
        uint64_t suggestion;
        int64_t ends[8];
    } rows[] = {
        {0, {262144, 524288, 600000}},
        {16383, {262144, 524288, 600000}},
        {16384, {16384, 278528, 540672, 600000}},
        {262143, {262143, 524287, 600000}},
        {262144, {262144, 524288, 600000}},
        {262145, {262144, 524288, 600000}},
        {278527, {262144, 524288, 600000}}, /* min - 1 behind the cut at the maximum */
        {278528, {262144, 278528, 540672, 600000}},
    };
    for (size_t r = 0; r < COUNT(rows); r++) {
        struct list *l = cut_whole(65536, SIZE_MAX, data, 600000, &rows[r].suggestion, 1, NULL, 0);
        assert_list(l, rows[r].ends);
        free(l);
    }
    free(data);
}

static void test_suggestion_at_the_end_and_at_the_start_of_a_piece(void **state)
{
    (void)state;
    uint8_t *data = make_constant(100000, 0);
    static const uint64_t at_end[] = {50000};
    struct list *l = cut_whole(65536, 50000, data, 100000, at_end, 1, NULL, 0);
    assert_list(l, ENDS(50000, 100000));
    free(l);

    struct payload_cutter *c = make(65536, 25000);
    l = list_new();
    write_bytes(c, data, 50001); /* the byte more lets the second piece go */
    assert_int_equal(drain(c, l, NULL), OK);
    suggest(c, 50000); /* too late: everything in front of it is scanned */
    suggest(c, 80000);
    write_bytes(c, data + 50001, 49999);
    finish(c, l);
    assert_list(l, ENDS(80000, 100000));
    free(l);

    /* The scan that drops a passed suggestion looks at no other: the next one in the same piece is passed, too. */
    c = make(65536, 25000);
    l = list_new();
    write_bytes(c, data, 50001);
    assert_int_equal(drain(c, l, NULL), OK);
    suggest(c, 50000);
    suggest(c, 60000);
    write_bytes(c, data + 50001, 49999);
    finish(c, l);
    assert_list(l, ENDS(100000));
    free(l);

    /* Without that byte more the second piece waits, and the suggestion at its end is in time. */
    c = make(65536, 25000);
    l = list_new();
    write_bytes(c, data, 50000);
    assert_int_equal(drain(c, l, NULL), OK);
    suggest(c, 50000);
    write_bytes(c, data + 50000, 50000);
    finish(c, l);
    assert_list(l, ENDS(50000, 100000));
    free(l);
    free(data);
}

/* A suggestion wins over a hash cut of its own piece only: so it shows where pieces end. */
static void test_write_joins_the_piece_only_if_it_fits(void **state)
{
    (void)state;
    uint8_t *data = make_lcg(400000, 1); /* hash cuts at 23672, 96061, ... */
    static const struct {
        size_t writes[2];
        uint64_t first_end;
    } rows[] = {
        {{200000, 62143}, 250000},
        {{200000, 62144}, 250000}, /* fills the buffer to the last byte */
        {{200000, 62145}, 23672},
        {{1, 262143}, 250000},
    };
    for (size_t r = 0; r < COUNT(rows); r++) {
        struct payload_cutter *c = make(65536, 0);
        struct list *l = list_new();
        suggest(c, 250000);
        write_bytes(c, data, rows[r].writes[0]);
        write_bytes(c, data + rows[r].writes[0], rows[r].writes[1]);
        write_bytes(c, data + rows[r].writes[0] + rows[r].writes[1], 100000);
        finish(c, l);
        assert_int_equal(l->end[0], rows[r].first_end);
        free(l);
    }
    free(data);
}

static void test_queues_grow_while_they_are_wrapped(void **state)
{
    (void)state;
    enum { STEP = 100, COUNT_OF_STEPS = 1000 };
    uint8_t *data = make_constant(STEP * COUNT_OF_STEPS, 0); /* no hash cuts */
    struct payload_cutter *c = make(256, 1);
    struct list *l = list_new();
    size_t suggested = 0;
    size_t written = 0;
    while (suggested < COUNT_OF_STEPS) {
        for (size_t i = 0; i < 50 && suggested < COUNT_OF_STEPS; i++)
            suggest(c, STEP * (uint64_t)++suggested);
        size_t size = STEP * 30;
        if (suggested == COUNT_OF_STEPS)
            size = STEP * COUNT_OF_STEPS - written;
        write_bytes(c, data + written, size);
        written += size;
        assert_int_equal(drain(c, l, NULL), OK);
    }
    finish(c, l);
    assert_int_equal(l->count, COUNT_OF_STEPS);
    for (size_t i = 0; i < l->count; i++)
        assert_int_equal(l->end[i], STEP * (i + 1));
    free(l);
    free(data);
}

static void test_far_suggestion_blocks_nearer_ones_until_it_is_passed(void **state)
{
    (void)state;
    static const uint64_t suggestions[] = {300000, 50000, 100000, 400000};
    uint8_t *data = make_constant(500000, 0);
    struct list *l = cut_whole(65536, SIZE_MAX, data, 500000, suggestions, 4, NULL, 0);
    assert_list(l, ENDS(262144, 300000, 400000, 500000));
    free(l);
    /* Pending through many pieces, then used. */
    static const uint64_t far[] = {200000};
    l = cut_whole(65536, 1000, data, 500000, far, 1, NULL, 0);
    assert_list(l, ENDS(200000, 462144, 500000));
    free(l);
    free(data);
}

static void test_suggestion_behind_a_forced_boundary_counts_from_the_new_chunk(void **state)
{
    (void)state;
    uint8_t *data = make_constant(500000, 0);
    static const uint64_t orders[][2] = {{100000, 7000}};
    /* 123383 is min - 1 behind the chunk that begins at 107000. */
    static const struct {
        uint64_t suggestion;
        int64_t ends[8];
    } rows[] = {
        {123383, {100000, -107000, 369144, 507000}},
        {123384, {100000, -107000, 123384, 385528, 507000}},
        {369144, {100000, -107000, 369144, 507000}},
        {200000, {100000, -107000, 200000, 462144, 507000}},
    };
    for (size_t r = 0; r < COUNT(rows); r++) {
        /* In small pieces the suggestion lies behind the piece that holds the boundary. */
        struct list *l = cut_whole(65536, 5000, data, 500000, &rows[r].suggestion, 1, orders, 1);
        assert_list(l, rows[r].ends);
        free(l);
    }
    /* In one piece the scan in front of the boundary already takes the suggestion, and it stays taken. */
    static const uint64_t taken[] = {200000};
    struct list *l = cut_whole(65536, SIZE_MAX, data, 500000, taken, 1, orders, 1);
    assert_list(l, ENDS(100000, -107000, 369144, 507000));
    free(l);
    /* Said twice, the second one is used. */
    static const uint64_t twice[] = {200000, 200000};
    l = cut_whole(65536, SIZE_MAX, data, 500000, twice, 2, orders, 1);
    assert_list(l, ENDS(100000, -107000, 200000, 462144, 507000));
    free(l);
    free(data);
}

static void test_orders_where_nothing_is_buffered(void **state)
{
    (void)state;
    uint8_t *data = make_constant(1000, 0);
    static const uint64_t orders[][2] = {{0, 10}, {10, 20}, {30, 5}, {535, 1}, {536, 2}, {1038, 4}};
    struct list *l = cut_whole(65536, SIZE_MAX, data, 1000, NULL, 0, orders, 6);
    assert_list(l, ENDS(-10, -30, -35, 535, -536, -538, 1038, -1042));
    free(l);

    /* Nothing but orders. */
    struct payload_cutter *c = make(65536, 0);
    l = list_new();
    order(c, 0, 10);
    order(c, 10, 1);
    finish(c, l);
    assert_list(l, ENDS(-10, -11));
    free(l);

    /* Nothing at all: no chunk. */
    c = make(65536, 0);
    l = list_new();
    finish(c, l);
    assert_int_equal(l->count, 0);
    free(l);
    free(data);
}

/* An order applies as soon as the bytes in front of its boundary are cut off, without waiting for the next write. */
static void test_order_is_answered_at_once_when_nothing_is_in_front(void **state)
{
    (void)state;
    uint8_t data[10] = {0};
    struct payload_cutter *c = make(65536, 0);
    struct cut cut;
    order(c, 0, 5);
    assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
    assert_int_equal(cut.kind, CUT_INJECT);
    assert_int_equal(cut.size, 5);
    assert_int_equal(cut.offset, 0);
    write_bytes(c, data, 10);
    order(c, 15, 6);
    assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
    assert_int_equal(cut.kind, CUT_MORE); /* the ten bytes are still in the writer's buffer */
    assert_int_equal(payload_cutter_end(c, NULL), OK);
    assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
    assert_int_equal(cut.kind, CUT_RAW);
    assert_int_equal(cut.size, 10);
    assert_int_equal(cut.offset, 5);
    assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
    assert_int_equal(cut.kind, CUT_INJECT);
    assert_int_equal(cut.offset, 15);
    assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
    assert_int_equal(cut.kind, CUT_MORE);
    assert_int_equal(cut.offset, 21);
    payload_cutter_free(c);
}

static enum status run_orders(const uint64_t (*orders)[2], size_t order_count, struct error *err)
{
    uint8_t data[1000] = {0};
    struct payload_cutter *c = make(65536, 0);
    struct list *l = list_new();
    enum status status = OK;
    for (size_t i = 0; i < order_count; i++)
        order(c, orders[i][0], orders[i][1]);
    write_bytes(c, data, sizeof data);
    assert_int_equal(payload_cutter_end(c, NULL), OK);
    status = drain(c, l, err);
    free(l);
    payload_cutter_free(c);
    return status;
}

static void test_wrong_orders_are_errors(void **state)
{
    (void)state;
    struct error err;
    static const uint64_t late[][2] = {{1001, 5}};
    assert_int_equal(run_orders(late, 1, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "injection queue not fully consumed"));
    assert_non_null(strstr(err.text, "1001"));
    static const uint64_t passed[][2] = {{500, 100}, {599, 1}};
    assert_int_equal(run_orders(passed, 2, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "invalid injection boundary 599"));
    assert_non_null(strstr(err.text, "600"));
    static const uint64_t at_end[][2] = {{1000, 5}};
    assert_int_equal(run_orders(at_end, 1, &err), OK);

    struct payload_cutter *c = make(65536, 0);
    assert_int_equal(payload_cutter_order(c, UINT64_MAX, 1, &err), ERR_LIMIT);
    assert_int_equal(payload_cutter_order(c, 1, INT64_MAX, &err), ERR_LIMIT);
    assert_int_equal(payload_cutter_order(c, 0, INT64_MAX, &err), OK);
    payload_cutter_free(c);
    payload_cutter_free(NULL);
    assert_int_equal(payload_cutter_new(65535, 0, &c, &err), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suggestions_by_feed_size),
        cmocka_unit_test(test_forced_boundary_in_a_stream),
        cmocka_unit_test(test_forced_boundary_at_a_hash_cut),
        cmocka_unit_test(test_suggestions_and_forced_boundaries_together),
        cmocka_unit_test(test_hash_vectors_of_change_detection),
        cmocka_unit_test(test_whole_payload_stream),
        cmocka_unit_test(test_parts_of_a_write_and_asking_do_not_matter),
        cmocka_unit_test(test_suggestion_behind_a_large_block_is_never_lost),
        cmocka_unit_test(test_held_piece_waits_for_bytes),
        cmocka_unit_test(test_suggestion_must_fit_minimum_and_maximum),
        cmocka_unit_test(test_suggestion_at_the_end_and_at_the_start_of_a_piece),
        cmocka_unit_test(test_write_joins_the_piece_only_if_it_fits),
        cmocka_unit_test(test_queues_grow_while_they_are_wrapped),
        cmocka_unit_test(test_far_suggestion_blocks_nearer_ones_until_it_is_passed),
        cmocka_unit_test(test_suggestion_behind_a_forced_boundary_counts_from_the_new_chunk),
        cmocka_unit_test(test_orders_where_nothing_is_buffered),
        cmocka_unit_test(test_order_is_answered_at_once_when_nothing_is_in_front),
        cmocka_unit_test(test_wrong_orders_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
