/* A machine without libcurl: commands that need no server work, the others say what is missing. The library's own
 * loader is never linked: what is included here stands for it. */
#include "testing/testing.h"

#define CURL_LIBRARY "libnobody-has-this.so.4"
#include "net/curl_functions.c"

#include "net/rest.h"
#include "net/session.h"

#include <stdatomic.h>
#include <string.h>

static struct error err;
static struct account *account;

static void begin(const char *auth_id)
{
    struct account_options options = {.secret = "s3cr3t"};
    assert_int_equal(repository_make(auth_id, "127.0.0.1", 1, "store1", &options.repository, &err), OK);
    assert_int_equal(account_new(&options, &account, &err), OK);
}

static void check_missing(enum status status, const struct error *reason)
{
    assert_int_equal(status, ERR_UNSUPPORTED);
    assert_int_equal(reason->status, ERR_UNSUPPORTED);
    assert_non_null(strstr(reason->text, "libnobody-has-this.so.4 cannot be loaded, which this command needs"));
}

static void test_calls_say_what_is_missing(void **state)
{
    (void)state;
    static const char *const accounts[] = {"u@pbs", "u@pbs!tok"};
    for (size_t i = 0; i < 4; i++) {
        struct rest *r;
        struct net_stats stats;
        struct buffer body = BUFFER_INIT(100);
        begin(accounts[i / 2]);
        assert_int_equal(rest_new(account, &r, &err), OK);
        check_missing(rest_call(r, "GET", "version", NULL, NULL, NULL, 100, "asking", &body, &err), &err);
        assert_int_equal(rest_last_status(r), 0);
        if (i / 2 == 0)
            check_missing(rest_login(r, &err), &err);
        rest_stats(r, &stats);
        assert_int_equal(stats.connections, 0);
        rest_free(r);
        account_free(account);
    }
}

/* Threads as flow has them. */
struct thread {
    pthread_t id;
    void (*body)(void *argument);
    void *argument;
};

static void *run(void *argument)
{
    struct thread *thread = argument;
    thread->body(thread->argument);
    return NULL;
}

static enum status start(const char *name, void (*body)(void *argument), void *argument, struct thread **out,
                         struct error *reason)
{
    (void)name;
    (void)reason;
    *out = malloc(sizeof **out);
    assert_non_null(*out);
    **out = (struct thread){.body = body, .argument = argument};
    assert_int_equal(pthread_create(&(*out)->id, NULL, run, *out), 0);
    return OK;
}

static void join(struct thread *thread)
{
    if (thread)
        pthread_join(thread->id, NULL);
    free(thread);
}

static atomic_uint answered;
static struct error opening_reason;

static void on_done(void *user, struct h2_response *response, const struct error *opening)
{
    (void)user;
    ASSERT(opening);
    opening_reason = *opening;
    h2_response_free(response);
    atomic_fetch_add(&answered, 1);
}

static void test_sessions_say_what_is_missing(void **state)
{
    (void)state;
    static const struct threads threads = {.start = start, .join = join};
    static const struct upgrade_request backup = {.kind = SESSION_BACKUP,
                                                  .store = "store1",
                                                  .backup_type = "host",
                                                  .backup_id = "demo",
                                                  .backup_time = 1700000060};
    struct net_session *session;
    begin("u@pbs!tok");
    assert_int_equal(net_session_start(account, &backup, &threads, &session, &err), OK);
    struct net_request request = {.method = "GET", .path = BUFFER_INIT(100), .done = on_done};
    assert_int_equal(buffer_append(&request.path, "/x", 3, &err), OK);
    enum status submitted = net_session_submit(session, &request, &err);
    check_missing(net_session_wait_open(session, &err), &err);
    net_session_close(session);
    assert_int_equal(atomic_load(&answered), submitted == OK ? 1 : 0);
    if (submitted == OK)
        check_missing(opening_reason.status, &opening_reason);
    account_free(account);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_say_what_is_missing),
        cmocka_unit_test(test_sessions_say_what_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
