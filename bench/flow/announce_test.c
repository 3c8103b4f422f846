#include "testing/testing.h"

#include "flow/announce.h"
#include "store/store_ops.h"

#include <string.h>

enum { COUNT = 300 };

/* A reader that writes down what it is told of. */
struct listener {
    struct reader_head head;
    uint8_t told[COUNT];
    size_t calls;
};

static void listen(struct store_reader *r, const char *name, const struct store_hint *hints, size_t count)
{
    struct listener *l = (struct listener *)r;
    assert_string_equal(name, "a.didx");
    assert_in_range(count, 1, STORE_HINT_CHUNKS);
    for (size_t i = 0; i < count; i++)
        l->told[hints[i].digest.bytes[0] + 256 * hints[i].digest.bytes[1]]++;
    l->calls++;
}

static const struct reader_ops remote_ops = {.is_remote = true, .prefetch = listen};
static const struct reader_ops local_ops = {.prefetch = listen};

struct stream {
    uint64_t chunk_size;
    size_t asked;
    size_t stop;      /* nothing is known from here on */
    size_t every_nth; /* is not needed; 0: all are */
};

static enum announcement chunk(void *context, size_t k, struct store_hint *out)
{
    struct stream *s = context;
    s->asked++;
    if (k >= s->stop)
        return ANNOUNCE_STOP;
    *out = (struct store_hint){.digest = {{(uint8_t)k, (uint8_t)(k >> 8)}}, .raw_size = s->chunk_size};
    return s->every_nth && k % s->every_nth == 0 ? ANNOUNCE_NOT : ANNOUNCE_IT;
}

static size_t told(const struct listener *l)
{
    size_t count = 0;
    for (size_t i = 0; i < COUNT; i++)
        count += l->told[i];
    return count;
}

static void test_a_window_ahead(void **state)
{
    (void)state;
    struct listener l = {.head = {.ops = &remote_ops}};
    struct stream s = {.chunk_size = 4 << 20, .stop = COUNT};
    struct announcer a = {.reader = (struct store_reader *)&l, .name = "a.didx", .chunk = chunk, .context = &s};
    announce_ahead(&a, 0, COUNT);
    assert_int_equal(told(&l), 4); /* 16 MiB */
    announce_ahead(&a, 0, COUNT);
    assert_int_equal(told(&l), 4);
    for (size_t k = 1; k < COUNT; k++) {
        announce_ahead(&a, k, COUNT);
        assert_int_equal(told(&l), k + 4 < COUNT ? k + 4 : COUNT);
    }
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(l.told[i], 1);
}

static void test_small_and_large_chunks(void **state)
{
    (void)state;
    struct listener l = {.head = {.ops = &remote_ops}};
    struct stream s = {.chunk_size = 100, .stop = COUNT};
    struct announcer a = {.reader = (struct store_reader *)&l, .name = "a.didx", .chunk = chunk, .context = &s};
    announce_ahead(&a, 0, COUNT);
    assert_int_equal(told(&l), STORE_HINT_CHUNKS);
    s.chunk_size = 100 << 20; /* the one that is due, in any case */
    announce_ahead(&a, 200, COUNT);
    assert_int_equal(l.told[200], 1);
    assert_int_equal(told(&l), STORE_HINT_CHUNKS + 1);
}

static void test_what_is_not_needed(void **state)
{
    (void)state;
    struct listener l = {.head = {.ops = &remote_ops}};
    struct stream s = {.chunk_size = 4 << 20, .stop = 10, .every_nth = 2};
    struct announcer a = {.reader = (struct store_reader *)&l, .name = "a.didx", .chunk = chunk, .context = &s};
    announce_ahead(&a, 0, COUNT);
    assert_int_equal(told(&l), 4);
    assert_int_equal(l.told[0] + l.told[2] + l.told[4] + l.told[6], 0);
    assert_int_equal(l.told[7], 1);
    announce_ahead(&a, 8, COUNT);
    assert_int_equal(told(&l), 5); /* stops at 10 */
    s.stop = COUNT;
    announce_ahead(&a, 9, COUNT);
    assert_int_equal(l.told[11], 1);
    a.next = 3; /* the reader went back */
    announce_ahead(&a, 3, COUNT);
    assert_int_equal(l.told[3], 2);
}

static void test_directories_are_told_nothing(void **state)
{
    (void)state;
    struct listener l = {.head = {.ops = &local_ops}};
    struct stream s = {.chunk_size = 1, .stop = COUNT};
    struct announcer a = {.reader = (struct store_reader *)&l, .name = "a.didx", .chunk = chunk, .context = &s};
    announce_ahead(&a, 0, COUNT);
    assert_int_equal(l.calls, 0);
    assert_int_equal(s.asked, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_window_ahead),
        cmocka_unit_test(test_small_and_large_chunks),
        cmocka_unit_test(test_what_is_not_needed),
        cmocka_unit_test(test_directories_are_told_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
