/* The payload cutter against a twin written straight from chunking.md 5 and 6, on random archives. */
#include "chunk/payload_cutter_for_test.h"

#include "chunk/buzhash_table.h"

/* A twin that follows chunking.md 3, 5 and 6 to the letter over one flat array and bytewise hashing. */
struct twin {
    size_t average;
    uint32_t hash;
    size_t n;
    uint8_t window[64];
    uint64_t *suggestions;
    size_t suggestion_at;
    size_t suggestion_count;
};

static size_t twin_plain(struct twin *t, const uint8_t *data, size_t size)
{
    uint32_t mask = (uint32_t)(2 * t->average - 1);
    for (size_t i = 0; i < size; i++) {
        uint8_t *slot = &t->window[t->n % 64];
        t->hash = t->hash << 1 | t->hash >> 31;
        t->hash ^= buzhash_table[data[i]] ^ (t->n < 64 ? 0 : buzhash_table[*slot]);
        *slot = data[i];
        if (t->n++ < 64)
            continue;
        if (t->n >= t->average * 4 || (t->n >= t->average / 4 && (t->hash & mask) >= mask - 2)) {
            t->hash = 0;
            t->n = 0;
            return i + 1;
        }
    }
    return 0;
}

static size_t twin_scan(struct twin *t, const uint8_t *data, size_t size, uint64_t base, uint64_t total)
{
    uint64_t start = base + total - size;
    for (;;) {
        if (t->suggestion_at == t->suggestion_count)
            return twin_plain(t, data, size);
        uint64_t b = t->suggestions[t->suggestion_at];
        if (b < start || (b <= base + total && b - base < t->average / 4)) {
            t->suggestion_at++;
            continue;
        }
        if (b > base + total || b - base > t->average * 4)
            return twin_plain(t, data, size);
        t->suggestion_at++;
        if (b == start)
            return twin_plain(t, data, size);
        t->hash = 0;
        t->n = 0;
        return (size_t)(b - start);
    }
}

/* Sizes of pieces from sizes of writes. */
static size_t twin_pieces(const struct archive *a, size_t *pieces)
{
    size_t count = 0;
    size_t used = 0;
    for (size_t i = 0; i < a->event_count; i++) {
        if (a->events[i].kind != EVENT_WRITE)
            continue;
        size_t size = (size_t)a->events[i].size;
        if (size > PIECE_BUFFER_SIZE - used && used > 0) {
            pieces[count++] = used;
            used = 0;
        }
        if (size >= PIECE_BUFFER_SIZE)
            pieces[count++] = size;
        else
            used += size;
    }
    if (used > 0)
        pieces[count++] = used;
    return count;
}

static struct list *twin_run(const struct archive *a, size_t average)
{
    static size_t pieces[EVENTS_MAX];
    static uint64_t suggestions[EVENTS_MAX];
    static struct event orders[EVENTS_MAX];
    struct twin t = {.average = average, .suggestions = suggestions};
    size_t order_at = 0;
    size_t order_count = 0;
    for (size_t i = 0; i < a->event_count; i++) {
        if (a->events[i].kind == EVENT_SUGGEST)
            suggestions[t.suggestion_count++] = a->events[i].offset;
        if (a->events[i].kind == EVENT_ORDER)
            orders[order_count++] = a->events[i];
    }
    size_t piece_count = twin_pieces(a, pieces);
    size_t piece_at = 0;
    struct list *l = list_new();
    const uint8_t *buffer = a->data;
    uint64_t consumed = 0;
    size_t buffered = 0;
    size_t scan_pos = 0;
    for (;;) {
        size_t p = scan_pos < buffered ? twin_scan(&t, buffer + scan_pos, buffered - scan_pos, consumed, buffered) : 0;
        if (order_at < order_count) {
            uint64_t next = p > 0 ? consumed + scan_pos + p : consumed + buffered;
            const struct event *o = &orders[order_at];
            assert_true(o->offset >= consumed);
            if (o->offset <= next) {
                size_t size = (size_t)(o->offset - consumed);
                if (size > 0)
                    add(l, o->offset, false);
                buffer += size;
                buffered -= size;
                t.hash = 0;
                t.n = 0;
                scan_pos = 0;
                consumed = o->offset + o->size;
                add(l, consumed, true);
                order_at++;
                continue;
            }
        }
        if (p > 0) {
            consumed += scan_pos + p;
            buffer += scan_pos + p;
            buffered -= scan_pos + p;
            scan_pos = 0;
            add(l, consumed, false);
            continue;
        }
        scan_pos = buffered;
        if (piece_at < piece_count) {
            buffered += pieces[piece_at++];
            continue;
        }
        if (buffered > 0)
            add(l, consumed + buffered, false);
        return l;
    }
}

static struct archive random_archive(uint64_t seed)
{
    struct archive a = archive_begin();
    uint64_t x = seed;
    unsigned steps = 1 + next_random(&x) % 40;
    for (unsigned i = 0; i < steps; i++) {
        uint32_t r = next_random(&x);
        switch (r % 8) {
        case 0:
        case 1: archive_reuse(&a, r / 8 % 5, 1 + next_random(&x) % 200000); break;
        case 2: archive_file(&a, next_random(&x) % 600000, r); break;
        case 3: /* around the size of the writer's buffer */
            archive_file(&a, PIECE_BUFFER_SIZE - 20 + next_random(&x) % 40, r);
            break;
        case 4: archive_file(&a, 0, r); break;
        default: archive_file(&a, next_random(&x) % 30000, r);
        }
    }
    archive_end(&a);
    return a;
}

static void test_equals_the_twin_on_random_archives(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 150; round++) {
        struct archive a = random_archive(round);
        size_t average = (size_t)256 << round % 12;
        struct list *expected = twin_run(&a, average);
        static const size_t parts[] = {0, 100, 70000};
        for (int ask = ASK_AT_THE_END; ask <= ASK_SOMETIMES; ask++) {
            struct list *l = play(&a, average, 0, parts[(round + (uint64_t)ask) % 3], (enum ask)ask);
            assert_lists_equal(l, expected);
            free(l);
        }
        free(expected);
        archive_deinit(&a);
    }
}

/* Orders in the middle of pieces, suggestions in any order: everything queued before the first byte. */
static void test_equals_the_twin_on_random_queues(void **state)
{
    (void)state;
    uint64_t x = 99;
    for (unsigned round = 0; round < 150; round++) {
        struct archive a = {.events = calloc(EVENTS_MAX, sizeof(struct event))};
        assert_non_null(a.events);
        size_t raw_size = 100000 + next_random(&x) % 900000;
        size_t average = (size_t)256 << next_random(&x) % 11;
        unsigned suggestion_count = next_random(&x) % 60;
        for (unsigned i = 0; i < suggestion_count; i++) {
            uint64_t offset = next_random(&x) % (uint32_t)(raw_size + 1000);
            if (round % 3)
                offset = raw_size / (suggestion_count + 1) * i + offset % 5000;
            for (unsigned k = 0; k <= next_random(&x) % 3; k++)
                archive_event(&a, (struct event){.kind = EVENT_SUGGEST, .offset = offset});
        }
        uint64_t raw_at = 0;
        uint64_t injected = 0;
        while (next_random(&x) % 20) {
            raw_at += next_random(&x) % 60000;
            if (raw_at > raw_size)
                break;
            uint64_t size = next_random(&x) % 3 ? next_random(&x) % 50000 : 0;
            archive_event(&a, (struct event){.kind = EVENT_ORDER, .offset = raw_at + injected, .size = size});
            injected += size;
        }
        uint8_t *data = make_lcg(raw_size, round);
        for (size_t at = 0; at < raw_size;) {
            size_t size = next_random(&x) % (round % 2 ? 500000 : 20000);
            if (size > raw_size - at)
                size = raw_size - at;
            archive_write(&a, data + at, size);
            at += size;
        }
        a.position += injected;
        free(data);
        struct list *expected = twin_run(&a, average);
        struct list *l = play(&a, average, 0, round % 2 ? 300 : 0, ASK_SOMETIMES);
        assert_lists_equal(l, expected);
        free(l);
        free(expected);
        archive_deinit(&a);
    }
}

/* Parts that do not lie side by side in memory are separate views. */
static void test_bytes_may_lie_anywhere(void **state)
{
    (void)state;
    enum { SIZE = 1048576, PART = 997 };
    uint8_t *data = make_lcg(SIZE, 1);
    static uint8_t scattered[2 * SIZE + 2 * PART];
    struct payload_cutter *c = make(65536, SIZE_MAX);
    struct list *l = list_new();
    static const uint64_t orders[][2] = {{300000, 123456}};
    order(c, orders[0][0], orders[0][1]);
    for (size_t at = 0; at < SIZE; at += PART) {
        size_t size = SIZE - at < PART ? SIZE - at : PART;
        memcpy(scattered + 2 * at, data + at, size);
        write_bytes(c, scattered + 2 * at, size);
    }
    finish(c, l);
    struct list *whole = cut_whole(65536, SIZE_MAX, data, SIZE, NULL, 0, orders, 1);
    assert_lists_equal(l, whole);
    free(whole);
    free(l);
    free(data);
}

/* A stream whose memory is reused as soon as a chunk is delivered: nothing is read afterwards, nothing piles up. */
static void test_bytes_are_free_once_a_chunk_covers_them(void **state)
{
    (void)state;
    enum { BLOCK = 4096, COUNT_OF_BLOCKS = 4000 };
    struct payload_cutter *c = make(4096, 0);
    static uint8_t *blocks[COUNT_OF_BLOCKS];
    static uint64_t taken;
    size_t released = 0;
    size_t waiting_max = 0;
    struct cut cut;
    taken = 0;
    for (size_t i = 0; i < COUNT_OF_BLOCKS; i++) {
        blocks[i] = make_lcg(BLOCK, i); /* an allocation each: the address sanitizer sees late reads */
        suggest(c, i * BLOCK);
        write_bytes(c, blocks[i], BLOCK);
        for (;;) {
            assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
            if (cut.kind == CUT_MORE)
                break;
            taken += cut.size;
            while ((released + 1) * BLOCK <= taken)
                free(blocks[released++]);
        }
        if (i + 1 - released > waiting_max)
            waiting_max = i + 1 - released;
    }
    assert_true(waiting_max <= (PIECE_BUFFER_SIZE + 4 * 4096) / BLOCK + 1);
    assert_int_equal(payload_cutter_end(c, NULL), OK);
    do
        assert_int_equal(payload_cutter_next(c, &cut, NULL), OK);
    while (cut.kind != CUT_MORE);
    payload_cutter_free(c);
    while (released < COUNT_OF_BLOCKS)
        free(blocks[released++]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_the_twin_on_random_archives),
        cmocka_unit_test(test_equals_the_twin_on_random_queues),
        cmocka_unit_test(test_bytes_may_lie_anywhere),
        cmocka_unit_test(test_bytes_are_free_once_a_chunk_covers_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
