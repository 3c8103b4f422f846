/* The model of a network, with a clock of the test's own. */
#include "testing/testing.h"

#include "server/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MS = 1000000, MIB = 1 << 20 };
#define START (UINT64_C(1000) * MS)

static struct link link_;
static int other;

static void begin(const struct faults *faults)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(link_init(&link_, fds[0], START, NULL), OK);
    link_set(&link_, faults, START);
    other = fds[1];
}

static void end(void)
{
    link_deinit(&link_, false);
    close(other);
}

static void put(const char *text)
{
    assert_int_equal(write(other, text, strlen(text)), strlen(text));
}

static void assert_reads(uint64_t now, const char *expected)
{
    uint8_t bytes[100];
    link_receive(&link_, now);
    size_t size = link_read(&link_, bytes, sizeof bytes, now);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(bytes, expected, size);
}

static void assert_got(const char *expected)
{
    char bytes[100];
    ssize_t size = read(other, bytes, sizeof bytes);
    if (size < 0) {
        assert_int_equal(errno, EAGAIN);
        size = 0;
    }
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(bytes, expected, (size_t)size);
}

static void test_without_faults_everything_passes_at_once(void **state)
{
    (void)state;
    const struct faults none = {0};
    short events;
    uint64_t due;
    begin(&none);
    put("hello");
    assert_reads(START, "hello");
    assert_reads(START, "");
    assert_int_equal(link_write(&link_, (const uint8_t *)"back", 4, START, NULL), OK);
    assert_false(link_is_flushed(&link_));
    link_flush(&link_, START);
    assert_true(link_is_flushed(&link_));
    assert_got("back");
    link_wait(&link_, START, &events, &due);
    assert_int_equal(events, POLLIN);
    assert_true(due == UINT64_MAX);
    end();
}

static void test_delays_add_up_to_round_trips(void **state)
{
    (void)state;
    const struct faults faults = {.delay_in_us = 10000, .delay_out_us = 5000};
    short events;
    uint64_t due;
    begin(&faults);
    /* The first bytes come a round trip later still: that of connecting. */
    put("first");
    assert_reads(START, "");
    link_wait(&link_, START, &events, &due);
    assert_true(due == START + 25 * MS);
    assert_reads(START + 25 * MS - 1, "");
    put("second"); /* on the wire behind it, and there 10 ms later */
    assert_reads(START + 25 * MS, "first");
    put("third");
    assert_reads(START + 35 * MS - 1, "");
    assert_reads(START + 35 * MS, "second");
    assert_reads(START + 45 * MS - 2, "");
    assert_reads(START + 45 * MS - 1, "third");
    uint64_t now = START + 100 * MS;
    assert_int_equal(link_write(&link_, (const uint8_t *)"one", 3, now, NULL), OK);
    assert_int_equal(link_write(&link_, (const uint8_t *)"two", 3, now + 2 * MS, NULL), OK);
    link_flush(&link_, now + 5 * MS - 1);
    assert_got("");
    link_flush(&link_, now + 5 * MS);
    assert_got("one");
    assert_false(link_is_flushed(&link_));
    link_wait(&link_, now + 5 * MS, &events, &due);
    assert_true(due == now + 7 * MS);
    link_flush(&link_, now + 7 * MS);
    assert_got("two");
    /* A delay that gets shorter lets nothing overtake. */
    now += 100 * MS;
    assert_int_equal(link_write(&link_, (const uint8_t *)"a", 1, now, NULL), OK);
    const struct faults none = {0};
    link_set(&link_, &none, now);
    assert_int_equal(link_write(&link_, (const uint8_t *)"b", 1, now, NULL), OK);
    link_flush(&link_, now);
    assert_got("");
    link_flush(&link_, now + 5 * MS);
    assert_got("ab");
    end();
}

static void test_rates_pace_what_follows(void **state)
{
    (void)state;
    const struct faults faults = {.rate_out = 1000000, .delay_out_us = 1000};
    static uint8_t piece[10000];
    char bytes[20000];
    begin(&faults);
    for (int i = 0; i < 3; i++)
        assert_int_equal(link_write(&link_, piece, sizeof piece, START, NULL), OK);
    for (int i = 1; i <= 3; i++) { /* 10 ms each, and 1 ms on the way */
        uint64_t due = START + (uint64_t)(10 * i + 1) * MS;
        link_flush(&link_, due - 1);
        assert_true(read(other, bytes, sizeof bytes) < 0);
        link_flush(&link_, due);
        assert_int_equal(read(other, bytes, sizeof bytes), sizeof piece);
    }
    /* A pause is not saved up. */
    uint64_t now = START + 1000 * MS;
    assert_int_equal(link_write(&link_, piece, sizeof piece, now, NULL), OK);
    link_flush(&link_, now + 11 * MS - 1);
    assert_true(read(other, bytes, sizeof bytes) < 0);
    end();
}

static void test_what_is_on_the_way_is_bounded(void **state)
{
    (void)state;
    static uint8_t piece[16384];
    const struct faults none = {0}, slow = {.delay_in_us = 1000000};
    begin(&none);
    size_t written = 0;
    while (link_room(&link_) >= sizeof piece) {
        assert_int_equal(link_write(&link_, piece, sizeof piece, START, NULL), OK);
        written += sizeof piece;
    }
    assert_int_equal(written, LINK_FIFO_NORMAL);
    link_flush(&link_, START);
    assert_true(link_.is_full || link_is_flushed(&link_));
    end();
    begin(&slow);
    for (int i = 0; i < 4000 && link_.in.size < LINK_FIFO_MAX; i++) {
        while (write(other, piece, sizeof piece) > 0)
            ;
        link_receive(&link_, START);
    }
    assert_int_equal(link_.in.size, LINK_FIFO_MAX);
    short events;
    uint64_t due;
    link_wait(&link_, START, &events, &due);
    assert_int_equal(events & POLLIN, 0);                 /* TCP holds the client back from here on */
    assert_true(due == START + 2000 * UINT64_C(1000000)); /* connecting and coming */
    assert_int_equal(link_read(&link_, piece, sizeof piece, due), sizeof piece);
    end();
}

static void test_bytes_stay_in_order_around_the_rings_end(void **state)
{
    (void)state;
    const struct faults none = {0};
    uint8_t bytes[5000], next_in = 0, next_out = 0;
    begin(&none);
    for (int i = 0; i < 2000; i++) {
        size_t size = (size_t)(i * 37 % 4999 + 1);
        for (size_t k = 0; k < size; k++)
            bytes[k] = next_in++;
        if (link_room(&link_) >= size && link_.out.size < 100000)
            assert_int_equal(link_write(&link_, bytes, size, START, NULL), OK);
        else
            next_in = (uint8_t)(next_in - size);
        link_flush(&link_, START);
        ssize_t got = read(other, bytes, (size_t)(i * 53 % 4000 + 1));
        for (ssize_t k = 0; k < got; k++)
            assert_int_equal(bytes[k], next_out++);
    }
    end();
}

static void test_ends_come_behind_the_bytes(void **state)
{
    (void)state;
    const struct faults faults = {.delay_in_us = 10000};
    begin(&faults);
    put("last");
    link_receive(&link_, START);
    assert_int_equal(shutdown(other, SHUT_WR), 0);
    link_receive(&link_, START);
    assert_false(link_ended(&link_));
    assert_reads(START + 20 * MS, "last");
    assert_true(link_ended(&link_));
    assert_false(link_.failed);
    end();
}

static void test_a_slow_reader_takes_little(void **state)
{
    (void)state;
    const struct faults faults = {.read_rate = 1000};
    static uint8_t bytes[4000];
    size_t total = 0;
    short events;
    uint64_t due;
    begin(&faults);
    assert_int_equal(write(other, bytes, sizeof bytes), sizeof bytes);
    for (int ms = 0; ms < 2000; ms += 10) {
        link_receive(&link_, START + (uint64_t)ms * MS);
        total += link_read(&link_, bytes, sizeof bytes, START + (uint64_t)ms * MS);
    }
    assert_true(total >= 1900 && total <= 2200);
    link_wait(&link_, START + 2000 * UINT64_C(1000000) - 10 * MS, &events, &due);
    assert_true((events & POLLIN) || due < START + 2200 * UINT64_C(1000000));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_faults_everything_passes_at_once),
        cmocka_unit_test(test_delays_add_up_to_round_trips),
        cmocka_unit_test(test_rates_pace_what_follows),
        cmocka_unit_test(test_what_is_on_the_way_is_bounded),
        cmocka_unit_test(test_bytes_stay_in_order_around_the_rings_end),
        cmocka_unit_test(test_ends_come_behind_the_bytes),
        cmocka_unit_test(test_a_slow_reader_takes_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
