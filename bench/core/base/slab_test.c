#include "testing/testing.h"

#include "base/slab.h"

#include <pthread.h>
#include <string.h>

enum { THREADS = 4, ROUNDS = 20000 };

static void test_capacity_is_usable_and_counted(void **state)
{
    (void)state;
    struct error err = {0};
    struct slab *s;
    assert_int_equal(slab_new(1000, &s, &err), OK);
    assert_int_equal(s->capacity, 1000);
    memset(s->data, 7, 1000);
    slab_retain(s);
    slab_release(s);
    assert_int_equal(s->data[999], 7);
    slab_release(s);
    slab_release(NULL);
    assert_int_equal(slab_new(0, &s, &err), OK);
    slab_release(s);
}

static void test_sizes_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct slab *s = NULL;
    assert_int_equal(slab_new(SIZE_MAX, &s, &err), ERR_LIMIT);
    assert_int_equal(slab_new(SIZE_MAX - sizeof *s, &s, &err), ERR_MEMORY);
    assert_null(s);
}

static void *hold_and_let_go(void *argument)
{
    struct slab *s = argument;
    uintptr_t sum = 0;
    for (int i = 0; i < ROUNDS; i++) {
        slab_retain(s);
        sum += s->data[i % 100];
        slab_release(s);
    }
    /* The thread's own reference: the last thread to come here frees. */
    slab_release(s);
    return (void *)sum;
}

static void test_last_of_many_threads_frees(void **state)
{
    (void)state;
    struct error err = {0};
    struct slab *s;
    assert_int_equal(slab_new(100, &s, &err), OK);
    memset(s->data, 1, 100);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        slab_retain(s);
    slab_release(s);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold_and_let_go, s), 0);
    for (int i = 0; i < THREADS; i++) {
        void *sum;
        assert_int_equal(pthread_join(threads[i], &sum), 0);
        assert_int_equal((uintptr_t)sum, ROUNDS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capacity_is_usable_and_counted),
        cmocka_unit_test(test_sizes_that_cannot_be_are_refused),
        cmocka_unit_test(test_last_of_many_threads_frees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
