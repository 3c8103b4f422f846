#include "testing/testing.h"

#include "flow/threads.h"

#include <signal.h>
#include <stdatomic.h>

struct seen {
    atomic_int runs;
    int blocks_sigterm;
};

static void body(void *argument)
{
    struct seen *seen = argument;
    sigset_t mask;
    sigemptyset(&mask);
    sigprocmask(SIG_SETMASK, NULL, &mask);
    seen->blocks_sigterm = sigismember(&mask, SIGTERM);
    atomic_fetch_add(&seen->runs, 1);
}

static void test_bodies_run_with_signals_blocked_and_join_waits(void **state)
{
    (void)state;
    struct seen seen[3] = {0};
    struct thread *threads[3] = {0};
    struct error err = {0};
    for (int i = 0; i < 3; i++)
        assert_int_equal(flow_threads.start("test", body, &seen[i], &threads[i], &err), OK);
    for (int i = 0; i < 3; i++) {
        flow_threads.join(threads[i]);
        assert_int_equal(atomic_load(&seen[i].runs), 1);
        assert_int_equal(seen[i].blocks_sigterm, 1);
    }
    sigset_t mask;
    sigemptyset(&mask);
    sigprocmask(SIG_SETMASK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
    flow_threads.join(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies_run_with_signals_blocked_and_join_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
