/* Every allocation of ours during a session made to fail in turn: an error, no crash, no hang, no leak; and no secret
 * in what is freed. nghttp2's and
 * jansson's are those of wire/memory_test.c; libcurl's and OpenSSL's are their own. The program's own malloc stands
 * before the C library's, so not with sanitizers (which have their own). */
#include "testing/testing.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INSTRUMENTED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define INSTRUMENTED
#endif

#ifndef INSTRUMENTED

#include "net/rest.h"
#include "net/session_for_test.h"

#include <link.h>
#include <malloc.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *memory);

/* The program and the C library that it calls (strdup): who asks for memory from there. */
struct range {
    uintptr_t begin, end;
};
static struct range ranges[8];
static size_t range_count;

static int add_ranges(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size;
    (void)user;
    bool ours = info->dlpi_name[0] == '\0' || strstr(info->dlpi_name, "/libc.so") != NULL;
    for (size_t i = 0; ours && i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X) && range_count < 8) {
            uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            ranges[range_count++] = (struct range){begin, begin + info->dlpi_phdr[i].p_memsz};
        }
    return 0;
}

static bool is_ours(const void *caller)
{
    for (size_t i = 0; i < range_count; i++)
        if ((uintptr_t)caller >= ranges[i].begin && (uintptr_t)caller < ranges[i].end)
            return true;
    return false;
}

static _Thread_local bool watched;
static atomic_long countdown; /* allocations until one fails; 0: none does */
static atomic_flag busy = ATOMIC_FLAG_INIT;
static void *live[65536]; /* what watched threads got and nobody freed */
static size_t live_count;

static bool fails(const void *caller)
{
    return watched && atomic_load(&countdown) > 0 && is_ours(caller) && atomic_fetch_sub(&countdown, 1) == 1;
}

static void *note(void *memory, const void *caller)
{
    if (!watched || !memory || !is_ours(caller))
        return memory;
    while (atomic_flag_test_and_set(&busy))
        ;
    if (live_count < sizeof live / sizeof *live)
        live[live_count++] = memory;
    atomic_flag_clear(&busy);
    return memory;
}

static void forget(const void *memory)
{
    if (!memory)
        return;
    while (atomic_flag_test_and_set(&busy))
        ;
    for (size_t i = live_count; i-- > 0;)
        if (live[i] == memory) {
            live[i] = live[--live_count];
            break;
        }
    atomic_flag_clear(&busy);
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
    return fails(CALLER) ? NULL : note(__libc_malloc(size), CALLER);
}

void *calloc(size_t count, size_t size)
{
    return fails(CALLER) ? NULL : note(__libc_calloc(count, size), CALLER);
}

void *realloc(void *old, size_t size)
{
    if (fails(CALLER))
        return NULL;
    forget(old);
    void *memory = __libc_realloc(old, size);
    return note(memory ? memory : old, CALLER) == memory ? memory : NULL;
}

/* What begins with a secret is somebody's copy of it. */
static const char *const secrets[] = {"s3cr3t", "PBS:u@pbs:", "00000001:csrf"};
enum { SECRET_COUNT = sizeof secrets / sizeof *secrets };
static unsigned copies_freed[SECRET_COUNT];

static void look_for_secrets(const void *memory)
{
    for (size_t i = 0; i < SECRET_COUNT; i++)
        if (malloc_usable_size((void *)(uintptr_t)memory) > strlen(secrets[i]) &&
            memcmp(memory, secrets[i], strlen(secrets[i])) == 0)
            copies_freed[i]++;
}

void free(void *memory)
{
    if (watched && memory)
        look_for_secrets(memory);
    forget(memory);
    __libc_free(memory);
}

/* ---- a session ---- */

static void watched_body(void *argument)
{
    struct thread *inner = argument;
    watched = true;
    inner->body(inner->argument);
    watched = false;
}

/* The session's own thread is watched, the peer's are not. */
static enum status start_watched(const char *name, void (*body)(void *argument), void *argument, struct thread **out,
                                 struct error *reason)
{
    static struct thread inner; /* one session at a time */
    bool before = watched;
    watched = false;
    inner = (struct thread){.body = body, .argument = argument};
    enum status status = peer_thread_start(name, watched_body, &inner, out, reason);
    watched = before;
    return status;
}

static void join_watched(struct thread *thread)
{
    bool before = watched;
    watched = false;
    peer_thread_join(thread);
    watched = before;
}

static const struct threads watched_threads = {.start = start_watched, .join = join_watched};

static enum status ask(const char *method, const char *path, size_t body_size, struct error *reason)
{
    struct h2_response *response;
    struct net_request request = {
        .method = method, .path = BUFFER_INIT(WIRE_PATH_MAX + 1), .response_size_max = 1 << 20};
    request.body = BUFFER_INIT(PEER_STREAM_MAX);
    enum status status = buffer_append(&request.path, path, strlen(path) + 1, reason);
    if (status == OK && body_size > 0)
        status = buffer_append(&request.body, peer_pattern, body_size, reason);
    if (status != OK) {
        buffer_deinit(&request.path);
        buffer_deinit(&request.body);
        return status;
    }
    TRY(net_session_call(session, &request, "calling", &response, reason));
    h2_response_free(response);
    return OK;
}

static enum status use_session(struct error *reason)
{
    TRY(net_session_wait_open(session, reason));
    TRY(ask("GET", "/previous_backup_time", 0, reason));
    TRY(ask("POST", "/dynamic_chunk", 100000, reason));
    return ask("GET", "/download?size=100000", 0, reason);
}

static enum status use_rest(struct error *reason)
{
    struct rest *r;
    struct buffer body = BUFFER_INIT(1000);
    TRY(rest_new(account, &r, reason));
    enum status status = rest_call(r, "GET", "version", NULL, NULL, NULL, 1000, "asking", &body, reason);
    if (status == OK)
        status = rest_call(r, "GET", "version", NULL, NULL, NULL, 1000, "asking", &body, reason);
    buffer_deinit(&body);
    rest_free(r);
    return status;
}

static enum status use_all(const struct account_options *options, struct error *reason)
{
    TRY(account_new(options, &account, reason));
    enum status status = use_rest(reason);
    if (status == OK)
        status = net_session_start(account, &backup, &watched_threads, &session, reason);
    if (status == OK) {
        status = use_session(reason);
        net_session_close(session);
    }
    account_free(account);
    return status;
}

/* With the n-th allocation failing; whether there were so many. */
static bool run_with(long n, enum status *out)
{
    struct error reason = {0};
    peer_start(&peer, &script);
    const struct account_options options = peer_account(&peer, "u@pbs");
    atomic_store(&countdown, n);
    watched = true;
    *out = use_all(&options, &reason);
    watched = false;
    bool failed = n > 0 && atomic_exchange(&countdown, 0) <= 0;
    peer_stop(&peer);
    peer_drop(&peer);
    if (*out != OK && *out != ERR_MEMORY)
        print_message("allocation %ld: %s: %s\n", n, status_name(*out), reason.text);
    if (n == 0)
        live_count = 0; /* whatever is made once, is made */
    if (live_count > 0)
        print_error("allocation %ld: %zu not freed\n", n, live_count);
    assert_int_equal(live_count, 0);
    return failed;
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    enum status status;
    dl_iterate_phdr(add_ranges, NULL);
    run_with(0, &status);
    assert_int_equal(status, OK);
    long n = 1;
    for (; run_with(n, &status); n++) {
        assert_true(n < 5000);
        /* An answer that could not be kept may end the connection, which is what the caller then hears. */
        assert_true(status == OK || status == ERR_MEMORY || status == ERR_NETWORK);
    }
    assert_int_equal(status, OK);
    print_message("%ld allocations\n", n - 1);
    assert_true(n > 20); /* else this program's malloc is not the one that is used */
}

static void test_secrets_are_zeroed_before_they_are_freed(void **state)
{
    (void)state;
    enum status status;
    run_with(0, &status);
    assert_int_equal(status, OK);
    for (size_t i = 0; i < SECRET_COUNT; i++)
        assert_int_equal(copies_freed[i], 0);
    void (*volatile release)(void *) = free; /* else the compiler knows what free does, and leaves it out */
    watched = true;
    release(strdup(secrets[2]));
    watched = false;
    assert_int_equal(copies_freed[2], 1); /* it is this program's free that is used */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secrets_are_zeroed_before_they_are_freed),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    alarm(500);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    print_message("SKIPPED: needs its own malloc\n");
    return 0;
}

#endif
