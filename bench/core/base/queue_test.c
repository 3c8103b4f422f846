#include "testing/testing.h"

#include "base/queue.h"

#include <stdatomic.h>
#include <time.h>

/* Items are addresses inside this array: an index that can be checked, without allocation. */
enum { ITEMS = 20000 };
static char items[ITEMS];
static atomic_uint drops;

static void count_drop(void *item)
{
    assert_true((char *)item >= items && (char *)item < items + ITEMS);
    atomic_fetch_add(&drops, 1);
}

static void begin(struct queue *q, size_t count_max, size_t weight_max)
{
    struct error err = {0};
    atomic_store(&drops, 0);
    assert_int_equal(queue_init(q, count_max, weight_max, count_drop, &err), OK);
}

static size_t pop_index(struct queue *q)
{
    void *item;
    assert_int_equal(queue_pop(q, &item), OK);
    return (size_t)((char *)item - items);
}

/* ---- one thread ---- */

static void test_first_in_first_out_around_the_ring(void **state)
{
    (void)state;
    struct queue q;
    begin(&q, 3, 100);
    size_t in = 0, out = 0;
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 3; i++)
            assert_int_equal(queue_push(&q, &items[in++], 1), OK);
        for (int i = 0; i < 3; i++)
            assert_int_equal(pop_index(&q), out++);
    }
    assert_int_equal(q.push_waits + q.pop_waits, 0);
    queue_deinit(&q);
    assert_int_equal(drops, 0);
}

static void test_closing_lets_the_rest_out(void **state)
{
    (void)state;
    struct queue q;
    begin(&q, 4, 100);
    void *item = NULL;
    assert_int_equal(queue_push(&q, &items[0], 1), OK);
    assert_int_equal(queue_push(&q, &items[1], 1), OK);
    queue_close(&q);
    assert_int_equal(queue_push(&q, &items[2], 1), ERR_CLOSED);
    assert_int_equal(pop_index(&q), 0);
    assert_int_equal(pop_index(&q), 1);
    assert_int_equal(queue_pop(&q, &item), ERR_CLOSED);
    assert_int_equal(queue_pop(&q, &item), ERR_CLOSED);
    assert_null(item);
    queue_deinit(&q);
    assert_int_equal(drops, 0);
}

static void test_first_failure_wins_and_items_are_dropped(void **state)
{
    (void)state;
    struct queue q;
    begin(&q, 4, 100);
    void *item = NULL;
    for (int i = 0; i < 3; i++)
        assert_int_equal(queue_push(&q, &items[i], 1), OK);
    queue_fail(&q, ERR_MISMATCH);
    queue_fail(&q, ERR_IO);
    queue_close(&q);
    assert_int_equal(queue_push(&q, &items[3], 1), ERR_MISMATCH);
    assert_int_equal(queue_pop(&q, &item), ERR_MISMATCH);
    assert_null(item);
    assert_int_equal(drops, 0);
    queue_deinit(&q);
    assert_int_equal(drops, 3);
}

static void test_heavy_item_goes_into_an_empty_queue(void **state)
{
    (void)state;
    struct queue q;
    begin(&q, 4, 10);
    assert_int_equal(queue_push(&q, &items[0], SIZE_MAX), OK);
    assert_int_equal(pop_index(&q), 0);
    assert_int_equal(q.weight, 0);
    assert_int_equal(queue_push(&q, &items[1], 10), OK);
    queue_deinit(&q);
    assert_int_equal(drops, 1);
}

static void test_empty_queue_may_be_deinited(void **state)
{
    (void)state;
    struct queue q = {0};
    queue_deinit(&q);
    struct error err = {0};
    assert_int_equal(queue_init(&q, (1U << 20) + 1, 1, NULL, &err), ERR_LIMIT);
    queue_deinit(&q);
}

/* ---- a second thread that blocks ---- */

struct pusher {
    struct queue *queue;
    size_t index;
    size_t weight;
    enum status result;
};

static void *push_one(void *argument)
{
    struct pusher *p = argument;
    p->result = queue_push(p->queue, &items[p->index], p->weight);
    return NULL;
}

struct popper {
    struct queue *queue;
    void *item;
    enum status result;
};

static void *pop_one(void *argument)
{
    struct popper *p = argument;
    p->result = queue_pop(p->queue, &p->item);
    return NULL;
}

/* Until somebody waits on that side. The counter is written under the lock, before the wait gives the lock up: who then
 * takes the lock finds the other thread waiting. */
static void wait_for(struct queue *q, const uint64_t *counter)
{
    for (;;) {
        pthread_mutex_lock(&q->lock);
        uint64_t count = *counter;
        pthread_mutex_unlock(&q->lock);
        if (count > 0)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
}

static pthread_t start(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, function, argument), 0);
    return thread;
}

static void check_push_waits(size_t count_max, size_t weight_max, size_t first_weight, size_t second_weight)
{
    struct queue q;
    begin(&q, count_max, weight_max);
    struct pusher p = {.queue = &q, .index = 1, .weight = second_weight, .result = ERR_CANCELLED};
    assert_int_equal(queue_push(&q, &items[0], first_weight), OK);
    pthread_t thread = start(push_one, &p);
    wait_for(&q, &q.push_waits);
    pthread_mutex_lock(&q.lock);
    assert_int_equal(q.count, 1);
    pthread_mutex_unlock(&q.lock);
    assert_int_equal(pop_index(&q), 0);
    assert_int_equal(pop_index(&q), 1);
    pthread_join(thread, NULL);
    assert_int_equal(p.result, OK);
    queue_deinit(&q);
}

static void test_push_waits_while_full(void **state)
{
    (void)state;
    check_push_waits(1, 100, 1, 1);        /* by count */
    check_push_waits(9, 100, 100, 1);      /* by weight */
    check_push_waits(9, 100, 60, 41);      /* together too heavy */
    check_push_waits(9, 100, 1, 1000);     /* too heavy for any company */
    check_push_waits(9, 100, SIZE_MAX, 1); /* the sum would wrap */
    check_push_waits(9, SIZE_MAX, 2, SIZE_MAX - 1);
}

static void test_exact_fit_does_not_wait(void **state)
{
    (void)state;
    struct queue q;
    begin(&q, 9, 100);
    assert_int_equal(queue_push(&q, &items[0], 60), OK);
    assert_int_equal(queue_push(&q, &items[1], 40), OK);
    assert_int_equal(q.push_waits, 0);
    queue_deinit(&q);
    assert_int_equal(drops, 2);
}

static void test_waiting_pusher_is_woken_and_keeps_its_item(void **state)
{
    (void)state;
    for (int failing = 0; failing < 2; failing++) {
        struct queue q;
        begin(&q, 1, 100);
        struct pusher p = {.queue = &q, .index = 1, .weight = 1, .result = OK};
        assert_int_equal(queue_push(&q, &items[0], 1), OK);
        pthread_t thread = start(push_one, &p);
        wait_for(&q, &q.push_waits);
        if (failing)
            queue_fail(&q, ERR_CANCELLED);
        else
            queue_close(&q);
        pthread_join(thread, NULL);
        assert_int_equal(p.result, failing ? ERR_CANCELLED : ERR_CLOSED);
        queue_deinit(&q);
        assert_int_equal(drops, 1);
    }
}

static void test_waiting_popper_is_woken(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct queue q;
        begin(&q, 1, 100);
        struct popper p = {.queue = &q, .result = ERR_IO};
        pthread_t thread = start(pop_one, &p);
        wait_for(&q, &q.pop_waits);
        if (how == 0)
            queue_fail(&q, ERR_FORMAT);
        else if (how == 1)
            queue_close(&q);
        else
            assert_int_equal(queue_push(&q, &items[5], 1), OK);
        pthread_join(thread, NULL);
        assert_int_equal(p.result, how == 0 ? ERR_FORMAT : how == 1 ? ERR_CLOSED : OK);
        assert_ptr_equal(p.item, how == 2 ? &items[5] : NULL);
        queue_deinit(&q);
    }
}

/* ---- many threads ---- */

struct crowd {
    struct queue queue;
    atomic_size_t next; /* item to push */
    atomic_uchar seen[ITEMS];
    atomic_size_t popped;
    atomic_bool over_weight, left_early;
    size_t fail_at; /* consumer that pops this many items fails the queue; 0: never */
};

static size_t weight_of(size_t index)
{
    return index % 97 == 0 ? 500 : index % 50; /* now and then heavier than the bound */
}

static void *produce(void *argument)
{
    struct crowd *c = argument;
    for (size_t index; (index = atomic_fetch_add(&c->next, 1)) < ITEMS;) {
        if (queue_push(&c->queue, &items[index], weight_of(index)) != OK) {
            atomic_fetch_add(&drops, 1); /* still ours */
            break;
        }
    }
    return NULL;
}

static void *consume(void *argument)
{
    struct crowd *c = argument;
    void *item;
    while (queue_pop(&c->queue, &item) == OK) {
        atomic_fetch_add(&c->seen[(char *)item - items], 1);
        if (atomic_fetch_add(&c->popped, 1) + 1 == c->fail_at)
            queue_fail(&c->queue, ERR_IO);
        pthread_mutex_lock(&c->queue.lock);
        if (c->queue.weight > c->queue.weight_max && c->queue.count > 1)
            atomic_store(&c->over_weight, true);
        pthread_mutex_unlock(&c->queue.lock);
    }
    pthread_mutex_lock(&c->queue.lock);
    if (!c->queue.closed && c->queue.failed == OK)
        atomic_store(&c->left_early, true);
    pthread_mutex_unlock(&c->queue.lock);
    return NULL;
}

static void run_crowd(size_t count_max, size_t fail_at)
{
    enum { SIDES = 3 };
    struct crowd *c = calloc(1, sizeof *c);
    assert_non_null(c);
    begin(&c->queue, count_max, 200);
    c->fail_at = fail_at;
    pthread_t producers[SIDES], consumers[SIDES];
    for (int i = 0; i < SIDES; i++) {
        producers[i] = start(produce, c);
        consumers[i] = start(consume, c);
    }
    for (int i = 0; i < SIDES; i++)
        pthread_join(producers[i], NULL);
    queue_close(&c->queue);
    for (int i = 0; i < SIDES; i++)
        pthread_join(consumers[i], NULL);
    assert_false(c->over_weight);
    assert_false(c->left_early);
    size_t left = c->queue.count;
    queue_deinit(&c->queue);

    size_t once = 0;
    for (size_t i = 0; i < ITEMS; i++) {
        assert_true(c->seen[i] <= 1);
        once += c->seen[i];
    }
    assert_int_equal(once, c->popped);
    if (fail_at == 0) {
        assert_int_equal(once, ITEMS);
        assert_int_equal(left, 0);
        assert_int_equal(drops, 0);
    } else {
        /* Popped, dropped by the queue, or still its pusher's: every item that was begun is accounted for. */
        size_t begun = c->next < ITEMS ? c->next : ITEMS;
        assert_true(once >= fail_at);
        assert_int_equal(once + drops, begun);
    }
    free(c);
}

static void test_every_item_arrives_once(void **state)
{
    (void)state;
    run_crowd(1, 0);
    run_crowd(16, 0);
    run_crowd(5000, 0);
}

static void test_nothing_is_lost_when_a_consumer_fails(void **state)
{
    (void)state;
    for (size_t fail_at = 1; fail_at < 4000; fail_at = fail_at * 5 + 1)
        run_crowd(16, fail_at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_in_first_out_around_the_ring),
        cmocka_unit_test(test_closing_lets_the_rest_out),
        cmocka_unit_test(test_first_failure_wins_and_items_are_dropped),
        cmocka_unit_test(test_heavy_item_goes_into_an_empty_queue),
        cmocka_unit_test(test_empty_queue_may_be_deinited),
        cmocka_unit_test(test_push_waits_while_full),
        cmocka_unit_test(test_exact_fit_does_not_wait),
        cmocka_unit_test(test_waiting_pusher_is_woken_and_keeps_its_item),
        cmocka_unit_test(test_waiting_popper_is_woken),
        cmocka_unit_test(test_every_item_arrives_once),
        cmocka_unit_test(test_nothing_is_lost_when_a_consumer_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
