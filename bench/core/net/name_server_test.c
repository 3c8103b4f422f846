/* A name server that never answers: connecting has its limit, and ends when told. The system's resolver is replaced by
 * one that waits for the test. */
#include "testing/testing.h"

#include "net/rest.h"
#include "net/tls_link.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static atomic_uint asked, answered;
static atomic_bool answers;

__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints, struct addrinfo **out)
{
    (void)node, (void)service, (void)hints, (void)out;
    atomic_fetch_add(&asked, 1);
    while (!atomic_load(&answers))
        usleep(1000);
    atomic_fetch_add(&answered, 1);
    return EAI_NONAME;
}

static struct error err;
static struct repository repository;

static struct tls_link_options options_of(unsigned connect_timeout_ms)
{
    assert_int_equal(repository_make("u@pbs!tok", "server.example", 8007, "store1", &repository, &err), OK);
    return (struct tls_link_options){.repository = &repository, .connect_timeout_ms = connect_timeout_ms};
}

/* Another resolver of libcurl's is not replaced by ours. */
static void skip_unless_asked(void)
{
    if (atomic_load(&asked) == 0) {
        print_message("this libcurl does not ask the system's resolver\n");
        skip();
    }
}

static void test_connecting_has_a_limit(void **state)
{
    (void)state;
    struct tls_link *l;
    const struct tls_link_options options = options_of(300);
    enum status status = tls_link_open(&options, NULL, &l, &err);
    skip_unless_asked();
    assert_int_equal(status, ERR_NETWORK);
    assert_non_null(strstr(err.text, "cannot connect to server.example:8007: no answer within 300 ms"));
}

static void test_calls_have_the_same_limit(void **state)
{
    (void)state;
    struct account *account;
    struct rest *r;
    struct buffer body = BUFFER_INIT(100);
    struct account_options options = {.secret = "s3cr3t", .connect_timeout_ms = 300};
    assert_int_equal(repository_make("u@pbs!tok", "server.example", 8007, "store1", &options.repository, &err), OK);
    assert_int_equal(account_new(&options, &account, &err), OK);
    assert_int_equal(rest_new(account, &r, &err), OK);
    enum status status = rest_call(r, "GET", "version", NULL, NULL, NULL, 100, "asking", &body, &err);
    rest_free(r);
    account_free(account);
    skip_unless_asked();
    assert_int_equal(status, ERR_NETWORK);
    assert_non_null(strstr(err.text, "no answer within 300 ms"));
}

static struct net_wake wake;

static void *stop_when_asked(void *argument)
{
    const unsigned *before = argument;
    for (unsigned i = 0; i < 5000 && atomic_load(&asked) == *before; i++)
        usleep(1000);
    net_wake_stop(&wake);
    return NULL;
}

static void test_connecting_ends_when_told(void **state)
{
    (void)state;
    pthread_t thread;
    struct tls_link *l;
    unsigned before = atomic_load(&asked);
    const struct tls_link_options options = options_of(600000);
    assert_int_equal(net_wake_init(&wake, &err), OK);
    assert_int_equal(pthread_create(&thread, NULL, stop_when_asked, &before), 0);
    enum status status = tls_link_open(&options, &wake, &l, &err);
    pthread_join(thread, NULL);
    net_wake_deinit(&wake);
    skip_unless_asked();
    assert_int_equal(status, ERR_CANCELLED);
}

/* Threads that were left to themselves end when they have their answer. */
static int let_answers_through(void **state)
{
    (void)state;
    atomic_store(&answers, true);
    for (unsigned i = 0; i < 5000 && atomic_load(&answered) < atomic_load(&asked); i++)
        usleep(1000);
    usleep(20000);
    return atomic_load(&answered) == atomic_load(&asked) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connecting_has_a_limit),
        cmocka_unit_test(test_calls_have_the_same_limit),
        cmocka_unit_test(test_connecting_ends_when_told),
    };
    alarm(120);
    return cmocka_run_group_tests(tests, NULL, let_answers_through);
}
