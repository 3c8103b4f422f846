/* Every allocation of the wire's code, and of nghttp2 and jansson below it, made to fail in turn: an error or a lost
 * connection, no crash, no leak, every request answered once. The program's own malloc stands before the C library's,
 * so not with sanitizers (which have their own). */
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

#include "wire/h2_client.h"
#include "wire/h2_server.h"
#include "wire/param.h"
#include "wire/reply.h"
#include "wire/upgrade.h"

#include <string.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *memory);

static long countdown = -1; /* allocations until one fails; below 0: none does */
static long live;           /* allocations not freed yet, while watched */
static bool watched;

static bool fails(void)
{
    return countdown > 0 && --countdown == 0;
}

static void *counted(void *memory)
{
    live += watched && memory;
    return memory;
}

void *malloc(size_t size)
{
    return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size)
{
    if (fails())
        return NULL;
    void *memory = __libc_realloc(old, size);
    live += watched && !old && memory;
    return memory;
}

void free(void *memory)
{
    live -= watched && memory;
    __libc_free(memory);
}

/* Runs `action` with the first, second, ... allocation failing, until none is left to fail. */
static void fail_each(void (*action)(void))
{
    action(); /* whatever is made once, is made */
    for (long n = 1;; n++) {
        assert_true(n < 20000);
        live = 0;
        watched = true;
        countdown = n;
        action();
        bool through = countdown > 0;
        countdown = -1;
        watched = false;
        if (live != 0)
            print_error("allocation %ld: %ld not freed\n", n, live);
        assert_int_equal(live, 0);
        if (!through)
            continue;
        print_message("%ld allocations\n", n - 1);
        assert_true(n > 3); /* else this program's malloc is not the one that is used */
        break;
    }
}

static void on_request(void *user, struct h2_server *s, int32_t stream, const struct h2_server_request *request)
{
    (void)user;
    h2_server_set_user(s, stream, request->has_body ? &live : NULL);
}

static void on_data(void *user, struct h2_server *s, int32_t stream, void *stream_user, const uint8_t *data,
                    size_t size)
{
    (void)user, (void)s, (void)stream, (void)stream_user, (void)data, (void)size;
}

static void on_end(void *user, struct h2_server *s, int32_t stream, void *stream_user)
{
    static const struct http_field field = {"x-more", "value"};
    const struct h2_reply reply = {.status = stream_user ? 200 : 404,
                                   .content_type = "application/json",
                                   .headers = &field,
                                   .header_count = 1,
                                   .body = "{\"data\":null}",
                                   .body_size = 13};
    (void)user;
    if (h2_server_respond(s, stream, &reply, NULL) != OK)
        h2_server_reset(s, stream, 2);
}

static void on_closed(void *user, struct h2_server *s, int32_t stream, void *stream_user, bool complete)
{
    (void)user, (void)s, (void)stream, (void)stream_user, (void)complete;
}

static bool exchange(struct h2_client *c, struct h2_server *s)
{
    for (int still = 0; still < 2;) {
        const uint8_t *out;
        size_t to_server;
        size_t to_client;
        if (h2_client_output(c, &out, &to_server, NULL) != OK || h2_server_feed(s, out, to_server, NULL) != OK)
            return false;
        h2_client_sent(c, to_server);
        if (h2_server_output(s, &out, &to_client, NULL) != OK || h2_client_feed(c, out, to_client, NULL) != OK)
            return false;
        h2_server_sent(s, to_client);
        still = to_server + to_client == 0 ? still + 1 : 0;
    }
    return true;
}

static void use_connection(struct h2_client *c, struct h2_server *s)
{
    static const uint8_t bytes[40000];
    static const struct slice body = {.data = bytes, .size = sizeof bytes};
    unsigned submitted = 0;
    unsigned answered = 0;
    for (int i = 0; i < 6; i++) {
        const struct h2_request request = {.method = "POST", .path = "/a", .body = &body, .body_count = i % 2 ? 1 : 0};
        int32_t id;
        submitted += h2_client_submit(c, &request, &id, NULL) == OK;
        if (i == 3)
            h2_client_cancel(c, 5);
    }
    if (!exchange(c, s))
        h2_client_lose(c, NULL);
    if (h2_server_goaway(s, 0, NULL) != OK || !exchange(c, s))
        h2_client_lose(c, NULL);
    h2_client_lose(c, NULL);
    for (struct h2_response *response; (response = h2_client_next(c)); answered++)
        h2_response_free(response);
    ASSERT(answered == submitted);
}

static void connection(void)
{
    static const struct h2_server_handler handler = {on_request, on_data, on_end, on_closed};
    struct h2_client *c = NULL;
    struct h2_server *s = NULL;
    if (h2_client_new(&(struct h2_client_options){0}, &c, NULL) == OK &&
        h2_server_new(&(struct h2_server_options){0}, &handler, NULL, &s, NULL) == OK)
        use_connection(c, s);
    h2_client_free(c);
    h2_server_free(s);
}

static void parameters(void)
{
    static const struct param_rule rules[] = {
        {.name = "wid", .type = PARAM_INTEGER},
        {.name = "digest-list", .type = PARAM_TEXT_LIST},
        {.name = "offset-list", .type = PARAM_INTEGER_LIST},
    };
    static const char json[] = "{\"wid\":1,\"digest-list\":[\"a\",\"b\"],\"offset-list\":[1,2]}";
    static const char form[] = "wid=1&digest-list=a&digest-list=b&offset-list=1";
    const struct param_input inputs[] = {
        {.content_type = "application/json", .body = json, .body_size = sizeof json - 1, .body_size_max = 1000},
        {.query = form, .query_size = sizeof form - 1},
    };
    for (int i = 0; i < 2; i++) {
        struct param_set set;
        if (param_parse(rules, 3, &inputs[i], &set, NULL) == OK) {
            ASSERT(param_get(&set, "digest-list")->count == 2);
            param_clear(&set);
        }
    }
}

static void heads(void)
{
    const struct upgrade_request request = {.store = "store1", .ns = "a/b", .backup_type = "host", .backup_id = "x"};
    const struct http_credentials token = {.token_id = "a@pbs!tok", .token_secret = "secret"};
    struct buffer out = BUFFER_INIT(64 << 10);
    struct http_head head;
    size_t used;
    http_head_init(&head, HTTP_REQUEST);
    if (upgrade_write(&out, &request, "h:1", &token, NULL) == OK &&
        http_head_feed(&head, out.data, out.size, &used, NULL) == OK)
        ASSERT(head.complete);
    http_head_deinit(&head);
    buffer_deinit(&out);
}

static void answers(void)
{
    static const char text[] = "{\"data\":{\"ticket\":\"a\"},\"total\":[1,2]}";
    json_t *data;
    if (reply_data("asking", text, sizeof text - 1, &data, NULL) == OK)
        json_decref(data);
}

static void test_connections_survive_any_failed_allocation(void **state)
{
    (void)state;
    fail_each(connection);
}

static void test_parameters_survive_any_failed_allocation(void **state)
{
    (void)state;
    fail_each(parameters);
}

static void test_heads_survive_any_failed_allocation(void **state)
{
    (void)state;
    fail_each(heads);
}

static void test_answers_survive_any_failed_allocation(void **state)
{
    (void)state;
    fail_each(answers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connections_survive_any_failed_allocation),
        cmocka_unit_test(test_parameters_survive_any_failed_allocation),
        cmocka_unit_test(test_heads_survive_any_failed_allocation),
        cmocka_unit_test(test_answers_survive_any_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    return 0;
}

#endif
